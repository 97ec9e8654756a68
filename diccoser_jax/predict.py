r"""Says which emotion is in audio files, or in a stream while it arrives.

Files, folders and patterns, with the bundled model or with your own:
  python -m diccoser_jax.predict speech.wav
  python -m diccoser_jax.predict --checkpoint=runs/emodb recordings 'more/*.mp3' \
      --output=emotions.csv --plot=pictures

--output takes .csv, .json and .parquet and has one row for each file, or for each 40 ms
of it with --frames; a file that cannot be used has its reason in the column "error".
Without --output, a table is printed. --plot draws each file, --embeddings writes the
local context of each 40 ms to Parquet.

A stream of raw 16-bit samples at 16 kHz, one JSON line for each 40 ms:
  ffmpeg -v error -f alsa -i default -f s16le -ar 16000 -ac 1 - \
      | python -m diccoser_jax.predict --stream - --every=1

What the model is, how good it was in tests, and what it must not be used for:
  python -m diccoser_jax.predict --card

WAV, FLAC, MP3, OGG and what else libsndfile reads, of any rate, length and number of
channels; M4A, MP4 and WebM where ffmpeg is installed. Exit code: 0, 1 if any file could
not be used, 2 for flags that make no sense, 130 after Ctrl-C (what was done is kept).
"""

import contextlib
import csv
import glob
import importlib.util
import json
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import soundfile
from absl import app, flags, logging
from tqdm import tqdm

from diccoser_jax import audio, compilation_cache, files, inference, model_file
from diccoser_jax.audio import FRAME_RATE_HZ, SAMPLE_RATE_HZ, AudioError
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.inference import Prediction, Predictor
from diccoser_jax.model_file import ModelFileError

# Of files in folders; a file that is named may end as it likes.
_SUFFIXES = (
    *(
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
    ),
    *(".snd", ".caf", ".w64", ".rf64", ".sph", ".m4a", ".mp4", ".webm", ".mkv"),
)
_READ_BYTES = 1 << 16  # At most; a pipe gives what it has.
_SUFFIXES_OUT = (".csv", ".json", ".parquet")
# How files begin that hold more than raw samples.
_NOT_RAW = (b"RIFF", b"fLaC", b"OggS", b"FORM", b"ID3", b".snd")


class OutputError(ValueError):
    """An output that cannot be written; the message says why and what would do."""


# Files in.


