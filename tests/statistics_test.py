"""Tests for `../diccoser_jax/statistics.py`."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics

from diccoser_jax import metrics, statistics
from diccoser_jax.predictions import Predictions, concatenate

CLASSES = ("anger", "boredom", "sadness")
DIMENSIONS = ("arousal", "valence")


def utterances(speakers=10, each=12, folds=5, seed=0, skill=0.6, noise=0):
    """A classification: who speaks is easier or harder; `noise` changes answers."""
    rng, answers = np.random.default_rng(1), np.random.default_rng([seed, noise])
    rows = speakers * each
    speaker = np.repeat(np.arange(speakers), each)
    targets = rng.integers(0, len(CLASSES), rows).astype(np.int32)
    easy = np.clip(skill + rng.normal(0, 0.15, speakers), 0, 1)[speaker]
    guess = answers.integers(0, len(CLASSES), rows)
    answer = np.where(answers.random(rows) < easy, targets, guess)
    return Predictions(
        recordings=np.array([f"{s:02d}_{i:03d}" for i, s in enumerate(speaker)]),
        speakers=np.array([f"speaker {s}" for s in speaker]),
        folds=(speaker % folds).astype(np.int32),
        seeds=np.full(rows, seed, np.int32),
        targets=targets,
        outputs=np.eye(len(CLASSES), dtype=np.float32)[answer],
    )


def frames(recordings=6, each=50, folds=3, seed=0, noise=0.5, offset=0.0):
    """A regression: each recording has a speaker of its own."""
    rng = np.random.default_rng([seed, 5])
    rows = recordings * each
    recording = np.repeat(np.arange(recordings), each)
    targets = np.random.default_rng(2).normal(offset, 1, (rows, 2))
    return Predictions(
        recordings=np.array([f"dev_{r}" for r in recording]),
        speakers=np.array([f"P{r}" for r in recording]),
        folds=(recording % folds).astype(np.int32),
        seeds=np.full(rows, seed, np.int32),
        targets=targets.astype(np.float32),
        outputs=(0.8 * targets + rng.normal(0, noise, (rows, 2))).astype(np.float32),
    )


def test_scores_of_groups_are_those_of_their_rows():
    predictions = utterances()
    speakers, sums = statistics.group_sums(predictions, predictions.speakers)
    ua, wa = metrics.unweighted_accuracy(sums), metrics.weighted_accuracy(sums)
    for speaker, its_sums, its_ua, its_wa in zip(speakers, sums, ua, wa):
        part = predictions[predictions.speakers == speaker]
        answers = part.outputs.argmax(axis=1)
        np.testing.assert_array_equal(
            its_sums, sklearn.metrics.confusion_matrix(part.targets, answers)
        )
        expected = sklearn.metrics.balanced_accuracy_score(part.targets, answers)
        assert its_ua == pytest.approx(expected, abs=1e-12)
        assert its_wa == pytest.approx(np.mean(part.targets == answers), abs=1e-12)


def test_a_class_that_a_group_lacks_counts_for_nothing():
    sums = np.array([[[3, 1, 0], [0, 0, 0], [1, 0, 1]]])
    assert metrics.unweighted_accuracy(sums) == pytest.approx((3 / 4 + 1 / 2) / 2)
    np.testing.assert_array_equal(metrics.recalls(sums), [[0.75, np.nan, 0.5]])


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_concordance_of_groups_is_that_of_their_frames(offset):
    predictions = frames(offset=offset)
    names, sums = statistics.group_sums(predictions, predictions.recordings)
    parts = [predictions[predictions.recordings == name] for name in names]
    expected = [metrics.CccSums.from_arrays(p.outputs, p.targets) for p in parts]
    np.testing.assert_allclose(
        statistics.concordance(sums), [e.ccc() for e in expected], rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        statistics.concordance(sums.sum(axis=0)),
        sum(expected[1:], start=expected[0]).ccc(),
        rtol=1e-9,
    )


def test_the_interval_is_that_of_all_draws_there_are():
    """Five groups can be drawn in 3125 ways; so many draws come close to them."""
    _, sums = statistics.group_sums(utterances(5), utterances(5).speakers)
    scores = [
        np.nanmean(np.diag(c) / c.sum(axis=1))
        for c in (
            sums[list(way)].sum(axis=0) for way in itertools.product(range(5), repeat=5)
        )
    ]
    expected = np.quantile(scores, [0.025, 0.975])
    found = statistics.bootstrap_interval(
        sums, metrics.unweighted_accuracy, draws=200_000
    )
    np.testing.assert_allclose(found, expected, atol=0.002)


def test_the_interval_is_scipys():
    _, sums = statistics.group_sums(frames(8), frames(8).recordings)
    peer = scipy.stats.bootstrap(
        (np.arange(8),),
        lambda chosen: statistics.concordance(sums[chosen].sum(axis=0))[0],
        vectorized=False,
        n_resamples=4000,
        method="percentile",
        rng=0,
    ).confidence_interval
    found = statistics.bootstrap_interval(sums, statistics.concordance, draws=20_000)
    assert found.shape == (2, 2)
    width = peer.high - peer.low
    np.testing.assert_allclose(found[:, 0], peer, atol=0.06 * width)


def test_the_interval_is_repeatable_and_grows_with_its_level():
    _, sums = statistics.group_sums(utterances(), utterances().speakers)
    score = metrics.weighted_accuracy
    low, high = statistics.bootstrap_interval(sums, score)
    assert statistics.bootstrap_interval(sums, score).tolist() == [low, high]
    lower, higher = statistics.bootstrap_interval(sums, score, level=0.99)
    assert lower < low < score(sums.sum(axis=0)) < high < higher
    with pytest.raises(ValueError, match="at least two groups, got 1"):
        statistics.bootstrap_interval(sums[:1], score)


def test_variance_components_by_hand():
    # Means 1, 3, 5; within 6 · 1 / 3 = 2, between 2 · 8 / 2 = 8, which is 2 · 3 + 2.
    fold, seed = statistics.variance_components(
        [np.array([0.0, 2]), np.array([2.0, 4]), np.array([4.0, 6])]
    )
    assert (fold, seed) == (pytest.approx(3), pytest.approx(2))
    # Folds that are closer than their seeds explain.
    close = [np.array([0.0, 4]), np.array([1.0, 3])]
    fold, seed = statistics.variance_components(close)
    assert (fold, seed) == (0, pytest.approx(5))


def test_variance_components_are_those_of_the_analysis_of_variance():
    rng = np.random.default_rng(0)
    scores = [rng.normal(m, 1, 4) for m in (0, 2, 5, 9)]
    fold, seed = statistics.variance_components(scores)
    # F is the ratio of both mean squares.
    expected = scipy.stats.f_oneway(*scores).statistic
    assert (seed + 4 * fold) / seed == pytest.approx(expected, rel=1e-12)
    assert seed == pytest.approx(np.mean([np.var(s, ddof=1) for s in scores]))


def test_variance_components_find_what_was_put_in():
    """Also with other numbers of runs, for which the mean squares need n0."""
    rng = np.random.default_rng(0)
    found = np.mean(
        [
            statistics.variance_components(
                [rng.normal(rng.normal(0, 3), 2, runs) for runs in 3 * (1, 1, 10)]
            )
            for _ in range(3000)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, [9, 4], rtol=0.05)
    with pytest.raises(ValueError, match=r"two runs, got \[1 1\]"):
        statistics.variance_components([np.zeros(1), np.zeros(1)])


def test_summary_of_a_cross_validation():
    predictions = utterances()
    summary = statistics.summarise(predictions, "classification", CLASSES)
    assert json.loads(json.dumps(summary)) == summary
    assert {k: summary[k] for k in ("folds", "seeds", "speakers", "level")} == {
        "folds": 5,
        "seeds": 1,
        "speakers": 10,
        "level": 0.95,
    }
    answers = predictions.outputs.argmax(axis=1)
    ua = [
        sklearn.metrics.balanced_accuracy_score(
            predictions.targets[predictions.folds == fold],
            answers[predictions.folds == fold],
        )
        for fold in range(5)
    ]
    found = summary["measures"]["ua"]
    assert found["mean"] == pytest.approx(np.mean(ua))
    assert found["std"] == pytest.approx(np.std(ua, ddof=1))
    assert found["pooled"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(predictions.targets, answers)
    )
    low, high = found["interval"]
    assert low < found["pooled"] < high
    assert "variance" not in found
    wa = summary["measures"]["wa"]
    assert wa["pooled"] == pytest.approx(np.mean(predictions.targets == answers))


def test_summary_of_repeated_runs_tells_seeds_from_folds():
    runs = [utterances(seed=seed) for seed in range(3)]
    found = statistics.summarise(concatenate(runs), "classification", CLASSES)
    assert found["seeds"] == 3
    single = [
        statistics.summarise(run, "classification", CLASSES)["measures"]["wa"]
        for run in runs
    ]
    wa = found["measures"]["wa"]
    assert wa["mean"] == pytest.approx(np.mean([s["mean"] for s in single]))
    assert wa["pooled"] == pytest.approx(np.mean([s["pooled"] for s in single]))
    scores = [
        [
            np.mean(run.targets[rows] == run.outputs[rows].argmax(axis=1))
            for run in runs
            for rows in [run.folds == fold]
        ]
        for fold in range(5)
    ]
    assert wa["std"] == pytest.approx(np.std(np.mean(scores, axis=1), ddof=1))
    seed = np.mean(np.var(scores, axis=1, ddof=1))
    fold = max(0, wa["std"] ** 2 - seed / 3)
    assert wa["variance"] == {
        "seed": pytest.approx(seed),
        "fold": pytest.approx(fold),
    }


def test_summary_of_repeated_runs_of_one_fold():
    runs = [utterances(folds=1, seed=seed) for seed in range(3)]
    found = statistics.summarise(concatenate(runs), "classification", CLASSES)
    wa = [np.mean(run.targets == run.outputs.argmax(axis=1)) for run in runs]
    assert found["measures"]["wa"]["std"] is None
    assert found["measures"]["wa"]["mean"] == pytest.approx(np.mean(wa))
    assert found["measures"]["wa"]["variance"] == {
        "fold": None,
        "seed": pytest.approx(np.var(wa, ddof=1)),
    }


def test_summary_of_a_regression_and_of_a_single_run():
    predictions = frames()[frames().folds == 0]
    summary = statistics.summarise(predictions, "regression", DIMENSIONS)
    assert list(summary["measures"]) == ["ccc_arousal", "ccc_valence"]
    expected = metrics.CccSums.from_arrays(predictions.outputs, predictions.targets)
    for found, ccc in zip(summary["measures"].values(), expected.ccc()):
        assert found["mean"] == pytest.approx(ccc, abs=1e-9)
        assert found["pooled"] == pytest.approx(ccc, abs=1e-9)
        assert found["std"] is None
        assert len(found["interval"]) == 2
    lonely = predictions[predictions.speakers == "P0"]
    summary = statistics.summarise(lonely, "regression", DIMENSIONS)
    assert summary["measures"]["ccc_arousal"]["interval"] is None


@pytest.mark.parametrize("over", ["speakers", "folds"])
@pytest.mark.parametrize("make", [utterances, frames])
def test_paired_test_is_scipys(make, over):
    a, b = make(folds=3), make(folds=3, noise=0.8 if make is frames else 1)
    found = statistics.paired_test(a, b, over=over)

    def score(system, unit):
        part = system[getattr(system, over) == unit]
        if make is frames:
            sums = metrics.CccSums.from_arrays(part.outputs, part.targets)
            return sums.ccc().mean()
        return sklearn.metrics.balanced_accuracy_score(
            part.targets, part.outputs.argmax(axis=1)
        )

    units = np.unique(getattr(a, over))
    differences = np.array([score(a, u) - score(b, u) for u in units])
    assert found["pairs"] == len(units)
    assert found["difference"] == pytest.approx(differences.mean(), abs=1e-9)
    peer = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert found["p_value"] == pytest.approx(peer.pvalue, abs=1e-12)
    low, high = found["interval"]
    assert low < found["difference"] < high
    assert json.loads(json.dumps(found)) == found


def test_many_flips_are_drawn():
    differences = np.random.default_rng(0).normal(0.2, 1, 16)
    exact = statistics._sign_flip_test(differences, 2**16, seed=0)
    drawn = statistics._sign_flip_test(differences, 2**16 - 1, seed=0)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=0.005)
    # The way seen is one of those that count: a p value is never 0.
    ones = np.ones(100)
    assert statistics._sign_flip_test(ones, 999, seed=0) == pytest.approx(1 / 1000)


def test_p_values_of_noise_are_uniform():
    rng = np.random.default_rng(0)
    p_values = [
        statistics._sign_flip_test(rng.normal(size=8), 2**16, 0) for _ in range(2000)
    ]
    share = np.mean(np.array(p_values) < 0.05)
    assert share == pytest.approx(0.05, abs=0.015)


def test_the_verdict_is_plain():
    good, same = utterances(skill=0.9), utterances(skill=0.9, noise=1)
    bad = utterances(skill=0.4)
    better = statistics.paired_test(good, bad)
    assert better["p_value"] < 0.05
    assert better["verdict"].startswith(f"{better['difference']:+.3f} UA (95% interval")
    assert better["verdict"].endswith("more than noise.")
    assert statistics.paired_test(good, same)["verdict"].endswith("within noise.")
    itself = statistics.paired_test(good, good)
    assert (itself["difference"], itself["p_value"]) == (0, 1)
    few = statistics.paired_test(good, bad, over="folds")
    assert few["verdict"].endswith(
        "5 folds, p = 0.062): within noise, as any difference is with so few folds: "
        "the p value cannot be below 0.062."
    )


def test_the_order_of_recordings_and_the_number_of_seeds_may_differ():
    a, b = utterances(), utterances(noise=1)
    rows = np.random.default_rng(0).permutation(len(b.targets))
    shuffled = b[rows]
    assert statistics.paired_test(a, b) == statistics.paired_test(a, shuffled)
    repeated = concatenate([shuffled, dataclasses.replace(b, seeds=b.seeds + 1)])
    again = statistics.paired_test(a, repeated)
    assert again == statistics.paired_test(a, b)


def test_other_rows_are_refused():
    a = utterances()
    fewer = a[a.recordings != "03_040"]
    for first, second, name in ((a, fewer, "second"), (fewer, a, "first")):
        with pytest.raises(
            ValueError,
            match=rf"the {name} system, seed 0 was not tested on 1 .* such as .*03_040",
        ):
            statistics.paired_test(first, second)
    targets = a.targets.copy()
    targets[0] = (targets[0] + 1) % 3
    with pytest.raises(ValueError, match="differ in the rows' targets"):
        statistics.paired_test(a, dataclasses.replace(a, targets=targets))
    other_folds = dataclasses.replace(a, folds=(a.folds + 1) % 5)
    statistics.paired_test(a, other_folds)
    with pytest.raises(ValueError, match="differ in the rows' folds"):
        statistics.paired_test(a, other_folds, over="folds")
    twice = concatenate([a, a[a.recordings == "03_040"]])
    with pytest.raises(ValueError, match="differ in the rows' recordings"):
        statistics.paired_test(a, twice)
    with pytest.raises(ValueError, match="over must be speakers or folds, got 'rows'"):
        statistics.paired_test(a, a, over="rows")
    lonely = a[a.speakers == "speaker 0"]
    with pytest.raises(ValueError, match="at least two speakers, got 1"):
        statistics.paired_test(lonely, lonely)
