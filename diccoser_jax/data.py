"""Prepared shards to batches: fold selection, augmentation, padding.

The only importer of TFDS here. Training batches are a pure function of (seed, epoch,
position): a run that stops anywhere can go on with the very next batch.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import grain
import numpy as np
import soxr
import tensorflow_datasets as tfds

from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES, SAMPLE_RATE_HZ
from diccoser_jax.config import ConfigError

Batch = dict[str, Any]  # of arrays, NumPy's on the host and JAX's in a step

# Two threads hide the reading on small machines; the default buffer of 500 batches
# would fill the memory.
_READ_OPTIONS = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """A corpus in prepared shards (`data_prep`), one split for each speaker or unit.

    Attributes:
      directory: where its ``dataset_info.json`` lies.
    """

    directory: pathlib.Path
    _builder: Any = dataclasses.field(init=False, repr=False, compare=False)
    _files: Any = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(
            self, "_builder", tfds.builder_from_directory(self.directory)
        )
        object.__setattr__(self, "_files", self._stat())

    def _stat(self) -> dict[str, tuple[int, int, int]]:
        """What changes when a file of the shards is replaced, shortened or written."""
        entries = [(p.name, p.stat()) for p in pathlib.Path(self.directory).iterdir()]
        return {name: (s.st_ino, s.st_size, s.st_mtime_ns) for name, s in entries}

    @property
    def name(self) -> str:
        """The corpus' name."""
        return self._builder.info.name

    @property
    def metadata(self) -> dict[str, Any]:
        """What the builder stored: task, units, counts, hours, warnings, ..."""
        return dict(self._builder.info.metadata)

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return self.metadata["task"]

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of the classes, or of the dimensions."""
        classification = self.task == "classification"
        key = "class_names" if classification else "dimension_names"
        return tuple(self.metadata[key])

    def source(self, units: Sequence[str], *, evaluation: bool) -> Sequence[Any]:
        """The records of these units.

        A regression unit has overlapping windows for training and windows that cover
        each recording once for evaluation, in splits of their own.

        Raises:
          ConfigError: the shards are not those that this corpus was opened with.
        """
        if self._stat() != self._files:
            raise ConfigError(
                f"data.data_dir: the shards in {self.directory} have changed while "
                "they were in use. Give configurations that need other shards another "
                "data.data_dir, and start the same command again."
            )
        suffix = "_eval" if evaluation and self.task == "regression" else ""
        return self._builder.as_data_source("+".join(u + suffix for u in sorted(units)))


def window_frames(window_seconds: float) -> int:
    """L, the 25 Hz frames of a window.

    Raises:
      ConfigError: if the window is not a whole number of 40 ms frames.
    """
    frames = round(window_seconds * FRAME_RATE_HZ)
    if frames < 1 or abs(frames - window_seconds * FRAME_RATE_HZ) > 1e-6:
        raise ConfigError(
            f"data.window_seconds={window_seconds} is not a positive multiple of 0.04."
        )
    return frames


def fit_window(waveform: np.ndarray, samples: int) -> np.ndarray:
    """The last ``samples`` of a waveform, zeros before it where it is shorter.

    "We trim or pad zeros in front of the recordings" (paper, section 4.2.2): in both
    cases the recording's end is the window's end, where the causal network answers.
    """
    waveform = waveform[-samples:]
    return np.pad(waveform, (samples - len(waveform), 0))


def _to_float(audio: np.ndarray) -> np.ndarray:
    return audio.astype(np.float32) / 32768


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """How a training utterance is changed, in this order; the default changes nothing.

    Attributes:
      reverse_probability: of time reversal (paper, section 4.2.3).
      crop_seconds: up to so much is cut from the end, and so much from the start, but
        never more than half of the utterance in all: the network answers at the last
        frame, and learns not to care how long the silence before it is.
      speed_percent: played faster or slower by up to so much, as a record is: pitch,
        formants and tempo change together, as if others spoke.
      equaliser_decibel: each octave louder or quieter by up to so much, by itself, as
        another room, microphone or voice makes it.
      mask_seconds: a stretch of up to so much is silenced, but never more than a
        quarter of what is left.
      gain_decibel: louder or quieter by up to so much, clipped to [-1, 1].
    """

    reverse_probability: float = 0.0
    crop_seconds: float = 0.0
    speed_percent: float = 0.0
    equaliser_decibel: float = 0.0
    mask_seconds: float = 0.0
    gain_decibel: float = 0.0

    def __post_init__(self):
        if not 0 <= self.reverse_probability <= 1:
            raise ConfigError(
                f"augmentation.reverse_probability={self.reverse_probability} is not "
                "in [0, 1]."
            )
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value < 0:
                raise ConfigError(f"augmentation.{field.name}={value} is negative.")
        if self.speed_percent > 50:
            raise ConfigError(
                f"augmentation.speed_percent={self.speed_percent} is more than 50, "
                "beyond which speech is no speech."
            )

    def __call__(self, audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Changes float32 ``[samples]``; the length may become shorter."""
        if rng.random() < self.reverse_probability:
            audio = audio[::-1]
        longest = min(self.crop_seconds * SAMPLE_RATE_HZ, len(audio) / 4)
        start, end = (int(longest * rng.random()) for _ in range(2))
        audio = audio[start : len(audio) - end]
        if self.speed_percent:
            speed = 1 + rng.uniform(-self.speed_percent, self.speed_percent) / 100
            audio = soxr.resample(audio, speed * SAMPLE_RATE_HZ, SAMPLE_RATE_HZ, "LQ")
        if self.equaliser_decibel:
            audio = _equalise(audio, self.equaliser_decibel, rng)
        if self.mask_seconds:
            longest = min(self.mask_seconds * SAMPLE_RATE_HZ, len(audio) / 4)
            samples = int(longest * rng.random())
            first = rng.integers(len(audio) - samples + 1)
            audio = audio.copy()
            audio[first : first + samples] = 0
        gain = 10 ** (rng.uniform(-self.gain_decibel, self.gain_decibel) / 20)
        return np.clip(np.float32(gain) * audio, -1, 1)


