"""MSP-Podcast: speaking turns of podcasts, in official partitions.

``Labels/labels_consensus.csv``, spelled ``labels_concensus.csv`` in some releases, has
one row for each turn:

    FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
    MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1

Arousal, valence and dominance are one number for each turn, not tracks, and are left
out. Source: the readme of release 1.12, and Lotfian and Busso 2019.
"""

import pathlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_prep import corpus, table

_LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
_AUDIO_FOLDERS = ("audios", "audio")
_COLUMNS = ("filename", "emoclass", "spkrid", "gender", "split_set")
_FOUR_EMOTIONS = {"N": "neutral", "A": "anger", "S": "sadness", "H": "happiness"}
_EMOTIONS = {
    "four_emotions": _FOUR_EMOTIONS,
    "eight_emotions": {
        **_FOUR_EMOTIONS,
        "F": "fear",
        "D": "disgust",
        "C": "contempt",
        "U": "surprise",
    },
}
# O: another emotion; X: the raters agree on nothing.
_CODES = (*_EMOTIONS["eight_emotions"], "O", "X")
_UNITS = {
    "Train": "train",
    "Development": "development",
    "Validation": "development",  # its name up to release 1.8
    "Test1": "test1",
    "Test2": "test2",
}
_UNLABELLED = "Test3"
_SEXES = {"Female": "female", "Male": "male", "Unknown": "unknown", "": "unknown"}


class Builder(corpus.CorpusBuilder):
    """Turns; the splits are the official partitions.

    They are ``train``, ``development``, ``test1`` and ``test2``. Configurations:
    ``four_emotions`` and ``eight_emotions``.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name=name, description=f"Turns of {', '.join(emotions.values())}."
        )
        for name, emotions in _EMOTIONS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the folder of a release of MSP-Podcast: Labels/labels_consensus.csv (or "
        "labels_concensus.csv), and Audios (or Audio) with files such as "
        "MSP-PODCAST_0001_0008.wav."
    )
    file_suffixes = (".wav", ".csv")

    @property
    def class_names(self) -> tuple[str, ...]:
        """The emotions of the configuration."""
        return tuple(_EMOTIONS[self.builder_config.name].values())

    def belongs(self, path: pathlib.Path) -> bool:
        """Picks the audio and tables of labels.

        Beside the audio of a release lies that which left it, in another folder.
        """
        if path.suffix.lower() != ".wav":
            return path.name in _LABEL_FILES
        folders = path.relative_to(self._manual_dir).parent.parts
        return any(name.lower() in _AUDIO_FOLDERS for name in folders)

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Reads the consensus labels."""
        labels = [path for path in files if path.name in _LABEL_FILES]
        # Those of previous releases lie in folders further down.
        nearest = min((len(path.parts) for path in labels), default=0)
        labels = [path for path in labels if len(path.parts) == nearest]
        if len(labels) != 1:
            found = ", ".join(map(str, labels)) or "no file of labels"
            raise corpus.CorpusError(
                f"manual_dir {self._manual_dir} holds {found}. Expected "
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        audio_of = {p.name: p for p in files if p.suffix.lower() == ".wav"}
        columns, rows = table.read(labels[0])
        missing = [column for column in _COLUMNS if column not in columns]
        if missing:
            raise corpus.CorpusError(
                f"{labels[0]}: has no column {', '.join(missing)}; found "
                f"{', '.join(columns)}"
            )
        recordings: list[corpus.Recording] = []
        left_out: Counter[str] = Counter()
        unlabelled = 0
        seen: dict[str, str] = {}
        for row in rows:
            with self.bad_file(labels[0]):
                file = row.cells["filename"]
                first = seen.setdefault(file, row.where)
                if first != row.where:
                    raise corpus.CorpusError(
                        f"{row.where}: labels {file} again, after {first}"
                    )
                if row.cells["split_set"] == _UNLABELLED:
                    unlabelled += 1
                    continue
                recording = self._recording(row, audio_of)
                if recording:
                    recordings.append(recording)
                else:
                    left_out[row.cells["emoclass"]] += 1
        self._warn_of_the_rest(
            left_out, unlabelled, sorted(audio_of.keys() - seen), recordings
        )
        return recordings

    def _recording(
        self, row: table.Row, audio_of: Mapping[str, pathlib.Path]
    ) -> corpus.Recording | None:
        """Returns the turn of one row, or None if its label is not wanted."""
        where, cells = row
        for column, known in (
            ("emoclass", _CODES),
            ("split_set", (*_UNITS, _UNLABELLED)),
            ("gender", _SEXES),
        ):
            if cells[column] not in known:
                raise corpus.CorpusError(
                    f"{where}: {column} is {cells[column]!r}; expected one of "
                    f"{', '.join(filter(None, known))}"
                )
        emotions = _EMOTIONS[self.builder_config.name]
        file, code, speaker = cells["filename"], cells["emoclass"], cells["spkrid"]
        if code not in emotions:
            return None
        if file not in audio_of:
            raise corpus.CorpusError(
                f"{where}: labels {file}, whose audio is missing; expected it in the "
                "folder Audios"
            )
        unit = _UNITS[cells["split_set"]]
        if speaker in ("", "Unknown"):
            speaker = f"unknown of {unit}"
        return corpus.Recording(
            id=pathlib.PurePath(file).stem,
            unit=unit,
            speaker=speaker,
            sex=_SEXES[cells["gender"]],
            label=emotions[code],
            path=audio_of[file],
        )

    def _warn_of_the_rest(
        self,
        left_out: Counter[str],
        unlabelled: int,
        without_row: Sequence[str],
        recordings: Sequence[corpus.Recording],
    ) -> None:
        if left_out:
            codes = ", ".join(f"{code} {n}" for code, n in sorted(left_out.items()))
            self.warn(
                f"{left_out.total()} turns left out, for their label is none of the "
                f"classes: {codes}."
            )
        if unlabelled:
            self.warn(
                f"{unlabelled} turns of {_UNLABELLED} left out: their labels are not "
                "public."
            )
        if without_row:
            self.warn(
                f"{len(without_row)} audio files without a label left out, such as "
                f"{without_row[0]}."
            )
        unknown = sum(r.speaker == f"unknown of {r.unit}" for r in recordings)
        if unknown:
            self.warn(
                f"{unknown} turns of speakers whom the corpus does not name: that "
                "nobody is heard in two partitions is for these its authors' word."
            )
