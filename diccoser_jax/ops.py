"""Operations with formulations of their own, where XLA's are slow.

On CPU, a convolution of two taps is faster as two matrix products, and a kernel
gradient is twice as fast with time in the columns of its left side; everywhere, a
maximum need not split its gradient among equals, and dropout needs one bit or byte for
each value instead of a random float. Each function computes what its plain formulation
does (``tests/ops_test.py`` holds the two together). Where backends differ, one function
holds both formulations.

A gradient of its own, JAX can differentiate again in reverse mode, but not in forward
mode (``jax.jvp``, ``jax.jacfwd``): there it raises the error of a ``custom_vjp``. So it
is for training; `operations` has the same functions without it for inference.
"""

import functools
import inspect
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Bool, Float, Float32, Key, UInt32

from diccoser_jax.arrays import Array

# A maximum of more values than these is a reduction, not a chain of maxima.
_MOST_PHASES = 16

# Sums over time need more than bfloat16's 8 bits.
_einsum = functools.partial(jnp.einsum, preferred_element_type=jnp.float32)


def sums_of_outer_products(
    x: Float[jax.Array, "batch time outputs"],
    *ys: Float[jax.Array, "batch time inputs"],
) -> Float32[jax.Array, "count inputs outputs"]:
    """Σ over batch and time of y ⊗ x, for each y: what kernel gradients are made of.

    Args:
      x: ``[batch, time, outputs]``.
      *ys: ``[batch, time, inputs]`` each.

    Returns:
      float32 ``[len(ys), inputs, outputs]``.
    """

    def plain(x, *ys):
        return jnp.stack([_einsum("bti,bto->io", y, x) for y in ys])

    def transposed(x, *ys):
        # A product whose left side has time in its rows runs at half the speed. The
        # barrier has it transposed in memory, too.
        x = lax.optimization_barrier(jnp.swapaxes(x, 1, 2))
        return jnp.stack([_einsum("bot,bti->boi", x, y).sum(0).T for y in ys])

    return lax.platform_dependent(x, *ys, cpu=transposed, default=plain)


def _window(
    x: Float[jax.Array, "batch time channels"], start: int, length: int
) -> Float[jax.Array, "batch {length} channels"]:
    """``x[:, start : start + length]``, with zeros where x has ended or not begun."""
    padding = (-start, start + length - x.shape[1], 0)
    return lax.pad(x, jnp.zeros((), x.dtype), ((0, 0, 0), padding, (0, 0, 0)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[jax.Array, "batch time inputs"],
    kernel: Float[Array, "taps inputs outputs"],
    dilation: int = 1,
    zeros: int = 0,
) -> Float[jax.Array, "batch {zeros}+time-(taps-1)*{dilation} outputs"]:
    """Convolution over time: tap k of output t sees x at t + k·dilation - zeros.

    Args:
      x: ``[batch, time, inputs]``.
      kernel: ``[taps, inputs, outputs]``.
      dilation: time steps from tap to tap.
      zeros: so many are thought in front of x; ``(taps - 1)·dilation`` make the
        convolution causal.

    Returns:
      ``[batch, zeros + time - (taps - 1)·dilation, outputs]``.
    """

    def convolution(x, kernel):
        return lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(1,),
            padding=((zeros, 0),),
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )

    def products(x, kernel):
        time = zeros + x.shape[1] - (kernel.shape[0] - 1) * dilation
        return sum(
            _window(x @ tap, k * dilation - zeros, time) for k, tap in enumerate(kernel)
        )

    return lax.platform_dependent(x, kernel, cpu=products, default=convolution)


def _convolve_forward(x, kernel, dilation, zeros):
    return convolve(x, kernel, dilation, zeros), (x, kernel)


def _convolve_backward(dilation, zeros, residuals, gradient):
    x, kernel = residuals
    # Made once for all products below; XLA would make it anew for the transposed one.
    gradient = lax.optimization_barrier(gradient)
    starts = [k * dilation - zeros for k in range(kernel.shape[0])]

    def convolution(gradient, kernel):
        flipped = jnp.swapaxes(kernel[::-1], 1, 2)
        past = (kernel.shape[0] - 1) * dilation
        gradient = _window(gradient, zeros - past, x.shape[1] + past)
        return convolve(gradient, flipped, dilation)

    def products(gradient, kernel):
        return sum(
            _window(gradient @ tap.T, -start, x.shape[1])
            for start, tap in zip(starts, kernel)
        )

    x_gradient = lax.platform_dependent(
        gradient, kernel, cpu=products, default=convolution
    )
    kernel_gradient = sums_of_outer_products(
        gradient, *(_window(x, start, gradient.shape[1]) for start in starts)
    )
    return x_gradient, kernel_gradient.astype(kernel.dtype)


convolve.defvjp(_convolve_forward, _convolve_backward)


@jax.custom_vjp
def matmul(
    x: Float[jax.Array, "batch time inputs"], kernel: Float[Array, "inputs outputs"]
) -> Float[jax.Array, "batch time outputs"]:
    """``[batch, time, inputs] @ [inputs, outputs]``."""
    return x @ kernel


