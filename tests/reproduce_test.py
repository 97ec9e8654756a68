"""Tests for `../diccoser_jax/reproduce.py`, on the synthetic corpora."""

import json

import guessing
import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import configs.demo
from diccoser_jax import model_file, reproduce, train
from diccoser_jax.config import ConfigError
from diccoser_jax.reproduce import Reproduction, System

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
        jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 48_000))),
        task=corpus.task,
        target_names=corpus.target_names,
        window_seconds=3.0,
    )
    log = [{"step": s, "epoch": s, "validation_score": s / 9} for s in (1, 2)]
    (workdir / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in log))
    return guessing.train_and_evaluate(config, workdir, corpus, fold)


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
    for system in reproduce.COMPARISONS["gated"].systems:
        folder, _, rows = reproduction.run(system)
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
        assert (folder / "fold1" / "report.html").exists()
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
        *("CS max, fold 0", "CS max, fold 1", "CS rms, fold 0", "CS rms, fold 1")
    ]
    for panel in panels:
        # Two channels have two principal components, which explain all.
        assert sum(panel["variance_shares"]) == pytest.approx(1)
        assert 0 <= panel["arousal"] <= 1
    assert matplotlib.image.imread(page.parent / "fig8.png").std() > 0.02


def test_principal_components_are_those_of_scikit_learn():
    decomposition = pytest.importorskip("sklearn.decomposition")
    vectors = np.random.default_rng(0).normal(size=(30, 5)) * [5, 3, 1, 1, 1] + 7
    components, shares = reproduce._principal_components(vectors)
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
    plain = System("CS rms", augmented=False).configure(config)
    assert set(plain.augmentation.values()) == {0.0}
    assert plain.data.shift_seconds == plain.data.window_seconds
    assert config.data.shift_seconds != config.data.window_seconds
    assert System("CS rms").configure(config).augmentation == config.augmentation


def test_every_system_has_a_folder_of_its_own(data_dir):
    config = small_config(data_dir)
    systems = {s for c in reproduce.COMPARISONS.values() for s in _hashable(c.systems)}
    made = [System(*system) for system in systems]
    folders = {system.folder(system.configure(config)) for system in made}
    assert len(folders) == len(systems)


def _hashable(systems):
    return [
        (s.network, s.frontend or "log_mel", s.augmented, s.change) for s in systems
    ]


def test_figures_have_a_score_of_the_paper_for_each_system():
    for comparison in reproduce.COMPARISONS.values():
        for scores in comparison.paper.values():
            assert len(scores) == len(comparison.systems)
        for claim in comparison.claims:
            assert claim.better != claim.worse
            assert max(claim.better, claim.worse) < len(comparison.systems)


def test_the_list_names_every_experiment():
    text = reproduce.describe()
    for name in reproduce.EXPERIMENTS:
        assert f"{name} " in text


def test_an_ablation_of_another_task_is_refused(reproduction):
    with pytest.raises(ConfigError, match="pooled_ccc is about regression; synthetic"):
        reproduce.compare(reproduction, "pooled_ccc")
