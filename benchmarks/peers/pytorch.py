"""The networks in PyTorch: ``[batch, channels, time]`` and the layers of `torch.nn`."""

from collections import OrderedDict
from typing import Any

import librosa
import numpy as np
import torch
from flax import traverse_util
from torch import nn
from torch.nn import functional

from benchmarks.workloads import L2, LEARNING_RATE, Workload, make_batch
from diccoser_jax import features
from diccoser_jax.audio import FRAME_SAMPLES, SAMPLE_RATE_HZ
from diccoser_jax.cnn_lstm import CnnLstmConfig
from diccoser_jax.diccoser import BRANCH_WIDTH, DiccoserConfig, global_block_width


class Raw(nn.Module):
    """Samples as one channel."""

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Maps ``[batch, samples]`` to ``[batch, 1, samples]``."""
        return waveform[:, None]


class LogMel(nn.Module):
    """Log-mel spectrogram, 50 frames a second."""

    def __init__(self):
        super().__init__()
        mel = librosa.filters.mel(
            sr=SAMPLE_RATE_HZ,
            n_fft=features.MEL_WINDOW_SAMPLES,
            n_mels=features.MEL_BANDS,
            fmax=features.MEL_MAX_HZ,
        )
        window = torch.hann_window(features.MEL_WINDOW_SAMPLES)
        self.register_buffer("mel", torch.from_numpy(mel), persistent=False)
        self.register_buffer("window", window, persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Maps ``[batch, samples]`` to ``[batch, 40, samples / 320]``."""
        window, hop = features.MEL_WINDOW_SAMPLES, features.MEL_HOP_SAMPLES
        spectrum = torch.stft(
            functional.pad(waveform, (window - hop, 0)),
            n_fft=window,
            hop_length=hop,
            window=self.window,
            center=False,
            return_complex=True,
        )
        power = torch.view_as_real(spectrum).square().sum(dim=-1)
        return torch.log10(1 + self.mel @ power / features.MEL_FLOOR)


class CausalConv1d(nn.Conv1d):
    """Convolution whose output at t sees nothing after t."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps ``[batch, channels, time]`` to ``[batch, features, time]``."""
        past = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(functional.pad(x, (past, 0)))


