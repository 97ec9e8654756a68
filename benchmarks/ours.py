"""This package itself, as `diccoser_jax.train` runs it with the paper's recipe."""

import functools

import jax

from benchmarks.jax_contestant import JaxContestant
from benchmarks.workloads import Workload
from configs import default
from diccoser_jax import evaluate, memory, optimizer, train


class Ours(JaxContestant):
    """A `Contestant`.

    Attributes:
      model: the network.
    """

    def __init__(
        self,
        workload: Workload,
        *,
        rematerialise: bool | None,
        compute_dtype: str,
        microbatches: int,
    ):
        self._trained = False
        config = default.get_config()
        default.use_recipe(config, "paper")
        config.model.network = workload.network
        config.model.frontend = workload.frontend
        config.model.dropout_rate = workload.dropout_rate
        config.model.local_stacks = workload.local_stacks
        config.model.features = workload.features
        config.model.rematerialise = rematerialise
        config.model.compute_dtype = compute_dtype
        self.model = model = train.create_model(
            config.model, outputs=workload.outputs, window_frames=workload.frames
        )
        classification = workload.task == "classification"
        if classification:
            loss_fn = train.classification_loss
        else:
            loss_fn = functools.partial(
                train.regression_loss, name=config.train.regression_loss
            )
        tx = optimizer.create_optimizer(
            config.optimizer, steps_per_epoch=1, max_epochs=1
        )

        @jax.jit
        def infer(variables, audio):
            output = evaluate.infer(model, variables, audio)
            return output.pooled if classification else output.frames

        init_rng, rng = jax.random.split(jax.random.key(config.seed))
        super().__init__(
            workload,
            train.create_state(init_rng, model, tx, loss_fn, workload.samples),
            rng,
            train_step=jax.jit(
                functools.partial(train.train_step, microbatches=microbatches),
                donate_argnums=0,
                compiler_options=train.compiler_options(
                    rematerialise=train.rematerialises(config.model)
                ),
            ),
            infer=infer,
        )

    def train_step(self) -> float:
        """As `diccoser_jax.train.fit`, which gives back what compilation freed."""
        loss = super().train_step()
        if not self._trained:
            memory.return_freed()
        self._trained = True
        return loss


def build(
    workload: Workload,
    *,
    rematerialise: bool | None = None,
    compute_dtype: str = "float32",
    microbatches: int = 1,
) -> Ours:
    """This package's answer to a workload, with options of ``configs/default.py``."""
    return Ours(
        workload,
        rematerialise=rematerialise,
        compute_dtype=compute_dtype,
        microbatches=microbatches,
    )
