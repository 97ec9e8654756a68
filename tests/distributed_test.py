"""Tests for `../diccoser_jax/distributed.py`: two real processes on one machine."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny

from benchmarks import faults
from configs import default
from diccoser_jax import data, distributed, experiment, lock, predictions
from diccoser_jax.config import ConfigError

ROOT = pathlib.Path(__file__).parents[1]
_COMMAND = """
import json, pathlib, sys
import ml_collections
from diccoser_jax import distributed, experiment, main
# Whoever waits for a process that died in a save waits this long; else a minute.
distributed._HEARTBEAT_TIMEOUT_SECONDS = 15
with main.exit_codes():
    config = ml_collections.ConfigDict(json.loads(sys.argv[1]))
    distributed.start(config.distributed)
    experiment.run(config, pathlib.Path(sys.argv[2]))
"""
_TIMEOUT_SECONDS = 120


@pytest.fixture(scope="module")
def config(data_dir, classification):
    """Small; saves at every chance, logs every step."""
    del classification  # whose shards are there now
    return tiny.config(data_dir, checkpoint_every_seconds=0.0)


class Pair:
    """Two processes, each with one device."""

    def __init__(self, config, workdir):
        config = config.copy_and_resolve_references()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config.distributed.coordinator = f"127.0.0.1:{port}"
        config.distributed.processes = 2
        self.processes, self.logs = [], []
        for index in range(2):
            config.distributed.process = index
            log = workdir.parent / f"{port}-{index}.log"
            self.logs.append(log)
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", _COMMAND, config.to_json(), str(workdir)],
                    cwd=ROOT,
                    env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
                    stderr=log.open("w"),
                )
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()

    def wait(self):
        return [process.wait(timeout=_TIMEOUT_SECONDS) for process in self.processes]

    def said(self):
        return [log.read_text() for log in self.logs]

    def wait_for_step(self, workdir, step):
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while faults._latest_step(workdir) < step:
            assert self.processes[0].poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.01)


def test_two_processes_train_as_one_and_survive_one_of_them(config, tmp_path):
    """One of the pair is killed, later one is asked to end; one alone finishes."""
    workdir = tmp_path / "pair"
    with Pair(config, workdir) as pair:
        pair.wait_for_step(workdir, 10)
        pair.processes[1].kill()
        assert pair.wait() == [1, -9], pair.said()
        assert "PeerError: Another process of this run has ended" in pair.said()[0]
        assert "Start all of them again" in pair.said()[0]
    with Pair(config, workdir) as pair:
        pair.wait_for_step(workdir, 24)
        pair.processes[1].terminate()
        assert pair.wait() == [75, 75], pair.said()
        assert "Interrupted. Saved after step" in pair.said()[0]
    between = faults._latest_step(workdir)
    assert 24 <= between < 48
    found = experiment.run(config, workdir)
    seldom = config.copy_and_resolve_references()
    seldom.train.checkpoint_every_seconds = 1e6
    expected = experiment.run(seldom, tmp_path / "one")
    lines, whole = (
        [json.loads(line) for line in (w / "metrics.jsonl").read_text().splitlines()]
        for w in (workdir, tmp_path / "one")
    )
    for line, other in zip(lines, whole, strict=True):
        assert line == pytest.approx(other, rel=2e-3)
    assert lines[:10] == [pytest.approx(line, rel=1e-5) for line in whole[:10]]
    rows, others = (
        predictions.load(w / "predictions.npz") for w in (workdir, tmp_path / "one")
    )
    np.testing.assert_array_equal(rows.recordings, others.recordings)
    np.testing.assert_allclose(rows.outputs, others.outputs, atol=0.02)
    assert found["protocol"] == expected["protocol"]


def test_a_finished_run_is_reported_by_both(config, tmp_path):
    config = config.copy_and_resolve_references()
    config.train.max_epochs = 1
    with Pair(config, tmp_path / "pair") as pair:
        assert pair.wait() == [0, 0], pair.said()
    results = json.loads((tmp_path / "pair/results.json").read_text())
    assert results["all"]["cost"]["device"].startswith("2 x")
    assert "step" in pair.said()[0]
    assert "training:" not in pair.said()[1]


def test_an_error_of_one_ends_the_other(config, tmp_path):
    """The first finds the workdir in use."""
    workdir = tmp_path / "pair"
    with lock.hold(workdir), Pair(config, workdir) as pair:
        assert pair.wait() == [1, 1]
        assert "InUseError" in pair.said()[0]
        assert "PeerError: The first process cannot go on" in pair.said()[1]


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_parts_of_a_batch_are_the_batch(classification, parts):
    settings = {
        "batch_size": 16,
        "window_seconds": 2.0,
        "augmentation": data.Augmentation(0.5, 0.2, 10.0, 6.0),
        "seed": 0,
        "epoch": 1,
    }
    units = ("speaker00", "speaker01")
    whole = list(data.train_batches(classification, units, **settings))
    shares = [
        list(data.train_batches(classification, units, share=(i, parts), **settings))
        for i in range(parts)
    ]
    assert [len(share) for share in shares] == [len(whole)] * parts
    for batch, *of_batch in zip(whole, *shares):
        for key in batch:
            joined = np.concatenate([part[key] for part in of_batch])
            np.testing.assert_array_equal(joined, batch[key])


def test_a_process_out_of_range_is_named():
    config = default.get_config().distributed
    config.coordinator, config.processes, config.process = "localhost:1", 2, 2
    with pytest.raises(ConfigError, match=r"distributed.process=2 is not in 0 to .* 1"):
        distributed.start(config)


def test_without_a_group_there_is_nothing_to_join(monkeypatch):
    for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "TPU_WORKER_HOSTNAMES"):
        monkeypatch.delenv(name, raising=False)
    distributed.start(default.get_config().distributed)
    assert distributed.is_first()
    assert not distributed.any_of(False)
    monkeypatch.setenv("SLURM_NTASKS", "4")  # as in an allocation, without srun
    assert not distributed._environment_names_several()
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert distributed._environment_names_several()
