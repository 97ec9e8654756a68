"""How sure a score is: folds, seeds, speakers, and one system beside another.

Rows of one speaker are alike, so that speakers, not rows, are what is drawn, flipped
and counted here. What is kept of a group of rows, a confusion matrix or the moments
of a concordance, adds up; so thousands of resampled corpora are one matrix product.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diccoser_jax import metrics
from diccoser_jax.losses import CCC_FLOOR
from diccoser_jax.predictions import Predictions

LEVEL = 0.95  # of the intervals; 1 - LEVEL is the p value below which noise ends

Score = Callable[[np.ndarray], np.ndarray]


# Sums of groups of rows, and the scores of such sums.


def group_sums(
    predictions: Predictions, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the scores need of each group of rows.

    Args:
      predictions: Of a classification, or of a regression.
      groups: `[rows]`, such as ``predictions.speakers``.

    Returns:
      The groups, sorted, and float64 sums that add up: confusion matrices
      `[groups, classes, classes]` (rows are the truth), or moments
      `[groups, 6, dimensions]`: number of frames, sums of labels n and predictions m,
      of n², m² and n·m, all after one constant is taken off, which no CCC depends on.
    """
    names, group_of_row = np.unique(groups, return_inverse=True)
    targets, outputs = predictions.targets, predictions.outputs
    if targets.ndim == 1:
        classes = outputs.shape[1]
        sums = np.zeros((len(names), classes, classes))
        np.add.at(sums, (group_of_row, targets, outputs.argmax(axis=1)), 1)
        return names, sums
    # Centred, so that the sums of squares keep their digits.
    centre = targets.mean(axis=0, dtype=np.float64)
    n, m = targets - centre, outputs - centre
    moments = np.stack([np.ones_like(n), n, m, n * n, m * m, n * m], axis=1)
    sums = np.zeros((len(names), *moments.shape[1:]))
    np.add.at(sums, group_of_row, moments)
    return names, sums


def concordance(moments: np.ndarray) -> np.ndarray:
    """CCC `[..., dimensions]` of the moments `[..., 6, dimensions]` of `group_sums`."""
    count, *sums = np.moveaxis(moments, -2, 0)
    n, m, nn, mm, nm = (x / count for x in sums)
    spread = nn - n * n + mm - m * m + np.square(n - m)
    return 2 * (nm - n * m) / np.maximum(spread, CCC_FLOOR)


def measures(task: str, names: Sequence[str]) -> dict[str, Score]:
    """The scores of a task, each a function from `[..., sums]` to `[...]`.

    Args:
      task: "classification" or "regression".
      names: Of the classes, or of the dimensions.

    Returns:
      ``ua`` and ``wa``, or ``ccc_<name>`` for each dimension.
    """
    if task == "classification":
        return {"ua": metrics.unweighted_accuracy, "wa": metrics.weighted_accuracy}

    def ccc(d: int) -> Score:
        return lambda moments: concordance(moments)[..., d]

    return {f"ccc_{name}": ccc(d) for d, name in enumerate(names)}


def measure_name(measure: str) -> str:
    """``ua`` and ``ccc_arousal`` of `measures` as UA and CCC, arousal."""
    if measure.startswith("ccc_"):
        return f"CCC, {measure.removeprefix('ccc_')}"
    return measure.upper()


# One system.


def bootstrap_interval(
    groups: np.ndarray,
    score: Score,
    *,
    draws: int = 2000,
    level: float = LEVEL,
    seed: int = 0,
) -> np.ndarray:
    """Where the score of other speakers of the same kind is to be expected.

    The percentile interval of Efron and Tibshirani 1993, "An introduction to the
    bootstrap", section 13.3, over whole groups: as many as there are, drawn with
    replacement. With few groups it is too narrow rather than too wide.

    Args:
      groups: `[groups, ...]` of `group_sums`: what adds up.
      score: From sums `[draws, ...]` to `[draws]` or `[draws, scores]`. NaN, where a
        draw defines no score, is left out.
      draws: How often as many groups are drawn.
      level: Share of the draws that lie within.
      seed: Of the draws.

    Returns:
      float64 `[2]` or `[2, scores]`: low and high.

    Raises:
      ValueError: If there are fewer than two groups.
    """
    groups = np.asarray(groups, np.float64)
    if len(groups) < 2:
        raise ValueError(f"an interval takes at least two groups, got {len(groups)}")
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), draws)
    sums = np.tensordot(times.astype(np.float64), groups, axes=1)
    outside = (1 - level) / 2
    return np.nanquantile(score(sums), [outside, 1 - outside], axis=0)


