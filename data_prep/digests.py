"""SHA-256 of the files of shards, so that no changed byte is ever trained on."""

import concurrent.futures
import hashlib
import json
import os
import pathlib

from diccoser_jax import files

NAME = "sha256.json"  # beside the shards: {file name: SHA-256}


def write(shards: pathlib.Path) -> None:
    """Notes the digests of all files in a folder of shards, which are now complete."""
    content = json.dumps(_of(shards), indent=2) + "\n"
    files.replace(shards / NAME, content.encode())


def damage(shards: pathlib.Path) -> str:
    """What has changed since `write`: a clause that names the file; '' if nothing has.

    Reads every byte, in as many threads as there are cores: about 1 GB/s for each core
    if the disk can keep up, and training would read the same bytes first thing.
    """
    path = shards / NAME
    try:
        expected = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return f"{path} is missing or damaged"
    found = _of(shards)
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            return f"{shards / name} is missing"
        if name not in expected:
            return f"{shards / name} is not one of its files"
        if found[name] != expected[name]:
            return f"{shards / name} has changed: it has not its SHA-256"
    return ""


def _of(shards: pathlib.Path) -> dict[str, str]:
    paths = sorted(p for p in shards.iterdir() if p.is_file() and p.name != NAME)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip((p.name for p in paths), pool.map(_sha256, paths)))


def _sha256(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
