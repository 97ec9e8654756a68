"""Tests for `../diccoser_jax/interrupt.py`: real signals to real processes."""

import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]

_SAVING = """
import time
from diccoser_jax import interrupt
with interrupt.Deferred() as stop:
    print("running", flush=True)
    while not stop.requested:
        time.sleep(0.01)
    print("saving", flush=True)
    time.sleep(600)  # a checkpoint of many gigabytes
"""
_RAISING = """
import sys, time
from diccoser_jax import interrupt
interrupt.raise_on_signals()
try:
    print("running", flush=True)
    time.sleep(600)
except interrupt.Interrupted as error:
    print(error, flush=True)
    time.sleep(600)  # what is in the way of the end
"""


@pytest.fixture(params=[(_SAVING, "saving"), (_RAISING, "By SIG")], ids=["fit", "main"])
def process(request):
    """A process that runs, and what it says after the first signal."""
    code, said = request.param
    started = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout.readline() == "running\n"
    yield started, said
    started.kill()
    started.communicate()


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ctrl_c_ends_at_once(process, first):
    """Killed by the signal, which a shell shows as 130; the first one was caught."""
    started, said = process
    started.send_signal(first)
    assert started.stdout.readline().startswith(said)
    started.send_signal(signal.SIGINT)
    assert started.wait(timeout=60) == -signal.SIGINT