def variance_components(scores: Sequence[np.ndarray]) -> tuple[float, float]:
    """Splits the variance of repeated runs into folds and seeds.

    One-way random effects, runs within folds, by mean squares: Searle, Casella and
    McCulloch 1992, "Variance components", chapter 3. Seeds are nested in folds rather
    than crossed, since one seed gives each fold other batches: what a new seed changes
    at a given fold is all counted as seed.

    Args:
      scores: For each fold, the scores `[runs]` of its seeds; the numbers of runs may
        differ.

    Returns:
      Variance between folds (0 if it is smaller than seeds explain) and of the seeds.

    Raises:
      ValueError: If there are fewer than two folds, or no fold has two runs.
    """
    runs = np.array([len(fold) for fold in scores])
    if len(runs) < 2 or runs.max() < 2:
        raise ValueError(f"it takes two folds and a fold with two runs, got {runs}")
    total, folds = runs.sum(), len(runs)
    means = np.array([np.mean(fold) for fold in scores])
    within = sum(np.sum(np.square(x - m)) for x, m in zip(scores, means))
    seed = within / (total - folds)
    between = np.sum(runs * np.square(means - np.concatenate(scores).mean()))
    effective_runs = (total - np.sum(runs**2) / total) / (folds - 1)
    fold = max(0.0, (between / (folds - 1) - seed) / effective_runs)
    return float(fold), float(seed)


def summarise(
    predictions: Predictions, task: str, names: Sequence[str]
) -> dict[str, Any]:
    """What a reviewer asks about the scores of all folds and seeds.

    Args:
      predictions: Of all folds and seeds.
      task: "classification" or "regression".
      names: Of the classes, or of the dimensions.

    Returns:
      JSON-able: ``folds``, ``seeds`` and ``speakers`` (how many), ``level`` (of the
      intervals), and for each of `measures` under ``measures``:

      * ``mean`` over folds, each fold the mean over its seeds;
      * ``std`` of the folds around it (n - 1 in the denominator), None for one fold;
      * ``pooled``: one score of all rows;
      * ``interval``: `bootstrap_interval` of the pooled score over speakers, [low,
        high], None for one speaker;
      * ``variance``, only if there are several seeds: ``fold`` and ``seed`` of
        `variance_components`; of a single fold, None and the variance of its seeds.
    """
    speakers, sums = group_sums(predictions, predictions.speakers)
    runs, run_of_row = np.unique(
        np.stack([predictions.folds, predictions.seeds], axis=1),
        axis=0,
        return_inverse=True,
    )
    _, run_sums = group_sums(predictions, run_of_row.ravel())
    folds, seeds = np.unique(runs[:, 0]), np.unique(runs[:, 1])
    entries = {}
    for measure, score in measures(task, names).items():
        run_scores = score(run_sums)
        by_fold = [run_scores[runs[:, 0] == fold] for fold in folds]
        means = np.array([np.mean(scores) for scores in by_fold])
        several = len(folds) > 1
        interval = None
        if len(speakers) > 1:
            interval = bootstrap_interval(sums, score).tolist()
        entries[measure] = {
            "mean": float(means.mean()),
            "std": float(means.std(ddof=1)) if several else None,
            "pooled": float(score(sums.sum(axis=0))),
            "interval": interval,
        }
        if len(seeds) > 1:
            fold, seed = None, float(run_scores.var(ddof=1))
            if several:
                fold, seed = variance_components(by_fold)
            entries[measure]["variance"] = {"fold": fold, "seed": seed}
    return {
        "folds": len(folds),
        "seeds": len(seeds),
        "speakers": len(speakers),
        "level": LEVEL,
        "measures": entries,
    }


# Two systems.


