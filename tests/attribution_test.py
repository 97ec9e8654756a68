"""Tests for `../diccoser_jax/attribution.py`, and for gradients of every kind."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import speech

from diccoser_jax import attribution, stream
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

FRAMES = 8


def network(frontend):
    model = Diccoser(
        DiccoserConfig(
            outputs=3,
            features=4,
            local_stacks=1,
            local_dilations=(1,),
            window_frames=4,
            frontend=frontend,
        )
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 640)))
    rng = np.random.default_rng(0)

    def fill(x):
        scale = np.prod(x.shape[:-1]) ** -0.5 if x.ndim > 1 else 0.1
        return jnp.asarray(scale * rng.normal(size=x.shape), jnp.float32)

    variables = jax.tree.map(fill, shapes)
    variables["params"]["output"]["kernel"] *= 10
    variables["batch_stats"] = jax.tree.map(
        lambda x: 0.5 + jnp.abs(x), variables["batch_stats"]
    )
    return model, variables


@pytest.fixture(scope="module", params=["raw", "log_mel"])
def net(request):
    return network(request.param)


def waveform(batch=2):
    cuts = [speech.cut(3 * i + 1, FRAMES / 25) for i in range(batch)]
    return jnp.asarray(np.stack(cuts) / 32768, jnp.float32)


def answer(model, variables, x):
    """A smooth number of each recording."""
    return model.apply(variables, x).pooled[:, 1]


def test_the_shares_add_up_to_the_answer(net):
    model, variables = net
    x = waveform()
    shares = attribution.integrated_gradients(model, variables, x, 1, steps=256)
    assert shares.shape == x.shape
    whole = answer(model, variables, x) - answer(model, variables, 0 * x)
    assert (jnp.abs(whole) > 0.05).all()  # There is something to share.
    np.testing.assert_allclose(shares.sum(axis=1), whole, rtol=0.01)


@pytest.mark.parametrize(
    ("target", "steps", "message"),
    [(3, 8, r"target=3 is not in 0 to 2"), (-1, 8, "target=-1"), (0, 0, "steps=0")],
)
def test_bad_arguments(target, steps, message):
    model, variables = network("raw")
    with pytest.raises(ValueError, match=message):
        attribution.integrated_gradients(model, variables, waveform(), target, steps)


def test_the_gradient_of_the_waveform_agrees_with_differences(net):
    model, variables = net
    x = waveform(1)
    # Some frames become louder, others softer: the network hears that.
    factors = np.random.default_rng(1).normal(size=(4, FRAMES, 1))
    directions = jnp.asarray(factors, jnp.float32) * x.reshape(1, FRAMES, 640)
    directions = directions.reshape(4, -1)
    f = jax.jit(lambda x: answer(model, variables, x)[0])
    gradient = jax.jit(jax.grad(f))(x)[0]
    step = 2e-3
    for along in directions:
        difference = (f(x + step * along[None]) - f(x - step * along[None])) / 2 / step
        np.testing.assert_allclose(gradient @ along, difference, rtol=0.02)


def test_hessian_vector_products(net):
    """Reverse over reverse, and forward over reverse, against differences."""
    model, variables = net
    x = waveform(1)

    def f(x):
        return answer(model, variables, x)[0] ** 2

    gradient = jax.grad(f)
    reverse = jax.jit(jax.grad(lambda x, along: jnp.vdot(gradient(x), along)))(x, x)
    forward = jax.jit(lambda x, along: jax.jvp(gradient, (x,), (along,))[1])(x, x)
    gradient = jax.jit(gradient)
    step = 1e-3
    difference = (gradient(x + step * x) - gradient(x - step * x)) / (2 * step)
    scale = jnp.linalg.norm(reverse)
    assert jnp.linalg.norm(reverse - difference) / scale < 0.05
    assert jnp.linalg.norm(reverse - forward) / scale < 1e-3


def test_jacobian_vector_products_are_those_of_the_transposed_jacobian(net):
    model, variables = net
    x = waveform(1)
    along = x * jnp.linspace(0, 1, x.shape[1])[None]

    def frames(variables, x):
        return model.apply(variables, x).frames

    def both(variables, x, along, weights):
        derivative = jax.jvp(frames, (variables, x), along)[1]
        backward = jax.vjp(frames, variables, x)[1](weights)
        return derivative, backward

    # Other frames, and other weights, by other numbers.
    weights = np.random.default_rng(2).normal(size=(1, FRAMES, 3)).astype(np.float32)
    change = jax.tree.map(lambda leaf: 0.1 * leaf**2, variables)
    derivative, backward = jax.jit(both)(variables, x, (change, along), weights)
    forward = jnp.vdot(derivative, weights)
    products = jax.tree.map(jnp.vdot, backward, (change, along))
    assert jnp.abs(forward) > 0.01
    total = sum(jax.tree.leaves(products))
    np.testing.assert_allclose(total, forward, rtol=1e-2, atol=1e-4)


def test_a_column_of_the_jacobian_of_a_stream(net):
    """Forward mode through the carry: what the loudness of a stream's start does."""
    model, variables = net
    x = waveform(1)

    def by_stream(gain):
        carry = stream.init_carry(model, variables, 1)
        louder = x.at[:, : 2 * 640].multiply(gain)
        step = functools.partial(stream.step, model, variables)
        carry, _ = step(carry, louder[:, : 2 * 640])
        return step(carry, louder[:, 2 * 640 :])[1].frames

    def whole(gain):
        return model.apply(variables, x.at[:, : 2 * 640].multiply(gain)).frames[:, 2:]

    streamed = jax.jit(jax.jacfwd(by_stream))(1.0)
    expected = jax.jit(jax.jacrev(whole))(1.0)
    assert jnp.abs(expected).max() > 0.01
    np.testing.assert_allclose(streamed, expected, rtol=1e-3, atol=1e-4)


def test_gradients_of_each_example_by_vmap():
    model, variables = network("raw")
    x = waveform(3)

    def loss(params, x):
        return answer(model, {**variables, "params": params}, x[None])[0]

    gradient = jax.grad(loss)
    each = jax.jit(jax.vmap(gradient, (None, 0)))(variables["params"], x)
    alone = jax.jit(gradient)
    for i in range(3):
        own = jax.tree.leaves(jax.tree.map(operator.itemgetter(i), each))
        expected = jax.tree.leaves(alone(variables["params"], x[i]))
        for a, b in zip(own, expected):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
