"""Peak resident memory of training steps and of inference, each in its own process.

python -m benchmarks.memory --workloads=classification_raw --contestants=ours,pytorch

On an accelerator this is the host's side only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.measure import NOTHING, Child, ChildError

METHODS = ("train_step", "infer")
_WARM_UP_CALLS = 3
_CALLS = 5


def measure_one(
    name: str,
    workload: str,
    method: str,
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """The memory of one method of one contestant.

    Returns:
      JSON-able, in bytes: ``idle`` after imports and construction, before the first
      call; ``peak`` of repeated calls after a warm-up; ``whole_life``, compilation
      included; ``xla_temp``, what XLA plans for intermediate results, None for who
      does not use it. Only ``reason`` if it failed.
    """
    try:
        with Child(name, workload, environment=environment, timeout_s=timeout_s) as c:
            idle = c.call("build")["resident_bytes"]
            c.call(method, calls=_WARM_UP_CALLS)
            before = c.call("peak")
            c.call(method, calls=_CALLS)
            after = c.call("peak")
            # Last, for it compiles once more.
            analysis = c.call("analyse", program=method)
    except ChildError as error:
        return {"reason": str(error)}
    return {
        "idle": idle,
        # Without a reset, the second peak would be that of the compilation.
        "peak": after["bytes"] if before["reset"] else None,
        "whole_life": max(before["bytes"], after["bytes"]),
        "xla_temp": analysis.get("temp_bytes"),
    }


def report(rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of one method of one workload, in MiB."""
    cells = []
    for row in rows:
        if "reason" in row:
            cells.append([f"{row['contestant']}: {row['reason']}", *[NOTHING] * 4])
            continue
        peak, idle = row["peak"], row["idle"]
        above = None if peak is None or idle is None else peak - idle
        sizes = (above, peak, row["whole_life"], row["xla_temp"])
        cells.append(
            [
                row["contestant"],
                *(NOTHING if size is None else measure.mib(size) for size in sizes),
            ]
        )
    header = (
        *("contestant", "peak above idle, MiB", "peak, MiB"),
        *("peak with compilation, MiB", "XLA's temporaries, MiB"),
    )
    return measure.table(header, cells)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("memory", __doc__)
    measure.add_workloads(
        parser, "classification_raw,regression_raw,classification_log_mel,cnn_lstm_raw"
    )
    measure.add_contestants(parser)
    measure.add_settings(parser, "plain")
    parser.add_argument(
        "--methods",
        type=measure.names_from(METHODS),
        default=METHODS,
        metavar="NAME,...",
        help=f"some of {', '.join(METHODS)} (default: both)",
    )
    args = parser.parse_args(argv)
    results = []
    for workload in args.workloads:
        for setting in measure.settings_for_here(args.settings):
            for method in args.methods:
                rows = []
                for name in args.contestants:
                    with measure.progress(f"{workload}, {setting}, {method}: {name}"):
                        row = measure_one(
                            name,
                            workload,
                            method,
                            environment=measure.SETTINGS[setting],
                            timeout_s=args.timeout,
                        )
                    rows.append({"contestant": name, **row})
                print(f"### {workload}, {setting}, {method}\n\n{report(rows)}\n")
                results += [
                    {"workload": workload, "setting": setting, "method": method, **row}
                    for row in rows
                ]
                measure.save(args.output, "memory", results, argv)


if __name__ == "__main__":
    main()
