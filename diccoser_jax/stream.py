"""Frame by frame inference: the next 40 ms in, the answer for them out.

    carry = stream.init_carry(model, variables, batch=1)
    step = jax.jit(functools.partial(stream.step, model, variables), donate_argnums=0)
    for chunk in microphone:  # float32 [1, 640·n] at 16 kHz
        carry, output = step(carry, chunk)
        posteriors = jax.nn.softmax(output.frames)  # [1, n, classes]

There is no second network here: `init_carry` and `step` call the layers of
`diccoser_jax.layers`, which carry their past. For any cutting into chunks of whole
frames, the concatenated outputs are those of the whole recording (within 1e-5 in
float32). Chunks of one stream may differ in length; jit compiles once for each length.

The carry is a pytree of arrays, of the same shapes and dtypes after every step. It can
be donated, mapped (`jax.vmap` over streams that started at different times), scanned
(`jax.lax.scan` over chunks), differentiated through, and saved and restored
(`flax.serialization.to_bytes`, `numpy.savez` of its leaves).

What a stream means beyond one training window of L frames:

* Output frame t sees `diccoser.receptive_field_samples`, which end with sample
  640·(t+1) - 1, and nothing else; before the start of the stream there is silence.
  The field is longer than a window: up to frame L the network does what it did in
  training, later its taps meet more of the past than any window held.
* The tap at lag L, which training cannot reach, is not made
  (`diccoser.global_block_width`), so that no untrained weight is ever heard.
* Classification: ``softmax(frames[:, t])`` is the posterior of frame t given the
  receptive field that ends there. ``pooled``, the answer for the last window, is the
  mean of the last ``answer_frames`` frames, those of earlier chunks included. To
  answer for windows as in training, each without a past, begin each with a new carry.
* Regression: ``frames`` are arousal and valence of each frame.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Float

from diccoser_jax import layers
from diccoser_jax.arrays import Array
from diccoser_jax.audio import FRAME_SAMPLES

Carry = Any  # a pytree of arrays


def init_carry(model: nn.Module, variables: Any, batch: int) -> Carry:
    """The carry before the first chunk: silence. Runs no audio.

    Args:
      model: a `diccoser.Diccoser`.
      variables: of the model; only their shapes matter.
      batch: streams that go on together, chunk by chunk.

    Returns:
      A pytree of zeros for `step`.

    Raises:
      ValueError: if ``batch`` is no positive number, or if the model cannot stream, as
        the CNN-LSTM, whose convolutions see the future.
    """
    if batch < 1:
        raise ValueError(f"batch={batch} must be at least 1 stream.")
    inputs = [jax.ShapeDtypeStruct((batch, FRAME_SAMPLES), jnp.float32)]
    if getattr(model.config, "local_conditioning", False):
        first = f"stack0_dilation{model.config.local_dilations[0]}"
        block = variables["params"]["local"][first]
        channels = block["filter_conditioning"]["kernel"].shape[1]
        inputs.append(jax.ShapeDtypeStruct((batch, 1, channels), jnp.float32))
    _, carry = jax.eval_shape(
        lambda *inputs: model.apply(*inputs, mutable=layers.CARRY), variables, *inputs
    )
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), carry)


def step(
    model: nn.Module,
    variables: Any,
    carry: Carry,
    chunk: Float[Array, "batch samples"],
    conditioning: Float[Array, "batch samples//640 channels"] | None = None,
) -> tuple[Carry, layers.Output]:
    """The outputs for the next chunk. Pure: jit it, and donate the carry.

    The fastest is ``jax.jit(functools.partial(step, model, variables),
    donate_argnums=0)``: the variables are then constants of the program.

    Args:
      model: a `diccoser.Diccoser`.
      variables: of the model.
      carry: of `init_carry`, or of the step before; not to be used again where it is
        donated.
      chunk: float32 ``[batch, samples]`` in [-1, 1] at 16 kHz, samples a positive
        multiple of 640 (40 ms).
      conditioning: ``[batch, frames, channels]`` of the same frames, for models with
        ``local_conditioning``.

    Returns:
      The carry for the next chunk, and `layers.Output` of this one.

    Raises:
      ValueError: as `check_chunk` (samples that are not finite are found outside jit
        only), or if the carry is of another batch size or another network.
    """
    check_chunk(chunk)
    inputs = (chunk,) if conditioning is None else (chunk, conditioning)
    output, advanced = model.apply(
        {**variables, **carry}, *inputs, mutable=layers.CARRY
    )
    if jax.tree.map(_kind, advanced) != jax.tree.map(_kind, carry):
        raise ValueError(
            "The carry belongs to another network: take one of init_carry of this "
            "model, or of the step before."
        )
    return advanced, output


def check_chunk(chunk: Array) -> None:
    """Raises on what `step` cannot take.

    `step` calls it. Under ``jax.jit`` there are no values to look at: who jits a step
    and does not trust the samples, calls this before.

    Args:
      chunk: float32 ``[batch, samples]`` at 16 kHz, samples a positive multiple of 640.

    Raises:
      ValueError: if it is empty, of another shape or dtype, not of whole frames, or not
        finite.
    """
    if chunk.ndim != 2 or chunk.dtype != np.float32:
        raise ValueError(
            "A chunk must be float32 [batch, samples] in [-1, 1], not "
            f"{chunk.dtype}{list(chunk.shape)}."
        )
    samples = chunk.shape[1]
    if samples == 0 or samples % FRAME_SAMPLES:
        raise ValueError(
            f"A chunk of {samples} samples is not of whole frames: one frame is "
            f"{FRAME_SAMPLES} samples (40 ms at 16 000 Hz). Keep what is left over for "
            "the next chunk; resample audio of another rate first."
        )
    if isinstance(chunk, jax.core.Tracer):
        return
    finite = np.isfinite(chunk)
    if not finite.all():
        stream, sample = np.argwhere(~finite)[0]
        raise ValueError(
            f"Sample {sample} of stream {stream} in this chunk is "
            f"{chunk[stream, sample]}: it would be heard until it has left the "
            "receptive field. Put silence in its place."
        )


def _kind(leaf: jax.Array) -> tuple[tuple[int, ...], Any]:
    return leaf.shape, leaf.dtype
