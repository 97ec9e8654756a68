"""What the implementations are asked to do: the paper's settings, on noise."""

import dataclasses
import json

import numpy as np

from diccoser_jax.audio import FRAME_SAMPLES
from diccoser_jax.cnn_lstm import CnnLstmConfig
from diccoser_jax.diccoser import DiccoserConfig

LEARNING_RATE = 1e-4  # paper, section 4.2.4
L2 = 1e-4  # c of a loss term c·Σw² over kernels


@dataclasses.dataclass(frozen=True)
class Workload:
    """A network, a task and the size of a batch.

    Attributes:
      name: its key in `WORKLOADS`.
      network: ``diccoser_cs`` (with rms aggregation) or ``cnn_lstm``.
      frontend: ``raw`` or ``log_mel``.
      task: ``classification`` (cross-entropy of each window) or ``regression`` (CCC of
        each frame).
      batch_size: windows.
      samples: of each window, at 16 kHz.
      dropout_rate: 0 makes a training step comparable between libraries.
      local_stacks: of DiCCOSER's local network; fewer make a quick test.
      features: channels of DiCCOSER's convolutions.
    """

    name: str
    network: str
    frontend: str
    task: str
    batch_size: int
    samples: int
    dropout_rate: float = 0.5
    local_stacks: int = 7
    features: int = 64

    @property
    def outputs(self) -> int:
        """Classes, or dimensions (arousal, valence)."""
        return 4 if self.task == "classification" else 2

    @property
    def frames(self) -> int:
        """L, the 25 Hz frames of a window."""
        return self.samples // FRAME_SAMPLES

    @property
    def config(self) -> DiccoserConfig | CnnLstmConfig:
        """Widths, dilations and pooling of the network."""
        if self.network == "cnn_lstm":
            return CnnLstmConfig(
                self.outputs, self.frontend, dropout_rate=self.dropout_rate
            )
        return DiccoserConfig(
            self.outputs,
            self.frames,
            self.network,
            self.frontend,
            features=self.features,
            local_stacks=self.local_stacks,
            dropout_rate=self.dropout_rate,
        )


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            name="classification_raw",
            network="diccoser_cs",
            frontend="raw",
            task="classification",
            batch_size=10,
            samples=48_000,
        ),
        Workload(
            name="regression_raw",
            network="diccoser_cs",
            frontend="raw",
            task="regression",
            batch_size=5,
            samples=320_000,
        ),
        Workload(
            name="classification_log_mel",
            network="diccoser_cs",
            frontend="log_mel",
            task="classification",
            batch_size=10,
            samples=48_000,
        ),
        Workload(
            name="cnn_lstm_raw",
            network="cnn_lstm",
            frontend="raw",
            task="classification",
            batch_size=10,
            samples=48_000,
        ),
    )
}
SMALL = Workload(  # for tests of the benchmarks themselves
    name="small",
    network="diccoser_cs",
    frontend="log_mel",  # compiles faster
    task="classification",
    batch_size=2,
    samples=1280,
    local_stacks=1,
)


def find(spec: str) -> Workload:
    """A workload by its name, with changes: ``classification_raw:samples=96000``.

    Raises:
      ValueError: if there is none of that name, or it cannot be changed so.
    """
    name, *changes = spec.split(":")
    known = {**WORKLOADS, SMALL.name: SMALL}
    if name not in known:
        raise ValueError(f"workload {name!r} is not one of {', '.join(WORKLOADS)}")
    try:
        numbers = {
            key: json.loads(value) for key, value in (c.split("=") for c in changes)
        }
        return dataclasses.replace(known[name], **numbers)
    except (TypeError, ValueError) as error:
        raise ValueError(f"workload {spec!r}: {error}") from error


def make_batch(workload: Workload, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise and random targets, in the layout of `diccoser_jax.data.train_batches`.

    Of the last window of a regression batch only the first half counts, as of the last
    one of a recording.

    Returns:
      ``audio`` float32 ``[batch, samples]``; ``target`` int32 ``[batch]`` or float32
      ``[batch, frames, dimensions]``; ``mask`` float32 ``[batch]`` or
      ``[batch, frames]``, 1 where the target counts.
    """
    rng = np.random.default_rng(seed)
    audio = 0.1 * rng.standard_normal(
        (workload.batch_size, workload.samples), np.float32
    )
    shape = (workload.batch_size,)
    if workload.task == "classification":
        target = rng.integers(workload.outputs, size=shape, dtype=np.int32)
        mask = np.ones(shape, np.float32)
    else:
        shape += (workload.frames,)
        target = rng.uniform(-1, 1, (*shape, workload.outputs)).astype(np.float32)
        mask = np.ones(shape, np.float32)
        mask[-1, workload.frames // 2 :] = 0
    return {"audio": audio, "target": target, "mask": mask}
