"""Causal layers that carry their past, so that a stream equals the whole file.

Every layer maps ``[batch, time, channels]`` and is written once for whole files and
for streams. What it must remember, it keeps in the variable collection ``carry``:

* whole file: ``module.apply(variables, x)``; the past is zeros;
* stream: ``y, updated = module.apply({**variables, **carry}, chunk, mutable="carry")``
  with ``carry = updated`` for the next chunk, and ``carry = {}`` for the first.

Zero padding at the start of a file is a carry of zeros: both give the same outputs.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Float

from diccoser_jax import features, ops
from diccoser_jax.arrays import Array

CARRY = "carry"
CONVOLVED = "convolved"  # what blocks call the sum of their convolutions in training

# Some thirty blocks add up in a network. Each starts with a small share, so that the
# sum stays of order one, also before batch norm has seen any data.
_SMALL = nn.initializers.variance_scaling(1 / 32, "fan_in", "truncated_normal")


class Output(NamedTuple):
    """What every network returns.

    Attributes:
      frames: ``[batch, frames, outputs]`` at 25 Hz: the dimensions (arousal, valence)
        of each frame, or the logits of each class given the past up to that frame.
      pooled: ``[batch, outputs]``: one answer for the window, as classification
        wants it. The causal networks take the last frame (paper, section 4.1.3) or the
        mean of the last few, the CNN-LSTM the mean over time.
      local_context: ``[batch, frames, features]`` at 25 Hz, what the local network
        hands on (paper, section 3.2), or None where there is no local network.
    """

    frames: Float[jax.Array, "batch frames outputs"]
    pooled: Float[jax.Array, "batch outputs"]
    local_context: Float[jax.Array, "batch frames features"] | None


def streaming(module: nn.Module) -> bool:
    """Whether this call goes on where the carry of the last one ended.

    Raises:
      ValueError: if there is a carry that may not be advanced.
    """
    advances = module.is_mutable_collection(CARRY) and not module.is_initializing()
    if not advances and module.has_variable(CARRY, "past"):
        raise ValueError(
            "A carry was given that may not be advanced: "
            f'call apply(..., mutable="{CARRY}").'
        )
    return advances


def with_past(
    module: nn.Module, x: Float[jax.Array, "batch time channels"], length: int
) -> Float[jax.Array, "batch {length}+time channels"]:
    """Prepends the last ``length`` inputs that this module has seen.

    Zeros in a whole file; in a stream, the carry, which is then advanced.

    Args:
      module: the bound module that owns the carry.
      x: ``[batch, time, channels]``.
      length: time steps to remember.

    Returns:
      ``[batch, length + time, channels]``.
    """
    if not streaming(module):
        return jnp.pad(x, ((0, 0), (length, 0), (0, 0)))
    past = _past(module, "past", length, x)
    x = jnp.concatenate([past.value, x], axis=1)
    past.value = x[:, x.shape[1] - length :]
    return x


def _past(module: nn.Module, name: str, length: int, x: jax.Array) -> nn.Variable:
    shape = (x.shape[0], length, x.shape[2])
    past = module.variable(CARRY, name, jnp.zeros, shape, x.dtype)
    if past.value.shape != shape:
        raise ValueError(
            f"The carry is of shape {past.value.shape}, this chunk needs {shape}: "
            "a stream keeps its batch size."
        )
    return past


class DelayLines:
    """The past of many layers, in one array of the carry of the module around them.

    The fewer arrays a step takes and returns, the faster it is, and the fewer rows it
    moves. With a clock, each line is a ring: input t of a line of n rows lies in its
    row t mod n, until input t + n has read it and takes its place. Nothing else moves,
    so that the work depends on the chunk and not on the delay. Without a clock the
    lines are in order, which suits delays that are no longer than chunks are.

    Use it as a context; when that ends, the carry is advanced. In a whole file it does
    nothing, and every delayed chunk is None.
    """

    def __init__(
        self,
        module: nn.Module,
        delays: Sequence[int],
        x: Float[jax.Array, "batch time channels"] | None,
        *,
        clock: bool = False,
        name: str = "lines",
    ):
        """Opens the carry.

        Args:
          module: the bound module that owns it.
          delays: time steps from the input of each line to its output.
          x: ``[batch, time, channels]``, what the first line will get; None: nothing
            will come.
          clock: the lines are rings, and all get chunks of the same length.
          name: of the variable.
        """
        self._delays, self._past = delays, None
        if x is None or not delays or not streaming(module):
            return
        self._past = _past(module, name, sum(delays), x)
        self._starts = [sum(delays[:line]) for line in range(len(delays))]
        self._due = [min(x.shape[1], delay) for delay in delays] if clock else None
        self._tails: list[jax.Array] = []
        if clock:
            time = module.variable(CARRY, f"{name}_clock", jnp.zeros, (), jnp.int32)
            now, end = time.value, time.value + x.shape[1]
            self._read = self._rows([now] * len(delays))
            self._write = self._rows([end - due for due in self._due])
            # Starts again where all rings do, and so never overflows.
            time.value = end % math.lcm(*delays)
            if max(self._due) == 1 and len(delays) > 1:
                # A slice each is faster than one gather. But the last line is read with
                # the first, before all that is written: see `__exit__`.
                first_and_last = self._past.value[:, self._read[jnp.array([0, -1])]]
                self._old = [
                    first_and_last[:, :1],
                    *(
                        jax.lax.dynamic_slice_in_dim(self._past.value, row, 1, axis=1)
                        for row in self._read[1:-1]
                    ),
                    first_and_last[:, 1:],
                ]
            else:
                ends = np.cumsum(self._due)[:-1]
                self._old = jnp.split(self._past.value[:, self._read], ends, axis=1)

    def _rows(self, times: Sequence[jax.Array]) -> jax.Array:
        """Where each line keeps the inputs that are due, from its time on."""
        return jnp.concatenate(
            [
                start + (time + jnp.arange(due)) % delay
                for start, time, due, delay in zip(
                    self._starts, times, self._due, self._delays
                )
            ]
        )

    def delay(
        self, x: Float[jax.Array, "batch time channels"] | None
    ) -> Float[jax.Array, "batch time channels"] | None:
        """What the next line gives for its chunk.

        Args:
          x: ``[batch, time, channels]``.

        Returns:
          The same, the delay of the line before; None in a whole file.
        """
        if self._past is None:
            return None
        line, time = len(self._tails), x.shape[1]
        start, delay = self._starts[line], self._delays[line]
        due = min(time, delay)
        tail = x[:, time - due :]
        if self._due is not None:
            old = self._old[line]
        else:
            past = self._past.value[:, start : start + delay]
            old, tail = past[:, :due], jnp.concatenate([past[:, due:], tail], axis=1)
        self._tails.append(tail)
        return jnp.concatenate([old, x[:, : time - due]], axis=1)

    def __enter__(self) -> "DelayLines":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if self._past is None or error is not None:
            return
        if self._due is None:
            self._past.value = jnp.concatenate(self._tails, axis=1)
        elif max(self._due) == 1:
            # The input of the last line depends on all that was read: written first,
            # it lets a donated carry be changed in place.
            past = self._past.value
            for line, tail in reversed(list(enumerate(self._tails))):
                past = jax.lax.dynamic_update_slice_in_dim(
                    past, tail, self._write[line], axis=1
                )
            self._past.value = past
        else:
            self._past.value = self._past.value.at[:, self._write].set(
                jnp.concatenate(self._tails, axis=1), unique_indices=True
            )


def hear(
    module: nn.Module,
    waveform: Float[Array, "batch samples"],
    frontend: str,
    hop_samples: int = features.MEL_HOP_SAMPLES,
) -> Float[jax.Array, "batch time channels"]:
    """What the first layer of a network gets.

    Args:
      module: the bound module that owns the carry.
      waveform: ``[batch, samples]``.
      frontend: ``raw`` or ``log_mel``.
      hop_samples: of log-mel, whose window is twice as long.

    Returns:
      ``[batch, samples, 1]``, or ``[batch, samples / hop, 40]``, at 50 Hz by default.
    """
    x = jnp.expand_dims(waveform, -1)
    if frontend == "raw":
        return x
    return features.log_mel(with_past(module, x, hop_samples)[..., 0], hop_samples)


class CausalConv(nn.Module):
    """Convolution over time whose output at t sees inputs t-(width-1)·dilation .. t.

    Attributes:
      features: output channels.
      width: taps.
      dilation: time steps from tap to tap.
      use_bias: False before batch norm, where a bias has no effect and no gradient.
      pool: maximum of each so many outputs, which are never all in memory; needs
        dilation 1.
    """

    features: int
    width: int
    dilation: int = 1
    use_bias: bool = True
    pool: int = 1

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "batch time channels"],
        delayed: Float[jax.Array, "batch time channels"] | None = None,
        *,
        train: bool = False,
    ) -> Float[jax.Array, "batch time//{self.pool} {self.features}"]:
        """Maps ``[batch, time, channels]`` to ``[batch, time / pool, features]``.

        Computes in the dtype of x, on parameters in float32.

        Args:
          x: the input.
          delayed: in a stream, the same as it was ``dilation`` steps before, where not
            this layer but the one around it carries the past; needs width 2.
          train: the gradients of `ops.operations`.
        """
        operations = ops.operations(train)
        shape = (self.width, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        kernel = kernel.astype(x.dtype)
        past = (self.width - 1) * self.dilation
        if self.pool > 1:
            y = operations.convolve_and_pool(
                with_past(self, x, past), kernel, self.pool
            )
        elif delayed is not None:
            # One product of twice the depth is faster than two on a few time steps.
            taps = jnp.concatenate([delayed, x], axis=-1)
            y = operations.matmul(taps, kernel.reshape(-1, self.features))
        elif past and streaming(self):
            y = operations.convolve(with_past(self, x, past), kernel, self.dilation)
        else:
            y = operations.convolve(x, kernel, self.dilation, past)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            y += bias[None, None].astype(x.dtype)
        return y


class BatchNormOfDropout(nn.Module):
    """Dropout, batch norm, ReLU: the middle of a block (paper, section 3.1).

    Attributes:
      dropout_rate: share of the inputs that training zeroes.
      momentum: weight of the past in the running statistics.
      epsilon: added to the variance.
      dropout_last: dropout of the result instead, as is usual; batch norm then sees in
        training what it sees at inference.
    """

    dropout_rate: float
    momentum: float
    epsilon: float = 1e-5
    dropout_last: bool = False

    @nn.compact
    def __call__(
        self, x: Float[jax.Array, "batch time channels"], *, train: bool
    ) -> Float[jax.Array, "batch time channels"]:
        """Maps ``[batch, time, channels]`` to the same shape."""
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        variance = self.variable("batch_stats", "var", jnp.ones, shape)
        if not train:
            factor = scale * jax.lax.rsqrt(variance.value + self.epsilon)
            offset = bias - mean.value * factor
            y = x * factor[None, None] + offset[None, None]
            return nn.relu(y).astype(x.dtype)
        words = None
        if self.dropout_rate:
            words = ops.random_words(
                self.make_rng("dropout"), x.shape, self.dropout_rate
            )
        if self.dropout_last:
            y, *batch = ops.dropout_norm_relu(x, None, scale, bias, 0.0, self.epsilon)
            y = ops.drop(y, words, self.dropout_rate)
        else:
            y, *batch = ops.dropout_norm_relu(
                x, words, scale, bias, self.dropout_rate, self.epsilon
            )
        for running, value in zip((mean, variance), batch):
            running.value = self.momentum * running.value + (1 - self.momentum) * value
        return y


class DilatedCausalBlock(nn.Module):
    """The residual block of the paper (section 3.1, Fig. 2), conditioned or not.

    ``x + 1x1(ReLU(BN(dropout(W * x + V * y))))``: W has width 2 and the block's
    dilation, V has width 2 and no dilation.

    Attributes:
      features: channels of x and of the output.
      dilation: time lag of the second tap of W.
      width: taps of W.
      dropout_rate: share of the convolution's outputs that training zeroes.
      batch_norm_momentum: weight of the past in the running statistics.
      gated: WaveNet's block instead (van den Oord et al. 2016, eq. 2 and 3),
        ``x + 1x1(tanh(W_f * x + V_f * y) · sigmoid(W_g * x + V_g * y))``, with biases
        and without dropout and batch norm: the block that the paper redesigned
        because it trains slowly.
      dropout_last: dropout after the ReLU, not before batch norm.
    """

    features: int
    dilation: int
    width: int = 2
    dropout_rate: float = 0.5
    batch_norm_momentum: float = 0.99
    gated: bool = False
    dropout_last: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "batch time features"],
        conditioning: Float[jax.Array, "batch time channels"] | None = None,
        train: bool = False,
        delayed: Float[jax.Array, "batch time features"] | None = None,
        delayed_conditioning: Float[jax.Array, "batch time channels"] | None = None,
    ) -> Float[jax.Array, "batch time features"]:
        """Maps x and, optionally, a sequence of the same length, to x's shape.

        Args:
          x: ``[batch, time, features]``.
          conditioning: ``[batch, time, channels]`` or None.
          train: batch statistics and dropout instead of running statistics.
          delayed: x ``dilation`` steps before, where a network around the block
            carries its past; else the block does.
          delayed_conditioning: likewise, the conditioning one step before.
        """

        def convolve(name: str) -> jax.Array:
            z = CausalConv(
                self.features, self.width, self.dilation, self.gated, name=name
            )(x, delayed, train=train)
            if conditioning is not None:
                z += CausalConv(
                    self.features, 2, use_bias=False, name=f"{name}_conditioning"
                )(conditioning, delayed_conditioning, train=train)
            return checkpoint_name(z, CONVOLVED) if train else z

        if self.gated:
            z = jnp.tanh(convolve("filter")) * nn.sigmoid(convolve("gate"))
        else:
            z = convolve("filter")
            z = BatchNormOfDropout(
                self.dropout_rate,
                self.batch_norm_momentum,
                dropout_last=self.dropout_last,
                name="BatchNorm_0",
            )(z, train=train)
        residual = nn.Dense(
            self.features,
            dtype=x.dtype,
            kernel_init=_SMALL,
            dot_general=lambda x, kernel, *_, **__: ops.operations(train).matmul(
                x, kernel
            ),
            name="residual",
        )
        return x + residual(z)
