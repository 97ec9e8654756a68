"""Tests for `../diccoser_jax/main.py`: the whole way, from a corpus to a report."""

import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib.image
import ml_collections
import numpy as np
import pytest

import configs.demo
from configs import default
from diccoser_jax import config as config_lib
from diccoser_jax import main, train
from diccoser_jax.diccoser import FRONTENDS

ROOT = pathlib.Path(__file__).parents[1]


def _config(data_dir, **overrides):
    """The demo's configuration with fewer steps."""
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.train.max_epochs = 8
    for key, value in overrides.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory, data_dir):
    """A workdir after the pipeline of the demo, and what it returned."""
    workdir = tmp_path_factory.mktemp("run") / "demo"
    return workdir, main.run(_config(data_dir), workdir, command="the command")


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
    assert main.run(_config(data_dir), workdir) == results
    assert "holds a finished run" in capsys.readouterr().err
    assert (workdir / "report.md").exists()
    assert (workdir / "metrics.jsonl").read_text() == before


def test_a_workdir_of_another_configuration_is_refused(finished, data_dir):
    workdir, _ = finished
    config = _config(data_dir, train__max_epochs=9)
    with pytest.raises(config_lib.ConfigError, match=r"train.max_epochs: was 8, is 9"):
        main.run(config, workdir)


def test_every_key_is_read(tmp_path, data_dir, monkeypatch):
    """A key that nobody reads is a setting that does nothing."""
    monkeypatch.setattr(config_lib, "check_keys", lambda *_: None)
    read = set()
    for dataset, network in (
        ("synthetic", "diccoser_cs"),
        ("synthetic/regression", "cnn_lstm"),
    ):
        config = _config(
            data_dir,
            data__dataset=dataset,
            data__window_seconds=8.0,
            model__network=network,
            model__features=2,
            model__local_stacks=1,
            train__max_epochs=1,
            train__batch_stats_batches=1,
            train__batch_size=40,
        )
        config.train.nobody_reads_this = 0
        if network == "cnn_lstm":
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
            main.run(config, tmp_path / network)
    keys = set(config_lib.flatten(default.get_config()))
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
        main.choose_fold(_config(data_dir, **{key: value}), classification)


def test_a_plan_can_be_spelt_out(classification, data_dir):
    config = _config(data_dir, folds__plan="explicit")
    sides = {
        "train": ["speaker00", "speaker05"],
        "validation": ["speaker03"],
        "test": ["speaker09", "speaker01"],
    }
    config.folds.explicit = (sides,)
    fold = main.choose_fold(config, classification)
    assert fold.test == ("speaker09", "speaker01")
    speakers = main.protocol(config, classification, fold)["speakers"]
    assert speakers == {
        "train": ["00", "05"],
        "validation": ["03"],
        "test": ["01", "09"],
    }


def test_a_fold_out_of_range_is_named(classification, data_dir):
    config = _config(data_dir)
    config.fold = 5
    with pytest.raises(config_lib.ConfigError, match="fold=5 is not in 0 to 4"):
        main.choose_fold(config, classification)


@pytest.fixture(scope="module")
def help_text():
    return _command("--help").stdout


def _command(*arguments, timeout=300):
    return subprocess.run(
        [sys.executable, "-m", "diccoser_jax.main", *arguments],
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.modle.network=diccoser"], "model"),
        (["--config.train.batchsize=3"], "batch_size"),
        (["--config.data.dataset=emodbb"], "did you mean emodb"),
        (
            ["--config=configs/emodb.py", "--config.data.manual_dir=nowhere"],
            "nowhere does not exist",
        ),
        (["--config=configs/emodb.py"], "manual_dir"),
        (["stray"], "Unexpected argument 'stray'"),
    ],
)
def test_a_wrong_command_ends_with_one_clear_message(tmp_path, arguments, message):
    done = _command(
        *arguments,
        f"--workdir={tmp_path / 'w'}",
        f"--config.data.data_dir={tmp_path / 'd'}",
    )
    assert done.returncode != 0
    last_lines = "\n".join(done.stderr.strip().splitlines()[-3:])
    assert message in last_lines or message in done.stdout


def _parameters(network, frontend, outputs, window_frames):
    config = default.get_config().model
    config.network, config.frontend = network, frontend
    model = train.create_model(config, outputs=outputs, window_frames=window_frames)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6400)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return f"{count:,}"


@pytest.mark.parametrize(
    "network", ["diccoser", "diccoser_cs", "diccoser_cs_v2", "cnn_lstm"]
)
def test_help_and_readme_list_the_networks_with_their_parameters(network, help_text):
    counts = [_parameters(network, frontend, 4, 75) for frontend in FRONTENDS]
    (row,) = [line for line in help_text.splitlines() if f"  {network} " in line]
    assert row.split()[-2:] == counts
    counts += [
        _parameters(network, frontend, 2, 500) for frontend in ("raw", "log_mel")
    ]
    readme = (ROOT / "README.md").read_text().splitlines()
    (row,) = [line for line in readme if line.startswith(f"| `{network}` |")]
    assert [cell.strip() for cell in row.split("|")[3:7]] == counts


def test_help_names_the_flags(help_text):
    assert "--workdir" in help_text
    assert "--config" in help_text


_PREPARE = """
import sys, jax
from absl import flags
from diccoser_jax import huge_pages, main
huge_pages.start_again = lambda: print("huge")
main.define_flags()
flags.FLAGS(sys.argv)
main.prepare_machine()
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {"HOME": "/home/ada"}, "huge /home/ada/.cache/diccoser_jax/compiled"),
        (["--compilation_cache=there"], {}, "huge there"),
        (["--compilation_cache="], {}, "huge None"),
        (["--nohuge_pages"], {"JAX_COMPILATION_CACHE_DIR": "mine"}, "mine"),
    ],
    ids=str,
)
def test_what_speeds_a_run_up_can_be_turned_off(arguments, environment, expected):
    clean = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE, *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == expected.split(), done.stderr


def test_the_network_needs_neither_tfds_nor_orbax_nor_a_rival():
    code = (
        "import sys, diccoser_jax.diccoser, diccoser_jax.cnn_lstm\n"
        "print(sorted({'tensorflow', 'torch', 'tensorflow_datasets', 'grain', "
        "'orbax.checkpoint', 'librosa'} & set(sys.modules)))\n"
        "import diccoser_jax.main\n"
        "print(sorted({'tensorflow', 'torch'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
