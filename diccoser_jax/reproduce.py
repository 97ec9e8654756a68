r"""The tables and figures of the paper, and ablations beyond it, on any corpus.

What there is, and what it costs:
  python -m diccoser_jax.reproduce --list

One of them, here on EmoDB; the same command again goes on where it stopped:
  python -m diccoser_jax.reproduce --experiment=fig5 --config=configs/emodb.py \
      --config.data.manual_dir=DIR --workdir=DIR

Experiments share their training runs in WORKDIR/runs, so that one workdir for all of
them trains each network once. Every experiment leaves <name>.md, <name>.html,
<name>.json and pictures. --config.fold=0 is a quick look at one fold, and
--config.repeats=3 repeats each run with other seeds.
"""

import dataclasses
import json
import pathlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import scipy.stats
from absl import app, flags, logging
from flax import linen as nn

from data_prep.continuous import composition
from data_prep.corpus import CorpusError
from diccoser_jax import (
    complexity,
    data,
    evaluate,
    experiment,
    figures,
    files,
    main,
    model_file,
    page,
    predictions,
    report,
    statistics,
    traditional,
    train,
)
from diccoser_jax.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioError
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.config import ConfigError
from diccoser_jax.diccoser import FRONTENDS, receptive_field_samples
from diccoser_jax.predictions import Predictions

NETWORKS = {
    "DiCCOSER": {"model.network": "diccoser"},
    "CS-V2 max": {"model.network": "diccoser_cs_v2", "model.aggregation": "max"},
    "CS max": {"model.network": "diccoser_cs", "model.aggregation": "max"},
    "CS rms": {"model.network": "diccoser_cs", "model.aggregation": "rms"},
    "CNN-LSTM": {"model.network": "cnn_lstm"},
}
PAPER_CORPORA = {"recola": "RECOLA", "iemocap": "IEMOCAP"}


