"""Tests for `../diccoser_jax/lock.py`."""

import io
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest

from diccoser_jax import lock

ROOT = pathlib.Path(__file__).parents[1]
_HOLD = """
import importlib.util, pathlib, sys, time
spec = importlib.util.spec_from_file_location("lock", "diccoser_jax/lock.py")
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
with lock.hold(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock of tmp_path/w, until it reads a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path / "w")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def _hold(folder, **settings):
    with lock.hold(folder, **settings):
        pass


def test_a_second_process_gets_an_error_that_names_the_first(tmp_path, holder):
    with pytest.raises(lock.InUseError, match=rf"in use .*process {holder.pid} on"):
        _hold(tmp_path / "w")
    _hold(tmp_path / "other")
    holder.communicate("\n")
    _hold(tmp_path / "w")


def test_the_lock_of_a_dead_process_blocks_nobody(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert f"process {holder.pid}" in (tmp_path / "w" / lock.NAME).read_text()
    with lock.hold(tmp_path / "w"):
        text = (tmp_path / "w" / lock.NAME).read_text()
        assert f"process {os.getpid()}" in text
    assert (tmp_path / "w" / lock.NAME).read_text() == ""


def test_one_can_wait_for_the_other(tmp_path, holder, monkeypatch):
    # capfd.readouterr may lose what another thread prints while it reads.
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    waiter = threading.Thread(
        target=_hold, args=(tmp_path / "w",), kwargs={"wait": True}
    )
    waiter.start()
    deadline = time.monotonic() + 60
    while "Waiting for" not in said.getvalue():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert f"Waiting for process {holder.pid} on" in said.getvalue()
    assert waiter.is_alive()
    holder.communicate("\n")
    waiter.join(timeout=60)
    assert not waiter.is_alive()


def test_a_file_system_that_cannot_be_written_is_named(small_disk):
    command = ["mount", "-o", "remount,ro", str(small_disk)]
    subprocess.run(command, check=True)
    with pytest.raises(OSError, match=r"Read-only file system: .*w'"):
        _hold(small_disk / "w")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/w"):
        _hold(tmp_path / "file" / "w")
