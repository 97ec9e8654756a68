r"""Writes a network as programs that run without this package.

  python -m diccoser_jax.export --checkpoint=runs/emodb --output=emodb.jaxexport

writes, each checked against the network first,

  emodb.jaxexport       a whole window in, its answer out
  emodb.step.jaxexport  the next 40 ms of a stream in, the answer for them out
  emodb.safetensors     the weights and the configuration

The programs need JAX (and flatbuffers), on CPU, CUDA or TPU, for any batch size:

  from jax import export
  window = export.deserialize(bytearray(open("emodb.jaxexport", "rb").read()))
  outputs = window.call(waveform)  # float32 [batch, samples of one window], 16 kHz
  outputs["pooled"], outputs["frames"], outputs["local_context"]

  step = export.deserialize(bytearray(open("emodb.step.jaxexport", "rb").read()))
  carry = np.zeros((1, step.in_avals[0].shape[1]), np.float32)
  carry, outputs = step.call(carry, chunk)  # chunk: float32 [batch, 640]

Classification begins a stream with silence: let the step hear one window of zeros
first. JAX keeps such programs readable for six months; the safetensors file is what
outlives them: any version of this package reads it and exports it again.

With --output=emodb.onnx both programs become ONNX, emodb.onnx and emodb.step.onnx, for
onnxruntime. This needs jax2onnx, in an environment of its own: see the README.
"""

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags, logging
from jax import export as jax_export

from diccoser_jax import files, inference, layers, model_file, stream
from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.model_file import ModelFileError, SavedModel

PLATFORMS = ("cpu", "cuda", "tpu")
# Programs may be compiled in another order of additions, and no further apart.
_TOLERANCE = 1e-5


def window_function(saved: SavedModel) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """A function of whole windows.

    Returns:
      Maps float32 ``[batch, samples]`` to ``frames`` ``[batch, frames, outputs]``,
      posteriors or dimensions, ``pooled`` ``[batch, outputs]``, the answer for the
      window, and, but for the CNN-LSTM, ``local_context``
      ``[batch, frames, features]``.
    """

    def window(waveform: jax.Array) -> dict[str, jax.Array]:
        return _outputs(saved, saved.model.apply(saved.variables, waveform))

    return window


def step_function(
    saved: SavedModel,
) -> tuple[Callable[[jax.Array, jax.Array], Any], int]:
    """A function of the next 40 ms of a stream, whose carry is one flat array.

    Returns:
      The function, which maps the carry, float32 ``[batch, size]`` (zeros at first),
      and a chunk, float32 ``[batch, 640]``, to the next carry and, as
      `window_function` but without ``pooled``, the outputs; and the size.
    """
    leaves, structure = jax.tree.flatten(
        stream.init_carry(saved.model, saved.variables, batch=1)
    )
    shapes = [leaf.shape[1:] for leaf in leaves]
    sizes = [int(np.prod(shape)) for shape in shapes]
    starts = np.cumsum([0, *sizes])

    def step(carry: jax.Array, chunk: jax.Array):
        batch = chunk.shape[0]
        parts = [
            carry[:, start : start + size].reshape(batch, *shape).astype(leaf.dtype)
            for start, size, shape, leaf in zip(starts, sizes, shapes, leaves)
        ]
        nested = jax.tree.unflatten(structure, parts)
        nested, output = stream.step(saved.model, saved.variables, nested, chunk)
        parts = [
            leaf.reshape(batch, size).astype(jnp.float32)
            for leaf, size in zip(jax.tree.leaves(nested), sizes)
        ]
        outputs = _outputs(saved, output)
        del outputs["pooled"]  # the one frame
        return jnp.concatenate(parts, axis=1), outputs

    return step, int(starts[-1])


