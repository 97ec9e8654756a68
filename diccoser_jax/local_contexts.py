"""What the local contexts hold: their principal components (Fig. 8)."""

from collections.abc import Sequence

import jax
import numpy as np
import scipy.stats

from data_prep.continuous import composition
from diccoser_jax import data, model_file


def means(
    saved: model_file.SavedModel,
    corpus: data.Corpus,
    units: Sequence[str],
    window_seconds: float,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over time of the local context of each recording (or window).

    Args:
      saved: a network that has local contexts: not the CNN-LSTM.
      corpus: where the recordings lie.
      units: speakers or recordings.
      window_seconds: length of a window.
      batch_size: so many go through the network at once.

    Returns:
      ``[rows, features]``, and classes int ``[rows]`` or, likewise over time, means of
      the labels, float ``[rows, dimensions]``.
    """
    infer = jax.jit(lambda audio: saved.model.apply(saved.variables, audio))
    contexts, targets = [], []
    for batch in data.eval_batches(
        corpus, units, batch_size=batch_size, window_seconds=window_seconds
    ):
        padded = data.pad_batch(data.arrays(batch), batch_size)
        context = np.asarray(infer(padded["audio"]).local_context)
        context, target = context[: len(batch["target"])], batch["target"]
        if target.ndim == 1:
            context = context.mean(axis=1)
        else:  # a tail is padded
            weights = batch["mask"] / batch["mask"].sum(axis=1, keepdims=True)
            context, target = (
                np.einsum("nt,ntd->nd", weights, x) for x in (context, target)
            )
        contexts.append(context)
        targets.append(target)
    return np.concatenate(contexts), np.concatenate(targets)


def principal_components(
    vectors: np.ndarray,
) -> tuple[np.ndarray, list[float | None]]:
    """The first two principal components.

    Args:
      vectors: ``[rows, features]``, two rows at least.

    Returns:
      ``[rows, 2]``, and the shares of the variance that they hold; None where all
      rows are the same.
    """
    centred = vectors - vectors.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    variances = scales**2
    total = variances.sum()
    shares = [float(v / total) if total else None for v in variances[:2]]
    return (left * scales)[:, :2], shares


def correlations(
    components: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> dict[str, float | None]:
    """What the components have to do with arousal and valence.

    Args:
      components: ``[rows, 2]``.
      targets: classes, int ``[rows]``, whose places are those of their words (Russell
        and Mehrabian 1977); or labels ``[rows, dimensions]``.
      names: of the classes, or of the dimensions.

    Returns:
      Absolute rank correlations (Spearman): under ``arousal`` of the first component,
      under ``valence`` of the second; None where there are no such labels, or where
      one side does not vary.
    """
    found: dict[str, float | None] = dict.fromkeys(("arousal", "valence"))
    if targets.ndim == 1:
        if not set(names) <= set(composition.EMOTIONS):
            return found
        points = np.array([composition.point(name, 1.0) for name in names])[targets]
        places = {"arousal": 0, "valence": 1}
    else:
        points, places = targets, {name: i for i, name in enumerate(names)}
    for i, dimension in enumerate(found):
        values = points[:, places[dimension]] if dimension in places else None
        if values is not None and np.ptp(values) and np.ptp(components[:, i]):
            rank_correlation = scipy.stats.spearmanr(components[:, i], values)[0]
            found[dimension] = float(abs(rank_correlation))
    return found
