"""Tests for `../benchmarks/faults.py`: runs that are killed, and end all the same."""

import itertools
import json
import os
import pathlib
import resource
import signal
import time

import pytest
import tiny

from benchmarks import faults
from diccoser_jax import compilation_cache, experiment, main


@pytest.fixture(scope="module")
def cache():
    """Of all tests: others compile the same programs."""
    return pathlib.Path(os.environ["JAX_COMPILATION_CACHE_DIR"])


@pytest.fixture(scope="module")
def config(data_dir):
    """A network so small that its process takes longer to start than to train."""
    return tiny.config(data_dir, checkpoint_every_seconds=0.1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, config, classification, cache):
    """The workdir of a run without faults."""
    del classification  # whose shards are there now
    workdir = tmp_path_factory.mktemp("whole") / "run"
    faults.Killer(config, cache).run(workdir)
    return workdir


def test_a_run_that_is_killed_ends_as_if_it_were_not(whole, config, cache, tmp_path):
    """Killed in three lives: after some checkpoints, in the last epoch, at its end."""
    killer = faults.Killer(config, cache)
    workdir = tmp_path / "run"
    for reached in ("checkpoints/[0-9]*", "checkpoints/[3-9]?", "predictions.npz"):
        assert not killer.run(workdir, until=reached)
    assert killer.run(workdir)
    assert len(killer.lives) == 3
    expected, found = map(faults.fingerprint, (whole, workdir))
    assert faults.differences(expected, found) == []
    assert found["last"][0] == 48


def test_what_differs_is_named(whole):
    found = faults.fingerprint(whole)
    other = {**found, "last": [48, "0"], "events": found["events"][1:]}
    assert faults.differences(found, other) == ["last", "events"]


def _command(config, workdir, cache, log):
    """As ``main`` does it; what it says is in ``log``."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    compilation_cache.use_folder(cache)
    with main.exit_codes():
        experiment.run(config, workdir)


def _wait_for(workdir, pattern, process, log):
    while not list(workdir.glob(pattern)):
        assert process.is_alive(), log.read_text()
        time.sleep(0.01)


def test_signals_end_a_run_by_codes_of_their_own(whole, config, cache, tmp_path):
    workdir, log = tmp_path / "run", tmp_path / "log"
    for number in (signal.SIGTERM, signal.SIGINT):
        process = _start(_command, config, workdir, cache, log)
        _wait_for(workdir, "checkpoints/[0-9]*", process, log)
        if number == signal.SIGINT:
            saved = faults._latest_step(workdir)
            while faults._latest_step(workdir) == saved:
                assert process.is_alive(), log.read_text()
        os.kill(process.pid, number)
        assert _end(process) == 75, log.read_text()
        assert "Saving, then ending" in log.read_text()
        last = log.read_text().splitlines()[-1]
        assert last == (
            f"Interrupted. Saved after step {faults._latest_step(workdir)}. "
            "The same command goes on."
        )
    process = _start(_command, config, workdir, cache, log)
    assert _end(process) == 0, log.read_text()
    expected, found = map(faults.fingerprint, (whole, workdir))
    assert faults.differences(expected, found) == []


def _start(target, config, workdir, cache, *more):
    context = faults.Killer(config, cache)._context
    process = context.Process(target=target, args=(config, workdir, cache, *more))
    process.start()
    return process


def _end(process):
    """Its exit code."""
    process.join(120)
    return process.exitcode


def _work_while_the_clock_jumps(config, workdir, cache):
    """Each look at the clock finds it years before or after the last one."""
    real, signs = time.time_ns, itertools.cycle((1, -1))
    time.time_ns = lambda: real() + next(signs) * 10**17
    time.time = lambda: time.time_ns() / 1e9
    faults.work(config, workdir, cache)


def test_a_clock_that_jumps_changes_nothing(whole, config, cache, tmp_path):
    """Neither what comes out, nor how long it took, nor when it was saved."""
    seldom = config.copy_and_resolve_references()
    seldom.train.checkpoint_every_seconds = 1e6
    workdir, begun = tmp_path / "run", time.monotonic()
    assert _end(_start(_work_while_the_clock_jumps, seldom, workdir, cache)) == 0
    passed = time.monotonic() - begun
    results = json.loads((workdir / "results.json").read_text())
    assert 0 < results["seconds"] < passed
    # At the ends of both epochs; by that clock, one would have been due at each step.
    steps = {path.name for path in (workdir / "checkpoints").iterdir()}
    assert steps == {"24", "48"}
    expected, found = map(faults.fingerprint, (whole, workdir))
    assert set(faults.differences(expected, found)) <= {"results.json"}
    for fingerprint in (expected, found):
        del fingerprint["results.json"]["config"]["train"]["checkpoint_every_seconds"]
    assert found == expected


def _work_on_a_full_disk(config, workdir, cache):
    """The larger files of the report have no room; everything else has."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (_ROOM_BYTES, _ROOM_BYTES))
    faults.work(config, workdir, cache)


_ROOM_BYTES = 300_000


def test_a_report_that_finds_no_room_is_written_by_the_next_run(
    whole, config, cache, tmp_path
):
    workdir = tmp_path / "run"
    assert _end(_start(_work_on_a_full_disk, config, workdir, cache)) == 1
    said = (tmp_path / "run.log").read_text().splitlines()[-1]
    assert said == f"OSError: [Errno 27] File too large: '{workdir / 'report.html'}'"
    assert not (workdir / "report.html").exists()
    results = (workdir / "results.json").read_bytes()
    assert _end(_start(faults.work, config, workdir, cache)) == 0
    assert (workdir / "report.html").stat().st_size > _ROOM_BYTES
    assert (workdir / "results.json").read_bytes() == results
    expected, found = map(faults.fingerprint, (whole, workdir))
    assert faults.differences(expected, found) == []
    assert not list(workdir.glob("*.tmp"))
