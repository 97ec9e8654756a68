"""Seconds to answer one batch: this package beside its peers, taking turns.

python -m benchmarks.inference --workloads=classification_raw --settings=plain
"""

from benchmarks import contest

if __name__ == "__main__":
    contest.main("inference", "infer", __doc__)
