"""The smallest configuration that trains, for tests that start processes."""

import pathlib

import ml_collections

from benchmarks import faults


def config(
    data_dir: pathlib.Path, *, checkpoint_every_seconds: float
) -> ml_collections.ConfigDict:
    """Two epochs of a network that takes longer to start than to train."""
    made = faults.small_config("synthetic", "", data_dir)
    made.model.features = 8
    made.model.local_stacks = made.model.global_blocks = 1
    made.data.window_seconds = 2.0
    made.train.max_epochs = 2
    made.train.batch_stats_batches = 2
    made.train.checkpoint_every_seconds = checkpoint_every_seconds
    return made
