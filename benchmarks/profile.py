"""Where the time of a training step of this package goes, by kind of operation.

python -m benchmarks.profile --workloads=classification_raw

Traces one warm step with JAX's profiler and adds up the time of the operations that XLA
made of it, by what they contain. Two that run side by side both count; one that uses
several cores counts once.
"""

import collections
import gzip
import json
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from benchmarks import measure, ours, workloads

_WARM_UP_CALLS = 4
KINDS = (  # what an operation contains, its name in the table; the first that fits
    (r" dot\(.*\bop_name=\"[^\"]*(bot,bti|bti,bto)", "products for kernel gradients"),
    (r" (dot|convolution)\(", "other products"),
    (r" transpose\(", "transpositions"),
    (r" reduce\(", "reductions"),
    (r" (while|call|conditional)\(", None),  # its parts are counted themselves
    (r"", "elementwise and copies"),
)


def kinds(hlo: str) -> dict[str, str | None]:
    """The kind of each operation of a compiled program.

    Args:
      hlo: its text.

    Returns:
      Of each instruction's name, one of ``KINDS``.
    """
    bodies: dict[str, str] = {}
    for match in re.finditer(r"^%?([\w.\-]+) \(.*?\{\n(.*?)^\}", hlo, re.M | re.S):
        bodies[match[1]] = match[2]
    found = {}
    for line in hlo.splitlines():
        match = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = ", line)
        if not match:
            continue
        called = re.search(r"calls=%?([\w.\-]+)", line)
        text = line + (bodies.get(called[1], "") if called else "")
        found[match[1]] = next(
            kind for pattern, kind in KINDS if re.search(pattern, text)
        )
    return found


def profile(workload: str) -> dict[str, Any]:
    """Traces a step.

    Returns:
      JSON-able: ``seconds`` of each kind, and the ``wall_seconds`` from the
      first operation to the end of the last.
    """
    contestant = ours.build(workloads.find(workload))
    kind_of = kinds(contestant.lower("train_step").compile().as_text())
    for _ in range(_WARM_UP_CALLS):
        contestant.train_step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            contestant.train_step()
        (path,) = pathlib.Path(folder).rglob("*.trace.json.gz")
        events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    seconds: dict[str, float] = collections.Counter()
    spans = []
    for event in events:
        kind = kind_of.get(event["name"]) if event.get("ph") == "X" else None
        if kind:
            seconds[kind] += event["dur"] / 1e6
            spans.append((event["ts"], event["ts"] + event["dur"]))
    starts, ends = zip(*spans)
    return {
        "workload": workload,
        "seconds": dict(seconds),
        "wall_seconds": (max(ends) - min(starts)) / 1e6,
    }


def report(result: Mapping[str, Any]) -> str:
    """The table of one workload."""
    total = sum(result["seconds"].values())
    rows = [
        [kind, f"{seconds:.3f}", f"{seconds / total:.0%}"]
        for kind, seconds in sorted(result["seconds"].items(), key=lambda x: -x[1])
    ]
    rows.append(["all", f"{total:.3f}", "100%"])
    table = measure.table(("operations", "seconds", "share"), rows)
    return f"{table}\n\nFrom the first to the last: {result['wall_seconds']:.3f} s."


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("profile", __doc__)
    measure.add_workloads(parser, "classification_raw")
    args = parser.parse_args(argv)
    results = []
    for workload in args.workloads:
        results.append(profile(workload))
        print(f"### {workload}\n\n{report(results[-1])}\n", flush=True)
    measure.save(args.output, "profile", results, argv)


if __name__ == "__main__":
    main()
