"""What the paper compares, and what it does not: systems, claims, printed scores.

Declarations only; `diccoser_jax.reproduce` trains what they name and tests what they
claim.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from diccoser_jax import config as config_lib
from diccoser_jax.audio import FRAME_SAMPLES
from diccoser_jax.diccoser import FRONTENDS

NETWORKS = {
    "DiCCOSER": {"model.network": "diccoser"},
    "CS-V2 max": {"model.network": "diccoser_cs_v2", "model.aggregation": "max"},
    "CS max": {"model.network": "diccoser_cs", "model.aggregation": "max"},
    "CS rms": {"model.network": "diccoser_cs", "model.aggregation": "rms"},
    "CNN-LSTM": {"model.network": "cnn_lstm"},
}


@dataclasses.dataclass(frozen=True)
class System:
    """A network that is cross-validated.

    Attributes:
      network: a key of ``NETWORKS``.
      frontend: ``raw`` or ``log_mel``; None for that of the configuration.
      augmented: whether training is augmented as the configuration says, or not at all.
      change: what is different besides, in a word; '' for nothing.
      overrides: keys of the configuration that make the change, and their values, or
        functions of the configuration that give them.
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

    def configure(
        self, config: ml_collections.ConfigDict, task: str
    ) -> ml_collections.ConfigDict:
        """A copy of the configuration, for this network on a corpus of this task."""
        config = config.copy_and_resolve_references()
        overrides = {**NETWORKS[self.network], **self.overrides}
        if self.frontend:
            overrides["model.frontend"] = self.frontend
        if not self.augmented:
            overrides |= {
                f"augmentation.{key}": type(value)()  # zero, or nothing
                for key, value in config_lib.flatten(config.augmentation).items()
            }
            if task == "regression":  # augmented by overlap (section 4.2.3)
                overrides["data.shift_seconds"] = config.data.window_seconds
                overrides["data.data_dir"] = f"{config.data.data_dir}/no_overlap"
        for key, value in overrides.items():
            value = value(config) if callable(value) else value
            config.update_from_flattened_dict({key: value})
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


def _ablation(
    change: str, title: str, task: str | None = None, **overrides: Any
) -> Comparison:
    """The network of the configuration, and one that differs in one thing."""
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    return Comparison(
        f"Ablation: {title}",
        [System("CS rms"), System("CS rms", change=change, overrides=keys)],
        [Claim(0, 1, f"CS rms is better as it is than with {title}")],
        task=task,
    )


def parallel_hops(config: ml_collections.ConfigDict) -> tuple[int, ...]:
    """Three hops about that of the paper: raw samples 5, 10, 20; mel 160, 320, 640."""
    halvings = config.model.local_stacks
    finest = halvings if config.model.frontend == "raw" else min(halvings, 2)
    return tuple(FRAME_SAMPLES >> n for n in range(finest, max(finest - 3, -1), -1))


ABLATIONS = {
    "gated": _ablation("gated", "WaveNet's gated block", model__block="gated"),
    "dropout_last": _ablation(
        "dropout last",
        "dropout after the ReLU, not before batch norm",
        model__block="dropout_last",
    ),
    "batch_stats": _ablation(
        "running statistics",
        "the running statistics of training",
        train__batch_stats_batches=0,
    ),
    "pooled_ccc": _ablation(
        "pooled CCC",
        "one CCC over the whole batch",
        "regression",
        train__regression_loss="pooled_ccc",
    ),
    "squared_error": _ablation(
        "squared error",
        "the squared error instead of the CCC",
        "regression",
        train__regression_loss="squared_error",
    ),
    "parallel": _ablation(
        "three hops",
        "three local networks of different hops (section 6, future work)",
        model__local_hop_samples=parallel_hops,
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
