"""Tests for `../diccoser_jax/folds.py`."""

import dataclasses
import json
from collections import Counter

import ml_collections
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diccoser_jax import folds

# Plans that make as many folds as one asks for.
COUNTED = ("balanced", "split_fold")
GOOD = {"train": ["a"], "validation": ["b"], "test": ["c"]}

unit_names = st.text("abcxyz0123456789_", min_size=1, max_size=8)
sexes = st.sampled_from(["female", "male", "unknown"])
units_of_sexes = st.dictionaries(unit_names, sexes, min_size=3, max_size=30)


@st.composite
def plans(draw):
    units = draw(units_of_sexes)
    count = draw(st.integers(3, len(units)))
    return units, count, draw(st.integers(0, 2**32))


@given(plans())
def test_each_unit_is_tested_once_and_is_on_one_side_of_every_fold(plan):
    units, count, seed = plan
    made = folds.speaker_folds(units, count, seed)
    assert len(made) == count
    assert Counter(name for fold in made for name in fold.test) == Counter(list(units))
    assert Counter(name for fold in made for name in fold.validation) == Counter(
        list(units)
    )
    for fold in made:
        sides = [fold.train, fold.validation, fold.test]
        assert all(sides)
        assert sorted(sum(sides, ())) == sorted(units)


@given(plans())
def test_groups_are_balanced_in_size_and_in_each_stratum(plan):
    units, count, seed = plan
    groups = [fold.test for fold in folds.speaker_folds(units, count, seed)]
    sizes = [len(group) for group in groups]
    assert max(sizes) - min(sizes) <= 1
    for stratum in set(units.values()):
        sizes = [sum(units[name] == stratum for name in group) for group in groups]
        assert max(sizes) - min(sizes) <= 1


@given(plans(), st.randoms())
def test_the_order_of_the_units_does_not_matter(plan, random):
    units, count, seed = plan
    items = list(units.items())
    random.shuffle(items)
    assert folds.speaker_folds(dict(items), count, seed) == folds.speaker_folds(
        units, count, seed
    )


@given(plans())
def test_validation_is_the_test_of_the_next_fold(plan):
    units, count, seed = plan
    made = folds.speaker_folds(units, count, seed)
    for fold, following in zip(made, made[1:] + made[:1]):
        assert fold.validation == following.test


def test_seeds_give_different_plans_and_one_seed_the_same_for_ever():
    units = {f"speaker{i:02d}": "female" if i % 2 else "male" for i in range(10)}
    plans = {folds.speaker_folds(units, 5, seed) for seed in range(20)}
    assert len(plans) == 20
    # Results in reports refer to folds by number: a change here is a breaking one.
    assert folds.speaker_folds(units, 5, 0)[0].test == ("speaker01", "speaker06")


def make(name, units, count, seed):
    """Any plan, with a number of folds that it permits."""
    return folds.plan(name, units, count if name in COUNTED else 0, seed)


@st.composite
def named_plans(draw):
    name = draw(st.sampled_from(sorted(folds.PLANS)))
    units = draw(st.dictionaries(unit_names, sexes, min_size=4, max_size=30))
    most = len(units) // 2 if name == "split_fold" else len(units)
    count = draw(st.integers(2 if name == "split_fold" else 3, most))
    return name, units, count, draw(st.integers(0, 2**32))


@given(named_plans())
def test_every_fold_of_every_plan_has_each_unit_on_one_side(plan):
    name, units, count, seed = plan
    made = make(name, units, count, seed)
    assert len(made) == (count if name in COUNTED else len(units))
    for fold in made:
        sides = [fold.train, fold.validation, fold.test]
        assert all(sides)
        assert sorted(sum(sides, ())) == sorted(units)


@given(named_plans())
def test_each_unit_is_tested_or_chosen_upon_as_the_plan_says(plan):
    name, units, count, seed = plan
    made = make(name, units, count, seed)
    tested = Counter(unit for fold in made for unit in fold.test)
    chosen_upon = Counter(unit for fold in made for unit in fold.validation)
    each_once = Counter(list(units))
    if name == "split_fold":
        assert tested + chosen_upon == each_once
    else:
        assert tested == chosen_upon == each_once


@given(named_plans(), st.randoms())
def test_no_plan_depends_on_the_order_of_the_units(plan, random):
    name, units, count, seed = plan
    items = list(units.items())
    random.shuffle(items)
    assert make(name, dict(items), count, seed) == make(name, units, count, seed)


