"""Tests for `../diccoser_jax/main.py`: the command."""

import os
import subprocess
import sys

import commands
import jax
import jax.numpy as jnp
import pytest

from configs import default
from diccoser_jax import train
from diccoser_jax.diccoser import FRONTENDS


@pytest.fixture(scope="module")
def help_text():
    return commands.run("diccoser_jax.main", "--help").stdout


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
    done = commands.run(
        "diccoser_jax.main",
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
    readme = (commands.ROOT / "README.md").read_text().splitlines()
    (row,) = [line for line in readme if line.startswith(f"| `{network}` |")]
    assert [cell.strip() for cell in row.split("|")[3:7]] == counts


def test_help_names_the_flags(help_text):
    assert "--workdir" in help_text
    assert "--config" in help_text


_PREPARE = """
import os, sys, jax
from absl import flags
from diccoser_jax import huge_pages, main
huge_pages.start_again = lambda: print("huge")
main.define_flags()
for arguments in (["--nohuge_pages"], [], ["--compilation_cache=there"],
                  ["--compilation_cache="]):
    if not os.fork():
        flags.FLAGS(["main", *arguments])
        main.prepare_machine()
        print(jax.config.jax_compilation_cache_dir)
        break
    os.wait()
    jax.config.update("jax_compilation_cache_dir", None)  # Of the first one alone.
"""


def test_what_speeds_a_run_up_can_be_turned_off():
    done = subprocess.run(
        [sys.executable, "-c", _PREPARE],
        env=os.environ | {"HOME": "/home/ada", "JAX_COMPILATION_CACHE_DIR": "mine"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.splitlines() == [
        "mine",
        *("huge", "/home/ada/.cache/diccoser_jax/compiled"),
        *("huge", "there"),
        *("huge", "None"),
    ], done.stderr


def test_the_network_needs_neither_tfds_nor_orbax_nor_a_rival(tmp_path):
    (tmp_path / "torch.py").write_text("Tensor = object")  # can be imported: Colab
    code = (
        "import sys, diccoser_jax.diccoser, diccoser_jax.cnn_lstm\n"
        "print(sorted({'tensorflow', 'torch', 'tensorflow_datasets', 'grain', "
        "'orbax.checkpoint', 'librosa'} & set(sys.modules)))\n"
        "import diccoser_jax.main\n"
        "print(sorted({'tensorflow', 'torch'} & set(sys.modules)))\n"
        "import torch; print(torch.Tensor is object)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["[]", "[]", "True"]
