"""One contestant in a process: ``python -m benchmarks.worker NAME WORKLOAD``.

Reads requests from stdin and answers each on stdout, one JSON object a line:
``{"method": "train_step", "calls": 1}`` gets ``{"seconds": [0.5]}``. What fails gets
``{"error": "..."}``. The methods are those of `Worker`. NAME is a key of
``CONTESTANTS`` or a module that has ``build(workload)``, WORKLOAD as `workloads.find`
takes it.
"""

import contextlib
import ctypes
import importlib
import json
import os
import pathlib
import resource
import signal
import sys
import textwrap
import time
from typing import Any

CONTESTANTS = {  # module, arguments of its build()
    "ours": ("benchmarks.ours", {}),
    "plain_flax": ("benchmarks.peers.plain_flax", {}),
    "tensorflow_keras": ("benchmarks.peers.tensorflow_keras", {}),
    "pytorch": ("benchmarks.peers.pytorch", {}),
    "pytorch_compile": ("benchmarks.peers.pytorch", {"compiled": True}),
    "ours_stored": ("benchmarks.ours", {"rematerialise": False}),
    "ours_bfloat16": ("benchmarks.ours", {"compute_dtype": "bfloat16"}),
    "ours_microbatches": ("benchmarks.ours", {"microbatches": 5}),
    "ours_streams": ("benchmarks.streams", {}),
}
DEFAULT = ("ours", "plain_flax", "tensorflow_keras", "pytorch", "pytorch_compile")


class Worker:
    """What a parent can ask; every answer is JSON-able."""

    def __init__(self, name: str, workload: str):
        self._name, self._workload = name, workload
        self._contestant: Any = None

    def pin(self, cores: int) -> dict[str, Any]:
        """Keeps to so many cores from now on; asked before libraries start threads."""
        allowed = sorted(os.sched_getaffinity(0))
        if cores > len(allowed):
            raise ValueError(f"{cores} cores are asked for, {len(allowed)} are here")
        os.sched_setaffinity(0, allowed[:cores])
        return {}

    def build(self) -> dict[str, Any]:
        """Imports the library and makes the network, nothing of which has run yet."""
        start = time.perf_counter()
        from benchmarks import workloads

        module, arguments = CONTESTANTS.get(self._name, (self._name, {}))
        build = importlib.import_module(module).build
        self._contestant = build(workloads.find(self._workload), **arguments)
        return {
            "seconds": time.perf_counter() - start,
            "parameters": self._contestant.parameters,
            "resident_bytes": proc_bytes("self/status", "VmRSS"),
        }

    def train_step(self, calls: int = 1) -> dict[str, Any]:
        """So many training steps, each timed."""
        import math

        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            loss = self._contestant.train_step()
            seconds.append(time.perf_counter() - start)
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss is {loss}")
        return {"seconds": seconds, "loss": loss}

    def infer(self, calls: int = 1) -> dict[str, Any]:
        """So many batches, each timed."""
        import numpy as np

        seconds = []
        for _ in range(calls):
            start = time.perf_counter()
            outputs = self._contestant.infer()
            seconds.append(time.perf_counter() - start)
            if not np.isfinite(outputs).all():
                raise FloatingPointError("an output is not finite")
        return {"seconds": seconds}

    def serve(self, streams: int, rounds: int = 1) -> dict[str, Any]:
        """So many times 40 ms of so many streams, each time measured.

        Returns:
          ``seconds``, ``carry_bytes`` of one stream and ``resident_bytes`` of all.
        """
        import numpy as np

        seconds = []
        for _ in range(rounds):
            start = time.perf_counter()
            outputs = self._contestant.serve(streams)
            seconds.append(time.perf_counter() - start)
        if not np.isfinite(outputs).all():
            raise FloatingPointError("an output is not finite")
        return {
            "seconds": seconds,
            "carry_bytes": self._contestant.carry_bytes,
            "resident_bytes": proc_bytes("self/status", "VmRSS"),
        }

    def analyse(self, program: str) -> dict[str, Any]:
        """XLA's account of a jitted method, for contestants that can ``lower`` it.

        Returns:
          Seconds to ``lower`` (trace included) and to ``compile``, ``flops``, and
          ``temp_bytes``: what XLA plans for intermediate results. Of other contestants
          an empty one.
        """
        if not hasattr(self._contestant, "lower"):
            return {}
        start = time.perf_counter()
        lowered = self._contestant.lower(program)
        lowered_at = time.perf_counter()
        compiled = lowered.compile()
        return {
            "lower_seconds": lowered_at - start,
            "compile_seconds": time.perf_counter() - lowered_at,
            "flops": compiled.cost_analysis()["flops"],
            "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        }

    def peak(self) -> dict[str, Any]:
        """The most memory that was resident since the start, or the last such call.

        Returns:
          ``bytes``, and whether the count begins anew (``reset``), as Linux can.
        """
        peak = proc_bytes("self/status", "VmHWM")
        with contextlib.suppress(OSError):
            pathlib.Path("/proc/self/clear_refs").write_text("5")
            return {"bytes": peak, "reset": True}
        # Not the first choice: it begins with the parent's peak, and never shrinks.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        unit = 1 if sys.platform == "darwin" else 1024
        return {"bytes": peak * unit, "reset": False}


def proc_bytes(path: str, key: str) -> int | None:
    """A size that Linux tells in a file of /proc; None where it does not."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc", path).read_text().splitlines():
            if line.startswith(key + ":"):
                return 1024 * int(line.split()[1])
    return None


def main() -> None:
    """Answers until stdin ends."""
    _, name, workload = sys.argv
    if sys.platform == "linux":
        # Stopped, it would outlive a parent that is killed. 1 is PR_SET_PDEATHSIG.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    # Libraries, and the compilers that they start, write to file descriptor 1 as they
    # please: to them it is stderr from now on, and their stdin is empty.
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    worker = Worker(name, workload)
    for line in requests:
        request = json.loads(line)
        try:
            answer = getattr(worker, request.pop("method"))(**request)
        except Exception as error:  # a row of the table; the others go on
            reason = f"{type(error).__name__}: {error}"
            answer = {"error": textwrap.shorten(reason, 200)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
