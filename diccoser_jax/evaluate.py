"""One masked pass that loses no example, and the scores it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from diccoser_jax import data, layers, metrics

if TYPE_CHECKING:  # train.py imports this module
    from diccoser_jax.train import TrainState


def infer(
    apply: Callable[..., layers.Output], variables: Any, audio: jax.Array
) -> layers.Output:
    """A network's outputs for whole recordings, in inference mode; jit it.

    On CPU they go through the network by twos, so that what one layer leaves is still
    in the cache when the next one comes for it.

    Args:
      apply: ``model.apply``.
      variables: of the model.
      audio: ``[batch, samples]``.

    Returns:
      `layers.Output` of the batch.
    """
    piece = 1 + (len(audio) % 2 == 0)

    def in_pieces(variables, audio):
        pieces = audio.reshape(-1, piece, audio.shape[1])
        outputs = jax.lax.map(lambda audio: apply(variables, audio), pieces)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

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
    output = infer(state.apply_fn, state.variables, batch["audio"])
    return output, state.loss_fn(output, batch), count_sequences(batch["mask"])


def count_sequences(mask: jax.Array) -> jax.Array:
    """How many of ``[batch, ...]`` count at all: a mean loss is the mean over them."""
    return jnp.any(mask.reshape(mask.shape[0], -1) > 0, axis=1).sum()


def evaluate(
    step: Callable[..., tuple[layers.Output, jax.Array, jax.Array]],
    state: TrainState,
    *,
    corpus: data.Corpus,
    units: Sequence[str],
    batch_size: int,
    window_seconds: float,
    sharding: jax.sharding.Sharding,
) -> dict[str, Any]:
    """Scores the state on every example of these units.

    Args:
      step: `eval_step`, jitted.
      state: what to score.
      corpus: where the examples lie.
      units: speakers or recordings.
      batch_size: the last batch is padded to it and masked.
      window_seconds: length of a window.
      sharding: of the batch axis.

    Returns:
      JSON-able: ``examples``, ``loss``, ``score`` (the UA, or the mean CCC over the
      dimensions), and for classification ``wa``, ``ua``, ``recalls`` (None for a class
      that does not occur) and ``confusion``, for regression ``ccc``, for each dimension
      ``pooled`` over all frames and ``per_recording_mean``.
    """
    loss_sum, examples, sums = 0.0, 0, []
    for unit in units:
        unit_sums = []
        for batch in data.eval_batches(
            corpus, [unit], batch_size=batch_size, window_seconds=window_seconds
        ):
            padded = jax.device_put(data.pad_batch(batch, batch_size), sharding)
            output, loss, sequences = step(state, padded)
            loss_sum += float(loss) * int(sequences)
            examples += len(batch["audio"])
            unit_sums.append(_count(corpus, output, batch))
        sums.append(sum(unit_sums[1:], start=unit_sums[0]))
    scores = (
        _classification_scores(sums, corpus.target_names)
        if corpus.task == "classification"
        else _regression_scores(sums, corpus.target_names)
    )
    return {"examples": examples, "loss": loss_sum / examples, **scores}


def _count(
    corpus: data.Corpus, output: layers.Output, batch: data.Batch
) -> np.ndarray | metrics.CccSums:
    """What the scores need of one batch; the padding is cut off."""
    size = len(batch["audio"])
    if corpus.task == "classification":
        answers = np.asarray(output.pooled)[:size].argmax(axis=-1)
        return metrics.confusion_matrix(
            batch["target"], answers, len(corpus.target_names)
        )
    counts = batch["mask"] > 0
    return metrics.CccSums.from_arrays(
        np.asarray(output.frames)[:size][counts], batch["target"][counts]
    )


def _classification_scores(
    confusions: list[np.ndarray], names: Sequence[str]
) -> dict[str, Any]:
    confusion = sum(confusions)
    recalls = metrics.recalls(confusion)
    ua = metrics.unweighted_accuracy(confusion)
    return {
        "score": ua,
        "wa": metrics.weighted_accuracy(confusion),
        "ua": ua,
        "recalls": {
            name: None if np.isnan(recall) else float(recall)
            for name, recall in zip(names, recalls)
        },
        "confusion": confusion.tolist(),
    }


def _regression_scores(
    sums: list[metrics.CccSums], names: Sequence[str]
) -> dict[str, Any]:
    pooled = sum(sums[1:], start=sums[0]).ccc()
    mean = np.mean([recording.ccc() for recording in sums], axis=0)
    return {
        "score": float(pooled.mean()),
        "ccc": {
            name: {"pooled": float(p), "per_recording_mean": float(m)}
            for name, p, m in zip(names, pooled, mean)
        },
    }
