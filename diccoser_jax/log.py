"""What a run says while it goes: progress bar, ``metrics.jsonl``, TensorBoard."""

import json
import pathlib
from typing import Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

from diccoser_jax import files


class Log:
    """Writes each step once, also when a run is interrupted and goes on.

    A context manager.

    Attributes:
      step: training steps done.
    """

    def __init__(
        self,
        workdir: pathlib.Path,
        *,
        step: int,
        total_steps: int,
        steps_per_line: int,
        score_name: str,
    ):
        """Opens the log of a run that has done ``step`` steps.

        Lines and events after that step are of a run that was interrupted before its
        next checkpoint; they are dropped, since their steps are done again.

        Args:
          workdir: gets ``metrics.jsonl`` and TensorBoard events.
          step: training steps done.
          total_steps: steps of the whole run if nothing ends it early.
          steps_per_line: a line of ``metrics.jsonl`` holds the mean training loss of
            so many steps.
          score_name: what the score is called in the progress bar.
        """
        self.step = step
        self._steps_per_line = steps_per_line
        self._score_name = score_name
        self._losses: list[float] = []
        path = workdir / "metrics.jsonl"
        files.replace(path, "".join(_lines_until(path, step)).encode())
        self._file = path.open("a", buffering=1)
        # The suffix keeps two files apart that are made in the same second.
        self._events = SummaryWriter(
            str(workdir), purge_step=step + 1, filename_suffix=f".{step}"
        )
        self._bar = tqdm(total=total_steps, initial=step, unit="step", desc="training")
        self._shown: dict[str, str] = {}

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        self._events.close()
        self._file.close()

    def train(self, epoch: int, loss: float) -> None:
        """Counts a training step; writes the mean loss since the last line."""
        self.step += 1
        self._losses.append(loss)
        self._bar.update()
        if len(self._losses) == self._steps_per_line:
            mean = sum(self._losses) / len(self._losses)
            self._losses.clear()
            self._write(epoch, {"train_loss": mean})
            self._show(loss=f"{mean:.3f}")

    def validation(self, epoch: int, loss: float, score: float, best: float) -> None:
        """Writes the validation loss and score of an epoch."""
        self._losses.clear()
        self._write(epoch, {"validation_loss": loss, "validation_score": score})
        self._bar.set_description(f"epoch {epoch}")
        self._show(**{self._score_name: f"{score:.3f}", "best": f"{best:.3f}"})

    def _write(self, epoch: int, values: dict[str, Any]) -> None:
        line = {"step": self.step, "epoch": epoch, **values}
        self._file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._events.add_scalar(name.replace("_", "/", 1), value, self.step)

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown)


def _lines_until(path: pathlib.Path, step: int) -> list[str]:
    """The whole lines of a metrics.jsonl, up to this step."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
