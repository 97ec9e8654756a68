"""What a network answered for each row of its test data, kept beside the scores.

Statistics, calibration and pictures are made from it at any time, without the network.
"""

import dataclasses
import io
import itertools
import os
import pathlib
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np

from diccoser_jax import files


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """Answers beside the truth: a row for each utterance, or for each 25 Hz frame.

    Frames of a recording are consecutive and in the order of time.

    Attributes:
      recordings: str `[rows]`, the recording's id.
      speakers: str `[rows]`.
      folds: int32 `[rows]`, the fold that tested the row.
      seeds: int32 `[rows]`, the seed of the run.
      targets: int32 `[rows]`, the class; or float32 `[rows, dimensions]`.
      outputs: float32 `[rows, classes]`, logits; or float32 `[rows, dimensions]`.
    """

    recordings: np.ndarray
    speakers: np.ndarray
    folds: np.ndarray
    seeds: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray

    def __getitem__(self, rows: np.ndarray | slice) -> "Predictions":
        """The rows that a mask, an index array or a slice chooses."""
        return Predictions(**{key: getattr(self, key)[rows] for key in _KEYS})

    def by_recording(self) -> Iterator["Predictions"]:
        """The rows of each recording, once for each seed."""
        keys = zip(self.recordings.tolist(), self.seeds.tolist())
        ends = np.cumsum([len(list(rows)) for _, rows in itertools.groupby(keys)])
        for start, end in itertools.pairwise([0, *ends.tolist()]):
            yield self[start:end]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes an npz file, which a reader finds whole or not at all."""
        content = io.BytesIO()
        np.savez_compressed(content, **{key: getattr(self, key) for key in _KEYS})
        files.replace(pathlib.Path(path), content.getvalue())


_KEYS = tuple(field.name for field in dataclasses.fields(Predictions))


def load(path: str | os.PathLike[str]) -> Predictions:
    """Reads what `Predictions.save` wrote.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it is damaged, or lacks something; names the file.
    """
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} does not hold predictions: {error}") from error
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise ValueError(f"{path} lacks {missing}; it holds {sorted(arrays)}")
    rows = {key: len(arrays[key]) for key in _KEYS}
    if len(set(rows.values())) > 1:
        raise ValueError(f"{path}: all must have as many rows, got {rows}")
    return Predictions(**{key: arrays[key] for key in _KEYS})


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of all parts, one after the other."""
    return Predictions(
        **{key: np.concatenate([getattr(p, key) for p in parts]) for key in _KEYS}
    )
