"""Representations of speech that nobody labelled (paper, section 6, future work).

The network of the configuration, with another output: instead of classes, each 25 Hz
frame gives the log-mel frames that lie within it (``frames_ahead`` 0, what an
autoencoder does) and those of later ones, as in autoregressive predictive coding
(Chung et al. 2019, An unsupervised autoregressive model for speech representation
learning). It is causal: what it foretells, it has not heard. All that it knows of the
signal has gone through 64 channels at 25 Hz.

    path = autoencoder.pretrain(config, workdir, corpus, fold)     # no label is read
    vectors = autoencoder.represent(model_file.load(path), corpus) # a linear classifier
    variables = autoencoder.transfer(path, variables)              # or a first guess
"""

import contextlib
import functools
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from flax import traverse_util

from diccoser_jax import config as config_lib
from diccoser_jax import (
    data,
    distributed,
    evaluate,
    features,
    layers,
    lock,
    model_file,
    train,
)
from diccoser_jax.audio import FRAME_SAMPLES
from diccoser_jax.config import ConfigError
from diccoser_jax.folds import Fold

_OUTPUT = "output"  # the layer that a classifier does not share
# Log-mel values of one 25 Hz frame: two frames at 50 Hz.
VALUES = FRAME_SAMPLES // features.MEL_HOP_SAMPLES * features.MEL_BANDS


