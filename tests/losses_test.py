"""Tests for diccoser_jax/losses.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from diccoser_jax import losses

# One compilation for each shape instead of one for each operation.
ccc_loss = jax.jit(losses.ccc_loss, static_argnames="pooled")
ccc_loss_and_gradient = jax.jit(
    jax.value_and_grad(losses.ccc_loss), static_argnames="pooled"
)


def sequences(batch=3, frames=20, dimensions=2, seed=0):
    """Correlated float32 predictions and labels, `[batch, frames, dimensions]`."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(0.1, 0.3, (batch, frames, dimensions))
    predictions = 0.5 * labels + rng.normal(-0.2, 0.2, labels.shape)
    return predictions.astype(np.float32), labels.astype(np.float32)


def oracle_ccc(m, n):
    """CCC of two float64 `[frames]` from Pearson's rho, the paper's first form."""
    m, n = np.asarray(m, np.float64), np.asarray(n, np.float64)
    rho = np.corrcoef(m, n)[0, 1]
    numerator = 2 * rho * m.std() * n.std()
    return numerator / (m.var() + n.var() + (m.mean() - n.mean()) ** 2)


def oracle_loss(predictions, labels):
    """Mean of 1 - CCC over sequences and dimensions, in float64."""
    batch, _, dimensions = predictions.shape
    return np.mean(
        [
            1 - oracle_ccc(predictions[b, :, d], labels[b, :, d])
            for b in range(batch)
            for d in range(dimensions)
        ]
    )


def pool(x):
    return x.reshape(1, -1, x.shape[-1])


@pytest.mark.parametrize("pooled", [False, True])
def test_ccc_loss_equals_formula(pooled):
    predictions, labels = sequences()
    arrays = (predictions, labels)
    expected = oracle_loss(*map(pool, arrays)) if pooled else oracle_loss(*arrays)
    loss = ccc_loss(*arrays, pooled=pooled)
    assert loss.shape == ()
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, expected, rtol=2e-7)


def test_ccc_loss_hand_worked():
    # Means 1 and 2, variances 2/3 and 2/3, covariance 2/3: 1 - (4/3) / (4/3 + 1) = 3/7.
    labels = jnp.array([0.0, 1.0, 2.0])[None, :, None]
    np.testing.assert_allclose(ccc_loss(labels + 1, labels), 3 / 7, rtol=2e-7)
    # Covariance -2/3 and equal means: CCC -1.
    np.testing.assert_allclose(ccc_loss(2 - labels, labels), 2.0, rtol=2e-7)
    np.testing.assert_allclose(ccc_loss(labels, labels), 0.0, atol=2e-7)


@pytest.mark.parametrize("pooled", [False, True])
def test_ccc_gradient_equals_finite_differences(pooled):
    predictions, labels = sequences(batch=2, frames=5)
    _, gradient = ccc_loss_and_gradient(predictions, labels, pooled=pooled)

    def expected_loss(predictions):
        arrays = (predictions, labels)
        return oracle_loss(*map(pool, arrays)) if pooled else oracle_loss(*arrays)

    step, expected = 1e-5, np.zeros(predictions.shape)
    for index in np.ndindex(predictions.shape):
        shift = np.zeros(predictions.shape)
        shift[index] = step
        above, below = (
            expected_loss(predictions + shift),
            expected_loss(predictions - shift),
        )
        expected[index] = (above - below) / (2 * step)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("filler", [0.0, 1e6, np.nan])
def test_masked_ccc_equals_filtered(pooled, filler):
    predictions, labels = sequences(batch=3)
    mask = np.zeros((3, 20), np.int32)
    mask[0] = 1
    mask[1, 3:11] = 1  # The third sequence does not count at all.
    kept = mask[..., None] == 1
    masked = [np.where(kept, x, filler) for x in (predictions, labels)]
    if pooled:
        parts = [x[mask == 1][None] for x in (predictions, labels)]
        expected = oracle_loss(*parts)
    else:
        expected = np.mean(
            [
                oracle_loss(
                    *(x[b : b + 1, mask[b] == 1] for x in (predictions, labels))
                )
                for b in (0, 1)
            ]
        )
    loss, gradient = ccc_loss_and_gradient(*masked, mask, pooled=pooled)
    np.testing.assert_allclose(loss, expected, rtol=2e-7)
    assert np.all(np.isfinite(gradient))
    assert np.all(np.where(kept, 0, gradient) == 0)
    assert np.all(np.where(kept, gradient, 1) != 0)


@pytest.mark.parametrize("pooled", [False, True])
def test_ccc_loss_of_no_frame_is_zero(pooled):
    loss, gradient = ccc_loss_and_gradient(
        *sequences(), np.zeros((3, 20), bool), pooled=pooled
    )
    assert loss == 0
    assert np.all(gradient == 0)


def test_ccc_loss_invariances():
    predictions, labels = sequences()
    loss = ccc_loss(predictions, labels)
    order = np.random.default_rng(1).permutation(20)
    for other in (
        ccc_loss(predictions[:, order], labels[:, order]),
        ccc_loss(predictions[::-1], labels[::-1]),
        ccc_loss(predictions[..., ::-1], labels[..., ::-1]),
        ccc_loss(labels, predictions),
        ccc_loss(-4 * predictions, -4 * labels),
        ccc_loss(predictions + 2, labels + 2),
    ):
        np.testing.assert_allclose(other, loss, rtol=1e-6)
    # Unlike Pearson's correlation, the CCC minds scale and shift of one side.
    assert ccc_loss(predictions + 1, labels) > loss + 0.1
    assert ccc_loss(labels * 3, labels) > 0.3


