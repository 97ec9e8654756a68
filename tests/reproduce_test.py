"""Tests for `../diccoser_jax/reproduce.py`, on the synthetic corpora."""

import dataclasses
import importlib
import json

import guessing
import jax
import matplotlib.image
import numpy as np
import pytest
import weights

import configs.demo
import configs.emodb
from diccoser_jax import (
    autoencoder,
    comparisons,
    data,
    estimates,
    local_contexts,
    model_file,
    predictions,
    report,
    reproduce,
    tables,
    traditional,
    train,
)
from diccoser_jax.comparisons import COMPARISONS, System
from diccoser_jax.config import ConfigError
from diccoser_jax.reproduce import Reproduction

SIDES = ("train", "validation", "test")


def small_config(data_dir, dataset="synthetic"):
    """Two folds of two test speakers; a network of two channels."""
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.data.dataset = dataset
    config.fold = "all"
    config.folds.plan = "explicit"
    names = [f"speaker{i:02d}" for i in range(10)]
    config.folds.explicit = tuple(
        dict(zip(SIDES, (names[5:], others[:1], others[1:])))
        for others in (names[:3], names[2:5])
    )
    config.model.features = 2
    config.model.local_stacks = 1
    return config


def _guess(config, workdir, corpus, fold):
    """A run of no time, which leaves an untrained network and a log, too."""
    model = train.create_model(config.model, outputs=4, window_frames=75)
    model_file.save(
        workdir / model_file.NAME,
        model,
        weights.of(model, 48_000),
        task=corpus.task,
        target_names=corpus.target_names,
        window_seconds=3.0,
    )
    log = [
        {"step": s, "epoch": s, "train_loss": 1 / s, "validation_score": s / 9}
        for s in (1, 2)
    ]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in log))
    return guessing.train_and_evaluate(config, workdir, corpus, fold)


