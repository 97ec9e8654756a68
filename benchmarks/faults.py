"""What kills cost: a run that is killed again and again, beside one that is not.

python -m benchmarks.faults --kills=50 --dataset=emodb --manual_dir=DIR

A small network is trained, tested and reported once without a fault. Then the same is
done in processes that are killed (SIGKILL) at random moments, the next one with the
same command, until so many were killed; a run that gets to its end is compared with the
undisturbed one, and a new one begins. Identical means bit for bit: parameters, batch
statistics and optimiser state (by the SHA-256 of the checkpoints of the last and of the
best epoch), model.safetensors, predictions.npz, metrics.jsonl, TensorBoard's scalars,
and results.json but for what the clock measures (`experiment.without_times`).
"""

import json
import math
import multiprocessing
import pathlib
import random
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from benchmarks import measure
from configs import default
from diccoser_jax import compilation_cache, experiment
from diccoser_jax.log import read_events

_POLL_SECONDS = 0.01


def small_config(
    dataset: str, manual_dir: str, data_dir: pathlib.Path
) -> ml_collections.ConfigDict:
    """The tuned recipe with a small network, few epochs and frequent checkpoints."""
    config = default.get_config()
    config.data.dataset, config.data.manual_dir = dataset, manual_dir
    config.data.data_dir = str(data_dir)
    config.model.features, config.model.local_stacks = 16, 3
    config.model.global_blocks = 2
    config.train.max_epochs = 5
    config.train.log_every_steps = 1  # so that what is lost can be counted
    config.train.batch_stats_batches = 5
    config.train.checkpoint_every_seconds = 1.0
    return config


def work(
    config: ml_collections.ConfigDict, workdir: pathlib.Path, cache: pathlib.Path
) -> None:
    """What each process does, until it is killed."""
    sys.stderr = (workdir.parent / f"{workdir.name}.log").open("a")
    compilation_cache.use_folder(cache)
    experiment.run(config, workdir)


class Killer:
    """Runs `work` in new processes of one workdir.

    Attributes:
      lives: JSON-able, of each process that was killed: ``seconds`` that it lived,
        ``steps_repeated`` by the next one, ``seconds_lost``, since its last checkpoint
        or, without any, since its start.
    """

    def __init__(self, config: ml_collections.ConfigDict, cache: pathlib.Path):
        self.config, self.cache = config, cache
        self.lives: list[dict[str, Any]] = []
        # Imports once; the processes are forked from one that has not used JAX.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(
            ["diccoser_jax.experiment", "librosa.filters"]
        )

    def run(
        self,
        workdir: pathlib.Path,
        live_seconds: float = math.inf,
        until: str | None = None,
        awake: bool = False,
    ) -> bool:
        """Starts a process, and kills it.

        Args:
          workdir: of the run.
          live_seconds: so long after its start.
          until: as soon as this pattern has a match in the workdir.
          awake: count the seconds from its first step on, or its end of training.

        Returns:
          Whether it got to the end of the run before.
        """
        process = self._context.Process(
            target=work, args=(self.config, workdir, self.cache)
        )
        size = _log_size(workdir)
        process.start()
        started = saved_at = counted = time.monotonic()
        saved = before = _latest_step(workdir)
        while process.is_alive():
            now = time.monotonic()
            if (step := _latest_step(workdir)) > saved:
                saved, saved_at = step, now
            if awake and _log_size(workdir) != size:
                awake, counted = False, now
            over = not awake and now - counted >= live_seconds
            if over or (until and [*workdir.glob(until)]):
                process.kill()
                break
            process.join(_POLL_SECONDS)
        process.join()
        if process.exitcode == 0:
            return True
        if process.exitcode != -9:
            log = workdir.parent / f"{workdir.name}.log"
            raise RuntimeError(f"exit code {process.exitcode}: {log.read_text()}")
        lines = workdir / "metrics.jsonl"
        whole = lines.read_bytes().split(b"\n")[:-1] if lines.exists() else []
        done = max([json.loads(line)["step"] for line in whole], default=0)
        saved = _latest_step(workdir)
        self.lives.append(
            {
                "seconds": time.monotonic() - started,
                "steps": saved - before,
                "steps_repeated": max(done - saved, 0),
                "seconds_lost": time.monotonic() - saved_at,
            }
        )
        return False


def _latest_step(workdir: pathlib.Path) -> int:
    """Of the checkpoints that are whole."""
    found = (workdir / "checkpoints").glob("*")
    return max([int(p.name) for p in found if p.name.isdecimal()], default=0)


def _log_size(workdir: pathlib.Path) -> tuple[int, bool]:
    lines, last = workdir / "metrics.jsonl", workdir / "predictions.npz"
    return lines.stat().st_size if lines.exists() else 0, last.exists()


