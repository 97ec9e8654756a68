"""Several processes, on one machine or on many, that train one network together.

Each of them runs the same program on the same global arrays, reads its share of every
training batch, and has the devices that it sees. The first one writes the reports; the
checkpoints are written by all, into one folder that all can see.
"""

import functools
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.experimental import multihost_utils

from diccoser_jax.config import ConfigError

# Of a process of this run that is gone: after so long at most, the others end.
_HEARTBEAT_TIMEOUT_SECONDS = 60
_STARTUP_TIMEOUT_SECONDS = 300


class PeerError(RuntimeError):
    """Another process of this run has ended, or cannot be reached."""


def start(config: ml_collections.ConfigDict) -> None:
    """Joins the other processes, if there are any; before anything else uses JAX.

    Args:
      config: ``config.distributed``. Without a coordinator, SLURM, Open MPI, a TPU pod
        or JAX_COORDINATOR_ADDRESS may say that there are several.

    Raises:
      ConfigError: the keys do not name one process of a group.
      PeerError: the others do not come.
    """
    arguments = {}
    if config.coordinator:
        if not 0 <= config.process < config.processes:
            raise ConfigError(
                f"distributed.process={config.process} is not in 0 to "
                f"distributed.processes - 1 = {config.processes - 1}."
            )
        arguments = {
            "coordinator_address": config.coordinator,
            "num_processes": config.processes,
            "process_id": config.process,
        }
    elif not _environment_names_several():
        return
    try:
        jax.distributed.initialize(
            **arguments,
            initialization_timeout=_STARTUP_TIMEOUT_SECONDS,
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT_SECONDS,
            shutdown_timeout_seconds=_HEARTBEAT_TIMEOUT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        raise PeerError(
            f"The processes of distributed.coordinator={config.coordinator!r} did not "
            f"come together: {error}"
        ) from error


def _environment_names_several() -> bool:
    counts = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
    if any(os.environ.get(name, "1") != "1" for name in counts):
        # An allocation alone, without srun, starts no second process.
        return "SLURM_PROCID" in os.environ or "OMPI_COMM_WORLD_RANK" in os.environ
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", "")
    return "," in hosts or "JAX_COORDINATOR_ADDRESS" in os.environ


def is_first() -> bool:
    """Whether this process is the one that writes what is written once."""
    return jax.process_index() == 0


def any_of(flag: bool) -> bool:
    """Whether it is true for any process; all of them must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def on_first(function: Callable[[], Any]) -> None:
    """Calls it in the first process, while the others wait.

    Raises:
      PeerError: in the others, if it raised an error in the first.
    """
    error = None
    if is_first():
        try:
            function()
        except Exception as raised:
            error = raised
    if any_of(error is not None):
        raise error or PeerError("The first process cannot go on; it says why.")


def to_devices(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Global arrays, of which each process gives its part.

    Of a batch that is its `share`; of what every device has a copy of, all.
    """
    return jax.tree.map(
        functools.partial(jax.make_array_from_process_local_data, sharding), tree
    )


def share(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The share of this process in a batch that all of them have."""
    index, count = jax.process_index(), jax.process_count()
    each = len(next(iter(batch.values()))) // count
    return {key: x[index * each : (index + 1) * each] for key, x in batch.items()}


def to_host(array: jax.Array) -> np.ndarray:
    """All of an array, wherever its parts are."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return multihost_utils.process_allgather(array, tiled=True)


def as_peer_error(error: Exception) -> Exception:
    """The error, as a `PeerError` if that is what it means."""
    lost = r"Gloo|heartbeat|coordination service|Connection (reset|closed)|preempted"
    if not jax.distributed.is_initialized() or not re.search(lost, str(error)):
        return error
    cause = " ".join(str(error).split())[:300]
    return PeerError(
        f"Another process of this run has ended, or cannot be reached ({cause}). "
        "Start all of them again by the same commands; they go on from the last "
        "checkpoint."
    )
