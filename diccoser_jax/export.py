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
  carry = [np.zeros([n if isinstance(n, int) else batch for n in x.shape], x.dtype)
           for x in step.in_avals[:-1]]
  carry, outputs = step.call(carry, chunk)  # chunk: float32 [batch, 640]

Classification begins a stream with silence: let the step hear one window of zeros
first. JAX keeps such programs readable for six months; the safetensors file is what
outlives them: any version of this package reads it and exports it again.

--output=emodb.onnx writes emodb.onnx and emodb.step.onnx for onnxruntime instead. The
carry then is several inputs, carry_0 and so on, and as many outputs, next_0 and so on.
This needs an environment of its own, since jax2onnx wants an older Orbax than training:

  python -m venv onnx
  onnx/bin/pip install jax2onnx onnxruntime absl-py librosa safetensors soundfile soxr
  PYTHONPATH=. onnx/bin/python -m diccoser_jax.export --checkpoint=x --output=x.onnx
"""

import contextlib
import logging as stdlib_logging
import pathlib
import sys
import types
import unittest.mock
from collections.abc import Callable, Iterator
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
# Relative to the largest output: an order of additions apart, and no further.
_TOLERANCE = 2e-5


def window_function(saved: SavedModel) -> Callable[[jax.Array], dict[str, jax.Array]]:
    """A function of whole windows.

    Returns:
      Maps float32 ``[batch, samples]`` to ``frames`` ``[batch, frames, outputs]``,
      posteriors or dimensions, ``pooled`` ``[batch, outputs]``, the answer for the
      window, and, but for the CNN-LSTM, ``local_context``
      ``[batch, frames, features]``.
    """

    def window(waveform: jax.Array) -> dict[str, jax.Array]:
        output: Any = saved.model.apply(saved.variables, waveform)
        return _outputs(saved, output)

    return window


def step_function(
    saved: SavedModel,
) -> tuple[Callable[..., Any], list[tuple[tuple[int | str, ...], np.dtype]]]:
    """A function of the next 40 ms of a stream.

    Returns:
      The function, which maps the carry, a list of arrays (zeros at first), and a
      chunk, float32 ``[batch, 640]``, to the next carry and, as `window_function`, the
      outputs; and shape and dtype of each array of the carry, with ``batch`` for the
      batch size. What an array without it holds is common to the whole batch, whose
      streams go on together.
    """
    carries = [stream.init_carry(saved.model, saved.variables, n) for n in (2, 3)]
    leaves, structure = jax.tree.flatten(carries[0])
    dtypes = [leaf.dtype for leaf in leaves]
    outside = [
        np.dtype(np.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype
        for dtype in dtypes  # bfloat16 is not known everywhere
    ]
    shapes = [
        tuple(a if a == b else "batch" for a, b in zip(x.shape, y.shape))
        for x, y in zip(leaves, jax.tree.leaves(carries[1]))
    ]

    def step(carry: list[jax.Array], chunk: jax.Array):
        inner = [x.astype(dtype) for x, dtype in zip(carry, dtypes)]
        inner, output = stream.step(
            saved.model, saved.variables, jax.tree.unflatten(structure, inner), chunk
        )
        outputs = _outputs(saved, output)
        inner = jax.tree.leaves(inner)
        return [x.astype(dtype) for x, dtype in zip(inner, outside)], outputs

    return step, list(zip(shapes, outside))


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
      output: the program for windows, ``.onnx`` or any other name for JAX's format; the
        others stand beside it.
      weights: content of the model file.

    Returns:
      The files.

    Raises:
      ArithmeticError: if a program computes something else; nothing is written.
      ImportError: if ``.onnx`` was asked for, and what that needs is not here.
    """
    to_program, run = _to_jax, _run_jax
    if output.suffix == ".onnx":
        to_program, run = _to_onnx, _run_onnx
    samples = round(saved.window_seconds * FRAME_RATE_HZ) * FRAME_SAMPLES
    window, audio = window_function(saved), np.dtype(np.float32)
    programs = {output: to_program(window, [(("batch", samples), audio)], [])}
    _check_window(window, run(programs[output]), samples)
    if not isinstance(saved.model, CnnLstm):
        step, carry = step_function(saved)
        path = output.with_name(f"{output.stem}.step{output.suffix}")
        chunk = [(("batch", FRAME_SAMPLES), audio)]
        programs[path] = to_program(step, chunk, carry)
        _check_step(window, run(programs[path]), samples, carry)
    programs[output.with_suffix(".safetensors")] = weights
    output.parent.mkdir(parents=True, exist_ok=True)
    for path, content in programs.items():
        files.replace(path, content)
    return list(programs)