def _matmul_forward(x, kernel):
    return matmul(x, kernel), (x, kernel)


def _matmul_backward(residuals, gradient):
    x, kernel = residuals
    kernel_gradient = sums_of_outer_products(x, gradient)[0].T
    return gradient @ kernel.T, kernel_gradient.astype(kernel.dtype)


matmul.defvjp(_matmul_forward, _matmul_backward)


def _maximum_and_index(xs):
    maximum, index = xs[0], jnp.zeros(xs[0].shape, jnp.int8)
    for i, x in enumerate(xs[1:], start=1):
        index = jnp.where(x > maximum, jnp.int8(i), index)
        maximum = jnp.maximum(maximum, x)
    return maximum, index


@jax.custom_vjp
def maximum(*xs: Float[jax.Array, "*axes"]) -> Float[jax.Array, "*axes"]:
    """Elementwise maximum of up to 127; the first of equal ones gets the gradient."""
    return functools.reduce(jnp.maximum, xs)


def _maximum_forward(*xs):
    value, index = _maximum_and_index(xs)
    # None is no array: this only tells the gradient how many there were.
    return value, (index, [None] * len(xs))


def _maximum_backward(residuals, gradient):
    index, count = residuals
    return tuple(jnp.where(index == i, gradient, 0) for i in range(len(count)))


