"""Pictures of reports, of experiments and of what was heard.

Every function draws one figure. Colours are of Okabe and Ito (2008),
which stay apart for colour-blind readers; markers differ as well, for print.
"""

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: no window, no global state.
from matplotlib.ticker import MaxNLocator, PercentFormatter

from diccoser_jax.audio import FRAME_RATE_HZ
from diccoser_jax.calibration import Reliability
from diccoser_jax.inference import Prediction
from diccoser_jax.statistics import measure_name

DOTS_PER_INCH = 150

_BLUE, _ORANGE, _GREEN, _GREY = "#0072B2", "#D55E00", "#009E73", "#767676"
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#999933"),
    "#555555",
)
_MARKERS = (("o", _BLUE), ("s", _ORANGE), ("^", _GREEN), ("D", _GREY))
_WIDTH = 9.6  # inches, of a page
_COLUMNS = 5  # small pictures beside one another
_MOST_DOTS = 60  # lines of a chart that is still read line by line
# Of what is drawn over time: as many columns as there are pixels, and as many as an eye
# can follow.
_WAVEFORM_COLUMNS, _CURVE_COLUMNS = 2_000, 500
_LONGEST_IN_SECONDS = 300  # then minutes

_style = matplotlib.rc_context(
    {
        "axes.axisbelow": True,
        "axes.edgecolor": "0.6",
        "axes.grid": True,
        "axes.labelcolor": "0.25",
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlelocation": "left",
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "figure.constrained_layout.use": True,
        "font.size": 9,
        "grid.color": "0.92",
        "legend.fontsize": 8.5,
        "legend.frameon": False,
        "lines.linewidth": 1.4,
        "text.parse_math": False,  # Names are not formulas.
        "xtick.color": "0.25",
        "ytick.color": "0.25",
    }
)


