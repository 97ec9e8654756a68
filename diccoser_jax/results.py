r"""Finished experiments to RESULTS.md: what was measured, and what the paper claims.

  python -m diccoser_jax.results runs/emodb-paper runs/ravdess-paper

Each folder is the workdir of `diccoser_jax.reproduce`, or that of a cross-validation by
`diccoser_jax.main`. Their JSON goes to results/<corpus>/, with the pictures, and
RESULTS.md is written from that alone: without any folder it is written again. A folder
of a second recipe on a corpus takes a name of its own: emodb-tuned=runs/emodb-tuned.

What the numbers mean is written by hand, in results/notes.md: the text before its first
heading opens RESULTS.md, and that under "## emodb" the section of emodb.
"""

import json
import pathlib
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from absl import app, flags

from diccoser_jax import files, page, report, reproduce, statistics, tables
from diccoser_jax.comparisons import ABLATIONS
from diccoser_jax.config import ConfigError
from diccoser_jax.reproduce import EXPERIMENTS

_PRIVATE = ("workdir", "config.data.manual_dir", "config.data.data_dir")
_CLAIMS_OF = ("fig5", "fig6", "fig7", "table4")


def collect(workdir: pathlib.Path, folder: pathlib.Path, name: str = "") -> list[str]:
    """Copies what is small of a finished workdir: JSON, and pictures of experiments.

    Where a corpus lay, and the workdir, are replaced by DIR: they say nothing to
    others.

    Args:
      workdir: of `reproduce` or `main`.
      folder: ``results``; gets ``<name>/<experiment>.json`` and pictures.
      name: of the section; '' for that of the corpus.

    Returns:
      What was found, by file name.

    Raises:
      ConfigError: if nothing in the workdir is finished, or if another folder went by
        the same name.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(workdir.glob("*.json")):
        content = json.loads(path.read_text())
        if path.name == "results.json":
            found[workdir.name] = content | {"experiment": "run"}
            content["corpus"] = content["protocol"]["corpus"]
            found[workdir.name]["corpus"] = content["corpus"]
        elif content.get("experiment") in EXPERIMENTS:
            found[content["experiment"]] = content
    if not found:
        raise ConfigError(
            f"{workdir} holds no finished experiment: expected results.json, or one of "
            f"{', '.join(EXPERIMENTS)} with .json."
        )
    for file_name, content in found.items():
        target = folder / (name or content["corpus"])
        target.mkdir(parents=True, exist_ok=True)
        path = target / f"{file_name}.json"
        content = public(content)
        if path.exists():
            before = json.loads(path.read_text())["config"]
            if _recipe(before) != _recipe(content["config"]):
                raise ConfigError(
                    f"{path} is of another configuration than {workdir}. Name this "
                    f"one: NAME={workdir}."
                )
        files.replace(path, (json.dumps(content, indent=1) + "\n").encode())
        pictures = {
            f"{file_name}.png": f"{file_name}.png",
            f"{file_name}_curves.png": f"{file_name}_curves.png",
        }
        if content["experiment"] == "run":
            pictures = {"confusion.png": f"{file_name}-confusion.png"}
        for source, copy in pictures.items():
            if (workdir / source).exists():
                shutil.copyfile(workdir / source, target / copy)
    return list(found)


def _recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """What two results of one section must share."""
    return {key: value for key, value in config.items() if key not in ("fold", "data")}


def public(content: dict[str, Any]) -> dict[str, Any]:
    """A copy without the folders of one machine."""
    content = json.loads(json.dumps(content))
    for key in ("manual_dir", "data_dir"):
        if content["config"]["data"].get(key):
            content["config"]["data"][key] = "DIR"
    for key in _PRIVATE:
        content["command"] = re.sub(
            rf"(--{re.escape(key)})(=| )('[^']*'|\S+)", r"\1=DIR", content["command"]
        )
    content["command"] = re.sub(
        r"--config(=| )\S*?(configs/\w+\.py\S*)", r"--config=\2", content["command"]
    )
    return content


def write(folder: pathlib.Path, output: pathlib.Path) -> None:
    """Writes RESULTS.md from ``results``.

    Args:
      folder: ``results``, with a folder for each section.
      output: the file; pictures are linked relative to it.
    """
    sections: dict[str, Any] = {}
    for path in sorted(folder.glob("*/*.json")):
        content = json.loads(path.read_text())
        if "experiment" in content:  # results/benchmarks/ are others
            sections.setdefault(path.parent.name, {})[path.stem] = content
    notes = read_notes(folder / "notes.md")
    where = folder.resolve().relative_to(output.resolve().parent).as_posix()
    lines = ["# Results", ""]
    if "" in notes:
        lines += [notes[""], ""]
    lines += [
        "Made by `python -m diccoser_jax.results` from "
        f"[`{where}/`]({where}/), where the numbers are as JSON; the text that weighs "
        f"them is [`{where}/notes.md`]({where}/notes.md).",
        "",
    ]
    lines.append(_markdown(_claims(sections)))
    for name, experiments in sections.items():
        lines += [f"## {name}", ""]
        if name in notes:
            lines += [notes[name], ""]
        lines.append(_markdown(_section(f"{where}/{name}", experiments)))
    text = "\n".join(lines).rstrip() + "\n"
    files.replace(output, re.sub(r"\n{3,}", "\n\n", text).encode())


def read_notes(path: pathlib.Path) -> dict[str, str]:
    """What was written by hand: by section, '' for what stands before any.

    Args:
      path: Markdown; it need not be there.
    """
    if not path.exists():
        return {}
    first, *others = re.split(r"(?m)^## ", path.read_text())
    notes = {"": re.sub(r"\A# .*\n", "", first).strip()}
    for other in others:
        name, _, text = other.partition("\n")
        notes[name.strip()] = text.strip()
    return {name: text for name, text in notes.items() if text}


def _markdown(blocks: Iterator[page.Block]) -> str:
    return page.to_markdown("", blocks).partition("\n\n")[2]


def _claims(sections: Mapping[str, Mapping[str, Any]]) -> Iterator[page.Block]:
    """A row for each claim of the paper, a column for each section."""
    rows: dict[str, dict[str, str]] = {}
    for name, experiments in sections.items():
        for experiment in _CLAIMS_OF:
            for test in experiments.get(experiment, {}).get("tests", []):
                claim = f"{_short(experiment)}: {test['claim']}"
                if experiment == "table4":  # whose best features differ
                    claim = re.sub(r" than .*", " than traditional features", claim)
                difference = (
                    f" ({test['difference']:+.3f})" if "difference" in test else ""
                )
                rows.setdefault(claim, {})[name] = f"{test['holds']}{difference}"
        if "fig8" in experiments:
            for dimension, claim in (
                ("arousal", "Fig. 8: the first component follows arousal"),
                ("valence", "Fig. 8: the second does not follow valence"),
            ):
                known = [
                    panel[dimension]
                    for panel in experiments["fig8"]["panels"]
                    if panel[dimension] is not None
                ]
                if known:
                    mean = sum(known) / len(known)
                    rows.setdefault(claim, {})[name] = f"rank correlation {mean:.2f}"
        if "table3" in experiments:
            ours = {
                row["network"]: row["parameters"]
                for row in experiments["table3"]["networks"]
            }
            share = ours["CS rms, raw"] / ours["CNN-LSTM, raw"]
            claim = "Table 3: CS has about a third of the CNN-LSTM's parameters"
            rows.setdefault(claim, {})[name] = f"{share:.0%}"
    if not rows:
        return
    yield page.Heading("The paper's claims")
    yield page.Text(
        "Yes or no where the difference is more than noise (paired by speaker, p below "
        "5 %), with the mean difference of the speakers' UA or CCC."
    )
    yield page.Table(
        ["claim", *sections],
        [
            (claim, *(found.get(name, "not run") for name in sections))
            for claim, found in rows.items()
        ],
    )


def _short(experiment: str) -> str:
    number = experiment[-1]
    return f"Fig. {number}" if experiment.startswith("fig") else f"Table {number}"


def _section(
    where: str, experiments: Mapping[str, Mapping[str, Any]]
) -> Iterator[page.Block]:
    runs = {n: e for n, e in experiments.items() if e["experiment"] == "run"}
    protocols = dict.fromkeys(
        e["protocol"] if isinstance(e["protocol"], str) else e["protocol"]["id"]
        for e in experiments.values()
        if "protocol" in e
    )
    if protocols:
        yield page.Bullets([f"Protocol: {protocol}." for protocol in protocols])
    for name in EXPERIMENTS:
        if name not in experiments:
            continue
        found = experiments[name]
        yield page.Heading(found["title"], level=3)
        if name == "table3":
            yield from tables.networks(found)
        elif name == "fig8":
            yield _picture(where, name, "Local contexts, coloured by class or arousal")
            yield from tables.components(found)
        else:
            yield from tables.partial(found["systems"])
            yield from tables.scores(found["systems"], found["paper"])
            yield _picture(where, name, found["title"])
            if name in ABLATIONS:
                yield _picture(where, f"{name}_curves", "Convergence")
            yield from tables.tests(found["tests"])
        yield page.Code(found["command"])
    if runs:
        yield page.Heading("Cross-validations", level=3)
        yield from _runs(where, runs)
    yield from _cost_and_gaps(experiments)


def _picture(where: str, name: str, alt: str) -> page.Picture:
    return page.Picture(f"{where}/{name}", b"", alt, "")


def _runs(where: str, runs: Mapping[str, Mapping[str, Any]]) -> Iterator[page.Block]:
    """Systems that were cross-validated on their own."""
    measures = list(dict.fromkeys(m for run in runs.values() for m in _measures(run)))
    yield page.Table(
        ["run", *measures, "folds and seeds", "parameters", "minutes a fold"],
        [
            (
                name,
                *(_measures(run).get(measure, "") for measure in measures),
                len(run["folds"]),
                f"{run['parameters']:,}",
                f"{run['seconds'] / len(run['folds']) / 60:.1f}",
            )
            for name, run in runs.items()
        ],
    )
    for name, run in runs.items():
        if run["protocol"]["task"] == "classification":
            yield _picture(where, f"{name}-confusion", f"Confusion of {name}")
        yield page.Code(run["command"])


def _measures(run: Mapping[str, Any]) -> dict[str, str]:
    """Scores as text: of one fold, or mean and deviation over folds."""
    if "statistics" not in run:
        return {
            statistics.measure_name(measure): page.number(
                report.score(run["all"], measure)
            )
            for measure in report.measures(run["protocol"])
        }
    return {
        statistics.measure_name(measure): tables.mean_and_deviation(found)
        for measure, found in run["statistics"]["measures"].items()
    }


def _cost_and_gaps(
    experiments: Mapping[str, Mapping[str, Any]],
) -> Iterator[page.Block]:
    yield page.Heading("Cost, and what is missing", level=3)
    seconds: dict[str, Any] = {}
    for name, found in experiments.items():
        if found["experiment"] == "run":
            seconds[name] = found["seconds"]
        for row in found.get("systems", []):
            seconds[row["system"]] = max(row["seconds"], seconds.get(row["system"], 0))
    hours = sum(seconds.values()) / 3600
    items = [f"Training took {hours:.1f} h; systems of one name are counted once."]
    task = next(iter(experiments.values()))
    task = task.get("task") or task["protocol"]["task"]
    missing = [
        name
        for name in EXPERIMENTS
        if name not in experiments and reproduce.task_of(name) in (None, task)
    ]
    if missing:
        items.append(f"Not run: {', '.join(missing)}.")
    for name, found in experiments.items():
        partial = [
            row["system"]
            for row in found.get("systems", [])
            if row["folds"] < row["of_folds"]
        ]
        if partial:
            items.append(f"{name}, not on all folds: {'; '.join(partial)}.")
    yield page.Bullets(items)


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    folder, output = (pathlib.Path(flags.FLAGS[key].value) for key in _FLAGS)
    try:
        for argument in argv[1:]:
            name, _, workdir = argument.rpartition("=")
            found = collect(pathlib.Path(workdir), folder, name)
            print(f"{workdir}: {', '.join(found)}")
        write(folder, output)
    except (ConfigError, OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(output)


_FLAGS: Sequence[str] = ("results", "output")

if __name__ == "__main__":
    flags.DEFINE_string("results", "results", "Where JSON and pictures are kept.")
    flags.DEFINE_string("output", "RESULTS.md", "The page.")
    app.run(main)
