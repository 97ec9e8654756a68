"""The CNN-LSTM baseline: Tzirakis, Zhang and Schuller, ICASSP 2018.

Three convolutions with ReLU, max-pooling and dropout, then two LSTM layers (the paper,
section 5.2). Its convolutions are centred ("same" padding), as in the original: frame t
also sees a little of what follows it, so that, unlike the DiCCOSER networks, it is
neither causal nor able to stream.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from diccoser_jax import layers, ops
from diccoser_jax.arrays import Array
from diccoser_jax.diccoser import COMPUTE_DTYPES, FRONTENDS, check_waveform


@dataclasses.dataclass(frozen=True)
class CnnLstmConfig:
    """Everything that shapes the baseline.

    Attributes:
      outputs: classes, or dimensions (arousal, valence).
      frontend: ``raw`` samples or ``log_mel``, which has less pooling.
      conv_features: channels of the convolutions.
      conv_widths: their taps.
      lstm_features: units of each LSTM layer.
      lstm_layers: how many.
      dropout_rate: after each pooling.
      compute_dtype: of activations, ``float32`` or ``bfloat16``; parameters and the
        output layer are float32 in any case.
    """

    outputs: int = 4
    frontend: str = "raw"
    conv_features: tuple[int, ...] = (64, 128, 256)
    conv_widths: tuple[int, ...] = (8, 6, 6)
    lstm_features: int = 256
    lstm_layers: int = 2
    dropout_rate: float = 0.5
    compute_dtype: str = "float32"

    def __post_init__(self):
        object.__setattr__(self, "conv_features", tuple(self.conv_features))
        object.__setattr__(self, "conv_widths", tuple(self.conv_widths))
        if self.frontend not in FRONTENDS:
            raise ValueError(f"frontend={self.frontend!r} is not one of {FRONTENDS}.")
        if self.compute_dtype not in COMPUTE_DTYPES:
            raise ValueError(
                f"compute_dtype={self.compute_dtype!r} is not one of {COMPUTE_DTYPES}."
            )
        if not len(self.conv_features) == len(self.conv_widths) == len(self.pools):
            raise ValueError(
                f"conv_features={self.conv_features} and conv_widths="
                f"{self.conv_widths} must have {len(self.pools)} entries each."
            )
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate={self.dropout_rate} must be in [0, 1).")

    @property
    def pools(self) -> tuple[int, ...]:
        """Max-pool after each convolution: down to 25 Hz in all."""
        return (10, 8, 8) if self.frontend == "raw" else (2, 1, 1)


class CnnLstm(nn.Module):
    """``[batch, samples]`` in, ``[batch, samples / 640, outputs]`` out."""

    config: CnnLstmConfig = CnnLstmConfig()

    @nn.compact
    def __call__(
        self, waveform: Float[Array, "batch samples"], *, train: bool = False
    ) -> layers.Output:
        """Runs the network on whole files.

        Args:
          waveform: float ``[batch, samples]`` in [-1, 1] at 16 kHz, samples a positive
            multiple of 640.
          train: dropout; needs the rng ``dropout``.

        Returns:
          `layers.Output`; ``pooled`` is the mean over time, ``local_context`` None.

        Raises:
          ValueError: on a waveform of another shape, or when asked to stream.
        """
        c = self.config
        check_waveform(waveform)
        if self.is_mutable_collection(layers.CARRY) and not self.is_initializing():
            raise ValueError(
                "The CNN-LSTM cannot stream: its centred convolutions see the future. "
                "Use one of the DiCCOSER networks."
            )
        x = layers.hear(self, waveform, c.frontend)
        for features, width, pool in zip(c.conv_features, c.conv_widths, c.pools):
            x = nn.Conv(features, (width,), padding="SAME", dtype=c.compute_dtype)(x)
            x = nn.relu(x)
            x = ops.operations(train).max_pool(x, pool)
            x = nn.Dropout(c.dropout_rate, deterministic=not train)(x)
        for _ in range(c.lstm_layers):
            cell = nn.OptimizedLSTMCell(c.lstm_features, dtype=c.compute_dtype)
            lstm: Any = nn.RNN(cell)  # which returns the carry, too, if asked to
            x = lstm(x)
        outputs = nn.Dense(c.outputs, name="output")(x.astype(jnp.float32))
        # The mean commutes with the affine output layer: this is global average
        # pooling of the LSTM's outputs, then the classifier.
        return layers.Output(outputs, outputs.mean(axis=1), None)
