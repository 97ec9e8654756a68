"""Tests for `../diccoser_jax/complexity.py`."""

import jax
import jax.numpy as jnp
import pytest

from diccoser_jax import complexity, ops
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

X = jnp.zeros((2, 10, 3))  # batch, time, channels


def _loop(x):
    """Ten rounds of a product of [2, 3] with [3, 3]."""
    return jax.lax.scan(lambda c, y: (c @ jnp.ones((3, 3)), y), x[:, 0], x[0])


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x @ jnp.ones((3, 4)), 2 * 10 * 3 * 4),
        (lambda x: jnp.einsum("btc,bsc->bts", x, x), 2 * 10 * 10 * 3),
        (jax.jit(lambda x: jnp.tanh(x) + 1), 0),
        (_loop, 10 * 2 * 3 * 3),
        # Two taps; whichever platform, at every step.
        (lambda x: ops.convolve(x, jnp.ones((2, 3, 5)), 1, 1), 2 * 10 * 2 * 3 * 5),
        (jax.grad(lambda x: (x @ jnp.ones((3, 4))).sum()), 2 * 2 * 10 * 3 * 4),
    ],
    ids=["product", "einsum", "none", "loop", "convolution", "gradient"],
)
def test_hand_counts(function, expected):
    assert complexity.multiply_adds(function, X) == expected


def test_a_network_costs_what_its_kernels_and_their_rates_say():
    model = Diccoser(DiccoserConfig(3, 5, features=4, local_stacks=2))
    waveform = jax.ShapeDtypeStruct((1, 3200), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), waveform)
    block = 2 * 4 * 4 + 4 * 4
    # 640 = 160 · 2 · 2: a stem, then stacks of three blocks at a 160th, a 320th.
    local = 3200 * 8 * 4 + 3 * block * (20 + 10)
    # Blocks of dilation 1, 2, 4 and, of one tap, 5: conditioned, at 5 frames.
    blocks = 4 * (block + 2 * 4 * 4) - 4 * 4
    expected = local + 5 * (8 * 4 + blocks + 4 * 3)
    assert complexity.multiply_adds(model.apply, variables, waveform) == expected


def test_the_steps_of_an_lstm_all_count():
    model = CnnLstm(CnnLstmConfig(2, conv_features=(4, 4, 4), lstm_features=8))
    counts = []
    for frames in (5, 10):
        waveform = jax.ShapeDtypeStruct((1, 640 * frames), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), waveform)
        counts.append(complexity.multiply_adds(model.apply, variables, waveform))
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)
