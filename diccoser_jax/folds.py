"""Cross-validation plans: which splits train, which choose the epoch, which test.

Plans are pure functions of names and a seed. They do not depend on the order in which
the units are given, nor on any library's random numbers, so that a fold number in a
result means the same speakers for ever.
"""

import dataclasses
import hashlib
import itertools
import re
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


PLANS: Mapping[str, str] = {
    "balanced": "units dealt into groups balanced by sex; fold k tests group k, "
    "validates on the next one and trains on the others",
    "in_order": "fold k tests unit k in the order of the names, validates on the next "
    "one and trains on the others",
    "leave_one_out": "each unit tested in a fold of its own, which validates on "
    "another one and trains on the others",
    "split_fold": "units dealt into groups balanced by sex; fold k tests one half of "
    "group k, validates on the other half and trains on the other groups",
}


def plan(
    name: str, units: Mapping[str, str], count: int, seed: int
) -> tuple[Fold, ...]:
    """Makes a plan by its name; each of its folds has every unit on one side.

    ``balanced`` is `speaker_folds`: for corpora whose units are speakers.
    ``in_order`` and ``leave_one_out`` make one fold for each unit, the former in the
    order of the names, where 10 follows 9: sessions of IEMOCAP, folds of a manifest;
    the latter in the order of ``seed``. ``split_fold`` is `split_fold`: RECOLA.

    Args:
      name: a key of ``PLANS``, whose value says it in a sentence for results.
      units: maps the name of a split, all of whose speakers are its own, to a stratum,
        such as the speaker's sex.
      count: number of folds; where the plan has one for each unit, their number, or 0.
      seed: of the order in which units are taken, except by ``in_order``.

    Raises:
      ValueError: an unknown name, fewer than three units, or a count that the plan
        cannot make of them.

    Examples:
      >>> sessions = {f"session{n}": "unknown" for n in range(1, 6)}
      >>> first, *others = plan("in_order", sessions, count=5, seed=0)
      >>> first.test, first.validation, len(others)
      (('session1',), ('session2',), 4)
    """
    if name not in PLANS:
        raise ValueError(f"unknown plan {name!r}; expected one of {', '.join(PLANS)}")
    if len(units) < 3:
        raise ValueError(
            f"{len(units)} units ({', '.join(sorted(units))}); expected at least 3, "
            "for nobody may be heard on two of the sides: training, validation and "
            "test. Add recordings of other speakers"
        )
    if name == "balanced":
        return speaker_folds(units, count, seed)
    if name == "split_fold":
        return split_fold(units, count, seed)
    if count not in (0, len(units)):
        raise ValueError(
            f"{count} folds; {name} makes one for each of the {len(units)} units: "
            f"expected {len(units)}, or 0"
        )
    if name == "in_order":
        order = sorted(units, key=_natural)
    else:
        order = sorted(units, key=lambda unit: _shuffled(unit, seed))
    return _rotate([[unit] for unit in order])


def explicit(
    folds: Iterable[Mapping[str, Iterable[str]]], units: Iterable[str]
) -> tuple[Fold, ...]:
    """Makes the folds that a configuration spells out.

    Official partitions are such a plan, of one fold:
    ``[{"train": ["train"], "validation": ["development"], "test": ["test1"]}]``.

    Args:
      folds: for each fold the names of its units by side: ``train``, ``validation``
        and ``test``. Units that it does not name are left out of it.
      units: all units of the corpus.

    Raises:
      ValueError: no fold, another side, a unit that the corpus lacks, an empty side, or
        a unit that occurs twice in a fold.
    """
    known, made = set(units), []
    sides = [field.name for field in dataclasses.fields(Fold)]
    for k, fold in enumerate(map(dict, folds)):
        if sorted(fold) != sorted(sides):
            raise ValueError(
                f"fold {k} has the sides {', '.join(fold) or 'none'}; expected "
                f"{', '.join(sides)}"
            )
        for side, names in fold.items():
            if isinstance(names, str):
                raise ValueError(
                    f"fold {k}: {side} is the text {names!r}; expected a list of units"
                )
            unknown = sorted(set(names) - known)
            if unknown:
                raise ValueError(
                    f"fold {k}: {side} names {', '.join(unknown)}, which the corpus "
                    f"lacks; its units are {', '.join(sorted(known))}"
                )
        try:
            made.append(Fold(**{side: tuple(fold[side]) for side in sides}))
        except ValueError as error:
            raise ValueError(f"fold {k}: {error}") from error
    if not made:
        raise ValueError("the plan has no fold")
    return tuple(made)


def speaker_folds(units: Mapping[str, str], count: int, seed: int) -> tuple[Fold, ...]:
    """Deals units into groups; fold k tests group k and validates on the next one.

    Args:
      units: as in `plan`. Groups differ by at most one unit in size, and in the units
        of each stratum.
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
    return _rotate(_deal(units, count, seed))


def split_fold(units: Mapping[str, str], count: int, seed: int) -> tuple[Fold, ...]:
    """Deals units into groups; fold k splits group k into validation and test.

    So it is with the 18 recordings of RECOLA in the paper: groups of 4, 4, 4, 3, 3.
    Half of each group is tested, and one unit more where its size is odd.

    Args:
      units: as in `plan`. Groups are balanced as by `speaker_folds`, and so are the
        halves of a group.
      count: number of folds.
      seed: of the order in which units are dealt.

    Returns:
      ``count`` folds; over all of them each unit is tested or validates, once.

    Raises:
      ValueError: fewer than two folds, or fewer than two units for each fold.
    """
    if count < 2 or len(units) < 2 * count:
        raise ValueError(
            f"{count} folds of {len(units)} units ({', '.join(sorted(units))}); "
            "expected at least 2 folds, and for each of them 2 units: one validates, "
            "one is tested"
        )
    groups = _deal(units, count, seed)
    return tuple(
        Fold(
            train=_join(groups[:k] + groups[k + 1 :]),
            # Neighbours in the deck are of one stratum: they go to different halves.
            validation=_join([group[1::2]]),
            test=_join([group[::2]]),
        )
        for k, group in enumerate(groups)
    )


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


def _deal(units: Mapping[str, str], count: int, seed: int) -> list[list[str]]:
    """Deals stratum by stratum, so that one after the other goes to the next group."""
    deck = sorted(units, key=lambda unit: (units[unit], _shuffled(unit, seed)))
    return [deck[i::count] for i in range(count)]


def _rotate(groups: Sequence[Sequence[str]]) -> tuple[Fold, ...]:
    """Fold k tests group k, validates on the next one, and trains on the others."""
    count = len(groups)
    return tuple(
        Fold(
            train=_join([groups[(k + i) % count] for i in range(2, count)]),
            validation=_join([groups[(k + 1) % count]]),
            test=_join([groups[k]]),
        )
        for k in range(count)
    )


def _join(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted(itertools.chain(*groups)))


def _natural(unit: str) -> list[tuple[int, str]]:
    """A sort key that puts fold10 behind fold9."""
    parts = re.split(r"([0-9]+)", unit)
    return [(int(p) if i % 2 else 0, p) for i, p in enumerate(parts)]


def _shuffled(unit: str, seed: int) -> bytes:
    """A sort key that puts units in an order of the seed."""
    return hashlib.sha256(f"{seed}/{unit}".encode()).digest()
