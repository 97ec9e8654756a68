"""The optimiser as one optax chain, from ``config.optimizer``."""

import jax
import ml_collections
import optax

from diccoser_jax.config import ConfigError


def kernels(params: optax.Params) -> optax.Params:
    """True for kernels, False for biases and batch norm, in the shape of ``params``."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1].key == "kernel", params
    )


def learning_rate_schedule(
    config: ml_collections.ConfigDict, max_epochs: int
) -> optax.Schedule:
    """Learning rate after so many epochs, a fraction, too.

    Constant, or linear warm-up, then cosine to zero at ``max_epochs``.

    The warm-up takes ``config.warmup_epochs``, or half of a run that is too short.

    Raises:
      ConfigError: if the schedule is not known.
    """
    if config.schedule == "constant":
        return optax.constant_schedule(config.learning_rate)
    if config.schedule == "cosine":
        return optax.warmup_cosine_decay_schedule(
            init_value=0.0,
            peak_value=config.learning_rate,
            warmup_steps=min(config.warmup_epochs, max_epochs / 2),
            decay_steps=max_epochs,
        )
    raise ConfigError(
        f"optimizer.schedule={config.schedule!r} is not 'constant' or 'cosine'."
    )


def create_optimizer(
    config: ml_collections.ConfigDict, steps_per_epoch: int, max_epochs: int
) -> optax.GradientTransformation:
    """The chain: l2, RMSProp or Adam, decoupled weight decay, learning rate.

    ``config.l2`` = c is the paper's regularisation (section 4.2.4): it adds the
    gradient 2·c·w of a loss term c·Σw², the convention of Keras' ``l2(c)``, before the
    gradient is rescaled. ``config.weight_decay`` is AdamW's, added after it (Loshchilov
    and Hutter 2019). Both touch kernels only.

    Raises:
      ConfigError: if the name or the schedule is not known.
    """
    rescale = {"rmsprop": optax.scale_by_rms, "adam": optax.scale_by_adam}
    if config.name not in rescale:
        raise ConfigError(f"optimizer.name={config.name!r} is not in {list(rescale)}.")
    schedule = learning_rate_schedule(config, max_epochs)

    @optax.inject_hyperparams
    def scheduled(steps_per_epoch: jax.Array) -> optax.GradientTransformation:
        return optax.scale_by_learning_rate(
            lambda steps: schedule(steps / steps_per_epoch)
        )

    return optax.chain(
        optax.add_decayed_weights(2 * config.l2, mask=kernels),
        rescale[config.name](),
        optax.add_decayed_weights(config.weight_decay, mask=kernels),
        # A part of the state and not of the program: folds of different sizes have the
        # same program, which is compiled once.
        scheduled(float(steps_per_epoch)),
    )
