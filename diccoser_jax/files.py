"""Files that a reader finds whole, or not at all."""

import contextlib
import os
import pathlib
from collections.abc import Iterator


def replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside its place, then moves it there in one step."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the path of a file to write, which takes the place of ``path`` at the end.

    After an exception, ``path`` is as it was.

    Raises:
      OSError: names ``path``, also if the disk is full.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None and error.errno:  # as of write()
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
