"""Anyone's own recordings: a table says where they are and what is to be learnt.

One row is one recording, or a segment of one:

    path,label,speaker,start,end
    anna/talk.wav,happy,anna,0,2.5
    anna/talk.wav,sad,anna,2.5,6.1
    ben/call.flac,sad,ben,,

Columns:
  path: of the audio file, relative to the table; any format that `audio.read` reads.
  label: name of its class. Or, instead,
  track: path of a CSV file with the columns ``time``, in seconds, and one for each
    dimension; row i describes the audio from ``time`` = 0.04 i s on, for 0.04 s.
  speaker: who talks. Optional, but without it each file counts as a speaker.
  sex: female, male or unknown. Optional.
  fold: rows of one fold stay together, as a unit of cross-validation. Optional.
  start, end: of the segment, in seconds of the file and of its track. Optional.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_prep import corpus, table
from diccoser_jax import audio

_NAMES = ("manifest.csv", "manifest.parquet")
_COLUMNS = ("path", "label", "track", "speaker", "sex", "fold", "start", "end")
_TIME = "time"
_SEXES = {
    "female": "female",
    "f": "female",
    "male": "male",
    "m": "male",
    "unknown": "unknown",
    "": "unknown",
}
# A split has a file of its own at least; beyond so many speakers they share some.
_MOST_SPEAKER_SPLITS = 50
_GROUPS = 10
# Times are often rounded to 10 ms.
_TIME_ERROR_SECONDS = 0.01


@dataclasses.dataclass(frozen=True, eq=False)
class Segment(corpus.Recording):
    """A part of a file.

    Attributes:
      where: its row in the table, for messages.
      start_seconds: where it begins in the file.
      end_seconds: where it ends; infinite for the end of the file.
    """

    where: str = ""
    start_seconds: float = 0.0
    end_seconds: float = math.inf


class Builder(corpus.CorpusBuilder):
    """Rows of a table; a split for each fold, speaker, or group of speakers.

    Splits are ``fold0`` or ``fold_NAME`` where there is a column ``fold``, otherwise
    ``speaker03`` or ``speaker_NAME``; speakers beyond 50 are dealt into ``group0`` to
    ``group9``, balanced by sex. Characters that a split cannot have become ``_``, and a
    part of their hash follows.

    The table tells the classes or dimensions; without ``manual_dir``, the shards do.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "a table (.csv, .tsv or .parquet) or a folder with manifest.csv or "
        "manifest.parquet, with the columns path, and label or track."
    )
    file_suffixes = (".csv", ".tsv", ".parquet")

    def __init__(self, *, manual_dir: str | os.PathLike[str] = "", **kwargs: Any):
        """Reads the table, and no audio yet; arguments are the base class's.

        Raises:
          CorpusError: there is no table, or it cannot be understood.
        """
        self._table: pathlib.Path | None = None
        self._columns: list[str] = []
        self._rows: list[table.Row] = []
        if os.fspath(manual_dir):
            self._table = _find_table(pathlib.Path(manual_dir))
            self._columns, self._rows = table.read(self._table)
            self._check_columns()
            manual_dir = self._table.parent
        # Neighbouring rows are often of one file, which may last for hours.
        self._read = functools.lru_cache(maxsize=1)(audio.read)
        super().__init__(manual_dir=manual_dir, **kwargs)
        # A copy in another process, which TFDS makes from this, reads the table, too.
        self._original_state["manual_dir"] = self._table or ""

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The labels, sorted."""
        if not self._table:
            return self._stored("class_names")
        return tuple(
            sorted({row.cells["label"] for row in self._rows if row.cells.get("label")})
        )

    @functools.cached_property
    def dimension_names(self) -> tuple[str, ...]:
        """The columns of the first track that is there, but ``time``."""
        if not self._table:
            return self._stored("dimension_names")
        if "track" not in self._columns:
            return ()
        for row in self._rows:
            path = _inside(self._table.parent, row.cells["track"])
            if path and path.is_file():
                return _read_track(path)[0]
        raise corpus.CorpusError(f"{self._table}: none of its tracks is a file")

    def recordings(self, files: Sequence[pathlib.Path]) -> list[Segment]:
        """Reads rows and tracks."""
        del files
        segments: list[Segment] = []
        seen: dict[str, str] = {}
        sides: dict[str, tuple[Mapping[str, str], str]] = {}
        for row in self._rows:
            with self.bad_file(self._table):
                segment = self._segment(row)
                first = seen.setdefault(segment.id, row.where)
                if first != row.where:
                    raise corpus.CorpusError(
                        f"{row.where}: names {segment.id} again, after {first}"
                    )
                # What a person's rows must agree upon.
                person = {"fold": row.cells.get("fold", ""), "sex": segment.sex}
                known, first = sides.setdefault(segment.speaker, (person, row.where))
                for name, value in person.items():
                    if value != known[name]:
                        raise corpus.CorpusError(
                            f"{row.where}: {name} of speaker {segment.speaker} is "
                            f"{value!r}; expected {known[name]!r}, as in {first}"
                        )
                segments.append(segment)
        unused = [name for name in self._columns if name not in _COLUMNS]
        if unused:
            self.warn(f"Columns of the table left aside: {', '.join(unused)}.")
        if "speaker" not in self._columns:
            self.warn(
                "The table names no speakers: each file counts as one. Where a person "
                "is heard in several files, scores are too good, for they depend on "
                "the speaker."
            )
        # In the order of the files, for the sake of reading each once.
        segments.sort(key=lambda segment: (segment.path, segment.start_seconds))
        units = self._units_of(segments)
        return [
            dataclasses.replace(segment, unit=unit)
            for segment, unit in zip(segments, units)
        ]

    def waveform(  # type: ignore[override]  # its recordings are segments
        self, recording: Segment
    ) -> np.ndarray:
        """Returns the segment, float32 ``[samples]``.

        Raises:
          AudioError: the file cannot be used.
          CorpusError: the segment ends after the file, or is silent.
        """
        if recording.start_seconds == 0 and recording.end_seconds == math.inf:
            return audio.read(recording.path)
        samples = self._read(recording.path)
        duration = len(samples) / audio.SAMPLE_RATE_HZ
        start, end = recording.start_seconds, recording.end_seconds
        if end == math.inf:
            end = max(duration, start)
        if end > duration + _TIME_ERROR_SECONDS or start >= duration:
            raise corpus.CorpusError(
                f"{recording.where}: {start:g} to {end:g} s is not within "
                f"{recording.path}, which lasts {duration:.3f} s"
            )
        first, last = (round(t * audio.SAMPLE_RATE_HZ) for t in (start, end))
        segment = samples[first:last]
        if not len(segment) or np.ptp(segment) <= 2 / 32768:
            raise corpus.CorpusError(
                f"{recording.where}: {recording.path} is silent from {start:g} to "
                f"{end:g} s"
            )
        return segment

    def _segment(self, row: table.Row) -> Segment:
        """Checks a row; its unit is left open."""
        where, cells = row
        path = self._file(row, "path")
        start, end = _seconds(row, "start"), _seconds(row, "end")
        if end is not None and end <= (start or 0):
            raise corpus.CorpusError(
                f"{where}: end {end:g} is not after start {start or 0:g}"
            )
        for column in ("label", "speaker", "fold"):
            if cells.get(column) == "":
                raise corpus.CorpusError(f"{where}: {column} is empty")
        sex = cells.get("sex", "").lower()
        if sex not in _SEXES:
            raise corpus.CorpusError(
                f"{where}: sex is {cells['sex']!r}; expected female, male or unknown"
            )
        name = path.relative_to(self._table.parent).as_posix()
        whole = start is None and end is None
        span = "" if whole else f"[{start or 0:g}-{'' if end is None else f'{end:g}'}]"
        segment = Segment(
            id=name + span,
            unit="",
            speaker=cells.get("speaker", name),
            sex=_SEXES[sex],
            label=cells.get("label", ""),
            path=path,
            where=where,
            start_seconds=start or 0.0,
            end_seconds=math.inf if end is None else end,
        )
        if "track" not in self._columns:
            return segment
        return dataclasses.replace(segment, label=self._track(row, segment))

    def _track(self, row: table.Row, segment: Segment) -> np.ndarray:
        """Returns the rows of the track that belong to the segment."""
        path = self._file(row, "track")
        names, track = _read_track(path)
        if names != self.dimension_names:
            raise corpus.CorpusError(
                f"{path}: its dimensions are {', '.join(names)}; expected "
                f"{', '.join(self.dimension_names)}, as in the first track"
            )
        edges = []
        for seconds in (segment.start_seconds, segment.end_seconds):
            frame = seconds * corpus.FRAME_RATE_HZ
            if frame == math.inf:
                edges.append(len(track))
            elif abs(frame - round(frame)) < 1e-6:
                edges.append(round(frame))
            else:
                raise corpus.CorpusError(
                    f"{row.where}: {seconds:g} s is between two rows of {path.name}; "
                    "expected a multiple of 0.04 s for start and end"
                )
        return track[slice(*edges)]

    def _file(self, row: table.Row, column: str) -> pathlib.Path:
        """Returns a file that the row names, if it is one, in the table's folder."""
        name = row.cells[column]
        if not name:
            raise corpus.CorpusError(f"{row.where}: {column} is empty")
        folder = self._table.parent
        path = _inside(folder, name)
        if not path:
            raise corpus.CorpusError(
                f"{row.where}: {column} {name} leads out of {folder}; expected a path "
                "relative to the table, below its folder. Put the table further up"
            )
        if not path.is_file():
            raise corpus.CorpusError(f"{row.where}: {column} {path} is not a file")
        return path

    def _units_of(self, segments: Sequence[Segment]) -> list[str]:
        """Returns the split of each segment."""
        if "fold" in self._columns:
            fold_of = {row.where: row.cells["fold"] for row in self._rows}
            names = _split_names("fold", fold_of.values())
            return [names[fold_of[segment.where]] for segment in segments]
        sex_of = {segment.speaker: segment.sex for segment in segments}
        names = _split_names("speaker", sex_of)
        if len(sex_of) > _MOST_SPEAKER_SPLITS:
            deck = sorted(sex_of, key=lambda s: (sex_of[s], _digest(s)))
            names = {s: f"group{i % _GROUPS}" for i, s in enumerate(deck)}
        return [names[segment.speaker] for segment in segments]

    def _check_columns(self) -> None:
        has = set(self._columns)
        if "path" not in has or len(has & {"label", "track"}) != 1:
            raise corpus.CorpusError(
                f"{self._table}: its columns are {', '.join(self._columns)}; expected "
                "path, and either label (classification) or track (regression)"
            )
        if not self._rows:
            raise corpus.CorpusError(f"{self._table}: has no row")

    def _stored(self, name: str) -> tuple[str, ...]:
        """Returns what the metadata of the shards, if there are any, say."""
        path = pathlib.Path(self.data_path, "metadata.json")
        if not path.exists():
            return ()
        metadata = json.loads(path.read_text())
        task = "regression" if name == "dimension_names" else "classification"
        return tuple(metadata[name]) if metadata["task"] == task else ()

    @functools.cached_property
    def _files(self) -> list[pathlib.Path]:
        """Lists the table and those files that it names and that are there."""
        if not self._table:
            return super()._files  # which says what is missing
        names = {
            row.cells[column]
            for row in self._rows
            for column in ("path", "track")
            if row.cells.get(column)
        }
        paths = (_inside(self._table.parent, name) for name in names)
        return [self._table, *sorted(path for path in paths if path and path.is_file())]


