"""What contestants written in JAX have in common."""

from typing import Any

import jax
import numpy as np

from benchmarks.workloads import Workload, make_batch


class JaxContestant:
    """A `Contestant` made of two jitted functions.

    Attributes:
      parameters: how many numbers training learns.
      state: parameters, batch statistics and optimiser.
    """

    def __init__(
        self,
        workload: Workload,
        state: Any,
        rng: jax.Array,
        *,
        train_step: jax.stages.Wrapped,
        infer: jax.stages.Wrapped,
    ):
        """Takes the functions.

        Args:
          workload: whose batch it gets.
          state: has ``params`` and ``variables``.
          rng: the third argument of ``train_step``.
          train_step: state, batch and rng to the next state and a dictionary that holds
            the ``loss``.
          infer: variables and waveforms to outputs.
        """
        self.state = state
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
        self._batch = jax.device_put(make_batch(workload))
        self._rng, self._train_step, self._infer = rng, train_step, infer

    def train_step(self) -> float:
        """See `Contestant`."""
        self.state, metrics = self._train_step(self.state, self._batch, self._rng)
        return float(metrics["loss"])

    def infer(self) -> np.ndarray:
        """See `Contestant`."""
        return np.asarray(self._infer(self.state.variables, self._batch["audio"]))

    def lower(self, method: str) -> jax.stages.Lowered:
        """See `Contestant`."""
        if method == "infer":
            return self._infer.lower(self.state.variables, self._batch["audio"])
        return self._train_step.lower(self.state, self._batch, self._rng)
