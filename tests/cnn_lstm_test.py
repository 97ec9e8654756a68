"""Tests for `../diccoser_jax/cnn_lstm.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import weights
from flax import linen as nn

from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig

SMALL = CnnLstmConfig(outputs=3, conv_features=(4, 5, 6), lstm_features=7)


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _lstm(params, x):
    """Hochreiter and Schmidhuber's recurrence with forget gates, in float64."""
    gates = {
        gate: (
            np.asarray(params[f"i{gate}"]["kernel"], np.float64),
            np.asarray(params[f"h{gate}"]["kernel"], np.float64),
            np.asarray(params[f"h{gate}"]["bias"], np.float64),
        )
        for gate in "ifgo"
    }
    hidden = gates["i"][1].shape[0]
    h = c = np.zeros((x.shape[0], hidden))
    outputs = []
    for t in range(x.shape[1]):
        i, f, g, o = (x[:, t] @ w + h @ u + b for w, u, b in gates.values())
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs, axis=1)


def test_everything_after_the_convolutions_equals_numpy():
    """LSTM layers against the plain recurrence, then output layer and mean."""
    model = CnnLstm(SMALL)
    waveform = 0.1 * jax.random.normal(jax.random.key(0), (2, 640 * 9))
    variables = weights.of(model, 640 * 9)
    apply = functools.partial(
        model.apply, capture_intermediates=lambda m, _: isinstance(m, nn.Dropout)
    )
    output, state = jax.jit(apply)(variables, waveform)
    x = np.asarray(state["intermediates"]["Dropout_2"]["__call__"][0], np.float64)
    params = variables["params"]
    for name in ("OptimizedLSTMCell_0", "OptimizedLSTMCell_1"):
        x = _lstm(params[name], x)
    output_layer = jax.tree.map(np.asarray, params["output"])
    frames = x @ output_layer["kernel"] + output_layer["bias"]
    np.testing.assert_allclose(output.frames, frames, atol=1e-6)
    np.testing.assert_allclose(output.pooled, frames.mean(axis=1), atol=1e-6)
    assert output.local_context is None


@pytest.mark.parametrize(("frontend", "bands"), [("raw", 1), ("log_mel", 40)])
def test_about_1_30_million_parameters(frontend, bands):
    model = CnnLstm(CnnLstmConfig(frontend=frontend))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 48_000)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    convolutions = 8 * bands * 64 + 64 + 6 * 64 * 128 + 128 + 6 * 128 * 256 + 256
    lstm = 2 * (4 * 2 * 256 * 256 + 4 * 256)
    assert count == convolutions + lstm + 256 * 4 + 4
    assert count == pytest.approx(1.30e6, rel=0.02)


@pytest.mark.parametrize("frontend", ["raw", "log_mel"])
@pytest.mark.parametrize("frames", [1, 3, 8])
def test_one_frame_for_each_640_samples(frontend, frames):
    model = CnnLstm(
        CnnLstmConfig(
            outputs=3, frontend=frontend, conv_features=(4, 5, 6), lstm_features=7
        )
    )
    waveform = jnp.zeros((2, 640 * frames))
    output, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), waveform)
    assert output.frames.shape == (2, frames, 3)
    assert output.pooled.shape == (2, 3)


def test_centred_convolutions_see_the_future_and_cannot_stream():
    model = CnnLstm(SMALL)
    waveform = 0.1 * jax.random.normal(jax.random.key(0), (1, 640 * 9))
    variables = weights.of(model, 640 * 9)
    gradient = jax.grad(lambda w: model.apply(variables, w).frames[:, 3].sum())
    touched = np.flatnonzero(jax.jit(gradient)(waveform)[0])
    assert touched[-1] >= 640 * 4
    with pytest.raises(ValueError, match=r"CNN-LSTM cannot stream.*centred"):
        model.apply(variables, waveform, mutable="carry")


def test_waveforms_off_the_time_grid_are_refused():
    with pytest.raises(ValueError, match=r"1000 samples.*multiple of 640"):
        CnnLstm(SMALL).init(jax.random.key(0), jnp.zeros((1, 1000)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"frontend": "mfcc"}, "frontend='mfcc' is not one of"),
        ({"conv_widths": (8, 6)}, "must have 3 entries each"),
        ({"dropout_rate": -0.1}, "dropout_rate=-0.1 must be in"),
    ],
)
def test_settings_that_make_no_network_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        CnnLstmConfig(**setting)