def _to_jax(function: Callable, inputs: list, carry: list) -> bytes:
    scope = jax_export.SymbolicScope()

    def abstract(shape, dtype):
        text = ", ".join(map(str, shape))
        shape = jax_export.symbolic_shape(text, scope=scope)
        return jax.ShapeDtypeStruct(shape, dtype)

    arguments = [abstract(*kind) for kind in inputs]
    if carry:
        arguments.insert(0, [abstract(*kind) for kind in carry])
    exported = jax_export.export(jax.jit(function), platforms=PLATFORMS)(*arguments)
    return bytes(exported.serialize())


def _run_jax(program: bytes) -> Callable:
    return jax.jit(jax_export.deserialize(bytearray(program)).call)


def _to_onnx(function: Callable, inputs: list, carry: list) -> bytes:
    try:
        import jax2onnx
        import onnxruntime  # noqa: F401 (will run it)
    except ImportError as error:
        raise ImportError(
            f"ONNX needs jax2onnx and onnxruntime ({error}), in an environment of "
            "their own: python -m diccoser_jax.export --help says how to make it."
        ) from error

    # It says of each shape that it does not know its type, and writes it anyway.
    stdlib_logging.getLogger("onnx_ir").setLevel(stdlib_logging.ERROR)

    names: list[str] = []

    def flat(*arguments):
        if not carry:
            outputs = function(*arguments)
            names[:] = outputs
            return tuple(outputs.values())
        advanced, outputs = function(list(arguments[:-1]), arguments[-1])
        names[:] = [*(f"next_{i}" for i in range(len(carry))), *outputs]
        return (*advanced, *outputs.values())

    def abstract(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype)

    kinds = [*carry, *inputs]
    with _plain_operations():
        tried = [([2 if n == "batch" else n for n in shape], d) for shape, d in kinds]
        jax.eval_shape(flat, *(abstract(*kind) for kind in tried))  # fills in names
        model = jax2onnx.to_onnx(
            flat,
            [abstract(*kind) for kind in kinds],
            input_names=[*(f"carry_{i}" for i in range(len(carry))), "waveform"],
            output_names=names,
        )
    return model.SerializeToString()


def _run_onnx(program: bytes) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(program, providers=["CPUExecutionProvider"])
    inputs = [x.name for x in session.get_inputs()]
    names = [x.name for x in session.get_outputs()]

    def run(*arguments):
        flat = jax.tree.leaves(arguments)
        values = session.run(None, dict(zip(inputs, map(np.asarray, flat))))
        carried = len(inputs) - 1
        outputs = dict(zip(names[carried:], values[carried:]))
        return (values[:carried], outputs) if carried else outputs

    return run


@contextlib.contextmanager
def _plain_operations() -> Iterator[None]:
    """Formulations that jax2onnx knows: no choice of platforms, no FFT."""

    def first_choice(*arguments, default, **_):
        return default(*arguments)

    def rfft(x):
        samples = x.shape[-1]
        bins = np.arange(samples // 2 + 1)
        phase = 2 * np.pi * np.outer(np.arange(samples), bins) / samples
        real, imag = np.cos(phase), -np.sin(phase)
        return types.SimpleNamespace(
            real=x @ real.astype(np.float32), imag=x @ imag.astype(np.float32)
        )

    with (
        unittest.mock.patch.object(jax.lax, "platform_dependent", first_choice),
        unittest.mock.patch.object(jnp.fft, "rfft", rfft),
    ):
        yield


def _check_window(expected: Callable, program: Callable, samples: int) -> None:
    for batch in (1, 3):
        waveform = _noise(batch, samples)
        _compare("a window", jax.jit(expected)(waveform), program(waveform))


def _check_step(window: Callable, program: Callable, samples: int, carry: list) -> None:
    waveform, frames = _noise(2, samples), []
    state = [
        np.zeros([2 if n == "batch" else n for n in shape], dtype)
        for shape, dtype in carry
    ]
    for chunk in np.split(waveform, samples // FRAME_SAMPLES, axis=1):
        state, outputs = program(state, chunk)
        frames.append(outputs)
    joined = {
        name: np.concatenate([outputs[name] for outputs in frames], axis=1)
        for name in ("frames", "local_context")
    }
    joined["pooled"] = frames[-1]["pooled"]  # the answer for the window so far
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
    except (ModelFileError, ArithmeticError, ImportError, OSError) as error:
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
