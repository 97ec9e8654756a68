"""Processes, statistics, tables and files that the benchmarks share."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import select
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.worker import CONTESTANTS, DEFAULT
from diccoser_jax import files, huge_pages

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTHING = "–"  # noqa: RUF001 (an en dash, for a number that does not exist)

# glibc gives the large blocks that a step frees back to the kernel, and the next step
# faults them in anew; in huge pages that costs less, and where freed memory is kept,
# nothing. Read once, as a process starts.
SETTINGS = {
    "plain": {},
    "tuned": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
    "kept": {
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:"
        "glibc.malloc.arena_max=1:glibc.malloc.trim_threshold=17179869184"
    },
}

_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    # On an accelerator that all children share, nobody takes all memory at its start.
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
}
# What an earlier run compiled would make a first call look short.
_CACHES = ("JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR")
_VERSIONS_OF = ("jax", "jaxlib", "flax", "torch", "tensorflow", "keras", "numpy")


class ChildError(Exception):
    """A contestant cannot go on; the message says why, in one line."""


class Child:
    """A contestant in a process of its own, stopped except while it answers.

    Thread pools that spin while they wait for work would otherwise take the cores from
    whoever is measured.

    Attributes:
      name: of the contestant.
      process: runs `benchmarks.worker`.
    """

    def __init__(
        self,
        name: str,
        workload: str,
        *,
        environment: Mapping[str, str] | None = None,
        timeout_s: float = 900.0,
        cores: int | None = None,
    ):
        """Starts the process.

        Args:
          name: of the contestant.
          workload: as `workloads.find` takes it.
          environment: beside that of this process.
          timeout_s: for one answer.
          cores: that it may use, of those of this process; None: all.

        Raises:
          ChildError: if there are not so many cores.
        """
        self.name = name
        self._timeout_s = timeout_s
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (close() closes it)
        self._caches = tempfile.TemporaryDirectory()
        inherited = {k: v for k, v in os.environ.items() if k not in _CACHES}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name, workload],
            bufsize=0,
            cwd=ROOT,
            env={
                **inherited,
                **_ENVIRONMENT,
                "TORCHINDUCTOR_CACHE_DIR": self._caches.name,
                **(environment or {}),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            # Compilers that it starts are stopped and killed with it.
            process_group=0,
        )
        if cores:
            self.call("pin", cores=cores)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Lets the child work on one request of `benchmarks.worker`.

        Raises:
          ChildError: if it fails, dies or takes too long.
        """
        self._signal(signal.SIGCONT)
        try:
            request = json.dumps({"method": method, **arguments}) + "\n"
            with contextlib.suppress(BrokenPipeError):  # its end is noticed below
                self.process.stdin.write(request.encode())
            # One answer for each request, so that nothing can wait behind a line.
            ready, _, _ = select.select([self.process.stdout], [], [], self._timeout_s)
            if not ready:
                raise ChildError(f"no answer to {method} in {self._timeout_s:g} s")
            line = self.process.stdout.readline()
        finally:
            self._signal(signal.SIGSTOP)
        if not line:
            raise ChildError(self._last_words())
        answer = json.loads(line)
        if "error" in answer:
            raise ChildError(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process and those that it started."""
        self._signal(signal.SIGKILL)
        self.process.wait()
        for resource in (self.process.stdin, self.process.stdout, self._errors):
            resource.close()
        # A compiler that has just been killed may still be dying.
        shutil.rmtree(self._caches.name, ignore_errors=True)
        self._caches.cleanup()

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: int) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def _last_words(self) -> str:
        code = self.process.wait()
        end = f"died of {signal.Signals(-code).name}" if code < 0 else f"exit {code}"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        lines = [line.strip() for line in lines if line.strip()]
        return textwrap.shorten(": ".join([end, *lines[-1:]]), 200)


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Says on stderr what is going on."""
    print(text, end=" ...", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        print(file=sys.stderr)


def rotated(names: Sequence[str], by: int) -> list[str]:
    """The order of a round: everybody comes first, second, ... equally often."""
    by %= max(len(names), 1)
    return [*names[by:], *names[:by]]


def summary(values: Sequence[float]) -> dict[str, Any]:
    """Raw repetitions (``all``), ``median``, ``min``, ``max`` and ``quartiles``."""
    if len(values) > 1:
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    else:
        first = third = values[0]
    return {
        "all": list(values),
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "quartiles": [first, third],
    }


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median of the ratios of each round: what slows a whole round cancels out.

    Raises:
      ValueError: if the rounds differ in number.
    """
    return statistics.median(
        n / d for n, d in zip(numerators, denominators, strict=True)
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the first column to the left and numbers to the right."""
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        [
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths))
        ]
        for row in cells
    ]
    rule = ["-" * (w - 1) + ":" if i else "-" * w for i, w in enumerate(widths)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def mib(size: float) -> str:
    """Bytes, for a table."""
    return f"{size / 2**20:,.0f}"


def machine() -> dict[str, Any]:
    """What the numbers depend on, without what names the machine."""
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "accelerators": _accelerators(),
        "kernel": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()),
        "transparent_huge_pages": huge_pages.policy(),
        "environment": {
            key: os.environ[key]
            for key in ("GLIBC_TUNABLES", "JAX_PLATFORMS", "OMP_NUM_THREADS")
            if key in os.environ
        },
    }


