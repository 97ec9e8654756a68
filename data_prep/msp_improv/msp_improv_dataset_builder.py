"""MSP-IMPROV: 12 actors in 6 sessions of improvised and read scenes.

``Evalution.txt``, spelled so in the release, holds one line for each turn, followed by
the votes of its raters:

    UTD-IMPROV-S01A-F01-S-FM01.avi; N; A:3.000000; V:3.500000; D:3.000000; N:2.500000;

whose audio is ``session1/S01A/S/MSP-IMPROV-S01A-F01-S-FM01.wav``. The fields are the
sentence and its target emotion, the actor to whom the scene belongs with the number of
the session, the condition and the turn. Source: Busso et al. 2017, tables 3 and 4.
"""

import pathlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import tensorflow_datasets as tfds

from data_prep import corpus

_EMOTIONS = {"N": "neutral", "A": "anger", "S": "sadness", "H": "happiness"}
# O: another emotion; X: the raters agree on nothing.
_CODES = (*_EMOTIONS, "O", "X")
# 7798 of 8438 turns: over target sentences, improvised and read, other improvised
# turns, and the natural talk between the scenes.
_COUNTS = {
    "neutral": 283 + 241 + 1789 + 1164,
    "anger": 115 + 169 + 470 + 38,
    "sadness": 106 + 80 + 633 + 66,
    "happiness": 136 + 88 + 1048 + 1372,
}
_LABEL_FILES = ("evalution.txt", "evaluation.txt")
_PREFIXES = ("UTD-IMPROV-", "MSP-IMPROV-")
_TURN = re.compile(
    r"MSP-IMPROV-S\d\d[AHNS]-(?P<actor>[FM]0(?P<session>[1-6]))-[A-Z]-[FM]{2}\d+"
)


class Builder(corpus.CorpusBuilder):
    """Turns; one split for each session (``session1``), of two actors.

    ``speaker`` is the actor to whom the scene belongs. Other turns of the scene may be
    the partner's, which no source known to us tells apart; so a session, in which both
    are the same, is the smallest unit that shares no speaker with another.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "the folder of MSP-IMPROV: Evalution.txt (or Evaluation.txt), and session1 to "
        "session6, which may lie in Audio, with files such as "
        "session1/S01A/S/MSP-IMPROV-S01A-F01-S-FM01.wav."
    )
    class_names = tuple(_EMOTIONS.values())
    file_suffixes = (".wav", ".txt")
    documented_counts = _COUNTS

    def recordings(self, files: Sequence[pathlib.Path]) -> list[corpus.Recording]:
        """Reads the consensus labels."""
        labels = [path for path in files if path.name.lower() in _LABEL_FILES]
        if len(labels) != 1:
            found = ", ".join(map(str, labels)) or "no file of labels"
            raise corpus.CorpusError(
                f"manual_dir {self._manual_dir} holds {found}. Expected "
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        audio_of: dict[str, list[pathlib.Path]] = {}
        for path in files:
            if path.suffix.lower() == ".wav":
                audio_of.setdefault(path.stem, []).append(path)
        recordings: list[corpus.Recording] = []
        left_out: Counter[str] = Counter()
        lines_of: dict[str, int] = {}
        # Not splitlines, for which 0x85 ends a line; votes hold free text.
        lines = corpus.read_text(labels[0]).split("\n")
        for number, line in enumerate(lines, 1):
            if not line.startswith(_PREFIXES):
                continue
            with self.bad_file(labels[0]):
                where = f"{labels[0]}, line {number}"
                turn, code = _parse(where, line)
                first = lines_of.setdefault(turn, number)
                if first != number:
                    raise corpus.CorpusError(
                        f"{where}: labels {turn} again, after line {first}"
                    )
                if code in _EMOTIONS:
                    recordings += _recordings(where, turn, code, audio_of)
                else:
                    left_out[code] += 1
        if left_out:
            codes = ", ".join(f"{code} {n}" for code, n in sorted(left_out.items()))
            self.warn(
                f"{left_out.total()} turns left out, for their label is none of the "
                f"classes: {codes}."
            )
        without_line = sorted(audio_of.keys() - lines_of)
        if without_line:
            self.warn(
                f"{len(without_line)} audio files without a label left out, such as "
                f"{audio_of[without_line[0]][0].name}."
            )
        return recordings


def _parse(where: str, line: str) -> tuple[str, str]:
    """Returns the turn, named as its audio, and the letter of its emotion."""
    name, _, rest = line.partition(";")
    code = rest.partition(";")[0].strip()
    turn = "MSP-" + name.strip().removesuffix(".avi").partition("-")[2]
    if not _TURN.fullmatch(turn):
        raise corpus.CorpusError(
            f"{where}: turn {name!r} does not follow the code of MSP-IMPROV; expected "
            "a name such as UTD-IMPROV-S01A-F01-S-FM01.avi"
        )
    if code not in _CODES:
        raise corpus.CorpusError(
            f"{where}: emotion {code!r} of {name} is not in the code of MSP-IMPROV; "
            f"expected one of {', '.join(_CODES)}"
        )
    return turn, code


def _recordings(
    where: str, turn: str, code: str, audio_of: Mapping[str, Sequence[pathlib.Path]]
) -> list[corpus.Recording]:
    """Returns the turn, once for each copy of its audio."""
    if turn not in audio_of:
        raise corpus.CorpusError(
            f"{where}: labels {turn}, whose audio is missing; expected {turn}.wav in "
            "the folder of its session"
        )
    actor, session = _TURN.fullmatch(turn).group("actor", "session")
    return [
        corpus.Recording(
            id=turn,
            unit=f"session{session}",
            speaker=actor,
            sex="female" if actor.startswith("F") else "male",
            label=_EMOTIONS[code],
            path=path,
        )
        for path in audio_of[turn]
    ]
