"""One process at a time in a folder."""

import contextlib
import errno
import fcntl
import os
import pathlib
import socket
import sys
import time
from collections.abc import Iterator

NAME = ".lock"  # the file in the folder; it stays, empty while nobody holds it

# File systems without locks: some network and user-space ones.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class InUseError(RuntimeError):
    """Another process is at work in a folder; names the folder and the process."""


@contextlib.contextmanager
def hold(folder: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Holds the lock of a folder, which is made if need be.

    The lock belongs to the process, not to the file: it ends with the process, however
    that ends, and a file left behind blocks nobody.

    Args:
      folder: whose lock.
      wait: whether to wait for another holder, instead of raising.

    Raises:
      InUseError: another process holds it.
      OSError: the folder cannot be written; names it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            if not wait:
                raise InUseError(
                    f"{folder} is in use by another process ({holder}). Wait for it, "
                    "end it, or name another folder."
                ) from None
            print(f"Waiting for {holder}, at work in {folder}.", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"Warning: {folder} lies on a file system without locks "
                f"({error.strerror}); see to it that no second process uses it.",
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}, since "
            f"{time.strftime('%Y-%m-%d %H:%M:%S')}"
        )
        file.flush()
        yield
        file.truncate(0)
