"""Tests for `../diccoser_jax/memory.py`."""

import platform
import subprocess
import sys

import pytest

# Touches 64 MiB, frees it, and counts the pages that touching it again fetches.
_FAULTS = """
import resource, sys
import numpy as np
from diccoser_jax import memory
if "keep" in sys.argv:
    assert memory.keep_freed()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(2**26, np.uint8).fill(1)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_memory_is_not_fetched_again():
    def faults(*arguments):
        command = [sys.executable, "-c", _FAULTS, *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        )
        return int(done.stdout)

    assert faults() > 30  # 32 huge pages, or 16384 small ones
    assert faults("keep") < 5
