"""What a run says while it goes: progress bar, ``metrics.jsonl``, TensorBoard."""

import contextlib
import itertools
import json
import pathlib
import struct
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

from diccoser_jax import files

# tensorboardX imports PyTorch wherever it is installed, as on Colab, though what is
# used here does not need it. None makes that import fail, which tensorboardX expects.
_torch_was_asked_for = "torch" in sys.modules
sys.modules.setdefault("torch", None)
from tensorboardX.proto import event_pb2  # noqa: E402
from tensorboardX.record_writer import masked_crc32c  # noqa: E402
from tensorboardX.summary import scalar  # noqa: E402

if not _torch_was_asked_for:
    del sys.modules["torch"]

_EVENTS = "events.out.tfevents.{}"


class Log:
    """Writes each step once, also when a run is interrupted and goes on.

    A context manager.

    Attributes:
      step: training steps done.
      losses: of the steps since the last line.
    """

    def __init__(
        self,
        workdir: pathlib.Path | None,
        *,
        step: int,
        losses: Iterable[float] = (),
        total_steps: int,
        steps_per_line: int,
        score_name: str,
    ):
        """Opens the log of a run that has done ``step`` steps.

        Lines and events after that step are of a run that was interrupted before its
        next checkpoint; they are dropped, since their steps are done again.

        Args:
          workdir: gets ``metrics.jsonl`` and TensorBoard events; None to count and say
            nothing, as all processes but the first do.
          step: training steps done.
          losses: of the last of them, as the attribute was then.
          total_steps: steps of the whole run if nothing ends it early.
          steps_per_line: a line of ``metrics.jsonl`` holds the mean training loss of
            so many steps.
          score_name: what the score is called in the progress bar.
        """
        self.step = step
        self.losses = list(losses)
        self._steps_per_line = steps_per_line
        self._score_name = score_name
        self._file = self._events = None
        if workdir:
            path = workdir / "metrics.jsonl"
            files.replace(path, "".join(_lines_until(path, step)).encode())
            self._file = path.open("a", buffering=1)
            self._events = _Events(workdir, step)
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            desc="training",
            disable=workdir is None,
        )
        self._shown: dict[str, str] = {}

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()
        for file in (self._events, self._file):
            # What a full disk does not take is written again: its step is not saved.
            with contextlib.suppress(OSError):
                if file:
                    file.close()

    def train(self, epoch: int, loss: float) -> None:
        """Counts a training step; writes the mean loss since the last line."""
        self.step += 1
        self.losses.append(loss)
        self._bar.update()
        if len(self.losses) == self._steps_per_line:
            mean = sum(self.losses) / len(self.losses)
            self.losses.clear()
            self._write(epoch, {"train_loss": mean})
            self._show(loss=f"{mean:.3f}")

    def validation(self, epoch: int, loss: float, score: float, best: float) -> None:
        """Writes the validation loss and score of an epoch."""
        self.losses.clear()
        self._write(epoch, {"validation_loss": loss, "validation_score": score})
        self._bar.set_description(f"epoch {epoch}")
        self._show(**{self._score_name: f"{score:.3f}", "best": f"{best:.3f}"})

    def _write(self, epoch: int, values: dict[str, Any]) -> None:
        if not self._file:
            return
        line = {"step": self.step, "epoch": epoch, **values}
        with _naming(self._file.name):
            self._file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            self._events.write(name.replace("_", "/", 1), value, self.step)

    def _show(self, **values: str) -> None:
        self._shown |= values
        self._bar.set_postfix(self._shown)


class _Events:
    """One file of TensorBoard events; the caller writes, and hears of a full disk.

    tensorboardX's own writer is a thread: one that dies stops the run, silently.
    """

    def __init__(self, workdir: pathlib.Path, step: int):
        """Starts a file with the events up to this step of those that are there."""
        old = sorted(workdir.glob(_EVENTS.format("*")))
        number = 1 + max((int(path.suffix[1:]) for path in old), default=0)
        # Numbered, where TensorBoard's files have the time: clocks jump.
        path = workdir / _EVENTS.format(f"{number:06d}")
        self._file = path.open("wb", buffering=0)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        # A TensorBoard that is open forgets what it has read of the old ones.
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(session_log=start))
        kept = {}  # Twice there, if a kill came between what follows and its end.
        for event in itertools.chain.from_iterable(map(read_events, old)):
            if event.HasField("summary") and event.step <= step:
                kept[event.step, event.summary.value[0].tag] = event
        for event in kept.values():
            self._write(event)
        for path in old:
            path.unlink()

    def write(self, tag: str, value: float, step: int) -> None:
        self._write(event_pb2.Event(step=step, summary=scalar(tag, value)))

    def close(self) -> None:
        self._file.close()

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = event.wall_time or time.time()
        content = event.SerializeToString()
        size = struct.pack("<Q", len(content))
        parts = size, _checksum(size), content, _checksum(content)
        with _naming(self._file.name):
            self._file.write(b"".join(parts))


def _checksum(content: bytes) -> bytes:
    return struct.pack("<I", masked_crc32c(content))


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Adds the name of the file to the error of a full disk."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def read_events(path: pathlib.Path) -> Iterator[event_pb2.Event]:
    """The whole events of a file, the last of which a kill may have cut.

    Each is its length in eight bytes, a checksum of that, itself, and its checksum:
    https://www.tensorflow.org/tutorials/load_data/tfrecord, "TFRecords format details".
    """
    content, position = path.read_bytes(), 0
    while position + 12 <= len(content):
        (size,) = struct.unpack_from("<Q", content, position)
        end = position + 12 + size
        if end + 4 > len(content):
            return
        yield event_pb2.Event.FromString(content[position + 12 : end])
        position = end + 4


def _lines_until(path: pathlib.Path, step: int) -> list[str]:
    """The whole lines of a metrics.jsonl, up to this step."""
    if not path.exists():
        return []
    lines = path.read_text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in whole if json.loads(line)["step"] <= step]
