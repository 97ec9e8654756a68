"""Seconds of one training step: this package beside its peers, taking turns.

python -m benchmarks.train_step --workloads=classification_raw --settings=plain
"""

from benchmarks import contest

if __name__ == "__main__":
    contest.main("train_step", "train_step", __doc__)
