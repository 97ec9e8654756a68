"""How time and memory of a training step grow, beside the CNN-LSTM.

python -m benchmarks.scaling --quick

DiCCOSER-CS on raw samples against the length of the window, the size of the batch, the
channels and the local stacks; each point in a process of its own.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # No pyplot: no window, no global state.
from matplotlib.ticker import LogLocator

from benchmarks import measure, worker
from benchmarks.measure import NOTHING, Child, ChildError

SAMPLES_PER_SECOND = 16_000
_SECONDS_A_POINT = 8
NETWORKS = {"DiCCOSER-CS": "classification_raw", "CNN-LSTM": "cnn_lstm_raw"}
_COLOURS = {"DiCCOSER-CS": "#0072B2", "CNN-LSTM": "#D55E00"}  # Okabe and Ito 2008
AXES = {  # label, networks, values, values of --quick
    "length": (
        *("length of the window, s (batch of 1)", tuple(NETWORKS)),
        *((3, 10, 30, 100, 300), (3, 10, 30)),
    ),
    "batch": (
        *("windows of 3 s in a batch", tuple(NETWORKS)),
        *((1, 5, 20), (1, 5)),
    ),
    "channels": (
        *("channels (5 windows of 3 s)", ("DiCCOSER-CS",)),
        *((16, 32, 64, 128), (16, 64)),
    ),
    "stacks": (
        *("local stacks (5 windows of 3 s)", ("DiCCOSER-CS",)),
        *((1, 3, 5, 7), (3, 7)),
    ),
}


def spec(network: str, axis: str, value: int) -> str:
    """The workload of a point, as `workloads.find` takes it."""
    changes = {"batch_size": 5, "samples": 3 * SAMPLES_PER_SECOND}
    if axis == "length":
        changes |= {"batch_size": 1, "samples": value * SAMPLES_PER_SECOND}
    elif axis == "batch":
        changes["batch_size"] = value
    elif axis == "channels":
        changes["features"] = value
    elif axis == "stacks":
        changes["local_stacks"] = value
    else:
        raise ValueError(f"axis={axis!r} is not one of {tuple(AXES)}.")
    return ":".join([NETWORKS[network], *(f"{k}={v}" for k, v in changes.items())])


def measure_point(
    workload: str,
    repetitions: int,
    *,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """Time and memory of one training step.

    Slow steps are repeated less, but at least twice, so that a point takes seconds.

    Returns:
      JSON-able: ``seconds`` as `measure.summary` has them, ``temp_bytes`` that XLA
      plans for intermediate results, ``compile_seconds`` and ``flops``; what cannot be
      had is missing, and ``reason`` says why.
    """
    point: dict[str, Any] = {}
    try:
        with Child(
            "ours", workload, environment=environment, timeout_s=timeout_s
        ) as child:
            child.call("build")
            point |= child.call("analyse", program="train_step")
            free = worker.proc_bytes("meminfo", "MemAvailable")
            if free is not None and point["temp_bytes"] > 0.8 * free:
                raise ChildError(
                    f"{measure.mib(point['temp_bytes'])} MiB do not fit into the "
                    f"{measure.mib(free)} MiB that are free"
                )
            last = child.call("train_step", calls=2)["seconds"][-1]
            repetitions = max(2, min(repetitions, int(_SECONDS_A_POINT / last)))
            answer = child.call("train_step", calls=repetitions)
            point["seconds"] = measure.summary(answer["seconds"])
    except ChildError as error:
        point["reason"] = str(error)
    return point


def exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The p of y ~ x^p by least squares on logarithms; None below two points."""
    if len(x) < 2:
        return None
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def exponents(points: Sequence[Mapping[str, Any]], network: str) -> dict[str, Any]:
    """Of time and memory in the length of the window.

    What every step costs, however short the window, flattens the curve at its
    beginning: ``longer`` is the fit of the longer half of the points alone.
    """
    found: dict[str, Any] = {}
    curve = [p for p in points if (p["axis"], p["network"]) == ("length", network)]
    for key, value_of in _QUANTITIES.items():
        pairs = [(p["value"], value_of(p)) for p in curve if value_of(p) is not None]
        lengths, values = [p[0] for p in pairs], [p[1] for p in pairs]
        half = len(pairs) // 2
        found[key] = {
            "all": exponent(lengths, values),
            "longer": exponent(lengths[half:], values[half:]),
        }
    return found


