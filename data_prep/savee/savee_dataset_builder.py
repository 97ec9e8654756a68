"""SAVEE: four Englishmen, 7 acted emotions.

``DC/sa03.wav``, or ``DC_sa03.wav`` in copies that put all files in one folder, is
speaker DC, emotion sa, sentence 3. Source: http://kahlan.eps.surrey.ac.uk/savee/ and
Haq and Jackson 2009.
"""

import pathlib
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_prep import corpus

_SPEAKERS = ("DC", "JE", "JK", "KL")
_EMOTIONS = {
    "a": "anger",
    "d": "disgust",
    "f": "fear",
    "h": "happiness",
    "n": "neutral",
    "sa": "sadness",
    "su": "surprise",
}
_SENTENCES = {code: 30 if code == "n" else 15 for code in _EMOTIONS}
_NAME = re.compile(r"(?:([A-Z]{2})_)?([a-z]{1,2})(\d\d)")


class Builder(corpus.CorpusBuilder):
    """Whole utterances; one split for each speaker (``speakerDC``)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the unpacked AudioData.zip, 480 files such as DC/a01.wav, or a folder with "
        "files such as DC_a01.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    documented_counts = {  # noqa: RUF012
        name: len(_SPEAKERS) * _SENTENCES[code] for code, name in _EMOTIONS.items()
    }
    documented_speakers = dict.fromkeys(_SPEAKERS, sum(_SENTENCES.values()))

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Parses the names of files and folders."""
        return self.parse_each(files, _parse)


def _parse(path: pathlib.Path) -> corpus.Recording:
    code = _NAME.fullmatch(path.stem)
    if not code or code[2] not in _EMOTIONS:
        raise corpus.CorpusError(
            f"{path}: its name does not follow the code of SAVEE; expected one of "
            f"{', '.join(_EMOTIONS)} and a number, such as DC/sa03.wav or DC_sa03.wav"
        )
    speaker, emotion, sentence = code[1] or path.parent.name, code[2], code[3]
    if speaker not in _SPEAKERS:
        raise corpus.CorpusError(
            f"{path}: its speaker is {speaker!r}; expected one of "
            f"{', '.join(_SPEAKERS)}, as its folder or before its name"
        )
    if not 1 <= int(sentence) <= _SENTENCES[emotion]:
        raise corpus.CorpusError(
            f"{path}: sentence {sentence} is not in the code of SAVEE; expected 01 to "
            f"{_SENTENCES[emotion]} for {emotion}"
        )
    return corpus.Recording(
        id=f"{speaker}_{emotion}{sentence}",
        unit=f"speaker{speaker}",
        speaker=speaker,
        sex="male",
        label=_EMOTIONS[emotion],
        path=path,
    )
