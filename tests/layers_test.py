"""Tests for `../diccoser_jax/layers.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from diccoser_jax import layers, ops


def _random(*shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(("width", "dilation"), [(1, 1), (2, 1), (2, 5), (8, 1)])
def test_causal_conv_equals_its_sum(width, dilation):
    x = _random(2, 20, 3)
    conv = layers.CausalConv(4, width, dilation)
    variables = conv.init(jax.random.key(1), x)
    variables["params"]["bias"] += _random(4, seed=2)
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    expected = np.zeros((2, 20, 4)) + np.asarray(variables["params"]["bias"])
    for t in range(20):
        for tap in range(width):
            source = t - (width - 1 - tap) * dilation
            if source >= 0:
                expected[:, t] += np.asarray(x[:, source], np.float64) @ kernel[tap]
    np.testing.assert_allclose(conv.apply(variables, x), expected, atol=2e-6)


@pytest.mark.parametrize("cuts", [(1,) * 20, (3, 1, 7, 9), (20,), (2, 18)])
def test_chunked_conv_equals_whole(cuts):
    x = _random(2, 20, 3)
    conv = layers.CausalConv(4, 3, dilation=4)
    variables = conv.init(jax.random.key(1), x)
    assert set(variables) == {"params"}
    outputs, carry, start = [], {}, 0
    for length in cuts:
        y, carry = conv.apply(
            {**variables, **carry}, x[:, start : start + length], mutable="carry"
        )
        outputs.append(y)
        start += length
    whole = conv.apply(variables, x)
    np.testing.assert_allclose(jnp.concatenate(outputs, 1), whole, atol=1e-6)


def test_carry_must_be_advanced_and_keeps_its_batch():
    x = _random(2, 20, 3)
    conv = layers.CausalConv(4, 2)
    variables = conv.init(jax.random.key(1), x)
    _, carry = conv.apply(variables, x, mutable="carry")
    with pytest.raises(ValueError, match=r'call apply\(..., mutable="carry"\)'):
        conv.apply({**variables, **carry}, x)
    with pytest.raises(ValueError, match="keeps its batch size"):
        conv.apply({**variables, **carry}, x[:1], mutable="carry")


@pytest.mark.parametrize("conditioned", [False, True])
def test_block_is_the_formula_of_the_paper(conditioned):
    x, y = _random(2, 12, 4), _random(2, 12, 3, seed=3) if conditioned else None
    block = layers.DilatedCausalBlock(features=4, dilation=3)
    variables = block.init(jax.random.key(1), x, y, train=False)
    p = jax.tree.map(np.asarray, variables["params"])
    statistics = {"mean": _random(4, seed=5), "var": jnp.exp(_random(4, seed=6))}
    statistics = jax.tree.map(np.asarray, statistics)
    variables = {"params": p, "batch_stats": {"BatchNorm_0": statistics}}
    actual = block.apply(variables, x, y, train=False)

    x = np.asarray(x)

    def lag(sequence, steps):
        padded = np.pad(sequence, ((0, 0), (steps, 0), (0, 0)))
        return padded[:, : sequence.shape[1]]

    z = lag(x, 3) @ p["filter"]["kernel"][0] + x @ p["filter"]["kernel"][1]
    if conditioned:
        v = p["filter_conditioning"]["kernel"]
        y = np.asarray(y)
        z += lag(y, 1) @ v[0] + y @ v[1]
    z = (z - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-5)
    z = np.maximum(z * p["BatchNorm_0"]["scale"] + p["BatchNorm_0"]["bias"], 0)
    expected = x + z @ p["residual"]["kernel"] + p["residual"]["bias"]
    np.testing.assert_allclose(actual, expected, atol=3e-6)


def test_dropout_may_come_last():
    """Then batch norm sees what it sees without dropout, and the rest is thinned."""
    x = _random(2, 400, 4) + 1
    first, last, none = (
        layers.BatchNormOfDropout(rate, 0.0, dropout_last=last)
        for rate, last in ((0.5, False), (0.5, True), (0.0, False))
    )
    variables = last.init(jax.random.key(1), x, train=False)

    def run(layer):
        return layer.apply(
            variables,
            x,
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable="batch_stats",
        )

    (y, statistics), (whole, expected) = run(last), run(none)
    jax.tree.map(np.testing.assert_array_equal, statistics, expected)
    kept = np.asarray(y) != 0
    np.testing.assert_array_equal(y[kept], 2 * whole[kept])
    share = kept.sum() / (np.asarray(whole) != 0).sum()
    assert share == pytest.approx(0.5, abs=0.04)  # 3 deviations
    _, otherwise = run(first)
    assert not np.allclose(
        otherwise["batch_stats"]["var"], expected["batch_stats"]["var"], rtol=0.1
    )
    gradient = jax.grad(
        lambda x: last.apply(
            variables,
            x,
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable="batch_stats",
        )[0].sum()
    )(x)
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 0


def test_gated_block_is_the_formula_of_wavenet():
    x, y = _random(2, 12, 4), _random(2, 12, 3, seed=3)
    block = layers.DilatedCausalBlock(features=4, dilation=2, gated=True)
    variables = block.init(jax.random.key(1), x, y, train=False)
    assert set(variables) == {"params"}
    actual = block.apply(variables, x, y, train=False)
    p = jax.tree.map(np.asarray, variables["params"])
    x, y = np.asarray(x), np.asarray(y)

    def convolve(name, sequence, lag):
        padded = np.pad(sequence, ((0, 0), (lag, 0), (0, 0)))
        kernel = p[name]["kernel"]
        past = padded[:, : sequence.shape[1]]
        return past @ kernel[0] + sequence @ kernel[1] + p[name].get("bias", 0)

    f = convolve("filter", x, 2) + convolve("filter_conditioning", y, 1)
    g = convolve("gate", x, 2) + convolve("gate_conditioning", y, 1)
    z = np.tanh(f) / (1 + np.exp(-g))
    expected = x + z @ p["residual"]["kernel"] + p["residual"]["bias"]
    np.testing.assert_allclose(actual, expected, atol=3e-6)


class _FlaxBlock(nn.Module):
    """`layers.DilatedCausalBlock` without dropout, made of Flax's layers."""

    dilation: int

    @nn.compact
    def __call__(self, x):
        z = nn.Conv(
            x.shape[-1],
            (2,),
            padding=((self.dilation, 0),),
            kernel_dilation=self.dilation,
            use_bias=False,
            name="filter",
        )(x)
        z = nn.BatchNorm(use_running_average=False, momentum=0.9)(z)
        return x + nn.Dense(x.shape[-1], name="residual")(nn.relu(z))


