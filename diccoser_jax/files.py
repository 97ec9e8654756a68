"""Files that a reader finds whole, or not at all."""

import os
import pathlib


def replace(path: pathlib.Path, content: bytes) -> None:
    """Writes a file beside its place, then moves it there in one step."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)
