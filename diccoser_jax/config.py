"""Checks of a configuration, before it costs anybody time."""

import difflib
import json
import pathlib
from typing import Any

import ml_collections


class ConfigError(ValueError):
    """A configuration that cannot be run; names the key, the value and the way out."""


def flatten(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """``{"section.key": value}`` of a configuration, sections in dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, ml_collections.ConfigDict):
            flat |= {f"{key}.{name}": leaf for name, leaf in flatten(value).items()}
        else:
            flat[key] = value
    return flat


def check_keys(
    config: ml_collections.ConfigDict, reference: ml_collections.ConfigDict
) -> None:
    """Holds the keys of a configuration against those that the package reads.

    Raises:
      ConfigError: naming each key that is unknown, with its nearest neighbour, and
        each that is missing.
    """
    keys, known = set(flatten(config)), set(flatten(reference))
    complaints = []
    for key in sorted(keys - known):
        near = difflib.get_close_matches(key, sorted(known - keys) + sorted(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        complaints.append(f"config has no key {key!r}{hint}")
    complaints += [f"config lacks the key {key!r}" for key in sorted(known - keys)]
    if complaints:
        raise ConfigError("\n".join(complaints))


def check_same(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Holds a configuration against the one that a workdir was started with.

    Where the corpus lies may differ: its contents are checked elsewhere.

    Raises:
      ConfigError: naming the keys that differ, with both values.
    """
    before = flatten(ml_collections.ConfigDict(json.loads(path.read_text())))
    now = flatten(ml_collections.ConfigDict(json.loads(config.to_json())))
    movable = {"data.manual_dir", "data.data_dir"}
    differing = [
        f"{key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in movable and before.get(key) != now.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{path} was made by another configuration. Use the same, or another "
            "--workdir. What differs:\n  " + "\n  ".join(differing)
        )
