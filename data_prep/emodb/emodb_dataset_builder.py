"""Berlin Database of Emotional Speech (EmoDB): 10 speakers, 7 acted emotions.

The file name tells everything: ``03a01Wa.wav`` is speaker 03, text a01, emotion W
(Wut, anger), take a. Source: http://emodb.bilderbar.info/docu/ and Burkhardt et al.
2005.
"""

import pathlib
import re
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_prep import corpus

_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[A-Z])[a-f]")
_EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "N": "neutral",
    "T": "sadness",
}
_TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
_COUNTS = {
    "anger": 127,
    "boredom": 81,
    "disgust": 46,
    "fear": 69,
    "happiness": 71,
    "neutral": 79,
    "sadness": 62,
}
_SPEAKER_COUNTS = {
    "03": 49,
    "08": 58,
    "09": 43,
    "10": 38,
    "11": 55,
    "12": 35,
    "13": 61,
    "14": 69,
    "15": 56,
    "16": 71,
}
_SEXES = {
    "03": "male",
    "08": "female",
    "09": "female",
    "10": "male",
    "11": "male",
    "12": "male",
    "13": "female",
    "14": "female",
    "15": "male",
    "16": "female",
}


class Builder(corpus.CorpusBuilder):
    """Whole utterances; one split for each speaker (``speaker03``)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the EmoDB folder, or its folder wav: 535 files such as wav/03a01Wa.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    documented_counts = _COUNTS
    documented_speakers = _SPEAKER_COUNTS

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Parses the file names."""
        return self.parse_each(files, _parse)


def _parse(path: pathlib.Path) -> corpus.Recording:
    code = _NAME.fullmatch(path.stem)
    if not code:
        raise corpus.CorpusError(
            f"{path}: its name does not follow the code of EmoDB; expected speaker, "
            "text, emotion and take, such as 03a01Wa.wav"
        )
    for field, known in (
        ("speaker", _SEXES),
        ("text", _TEXTS),
        ("emotion", _EMOTIONS),
    ):
        if code[field] not in known:
            raise corpus.CorpusError(
                f"{path}: {field} {code[field]} is not in the code of EmoDB; expected "
                f"one of {', '.join(known)}"
            )
    return corpus.Recording(
        id=path.stem,
        unit=f"speaker{code['speaker']}",
        speaker=code["speaker"],
        sex=_SEXES[code["speaker"]],
        label=_EMOTIONS[code["emotion"]],
        path=path,
    )
