"""RECOLA: French conversations of five minutes, arousal and valence for every 40 ms.

Layouts, as read by the programs of others, for the corpus needs an agreement:

- AVEC 2015/2016: ``recordings_audio/train_1.wav`` and
  ``ratings_gold_standard/{arousal,valence}/train_1.arff`` with the attributes
  ``Instance_name``, ``frameTime`` and ``GoldStandard``.
- Full release: ``RECOLA-Audio-recordings/P16.wav`` and
  ``RECOLA-Annotation/emotional_behaviour/{arousal,valence}/P16.csv``, separated by
  semicolons, with the time and one column for each rater.
- Centred: ``Ratings_affective_behaviour_CCC_centred/{arousal,valence}/P16.csv``, the
  time and the rating, separated by commas, or by semicolons under a header.

Ratings are at 0, 0.04, ..., 300 s: 7501 rows for 7500 frames. The row at time t belongs
to the 40 ms before t, and the row at 0, before which there is nothing, is left out, as
by Tzirakis et al. 2018. So the label of frame i is the row at 0.04 (i + 1) s, and lies
on the samples ``[640 i, 640 (i + 1))``.
"""

import csv
import filecmp
import pathlib
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_prep import corpus

_STEP_SECONDS = 1 / corpus.FRAME_RATE_HZ
# Ratings are made in [-1, 1]; centring them on each other moves them a little.
_LARGEST_RATING = 2.0
_AVEC_RECORDINGS = tuple(
    f"{part}_{i}" for part in ("train", "dev") for i in range(1, 10)
)
_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)""", re.IGNORECASE)
_LABEL_FOLDERS = {
    "avec": "ratings_gold_standard",
    "mean": "emotional_behaviour",
    "ewe": "emotional_behaviour",
    "ccc_centred": "Ratings_affective_behaviour_CCC_centred",
}


class Builder(corpus.CorpusBuilder):
    """Windows of recordings; two splits for each (``train_1``, ``train_1_eval``)."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name="avec", description="AVEC 2015/2016, with its gold standard."
        ),
        tfds.core.BuilderConfig(
            name="mean", description="Full release, mean of the raters."
        ),
        tfds.core.BuilderConfig(
            name="ewe", description="Full release, evaluator-weighted estimator."
        ),
        tfds.core.BuilderConfig(
            name="ccc_centred", description="Full release, ratings centred by CCC."
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "for recola/avec recordings_audio/train_1.wav and "
        "ratings_gold_standard/{arousal,valence}/train_1.arff; for recola/mean and "
        "recola/ewe RECOLA-Audio-recordings/P16.wav and "
        "RECOLA-Annotation/emotional_behaviour/{arousal,valence}/P16.csv; for "
        "recola/ccc_centred Ratings_affective_behaviour_CCC_centred/"
        "{arousal,valence}/P16.csv instead."
    )
    dimension_names = ("arousal", "valence")
    file_suffixes = (".wav",)

    @property
    def documented_speakers(self) -> dict[str, int]:
        """The recordings of AVEC; of the full release, copies differ in number."""
        avec = self.builder_config.name == "avec"
        return dict.fromkeys(_AVEC_RECORDINGS, 1) if avec else {}

    def belongs(self, path: pathlib.Path) -> bool:
        """Leaves out features, video, physiology and the ratings of other forms."""
        config = self.builder_config.name
        if path.suffix.lower() == ".wav":
            return config != "avec" or path.parent.name == "recordings_audio"
        return (
            path.suffix.lower() == (".arff" if config == "avec" else ".csv")
            and path.parent.name in self.dimension_names
            and path.parent.parent.name == _LABEL_FOLDERS[config]
        )

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Joins audio and both tracks by the stem of their names."""
        tracks = {
            dimension: _by_stem(p for p in files if p.parent.name == dimension)
            for dimension in self.dimension_names
        }
        audio = [path for path in files if path.suffix.lower() == ".wav"]
        labelled = set().union(*tracks.values())
        if self.builder_config.name == "avec":
            # The challenge kept the labels of its test partition to itself.
            unlabelled = [
                path
                for path in audio
                if path.stem.startswith("test_") and path.stem not in labelled
            ]
            if unlabelled:
                audio = [path for path in audio if path not in unlabelled]
                self.warn(
                    f"{len(unlabelled)} recordings without labels left out: "
                    f"{', '.join(path.stem for path in unlabelled)}."
                )
        for stem in sorted(labelled - {path.stem for path in audio}):
            path = next(paths[stem] for paths in tracks.values() if stem in paths)
            with self.bad_file(path):
                raise corpus.CorpusError(f"{path}: there is no audio file {stem}.wav")
        return self.parse_each(audio, lambda path: self._recording(path, tracks))

    def _recording(
        self, path: pathlib.Path, tracks: dict[str, dict[str, pathlib.Path]]
    ) -> corpus.Recording:
        config, columns = self.builder_config.name, []
        for dimension, paths in tracks.items():
            if path.stem not in paths:
                suffix = ".arff" if config == "avec" else ".csv"
                raise corpus.CorpusError(
                    f"{path}: has no ratings of {dimension}; expected "
                    f"{_LABEL_FOLDERS[config]}/{dimension}/{path.stem}{suffix}"
                )
            columns.append(self._track(paths[path.stem]))
        if len(columns[0]) != len(columns[1]):
            raise corpus.CorpusError(
                f"{path}: {len(columns[0])} ratings of arousal and {len(columns[1])} "
                "of valence; expected as many"
            )
        return corpus.Recording(
            id=path.stem,
            unit=path.stem,
            speaker=path.stem,
            sex="unknown",
            label=np.stack(columns, axis=1).astype(np.float32),
            path=path,
        )

    def _track(self, path: pathlib.Path) -> np.ndarray:
        """Reads one dimension: float64 ``[frames]``."""
        config = self.builder_config.name
        if config == "avec":
            seconds, ratings = _read_arff(path)
        else:
            seconds, ratings = _read_csv(path)
        ratings = _align(path, seconds, ratings)
        if config == "mean":
            return ratings.mean(axis=1)
        if config == "ewe":
            try:
                return evaluator_weighted(ratings)
            except ValueError as error:
                raise corpus.CorpusError(f"{path}: {error}") from error
        return ratings[:, 0]


def evaluator_weighted(ratings: np.ndarray) -> np.ndarray:
    """Evaluator-weighted estimator of Grimm and Kroschel 2005.

    ``y[n] = sum_k w[k] x[n, k] / sum_k w[k]``, where ``w[k] = max(0, r[k])`` and
    ``r[k]`` is Pearson's correlation, over the rows of this recording, of rater k with
    the mean of all other raters. Raters who never move, or against the others, weigh
    nothing. (Grimm and Kroschel correlate with the mean of all raters, so that each
    vouches for himself a little.)

    Args:
      ratings: float ``[frames, raters]``.

    Returns:
      float ``[frames]``.

    Raises:
      ValueError: fewer than three raters, or none who agrees with the others.
    """
    raters = ratings.shape[1]
    if raters < 3:
        raise ValueError(f"{raters} raters; expected at least 3, to weigh them")
    weights = np.zeros(raters)
    for k in range(raters):
        one = ratings[:, k] - ratings[:, k].mean()
        others = np.delete(ratings, k, axis=1).mean(axis=1)
        others = others - others.mean()
        scale = np.linalg.norm(one) * np.linalg.norm(others)
        # Rounding leaves constants a norm of 1e-15 or so.
        weights[k] = max(0.0, one @ others / scale) if scale > 1e-9 else 0.0
    if not weights.any():
        raise ValueError("no rater agrees with the others; expected one at least")
    return ratings @ weights / weights.sum()


def _by_stem(paths: Iterable[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Maps stems to files; identical copies in several folders count once."""
    found: dict[str, pathlib.Path] = {}
    for path in paths:
        first = found.setdefault(path.stem, path)
        if first is not path and not filecmp.cmp(first, path, shallow=False):
            raise corpus.CorpusError(
                f"{path}: has the name of {first} and other content; remove one of them"
            )
    return found


