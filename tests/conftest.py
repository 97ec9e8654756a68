"""Fixtures that several modules share."""

import pathlib

import jax
import pytest

from data_prep import build
from diccoser_jax import data

# A broadcast between ranks that nobody wrote is a bug.
jax.config.update("jax_numpy_rank_promotion", "raise")


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


@pytest.fixture(scope="session", autouse=True)
def _compile_once(tmp_path_factory):
    """Programs that several tests compile are compiled by the first of them."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
