"""Tests for `../diccoser_jax/calibration.py`."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diccoser_jax import calibration


def softmax(logits):
    exp = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True)


def draw(rows=400, classes=4, temperature=2.5, seed=0):
    """Logits whose softmax, at that temperature, is what the targets are drawn from."""
    rng = np.random.default_rng(seed)
    logits = temperature * rng.normal(0, 2, (rows, classes))
    posteriors = softmax(logits / temperature)
    targets = (rng.random((rows, 1)) > posteriors.cumsum(axis=1)).sum(axis=1)
    return logits, targets


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_temperature_is_the_best_of_a_fine_grid(temperature):
    logits, targets = draw(temperature=temperature)
    grid = np.geomspace(0.05, 20, 6001)  # neighbours 0.1 % apart
    losses = [
        -np.mean(np.log(softmax(logits / t)[np.arange(len(targets)), targets]))
        for t in grid
    ]
    best = grid[np.argmin(losses)]
    fitted = calibration.fit_temperature(logits, targets)
    assert fitted == pytest.approx(best, rel=1e-3)
    assert fitted == pytest.approx(temperature, rel=0.15)  # by statistics


@given(st.floats(0.2, 5), st.integers(0, 9))
def test_scaled_logits_have_a_scaled_temperature(scale, seed):
    logits, targets = draw(rows=60, temperature=1.0, seed=seed)
    once = calibration.fit_temperature(logits, targets)
    scaled = calibration.fit_temperature(scale * logits, targets)
    assert scaled == pytest.approx(np.clip(scale * once, 0.05, 20), rel=1e-9)


def test_temperature_stays_within_its_bounds():
    logits, _ = draw()
    right, wrong = logits.argmax(axis=1), logits.argmin(axis=1)
    assert calibration.fit_temperature(logits, right) == 0.05
    assert calibration.fit_temperature(1e6 * logits, right) == 0.05
    assert calibration.fit_temperature(logits, wrong) == 20
    assert calibration.fit_temperature(logits[:1], right[:1]) == 0.05


def test_calibration_error_by_hand():
    # Bins of (0, 0.2], ... (0.8, 1]; 0.6 belongs to (0.4, 0.6].
    posteriors = np.array([[0.9, 0.1], [0.95, 0.05], [0.3, 0.7], [0.6, 0.4]])
    targets = np.array([0, 1, 1, 1])
    found = calibration.reliability(posteriors, targets, bins=5)
    np.testing.assert_array_equal(found.counts, [0, 0, 1, 1, 2])
    np.testing.assert_allclose(found.confidence, [np.nan, np.nan, 0.6, 0.7, 0.925])
    np.testing.assert_allclose(found.accuracy, [np.nan, np.nan, 0, 1, 0.5])
    # 1/4 |0 - 0.6| + 1/4 |1 - 0.7| + 2/4 |0.5 - 0.925|
    error = calibration.expected_calibration_error(posteriors, targets, bins=5)
    assert error == pytest.approx(0.15 + 0.075 + 0.2125, abs=1e-12)


def test_calibration_error_is_a_sum_over_rows_of_each_bin():
    logits, targets = draw(rows=300)
    posteriors = softmax(logits)
    confidence, right = posteriors.max(axis=1), posteriors.argmax(axis=1) == targets
    error = 0.0
    for m in range(15):
        inside = (confidence > m / 15) & (confidence <= (m + 1) / 15)
        error += abs(np.sum(right[inside]) - np.sum(confidence[inside])) / 300
    found = calibration.expected_calibration_error(posteriors, targets)
    assert found == pytest.approx(error, abs=1e-12)


def test_the_fitted_temperature_lowers_the_calibration_error():
    logits, targets = draw(rows=4000, temperature=2.5)
    other, other_targets = draw(rows=4000, temperature=2.5, seed=1)
    temperature = calibration.fit_temperature(other, other_targets)
    before, after = (
        calibration.expected_calibration_error(softmax(logits / t), targets)
        for t in (1.0, temperature)
    )
    assert before > 0.15
    assert after < 0.03


def test_float32_posteriors_of_a_sure_network_are_no_error():
    posteriors = np.array([[1 + 1e-7, 0.0], [1.0, 0.0]], np.float32)
    assert calibration.expected_calibration_error(posteriors, np.array([0, 0])) < 1e-6


@pytest.mark.parametrize(
    ("values", "targets", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), r"at least one, got \(0, 2\)"),
        (np.zeros((3, 2)), np.zeros(2, int), r"got \(3, 2\) and \(2,\)"),
        (np.zeros((2, 2)), np.array([0, 2]), r"in \[0, 2\), got values from 0 to 2"),
        (np.zeros((2, 2)), np.array([0.0, 1.0]), "must be integers, got float64"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "must be finite"),
    ],
)
@pytest.mark.parametrize(
    "function", [calibration.fit_temperature, calibration.reliability]
)
def test_wrong_arguments_are_named(function, values, targets, message):
    with pytest.raises(ValueError, match=message):
        function(values, targets)


def test_logits_are_not_taken_for_posteriors():
    with pytest.raises(ValueError, match="are they logits"):
        calibration.reliability(np.array([[-1.0, 2.0]]), np.array([0]))
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        calibration.reliability(np.array([[0.5, 0.5]]), np.array([0]), bins=0)
