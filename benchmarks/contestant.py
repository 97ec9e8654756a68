"""What a benchmark asks of every implementation."""

from typing import Protocol

import numpy as np


class Contestant(Protocol):
    """One implementation of a workload, its fixed batch on its device.

    One written in JAX also has ``lower(method)``, the `jax.stages.Lowered` program of
    ``"train_step"`` or ``"infer"``, for XLA's own account of it.

    Attributes:
      parameters: how many numbers training learns.
    """

    parameters: int

    def train_step(self) -> float:
        """One step of gradient descent on the batch.

        Forward with dropout and batch statistics, loss, backward, RMSProp with l2 on
        kernels, running statistics.

        Returns:
          The task's loss before the step, without the l2 term. Waits for it.
        """

    def infer(self) -> np.ndarray:
        """Outputs in inference mode.

        Returns:
          float32 ``[batch, classes]``, one answer for each window, or
          ``[batch, frames, dimensions]``.
        """