@dataclasses.dataclass(frozen=True)
class System:
    """A network that is cross-validated.

    Attributes:
      network: a key of ``NETWORKS``.
      frontend: ``raw`` or ``log_mel``; None for that of the configuration.
      augmented: whether training is augmented as the configuration says, or not at all.
      change: what is different besides, in a word; '' for nothing.
      overrides: keys of the configuration that make the change.
    """

    network: str
    frontend: str | None = None
    augmented: bool = True
    change: str = ""
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def label(self, *, frontend: bool = False) -> str:
        """What tables and pictures call it, with its frontend if that is wanted."""
        return self.network + "".join(
            f", {part}"
            for part in (
                self.frontend if frontend else None,
                None if self.augmented else "no augmentation",
                self.change,
            )
            if part
        )

    def configure(self, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
        """A copy of the configuration, for this network."""
        config = config.copy_and_resolve_references()
        overrides = {**NETWORKS[self.network], **self.overrides}
        if self.frontend:
            overrides["model.frontend"] = self.frontend
        if not self.augmented:
            overrides |= {f"augmentation.{key}": 0.0 for key in config.augmentation}
            # Regression is augmented by windows that overlap (section 4.2.3).
            overrides["data.shift_seconds"] = config.data.window_seconds
            overrides["data.data_dir"] = f"{config.data.data_dir}/no_overlap"
        config.update_from_flattened_dict(overrides)
        return config

    def folder(self, config: ml_collections.ConfigDict) -> str:
        """The name of its runs, of which several experiments can make use."""
        name = f"{self.network}, {config.model.frontend}"
        if not self.augmented:
            name += ", no augmentation"
        if self.change:
            name += f", {self.change}"
        return name.lower().replace(", ", "-").replace(" ", "_")


@dataclasses.dataclass(frozen=True)
class Claim:
    """What the paper reports: that one system is better than another."""

    better: int  # index of a system
    worse: int
    words: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Systems side by side.

    Attributes:
      title: of the page and the picture.
      systems: from left to right.
      claims: what is tested.
      paper: for the paper's corpora, the scores that its text gives: for each system
        arousal and valence, or WA and UA; None where it gives none.
      task: the only task that it makes sense for, or None.
    """

    title: str
    systems: Sequence[System]
    claims: Sequence[Claim]
    paper: Mapping[str, Sequence[tuple[float | None, float | None]]] = (
        dataclasses.field(default_factory=dict)
    )
    task: str | None = None


_NONE = (None, None)

FIG5 = Comparison(
    "Four variants of the network (Fig. 5)",
    [System("DiCCOSER"), System("CS-V2 max"), System("CS max"), System("CS rms")],
    [
        Claim(3, 0, "context stacking helps: CS rms is better than DiCCOSER"),
        Claim(2, 0, "context stacking helps: CS max is better than DiCCOSER"),
        Claim(1, 0, "CS-V2 max is better than DiCCOSER, a little"),
        Claim(2, 1, "CS max is better than CS-V2 max"),
        Claim(3, 2, "RMS is better than the maximum: CS rms than CS max"),
    ],
    {
        "recola": [_NONE, _NONE, _NONE, (0.746, 0.506)],
        "iemocap": [_NONE, (None, 0.521), (None, 0.527), (0.641, 0.536)],
    },
)
FIG6 = Comparison(
    "The CNN-LSTM, and augmentation (Fig. 6)",
    [
        System("CNN-LSTM", augmented=False),
        System("CNN-LSTM"),
        System("CS rms", augmented=False),
        System("CS rms"),
    ],
    [
        Claim(3, 1, "CS rms is better than the CNN-LSTM, both augmented"),
        Claim(2, 0, "CS rms is better than the CNN-LSTM, neither augmented"),
        Claim(3, 2, "augmentation helps CS rms"),
        Claim(1, 0, "augmentation helps the CNN-LSTM"),
    ],
    {
        "recola": [(0.613, 0.412), (0.681, 0.449), (0.734, 0.484), (0.746, 0.506)],
        "iemocap": [(0.578, None), (0.586, 0.526), (0.635, 0.523), (0.641, 0.536)],
    },
)
FIG7 = Comparison(
    "Raw samples and log-mel (Fig. 7)",
    [
        System(network, frontend)
        for network in ("CNN-LSTM", "DiCCOSER", "CS rms")
        for frontend in FRONTENDS
    ],
    [
        Claim(1, 0, "log-mel helps the CNN-LSTM"),
        Claim(3, 2, "log-mel helps DiCCOSER, slightly"),
        Claim(5, 4, "log-mel helps CS rms, slightly"),
        Claim(5, 1, "CS rms is better than the CNN-LSTM on log-mel"),
        Claim(4, 0, "CS rms is better than the CNN-LSTM on raw samples"),
        Claim(5, 3, "CS rms is better than DiCCOSER on log-mel"),
    ],
    {
        "recola": [
            *((0.681, 0.449), _NONE, _NONE),
            *((0.749, 0.492), (0.746, 0.506), (0.751, 0.498)),
        ],
        "iemocap": [
            *((0.586, 0.526), (None, 0.566), _NONE),
            *((None, 0.555), (0.641, 0.536), (0.658, 0.567)),
        ],
    },
)


def _ablation(change: str, task: str | None = None, **overrides: Any) -> Comparison:
    """The network of the configuration, and one that differs in one thing."""
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return Comparison(
        f"Ablation: {change}",
        [System("CS rms"), System("CS rms", change=change, overrides=keys)],
        [Claim(0, 1, f"CS rms is better as it is than with {change}")],
        task=task,
    )


ABLATIONS = {
    "gated": _ablation("WaveNet's gated block", model__block="gated"),
    "dropout_last": _ablation(
        "dropout after the ReLU, not before batch norm", model__block="dropout_last"
    ),
    "batch_stats": _ablation(
        "the running statistics of training", train__batch_stats_batches=0
    ),
    "pooled_ccc": _ablation(
        "one CCC over the whole batch",
        "regression",
        train__regression_loss="pooled_ccc",
    ),
    "squared_error": _ablation(
        "the squared error", "regression", train__regression_loss="squared_error"
    ),
}
_BLOCKS = (2, 4, 6)  # see 0.2, 0.7 and 2.6 s of global context

RECEPTIVE_FIELD = Comparison(
    "Ablation: the receptive field of the global network",
    [
        *(
            System("CS rms", change=f"{n} blocks", overrides={"model.global_blocks": n})
            for n in _BLOCKS
        ),
        System("CS rms"),
    ],
    [
        Claim(len(_BLOCKS), i, f"all blocks are better than {n}")
        for i, n in enumerate(_BLOCKS)
    ],
)
ABLATIONS["receptive_field"] = RECEPTIVE_FIELD

COMPARISONS = {"fig5": FIG5, "fig6": FIG6, "fig7": FIG7, **ABLATIONS}


class Reproduction:
    """The experiments on one corpus, in one workdir.

    Attributes:
      config: as in ``configs/default.py``; each experiment changes what it compares.
      workdir: for the runs, and what the experiments say of them.
      command: how to repeat this, for the pages.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: pathlib.Path,
        command: str = "",
    ):
        self.config, self.workdir, self.command = config, workdir, command
        self.corpus = experiment.prepare(config)
        self.measures = list(
            statistics.measures(self.corpus.task, self.corpus.target_names)
        )

    def run(self, system: System) -> tuple[pathlib.Path, dict[str, Any], Predictions]:
        """Cross-validates a system, unless that is done.

        Returns:
          The folder of its runs, their results, and all answers on test recordings.
        """
        config = system.configure(self.config)
        folder = self.workdir / "runs" / system.folder(config)
        if not (folder / "results.json").exists():
            print(f"{system.label(frontend=True)}: {folder}", file=sys.stderr)
        results = experiment.run(config, folder, self.command)
        return folder, results, predictions.load(folder / "predictions.npz")

    def write(
        self, name: str, title: str, blocks: Sequence[page.Block], found: dict[str, Any]
    ) -> pathlib.Path:
        """Writes the page of an experiment, its pictures and its numbers."""
        title = f"{title}: {self.corpus.name}"
        blocks = [*blocks, page.Heading("To repeat"), page.Code(self.command)]
        self.workdir.mkdir(parents=True, exist_ok=True)
        for picture in page.pictures(blocks):
            files.replace(self.workdir / f"{picture.name}.png", picture.png)
        found = {"experiment": name, "command": self.command, **found}
        content = json.dumps(found, indent=2) + "\n"
        files.replace(self.workdir / f"{name}.json", content.encode())
        html = self.workdir / f"{name}.html"
        files.replace(html, page.to_html(title, blocks).encode())
        markdown = self.workdir / f"{name}.md"
        files.replace(markdown, page.to_markdown(title, blocks).encode())
        return markdown


