r"""The tables and figures of the paper, and ablations beyond it, on any corpus.

What there is, and what it costs; the corpus need not be there yet:
  python -m diccoser_jax.reproduce --list --config=configs/emodb.py

One of them, here on EmoDB; the same command again goes on where it stopped:
  python -m diccoser_jax.reproduce --experiment=fig5 --config=configs/emodb.py \
      --config.data.manual_dir=DIR --workdir=DIR

Several: --experiment=fig5,table3; groups: ablations, all. Experiments share their
training runs in WORKDIR/runs, so that one workdir for all of them trains each network
once. Every experiment leaves <name>.md, <name>.html, <name>.json and pictures.
--config.fold=0 is a quick look at one fold, whose runs a later one at all folds shares;
--raw_folds=1 runs one fold of the networks on raw samples and all of the others;
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
from absl import app, flags, logging
from flax import linen as nn

from configs import default
from data_prep.continuous import __main__ as continuous
from data_prep.corpus import CorpusError
from data_prep.synthetic import synthesis
from diccoser_jax import (
    autoencoder,
    complexity,
    data,
    distributed,
    estimates,
    evaluate,
    experiment,
    figures,
    files,
    local_contexts,
    main,
    model_file,
    page,
    predictions,
    report,
    statistics,
    tables,
    traditional,
    train,
)
from diccoser_jax import config as config_lib
from diccoser_jax.audio import (
    FRAME_RATE_HZ,
    FRAME_SAMPLES,
    SAMPLE_RATE_HZ,
)
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.comparisons import ABLATIONS, COMPARISONS, NETWORKS, System
from diccoser_jax.config import ConfigError
from diccoser_jax.diccoser import FRONTENDS, receptive_field_samples
from diccoser_jax.predictions import Predictions


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What the cross-validation of a system gave.

    Attributes:
      label: what tables and pictures call it.
      folders: of its training runs, one for each fold and seed.
      answers: on all test recordings of its folds.
      of_folds: how many folds the plan has.
      parameters: of the network; None for other systems.
      seconds: that training took, all runs together.
    """

    label: str
    folders: Sequence[pathlib.Path]
    answers: Predictions
    of_folds: int
    parameters: int | None
    seconds: float

    @property
    def folds(self) -> list[int]:
        """Numbers of the folds that were run."""
        return np.unique(self.answers.folds).tolist()


