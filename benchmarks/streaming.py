"""Live streams: milliseconds for the next 40 ms, and how many streams at once.

python -m benchmarks.streaming

On one core, one stream: the step of `diccoser_jax.stream`, beside the usual way, which
computes the whole last window again at each hop, in this package and in PyTorch.
On all cores: with how many streams they just keep up.
"""

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.measure import NOTHING, Child, ChildError

FRAME_SECONDS = 0.04
WINDOW_SAMPLES = {75: 48_000, 500: 320_000}
FRONTENDS = {"raw": "classification_raw", "log_mel": "classification_log_mel"}
GROUPS = {"raw": 8, "log_mel": 64}  # streams that step together; measured
WINDOWS_TOGETHER = 10  # of the usual way, on all cores
_WARM_UP = 50  # frames


def workload(frontend: str, window_frames: int, batch_size: int) -> str:
    """As `workloads.find` takes it."""
    samples = WINDOW_SAMPLES[window_frames]
    return f"{FRONTENDS[frontend]}:batch_size={batch_size}:samples={samples}"


def percentile(values: Sequence[float], percent: int) -> float:
    """Of so many values, linear between neighbours."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def latency(
    frontend: str,
    window_frames: int,
    contestants: Sequence[str],
    *,
    frames: int,
    rounds: int,
    timeout_s: float,
) -> dict[str, Any]:
    """One stream on one core: everybody in turns.

    Returns:
      JSON-able: for each of the ``contestants`` its ``seconds`` for one frame, as
      `measure.summary` has them, their 99th ``percentile``, and ``ratio_to_ours``, the
      median of the rounds; or the ``reason`` why it has none.
    """
    spec = workload(frontend, window_frames, 1)
    rows: dict[str, dict[str, Any]] = {}
    seconds: dict[str, list[list[float]]] = {name: [] for name in contestants}

    def call(name: str, frames: int) -> list[float]:
        if name == "ours_streams":
            return children[name].call("serve", streams=1, rounds=frames)["seconds"]
        # The same answer takes so much longer that fewer are enough.
        return children[name].call("infer", calls=max(3, frames // 50))["seconds"]

    def attempt(name: str, action: Any) -> None:
        """Who fails leaves, and the others go on."""
        try:
            action()
        except ChildError as error:
            rows[name] = {"reason": str(error)}
            if name in children:
                children.pop(name).close()

    with contextlib.ExitStack() as stack:
        children: dict[str, Child] = {}
        for name in contestants:

            def prepare(name: str = name) -> None:
                child = Child(name, spec, timeout_s=timeout_s, cores=1)
                children[name] = stack.enter_context(child)
                child.call("build")
                call(name, _WARM_UP)

            with measure.progress(f"{spec}: {name} is built and called"):
                attempt(name, prepare)
        for round_ in range(rounds):
            with measure.progress(f"{spec}: round {round_ + 1} of {rounds}"):
                for name in measure.rotated(list(children), round_):
                    attempt(name, lambda n=name: seconds[n].append(call(n, frames)))
    medians = {
        name: [statistics.median(values) for values in seconds[name]]
        for name in contestants
        if name not in rows
    }
    for name in medians:
        every = [value for values in seconds[name] for value in values]
        rows[name] = {
            "seconds": measure.summary(every),
            "percentile_99": percentile(every, 99),
        }
        if "ours_streams" in medians:
            ratio = measure.median_ratio(medians[name], medians["ours_streams"])
            rows[name]["ratio_to_ours"] = ratio
    return {
        "frontend": frontend,
        "window_frames": window_frames,
        "contestants": {name: rows[name] for name in contestants},
    }


def capacity(
    frontend: str, *, group: int, rounds: int, timeout_s: float
) -> dict[str, Any]:
    """So many streams that all cores just keep up with them.

    Returns:
      JSON-able: so many ``streams`` that their rounds take at most 40 ms in the mean,
      the ``seconds`` of the rounds and their 99th ``percentile``, ``carry_bytes`` of
      one stream, and ``resident_bytes`` that each more stream has taken.

    Raises:
      ChildError: if it fails, or not even one group is answered in time.
    """
    spec = workload(frontend, 75, group)
    with Child("ours_streams", spec, timeout_s=timeout_s) as child:
        with measure.progress(f"{spec}: streams are built and called"):
            child.call("build")
            alone = child.call("serve", streams=group, rounds=_WARM_UP)

        def serve(groups: int, rounds: int) -> dict[str, Any]:
            with measure.progress(f"{spec}: {groups * group} streams"):
                child.call("serve", streams=groups * group, rounds=3)
                return child.call("serve", streams=groups * group, rounds=rounds)

        groups = 8
        for _ in range(4):  # The time grows as the groups do, more or less.
            seconds = statistics.mean(serve(groups, 25)["seconds"])
            groups = max(1, int(groups * FRAME_SECONDS / seconds))
        while groups:
            answer = serve(groups, rounds)
            if statistics.mean(answer["seconds"]) <= FRAME_SECONDS:
                break
            groups -= max(1, groups // 40)
        else:
            raise ChildError(f"not even {group} streams are answered in time")
    more = (groups - 1) * group
    grown = answer["resident_bytes"] - alone["resident_bytes"]
    return {
        "frontend": frontend,
        "group": group,
        "streams": groups * group,
        "seconds": measure.summary(answer["seconds"]),
        "mean_seconds": statistics.mean(answer["seconds"]),
        "percentile_99": percentile(answer["seconds"], 99),
        "carry_bytes": answer["carry_bytes"],
        "resident_bytes": grown / more if more else None,
    }


def recomputed(frontend: str, name: str, *, timeout_s: float) -> dict[str, Any]:
    """How many streams the usual way serves on all cores: 3-s windows, 10 at once.

    Returns:
      JSON-able: ``streams`` for an answer each 40 ms; or the ``reason`` for none.
    """
    spec = workload(frontend, 75, WINDOWS_TOGETHER)
    try:
        with (
            measure.progress(f"{spec}: {name}"),
            Child(name, spec, timeout_s=timeout_s) as child,
        ):
            child.call("build")
            child.call("infer", calls=3)
            seconds = child.call("infer", calls=9)["seconds"]
    except ChildError as error:
        return {"contestant": name, "reason": str(error)}
    each = statistics.median(seconds) / WINDOWS_TOGETHER
    return {
        "contestant": name,
        "seconds": measure.summary(seconds),
        "streams": FRAME_SECONDS / each,
    }


_TITLES = {
    "ours_streams": "a step of `diccoser_jax.stream`",
    "ours": "the window again, this package",
    "pytorch": "the window again, PyTorch",
}


def report_latency(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of one stream on one core."""
    rows = []
    for result in results:
        where = (result["frontend"], f"{result['window_frames']}")
        for name, row in result["contestants"].items():
            if "reason" in row:
                rows.append([f"{name}: {row['reason']}", *where, *[NOTHING] * 3])
                continue
            ratio = row.get("ratio_to_ours")
            rows.append(
                [
                    *(_TITLES[name], *where),
                    f"{1e3 * row['seconds']['median']:.3f}",
                    f"{1e3 * row['percentile_99']:.3f}",
                    NOTHING if ratio is None else f"{ratio:.1f}",
                ]
            )
    header = ("for each 40 ms", "frontend", "L", "median, ms", "99%, ms", "times ours")
    return measure.table(header, rows)


