"""Tests for `../diccoser_jax/huge_pages.py`."""

import os
import platform
import subprocess
import sys

import pytest

from diccoser_jax import huge_pages

needs_madvise = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc"
    or not huge_pages._POLICY.exists()
    or "[madvise]" not in huge_pages._POLICY.read_text(),
    reason="huge pages are not on demand here",
)

# Counts the pages that touching 64 MiB fetches.
_PROGRAM = """
import os, resource, sys
from diccoser_jax import huge_pages
print("start", flush=True)
if "huge" in sys.argv:
    huge_pages.start_again()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touched = b"1" * 2**26
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(sys.argv[1:], os.environ.get("GLIBC_TUNABLES"))
"""


def _run(*arguments, tunables=None):
    environment = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    if tunables is not None:
        environment["GLIBC_TUNABLES"] = tunables
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()


@needs_madvise
def test_the_process_starts_once_more_and_faults_in_huge_pages():
    start, again, faults, rest = _run("huge", "a b", "$c")
    assert start == again == "start"
    assert rest == "['huge', 'a b', '$c'] glibc.malloc.hugetlb=1"
    _, plain, _ = _run()
    assert int(faults) < int(plain) / 10


@needs_madvise
def test_other_tunables_are_kept():
    assert _run("huge", tunables="glibc.malloc.arena_max=2")[-1].endswith(
        " glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"
    )


def test_who_has_asked_or_refused_is_left_alone():
    start, _, rest = _run("huge", tunables="glibc.malloc.hugetlb=0")
    assert start == "start"
    assert rest.endswith(" glibc.malloc.hugetlb=0")


@pytest.mark.parametrize("policy", ["[always] madvise never", "always madvise [never]"])
def test_a_kernel_with_its_own_will_is_left_alone(policy, tmp_path, monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(huge_pages, "_POLICY", tmp_path / "enabled")
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("started again"))
    huge_pages.start_again()  # no such file
    (tmp_path / "enabled").write_text(policy)
    huge_pages.start_again()