class Reproduction:
    """The experiments on one corpus, in one workdir.

    Attributes:
      config: as in ``configs/default.py``; each experiment changes what it compares.
      workdir: for the runs, and what the experiments say of them.
      command: how to repeat this, for the pages.
      raw_folds: so many folds for networks on raw samples, which take longest; None:
        all that the configuration asks for.
    """

    def __init__(
        self,
        config: ml_collections.ConfigDict,
        workdir: pathlib.Path,
        command: str = "",
        raw_folds: int | None = None,
    ):
        self.config, self.workdir, self.command = config, workdir, command
        self.raw_folds = raw_folds
        self.corpus = experiment.prepare(config)
        self.plan = experiment.make_plan(config, self.corpus)
        if config.fold != experiment.ALL:
            experiment.choose_fold(config, self.plan)
        self.measures = list(
            statistics.measures(self.corpus.task, self.corpus.target_names)
        )

    def folds(self, frontend: str = "") -> list[int]:
        """Numbers of the folds to run, for a network with this frontend."""
        if self.config.fold != experiment.ALL:
            return [int(self.config.fold)]
        numbers = list(range(len(self.plan)))
        return numbers[: self.raw_folds] if frontend == "raw" else numbers

    def run(self, system: System, label: str = "") -> Run:
        """Cross-validates a system, as far as that is not done."""
        config = system.configure(self.config, self.corpus.task)
        folder = self.workdir / "runs" / system.folder(config)
        numbers = self.folds(config.model.frontend)
        every_fold = self.config.fold == experiment.ALL and len(numbers) == len(
            self.plan
        )
        seeds = range(config.seed, config.seed + config.repeats)
        names = {
            experiment.run_name(number, seed, config.repeats): (number, seed)
            for seed in seeds
            for number in numbers
        }
        if every_fold:
            self._finish(config, folder)
        else:
            for name, (number, seed) in names.items():
                one = config.copy_and_resolve_references()
                one.fold, one.seed, one.repeats = str(number), seed, 1
                self._finish(one, folder / name)
        folders = [folder / name for name in names]
        results = [report.read_results(run / "results.json") for run in folders]
        return Run(
            label or system.label(frontend=True),
            folders,
            predictions.concatenate(
                [predictions.load(run / "predictions.npz") for run in folders]
            ),
            len(self.plan),
            results[0]["parameters"],
            sum(found["seconds"] for found in results),
        )

    def _finish(self, config: ml_collections.ConfigDict, folder: pathlib.Path) -> None:
        if (folder / "results.json").exists():
            config_lib.check_noted(config, folder / "config.json")
        else:
            print(f"Runs of {folder}", file=sys.stderr)
            experiment.run(config, folder, self.command)

    def write(
        self, name: str, title: str, blocks: Sequence[page.Block], found: dict[str, Any]
    ) -> pathlib.Path:
        """Writes the page of an experiment, its pictures and its numbers."""
        found = {
            "experiment": name,
            "title": title,
            "command": self.command,
            "corpus": self.corpus.name,
            "task": self.corpus.task,
            "config": json.loads(self.config.to_json()),
            **found,
        }
        title = f"{title}: {self.corpus.name}"
        blocks = [*blocks, page.Heading("To repeat"), page.Code(self.command)]
        self.workdir.mkdir(parents=True, exist_ok=True)
        markdown = self.workdir / f"{name}.md"

        def write() -> None:
            for picture in page.pictures(blocks):
                files.replace(self.workdir / f"{picture.name}.png", picture.png)
            content = json.dumps(found, indent=2) + "\n"
            files.replace(self.workdir / f"{name}.json", content.encode())
            html = self.workdir / f"{name}.html"
            files.replace(html, page.to_html(title, blocks).encode())
            files.replace(markdown, page.to_markdown(title, blocks).encode())

        distributed.on_first(write)
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
    frontend = len({system.frontend for system in comparison.systems}) > 1
    runs = [
        reproduction.run(system, system.label(frontend=frontend))
        for system in comparison.systems
    ]
    claims = [(runs[c.better], runs[c.worse], c.words) for c in comparison.claims]
    runs += _ceiling(reproduction, runs)
    printed = _printed(reproduction, comparison.paper.get(corpus.name))
    found = _findings(reproduction, runs, claims, printed)
    return reproduction.write(
        name,
        comparison.title,
        list(_comparison_page(reproduction, name, comparison.title, runs, found)),
        found,
    )


def _ceiling(reproduction: Reproduction, runs: Sequence[Run]) -> list[Run]:
    """Where labels were computed: what could be said by measurement without error."""
    longest = max(runs, key=lambda run: len(run.folds))
    first = longest.answers.seeds == longest.answers.seeds.min()
    answers = longest.answers[first]
    settings = reproduction.config.data
    parts = list(answers.by_recording())
    if settings.dataset == "synthetic/regression":
        said = [synthesis.heard_exactly(p.targets, FRAME_RATE_HZ) for p in parts]
    elif settings.dataset == "continuous" and settings.manual_dir:
        folder = pathlib.Path(settings.manual_dir).expanduser()
        made = continuous.heard_exactly(folder, settings.delay_seconds)
        said = [made[part.recordings[0]][: len(part.targets)] for part in parts]
    else:
        return []
    outputs = np.concatenate(said)
    return [
        dataclasses.replace(
            longest,
            label=tables.CEILING,
            folders=[],
            answers=dataclasses.replace(answers, outputs=outputs),
            parameters=None,
            seconds=0.0,
        )
    ]