def _read_arff(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads time ``[rows]`` and gold standard ``[rows, 1]``, by attribute name.

    Source: https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable/.
    SciPy's reader refuses the string attribute of these files.
    """
    names: list[str] = []
    lines = iter(_lines(path))
    for _, line in lines:
        if attribute := _ATTRIBUTE.match(line):
            names.append(attribute[1].strip("'\"").lower())
        if line.lower() == "@data":
            break
    wanted = [names.index(n) for n in ("frametime", "goldstandard") if n in names]
    if len(wanted) != 2:
        raise corpus.CorpusError(
            f"{path}: its attributes are {', '.join(names) or 'none'}; expected "
            "frameTime and GoldStandard among them"
        )
    rows = [(i, line) for i, line in lines if not line.startswith("%")]
    table = _numbers(path, rows, ",", len(names), wanted)
    return table[:, 0], table[:, 1:]


def _read_csv(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads time ``[rows]`` and ratings ``[rows, raters]``, with or without header."""
    rows = _lines(path)
    first = rows[0][1]
    delimiter = ";" if ";" in first else ","
    cells = [cell.strip() for cell in first.split(delimiter)]
    if cells[0].strip("'\"").lower() == "time":
        rows = rows[1:]
    if len(cells) < 2:
        raise corpus.CorpusError(
            f"{path}: line {rows[0][0] if rows else 1} is {first[:60]!r}; expected the "
            "time and ratings, separated by semicolons or commas"
        )
    table = _numbers(path, rows, delimiter, len(cells), range(len(cells)))
    return table[:, 0], table[:, 1:]


def _lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """Numbers the lines from 1 and leaves out blank ones."""
    numbered = enumerate(corpus.read_text(path).split("\n"), start=1)
    return [(number, line.strip()) for number, line in numbered if line.strip()]


def _numbers(
    path: pathlib.Path,
    rows: Sequence[tuple[int, str]],
    delimiter: str,
    width: int,
    wanted: Sequence[int],
) -> np.ndarray:
    """Parses columns of a table: float64 ``[rows, len(wanted)]``."""
    table = np.empty((len(rows), len(wanted)))
    parsed = csv.reader(
        (line for _, line in rows),
        delimiter=delimiter,
        quotechar="'",
        skipinitialspace=True,
    )
    for i, (number, line) in enumerate(rows):
        try:
            cells = next(parsed)
            if len(cells) != width:
                raise ValueError(f"{len(cells)} columns")
            table[i] = [float(cells[column]) for column in wanted]
            if not np.isfinite(table[i]).all():
                raise ValueError("not finite")
        except (ValueError, StopIteration, csv.Error) as error:
            raise corpus.CorpusError(
                f"{path}: line {number} is {line[:60]!r} ({error}); expected {width} "
                f"columns, numbers in {'all' if len(wanted) == width else 'the last'} "
                "of them"
            ) from error
    return table


def _align(path: pathlib.Path, seconds: np.ndarray, ratings: np.ndarray) -> np.ndarray:
    """Returns the rows of the frames, in order: the one at 0 s is before the first."""
    if len(seconds) and abs(seconds[0]) < _STEP_SECONDS / 2:
        seconds, ratings = seconds[1:], ratings[1:]
    expected = _STEP_SECONDS * np.arange(1, len(seconds) + 1)
    wrong = np.abs(seconds - expected) > _STEP_SECONDS / 4
    if wrong.any():
        row = int(np.argmax(wrong))
        raise corpus.CorpusError(
            f"{path}: a rating at {seconds[row]:g} s; expected the one at "
            f"{expected[row]:g} s, for there is one each {_STEP_SECONDS:g} s"
        )
    if not len(seconds):
        raise corpus.CorpusError(f"{path}: holds no ratings after 0 s")
    if np.abs(ratings).max() > _LARGEST_RATING:
        raise corpus.CorpusError(
            f"{path}: a rating of {ratings.flat[np.abs(ratings).argmax()]:g}; expected "
            "ratings in [-1, 1]"
        )
    return ratings