def test_ccc_loss_survives_a_large_offset():
    predictions, labels = sequences()
    # Rounded to a grid that float32 still holds at the offset: shifting is exact.
    predictions, labels = (np.round(x * 64) / 64 for x in (predictions, labels))
    shifted = ccc_loss(predictions + 1000, labels + 1000)
    # What remains is the rounding of the means, half a unit of 2**-14 each. Squares
    # of plain sums would be off by 1000**2 * 2**-24, two thirds of the variance.
    np.testing.assert_allclose(shifted, oracle_loss(predictions, labels), rtol=1e-4)


CONSTANT = np.full((2, 20, 2), 0.1, np.float32)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize(
    ("predictions", "labels", "learns"),
    [
        pytest.param(CONSTANT, CONSTANT, False, id="both constant and equal"),
        pytest.param(CONSTANT, CONSTANT + 1, False, id="both constant"),
        pytest.param(sequences(2)[0], CONSTANT, False, id="labels constant"),
        pytest.param(CONSTANT, sequences(2)[1], True, id="predictions constant"),
        pytest.param(CONSTANT, CONSTANT + 1e-6, False, id="both nearly equal"),
        pytest.param(np.ones((1, 1, 1)), np.ones((1, 1, 1)), False, id="one frame"),
    ],
)
def test_constant_sequences(predictions, labels, learns, pooled):
    loss, gradient = ccc_loss_and_gradient(
        jnp.asarray(predictions), jnp.asarray(labels), pooled=pooled
    )
    np.testing.assert_allclose(loss, 1.0, atol=1e-6)
    assert np.all(np.isfinite(gradient))
    if learns:
        assert ccc_loss(predictions - 0.1 * gradient, labels, pooled=pooled) < 1
    else:
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_gradient_stays_bounded_near_constant_and_equal():
    noise = np.random.default_rng(0).normal(0, 1, (2, 1, 50, 1))
    for scale in 10.0 ** np.arange(-12, 1):
        predictions, labels = (scale * noise).astype(np.float32)
        _, gradient = ccc_loss_and_gradient(predictions, labels)
        # |d CCC / d m| is of the order 1 / spread, and the spread has a floor.
        assert np.linalg.norm(gradient) < 1 / np.sqrt(losses.CCC_FLOOR)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((2, 5, 1), (2, 5, 2)), r"got \(2, 5, 1\) and \(2, 5, 2\)"),
        (((5, 2), (5, 2)), r"got \(5, 2\) and \(5, 2\)"),
        (((2, 5, 1), (2, 5, 1), (2, 5, 1)), r"= \(2, 5\), got \(2, 5, 1\)"),
    ],
)
def test_ccc_loss_names_wrong_shapes(shapes, message):
    with pytest.raises(ValueError, match=message):
        losses.ccc_loss(*map(jnp.ones, shapes))


def test_cross_entropy_equals_formula():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (6, 4)).astype(np.float32)
    labels = rng.integers(0, 4, 6)
    expected = -scipy.special.log_softmax(logits.astype(np.float64), axis=-1)
    expected = expected[np.arange(6), labels]
    loss = jax.jit(losses.cross_entropy)(logits, labels)
    assert loss.shape == ()
    np.testing.assert_allclose(loss, expected.mean(), rtol=3e-7)
    mask = np.array([1, 1, 0, 1, 0, 0])
    loss, gradient = jax.value_and_grad(losses.cross_entropy)(logits, labels, mask)
    np.testing.assert_allclose(loss, expected[mask == 1].mean(), rtol=3e-7)
    assert np.array_equal(np.any(gradient != 0, axis=-1), mask == 1)


def test_cross_entropy_degenerate_cases():
    uniform = losses.cross_entropy(jnp.zeros((3, 7)), jnp.arange(3))
    np.testing.assert_allclose(uniform, np.log(7), rtol=2e-7)
    # Half precision is not what the loss is computed in.
    logits = jnp.array([[1e4, -1e4, 0.0]], jnp.bfloat16)
    loss = losses.cross_entropy(logits, jnp.array([0]))
    assert loss == 0
    assert loss.dtype == jnp.float32
    nothing = losses.cross_entropy(jnp.ones((2, 3)), jnp.zeros(2, int), jnp.zeros(2))
    assert nothing == 0


@pytest.mark.usefixtures("unchecked")
def test_cross_entropy_names_wrong_shapes():
    with pytest.raises(ValueError, match=r"got \(2, 3\), \(3,\) and \(3,\)"):
        losses.cross_entropy(jnp.ones((2, 3)), jnp.zeros(3, int))


def test_squared_error_is_that_of_scikit_learn_over_the_frames_that_count():
    predictions, labels = sequences()
    mask = np.random.default_rng(0).random(predictions.shape[:2]) < 0.7
    expected = sklearn.metrics.mean_squared_error(labels[mask], predictions[mask])
    hidden = np.where(mask[..., None], predictions, np.nan)
    loss, gradient = jax.value_and_grad(losses.squared_error)(
        jnp.asarray(hidden), jnp.asarray(labels), jnp.asarray(mask)
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    difference = np.where(mask[..., None], predictions - labels, 0)
    np.testing.assert_allclose(
        gradient, 2 * difference / (mask.sum() * labels.shape[2]), atol=1e-7
    )
