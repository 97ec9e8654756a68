"""Which samples of a waveform an answer rests on: integrated gradients."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from diccoser_jax.arrays import Array


def integrated_gradients(
    model: nn.Module,
    variables: Any,
    waveform: Float[Array, "batch samples"],
    target: int,
    steps: int = 128,
) -> Float[jax.Array, "batch samples"]:
    """Shares one output among the samples of the waveform, compared with silence.

    The mean gradient on the way from silence to the waveform, times the waveform
    (Sundararajan, Taly and Yan 2017, eq. 1 and 3). Completeness: the shares of a
    recording add up to its output less that of silence, up to an error that falls with
    the number of steps.

    The way is ``waveform · s³``: a log-mel network hears most of the change next to
    silence, where this goes slowly.

    Args:
      model: any network of this package.
      variables: of the model.
      waveform: float32 ``[batch, samples]`` in [-1, 1] at 16 kHz, samples a positive
        multiple of 640.
      target: which of the network's outputs (logits of the classes, or dimensions) of
        its answer for the window, ``pooled``.
      steps: points on the way, each one pass forward and back.

    Returns:
      ``[batch, samples]``, in units of the output.

    Raises:
      ValueError: on a target that the network does not have, or less than one step.
    """
    outputs = model.config.outputs
    if not 0 <= target < outputs:
        raise ValueError(f"target={target} is not in 0 to {outputs - 1}.")
    if steps < 1:
        raise ValueError(f"steps={steps} must be at least 1.")
    return _integrate(model, steps, variables, waveform, target)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _integrate(model, steps, variables, waveform, target):
    def output(waveform):
        return model.apply(variables, waveform).pooled[:, target].sum()

    def add(total, s):
        # d(s³) = 3 s² ds
        return total + 3 * s**2 * jax.grad(output)(waveform * s**3), None

    middles = (jnp.arange(steps) + 0.5) / steps
    total, _ = jax.lax.scan(add, jnp.zeros_like(waveform), middles)
    return waveform * total / steps
