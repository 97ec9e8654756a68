"""What must never be unpickled."""

import pathlib


class Pickle:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path):
        self._path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self._path,)
