"""Training: the state, one step, and the run around them. The file to read first."""

import contextlib
import dataclasses
import functools
import itertools
import math
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn
from flax import struct, traverse_util
from flax.training import train_state
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from diccoser_jax import (
    calibration,
    data,
    distributed,
    evaluate,
    interrupt,
    layers,
    losses,
    memory,
    model_file,
    optimizer,
)
from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES
from diccoser_jax.checkpoint import Checkpoints
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.config import ConfigError
from diccoser_jax.diccoser import NETWORKS, Diccoser, DiccoserConfig
from diccoser_jax.folds import Fold
from diccoser_jax.log import Log

REGRESSION_LOSSES: dict[str, Callable[..., jax.Array]] = {
    "ccc": losses.ccc_loss,
    "pooled_ccc": functools.partial(losses.ccc_loss, pooled=True),
    "squared_error": losses.squared_error,
}

# Processes ask each other whether to save, which waits for the devices, so often only.
_STEPS_PER_AGREEMENT = 10

LossFn = Callable[[layers.Output, data.Batch], jax.Array]


class TrainState(train_state.TrainState):
    """Everything that a training step changes, and what it is changed by.

    Attributes:
      batch_stats: running mean and variance of each batch norm; empty without any.
      average: moving average of the parameters, or None.
      model: the network.
      loss_fn: the task's loss of a network's output on a batch.
    """

    batch_stats: Any
    average: Any
    model: nn.Module = struct.field(pytree_node=False)
    loss_fn: LossFn = struct.field(pytree_node=False)

    @property
    def variables(self) -> dict[str, Any]:
        """What is validated and kept, as ``model.apply`` takes it."""
        params = self.params if self.average is None else self.average
        return {"params": params, "batch_stats": self.batch_stats}


def create_model(
    config: ml_collections.ConfigDict, *, outputs: int, window_frames: int
) -> nn.Module:
    """The network that ``config.model`` names.

    Raises:
      ConfigError: if there is none of that name, or its settings do not fit.
    """
    try:
        if config.network in NETWORKS:
            fields = {field.name for field in dataclasses.fields(DiccoserConfig)}
            settings = {key: config[key] for key in config if key in fields}
            settings["rematerialise"] = rematerialises(config)
            answer_frames = round(config.answer_seconds * FRAME_RATE_HZ)
            return Diccoser(
                DiccoserConfig(
                    outputs, window_frames, answer_frames=answer_frames, **settings
                )
            )
        if config.network == "cnn_lstm":
            return CnnLstm(
                CnnLstmConfig(
                    outputs,
                    config.frontend,
                    dropout_rate=config.dropout_rate,
                    compute_dtype=config.compute_dtype,
                )
            )
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    raise ConfigError(
        f"model.network={config.network!r} is not in {(*NETWORKS, 'cnn_lstm')}."
    )