def png(figure: Figure) -> bytes:
    """The content of a PNG file."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DOTS_PER_INCH)
    return content.getvalue()


# Training.


def _series(
    records: Sequence[Mapping[str, Any]], key: str
) -> tuple[list[int], list[float]]:
    """Steps and values of one key. A step that a resumed run repeats counts once."""
    values = {r["step"]: r[key] for r in records if r.get(key) is not None}
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _plot_run(
    axes: Axes,
    records: Sequence[Mapping[str, Any]],
    kind: str,
    best_epoch: int | None,
    **style: Any,
) -> None:
    """Draws "loss" or "score" of one run over its steps, and its best epoch."""
    for split, color in (("train", _BLUE), ("validation", _ORANGE)):
        steps, values = _series(records, f"{split}_{kind}")
        if steps:
            axes.plot(steps, values, color=color, label=split, **style)
    best = [r for r in records if "validation_score" in r and r["epoch"] == best_epoch]
    if best and best[-1].get(f"validation_{kind}") is not None:
        axes.plot(
            best[-1]["step"],
            best[-1][f"validation_{kind}"],
            "*",
            color=_ORANGE,
            markeredgecolor="white",
            markeredgewidth=0.6,
            markersize=12,
            label=f"best epoch ({best_epoch})",
            zorder=3,
        )


def _titles(task: str) -> dict[str, str]:
    if task == "classification":
        return {"loss": "Loss: cross-entropy", "score": "Score: UA"}
    return {"loss": "Loss: 1 - CCC", "score": "Score: mean CCC"}


@_style
def curves(
    task: str,
    records: Sequence[Mapping[str, Any]],
    best_epoch: int | None,
    chance: float | None = None,
) -> Figure:
    """Loss and score of one run over its training steps.

    Args:
      task: "classification" or "regression".
      records: Lines of `metrics.jsonl`.
      best_epoch: The epoch whose parameters were tested, if known.
      chance: Score of guessing.

    Returns:
      Loss on the left, score on the right.
    """
    figure = Figure(figsize=(_WIDTH, 3.4))
    for axes, (kind, title) in zip(
        figure.subplots(1, 2, sharex=True), _titles(task).items()
    ):
        _plot_run(axes, records, kind, best_epoch)
        if kind == "score" and chance is not None:
            axes.axhline(chance, color=_GREY, linestyle=":", label="chance")
        axes.set(title=title, xlabel="step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if axes.lines:
            axes.legend()
    return figure


@_style
def fold_curves(
    task: str,
    folds: Mapping[Any, Sequence[tuple[Sequence[Mapping[str, Any]], int | None]]],
    chance: float | None = None,
) -> Figure:
    """Loss and score of every run of a cross-validation, a small picture each fold.

    Args:
      task: "classification" or "regression".
      folds: For each fold, the records and the best epoch of each of its runs.
      chance: Score of guessing.

    Returns:
      Rows of losses and of scores below them; all losses share their axis, and all
      scores.
    """
    columns = min(len(folds), _COLUMNS)
    rows = 2 * -(-len(folds) // columns)
    figure = Figure(figsize=(_WIDTH, 1.55 * rows + 0.5))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True)
    titles = _titles(task)
    for place, (name, runs) in enumerate(folds.items()):
        row, column = divmod(place, columns)
        for below, kind in enumerate(titles):
            axes = grid[2 * row + below, column]
            axes.sharey(grid[below, 0])
            for records, best_epoch in runs:
                _plot_run(axes, records, kind, best_epoch, linewidth=1, alpha=0.85)
            if kind == "score" and chance is not None:
                axes.axhline(chance, color=_GREY, linestyle=":", label="chance")
            axes.tick_params(labelleft=column == 0, labelbottom=below == 1)
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            if column == 0:
                axes.set_ylabel(titles[kind].replace(": ", "\n"))
        grid[2 * row, column].set_title(f"fold {name}")
    for axes in grid.flat[len(folds) :]:
        if not axes.lines:
            axes.set_axis_off()
    figure.supxlabel("step", fontsize=9, color="0.25")
    entries: dict[str, Any] = {}
    for axes in (grid[0, 0], grid[1, 0]):
        for handle, label in zip(*axes.get_legend_handles_labels()):
            # Every run has a best epoch of its own.
            entries.setdefault(label.split(" (")[0], handle)
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside upper right",
            ncols=len(entries),
        )
    return figure


# Classification.


def _share(confusion: np.ndarray) -> np.ndarray:
    return confusion / np.maximum(confusion.sum(axis=1), 1)[:, None]


def _matrix(axes: Axes, confusion: np.ndarray) -> np.ndarray:
    """Paints the shares of each true class, and returns them."""
    share = _share(confusion)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    # White lines between the cells.
    between = np.arange(1, len(confusion)) - 0.5
    axes.set_xticks(between, minor=True)
    axes.set_yticks(between, minor=True)
    axes.grid(visible=False, which="major")
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set(visible=True, color="0.8")
    return share


@_style
def confusion(confusion: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Counts, and their shares of the true class: the diagonal holds the recalls.

    Args:
      confusion: int `[classes, classes]`, rows are the truth.
      names: Of the classes.
      title: Of the picture.

    Returns:
      A matrix of cells, dark where the share is large.
    """
    examples = confusion.sum(axis=1)
    figure = Figure(figsize=(2.6 + 0.8 * len(names), 1.6 + 0.6 * len(names)))
    axes = figure.subplots()
    share = _matrix(axes, confusion)
    for (row, column), count in np.ndenumerate(confusion):
        if count:
            axes.text(
                column,
                row,
                f"{count}\n{share[row, column]:.0%}",
                ha="center",
                va="center",
                fontsize=9,
                linespacing=1.3,
                fontweight="bold" if row == column else "normal",
                color="white" if share[row, column] > 0.55 else "0.15",
            )
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [f"{name} ({n})" for name, n in zip(names, examples)])
    axes.set(xlabel="predicted", ylabel="true (examples)", title=title)
    return figure


