"""Tests for `../diccoser_jax/inference.py` and `../diccoser_jax/predict.py`."""

import csv
import json
import os
import pathlib
import subprocess
import sys
import threading
import types

import commands
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow.parquet
import pytest
import scipy.special
import soundfile
import soxr
import speech
from absl import app

import diccoser_jax
from diccoser_jax import audio, figures, inference, model_file, predict
from diccoser_jax.audio import AudioError
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.data import fit_window
from diccoser_jax.diccoser import Diccoser, DiccoserConfig
from diccoser_jax.inference import Prediction, Predictor
from diccoser_jax.model_file import ModelFileError

NAMES = ("anger", "joy", "fear")
WINDOW_FRAMES = 16
TEMPERATURE = 1.7


def saved(path, task="classification", model=None):
    """A small network with random weights that answer differently to everything."""
    outputs = 3 if task == "classification" else 2
    model = model or Diccoser(
        DiccoserConfig(
            outputs=outputs,
            features=8,
            local_stacks=1,
            local_dilations=(1, 2),
            window_frames=WINDOW_FRAMES,
            answer_frames=5,
        )
    )
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6_400)))
    rng = np.random.default_rng(0)
    variables = {
        "params": jax.tree.map(
            lambda x: rng.normal(size=x.shape).astype(np.float32) / x.shape[0] ** 0.5,
            shapes["params"],
        ),
        "batch_stats": jax.tree.map(
            lambda x: np.ones(x.shape, np.float32), shapes.get("batch_stats", {})
        ),
    }
    model_file.save(
        path,
        model,
        variables,
        task=task,
        target_names=NAMES if outputs == 3 else ("arousal", "valence"),
        window_seconds=WINDOW_FRAMES / 25,
        temperature=TEMPERATURE if outputs == 3 else 1.0,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("run") / model_file.NAME
    saved(path)
    return path.parent


@pytest.fixture(scope="module")
def model(checkpoint) -> Predictor:
    return diccoser_jax.load(checkpoint)


@pytest.fixture(scope="module")
def regression(tmp_path_factory) -> Predictor:
    path = tmp_path_factory.mktemp("run") / model_file.NAME
    saved(path, "regression")
    return diccoser_jax.load(path)


def waveform(seconds: float) -> np.ndarray:
    """Speech, int16, at 16 kHz."""
    pieces = [speech.cut(i, 1.0) for i in range(int(seconds) + 1)]
    return np.concatenate(pieces)[: round(seconds * 16_000)]


def network(model, samples):
    """The outputs of the network for one whole recording."""
    x = jnp.asarray(samples, jnp.float32)[None]
    output = jax.jit(model.saved.model.apply)(model.saved.variables, x)
    return jax.tree.map(lambda x: np.asarray(x[0]), output)


# The Python interface.


@pytest.mark.parametrize("seconds", [0.05, 0.5, 9.31])
def test_a_file_gets_the_outputs_of_the_whole_network(tmp_path, model, seconds):
    samples = waveform(seconds)
    path = tmp_path / "x.wav"
    soundfile.write(path, samples, 16_000)
    result = model(path)
    # Silence before it, longer than what the network remembers.
    silent_frames = 100
    whole = samples[: len(samples) // 640 * 640] / 32768
    output = network(model, np.pad(whole, (silent_frames * 640, 0)))
    # An answer is the mean of the last five frames.
    means = [
        output.frames[t - 4 : t + 1].mean(axis=0)
        for t in range(99, len(whole) // 640 + 100)
    ]
    np.testing.assert_allclose(means[-1], output.pooled, atol=1e-4)
    expected = scipy.special.softmax(np.array(means[1:]) / TEMPERATURE, axis=-1)
    np.testing.assert_allclose(result.frames, expected, atol=1e-5)
    np.testing.assert_allclose(
        result.local_context, output.local_context[silent_frames:], atol=1e-5
    )
    frames = len(expected)
    assert result.seconds == len(samples) / 16_000
    np.testing.assert_allclose(result.times_seconds, 0.04 * np.arange(1, frames + 1))
    # The mean over all windows; a recording that is shorter than one has one answer.
    answers = expected[WINDOW_FRAMES - 1 :] if frames > WINDOW_FRAMES else expected[-1:]
    np.testing.assert_allclose(result.pooled, answers.mean(axis=0), atol=1e-5)
    assert result.label == NAMES[int(result.pooled.argmax())]
    assert result.frames.dtype == result.pooled.dtype == np.float32


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("chunk", [1, 333, 100_000])
def test_a_stream_cut_anywhere_gives_the_frames_of_the_file(model, rate_hz, chunk):
    seconds = 0.3 if chunk == 1 else 5.1
    samples = soxr.resample(waveform(seconds), 16_000, rate_hz)
    expected = model(samples, sample_rate_hz=rate_hz)
    chunks = (samples[i : i + chunk] for i in range(0, len(samples), chunk))
    results = list(model.stream(chunks, sample_rate_hz=rate_hz))
    for field in ("frames", "local_context", "times_seconds"):
        joined = np.concatenate([getattr(result, field) for result in results])
        np.testing.assert_allclose(joined, getattr(expected, field), atol=2e-5)
    for result in results:
        np.testing.assert_allclose(result.pooled, result.frames.mean(axis=0), atol=1e-6)


def test_a_stream_answers_at_once(model):
    heard = 0

    def microphone():
        nonlocal heard
        for chunk in np.split(waveform(0.4), 20):  # 20 ms each
            heard += len(chunk)
            yield chunk

    for number, result in enumerate(model.stream(microphone(), 16_000), start=1):
        assert result.times_seconds[-1] == heard / 16_000 == 0.04 * number


def test_files_arrays_and_chunks_are_heard_alike(tmp_path, model):
    samples = waveform(2.0)
    path = tmp_path / "x.flac"
    soundfile.write(path, np.stack([samples, samples], axis=1), 16_000)
    expected = model(str(path))
    for source in (
        samples,
        samples / 32768,
        jnp.asarray(samples / 32768),
        iter(np.array_split(samples, 7)),
    ):
        result = model(source, sample_rate_hz=16_000)
        np.testing.assert_allclose(result.frames, expected.frames, atol=1e-6)


def test_regression_gives_dimensions_and_hears_no_silence_before(regression):
    samples = waveform(3.0)
    result = regression(samples, 16_000)
    expected = network(regression, samples / 32768).frames
    np.testing.assert_allclose(result.frames, expected, atol=1e-5)
    np.testing.assert_allclose(result.pooled, expected.mean(axis=0), atol=1e-5)
    assert result.label is None
    assert result.names == ("arousal", "valence")


def test_the_cnn_lstm_answers_for_each_window_as_in_training(tmp_path):
    path = tmp_path / "x.safetensors"
    config = CnnLstmConfig(outputs=3, conv_features=(4, 4, 4), lstm_features=8)
    saved(path, model=CnnLstm(config))
    model = diccoser_jax.load(path)
    window = WINDOW_FRAMES * 640
    samples = waveform(0.96)
    result = model(samples, 16_000)
    outputs = [
        network(model, fit_window(part / 32768, window))
        for part in (samples[:window], samples[window:])
    ]
    first, last = (
        scipy.special.softmax(output.frames / TEMPERATURE, axis=-1)
        for output in outputs
    )
    np.testing.assert_allclose(
        result.frames, np.concatenate([first, last[-8:]]), atol=1e-5
    )
    answers = [scipy.special.softmax(o.pooled / TEMPERATURE) for o in outputs]
    expected = (16 * answers[0] + 8 * answers[1]) / 24
    np.testing.assert_allclose(result.pooled, expected, atol=1e-5)
    assert result.local_context is None
    with pytest.raises(ValueError, match="cannot stream"):
        model.stream([samples], 16_000)


@pytest.mark.parametrize(
    ("chunks", "rate_hz", "message"),
    [
        ([], 16_000, "waveform: holds no samples"),
        ([np.zeros(0, np.float32)], 16_000, "waveform: holds no samples"),
        ([waveform(0.02)] * 3, 32_000, "waveform: its 30 ms are less than one frame"),
        ([waveform(0.1)], None, "sample_rate_hz is missing"),
        ([waveform(0.1)], 10, "its rate is 10 Hz"),
        ([waveform(0.1)[None]], 16_000, r"int16\[1, 1600\]; expected one channel"),
        ([waveform(0.1).astype(np.int64)], 16_000, r"int64\[1600\]; expected"),
        ([waveform(0.1), ["a", "b"]], 16_000, r"<U1\[2\]; expected"),
        ([waveform(0.1).astype(float)], 16_000, r"its peak is \d+; expected"),
        ([waveform(0.1), np.float32([0, np.nan])], 16_000, r"sample 1601 \(0.100 s\)"),
    ],
)
@pytest.mark.parametrize("interface", ["call", "stream"])
def test_bad_samples_are_named(model, interface, chunks, rate_hz, message):
    hear = model if interface == "call" else model.stream
    with pytest.raises(ValueError, match=message):
        list(
            hear(iter(chunks), rate_hz).frames
            if interface == "call"
            else hear(iter(chunks), rate_hz)
        )


def test_what_was_heard_before_bad_samples_is_not_lost(model):
    chunks = [waveform(0.2), np.float32([np.inf])]
    results = model.stream(iter(chunks), 16_000)
    assert len(next(results).frames) == 5
    with pytest.raises(AudioError, match="sample 3200"):
        next(results)


def test_silence_is_refused_as_a_recording_and_heard_in_a_stream(model):
    silence = np.zeros(16_000, np.float32)
    with pytest.raises(audio.SilentError):
        model(silence, 16_000)
    assert sum(len(r.frames) for r in model.stream([silence], 16_000)) == 25


def test_a_file_knows_its_own_rate(model):
    with pytest.raises(ValueError, match="beside a file"):
        model("x.wav", sample_rate_hz=16_000)


def test_the_bundled_model_is_loaded_without_a_name(checkpoint, monkeypatch):
    monkeypatch.setattr(inference, "BUNDLED", str(checkpoint / model_file.NAME))
    assert diccoser_jax.load().names == NAMES


def test_the_bundled_model_keeps_what_was_promised():
    try:
        path = inference.bundled()
    except ModelFileError as error:
        pytest.skip(str(error))
    assert path.stat().st_size <= 4e6
    saved = model_file.load(path)
    card = saved.card
    assert "RAVDESS" not in card["trained_on"].upper()
    assert "cross-validation" in card["tested_by"]
    assert set(card["recalls"]) == set(saved.target_names)
    assert card["calibration_error"].keys() == {"before", "after"}
    assert card["licence_of_the_data"]
    assert card["not_for"]
    assert "diccoser_jax.release" in card["command"]


def test_without_a_bundled_model_the_error_says_so(monkeypatch):
    monkeypatch.setattr(inference, "BUNDLED", "nothing.safetensors")
    with pytest.raises(ModelFileError, match="no bundled model"):
        diccoser_jax.load()


def test_inference_imports_no_training(checkpoint):
    code = f"""
import sys
import diccoser_jax
assert "jax" not in sys.modules
import numpy as np
model = diccoser_jax.load({str(checkpoint)!r})
noise = np.random.default_rng(0).uniform(-1, 1, 3000)
model(noise, 16000)
list(model.stream([noise], 16000))
import diccoser_jax.predict
heavy = {{"tensorflow", "tensorflow_datasets", "grain", "ml_collections", "orbax"}}
heavy |= {{"optax", "configs", "data_prep", "matplotlib", "sklearn", "torch"}}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.stdout == "[]\n", result.stderr


# Files.


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("recordings")
    (folder / "b").mkdir()
    soundfile.write(folder / "long.flac", waveform(5.0), 16_000)
    soundfile.write(folder / "b" / "x.WAV", waveform(0.5), 8_000)
    soundfile.write(folder / "x.wav", waveform(0.2), 16_000)
    (folder / "bad.wav").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("not audio")
    return folder


def test_a_row_for_each_file_in_each_format(tmp_path, model, recordings, capsys):
    tables = {}
    for kind in ("csv", "json", "parquet"):
        output = tmp_path / "new" / f"out.{kind}"
        assert predict.predict_files(model, [str(recordings)], output=output) == 1
        if kind == "csv":
            with output.open(newline="") as file:
                tables[kind] = list(csv.DictReader(file))
        elif kind == "json":
            tables[kind] = json.loads(output.read_text())
        else:
            tables[kind] = pyarrow.parquet.read_table(output).to_pylist()
    assert "bad.wav: " in capsys.readouterr().err
    for table in tables.values():
        names = [
            str(pathlib.Path(row["file"]).relative_to(recordings)) for row in table
        ]
        assert names == ["b/x.WAV", "bad.wav", "long.flac", "x.wav"]
        for row in table:
            assert list(row) == ["file", "seconds", "label", *NAMES, "error"]
            if row["file"].endswith("bad.wav"):
                assert "cannot be decoded" in row["error"]
                assert not row["label"]
                continue
            result = model(row["file"])
            assert row["label"] == result.label
            assert not row["error"]
            posteriors = [float(row[name]) for name in NAMES]
            np.testing.assert_allclose(posteriors, result.pooled, atol=1e-6)
            assert float(row["seconds"]) == result.seconds
    assert tables["json"] == tables["parquet"]


def test_a_row_for_each_frame_and_embeddings(tmp_path, model, recordings):
    output, embeddings = tmp_path / "frames.parquet", tmp_path / "context.parquet"
    path = str(recordings / "long.flac")
    failed = predict.predict_files(
        model, [path], output=output, frames=True, embeddings=embeddings
    )
    assert failed == 0
    result = model(path)
    table = pyarrow.parquet.read_table(output).to_pydict()
    assert list(table) == ["file", "time_seconds", "label", *NAMES, "error"]
    posteriors = np.stack([table[name] for name in NAMES], axis=1)
    np.testing.assert_allclose(posteriors, result.frames, atol=1e-6)
    np.testing.assert_allclose(table["time_seconds"], result.times_seconds)
    assert table["label"] == [NAMES[i] for i in result.frames.argmax(axis=1)]
    table = pyarrow.parquet.read_table(embeddings).to_pydict()
    assert table["file"] == [path] * 125
    np.testing.assert_allclose(table["embedding"], result.local_context, atol=1e-6)


def test_regression_has_mean_and_spread(tmp_path, regression, recordings):
    path = str(recordings / "long.flac")
    predict.predict_files(regression, [path], output=tmp_path / "x.json")
    (row,) = json.loads((tmp_path / "x.json").read_text())
    frames = regression(path).frames
    for d, name in enumerate(("arousal", "valence")):
        assert row[f"{name}_mean"] == pytest.approx(frames[:, d].mean(), abs=2e-6)
        assert row[f"{name}_std"] == pytest.approx(frames[:, d].std(), abs=2e-6)
    predict.predict_files(
        regression, [path], output=tmp_path / "x.json", frames=True, plot=tmp_path
    )
    rows = json.loads((tmp_path / "x.json").read_text())
    assert len(rows) == 125
    assert rows[3]["valence"] == pytest.approx(frames[3, 1], abs=1e-6)
    assert (tmp_path / "long.png").read_bytes().startswith(b"\x89PNG")


def test_files_folders_and_patterns_are_found_once(recordings):
    a = str(recordings)
    found = predict.find_files(
        [f"{a}/x.wav", f"{a}/**/*.[wW][aA][vV]", a, f"{a}/*.mp3", f"{a}/no.wav"]
    )
    found = [(str(pathlib.Path(p).relative_to(a)), bool(why)) for p, why in found]
    assert found == [
        ("x.wav", False),
        ("b/x.WAV", False),
        ("bad.wav", False),
        ("long.flac", False),
        ("*.mp3", True),
        ("no.wav", False),
    ]


def test_a_folder_without_audio_is_a_failure(tmp_path, model, capsys):
    (tmp_path / "x.txt").write_text("")
    assert predict.predict_files(model, [str(tmp_path)]) == 1
    assert "a folder without audio files" in capsys.readouterr().err


def test_pictures_of_equal_names_do_not_overwrite_each_other(
    tmp_path, model, recordings
):
    predict.predict_files(model, [str(recordings)], plot=tmp_path / "new")
    pictures = sorted((tmp_path / "new").iterdir())
    assert [p.name for p in pictures] == ["long.png", "x-2.png", "x.png"]
    assert len({p.read_bytes() for p in pictures}) == 3
    assert pictures[0].read_bytes().startswith(b"\x89PNG")


def test_a_picture_shows_where_its_answer_begins_if_that_is_later():
    same = np.full((50, 2), 0.5, np.float32)
    times = np.arange(1, 51) * 0.04
    result = Prediction(
        "classification", ("calm", "cross"), 2.0, times, same, same[0], None
    )
    silence = np.zeros((20, 2))
    at_once, late, never = (
        figures.png(figures.prediction("speech.wav", result, silence, seconds))
        for seconds in (0.0, 1.0, 3.0)
    )
    assert at_once == never
    assert late != never


def test_a_table_is_printed_without_output(model, recordings, capsys):
    predict.predict_files(model, [str(recordings)])
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0].split() == ["seconds", "label", *NAMES, "file"]
    result = model(recordings / "long.flac")
    (line,) = [line for line in lines if "long.flac" in line]
    expected = ["5.00", result.label, *(f"{p:.3f}" for p in result.pooled)]
    assert line.split() == [*expected, str(recordings / "long.flac")]
    assert len(lines) == 4
    assert "1 of 4 could not be used" in captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "x.txt"}, "x.txt: ends in none of .csv, .json, .parquet"),
        ({"embeddings": "x.csv"}, "x.csv: ends in none of .parquet"),
        ({"output": "folder.csv"}, "is a folder"),
        ({"output": "file/x.csv"}, "file: cannot be written to"),
        ({"plot": "file"}, "file: cannot be written to"),
    ],
)
def test_outputs_that_cannot_be_written_are_found_first(
    tmp_path, model, recordings, options, message
):
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("precious")
    options = {name: tmp_path / value for name, value in options.items()}
    with pytest.raises(predict.OutputError, match=message):
        predict.predict_files(model, ["never looked for"], **options)
    assert (tmp_path / "file").read_text() == "precious"


def test_parquet_says_what_it_needs(tmp_path, model, monkeypatch):
    monkeypatch.setattr(predict.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        predict.OutputError, match=r"pip install 'diccoser-jax\[parquet"
    ):
        predict.predict_files(model, ["x"], output=tmp_path / "x.parquet")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_an_interruption_keeps_what_was_done(tmp_path, model, recordings, kind):
    class Interrupted:
        def __getattr__(self, name):
            return getattr(model, name)

        def __call__(self, *arguments):
            if (tmp_path / "x.png").exists():
                raise KeyboardInterrupt
            return model(*arguments)

    output = tmp_path / f"out.{kind}"
    with pytest.raises(KeyboardInterrupt):
        predict.predict_files(
            Interrupted(), [str(recordings)], output=output, plot=tmp_path
        )
    if kind == "csv":
        rows = list(csv.DictReader(output.open(newline="")))
    elif kind == "json":
        rows = json.loads(output.read_text())
    else:
        rows = pyarrow.parquet.read_table(output).to_pylist()
    assert [pathlib.Path(row["file"]).name for row in rows] == ["x.WAV"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [output.name, "x.png"]


# The command.


def command(*arguments):
    return commands.run("diccoser_jax.predict", *arguments)


def test_the_command_goes_on_after_a_bad_file_and_says_so(
    tmp_path, checkpoint, recordings
):
    output = tmp_path / "out.csv"
    result = command(f"--checkpoint={checkpoint}", recordings, f"--output={output}")
    assert result.returncode == 1
    assert "bad.wav" in result.stderr
    assert "Traceback" not in result.stderr
    assert len(output.read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        ([], {}, "Name audio files or folders, or --stream -."),
        (["x.wav"], {"stream": "-"}, "without files"),
        ([], {"stream": "-", "output": "x.csv"}, "without files and their flags"),
        ([], {"stream": "x"}, "only -, standard input"),
        (["x.wav"], {"every": 1.0}, "--every is for --stream"),
        (["x.wav"], {"card": True}, "--card goes alone"),
        ([], {"stream": "-", "every": 0.05}, "not a positive multiple of 0.04"),
        ([], {"stream": "-", "every": 0.0}, "not a positive multiple of 0.04"),
    ],
)
def test_flags_that_make_no_sense(names, values, message):
    absent = dict.fromkeys(("stream", "every", "output", "plot", "embeddings"))
    values = types.SimpleNamespace(
        **(absent | {"frames": False, "card": False} | values)
    )
    with pytest.raises(app.UsageError, match=message) as raised:
        predict._check_usage(names, values)
    assert raised.value.exitcode == 2


def test_help_shows_how(tmp_path):
    result = command("--help")
    assert "ffmpeg -v error" in result.stdout
    assert "--checkpoint" in result.stdout


def test_a_checkpoint_that_is_none(tmp_path):
    result = command(f"--checkpoint={tmp_path}", "x.wav")
    assert result.returncode == 1
    assert result.stderr.startswith(f"ModelFileError: {tmp_path}: holds no model")


@pytest.fixture
def stream_command(checkpoint):
    """The command, listening; what it says is not buffered on its way."""
    processes, timers = [], []

    def start(*arguments):
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "diccoser_jax.predict", "--stream", "-"),
                *(f"--checkpoint={checkpoint}", *arguments),
            ],
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        processes.append(process)
        timers.append(threading.Timer(120, process.kill))  # Nobody waits for ever.
        timers[-1].start()
        return process

    yield start
    for timer in timers:
        timer.cancel()
    for process in processes:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            pipe.close()


def test_a_stream_is_answered_while_it_arrives(model, stream_command):
    samples = waveform(0.5)[:7_100]  # Eleven frames, and a bit.
    octets = samples.astype("<i2").tobytes()
    process = stream_command()
    lines = []
    for frame in range(10):  # Cut within a sample.
        start, end = frame * 1280 + (frame > 0), (frame + 1) * 1280 + 1
        process.stdin.write(octets[start:end])
        process.stdin.flush()
        lines.append(json.loads(process.stdout.readline()))
    rest, errors = process.communicate(octets[12_801:])
    lines += [json.loads(line) for line in rest.splitlines()]
    assert process.returncode == 0, errors
    expected = model(samples, 16_000)
    assert [line["time_seconds"] for line in lines] == list(expected.times_seconds)
    for line, frame in zip(lines, expected.frames):
        assert line["label"] == NAMES[int(frame.argmax())]
        posteriors = [line[name] for name in NAMES]
        np.testing.assert_allclose(posteriors, frame, atol=2e-6)


def test_a_reader_who_goes_away_ends_the_stream(stream_command):
    process = stream_command()
    process.stdin.write(waveform(1.0).tobytes())
    process.stdin.flush()
    process.stdout.readline()
    process.stdout.close()
    process.stdin.write(waveform(1.0).tobytes())
    process.stdin.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == b""


class Pipe:
    """Gives what it was given, as pipes do."""

    def __init__(self, *pieces):
        self._pieces = list(pieces)

    def read1(self, size):
        return self._pieces.pop(0) if self._pieces else b""


def test_a_line_for_each_so_many_seconds(model):
    samples = waveform(0.5)  # Twelve frames and a half.
    octets = samples.astype("<i2").tobytes()
    pipe = Pipe(octets[:1], octets[1:7001], octets[7001:])
    lines = [json.loads(line) for line in predict.stream_lines(model, pipe, 0.2)]
    assert [line["time_seconds"] for line in lines] == [0.2, 0.4, 0.48]
    frames = model(samples, 16_000).frames
    for line, part in zip(lines, np.split(frames, [5, 10])):
        posteriors = [line[name] for name in NAMES]
        np.testing.assert_allclose(posteriors, part.mean(axis=0), atol=2e-6)


@pytest.mark.parametrize(
    ("octets", "message"),
    [(b"", "holds no samples"), (b"RIFF1234WAVE", "begins with b'RIFF', the head of")],
)
def test_a_stream_without_raw_samples(model, octets, message):
    with pytest.raises(AudioError, match=message):
        list(predict.stream_lines(model, Pipe(octets), None))