def cores() -> int:
    """That this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _accelerators() -> list[str]:
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True).stdout.splitlines()


def versions() -> dict[str, str | None]:
    """Of Python and of the libraries; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _VERSIONS_OF:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def settings_for_here(names: Sequence[str]) -> list[str]:
    """Those of ``names`` that mean something on this platform; says what it drops."""
    glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    possible = [name for name in names if glibc or not SETTINGS[name]]
    if len(possible) < len(names):
        print("Without what is glibc's, on Linux: GLIBC_TUNABLES.", file=sys.stderr)
    return possible


def names_from(known: Sequence[str]) -> Callable[[str], list[str]]:
    """An argparse type: some of these names, with commas between."""

    def parse(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"{name!r} is not one of {', '.join(known)}"
                )
        return names

    return parse


def workload_names(text: str) -> list[str]:
    """An argparse type: workloads, with commas between; see `workloads.find`."""
    # Here, for nobody has to wait for JAX to read --help.
    from benchmarks import workloads

    names = [name for name in text.split(",") if name]
    try:
        for name in names:
            workloads.find(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return names


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """With the flags that all benchmarks have."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--output",
        type=pathlib.Path,
        default=ROOT / f"results/benchmarks/{name}.json",
        help=f"JSON with every repetition (default: results/benchmarks/{name}.json)",
    )
    made.add_argument(
        "--timeout",
        type=float,
        default=900.0,
        metavar="SECONDS",
        help="that a process may take for one answer, compilation included (900)",
    )
    return made


def add_corpus(made: argparse.ArgumentParser) -> None:
    """The flags ``--dataset`` and ``--manual_dir``."""
    made.add_argument(
        "--dataset",
        default="synthetic",
        help="of python -m data_prep.build (default: synthetic)",
    )
    made.add_argument(
        "--manual_dir",
        default="",
        metavar="DIR",
        help="the corpus as it was published; none for the synthetic one",
    )


def check_positive(
    made: argparse.ArgumentParser, args: argparse.Namespace, *names: str
) -> None:
    """Ends the command if one of these flags is less than 1."""
    for name in names:
        if getattr(args, name) < 1:
            made.error(f"--{name}={getattr(args, name)} must be at least 1.")


def add_workloads(made: argparse.ArgumentParser, default: str) -> None:
    """The flag ``--workloads``."""
    made.add_argument(
        "--workloads",
        type=workload_names,
        default=default,
        metavar="NAME,...",
        help="of benchmarks/workloads.py, changed where need be: "
        f"classification_raw:batch_size=1:samples=96000 (default: {default})",
    )


def add_contestants(made: argparse.ArgumentParser) -> None:
    """The flag ``--contestants``."""
    made.add_argument(
        "--contestants",
        type=names_from(list(CONTESTANTS)),
        default=list(DEFAULT),
        metavar="NAME,...",
        help=f"some of {', '.join(CONTESTANTS)} (default: {','.join(DEFAULT)})",
    )


def add_settings(made: argparse.ArgumentParser, default: str) -> None:
    """The flag ``--settings``."""
    made.add_argument(
        "--settings",
        type=names_from(list(SETTINGS)),
        default=default,
        metavar="NAME,...",
        help="plain: the environment as it is. tuned: GLIBC_TUNABLES for huge pages, "
        "kept: for huge pages that are never given back; the same for everybody "
        f"(default: {default})",
    )


def save(
    path: pathlib.Path,
    name: str,
    results: Any,
    command: Sequence[str] | None = None,
) -> None:
    """Writes the results beside what they depend on.

    Args:
      path: the JSON file.
      name: of the benchmark.
      results: JSON-able.
      command: the arguments, if not those of this process.
    """
    arguments = sys.argv[1:] if command is None else command
    content = {
        "benchmark": name,
        "command": shlex.join(["python", "-m", f"benchmarks.{name}", *arguments]),
        "machine": machine(),
        "versions": versions(),
        "results": results,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    files.replace(path, (json.dumps(content, indent=2) + "\n").encode())
    print(f"Every repetition: {path}", file=sys.stderr)