def _seconds(point: Mapping[str, Any]) -> float | None:
    return point["seconds"]["min"] if "seconds" in point else None


_QUANTITIES = {"time": _seconds, "memory": lambda point: point.get("temp_bytes")}


def draw(points: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Small multiples: an axis of the points in each column, time above memory."""
    axes_drawn = [axis for axis in AXES if any(p["axis"] == axis for p in points)]
    figure = Figure(figsize=(3.2 * len(axes_drawn), 5.6), layout="constrained")
    grid = figure.subplots(2, len(axes_drawn), sharex="col", squeeze=False)
    rows = (("training step, s", _seconds, 1), ("XLA temporaries, MiB", None, 2**20))
    for column, axis in enumerate(axes_drawn):
        label, networks, *_ = AXES[axis]
        for row, (title, value_of, unit) in enumerate(rows):
            panel = grid[row][column]
            value_of = value_of or _QUANTITIES["memory"]
            for network in networks:
                pairs = [
                    (p["value"], value_of(p) / unit)
                    for p in points
                    if (p["axis"], p["network"]) == (axis, network)
                    and value_of(p) is not None
                ]
                if pairs:
                    panel.plot(
                        *zip(*pairs), "o-", color=_COLOURS[network], label=network
                    )
            panel.set_yscale("log")
            if axis != "stacks":
                panel.set_xscale("log")
            ticks = sorted({p["value"] for p in points if p["axis"] == axis})
            panel.set_xticks(ticks, [str(tick) for tick in ticks])
            # Powers of ten alone would leave some panels without a number.
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.minorticks_off()
            panel.grid(alpha=0.3)
            if not column:
                panel.set_ylabel(title)
        grid[1][column].set_xlabel(label)
    grid[0][0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def report(points: Sequence[Mapping[str, Any]]) -> str:
    """The table of all points, and the exponents."""
    rows = []
    for point in points:
        seconds, size = _seconds(point), point.get("temp_bytes")
        label = AXES[point["axis"]][0]
        if "reason" in point:
            label += f": {point['reason']}"
        rows.append(
            [
                label,
                str(point["value"]),
                point["network"],
                NOTHING if seconds is None else f"{seconds:.3g}",
                NOTHING if size is None else measure.mib(size),
            ]
        )
    lines = [
        measure.table(
            ("against", "value", "network", "training step, s", "temporaries, MiB"),
            rows,
        ),
        "",
    ]
    for network in NETWORKS:
        for quantity, fits in exponents(points, network).items():
            if fits["all"] is not None and fits["longer"] is not None:
                lines.append(
                    f"{network}: {quantity} grows as length^{fits['all']:.2f}, over "
                    f"the longer windows as length^{fits['longer']:.2f}."
                )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("scaling", __doc__)
    parser.add_argument(
        "--axes",
        type=measure.names_from(list(AXES)),
        default=list(AXES),
        metavar="NAME,...",
        help=f"some of {', '.join(AXES)} (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="fewer points, small ones")
    parser.add_argument(
        "--repetitions",
        type=int,
        default=5,
        help="steps of each point, the fastest counts; slow ones are repeated less "
        "(default: 5)",
    )
    parser.add_argument(
        "--picture",
        type=pathlib.Path,
        default=measure.ROOT / "benchmarks/scaling.png",
        help="where to draw (default: benchmarks/scaling.png)",
    )
    args = parser.parse_args(argv)
    measure.check_positive(parser, args, "repetitions")
    # As `diccoser_jax.main` trains, where the platform knows it.
    (setting,) = measure.settings_for_here(["tuned"]) or ["plain"]
    environment = measure.SETTINGS[setting]
    points = []
    for axis in args.axes:
        _, networks, values, quick_values = AXES[axis]
        for network in networks:
            for value in quick_values if args.quick else values:
                with measure.progress(f"{network}, {axis} {value}"):
                    point = measure_point(
                        spec(network, axis, value),
                        args.repetitions,
                        environment=environment,
                        timeout_s=args.timeout,
                    )
                points.append(
                    {"axis": axis, "network": network, "value": value, **point}
                )
    fits = {network: exponents(points, network) for network in NETWORKS}
    results = {"setting": setting, "points": points, "exponents": fits}
    measure.save(args.output, "scaling", results, argv)
    draw(points, args.picture)
    print(report(points))


if __name__ == "__main__":
    main()
