"""Tests for `../diccoser_jax/experiment.py`: from a configuration to a report."""

import importlib.metadata
import json
import shutil

import guessing
import matplotlib.image
import ml_collections
import numpy as np
import pytest
import tiny

import configs.demo
import diccoser_jax
from configs import default
from diccoser_jax import config as config_lib
from diccoser_jax import experiment, predictions, train


def _config(data_dir, **overrides):
    """The demo's configuration with fewer steps."""
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.train.max_epochs = 8
    config.train.batch_stats_batches = 5
    for key, value in overrides.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
    """A workdir after the pipeline of the demo, and what it returned."""
    workdir = tmp_path_factory.mktemp("run") / "demo"
    return workdir, experiment.run(_config(data_dir), workdir, command="the command")


def test_the_demo_learns_emotions_of_unheard_speakers(finished):
    _, results = finished
    assert results["all"]["ua"] >= 0.80


def test_a_run_leaves_results_report_and_pictures(finished):
    workdir, results = finished
    assert json.loads((workdir / "results.json").read_text()) == results
    for name in ("curves.png", "confusion.png"):
        picture = matplotlib.image.imread(workdir / name)
        assert picture.shape[0] > 300
        assert picture[..., :3].std() > 0.05
    report = (workdir / "report.md").read_text()
    assert f"{results['all']['ua']:.3f}" in report
    assert "the command" in report
    assert "reached | at least 0.800" in report.replace("**", "")
    assert {p.name for p in workdir.iterdir()} >= {"config.json", "metrics.jsonl"}
    assert list(workdir.glob("events.*"))
    assert list((workdir / "checkpoints").iterdir())


def test_results_say_by_what_protocol_they_were_made(finished, classification):
    _, results = finished
    protocol = results["protocol"]
    speakers = protocol["speakers"]
    everybody = [s for side in speakers.values() for s in side]
    assert len(everybody) == len(set(everybody)) == 10
    assert {side: len(names) for side, names in speakers.items()} == {
        "train": 6,
        "validation": 2,
        "test": 2,
    }
    assert protocol["examples"] == {"train": 240, "validation": 80, "test": 80}
    assert np.sum(results["all"]["confusion"]) == 80
    assert protocol["class_names"] == list(classification.target_names)
    block = 2 * 32 * 32 + 2 * 32 + 32 * 32 + 32
    stem, branch, output = 3 * 40 * 32 + 32, 8 * 32 + 32, 4 * 32 + 4
    global_network = 8 * (block + 2 * 32 * 32) - 32 * 32
    assert results["parameters"] == stem + 9 * block + branch + global_network + output


def test_a_finished_run_only_reports_again(finished, data_dir, capsys):
    workdir, results = finished
    before = (workdir / "metrics.jsonl").read_text()
    (workdir / "report.md").unlink()
    assert experiment.run(_config(data_dir), workdir) == results
    assert "holds a finished run" in capsys.readouterr().err
    assert (workdir / "report.md").exists()
    assert (workdir / "metrics.jsonl").read_text() == before


def test_a_checkout_that_nobody_installed_gets_its_results(
    finished, data_dir, tmp_path, monkeypatch
):
    """That the package has no metadata costs nobody what was trained."""
    before, results = finished
    workdir = shutil.copytree(before, tmp_path / "run")
    (workdir / "results.json").unlink()
    version = importlib.metadata.version

    def of_others(name):
        if name == "diccoser-jax":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", of_others)
    again = experiment.run(_config(data_dir), workdir, command="the command")
    assert experiment.without_times(again) == experiment.without_times(results)
    assert again["versions"]["diccoser-jax"] == diccoser_jax.__version__


def test_a_workdir_of_another_configuration_is_refused(finished, data_dir):
    workdir, _ = finished
    config = _config(data_dir, train__max_epochs=9)
    with pytest.raises(config_lib.ConfigError, match=r"train.max_epochs: was 8, is 9"):
        experiment.run(config, workdir)


def test_every_key_is_read(tmp_path, data_dir, monkeypatch):
    """A key that nobody reads is a setting that does nothing."""
    monkeypatch.setattr(config_lib, "check_keys", lambda *_: None)
    read = set()
    for dataset in ("synthetic", "synthetic/regression"):
        config = _config(data_dir, data__dataset=dataset)
        config.update_from_flattened_dict(tiny.SHRUNK)
        config.train.nobody_reads_this = 0
        if dataset == "synthetic/regression":
            config.data.window_seconds = 8.0
            config.optimizer.schedule = "cosine"
            config.folds.plan = "explicit"
            config.folds.explicit = (
                {
                    "train": [f"speaker{i:02d}" for i in range(4)],
                    "validation": ["speaker04"],
                    "test": ["speaker05"],
                },
            )
        names = {id(config): ""} | {
            id(config[key]): f"{key}."
            for key in config
            if isinstance(config[key], ml_collections.ConfigDict)
        }
        original = ml_collections.ConfigDict.__getitem__

        def recording(self, key, names=names, original=original):
            if id(self) in names:
                read.add(names[id(self)] + str(key))
            return original(self, key)

        with monkeypatch.context() as patch:
            patch.setattr(ml_collections.ConfigDict, "__getitem__", recording)
            experiment.run(config, tmp_path / dataset)
    # Those of several processes are read by `distributed.start`, before the run, and
    # those of learning without labels by `autoencoder.pretrain`.
    keys = {
        key
        for key in config_lib.flatten(default.get_config())
        if not key.startswith(("distributed.", "autoencoder."))
    }
    assert keys - read == set()
    assert "train.nobody_reads_this" not in read


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("folds__count", 2, r"folds: 2 folds; expected at least 3"),
        ("folds__plan", "balancd", r"folds: unknown plan 'balancd'"),
        ("folds__plan", "explicit", r"folds: the plan has no fold"),
        ("folds__count", 11, r"folds: 11 folds of 10 units"),
    ],
)
def test_folds_that_the_corpus_does_not_permit_are_named(
    classification, data_dir, key, value, message
):
    with pytest.raises(config_lib.ConfigError, match=message):
        experiment.make_plan(_config(data_dir, **{key: value}), classification)


