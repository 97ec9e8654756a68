"""The smallest network that trains, the same for many tests: it is compiled once."""

import pathlib

import ml_collections

from benchmarks import faults

# Over the demo or the tuned recipe of any corpus. What is left to differ from test to
# test is no part of the programs, but for the number of classes.
SHRUNK = {
    "data.window_seconds": 2.0,
    "model.features": 8,
    "model.local_stacks": 1,
    "model.global_blocks": 1,
    "model.frontend": "log_mel",
    "optimizer.schedule": "constant",
    "train.max_epochs": 1,
    "train.batch_stats_batches": 2,
}


def config(
    data_dir: pathlib.Path, *, checkpoint_every_seconds: float
) -> ml_collections.ConfigDict:
    """Two epochs of a network that takes longer to start than to train."""
    made = faults.small_config("synthetic", "", data_dir)
    made.update_from_flattened_dict(SHRUNK)
    made.optimizer.schedule = "cosine"  # a run that goes on must know where it was
    made.train.max_epochs = 2
    made.train.checkpoint_every_seconds = checkpoint_every_seconds
    return made
