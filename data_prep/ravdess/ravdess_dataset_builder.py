"""RAVDESS, speech, audio only: 24 actors, 8 acted emotions.

The file name tells everything: ``03-01-05-02-01-01-12.wav`` is modality 03 (audio
only), channel 01 (speech), emotion 05, intensity 02, statement 01, repetition 01,
actor 12. Source: https://zenodo.org/records/1188976 and Livingstone and Russo 2018.
"""

import pathlib
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_prep import corpus

_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
_ACTORS = tuple(f"{actor:02d}" for actor in range(1, 25))
_SEXES = {actor: "male" if int(actor) % 2 else "female" for actor in _ACTORS}
_COUNTS = {name: 96 if name == "neutral" else 192 for name in _EMOTIONS.values()}
_CODE = {
    "modality": ("01", "02", "03"),
    "channel": ("01", "02"),
    "emotion": tuple(_EMOTIONS),
    "intensity": ("01", "02"),
    "statement": ("01", "02"),
    "repetition": ("01", "02"),
    "actor": _ACTORS,
}
_OTHER_MATERIAL = re.compile(r"(0[12]-\d\d|03-02)(-\d\d){5}")


class Builder(corpus.CorpusBuilder):
    """Whole utterances; one split for each actor (``actor01``)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the unpacked Audio_Speech_Actors_01-24.zip: Actor_01 to Actor_24, each with "
        "60 files such as Actor_12/03-01-05-02-01-01-12.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    documented_counts = _COUNTS
    documented_speakers = dict.fromkeys(_ACTORS, 60)

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Parses the names of the files of audio-only speech."""
        # Copies of the corpus mix in the song and the sound of the videos, which is the
        # same take as the audio-only file.
        speech = [path for path in files if not _OTHER_MATERIAL.fullmatch(path.stem)]
        if len(speech) < len(files):
            self.warn(
                f"{len(files) - len(speech)} files of song (channel 02) or of videos "
                "(modalities 01 and 02) left out; 03-01-* is speech, audio only."
            )
        return self.parse_each(speech, _parse)


def _parse(path: pathlib.Path) -> corpus.Recording:
    fields = path.stem.split("-")
    if len(fields) != len(_CODE):
        raise corpus.CorpusError(
            f"{path}: its name does not follow the code of RAVDESS; expected "
            f"{'-'.join(_CODE)}, such as 03-01-05-02-01-01-12.wav"
        )
    code = dict(zip(_CODE, fields))
    for field, known in _CODE.items():
        if code[field] not in known:
            raise corpus.CorpusError(
                f"{path}: {field} {code[field]} is not in the code of RAVDESS; "
                f"expected {known[0]} to {known[-1]}"
            )
    return corpus.Recording(
        id=path.stem,
        unit=f"actor{code['actor']}",
        speaker=code["actor"],
        sex=_SEXES[code["actor"]],
        label=_EMOTIONS[code["emotion"]],
        path=path,
    )
