"""Tests for `../diccoser_jax/results.py`, on results that nobody measured."""

import json

import pytest

from diccoser_jax import page, results
from diccoser_jax.config import ConfigError

_COMMAND = (
    "python -m diccoser_jax.reproduce --experiment={} "
    "--config=/home/me/configs/emodb.py:paper --config.data.manual_dir=/data/EmoDB "
    "--workdir '/tmp/my runs' --raw_folds=1"
)


def _measures(ua):
    return {
        m: {"mean": ua, "std": 0.05, "pooled": ua, "interval": [ua - 0.1, ua + 0.1]}
        for m in ("ua", "wa")
    }


def _comparison(name, systems, tests, folds=5):
    return {
        "experiment": name,
        "title": f"Title of {name}",
        "command": _COMMAND.format(name),
        "corpus": "emodb",
        "task": "classification",
        "config": {"fold": "all", "data": {"manual_dir": "/data/EmoDB"}, "seed": 0},
        "protocol": "emodb 123; five folds; fold all",
        "systems": [
            {
                "system": system,
                "parameters": 1000,
                "seconds": 3600.0,
                "runs": folds,
                "folds": folds,
                "of_folds": 5,
                "measures": _measures(ua),
            }
            for system, ua in systems.items()
        ],
        "tests": [
            {
                "claim": claim,
                "holds": holds,
                "difference": 0.012,
                "interval": [-0.1, 0.2],
                "p_value": 0.4,
                "pairs": 10,
                "measure": "UA",
            }
            for claim, holds in tests.items()
        ],
        "paper": None,
    }


@pytest.fixture
def workdir(tmp_path):
    """Fig. 5, Table 3, Table 4 and Fig. 8 of EmoDB, and a picture."""
    folder = tmp_path / "runs" / "emodb-paper"
    folder.mkdir(parents=True)
    found = [
        _comparison(
            "fig5",
            {"DiCCOSER": 0.4, "CS rms": 0.5},
            {"CS rms is better than DiCCOSER": "within noise"},
        ),
        _comparison(
            "table4",
            {"mfcc, SVM": 0.55, "CS rms, log_mel": 0.5},
            {"CS rms, log_mel is better than mfcc, SVM, the best": "no: the other"},
        ),
        _comparison("fig7", {"CS rms, raw": 0.3}, {}, folds=2),
    ]
    found.append(
        {
            **{k: found[0][k] for k in ("command", "corpus", "task", "config")},
            "experiment": "fig8",
            "title": "Contexts",
            "panels": [
                {
                    "system": f"CS rms, fold {fold}",
                    "variance_shares": [0.5, 0.25],
                    "arousal": 0.7 + 0.1 * fold,
                    "valence": None,
                }
                for fold in (0, 1)
            ],
        }
    )
    for content in found:
        path = folder / f"{content['experiment']}.json"
        path.write_text(json.dumps(content))
    (folder / "fig5.png").write_bytes(b"a picture")
    (folder / "config.json").write_text("{}")
    return folder


def test_what_is_small_is_kept_without_the_folders_of_a_machine(workdir, tmp_path):
    folder = tmp_path / "results"
    found = results.collect(workdir, folder)
    assert sorted(found) == ["fig5", "fig7", "fig8", "table4"]
    assert (folder / "emodb" / "fig5.png").read_bytes() == b"a picture"
    content = json.loads((folder / "emodb" / "fig5.json").read_text())
    assert content["command"] == (
        "python -m diccoser_jax.reproduce --experiment=fig5 "
        "--config=configs/emodb.py:paper --config.data.manual_dir=DIR --workdir=DIR "
        "--raw_folds=1"
    )
    everything = "".join(p.read_text() for p in folder.glob("*/*.json"))
    for private in ("/data", "/tmp", "/home", "my runs"):
        assert private not in everything
    assert content["systems"][1]["measures"]["ua"]["mean"] == 0.5


