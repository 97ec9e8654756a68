"""Turns the files of a finished run into a page to read, with pictures.

`write(workdir)` needs nothing but `results.json`, `metrics.jsonl` and
`predictions.npz`, so that a report can be written again at any time, on any machine,
without data or accelerator.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import softmax

from diccoser_jax import (
    calibration,
    figures,
    files,
    metrics,
    page,
    predictions,
    statistics,
    tables,
)
from diccoser_jax.audio import FRAME_RATE_HZ
from diccoser_jax.page import (
    Block,
    Bullets,
    Code,
    Details,
    Heading,
    Picture,
    Scores,
    Table,
    Text,
)
from diccoser_jax.predictions import Predictions

_MOST_TRACKS = 40  # recordings that are drawn

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


@dataclasses.dataclass(frozen=True, eq=False)
class _Finished:
    """What a report is made from.

    Attributes:
      results: Content of `results.json`, with `statistics` if there are predictions.
      logs: For each entry of its ``folds``, the lines of `metrics.jsonl`.
      predictions: Of all folds and seeds; None for a run that left none.
    """

    results: dict[str, Any]
    logs: list[list[dict[str, Any]]]
    predictions: Predictions | None

    @property
    def task(self) -> str:
        return self.results["protocol"]["task"]

    @property
    def names(self) -> list[str]:
        """Of the classes, or of the dimensions."""
        protocol = self.results["protocol"]
        return protocol.get("class_names") or protocol["dimension_names"]

    @property
    def folds(self) -> list[dict[str, Any]]:
        return self.results["folds"]

    @property
    def chance(self) -> float | None:
        return 1 / len(self.names) if self.task == "classification" else None


def write(workdir: str | os.PathLike[str]) -> pathlib.Path:
    """Writes `report.md` with its pictures, and `report.html`, which holds all.

    What the files do not hold, such as the predictions of an older run, is left out.
    Each file is replaced in one move: a reader finds the old or the new one, whole.

    Args:
      workdir: Folder with `results.json`, and with `metrics.jsonl` or, of a
        cross-validation, the folders of its runs: `fold<n>` or `fold<n>-seed<n>`.

    Returns:
      Path of `report.md`.

    Raises:
      FileNotFoundError: If `results.json` does not exist.
      ValueError: If one of the files is damaged.
    """
    workdir = pathlib.Path(workdir)
    finished = _read(workdir)
    blocks = list(_compose(finished))
    title = _title(finished.results)
    for picture in page.pictures(blocks):
        files.replace(workdir / f"{picture.name}.png", picture.png)
    report = workdir / "report.md"
    files.replace(report, page.to_markdown(title, blocks).encode())
    files.replace(report.with_suffix(".html"), page.to_html(title, blocks).encode())
    return report


def _read(workdir: pathlib.Path) -> _Finished:
    results = read_results(workdir / "results.json")
    logs = [
        read_metrics(_run_folder(workdir, f) / "metrics.jsonl")
        for f in results["folds"]
    ]
    path = workdir / "predictions.npz"
    if not path.is_file():
        return _Finished(results, logs, None)
    answers = predictions.load(path)
    task = results["protocol"]["task"]
    names = (
        results["protocol"].get("class_names") or results["protocol"]["dimension_names"]
    )
    dimensions = 1 if task == "classification" else 2
    if answers.targets.ndim != dimensions or answers.outputs.shape[1:] != (len(names),):
        raise ValueError(
            f"{path} does not fit {names}: outputs are {answers.outputs.shape}, "
            f"targets {answers.targets.shape}"
        )
    if "statistics" not in results:
        results["statistics"] = statistics.summarise(answers, task, names)
    return _Finished(results, logs, answers)


def _run_folder(workdir: pathlib.Path, fold: Mapping[str, Any]) -> pathlib.Path:
    """Where one run of a cross-validation lies; a single run is the workdir itself."""
    name = f"fold{fold['fold']}"
    for folder in (f"{name}-seed{fold.get('seed')}", name):
        if (workdir / folder).is_dir():
            return workdir / folder
    return workdir


# The page.


def _title(results: Mapping[str, Any]) -> str:
    return f"{results['config']['model']['network']} on {results['protocol']['corpus']}"


def _compose(finished: _Finished) -> Iterator[Block]:
    results = finished.results
    yield Scores(
        [(name, value, notes.split("; ")) for name, value, notes in headline(results)]
    )
    yield Text(
        f"{results['status']} · frontend {results['config']['model']['frontend']} · "
        f"{results['parameters']:,} parameters · seed {results['seed']} · "
        f"{_duration(results['seconds'])}"
    )
    warnings = len(results["protocol"]["warnings"])
    if warnings:
        plural = "s" if warnings > 1 else ""
        yield Text(
            f"{warnings} warning{plural} about the data: see Counts and warnings."
        )
    if finished.task == "classification":
        yield from _classes(finished)
        yield from _confusion(finished)
    yield from _speakers(finished)
    if finished.task == "classification":
        yield from _calibration(finished)
    else:
        yield from _tracks(finished)
    yield from _training(finished)
    yield from _statistics(finished)
    yield from _protocol(finished)
    yield from _counts(results["protocol"])
    yield from _cost(finished)
    yield Heading("To repeat")
    yield Code(results["command"])
    for title, content in (
        ("Configuration", results["config"]),
        ("Versions", results["versions"]),
    ):
        yield Details(title, [Table(("key", "value"), list(_flatten(content)))])


def headline(results: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yields measure, value, and what says whether the value is any good."""
    total = results["all"]
    if results["protocol"]["task"] == "classification":
        confusion = np.array(total["confusion"])
        chance = page.number(1 / len(confusion))
        largest = page.number(confusion.sum(axis=1).max() / confusion.sum())
        rows = [
            ("ua", total["ua"], f"{chance}, chance"),
            ("wa", total["wa"], f"{largest}, largest class only"),
        ]
    else:
        rows = [
            (
                f"ccc_{name}",
                ccc["pooled"],
                f"{page.number(ccc.get('per_recording_mean'))}, mean of the recordings",
            )
            for name, ccc in total["ccc"].items()
        ]
    summary = results.get("statistics")
    for measure, value, compare in rows:
        if summary:
            found = summary["measures"][measure]
            if found["interval"]:
                compare += (
                    f"; {summary['level']:.0%} interval {_interval(found['interval'])} "
                    f"over {summary['speakers']} speakers"
                )
            over = "folds" if summary["folds"] > 1 else "seeds"
            if summary[over] > 1:
                spread = tables.mean_and_deviation(found)
                compare += f"; {spread} over {summary[over]} {over}"
        name = statistics.measure_name(measure) + _MEANINGS.get(measure, "")
        yield name, page.number(value), compare
    expected = results.get("expected_score")
    if expected:
        verdict = "reached" if total["score"] >= expected else "MISSED"
        yield "expected score", verdict, f"at least {page.number(expected)}"