def _about(workdir: pathlib.Path, step: int) -> dict[str, Any]:
    path = workdir / f"checkpoints/{step}/about/metadata"
    return json.loads(json.loads(path.read_text())["text"])


def fingerprint(workdir: pathlib.Path) -> dict[str, Any]:
    """All of a finished run that must be the same for each; JSON-able."""
    last = _latest_step(workdir)
    best = _about(workdir, last)["best_step"]
    (events,) = workdir.glob("events.*")
    scalars = [
        [event.summary.value[0].tag, event.step, event.summary.value[0].simple_value]
        for event in read_events(events)
        if event.summary.value
    ]
    results = json.loads((workdir / "results.json").read_text())
    return {
        "last": [last, _about(workdir, last)["state_sha256"]],
        "best": [best, _about(workdir, best)["state_sha256"]],
        "results.json": experiment.without_times(results),
        "events": scalars,
        **{
            name: (workdir / name).read_bytes().hex()
            for name in ("metrics.jsonl", "predictions.npz", "model.safetensors")
        },
    }


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The keys under which two fingerprints differ."""
    return [key for key in one if one[key] != other[key]]


def measure_kills(
    config: ml_collections.ConfigDict, folder: pathlib.Path, kills: int, seed: int
) -> dict[str, Any]:
    """Kills so often, and compares every run that gets to its end.

    Args:
      config: of the run.
      folder: for the workdirs.
      kills: how many.
      seed: of their moments.

    Returns:
      JSON-able: ``kills``, ``runs`` that were finished and ``identical`` ones among
      them, ``differing`` parts, sums and maxima of what was lost, and ``lives``.
    """
    rng = random.Random(seed)
    killer = Killer(config, folder / "compiled")
    killer.run(folder / "first")  # compiles, and builds the shards
    begun = time.monotonic()
    killer.run(folder / "whole")
    seconds = time.monotonic() - begun
    expected = fingerprint(folder / "whole")
    results = {"undisturbed_seconds": seconds, "runs": 0, "identical": 0}
    results["differing"] = differences(expected, fingerprint(folder / "first"))
    while len(killer.lives) < kills:
        workdir = folder / f"run{results['runs']}"
        # A quarter die at any time after their start, the others after a new step.
        while len(killer.lives) < kills:
            if rng.random() < 0.25:
                over = killer.run(workdir, rng.uniform(0, seconds / 2))
            else:
                over = killer.run(workdir, rng.uniform(0, seconds / 6), awake=True)
            if over:
                break
        else:
            killer.run(workdir)
        found = differences(expected, fingerprint(workdir))
        results["runs"] += 1
        results["identical"] += not found
        results["differing"] = sorted({*results["differing"], *found})
    lives = killer.lives
    return {
        "kills": len(lives),
        **results,
        "steps_repeated": sum(life["steps_repeated"] for life in lives),
        "most_steps_repeated": max(life["steps_repeated"] for life in lives),
        "longest_seconds_lost": max(life["seconds_lost"] for life in lives),
        "lives": lives,
    }


def report(dataset: str, results: Mapping[str, Any]) -> str:
    """The table, and the verdict."""
    identical = results["identical"] == results["runs"] and not results["differing"]
    rows = [
        ["kills survived", str(results["kills"])],
        ["runs finished in spite of them", str(results["runs"])],
        ["steps done twice, in all", str(results["steps_repeated"])],
        ["most steps done twice after one kill", str(results["most_steps_repeated"])],
        ["most time lost by one kill, s", f"{results['longest_seconds_lost']:.1f}"],
        ["the run undisturbed, s", f"{results['undisturbed_seconds']:.1f}"],
        ["bit for bit the same end", "yes" if identical else "NO"],
    ]
    if results["differing"]:
        rows.append(["what differs", ", ".join(results["differing"])])
    return measure.table((dataset, ""), rows)


def main(argv: Sequence[str] | None = None) -> None:
    """The command."""
    parser = measure.parser("faults", __doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=0, help="of their moments")
    measure.add_corpus(parser)
    args = parser.parse_args(argv)
    measure.check_positive(parser, args, "kills")
    with tempfile.TemporaryDirectory() as folder:
        config = small_config(
            args.dataset, args.manual_dir, pathlib.Path(folder) / "shards"
        )
        with measure.progress(f"{args.kills} kills"):
            results = measure_kills(config, pathlib.Path(folder), args.kills, args.seed)
    # Where the corpus lies is nobody's business.
    command = [f"--{name}={getattr(args, name)}" for name in ("kills", "dataset")]
    command += ["--manual_dir=DIR"] if args.manual_dir else []
    measure.save(args.output, "faults", results, command)
    print(report(args.dataset, results))
    if results["differing"]:
        sys.exit("A killed run does not end like one that was not.")


if __name__ == "__main__":
    main()