def test_the_page_says_what_was_found_and_what_is_missing(workdir, tmp_path):
    folder, output = tmp_path / "results", tmp_path / "RESULTS.md"
    results.collect(workdir, folder)
    (folder / "benchmarks").mkdir()
    (folder / "benchmarks" / "other.json").write_text('{"benchmark": 1}')
    (folder / "notes.md").write_text(
        "# Notes\n\nWords *before* all.\n\n## emodb\n\nWords on EmoDB.\n"
    )
    results.write(folder, output)
    text = output.read_text()
    lines = text.splitlines()
    assert lines[:3] == ["# Results", "", "Words *before* all."]
    assert "## emodb\n\nWords on EmoDB.\n" in text
    for row in (
        "| Fig. 5: CS rms is better than DiCCOSER | within noise (+0.012) |",
        "| Fig. 8: the first component follows arousal | rank correlation 0.75 |",
        "| Table 4: CS rms, log_mel is better than traditional features | "
        "no: the other (+0.012) |",
    ):
        assert row in text
    assert "valence" not in text.split("## emodb")[0]  # nothing is known of it
    assert "![Title of fig5](results/emodb/fig5.png)" in text
    assert "| CS rms | 0.500 ± 0.050 | 0.500 ± 0.050 | 5 | 5 | 1,000 | 60.0 |" in text
    assert "CS rms, raw: 2 of 5" in text
    sections = [line for line in lines if line.startswith("## ")]
    assert sections == ["## The paper's claims", "## emodb"]
    assert "Protocol: emodb 123; five folds; fold all." in text
    missing = next(line for line in lines if line.startswith("- Not run: "))
    for name in ("fig6", "table3", "gated", "autoencoder"):
        assert name in missing
    for name in ("fig5,", "pooled_ccc", "squared_error"):  # of regression
        assert name not in missing
    assert "Training took 5.0 h" in text
    assert "benchmark" not in text.split("## emodb")[1]
    # Without the workdir, and again, it says the same.
    results.write(folder, output)
    assert output.read_text() == text


def test_two_recipes_of_a_corpus_take_two_names(workdir, tmp_path):
    folder = tmp_path / "results"
    results.collect(workdir, folder)
    results.collect(workdir, folder)  # again is fine
    path = workdir / "fig5.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    with pytest.raises(ConfigError, match=r"another configuration.*: NAME="):
        results.collect(workdir, folder)
    results.collect(workdir, folder, "emodb-other")
    results.write(folder, tmp_path / "RESULTS.md")
    text = (tmp_path / "RESULTS.md").read_text()
    assert "| claim | emodb | emodb-other |" in text
    assert text.index("## emodb\n") < text.index("## emodb-other\n")


def test_runs_on_their_own_have_a_table(tmp_path):
    """A single run has its scores, a cross-validation their mean and deviation."""
    protocol = {"corpus": "emodb", "task": "classification", "id": "emodb 123"}
    single = {
        "command": "the command",
        "config": {"fold": "0", "data": {}},
        "protocol": protocol,
        "parameters": 1000,
        "seconds": 120.0,
        "folds": [{"fold": 0}],
        "all": {"ua": 0.25, "wa": 0.75},
    }
    spread = {"mean": 0.5, "std": 0.125}
    several = {
        **single,
        "folds": [{"fold": 0}, {"fold": 1}],
        "statistics": {"measures": {"ua": spread, "wa": spread}},
    }
    folder, output = tmp_path / "results", tmp_path / "RESULTS.md"
    for name, content in (("one", single), ("two", several)):
        workdir = tmp_path / name
        workdir.mkdir()
        (workdir / "results.json").write_text(json.dumps(content))
        assert results.collect(workdir, folder) == [name]
    results.write(folder, output)
    text = output.read_text()
    assert "| run | UA | WA | folds and seeds | parameters | minutes a fold |" in text
    assert "| one | 0.250 | 0.750 | 1 | 1,000 | 2.0 |" in text
    assert "| two | 0.500 ± 0.125 | 0.500 ± 0.125 | 2 | 1,000 | 1.0 |" in text


def test_a_folder_of_nothing_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="no finished experiment"):
        results.collect(tmp_path, tmp_path / "results")


def test_a_heading_of_the_third_level_is_below_the_second():
    blocks = [page.Heading("Above"), page.Heading("Below", level=3)]
    assert page.to_markdown("", blocks).endswith("## Above\n\n### Below\n")
    text = page.to_html("", blocks)
    assert '<h3 id="below">Below</h3>' in text
    assert 'href="#below"' not in text