def _outputs(saved: SavedModel, output: layers.Output) -> dict[str, jax.Array]:
    named = {"frames": output.frames, "pooled": output.pooled}
    if saved.task == "classification":
        named = {
            name: jax.nn.softmax(logits / saved.temperature)
            for name, logits in named.items()
        }
    if output.local_context is not None:
        named["local_context"] = output.local_context
    return named


def export(
    saved: SavedModel, output: pathlib.Path, weights: bytes
) -> list[pathlib.Path]:
    """Writes the programs, once they have shown that they compute what they should.

    Args:
      saved: the network.
      output: the program for windows; the others stand beside it.
      weights: content of the model file.

    Returns:
      The files.

    Raises:
      ArithmeticError: if a program computes something else; nothing is written.
    """
    samples = round(saved.window_seconds * FRAME_RATE_HZ) * FRAME_SAMPLES
    (batch,) = jax_export.symbolic_shape("batch")
    window = window_function(saved)
    programs = {output: _to_program(window, (batch, samples))}
    _check_window(window, _call(programs[output]), samples)
    if not isinstance(saved.model, CnnLstm):
        step, size = step_function(saved)
        path = output.with_name(f"{output.stem}.step{output.suffix}")
        programs[path] = _to_program(step, (batch, size), (batch, FRAME_SAMPLES))
        _check_step(window, _call(programs[path]), samples, size)
    programs[output.with_suffix(".safetensors")] = weights
    output.parent.mkdir(parents=True, exist_ok=True)
    for path, content in programs.items():
        files.replace(path, content)
    return list(programs)


def _to_program(function: Callable, *shapes: tuple[Any, ...]) -> bytes:
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    return bytes(exported.serialize())


def _call(program: bytes) -> Callable:
    return jax_export.deserialize(bytearray(program)).call


def _check_window(expected: Callable, program: Callable, samples: int) -> None:
    for batch in (1, 3):
        waveform = _noise(batch, samples)
        _compare("a window", jax.jit(expected)(waveform), program(waveform))


def _check_step(window: Callable, program: Callable, samples: int, size: int) -> None:
    waveform = _noise(2, samples)
    carry, frames = np.zeros((2, size), np.float32), []
    for chunk in np.split(waveform, samples // FRAME_SAMPLES, axis=1):
        carry, outputs = program(carry, chunk)
        frames.append(outputs)
    joined = {
        name: np.concatenate([outputs[name] for outputs in frames], axis=1)
        for name in frames[0]
    }
    _compare("a stream", jax.jit(window)(waveform), joined)


def _noise(batch: int, samples: int) -> np.ndarray:
    """Noise that becomes louder: all of the network has something to do."""
    noise = np.random.default_rng(0).normal(size=(batch, samples))
    return (noise * np.linspace(0.001, 0.2, samples)).astype(np.float32)


def _compare(what: str, expected: Any, actual: Any) -> None:
    for name, value in actual.items():
        scale = max(1.0, float(np.abs(expected[name]).max()))
        error = float(np.abs(np.asarray(value) - expected[name]).max()) / scale
        if not error <= _TOLERANCE:
            raise ArithmeticError(
                f"The exported program for {what} differs from the network by {error} "
                f"in {name}; nothing was written."
            )


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}.", exitcode=2)
    if not flags.FLAGS.output:
        raise app.UsageError("--output=FILE is missing.", exitcode=2)
    logging.set_verbosity(logging.WARNING)
    try:
        path = flags.FLAGS.checkpoint
        path = model_file.find(path) if path else inference.bundled()
        saved = model_file.load(path)
        output = pathlib.Path(flags.FLAGS.output)
        for written in export(saved, output, path.read_bytes()):
            print(f"{written}  {written.stat().st_size:,} bytes")
    except (ModelFileError, ArithmeticError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string(
        "checkpoint",
        None,
        "Workdir of a training run, or a .safetensors file of one. Default: the model "
        "that comes with the package.",
    )
    flags.DEFINE_string("output", None, "The program for windows, such as x.jaxexport.")


if __name__ == "__main__":
    define_flags()
    app.run(main)
