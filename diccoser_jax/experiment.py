"""From a configuration to results: shards, folds, training, scores, report.

`run` is what the command does, and what every experiment of the paper is made of.
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

import diccoser_jax
from configs import default
from data_prep import build
from diccoser_jax import config as config_lib
from diccoser_jax import (
    data,
    distributed,
    evaluate,
    files,
    folds,
    lock,
    predictions,
    report,
    statistics,
    train,
)
from diccoser_jax.config import ConfigError

_VERSIONS_OF = ("jax", "flax", "optax", "grain", "numpy")
ALL = "all"  # as config.fold: every fold of the plan


def run(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, command: str = ""
) -> dict[str, Any]:
    """Builds shards if need be, trains, tests, writes results and report.

    With ``config.fold`` a number and ``config.repeats`` 1 this is one training run.
    Otherwise every fold and every repetition is such a run, in a folder of its own in
    the workdir, and the workdir holds what they give together. Runs that are finished
    are not repeated, and one that was interrupted goes on.

    Args:
      config: as in ``configs/default.py``.
      workdir: a new folder, or the one of the same configuration, interrupted.
      command: how to repeat this run, for the report.

    Returns:
      What ``results.json`` in the workdir holds.

    Raises:
      ConfigError: if the configuration cannot be run, or the workdir has another.
      CorpusError: if the corpus cannot be used.
      FloatingPointError: if the loss becomes NaN or infinite.
      CheckpointError: if a checkpoint cannot be written.
      InUseError: if another process is at work in the workdir.
      Interrupted: on Ctrl-C or SIGTERM while it trains; all is saved.
    """
    config_lib.check_keys(config, default.get_config())
    train.check_settings(config)
    if config.repeats < 1:
        raise ConfigError(f"repeats={config.repeats} must be at least 1.")
    with _begin(config, workdir) as results:
        if results is not None:
            print(f"{workdir} holds a finished run; reporting again.", file=sys.stderr)
            distributed.on_first(lambda: report.write(workdir))
            return results
        corpus = prepare(config)
        if config.fold == ALL or config.repeats > 1:
            return _run_many(config, workdir, corpus, command)
        return _run_one(config, workdir, corpus, command)


def without_times(results: Any) -> Any:
    """What of ``results.json`` is the same for an interrupted run and any other.

    All but what was measured by the clock, ``seconds`` and ``cost``, and how the run
    was started, ``command``.
    """
    if isinstance(results, list):
        return [without_times(value) for value in results]
    if isinstance(results, dict):
        return {
            key: without_times(value)
            for key, value in results.items()
            if key not in ("seconds", "cost", "command")
        }
    return results


def prepare(config: ml_collections.ConfigDict) -> data.Corpus:
    """The shards of the corpus that the configuration names, made if need be.

    Raises:
      CorpusError: if the corpus cannot be used.
    """
    shards = build.build(
        config.data.dataset,
        config.data.manual_dir,
        pathlib.Path(config.data.data_dir).expanduser(),
        on_bad_file=config.data.on_bad_file,
        allow_partial=config.data.allow_partial,
        window_seconds=config.data.window_seconds,
        shift_seconds=config.data.shift_seconds,
        delay_seconds=config.data.delay_seconds,
    )
    return data.Corpus(shards)


def make_plan(
    config: ml_collections.ConfigDict, corpus: data.Corpus
) -> tuple[folds.Fold, ...]:
    """The folds of the configuration; in none is anybody heard on two of its sides.

    Raises:
      ConfigError: if the corpus permits no such plan.
    """
    units, settings = corpus.metadata["units"], config.folds
    sexes = {name: unit["sex"] for name, unit in units.items()}
    try:
        if settings.plan == "explicit":
            plan = folds.explicit(settings.explicit, units)
        else:
            plan = folds.plan(settings.plan, sexes, settings.count, settings.seed)
    except ValueError as error:
        raise ConfigError(f"folds: {error}") from error
    speakers = {name: unit["speakers"] for name, unit in units.items()}
    for fold in plan:
        folds.check_speakers_disjoint(fold, speakers)
    return plan


def choose_fold(
    config: ml_collections.ConfigDict, plan: tuple[folds.Fold, ...]
) -> folds.Fold:
    """The fold that ``config.fold`` names.

    Raises:
      ConfigError: if there is none of that number.
    """
    if not config.fold.isdecimal() or int(config.fold) >= len(plan):
        raise ConfigError(
            f"fold={config.fold!r} is neither {ALL!r} nor in 0 to {len(plan) - 1}."
        )
    return plan[int(config.fold)]


@contextlib.contextmanager
def _begin(
    config: ml_collections.ConfigDict, workdir: pathlib.Path
) -> Iterator[dict[str, Any] | None]:
    """Holds the workdir, notes the configuration; the results, if they are there."""
    results_path = workdir / "results.json"
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(lock.hold(workdir))
            config_lib.note(config, workdir / "config.json")

        distributed.on_first(begin)
        yield report.read_results(results_path) if results_path.exists() else None


def _run_one(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    corpus: data.Corpus,
    command: str,
) -> dict[str, Any]:
    """Trains and tests on one fold with one seed."""
    fold = choose_fold(config, make_plan(config, corpus))
    scores = train.train_and_evaluate(config, workdir, corpus, fold)
    sides = dataclasses.asdict(fold)
    units = corpus.metadata["units"]
    speakers = {
        side: sorted(s for name in names for s in units[name]["speakers"])
        for side, names in sides.items()
    }
    examples = {
        side: len(corpus.source(names, evaluation=side != "train"))
        for side, names in sides.items()
    }
    parameters = scores.pop("parameters")
    entry = {"fold": int(config.fold), "seed": config.seed, "speakers": speakers}
    return _finish(
        config,
        workdir,
        command,
        protocol=protocol(config, corpus, speakers, examples),
        entries=[entry | scores],
        total=scores,
        parameters=parameters,
    )


def _run_many(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    corpus: data.Corpus,
    command: str,
) -> dict[str, Any]:
    """Every fold that is asked for, with every seed, and what they give together."""
    plan = make_plan(config, corpus)
    numbers: Sequence[int] = range(len(plan))
    if config.fold != ALL:
        choose_fold(config, plan)
        numbers = [int(config.fold)]
    seeds = range(config.seed, config.seed + config.repeats)
    runs = [(seed, number) for seed in seeds for number in numbers]
    results, rows = [], []
    for i, (seed, number) in enumerate(runs, start=1):
        name = run_name(number, seed, config.repeats)
        one = config.copy_and_resolve_references()
        one.fold, one.seed, one.repeats = str(number), seed, 1
        with _begin(one, workdir / name) as found:
            if found is None:
                print(f"Run {i} of {len(runs)}: {workdir / name}", file=sys.stderr)
                found = _run_one(one, workdir / name, corpus, command)
        if found["protocol"]["fingerprint"] != corpus.metadata["fingerprint"]:
            raise ConfigError(
                f"{workdir / name} was made from other recordings: the corpus has "
                "changed since. Use the same, or another --workdir."
            )
        results.append(found)
        rows.append(predictions.load(workdir / name / "predictions.npz"))
    everything = predictions.concatenate(rows)
    distributed.on_first(lambda: everything.save(workdir / "predictions.npz"))
    tested = {s for found in results for s in found["protocol"]["speakers"]["test"]}
    examples = len(set(everything.recordings.tolist()))
    return _finish(
        config,
        workdir,
        command,
        protocol=protocol(config, corpus, {"test": sorted(tested)}, {"test": examples}),
        entries=[found["folds"][0] for found in results],
        total=evaluate.score(everything, corpus.target_names),
        parameters=results[0]["parameters"],
        statistics=statistics.summarise(everything, corpus.task, corpus.target_names),
    )


def run_name(fold: int, seed: int, repeats: int) -> str:
    """The folder, in that of a cross-validation, of one of its runs."""
    return f"fold{fold}" + (f"-seed{seed}" if repeats > 1 else "")


def _finish(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    command: str,
    *,
    protocol: dict[str, Any],
    entries: list[dict[str, Any]],
    total: dict[str, Any],
    **more: Any,
) -> dict[str, Any]:
    """Writes results and report, and returns the results."""
    results = {
        "status": "finished",
        "command": command,
        "protocol": protocol,
        "config": json.loads(config.to_json()),
        "versions": {
            "diccoser-jax": diccoser_jax.__version__,  # of a mere checkout, too
            **{name: importlib.metadata.version(name) for name in _VERSIONS_OF},
        },
        "seed": config.seed,
        "expected_score": config.expected_score,
        "folds": entries,
        "all": total,
        "seconds": sum(entry["seconds"] for entry in entries),
        **more,
    }

    def write() -> None:
        _write_json(workdir / "results.json", results)
        report.write(workdir)

    distributed.on_first(write)
    return results


def protocol(
    config: ml_collections.ConfigDict,
    corpus: data.Corpus,
    speakers: dict[str, list[str]],
    examples: dict[str, int],
) -> dict[str, Any]:
    """What makes two results comparable, or not; JSON-able.

    Args:
      config: as in ``configs/default.py``.
      corpus: what was trained and tested on.
      speakers: on each side of the fold; of several folds, those that were tested.
      examples: how many, of each side.

    Returns:
      Among others ``id``: results with the same one were tested on the same recordings
      of the same speakers, and trained on the same others.
    """
    metadata = corpus.metadata
    plan = _describe_plan(config.folds)
    anew = "; trained anew on train and validation" if config.train.refit else ""
    classification = corpus.task == "classification"
    return {
        "id": f"{config.data.dataset} {metadata['fingerprint'][:12]}; {plan}; "
        f"fold {config.fold}{anew}",
        "corpus": corpus.name,
        "task": corpus.task,
        "class_names" if classification else "dimension_names": list(
            corpus.target_names
        ),
        "folds": plan,
        "fold": config.fold,
        "speakers": speakers,
        "examples": examples,
        **{
            key: metadata[key]
            for key in ("counts", "hours", "warnings", "skipped", "fingerprint")
        },
    }


def _describe_plan(settings: ml_collections.ConfigDict) -> str:
    if settings.plan == "explicit":
        return f"{len(settings.explicit)} folds, spelt out in the configuration"
    return (
        f"{settings.plan}, count {settings.count}, seed {settings.seed}: "
        f"{folds.PLANS[settings.plan]}"
    )


def _write_json(path: pathlib.Path, content: dict[str, Any]) -> None:
    files.replace(path, (json.dumps(content, indent=2) + "\n").encode())
