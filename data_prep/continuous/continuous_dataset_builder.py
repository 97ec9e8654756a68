"""Recordings that ``python -m data_prep.continuous`` made, in the layout of AVEC.

``corpus.json`` says of what and how they were made, and who speaks:
``speaker01_2.wav`` is the second recording of ``speaker01``.
"""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_prep import corpus
from data_prep.recola import recola_dataset_builder

DESCRIPTION = "corpus.json"


class Builder(recola_dataset_builder.Builder):
    """Windows of recordings; two splits for each speaker."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name="avec", description="The layout of AVEC, with the speakers beside it."
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "what python -m data_prep.continuous has written: corpus.json, "
        "recordings_audio/speaker01_1.wav and "
        "ratings_gold_standard/{arousal,valence}/speaker01_1.arff."
    )

    @property
    def documented_speakers(self) -> dict[str, int]:
        """There are as many recordings as were made."""
        return {}

    def belongs(self, path: pathlib.Path) -> bool:
        """Adds the description to audio and labels."""
        return path.name == DESCRIPTION or super().belongs(path)

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Gives each recording to its speaker, and says what its labels are worth."""
        path, *others = [path for path in files if path.name == DESCRIPTION] or [None]
        if path is None or others:
            raise corpus.CorpusError(
                f"{self._manual_dir} holds {'several' if others else 'no'} "
                f"{DESCRIPTION}; expected one. Expected "
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        text = corpus.read_text(path)
        try:
            description = json.loads(text)
            speakers = dict(description["speakers"])
            warnings = [_caution(description)]
            warnings += [
                f"{description['dataset']}: {w}" for w in description["warnings"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise corpus.CorpusError(
                f"{path}: is not what python -m data_prep.continuous writes "
                f"({type(error).__name__}: {error}); make the corpus again"
            ) from error
        for warning in warnings:
            self.warn(warning)
        found = []
        for recording in super().recordings(files):
            name = recording.id.rpartition("_")[0]
            with self.bad_file(recording.path):
                if name not in speakers:
                    raise corpus.CorpusError(
                        f"{recording.path}: {path} names no speaker {name!r}; "
                        f"expected one of {', '.join(speakers)}"
                    )
                found.append(
                    dataclasses.replace(
                        recording, unit=name, speaker=name, sex=speakers[name]
                    )
                )
        return found


def _caution(description: dict[str, Any]) -> str:
    """What every report says beside the scores."""
    settings = description["settings"]
    return (
        f"Nobody rated these recordings. They are {description['utterances']} "
        f"utterances of {description['dataset']}, strung together by seed "
        f"{settings['seed']}; arousal and valence are where the acted emotion lies on "
        f"the circumplex, smoothed over {settings['smoothing_seconds']:g} s, "
        f"{settings['delay_seconds']:g} s late, with noise of {settings['noise']:g}. "
        "Scores tell how well changes of acted emotion are followed in unheard voices. "
        "They do not tell how well people are agreed with, and cannot be compared with "
        "scores on RECOLA."
    )
