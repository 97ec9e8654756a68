"""Tables of experiments, from the numbers that their pages and `results` keep."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from diccoser_jax import page, statistics

CEILING = "ceiling"  # the system that knows how labels were computed


def partial(systems: Sequence[Mapping[str, Any]]) -> Iterator[page.Block]:
    """Says which systems were not run on all folds."""
    partial = [row for row in systems if row["folds"] < row["of_folds"]]
    if not partial:
        return
    names = "; ".join(
        f"{row['system']}: {row['folds']} of {row['of_folds']}" for row in partial
    )
    yield page.Text(
        f"Not on all folds: {names}. A mean over some folds is not comparable with one "
        "over all; differences below are taken on the folds that both systems have."
    )


def tests(found: Sequence[Mapping[str, Any]]) -> Iterator[page.Block]:
    """The table of what is claimed, as `Reproduction.write` keeps it."""
    yield page.Table(
        ["claim", "holds", "difference", "95 % interval", "p", "speakers"],
        [
            (
                test["claim"],
                test["holds"],
                *(
                    (
                        f"{test['difference']:+.3f}",
                        "{:+.3f} to {:+.3f}".format(*test["interval"]),
                        f"{test['p_value']:.3f}",
                        test["pairs"],
                    )
                    if "p_value" in test
                    else ("", "", "", "")
                ),
            )
            for test in found
        ],
    )
    yield page.Text(
        "Paired by speaker: the mean difference of the speakers' "
        f"{found[0].get('measure', 'scores') if found else 'scores'}, and the p value "
        "of a sign-flip test. Below 5 % a difference counts; without that, it is "
        "noise. p values are not corrected for the number of claims."
    )


def scores(
    rows: Sequence[Mapping[str, Any]],
    paper: Sequence[Mapping[str, float | None]] | None = None,
) -> Iterator[page.Block]:
    """A table of systems and their scores, as `Reproduction.write` keeps them."""
    measures = list(rows[0]["measures"])
    header = ["system"]
    for measure in measures:
        header += [statistics.measure_name(measure)] + (["paper"] if paper else [])
    yield page.Table(
        [*header, "folds", "runs", "parameters", "minutes"],
        [
            (
                row["system"],
                *(
                    cell
                    for measure in measures
                    for cell in (
                        mean_and_deviation(row["measures"][measure]),
                        *([page.number(paper[i][measure])] if paper else []),
                    )
                ),
                row["folds"],
                row["runs"],
                f"{row['parameters']:,}" if row["parameters"] else "",
                f"{row['seconds'] / 60:.1f}",
            )
            for i, row in enumerate(rows)
        ],
    )
    if rows[-1]["system"] == CEILING:
        yield page.Text(
            "Labels of this corpus were computed. The ceiling is what they permit one "
            "who measures without error what is heard, and knows nothing of what is "
            "to come."
        )


def mean_and_deviation(found: Mapping[str, Any]) -> str:
    """A measure of `statistics.summarise`, as tables write it.

    Over the folds; of a single fold over its seeds; a single run has no deviation.
    """
    std = found["std"]
    if std is None and "variance" in found:
        std = math.sqrt(found["variance"]["seed"])
    deviation = "" if std is None else f" ± {page.number(std)}"
    return f"{page.number(found['mean'])}{deviation}"


def networks(found: Mapping[str, Any]) -> Iterator[page.Block]:
    """The table of what networks cost, as `Reproduction.write` keeps it."""
    parameters = {row["network"]: row["parameters"] for row in found["networks"]}
    yield page.Table(
        [
            *("network", "parameters", "of the CNN-LSTM"),
            *("million multiply-adds a second", "receptive field, s"),
            "times faster than real time",
        ],
        [
            (
                row["network"],
                f"{row['parameters']:,}",
                f"{row['parameters'] / _baseline(parameters, row['network']):.0%}",
                f"{row['multiply_adds_per_second'] / 1e6:,.0f}",
                _receptive_field(row["receptive_field_seconds"]),
                f"{1 / row['real_time_factor']:,.0f}",
            )
            for row in found["networks"]
        ],
    )
    yield page.Text(
        f"Windows of {found['window_seconds']:g} s, {found['outputs']} outputs. The "
        "speed is that of one window at a time, the median of "
        f"{found['repetitions']}, on {found['device']}. The CNN-LSTM hears the whole "
        "window, what is to come included."
    )


def _baseline(parameters: Mapping[str, int], network: str) -> int:
    return parameters[f"CNN-LSTM, {network.rpartition(', ')[2]}"]


def _receptive_field(seconds: float | None) -> str:
    return "all" if seconds is None else f"{seconds:.1f}"


def components(found: Mapping[str, Any]) -> Iterator[page.Block]:
    """The table of principal components, as `Reproduction.write` keeps them."""
    panels = found["panels"]
    yield page.Table(
        [
            *("network, fold", "variance of the first", "of the second"),
            *("first and arousal", "second and valence"),
        ],
        [
            (
                panel["system"],
                *map(_percent, panel["variance_shares"]),
                *(page.number(panel[key], 2) for key in ("arousal", "valence")),
            )
            for panel in panels
        ],
    )
    yield page.Text(
        "Shares of the variance, and absolute rank correlations (Spearman) of the "
        "first component with arousal and of the second with valence: "
        + (
            "those of the acted class, as its word was rated by Russell and Mehrabian "
            "(1977), so that all recordings of a class share one value. A dash: words "
            "that nobody rated."
            if found["task"] == "classification"
            else "the means of the labels of each window."
        )
    )
    systems = dict.fromkeys(panel["system"].partition(",")[0] for panel in panels)
    means = []
    for system in systems:
        rows = [panel for panel in panels if panel["system"].startswith(f"{system},")]
        arousal, valence = (
            page.number(_mean(rows, key), 2) for key in ("arousal", "valence")
        )
        means.append(f"{system}: arousal {arousal}, valence {valence}")
    yield page.Text(
        "The paper's claims: classes form clusters; the first component follows "
        "arousal, the second does not follow valence. Means over the folds here: "
        + "; ".join(means)
        + "."
    )


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [row[key] for row in rows if row[key] is not None]
    return float(np.mean(known)) if known else None


def _percent(value: float | None) -> str:
    return page.NOTHING if value is None else f"{value:.0%}"
