"""Scores: weighted and unweighted accuracy, concordance.

NumPy float64 on the host. What is kept of a batch, a confusion matrix or `CccSums`,
adds up: the sum over batches, folds or hosts scores as if all had been seen at once.
"""

import dataclasses

import numpy as np
import numpy.typing as npt
from jaxtyping import Float, Float64, Int64, Integer, Real

from diccoser_jax.losses import CCC_FLOOR


def confusion_matrix(
    labels: Integer[np.ndarray, " examples"],
    predictions: Integer[np.ndarray, " examples"],
    num_classes: int,
) -> Int64[np.ndarray, "{num_classes} {num_classes}"]:
    """Counts how often each class is taken for which.

    Args:
      labels: int `[examples]`, each in [0, num_classes).
      predictions: int `[examples]`, each in [0, num_classes).
      num_classes: Number of classes, whether they occur or not.

    Returns:
      int64 `[num_classes, num_classes]`: rows are the truth, columns the predictions.
      Matrices of parts add up to the matrix of the whole.

    Raises:
      ValueError: If the arrays are not integers of one shape `[examples]`, or hold a
        class outside the range.

    Examples:
      >>> confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2)
      array([[2, 1],
             [0, 1]])
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.ndim != 1 or labels.shape != predictions.shape:
        raise ValueError(
            "labels and predictions must both be [examples], got "
            f"{labels.shape} and {predictions.shape}"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {values.dtype}")
        if values.size and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"{name} must be in [0, {num_classes}), got values from "
                f"{values.min()} to {values.max()}"
            )
    confusion = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    return confusion


def _check_confusion(confusion: np.ndarray) -> np.ndarray:
    confusion = np.asarray(confusion)
    if confusion.ndim < 2 or confusion.shape[-2] != confusion.shape[-1]:
        raise ValueError(
            f"confusion must be [..., classes, classes], got {confusion.shape}"
        )
    if not confusion.sum(axis=(-2, -1)).all():
        raise ValueError("confusion holds no example, so that no score is defined")
    return confusion


def weighted_accuracy(
    confusion: Real[np.ndarray, "*parts classes classes"],
) -> npt.NDArray[np.float64]:
    """Share of the examples that are right, "overall accuracy" (section 4.2.4).

    Args:
      confusion: `[..., classes, classes]` of `confusion_matrix`.

    Returns:
      float64 `[...]`, WA in [0, 1].

    Raises:
      ValueError: If the matrix is not square or holds no example.

    Examples:
      >>> float(weighted_accuracy(np.array([[2, 1], [0, 1]])))
      0.75
    """
    confusion = _check_confusion(confusion)
    right = np.trace(confusion, axis1=-2, axis2=-1)
    return right / confusion.sum(axis=(-2, -1))


def recalls(
    confusion: Real[np.ndarray, "*parts classes classes"],
) -> Float64[np.ndarray, "*parts classes"]:
    """Share of the examples of each class that are right.

    Args:
      confusion: `[..., classes, classes]` of `confusion_matrix`.

    Returns:
      float64 `[..., classes]` in [0, 1]; NaN for a class without examples.

    Raises:
      ValueError: If the matrix is not square or holds no example.

    Examples:
      >>> recalls(np.array([[3, 1, 0], [0, 1, 0], [0, 0, 0]]))
      array([0.75, 1.  ,  nan])
    """
    confusion = _check_confusion(confusion)
    examples = confusion.sum(axis=-1)
    return np.divide(
        np.diagonal(confusion, axis1=-2, axis2=-1),
        examples,
        out=np.full(examples.shape, np.nan),
        where=examples > 0,
    )


def unweighted_accuracy(
    confusion: Real[np.ndarray, "*parts classes classes"],
) -> npt.NDArray[np.float64]:
    """Mean recall, "average accuracy for each emotion class" (section 4.2.4).

    Args:
      confusion: `[..., classes, classes]` of `confusion_matrix`.

    Returns:
      float64 `[...]`, UA in [0, 1], the mean over the classes that have examples.

    Raises:
      ValueError: If the matrix is not square or holds no example.

    Examples:
      >>> float(unweighted_accuracy(np.array([[3, 1], [0, 1]])))
      0.875
    """
    return np.nanmean(recalls(confusion), axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class CccSums:
    """What the concordance of some frames needs, for each dimension; it adds up.

    Means and sums of squared deviations instead of plain sums of squares, which cancel
    digits under a large offset. They merge by the pairwise update of Chan, Golub and
    LeVeque (1983, "Algorithms for computing the sample variance").

    Attributes:
      count: Number of frames.
      prediction_mean: float64 `[dimensions]`.
      label_mean: float64 `[dimensions]`.
      prediction_squares: float64 `[dimensions]`, squared deviations from the mean,
        summed over frames.
      label_squares: float64 `[dimensions]`, likewise.
      products: float64 `[dimensions]`, products of both deviations, summed over frames.
    """

    count: int
    prediction_mean: Float64[np.ndarray, " dimensions"]
    label_mean: Float64[np.ndarray, " dimensions"]
    prediction_squares: Float64[np.ndarray, " dimensions"]
    label_squares: Float64[np.ndarray, " dimensions"]
    products: Float64[np.ndarray, " dimensions"]

    @classmethod
    def from_arrays(
        cls,
        predictions: Float[np.ndarray, "frames dimensions"],
        labels: Float[np.ndarray, "frames dimensions"],
    ) -> "CccSums":
        """Sums up frames.

        Args:
          predictions: `[frames, dimensions]`; no frame at all makes a neutral summand.
          labels: `[frames, dimensions]`.

        Returns:
          The sums.

        Raises:
          ValueError: If the shapes do not fit each other.
        """
        m, n = np.asarray(predictions, np.float64), np.asarray(labels, np.float64)
        if m.ndim != 2 or m.shape != n.shape:
            raise ValueError(
                "predictions and labels must both be [frames, dimensions], got "
                f"{m.shape} and {n.shape}"
            )
        frames = max(len(m), 1)
        mean_m, mean_n = m.sum(axis=0) / frames, n.sum(axis=0) / frames
        m, n = m - mean_m, n - mean_n
        return cls(
            count=len(m),
            prediction_mean=mean_m,
            label_mean=mean_n,
            prediction_squares=(m * m).sum(axis=0),
            label_squares=(n * n).sum(axis=0),
            products=(m * n).sum(axis=0),
        )

    def __add__(self, other: "CccSums") -> "CccSums":
        count = self.count + other.count
        share = other.count / max(count, 1)
        between = self.count * share
        step_m = other.prediction_mean - self.prediction_mean
        step_n = other.label_mean - self.label_mean
        return CccSums(
            count=count,
            prediction_mean=self.prediction_mean + step_m * share,
            label_mean=self.label_mean + step_n * share,
            prediction_squares=self.prediction_squares
            + other.prediction_squares
            + step_m * step_m * between,
            label_squares=self.label_squares
            + other.label_squares
            + step_n * step_n * between,
            products=self.products + other.products + step_m * step_n * between,
        )

    def ccc(self) -> Float64[np.ndarray, " dimensions"]:
        """Concordance correlation coefficient of all frames.

        Formula, population moments and constant sequences as in `losses.ccc_loss`: the
        CCC is 0 wherever predictions or labels are constant.

        Returns:
          float64 `[dimensions]` in [-1, 1].

        Raises:
          ValueError: If there is no frame.
        """
        if not self.count:
            raise ValueError("no frame was added, so that no CCC is defined")
        spread = (
            self.prediction_squares + self.label_squares
        ) / self.count + np.square(self.prediction_mean - self.label_mean)
        return 2 * self.products / self.count / np.maximum(spread, CCC_FLOOR)
