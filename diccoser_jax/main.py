r"""Trains, evaluates and reports: one command from a corpus to a score and a picture.

The demo, on a synthetic corpus:
  python -m diccoser_jax.main

A corpus, with a file of configs/ and any key of configs/default.py as a flag:
  python -m diccoser_jax.main --config=configs/emodb.py \
      --config.data.manual_dir=DIR --workdir=DIR [--config.section.key=value ...]

Networks, --config.model.network=                 parameters, 3 s and 4 classes
                                                      raw     log_mel
  diccoser        one sequential network          358,660     365,828
  diccoser_cs     context stacking                424,772     431,940
  diccoser_cs_v2  context stacking, exchanged     424,772     431,940
  cnn_lstm        Tzirakis et al. 2018          1,298,372   1,318,340

--config.model.frontend=raw or log_mel; --config.model.aggregation=rms or max (context
stacking); --config.model.block=relu or gated (WaveNet's). Recipes: the paper's by
--config=configs/emodb.py:paper, the default by :tuned.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import shlex
import sys
from typing import Any

import jax
import ml_collections
from absl import app, flags, logging
from ml_collections import config_flags

import configs.demo
from configs import default
from data_prep import build
from data_prep.corpus import CorpusError
from diccoser_jax import config as config_lib
from diccoser_jax import data, files, folds, huge_pages, report, train
from diccoser_jax.audio import AudioError
from diccoser_jax.config import ConfigError

_VERSIONS_OF = ("diccoser-jax", "jax", "flax", "optax", "grain", "numpy")


def run(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, command: str = ""
) -> dict[str, Any]:
    """Builds shards if need be, trains on ``config.fold``, tests, writes the report.

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
    """
    config_lib.check_keys(config, default.get_config())
    train.check_settings(config)
    workdir.mkdir(parents=True, exist_ok=True)
    config_path, results_path = workdir / "config.json", workdir / "results.json"
    if config_path.exists():
        config_lib.check_same(config, config_path)
    else:
        _write_json(config_path, json.loads(config.to_json()))
    if results_path.exists():
        print(f"{workdir} holds a finished run; reporting again.", file=sys.stderr)
        report.write(workdir)
        return report.read_results(results_path)

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
    corpus = data.Corpus(shards)
    fold = choose_fold(config, corpus)
    scores = train.train_and_evaluate(config, workdir, corpus, fold)
    parameters, seconds = scores.pop("parameters"), scores["seconds"]
    results = {
        "status": "finished",
        "command": command,
        "protocol": protocol(config, corpus, fold),
        "config": json.loads(config.to_json()),
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS_OF},
        "seed": config.seed,
        "expected_score": config.expected_score,
        "folds": [{"fold": config.fold, **scores}],
        "all": scores,
        "parameters": parameters,
        "seconds": seconds,
    }
    _write_json(results_path, results)
    report.write(workdir)
    return results


def choose_fold(config: ml_collections.ConfigDict, corpus: data.Corpus) -> folds.Fold:
    """The fold that the configuration asks for; nobody is heard on two of its sides.

    Raises:
      ConfigError: if the corpus permits no such fold.
    """
    units = corpus.metadata["units"]
    sexes = {name: unit["sex"] for name, unit in units.items()}
    settings = config.folds
    try:
        if settings.plan == "explicit":
            plan = folds.explicit(settings.explicit, units)
        else:
            plan = folds.plan(settings.plan, sexes, settings.count, settings.seed)
    except ValueError as error:
        raise ConfigError(f"folds: {error}") from error
    if not 0 <= config.fold < len(plan):
        raise ConfigError(f"fold={config.fold} is not in 0 to {len(plan) - 1}.")
    fold = plan[config.fold]
    folds.check_speakers_disjoint(
        fold, {name: unit["speakers"] for name, unit in units.items()}
    )
    return fold


def protocol(
    config: ml_collections.ConfigDict, corpus: data.Corpus, fold: folds.Fold
) -> dict[str, Any]:
    """What makes two results comparable, or not; JSON-able."""
    metadata = corpus.metadata
    sides = dataclasses.asdict(fold)
    names = "class_names" if corpus.task == "classification" else "dimension_names"
    return {
        "corpus": corpus.name,
        "task": corpus.task,
        names: list(corpus.target_names),
        "folds": _describe_plan(config.folds),
        "fold": config.fold,
        "speakers": {
            side: sorted(s for u in units for s in metadata["units"][u]["speakers"])
            for side, units in sides.items()
        },
        "examples": {
            side: len(corpus.source(units, evaluation=side != "train"))
            for side, units in sides.items()
        },
        "counts": metadata["counts"],
        "hours": metadata["hours"],
        "warnings": metadata["warnings"],
        "skipped": metadata["skipped"],
        "fingerprint": metadata["fingerprint"],
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


def main(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}: flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    command = shlex.join(["python", "-m", "diccoser_jax.main", *sys.argv[1:]])
    prepare_machine()
    try:
        config = flags.FLAGS.config
        name = f"{config.data.dataset}-fold{config.fold}".replace("/", "-")
        workdir = pathlib.Path(flags.FLAGS.workdir or f"runs/{name}")
        results = run(config, workdir, command)
    except (AudioError, CorpusError, ConfigError, FloatingPointError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    for measure, value, compare in report.headline(results):
        print(f"test {measure}: {value} ({compare})")
    print(f"Report: {workdir / 'report.md'}")


def prepare_machine() -> None:
    """What makes steps and second starts faster, unless the flags forbid it."""
    if flags.FLAGS.huge_pages and jax.default_backend() == "cpu":
        huge_pages.start_again()
    # A cache that the environment names has precedence.
    if flags.FLAGS.compilation_cache and not jax.config.jax_compilation_cache_dir:
        folder = pathlib.Path(flags.FLAGS.compilation_cache).expanduser()
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def define_flags() -> None:
    """Flags of this command; those of single keys are read while they are defined.

    Raises:
      KeyError, AttributeError: if a flag names a key that the configuration lacks.
    """
    config_flags.DEFINE_config_file(
        "config",
        configs.demo.__file__,
        "Configuration; single keys by --config.section.key=value, as in "
        "configs/default.py. Its Python code is executed.",
    )
    flags.DEFINE_string(
        "workdir",
        None,
        "Folder for checkpoints, logs, results.json and report.md; the same command "
        "goes on where it stopped. Default: runs/<corpus>-fold<n>.",
    )
    flags.DEFINE_string(
        "compilation_cache",
        "~/.cache/diccoser_jax/compiled",
        "Folder for compiled programs, so that the next run starts at once; '' for "
        "none. JAX_COMPILATION_CACHE_DIR has precedence.",
    )
    flags.DEFINE_bool(
        "huge_pages",
        True,
        "On CPU under Linux, start again with huge pages in GLIBC_TUNABLES: steps are "
        "about twice as fast.",
    )


if __name__ == "__main__":
    try:
        define_flags()
    except (KeyError, AttributeError) as error:
        # ml_collections wraps the KeyError that names key and neighbour.
        cause = error.args[0]
        text = cause.args[0] if isinstance(cause, KeyError) else cause
        sys.exit(f"ConfigError: config has no key {text}")
    app.run(main)
