"""Tests for `../diccoser_jax/export.py`."""

import json
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import malicious
import numpy as np
import pytest
import safetensors
import speech
import weights

from diccoser_jax import export, inference, model_file
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

WINDOW_FRAMES = 4
SAMPLES = WINDOW_FRAMES * 640

# What a program of somebody else does: neither this package nor Flax can be imported.
ELSEWHERE = """
import sys
for name in ("flax", "diccoser_jax", "safetensors"):
    sys.modules[name] = None
import numpy as np
from jax import export

def load(path):
    return export.deserialize(bytearray(open(path, "rb").read()))

folder = sys.argv[1]
waveform = np.load(f"{folder}/waveform.npy")
results = dict(load(f"{folder}/x.jaxexport").call(waveform))
step = load(f"{folder}/x.step.jaxexport")
carry = [
    np.zeros([n if isinstance(n, int) else len(waveform) for n in x.shape], x.dtype)
    for x in step.in_avals[:-1]
]
frames = []
for chunk in np.split(waveform, waveform.shape[1] // 640, axis=1):
    carry, outputs = step.call(carry, chunk)
    frames.append(outputs["frames"])
results["stream"] = np.concatenate(frames, axis=1)
results["answer"] = outputs["pooled"]
np.savez(f"{folder}/results.npz", **results)
print(step.platforms)
"""


def saved_model(path, model, task="classification"):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, SAMPLES)))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: rng.uniform(0.5, 1.5, size=x.shape).astype(np.float32), shapes
    )
    variables["params"] = jax.tree.map(
        lambda x: 3 * (x - 1) / x.shape[0] ** 0.5, variables["params"]
    )
    model_file.save(
        path,
        model,
        variables,
        task=task,
        target_names=("anger", "joy", "fear")[: model.config.outputs],
        window_seconds=WINDOW_FRAMES / 25,
        temperature=1.5,
    )
    return model_file.load(path)


def network(saved, waveform):
    output = jax.jit(saved.model.apply)(saved.variables, waveform)
    if saved.task == "regression":
        return output
    return output._replace(
        frames=jax.nn.softmax(output.frames / 1.5),
        pooled=jax.nn.softmax(output.pooled / 1.5),
    )


def small(**settings):
    shape = {"features": 4, "local_stacks": 1, "local_dilations": (1,)}
    return Diccoser(
        DiccoserConfig(
            outputs=3,
            window_frames=WINDOW_FRAMES,
            answer_frames=2,
            **(shape | settings),
        )
    )


@pytest.mark.parametrize("frontend", ["raw", "log_mel"])
def test_programs_run_where_there_is_neither_flax_nor_this_package(tmp_path, frontend):
    saved = saved_model(tmp_path / "m.safetensors", small(frontend=frontend))
    content = (tmp_path / "m.safetensors").read_bytes()
    written = export.export(saved, tmp_path / "new" / "x.jaxexport", content)
    folder = tmp_path / "new"
    assert sorted(path.name for path in written) == [
        *("x.jaxexport", "x.safetensors", "x.step.jaxexport")
    ]
    waveform = np.stack([speech.cut(i, SAMPLES / 16_000) for i in range(5)])
    waveform = (waveform / 32768).astype(np.float32)
    np.save(folder / "waveform.npy", waveform)
    result = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "('cpu', 'cuda', 'tpu')\n"
    expected = network(saved, waveform)
    with np.load(folder / "results.npz") as results:
        for name in ("frames", "pooled", "local_context"):
            np.testing.assert_allclose(
                results[name], getattr(expected, name), atol=1e-5
            )
        np.testing.assert_allclose(results["stream"], expected.frames, atol=1e-5)
        np.testing.assert_allclose(results["answer"], expected.pooled, atol=1e-5)
    # What outlives the programs.
    again = model_file.load(folder / "x.safetensors")
    assert again.model == saved.model
    with safetensors.safe_open(folder / "x.safetensors", "np") as file:
        about = json.loads(file.metadata()["diccoser_jax"])
    assert about["config"]["window_frames"] == WINDOW_FRAMES


def test_the_carry_is_of_types_that_every_runtime_knows(tmp_path):
    model = small(compute_dtype="bfloat16", network="diccoser_cs_v2")
    saved = saved_model(tmp_path / "m.safetensors", model)
    step, kinds = export.step_function(saved)
    assert {np.dtype(dtype).name for _, dtype in kinds} <= {"float32", "int32"}
    waveform = export._noise(2, SAMPLES)
    carry = [
        np.zeros([2 if n == "batch" else n for n in shape], dtype)
        for shape, dtype in kinds
    ]
    step, frames = jax.jit(step), []
    for chunk in np.split(waveform, WINDOW_FRAMES, axis=1):
        carry, outputs = step(carry, chunk)
        frames.append(outputs["frames"])
        assert [x.dtype for x in carry] == [dtype for _, dtype in kinds]
    expected = network(saved, waveform).frames
    np.testing.assert_allclose(np.concatenate(frames, axis=1), expected, atol=1e-2)


