"""Checkpoints of a training run: the latest, and the best by validation score.

The only importer of Orbax. A checkpoint holds the state (parameters, batch statistics,
optimiser state, step) and the progress of the run as JSON. The data position is the
step itself, since batches are a pure function of seed and step.
"""

import pathlib
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

State = TypeVar("State")


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


class Checkpoints:
    """The checkpoints in one folder; a context manager that waits for open writes."""

    def __init__(self, directory: pathlib.Path):
        policies = checkpoint_managers
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                # max_to_keep with best_fn would delete the latest.
                preservation_policy=policies.AnyPreservationPolicy(
                    [
                        policies.LatestN(1),
                        policies.BestN(get_metric_fn=_score, n=1),
                    ]
                ),
                best_fn=_score,
                best_mode="max",
            ),
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """Step of the latest checkpoint, None where there is none."""
        return self._manager.latest_step()

    @property
    def best_step(self) -> int | None:
        """Step of the checkpoint with the highest score, None where there is none."""
        return self._manager.best_step()

    def path(self, step: int) -> pathlib.Path:
        """Folder of the checkpoint of this step."""
        return pathlib.Path(self._manager.directory) / str(step)

    def save(
        self, step: int, state: State, progress: dict[str, Any], score: float
    ) -> None:
        """Writes a checkpoint in the background; what is too old or too bad goes.

        Args:
          step: training steps done.
          state: any pytree of arrays.
          progress: JSON-able.
          score: higher is better.
        """
        saved = self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                progress=ocp.args.JsonSave(progress),
            ),
            metrics={"score": score},
        )
        if not saved:  # Orbax declines a step that is not newer without a word
            raise RuntimeError(f"No checkpoint of step {step}: {self.path(step)}.")

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """Reads the checkpoint of this step.

        Args:
          step: one of those that are there.
          like: a state of the same structure, shapes and dtypes, whose arrays lie on
            the devices where the restored ones shall lie.

        Returns:
          The state and the progress.
        """
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        self._manager.wait_until_finished()
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(abstract),
                progress=ocp.args.JsonRestore(),
            ),
        )
        return restored.state, restored.progress