def _printed(
    reproduction: Reproduction,
    paper: Sequence[tuple[float | None, float | None]] | None,
) -> list[dict[str, float | None]] | None:
    """The scores of the paper's text, by measure, for each system."""
    if not paper:
        return None
    # The paper's text gives WA before UA.
    order = ["wa", "ua"]
    if reproduction.corpus.task == "regression":
        order = ["ccc_arousal", "ccc_valence"]
    return [dict(zip(order, scores)) for scores in paper]


def _findings(
    reproduction: Reproduction,
    runs: Sequence[Run],
    claims: Sequence[tuple[Run, Run, str]],
    printed: Sequence[Mapping[str, float | None]] | None = None,
) -> dict[str, Any]:
    """JSON-able: what a page of a comparison is made of.

    Args:
      reproduction: where.
      runs: from left to right.
      claims: that the first run is better than the second, in words.
      printed: what the paper gives.
    """
    protocol = experiment.protocol(reproduction.config, reproduction.corpus, {}, {})
    return {
        "protocol": protocol["id"],
        "systems": [_row(reproduction, run) for run in runs],
        "tests": [_test(*claim) for claim in claims],
        "paper": printed,
    }


def _row(reproduction: Reproduction, run: Run) -> dict[str, Any]:
    corpus = reproduction.corpus
    summary = statistics.summarise(run.answers, corpus.task, corpus.target_names)
    return {
        "system": run.label,
        "parameters": run.parameters,
        "seconds": run.seconds,
        "runs": len(run.folders),
        "folds": len(run.folds),
        "of_folds": run.of_folds,
        "measures": summary["measures"],
    }


def _test(better: Run, worse: Run, words: str) -> dict[str, Any]:
    """Whether a claim holds, on the folds that both systems were run on."""
    both = sorted(set(better.folds) & set(worse.folds))
    a, b = (
        run.answers[np.isin(run.answers.folds, both)] if both else run.answers[:0]
        for run in (better, worse)
    )
    speakers = len(np.unique(a.speakers))
    if speakers < 2:
        return {"claim": words, "holds": "not testable: needs two speakers"}
    found = statistics.paired_test(a, b)
    return {"claim": words, "holds": _holds(found), "folds": len(both), **found}


def _holds(test: Mapping[str, Any]) -> str:
    """Whether a claim of an improvement holds here."""
    if test["p_value"] >= 1 - statistics.LEVEL:
        return "within noise"
    return "yes" if test["difference"] > 0 else "no: the other way round"


def _comparison_page(
    reproduction: Reproduction,
    name: str,
    title: str,
    runs: Sequence[Run],
    found: Mapping[str, Any],
) -> Iterator[page.Block]:
    systems, paper = found["systems"], found["paper"]
    measures = list(reproduction.measures)
    if reproduction.corpus.task == "classification":
        measures.reverse()  # the paper's figures show WA, then UA
    yield from tables.partial(systems)
    yield page.Heading("Scores")
    yield from tables.scores(systems, paper)
    labels = [row["system"] for row in systems]
    means, deviations = (
        {m: [row["measures"][m][key] or 0.0 for row in systems] for m in measures}
        for key in ("mean", "std")
    )
    printed = {m: [row[m] for row in paper] for m in measures} if paper else None
    chance = None
    if reproduction.corpus.task == "classification":
        chance = 1 / len(reproduction.corpus.target_names)
    yield page.Picture(
        name,
        figures.png(figures.bars(labels, means, deviations, printed, chance)),
        f"{title}: {', '.join(measures)} of {', '.join(labels)}",
        "Mean over folds, and the standard deviation between them."
        + (" Diamonds: what the paper's text reports." if printed else "")
        + (" Dotted: the UA of guessing." if chance else ""),
    )
    curves = {run.label: _curves(run) for run in runs}
    if name in ABLATIONS and any(map(any, curves.values())):
        yield page.Picture(
            f"{name}_curves",
            figures.png(figures.convergence(curves)),
            "Training loss and validation score over epochs",
            "Thin lines are runs; the thick one is their mean, as long as all of them "
            "train. Losses of different kinds are not comparable.",
        )
    yield page.Heading("What is claimed, and what is found here")
    yield from tables.tests(found["tests"])
    yield page.Text(f"Protocol: {found['protocol']}.")


