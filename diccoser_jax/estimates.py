"""What experiments will cost, before anything is run or even read.

Multiply-adds of a network are counted in its program; how many windows it is trained
on, the shards say, or where there are none, what is documented of the corpus. How fast
that goes was measured on two cores of an AMD EPYC, without an accelerator
(``results/benchmarks``): training takes three times the multiply-adds of inference,
at 56 (log-mel) to 75 (raw samples) thousand million of them a second. The rest, what an
epoch and a run take besides, is of runs on EmoDB and RAVDESS there.
"""

import dataclasses
import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import ml_collections
import tensorflow_datasets as tfds

from data_prep import build
from diccoser_jax import complexity, data, train
from diccoser_jax.audio import FRAME_SAMPLES

MULTIPLY_ADDS_PER_SECOND = 60e9
_BACKWARD = 3  # multiply-adds of a training step for each one of inference
_EPOCH_SECONDS = 0.5  # batches, checkpoint, log
_RUN_SECONDS = 30.0  # compilation, test, report
_RECORDING_SECONDS = 300.0  # of regression, where nobody says it: as in RECOLA


@dataclasses.dataclass(frozen=True)
class Size:
    """How much a corpus holds.

    Attributes:
      task: ``classification`` or ``regression``.
      outputs: classes or dimensions.
      train_windows: of all units, as training reads them.
      test_windows: likewise, as tests do.
      folds: of the plan.
      source: where this is from, in words.
    """

    task: str
    outputs: int
    train_windows: float
    test_windows: float
    folds: int
    source: str


def size(config: ml_collections.ConfigDict) -> Size:
    """The size of the corpus that the configuration names; reads no audio.

    Raises:
      CorpusError: if there is no such corpus.
    """
    settings = config.data
    builder = build.create_builder(
        settings.dataset,
        settings.manual_dir,
        settings.data_dir,
        window_seconds=settings.window_seconds,
        shift_seconds=settings.shift_seconds,
        delay_seconds=settings.delay_seconds,
    )
    shards = pathlib.Path(builder.data_dir)
    if (shards / "dataset_info.json").exists():
        metadata = tfds.builder_from_directory(shards).info.metadata
        names = metadata.get("class_names") or metadata.get("dimension_names")
        splits = metadata["counts"]["split"]
        tested = sum(n for name, n in splits.items() if name.endswith("_eval"))
        trained = sum(splits.values()) - tested
        return Size(
            metadata["task"],
            len(names),
            trained,
            tested or trained,
            _folds(config, len(metadata["units"])),
            f"the shards in {shards}",
        )
    speakers = builder.documented_speakers
    recordings = sum(builder.documented_counts.values()) or sum(speakers.values())
    source = f"what is documented of {settings.dataset}"
    regression = bool(builder.dimension_names)
    if not recordings:
        recordings = 16 if regression else 1000
        source = f"a guess, for nothing is documented of {settings.dataset}"
    units = len(speakers) if config.folds.plan == "leave_one_out" else 0
    folds = _folds(config, units or config.folds.count or 5)
    if not regression:
        classes = len(builder.class_names) or 4
        return Size("classification", classes, recordings, recordings, folds, source)
    windows = 1 + (_RECORDING_SECONDS - settings.window_seconds) / (
        settings.shift_seconds
    )
    return Size(
        "regression",
        len(builder.dimension_names),
        recordings * max(windows, 1),
        recordings * _RECORDING_SECONDS / settings.window_seconds,
        folds,
        f"{source}, each recording taken for {_RECORDING_SECONDS / 60:g} minutes",
    )


def _folds(config: ml_collections.ConfigDict, units: int) -> int:
    if config.folds.plan == "explicit":
        return len(config.folds.explicit)
    if config.folds.plan in ("in_order", "leave_one_out"):
        return units
    return config.folds.count


def run_seconds(config: ml_collections.ConfigDict, size: Size) -> float:
    """About how long one fold takes, if no early stop shortens it."""
    work = _multiply_adds(
        json.dumps(config.model.to_dict(), sort_keys=True, default=list),
        size.outputs,
        data.window_frames(config.data.window_seconds),
    )
    # Of n folds, one validates and one tests; an official partition is about as five.
    folds = size.folds if size.folds > 2 else 5
    trained = size.train_windows * (folds - 2) / folds
    heard = size.test_windows / folds  # of validation
    again = config.train.batch_stats_batches * config.train.batch_size
    if config.train.refit:  # and then on what validated, too
        trained += trained + size.train_windows / folds
        again *= 2
    epoch = (_BACKWARD * trained + heard + again) * work / MULTIPLY_ADDS_PER_SECOND
    return _RUN_SECONDS + config.train.max_epochs * (epoch + _EPOCH_SECONDS)


@functools.cache
def _multiply_adds(model_json: str, outputs: int, frames: int) -> int:
    """Of inference on one window."""
    config = ml_collections.ConfigDict(json.loads(model_json))
    model = train.create_model(config, outputs=outputs, window_frames=frames)
    waveform = jax.ShapeDtypeStruct((1, frames * FRAME_SAMPLES), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), waveform)
    return complexity.multiply_adds(model.apply, variables, waveform)
