"""Checkpoints of a training run: the two latest, and the best by validation score.

The only importer of Orbax. A checkpoint holds the state (parameters, batch statistics,
optimiser state, step), and as JSON the progress of the run, the configuration that it
is of, the version of this package, and a SHA-256 of all that. The data position is the
step itself, since batches are a pure function of seed and step.

Orbax writes a checkpoint beside its place and moves it there when it is whole, so a
killed run leaves no half of one. What it does not notice is a byte that changes later;
the SHA-256 does. Arrays and JSON only: nothing in a checkpoint is executed.
"""

import hashlib
import json
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

import diccoser_jax
from diccoser_jax import config as config_lib
from diccoser_jax import distributed
from diccoser_jax.config import ConfigError

State = TypeVar("State")

_NEVER_SECONDS = 10**10  # more than clocks jump, from 1970 to today for instance


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be written or read; names it, the cause, the way out."""


class _DamagedError(CheckpointError):
    pass


class _LatestAndBest(checkpoint_managers.PreservationPolicy):
    """Preserves the two latest checkpoints and that of ``best_step``."""

    best_step = 0

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: Any
    ) -> list[bool]:
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        return [step in (*steps[-2:], self.best_step) for step in steps]


class Checkpoints:
    """The checkpoints of a run in one folder; a context that waits for open writes."""

    def __init__(
        self,
        directory: pathlib.Path,
        config: ml_collections.ConfigDict,
        corpus: str,
        every_seconds: float,
    ):
        """Opens the folder, which is made if need be.

        Args:
          directory: the folder.
          config: the configuration of the run; checkpoints of another are an error.
          corpus: fingerprint of the shards; those of others are an error, too.
          every_seconds: so long after the last one, a checkpoint is due.
        """
        self._config, self._corpus = config, corpus
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()  # which no change of the clock moves
        self._policy = _LatestAndBest()
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=self._policy,
                async_options=_async_options(),
                cleanup_tmp_directories=True,  # what killed runs did not finish
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        try:
            self._manager.close()
        except Exception as error:
            if kind is None:  # Not over the error that ended the run.
                raise self._failure("be written", error) from error

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def due(self) -> bool:
        """Whether the latest checkpoint is old enough for a new one."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def path(self, step: int) -> pathlib.Path:
        """Folder of the checkpoint of this step."""
        return pathlib.Path(self._manager.directory) / str(step)

    def save(
        self, step: int, state: State, progress: dict[str, Any], *, best_step: int
    ) -> None:
        """Writes a checkpoint in the background; the one before the last goes.

        Args:
          step: training steps done.
          state: any pytree of arrays, the same on every device.
          progress: JSON-able.
          best_step: step of the checkpoint to keep besides the two latest, be it this
            one; 0 for none.

        Raises:
          CheckpointError: this one, or the one before, cannot be written.
        """
        self._policy.best_step = best_step
        about = {
            "progress": progress,
            "best_step": best_step,
            "config": json.loads(self._config.to_json()),
            "corpus": self._corpus,
            "version": diccoser_jax.__version__,
            "structure": _structure(state),
            "state_sha256": _digest(state),
        }
        text = json.dumps(about)
        about = {"text": text, "sha256": hashlib.sha256(text.encode()).hexdigest()}
        try:
            saved = self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(about)
                ),
            )
        except Exception as error:
            raise self._failure("be written", error) from error
        if not saved:  # Orbax declines a step that is not newer without a word
            raise CheckpointError(f"No checkpoint of step {step}: {self.path(step)}.")
        self._saved_at = time.monotonic()

    def restore_latest(self, like: State) -> tuple[State, dict[str, Any]] | None:
        """Reads the latest checkpoint that is whole, as is the best one it names.

        Those that are not are moved to ``damaged_checkpoints`` beside the folder, and
        reported.

        Args:
          like: as in `restore`.

        Returns:
          The state and the progress; None if there is no such checkpoint.

        Raises:
          ConfigError: the checkpoint is of another configuration or corpus.
          CheckpointError: it is of another version of this package, whose states
            differ.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                state, progress, best_step = self._read(step, like)
                if best_step not in (0, step):
                    self._read(best_step, like)
            except _DamagedError as error:
                self._set_aside(step, error)
            else:
                return state, progress
        return None

    def restore(self, step: int, like: State) -> State:
        """Reads the state of this step.

        Args:
          step: one of those that are there.
          like: a state of the same structure, shapes and dtypes, whose arrays lie on
            the devices where the restored ones shall lie.

        Raises:
          CheckpointError: it is damaged. Opened anew, `restore_latest` finds an
            earlier one.
        """
        self._wait()
        try:
            return self._read(step, like)[0]
        except _DamagedError as error:
            raise CheckpointError(
                f"{error} The same command again goes on from an earlier one."
            ) from error

    def _read(self, step: int, like: State) -> tuple[State, dict[str, Any], int]:
        """State, progress and best step of a checkpoint that is whole."""
        path = self.path(step)
        about = self._read_item(step, about=ocp.args.JsonRestore())
        text = str(about.get("text"))
        if about.get("sha256") != hashlib.sha256(text.encode()).hexdigest():
            raise _DamagedError(f"{path}: about: has not its SHA-256.")
        about = json.loads(text)
        config = ml_collections.ConfigDict(about["config"])
        config_lib.check_same(self._config, config, str(path))
        if about["corpus"] != self._corpus:
            raise ConfigError(
                f"{path} was made from other recordings: the shards were rebuilt since "
                "from a corpus that has changed. Use the same, or another --workdir."
            )
        if about["structure"] != _structure(like):
            raise CheckpointError(
                f"{path} was made by version {about['version']} of diccoser-jax, whose "
                f"states are others than those of {diccoser_jax.__version__}. Use that "
                "version, or another --workdir."
            )
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        state = self._read_item(step, state=ocp.args.StandardRestore(abstract))
        if _digest(state) != about["state_sha256"]:
            raise _DamagedError(f"{path}: state: has not its SHA-256.")
        return state, about["progress"], about["best_step"]

    def _read_item(self, step: int, **item: Any) -> Any:
        """The one item of a checkpoint that is named, or `_DamagedError`."""
        (name,) = item
        try:
            return self._manager.restore(step, args=ocp.args.Composite(**item))[name]
        except jax.errors.JaxRuntimeError:  # of the device, not of the file
            raise
        except Exception as error:
            cause = " ".join(str(error).split())[:300]
            raise _DamagedError(f"{self.path(step)}: {name}: {cause}.") from error

    def _set_aside(self, step: int, error: Exception) -> None:
        """Moves a checkpoint away, so that its step can be saved again."""

        def move() -> None:
            path = self.path(step)
            folder = path.parents[1] / "damaged_checkpoints"
            folder.mkdir(exist_ok=True)
            number = 1 + len(list(folder.iterdir()))
            target = folder / f"{number}-step{step}"
            path.rename(target)
            print(
                f"Warning: a checkpoint cannot be used, and was moved to {target}: "
                f"{error}",
                file=sys.stderr,
            )

        distributed.on_first(move)
        self._manager.reload()

    def _wait(self) -> None:
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._failure("be written", error) from error

    def _failure(self, what: str, error: Exception) -> CheckpointError:
        whole = sorted(
            int(path.name)
            for path in pathlib.Path(self._manager.directory).iterdir()
            if path.name.isdecimal()
        )
        cause = " ".join(str(error).split())
        return CheckpointError(
            f"{self._manager.directory}: a checkpoint cannot {what}: {cause[:500]}. "
            f"Whole are those of steps {whole}; the same command goes on from there."
        )


def _async_options() -> ocp.AsyncOptions:
    """Options by which no change of the clock ends a write in the background.

    Orbax measures timeouts by ``time.time``. In one process there is nobody to wait
    for; among several, one may never answer, and the timeouts stay.
    """
    if jax.process_count() > 1:
        return ocp.AsyncOptions()
    return ocp.AsyncOptions(
        timeout_secs=_NEVER_SECONDS, create_directories_asynchronously=False
    )


def _structure(state: State) -> str:
    """A hash of the paths, shapes and dtypes of the leaves."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    text = [f"{jax.tree_util.keystr(p)} {x.shape} {x.dtype}" for p, x in leaves]
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def _digest(state: State) -> str:
    """SHA-256 of every bit of every leaf."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
