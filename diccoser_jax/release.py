r"""A network to give away: trained on all speakers, described by a cross-validation.

  python -m diccoser_jax.main --config=configs/emodb.py --config.fold=all \
      --config.data.manual_dir=DIR --workdir=runs/emodb-all
  python -m diccoser_jax.release --cross_validation=runs/emodb-all --licence=TEXT \
      --output=emodb.safetensors

The second command trains once more with the configuration of the first, now on every
speaker and for all epochs, since nobody is left to choose an epoch by. What the file's
card says of its quality is what the cross-validation measured on speakers that were not
heard. Posteriors get the geometric mean of the temperatures that each fold's validation
speakers asked for.
"""

import json
import pathlib
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import jax
import ml_collections
import numpy as np
import scipy.special
from absl import app, flags, logging

from configs import default
from diccoser_jax import (
    calibration,
    data,
    experiment,
    main,
    metrics,
    model_file,
    predictions,
    report,
    train,
)
from diccoser_jax.config import ConfigError
from diccoser_jax.predictions import Predictions

NOT_FOR = (
    "Decisions about people: hiring, credit, insurance, policing, schooling, medicine, "
    "psychology, or watching over them. It has heard a few actors in one "
    "language and no real emotion; what it says about another voice may be wrong, and "
    "wrong for some groups of people more than for others."
)


def release(
    workdir: pathlib.Path, output: pathlib.Path, *, licence: str, command: str = ""
) -> dict[str, Any]:
    """Trains on all speakers of a cross-validated corpus, and writes a model file.

    Args:
      workdir: of a finished run with ``--config.fold=all``.
      output: the model file.
      licence: of the data, as its publisher words it.
      command: how to repeat this.

    Returns:
      The card that the file holds.

    Raises:
      ConfigError: if the workdir holds no finished cross-validation.
      FloatingPointError: if the loss becomes NaN or infinite.
    """
    results = report.read_results(workdir / "results.json")
    if results["protocol"].get("fold") != experiment.ALL:
        raise ConfigError(
            f"{workdir} holds fold {results['protocol'].get('fold')}; expected a run "
            f"with --config.fold={experiment.ALL}, which tests every speaker."
        )
    answers = predictions.load(workdir / "predictions.npz")
    config = default.get_config()
    with config.ignore_type():  # JSON has lists where there were tuples
        config.update(results["config"])  # keys that it lacks are newer than it
    corpus = experiment.prepare(config)
    temperature = 1.0
    if corpus.task == "classification":
        temperatures = [fold["temperature"] for fold in results["folds"]]
        temperature = float(np.exp(np.mean(np.log(temperatures))))
    card = make_card(results, answers) | {"licence_of_the_data": licence}
    card |= {"not_for": NOT_FOR, "command": command}
    model, variables = train_on_all(config, workdir / "release", corpus)
    model_file.save(
        output,
        model,
        variables,
        task=corpus.task,
        target_names=corpus.target_names,
        window_seconds=config.data.window_seconds,
        temperature=temperature,
        card=card,
    )
    return card


def train_on_all(
    config: ml_collections.ConfigDict, folder: pathlib.Path, corpus: data.Corpus
) -> tuple[Any, Any]:
    """Trains on every speaker for all epochs; goes on where it was interrupted.

    Returns:
      The network and its variables.

    Raises:
      FloatingPointError: if the loss becomes NaN or infinite.
      Interrupted: on Ctrl-C or SIGTERM, after a checkpoint in ``folder``.
    """
    setup = train.set_up(config, corpus, sorted(corpus.metadata["units"]))
    folder.mkdir(exist_ok=True)
    state, _ = train.fit(config, folder, corpus, setup)
    return state.model, jax.device_get(state.variables)


def make_card(results: Mapping[str, Any], answers: Predictions) -> dict[str, Any]:
    """What a user must know: data, protocol, scores for each class, calibration.

    Args:
      results: of the cross-validation.
      answers: for its test recordings.

    Returns:
      JSON-able.
    """
    protocol = results["protocol"]
    card = {
        "trained_on": f"all {len(protocol['speakers']['test'])} speakers of "
        f"{protocol['corpus']}, {protocol['hours']:.2f} hours",
        "tested_by": f"cross-validation: {protocol['id']}. Other networks of the same "
        "configuration, each without the speakers it was tested on, and of the epoch "
        "that was best for its validation speakers",
        "scores": results["statistics"]["measures"],
        "versions": results["versions"],
        "seed": results["seed"],
    }
    if protocol["task"] == "classification":
        names = protocol["class_names"]
        recalls = metrics.recalls(np.array(results["all"]["confusion"]))
        card["recalls"] = dict(zip(names, map(float, recalls)))
        card["calibration_error"] = _calibration_errors(results, answers)
    return card


def _calibration_errors(
    results: Mapping[str, Any], answers: Predictions
) -> dict[str, float]:
    """Of the test recordings, without temperature and with that of their fold."""
    temperatures = np.ones(len(answers.targets))
    for fold in results["folds"]:
        here = (answers.folds == fold["fold"]) & (answers.seeds == fold["seed"])
        temperatures[here] = fold["temperature"]
    return {
        name: float(
            calibration.expected_calibration_error(
                scipy.special.softmax(answers.outputs / scale[:, None], axis=1),
                answers.targets,
            )
        )
        for name, scale in (
            ("before", np.ones_like(temperatures)),
            ("after", temperatures),
        )
    }


def run_command(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}: flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    main.prepare_machine()
    values = flags.FLAGS
    command = shlex.join(["python", "-m", "diccoser_jax.release", *sys.argv[1:]])
    with main.exit_codes():
        card = release(
            pathlib.Path(values.cross_validation),
            pathlib.Path(values.output),
            licence=values.licence,
            command=command,
        )
    print(json.dumps(card, indent=2))
    print(f"Model: {values.output}", file=sys.stderr)


if __name__ == "__main__":
    main.define_machine_flags()
    flags.DEFINE_string(
        "cross_validation", None, "Workdir of the cross-validation.", required=True
    )
    flags.DEFINE_string("output", None, "The file to write.", required=True)
    flags.DEFINE_string("licence", None, "Of the data, in words.", required=True)
    app.run(run_command)
