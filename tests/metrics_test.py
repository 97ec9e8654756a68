"""Tests for diccoser_jax/metrics.py."""

import functools
import operator
import warnings

import numpy as np
import pytest
import sklearn.metrics

from diccoser_jax import losses, metrics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("labels", "predictions", "num_classes"),
    [
        pytest.param(RNG.integers(0, 5, 300), RNG.integers(0, 5, 300), 5, id="random"),
        pytest.param(
            RNG.integers(0, 5, 300) ** 2 // 6,
            RNG.integers(0, 3, 300),
            3,
            id="imbalanced",
        ),
        pytest.param([0, 2, 2, 0], [0, 1, 2, 0], 3, id="a class is absent"),
        pytest.param([0, 0, 1], [2, 2, 2], 4, id="nothing is right"),
        pytest.param([1, 1, 1], [1, 0, 1], 3, id="one class only"),
        pytest.param([2], [2], 3, id="one example"),
        pytest.param([0, 0], [0, 0], 1, id="one class at all"),
    ],
)
def test_scores_equal_scikit_learn(labels, predictions, num_classes):
    confusion = metrics.confusion_matrix(
        np.array(labels), np.array(predictions), num_classes
    )
    every_class = range(num_classes)
    with warnings.catch_warnings():
        # scikit-learn warns of predicted classes that do not occur; we must not.
        warnings.simplefilter("ignore")
        expected = sklearn.metrics.confusion_matrix(
            labels, predictions, labels=every_class
        )
        balanced = sklearn.metrics.balanced_accuracy_score(labels, predictions)
        recalls = sklearn.metrics.recall_score(
            labels, predictions, labels=every_class, average=None, zero_division=np.nan
        )
    assert confusion.dtype == np.int64
    np.testing.assert_array_equal(confusion, expected)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert metrics.unweighted_accuracy(confusion) == pytest.approx(
            balanced, rel=1e-15
        )
        np.testing.assert_allclose(metrics.recalls(confusion), recalls, rtol=1e-15)
    assert metrics.weighted_accuracy(confusion) == pytest.approx(
        sklearn.metrics.accuracy_score(labels, predictions), rel=1e-15
    )


def test_scores_hand_worked():
    confusion = np.array([[8, 2, 0], [1, 1, 0], [0, 0, 0]])
    assert metrics.weighted_accuracy(confusion) == 9 / 12
    np.testing.assert_array_equal(metrics.recalls(confusion), [0.8, 0.5, np.nan])
    assert metrics.unweighted_accuracy(confusion) == 0.65


def test_confusion_matrices_add_up():
    labels, predictions = RNG.integers(0, 4, (2, 103))
    whole = metrics.confusion_matrix(labels, predictions, 4)
    parts = [
        metrics.confusion_matrix(labels[i : i + 10], predictions[i : i + 10], 4)
        for i in range(0, 120, 10)  # The last part is empty.
    ]
    np.testing.assert_array_equal(sum(parts), whole)
    assert whole.sum() == 103


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("labels", "predictions", "message"),
    [
        ([0, 1], [0], r"got \(2,\) and \(1,\)"),
        ([[0]], [[0]], r"got \(1, 1\)"),
        ([0.0, 1.0], [0, 1], "labels must be integers, got float64"),
        ([0, 3], [0, 1], r"labels must be in \[0, 3\), got values from 0 to 3"),
        ([0, 1], [-1, 1], r"predictions must be in \[0, 3\), got values from -1 to 1"),
    ],
)
def test_confusion_matrix_names_what_is_wrong(labels, predictions, message):
    with pytest.raises(ValueError, match=message):
        metrics.confusion_matrix(np.array(labels), np.array(predictions), 3)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "score", [metrics.weighted_accuracy, metrics.unweighted_accuracy, metrics.recalls]
)
def test_scores_of_nothing_are_errors(score):
    with pytest.raises(ValueError, match="holds no example"):
        score(np.zeros((3, 3), np.int64))
    with pytest.raises(ValueError, match=r"got \(2, 3\)"):
        score(np.ones((2, 3), np.int64))


