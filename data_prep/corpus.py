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
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
import tqdm

from diccoser_jax import audio
from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES

EVALUATION_SUFFIX = "_eval"

# A recorder may run on after the last label; more than this is another recording.
_LONGEST_TAIL_SECONDS = 1.0
# TFDS holds the examples of a shard in memory while it writes them.
_SHARD_BYTES = 64 << 20
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
_AUDIO_SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au")
_MOST_NAMES_IN_A_WARNING = 20


# Of a function, some items, and a new folder for what comes of them on its way: the
# function of each item, as it is after a way through JSON.
ParallelMap = Callable[
    [Callable[[Any], Any], Sequence[Any], pathlib.Path], Sequence[Any]
]


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


class CorpusBuilder(
    tfds.core.ShardBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """A TFDS builder that needs no TensorFlow, and neither do its readers.

    A record holds ``id``, ``speaker``, ``start_seconds`` (float32), ``audio`` (int16
    ``[samples]``, 16 kHz mono) and either ``label`` (int64), for a whole utterance, or
    ``labels`` (float32 ``[frames, dimensions]``), for a window of a recording.

    Each unit of cross-validation is a split. A regression corpus has two for each:
    ``<unit>`` holds windows of ``window_seconds`` for every ``shift_seconds``, and
    ``<unit>_eval`` cuts each recording into windows without overlap, the shorter tail
    included. All windows of a recording carry its ``id``. Records lie in the order of
    ``recordings`` and of time.

    ``info.metadata`` is JSON: ``task`` ('classification' or 'regression');
    ``class_names`` or ``dimension_names``; ``units`` (for each unit its ``speakers``
    and their common ``sex``); ``counts`` (recordings by ``class`` and by ``speaker``,
    records by ``split``); ``hours`` of recordings; ``skipped`` (a list of ``file`` and
    ``reason``); ``warnings`` (a list of sentences); ``partial`` (whether the counts are
    other than documented); ``options`` (see ``__init__``); and ``fingerprint``, which
    changes with the files, the options and the version.

    Subclasses set ``class_names`` or ``dimension_names``,
    ``MANUAL_DOWNLOAD_INSTRUCTIONS`` (the layout, quoted in errors) and, where
    documented, ``documented_counts`` and ``documented_speakers`` (recordings of each
    class and of each speaker), departures from which are errors.
    """

    file_suffixes: Sequence[str] = (".wav",)

    def __init__(
        self,
        *,
        manual_dir: str | os.PathLike[str] = "",
        on_bad_file: str = "raise",
        allow_partial: bool = False,
        window_seconds: float = 20.0,
        shift_seconds: float = 4.0,
        delay_seconds: float = 0.0,
        num_shards: int | None = None,
        progress: bool = False,
        parallel_map: ParallelMap | None = None,
        **kwargs: Any,
    ):
        """Prepares to build, and reads no file yet.

        Args:
          manual_dir: the folder of the corpus.
          on_bad_file: 'raise' stops at a file that cannot be used; 'skip' leaves such
            files out and lists them in the metadata.
          allow_partial: whether counts other than documented are warned of, instead of
            an error.
          window_seconds: length of the training and evaluation windows (regression).
          shift_seconds: from one training window to the next (regression).
          delay_seconds: how long after what they hear annotators respond, a multiple of
            the frame (regression). Each label is moved so much earlier; the end of the
            recording, for which no label is left, is cut off.
          num_shards: files for each split; None for as many as hold 64 MiB each.
          progress: whether to draw progress bars.
          parallel_map: reads files and writes shards elsewhere, by a copy of this
            builder; None does so here, in turn.
          **kwargs: ``data_dir`` and ``config``, as in TFDS.
        """
        if on_bad_file not in ("raise", "skip"):
            raise CorpusError(f"on_bad_file is {on_bad_file!r}; expected raise or skip")
        self._manual_dir = manual_dir
        self._on_bad_file = on_bad_file
        self._window_frames = _whole_frames("window_seconds", window_seconds)
        self._shift_frames = _whole_frames("shift_seconds", shift_seconds)
        self._delay_frames = (
            _whole_frames("delay_seconds", delay_seconds) if delay_seconds else 0
        )
        self._allow_partial = allow_partial
        self._num_shards = num_shards
        self._progress = progress
        self._parallel_map = parallel_map
        self._bar = tqdm.tqdm(disable=True)
        self._units: dict[str, list[Recording]] = {}
        self._skipped: list[dict[str, str]] = []
        self._warnings: list[str] = []
        self._lengths: dict[str, int] = {}
        self._samples: tuple[Recording | None, np.ndarray] = (None, np.zeros(0))
        super().__init__(file_format="array_record", **kwargs)

    @property
    def class_names(self) -> Sequence[str]:
        """The classes; none for a regression."""
        return ()

    @property
    def dimension_names(self) -> Sequence[str]:
        """The dimensions of the tracks; none for a classification."""
        return ()

    @property
    def documented_counts(self) -> Mapping[str, int]:
        """Recordings of each class; nothing where they are not documented."""
        return {}

    @property
    def documented_speakers(self) -> Mapping[str, int]:
        """Recordings of each speaker; nothing where they are not documented."""
        return {}

    @abc.abstractmethod
    def recordings(self, files: Sequence[pathlib.Path]) -> Iterable[Recording]:
        """Returns what ``files`` hold, reading labels and no audio.

        Errors about one file belong inside ``self.bad_file(path)``, which applies
        ``on_bad_file``; ``parse_each`` does so.
        """

    def waveform(self, recording: Recording) -> np.ndarray:
        """Returns the whole recording, float32 ``[samples]``, or raises AudioError."""
        return audio.read(recording.path)

    def belongs(self, path: pathlib.Path) -> bool:
        """Says whether a file is of the corpus; others are not looked at."""
        return path.suffix.lower() in self.file_suffixes

    @property
    def options(self) -> dict[str, float]:
        """What changes the records of a given corpus."""
        if not self.dimension_names:
            return {}
        return {
            "window_seconds": self._window_frames / FRAME_RATE_HZ,
            "shift_seconds": self._shift_frames / FRAME_RATE_HZ,
            "delay_seconds": self._delay_frames / FRAME_RATE_HZ,
        }

    @property
    def units(self) -> Mapping[str, Sequence[Recording]]:
        """The recordings of each unit, once `check` has found them."""
        return self._units

    def fingerprint(self) -> str:
        """Returns a hash of the files, the options and the version.

        Of audio, names and sizes count; of labels, the content.
        """
        root = pathlib.Path(self._manual_dir)
        files = [
            (path.relative_to(root).as_posix(), _identity(path)) for path in self._files
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
        counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("class", "speaker", "split")
        }
        counts["class"].update(dict.fromkeys(self.class_names, 0))
        units: dict[str, list[Recording]] = {}
        same_sound: dict[str, list[Recording]] = {}
        seconds = 0.0
        for (samples, sound, fault), recording in zip(
            self._listen_to(recordings), recordings
        ):
            with self.bad_file(recording.path or pathlib.Path(recording.id)):
                if fault:
                    raise CorpusError(fault)
                if self.dimension_names:
                    recording = self._fit_track(recording, samples)
                same_sound.setdefault(sound, []).append(recording)
                seconds += samples / audio.SAMPLE_RATE_HZ
                self._lengths[recording.id] = samples
                units.setdefault(recording.unit, []).append(recording)
                counts["speaker"][recording.speaker] += 1
                if self.class_names:
                    counts["class"][str(recording.label)] += 1
        if not units:
            reasons = [bad["reason"] for bad in self._skipped]
            raise CorpusError(
                f"{self._manual_dir}: none of its recordings can be used; the first: "
                f"{(reasons or ['no label is one of the classes'])[0]}"
            )
        self._units = dict(sorted(units.items()))
        partial = self._check_counts(counts)
        self._warn_of_repetitions(same_sound.values())
        for split, windows in self._splits().items():
            counts["split"][split] = len(windows)
        smallest = min(counts["split"], key=counts["split"].get)
        if not 1 <= (self._num_shards or 1) <= counts["split"][smallest]:
            raise CorpusError(
                f"num_shards is {self._num_shards}; expected 1 to "
                f"{counts['split'][smallest]}, the number of records of the split "
                f"{smallest}"
            )
        # TFDS reads those of shards that are there at the first look, over these ones.
        self.info.metadata.keys()
        self.info.metadata.clear()
        self.info.metadata.update(
            task="regression" if self.dimension_names else "classification",
            units={unit: _describe(group) for unit, group in self._units.items()},
            counts=counts,
            hours=seconds / 3600,
            skipped=self._skipped,
            warnings=self._warnings,
            partial=partial,
            options=self.options,
            fingerprint=self.fingerprint(),
        )
        if self.dimension_names:
            self.info.metadata["dimension_names"] = list(self.dimension_names)
        else:
            self.info.metadata["class_names"] = list(self.class_names)

    def _listen_to(
        self, recordings: Sequence[Recording]
    ) -> Iterable[tuple[int, str, str]]:
        """`_listen` to each of them."""
        if self._parallel_map:
            return self._parallel_map(self._listen, recordings, self._results("heard"))
        bar = tqdm.tqdm(
            recordings, f"checking {self.name}", unit="file", disable=not self._progress
        )
        return map(self._listen, bar)

    def _listen(self, recording: Recording) -> tuple[int, str, str]:
        """The samples and a hash of a recording, or why it cannot be used."""
        try:
            waveform = np.ascontiguousarray(self.waveform(recording))
        except (audio.AudioError, CorpusError) as error:
            return 0, "", str(error)
        return len(waveform), hashlib.blake2b(waveform.data).hexdigest(), ""

    def _results(self, name: str) -> pathlib.Path:
        """A folder beside the shards that will be."""
        return pathlib.Path(self.data_path).parent / f"incomplete.{name}"

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

    def _download_and_prepare(
        self,
        dl_manager: tfds.download.DownloadManager,
        download_config: tfds.download.DownloadConfig | None = None,
    ) -> None:
        if not self._parallel_map:
            super()._download_and_prepare(dl_manager, download_config)
            return
        # Given a runner of Beam, TFDS would start a pipeline for each split, which
        # writes those before once more, and in most splits there is one shard only.
        shards, templates = {}, {}
        for name, parts in self._checked_shards().items():
            templates[name] = self._get_filename_template(name)
            shards[name] = [
                (
                    templates[name].sharded_filepath(
                        shard_index=i, num_shards=len(parts)
                    ),
                    part,
                )
                for i, part in enumerate(parts)
            ]
        lengths = iter(
            self._parallel_map(
                self._write_shard,
                [shard for group in shards.values() for shard in group],
                self._results("written"),
            )
        )
        self.info.set_splits(
            tfds.core.SplitDict(
                tfds.core.SplitInfo(
                    name=name,
                    shard_lengths=[next(lengths) for _ in group],
                    num_bytes=sum(path.stat().length for path, _ in group),
                    filename_template=templates[name],
                )
                for name, group in shards.items()
            )
        )

    def _write_shard(
        self, shard: tuple[tfds.core.Path, Sequence[tuple[Recording, slice]]]
    ) -> int:
        """Writes a file of records, and returns how many."""
        path, windows = shard
        serialised = (
            (key, self.info.features.serialize_example(example))
            for key, example in self._generate_examples(windows)
        )
        # Elsewhere, it may be done twice at the same time. TFDS removes such leftovers.
        unfinished = path.parent / f"incomplete.{uuid.uuid4().hex}.{path.name}"
        self._example_writer().write(unfinished, serialised)
        unfinished.replace(path)
        return len(windows)

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Iterator[tuple[str, dict[str, Any]]]]]]:
        # Not a GeneratorBasedBuilder: that one needs memory for a whole split, and
        # TensorFlow once the split exceeds 1 GB.
        del dl_manager  # Every corpus is placed by hand: most need an agreement.
        splits = self._checked_shards()
        self._bar = tqdm.tqdm(
            desc=f"writing {self.name}",
            total=sum(len(part) for parts in splits.values() for part in parts),
            unit="record",
            disable=not self._progress,
        )
        return {
            name: [functools.partial(self._generate_examples, part) for part in parts]
            for name, parts in splits.items()
        }

    def _generate_examples(
        self, windows: Iterable[tuple[Recording, slice]]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for recording, window in windows:
            if self._samples[0] is not recording:
                self._samples = (None, np.zeros(0))  # Never two in memory.
                self._samples = (recording, audio.to_int16(self.waveform(recording)))
            samples = self._samples[1][window]
            example = {
                "id": recording.id,
                "speaker": recording.speaker,
                "start_seconds": window.start / audio.SAMPLE_RATE_HZ,
                "audio": samples,
            }
            if self.class_names:
                example["label"] = recording.label
            else:
                rows = slice(
                    window.start // FRAME_SAMPLES, window.stop // FRAME_SAMPLES
                )
                example["labels"] = recording.label[rows]
            yield f"{recording.id}@{window.start}", example
            self._bar.update()
        if self._bar.n == self._bar.total:
            self._bar.close()

    def _checked_shards(self) -> dict[str, list[Sequence[tuple[Recording, slice]]]]:
        """The records of each file of each split."""
        if not self._units:
            self.check()
        return {name: self._shards(windows) for name, windows in self._splits().items()}

    def _splits(self) -> dict[str, list[tuple[Recording, slice]]]:
        """Maps each split to its records: a recording and a span of samples."""
        splits = {}
        for unit, group in self._units.items():
            if self.class_names:
                splits[unit] = [
                    (recording, slice(0, self._lengths[recording.id]))
                    for recording in group
                ]
                continue
            size, shift = self._window_frames, self._shift_frames
            splits[unit] = [
                (recording, _in_samples(window))
                for recording in group
                for window in training_windows(len(recording.label), size, shift)
            ]
            splits[unit + EVALUATION_SUFFIX] = [
                (recording, _in_samples(window))
                for recording in group
                for window in evaluation_windows(len(recording.label), size)
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
        files = [path for path in everything if self.belongs(path)]
        if files:
            return sorted(files, key=lambda path: path.relative_to(root).as_posix())
        found = f"holds no {self.file_suffixes[0]} file"
        if any(path.suffix.lower() in self.file_suffixes for path in everything):
            found += " in its place"
        archives = [p.name for p in everything if p.suffix.lower() in _ARCHIVES]
        if archives:
            found += f", but {archives[0]}: unpack it"
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

    def _fit_track(self, recording: Recording, samples: int) -> Recording:
        """Checks a label track, and cuts it to the audio and by the delay.

        The audio may run on for less than a second after the track, and lack a part of
        the track's last frame: the one is left out, and so is the other. Any other
        difference means that labels and audio are not of one recording.
        """
        track, name = np.asarray(recording.label), recording.path or recording.id
        if track.ndim != 2 or track.shape[1] != len(self.dimension_names):
            raise CorpusError(
                f"{name}: its labels have shape {track.shape}; expected "
                f"[frames, {len(self.dimension_names)}] for "
                f"{', '.join(self.dimension_names)}"
            )
        if not np.isfinite(track).all():
            row = int(np.argmin(np.isfinite(track).all(axis=1)))
            raise CorpusError(
                f"{name}: label row {row} ({row / FRAME_RATE_HZ:.2f} s) is "
                f"{track[row]}; expected numbers"
            )
        tail = samples - FRAME_SAMPLES * len(track)
        rows = min(len(track), samples // FRAME_SAMPLES)
        longest_tail = _LONGEST_TAIL_SECONDS * audio.SAMPLE_RATE_HZ
        if not rows or not -FRAME_SAMPLES < tail < longest_tail:
            raise CorpusError(
                f"{name}: {len(track)} label rows, {len(track) / FRAME_RATE_HZ:.2f} s, "
                f"for {samples / audio.SAMPLE_RATE_HZ:.2f} s of audio; expected a row "
                f"for each {1 / FRAME_RATE_HZ:g} s, and less than "
                f"{_LONGEST_TAIL_SECONDS:g} s of audio after them"
            )
        if rows <= self._delay_frames:
            raise CorpusError(
                f"{name}: its {rows} label rows are no more than the delay_seconds of "
                f"{self._delay_frames / FRAME_RATE_HZ:g} s"
            )
        return dataclasses.replace(recording, label=track[self._delay_frames : rows])

    def _check_counts(self, counts: Mapping[str, Mapping[str, int]]) -> bool:
        """Says whether counts are other than documented, unless that is an error."""
        documented = {
            "class": self.documented_counts,
            "speaker": self.documented_speakers,
        }
        departures, missing, surplus = [], 0, 0
        for kind, expected in documented.items():
            found = {name: counts[kind][name] for name in expected or ()}
            if expected:
                found |= counts[kind]
            lines = []
            for name, number in sorted(found.items()):
                difference = number - expected.get(name, 0)
                missing += max(-difference, 0)
                surplus += max(difference, 0)
                if difference:
                    what = "too many" if difference > 0 else "missing"
                    lines.append(
                        f"{name} {number} of {expected.get(name, 0)} "
                        f"({abs(difference)} {what})"
                    )
            if lines:
                departures.append(f"by {kind}: {', '.join(lines)}")
        if not departures:
            return False
        total = max(sum(expected.values()) for expected in documented.values())
        message = (
            f"{sum(counts['speaker'].values())} of {total} documented recordings; "
            f"{'; '.join(departures)}"
        )
        # A file that was skipped is missing once by class and once by speaker.
        kinds = sum(bool(expected) for expected in documented.values())
        explained = not surplus and missing <= kinds * len(self._skipped)
        if not (self._allow_partial or explained):
            raise CorpusError(
                f"{self._manual_dir}: {message}. Complete the corpus, or use what is "
                "there by allow_partial, which every report will say"
            )
        self.warn(f"{message}.")
        return True

    def _warn_of_repetitions(self, groups: Iterable[Sequence[Recording]]) -> None:
        repeated = [group for group in groups if len(group) > 1]
        if not repeated:
            return
        names, room = [], _MOST_NAMES_IN_A_WARNING
        for group in repeated:
            if len(group) > room:
                break
            names.append(" = ".join(recording.id for recording in group))
            room -= len(group)
        more = ["..."] if len(repeated) > len(names) else []
        across = sum(len({recording.unit for recording in g}) > 1 for g in repeated)
        self.warn(
            f"Identical audio under several names: {len(repeated)} sets, {across} of "
            f"them across units: {', '.join(names + more)}."
        )

    def _shards(
        self, windows: Sequence[tuple[Recording, slice]]
    ) -> list[Sequence[tuple[Recording, slice]]]:
        """Deals the records of a split to its files, in order."""
        count = self._num_shards
        if count is None:
            total = sum(2 * (window.stop - window.start) for _, window in windows)
            count = min(-(-total // _SHARD_BYTES), len(windows))
        edges = [len(windows) * i // count for i in range(count + 1)]
        return [windows[a:b] for a, b in itertools.pairwise(edges)]


def read_text(path: pathlib.Path) -> str:
    """Reads a text file of a corpus, UTF-8 or else Latin-1; lines end as in Unix.

    Raises:
      CorpusError: the file cannot be read, is empty, binary, or a Git LFS pointer.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(audio.LFS_POINTER):
        raise CorpusError(
            f"{path}: a Git LFS pointer, not text; run `git lfs pull` in its "
            "repository, or download the file itself"
        )
    if not content.strip():
        raise CorpusError(f"{path}: empty; expected text")
    if b"\0" in content:
        raise CorpusError(
            f"{path}: holds zero bytes; expected text in UTF-8 or Latin-1"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def training_windows(frames: int, size: int, shift: int) -> list[slice]:
    """Returns windows that leave no frame out, unless ``shift`` exceeds ``size``.

    They start at every multiple of ``shift``; where the last one would end before the
    recording does, one more ends with it. A recording shorter than ``size`` is one
    shorter window. All in frames.

    Examples:
      >>> [(w.start, w.stop) for w in training_windows(frames=12, size=5, shift=4)]
      [(0, 5), (4, 9), (7, 12)]
    """
    last = max(frames - size, 0)
    starts = sorted({*range(0, last + 1, shift), last})
    return [slice(start, min(start + size, frames)) for start in starts]


def evaluation_windows(frames: int, size: int) -> list[slice]:
    """Returns windows that cover each frame once, the last one as short as need be."""
    edges = [*range(0, frames, size), frames]
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _in_samples(frames: slice) -> slice:
    return slice(frames.start * FRAME_SAMPLES, frames.stop * FRAME_SAMPLES)


def _identity(path: pathlib.Path) -> int | str:
    """What changes when a file does, cheap to find out."""
    if not path.exists():  # A dangling link; reading it is what fails, with a message.
        return 0
    if path.suffix.lower() in _AUDIO_SUFFIXES:
        return path.stat().st_size
    return hashlib.sha256(path.read_bytes()).hexdigest()


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