def _curves(run: Run) -> list[dict[str, list[float]]]:
    """For each run, its mean training loss and its validation score by epoch."""
    curves = []
    for folder in run.folders:
        records = report.read_metrics(folder / "metrics.jsonl")
        by_epoch = {
            key: {
                epoch: np.mean(values)
                for epoch in sorted({r["epoch"] for r in records})
                if (
                    values := [
                        r[key]
                        for r in records
                        if r["epoch"] == epoch and r.get(key) is not None
                    ]
                )
            }
            for key in ("train_loss", "validation_score")
        }
        curves.append({k: list(v.values()) for k, v in by_epoch.items() if v})
    return curves


# Table 3: what the networks cost.


def table3(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Parameters, multiply-adds, receptive field and speed; trains nothing."""
    outputs = len(reproduction.corpus.target_names)
    frames = data.window_frames(reproduction.config.data.window_seconds)
    seconds = frames * FRAME_SAMPLES / SAMPLE_RATE_HZ
    rows = []
    for network in ("DiCCOSER", "CS rms", "CNN-LSTM"):
        for frontend in FRONTENDS:
            config = System(network, frontend).configure(
                reproduction.config, reproduction.corpus.task
            )
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
    device = jax.devices()[0].device_kind
    found = {
        "networks": rows,
        "window_seconds": seconds,
        "outputs": outputs,
        "repetitions": _REPETITIONS,
        "device": device,
    }
    blocks = [page.Heading("Networks"), *tables.networks(found)]
    return reproduction.write(name, "Parameters and cost (Table 3)", blocks, found)


_REPETITIONS = 9


def _inference_seconds(model: nn.Module, waveform: jax.Array) -> float:
    variables = train.fresh_variables(jax.random.key(0), model, waveform.shape[1])
    infer = jax.jit(evaluate.infer, static_argnums=0)
    times = []
    for _ in range(_REPETITIONS + 1):
        started = time.perf_counter()
        jax.block_until_ready(infer(model, variables, waveform))
        times.append(time.perf_counter() - started)
    return float(np.median(times[1:]))  # the first compiles


# Table 4: traditional features.


def table4(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Functionals with an SVM beside the networks, which learn from the signal.

    Raises:
      ConfigError: on a corpus of regression, or without the packages that it needs.
    """
    corpus = reproduction.corpus
    svms = [_svm(reproduction, features) for features in traditional.FEATURES]
    frontend = reproduction.config.model.frontend
    nets = [reproduction.run(System(n), f"{n}, {frontend}") for n in NETWORKS]
    best = max(svms, key=lambda run: _mean_ua(corpus, run))
    claims = [
        (run, best, f"{run.label} is better than {best.label}, the best of its kind")
        for run in nets
    ]
    found = _findings(reproduction, [*svms, *nets], claims)
    title = "Traditional features (Table 4)"
    blocks = list(_comparison_page(reproduction, name, title, nets, found))
    return reproduction.write(name, title, blocks, found)


def _svm(reproduction: Reproduction, features: str) -> Run:
    """Cross-validates functionals with an SVM."""
    started = time.monotonic()
    corpus, cache = reproduction.corpus, reproduction.workdir / "features"
    vectors = traditional.features(corpus, features, cache)
    parts = [
        traditional.evaluate_fold(corpus, reproduction.plan[n], vectors, number=n)[0]
        for n in reproduction.folds()
    ]
    return _without_network(reproduction, f"{features}, SVM", parts, started)


def _without_network(
    reproduction: Reproduction,
    label: str,
    parts: Sequence[Predictions],
    started: float,
) -> Run:
    """A run of a system that left no folders: the answers of each fold and seed."""
    return Run(
        label,
        [],
        predictions.concatenate(parts),
        len(reproduction.plan),
        None,
        time.monotonic() - started,
    )


def _mean_ua(corpus: data.Corpus, run: Run) -> float:
    summary = statistics.summarise(run.answers, corpus.task, corpus.target_names)
    return summary["measures"]["ua"]["mean"]


# Figure 8: what the local contexts hold.


def fig8(reproduction: Reproduction, name: str) -> pathlib.Path:
    """Local contexts of the test recordings on their first two principal components."""
    corpus, config = reproduction.corpus, reproduction.config
    columns, panels, found = [], {}, []
    for system in (System("CS max"), System("CS rms")):
        columns.append(reproduction.run(system, system.label()))
    # As in the paper: a row for each fold, a column for each aggregation.
    for folders in zip(*(run.folders for run in columns)):
        for run, folder in zip(columns, folders):
            entry = report.read_results(folder / "results.json")["folds"][0]
            contexts, targets = local_contexts.means(
                model_file.load(folder / model_file.NAME),
                corpus,
                reproduction.plan[entry["fold"]].test,
                config.data.window_seconds,
                config.train.batch_size,
            )
            points, shares = local_contexts.principal_components(contexts)
            label = f"{run.label}, fold {entry['fold']}" + (
                f", seed {entry['seed']}" if config.repeats > 1 else ""
            )
            colors = targets if targets.ndim == 1 else targets[:, 0]
            panels[label] = (points, colors)
            found.append(
                {
                    "system": label,
                    "variance_shares": list(shares),
                    **local_contexts.correlations(points, targets, corpus.target_names),
                }
            )
    classification = corpus.task == "classification"
    names = corpus.target_names if classification else corpus.target_names[:1]
    # Two columns of pictures for a few folds, four for many.
    picture = figures.scatters(panels, names, columns=2 if len(panels) < 5 else 4)
    blocks = [
        *tables.partial([_row(reproduction, run) for run in columns]),
        page.Heading("Local contexts"),
        page.Picture(
            name,
            figures.png(picture),
            "Local contexts of the test recordings on two principal components",
            "Means over time of the local context of each "
            + ("recording" if classification else "window")
            + ", on the first (across) and second (up) principal component of each "
            "fold; signs are arbitrary.",
        ),
        *tables.components({"panels": found, "task": corpus.task}),
    ]
    title = "Local contexts (Fig. 8)"
    return reproduction.write(
        name,
        title,
        blocks,
        {"panels": found},
    )


# Beyond the paper: what is learnt without labels.


def autoencoding(reproduction: Reproduction, name: str) -> pathlib.Path:
    """The network as an autoencoder, then a linear classifier (section 6, future work).

    Raises:
      ConfigError: on a corpus of regression, or without scikit-learn.
    """
    corpus, config = reproduction.corpus, reproduction.config
    if corpus.task != "classification":
        raise ConfigError(f"{name} classifies; {corpus.name} has no classes.")
    supervised = reproduction.run(System("CS rms"), "CS rms, trained with labels")
    config = System("CS rms").configure(config, corpus.task)
    started = time.monotonic()
    learnt: list[Any] = []
    drawn: list[Any] = []
    for seed in range(config.seed, config.seed + config.repeats):
        for number in reproduction.folds(config.model.frontend):
            one = config.copy_and_resolve_references()
            one.fold, one.seed, one.repeats = str(number), seed, 1
            fold = reproduction.plan[number]
            folder = reproduction.workdir / "runs" / "autoencoder"
            folder /= experiment.run_name(number, seed, config.repeats)
            saved = model_file.load(autoencoder.pretrain(one, folder, corpus, fold))
            # The same network before it learnt, on the statistics that it learnt.
            samples = FRAME_SAMPLES * saved.model.config.window_frames
            fresh = train.fresh_variables(jax.random.key(seed), saved.model, samples)
            untrained = dataclasses.replace(saved, variables=fresh)
            for parts, network in ((learnt, saved), (drawn, untrained)):
                rows, _ = traditional.evaluate_fold(
                    corpus,
                    fold,
                    autoencoder.represent(network, corpus),
                    kernels=("linear",),
                    number=number,
                    seed=seed,
                )
                parts.append(rows)
    runs = [
        _without_network(reproduction, label, parts, started)
        for label, parts in (
            ("autoencoder, linear SVM", learnt),
            ("random weights, linear SVM", drawn),
        )
    ]
    claims = [
        (runs[0], runs[1], "what the autoencoder learns helps a linear classifier"),
        (supervised, runs[0], "labels are worth more: CS rms is better than it"),
    ]
    found = _findings(reproduction, [*runs, supervised], claims)
    title = "Representations learnt without labels"
    blocks = list(_comparison_page(reproduction, name, title, [supervised], found))
    blocks.insert(
        0,
        page.Text(
            "The autoencoder hears the training speakers and none of their labels; it "
            f"foretells log-mel frames {tuple(config.autoencoder.frames_ahead)} frames "
            "ahead. A linear SVM on means and deviations of its local and global "
            "context is trained with labels; its C is chosen by the validation "
            "speakers. Random weights: the same on the network before it learnt."
        ),
    )
    return reproduction.write(name, title, blocks, found)


EXPERIMENTS: dict[str, Callable[[Reproduction, str], pathlib.Path]] = {
    **dict.fromkeys(("fig5", "fig6", "fig7"), compare),
    "fig8": fig8,
    "table3": table3,
    "table4": table4,
    **dict.fromkeys(ABLATIONS, compare),
    "autoencoder": autoencoding,
}
GROUPS = {
    "ablations": (*ABLATIONS, "autoencoder"),
    "all": tuple(EXPERIMENTS),
}
_SYSTEMS = {  # of those that are no comparison
    "fig8": (System("CS max"), System("CS rms")),
    "table3": (),
    "table4": tuple(System(network) for network in NETWORKS),
    "autoencoder": (System("CS rms"), System("CS rms", change="autoencoder")),
}
_CLASSES_ONLY = ("table4", "autoencoder")
_BESIDES_SECONDS = {"table3": 90.0, "table4": 300.0}  # timing; functionals, SVMs


def task_of(name: str) -> str | None:
    """The only task that the experiment is for, if there is one."""
    if name in _CLASSES_ONLY:
        return "classification"
    return COMPARISONS[name].task if name in COMPARISONS else None


def describe(
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path | None = None,
    raw_folds: int | None = None,
) -> str:
    """A line for each experiment: its name, what it trains, how long that takes.

    Args:
      config: whose corpus need not be there.
      workdir: where runs that are finished cost nothing; or None.
      raw_folds: as in `Reproduction`.
    """
    size = estimates.size(config)
    folds = list(range(size.folds))
    if config.fold != experiment.ALL:
        if not config.fold.isdecimal():
            raise ConfigError(f"fold={config.fold!r} is no number, and not 'all'.")
        folds = [int(config.fold)]
    lines: list[str] = []
    everything: dict[pathlib.Path, float] = {}
    for name in EXPERIMENTS:
        if name in COMPARISONS:
            title, systems = COMPARISONS[name].title, COMPARISONS[name].systems
        else:
            title = (EXPERIMENTS[name].__doc__ or "").splitlines()[0]
            systems = _SYSTEMS[name]
        if task_of(name) not in (None, size.task):
            lines.append(f"{name:16} {'':8} {task_of(name) + ' only':>10}   {title}")
            continue
        runs = {}
        for system in systems:
            one = system.configure(config, size.task)
            folder = pathlib.Path("runs") / system.folder(one)
            several = folds[:raw_folds] if one.model.frontend == "raw" else folds
            for seed in range(config.seed, config.seed + config.repeats):
                for number in several:
                    run = folder / experiment.run_name(number, seed, config.repeats)
                    if workdir and (workdir / run / "results.json").exists():
                        continue
                    runs[run] = estimates.run_seconds(one, size)
        everything |= runs
        seconds = sum(runs.values()) + _BESIDES_SECONDS.get(name, 0.0)
        lines.append(f"{name:16} {len(runs):3} runs {_hours(seconds):>10}   {title}")
    seconds = sum(everything.values()) + sum(_BESIDES_SECONDS.values())
    return "\n".join(
        [
            *lines,
            f"{'all':16} {len(everything):3} runs {_hours(seconds):>10}   "
            "All of these, which share their runs in a workdir",
            "",
            f"For {config.data.dataset}, {config.model.frontend} unless the experiment "
            f"says otherwise, up to {config.train.max_epochs} epochs, "
            f"{len(folds)} of {size.folds} folds, {config.repeats} seed(s).",
            f"Based on {size.train_windows:.0f} windows of "
            f"{config.data.window_seconds:g} s ({size.source}), on the multiply-adds "
            "of each network, and on speeds measured on two CPU cores without an "
            "accelerator (diccoser_jax/estimates.py).",
            *(
                ["Runs that are finished in the workdir are not counted."]
                if workdir
                else []
            ),
        ]
    )


def _hours(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{max(minutes, 1)} min"
    return f"{minutes / 60:.1f} h"


def command(argv: list[str]) -> None:
    """The command, after its flags are parsed."""
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected argument {argv[1]!r}: flags begin with --.")
    logging.set_verbosity(logging.WARNING)
    config = flags.FLAGS.config
    flag: Any = flags.FLAGS["config"]
    if "fold" not in flag.override_values:
        config.fold = experiment.ALL
    workdir, raw_folds = flags.FLAGS.workdir, flags.FLAGS.raw_folds
    if flags.FLAGS.list:
        try:
            text = describe(config, workdir and pathlib.Path(workdir), raw_folds)
        except (CorpusError, ConfigError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
        print(text)
        return
    wanted = flags.FLAGS.experiment
    known = (*EXPERIMENTS, *GROUPS)
    if not wanted or not set(wanted) <= set(known):
        raise app.UsageError(
            f"--experiment={','.join(wanted or ())}: one or several of "
            f"{', '.join(known)}."
        )
    names = [name for w in wanted for name in GROUPS.get(w, (w,))]
    workdir = pathlib.Path(workdir or f"runs/reproduce-{config.data.dataset}")
    repeat = shlex.join(["python", "-m", "diccoser_jax.reproduce", *sys.argv[1:]])
    with main.exit_codes():
        distributed.start(config.distributed)
        main.prepare_machine()
        config_lib.check_keys(config, default.get_config())
        train.check_settings(config)
        reproduction = Reproduction(config, workdir, repeat, raw_folds)
        for name in names:
            if name not in wanted and task_of(name) not in (
                None,
                reproduction.corpus.task,
            ):
                continue  # of a group, what makes no sense here
            path = EXPERIMENTS[name](reproduction, name)
            print(path.read_text())
            print(f"Page: {path} and {path.with_suffix('.html')}")


def define_flags() -> None:
    """The flags of `command`."""
    main.define_flags()
    flags.DEFINE_list(
        "experiment", None, "Which, one or several, or a group: ablations, all."
    )
    flags.DEFINE_bool(
        "list",
        False,
        "Say what there is, and about what it costs with this configuration, whose "
        "corpus need not be there; with --workdir, what is left to do.",
    )
    flags.DEFINE_integer(
        "raw_folds",
        None,
        "Networks on raw samples, which take longest, on so many folds only, the first "
        "ones; pages say so. Default: as many as the others.",
        lower_bound=1,
    )


if __name__ == "__main__":
    define_flags()
    app.run(command)
