"""One masked pass that loses no example, and the scores of what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from diccoser_jax import data, distributed, features, layers, metrics, predictions
from diccoser_jax.predictions import Predictions

if TYPE_CHECKING:  # train.py imports this module
    from diccoser_jax.train import TrainState


def infer(model: nn.Module, variables: Any, audio: jax.Array) -> layers.Output:
    """A network's outputs for whole recordings, in inference mode; jit it.

    On CPU, raw samples go through the network by twos on each device, so that what one
    layer leaves is still in the cache when the next one comes for it. Log-mel is small
    enough for all at once.

    Args:
      model: the network.
      variables: of the model.
      audio: ``[batch, samples]``.

    Returns:
      `layers.Output` of the batch.
    """
    apply: Callable[..., Any] = model.apply
    if model.config.frontend != "raw":
        return apply(variables, audio)
    at_once = features.devices_of_batch()
    at_once *= 1 + (len(audio) % (2 * at_once) == 0)

    def in_pieces(variables, audio):
        # Every n-th recording, so that each device has some of each piece.
        pieces = audio.reshape(at_once, -1, audio.shape[1]).swapaxes(0, 1)
        outputs = jax.lax.map(lambda audio: apply(variables, audio), pieces)
        return jax.tree.map(
            lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), outputs
        )

    return jax.lax.platform_dependent(variables, audio, cpu=in_pieces, default=apply)


def eval_step(
    state: TrainState, batch: data.Batch
) -> tuple[layers.Output, jax.Array, jax.Array]:
    """The network's outputs for a batch, without dropout, by running statistics.

    Args:
      state: parameters, batch statistics and loss.
      batch: ``audio``, ``target`` and ``mask`` as in `data.train_batches`. What the
        mask leaves out has no influence on the loss.

    Returns:
      The outputs, the mean loss over the sequences that count, and their number.
    """
    output = infer(state.model, state.variables, batch["audio"])
    return output, state.loss_fn(output, batch), count_sequences(batch["mask"])


def count_sequences(mask: jax.Array) -> jax.Array:
    """How many of ``[batch, ...]`` count at all: a mean loss is the mean over them."""
    return jnp.any(mask.reshape(mask.shape[0], -1) > 0, axis=1).sum()


def masked_pass(
    step: Callable[..., tuple[layers.Output, jax.Array, jax.Array]],
    state: TrainState,
    batches: Iterable[data.Batch],
    *,
    batch_size: int,
    sharding: jax.sharding.Sharding,
) -> Iterator[tuple[data.Batch, layers.Output, float, int]]:
    """What a step says of the batches of `data.eval_batches`.

    Args:
      step: `eval_step`, jitted.
      state: what to ask.
      batches: up to ``batch_size`` each; the last one is padded to it and masked.
      batch_size: of the step.
      sharding: of the batch axis.

    Yields:
      The batch; the outputs for it and for what it was padded with; its mean loss; and
      how many sequences that is the mean of.
    """
    for batch in batches:
        padded = data.pad_batch(data.arrays(batch), batch_size)
        share = distributed.share(padded)
        output, loss, sequences = step(state, distributed.to_devices(share, sharding))
        yield batch, output, float(loss), int(sequences)


def predict(
    step: Callable[..., tuple[layers.Output, jax.Array, jax.Array]],
    state: TrainState,
    *,
    corpus: data.Corpus,
    units: Sequence[str],
    batch_size: int,
    window_seconds: float,
    sharding: jax.sharding.Sharding,
) -> tuple[Predictions, float]:
    """What the state answers on every example of these units.

    Args:
      step: `eval_step`, jitted.
      state: what to ask.
      corpus: where the examples lie.
      units: speakers or recordings.
      batch_size: the last batch is padded to it and masked.
      window_seconds: length of a window.
      sharding: of the batch axis.

    Returns:
      A row for each utterance, or for each frame, of fold 0 and seed 0; and the mean
      loss over the sequences.
    """
    loss_sum, sequences_sum, parts = 0.0, 0, []
    batches = data.eval_batches(
        corpus, units, batch_size=batch_size, window_seconds=window_seconds
    )
    for batch, output, loss, sequences in masked_pass(
        step, state, batches, batch_size=batch_size, sharding=sharding
    ):
        loss_sum += loss * sequences
        sequences_sum += sequences
        parts.append(_rows(corpus.task, output, batch))
    return predictions.concatenate(parts), loss_sum / sequences_sum


def _rows(task: str, output: layers.Output, batch: data.Batch) -> Predictions:
    """The rows of a batch; what was padded is left out."""
    recordings, speakers, targets = (
        batch[key] for key in ("recording", "speaker", "target")
    )
    if task == "classification":
        outputs = distributed.to_host(output.pooled)[: len(targets)]
    else:
        counts = batch["mask"] > 0
        frames = counts.sum(axis=1)
        recordings, speakers = (np.repeat(x, frames) for x in (recordings, speakers))
        outputs = distributed.to_host(output.frames)[: len(targets)][counts]
        targets = targets[counts]
    zeros = np.zeros(len(targets), np.int32)
    return Predictions(recordings, speakers, zeros, zeros, targets, outputs)


def score(rows: Predictions, names: Sequence[str]) -> dict[str, Any]:
    """Scores rows, of one fold or of many.

    Args:
      rows: at least one.
      names: of the classes, or of the dimensions.

    Returns:
      JSON-able: ``examples`` (utterances, or recordings), ``score`` (the UA, or the
      mean CCC over the dimensions), and for classification ``wa``, ``ua``, ``recalls``
      (None for a class that does not occur) and ``confusion``, for regression ``ccc``,
      for each dimension ``pooled`` over all frames and ``per_recording_mean``.
    """
    if rows.targets.ndim == 1:
        return _classification_scores(rows, names)
    return _regression_scores(rows, names)


def _classification_scores(rows: Predictions, names: Sequence[str]) -> dict[str, Any]:
    confusion = metrics.confusion_matrix(
        rows.targets, rows.outputs.argmax(axis=-1), len(names)
    )
    recalls = metrics.recalls(confusion)
    ua = float(metrics.unweighted_accuracy(confusion))
    return {
        "examples": len(rows.targets),
        "score": ua,
        "wa": float(metrics.weighted_accuracy(confusion)),
        "ua": ua,
        "recalls": {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(names, recalls)
        },
        "confusion": confusion.tolist(),
    }


def _regression_scores(rows: Predictions, names: Sequence[str]) -> dict[str, Any]:
    recordings = [
        metrics.CccSums.from_arrays(part.outputs, part.targets)
        for part in rows.by_recording()
    ]
    pooled = sum(recordings[1:], start=recordings[0]).ccc()
    mean = np.mean([recording.ccc() for recording in recordings], axis=0)
    return {
        "examples": len(recordings),
        "score": float(pooled.mean()),
        "ccc": {
            name: {"pooled": float(p), "per_recording_mean": float(m)}
            for name, p, m in zip(names, pooled, mean)
        },
    }
