"""Turns the files of a finished run into one page to read: Markdown and pictures.

`write(workdir)` needs nothing but `results.json` and `metrics.jsonl`, so that a report
can be written again at any time, on any machine, without data or accelerator.
"""

import io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # No pyplot: no window, no global state.
from matplotlib.ticker import MaxNLocator

from diccoser_jax import files, metrics
from diccoser_jax.audio import FRAME_RATE_HZ

# Two colours that stay apart for colour-blind readers (Okabe and Ito 2008), and grey.
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#767676"
_NOTHING = "–"  # noqa: RUF001 (an en dash, for a number that does not exist)

_KEYS = (
    *("status", "command", "protocol", "config", "versions", "seed"),
    *("folds", "all", "parameters", "seconds"),
)
_PROTOCOL_KEYS = ("corpus", "task", "speakers", "examples", "warnings", "skipped")


def read_results(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads and checks `results.json`.

    Args:
      path: The file.

    Returns:
      Its content.

    Raises:
      FileNotFoundError: If there is no such file.
      ValueError: If it is not JSON, or lacks what a report needs. Both name the file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; only a finished run has it")
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    _require(path, results, _KEYS)
    protocol = results["protocol"]
    _require(path, protocol, _PROTOCOL_KEYS)
    _require(path, results["config"], ("model",))
    _require(path, results["config"]["model"], ("network", "frontend"))
    scores = [results["all"], *results["folds"]]
    for fold in results["folds"]:
        _require(path, fold, ("fold",))
    if protocol["task"] == "classification":
        _require(path, protocol, ("class_names",))
        classes = len(protocol["class_names"])
        for score in scores:
            _require(path, score, ("wa", "ua", "confusion"))
            shape = np.shape(score["confusion"])
            if shape != (classes, classes):
                raise ValueError(
                    f"{path}: confusion must be {(classes, classes)} for the classes "
                    f"{protocol['class_names']}, got {shape}"
                )
    elif protocol["task"] == "regression":
        _require(path, protocol, ("dimension_names",))
        for score in scores:
            _require(path, score, ("ccc",))
            _require(path, score["ccc"], protocol["dimension_names"])
    else:
        raise ValueError(
            f"{path}: task must be classification or regression, got "
            f"{protocol['task']!r}"
        )
    return results


def _require(place: Any, content: Any, keys: Iterable[str]) -> None:
    if not isinstance(content, Mapping):
        raise ValueError(f"{place}: expected an object, got {content!r:.60}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise ValueError(f"{place} lacks {missing}; it holds {sorted(content)}")


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads `metrics.jsonl`, one object for each logged step.

    Args:
      path: The file. Its last line may be cut off, as a killed run leaves it.

    Returns:
      The objects in the order of the file; none if there is no file.

    Raises:
      ValueError: If a line before the last is not JSON, or any lacks step or epoch;
        names file and line.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except ValueError as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}:{number} is not valid JSON: {error}") from error
        _require(f"{path}:{number}", record, ("step", "epoch"))
        records.append(record)
    return records


def write(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Writes `report.md` and its pictures next to the results that they show.

    `curves.png` shows losses and scores over the steps, if any was logged;
    `confusion.png` the confusion matrix of a classification; `tracks.png` predictions
    beside labels, if the results of a regression hold `tracks`: a list of
    `{"recording": name, "predictions": [frames][dimensions], "labels": likewise}` at
    25 Hz.

    Each file is replaced in one move: a reader finds the old or the new one, whole.

    Args:
      workdir: Folder with `results.json` and `metrics.jsonl`.

    Returns:
      Path of `report.md`.

    Raises:
      FileNotFoundError: If `results.json` does not exist.
      ValueError: If one of the files is damaged.
    """
    workdir = pathlib.Path(workdir)
    results = read_results(workdir / "results.json")
    records = read_metrics(workdir / "metrics.jsonl")

    figures = {}
    if records:
        figures["curves"] = _draw_curves(results, records)
    if results["protocol"]["task"] == "classification":
        figures["confusion"] = _draw_confusion(results)
    elif results.get("tracks"):
        figures["tracks"] = _draw_tracks(results)
    for name, figure in figures.items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=150, bbox_inches="tight")
        files.replace(workdir / f"{name}.png", png.getvalue())

    report = workdir / "report.md"
    text = "\n".join(_compose(results, figures))
    files.replace(report, text.encode("utf-8"))
    return report


# The page.


def _compose(results: dict[str, Any], figures: Iterable[str]) -> Iterator[str]:
    """Yields the lines of the report."""
    protocol, config = results["protocol"], results["config"]
    yield f"# {config['model']['network']} on {protocol['corpus']}"
    yield ""
    rows = [(f"**{a}**", f"**{b}**", c) for a, b, c in headline(results)]
    yield from _table(("measure", "test", "to compare"), rows)
    yield (
        f"{results['status']} · frontend {config['model']['frontend']} · "
        f"{results['parameters']:,} parameters · seed {results['seed']} · "
        f"{_number(results['seconds'], digits=0)} s"
    )
    yield ""
    if protocol["task"] == "classification":
        yield "## Classes"
        yield ""
        yield "![Confusion matrix of the test speakers](confusion.png)"
        yield ""
        yield from _table(("class", "recall", "right", "of"), _class_rows(results))
    if "tracks" in figures:
        yield "## Predictions over time"
        yield ""
        yield "![Predictions and labels over time](tracks.png)"
        yield ""
    yield "## Training"
    yield ""
    if "curves" in figures:
        yield "![Loss and score over the training steps](curves.png)"
    else:
        yield "No curves: metrics.jsonl holds no step."
    yield ""
    yield from _table(*_fold_table(results))
    yield "## Protocol"
    yield ""
    yield from _table(("", ""), _protocol_rows(protocol))
    yield "## Warnings"
    yield ""
    if not protocol["warnings"] and not protocol["skipped"]:
        yield "None."
        yield ""
    for warning in protocol["warnings"]:
        yield f"- {_cell(warning)}"
    if protocol["warnings"]:
        yield ""
    if protocol["skipped"]:
        yield f"Skipped files: {len(protocol['skipped'])}"
        yield ""
        skipped = ((entry["file"], entry["reason"]) for entry in protocol["skipped"])
        yield from _table(("file", "reason"), skipped)
    yield "## To repeat"
    yield ""
    yield "```sh"
    yield results["command"]
    yield "```"
    yield ""
    for title, content in (("Config", config), ("Versions", results["versions"])):
        yield f"<details><summary>{title}</summary>"
        yield ""
        yield from _table(("key", "value"), _flatten(content))
        yield "</details>"
        yield ""


def headline(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields measure, value, and what says whether the value is any good."""
    total = results["all"]
    if results["protocol"]["task"] == "classification":
        confusion = np.array(total["confusion"])
        chance = _number(1 / len(confusion))
        largest = _number(confusion.sum(axis=1).max() / confusion.sum())
        yield "UA (mean recall)", _number(total["ua"]), f"{chance}, chance"
        yield "WA (accuracy)", _number(total["wa"]), f"{largest}, largest class only"
    else:
        for name, ccc in total["ccc"].items():
            mean = _number(ccc.get("per_recording_mean"))
            compare = f"{mean}, mean of the recordings"
            yield f"CCC, {name}", _number(ccc["pooled"]), compare
    expected = results.get("expected_score")
    if expected:
        verdict = "reached" if total["score"] >= expected else "MISSED"
        yield "expected score", verdict, f"at least {_number(expected)}"


def _class_rows(results: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    confusion = np.array(results["all"]["confusion"])
    recalls = metrics.recalls(confusion)
    for i, name in enumerate(results["protocol"]["class_names"]):
        yield name, _number(recalls[i]), confusion[i, i], confusion[i].sum()


def _fold_table(results: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows: one for each fold, and one for all if there are several."""
    scores = [(fold["fold"], fold) for fold in results["folds"]]
    if len(scores) > 1:
        scores.append(("all", results["all"]))
    header, rows = ["fold"], [[name] for name, _ in scores]
    if results["protocol"]["task"] == "classification":
        header += ["UA", "WA"]
        for row, (_, score) in zip(rows, scores):
            row += [_number(score["ua"]), _number(score["wa"])]
    else:
        names = results["protocol"]["dimension_names"]
        header += [f"CCC, {name}" for name in names]
        for row, (_, score) in zip(rows, scores):
            row += [_number(score["ccc"][name]["pooled"]) for name in names]
    header += ["validation score", "best epoch", "epochs", "seconds"]
    for row, (_, score) in zip(rows, scores):
        row.append(_number(score.get("validation_score")))
        for key in ("best_epoch", "epochs", "seconds"):
            row.append(_number(score.get(key), digits=0))
    return header, rows


def _protocol_rows(protocol: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    for key in ("corpus", "task", "folds", "fold"):
        if key in protocol:
            yield key, protocol[key]
    for key in ("class_names", "dimension_names"):
        if key in protocol:
            yield key.replace("_", " "), ", ".join(protocol[key])
    for split, speakers in protocol["speakers"].items():
        names = ", ".join(map(str, speakers))
        yield f"{split} speakers", f"{len(speakers)}: {names}"
    for split, examples in protocol["examples"].items():
        yield f"{split} examples", examples
    if "hours" in protocol:
        yield "hours of speech", _number(protocol["hours"], digits=2)
    yield from _flatten(protocol.get("counts", {}), "count of ")


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each leaf of nested objects with its dotted key."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, or a dash for None and NaN."""
    if value is None or not math.isfinite(value):
        return _NOTHING
    return f"{value:.{digits}f}"


def _cell(value: Any) -> str:
    """Text that stays within one cell of a Markdown table."""
    return " ".join(str(value).split()).replace("|", r"\|")


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """Yields the lines of a Markdown table, and an empty one."""
    for row in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(map(_cell, row))} |"
    yield ""


# The pictures.


def _plain_axes(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.92")
    axes.set_axisbelow(True)


def _series(records: list[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of one key. A step that a resumed run repeats counts once."""
    values = {r["step"]: r[key] for r in records if r.get(key) is not None}
    steps = sorted(values)
    return steps, [values[step] for step in steps]


def _draw_curves(results: dict[str, Any], records: list[dict[str, Any]]) -> Figure:
    """Losses on the left, scores on the right, over training steps."""
    classification = results["protocol"]["task"] == "classification"
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    loss_axes, score_axes = figure.subplots(1, 2, sharex=True)
    loss_axes.set_title("Loss: " + ("cross-entropy" if classification else "1 - CCC"))
    score_axes.set_title("Score: " + ("UA" if classification else "mean CCC"))
    for axes, kind in ((loss_axes, "loss"), (score_axes, "score")):
        _plain_axes(axes)
        axes.plot(*_series(records, f"train_{kind}"), color=_BLUE, label="train")
        axes.plot(
            *_series(records, f"validation_{kind}"),
            color=_ORANGE,
            label="validation",
            marker="o",
            markersize=4,
        )
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if classification:
        chance = 1 / len(results["protocol"]["class_names"])
        score_axes.axhline(chance, color=_GREY, linestyle=":", label="chance")
    if len(results["folds"]) == 1:
        best_epoch = results["folds"][0].get("best_epoch")
        best = [
            r for r in records if "validation_score" in r and r["epoch"] == best_epoch
        ]
        if best:
            step, score = best[-1]["step"], best[-1]["validation_score"]
            label = f"best epoch ({best_epoch})"
            for axes in (loss_axes, score_axes):
                axes.axvline(step, color=_GREY, linestyle="--", label=label)
            score_axes.plot(step, score, "*", color=_ORANGE, markersize=14)
    for axes in (loss_axes, score_axes):
        # What was not logged, such as a score on training data, has no entry.
        lines = [line for line in axes.get_lines() if len(line.get_xdata())]
        axes.legend(
            handles=[line for line in lines if not line.get_label().startswith("_")],
            frameon=False,
            fontsize="small",
        )
    return figure


def _draw_confusion(results: dict[str, Any]) -> Figure:
    """Counts, and their shares of the true class: the diagonal holds the recalls."""
    total, names = results["all"], results["protocol"]["class_names"]
    confusion = np.array(total["confusion"])
    examples = confusion.sum(axis=1)
    share = confusion / np.maximum(examples, 1)[:, None]

    size = 2.4 + 0.72 * len(names)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
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
                color="white" if share[row, column] > 0.65 else "black",
            )
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(ticks, [f"{name} ({n})" for name, n in zip(names, examples)])
    axes.set(xlabel="predicted", ylabel="true (examples)")
    axes.set_title(f"UA {_number(total['ua'])}, WA {_number(total['wa'])}")
    # White lines between the cells.
    axes.set_xticks(ticks[1:] - 0.5, minor=True)
    axes.set_yticks(ticks[1:] - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_color("0.8")
    return figure


def _draw_tracks(results: dict[str, Any]) -> Figure:
    """A row for each recording, a column for each dimension."""
    tracks, names = results["tracks"], results["protocol"]["dimension_names"]
    size = (4.8 * len(names), 2.2 * len(tracks) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(tracks), len(names), squeeze=False, sharex="row", sharey="col"
    )
    for row, track in zip(grid, tracks):
        labels, predictions = np.array(track["labels"]), np.array(track["predictions"])
        ccc = metrics.CccSums.from_arrays(predictions, labels).ccc()
        seconds = np.arange(len(labels)) / FRAME_RATE_HZ
        for d, axes in enumerate(row):
            _plain_axes(axes)
            axes.plot(seconds, labels[:, d], _BLUE, label="label")
            axes.plot(
                seconds, predictions[:, d], _ORANGE, linewidth=1, label="prediction"
            )
            axes.set_title(f"{track['recording']}, {names[d]}: CCC {_number(ccc[d])}")
    for axes in grid[-1]:
        axes.set_xlabel("seconds")
    grid[0, 0].legend(frameon=False, fontsize="small", ncols=2)
    return figure
