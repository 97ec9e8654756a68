"""IEMOCAP: 10 speakers in 5 sessions, improvised and scripted dialogs.

``Session1/dialog/EmoEvaluation/Ses01F_impro01.txt`` holds, between the votes of its
raters, one line for each turn of a dialog, with tabs between its columns:

    [6.2901 - 8.2357]   Ses01F_impro01_F000   neu   [2.5000, 2.5000, 2.5000]

The last field of a turn's name tells who talks, ``F`` or ``M``; the letter in front
(``Ses01F``) belongs to the dialog and says nothing about the turn: to take it for the
talker is wrong in half of the turns. Source: Busso et al. 2008, and loaders of the
release (s3prl, SpeechBrain, nkululeko).
"""

import pathlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from data_prep import corpus

_EMOTIONS = {
    "neu": "neutral",
    "ang": "anger",
    "sad": "sadness",
    "hap": "happiness",
}
_EXCITEMENT = "exc"
# xxx: the raters agree on nothing.
_OTHER_CODES = ("fru", "fea", "sur", "dis", "oth", "xxx")
_COUNTS = {
    # The paper's.
    "improvised": (1099, 289, 608, 284),
    # Counted in the metadata of s3prl; happiness alone is what lacks of 595 in all.
    "improvised_with_excitement": (1099, 289, 608, 947),
    "scripted": (609, 814, 476, 311),
    "scripted_with_excitement": (609, 814, 476, 689),
    "all": (1708, 1103, 1084, 595),
    "all_with_excitement": (1708, 1103, 1084, 1636),
}
_SEXES = {"F": "female", "M": "male"}

_TURN = re.compile(
    r"(?P<session>Ses0(?P<number>[1-5]))[FM]_(?P<part>impro|script)\w*"
    r"_(?P<talker>[FM])[^_]*"
)
_LINE = re.compile(r"\[[\d.]+ - [\d.]+\]\t(?P<turn>\w+)\t(?P<code>\w+)\t\[[^]]*\]")


