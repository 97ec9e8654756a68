"""Fixtures that several modules share, and how tests compile."""

import gc
import os
import pathlib
import shutil
import subprocess

# Tolerances are those of float32 as CPUs multiply it: NVIDIA GPUs (TF32) and TPUs
# (bfloat16) keep fewer bits. JAX_PLATFORMS=cuda runs the tests there all the same.
if os.environ.setdefault("JAX_PLATFORMS", "cpu") == "cpu":
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # PyTorch's and TensorFlow's, too

import axes
import jax
import jaxtyping
import pytest

axes.install()

from data_prep import build  # noqa: E402
from diccoser_jax import data  # noqa: E402

# Tracing makes objects by the million, nearly all of which stay: looking for garbage
# among them more seldom saves 6 % of the time of tests/layers_test.py.
gc.set_threshold(100_000)

# A broadcast between ranks that nobody wrote is a bug.
jax.config.update("jax_numpy_rank_promotion", "raise")


_MOST_BYTES_OF_PROGRAMS = 2**30


def pytest_configure(config):
    """Keeps compiled programs where pytest keeps its cache, for the next run, too.

    Most of the time of the tests is compilation. This process and the commands that
    tests start compile each program only once; ``pytest --cache-clear`` begins anew.

    Not without optimisation (JAX_DISABLE_MOST_OPTIMIZATIONS): XLA then makes programs
    whose gradients are NaN, as tests/attribution_test.py shows with jaxlib 0.10.2.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or not hasattr(config, "cache"):
        return
    folder = config.cache.mkdir("programs")
    if sum(file.stat().st_size for file in folder.iterdir()) > _MOST_BYTES_OF_PROGRAMS:
        shutil.rmtree(folder)
        folder.mkdir()
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Plain ``pytest``, of all files, shares them between two processes (pytest-xdist).

    Unless ``-n`` says otherwise, or the plugin is absent.
    """
    everything = config.args_source is config.ArgsSource.TESTPATHS
    options = config.option
    unset = getattr(options, "numprocesses", 0) is None
    if (
        everything
        and unset
        and not options.usepdb
        and not hasattr(config, "workerinput")
    ):
        options.numprocesses, options.dist = 2, "loadfile"
        options.loadscopereorder = False  # else by the number of tests in a file


# Files that take longest begin, so that both processes end at about the same time.
_LONGEST = ("train", "notebooks", "stream", "documents", "reproduce", "diccoser")
_LONGEST += ("distributed", "faults", "predict", "experiment", "autoencoder", "peers")


def pytest_collection_modifyitems(items):
    ranks = {f"{name}_test.py": rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
    """Where the shards of this test run lie."""
    return tmp_path_factory.mktemp("shards")


@pytest.fixture(scope="session")
def classification(data_dir) -> data.Corpus:
    """The synthetic corpus of four emotions."""
    return data.Corpus(build.build("synthetic", "", data_dir, progress=False))


@pytest.fixture(scope="session")
def regression(data_dir) -> data.Corpus:
    """The synthetic corpus of arousal and valence, in windows of 8 s."""
    return data.Corpus(
        build.build(
            "synthetic/regression",
            "",
            data_dir,
            window_seconds=8.0,
            shift_seconds=4.0,
            progress=False,
        )
    )


@pytest.fixture
def unchecked():
    """No check of annotations: a user meets the errors that functions raise."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own, of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(command, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