maximum.defvjp(_maximum_forward, _maximum_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(
    x: Float[jax.Array, "batch time channels"], size: int
) -> Float[jax.Array, "batch time//{size} channels"]:
    """Maximum of each ``size`` consecutive time steps.

    The gradient goes to the first of equal ones.

    Args:
      x: ``[batch, time, channels]``, time a multiple of ``size``.
      size: window and stride.

    Returns:
      ``[batch, time / size, channels]``.

    Raises:
      ValueError: if time is no multiple of ``size``.
    """
    _check_multiple(x.shape[1], size)
    if size > _MOST_PHASES:
        return _pools(x, size).max(axis=2)
    return functools.reduce(jnp.maximum, _phases(x, size))


def _check_multiple(time: int, size: int) -> None:
    if time % size:
        raise ValueError(f"{time} time steps are not a multiple of the pool, {size}.")


def _pools(x, size):
    return x.reshape(x.shape[0], -1, size, x.shape[2])


def _phases(x, size):
    return [_pools(x, size)[:, :, i] for i in range(size)]


def _max_pool_forward(x, size):
    if size > _MOST_PHASES:
        index = jnp.argmax(_pools(x, size), axis=2).astype(jnp.int16)
        return max_pool(x, size), index
    return _maximum_and_index(_phases(x, size))


def _max_pool_backward(size, index, gradient):
    places = jnp.arange(size, dtype=index.dtype)[None, None, :, None]
    windows = jnp.where(index[:, :, None] == places, gradient[:, :, None], 0)
    return (windows.reshape(gradient.shape[0], -1, gradient.shape[2]),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def convolve_and_pool(
    x: Float[jax.Array, "batch steps inputs"],
    kernel: Float[Array, "taps inputs outputs"],
    size: int,
    own_gradients: bool = True,
) -> Float[jax.Array, "batch (steps-taps+1)//{size} outputs"]:
    """``max_pool(convolve(x, kernel), size)``, for few inputs and many outputs.

    On CPU, the outputs of the convolution are never in memory all at once: each phase
    of the pool is a matrix product of its own, one recording after the other.

    Args:
      x: ``[batch, taps - 1 + time, inputs]``, time a multiple of ``size``.
      kernel: ``[taps, inputs, outputs]``.
      size: window and stride of the maximum.
      own_gradients: made of functions that have them.

    Returns:
      ``[batch, time / size, outputs]``.

    Raises:
      ValueError: if time is no multiple of ``size``.
    """
    parts = [convolve, max_pool, matmul, maximum]
    if not own_gradients:
        parts = [inspect.unwrap(part) for part in parts]
    convolve_, max_pool_, matmul_, maximum_ = parts
    taps = kernel.shape[0]
    time = x.shape[1] - taps + 1
    _check_multiple(time, size)

    def at_once(x, kernel):
        return max_pool_(convolve_(x, kernel), size)

    def by_phases(x, kernel):
        rows = kernel.reshape(-1, kernel.shape[-1])

        def one(x):
            shifted = [
                x[None, i::size][:, : time // size] for i in range(size + taps - 1)
            ]
            windows = (
                jnp.concatenate(shifted[phase : phase + taps], axis=-1)
                for phase in range(size)
            )
            return maximum_(*(matmul_(window, rows) for window in windows))[0]

        return lax.map(one, x)

    if size > _MOST_PHASES:
        return at_once(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_phases, default=at_once)


class Operations(NamedTuple):
    """What the layers are made of: the functions of these names, or their like."""

    convolve: Callable[..., jax.Array]
    convolve_and_pool: Callable[..., jax.Array]
    matmul: Callable[..., jax.Array]
    max_pool: Callable[..., jax.Array]


def operations(train: bool) -> Operations:
    """With gradients of their own, or with those of JAX.

    Args:
      train: the fast gradients; else those that forward mode can use, too. Of equal
        maxima, not the first but each then gets its share.
    """
    if train:
        return Operations(convolve, convolve_and_pool, matmul, max_pool)
    return Operations(
        inspect.unwrap(convolve),
        functools.partial(convolve_and_pool, own_gradients=False),
        inspect.unwrap(matmul),
        inspect.unwrap(max_pool),
    )


def random_words(
    rng: Key[jax.Array, ""], shape: tuple[int, ...], rate: float
) -> UInt32[jax.Array, " words"]:
    """Random bits for `dropout_norm_relu`, packed into uint32.

    One bit for each value at rate 0.5, one byte at other rates.

    Args:
      rng: a key.
      shape: of what will be dropped.
      rate: share of it.

    Returns:
      uint32 ``[words]``; `keep` unpacks them.
    """
    values_per_word = 32 if rate == 0.5 else 4
    return jax.random.bits(rng, (-(-math.prod(shape) // values_per_word),), jnp.uint32)


def keep(
    words: UInt32[jax.Array, " words"], shape: tuple[int, ...], rate: float
) -> tuple[Bool[jax.Array, "*axes"], float]:
    """What dropout keeps: a mask, and what to multiply the kept by.

    Rates are rounded to 1/256, but neither to 0 nor to 1; the factor belongs to the
    rounded rate, so that the mean is kept.
    """
    size = np.prod(shape)
    if rate == 0.5:
        bits = (words[:, None] >> jnp.arange(32, dtype=jnp.uint32)[None]) & 1
        return bits.reshape(-1)[:size].reshape(shape).astype(bool), 2.0
    dropped = min(max(round(rate * 256), 1), 255)
    octets = lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)[:size]
    return octets.reshape(shape) >= dropped, 256 / (256 - dropped)


def drop(
    x: Float[jax.Array, "*axes"], words: UInt32[jax.Array, " words"] | None, rate: float
) -> Float[jax.Array, "*axes"]:
    """Dropout: x where `keep` keeps it, scaled up, and 0 elsewhere.

    Args:
      x: any shape.
      words: of `random_words` for this shape; None at rate 0.
      rate: share of x that is dropped.
    """
    if not rate:
        return x
    mask, factor = keep(words, x.shape, rate)
    return jnp.where(mask, x * factor, 0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def dropout_norm_relu(
    x: Float[jax.Array, "batch time channels"],
    words: UInt32[jax.Array, " words"] | None,
    scale: Float[Array, " channels"],
    bias: Float[Array, " channels"],
    rate: float,
    epsilon: float,
) -> tuple[
    Float[jax.Array, "batch time channels"],
    Float[jax.Array, " channels"],
    Float[jax.Array, " channels"],
]:
    """Dropout, then batch norm with the batch's own statistics, then ReLU.

    Saves x and the packed words for the gradient, nothing else of x's size.

    Args:
      x: ``[batch, time, channels]``; the arithmetic is float32 in any case.
      words: of `random_words`; None at rate 0.
      scale: ``[channels]``.
      bias: ``[channels]``.
      rate: share of x that is dropped.
      epsilon: added to the variance.

    Returns:
      The result, and mean and variance ``[channels]`` of x after dropout, through
      which no gradient flows but that of the result.
    """
    return _dropout_norm_relu_forward(x, words, scale, bias, rate, epsilon)[0]


def _dropout_norm_relu_forward(x, words, scale, bias, rate, epsilon):
    dropped = drop(x.astype(jnp.float32), words, rate)
    mean = dropped.mean((0, 1), keepdims=True)
    square = jnp.square(dropped).mean((0, 1), keepdims=True)
    variance = jnp.maximum(square - jnp.square(mean), 0)
    inverse = lax.rsqrt(variance + epsilon)
    y = jax.nn.relu((dropped - mean) * (inverse * scale[None, None]) + bias[None, None])
    outputs = y.astype(x.dtype), mean[0, 0], variance[0, 0]
    return outputs, (x, words, scale, bias, mean, inverse)


def _dropout_norm_relu_backward(rate, epsilon, residuals, gradients):
    x, words, scale, bias, mean, inverse = residuals
    normalised = (drop(x.astype(jnp.float32), words, rate) - mean) * inverse
    positive = normalised * scale[None, None] + bias[None, None] > 0
    gradient = jnp.where(positive, gradients[0].astype(jnp.float32), 0)
    bias_gradient = gradient.sum((0, 1), keepdims=True)
    scale_gradient = (gradient * normalised).sum((0, 1), keepdims=True)
    count = x.shape[0] * x.shape[1]
    x_gradient = (inverse * scale[None, None]) * (
        gradient - bias_gradient / count - normalised * (scale_gradient / count)
    )
    x_gradient = drop(x_gradient, words, rate).astype(x.dtype)
    return x_gradient, None, scale_gradient[0, 0], bias_gradient[0, 0]


dropout_norm_relu.defvjp(_dropout_norm_relu_forward, _dropout_norm_relu_backward)