def test_training_block_equals_flax():
    x, cotangent = _random(3, 20, 4), _random(3, 20, 4, seed=2)
    block = layers.DilatedCausalBlock(
        features=4, dilation=3, dropout_rate=0.0, batch_norm_momentum=0.9
    )
    variables = jax.jit(block.init)(jax.random.key(1), x)
    rng = np.random.default_rng(3)
    variables = jax.tree.map(lambda a: a + 0.3 * rng.random(a.shape), variables)

    def loss(params, x, apply):
        variables_ = {**variables, "params": params}
        y, updated = apply(variables_, x, mutable="batch_stats")
        return (y * cotangent).sum(), (y, updated)

    gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True), static_argnums=2)
    block_apply = functools.partial(block.apply, train=True)
    actual = gradient(variables["params"], x, block_apply)
    expected = gradient(variables["params"], x, _FlaxBlock(dilation=3).apply)
    compare = functools.partial(np.testing.assert_allclose, rtol=2e-6, atol=2e-5)
    jax.tree.map(compare, actual, expected)


def test_dropout_comes_before_batch_norm():
    """Its rescaling then raises the variance that batch norm sees in training."""
    x = _random(64, 50, 8)

    def variance(rate):
        block = layers.DilatedCausalBlock(
            features=8, dilation=1, dropout_rate=rate, batch_norm_momentum=0.0
        )
        variables = jax.jit(block.init)(jax.random.key(1), x)
        train = functools.partial(block.apply, train=True, mutable="batch_stats")
        _, updates = jax.jit(train)(variables, x, rngs={"dropout": jax.random.key(2)})
        return updates["batch_stats"]["BatchNorm_0"]["var"]

    # Kept values are doubled, half are zeroed: E[(2 z)^2] / 2 = 2 E[z^2].
    np.testing.assert_allclose(variance(0.5) / variance(0.0), 2.0, rtol=0.06)


def test_pools_that_do_not_fit_are_refused():
    x = jnp.zeros((1, 10, 2))
    with pytest.raises(ValueError, match=r"10 time steps are not a multiple of .* 3"):
        ops.max_pool(x, 3)
    with pytest.raises(ValueError, match=r"8 time steps are not a multiple of .* 3"):
        ops.convolve_and_pool(x, jnp.zeros((3, 2, 4)), 3)
