"""The networks as they are first written in Flax: one ready-made layer after another.

``nn.Conv`` with causal padding, ``nn.max_pool``, ``nn.Dropout``, ``nn.BatchNorm``,
optax, one jit with donated state. It cannot stream.
"""

from typing import Any

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import optax
from flax import linen as nn
from flax.training import train_state

from benchmarks.jax_contestant import JaxContestant
from benchmarks.workloads import L2, LEARNING_RATE, Workload
from diccoser_jax import features
from diccoser_jax.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from diccoser_jax.cnn_lstm import CnnLstmConfig
from diccoser_jax.diccoser import BRANCH_WIDTH, DiccoserConfig, global_block_width


def log_mel(waveform: jax.Array) -> jax.Array:
    """Maps ``[batch, samples]`` to ``[batch, samples / 320, 40]``."""
    window, hop = features.MEL_WINDOW_SAMPLES, features.MEL_HOP_SAMPLES
    hann = librosa.filters.get_window("hann", window).astype(np.float32)
    mel = librosa.filters.mel(
        sr=SAMPLE_RATE_HZ,
        n_fft=window,
        n_mels=features.MEL_BANDS,
        fmax=features.MEL_MAX_HZ,
    )
    padded = jnp.pad(waveform, ((0, 0), (window - hop, 0)))
    starts = np.arange(0, waveform.shape[1], hop)
    frames = padded[:, starts[:, None] + np.arange(window)]
    power = jnp.square(jnp.abs(jnp.fft.rfft(frames * hann[None, None])))
    return jnp.log10(1 + power @ mel.T / features.MEL_FLOOR)


def hear(waveform: jax.Array, frontend: str) -> jax.Array:
    """Maps ``[batch, samples]`` to ``[batch, time, channels]``."""
    return waveform[..., None] if frontend == "raw" else log_mel(waveform)


class Block(nn.Module):
    """``x + 1x1(ReLU(BN(dropout(W * x + V * y))))``."""

    features: int
    width: int
    dilation: int
    dropout_rate: float

    @nn.compact
    def __call__(
        self, x: jax.Array, conditioning: jax.Array | None = None, *, train: bool
    ) -> jax.Array:
        """Maps ``[batch, time, features]`` to the same shape."""
        z = nn.Conv(
            self.features,
            (self.width,),
            kernel_dilation=self.dilation,
            padding="CAUSAL",
            use_bias=False,
            name="filter",
        )(x)
        if conditioning is not None:
            z += nn.Conv(
                self.features,
                (2,),
                padding="CAUSAL",
                use_bias=False,
                name="filter_conditioning",
            )(conditioning)
        z = nn.Dropout(self.dropout_rate, deterministic=not train)(z)
        z = nn.BatchNorm(use_running_average=not train)(z)
        return x + nn.Dense(self.features, name="residual")(nn.relu(z))


class LocalNetwork(nn.Module):
    """Waveform to local context at 25 Hz."""

    config: DiccoserConfig

    @nn.compact
    def __call__(self, waveform: jax.Array, *, train: bool) -> jax.Array:
        """Maps ``[batch, samples]`` to ``[batch, frames, features]``."""
        c = self.config
        x = hear(waveform, c.frontend)
        x = nn.Conv(c.features, (c.stem_width,), padding="CAUSAL", name="stem")(x)
        x = nn.max_pool(x, (c.stem_pool,), (c.stem_pool,))
        for stack, pool in enumerate(c.stack_pools):
            for dilation in c.local_dilations:
                x = Block(
                    c.features,
                    2,
                    dilation,
                    c.dropout_rate,
                    name=f"stack{stack}_dilation{dilation}",
                )(x, train=train)
            x = nn.max_pool(x, (pool,), (pool,))
        return x


class GlobalNetwork(nn.Module):
    """Long-term dependencies at 25 Hz, conditioned on the local context."""

    config: DiccoserConfig

    @nn.compact
    def __call__(
        self, x: jax.Array, conditioning: jax.Array, *, train: bool
    ) -> jax.Array:
        """Maps ``[batch, frames, features]`` to the same shape."""
        c = self.config
        for dilation in c.global_dilations:
            x = Block(
                c.features,
                global_block_width(c, dilation),
                dilation,
                c.dropout_rate,
                name=f"dilation{dilation}",
            )(x, conditioning, train=train)
        return x


