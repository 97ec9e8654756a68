"""The networks in Keras 3 on TensorFlow: functional models, steps in `tf.function`."""

from typing import Any

import keras
import librosa
import numpy as np
import tensorflow as tf
from flax import traverse_util
from keras import layers

from benchmarks.workloads import L2, LEARNING_RATE, Workload, make_batch
from diccoser_jax import features
from diccoser_jax.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from diccoser_jax.cnn_lstm import CnnLstmConfig
from diccoser_jax.diccoser import BRANCH_WIDTH, DiccoserConfig, global_block_width

_L2 = keras.regularizers.L2(L2)


class LogMel(layers.Layer):
    """Log-mel spectrogram, 50 frames a second."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.mel = librosa.filters.mel(
            sr=SAMPLE_RATE_HZ,
            n_fft=features.MEL_WINDOW_SAMPLES,
            n_mels=features.MEL_BANDS,
            fmax=features.MEL_MAX_HZ,
        ).T

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        """Maps ``[batch, samples]`` to ``[batch, samples / 320, 40]``."""
        window, hop = features.MEL_WINDOW_SAMPLES, features.MEL_HOP_SAMPLES
        padded = tf.pad(waveform, ((0, 0), (window - hop, 0)))
        spectrum = tf.signal.stft(padded, window, hop, fft_length=window)
        power = tf.square(tf.abs(spectrum)) @ self.mel
        return tf.math.log1p(power / features.MEL_FLOOR) / tf.math.log(10.0)


def hear(waveform: keras.KerasTensor, frontend: str) -> keras.KerasTensor:
    """Maps ``[batch, samples]`` to ``[batch, time, channels]``."""
    return waveform[..., None] if frontend == "raw" else LogMel()(waveform)


def causal_conv(
    channels: int, width: int, name: str, dilation: int = 1, use_bias: bool = True
) -> layers.Layer:
    """Convolution whose output at t sees nothing after t."""
    return layers.Conv1D(
        channels,
        width,
        dilation_rate=dilation,
        padding="causal",
        use_bias=use_bias,
        kernel_regularizer=_L2,
        name=name,
    )


def block(
    config: DiccoserConfig,
    width: int,
    dilation: int,
    name: str,
    x: keras.KerasTensor,
    conditioning: keras.KerasTensor | None = None,
) -> keras.KerasTensor:
    """``x + 1x1(ReLU(BN(dropout(W * x + V * y))))``."""
    channels = config.features
    z = causal_conv(channels, width, f"{name}_filter", dilation, use_bias=False)(x)
    if conditioning is not None:
        v = causal_conv(channels, 2, f"{name}_filter_conditioning", use_bias=False)
        z = layers.Add()([z, v(conditioning)])
    z = layers.Dropout(config.dropout_rate)(z)
    z = layers.BatchNormalization(
        momentum=0.99, epsilon=1e-5, name=f"{name}_BatchNorm_0"
    )(z)
    z = layers.ReLU()(z)
    z = layers.Dense(channels, kernel_regularizer=_L2, name=f"{name}_residual")(z)
    return layers.Add()([x, z])


def local_network(
    config: DiccoserConfig, waveform: keras.KerasTensor
) -> keras.KerasTensor:
    """Waveform ``[batch, samples]`` to local context ``[batch, frames, features]``."""
    x = hear(waveform, config.frontend)
    x = causal_conv(config.features, config.stem_width, "local_stem")(x)
    x = layers.MaxPooling1D(config.stem_pool)(x)
    for stack, pool in enumerate(config.stack_pools):
        for dilation in config.local_dilations:
            x = block(config, 2, dilation, f"local_stack{stack}_dilation{dilation}", x)
        x = layers.MaxPooling1D(pool)(x)
    return x


def diccoser_cs(
    config: DiccoserConfig, waveform: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """DiCCOSER-CS with rms aggregation: outputs of each frame and of the window."""
    local_context = local_network(config, waveform)
    frames = keras.ops.reshape(waveform, (waveform.shape[0], -1, FRAME_SAMPLES))
    rms = keras.ops.sqrt(
        keras.ops.mean(keras.ops.square(frames), axis=-1, keepdims=True)
    )
    x = causal_conv(config.features, BRANCH_WIDTH, "branch")(rms)
    for dilation in config.global_dilations:
        width = global_block_width(config, dilation)
        x = block(
            config, width, dilation, f"global_dilation{dilation}", x, local_context
        )
    outputs = layers.Dense(config.outputs, kernel_regularizer=_L2, name="output")(x)
    return outputs, outputs[:, -1]


def cnn_lstm(
    config: CnnLstmConfig, waveform: keras.KerasTensor
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Three convolutions and two LSTM layers: outputs of each frame and the window."""
    x = hear(waveform, config.frontend)
    sizes = zip(config.conv_features, config.conv_widths, config.pools)
    for i, (channels, width, pool) in enumerate(sizes):
        x = layers.Conv1D(
            channels,
            width,
            padding="same",
            activation="relu",
            kernel_regularizer=_L2,
            name=f"Conv_{i}",
        )(x)
        x = layers.MaxPooling1D(pool)(x)
        x = layers.Dropout(config.dropout_rate)(x)
    for i in range(config.lstm_layers):
        x = layers.LSTM(
            config.lstm_features,
            return_sequences=True,
            kernel_regularizer=_L2,
            recurrent_regularizer=_L2,
            name=f"OptimizedLSTMCell_{i}",
        )(x)
    outputs = layers.Dense(config.outputs, kernel_regularizer=_L2, name="output")(x)
    return outputs, layers.GlobalAveragePooling1D()(outputs)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Mean over the windows that count."""
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    return tf.reduce_sum(losses * mask) / tf.reduce_sum(mask)


def ccc_loss(predictions: tf.Tensor, labels: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """One minus the concordance of each sequence ``[batch, frames, dimensions]``."""
    mask = mask[..., None]
    frames = tf.reduce_sum(mask, axis=1, keepdims=True)

    def mean(x):
        return tf.reduce_sum(x * mask, axis=1, keepdims=True) / frames

    mean_m, mean_n = mean(predictions), mean(labels)
    m, n = predictions - mean_m, labels - mean_n
    spread = mean(m**2) + mean(n**2) + (mean_m - mean_n) ** 2
    return tf.reduce_mean(1 - 2 * mean(m * n) / tf.maximum(spread, 1e-8))


class TensorFlowKeras:
    """A `Contestant`.

    Attributes:
      parameters: how many numbers training learns.
      model: the network.
    """

    def __init__(self, workload: Workload, jit_compile: bool):
        keras.utils.set_random_seed(0)
        network = {"diccoser_cs": diccoser_cs, "cnn_lstm": cnn_lstm}[workload.network]
        waveform = keras.Input((workload.samples,), batch_size=workload.batch_size)
        model = keras.Model(waveform, network(workload.config, waveform))
        classification = workload.task == "classification"
        # Its update is g / sqrt(v + epsilon), optax's with optax's defaults.
        optimizer = keras.optimizers.RMSprop(LEARNING_RATE, rho=0.9, epsilon=1e-8)
        optimizer.build(model.trainable_variables)

        @tf.function(jit_compile=jit_compile)
        def train_step(audio, target, mask):
            with tf.GradientTape() as tape:
                frames, pooled = model(audio, training=True)
                if classification:
                    loss = cross_entropy(pooled, target, mask)
                else:
                    loss = ccc_loss(frames, target, mask)
                objective = loss + tf.add_n(model.losses)
            gradients = tape.gradient(objective, model.trainable_variables)
            optimizer.apply(gradients, model.trainable_variables)
            return loss

        @tf.function(jit_compile=jit_compile)
        def infer(audio):
            frames, pooled = model(audio, training=False)
            return pooled if classification else frames

        self.model = model
        self.parameters = sum(
            int(np.prod(weight.shape)) for weight in model.trainable_weights
        )
        self._batch = {
            key: tf.convert_to_tensor(value)
            for key, value in make_batch(workload).items()
        }
        self._train_step, self._infer = train_step, infer

    def load(self, variables: dict[str, Any]) -> None:
        """Takes the variables of the package's network."""
        weights = {}
        for collection in variables.values():
            for (*path, leaf), value in traverse_util.flatten_dict(collection).items():
                weights.setdefault("_".join(path), {})[leaf] = value
        for layer in self.model.layers:
            if isinstance(layer, layers.LSTM):
                own = [
                    np.concatenate(
                        [
                            weights[f"{layer.name}_{kind}{gate}"][leaf]
                            for gate in "ifgo"
                        ],
                        axis=-1,
                    )
                    for kind, leaf in (("i", "kernel"), ("h", "kernel"), ("h", "bias"))
                ]
            elif layer.weights:
                leaves = weights[layer.name]
                order = ("kernel", "scale", "bias", "mean", "var")
                own = [leaves[leaf] for leaf in order if leaf in leaves]
            else:
                continue
            layer.set_weights(own)

    def train_step(self) -> float:
        """See `Contestant`."""
        return float(self._train_step(**self._batch))

    def infer(self) -> np.ndarray:
        """See `Contestant`."""
        return self._infer(self._batch["audio"]).numpy()


def build(workload: Workload, jit_compile: bool = False) -> TensorFlowKeras:
    """Keras' answer to a workload.

    Args:
      workload: what to do.
      jit_compile: by XLA; else op by op, in a TensorFlow graph.
    """
    return TensorFlowKeras(workload, jit_compile)