class Block(nn.Module):
    """``x + 1x1(ReLU(BN(dropout(W * x + V * y))))``."""

    def __init__(
        self, config: DiccoserConfig, width: int, dilation: int, conditioned: bool
    ):
        super().__init__()
        channels = config.features
        self.filter = CausalConv1d(
            channels, channels, width, dilation=dilation, bias=False
        )
        if conditioned:
            self.filter_conditioning = CausalConv1d(channels, channels, 2, bias=False)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.norm = nn.BatchNorm1d(channels, eps=1e-5, momentum=0.01)
        self.residual = nn.Conv1d(channels, channels, 1)

    def forward(
        self, x: torch.Tensor, conditioning: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Maps ``[batch, features, time]`` to the same shape."""
        z = self.filter(x)
        if conditioning is not None:
            z = z + self.filter_conditioning(conditioning)
        z = functional.relu(self.norm(self.dropout(z)))
        return x + self.residual(z)


def local_network(config: DiccoserConfig) -> nn.Sequential:
    """Waveform ``[batch, samples]`` to local context ``[batch, features, frames]``."""
    raw = config.frontend == "raw"
    channels = 1 if raw else features.MEL_BANDS
    layers = OrderedDict(
        frontend=Raw() if raw else LogMel(),
        stem=CausalConv1d(channels, config.features, config.stem_width),
        stem_pool=nn.MaxPool1d(config.stem_pool),
    )
    for stack, pool in enumerate(config.stack_pools):
        for dilation in config.local_dilations:
            layers[f"stack{stack}_dilation{dilation}"] = Block(
                config, 2, dilation, conditioned=False
            )
        layers[f"stack{stack}_pool"] = nn.MaxPool1d(pool)
    return nn.Sequential(layers)


class GlobalNetwork(nn.Module):
    """Long-term dependencies at 25 Hz, conditioned on the local context."""

    def __init__(self, config: DiccoserConfig):
        super().__init__()
        for dilation in config.global_dilations:
            width = global_block_width(config, dilation)
            block = Block(config, width, dilation, conditioned=True)
            self.add_module(f"dilation{dilation}", block)

    def forward(self, x: torch.Tensor, conditioning: torch.Tensor) -> torch.Tensor:
        """Maps ``[batch, features, frames]`` to the same shape."""
        for block in self.children():
            x = block(x, conditioning)
        return x


class DiccoserCs(nn.Module):
    """DiCCOSER-CS with rms aggregation."""

    def __init__(self, config: DiccoserConfig):
        super().__init__()
        self.local_network = local_network(config)
        self.branch = CausalConv1d(1, config.features, BRANCH_WIDTH)
        self.global_network = GlobalNetwork(config)
        self.output = nn.Conv1d(config.features, config.outputs, 1)

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps ``[batch, samples]`` to the outputs of each frame and of the window."""
        local_context = self.local_network(waveform)
        frames = waveform.unflatten(1, (-1, FRAME_SAMPLES))
        x = self.branch(frames.square().mean(dim=2).sqrt()[:, None])
        x = self.global_network(x, local_context)
        outputs = self.output(x).transpose(1, 2)
        return outputs, outputs[:, -1]


class CnnLstm(nn.Module):
    """Three convolutions and two LSTM layers."""

    def __init__(self, config: CnnLstmConfig):
        super().__init__()
        raw = config.frontend == "raw"
        channels = (1 if raw else features.MEL_BANDS, *config.conv_features)
        self.frontend = Raw() if raw else LogMel()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(*sizes, padding="same")
            for sizes in zip(channels[:-1], channels[1:], config.conv_widths)
        )
        self.pools = nn.ModuleList(nn.MaxPool1d(pool) for pool in config.pools)
        self.dropout = nn.Dropout(config.dropout_rate)
        self.lstm = nn.LSTM(
            channels[-1], config.lstm_features, config.lstm_layers, batch_first=True
        )
        # cuDNN's LSTM has two biases that only ever act as their sum: one is learnt.
        for layer in range(config.lstm_layers):
            bias = self.lstm.get_parameter(f"bias_ih_l{layer}")
            nn.init.zeros_(bias).requires_grad_(False)
        self.output = nn.Linear(config.lstm_features, config.outputs)

    def forward(self, waveform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps ``[batch, samples]`` to the outputs of each frame and of the window."""
        x = self.frontend(waveform)
        for convolution, pool in zip(self.convolutions, self.pools):
            x = self.dropout(pool(functional.relu(convolution(x))))
        x, _ = self.lstm(x.transpose(1, 2))
        outputs = self.output(x)
        return outputs, outputs.mean(dim=1)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Mean over the windows that count."""
    losses = functional.cross_entropy(logits, labels, reduction="none")
    return (losses * mask).sum() / mask.sum()


def ccc_loss(
    predictions: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """One minus the concordance of each sequence ``[batch, frames, dimensions]``."""
    mask = mask[..., None]

    def mean(x):
        return (x * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)

    mean_m, mean_n = mean(predictions), mean(labels)
    m, n = predictions - mean_m, labels - mean_n
    spread = mean(m.square()) + mean(n.square()) + (mean_m - mean_n).square()
    return (1 - 2 * mean(m * n) / spread.clamp(min=1e-8)).mean()


class PyTorch:
    """A `Contestant`.

    Attributes:
      parameters: how many numbers training learns.
      module: the network, not compiled.
    """

    def __init__(self, workload: Workload, compiled: bool, mode: str):
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(0)
        network = {"diccoser_cs": DiccoserCs, "cnn_lstm": CnnLstm}[workload.network]
        self.module = network(workload.config).to(device)
        self._network = (
            torch.compile(self.module, mode=mode) if compiled else self.module
        )
        self._batch = {
            key: torch.from_numpy(value).to(device)
            for key, value in make_batch(workload).items()
        }
        self._classification = workload.task == "classification"
        if self._classification:
            self._batch["target"] = self._batch["target"].long()

        learnt = [p for p in self.module.parameters() if p.requires_grad]
        self.parameters = sum(p.numel() for p in learnt)
        # Here the update is g / (sqrt(v) + eps), in optax g / sqrt(v + 1e-8): the root
        # of that eps gives both the same scale where there is no gradient, and at most
        # a factor of sqrt(2) between them, at sqrt(v) = 1e-4.
        self._optimizer = torch.optim.RMSprop(
            [
                {"params": [p for p in learnt if p.ndim > 1], "weight_decay": 2 * L2},
                {"params": [p for p in learnt if p.ndim == 1]},
            ],
            lr=LEARNING_RATE,
            alpha=0.9,
            eps=1e-4,
        )

    def state_dict(self, variables: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Variables of the package's network, or gradients of them, for ``module``."""
        names = {
            "local": "local_network",
            "global": "global_network",
            "BatchNorm_0": "norm",
            "kernel": "weight",
            "scale": "weight",
            "mean": "running_mean",
            "var": "running_var",
            **{f"Conv_{i}": f"convolutions.{i}" for i in range(3)},
        }
        params = dict(variables["params"])
        state = {}
        lstm_layers = (
            self.module.lstm.num_layers if isinstance(self.module, CnnLstm) else 0
        )
        for layer in range(lstm_layers):
            cell = params.pop(f"OptimizedLSTMCell_{layer}")
            for name, prefix, leaf in (
                ("weight_ih", "i", "kernel"),
                ("weight_hh", "h", "kernel"),
                ("bias_hh", "h", "bias"),
            ):
                gates = [cell[prefix + gate][leaf] for gate in "ifgo"]
                state[f"lstm.{name}_l{layer}"] = np.concatenate(gates, axis=-1)
        for collection in (params, variables.get("batch_stats", {})):
            for path, value in traverse_util.flatten_dict(collection).items():
                state[".".join(names.get(part, part) for part in path)] = value
        # Convolutions turn from [width, in, out] to [out, in, width], dense layers from
        # [in, out] to [out, in], with a width of 1 where a convolution stands for them.
        own = self.module.state_dict()
        return {
            key: torch.tensor(np.asarray(value).T).reshape(own[key].shape)
            for key, value in state.items()
        }

    def load(self, variables: dict[str, Any]) -> None:
        """Takes the variables of the package's network."""
        self.module.load_state_dict(
            {**self.module.state_dict(), **self.state_dict(variables)}
        )

    def train_step(self) -> float:
        """See `Contestant`."""
        self._set_mode(training=True)
        self._optimizer.zero_grad(set_to_none=True)
        frames, pooled = self._network(self._batch["audio"])
        target, mask = self._batch["target"], self._batch["mask"]
        if self._classification:
            loss = cross_entropy(pooled, target, mask)
        else:
            loss = ccc_loss(frames, target, mask)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    @torch.inference_mode()
    def infer(self) -> np.ndarray:
        """See `Contestant`."""
        self._set_mode(training=False)
        frames, pooled = self._network(self._batch["audio"])
        return (pooled if self._classification else frames).cpu().numpy()

    def _set_mode(self, training: bool) -> None:
        if self.module.training != training:  # a walk over all modules
            self.module.train(training)


def build(workload: Workload, compiled: bool = False, mode: str = "default") -> PyTorch:
    """PyTorch's answer to a workload.

    Args:
      workload: what to do.
      compiled: by ``torch.compile``; else op by op.
      mode: of ``torch.compile``; ``reduce-overhead`` is CUDA graphs.
    """
    return PyTorch(workload, compiled, mode)
