"""Tests for `../diccoser_jax/memory.py`."""

import pathlib
import platform
import resource

import pytest

from diccoser_jax import memory

_STATISTICS = pathlib.Path("/proc/self/statm")


def _resident_bytes() -> int:
    return int(_STATISTICS.read_text().split()[1]) * resource.getpagesize()


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or not _STATISTICS.exists(),
    reason="only glibc is asked, and only Linux says how much is resident",
)
def test_freed_blocks_leave_the_process():
    """Small blocks, the last of which stays: without a request all of them do."""
    memory.return_freed()
    blocks = [b"x" * 100_000 for _ in range(2000)]
    blocks.append(b"x" * 100_000)
    full = _resident_bytes()
    last = blocks.pop()
    del blocks
    memory.return_freed()
    assert full - _resident_bytes() > 150e6
    assert len(last) == 100_000