@_style
def fold_confusions(confusions: Mapping[str, np.ndarray]) -> Figure:
    """A small confusion matrix for each fold: per cent of the true class.

    Args:
      confusions: For each title, int `[classes, classes]`, rows are the truth.

    Returns:
      The matrices, in the order of the classes.
    """
    columns = min(len(confusions), _COLUMNS)
    rows = -(-len(confusions) // columns)
    side = _WIDTH / _COLUMNS
    figure = Figure(figsize=(columns * side, rows * (side + 0.1)))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, confusion) in zip(grid.flat, confusions.items()):
        share = _matrix(axes, confusion)
        size = min(8.0, 40 / len(confusion))
        for (row, column), value in np.ndenumerate(share):
            if confusion[row, column]:
                axes.text(
                    column,
                    row,
                    f"{100 * value:.0f}",
                    ha="center",
                    va="center",
                    fontsize=size,
                    color="white" if value > 0.55 else "0.15",
                )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(title, fontsize=9)
    for axes in grid.flat[len(confusions) :]:
        axes.set_axis_off()
    return figure


@_style
def reliability(panels: Mapping[str, Reliability]) -> Figure:
    """Accuracy over confidence, and how many rows have which confidence.

    Args:
      panels: For each title, what to show; of as many bins each.

    Returns:
      A diagram for each title beside one another, a histogram below each.
    """
    figure = Figure(figsize=(4.4 * len(panels), 4.6))
    grid = figure.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(4, 1)
    )
    for (upper, lower), (title, shown) in zip(grid.T, panels.items()):
        filled = shown.counts > 0
        edges = np.linspace(0, 1, len(shown.counts) + 1)
        upper.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="calibrated")
        # A gap above the dot is overconfidence, one below it the opposite.
        upper.vlines(
            shown.confidence[filled],
            shown.accuracy[filled],
            shown.confidence[filled],
            color=_ORANGE,
            linewidth=3,
            alpha=0.45,
            label="gap",
        )
        upper.plot(
            shown.confidence[filled],
            shown.accuracy[filled],
            "o-",
            color=_BLUE,
            markersize=5,
            label="network",
        )
        error = shown.expected_error()
        upper.set(title=f"{title}: ECE {error:.3f}", ylim=(-0.02, 1.02))
        lower.bar(
            (edges[:-1] + edges[1:]) / 2,
            shown.counts / shown.counts.sum(),
            width=0.9 / len(shown.counts),
            color=_BLUE,
        )
        lower.set(xlim=(0, 1), xlabel="confidence (largest posterior)")
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("of rows")
    grid[0, 0].legend(loc="upper left")
    return figure


# Both tasks.