@given(named_plans())
def test_halves_of_a_split_fold_are_balanced(plan):
    _, units, count, seed = plan
    for fold in folds.split_fold(units, min(count, len(units) // 2), seed):
        assert len(fold.test) - len(fold.validation) in (0, 1)
        for stratum in set(units.values()):
            halves = [
                sum(units[unit] == stratum for unit in half)
                for half in (fold.test, fold.validation)
            ]
            assert abs(halves[0] - halves[1]) <= 1


def test_recola_of_18_recordings_by_ten_women_and_eight_men():
    units = {f"P{i:02d}": "female" if i < 10 else "male" for i in range(18)}
    made = folds.plan("split_fold", units, 5, 0)
    sizes = [(len(f.train), len(f.validation), len(f.test)) for f in made]
    assert sizes == [(14, 2, 2)] * 3 + [(15, 1, 2)] * 2
    for fold in made:
        assert {units[unit] for unit in fold.test} == {"female", "male"}
    assert len({folds.plan("split_fold", units, 5, seed) for seed in range(10)}) == 10


def test_sessions_in_order():
    units = {f"session{i}": "unknown" for i in range(1, 6)}
    made = folds.plan("in_order", units, 5, 0)
    assert [(f.test, f.validation, f.train) for f in made[:1] + made[-1:]] == [
        (("session1",), ("session2",), ("session3", "session4", "session5")),
        (("session5",), ("session1",), ("session2", "session3", "session4")),
    ]
    assert folds.plan("in_order", units, 0, 7) == made


def test_numbers_in_names_are_in_their_order():
    made = folds.plan("in_order", dict.fromkeys(["f10", "f9", "f2", "g²"], ""), 0, 0)
    assert [fold.test for fold in made] == [("f2",), ("f9",), ("f10",), ("g²",)]


def test_leave_one_out_shuffles():
    units = {f"speaker{i}": "unknown" for i in range(6)}
    plans = {folds.plan("leave_one_out", units, 0, seed) for seed in range(9)}
    assert len(plans) == 9
    for made in plans:
        assert sorted(f.test for f in made) == sorted((unit,) for unit in units)


@pytest.mark.parametrize(
    ("name", "units", "count", "message"),
    [
        ("balanced", "abcd", 2, "2 folds; expected at least 3"),
        ("balanced", "abcd", 5, r"5 folds of 4 units \(a, b, c, d\); .* at most 4"),
        ("split_fold", "abcd", 1, "1 folds of 4 units .* at least 2 folds"),
        ("split_fold", "abcde", 3, "3 folds of 5 units .* for each of them 2 units"),
        ("in_order", "abcd", 5, "5 folds; in_order makes one for each of the 4 units"),
        ("leave_one_out", "abcd", 3, "leave_one_out .*: expected 4, or 0"),
        ("session", "abcd", 4, "unknown plan 'session'; expected one of balanced, in_"),
        *[
            (name, "ab", 2, r"2 units \(a, b\); expected at least 3, for nobody")
            for name in folds.PLANS
        ],
    ],
)
def test_impossible_plans_are_errors(name, units, count, message):
    with pytest.raises(ValueError, match=message):
        folds.plan(name, dict.fromkeys(reversed(units), "unknown"), count, 0)


@pytest.mark.parametrize("config_dict", [dict, ml_collections.ConfigDict])
def test_explicit_plans(config_dict):
    official = {"train": ["train"], "validation": ["development"], "test": ["test1"]}
    units = ["train", "development", "test1", "test2"]
    assert folds.explicit([config_dict(official)], units) == (
        folds.Fold(("train",), ("development",), ("test1",)),
    )


@given(named_plans())
def test_plans_survive_being_written_down(plan):
    name, units, count, seed = plan
    made = make(name, units, count, seed)
    written = json.loads(json.dumps([dataclasses.asdict(fold) for fold in made]))
    assert folds.explicit(written, units) == made


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ([], "has no fold"),
        ([{"train": "a", "test": "b"}], "fold 0 has the sides train, test; expected"),
        ([{}], "fold 0 has the sides none; expected train, validation, test"),
        ([GOOD, GOOD | {"dev": ["c"]}], "fold 1 has the sides .*, dev; expected"),
        ([GOOD | {"test": "c"}], "fold 0: test is the text 'c'; expected a list"),
        ([GOOD | {"test": ["x"]}], "fold 0: test names x, which .* units are a, b, c"),
        ([GOOD | {"test": []}], "fold 0: test is empty"),
        ([GOOD | {"test": ["b"]}], "fold 0: b occurs twice"),
    ],
)
def test_wrong_explicit_plans(plan, message):
    with pytest.raises(ValueError, match=message):
        folds.explicit(plan, "cba")


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ((("a",), (), ("b",)), "validation is empty"),
        ((("a", "b"), ("c",), ("b",)), "b occurs twice"),
        ((("a", "a"), ("c",), ("b",)), "a occurs twice"),
    ],
)
def test_a_fold_refuses_empty_sides_and_overlap(sides, message):
    with pytest.raises(ValueError, match=message):
        folds.Fold(*sides)


def test_a_speaker_of_two_units_must_stay_on_one_side():
    speakers = {"s1": ["f1", "m1"], "s2": ["f2", "m2"], "s3": ["f3", "m1"], "s4": []}
    folds.check_speakers_disjoint(folds.Fold(("s1", "s3"), ("s2",), ("s4",)), speakers)
    with pytest.raises(ValueError, match="speaker m1 is in train and in test"):
        folds.check_speakers_disjoint(
            folds.Fold(("s1", "s4"), ("s2",), ("s3",)), speakers
        )