def frames(count=200, offset=0.0, seed=0):
    """Predictions and labels `[count, 2]`; adding the offset is free of rounding."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(0, 0.3, (count, 2))
    predictions = 0.6 * labels + rng.normal(0.1, 0.2, labels.shape)
    return [np.round(x * 2**20) / 2**20 + offset for x in (predictions, labels)]


def oracle_ccc(predictions, labels):
    """CCC of `[frames, dimensions]` from NumPy's covariance matrix."""
    result = []
    for m, n in zip(predictions.T, labels.T):
        (var_m, covariance), (_, var_n) = np.cov(m, n, bias=True)
        result.append(2 * covariance / (var_m + var_n + (m.mean() - n.mean()) ** 2))
    return np.array(result)


def test_ccc_equals_formula():
    predictions, labels = frames()
    ccc = metrics.CccSums.from_arrays(predictions, labels).ccc()
    assert ccc.dtype == np.float64
    np.testing.assert_allclose(ccc, oracle_ccc(predictions, labels), rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_parts_in_any_order_add_up_to_the_whole(seed):
    rng = np.random.default_rng(seed)
    predictions, labels = frames(seed=seed)
    cuts = np.sort(rng.integers(0, 201, 8))  # Equal neighbours make empty parts.
    parts = [
        metrics.CccSums.from_arrays(m, n)
        for m, n in zip(np.split(predictions, cuts), np.split(labels, cuts))
    ]
    parts.append(metrics.CccSums.from_arrays(np.zeros((0, 2)), np.zeros((0, 2))))
    rng.shuffle(parts)
    middle = len(parts) // 2
    one_by_one = functools.reduce(operator.add, parts)
    as_tree = functools.reduce(operator.add, parts[:middle]) + functools.reduce(
        operator.add, parts[middle:]
    )
    whole = metrics.CccSums.from_arrays(predictions, labels)
    for merged in (one_by_one, as_tree):
        assert merged.count == whole.count == 200
        np.testing.assert_allclose(merged.ccc(), whole.ccc(), rtol=1e-13)


def test_ccc_survives_a_large_offset():
    # At 2**32, the squares of plain sums would have lost all digits of the variance.
    plain = metrics.CccSums.from_arrays(*frames()).ccc()
    predictions, labels = frames(offset=2.0**32)
    whole = metrics.CccSums.from_arrays(predictions, labels)
    np.testing.assert_allclose(whole.ccc(), plain, rtol=1e-5)
    merged = metrics.CccSums.from_arrays(
        predictions[:50], labels[:50]
    ) + metrics.CccSums.from_arrays(predictions[50:], labels[50:])
    np.testing.assert_allclose(merged.ccc(), plain, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 0.1, -0.7])
def test_ccc_of_constant_sequences_is_zero_as_in_the_loss(value):
    constant, varying = np.full((30, 2), value), frames(30)[0]
    for predictions, labels in (
        (constant, constant),
        (constant, constant + 0.3),
        (constant, varying),
        (varying, constant),
    ):
        part = metrics.CccSums.from_arrays(predictions, labels)
        for sums in (part, part + part + part):
            np.testing.assert_allclose(sums.ccc(), 0, atol=1e-15)
        loss = losses.ccc_loss(predictions[None], labels[None])
        # The rounding of a float32 mean, squared, over the floor of the spread.
        np.testing.assert_allclose(loss, 1, atol=2 * 2e-7**2 / losses.CCC_FLOOR)


def test_ccc_is_one_minus_the_loss():
    predictions, labels = frames()
    for scale in (1.0, 1e-4, 1e-6):  # Also where the floor of the spread counts.
        ccc = metrics.CccSums.from_arrays(scale * predictions, scale * labels).ccc()
        loss = losses.ccc_loss(scale * predictions[None], scale * labels[None])
        np.testing.assert_allclose(1 - loss, ccc.mean(), atol=2e-7)


@pytest.mark.usefixtures("unchecked")
def test_ccc_sums_name_what_is_wrong():
    with pytest.raises(ValueError, match=r"got \(3, 2\) and \(3, 1\)"):
        metrics.CccSums.from_arrays(np.ones((3, 2)), np.ones((3, 1)))
    with pytest.raises(ValueError, match="no frame was added"):
        metrics.CccSums.from_arrays(np.ones((0, 2)), np.ones((0, 2))).ccc()