def find_files(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Resolves files, folders and patterns, each file once.

    Yields:
      A path and the reason why there is none, empty where all is well.
    """
    seen = set()
    for name in names:
        path = pathlib.Path(name)
        reason = ""
        if path.is_dir():
            found = sorted(
                str(file)
                for file in path.rglob("*")
                if file.suffix.lower() in _SUFFIXES and file.is_file()
            )
            reason = f"{name}: a folder without audio files"
        elif path.exists() or not glob.has_magic(name):
            found = [name]  # What is missing is found missing when it is read.
        else:
            found = sorted(
                p for p in glob.glob(name, recursive=True) if os.path.isfile(p)
            )
            reason = f"{name}: no file matches this pattern"
        if not found:
            yield name, reason
        for file in found:
            if file not in seen:
                seen.add(file)
                yield file, ""


def predict_files(
    model: Predictor,
    names: Iterable[str],
    *,
    output: pathlib.Path | None = None,
    frames: bool = False,
    plot: pathlib.Path | None = None,
    embeddings: pathlib.Path | None = None,
) -> int:
    """Hears files, one after the other, and writes what was heard.

    What was done is kept, also where a later file fails or the user interrupts.

    Args:
      model: what hears them.
      names: files, folders, patterns.
      output: ``.csv``, ``.json`` or ``.parquet``; None prints a table.
      frames: one row for each 40 ms instead of one for each file.
      plot: a folder for pictures, one for each file.
      embeddings: ``.parquet`` for the local context of each 40 ms.

    Returns:
      How many files could not be used; stderr has the reasons.

    Raises:
      OutputError: before anything is heard, if an output cannot be written.
    """
    rows_of = _frame_rows if frames else _file_rows
    _check_output(output, _SUFFIXES_OUT)
    _check_output(embeddings, (".parquet",))
    if plot:
        from diccoser_jax import figures  # Matplotlib takes a while to load.

        _check_writable(plot)
    if embeddings and isinstance(model.saved.model, CnnLstm):
        raise OutputError("--embeddings: the CNN-LSTM has no local context.")
    # The CNN-LSTM answers for every window of a file, from its beginning.
    centred = isinstance(model.saved.model, CnnLstm)
    answer_seconds = 0.0 if centred else model.saved.window_seconds
    inputs = list(find_files(names))
    seconds = [0.0 if reason else _seconds(path) for path, reason in inputs]
    errors: list[str] = []
    pictures: set[str] = set()
    columns = _columns(model, frames=frames)
    with (
        _open_table(output, columns) as write,
        contextlib.ExitStack() as stack,
        tqdm(
            total=sum(seconds),
            bar_format="{percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s of audio "
            "[{elapsed}<{remaining}{postfix}]",
            # A few short files are done before anybody has read it.
            disable=len(inputs) < 2 and sum(seconds) < 60,
        ) as bar,
    ):
        if embeddings:
            write_embeddings = stack.enter_context(
                _open_table(embeddings, _EMBEDDING_COLUMNS)
            )
        for number, (path, reason) in enumerate(inputs):
            bar.set_postfix_str(f"file {number + 1} of {len(inputs)}")
            waveform = _Envelope(bar)
            try:
                if reason:
                    raise AudioError(reason)
                result = model(waveform.of(audio.blocks(path)), SAMPLE_RATE_HZ)
                if plot:
                    picture = _free_name(plot, path, pictures)
                    drawn = figures.prediction(
                        pathlib.Path(path).name,
                        result,
                        waveform.extremes(),
                        answer_seconds,
                    )
                    files.replace(picture, figures.png(drawn))
            except (AudioError, OSError) as error:
                text = str(error)
                errors.append(text if path in text else f"{path}: {text}")
                write([dict.fromkeys(columns) | {"file": path, "error": text}])
                bar.write(errors[-1], file=sys.stderr)
                continue
            write(rows_of(path, result))
            if embeddings:
                write_embeddings(_embedding_rows(path, result))
    if len(inputs) > 1 and errors:
        print(f"{len(errors)} of {len(inputs)} could not be used.", file=sys.stderr)
    return len(errors)


def _check_output(path: pathlib.Path | None, suffixes: Sequence[str]) -> None:
    if not path:
        return
    if path.suffix not in suffixes:
        raise OutputError(f"{path}: ends in none of {', '.join(suffixes)}")
    if path.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutputError(
            f"{path}: Parquet needs pyarrow; pip install 'diccoser-jax[parquet]'"
        )
    if path.is_dir():
        raise OutputError(f"{path}: is a folder; expected the name of a file")
    _check_writable(path.parent)


def _check_writable(folder: pathlib.Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be written to ({error.strerror}); nothing was heard yet"
        ) from error


def _seconds(path: str) -> float:
    """What the header says, for the progress bar; 0 where it says nothing."""
    try:
        return soundfile.info(path).duration
    except (soundfile.SoundFileError, OSError, TypeError):
        return 0.0


# Tables out.


def _columns(model: Predictor, *, frames: bool) -> dict[str, type]:
    """Names and types of the columns."""
    columns = {"file": str, "time_seconds" if frames else "seconds": float}
    if model.task == "classification":
        columns |= {"label": str} | dict.fromkeys(model.names, float)
    elif frames:
        columns |= dict.fromkeys(model.names, float)
    else:
        for name in model.names:
            columns |= {f"{name}_mean": float, f"{name}_std": float}
    return columns | {"error": str}


_EMBEDDING_COLUMNS = {"file": str, "time_seconds": float, "embedding": list}


def _numbers(names: Iterable[str], values: Iterable[float]) -> dict[str, float]:
    return {name: round(float(value), 6) for name, value in zip(names, values)}


def _file_rows(path: str, result: Prediction) -> list[dict[str, Any]]:
    row: dict[str, Any] = {"file": path, "seconds": round(result.seconds, 6)}
    if result.task == "classification":
        row |= {"label": result.label} | _numbers(result.names, result.pooled)
    else:
        spread = result.frames.std(axis=0)
        for name, mean, std in zip(result.names, result.pooled, spread):
            row |= _numbers((f"{name}_mean", f"{name}_std"), (mean, std))
    return [row | {"error": None}]


def _frame_rows(path: str, result: Prediction) -> Iterator[dict[str, Any]]:
    for seconds, frame in zip(result.times_seconds, result.frames):
        row = {"file": path, "time_seconds": round(float(seconds), 6)}
        if result.task == "classification":
            row["label"] = result.names[int(frame.argmax())]
        yield row | _numbers(result.names, frame) | {"error": None}


def _embedding_rows(path: str, result: Prediction) -> Iterator[dict[str, Any]]:
    for seconds, embedding in zip(result.times_seconds, result.local_context):
        yield {
            "file": path,
            "time_seconds": round(float(seconds), 6),
            "embedding": embedding,
        }


Write = Callable[[Iterable[dict[str, Any]]], None]


@contextlib.contextmanager
def _open_table(path: pathlib.Path | None, columns: dict[str, type]) -> Iterator[Write]:
    """Gives a function that writes rows to a file; without a path, prints them.

    The file takes its place at the end, whole, also when an exception ends the work.
    """
    if path is None:
        yield _print_rows(columns)
        return
    kinds = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}
    interruption = None
    with (
        files.replacing(path) as temporary,
        kinds[path.suffix](temporary, columns) as write,
    ):
        try:
            yield write
        except BaseException as error:
            interruption = error
    if interruption:
        raise interruption


@contextlib.contextmanager
def _write_csv(path: pathlib.Path, columns: dict[str, type]) -> Iterator[Write]:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        yield writer.writerows


@contextlib.contextmanager
def _write_json(path: pathlib.Path, columns: dict[str, type]) -> Iterator[Write]:
    separator = "[\n"
    with path.open("w", encoding="utf-8") as file:

        def write(rows):
            nonlocal separator
            for row in rows:
                file.write(separator + json.dumps(row))
                separator = ",\n"

        yield write
        file.write("[]\n" if separator == "[\n" else "\n]\n")


@contextlib.contextmanager
def _write_parquet(path: pathlib.Path, columns: dict[str, type]) -> Iterator[Write]:
    import pyarrow
    import pyarrow.parquet

    kinds = {
        str: pyarrow.string(),
        float: pyarrow.float64(),
        list: pyarrow.list_(pyarrow.float32()),
    }
    schema = pyarrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:

        def write(rows):
            table = pyarrow.Table.from_pylist(list(rows), schema=schema)
            if len(table):
                writer.write_table(table)

        yield write


def _print_rows(columns: dict[str, type]) -> Write:
    """Aligned columns, and the file, whose name may be long, at the end."""
    names = [name for name in columns if name not in ("file", "error")]
    width = {name: max(len(name), 8) for name in names}
    if "label" in width:
        width["label"] = max(len(name) for name in names)

    def cell(name: str, value: Any) -> str:
        if columns[name] is str:
            return f"{value:<{width[name]}}"
        return f"{value:>{width[name]}.{2 if 'seconds' in name else 3}f}"

    header = "  ".join(
        f"{name:<{width[name]}}" if columns[name] is str else f"{name:>{width[name]}}"
        for name in names
    )

    def write(rows):
        nonlocal header
        for row in rows:
            if row["error"]:
                continue  # stderr has it
            if header:
                tqdm.write(f"{header}  file", file=sys.stdout)
                header = ""
            cells = "  ".join(cell(name, row[name]) for name in names)
            tqdm.write(f"{cells}  {row['file']}", file=sys.stdout)

    return write


# Pictures out.


class _Envelope:
    """The outline of a waveform, taken while it passes by; moves the progress bar."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._extremes: list[np.ndarray] = []

    def of(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Passes blocks on."""
        samples = SAMPLE_RATE_HZ // 100
        rest = np.zeros(0, np.float32)
        for block in blocks:
            rest = np.concatenate([rest, block])
            whole = len(rest) // samples * samples
            columns = rest[:whole].reshape(-1, samples)
            self._extremes.append(np.stack([columns.min(1), columns.max(1)], axis=1))
            rest = rest[whole:]
            yield block
            missing = self._bar.total - self._bar.n  # Headers are not always right.
            self._bar.update(min(len(block) / SAMPLE_RATE_HZ, missing))

    def extremes(self) -> np.ndarray:
        """``[columns, 2]``: the lowest and the highest sample of each 10 ms."""
        return np.concatenate(self._extremes)


def _free_name(folder: pathlib.Path, path: str, taken: set[str]) -> pathlib.Path:
    """A name for the picture of this file that no other picture of this run has."""
    stem = pathlib.Path(path).stem
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    taken.add(name)
    return folder / f"{name}.png"


# Streams.


def stream_lines(
    model: Predictor, source: BinaryIO, every_seconds: float | None
) -> Iterator[str]:
    """Hears raw 16-bit samples, 16 kHz, mono, little-endian, as they arrive.

    Args:
      model: what hears them.
      source: such as ``sys.stdin.buffer``.
      every_seconds: the mean of the frames of each such span gets a line; None: each
        frame.

    Yields:
      JSON objects with ``time_seconds``, where the span ends, and the outputs.

    Raises:
      AudioError: if there are no samples, or something else than raw ones.
    """
    frames_per_line = round((every_seconds or 0.04) * FRAME_RATE_HZ)
    pending = []
    for result in model.stream(_raw_chunks(source), SAMPLE_RATE_HZ):
        for seconds, frame in zip(result.times_seconds, result.frames):
            pending.append(frame)
            if len(pending) == frames_per_line:
                yield _line(model, seconds, pending)
                pending = []
    if pending:
        yield _line(model, seconds, pending)


def _raw_chunks(source: BinaryIO) -> Iterator[np.ndarray]:
    rest, first = b"", True
    read: Any = source.read1  # type: ignore[attr-defined]  # it is buffered
    while octets := read(_READ_BYTES):
        octets = rest + octets
        if first and octets.startswith(_NOT_RAW):
            raise AudioError(
                f"--stream: begins with {octets[:4]!r}, the head of an audio file; "
                "expected raw samples, as of ffmpeg -f s16le -ar 16000 -ac 1 -"
            )
        first = False
        whole = len(octets) // 2 * 2
        rest = octets[whole:]
        yield np.frombuffer(octets[:whole], "<i2").astype(np.int16)


def _line(model: Predictor, seconds: float, frames: list[np.ndarray]) -> str:
    mean = np.mean(frames, axis=0)
    line: dict[str, Any] = {"time_seconds": round(float(seconds), 6)}
    if model.task == "classification":
        line["label"] = model.names[int(mean.argmax())]
    return json.dumps(line | _numbers(model.names, mean))


# The command.


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    values = flags.FLAGS
    _check_usage(argv[1:], values)
    logging.set_verbosity(logging.WARNING)
    compilation_cache.use()
    failed = 0
    try:
        model = inference.load(values.checkpoint)
        if values.card:
            print(model_file.describe(model.saved))
        elif values.stream:
            for line in stream_lines(model, sys.stdin.buffer, values.every):
                print(line, flush=True)
        else:
            failed = predict_files(
                model,
                argv[1:],
                output=_path(values.output),
                frames=values.frames,
                plot=_path(values.plot),
                embeddings=_path(values.embeddings),
            )
        sys.stdout.flush()
    except BrokenPipeError:  # Nobody reads on: that is how such a pipe ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (AudioError, ModelFileError, OutputError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failed else 0)


def _check_usage(names: list[str], values: flags.FlagValues) -> None:
    def refuse(reason: str) -> None:
        raise app.UsageError(reason, exitcode=2)

    if values.card:
        if names or values.stream:
            refuse("--card goes alone.")
        return
    if values.stream is None:
        if not names:
            refuse("Name audio files or folders, or --stream -.")
        if values.every is not None:
            refuse("--every is for --stream -.")
        return
    if values.stream != "-":
        refuse(f"--stream={values.stream}: only -, standard input, is a stream.")
    if names or values.output or values.plot or values.embeddings or values.frames:
        refuse("--stream - goes to standard output, without files and their flags.")
    if values.every is not None:
        frames = values.every * FRAME_RATE_HZ
        if frames < 1 or abs(frames - round(frames)) > 1e-6:
            refuse(f"--every={values.every} is not a positive multiple of 0.04 s.")


def _path(value: str | None) -> pathlib.Path | None:
    return pathlib.Path(value) if value else None


def define_flags() -> None:
    """Flags of this command."""
    flags.DEFINE_string(
        "checkpoint",
        None,
        "Workdir of a training run, or a .safetensors file of one. Default: the model "
        "that comes with the package.",
    )
    flags.DEFINE_string("output", None, "Table to write: .csv, .json or .parquet.")
    flags.DEFINE_bool("frames", False, "One row for each 40 ms, not for each file.")
    flags.DEFINE_string("plot", None, "Folder for pictures, one for each file.")
    flags.DEFINE_string(
        "embeddings", None, ".parquet for the local context of each 40 ms."
    )
    flags.DEFINE_string(
        "stream",
        None,
        "- reads raw samples from standard input: 16 kHz, mono, 16 bits little-endian.",
    )
    flags.DEFINE_float(
        "every", None, "With --stream: seconds from line to line. Default: 0.04."
    )
    flags.DEFINE_bool(
        "card",
        False,
        "Says what the model is: on what it was trained, how it was tested, its score "
        "for each class, and what it must not be used for.",
    )
    compilation_cache.define_flag()


if __name__ == "__main__":
    define_flags()
    app.run(main)
