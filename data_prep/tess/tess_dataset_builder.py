"""TESS: two actresses say 200 words in 7 emotions.

The file name tells everything: ``OAF_back_angry.wav`` is the older actress, the word
back, angry; ``ps`` is pleasant surprise. Source:
https://doi.org/10.5683/SP2/E8H2MF, Pichora-Fuller and Dupuis 2020.
"""

import pathlib
from collections.abc import Sequence

import tensorflow_datasets as tfds

from data_prep import corpus

# Copies hold a file OA_bite_neutral.
_SPEAKERS = {"OAF": "OAF", "YAF": "YAF", "OA": "OAF", "YA": "YAF"}
_EMOTIONS = {
    "angry": "anger",
    "disgust": "disgust",
    "fear": "fear",
    "happy": "happiness",
    "neutral": "neutral",
    "ps": "surprise",
    "sad": "sadness",
}
_WORDS = 200


class Builder(corpus.CorpusBuilder):
    """Whole utterances; one split for each actress (``speakerOAF``, ``speakerYAF``)."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the unpacked TESS: 2800 files such as OAF_angry/OAF_back_angry.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    documented_counts = dict.fromkeys(_EMOTIONS.values(), 2 * _WORDS)
    documented_speakers = dict.fromkeys(("OAF", "YAF"), _WORDS * len(_EMOTIONS))

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Parses the file names."""
        return self.parse_each(files, _parse)


def _parse(path: pathlib.Path) -> corpus.Recording:
    prefix, _, rest = path.stem.partition("_")
    word, _, emotion = rest.rpartition("_")
    emotion = emotion.lower()
    if not word or prefix not in _SPEAKERS or emotion not in _EMOTIONS:
        raise corpus.CorpusError(
            f"{path}: its name does not follow the code of TESS; expected OAF or YAF, "
            f"a word, and one of {', '.join(_EMOTIONS)}, such as OAF_back_angry.wav"
        )
    speaker = _SPEAKERS[prefix]
    return corpus.Recording(
        id=f"{speaker}_{word}_{emotion}",
        unit=f"speaker{speaker}",
        speaker=speaker,
        sex="female",
        label=_EMOTIONS[emotion],
        path=path,
    )