_MEANINGS = {"ua": " (mean recall)", "wa": " (accuracy)"}


def _classes(finished: _Finished) -> Iterator[Block]:
    confusion = np.array(finished.results["all"]["confusion"])
    recalls = metrics.recalls(confusion)
    answers = confusion.sum(axis=0)
    right = np.diag(confusion)
    header = ["class", "recall", "precision", "right", "of"]
    rows = [
        [
            name,
            page.number(recalls[i]),
            page.number(right[i] / answers[i] if answers[i] else None),
            right[i],
            confusion[i].sum(),
        ]
        for i, name in enumerate(finished.names)
    ]
    yield Heading("Classes")
    intervals = None
    if finished.predictions is not None:
        speakers, sums = statistics.group_sums(
            finished.predictions, finished.predictions.speakers
        )
        if len(speakers) > 1:
            intervals = statistics.bootstrap_interval(sums, metrics.recalls)
            level = f"{statistics.LEVEL:.0%}"
            header.insert(2, f"{level} interval")
            for row, interval in zip(rows, intervals.T):
                row.insert(2, _interval(interval))
            figure = figures.dots(
                finished.names,
                {"recall": recalls},
                intervals=intervals,
                lines={"chance": finished.chance, "UA": float(np.nanmean(recalls))},
            )
            yield Picture(
                "classes",
                figures.png(figure),
                alt="Recall of each class with its interval: "
                + ", ".join(f"{row[0]} {row[1]}" for row in rows),
                caption=f"Recall of each class; the bar is its {level} interval over "
                f"{len(speakers)} speakers.",
            )
    yield Table(header, rows)


