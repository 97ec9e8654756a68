"""Tests for `../diccoser_jax/folds.py`."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diccoser_jax import folds

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


@given(units_of_sexes, st.integers(0, 100))
def test_leave_one_out_tests_one_unit_at_a_time(units, seed):
    made = folds.leave_one_out(units, seed)
    assert sorted(fold.test for fold in made) == sorted((name,) for name in units)
    for fold in made:
        assert len(fold.validation) == 1
        assert len(fold.train) == len(units) - 2
    assert folds.leave_one_out(sorted(units, reverse=True), seed) == made


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, "2 folds; expected at least 3"),
        (5, "5 folds of 4 units \\(a, b, c, d\\); expected at most 4"),
    ],
)
def test_impossible_counts_are_errors(count, message):
    with pytest.raises(ValueError, match=message):
        folds.speaker_folds(dict.fromkeys("dcba", "unknown"), count, 0)


def test_leave_one_out_of_two_is_an_error():
    with pytest.raises(ValueError, match="2 folds; expected at least 3"):
        folds.leave_one_out("ab", 0)


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
