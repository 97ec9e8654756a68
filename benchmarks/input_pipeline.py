"""Examples a second that the input pipeline delivers, and that training consumes.

python -m benchmarks.input_pipeline
python -m benchmarks.input_pipeline --dataset=emodb --manual_dir=DIR

`diccoser_jax.data.train_batches` decodes, augments and batches whole epochs of prepared
shards, in turns with the training step of this package on raw samples, batches of 10
windows of 3 s. Less than 20 times its speed would be too little: the two share the
cores.
"""

import itertools
import pathlib
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import measure
from benchmarks.measure import Child, ChildError
from configs import demo
from data_prep import build
from data_prep.corpus import CorpusError
from diccoser_jax import data

ASKED = 20
WORKLOAD = "classification_raw"
BATCH_SIZE, WINDOW_SECONDS = 10, 3.0  # of that workload


def deliver(corpus: data.Corpus, examples: int) -> tuple[int, float]:
    """Whole epochs, until there are so many examples.

    Returns:
      How many there were, and in how many seconds.
    """
    config = demo.get_config()
    delivered, start = 0, time.perf_counter()
    for epoch in itertools.count():
        for batch in data.train_batches(
            corpus,
            list(corpus.metadata["units"]),
            batch_size=BATCH_SIZE,
            window_seconds=WINDOW_SECONDS,
            augmentation=data.Augmentation(**config.augmentation),
            seed=0,
            epoch=epoch,
        ):
            delivered += len(batch["audio"])
        if delivered >= examples:
            return delivered, time.perf_counter() - start
    raise AssertionError("epochs do not end")


def measure_one(
    corpus: data.Corpus,
    *,
    examples: int,
    repetitions: int,
    workload: str = WORKLOAD,
    timeout_s: float = 900.0,
) -> dict[str, Any]:
    """Pipeline and training step in turns.

    Returns:
      JSON-able: examples a second that are ``delivered`` and ``consumed``, as
      `measure.summary` has them, and the median ``ratio`` of the rounds.

    Raises:
      ChildError: if the training step fails.
    """
    delivered, consumed = [], []
    with Child("ours", workload, timeout_s=timeout_s) as child:
        with measure.progress("first call of everybody"):
            child.call("build")
            child.call("train_step", calls=3)
            deliver(corpus, BATCH_SIZE)
        for round_ in range(repetitions):
            with measure.progress(f"round {round_ + 1} of {repetitions}"):
                count, seconds = deliver(corpus, examples)
                delivered.append(count / seconds)
                (seconds,) = child.call("train_step")["seconds"]
                consumed.append(BATCH_SIZE / seconds)
    return {
        "delivered": measure.summary(delivered),
        "consumed": measure.summary(consumed),
        "ratio": measure.median_ratio(delivered, consumed),
    }


def report(dataset: str, result: Mapping[str, Any]) -> str:
    """The table, and whether the ratio is what was asked for."""
    rows = [
        [
            title,
            f"{result[key]['median']:,.0f}",
            "{:,.0f} to {:,.0f}".format(*result[key]["quartiles"]),
        ]
        for title, key in (
            (f"delivered from {dataset}", "delivered"),
            (f"consumed by training ({WORKLOAD})", "consumed"),
        )
    ]
    header = ("examples of 3 s", "median a second", "quartiles")
    verdict = "enough" if result["ratio"] >= ASKED else "TOO LITTLE"
    return (
        f"{measure.table(header, rows)}\n\n"
        f"Ratio: {result['ratio']:.1f}; at least {ASKED} is asked for: {verdict}."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("input_pipeline", __doc__)
    measure.add_corpus(parser)
    parser.add_argument(
        "--allow_partial",
        action="store_true",
        help="use a corpus whose counts are other than documented",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=2000,
        help="at least so many in a round, in whole epochs (default: 2000)",
    )
    parser.add_argument(
        "--repetitions", type=int, default=7, help="rounds (default: 7)"
    )
    args = parser.parse_args(argv)
    measure.check_positive(parser, args, "examples", "repetitions")
    with tempfile.TemporaryDirectory() as data_dir:
        try:
            with measure.progress(f"{args.dataset}: shards are built"):
                shards = build.build(
                    args.dataset,
                    args.manual_dir,
                    pathlib.Path(data_dir),
                    allow_partial=args.allow_partial,
                    progress=False,
                    window_seconds=WINDOW_SECONDS,
                )
            result = measure_one(
                data.Corpus(shards),
                examples=args.examples,
                repetitions=args.repetitions,
                timeout_s=args.timeout,
            )
        except (ChildError, CorpusError) as error:
            sys.exit(f"{type(error).__name__}: {error}")
    # Where the corpus lies is nobody's business.
    command = ["--manual_dir=DIR"] if args.manual_dir else []
    command += [
        f"--{name}={getattr(args, name)}"
        for name in ("dataset", "examples", "repetitions")
    ]
    command += ["--allow_partial"] if args.allow_partial else []
    measure.save(
        args.output,
        "input_pipeline",
        {"dataset": args.dataset, "workload": WORKLOAD, **result},
        command,
    )
    print(report(args.dataset, result))


if __name__ == "__main__":
    main()
