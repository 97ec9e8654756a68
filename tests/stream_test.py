"""Tests for `../diccoser_jax/stream.py`."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from diccoser_jax import stream
from diccoser_jax.diccoser import Diccoser, DiccoserConfig


def test_any_cutting_gives_what_the_whole_waveform_gives():
    config = DiccoserConfig(features=8, local_stacks=2, window_frames=9)
    model = Diccoser(config)
    rng = np.random.default_rng(0)
    waveform = rng.normal(scale=0.1, size=(2, 40 * 640)).astype(np.float32)
    variables = jax.jit(model.init)(jax.random.key(0), waveform)
    whole = jax.jit(model.apply)(variables, waveform)
    step = jax.jit(functools.partial(stream.step, model, variables))
    carry, frames, start = stream.init_carry(model, variables, batch=2), [], 0
    while start < 40:
        stop = min(start + int(rng.choice([1, 2, 5])), 40)
        carry, output = step(carry, waveform[:, 640 * start : 640 * stop])
        frames.append(output.frames)
        start = stop
    chunked = jnp.concatenate(frames, axis=1)
    np.testing.assert_allclose(chunked, whole.frames, rtol=0, atol=1e-5)
