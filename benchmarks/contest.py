"""Contestants side by side: `train_step.py` and `inference.py` are this with a method.

All contestants of a workload are alive together, each in a process of its own, and take
turns: a machine that slows down for a minute slows down everybody.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.measure import NOTHING, Child, ChildError

WARM_UP_CALLS = 2  # after the first one
MATMUL = "benchmarks.matmul"
_MATMUL_CALLS = 3  # in each round


def contest(
    method: str,
    workload: str,
    contestants: Sequence[str],
    *,
    repetitions: int,
    calls: int = 1,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """Times a method of all contestants in turns.

    Args:
      method: ``train_step`` or ``infer``.
      workload: as `workloads.find` takes it.
      contestants: names of `worker.CONTESTANTS`, or modules.
      repetitions: rounds; in each, everybody is timed once.
      calls: that make up one repetition, their mean counts.
      environment: of all, beside that of this process.
      timeout_s: for one answer of one of them.

    Returns:
      JSON-able: for each of the ``contestants`` what `_prepare` returns, its
      ``seconds`` as `measure.summary` has it, ``parameters`` and ``ratio_to_ours``,
      or else the ``reason`` why it has none; ``flops`` of one call (XLA's count of
      plain_flax) and ``matmul_flops_per_second``, each None if unknown;
      ``fastest_peer``.
    """
    rows: dict[str, dict[str, Any]] = {name: {} for name in contestants}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    flops, matmul_seconds = None, []
    with contextlib.ExitStack() as stack:
        children: dict[str, Child] = {}

        def attempt(name: str, action: Any, *arguments: Any) -> Any:
            """Who fails leaves, and the others go on."""
            try:
                return action(*arguments)
            except ChildError as error:
                children.pop(name).close()
                if name in rows:
                    rows[name] = {"reason": str(error)}

        for name in (*contestants, MATMUL):
            with measure.progress(f"{workload}: {name} is built and called"):
                children[name] = stack.enter_context(
                    Child(name, workload, environment=environment, timeout_s=timeout_s)
                )
                first_method = "train_step" if name == MATMUL else method
                prepared = attempt(name, _prepare, children[name], first_method)
                if prepared and name in rows:
                    rows[name] = prepared

        def repeat(name: str) -> None:
            if name == MATMUL:
                answer = children[name].call("train_step", calls=_MATMUL_CALLS)
                matmul_seconds.extend(answer["seconds"])
            else:
                children[name].call(method)  # what was stopped has gone cold
                answer = children[name].call(method, calls=calls)
                seconds[name].append(sum(answer["seconds"]) / calls)

        for round_ in range(repetitions):
            with measure.progress(f"{workload}: round {round_ + 1} of {repetitions}"):
                for name in measure.rotated(list(children), round_):
                    attempt(name, repeat, name)

        if "plain_flax" in children:
            with measure.progress(f"{workload}: operations are counted"):
                answer = attempt(
                    "plain_flax",
                    lambda: children["plain_flax"].call("analyse", program=method),
                )
                flops = answer["flops"] if answer else None

    for name, row in rows.items():
        if "reason" not in row:
            row["seconds"] = measure.summary(seconds[name])
            if "reason" not in rows.get("ours", {"reason": ""}):
                row["ratio_to_ours"] = measure.median_ratio(
                    seconds[name], seconds["ours"]
                )
    peers = [
        name for name in rows if not name.startswith("ours") and "seconds" in rows[name]
    ]
    return {
        "workload": workload,
        "method": method,
        "contestants": rows,
        "fastest_peer": min(
            peers, key=lambda name: rows[name]["seconds"]["median"], default=None
        ),
        "flops": flops,
        "matmul_flops_per_second": _matmul_speed(matmul_seconds),
    }


def _prepare(child: Child, method: str) -> dict[str, Any]:
    """Import, first call and warm-up."""
    built = child.call("build")
    first = child.call(method)
    child.call(method, calls=WARM_UP_CALLS)
    return {
        "parameters": built["parameters"],
        "import_and_build_seconds": built["seconds"],
        "first_call_seconds": first["seconds"][0],
        "first_loss": first.get("loss"),
    }


def _matmul_speed(seconds: Sequence[float]) -> float | None:
    from benchmarks.matmul import FLOPS

    return FLOPS / min(seconds) if seconds else None


def report(result: Mapping[str, Any]) -> str:
    """The table of one contest, and what it says."""
    speed = result["matmul_flops_per_second"]
    rows = []
    for name, row in result["contestants"].items():
        if "reason" in row:
            rows.append([f"{name}: {row['reason']}", *[NOTHING] * 6])
            continue
        seconds = row["seconds"]
        share = NOTHING
        if result["flops"] and speed:
            share = f"{result['flops'] / seconds['median'] / speed:.0%}"
        ratio = row.get("ratio_to_ours")
        rows.append(
            [
                name,
                f"{seconds['median']:.3g}",
                "{:.3g} to {:.3g}".format(*seconds["quartiles"]),
                NOTHING if ratio is None else f"{ratio:.2f}",
                share,
                f"{row['first_call_seconds']:.3g}",
                f"{row['import_and_build_seconds']:.3g}",
            ]
        )
    header = (
        *("contestant", "median, s", "quartiles, s", "times ours"),
        *("of matmul speed", "first call, s", "import and build, s"),
    )
    lines = [measure.table(header, rows), ""]
    peer = result["fastest_peer"]
    if peer and "ratio_to_ours" in result["contestants"][peer]:
        ratio = result["contestants"][peer]["ratio_to_ours"]
        lines.append(f"Ours is {ratio:.2f} times as fast as the fastest peer, {peer}.")
    if result["flops"]:
        lines.append(
            f"One call: {result['flops'] / 1e9:.3g} GFLOP (XLA's count of plain_flax)."
        )
    if speed:
        lines.append(f"Matrix products here: {speed / 1e9:.0f} GFLOP/s.")
    return "\n".join(lines)


def main(
    name: str, method: str, description: str, argv: Sequence[str] | None = None
) -> None:
    """The command of one method."""
    parser = measure.parser(name, description)
    measure.add_workloads(
        parser, "classification_raw,regression_raw,classification_log_mel,cnn_lstm_raw"
    )
    measure.add_contestants(parser)
    measure.add_settings(parser, "plain,tuned")
    parser.add_argument(
        "--repetitions", type=int, default=9, help="rounds, at least 7 (default: 9)"
    )
    parser.add_argument(
        "--calls",
        type=int,
        default=1,
        help="that make up one repetition, their mean counts; more than one where a "
        "call takes but milliseconds (default: 1)",
    )
    args = parser.parse_args(argv)
    if args.repetitions < 7:
        parser.error(f"--repetitions={args.repetitions}: a median needs at least 7.")
    measure.check_positive(parser, args, "calls")
    results = []
    for workload in args.workloads:
        for setting in measure.settings_for_here(args.settings):
            result = contest(
                method,
                workload,
                args.contestants,
                repetitions=args.repetitions,
                calls=args.calls,
                environment=measure.SETTINGS[setting],
                timeout_s=args.timeout,
            )
            results.append({"setting": setting, **result})
            print(f"### {workload}, {setting}\n\n{report(result)}\n", flush=True)
            # After each, so that an interrupted run leaves what it has.
            measure.save(args.output, name, results, argv)