def classification_loss(
    output: layers.Output, batch: data.Batch, *, frame_loss_weight: float = 0.0
) -> jax.Array:
    """Cross-entropy of the window's logits (paper, section 4.2.4).

    ``frame_loss_weight`` adds so much of the mean cross-entropy of every frame in the
    second half of the window: the paper trains one frame of each, its last.
    """
    loss = losses.cross_entropy(output.pooled, batch["target"], batch["mask"])
    if frame_loss_weight:
        frames = output.frames[:, output.frames.shape[1] // 2 :]
        loss += frame_loss_weight * losses.cross_entropy(
            frames.reshape(-1, frames.shape[-1]),
            jnp.repeat(batch["target"], frames.shape[1]),
            jnp.repeat(batch["mask"], frames.shape[1]),
        )
    return loss


def regression_loss(
    output: layers.Output, batch: data.Batch, *, name: str = "ccc"
) -> jax.Array:
    """The loss of each frame's dimensions: of ``REGRESSION_LOSSES`` (section 3.3)."""
    loss = REGRESSION_LOSSES[name]
    return loss(output.frames, batch["target"], batch["mask"])


def fresh_variables(
    rng: jax.Array, model: nn.Module, samples: int
) -> Mapping[str, Any]:
    """What ``model.init`` gives for windows of this many samples, sooner.

    Parameters of one shape are drawn by one small program, and what else `init` would
    compute is left out. A program for all of them takes longer to compile.
    """
    return model.lazy_init(rng, jax.ShapeDtypeStruct((1, samples), jnp.float32))


def create_state(
    rng: jax.Array,
    model: nn.Module,
    tx: optax.GradientTransformation,
    loss_fn: LossFn,
    samples: int,
    *,
    averaged: bool = False,
) -> TrainState:
    """A fresh state for windows of this many samples."""
    variables = fresh_variables(rng, model, samples)
    params = variables["params"]
    state = TrainState.create(
        apply_fn=model.apply,
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        # Copies, since what a step is given may be consumed, once.
        average=jax.tree.map(jnp.copy, params) if averaged else None,
        model=model,
        tx=tx,
        loss_fn=loss_fn,
    )
    # Flax counts from a Python number, which has no place on devices.
    return state.replace(step=jnp.zeros((), jnp.int32))


def train_step(
    state: TrainState,
    batch: data.Batch,
    rng: jax.Array,
    *,
    microbatches: int = 1,
    average_decay: float = 0.0,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of gradient descent. Pure: jit, shard and donate it where you call it.

    Args:
      state: before the step.
      batch: ``audio`` ``[batch, samples]``, ``target`` and ``mask`` as in
        `data.train_batches`.
      rng: the run's key; the step's own is folded from it.
      microbatches: so many equal parts of the batch go through the network one after
        the other, and their gradients are averaged, each weighted by the sequences
        that count in it: the step of a large batch in the memory of a small one. Batch
        norm sees each part alone.
      average_decay: weight of the past in ``state.average``, if there is one. Early
        steps count more, so that the first weights are soon forgotten.

    Returns:
      The state after the step, and the scalar ``loss``.
    """
    rng = jax.random.fold_in(rng, state.step)

    def objective(params, batch_stats, batch, rng):
        output, updates = state.apply_fn(
            {"params": params, "batch_stats": batch_stats},
            batch["audio"],
            train=True,
            rngs={"dropout": rng},
            mutable=["batch_stats"],
        )
        return state.loss_fn(output, batch), updates.get("batch_stats", {})

    gradient_of = jax.value_and_grad(objective, has_aux=True)
    if microbatches == 1:
        (loss, batch_stats), gradient = gradient_of(
            state.params, state.batch_stats, batch, rng
        )
    else:

        def accumulate(carry, part):
            batch, rng = part
            batch_stats, sums = carry
            (loss, batch_stats), gradient = gradient_of(
                state.params, batch_stats, batch, rng
            )
            sequences = evaluate.count_sequences(batch["mask"]).astype(loss.dtype)
            terms = jax.tree.map(lambda x: x * sequences, (loss, gradient))
            sums = jax.tree.map(jnp.add, sums, (*terms, sequences))
            return (batch_stats, sums), None

        # Every n-th sequence, so that each part is spread over all devices.
        parts = jax.tree.map(
            lambda x: x.reshape(-1, microbatches, *x.shape[1:]).swapaxes(0, 1), batch
        )
        zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(())
        (batch_stats, (loss, gradient, sequences)), _ = jax.lax.scan(
            accumulate,
            (state.batch_stats, zeros),
            (parts, jax.random.split(rng, microbatches)),
        )
        loss, gradient = jax.tree.map(
            lambda x: x / jnp.maximum(sequences, 1), (loss, gradient)
        )
    state = state.apply_gradients(grads=gradient, batch_stats=batch_stats)
    if state.average is not None:
        decay = jnp.minimum(average_decay, state.step / (state.step + 10))
        average = optax.incremental_update(state.params, state.average, 1 - decay)
        state = state.replace(average=average)
    return state, {"loss": loss}


def batch_statistics(state: TrainState, audio: jax.Array) -> Any:
    """The batch statistics of one batch alone, without dropout.

    Returns:
      In the shape of ``state.batch_stats``.
    """
    model = state.model
    calm = dataclasses.replace(model.config, dropout_rate=0.0, batch_norm_momentum=0.0)
    _, updates = model.clone(config=calm).apply(
        state.variables, audio, train=True, mutable=["batch_stats"]
    )
    return updates["batch_stats"]


def pool_batch_statistics(statistics: Sequence[Any]) -> Any:
    """Mean and variance over several batches of one size, from those of each.

    Dropout before batch norm makes the variance in training larger than at inference,
    so that the running averages of training mislead there; these do not.

    Args:
      statistics: what `batch_statistics` returned for each batch.

    Returns:
      The same for all of them together (the law of total variance).
    """
    stacked = traverse_util.flatten_dict(
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *statistics)
    )
    pooled = {path: leaf.mean(axis=0) for path, leaf in stacked.items()}
    for path in pooled:
        if path[-1] == "var":
            pooled[path] += stacked[(*path[:-1], "mean")].var(axis=0)
    return traverse_util.unflatten_dict(pooled)


def rematerialises(config: ml_collections.ConfigDict) -> bool:
    """What ``config.model.rematerialise`` asks for; None: whether this is a CPU.

    There, memory that is fetched anew in each step costs more than computing its
    contents again (``benchmarks/README.md``).
    """
    if config.rematerialise is None:
        return jax.default_backend() == "cpu"
    return config.rematerialise


def compiler_options(*, rematerialise: bool) -> dict[str, str]:
    """What ``jax.jit`` of a training step needs to be told.

    On CPU, XLA removes the barriers of rematerialisation before it merges equal
    computations, and so would keep what was to be computed again.
    """
    if rematerialise and jax.default_backend() == "cpu":
        return {"xla_disable_hlo_passes": "cse_barrier_expander"}
    return {}


def data_parallel(
    batch_size: int, microbatches: int = 1
) -> tuple[NamedSharding, NamedSharding]:
    """Shardings over all devices: copies for the state, shares for a batch.

    Raises:
      ConfigError: if the batch cannot be shared evenly.
    """
    devices = jax.devices()
    shares = len(devices) * microbatches
    if batch_size % shares:
        below = batch_size // shares * shares
        sizes = [size for size in (below, below + shares) if size]
        among = f"{len(devices)} devices"
        if microbatches > 1:
            among += f" in train.microbatches={microbatches} parts"
        raise ConfigError(
            f"train.batch_size={batch_size} cannot be shared by {among}; the nearest "
            f"that can: {' or '.join(map(str, sizes))}."
        )
    # Under Auto, a jitted program computes what it would on one device, batch norm
    # over the whole batch included. (Explicit, the default, breaks Linen's dropout.)
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(
        mesh, PartitionSpec("data")
    )


def on_devices_of(
    sharding: NamedSharding, function: Callable[..., Any]
) -> Callable[..., Any]:
    """The function, which is told when it is traced that its batch is divided so."""

    def told(*arguments: Any) -> Any:
        with jax.sharding.use_abstract_mesh(sharding.mesh.abstract_mesh):
            return function(*arguments)

    return told


class Setup(NamedTuple):
    """What a training run is made of, compiled for all devices.

    Attributes:
      state: before the first step.
      step: state and batch to the next state and the metrics of `train_step`; the
        state that it is given is consumed.
      batches: the batches of an epoch, on the devices; from batch ``start`` on.
      reestimate: state and epoch to the state with the batch statistics of that
        epoch's first batches, without dropout, if the configuration asks for it.
      eval_step: `evaluate.eval_step`.
      steps_per_epoch: how many batches an epoch has.
      shared: sharding of a batch.
    """

    state: TrainState
    step: Callable[[TrainState, data.Batch], tuple[TrainState, dict[str, jax.Array]]]
    batches: Callable[..., Iterator[data.Batch]]
    reestimate: Callable[[TrainState, int], TrainState]
    eval_step: Callable[..., tuple[layers.Output, jax.Array, jax.Array]]
    steps_per_epoch: int
    shared: NamedSharding


def set_up(
    config: ml_collections.ConfigDict,
    corpus: data.Corpus,
    units: Sequence[str],
    objective: tuple[int, LossFn] | None = None,
) -> Setup:
    """Makes all that training on these units needs.

    ``objective`` is how many outputs the network has, and their loss; None: those of
    the corpus' task.

    Raises:
      ConfigError: if settings do not fit the corpus or the devices.
    """
    batch_size, microbatches = config.train.batch_size, config.train.microbatches
    replicated, shared = data_parallel(batch_size, microbatches)
    init_rng, step_rng = jax.random.split(jax.random.key(config.seed))
    steps_per_epoch = data.steps_per_epoch(corpus, units, batch_size)
    state = initialise(config, corpus, steps_per_epoch, init_rng, replicated, objective)
    jit_train_step = jax.jit(
        on_devices_of(
            shared,
            functools.partial(
                train_step,
                microbatches=microbatches,
                average_decay=config.train.average_decay,
            ),
        ),
        in_shardings=(replicated, shared, replicated),
        out_shardings=replicated,
        donate_argnums=0,
        compiler_options=compiler_options(rematerialise=rematerialises(config.model)),
    )
    jit_batch_statistics = jax.jit(
        on_devices_of(shared, batch_statistics),
        in_shardings=(replicated, shared),
        out_shardings=replicated,
    )

    def batches(epoch: int, start: int = 0) -> Iterator[data.Batch]:
        for batch in data.train_batches(
            corpus,
            units,
            batch_size=batch_size,
            window_seconds=config.data.window_seconds,
            augmentation=data.Augmentation(**config.augmentation),
            seed=config.seed,
            epoch=epoch,
            start=start,
            share=(jax.process_index(), jax.process_count()),
        ):
            yield distributed.to_devices(batch, shared)

    def reestimate(state: TrainState, epoch: int) -> TrainState:
        if not state.batch_stats or not config.train.batch_stats_batches:
            return state
        first = itertools.islice(batches(epoch), config.train.batch_stats_batches)
        statistics = [jit_batch_statistics(state, batch["audio"]) for batch in first]
        return state.replace(batch_stats=pool_batch_statistics(statistics))

    return Setup(
        state=state,
        step=lambda state, batch: jit_train_step(state, batch, step_rng),
        batches=batches,
        reestimate=reestimate,
        eval_step=jax.jit(
            on_devices_of(shared, evaluate.eval_step), in_shardings=(replicated, shared)
        ),
        steps_per_epoch=steps_per_epoch,
        shared=shared,
    )


@dataclasses.dataclass
class Progress:
    """How far a run is; stored with each checkpoint.

    Attributes:
      epoch: epochs done.
      best_epoch: the one with the best validation score, counted from 1; 0 before any.
      best_score: its score.
      seconds: spent so far.
      cpu_seconds: of all threads together.
      losses: of the steps since the last line of the log.
    """

    epoch: int = 0
    best_epoch: int = 0
    best_score: float = -math.inf
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    losses: list[float] = dataclasses.field(default_factory=list)


def fit(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    corpus: data.Corpus,
    setup: Setup,
    validate: Callable[[TrainState], tuple[float, float]] | None = None,
    *,
    epochs: int | None = None,
    score_name: str = "score",
) -> tuple[TrainState, Progress]:
    """Trains epoch by epoch until none is better, and goes back to the best.

    Goes on from the latest checkpoint in ``workdir``, if there is one, and ends as if
    it had never stopped.

    Args:
      config: ``config.train`` says how long, and how often it is saved.
      workdir: gets ``checkpoints/``, ``metrics.jsonl`` and TensorBoard events.
      corpus: what ``setup`` reads.
      setup: of `set_up`; its state is consumed.
      validate: the loss, and the score, of which more is better, of a state; None: the
        last epoch is the best.
      epochs: at most so many; None: ``config.train.max_epochs``.
      score_name: for the progress bar.

    Returns:
      The state of the best epoch, and how the run went.

    Raises:
      FloatingPointError: if a loss is not finite; names the step and the last
        checkpoint.
      ConfigError: if the checkpoints that are there are of another configuration.
      CheckpointError: if one cannot be written.
      Interrupted: on Ctrl-C or SIGTERM while it trains, after a checkpoint.
    """
    state, steps_per_epoch = setup.state, setup.steps_per_epoch
    epochs = config.train.max_epochs if epochs is None else epochs
    with contextlib.ExitStack() as stack:
        checkpoints = stack.enter_context(
            Checkpoints(
                workdir / "checkpoints",
                config,
                corpus.metadata["fingerprint"],
                config.train.checkpoint_every_seconds,
            )
        )
        progress = Progress()
        restored = checkpoints.restore_latest(like=state)
        if restored:
            state, progress = restored[0], Progress(**restored[1])
        started = time.monotonic() - progress.seconds
        cpu_started = time.process_time() - progress.cpu_seconds
        log = stack.enter_context(
            Log(
                workdir if distributed.is_first() else None,
                step=int(state.step),
                losses=progress.losses,
                total_steps=steps_per_epoch * epochs,
                steps_per_line=config.train.log_every_steps,
                score_name=score_name,
            )
        )
        stop = stack.enter_context(interrupt.Deferred())

        def shall_save() -> bool:
            if jax.process_count() > 1 and log.step % _STEPS_PER_AGREEMENT:
                return False
            return distributed.any_of(checkpoints.due or stop.requested)

        def save() -> None:
            progress.seconds = time.monotonic() - started
            progress.cpu_seconds = time.process_time() - cpu_started
            progress.losses = log.losses
            checkpoints.save(
                log.step,
                state,
                dataclasses.asdict(progress),
                best_step=progress.best_epoch * steps_per_epoch,
            )
            if distributed.any_of(stop.requested):
                raise interrupt.Interrupted(f"Saved after step {log.step}.")

        while (
            progress.epoch < epochs
            and progress.epoch - progress.best_epoch < config.train.patience_epochs
        ):
            epoch = progress.epoch + 1
            end_of_epoch = epoch * steps_per_epoch
            start = log.step - progress.epoch * steps_per_epoch
            previous = None  # loss, read while the device is busy with the next step
            for batch in setup.batches(epoch, start):
                state, step_metrics = setup.step(state, batch)
                if previous is not None:
                    log.train(epoch, _finite(previous, "training", log, checkpoints))
                previous = step_metrics["loss"]
                # The last step of an epoch is saved with its validation.
                if log.step + 1 < end_of_epoch and shall_save():
                    log.train(epoch, _finite(previous, "training", log, checkpoints))
                    previous = None
                    save()
            log.train(epoch, _finite(previous, "training", log, checkpoints))

            # Nobody looks at an epoch that is neither validated nor the last.
            if validate is not None or epoch == epochs:
                state = setup.reestimate(state, epoch)
            progress.epoch = epoch
            if validate is None:
                progress.best_epoch = epoch
            else:
                loss, score = validate(state)
                _finite(loss, "validation", log, checkpoints)
                if score > progress.best_score:
                    progress.best_epoch, progress.best_score = epoch, score
                log.validation(epoch, loss, score, progress.best_score)
            save()
            memory.return_freed()  # by compilation, and by validation

        best = checkpoints.restore(progress.best_epoch * steps_per_epoch, like=state)
        return best, progress


def train_and_evaluate(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    corpus: data.Corpus,
    fold: Fold,
) -> dict[str, Any]:
    """Trains on a fold, keeps the epoch that validates best, and tests that one.

    With ``config.train.refit``, what is tested is a network that was trained anew, for
    as many epochs, on the training and the validation units. The test units are read
    once, after the last epoch, and decide nothing.

    Args:
      config: as in ``configs/default.py``.
      workdir: as in `fit`, as is its folder ``refit`` for a second training; gets
        ``predictions.npz``, too, the answers for the test units, and
        ``model.safetensors``, the network that was tested, for `diccoser_jax.load`.
      corpus: prepared shards.
      fold: units to train, validate and test on.

    Returns:
      JSON-able: the scores of `evaluate.score` on the test units, their ``loss``,
      ``temperature`` (of classification, fitted on the validation units, of which the
      network that is asked has not learnt),
      ``validation_score``, ``best_epoch``, ``epochs``, ``seconds``, ``cost`` and
      ``parameters``.

    Raises:
      ConfigError: if settings do not fit the corpus or the devices.
      Exception: as `fit`.
    """
    setup = set_up(config, corpus, fold.train)
    predict = functools.partial(
        evaluate.predict,
        setup.eval_step,
        corpus=corpus,
        batch_size=config.train.batch_size,
        window_seconds=config.data.window_seconds,
        sharding=setup.shared,
    )
    score = functools.partial(evaluate.score, names=corpus.target_names)

    def validate(state: TrainState) -> tuple[float, float]:
        rows, loss = predict(state, units=fold.validation)
        return loss, score(rows)["score"]

    state, progress = fit(
        config,
        workdir,
        corpus,
        setup,
        validate,
        score_name="UA" if corpus.task == "classification" else "CCC",
    )
    results: dict[str, Any] = {}
    if corpus.task == "classification":
        rows, _ = predict(state, units=fold.validation)
        results["temperature"] = calibration.fit_temperature(rows.outputs, rows.targets)
    learnt_from = fold.train
    seconds, cpu_seconds = progress.seconds, progress.cpu_seconds
    if config.train.refit:
        learnt_from = (*fold.train, *fold.validation)
        setup = set_up(config, corpus, learnt_from)
        distributed.on_first(lambda: (workdir / "refit").mkdir(exist_ok=True))
        state, again = fit(
            config, workdir / "refit", corpus, setup, epochs=progress.best_epoch
        )
        seconds, cpu_seconds = seconds + again.seconds, cpu_seconds + again.cpu_seconds
    save_model = functools.partial(
        model_file.save,
        workdir / model_file.NAME,
        state.model,
        jax.device_get(state.variables),
        task=corpus.task,
        target_names=corpus.target_names,
        window_seconds=config.data.window_seconds,
        temperature=results.get("temperature", 1.0),
        card={
            "trained_on": f"{config.data.dataset}: {', '.join(learnt_from)}",
            "chosen_on": ", ".join(fold.validation),
            "validation_score": progress.best_score,
            "seed": config.seed,
        },
    )
    distributed.on_first(save_model)
    rows, loss = predict(state, units=fold.test)
    same = np.ones(len(rows.targets), np.int32)
    rows = dataclasses.replace(
        rows, folds=int(config.fold) * same, seeds=config.seed * same
    )
    distributed.on_first(lambda: rows.save(workdir / "predictions.npz"))
    return {
        **score(rows),
        **results,
        "loss": loss,
        "validation_score": progress.best_score,
        "best_epoch": progress.best_epoch,
        "epochs": progress.epoch,
        "seconds": seconds,
        "cost": {
            "wall_seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peak_memory_bytes": _peak_memory_bytes(),
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        },
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    }


def _peak_memory_bytes() -> int:
    """The most that this process, or its first accelerator, has held at a time."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return statistics["peak_bytes_in_use"]
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def check_settings(config: ml_collections.ConfigDict) -> None:
    """Makes all that needs no corpus, so that nobody waits for shards in vain.

    Raises:
      ConfigError: if a setting cannot be run.
    """
    frames = data.window_frames(config.data.window_seconds)
    create_model(config.model, outputs=2, window_frames=frames)
    optimizer.create_optimizer(config.optimizer, steps_per_epoch=1, max_epochs=1)
    data.Augmentation(**config.augmentation)
    if not 0 <= config.train.average_decay < 1:
        raise ConfigError(
            f"train.average_decay={config.train.average_decay} is not in [0, 1)."
        )
    if config.train.microbatches < 1:
        raise ConfigError(
            f"train.microbatches={config.train.microbatches} must be at least 1."
        )
    loss = config.train.regression_loss
    if loss not in REGRESSION_LOSSES:
        raise ConfigError(
            f"train.regression_loss={loss!r} is not in {tuple(REGRESSION_LOSSES)}."
        )
    if config.train.microbatches > 1 and loss == "pooled_ccc":
        raise ConfigError(
            "train.regression_loss='pooled_ccc' takes one CCC over the whole batch, "
            f"not to be had from train.microbatches={config.train.microbatches} parts."
        )
    data_parallel(config.train.batch_size, config.train.microbatches)


def task_objective(
    config: ml_collections.ConfigDict, corpus: data.Corpus
) -> tuple[int, LossFn]:
    """How many outputs the corpus' task needs, and its loss."""
    if corpus.task == "regression":
        loss_fn = functools.partial(regression_loss, name=config.train.regression_loss)
    else:
        loss_fn = functools.partial(
            classification_loss, frame_loss_weight=config.train.frame_loss_weight
        )
    return len(corpus.target_names), loss_fn


def initialise(
    config: ml_collections.ConfigDict,
    corpus: data.Corpus,
    steps_per_epoch: int,
    rng: jax.Array,
    sharding: jax.sharding.Sharding,
    objective: tuple[int, LossFn] | None = None,
) -> TrainState:
    """A fresh state of the network that the configuration and the corpus ask for."""
    outputs, loss_fn = objective or task_objective(config, corpus)
    frames = data.window_frames(config.data.window_seconds)
    model = create_model(config.model, outputs=outputs, window_frames=frames)
    tx = optimizer.create_optimizer(
        config.optimizer, steps_per_epoch, config.train.max_epochs
    )
    state = create_state(
        rng,
        model,
        tx,
        loss_fn,
        frames * FRAME_SAMPLES,
        averaged=config.train.average_decay > 0,
    )
    return distributed.to_devices(state, sharding)


def _finite(loss: Any, what: str, log: Log, checkpoints: Checkpoints) -> float:
    """The loss as a number; what was saved before it is safe."""
    if math.isfinite(loss):
        return float(loss)
    last = checkpoints.latest_step
    raise FloatingPointError(
        f"The {what} loss is {loss} after step {log.step}. Last good checkpoint: "
        f"{'none' if last is None else checkpoints.path(last)}. A smaller "
        "optimizer.learning_rate, in another workdir, may help."
    )
