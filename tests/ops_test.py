"""Tests for `../diccoser_jax/ops.py`.

The oracles are the plain formulations in float64, differentiated by JAX.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax
from jax.test_util import check_grads

from diccoser_jax import ops

# Shares of the largest entry. Values, gradients and second derivatives in float32 are
# within 5e-7 of the oracle.
TOLERANCE = 1e-6
ONE_ROUNDING = 2**-8  # of bfloat16

EPSILON = 0.1  # large enough to be seen


@pytest.fixture(params=["cpu", "default"])
def branch(request, monkeypatch):
    """Runs a test with the formulation for CPU, then with that for other backends."""
    if request.param == "cpu":
        yield
        return
    calls = []

    def choose_default(*args, cpu, default):
        del cpu
        calls.append(default)
        return default(*args)

    monkeypatch.setattr(lax, "platform_dependent", choose_default)
    yield
    assert calls


def _random(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _positive(*shape, seed=0):
    uniform = np.random.default_rng(seed).uniform(0.5, 1.5, shape)
    return jnp.asarray(uniform, jnp.bfloat16)


def _float64(x):
    return np.asarray(x, np.float64)


def _assert_close(actual, expected, tolerance=TOLERANCE):
    assert actual.shape == expected.shape
    size = max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(
        _float64(actual), _float64(expected), rtol=0, atol=tolerance * size
    )


def _derivatives(function, *inputs):
    """The value; the gradients of a loss of it; the gradients of a loss of those."""
    arguments = tuple(range(len(inputs)))

    def loss(*inputs):
        y = function(*inputs)
        return (jnp.sin(y) * _random(*y.shape, seed=98)).sum()

    def loss_of_gradients(*inputs):
        gradients = jax.grad(loss, arguments)(*inputs)
        loss_ = sum((g * _random(*g.shape, seed=99)).sum() for g in gradients)
        return loss_, gradients

    def derivatives(*inputs):
        second, first = jax.grad(loss_of_gradients, arguments, has_aux=True)(*inputs)
        return function(*inputs), first, second

    # Nearly all of the time goes to the compiler.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(derivatives, compiler_options=options)(*inputs)


def _assert_equal_derivatives(function, plain, *inputs, tolerance=TOLERANCE):
    actual = _derivatives(function, *inputs)
    with jax.enable_x64(True):
        expected = _derivatives(plain, *map(_float64, inputs))
    check = functools.partial(_assert_close, tolerance=tolerance)
    jax.tree.map(check, actual, jax.tree.map(np.asarray, expected))


def _plain_convolve(x, kernel, dilation=1, zeros=0):
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(1,),
        padding=((zeros, 0),),
        rhs_dilation=(dilation,),
        dimension_numbers=("NWC", "WIO", "NWC"),
    )


def _plain_max_pool(x, size):
    return x.reshape(x.shape[0], -1, size, x.shape[2]).max(axis=2)


@pytest.mark.usefixtures("branch")
@pytest.mark.parametrize(
    ("batch", "taps", "dilation", "zeros"),
    [
        (1, 1, 1, 0),
        (3, 2, 3, 1),
        (3, 2, 3, 3),
        (2, 2, 1, 4),  # more zeros than causality needs
        (2, 4, 1, 3),
        (1, 2, 9, 9),  # the first tap sees zeros only
        (2, 3, 9, 14),
    ],
)
def test_convolve(batch, taps, dilation, zeros):
    _assert_equal_derivatives(
        lambda x, kernel: ops.convolve(x, kernel, dilation, zeros),
        lambda x, kernel: _plain_convolve(x, kernel, dilation, zeros),
        _random(batch, 7, 3),
        _random(taps, 3, 4, seed=1),
    )


def test_matmul():
    _assert_equal_derivatives(
        ops.matmul, jnp.matmul, _random(2, 7, 3), _random(3, 5, seed=1)
    )


@pytest.mark.usefixtures("branch")
@pytest.mark.parametrize("count", [1, 2])
def test_sums_of_outer_products(count):
    x = _random(3, 50, 4) / np.float32(10)  # sums of order one
    ys = [_random(3, 50, 3, seed=1 + i) for i in range(count)]

    def plain(x, *ys):
        return (jnp.stack(ys)[..., None] * x[None, :, :, None]).sum((1, 2))

    expected = np.stack([np.tensordot(_float64(y), x, ((0, 1), (0, 1))) for y in ys])
    _assert_close(ops.sums_of_outer_products(x, *ys), expected)
    _assert_equal_derivatives(ops.sums_of_outer_products, plain, x, *ys)


@pytest.mark.usefixtures("branch")
def test_sums_over_a_long_time_are_float32():
    """A sum in bfloat16 would stop at 256, where adding 1 changes nothing."""
    x, y = _positive(2, 1 << 15, 2), _positive(2, 1 << 15, 3, seed=1)
    expected = np.tensordot(_float64(y), _float64(x), ((0, 1), (0, 1)))
    sums = ops.sums_of_outer_products(x, y)
    assert sums.dtype == jnp.float32
    _assert_close(sums[0], expected, 1e-5)

    def convolution(kernel):
        return ops.convolve(x, kernel).astype(jnp.float32)

    def product(kernel):
        return ops.matmul(x, kernel).astype(jnp.float32)

    kernel, cotangent = _positive(2, 3, seed=2), y.astype(jnp.float32)
    (gradient,) = jax.vjp(product, kernel)[1](cotangent)
    assert gradient.dtype == jnp.bfloat16
    _assert_close(gradient, expected.T, ONE_ROUNDING)
    (gradient,) = jax.vjp(convolution, kernel[None])[1](cotangent)
    assert gradient.dtype == jnp.bfloat16
    _assert_close(gradient[0], expected.T, ONE_ROUNDING)


@pytest.mark.usefixtures("branch")
def test_bfloat16_convolve():
    x = jnp.asarray(_random(2, 20, 3), jnp.bfloat16)
    kernel = jnp.asarray(_random(2, 3, 4, seed=1), jnp.bfloat16)
    cotangent = jnp.asarray(_random(2, 20, 4, seed=2), jnp.bfloat16)
    y, backward = jax.vjp(lambda *inputs: ops.convolve(*inputs, 5, 5), x, kernel)
    with jax.enable_x64(True):
        inputs = _float64(x), _float64(kernel)
        plain = functools.partial(_plain_convolve, dilation=5, zeros=5)
        y_expected, plain_backward = jax.vjp(plain, *inputs)
        expected = jax.tree.map(
            np.asarray, (y_expected, *plain_backward(_float64(cotangent)))
        )
    for actual, oracle in zip((y, *backward(cotangent)), expected):
        assert actual.dtype == jnp.bfloat16
        _assert_close(actual, oracle, 2 * ONE_ROUNDING)  # of each tap, of their sum


@pytest.mark.parametrize("count", [1, 2, 5])
def test_maximum(count):
    _assert_equal_derivatives(
        ops.maximum,
        lambda *xs: jnp.stack(xs).max(axis=0),
        *(_random(2, 7, 3, seed=i) for i in range(count)),
    )


def test_gradient_of_maximum_goes_to_the_first_of_equal_ones():
    low, high = jnp.zeros((2, 3)), jnp.ones((2, 3))
    gradient = _random(2, 3)
    _, backward = jax.vjp(ops.maximum, low, high, low, high, high)
    expected = [np.zeros((2, 3), np.float32)] * 5
    expected[1] = gradient
    np.testing.assert_array_equal(backward(gradient), expected)


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_max_pool(size):
    x = _random(2, 20, 3)
    np.testing.assert_array_equal(
        ops.max_pool(x, size), nn.max_pool(x, (size,), strides=(size,))
    )
    _assert_equal_derivatives(
        lambda x: ops.max_pool(x, size), lambda x: _plain_max_pool(x, size), x
    )


@pytest.mark.parametrize("size", [4, 20])
@pytest.mark.parametrize("rise", [0.0, 1.0])
def test_gradient_of_max_pool_goes_to_the_first_of_equal_ones(rise, size):
    x = jnp.zeros((2, 3 * size, 3))
    x = x.at[:, 2::size].add(rise).at[:, 3::size].add(rise)
    gradient = _random(2, 3, 3)
    _, backward = jax.vjp(lambda x: ops.max_pool(x, size), x)
    expected = np.zeros(x.shape, np.float32)
    expected[:, 2 if rise else 0 :: size] = gradient
    np.testing.assert_array_equal(backward(gradient)[0], expected)


@pytest.mark.parametrize("size", [128, 129, 300])
def test_gradient_of_long_max_pool(size):
    x = _random(1, 20 * size, 1)
    gradient = jax.grad(lambda x: ops.max_pool(x, size).sum())(x)
    windows = x.reshape(20, size)
    expected = windows == windows.max(axis=1, keepdims=True)
    np.testing.assert_array_equal(gradient, expected.reshape(x.shape))


@pytest.mark.usefixtures("branch")
@pytest.mark.parametrize(
    ("batch", "taps", "size", "inputs"),
    [(3, 4, 2, 1), (1, 1, 4, 2), (2, 2, 20, 1)],
)
def test_convolve_and_pool(batch, taps, size, inputs):
    _assert_equal_derivatives(
        lambda x, kernel: ops.convolve_and_pool(x, kernel, size),
        lambda x, kernel: _plain_max_pool(_plain_convolve(x, kernel), size),
        _random(batch, taps - 1 + 20, inputs),
        _random(taps, inputs, 4, seed=1),
    )


@pytest.mark.usefixtures("branch")
def test_gradient_of_convolve_and_pool_goes_to_the_first_of_equal_ones():
    x, kernel = jnp.zeros((2, 22, 2)), _random(3, 2, 4)
    gradient = _random(2, 4, 4, seed=1)
    _, backward = jax.vjp(lambda x: ops.convolve_and_pool(x, kernel, 5), x)
    _, plain = jax.vjp(lambda x: _plain_convolve(x, kernel)[:, ::5], x)
    _assert_close(*backward(gradient), *plain(gradient))


@pytest.mark.parametrize(
    ("shape", "rate", "words"),
    [((5, 7, 3), 0.5, 4), ((4, 8, 2), 0.5, 2), ((5, 7, 3), 0.2, 27)],
)
def test_dropout_takes_a_bit_or_a_byte_for_each_value(shape, rate, words):
    packed = ops.random_words(jax.random.key(0), shape, rate)
    assert packed.shape == (words,)
    assert packed.dtype == jnp.uint32
    mask, _ = ops.keep(packed, shape, rate)
    assert mask.shape == shape
    assert mask.dtype == bool


# Of 256; 0.1 and 0.9 are no multiple of 1/256.
_DROPPED = {0.001: 1, 0.999: 255, 0.5: 128, 0.2: 51, 0.1: 26, 0.9: 230}


def _keep(rate, size=1_000_003, seed=0):
    words = ops.random_words(jax.random.key(seed), (size,), rate)
    return ops.keep(words, (size,), rate)


@pytest.mark.parametrize("rate", _DROPPED)
def test_share_that_dropout_keeps(rate):
    mask, factor = _keep(rate)
    expected = 1 - _DROPPED[rate] / 256
    assert factor * expected == 1
    deviation = np.sqrt(expected * (1 - expected) / mask.size)
    assert abs(np.mean(mask) - expected) < 3 * deviation


@pytest.mark.parametrize("rate", [0.5, 0.2])
def test_what_dropout_keeps_is_independent(rate):
    mask = np.asarray(_keep(rate)[0], np.float64)
    other = np.asarray(_keep(rate, seed=1)[0], np.float64)
    mask, other = ((m - m.mean()) / m.std() for m in (mask, other))
    lagged = [mask[lag:] @ mask[:-lag] for lag in range(1, 41)]
    np.testing.assert_array_less(np.abs([mask @ other, *lagged]) / mask.size, 4e-3)


def _plain_dropout_norm_relu(x, scale, bias, *, words, rate):
    if rate:
        mask, factor = ops.keep(words, x.shape, rate)
        x = jnp.where(mask, x * factor, 0)
    mean, variance = (f(x, axis=(0, 1), keepdims=True) for f in (jnp.mean, jnp.var))
    normalised = (x - mean) / jnp.sqrt(variance + EPSILON)
    y = nn.relu(normalised * scale[None, None] + bias[None, None])
    return y, mean[0, 0], variance[0, 0]


def _norm_inputs():
    spread, mean = np.float32([[[1, 2, 0.5, 1]]]), np.float32([[[0.5, -1, 0, 0.2]]])
    x = _random(2, 9, 4) * spread + mean
    return x, np.float32([1, 0.7, -1.2, 2]), np.float32([0, 0.3, -0.2, 0.1])


def _words(x, rate):
    return ops.random_words(jax.random.key(3), x.shape, rate) if rate else None


def _dropout_norm_relu(x, scale, bias, rate):
    return ops.dropout_norm_relu(x, _words(x, rate), scale, bias, rate, EPSILON)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.2])
def test_dropout_norm_relu(rate):
    x, scale, bias = _norm_inputs()
    words = _words(x, rate)
    plain = functools.partial(_plain_dropout_norm_relu, words=words, rate=rate)
    _assert_equal_derivatives(
        lambda *inputs: _dropout_norm_relu(*inputs, rate)[0],
        lambda *inputs: plain(*inputs)[0],
        x,
        scale,
        bias,
    )
    statistics = _dropout_norm_relu(x, scale, bias, rate)[1:]
    with jax.enable_x64(True):
        expected = plain(*map(_float64, (x, scale, bias)))[1:]
    for actual, oracle in zip(statistics, expected):
        _assert_close(actual, np.asarray(oracle))


@pytest.mark.parametrize("statistic", [1, 2], ids=["mean", "variance"])
def test_no_gradient_flows_through_the_statistics(statistic):
    gradients = jax.grad(
        lambda *inputs: _dropout_norm_relu(*inputs, 0.5)[statistic].sum(), (0, 1, 2)
    )(*_norm_inputs())
    assert not any(np.any(gradient) for gradient in gradients)


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.2])
def test_dropout_norm_relu_by_finite_differences(rate):
    x, scale, bias = _norm_inputs()
    check_grads(
        lambda *inputs: _dropout_norm_relu(*map(jnp.asarray, inputs), rate)[0],
        (x, scale, bias + 20),  # above the bend of ReLU
        order=1,
        modes=["rev"],
        eps=1e-2,
        rtol=2e-3,
        atol=2e-3,
    )


@pytest.mark.parametrize("constant", [0.0, 1.1, 1000.1])
def test_constant_input_of_batch_norm(constant):
    _, scale, bias = _norm_inputs()
    x = jnp.full((2, 9, 4), constant, jnp.float32)
    epsilon = 1e-5

    def norm(*inputs):
        return ops.dropout_norm_relu(inputs[0], None, *inputs[1:], 0.0, epsilon)

    assert np.all(norm(x, scale, bias)[2] >= 0)
    derivatives = _derivatives(lambda *inputs: norm(*inputs)[0], x, scale, bias)
    for derivative in jax.tree.leaves(derivatives):
        assert np.isfinite(derivative).all()


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.2])
def test_bfloat16_batch_norm_computes_in_float32(rate):
    x, scale, bias = _norm_inputs()
    x = jnp.asarray(np.tile(x, (1, 100, 1)), jnp.bfloat16)
    cotangent = _positive(*x.shape, seed=1)

    def result_and_gradients(x, cotangent):
        norm = functools.partial(_dropout_norm_relu, rate=rate)
        y, backward, statistics = jax.vjp(
            lambda *inputs: (norm(*inputs)[0], norm(*inputs)[1:]),
            x,
            scale,
            bias,
            has_aux=True,
        )
        return y, statistics, backward(cotangent)

    y, statistics, gradients = result_and_gradients(x, cotangent)
    wide = [a.astype(jnp.float32) for a in (x, cotangent)]
    y_expected, statistics_expected, expected = result_and_gradients(*wide)
    assert [value.dtype for value in statistics] == [jnp.float32] * 2
    np.testing.assert_array_equal(statistics, statistics_expected)
    assert y.dtype == gradients[0].dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, y_expected.astype(jnp.bfloat16))
    np.testing.assert_array_equal(gradients[0], expected[0].astype(jnp.bfloat16))
    for gradient, oracle in zip(gradients[1:], expected[1:]):
        assert gradient.dtype == jnp.float32
        _assert_close(gradient, oracle)


def test_batch_norm_saves_its_input_and_the_words_only():
    x, scale, bias = _norm_inputs()
    _, backward = jax.vjp(lambda x: _dropout_norm_relu(x, scale, bias, 0.5)[0], x)
    saved = [leaf for leaf in jax.tree.leaves(backward) if leaf.size > scale.size]
    assert len(saved) == 1
    np.testing.assert_array_equal(saved[0], x)


@pytest.mark.parametrize(
    "function",
    [
        lambda o, x: o.convolve(x, _random(2, 3, 4, seed=1), 2, 1),
        lambda o, x: o.matmul(x, _random(3, 4, seed=1)),
        lambda o, x: o.max_pool(x, 5),
        lambda o, x: o.max_pool(x, 20),
        lambda o, x: o.convolve_and_pool(x, _random(1, 3, 4, seed=1), 5),
        lambda o, x: o.convolve_and_pool(x, _random(1, 3, 4, seed=1), 20),
    ],
    ids=["convolve", "matmul", "max_pool", "reduce", "convolve_and_pool", "at_once"],
)
def test_forward_mode_is_for_inference(function):
    x, tangent = _random(2, 20, 3), _random(2, 20, 3, seed=2)
    training, inference = (
        functools.partial(function, ops.operations(train)) for train in (True, False)
    )
    with pytest.raises(TypeError, match=r"forward-mode autodiff .* custom_vjp"):
        jax.jvp(training, (x,), (tangent,))
    outputs, derivative = jax.jvp(inference, (x,), (tangent,))
    expected, backward = jax.vjp(training, x)
    _assert_close(outputs, expected)
    weights = _random(*outputs.shape, seed=3)
    _assert_close(
        jnp.vdot(derivative, weights), jnp.vdot(backward(weights)[0], tangent)
    )