# Comparisons: Figures 5 to 7, and the ablations.


def compare(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Cross-validates the systems of a comparison and tests what the paper claims.

    Raises:
      ConfigError: if the comparison is of another task than the corpus.
    """
    comparison = COMPARISONS[name]
    corpus = reproduction.corpus
    if comparison.task not in (None, corpus.task):
        raise ConfigError(
            f"{name} is about {comparison.task}; {corpus.name} is a corpus of "
            f"{corpus.task}."
        )
    runs = [reproduction.run(system) for system in comparison.systems]
    frontend = len({system.frontend for system in comparison.systems}) > 1
    labels = [system.label(frontend=frontend) for system in comparison.systems]
    paper = comparison.paper.get(corpus.name)
    rows = [
        _row(reproduction, label, results, answers)
        for label, (_, results, answers) in zip(labels, runs)
    ]
    tests = []
    for claim in comparison.claims:
        better, worse = (runs[i][2] for i in (claim.better, claim.worse))
        found = statistics.paired_test(better, worse)
        tests.append({"claim": claim.words, "holds": _holds(found), **found})
    found = {
        "protocol": runs[0][1]["protocol"]["id"],
        "systems": rows,
        "tests": tests,
        "paper": paper,
    }
    return reproduction.write(
        name,
        comparison.title,
        list(_comparison_page(reproduction, name, comparison, runs, found)),
        found,
    )


def _row(
    reproduction: Reproduction,
    label: str,
    results: Mapping[str, Any],
    answers: Predictions,
) -> dict[str, Any]:
    corpus = reproduction.corpus
    summary = statistics.summarise(answers, corpus.task, corpus.target_names)
    return {
        "system": label,
        "parameters": results["parameters"],
        "seconds": results["seconds"],
        "runs": len(results["folds"]),
        "measures": summary["measures"],
    }


def _holds(test: Mapping[str, Any]) -> str:
    """Whether a claim of an improvement holds here."""
    if test["p_value"] >= 1 - statistics.LEVEL:
        return "within noise"
    return "yes" if test["difference"] > 0 else "no: the other way round"


def _comparison_page(
    reproduction: Reproduction,
    name: str,
    comparison: Comparison,
    runs: Sequence[tuple[pathlib.Path, dict[str, Any], Predictions]],
    found: Mapping[str, Any],
) -> Iterator[page.Block]:
    measures = reproduction.measures
    yield from _scores(found["systems"], measures)
    labels = [row["system"] for row in found["systems"]]
    means, deviations = (
        {
            measure: [row["measures"][measure][key] or 0.0 for row in found["systems"]]
            for measure in measures
        }
        for key in ("mean", "std")
    )
    printed = None
    if found["paper"]:
        # The paper's text gives WA before UA.
        order = [1, 0] if reproduction.corpus.task == "classification" else [0, 1]
        printed = {
            measure: [scores[i] for scores in found["paper"]]
            for measure, i in zip(measures, order)
        }
    yield page.Picture(
        name,
        figures.png(figures.bars(labels, means, deviations, printed)),
        f"{comparison.title}: {', '.join(measures)} of {', '.join(labels)}",
        "Mean over folds, and the standard deviation between them."
        + (" Diamonds: what the paper's text reports." if printed else ""),
    )
    if name in ABLATIONS:
        curves = {
            label: _validation_curves(folder, results)
            for label, (folder, results, _) in zip(labels, runs)
        }
        yield page.Picture(
            f"{name}_curves",
            figures.png(figures.mean_curves(curves, "validation score")),
            "Validation score over epochs",
            "Each line is a fold; the thick one is their mean.",
        )
    yield page.Heading("What the paper reports, here")
    yield page.Text(
        "Paired by speaker: the difference of each speaker's score, and the p value of "
        "a sign-flip test. Below 5 % a difference counts; without that, it is noise."
    )
    yield page.Table(
        ["claim", "holds", "difference", "95 % interval", "p", "speakers"],
        [
            (
                test["claim"],
                test["holds"],
                f"{test['difference']:+.3f}",
                "{:+.3f} to {:+.3f}".format(*test["interval"]),
                f"{test['p_value']:.3f}",
                test["pairs"],
            )
            for test in found["tests"]
        ],
    )
    yield page.Text(f"Protocol: {found['protocol']}.")


def _scores(
    rows: Sequence[Mapping[str, Any]], measures: Sequence[str]
) -> Iterator[page.Block]:
    """A table of systems and their scores."""
    yield page.Heading("Scores")
    yield page.Table(
        ["system", *measures, "parameters", "runs", "minutes"],
        [
            (
                row["system"],
                *(_score(row["measures"][measure]) for measure in measures),
                f"{row['parameters']:,}" if row["parameters"] else "",
                row["runs"],
                f"{row['seconds'] / 60:.0f}",
            )
            for row in rows
        ],
    )


def _score(found: Mapping[str, Any]) -> str:
    deviation = "" if found["std"] is None else f" ± {found['std']:.3f}"
    return f"{found['mean']:.3f}{deviation}"


def _validation_curves(
    folder: pathlib.Path, results: Mapping[str, Any]
) -> list[list[float]]:
    """The validation score of each epoch, for each run."""
    logs = [path.parent / "metrics.jsonl" for path in folder.glob("**/predictions.npz")]
    return [
        [r["validation_score"] for r in report.read_metrics(log) if _validated(r)]
        for log in sorted(logs)
        if log.exists()
    ]


def _validated(record: Mapping[str, Any]) -> bool:
    return record.get("validation_score") is not None


# Table 3: what the networks cost.


def table3(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Parameters, multiply-adds, receptive field and speed; trains nothing."""
    outputs = len(reproduction.corpus.target_names)
    frames = data.window_frames(reproduction.config.data.window_seconds)
    seconds = frames * FRAME_SAMPLES / SAMPLE_RATE_HZ
    rows = []
    for network in ("DiCCOSER", "CS rms", "CNN-LSTM"):
        for frontend in FRONTENDS:
            config = System(network, frontend).configure(reproduction.config)
            model = train.create_model(
                config.model, outputs=outputs, window_frames=frames
            )
            waveform = jnp.zeros((1, frames * FRAME_SAMPLES))
            variables = jax.eval_shape(model.init, jax.random.key(0), waveform)
            rows.append(
                {
                    "network": f"{network}, {frontend}",
                    "parameters": sum(
                        leaf.size for leaf in jax.tree.leaves(variables["params"])
                    ),
                    "multiply_adds_per_second": complexity.multiply_adds(
                        model.apply, variables, waveform
                    )
                    / seconds,
                    "receptive_field_seconds": None
                    if isinstance(model, CnnLstm)
                    else receptive_field_samples(model.config) / SAMPLE_RATE_HZ,
                    "real_time_factor": _inference_seconds(model, waveform) / seconds,
                }
            )
    largest = {row["network"]: row["parameters"] for row in rows}
    blocks = [
        page.Heading("Networks"),
        page.Table(
            [
                *("network", "parameters", "of the CNN-LSTM"),
                *("million multiply-adds a second", "receptive field, s"),
                "times faster than real time",
            ],
            [
                (
                    row["network"],
                    f"{row['parameters']:,}",
                    f"{row['parameters'] / _baseline(largest, row['network']):.0%}",
                    f"{row['multiply_adds_per_second'] / 1e6:,.0f}",
                    _receptive_field(row["receptive_field_seconds"]),
                    f"{1 / row['real_time_factor']:,.0f}",
                )
                for row in rows
            ],
        ),
        page.Text(
            f"Windows of {seconds:g} s, {outputs} outputs. The speed is that of one "
            f"window at a time, the median of {_REPETITIONS}, on "
            f"{jax.devices()[0].device_kind}. The CNN-LSTM hears the whole window, "
            "what is to come included."
        ),
    ]
    return reproduction.write(
        name, "Parameters and cost (Table 3)", blocks, {"networks": rows}
    )


_REPETITIONS = 9


def _inference_seconds(model: nn.Module, waveform: jax.Array) -> float:
    variables = jax.jit(model.init)(jax.random.key(0), waveform)
    infer = jax.jit(evaluate.infer, static_argnums=0)
    times = []
    for _ in range(_REPETITIONS + 1):
        started = time.perf_counter()
        jax.block_until_ready(infer(model.apply, variables, waveform))
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))  # the first compiles


