"""The first training step of this package, with an empty compilation cache and after.

python -m benchmarks.compile_time --workloads=classification_raw

Two processes in turn share a fresh cache (JAX_COMPILATION_CACHE_DIR): the first one
compiles, the second one finds what the first one left.
"""

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.measure import NOTHING, Child, ChildError

CACHES = ("cold", "warm")
_PARTS = {  # keys of what `_first_step` returns, titles in the table
    "build_seconds": "import and build, s",
    "lower_seconds": "trace and lower, s",
    "compile_seconds": "compile or load, s",
    "first_step_seconds": "first step, s",
    "second_step_seconds": "second step, s",
}


def _first_step(
    name: str, workload: str, directory: str, timeout_s: float
) -> dict[str, float]:
    environment = {"JAX_COMPILATION_CACHE_DIR": directory}
    with Child(name, workload, environment=environment, timeout_s=timeout_s) as child:
        build = child.call("build")
        analysis = child.call("analyse", program="train_step")
        # JAX keeps the program: the first step of all does not compile again.
        first, second = child.call("train_step", calls=2)["seconds"]
    return {
        "build_seconds": build["seconds"],
        "lower_seconds": analysis["lower_seconds"],
        "compile_seconds": analysis["compile_seconds"],
        "first_step_seconds": first,
        "second_step_seconds": second,
    }


def measure_one(
    workload: str,
    *,
    repetitions: int,
    name: str = "ours",
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """So many pairs of processes.

    Returns:
      JSON-able: for ``cold`` and ``warm`` and each part of the first step
      `measure.summary` of its seconds; only ``reason`` if a process failed.
    """
    parts = {cache: {part: [] for part in _PARTS} for cache in CACHES}
    for repetition in range(repetitions):
        with tempfile.TemporaryDirectory() as directory:
            for cache in CACHES:
                text = f"{workload}: {cache}, {repetition + 1} of {repetitions}"
                with measure.progress(text):
                    try:
                        seconds = _first_step(name, workload, directory, timeout_s)
                    except ChildError as error:
                        return {"reason": str(error)}
                for part, values in parts[cache].items():
                    values.append(seconds[part])
    return {
        cache: {part: measure.summary(values) for part, values in parts[cache].items()}
        for cache in CACHES
    }


def report(results: Sequence[Mapping[str, Any]]) -> str:
    """Medians of all workloads."""
    rows = []
    for result in results:
        if "reason" in result:
            reason = f"{result['workload']}: {result['reason']}"
            rows.append([reason, *[NOTHING] * (1 + len(_PARTS))])
            continue
        for cache in CACHES:
            medians = [result[cache][part]["median"] for part in _PARTS]
            rows.append([result["workload"], cache, *(f"{m:.3g}" for m in medians)])
    return measure.table(("workload", "cache", *_PARTS.values()), rows)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("compile_time", __doc__)
    measure.add_workloads(
        parser, "classification_raw,regression_raw,classification_log_mel,cnn_lstm_raw"
    )
    parser.add_argument(
        "--repetitions", type=int, default=3, help="pairs of processes (default: 3)"
    )
    args = parser.parse_args(argv)
    measure.check_positive(parser, args, "repetitions")
    results = []
    for workload in args.workloads:
        result = measure_one(
            workload, repetitions=args.repetitions, timeout_s=args.timeout
        )
        results.append({"workload": workload, **result})
        measure.save(args.output, "compile_time", results, argv)
    print(report(results))


if __name__ == "__main__":
    main()