def test_the_cnn_lstm_has_no_step(tmp_path):
    model = CnnLstm(CnnLstmConfig(outputs=2, conv_features=(2, 2, 2), lstm_features=3))
    saved = saved_model(tmp_path / "m.safetensors", model, "regression")
    written = export.export(saved, tmp_path / "x.jaxexport", b"weights")
    assert [path.name for path in written] == ["x.jaxexport", "x.safetensors"]
    program = jax.export.deserialize(bytearray(written[0].read_bytes()))
    waveform = export._noise(3, SAMPLES)
    outputs = program.call(waveform)
    assert set(outputs) == {"frames", "pooled"}
    np.testing.assert_allclose(
        outputs["pooled"], network(saved, waveform).pooled, atol=1e-6
    )


@pytest.mark.parametrize("wrong", ["window", "step"])
def test_a_program_that_computes_something_else_is_not_written(
    tmp_path, monkeypatch, wrong
):
    saved = saved_model(tmp_path / "m.safetensors", small())
    (tmp_path / "x.jaxexport").write_bytes(b"before")
    programs = {}

    def to_program(function, inputs, carry):
        name = "step" if carry else "window"
        louder = 1.01 if name == wrong else 1.0

        @jax.jit
        def program(*arguments):
            return function(*arguments[:-1], louder * arguments[-1])

        programs[name.encode()] = program
        return name.encode()

    monkeypatch.setattr(export, "_to_jax", to_program)
    monkeypatch.setattr(export, "_run_jax", programs.get)
    what = "a window" if wrong == "window" else "a stream"
    with pytest.raises(ArithmeticError, match=f"{what} differs from the network by"):
        export.export(saved, tmp_path / "x.jaxexport", b"")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["m.safetensors", "x.jaxexport"]
    assert (tmp_path / "x.jaxexport").read_bytes() == b"before"


def test_onnx_without_its_converter_says_where_it_is_to_be_had(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    saved = saved_model(tmp_path / "m.safetensors", small())
    with pytest.raises(ImportError, match=r"needs jax2onnx.* --help says how"):
        export.export(saved, tmp_path / "x.onnx", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("frontend", ["raw", "log_mel"])
def test_onnx_computes_what_the_network_does(tmp_path, frontend):
    pytest.importorskip(
        "jax2onnx", reason="in an environment of its own: see export.py"
    )
    saved = saved_model(tmp_path / "m.safetensors", small(frontend=frontend))
    written = export.export(saved, tmp_path / "x.onnx", b"")  # Checks it itself, too.
    names = [path.name for path in written]
    assert names == ["x.onnx", "x.step.onnx", "x.safetensors"]
    waveform = export._noise(5, SAMPLES)
    outputs = export._run_onnx(written[0].read_bytes())(waveform)
    expected = network(saved, waveform)
    for name, value in outputs.items():
        np.testing.assert_allclose(value, getattr(expected, name), atol=1e-4)


def test_formulations_without_fft_and_platforms_are_equivalent():
    model = small(frontend="log_mel")
    waveform = export._noise(2, SAMPLES)
    variables = weights.of(model, SAMPLES)
    expected = jax.jit(model.apply)(variables, waveform)
    with export._plain_operations():
        text = str(jax.make_jaxpr(model.apply)(variables, waveform))
        actual = jax.jit(lambda *arguments: model.apply(*arguments))(
            variables, waveform
        )
    assert "fft" not in text
    assert "platform_index" not in text
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), actual, expected
    )


def test_the_bundled_model_is_the_default(monkeypatch):
    monkeypatch.setattr(inference, "BUNDLED", "nothing.safetensors")
    with pytest.raises(model_file.ModelFileError, match="no bundled model"):
        inference.bundled()


def test_a_pickle_in_place_of_a_program_is_not_executed(tmp_path):
    """What reads programs is JAX: `ELSEWHERE` shows how."""
    mark = tmp_path / "executed"
    content = pickle.dumps(malicious.Pickle(mark))
    with pytest.raises(Exception, match=r"."):
        jax.export.deserialize(bytearray(content))
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()