def paired_test(
    a: Predictions,
    b: Predictions,
    *,
    over: str = "speakers",
    max_flips: int = 2**16,
    seed: int = 0,
) -> dict[str, Any]:
    """Whether one system is better than the other on the same recordings, or noise.

    Each speaker (or fold) gives one difference of scores: of UA, or of the CCC, mean
    over the dimensions. If the systems are alike, its sign is a coin toss. The p value
    is the share of all ways to set the signs whose mean is as far from 0 as the one
    seen (Fisher 1935; Good 2005, "Permutation, parametric and bootstrap tests of
    hypotheses"). Beyond `max_flips` ways, so many are drawn and the one seen is counted
    among them (Phipson and Smyth 2010).

    Args:
      a: Of one system. Several seeds are scored together.
      b: Of the other one, in any order of the recordings.
      over: "speakers" or "folds": what is compared in pairs.
      max_flips: How many ways to set the signs are tried at most.
      seed: Of what is drawn.

    Returns:
      JSON-able: ``measure``, ``over``, ``pairs`` (how many), ``difference`` (a - b,
      mean over pairs), ``interval`` (`bootstrap_interval` of it, [low, high]),
      ``p_value`` (two-sided) and ``verdict``, a sentence.

    Raises:
      ValueError: If a and b were not tested on the same rows (for folds: by the same
        folds), or there are fewer than two pairs.
    """
    if over not in ("speakers", "folds"):
        raise ValueError(f"over must be speakers or folds, got {over!r}")
    _check_same_rows(a, b, over)
    classification = a.targets.ndim == 1
    scores = []
    for system in (a, b):
        _, sums = group_sums(system, getattr(system, over))
        scores.append(
            metrics.unweighted_accuracy(sums)
            if classification
            else concordance(sums).mean(axis=-1)
        )
    differences = scores[0] - scores[1]
    pairs = len(differences)
    if pairs < 2:
        raise ValueError(f"a paired test takes at least two {over}, got {pairs}")
    measure = "UA" if classification else "CCC"
    difference = float(differences.mean())
    low, high = bootstrap_interval(
        differences, lambda sums: sums / pairs, seed=seed
    ).tolist()
    p_value = _sign_flip_test(differences, max_flips, seed)
    return {
        "measure": measure,
        "over": over,
        "pairs": pairs,
        "difference": difference,
        "interval": [low, high],
        "p_value": p_value,
        "verdict": (
            f"{difference:+.3f} {measure} ({LEVEL:.0%} interval {low:+.3f} to "
            f"{high:+.3f}, {pairs} {over}, p = {p_value:.2g}): "
            + _judge(p_value, pairs, over)
        ),
    }


def _judge(p_value: float, pairs: int, over: str) -> str:
    if p_value < 1 - LEVEL:
        return "more than noise."
    smallest = 2.0 ** (1 - pairs)
    if smallest >= 1 - LEVEL:
        return (
            f"within noise, as any difference is with so few {over}: the p value "
            f"cannot be below {smallest:.2g}."
        )
    return "within noise."


def _sign_flip_test(differences: np.ndarray, max_flips: int, seed: int) -> float:
    exact = 2 ** len(differences) <= max_flips
    ways = np.arange(2 ** len(differences) if exact else max_flips)
    rng = np.random.default_rng(seed)
    seen = differences.sum()
    sums = np.full(len(ways), seen)
    for pair, difference in enumerate(differences):
        turned = ways >> pair & 1 if exact else rng.integers(0, 2, len(ways))
        sums -= 2 * difference * turned
    # Sums that are equal on paper may differ by rounding.
    as_far = np.abs(sums) >= np.abs(seen) - 1e-12 * np.abs(differences).sum()
    if exact:
        return float(as_far.mean())
    return float((as_far.sum() + 1) / (len(ways) + 1))


def _check_same_rows(a: Predictions, b: Predictions, over: str) -> None:
    """Every seed of both must have tested the same rows; the order may differ."""
    sides = [
        (f"the {ordinal} system, seed {seed}", _rows(system, system.seeds == seed))
        for ordinal, system in (("first", a), ("second", b))
        for seed in np.unique(system.seeds)
    ]
    (name, rows), *others = sides
    for other_name, other in others:
        here, there = set(rows["recordings"]), set(other["recordings"])
        for lacking, extra in ((other_name, here - there), (name, there - here)):
            if extra:
                raise ValueError(
                    f"{lacking} was not tested on {len(extra)} of the recordings, such "
                    f"as {min(extra)!r}"
                )
        for key in ("recordings", "speakers", "targets", over):
            if not np.array_equal(rows[key], other[key]):
                raise ValueError(f"{name} and {other_name} differ in the rows' {key}")


def _rows(predictions: Predictions, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Rows of one run, by recording; frames keep their order."""
    order = np.argsort(predictions.recordings[chosen], kind="stable")
    keys = ("recordings", "speakers", "folds", "targets")
    return {key: getattr(predictions, key)[chosen][order] for key in keys}
