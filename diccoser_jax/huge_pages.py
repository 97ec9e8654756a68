"""Memory in huge pages, with which a step on CPU takes three quarters of the time.

XLA allocates the temporaries of a step, hundreds of megabytes, and frees them after it.
The C library of Linux hands such blocks back to the kernel at once, and the kernel
clears them again, page by page, when the next step touches them: 4 KiB at a time, or
2 MiB where the library asks for it. It asks if told so by the environment it starts in.

Keeping freed memory in the process (``mallopt``) is as fast, but the heap then
fragments: training on windows of 20 s took 8.6 GiB instead of 3.8.
"""

import os
import pathlib
import platform
import sys

_VARIABLE = "GLIBC_TUNABLES"  # of glibc 2.35 and later; earlier ones ignore the tunable
_TUNABLE = "glibc.malloc.hugetlb"
_POLICY = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")


def start_again() -> None:
    """Starts this process anew, once, with huge pages, where they have to be asked for.

    Returns without doing anything if they were asked for (or refused) in the
    environment, if the kernel gives them to everybody or to nobody, and on other
    systems.
    """
    tunables = os.environ.get(_VARIABLE, "")
    if _TUNABLE in tunables or platform.libc_ver()[0] != "glibc":
        return
    if policy() != "madvise":
        return
    os.environ[_VARIABLE] = ":".join(filter(None, [tunables, f"{_TUNABLE}=1"]))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def policy() -> str | None:
    """Who gets huge pages: "always", "madvise" or "never"; None: not on Linux."""
    if not _POLICY.exists():
        return None
    return _POLICY.read_text().partition("[")[2].partition("]")[0]