@_style
def dots(
    names: Sequence[str],
    scores: Mapping[str, np.ndarray],
    *,
    intervals: np.ndarray | None = None,
    lines: Mapping[str, float] | None = None,
) -> Figure:
    """Scores of classes or of speakers: a line for each name, a dot for each score.

    Args:
      names: What stands on the left, from top to bottom.
      scores: For each measure, `[names]`; NaN is not drawn.
      intervals: `[2, names]`, low and high, of a single measure.
      lines: Values to compare with, drawn across.

    Returns:
      The chart, or, with many names, a histogram for each measure.
    """
    if len(names) > _MOST_DOTS:
        return _histogram(scores, lines or {})
    figure = Figure(figsize=(_WIDTH * 0.8, 0.9 + 0.24 * len(names)))
    axes = figure.subplots()
    places = np.arange(len(names))
    if intervals is not None:
        axes.hlines(places, *intervals, color=_BLUE, linewidth=4, alpha=0.25)
    for (measure, values), (marker, color) in zip(scores.items(), _MARKERS):
        axes.plot(values, places, marker, color=color, markersize=6, label=measure)
    _compare(axes.axvline, lines or {})
    axes.set_yticks(places, names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    lowest = min([0.0, *(np.nanmin(values) for values in scores.values())])
    axes.set_xlim(min(lowest - 0.02, 0), 1)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(next(iter(scores)) if len(scores) == 1 else "score")
    _legend_on_the_right(figure, axes)
    return figure


def _histogram(scores: Mapping[str, np.ndarray], lines: Mapping[str, float]) -> Figure:
    figure = Figure(figsize=(_WIDTH * 0.8, 2.8))
    panels = figure.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, (measure, values), (_, color) in zip(panels, scores.items(), _MARKERS):
        axes.hist(values[np.isfinite(values)], bins=25, color=color)
        axes.set_xlabel(measure)
        _compare(axes.axvline, lines)
    panels[0].set_ylabel("how many")
    _legend_on_the_right(figure, panels[0])
    return figure


def _compare(draw: Any, lines: Mapping[str, float]) -> None:
    for (name, value), style in zip(lines.items(), (":", "--", "-.")):
        draw(value, color=_GREY, linestyle=style, label=name)


def _legend_on_the_right(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(handles) > 1:
        figure.legend(handles, labels, loc="outside right upper")


@_style
def tracks(
    title: str,
    names: Sequence[str],
    targets: np.ndarray,
    outputs: np.ndarray,
    ccc: np.ndarray,
) -> Figure:
    """One recording over time: gold standard and prediction.

    Args:
      title: Of the picture.
      names: Of the dimensions.
      targets: `[frames, dimensions]` at 25 Hz.
      outputs: Likewise.
      ccc: `[dimensions]`, of this recording.

    Returns:
      A row for each dimension, over seconds.
    """
    height = 1.5 * len(names) + 0.4
    # Margins by hand: to look for the best ones would double the time of a long report.
    none: Any = "none"  # Matplotlib's annotations lack it
    figure = Figure(figsize=(_WIDTH, height), layout=none)
    figure.subplots_adjust(
        left=0.08, right=0.985, top=1 - 0.3 / height, bottom=0.5 / height, hspace=0.25
    )
    seconds = np.arange(len(targets)) / FRAME_RATE_HZ
    grid = figure.subplots(len(names), 1, squeeze=False, sharex=True)[:, 0]
    for d, (axes, name) in enumerate(zip(grid, names)):
        axes.plot(
            seconds,
            outputs[:, d],
            color=_ORANGE,
            linewidth=0.9,
            alpha=0.8,
            label="prediction",
        )
        axes.plot(seconds, targets[:, d], color=_BLUE, label="gold standard")
        axes.set_ylabel(name)
        axes.set_title(f"CCC {ccc[d]:.3f}", loc="right", fontsize=9, pad=3)
        axes.margins(x=0.005)
    figure.align_ylabels(grid)
    grid[-1].set_xlabel("seconds")
    grid[0].set_title(title, pad=3)
    grid[0].legend(
        loc="lower center", bbox_to_anchor=(0.5, 0.96), ncols=2, borderpad=0.2
    )
    return figure


@_style
def prediction(
    name: str, result: Prediction, extremes: np.ndarray, answer_seconds: float
) -> Figure:
    """A file that was heard: its waveform above its posteriors, or its dimensions.

    Args:
      name: of the file.
      result: of the whole file.
      extremes: ``[columns, 2]``, lowest and highest sample, in equal steps of time.
      answer_seconds: in longer files, a line there shows where the posteriors begin
        that the answer is the mean of.
    """
    figure = Figure(figsize=(_WIDTH, 4.8))
    wave, curves = figure.subplots(
        2, sharex=True, gridspec_kw={"height_ratios": [1, 2.2]}
    )
    if result.task == "classification":
        answer = f"{result.label} ({result.pooled.max():.2f})"
    else:
        means = zip(result.names, result.pooled)
        answer = ", ".join(f"{name} {mean:.2f}" for name, mean in means)
    figure.suptitle(f"{name}: {answer}")

    unit, unit_seconds = "seconds", 1
    if result.seconds > _LONGEST_IN_SECONDS:
        unit, unit_seconds = "minutes", 60
    low = _coarser(extremes[:, 0], _WAVEFORM_COLUMNS, np.min)
    high = _coarser(extremes[:, 1], _WAVEFORM_COLUMNS, np.max)
    ends = np.linspace(0, result.seconds / unit_seconds, len(low) + 1)
    wave.fill_between(ends[:-1], low, high, step="post", color=_GREY, linewidth=0)
    loudest = max(np.abs(extremes).max(), 1e-3)
    wave.set(ylim=(-loudest, loudest), ylabel="waveform", yticks=[])

    # Each frame is drawn over the 40 ms that end with it.
    frames = _coarser(result.frames, _CURVE_COLUMNS, np.mean)
    ends = np.linspace(0, result.times_seconds[-1] / unit_seconds, len(frames) + 1)
    frames = np.concatenate([frames[:1], frames])
    if result.task == "classification":
        curves.stackplot(
            ends, frames.T, step="pre", labels=result.names, colors=COLOURS
        )
        curves.set(ylim=(0, 1), ylabel="posterior")
        if 0 < answer_seconds < result.seconds:
            start = answer_seconds / unit_seconds
            curves.axvline(start, color="black", linestyle=":", linewidth=1)
            curves.text(start, 1.01, " the answer is the mean from here", fontsize=8)
    else:
        for name, track, colour in zip(result.names, frames.T, COLOURS):
            curves.plot(ends, track, color=colour, label=name)
    curves.set(xlim=(0, ends[-1]), xlabel=unit)
    figure.legend(loc="outside right center", reverse=True)
    return figure


def _coarser(values: np.ndarray, most: int, reduce: Callable) -> np.ndarray:
    """At most so many of many."""
    step = -(-len(values) // most)
    starts = range(0, len(values), step)
    return np.stack([reduce(values[i : i + step], axis=0) for i in starts])


# Several systems.


@_style
def bars(
    labels: Sequence[str],
    means: Mapping[str, Sequence[float]],
    deviations: Mapping[str, Sequence[float]],
    printed: Mapping[str, Sequence[float | None]] | None = None,
    chance: float | None = None,
) -> Figure:
    """For each measure a group of bars, one for each system, as in Figs. 5 to 7.

    Args:
      labels: Of the systems.
      means: For each measure the heights of the bars.
      deviations: For each measure what is drawn around them.
      printed: For each measure what a paper gives instead; None where it gives nothing.
      chance: Score of guessing, of a measure ``ua``.
    """
    lines = -(-len(labels) // 4)  # of the legend
    figure = Figure(figsize=(_WIDTH, 3.4 + 0.2 * lines))
    axes = figure.subplots()
    places = np.arange(len(means))
    width = 0.84 / len(labels)
    above = 0.0
    for i, (label, (color, hatch)) in enumerate(zip(labels, _pairs(labels))):
        heights = np.array([means[measure][i] for measure in means])
        around = np.array([deviations[measure][i] for measure in means])
        x = places + (i - (len(labels) - 1) / 2) * width
        error = {"elinewidth": 1.1, "capsize": 2.5, "ecolor": "0.25"}
        axes.bar(
            x,
            heights,
            width * 0.9,
            yerr=around if around.any() else None,
            color=color,
            hatch=hatch,
            edgecolor="white",
            linewidth=0,
            error_kw=error,
            label=label,
        )
        # Numbers stand at the foot of the bars, where no deviation crosses them.
        for place, height in zip(x, heights):
            axes.annotate(
                f"{height:.3f}",
                (place, max(0.0, min(height, 0.0))),
                xytext=(0, 3),
                textcoords="offset points",
                ha="center",
                va="bottom",
                rotation=90 if len(labels) * len(means) > 12 else 0,
                fontsize=8,
                bbox={"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none"},
                zorder=4,
            )
        if printed:
            known = [
                (place, printed[measure][i])
                for place, measure in zip(x, means)
                if printed[measure][i] is not None
            ]
            if known:
                axes.plot(*zip(*known), "D", color="black", mec="white", ms=7, zorder=5)
                above = max(above, *(value for _, value in known))
        above = max(above, float((heights + around).max()))
    handles, entries = axes.get_legend_handles_labels()
    if printed:
        handles.append(axes.plot([], [], "D", color="black", mec="white", ms=7)[0])
        entries.append("the paper")
    if chance is not None:
        for place in places[[measure == "ua" for measure in means]]:
            axes.plot([place - 0.46, place + 0.46], [chance] * 2, ":", color="0.2")
    lowest = min(0.0, *(np.min(np.subtract(means[m], deviations[m])) for m in means))
    axes.set_ylim(1.08 * lowest, 1.08 * above)
    axes.set_xlim(-0.5, len(means) - 0.5)
    axes.set_xticks(places, [measure_name(measure) for measure in means])
    axes.tick_params(axis="x", length=0, labelsize=10)
    axes.grid(axis="x", visible=False)
    axes.set_ylabel("CCC" if "ua" not in means else "accuracy")
    figure.legend(handles, entries, loc="outside lower center", ncols=4)
    return figure


def _pairs(labels: Sequence[str]) -> Iterator[tuple[str, str]]:
    """One colour for systems that differ in what follows the comma, the first hatched.

    Where there are no pairs of neighbours, each has its own.
    """
    names = [label.partition(",")[0] for label in labels]
    if names[::2] != names[1::2] or len(set(names)) < 2:
        yield from itertools.islice(_fills(), len(labels))
        return
    for color, _ in itertools.islice(_fills(), len(labels) // 2):
        yield color, "////"
        yield color, ""


def _fills() -> Iterator[tuple[str, str]]:
    """Colours of Okabe and Ito, then the same again, hatched."""
    for hatch in ("", "////", "...."):
        for color in COLOURS:
            yield color, hatch


@_style
def convergence(
    curves: Mapping[str, Sequence[Mapping[str, Sequence[float]]]],
) -> Figure:
    """How fast systems learn: thin lines for the runs of each, a thick one for all.

    Args:
      curves: For each system its runs; for each run, under ``train_loss`` and
        ``validation_score``, a value for each epoch. Some may end earlier.
    """
    figure = Figure(figsize=(_WIDTH, 3.6))
    panels = figure.subplots(1, 2)
    titles = {"train_loss": "Training loss", "validation_score": "Validation score"}
    for axes, (key, title) in zip(panels, titles.items()):
        for (label, runs), (color, _) in zip(curves.items(), _fills()):
            known = [run[key] for run in runs if run.get(key)]
            if not known:
                continue
            for run in known:
                axes.plot(
                    np.arange(1, len(run) + 1), run, color=color, alpha=0.25, lw=0.8
                )
            shortest = min(map(len, known))
            mean = np.mean([run[:shortest] for run in known], axis=0)
            style = "." if shortest == 1 else "-"
            axes.plot(
                np.arange(1, shortest + 1),
                mean,
                style,
                color=color,
                lw=2.2,
                label=label,
            )
        axes.set_title(title)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    handles, entries = panels[1].get_legend_handles_labels()
    figure.legend(handles, entries, loc="outside lower center", ncols=4)
    return figure


@_style
def scatters(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    names: Sequence[str],
    *,
    columns: int,
) -> Figure:
    """Points on a plane, coloured by class, or by a value.

    Args:
      panels: For each title points `[points, 2]` and their classes, int `[points]`, or
        values, float `[points]` in [-1, 1].
      names: Of the classes; of values, the one name.
      columns: Panels beside one another.
    """
    rows = -(-len(panels) // columns)
    side = min(3.2, _WIDTH / columns)
    figure = Figure(figsize=(max(5.0, columns * side), 0.6 + rows * side))
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (title, (points, colors)) in zip(grid.flat, panels.items()):
        if np.issubdtype(colors.dtype, np.floating):
            shades = axes.scatter(
                *points.T, s=10, c=colors, cmap="coolwarm", vmin=-1, vmax=1
            )
        else:
            for i, (color, marker) in zip(range(len(names)), _dots()):
                axes.scatter(
                    *points[colors == i].T,
                    s=13,
                    color=color,
                    marker=marker,
                    alpha=0.8,
                    linewidth=0,
                    label=names[i],
                )
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelbottom=False, labelleft=False, length=0)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, markerscale=2
        )
    else:
        figure.colorbar(
            shades, ax=grid.ravel().tolist(), label=names[0], shrink=0.8, aspect=30
        )
    return figure


def _dots() -> Iterator[tuple[str, str]]:
    """Colours and markers of classes."""
    for markers in ("os^D", "v<>P", "X*hp"):
        for i, color in enumerate(COLOURS):
            yield color, markers[i % len(markers)]
