"""Whether a posterior of 0.8 is right in 8 of 10 cases, and how to make it so.

Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks".
"""

import dataclasses

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

TEMPERATURES = (0.05, 20.0)  # bounds of `fit_temperature`


def fit_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """The temperature T under which `softmax(logits / T)` is most likely.

    The mean negative log likelihood is convex in 1/T, so that its slope has one root at
    most. Without a root within `TEMPERATURES` the nearer bound is returned: the lower
    one if every row is right (the likelihood grows until T is 0), the upper one if
    the logits say no more than chance (it grows until T is infinite).

    Args:
      logits: `[rows, classes]`, of data that the network was not trained on.
      targets: int `[rows]`, each in [0, classes).

    Returns:
      T in [0.05, 20]. Above 1: the network is overconfident.

    Raises:
      ValueError: If there is no row, or shapes, classes or logits are not as above.
    """
    logits, targets = _check(logits, targets, "logits")
    answered = np.take_along_axis(logits, targets[:, None], axis=1)[:, 0]

    def slope(inverse: float) -> float:
        """Of the negative log likelihood, with respect to 1/T."""
        expected = np.sum(softmax(inverse * logits, axis=1) * logits, axis=1)
        return float(np.mean(expected - answered))

    lowest, highest = 1 / TEMPERATURES[1], 1 / TEMPERATURES[0]
    if slope(highest) <= 0:  # Also 0, where posteriors are all exactly 0 or 1.
        return TEMPERATURES[0]
    if slope(lowest) >= 0:
        return TEMPERATURES[1]
    return 1 / brentq(slope, lowest, highest)


@dataclasses.dataclass(frozen=True, eq=False)
class Reliability:
    """Confidence beside accuracy; bin m of M holds confidences in ((m-1)/M, m/M].

    Attributes:
      counts: int64 `[bins]`, rows.
      confidence: float64 `[bins]`, mean of the largest posterior; NaN without rows.
      accuracy: float64 `[bins]`, share of the rows that are right; NaN without rows.
    """

    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    def expected_error(self) -> float:
        """Mean distance of confidence and accuracy, weighted by rows; in [0, 1]."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())


def reliability(
    posteriors: np.ndarray, targets: np.ndarray, bins: int = 15
) -> Reliability:
    """Sorts rows into bins of equal width by their confidence.

    Args:
      posteriors: `[rows, classes]` in [0, 1].
      targets: int `[rows]`, each in [0, classes).
      bins: Number of bins.

    Returns:
      What the diagram of Guo et al. 2017, figure 1, shows.

    Raises:
      ValueError: If there is no row, or the arguments are not as above.
    """
    posteriors, targets = _check(posteriors, targets, "posteriors")
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    # Rounding may leave a softmax a little above 1.
    if posteriors.min() < 0 or posteriors.max() > 1 + 1e-6:
        raise ValueError(
            "posteriors must be in [0, 1], got values from "
            f"{posteriors.min()} to {posteriors.max()}; are they logits?"
        )
    confidences = posteriors.max(axis=1)
    right = posteriors.argmax(axis=1) == targets
    bin_of_row = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(bin_of_row, minlength=bins)
    sums = (np.bincount(bin_of_row, x, minlength=bins) for x in (confidences, right))
    empty = np.full(bins, np.nan)
    return Reliability(
        counts,
        *(np.divide(x, counts, out=empty.copy(), where=counts > 0) for x in sums),
    )


def expected_calibration_error(
    posteriors: np.ndarray, targets: np.ndarray, bins: int = 15
) -> float:
    """How far confidence is from accuracy, in the mean over rows.

    Guo et al. 2017, equation 3; arguments and errors as of `reliability`.

    Returns:
      ECE in [0, 1]; 0 is perfect.

    Examples:
      Sure of 0.75 and right once in two cases:

      >>> posteriors = np.array([[0.75, 0.25], [0.75, 0.25]])
      >>> expected_calibration_error(posteriors, np.array([0, 1]))
      0.25
    """
    return reliability(posteriors, targets, bins).expected_error()


def _check(
    values: np.ndarray, targets: np.ndarray, name: str
) -> tuple[np.ndarray, np.ndarray]:
    values, targets = np.asarray(values, np.float64), np.asarray(targets)
    if values.ndim != 2 or targets.shape != values.shape[:1] or not values.size:
        raise ValueError(
            f"{name} must be [rows, classes] and targets [rows], at least one, got "
            f"{values.shape} and {targets.shape}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity")
    if not np.issubdtype(targets.dtype, np.integer):
        raise ValueError(f"targets must be integers, got {targets.dtype}")
    if not 0 <= targets.min() <= targets.max() < values.shape[1]:
        raise ValueError(
            f"targets must be in [0, {values.shape[1]}), got values from "
            f"{targets.min()} to {targets.max()}"
        )
    return values, targets
