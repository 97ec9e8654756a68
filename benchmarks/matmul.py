"""How fast JAX multiplies two matrices here: the limit of any step, a `Contestant`."""

import jax
import jax.numpy as jnp

from benchmarks.workloads import Workload

SIZE = 2048
FLOPS = 2 * SIZE**3


class Matmul:
    """Its training step is one product of float32 matrices.

    Attributes:
      parameters: none.
    """

    parameters = 0

    def __init__(self):
        self._matrix = jax.random.normal(jax.random.key(0), (SIZE, SIZE), jnp.float32)
        self._product = jax.jit(jnp.matmul)

    def train_step(self) -> float:
        """One product; returns nothing of interest."""
        self._product(self._matrix, self._matrix).block_until_ready()
        return 0.0


def build(workload: Workload) -> Matmul:
    """The same for every workload."""
    del workload
    return Matmul()
