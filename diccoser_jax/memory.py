"""Keeps freed memory in the process, instead of fetching it anew in every step.

On CPU, XLA allocates the temporaries of a step, hundreds of megabytes, and frees them
after it. The C library of Linux hands such blocks back to the kernel at once, and the
kernel clears them page by page when the next step touches them.
"""

import ctypes

# malloc.h of the GNU C library
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed() -> bool:
    """Tells the allocator to keep what is freed, from now until the process ends.

    Call it before the first computation: threads that have allocated keep their ways.
    The process then stays as large as it ever was.

    Returns:
      Whether the allocator listens: glibc's does, those of macOS and Windows do not.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    options = (_M_ARENA_MAX, 1), (_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1)
    return all([mallopt(option, value) for option, value in options])