def _confusion(finished: _Finished) -> Iterator[Block]:
    total = finished.results["all"]
    scores = f"UA {page.number(total['ua'])}, WA {page.number(total['wa'])}"
    seeds = len({fold.get("seed") for fold in finished.folds})
    yield Heading("Confusion")
    yield Picture(
        "confusion",
        figures.png(
            figures.confusion(np.array(total["confusion"]), finished.names, scores)
        ),
        alt=f"Confusion matrix of the test speakers: {scores}; its numbers are in the "
        "table below",
        caption="Rows are the truth, columns the answer; each cell holds the number of "
        "examples and its share of the true class."
        + (
            f" Each example counts once for each of {seeds} seeds." if seeds > 1 else ""
        ),
    )
    by_fold: dict[int, Any] = {}
    for fold in finished.folds:
        by_fold[fold["fold"]] = by_fold.get(fold["fold"], 0) + np.array(
            fold["confusion"]
        )
    if len(by_fold) > 1:
        confusions = {
            f"fold {name} · UA {metrics.unweighted_accuracy(confusion):.2f}": confusion
            for name, confusion in by_fold.items()
        }
        yield Picture(
            "confusion-folds",
            figures.png(figures.fold_confusions(confusions)),
            alt="Confusion matrix of each fold: " + ", ".join(confusions),
            caption="Each fold alone, in per cent of the true class; classes in the "
            "order of the matrix above.",
        )
    rows = [(name, *counts) for name, counts in zip(finished.names, total["confusion"])]
    yield Details(
        "Counts as a table", [Table(("true \\ predicted", *finished.names), rows)]
    )


def _speakers(finished: _Finished) -> Iterator[Block]:
    answers = finished.predictions
    if answers is None:
        return
    speakers, sums = statistics.group_sums(answers, answers.speakers)
    seeds = len(np.unique(answers.seeds))
    measured = statistics.measures(finished.task, finished.names)
    scores = {
        statistics.measure_name(measure): score_of(sums)
        for measure, score_of in measured.items()
    }
    if finished.task == "classification":
        unit, sizes = "examples", sums.sum(axis=(1, 2)) / seeds
        shown = {"UA": scores["UA"]}
        total = finished.results["all"]["ua"]
        lines = {"chance": finished.chance, f"pooled UA {page.number(total)}": total}
    else:
        unit, sizes = "seconds", sums[:, 0, 0] / seeds / FRAME_RATE_HZ
        shown, lines = scores, {}
    folds = [np.unique(answers.folds[answers.speakers == name]) for name in speakers]
    order = np.argsort(-next(iter(scores.values())))
    header = ("speaker", "fold", *scores, unit)
    rows = [
        (
            speakers[i],
            ", ".join(map(str, folds[i])),
            *(page.number(values[i]) for values in scores.values()),
            f"{sizes[i]:.0f}",
        )
        for i in order
    ]
    yield Heading("Speakers")
    first = next(iter(shown))
    yield Picture(
        "speakers",
        figures.png(
            figures.dots(
                [f"{speakers[i]} ({sizes[i]:.0f})" for i in order],
                {name: values[order] for name, values in shown.items()},
                lines=lines,
            )
        ),
        alt=f"{first} of {len(speakers)} speakers, from "
        f"{page.number(shown[first].max())} to {page.number(shown[first].min())}",
        caption=f"Nobody here was heard in training. In brackets: {unit} in the test.",
    )
    table = Table(header, rows)
    yield table if len(rows) <= 12 else Details("Scores of each speaker", [table])