class DiccoserCs(nn.Module):
    """DiCCOSER-CS with rms aggregation."""

    config: DiccoserConfig

    @nn.compact
    def __call__(
        self, waveform: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Maps ``[batch, samples]`` to the outputs of each frame and of the window."""
        c = self.config
        local_context = LocalNetwork(c, name="local")(waveform, train=train)
        frames = waveform.reshape(waveform.shape[0], -1, FRAME_SAMPLES)
        rms = jnp.sqrt(jnp.mean(jnp.square(frames), axis=-1, keepdims=True))
        x = nn.Conv(c.features, (BRANCH_WIDTH,), padding="CAUSAL", name="branch")(rms)
        x = GlobalNetwork(c, name="global")(x, local_context, train=train)
        outputs = nn.Dense(c.outputs, name="output")(x)
        return outputs, outputs[:, -1]


class CnnLstm(nn.Module):
    """Three convolutions and two LSTM layers."""

    config: CnnLstmConfig

    @nn.compact
    def __call__(
        self, waveform: jax.Array, *, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Maps ``[batch, samples]`` to the outputs of each frame and of the window."""
        c = self.config
        x = hear(waveform, c.frontend)
        for channels, width, pool in zip(c.conv_features, c.conv_widths, c.pools):
            x = nn.relu(nn.Conv(channels, (width,), padding="SAME")(x))
            x = nn.max_pool(x, (pool,), (pool,))
            x = nn.Dropout(c.dropout_rate, deterministic=not train)(x)
        for _ in range(c.lstm_layers):
            x = nn.RNN(nn.OptimizedLSTMCell(c.lstm_features))(x)
        outputs = nn.Dense(c.outputs, name="output")(x)
        return outputs, outputs.mean(axis=1)


def cross_entropy(logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean over the windows that count."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return (losses * mask).sum() / mask.sum()


def ccc_loss(predictions: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
    """One minus the concordance of each sequence ``[batch, frames, dimensions]``."""
    mask = mask[..., None]

    def mean(x):
        return (x * mask).sum(axis=1, keepdims=True) / mask.sum(axis=1, keepdims=True)

    mean_m, mean_n = mean(predictions), mean(labels)
    m, n = predictions - mean_m, labels - mean_n
    spread = mean(m**2) + mean(n**2) + (mean_m - mean_n) ** 2
    return (1 - 2 * mean(m * n) / jnp.maximum(spread, 1e-8)).mean()


class TrainState(train_state.TrainState):
    """Flax's, and the running statistics of batch norm."""

    batch_stats: Any

    @property
    def variables(self) -> dict[str, Any]:
        """As ``model.apply`` takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}


class PlainFlax(JaxContestant):
    """A `Contestant`."""

    def __init__(self, workload: Workload):
        network = {"diccoser_cs": DiccoserCs, "cnn_lstm": CnnLstm}[workload.network]
        model = network(workload.config)
        classification = workload.task == "classification"
        # Of a kernel the rank is 2 or 3, of a bias or a scale of batch norm 1.
        tx = optax.chain(
            optax.add_decayed_weights(
                2 * L2, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)
            ),
            optax.rmsprop(LEARNING_RATE),
        )

        @jax.jit
        def create(rng):
            waveform = jnp.zeros((1, workload.samples))
            variables = model.init(rng, waveform, train=False)
            return TrainState.create(
                apply_fn=model.apply,
                params=variables["params"],
                batch_stats=variables.get("batch_stats", {}),
                tx=tx,
            )

        def loss_fn(params, batch_stats, batch, rng):
            (frames, pooled), updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                batch["audio"],
                train=True,
                rngs={"dropout": rng},
                mutable=["batch_stats"],
            )
            if classification:
                loss = cross_entropy(pooled, batch["target"], batch["mask"])
            else:
                loss = ccc_loss(frames, batch["target"], batch["mask"])
            return loss, updates.get("batch_stats", {})

        def train_step(state, batch, rng):
            rng = jax.random.fold_in(rng, state.step)
            (loss, batch_stats), gradients = jax.value_and_grad(loss_fn, has_aux=True)(
                state.params, state.batch_stats, batch, rng
            )
            state = state.apply_gradients(grads=gradients, batch_stats=batch_stats)
            return state, {"loss": loss}

        def infer(variables, waveform):
            frames, pooled = model.apply(variables, waveform, train=False)
            return pooled if classification else frames

        init_rng, rng = jax.random.split(jax.random.key(0))
        super().__init__(
            workload,
            create(init_rng),
            rng,
            train_step=jax.jit(train_step, donate_argnums=0),
            infer=jax.jit(infer),
        )

    def load(self, variables: dict[str, Any]) -> None:
        """Takes the variables of the package's network; the names are the same."""
        self.state = self.state.replace(**jax.tree.map(jnp.array, variables))


def build(workload: Workload) -> PlainFlax:
    """Plain Flax's answer to a workload."""
    return PlainFlax(workload)
