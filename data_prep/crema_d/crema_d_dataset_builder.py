"""CREMA-D: 91 actors, twelve sentences, 6 acted emotions.

The file name tells everything: ``1001_DFA_ANG_XX.wav`` is actor 1001, sentence DFA,
emotion ANG, level XX (unspecified). The label is what was to be acted, not what raters
heard. Source: https://github.com/CheyneyComputerScience/CREMA-D and Cao et al. 2014.
"""

import csv
import pathlib
import re
from collections.abc import Sequence

import numpy as np
import tensorflow_datasets as tfds

from data_prep import corpus
from diccoser_jax import audio

# One file lacked the last letter of its level: issue 6 of the repository.
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_([A-Z]{3})_(XX?|LO|MD|HI)")
_EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
_COUNTS = {name: 1087 if name == "neutral" else 1271 for name in _EMOTIONS.values()}
_ACTORS = range(1001, 1092)
_SENTENCES = (
    *("DFA", "IEO", "IOM", "ITH", "ITS", "IWL"),
    *("IWW", "MTI", "TAI", "TIE", "TSI", "WSI"),
)
# "No audio", says the README of the corpus; as long as any other, so only its level
# tells. Some copies leave it out.
_SILENT = "1076_MTI_SAD_XX"
_SILENCE_RMS = 1e-3  # -60 dBFS; speech is 30 dB louder.
_DEMOGRAPHICS = "VideoDemographics.csv"


class Builder(corpus.CorpusBuilder):
    """Whole utterances; one split for each actor (``actor1001``)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the CREMA-D repository with its Git LFS content, or its folder AudioWAV: 7442 "
        "files such as AudioWAV/1001_DFA_ANG_XX.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    documented_counts = _COUNTS

    def belongs(self, path: pathlib.Path) -> bool:
        """Adds the table of the actors."""
        return super().belongs(path) or path.name == _DEMOGRAPHICS

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Parses the file names, and leaves out the file without sound."""
        sexes: dict[str, str] = {}
        for path in files:
            if path.name == _DEMOGRAPHICS:
                with self.bad_file(path):
                    sexes |= _read_sexes(path)
        wavs = [path for path in files if path.suffix.lower() == ".wav"]
        recordings = self.parse_each(wavs, lambda path: _parse(path, sexes))
        if all(_is_silent(r.path) for r in recordings if r.id == _SILENT):
            recordings = [r for r in recordings if r.id != _SILENT]
            self.documented_counts = {**_COUNTS, "sadness": _COUNTS["sadness"] - 1}
            self.warn(f"{_SILENT} left out: without sound, as its authors say.")
        return recordings


def _is_silent(path: pathlib.Path) -> bool:
    try:
        waveform = audio.read(path)
    except audio.SilentError:
        return True
    except audio.AudioError:
        return False  # For the check of all files to report.
    return float(np.sqrt(np.mean(waveform**2))) < _SILENCE_RMS


def _read_sexes(path: pathlib.Path) -> dict[str, str]:
    lines = [line for line in corpus.read_text(path).split("\n") if line.strip()]
    rows = list(csv.DictReader(lines, skipinitialspace=True))
    try:
        sexes = {row["ActorID"].strip(): row["Sex"].strip().lower() for row in rows}
    except (KeyError, AttributeError) as error:
        raise corpus.CorpusError(
            f"{path}: its columns are {lines[0][:60]!r}; expected ActorID and Sex"
        ) from error
    unknown = sorted(set(sexes.values()) - {"female", "male"})
    if unknown:
        raise corpus.CorpusError(
            f"{path}: Sex is {unknown[0]!r}; expected Female or Male"
        )
    return sexes


def _parse(path: pathlib.Path, sexes: dict[str, str]) -> corpus.Recording:
    code = _NAME.fullmatch(path.stem)
    if not code:
        raise corpus.CorpusError(
            f"{path}: its name does not follow the code of CREMA-D; expected actor, "
            "sentence, emotion and level, such as 1001_DFA_ANG_XX.wav"
        )
    actor, sentence, emotion, level = code.groups()
    for field, value, known in (
        ("actor", actor, [str(number) for number in _ACTORS]),
        ("sentence", sentence, _SENTENCES),
        ("emotion", emotion, list(_EMOTIONS)),
    ):
        if value not in known:
            raise corpus.CorpusError(
                f"{path}: {field} {value} is not in the code of CREMA-D; expected one "
                f"of {known[0]}, ..., {known[-1]}"
            )
    return corpus.Recording(
        id=f"{actor}_{sentence}_{emotion}_{'XX' if level == 'X' else level}",
        unit=f"actor{actor}",
        speaker=actor,
        sex=sexes.get(actor, "unknown"),
        label=_EMOTIONS[emotion],
        path=path,
    )