def targets(waveform: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is to be said of each frame, and which frames count.

    Args:
      waveform: float ``[batch, samples]``.

    Returns:
      Log-mel ``[batch, frames, 80]``, and bool ``[batch, frames]``: whether there is
      any sound. Zeros that a window was padded with do not count.
    """
    frames = waveform.reshape(waveform.shape[0], -1, FRAME_SAMPLES)
    padded = jnp.pad(waveform, ((0, 0), (features.MEL_HOP_SAMPLES, 0)))
    log_mel = features.log_mel(padded)
    return log_mel.reshape(*frames.shape[:2], VALUES), jnp.any(frames != 0, axis=-1)


def loss(
    output: layers.Output, batch: data.Batch, *, frames_ahead: tuple[int, ...]
) -> jax.Array:
    """Mean absolute error, in bel, of all log-mel values that are foretold.

    Args:
      output: ``frames`` ``[batch, frames, 80 · len(frames_ahead)]``.
      batch: ``audio``; labels are not read. A sequence of silence does not count.
      frames_ahead: how far each group of 80 outputs looks ahead, in 25 Hz frames.

    Returns:
      Scalar: the mean over ``frames_ahead``.
    """
    log_mel, sounds = targets(batch["audio"])
    errors = []
    for i, ahead in enumerate(frames_ahead):
        end = log_mel.shape[1] - ahead
        said = output.frames[:, :end, i * VALUES : (i + 1) * VALUES]
        counts = sounds[:, ahead:, None]
        error = jnp.sum(jnp.abs(said - log_mel[:, ahead:]), where=counts)
        errors.append(error / jnp.maximum(VALUES * counts.sum(), 1))
    return jnp.stack(errors).mean()


def pretrain(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    corpus: data.Corpus,
    fold: Fold,
) -> pathlib.Path:
    """Trains on the speech of a fold's training units, and on no label.

    ``config.model``, ``config.optimizer``, ``config.augmentation`` and ``config.train``
    hold, but that it goes through ``config.autoencoder.max_epochs``, all of them. The
    epoch with the smallest loss on the validation units is kept. Goes on where it
    stopped, as `train.fit` does; a finished run is not repeated.

    Returns:
      ``model.safetensors`` in ``workdir``: a model whose outputs are log-mel values.

    Raises:
      ConfigError: if settings do not fit, or ``workdir`` has others.
      InUseError: if another process is at work in ``workdir``.
      Exception: as `train.fit`.
    """
    ahead = tuple(config.autoencoder.frames_ahead)
    if not ahead or min(ahead) < 0 or len(set(ahead)) < len(ahead):
        raise ConfigError(
            f"autoencoder.frames_ahead={ahead}: expected different numbers from 0 on."
        )
    if max(ahead) >= data.window_frames(config.data.window_seconds):
        raise ConfigError(
            f"autoencoder.frames_ahead={ahead} leaves the window of "
            f"{config.data.window_seconds} s."
        )

    path = workdir / model_file.NAME
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(lock.hold(workdir))
            config_lib.note(config, workdir / "config.json")

        distributed.on_first(begin)
        if not path.exists():
            _pretrain(config, path, corpus, fold, ahead)
    return path


def _pretrain(
    config: ml_collections.ConfigDict,
    path: pathlib.Path,
    corpus: data.Corpus,
    fold: Fold,
    ahead: tuple[int, ...],
) -> None:
    config = config.copy_and_resolve_references()
    config.train.max_epochs = config.autoencoder.max_epochs
    config.train.patience_epochs = config.autoencoder.max_epochs
    setup = train.set_up(
        config,
        corpus,
        fold.train,
        objective=(VALUES * len(ahead), functools.partial(loss, frames_ahead=ahead)),
    )

    def validate(state: train.TrainState) -> tuple[float, float]:
        size = config.train.batch_size
        batches = data.eval_batches(
            corpus,
            fold.validation,
            batch_size=size,
            window_seconds=config.data.window_seconds,
        )
        # The losses only: what is said of hours of frames is not kept.
        passed = evaluate.masked_pass(
            setup.eval_step, state, batches, batch_size=size, sharding=setup.shared
        )
        losses, weights = zip(*((loss, count) for _, _, loss, count in passed))
        error = float(np.average(losses, weights=weights))
        return error, -error

    state, progress = train.fit(config, path.parent, corpus, setup, validate)
    save = functools.partial(
        model_file.save,
        path,
        state.model,
        jax.device_get(state.variables),
        task="regression",
        target_names=[
            f"{ahead_} ahead, half {half}, band {band}"
            for ahead_, half, band in itertools.product(
                ahead, range(VALUES // features.MEL_BANDS), range(features.MEL_BANDS)
            )
        ],
        window_seconds=config.data.window_seconds,
        card={
            "trained_on": f"{config.data.dataset}: {', '.join(fold.train)}; no labels",
            "chosen_on": ", ".join(fold.validation),
            "validation_loss_bel": -progress.best_score,
            "seed": config.seed,
        },
    )
    distributed.on_first(save)


def represent(
    saved: model_file.SavedModel, corpus: data.Corpus, *, batch_size: int = 10
) -> dict[str, np.ndarray]:
    """A vector for each recording of a corpus of classes.

    Mean and standard deviation, over the frames that sound, of the local context and of
    what the global network makes of it.

    Args:
      saved: a `Diccoser` that was trained, or not.
      corpus: of utterances.
      batch_size: windows at a time.

    Returns:
      float32 ``[4 · features]`` for the id of each recording.
    """

    @jax.jit
    def statistics(audio: jax.Array) -> jax.Array:
        output, inside = saved.model.apply(
            saved.variables,
            audio,
            capture_intermediates=lambda module, _: module.name == "global",
            mutable=["intermediates"],
        )
        (context,) = inside["intermediates"]["global"]["__call__"]
        frames = jnp.concatenate([output.local_context, context], axis=-1)
        weights = targets(audio)[1][..., None].astype(frames.dtype)
        count = jnp.maximum(weights.sum(axis=1), 1)
        mean = jnp.sum(weights * frames, axis=1) / count
        deviations = jnp.square(frames - mean[:, None])
        deviation = jnp.sqrt(jnp.sum(weights * deviations, axis=1) / count)
        return jnp.concatenate([mean, deviation], axis=-1)

    vectors: dict[str, Any] = {}
    for batch in data.eval_batches(
        corpus,
        list(corpus.metadata["units"]),
        batch_size=batch_size,
        window_seconds=saved.window_seconds,
    ):
        padded = data.pad_batch(data.arrays(batch), batch_size)
        rows = np.asarray(statistics(padded["audio"]))
        vectors |= dict(zip(batch["recording"].tolist(), rows))
    return vectors


def transfer(path: pathlib.Path, variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a fresh network, with what a trained one has learnt.

    All but the output layer, whose task is another, is taken from the file: parameters
    and batch statistics.

    Args:
      path: of a model file, such as `pretrain` writes.
      variables: ``params`` and ``batch_stats`` of a network that differs from that of
        the file in its outputs at most.

    Returns:
      The same tree.

    Raises:
      ConfigError: if the two are not of one architecture; names what differs.
    """
    here = traverse_util.flatten_dict(dict(variables), sep="/")
    there = traverse_util.flatten_dict(dict(model_file.load(path).variables), sep="/")
    merged = {}
    for name, leaf in here.items():
        if _OUTPUT in name.split("/"):
            merged[name] = leaf
            continue
        found = there.get(name)
        if found is None or found.shape != leaf.shape:
            what = "is not there" if found is None else f"has shape {found.shape}"
            raise ConfigError(
                f"{path} is of another network: {name} {what}; expected {leaf.shape}."
            )
        merged[name] = jnp.asarray(found, leaf.dtype)
    return traverse_util.unflatten_dict(merged, sep="/")
