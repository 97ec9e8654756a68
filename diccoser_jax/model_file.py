"""A trained network in one file, with all that inference needs, and no code in it.

The file is in the safetensors format: the variables under their paths
(``params/local/stem/kernel``), and in the metadata under ``diccoser_jax`` one JSON text
with what the network is, what its outputs mean and on what it was trained.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util
from safetensors import SafetensorError

import diccoser_jax
from diccoser_jax import files
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

NAME = "model.safetensors"  # of the file in the folder of a training run
FORMAT_VERSION = 1  # of the metadata; older ones stay readable

TASKS = ("classification", "regression")
_METADATA, _DIGEST = "diccoser_jax", "sha256"
_NETWORKS = {
    "diccoser": (Diccoser, DiccoserConfig),
    "cnn_lstm": (CnnLstm, CnnLstmConfig),
}


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names the file and the cause."""


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """What a model file holds.

    Attributes:
      model: the network.
      variables: its parameters and batch statistics, float32.
      task: ``classification`` or ``regression``.
      target_names: of the classes, or of the dimensions, one for each output.
      window_seconds: length of a training window.
      temperature: divides the logits before the softmax, so that posteriors are as
        sure as they are right (Guo et al. 2017); 1 where nobody fitted it.
      card: JSON-able: on what it was trained, by which protocol it was tested, its
        scores, and what it must not be used for.
    """

    model: nn.Module
    variables: Mapping[str, Any]
    task: str
    target_names: tuple[str, ...]
    window_seconds: float
    temperature: float = 1.0
    card: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def save(
    path: str | os.PathLike[str],
    model: nn.Module,
    variables: Mapping[str, Any],
    *,
    task: str,
    target_names: Sequence[str],
    window_seconds: float,
    temperature: float = 1.0,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model file, in one move.

    Args:
      path: the file, ``.safetensors``.
      model: a `Diccoser` or a `CnnLstm`.
      variables: ``params`` and ``batch_stats``; other collections are left out.
      task: as in `SavedModel`, like what follows.
      target_names: one for each output.
      window_seconds: of a training window.
      temperature: of the posteriors.
      card: JSON-able.

    Raises:
      ValueError: if these do not describe one network, or a variable is not finite.
    """
    saved = SavedModel(
        model,
        variables,
        task,
        tuple(target_names),
        float(window_seconds),
        float(temperature),
        dict(card or {}),
    )
    _check(saved)
    collections = {k: v for k, v in variables.items() if k in ("params", "batch_stats")}
    tensors = {
        name: np.ascontiguousarray(leaf)
        for name, leaf in traverse_util.flatten_dict(collections, sep="/").items()
    }
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"{name} holds NaN or infinite values; not saved.")
    network = "cnn_lstm" if isinstance(model, CnnLstm) else "diccoser"
    metadata = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "package_version": diccoser_jax.__version__,
            "network": network,
            "config": dataclasses.asdict(model.config),
            "task": saved.task,
            "target_names": saved.target_names,
            "window_seconds": saved.window_seconds,
            "temperature": saved.temperature,
            "card": saved.card,
        },
        allow_nan=False,
    )
    content = safetensors.numpy.save(
        tensors, {_METADATA: metadata, _DIGEST: _digest(metadata, tensors)}
    )
    files.replace(pathlib.Path(path), _in_order(content))


def load(path: str | os.PathLike[str]) -> SavedModel:
    """Reads a model file.

    Args:
      path: the file, or the folder of a training run, which holds `NAME`.

    Raises:
      ModelFileError: there is none, it is damaged, no model of this package, or was
        made by a newer version of it.
    """
    path = find(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        metadata, digest = _read_metadata(content)
        tensors = safetensors.numpy.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelFileError(
            f"{path}: damaged, or not a model of diccoser-jax ({error!r}); it begins "
            f"with {content[:16]!r}. Expected a {NAME} as training writes it"
        ) from error
    if digest != _digest(metadata, tensors):
        raise ModelFileError(
            f"{path}: damaged; its content does not have the checksum that was stored "
            "with it. Copy it again from its source"
        )
    about = json.loads(metadata)
    version = about["format_version"]
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"{path}: of format {version}, written by diccoser-jax "
            f"{about['package_version']}; this is {diccoser_jax.__version__}, which "
            f"reads formats up to {FORMAT_VERSION}. Upgrade it"
        )
    try:
        network, config = _NETWORKS[about["network"]]
        saved = SavedModel(
            network(config(**about["config"])),
            traverse_util.unflatten_dict(
                {name: jnp.asarray(tensor) for name, tensor in tensors.items()}, sep="/"
            ),
            about["task"],
            tuple(about["target_names"]),
            about["window_seconds"],
            about["temperature"],
            about["card"],
        )
        _check(saved)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{path}: damaged, or not a model of diccoser-jax: its metadata describe "
            f"no network ({error!r})"
        ) from error
    return saved


def find(path: str | os.PathLike[str]) -> pathlib.Path:
    """The model file that a path means: itself, or the one in a folder.

    Raises:
      ModelFileError: if there is none.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        if (path / NAME).is_file():
            return path / NAME
        if runs := sorted(path.glob(f"*/{NAME}")):
            plural = "s" if len(runs) > 1 else ""
            raise ModelFileError(
                f"{path}: holds {len(runs)} network{plural}, as a cross-validation "
                f"does. Expected one of them, such as {runs[0].parent}; "
                "diccoser_jax.release trains one on all folds"
            )
        what = "an unfinished training run" if (path / "config.json").exists() else ""
        raise ModelFileError(
            f"{path}: holds no {NAME}{what and f'; it is {what}'}. Expected the "
            "workdir of a training run that has finished, or a model file"
        )
    if not path.exists():
        raise ModelFileError(f"{path}: no such file or folder")
    return path


def describe(saved: SavedModel) -> str:
    """The card of a model, and what the file itself knows, as text for people."""
    config = saved.model.config
    sizes = [leaf.size for leaf in jax.tree.leaves(saved.variables["params"])]
    network = getattr(config, "network", "cnn_lstm")
    return "\n".join(
        [
            f"network: {network}, {config.frontend}, {sum(sizes):,} parameters",
            f"{saved.task}: {', '.join(saved.target_names)}",
            f"window of training: {saved.window_seconds:g} s",
            f"temperature of the posteriors: {saved.temperature:.3f}",
            *_lines(saved.card),
        ]
    )


def _lines(card: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for name, value in card.items():
        title = indent + name.replace("_", " ")
        if isinstance(value, Mapping):
            yield f"{title}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{title}: {_short(value)}"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_short, value)) if len(value) == 2 else str(value)
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _read_metadata(content: bytes) -> tuple[str, str]:
    """The JSON text, and the digest beside it.

    Source: https://huggingface.co/docs/safetensors, "Format": eight bytes with the
    length of a JSON text, that text, and the tensors.
    """
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata[_METADATA], metadata[_DIGEST]


def _in_order(content: bytes) -> bytes:
    """The same with a sorted header, whose order safetensors leaves to chance."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def _digest(metadata: str, tensors: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over the metadata, and each tensor with its name, dtype and shape."""
    digest = hashlib.sha256(metadata.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()


def _check(saved: SavedModel) -> None:
    if saved.task not in TASKS:
        raise ValueError(f"task={saved.task!r} is not one of {TASKS}.")
    outputs = saved.model.config.outputs
    if len(saved.target_names) != outputs:
        raise ValueError(
            f"target_names={saved.target_names}, but the network has {outputs} outputs."
        )
    for name in ("window_seconds", "temperature"):
        if not 0 < getattr(saved, name) < float("inf"):
            raise ValueError(f"{name}={getattr(saved, name)} must be positive.")