class Builder(corpus.CorpusBuilder):
    """Turns; one split for each session (``session1``), of two speakers.

    Configurations choose the dialogs (``improvised``, as in the paper, ``scripted`` or
    ``all``) and whether excitement counts as happiness (``..._with_excitement``) or is
    left out, as in the paper.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(
            name=name, description=f"{sum(counts)} turns of four emotions."
        )
        for name, counts in _COUNTS.items()
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "IEMOCAP_full_release: Session1 to Session5, each with labels such as "
        "dialog/EmoEvaluation/Ses01F_impro01.txt and turns such as "
        "sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    file_suffixes = (".wav", ".txt")

    @property
    def documented_counts(self) -> dict[str, int]:
        """Turns of each class that the configuration leaves."""
        return dict(zip(self.class_names, _COUNTS[self.builder_config.name]))

    def belongs(self, path: pathlib.Path) -> bool:
        """Picks labels and turns of the dialogs that the configuration wants.

        The release holds ten times as many files of motion capture and video.
        """
        wanted = self.builder_config.name.partition("_")[0]
        letters = {"improvised": "impro", "scripted": "script", "all": ""}[wanted]
        return bool(_kind(path)) and f"_{letters}" in path.stem

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Reads the consensus lines of every dialog."""
        labels = [path for path in files if _kind(path) == "labels"]
        if not labels:
            raise corpus.CorpusError(
                f"manual_dir {self._manual_dir} holds no labels of {self.name} "
                f"dialogs. Expected {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        # Each session, of each copy, keeps to itself.
        audio_of = {
            (path.parents[3], path.stem): path
            for path in files
            if _kind(path) == "audio"
        }
        recordings: list[corpus.Recording] = []
        left_out: Counter[str] = Counter()
        seen: set[tuple[pathlib.Path, str]] = set()
        for path in labels:
            session = path.parents[2]
            lines = []
            with self.bad_file(path):
                lines = _consensus_lines(path)
            for where, turn, code in lines:
                with self.bad_file(path):
                    if (session, turn) in seen:
                        raise corpus.CorpusError(f"{where}: labels {turn} again")
                    seen.add((session, turn))
                    recording = self._recording(where, turn, code, session, audio_of)
                    if recording:
                        recordings.append(recording)
                    else:
                        left_out[code] += 1
        for session, turn in sorted(audio_of.keys() - seen):
            path = audio_of[session, turn]
            with self.bad_file(path):
                dialog = turn.rpartition("_")[0]
                raise corpus.CorpusError(
                    f"{path}: has no label; expected a line of {turn} in "
                    f"{session / 'dialog/EmoEvaluation' / dialog}.txt"
                )
        if left_out:
            codes = ", ".join(f"{code} {n}" for code, n in sorted(left_out.items()))
            self.warn(
                f"{left_out.total()} turns left out, for their label is none of the "
                f"classes: {codes}."
            )
        present = {recording.unit for recording in recordings}
        missing = [f"Session{n}" for n in range(1, 6) if f"session{n}" not in present]
        if missing:
            message = f"No turn of {', '.join(missing)} is there."
            if not self._allow_partial:
                raise corpus.CorpusError(
                    f"{self._manual_dir}: {message} Complete the corpus, or use what "
                    "is there by allow_partial, which every report will say"
                )
            self.warn(message)
        return recordings

    def _recording(
        self,
        where: str,
        turn: str,
        code: str,
        session: pathlib.Path,
        audio_of: Mapping[tuple[pathlib.Path, str], pathlib.Path],
    ) -> corpus.Recording | None:
        """Returns the turn of one line, or None if its label is not wanted."""
        name = _TURN.fullmatch(turn)
        if not name:
            raise corpus.CorpusError(
                f"{where}: turn {turn} does not follow the code of IEMOCAP; expected "
                "a name such as Ses01F_impro01_F000"
            )
        emotions = dict(_EMOTIONS)
        if self.builder_config.name.endswith("_with_excitement"):
            emotions[_EXCITEMENT] = emotions["hap"]
        known = [*_EMOTIONS, _EXCITEMENT, *_OTHER_CODES]
        if code not in known:
            raise corpus.CorpusError(
                f"{where}: emotion {code} of {turn} is not in the code of IEMOCAP; "
                f"expected one of {', '.join(known)}"
            )
        if code not in emotions:
            return None
        if (session, turn) not in audio_of:
            raise corpus.CorpusError(
                f"{where}: labels {turn}, whose audio is missing; expected "
                f"{session / 'sentences/wav' / turn.rpartition('_')[0] / turn}.wav"
            )
        return corpus.Recording(
            id=turn,
            unit=f"session{name['number']}",
            speaker=name["session"] + name["talker"],
            sex=_SEXES[name["talker"]],
            label=emotions[code],
            path=audio_of[session, turn],
        )


def _kind(path: pathlib.Path) -> str:
    """Tells labels and turns from the rest, by the folders that hold them.

    Folders within EmoEvaluation hold the votes again, rater by rater.
    """
    if path.parts[-3:-1] == ("dialog", "EmoEvaluation"):
        return "labels" if path.suffix.lower() == ".txt" else ""
    if path.parts[-4:-2] == ("sentences", "wav"):
        return "audio" if path.suffix.lower() == ".wav" else ""
    return ""


def _consensus_lines(path: pathlib.Path) -> list[tuple[str, str, str]]:
    """Returns (where, turn, code) for every turn of a dialog."""
    lines = []
    # Not splitlines, for which 0x85 ends a line; the comments of raters are free text.
    for number, line in enumerate(corpus.read_text(path).split("\n"), 1):
        if not line.startswith("["):
            continue
        where = f"{path}, line {number}"
        match = _LINE.fullmatch(line.rstrip())
        if not match:
            raise corpus.CorpusError(
                f"{where}: {line.rstrip()!r} is not a label; expected "
                "'[start - end]', the turn, its emotion and '[valence, activation, "
                "dominance]', with tabs between them"
            )
        lines.append((where, match["turn"], match["code"]))
    if not lines:
        raise corpus.CorpusError(
            f"{path}: labels no turn; expected lines that begin with '[start - end]'"
        )
    return lines