def report_capacity(results: Sequence[Mapping[str, Any]]) -> str:
    """The table of many streams on all cores."""
    rows = []
    for result in results:
        resident = result["resident_bytes"]
        rows.append(
            [
                f"steps, groups of {result['group']}",
                result["frontend"],
                f"{result['streams']:,}",
                f"{1e3 * result['mean_seconds']:.1f}",
                f"{1e3 * result['percentile_99']:.1f}",
                f"{result['carry_bytes'] / 1024:.0f}",
                NOTHING if resident is None else f"{resident / 1024:.0f}",
            ]
        )
        for row in result["recomputed"]:
            title = _TITLES[row["contestant"]]
            streams = NOTHING
            if "reason" in row:
                title = f"{title}: {row['reason']}"
            else:
                streams = f"{row['streams']:.1f}"
            rows.append([title, result["frontend"], streams, *[NOTHING] * 4])
    header = (
        *("L = 75", "frontend", "streams", "mean, ms", "99%, ms"),
        *("carry, KiB", "resident, KiB"),
    )
    return measure.table(header, rows)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("streaming", __doc__)
    parser.add_argument(
        "--frontends",
        type=measure.names_from(list(FRONTENDS)),
        default=list(FRONTENDS),
        metavar="NAME,...",
        help="some of raw, log_mel (default: both)",
    )
    parser.add_argument(
        "--windows",
        type=measure.names_from([str(frames) for frames in WINDOW_SAMPLES]),
        default=[str(frames) for frames in WINDOW_SAMPLES],
        metavar="L,...",
        help="of one stream: some of 75 (3 s), 500 (20 s) (default: both)",
    )
    parser.add_argument(
        "--contestants",
        type=measure.names_from(list(_TITLES)),
        default=list(_TITLES),
        metavar="NAME,...",
        help=f"some of {', '.join(_TITLES)} (default: all)",
    )
    parser.add_argument(
        "--frames", type=int, default=500, help="of one stream in a round (500)"
    )
    parser.add_argument(
        "--rounds", type=int, default=7, help="of one stream (default: 7)"
    )
    args = parser.parse_args(argv)
    measure.check_positive(parser, args, "frames", "rounds")
    results: dict[str, Any] = {"one_stream": [], "many_streams": []}
    for frontend in args.frontends:
        for window in args.windows:
            result = latency(
                frontend,
                int(window),
                args.contestants,
                frames=args.frames,
                rounds=args.rounds,
                timeout_s=args.timeout,
            )
            results["one_stream"].append(result)
            measure.save(args.output, "streaming", results, argv)
    print(f"### One stream, one core\n\n{report_latency(results['one_stream'])}\n")
    for frontend in args.frontends:
        result = capacity(
            frontend,
            group=GROUPS[frontend],
            rounds=args.frames,
            timeout_s=args.timeout,
        )
        result["recomputed"] = [
            recomputed(frontend, name, timeout_s=args.timeout)
            for name in args.contestants
            if name != "ours_streams"
        ]
        results["many_streams"].append(result)
        measure.save(args.output, "streaming", results, argv)
    table = report_capacity(results["many_streams"])
    print(f"### Many streams, {measure.cores()} cores\n\n{table}")


if __name__ == "__main__":
    main()
