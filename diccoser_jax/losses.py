"""Training objectives: concordance, squared error and cross-entropy.

Every function is pure, differentiable, computes in float32 whatever it is given, and
may be jitted. A mask marks what counts; what it leaves out changes neither the loss
nor the gradient, so that a padded batch scores as the batch without padding.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Integer, Shaped

from diccoser_jax.arrays import Array

# The denominator of the concordance is at least this: a root-mean-square spread of
# 1e-4 on annotations in [-1, 1]. Above it the formula is exact; below it, where the
# formula runs into 0 / 0, value and gradient stay bounded.
CCC_FLOOR = 1e-8


def _masked_mean(
    values: Float[Array, "*axes"], mask: Bool[Array, "*axes"]
) -> Float[jax.Array, ""]:
    """Mean of the values whose mask is True; 0 where there is none."""
    return jnp.sum(values, where=mask) / jnp.maximum(jnp.sum(mask), 1)


def ccc_loss(
    predictions: Float[Array, "batch frames dimensions"],
    labels: Float[Array, "batch frames dimensions"],
    mask: Shaped[Array, "batch frames"] | None = None,
    pooled: bool = False,
) -> Float[jax.Array, ""]:
    """One minus the concordance correlation coefficient (CCC) of two sequences.

    `CCC = 2 cov(m, n) / (var(m) + var(n) + (mean(m) - mean(n))^2)` (paper, section 3.3,
    after Lin 1989), with population moments (division by the number of frames), taken
    about the mean in a second pass so that a large offset does not cancel digits.

    A constant sequence has no covariance with anything, so its CCC is 0 and its loss 1.
    That also holds where both sequences are constant and equal, which leaves the
    formula open: 0 is its value everywhere around that point. Constant predictions of
    varying labels have a gradient, towards the labels; constant labels have none.

    Args:
      predictions: `[batch, frames, dimensions]`.
      labels: `[batch, frames, dimensions]`.
      mask: `[batch, frames]`, 1 or True where a frame counts. By default all count.
        A sequence of which no frame counts is left out of the mean.
      pooled: Whether to take the moments over all frames of the batch. By default each
        sequence has its own CCC, "between the two sequences" (section 3.3).

    Returns:
      Scalar in [0, 2]: mean of 1 - CCC over sequences and dimensions, or over
      dimensions if `pooled`. 0 if no frame counts.

    Raises:
      ValueError: If the shapes do not fit each other.

    Examples:
      >>> labels = jnp.array([0.0, 1.0, 2.0]).reshape(1, 3, 1)
      >>> float(ccc_loss(labels, labels)), float(ccc_loss(-labels, labels))
      (0.0, 1.25)
    """
    mask = _check_sequences(predictions, labels, mask)[..., None]
    # Not only left out of the sums: a NaN in the padding would reach the gradient.
    m = jnp.where(mask, predictions.astype(jnp.float32), 0.0)
    n = jnp.where(mask, labels.astype(jnp.float32), 0.0)

    axes = (0, 1) if pooled else 1
    frames = jnp.sum(mask, axis=axes, keepdims=True)

    def mean(x: jax.Array) -> jax.Array:
        total = jnp.sum(x, axis=axes, keepdims=True, where=mask)
        return total / jnp.maximum(frames, 1)

    mean_m, mean_n = mean(m), mean(n)
    covariance = mean((m - mean_m) * (n - mean_n))
    spread = (
        mean(jnp.square(m - mean_m))
        + mean(jnp.square(n - mean_n))
        + jnp.square(mean_m - mean_n)
    )
    ccc = 2.0 * covariance / jnp.maximum(spread, CCC_FLOOR)
    return _masked_mean(1.0 - ccc, jnp.broadcast_to(frames > 0, ccc.shape))


def squared_error(
    predictions: Float[Array, "batch frames dimensions"],
    labels: Float[Array, "batch frames dimensions"],
    mask: Shaped[Array, "batch frames"] | None = None,
) -> Float[jax.Array, ""]:
    """Mean squared error: what the CCC loss is compared with.

    Args:
      predictions: `[batch, frames, dimensions]`.
      labels: `[batch, frames, dimensions]`.
      mask: `[batch, frames]`, 1 or True where a frame counts. By default all count.

    Returns:
      Scalar, at least 0: mean over all frames that count, and dimensions. 0 if no frame
      counts.

    Raises:
      ValueError: If the shapes do not fit each other.
    """
    mask = _check_sequences(predictions, labels, mask)[..., None]
    difference = predictions.astype(jnp.float32) - labels.astype(jnp.float32)
    # Not only left out of the sum: a NaN in the padding would reach the gradient.
    squares = jnp.square(jnp.where(mask, difference, 0.0))
    return _masked_mean(squares, jnp.broadcast_to(mask, squares.shape))


def _check_sequences(
    predictions: Array, labels: Array, mask: Array | None
) -> Bool[jax.Array, "batch frames"]:
    """The mask as booleans `[batch, frames]`."""
    if predictions.ndim != 3 or predictions.shape != labels.shape:
        raise ValueError(
            "predictions and labels must both be [batch, frames, dimensions], got "
            f"{predictions.shape} and {labels.shape}"
        )
    if mask is None:
        mask = jnp.ones(predictions.shape[:2], bool)
    if mask.shape != predictions.shape[:2]:
        raise ValueError(
            f"mask must be [batch, frames] = {predictions.shape[:2]}, got {mask.shape}"
        )
    return jnp.asarray(mask, bool)


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Integer[Array, " batch"],
    mask: Shaped[Array, " batch"] | None = None,
) -> Float[jax.Array, ""]:
    """Mean cross-entropy, in nats, of the softmax of the logits (section 4.2.4).

    Args:
      logits: `[batch, classes]`.
      labels: int `[batch]`, each in [0, classes).
      mask: `[batch]`, 1 or True where an example counts. By default all count.

    Returns:
      Scalar, at least 0. 0 if no example counts.

    Raises:
      ValueError: If the shapes do not fit each other.
    """
    if mask is None:
        mask = jnp.ones(labels.shape, bool)
    if logits.ndim != 2 or not logits.shape[:1] == labels.shape == mask.shape:
        raise ValueError(
            "logits must be [batch, classes], labels and mask [batch], got "
            f"{logits.shape}, {labels.shape} and {mask.shape}"
        )
    losses = optax.losses.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), labels
    )
    return _masked_mean(losses, mask.astype(bool))