def _calibration(finished: _Finished) -> Iterator[Block]:
    answers = finished.predictions
    if answers is None:
        return
    temperatures = [fold.get("temperature") for fold in finished.folds]
    panels = {
        "As trained": calibration.reliability(
            softmax(answers.outputs, axis=1), answers.targets
        )
    }
    explained = ""
    if all(t is not None for t in temperatures):
        divisors = np.full(len(answers.targets), np.nan, np.float32)
        for fold, temperature in zip(finished.folds, temperatures):
            divisors[_rows_of(finished, fold)] = temperature
        if np.isnan(divisors).any():
            raise ValueError("predictions.npz holds a fold that results.json lacks")
        panels["With temperature"] = calibration.reliability(
            softmax(answers.outputs / divisors[:, None], axis=1), answers.targets
        )
        explained = (
            " The temperature of each run (under Training) divides its logits; it was "
            "fitted on validation speakers, not on those tested here, and changes no "
            "answer."
        )
    errors = {title: shown.expected_error() for title, shown in panels.items()}
    yield Heading("Calibration")
    yield Picture(
        "calibration",
        figures.png(figures.reliability(panels)),
        alt="Reliability diagram: "
        + ", ".join(f"{k.lower()} ECE {page.number(v)}" for k, v in errors.items()),
        caption="How often the network is right when it is so sure. On the dotted "
        "line it is as sure as it is right; a dot below is overconfident. ECE is the "
        "mean distance, over 15 bins (Guo et al. 2017, equation 3)." + explained,
    )


def _rows_of(finished: _Finished, fold: Mapping[str, Any]) -> np.ndarray:
    """Which predictions are of this run."""
    seed = fold.get("seed", finished.results["seed"])
    answers = finished.predictions
    return (answers.folds == fold["fold"]) & (answers.seeds == seed)


def _tracks(finished: _Finished) -> Iterator[Block]:
    if finished.predictions is None:
        return
    # One seed: the mean of several would be another system.
    seeds = np.unique(finished.predictions.seeds)
    answers = finished.predictions[finished.predictions.seeds == seeds[0]]
    recordings, sums = statistics.group_sums(answers, answers.recordings)
    ccc = statistics.concordance(sums)
    means = ccc.mean(axis=1)
    yield Heading("Tracks")
    yield Text(
        "Gold standard and prediction of each recording, 25 values a second"
        + (f", of seed {seeds[0]}." if len(seeds) > 1 else ".")
    )
    shown = np.arange(len(recordings))
    if len(shown) > _MOST_TRACKS:
        ranked = np.argsort(-means)
        shown = ranked[np.linspace(0, len(ranked) - 1, _MOST_TRACKS).astype(int)]
        yield Text(
            f"{_MOST_TRACKS} of {len(recordings)} recordings, from the best to the "
            "worst by mean CCC; the table below holds all."
        )
    for number, i in enumerate(shown):
        part = answers[answers.recordings == recordings[i]]
        scores = ", ".join(
            f"{name} {page.number(value)}"
            for name, value in zip(finished.names, ccc[i])
        )
        yield Picture(
            f"tracks-{number:02d}",
            figures.png(
                figures.tracks(
                    recordings[i],
                    finished.names,
                    part.targets,
                    part.outputs,
                    ccc[i],
                )
            ),
            alt=f"{recordings[i]} over time: CCC of {scores}",
            caption=f"{recordings[i]}, speaker {part.speakers[0]}, fold "
            f"{part.folds[0]}.",
        )
    rows = [
        (name, f"{frames / FRAME_RATE_HZ:.0f}", *map(page.number, values))
        for name, frames, values in zip(recordings, sums[:, 0, 0], ccc)
    ]
    header = ("recording", "seconds", *(f"CCC, {name}" for name in finished.names))
    yield Details("Scores of each recording", [Table(header, rows)])


def _training(finished: _Finished) -> Iterator[Block]:
    yield Heading("Training")
    caption = (
        "The star marks the epoch that was tested: the best one by the validation "
        "speakers."
    )
    if not any(finished.logs):
        yield Text("No curves: metrics.jsonl holds no step.")
    elif len(finished.folds) == 1:
        fold = finished.folds[0]
        best_epoch = fold.get("best_epoch")
        figure = figures.curves(
            finished.task, finished.logs[0], best_epoch, finished.chance
        )
        yield Picture(
            "curves",
            figures.png(figure),
            alt="Loss and score over the training steps; best epoch "
            f"{page.number(best_epoch, digits=0)} with validation score "
            f"{page.number(fold.get('validation_score'))}",
            caption=caption,
        )
    else:
        runs: dict[int, list[Any]] = {}
        for fold, records in zip(finished.folds, finished.logs):
            runs.setdefault(fold["fold"], []).append((records, fold.get("best_epoch")))
        yield Picture(
            "curves",
            figures.png(figures.fold_curves(finished.task, runs, finished.chance)),
            alt=f"Loss and score over the training steps of {len(runs)} folds",
            caption=caption,
        )
    yield Table(*_fold_table(finished.results))


