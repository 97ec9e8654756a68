"""Checks of a configuration, before it costs anybody time."""

import difflib
import json
import pathlib
from typing import Any

import ml_collections

from diccoser_jax import files


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


# Keys that change how a result comes about, and not the result.
_INCONSEQUENTIAL = (
    "data.manual_dir",
    "data.data_dir",
    "train.checkpoint_every_seconds",
    "distributed.coordinator",
    "distributed.processes",
    "distributed.process",
)


def check_same(
    now: ml_collections.ConfigDict, before: ml_collections.ConfigDict, what: str
) -> None:
    """Holds a configuration against the one that something was made by.

    Where the corpus lies may differ: its contents are checked elsewhere. So may what
    changes nothing in the result.

    Args:
      now: the configuration.
      before: the other one.
      what: a file or a folder, for the message.

    Raises:
      ConfigError: naming the keys that differ, with both values.
    """
    # JSON makes lists of tuples.
    now, before = (
        flatten(ml_collections.ConfigDict(json.loads(x.to_json())))
        for x in (now, before)
    )
    differing = [
        f"{key}: was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if key not in _INCONSEQUENTIAL and before.get(key) != now.get(key)
    ]
    if differing:
        raise ConfigError(
            f"{what} was made by another configuration. Use the same, or another "
            "--workdir. What differs:\n  " + "\n  ".join(differing)
        )


def check_noted(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Holds a configuration against the one in a file; raises as `check_same`."""
    before = ml_collections.ConfigDict(json.loads(path.read_text()))
    check_same(config, before, str(path))


def note(config: ml_collections.ConfigDict, path: pathlib.Path) -> None:
    """Writes a configuration to a file, or holds it against the one that is there.

    Raises:
      ConfigError: as `check_same`.
    """
    if path.exists():
        check_noted(config, path)
    else:
        content = json.dumps(json.loads(config.to_json()), indent=2) + "\n"
        files.replace(path, content.encode())