def test_a_plan_can_be_spelt_out(classification, data_dir):
    config = _config(data_dir, folds__plan="explicit")
    sides = {
        "train": ["speaker00", "speaker05"],
        "validation": ["speaker03"],
        "test": ["speaker09", "speaker01"],
    }
    config.folds.explicit = (sides,)
    (fold,) = experiment.make_plan(config, classification)
    assert fold.test == ("speaker09", "speaker01")


@pytest.mark.parametrize("fold", ["5", "-1", "first"])
def test_a_fold_out_of_range_is_named(classification, data_dir, fold):
    config = _config(data_dir)
    config.fold = fold
    plan = experiment.make_plan(config, classification)
    with pytest.raises(
        config_lib.ConfigError, match=f"fold='{fold}' is neither 'all' "
    ):
        experiment.choose_fold(config, plan)


_SIDES = ("train", "validation", "test")


@pytest.fixture(scope="module")
def validated(tmp_path_factory, data_dir):
    """Two folds, each with two seeds: the workdir and its results."""
    workdir = tmp_path_factory.mktemp("run") / "all"
    config = _config(data_dir)
    config.fold, config.seed, config.repeats = "all", 7, 2
    config.folds.plan = "explicit"
    names = [f"speaker{i:02d}" for i in range(10)]
    config.folds.explicit = tuple(
        dict(zip(_SIDES, (names[4:], others[:1], others[1:])))
        for others in (names[:3], names[1:4])
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            experiment.train, "train_and_evaluate", guessing.train_and_evaluate
        )
        return config, workdir, experiment.run(config, workdir, "the command")


def test_every_fold_is_run_with_every_seed(validated):
    _, workdir, results = validated
    runs = [(entry["fold"], entry["seed"]) for entry in results["folds"]]
    assert runs == [(0, 7), (1, 7), (0, 8), (1, 8)]
    for entry in results["folds"]:
        single = workdir / f"fold{entry['fold']}-seed{entry['seed']}"
        found = json.loads((single / "results.json").read_text())
        assert found["folds"] == [entry]
        assert (single / "report.md").exists()
        sides = [set(entry["speakers"][side]) for side in _SIDES]
        assert len(set.union(*sides)) == sum(map(len, sides)) == 9
        assert sides[2] == {f"0{entry['fold'] + i}" for i in (1, 2)}
    seeds = [e["confusion"] for e in results["folds"] if e["fold"] == 0]
    assert seeds[0] != seeds[1]


def test_the_scores_of_all_folds_are_those_of_their_rows_together(validated):
    _, workdir, results = validated
    entries = results["folds"]
    np.testing.assert_array_equal(
        results["all"]["confusion"], sum(np.array(e["confusion"]) for e in entries)
    )
    rows = predictions.load(workdir / "predictions.npz")
    assert len(rows.targets) == 4 * 2 * 40
    for entry in entries:
        here = (rows.folds == entry["fold"]) & (rows.seeds == entry["seed"])
        right = rows.outputs[here].argmax(-1) == rows.targets[here]
        assert right.mean() == pytest.approx(entry["wa"])
        assert set(rows.speakers[here]) == set(entry["speakers"]["test"])
    measures = results["statistics"]["measures"]
    means = [np.mean([e["ua"] for e in entries if e["fold"] == f]) for f in (0, 1)]
    assert measures["ua"]["mean"] == pytest.approx(np.mean(means))
    assert measures["ua"]["std"] == pytest.approx(np.std(means, ddof=1))
    assert results["protocol"]["examples"] == {"test": 120}


def test_a_cross_validation_goes_on_at_the_first_unfinished_fold(
    validated, monkeypatch
):
    config, workdir, results = validated
    trained = []

    def noting(one, folder, *arguments):
        trained.append(folder.name)
        return guessing.train_and_evaluate(one, folder, *arguments)

    monkeypatch.setattr(train, "train_and_evaluate", noting)
    (workdir / "results.json").unlink()
    (workdir / "fold1-seed8" / "results.json").unlink()
    assert experiment.run(config, workdir, "the command") == results
    assert trained == ["fold1-seed8"]


def test_repeats_must_be_positive(data_dir, tmp_path):
    config = _config(data_dir)
    config.repeats = 0
    with pytest.raises(config_lib.ConfigError, match="repeats=0 must be at least 1"):
        experiment.run(config, tmp_path)
