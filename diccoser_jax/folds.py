"""Cross-validation plans: which splits train, which choose the epoch, which test.

Plans are pure functions of names and a seed. They do not depend on the order in which
the units are given, nor on any library's random numbers, so that a fold number in a
result means the same speakers for ever.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence


@dataclasses.dataclass(frozen=True)
class Fold:
    """Names of splits; no side is empty, and none has a name of another.

    Raises:
      ValueError: an empty side, or a name that occurs twice.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self):
        for field in dataclasses.fields(self):
            if not getattr(self, field.name):
                raise ValueError(f"{field.name} is empty; expected at least one split")
        names = sorted(self.train + self.validation + self.test)
        twice = sorted({a for a, b in itertools.pairwise(names) if a == b})
        if twice:
            raise ValueError(
                f"{', '.join(twice)} occurs twice; expected each split once, in train, "
                "validation or test"
            )


def speaker_folds(units: Mapping[str, str], count: int, seed: int) -> tuple[Fold, ...]:
    """Deals units into groups; fold k tests group k and validates on the next one.

    Args:
      units: maps the name of a split, all of whose speakers are its own, to a stratum,
        such as the speaker's sex. Groups differ by at most one unit in size, and in
        the units of each stratum.
      count: number of folds.
      seed: of the order in which units are dealt.

    Returns:
      ``count`` folds; over all of them each unit is tested once.

    Raises:
      ValueError: fewer than three folds, or fewer units than folds.
    """
    if count < 3:
        raise ValueError(
            f"{count} folds; expected at least 3: to test, to validate and to train"
        )
    if count > len(units):
        raise ValueError(
            f"{count} folds of {len(units)} units ({', '.join(sorted(units))}); "
            f"expected at most {len(units)} folds"
        )
    # Stratum by stratum, so that one after the other goes to the next group.
    deck = sorted(units, key=lambda unit: (units[unit], _shuffled(unit, seed)))
    groups = [tuple(sorted(deck[i::count])) for i in range(count)]
    folds = []
    for k in range(count):
        rest = [groups[(k + i) % count] for i in range(2, count)]
        folds.append(
            Fold(
                train=tuple(sorted(itertools.chain(*rest))),
                validation=groups[(k + 1) % count],
                test=groups[k],
            )
        )
    return tuple(folds)


def leave_one_out(units: Iterable[str], seed: int) -> tuple[Fold, ...]:
    """Tests each unit once; the next one, in the order of ``seed``, validates.

    Raises:
      ValueError: fewer than three units.
    """
    alike = dict.fromkeys(units, "")
    return speaker_folds(alike, len(alike), seed)


def check_speakers_disjoint(fold: Fold, speakers: Mapping[str, Sequence[str]]) -> None:
    """Checks that nobody is heard on two sides.

    Args:
      fold: the plan.
      speakers: the speakers of each of its splits.

    Raises:
      ValueError: a speaker of one side is on another.
    """
    side_of: dict[str, str] = {}
    for field in dataclasses.fields(fold):
        for speaker in {
            s for name in getattr(fold, field.name) for s in speakers[name]
        }:
            side = side_of.setdefault(speaker, field.name)
            if side != field.name:
                raise ValueError(
                    f"speaker {speaker} is in {side} and in {field.name}; expected "
                    "each speaker on one side. Make units that share none"
                )


def _shuffled(unit: str, seed: int) -> bytes:
    """A sort key that puts units in an order of the seed."""
    return hashlib.sha256(f"{seed}/{unit}".encode()).digest()