def _fold_table(results: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: one for each run, and what they are together."""
    folds = results["folds"]
    scored = measures(results["protocol"])
    header = ["fold", *map(statistics.measure_name, scored)]
    columns = {
        key: digits
        for key, digits in (
            *(("validation_score", 3), ("temperature", 2)),
            *(("best_epoch", 0), ("epochs", 0), ("seconds", 0)),
        )
        if any(key in fold for fold in folds)
    }
    header += [key.replace("_", " ") for key in columns]
    rows = [
        [
            name,
            *(page.number(score(fold, measure)) for measure in scored),
            *(page.number(fold.get(key), digits) for key, digits in columns.items()),
        ]
        for name, fold in zip(_run_names(folds), folds)
    ]
    if len(folds) > 1:
        nothing = [""] * len(columns)
        summary = results.get("statistics")
        if summary:
            found = summary["measures"]
            spreads = (tables.mean_and_deviation(found[m]) for m in scored)
            rows.append(["mean ± std", *spreads, *nothing])
        pooled = (page.number(score(results["all"], m)) for m in scored)
        rows.append(["all rows", *pooled, *nothing])
    return header, rows


def measures(protocol: Mapping[str, Any]) -> list[str]:
    """The names of what a run is scored by, as `statistics.measures` has them."""
    names = protocol.get("dimension_names", ())
    return list(statistics.measures(protocol["task"], names))


def score(scores: Mapping[str, Any], measure: str) -> float:
    """One of `measures` in the scores of `results.json`, of a fold or of all."""
    if measure in scores:
        return scores[measure]
    return scores["ccc"][measure.removeprefix("ccc_")]["pooled"]


def _run_names(folds: Sequence[Mapping[str, Any]]) -> list[str]:
    """Number of the fold, and the seed where runs are repeated."""
    repeated = len({fold["fold"] for fold in folds}) < len(folds)
    return [
        f"{fold['fold']}, seed {fold.get('seed')}" if repeated else str(fold["fold"])
        for fold in folds
    ]


def _statistics(finished: _Finished) -> Iterator[Block]:
    summary = finished.results.get("statistics")
    if not summary:
        return
    found = summary["measures"]
    level = f"{summary['level']:.0%}"
    several = summary["folds"] > 1
    repeated = summary["seeds"] > 1
    header = ["measure", "all rows", f"{level} interval"]
    rows = [
        [
            statistics.measure_name(m),
            page.number(entry["pooled"]),
            _interval(entry["interval"]),
        ]
        for m, entry in found.items()
    ]
    if several or repeated:
        header.append(f"{'folds' if several else 'seeds'}, mean ± std")
        for row, entry in zip(rows, found.values()):
            row.append(tables.mean_and_deviation(entry))
    if several and repeated:
        header += ["std by fold", "std by seed", "share of seed"]
        for row, entry in zip(rows, found.values()):
            fold, seed = entry["variance"]["fold"], entry["variance"]["seed"]
            share = f"{seed / (fold + seed):.0%}" if fold + seed else page.NOTHING
            row += [page.number(math.sqrt(fold)), page.number(math.sqrt(seed)), share]
    yield Heading("Statistics")
    yield Table(header, rows)
    notes = [
        f"Interval: bootstrap percentiles; {summary['speakers']} speakers are drawn "
        "with replacement, 2000 times, with all that they said."
    ]
    if summary["speakers"] < 2:
        notes = ["No interval: a single speaker says nothing about others."]
    elif summary["speakers"] < 10:
        notes.append(
            "With fewer than ten speakers such an interval is too narrow: take it as a "
            "lower bound of what is not known."
        )
    if several:
        notes.append(
            f"mean ± std: over {summary['folds']} folds, n - 1 in the denominator. "
            "Folds share training data, so that std / √n is not the error of the mean."
        )
    if several and repeated:
        notes.append(
            f"Variance: {summary['seeds']} seeds in each fold, one-way random effects "
            "(Searle et al. 1992): what a new seed changes at a given fold, and what "
            "is left between folds; the share is of the variance."
        )
    elif not repeated:
        notes.append("One seed: what another seed would change is not known.")
    yield Bullets(notes)


def _protocol(finished: _Finished) -> Iterator[Block]:
    protocol = finished.results["protocol"]
    rows = [
        (k, protocol[k]) for k in ("corpus", "task", "folds", "fold") if k in protocol
    ]
    for key in ("class_names", "dimension_names"):
        if key in protocol:
            rows.append((key.replace("_", " "), ", ".join(protocol[key])))
    for split, speakers in _flatten(protocol["speakers"]):
        names = ", ".join(map(str, speakers))
        rows.append((f"{split} speakers", f"{len(speakers)}: {names}"))
    for split, examples in _flatten(protocol["examples"]):
        rows.append((f"{split} examples", examples))
    if "hours" in protocol:
        rows.append(("hours of speech", page.number(protocol["hours"], digits=2)))
    if "fingerprint" in protocol:
        rows.append(("fingerprint of the data", protocol["fingerprint"]))
    yield Heading("Protocol")
    yield Table(("what", "value"), rows)
    speakers = {fold["fold"]: fold.get("speakers") for fold in finished.folds}
    if len(speakers) > 1 and all(speakers.values()):
        sides = ("test", "validation", "train")
        rows = [
            (fold, *(", ".join(map(str, heard[side])) for side in sides))
            for fold, heard in speakers.items()
        ]
        yield Details("Speakers of each fold", [Table(("fold", *sides), rows)])


def _counts(protocol: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("Counts and warnings")
    warnings, skipped = protocol["warnings"], protocol["skipped"]
    if warnings:
        yield Bullets(warnings)
    else:
        yield Text("No warnings.")
    if skipped:
        rows = [(entry["file"], entry["reason"]) for entry in skipped]
        table = Table(("file", "reason"), rows)
        yield Text(f"Skipped files: {len(skipped)}")
        yield table if len(rows) <= 12 else Details("Skipped files", [table])
    else:
        yield Text("No file was skipped.")
    for kind, counts in protocol.get("counts", {}).items():
        if counts:
            unit = "examples" if kind == "split" else "recordings"
            yield Details(
                f"{unit.capitalize()} by {kind}",
                [Table((kind, unit), list(counts.items()))],
            )


def _cost(finished: _Finished) -> Iterator[Block]:
    runs = [
        (name, fold["cost"])
        for name, fold in zip(_run_names(finished.folds), finished.folds)
        if fold.get("cost")
    ]
    if not runs:
        return
    header = ("run", "device", "wall-clock time", "CPU time", "peak memory, GiB")
    rows = [
        (
            f"fold {name}",
            cost["device"],
            _duration(cost["wall_seconds"]),
            _duration(cost["cpu_seconds"]),
            _gibibytes(cost["peak_memory_bytes"]),
        )
        for name, cost in runs
    ]
    wall = sum(cost["wall_seconds"] for _, cost in runs)
    cpu = sum(cost["cpu_seconds"] or 0 for _, cost in runs)
    if len(runs) > 1:
        peak = max((c["peak_memory_bytes"] or 0 for _, c in runs), default=0)
        rows.append(
            ("together", "", _duration(wall), _duration(cpu), _gibibytes(peak or None))
        )
    yield Heading("Cost")
    yield Table(header, rows)
    yield Text(
        "Energy was not measured. It is in proportion to the "
        f"{page.number(wall / 3600)} hours of the device and to the "
        f"{page.number(cpu / 3600)} CPU core hours: a machine that draws 100 W all the "
        f"time takes {page.number(wall / 36000)} kWh."
    )


# How values are written.


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields each leaf of nested objects with its dotted key."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _interval(interval: Sequence[float] | None) -> str:
    if interval is None or not np.isfinite(interval).all():
        return page.NOTHING
    return f"{page.number(interval[0])} to {page.number(interval[1])}"


def _duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return page.NOTHING
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _gibibytes(size: float | None) -> str:
    return page.number(None if size is None else size / 2**30, digits=2)