def _find_table(path: pathlib.Path) -> pathlib.Path:
    layout = f"Expected {Builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
    if path.is_dir():
        found = [path / name for name in _NAMES if (path / name).is_file()]
        if len(found) != 1:
            held = " and ".join(p.name for p in found) or "no manifest"
            raise corpus.CorpusError(f"manual_dir {path} holds {held}. {layout}")
        return found[0]
    if not path.is_file():
        raise corpus.CorpusError(f"manual_dir {path} does not exist. {layout}")
    if path.suffix.lower() not in Builder.file_suffixes:
        raise corpus.CorpusError(f"manual_dir {path} is no table. {layout}")
    return path


def _inside(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """Returns the path of ``name``, or None if it leads out of the folder."""
    relative = os.path.normpath(name)
    if os.path.isabs(relative) or relative.split(os.sep)[0] == os.pardir:
        return None
    return folder / relative


def _seconds(row: table.Row, column: str) -> float | None:
    text = row.cells.get(column, "")
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise corpus.CorpusError(
            f"{row.where}: {column} is {text!r}; expected seconds, such as 1.25"
        )
    return seconds


def _read_track(path: pathlib.Path) -> tuple[tuple[str, ...], np.ndarray]:
    """Returns the names of the dimensions and float32 ``[rows, dimensions]``."""
    columns, rows = table.read(path)
    names = tuple(name for name in columns if name != _TIME)
    if _TIME not in columns or not names:
        raise corpus.CorpusError(
            f"{path}: its columns are {', '.join(columns)}; expected {_TIME}, and one "
            "for each dimension"
        )
    track = np.empty((len(rows), len(names)), np.float32)
    for i, (where, cells) in enumerate(rows):
        try:
            numbers = {name: float(cell) for name, cell in cells.items()}
        except ValueError as error:
            raise corpus.CorpusError(
                f"{where}: {error}; expected numbers with a decimal point"
            ) from error
        expected = i / corpus.FRAME_RATE_HZ
        # Not `>`, which NaN would pass.
        if not abs(numbers[_TIME] - expected) <= 1e-3:
            raise corpus.CorpusError(
                f"{where}: its time is {numbers[_TIME]:g} s; expected {expected:g} s: "
                f"{corpus.FRAME_RATE_HZ} rows a second from 0 on. Resample the track"
            )
        track[i] = [numbers[name] for name in names]
    return names, track


def _split_names(prefix: str, values: Iterable[str]) -> dict[str, str]:
    """Maps values to names that TFDS permits; different ones to different ones."""
    names = {}
    for value in values:
        safe = re.sub(r"\W", "_", value, flags=re.ASCII)[:40]
        name = prefix + safe if safe.isdigit() else f"{prefix}_{safe}"
        if safe != value or name.endswith(corpus.EVALUATION_SUFFIX):
            name += f"_{_digest(value)[:8]}"
        names[value] = name
    return names


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
