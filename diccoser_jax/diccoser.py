"""DiCCOSER and DiCCOSER-CS: causal, dilated, context-stacking networks.

Tang, Kuppens, Geurts and van Waterschoot, "End-to-end speech emotion recognition using
a novel context-stacking dilated convolution neural network", 2021. Names follow the
paper; section numbers stand where each part is made.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Float

from diccoser_jax import features as features_lib
from diccoser_jax import layers, ops
from diccoser_jax.arrays import Array
from diccoser_jax.audio import FRAME_SAMPLES

NETWORKS = ("diccoser", "diccoser_cs", "diccoser_cs_v2")
FRONTENDS = ("raw", "log_mel")
AGGREGATIONS = ("rms", "max")
BLOCKS = ("relu", "dropout_last", "gated")
COMPUTE_DTYPES = ("float32", "bfloat16")
_CONDITIONING = "conditioning_lines"
BRANCH_WIDTH = 8  # of the convolution after the aggregation (section 4.1.1)


@dataclasses.dataclass(frozen=True)
class DiccoserConfig:
    """Everything that shapes the network. The defaults are the paper's.

    Attributes:
      outputs: classes, or dimensions (arousal, valence).
      window_frames: L, the 25 Hz frames of a training window (3 s: 75, 20 s: 500).
      network: ``diccoser`` (local network, then global network; Fig. 4a),
        ``diccoser_cs`` (global network fed by the aggregated waveform and conditioned
        on the local context; Fig. 4c, d) or ``diccoser_cs_v2`` (the two exchanged;
        Fig. 4b).
      frontend: what the local network hears, ``raw`` samples or ``log_mel``.
      aggregation: ``rms`` or ``max`` of each frame, in the parallel branch.
      features: channels of every convolution.
      local_stacks: stacks of blocks in the local network.
      local_dilations: dilations of the blocks of one stack.
      local_hop_samples: several local networks side by side, one for each hop, which
        hear the input at different levels of compression (section 6, future work): so
        many samples lie between two steps of what the first stack gets. 640 = hop ·
        2^n, n at most ``local_stacks``: 5, 10, 20, ... for raw samples, whose maxima
        they are taken of; 160, 320, 640 for log-mel, whose window is twice the hop.
        Their contexts are mapped to one of ``features`` channels by a 1x1 convolution.
        Empty: the paper's one network, whose hop is 5 samples, or 320.
      global_blocks: so many of the global network's blocks, those of the smallest
        dilations; None: all, which see the whole window.
      block: ``relu`` is the paper's, ``dropout_last`` has dropout after its ReLU and
        not before batch norm, ``gated`` is WaveNet's.
      local_conditioning: the local network expects extra information for each frame
        (section 3.2: speaker sex, text embedding).
      dropout_rate: of every block.
      batch_norm_momentum: weight of the past in the running statistics.
      answer_frames: the answer for a window is the mean of the outputs of so many
        frames, its last ones. In the paper it is that of the last frame alone.
      compute_dtype: of activations, ``float32`` or ``bfloat16``; parameters, batch
        statistics and the output layer are float32 in any case.
      rematerialise: training keeps of each block its input and what its convolutions
        make of it, and computes the rest again for the gradient: less than half of the
        temporary memory.
    """

    outputs: int = 4
    window_frames: int = 75
    network: str = "diccoser_cs"
    frontend: str = "raw"
    aggregation: str = "rms"
    features: int = 64
    local_stacks: int = 7
    local_dilations: tuple[int, ...] = (1, 2, 4)
    local_hop_samples: tuple[int, ...] = ()
    global_blocks: int | None = None
    block: str = "relu"
    local_conditioning: bool = False
    dropout_rate: float = 0.5
    batch_norm_momentum: float = 0.99
    answer_frames: int = 1
    compute_dtype: str = "float32"
    rematerialise: bool = False

    def __post_init__(self):
        for name in ("local_dilations", "local_hop_samples"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, choices in (
            ("network", NETWORKS),
            ("frontend", FRONTENDS),
            ("aggregation", AGGREGATIONS),
            ("block", BLOCKS),
            ("compute_dtype", COMPUTE_DTYPES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} is not one of {choices}."
                )
        for name in (
            *("outputs", "window_frames", "features", "local_stacks"),
            "answer_frames",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
        if self.global_blocks is not None and self.global_blocks < 1:
            raise ValueError(f"global_blocks={self.global_blocks} must be at least 1.")
        if not 0 <= self.dropout_rate < 1:
            raise ValueError(f"dropout_rate={self.dropout_rate} must be in [0, 1).")
        if self.frontend == "raw" and FRAME_SAMPLES % (2**self.local_stacks):
            raise ValueError(
                f"local_stacks={self.local_stacks}: 640 samples a frame are not a "
                f"multiple of 2^{self.local_stacks}; the raw frontend takes up to 7."
            )
        hops = [FRAME_SAMPLES >> n for n in range(min(self.local_stacks, 7) + 1)]
        if not set(self.local_hop_samples) <= set(hops) or len(
            self.local_hop_samples
        ) != len(set(self.local_hop_samples)):
            raise ValueError(
                f"local_hop_samples={self.local_hop_samples} must be different ones of "
                f"{hops}: {self.local_stacks} stacks halve their input so often."
            )

    @property
    def stem_width(self) -> int:
        """Width of the first convolution: 8 for raw samples (section 4.1).

        "Wider than the successive pooling size", says the paper, and small. After mel
        frames nothing is pooled, so that 3 is enough.
        """
        return 8 if self.frontend == "raw" else 3

    @property
    def hops_samples(self) -> tuple[int, ...]:
        """The hop of each local network."""
        if self.local_hop_samples:
            return self.local_hop_samples
        if self.frontend == "raw":
            return (FRAME_SAMPLES // 2**self.local_stacks,)
        return (features_lib.MEL_HOP_SAMPLES,)

    def pools(self, hop_samples: int) -> tuple[int, tuple[int, ...]]:
        """Max-pool after the stem and after each stack: down to 25 Hz in all.

        The stem takes raw samples to the hop at once. What is left are halvings, after
        the first stacks: of log-mel frames at 50 Hz one, after the first stack, so that
        later ones see twice as far.
        """
        halvings = (FRAME_SAMPLES // hop_samples).bit_length() - 1
        stem = hop_samples if self.frontend == "raw" else 1
        return stem, (2,) * halvings + (1,) * (self.local_stacks - halvings)

    @property
    def stem_pool(self) -> int:
        """`pools` of the first local network."""
        return self.pools(self.hops_samples[0])[0]

    @property
    def stack_pools(self) -> tuple[int, ...]:
        """`pools` of the first local network."""
        return self.pools(self.hops_samples[0])[1]

    @property
    def global_dilations(self) -> tuple[int, ...]:
        """D_global = {1, 2, 4, ..., 2^floor(log2 L), L} (section 4.1.2).

        Examples:
          >>> DiccoserConfig(window_frames=500).global_dilations
          (1, 2, 4, 8, 16, 32, 64, 128, 256, 500)
        """
        dilations = tuple(2**k for k in range(self.window_frames.bit_length()))
        if dilations[-1] != self.window_frames:
            dilations += (self.window_frames,)
        return dilations[: self.global_blocks]


def global_block_width(config: DiccoserConfig, dilation: int) -> int:
    """Taps of the global block with this dilation: 2, but 1 where the lag is L.

    In windows of L frames the tap at lag L would meet nothing but zero padding: it
    would never learn, and on longer audio it would add untrained weights to the
    outputs. It is therefore not made. On windows of up to L frames the network
    computes the same as with it.
    """
    return 2 if dilation < config.window_frames else 1


def local_receptive_field_samples(config: DiccoserConfig) -> int:
    """Samples that one frame of the local context sees, its last one included."""
    return max(map(functools.partial(_local_field, config), config.hops_samples))


def _local_field(config: DiccoserConfig, hop_samples: int) -> int:
    """The same of one of the local networks."""
    if config.frontend == "raw":
        window, hop = 1, 1
    else:
        window, hop = 2 * hop_samples, hop_samples
    stem_pool, stack_pools = config.pools(hop_samples)
    steps, stride = config.stem_width, 1
    steps += stem_pool - 1
    stride *= stem_pool
    for pool in stack_pools:
        steps += sum(config.local_dilations) * stride
        steps += (pool - 1) * stride
        stride *= pool
    return window + (steps - 1) * hop


def receptive_field_samples(config: DiccoserConfig) -> int:
    """Samples that output frame t sees: the last of them is sample 640·(t+1) - 1.

    Examples:
      >>> config = DiccoserConfig(window_frames=75)  # 3 s
      >>> local_receptive_field_samples(config), receptive_field_samples(config)
      (5092, 86400)
    """
    lags = [
        dilation * (global_block_width(config, dilation) - 1)
        for dilation in config.global_dilations
    ]
    local = local_receptive_field_samples(config)
    branch = FRAME_SAMPLES * BRANCH_WIDTH
    if config.network == "diccoser":
        return local + FRAME_SAMPLES * sum(lags)
    main, condition = local, branch
    if config.network == "diccoser_cs":
        main, condition = branch, local
    # What enters a block as its condition passes a convolution of width 2 there, and
    # the dilated convolutions of the later blocks only.
    return max(
        main + FRAME_SAMPLES * sum(lags),
        condition + FRAME_SAMPLES * (1 + sum(lags[1:])),
    )


class LocalNetwork(nn.Module):
    """Waveform to local context at 25 Hz (section 4.1 and 4.1.1)."""

    config: DiccoserConfig
    hop_samples: int

    @nn.compact
    def __call__(
        self,
        waveform: Float[Array, "batch samples"],
        conditioning: Float[Array, "batch samples//640 channels"] | None = None,
        *,
        train: bool = False,
    ) -> Float[jax.Array, "batch samples//640 {self.config.features}"]:
        """Maps ``[batch, samples]`` to ``[batch, samples / 640, features]``."""
        c = self.config
        stem_pool, stack_pools = c.pools(self.hop_samples)
        x = layers.hear(self, waveform, c.frontend, self.hop_samples)
        x = layers.CausalConv(c.features, c.stem_width, pool=stem_pool, name="stem")(
            x.astype(c.compute_dtype), train=train
        )
        y = None if conditioning is None else jnp.asarray(conditioning, x.dtype)
        # From the last pool on, time steps are those of the frames, and a ring saves
        # moving what they remember.
        lags, stacks = c.local_dilations, c.local_stacks
        halvings = stack_pools.count(2)
        at_frames = x[:, :: 2**halvings]  # only its shape matters
        with (
            layers.DelayLines(self, halvings * lags, x) as lines,
            layers.DelayLines(
                self, (stacks - halvings) * lags, at_frames, clock=True, name="rings"
            ) as rings,
            layers.DelayLines(self, stacks * (1,), y, name=_CONDITIONING) as y_lines,
        ):
            for stack, pool in enumerate(stack_pools):
                if conditioning is not None:
                    repeats = x.shape[1] // conditioning.shape[1]
                    y = jnp.repeat(conditioning, repeats, axis=1).astype(x.dtype)
                delayed_y = y_lines.delay(y)
                for dilation in c.local_dilations:
                    name = f"stack{stack}_dilation{dilation}"
                    delayed = (lines if stack < halvings else rings).delay(x)
                    delays = delayed, delayed_y
                    x = _apply_block(c, train, x, y, dilation, name, delays=delays)
                x = ops.operations(train).max_pool(x, pool)
        return x


class GlobalNetwork(nn.Module):
    """Long-term dependencies at 25 Hz (section 4.1.2)."""

    config: DiccoserConfig

    @nn.compact
    def __call__(
        self,
        x: Float[jax.Array, "batch frames features"],
        conditioning: Float[jax.Array, "batch frames features"] | None = None,
        *,
        train: bool = False,
    ) -> Float[jax.Array, "batch frames features"]:
        """Maps ``[batch, frames, features]`` to the same shape."""
        c = self.config
        y = conditioning
        widths = {d: global_block_width(c, d) for d in c.global_dilations}
        lags = [dilation for dilation, width in widths.items() if width > 1]
        with (
            layers.DelayLines(self, lags, x, clock=True) as lines,
            layers.DelayLines(self, (1,), y, name=_CONDITIONING) as y_lines,
        ):
            delayed_y = y_lines.delay(y)
            for dilation, width in widths.items():
                name = f"dilation{dilation}"
                delays = lines.delay(x) if width > 1 else None, delayed_y
                x = _apply_block(c, train, x, y, dilation, name, width, delays)
        return x


def _apply_block(
    c: DiccoserConfig,
    train: bool,
    x: Float[jax.Array, "batch time features"],
    conditioning: Float[jax.Array, "batch time channels"] | None,
    dilation: int,
    name: str,
    width: int = 2,
    delays: tuple[jax.Array | None, jax.Array | None] = (None, None),
) -> Float[jax.Array, "batch time features"]:
    block = layers.DilatedCausalBlock
    if c.rematerialise and train:
        keep = jax.checkpoint_policies.save_only_these_names(layers.CONVOLVED)
        block = nn.remat(block, policy=keep, static_argnums=(3,))  # train
    return block(
        features=c.features,
        dilation=dilation,
        width=width,
        dropout_rate=c.dropout_rate,
        batch_norm_momentum=c.batch_norm_momentum,
        gated=c.block == "gated",
        dropout_last=c.block == "dropout_last",
        name=name,
    )(x, conditioning, train, *delays)


class Diccoser(nn.Module):
    """The networks of Fig. 4, chosen by ``config.network``.

    ``[batch, samples]`` in, ``[batch, samples / 640, outputs]`` out. Output frame t
    depends on samples ``[0, 640·(t+1))`` and on nothing later, and reaches back
    `receptive_field_samples`. Streams: see `diccoser_jax.layers`.
    """

    config: DiccoserConfig = DiccoserConfig()

    @nn.compact
    def __call__(
        self,
        waveform: Float[Array, "batch samples"],
        conditioning: Float[Array, "batch samples//640 channels"] | None = None,
        *,
        train: bool = False,
    ) -> layers.Output:
        """Runs the network on whole files or, with a carry, on the next chunk.

        Args:
          waveform: float ``[batch, samples]`` in [-1, 1] at 16 kHz, samples a positive
            multiple of 640.
          conditioning: ``[batch, frames, channels]`` at 25 Hz, extra information for
            the local network; given if and only if ``config.local_conditioning``.
          train: dropout and batch statistics; needs the rng ``dropout`` and the
            mutable collection ``batch_stats``.

        Returns:
          `layers.Output`.

        Raises:
          ValueError: on a waveform or conditioning of another shape.
        """
        c = self.config
        frames = check_waveform(waveform)
        self._check_conditioning(conditioning, (waveform.shape[0], frames))
        contexts = [
            LocalNetwork(
                c, hop, name=f"local{hop}" if c.local_hop_samples else "local"
            )(waveform, conditioning, train=train)
            for hop in c.hops_samples
        ]
        local_context = contexts[0]
        if c.local_hop_samples:
            local_context = layers.CausalConv(c.features, 1, name="merge")(
                jnp.concatenate(contexts, axis=-1), train=train
            )
        if c.network == "diccoser":
            x, y = local_context, None
        else:
            aggregate = {"rms": features_lib.frame_rms, "max": features_lib.frame_max}
            branch = layers.CausalConv(c.features, BRANCH_WIDTH, name="branch")(
                aggregate[c.aggregation](waveform).astype(c.compute_dtype), train=train
            )
            x, y = branch, local_context
            if c.network == "diccoser_cs_v2":
                x, y = local_context, branch
        x = GlobalNetwork(c, name="global")(x, y, train=train)
        outputs = nn.Dense(c.outputs, name="output")(x.astype(jnp.float32))
        local_context = local_context.astype(jnp.float32)
        return layers.Output(outputs, self._answer(outputs), local_context)

    def _answer(
        self, outputs: Float[jax.Array, "batch frames outputs"]
    ) -> Float[jax.Array, "batch outputs"]:
        """Frames that have not been yet count as zeros: early answers are cautious."""
        size = self.config.answer_frames
        if size == 1:
            return outputs[:, -1]
        return layers.with_past(self, outputs, size - 1)[:, -size:].mean(axis=1)

    def _check_conditioning(self, conditioning, batch_and_frames):
        if (conditioning is not None) != self.config.local_conditioning:
            raise ValueError(
                f"local_conditioning={self.config.local_conditioning}, but "
                f"conditioning is {'absent' if conditioning is None else 'given'}."
            )
        if conditioning is not None and (
            conditioning.ndim != 3 or conditioning.shape[:2] != batch_and_frames
        ):
            raise ValueError(
                f"conditioning is of shape {conditioning.shape}; expected [batch, "
                f"frames, channels] with {batch_and_frames} before channels."
            )


def check_waveform(waveform: Array) -> int:
    """The number of frames of a waveform that obeys the time contract.

    Raises:
      ValueError: if it is not floating point ``[batch, samples]`` with samples a
        positive multiple of 640.
    """
    if waveform.ndim != 2 or not jnp.issubdtype(waveform.dtype, jnp.floating):
        raise ValueError(
            "The waveform must be floating point [batch, samples] in [-1, 1], not "
            f"{waveform.dtype}{list(waveform.shape)}."
        )
    samples = waveform.shape[1]
    if samples == 0 or samples % FRAME_SAMPLES:
        raise ValueError(
            f"The waveform has {samples} samples, which is not a positive multiple of "
            f"{FRAME_SAMPLES} (one 40 ms frame at 16 kHz): pad it or cut it to "
            f"{samples // FRAME_SAMPLES * FRAME_SAMPLES or FRAME_SAMPLES}."
        )
    return samples // FRAME_SAMPLES
