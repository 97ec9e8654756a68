"""Streams of this package, as a server would run them: in groups that step together."""

import concurrent.futures
import functools

import jax
import numpy as np

from benchmarks import measure, ours, workloads
from benchmarks.workloads import Workload
from diccoser_jax import stream
from diccoser_jax.audio import FRAME_SAMPLES


class Streams:
    """What `benchmarks.worker` lets `serve`; ``batch_size`` streams make one group.

    Every core has a thread, which steps through groups one after the other: what a
    group needs then stays in the caches.

    Attributes:
      parameters: how many numbers training learns.
      carry_bytes: what one stream must remember.
    """

    def __init__(self, workload: Workload):
        trained = ours.build(workload)
        self.parameters = trained.parameters
        self._group, variables = workload.batch_size, trained.state.variables
        self._begin = functools.partial(
            stream.init_carry, trained.model, variables, self._group
        )
        self._step = jax.jit(
            functools.partial(stream.step, trained.model, variables),
            donate_argnums=0,
            # Each core has enough to do with its own groups.
            compiler_options={"xla_cpu_multi_thread_eigen": False},
        )
        audio = workloads.make_batch(workload)["audio"]
        self._chunks = np.split(audio, workload.samples // FRAME_SAMPLES, axis=1)
        self._carries = [self._begin()]
        leaves = jax.tree.leaves(self._carries)
        self.carry_bytes = sum(leaf.nbytes for leaf in leaves) / self._group
        self._heard = 0
        self._threads = concurrent.futures.ThreadPoolExecutor(measure.cores())

    def serve(self, streams: int) -> np.ndarray:
        """The next 40 ms of so many streams, from the host's memory and back.

        Returns:
          float32 ``[streams, outputs]``.

        Raises:
          ValueError: if they are not whole groups.
        """
        groups, rest = divmod(streams, self._group)
        if rest or not groups:
            raise ValueError(f"{streams} streams are not groups of {self._group}")
        while len(self._carries) < groups:
            self._carries.append(self._begin())
        if groups == 1:  # Nobody to wait for.
            outputs = [self._advance(0)]
        else:
            outputs = list(self._threads.map(self._advance, range(groups)))
        self._heard += 1
        return np.concatenate(outputs)

    def _advance(self, group: int) -> np.ndarray:
        chunk = self._chunks[self._heard % len(self._chunks)]
        self._carries[group], output = self._step(self._carries[group], chunk)
        return np.asarray(output.frames)[:, -1]


def build(workload: Workload) -> Streams:
    """Streams of the network of a workload, whose ``samples`` are the L of training."""
    return Streams(workload)
