"""What the corpus builders share: files in, checked and windowed records out.

A builder says where its labels are (``recordings``); ``CorpusBuilder`` checks every
file before it writes the first record, cuts the windows, and counts.
"""

import abc
import contextlib
import dataclasses
import filecmp
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from diccoser_jax import audio

FRAME_RATE_HZ = 25
FRAME_SAMPLES = audio.SAMPLE_RATE_HZ // FRAME_RATE_HZ

EVALUATION_SUFFIX = "_eval"


class CorpusError(ValueError):
    """A corpus, or a file of it, that departs from its published form."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """A labelled audio file.

    Attributes:
      id: unique in the corpus; two recordings of one id are copies of each other.
      unit: the split that the recording goes to, the unit of cross-validation.
      speaker: who talks.
      sex: 'female', 'male' or 'unknown'.
      label: the name of a class, or a track: float32 ``[frames, dimensions]`` at
        ``FRAME_RATE_HZ``, whose row i describes the samples
        ``[FRAME_SAMPLES * i, FRAME_SAMPLES * (i + 1))``.
      path: the audio file; None where a builder makes its audio itself.
    """

    id: str
    unit: str
    speaker: str
    sex: str
    label: str | np.ndarray
    path: pathlib.Path | None = None


class CorpusBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A TFDS builder that needs no TensorFlow, and neither do its readers.

    A record holds ``id``, ``speaker``, ``start_seconds`` (float32), ``audio`` (int16
    ``[samples]``, 16 kHz mono) and either ``label`` (int64), for a whole utterance, or
    ``labels`` (float32 ``[frames, dimensions]``), for a window of a recording.

    Each unit of cross-validation is a split. A regression corpus has two for each:
    ``<unit>`` holds windows of ``window_seconds`` for every ``shift_seconds``, and
    ``<unit>_eval`` cuts each recording into windows without overlap, the shorter tail
    included. All windows of a recording carry its ``id``.

    ``info.metadata`` is JSON: ``task`` ('classification' or 'regression');
    ``class_names`` or ``dimension_names``; ``units`` (for each unit its ``speakers``
    and their common ``sex``); ``counts`` (recordings by ``class`` and by ``speaker``,
    records by ``split``); ``hours`` of recordings; ``skipped`` (a list of ``file`` and
    ``reason``); ``warnings`` (a list of sentences); ``options`` (see ``__init__``);
    and ``fingerprint``, which changes with the files, the options and the version.

    Subclasses set ``class_names`` or ``dimension_names``,
    ``MANUAL_DOWNLOAD_INSTRUCTIONS`` (the layout, quoted in errors) and, where
    documented, ``documented_counts`` (recordings of each class) and ``sexes`` (of each
    speaker), departures from which are warned of.
    """

    class_names: Sequence[str] = ()
    dimension_names: Sequence[str] = ()
    file_suffixes: Sequence[str] = (".wav",)
    documented_counts: Mapping[str, int] = {}
    sexes: Mapping[str, str] = {}

    def __init__(
        self,
        *,
        manual_dir: str | os.PathLike[str] = "",
        on_bad_file: str = "raise",
        window_seconds: float = 20.0,
        shift_seconds: float = 4.0,
        progress: bool = False,
        **kwargs: Any,
    ):
        """Prepares to build, and reads no file yet.

        Args:
          manual_dir: the folder of the corpus.
          on_bad_file: 'raise' stops at a file that cannot be used; 'skip' leaves such
            files out and lists them in the metadata.
          window_seconds: length of the training and evaluation windows (regression).
          shift_seconds: from one training window to the next (regression).
          progress: whether to draw progress bars.
          **kwargs: ``data_dir`` and ``config``, as in TFDS.
        """
        if on_bad_file not in ("raise", "skip"):
            raise CorpusError(f"on_bad_file is {on_bad_file!r}; expected raise or skip")
        self._manual_dir = manual_dir
        self._on_bad_file = on_bad_file
        self._window_frames = _whole_frames("window_seconds", window_seconds)
        self._shift_frames = _whole_frames("shift_seconds", shift_seconds)
        self._progress = progress
        self._units: dict[str, list[Recording]] = {}
        self._skipped: list[dict[str, str]] = []
        self._warnings: list[str] = []
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def recordings(self, files: Sequence[pathlib.Path]) -> Iterable[Recording]:
        """Returns what ``files`` hold, reading labels and no audio.

        Errors about one file belong inside ``self.bad_file(path)``, which applies
        ``on_bad_file``; ``parse_each`` does so.
        """

    def waveform(self, recording: Recording) -> np.ndarray:
        """Returns the whole recording, float32 ``[samples]``, or raises AudioError."""
        return audio.read(recording.path)

    @property
    def options(self) -> dict[str, float]:
        """What changes the records of a given corpus."""
        if not self.dimension_names:
            return {}
        return {
            "window_seconds": self._window_frames / FRAME_RATE_HZ,
            "shift_seconds": self._shift_frames / FRAME_RATE_HZ,
        }

    def fingerprint(self) -> str:
        """Returns a hash of names and sizes of the files, the options, the version."""
        root = pathlib.Path(self._manual_dir)
        # A dangling link has no size; reading it is what fails, with a message.
        files = [
            (path.relative_to(root).as_posix(), path.exists() and path.stat().st_size)
            for path in self._files
        ]
        state = [str(self.version), self.builder_config_name, self.options, files]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def check(self) -> None:
        """Reads every file once, and fills ``info.metadata``.

        Raises:
          CorpusError: the corpus departs from its layout, or a file cannot be used and
            ``on_bad_file`` is 'raise'. The message names the file, what was found and
            what was expected.
        """
        self._skipped, self._warnings = [], []
        recordings = self._drop_copies(self.recordings(self._files))
        counts = {"class": Counter(), "speaker": Counter(), "split": Counter()}
        counts["class"].update(dict.fromkeys(self.class_names, 0))
        units: dict[str, list[Recording]] = {}
        seconds = 0.0
        for recording in tqdm.tqdm(
            recordings, f"checking {self.name}", unit="file", disable=not self._progress
        ):
            with self.bad_file(recording.path or pathlib.Path(recording.id)):
                samples = len(self.waveform(recording))
                if self.dimension_names:
                    self._check_track(recording, samples)
                seconds += samples / audio.SAMPLE_RATE_HZ
                units.setdefault(recording.unit, []).append(recording)
                counts["speaker"][recording.speaker] += 1
                if self.class_names:
                    counts["class"][recording.label] += 1
        if not units:
            raise CorpusError(
                f"{self._manual_dir}: none of its {len(self._skipped)} files can be "
                f"used; the first: {self._skipped[0]['reason']}"
            )
        self._units = dict(sorted(units.items()))
        self._warn_of_departures(counts)
        for split, spans in self._splits().items():
            counts["split"][split] = sum(len(windows) for _, windows in spans)
        self.info.metadata.update(
            task="regression" if self.dimension_names else "classification",
            units={unit: _describe(group) for unit, group in self._units.items()},
            counts=counts,
            hours=seconds / 3600,
            skipped=self._skipped,
            warnings=self._warnings,
            options=self.options,
            fingerprint=self.fingerprint(),
        )
        if self.dimension_names:
            self.info.metadata["dimension_names"] = list(self.dimension_names)
        else:
            self.info.metadata["class_names"] = list(self.class_names)

    @contextlib.contextmanager
    def bad_file(self, path: pathlib.Path) -> Iterator[None]:
        """Turns an error about ``path`` into what ``on_bad_file`` asks for."""
        try:
            yield
        except (audio.AudioError, CorpusError) as error:
            if self._on_bad_file == "raise":
                raise CorpusError(
                    f"{error}. (on_bad_file=skip leaves such files out and lists them.)"
                ) from error
            file = os.path.relpath(path, self._manual_dir)
            self._skipped.append({"file": file, "reason": str(error)})

    def parse_each(
        self,
        files: Iterable[pathlib.Path],
        parse: Callable[[pathlib.Path], Recording],
    ) -> list[Recording]:
        """Parses file by file, for corpora whose file names tell everything."""
        recordings = []
        for path in files:
            with self.bad_file(path):
                recordings.append(parse(path))
        return recordings

    def warn(self, message: str) -> None:
        """Stores a sentence that every report made from these shards repeats."""
        self._warnings.append(message)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "id": tfds.features.Text(),
            "audio": tfds.features.Tensor(
                shape=(None,), dtype=np.int16, encoding="bytes"
            ),
            "speaker": tfds.features.Text(),
            "start_seconds": np.float32,
        }
        if self.dimension_names:
            features["labels"] = tfds.features.Tensor(
                shape=(None, len(self.dimension_names)),
                dtype=np.float32,
                encoding="bytes",
            )
        else:
            features["label"] = tfds.features.ClassLabel(names=list(self.class_names))
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, Iterator[tuple[str, dict[str, Any]]]]:
        del dl_manager  # Every corpus is placed by hand: most need an agreement.
        if not self._units:
            self.check()
        splits = self._splits()
        bar = tqdm.tqdm(
            desc=f"writing {self.name}",
            total=sum(map(len, splits.values())),
            unit="file",
            disable=not self._progress,
        )
        return {
            name: self._generate_examples(spans, bar) for name, spans in splits.items()
        }

    def _generate_examples(
        self,
        spans: Iterable[tuple[Recording, list[slice]]],
        bar: tqdm.tqdm,
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for recording, windows in spans:
            samples = audio.to_int16(self.waveform(recording))
            for window in windows:
                example = {
                    "id": recording.id,
                    "speaker": recording.speaker,
                    "start_seconds": window.start / FRAME_RATE_HZ,
                }
                if self.class_names:
                    example["audio"] = samples
                    example["label"] = recording.label
                else:
                    span = slice(
                        window.start * FRAME_SAMPLES, window.stop * FRAME_SAMPLES
                    )
                    example["audio"] = samples[span]
                    example["labels"] = recording.label[window]
                yield f"{recording.id}@{window.start}", example
            bar.update()
        if bar.n == bar.total:
            bar.close()

    def _splits(self) -> dict[str, list[tuple[Recording, list[slice]]]]:
        """Maps each split to its recordings and their windows, in frames."""
        splits = {}
        for unit, group in self._units.items():
            if self.class_names:
                splits[unit] = [(recording, [slice(0, None)]) for recording in group]
                continue
            size, shift = self._window_frames, self._shift_frames
            splits[unit] = [
                (r, training_windows(len(r.label), size, shift)) for r in group
            ]
            splits[unit + EVALUATION_SUFFIX] = [
                (r, evaluation_windows(len(r.label), size)) for r in group
            ]
        return splits

    @functools.cached_property
    def _files(self) -> list[pathlib.Path]:
        """Lists the files of the corpus, sorted by their path within it."""
        if not self.file_suffixes:
            return []
        layout = f"Expected {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        if not os.fspath(self._manual_dir):
            raise CorpusError(f"{self.name} needs manual_dir, its folder. {layout}")
        root = pathlib.Path(self._manual_dir)
        if not root.is_dir():
            found = "is not a folder" if root.exists() else "does not exist"
            raise CorpusError(f"manual_dir {root} {found}. {layout}")
        everything = list(_walk(root))
        files = [p for p in everything if p.suffix.lower() in self.file_suffixes]
        if files:
            return sorted(files, key=lambda path: path.relative_to(root).as_posix())
        archives = [p.name for p in everything if p.suffix.lower() == ".zip"]
        if archives:
            found = (
                f"holds {archives[0]} and no {self.file_suffixes[0]} file: unpack it"
            )
        else:
            found = f"holds no {self.file_suffixes[0]} file"
        raise CorpusError(f"manual_dir {root} {found}. {layout}")

    def _drop_copies(self, recordings: Iterable[Recording]) -> list[Recording]:
        """Keeps one of each file that lies in several folders, and says so."""
        kept: dict[str, Recording] = {}
        copies = 0
        for recording in recordings:
            first = kept.setdefault(recording.id, recording)
            if first is recording:
                continue
            if not filecmp.cmp(first.path, recording.path, shallow=False):
                raise CorpusError(
                    f"{recording.path}: has the name of {first.path} and other "
                    "content; remove one of them"
                )
            copies += 1
        if copies:
            self.warn(f"{copies} files left out: copies of others of the same name.")
        return list(kept.values())

    def _check_track(self, recording: Recording, samples: int) -> None:
        track, frames = recording.label, samples // FRAME_SAMPLES
        if track.ndim != 2 or track.shape[1] != len(self.dimension_names):
            raise CorpusError(
                f"{recording.path or recording.id}: its labels have shape "
                f"{track.shape}; expected [frames, {len(self.dimension_names)}] for "
                f"{', '.join(self.dimension_names)}"
            )
        if not np.isfinite(track).all():
            row = int(np.argmin(np.isfinite(track).all(axis=1)))
            raise CorpusError(
                f"{recording.path or recording.id}: label row {row} "
                f"({row / FRAME_RATE_HZ:.2f} s) is {track[row]}; expected numbers"
            )
        if not frames or len(track) != frames:
            raise CorpusError(
                f"{recording.path or recording.id}: {len(track)} label rows for "
                f"{frames} frames of audio ({samples / audio.SAMPLE_RATE_HZ:.2f} s); "
                f"expected one row for each {1 / FRAME_RATE_HZ:g} s"
            )

    def _warn_of_departures(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        found = counts["class"]
        if self.documented_counts and dict(found) != dict(self.documented_counts):
            departures = ", ".join(
                f"{name} {found[name]} of {documented}"
                for name, documented in self.documented_counts.items()
                if found[name] != documented
            )
            self.warn(
                f"{sum(found.values())} of {sum(self.documented_counts.values())} "
                f"documented files: {departures}."
            )
        missing = sorted(set(self.sexes) - set(counts["speaker"]))
        if missing:
            self.warn(f"No file of the documented speakers {', '.join(missing)}.")


def training_windows(frames: int, size: int, shift: int) -> list[slice]:
    """Returns windows that leave no frame out, unless ``shift`` exceeds ``size``.

    They start at every multiple of ``shift``; where the last one would end before the
    recording does, one more ends with it. A recording shorter than ``size`` is one
    shorter window. All in frames.
    """
    last = max(frames - size, 0)
    starts = sorted({*range(0, last + 1, shift), last})
    return [slice(start, min(start + size, frames)) for start in starts]


def evaluation_windows(frames: int, size: int) -> list[slice]:
    """Returns windows that cover each frame once, the last one as short as need be."""
    edges = [*range(0, frames, size), frames]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _whole_frames(name: str, seconds: float) -> int:
    frames = round(seconds * FRAME_RATE_HZ)
    if frames < 1 or abs(frames - seconds * FRAME_RATE_HZ) > 1e-6:
        raise CorpusError(
            f"{name} is {seconds}; expected a positive multiple of "
            f"{1 / FRAME_RATE_HZ:g} s, the frame of the labels"
        )
    return frames


def _walk(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields all files below, through links, but not what macOS leaves behind."""
    seen = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(parent)
        if real in seen:  # A link that leads back up, or a second way to a folder.
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            if not name.startswith("._") and name != ".DS_Store":
                yield pathlib.Path(parent, name)


def _describe(recordings: Sequence[Recording]) -> dict[str, Any]:
    sexes = {recording.sex for recording in recordings}
    return {
        "speakers": sorted({recording.speaker for recording in recordings}),
        "sex": sexes.pop() if len(sexes) == 1 else "unknown",
    }
