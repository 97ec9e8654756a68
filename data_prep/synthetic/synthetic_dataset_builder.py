"""A corpus without a corpus: speech-like signals, for the demo and the tests."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from data_prep import corpus
from data_prep.synthetic import synthesis

_SEED = 0
_SPEAKERS = 10
_UTTERANCES = 10
_MONOLOGUE_SECONDS = 60.0


class Builder(corpus.CorpusBuilder):
    """Ten speakers, a split each; ``regression`` adds ``_eval`` splits."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name="classification", description="Utterances of four emotions."
        ),
        tfds.core.BuilderConfig(
            name="regression", description="Monologues with arousal and valence."
        ),
    ]
    file_suffixes = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """The emotions, for classification."""
        regression = self.builder_config.name == "regression"
        return () if regression else tuple(synthesis.EMOTIONS)

    @property
    def dimension_names(self) -> tuple[str, ...]:
        """The tracks, for regression."""
        regression = self.builder_config.name == "regression"
        return ("arousal", "valence") if regression else ()

    @property
    def documented_counts(self) -> dict[str, int]:
        """As many utterances of each emotion."""
        return dict.fromkeys(self.class_names, _SPEAKERS * _UTTERANCES)

    @property
    def documented_speakers(self) -> dict[str, int]:
        """As many recordings of each speaker."""
        each = len(self.class_names) * _UTTERANCES or 1
        return {f"{index:02d}": each for index in range(_SPEAKERS)}

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Lists what is to be synthesised."""
        del files
        recordings = []
        for index in range(_SPEAKERS):
            who: dict[str, Any] = {
                "unit": f"speaker{index:02d}",
                "speaker": f"{index:02d}",
                "sex": _sex(index),
            }
            if self.dimension_names:
                _, labels = _monologue(index)
                recordings.append(corpus.Recording(id=who["unit"], label=labels, **who))
            for emotion in self.class_names:
                recordings += [
                    corpus.Recording(
                        id=f"{who['unit']}-{emotion}-{take}", label=emotion, **who
                    )
                    for take in range(_UTTERANCES)
                ]
        return recordings

    def waveform(self, recording: corpus.Recording) -> np.ndarray:
        """Synthesises."""
        index = int(recording.speaker)
        if self.dimension_names:
            return _monologue(index)[0]
        take = int(recording.id.rpartition("-")[2])
        return _utterance(index, str(recording.label), take)


def _sex(index: int) -> str:
    return "male" if index % 2 else "female"


def _speaker(index: int) -> synthesis.Speaker:
    return synthesis.speaker(np.random.default_rng([_SEED, index]), _sex(index))


@functools.cache  # Check and shards ask for it in turn; all of them are 64 MB.
def _utterance(index: int, emotion: str, take: int) -> np.ndarray:
    rng = np.random.default_rng(
        [_SEED, index, list(synthesis.EMOTIONS).index(emotion), take]
    )
    return synthesis.utterance(rng, _speaker(index), emotion)


@functools.cache  # Labels, check, training and evaluation ask for it in turn.
def _monologue(index: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([_SEED, index, 0])
    return synthesis.monologue(
        rng, _speaker(index), _MONOLOGUE_SECONDS, corpus.FRAME_SAMPLES
    )