@pytest.fixture(scope="module", autouse=True)
def _no_pages_of_runs():
    """They take seconds each, and are tested by experiment_test and report_test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write", lambda workdir: None)
        yield


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory, data_dir):
    workdir = tmp_path_factory.mktemp("reproduce")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_and_evaluate", _guess)
        yield Reproduction(small_config(data_dir), workdir, "the command")


@pytest.fixture(scope="module")
def compared(reproduction):
    """What an ablation leaves."""
    page = reproduce.compare(reproduction, "gated")
    return page, json.loads(page.with_suffix(".json").read_text())


def test_a_comparison_shows_scores_tests_and_how_to_repeat_it(compared):
    page, found = compared
    text = page.read_text()
    html = page.with_suffix(".html").read_text()
    for row in found["systems"]:
        ua = row["measures"]["ua"]
        for content in (text, html):
            assert f"{ua['mean']:.3f} ± {ua['std']:.3f}" in content
    (test,) = found["tests"]
    for words in (test["claim"], test["holds"], "the command", found["protocol"]):
        assert words in text
    for name in ("gated", "gated_curves"):
        picture = matplotlib.image.imread(page.parent / f"{name}.png")
        assert picture[..., :3].std() > 0.02
        assert f"{name}.png" in text


def test_the_difference_is_that_of_the_speakers(reproduction, compared):
    _, found = compared
    (test,) = found["tests"]
    answers = []
    for system in COMPARISONS["gated"].systems:
        run = reproduction.run(system)
        rows = run.answers
        right = rows.outputs.argmax(-1) == rows.targets
        answers.append(
            [
                np.mean(
                    [
                        right[(rows.speakers == speaker) & (rows.targets == c)].mean()
                        for c in range(4)
                    ]
                )
                for speaker in np.unique(rows.speakers)
            ]
        )
        assert [folder.name for folder in run.folders] == ["fold0", "fold1"]
    difference = np.subtract(*answers)
    assert test["pairs"] == 4
    assert test["difference"] == pytest.approx(difference.mean())


@pytest.mark.parametrize(
    ("difference", "p_value", "holds"),
    [(0.1, 0.01, "yes"), (-0.1, 0.01, "no: the"), (0.1, 0.2, "within noise")],
)
def test_a_claim_holds_only_beyond_noise(difference, p_value, holds):
    found = reproduce._holds({"difference": difference, "p_value": p_value})
    assert found.startswith(holds)


def test_what_is_trained_is_not_trained_again(reproduction, compared, monkeypatch):
    def fail(*_):
        raise AssertionError("trained again")

    monkeypatch.setattr(train, "train_and_evaluate", fail)
    page, _ = compared
    before = page.read_text()
    assert reproduce.compare(reproduction, "gated").read_text() == before


def test_local_contexts_are_drawn_for_each_fold(reproduction, compared):
    page = reproduce.fig8(reproduction, "fig8")
    panels = json.loads(page.with_suffix(".json").read_text())["panels"]
    assert [panel["system"] for panel in panels] == [
        *("CS max, fold 0", "CS rms, fold 0", "CS max, fold 1", "CS rms, fold 1")
    ]
    for panel in panels:
        # Two channels have two principal components, which explain all.
        assert sum(panel["variance_shares"]) == pytest.approx(1)
        assert 0 <= panel["arousal"] <= 1
    assert matplotlib.image.imread(page.parent / "fig8.png").std() > 0.02


def test_principal_components_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1] + 7
    components, shares = local_contexts.principal_components(vectors)
    pca = decomposition.PCA(2).fit(vectors)
    np.testing.assert_allclose(shares, pca.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(
        np.abs(components), np.abs(pca.transform(vectors)), rtol=1e-6, atol=1e-9
    )


def test_table_3_counts_the_networks_of_the_paper(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "_inference_seconds", lambda *_: 0.01)
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.model.features, config.model.local_stacks = 64, 7
    page = reproduce.table3(Reproduction(config, tmp_path), "table3")
    networks = json.loads(page.with_suffix(".json").read_text())["networks"]
    counts = {row["network"]: row["parameters"] for row in networks}
    assert counts["CS rms, raw"] == 424_772
    assert counts["CNN-LSTM, log_mel"] == 1_318_340
    assert "| 33% |" in page.read_text()
    by_name = {row["network"]: row for row in networks}
    raw, mel = (by_name[f"CS rms, {frontend}"] for frontend in ("raw", "log_mel"))
    ratio = raw["multiply_adds_per_second"] / mel["multiply_adds_per_second"]
    assert 10 < ratio < 40  # 3 200 steps a second after the stem, beside 50
    assert raw["real_time_factor"] == pytest.approx(0.01 / 3)
    assert "| 300 |" in page.read_text()


def test_no_augmentation_means_none(data_dir):
    config = small_config(data_dir)
    system = System("CS rms", augmented=False)
    plain = system.configure(config, "classification")
    assert not any(plain.augmentation.values())
    assert plain.data == config.data  # the shards can stay
    plain = system.configure(config, "regression")
    assert plain.data.shift_seconds == plain.data.window_seconds
    assert plain.data.data_dir != config.data.data_dir
    assert config.data.shift_seconds != config.data.window_seconds
    changed = System("CS rms").configure(config, "classification")
    assert changed.augmentation == config.augmentation


def test_every_system_has_a_folder_of_its_own(data_dir):
    config = small_config(data_dir)
    systems = {s for c in COMPARISONS.values() for s in _hashable(c.systems)}
    made = [System(*system) for system in systems]
    folders = {s.folder(s.configure(config, "classification")) for s in made}
    assert len(folders) == len(systems)


def test_every_system_can_be_made(data_dir):
    config = small_config(data_dir)
    config.model.local_stacks = 7
    for comparison in COMPARISONS.values():
        for system in comparison.systems:
            for frontend in ("raw", "log_mel"):
                config.model.frontend = frontend
                train.check_settings(system.configure(config, "classification"))
    (_, three) = COMPARISONS["parallel"].systems
    for frontend, hops in (("raw", (5, 10, 20)), ("log_mel", (160, 320, 640))):
        config.model.frontend = frontend
        made = three.configure(config, "classification")
        assert made.model.local_hop_samples == hops


def _hashable(systems):
    return [
        (s.network, s.frontend or "log_mel", s.augmented, s.change) for s in systems
    ]


def test_figures_have_a_score_of_the_paper_for_each_system():
    for comparison in COMPARISONS.values():
        for scores in comparison.paper.values():
            assert len(scores) == len(comparison.systems)
        for claim in comparison.claims:
            assert claim.better != claim.worse
            assert max(claim.better, claim.worse) < len(comparison.systems)


def test_the_list_names_every_experiment_and_its_cost(tmp_path):
    config = configs.emodb.get_config()
    config.data.data_dir = str(tmp_path)  # nothing was built there
    config.fold, config.model.local_stacks = "all", 2  # soon counted
    text = reproduce.describe(config)
    for name in reproduce.EXPERIMENTS:
        assert f"\n{name} " in f"\n{text}"
    assert "535 windows of 3 s (what is documented of emodb)" in text
    lines = {line.split()[0]: line.split() for line in text.splitlines() if line}
    assert lines["fig5"][1:3] == ["20", "runs"]
    assert "regression only" in " ".join(lines["pooled_ccc"])
    # One fold: a fifth, and what is finished costs nothing.
    config.fold = "0"
    assert "\nfig7               6 runs" in reproduce.describe(config)
    run = tmp_path / "runs" / "cs_rms-raw" / "fold0"
    run.mkdir(parents=True)
    (run / "results.json").touch()
    assert "\nfig7               5 runs" in reproduce.describe(config, tmp_path)
    config.fold = "all"
    assert "\nfig7              18 runs" in reproduce.describe(config, raw_folds=1)


def test_raw_samples_cost_more_and_half_the_network_less(tmp_path):
    config = configs.emodb.get_config()
    config.data.data_dir = str(tmp_path)
    size = estimates.size(config)
    assert (size.task, size.outputs, size.folds) == ("classification", 7, 5)
    mel = estimates.run_seconds(config, size)
    config.model.frontend = "raw"
    raw = estimates.run_seconds(config, size)
    config.model.features = 32
    half = estimates.run_seconds(config, size)
    config.train.max_epochs = 80
    long = estimates.run_seconds(config, size)
    assert 5 * mel < raw
    assert 0.2 < half / raw < 0.35
    assert 1.5 < long / half <= 2


def test_the_size_is_that_of_the_shards(data_dir, regression):
    config = small_config(data_dir, "synthetic/regression")
    config.data.window_seconds, config.data.shift_seconds = 8.0, 4.0
    size = estimates.size(config)
    units = list(regression.metadata["units"])
    assert size.train_windows == len(regression.source(units, evaluation=False))
    assert size.test_windows == len(regression.source(units, evaluation=True))
    assert (size.task, size.outputs, size.folds) == ("regression", 2, 2)


@pytest.mark.parametrize("name", ["iemocap", "msp_improv", "msp_podcast", "recola"])
def test_a_corpus_that_is_not_there_has_a_size(tmp_path, name):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.data.data_dir = str(tmp_path)
    size = estimates.size(config)
    assert size.folds >= 1
    assert size.train_windows >= size.test_windows > 100
    assert (size.task == "regression") == (name == "recola")


def test_an_ablation_of_another_task_is_refused(reproduction):
    with pytest.raises(ConfigError, match="pooled_ccc is about regression; synthetic"):
        reproduce.compare(reproduction, "pooled_ccc")


def test_some_folds_first_and_the_others_later(data_dir, tmp_path, monkeypatch):
    trained = []

    def guess(config, workdir, corpus, fold):
        trained.append((config.model.frontend, config.fold))
        return _guess(config, workdir, corpus, fold)

    monkeypatch.setattr(train, "train_and_evaluate", guess)
    config = small_config(data_dir)
    config.fold = "0"
    one = Reproduction(config, tmp_path).run(System("CS rms"))
    assert (one.folds, one.of_folds) == ([0], 2)
    config.fold = "all"
    both = Reproduction(config, tmp_path, raw_folds=1)
    raw, mel = (both.run(System("CS rms", frontend)) for frontend in ("raw", "log_mel"))
    assert (raw.folds, mel.folds) == ([0], [0, 1])
    assert trained == [("log_mel", "0"), ("raw", "0"), ("log_mel", "1")]
    # The difference is that of the fold that both have, and the page says so.
    test = reproduce._test(mel, raw, "words")
    assert (test["folds"], test["pairs"]) == (1, 2)
    row = reproduce._row(both, raw)
    (text,) = tables.partial([row, reproduce._row(both, mel)])
    assert "CS rms, raw: 1 of 2." in text.text
    single = dataclasses.replace(raw, answers=raw.answers[:40])
    assert reproduce._test(single, single, "")["holds"].startswith("not testable")


def test_table_4_has_a_row_for_each_system(reproduction, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    monkeypatch.setattr(traditional, "FEATURES", ("mfcc",))
    vectors = {
        r["id"].decode(): np.array([r["label"], 1.0])
        for r in reproduction.corpus.source(
            list(reproduction.corpus.metadata["units"]), evaluation=True
        )
    }
    monkeypatch.setattr(traditional, "features", lambda *_, **__: vectors)
    page = reproduce.table4(reproduction, "table4")
    rows = json.loads(page.with_suffix(".json").read_text())["systems"]
    named = {row["system"]: row["measures"]["ua"]["mean"] for row in rows}
    networks = [f"{network}, log_mel" for network in comparisons.NETWORKS]
    assert list(named) == ["mfcc, SVM", *networks]
    assert named["mfcc, SVM"] == 1.0  # the vectors tell
    for network, label in zip(comparisons.NETWORKS, networks):
        run = reproduction.run(System(network))
        means = [
            np.mean(
                [
                    (rows.outputs.argmax(-1) == c)[rows.targets == c].mean()
                    for c in range(4)
                ]
            )
            for fold in (0, 1)
            for rows in [run.answers[run.answers.folds == fold]]
        ]
        assert named[label] == pytest.approx(np.mean(means))


def test_representations_without_labels(reproduction, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    seen = []

    def pretrain(config, workdir, corpus, fold):
        seen.append((config.fold, workdir.name, fold))
        workdir.mkdir(parents=True)
        _guess(config, workdir, corpus, fold)
        return workdir / model_file.NAME

    def represent(saved, corpus):
        return {
            r["id"].decode(): np.arange(3.0) * r["label"]
            for r in corpus.source(list(corpus.metadata["units"]), evaluation=True)
        }

    monkeypatch.setattr(autoencoder, "pretrain", pretrain)
    monkeypatch.setattr(autoencoder, "represent", represent)
    page = reproduce.autoencoding(reproduction, "autoencoder")
    found = json.loads(page.with_suffix(".json").read_text())
    assert [row["system"] for row in found["systems"]] == [
        "autoencoder, linear SVM",
        "random weights, linear SVM",
        "CS rms, trained with labels",
    ]
    assert found["systems"][0]["measures"]["ua"]["mean"] == 1.0
    assert [fold for fold, *_ in seen] == ["0", "1"]
    assert found["tests"][0]["holds"] == "within noise"  # equal


def test_components_follow_labels_and_known_classes():
    components = np.stack([np.arange(8.0), np.zeros(8)], axis=1)
    classes = np.repeat([1, 0], 4)  # sadness first
    found = local_contexts.correlations(components, classes, ("anger", "sadness"))
    assert found["arousal"] == pytest.approx(0.873, abs=1e-3)  # ties
    assert found["valence"] is None  # the component is constant
    unknown = local_contexts.correlations(components, classes, ("a", "b"))
    assert unknown == {"arousal": None, "valence": None}
    labels = np.stack([np.ones(8), -(np.arange(8.0) ** 3)], axis=1)
    found = local_contexts.correlations(components, labels, ("valence", "arousal"))
    assert found["arousal"] == pytest.approx(1)


def test_local_contexts_of_windows_are_means_over_what_counts(regression):
    config = configs.demo.get_config()
    config.model.features, config.model.local_stacks = 2, 1
    config.data.window_seconds = 8.0
    model = train.create_model(config.model, outputs=2, window_frames=200)
    variables = weights.of(model, 640 * 200)
    saved = model_file.SavedModel(model, variables, "regression", ("a", "b"), 8.0)
    unit = next(iter(regression.metadata["units"]))
    contexts, labels = local_contexts.means(saved, regression, [unit], 8.0, 10)
    records = regression.source([unit], evaluation=True)
    assert len(contexts) == len(records) == 8
    last = records[7]  # 60 s are seven windows and a half
    assert len(last["labels"]) == 100
    np.testing.assert_allclose(labels[7], last["labels"].mean(axis=0), atol=1e-6)
    audio = np.pad(last["audio"].astype(np.float32) / 32768, (0, 640 * 100))
    context = jax.jit(model.apply)(variables, audio[None]).local_context[0, :100]
    np.testing.assert_allclose(contexts[7], context.mean(axis=0), atol=1e-5)
    assert data.window_frames(8.0) == 200


def test_computed_labels_have_a_ceiling(regression, tmp_path):
    """Rows of two folds, in their order, said by one who measures without error."""
    units = list(regression.metadata["units"])
    parts = []
    for fold in (0, 1):
        records = list(regression.source([units[fold]], evaluation=True))
        labels = np.concatenate([record["labels"] for record in records])
        same = np.full(len(labels), fold, np.int32)
        names = np.full(len(labels), units[fold])
        parts.append(
            predictions.Predictions(
                names, names, same, 0 * same, labels, np.zeros_like(labels)
            )
        )
    config = small_config(tmp_path, "synthetic/regression")
    answers = predictions.concatenate(parts)
    run = reproduce.Run("a", [], answers, 2, 7, 1.0)

    class Holder:
        corpus = regression

    Holder.config = config
    (ceiling,) = reproduce._ceiling(Holder, [run])
    row = reproduce._row(Holder, ceiling)
    for found in row["measures"].values():
        assert 0.95 < found["mean"] < 1
    np.testing.assert_array_equal(ceiling.answers.recordings, answers.recordings)
    *_, table, text = tables.scores([reproduce._row(Holder, run), row])
    assert table.rows[1][0] == "ceiling"
    assert "The ceiling is what they permit" in text.text
    config.data.dataset = "recola/avec"
    assert reproduce._ceiling(Holder, [run]) == []