def _baseline(parameters: Mapping[str, int], network: str) -> int:
    return parameters[f"CNN-LSTM, {network.rpartition(', ')[2]}"]


def _receptive_field(seconds: float | None) -> str:
    return "all" if seconds is None else f"{seconds:.1f}"


# Table 4: traditional features.


def table4(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Functionals with an SVM beside networks that learn from the signal.

    Raises:
      ConfigError: on a corpus of regression, or without the packages that it needs.
    """
    config, corpus = reproduction.config, reproduction.corpus
    plan = experiment.make_plan(config, corpus)
    numbers = range(len(plan))
    if config.fold != experiment.ALL:
        experiment.choose_fold(config, plan)
        numbers = [int(config.fold)]
    rows, answers = [], {}
    for features in traditional.FEATURES:
        started = time.monotonic()
        cache = reproduction.workdir / "features"
        parts = [
            traditional.evaluate_fold(corpus, plan[n], features, cache, number=n)[0]
            for n in numbers
        ]
        label = f"{features} and SVM"
        answers[label] = predictions.concatenate(parts)
        spent = {
            "parameters": None,
            "seconds": time.monotonic() - started,
            "folds": numbers,
        }
        rows.append(_row(reproduction, label, spent, answers[label]))
    for system in (System("CNN-LSTM"), System("DiCCOSER"), System("CS rms")):
        _, results, answers[system.label()] = reproduction.run(system)
        rows.append(_row(reproduction, system.label(), results, answers["CS rms"]))
    best = max(rows[: len(traditional.FEATURES)], key=lambda row: _mean_ua(row))
    tests = []
    for label in list(answers)[len(traditional.FEATURES) :]:
        found = statistics.paired_test(answers[label], answers[best["system"]])
        words = f"{label} is better than {best['system']}, the best of its kind"
        tests.append({"claim": words, "holds": _holds(found), **found})
    plan_id = experiment.protocol(config, corpus, {}, {})["id"]
    found = {"protocol": plan_id, "systems": rows, "tests": tests, "paper": None}
    comparison = Comparison("Traditional features (Table 4)", [], [])
    blocks = list(_comparison_page(reproduction, name, comparison, [], found))
    return reproduction.write(name, comparison.title, blocks, found)


def _mean_ua(row: Mapping[str, Any]) -> float:
    return row["measures"]["ua"]["mean"]


# Figure 8: what the local contexts hold.


def fig8(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Local contexts of the test recordings on their first two principal components.

    Raises:
      ConfigError: on a corpus of regression.
    """
    corpus = reproduction.corpus
    if corpus.task != "classification":
        raise ConfigError(f"{name} colours classes; {corpus.name} has none.")
    panels, found = {}, []
    for system in (System("CS max"), System("CS rms")):
        folder, _, _ = reproduction.run(system)
        for path in sorted(folder.glob("**/model.safetensors")):
            run = json.loads((path.parent / "results.json").read_text())
            fold = experiment.choose_fold(
                ml_collections.ConfigDict(run["config"]),
                experiment.make_plan(reproduction.config, corpus),
            )
            contexts, targets = _mean_local_contexts(
                reproduction, model_file.load(path), fold.test
            )
            components, shares = _principal_components(contexts)
            label = f"{system.label()}, fold {run['config']['fold']}"
            panels[label] = (components, targets)
            found.append(
                {
                    "system": label,
                    "variance_shares": shares.tolist(),
                    **_correlations(components, targets, corpus.target_names),
                }
            )
    picture = figures.scatters(panels, corpus.target_names, columns=len(panels) // 2)
    blocks = [
        page.Heading("Local contexts"),
        page.Picture(
            name,
            figures.png(picture),
            "Local contexts of the test recordings, coloured by class",
            "Means over time of the local context, on the first (across) and second "
            "(up) principal component of each fold; signs are arbitrary.",
        ),
        page.Table(
            ["network, fold", "first component", "second", "arousal", "valence"],
            [
                (
                    row["system"],
                    *(f"{share:.0%}" for share in row["variance_shares"]),
                    *(f"{row[key]:.2f}" for key in ("arousal", "valence")),
                )
                for row in found
            ],
        ),
        page.Text(
            "The first two columns are shares of the variance. Arousal is the absolute "
            "rank correlation (Spearman) of the first component with the arousal of "
            "the acted class, valence that of the second with its valence; both as "
            "rated for the words by Russell and Mehrabian (1977), so that all "
            "recordings of a class share one value."
        ),
    ]
    title = "Local contexts (Fig. 8)"
    return reproduction.write(name, title, blocks, {"panels": found})


def _mean_local_contexts(
    reproduction: Reproduction, model: Any, units: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean over time of each recording's local context, and its class."""
    infer = jax.jit(lambda audio: model.model.apply(model.variables, audio))
    contexts, targets = [], []
    size = reproduction.config.train.batch_size
    for batch in data.eval_batches(
        reproduction.corpus,
        units,
        batch_size=size,
        window_seconds=reproduction.config.data.window_seconds,
    ):
        padded = data.pad_batch(data.arrays(batch), size)
        context = np.asarray(infer(padded["audio"]).local_context.mean(axis=1))
        contexts.append(context[: len(batch["target"])])
        targets.append(batch["target"])
    return np.concatenate(contexts), np.concatenate(targets)


def _principal_components(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two, ``[rows, 2]``, and their shares of the variance."""
    centred = vectors - vectors.mean(axis=0)
    left, scales, _ = np.linalg.svd(centred, full_matrices=False)
    return (left * scales)[:, :2], (scales**2 / np.sum(scales**2))[:2]


def _correlations(
    components: np.ndarray, targets: np.ndarray, names: Sequence[str]
) -> dict[str, float]:
    points = np.array([composition.point(name, 1.0) for name in names])[targets]
    return {
        dimension: float(abs(scipy.stats.spearmanr(components[:, i], points[:, i])[0]))
        for i, dimension in enumerate(("arousal", "valence"))
    }


EXPERIMENTS: dict[str, Callable[[Reproduction, str], pathlib.Path]] = {
    "table3": table3,
    "table4": table4,
    "fig8": fig8,
    **dict.fromkeys(COMPARISONS, compare),
}


def describe() -> str:
    """A line for each experiment: its name, what it is, what it trains."""
    lines = []
    for name in sorted(EXPERIMENTS):
        if name in COMPARISONS:
            title = COMPARISONS[name].title
            cost = f"{len(COMPARISONS[name].systems)} networks"
        else:
            title = (EXPERIMENTS[name].__doc__ or "").splitlines()[0]
            cost = {"table3": "no training", "table4": "3 networks, features"}.get(
                name, "2 networks"
            )
        lines.append(f"{name:12} {cost:21} {title}")
    return "\n".join(
        [
            *lines,
            "",
            "Each network is trained once for each fold and seed, and shared by the "
            "experiments of a workdir.",
        ]
    )


def command(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}: flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    if flags.FLAGS.list:
        print(describe())
        return
    name = flags.FLAGS.experiment
    if name not in EXPERIMENTS:
        raise app.UsageError(f"--experiment={name}: one of {', '.join(EXPERIMENTS)}.")
    main.prepare_machine()
    config = flags.FLAGS.config
    if "fold" not in flags.FLAGS["config"].override_values:
        config.fold = experiment.ALL
    workdir = pathlib.Path(
        flags.FLAGS.workdir or f"runs/reproduce-{config.data.dataset}"
    )
    repeat = shlex.join(["python", "-m", "diccoser_jax.reproduce", *sys.argv[1:]])
    try:
        page_path = EXPERIMENTS[name](Reproduction(config, workdir, repeat), name)
    except (AudioError, CorpusError, ConfigError, FloatingPointError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(page_path.read_text())
    print(f"Page: {page_path} and {page_path.with_suffix('.html')}")


if __name__ == "__main__":
    main.define_flags()
    flags.DEFINE_string("experiment", None, "Which; see --list.")
    flags.DEFINE_bool("list", False, "Say what there is, and what it costs.")
    app.run(command)