# Where the gain of an equaliser is drawn, an octave from one to the next; straight
# between them.
_EQUALISER_HZ = (0, 62.5, 125, 250, 500, 1000, 2000, 4000, SAMPLE_RATE_HZ / 2)
_EQUALISER_TAPS = 255  # 16 ms: tells 62.5 Hz apart, and delays nothing


def _equalise(
    audio: np.ndarray, decibel: float, rng: np.random.Generator
) -> np.ndarray:
    """Filters by a random curve of up to ``± decibel``, without a shift in time."""
    import scipy.signal  # takes a second and more to import, and few need it

    gains = 10 ** (rng.uniform(-decibel, decibel, len(_EQUALISER_HZ)) / 20)
    taps = scipy.signal.firwin2(
        _EQUALISER_TAPS, _EQUALISER_HZ, gains, fs=SAMPLE_RATE_HZ
    )
    full = scipy.signal.oaconvolve(audio, taps.astype(np.float32))
    return full[_EQUALISER_TAPS // 2 :][: len(audio)]


class _Classification(grain.transforms.RandomMap):
    """A record to ``audio [samples]``, ``target []`` and ``mask []``.

    The recording is changed before it is padded, so that, reversed or not, the speech
    ends where the window ends.
    """

    def __init__(self, window_seconds: float, augmentation: Augmentation):
        self._samples = window_frames(window_seconds) * FRAME_SAMPLES
        self._augmentation = augmentation

    def random_map(self, record: dict, rng: np.random.Generator) -> Batch:
        audio = self._augmentation(_to_float(record["audio"]), rng)
        return {
            "recording": record["id"],
            "speaker": record["speaker"],
            "audio": fit_window(audio, self._samples),
            "target": np.int32(record["label"]),
            "mask": np.float32(1),
        }


class _Regression(grain.transforms.Map):
    """A record to ``audio [samples]``, ``target [L, D]`` and ``mask [L]``.

    The tail of a recording is padded at its end, where a causal network has already
    answered for what came before.
    """

    def __init__(self, window_seconds: float):
        self._frames = window_frames(window_seconds)

    def map(self, record: dict) -> Batch:
        audio, labels = _to_float(record["audio"]), record["labels"]
        frames = len(labels)
        missing = self._frames - frames
        if missing < 0 or len(audio) != frames * FRAME_SAMPLES:
            raise ConfigError(
                f"{record['id']!r} holds {frames} frames and {len(audio)} samples; the "
                f"window is {self._frames} frames of {FRAME_SAMPLES} samples. Set "
                "data.window_seconds to what the shards were built with, or rebuild."
            )
        return {
            "recording": record["id"],
            "speaker": record["speaker"],
            "audio": np.pad(audio, (0, missing * FRAME_SAMPLES)),
            "target": np.pad(labels, ((0, missing), (0, 0))),
            "mask": np.pad(np.ones(frames, np.float32), (0, missing)),
        }


def _examples(
    corpus: Corpus,
    dataset: grain.MapDataset,
    window_seconds: float,
    augmentation: Augmentation,
) -> grain.MapDataset:
    if corpus.task == "regression":
        return dataset.map(_Regression(window_seconds))
    return dataset.random_map(_Classification(window_seconds, augmentation))


def steps_per_epoch(corpus: Corpus, units: Sequence[str], batch_size: int) -> int:
    """Whole batches in one epoch.

    Raises:
      ConfigError: if there is not even one.
    """
    examples = len(corpus.source(units, evaluation=False))
    if examples < batch_size:
        raise ConfigError(
            f"{examples} training examples in {', '.join(units)} do not fill a batch: "
            f"train.batch_size={batch_size} must be at most {examples}."
        )
    return examples // batch_size


def train_batches(
    corpus: Corpus,
    units: Sequence[str],
    *,
    batch_size: int,
    window_seconds: float,
    augmentation: Augmentation,
    seed: int,
    epoch: int,
    start: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """The batches of one epoch, from batch ``start`` on, shuffled and augmented.

    With ``share=(i, n)``, part i of n equal parts of each: laid one after the other,
    the parts are the batch.

    Each epoch has another order and other augmentation, of classification only: windows
    of regression overlap instead (section 4.2.3). Examples that do not fill the
    last batch are left out of this epoch; the next one leaves out others.

    Yields:
      ``audio`` float32 ``[batch, samples]``; ``target`` int32 ``[batch]`` or float32
      ``[batch, frames, dimensions]``; ``mask`` float32 ``[batch]`` or
      ``[batch, frames]``, 1 where the target counts.
    """
    (epoch_seed,) = np.random.SeedSequence((seed, epoch)).generate_state(1)
    dataset = grain.MapDataset.source(corpus.source(units, evaluation=False))
    dataset = dataset.seed(int(epoch_seed)).shuffle()
    dataset = _examples(corpus, dataset, window_seconds, augmentation)
    part, parts = share
    steps = len(dataset) // batch_size
    dataset = dataset.batch(batch_size // parts, drop_remainder=True)
    dataset = dataset[start * parts + part : steps * parts : parts]
    yield from map(arrays, _iterate(dataset))


def eval_batches(
    corpus: Corpus, units: Sequence[str], *, batch_size: int, window_seconds: float
) -> Iterator[Batch]:
    """Every example once, in the order of the shards; only the last batch is smaller.

    Yields:
      As `train_batches`, and ``recording`` and ``speaker``, str ``[batch]``.
    """
    dataset = grain.MapDataset.source(corpus.source(units, evaluation=True)).seed(0)
    dataset = _examples(corpus, dataset, window_seconds, Augmentation())
    for batch in _iterate(dataset.batch(batch_size, drop_remainder=False)):
        names = {
            key: np.char.decode(batch[key], "utf-8") for key in ("recording", "speaker")
        }
        yield batch | names


def arrays(batch: Batch) -> Batch:
    """What of a batch goes to a device."""
    return {key: batch[key] for key in ("audio", "target", "mask")}


def _iterate(dataset: grain.MapDataset) -> Iterator[Batch]:
    iterator = iter(dataset.to_iter_dataset(_READ_OPTIONS))
    try:
        yield from iterator
    finally:
        iterator.close()  # its threads outlive it otherwise


def pad_batch(batch: Batch, batch_size: int) -> Batch:
    """A batch filled up to ``batch_size`` with zeros, whose mask is zero."""
    missing = batch_size - len(batch["audio"])
    return {
        key: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
        for key, value in batch.items()
    }
