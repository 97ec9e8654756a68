"""Audio in, emotion out: the Python interface to a trained network.

    import diccoser_jax

    model = diccoser_jax.load("runs/emodb")  # without an argument: the bundled model
    result = model("speech.mp3")  # or model(array, sample_rate_hz=44_100)
    result.label, result.pooled, result.frames, result.local_context

    for result in model.stream(chunks, sample_rate_hz=16_000):  # as audio arrives
        print(result.times_seconds[-1], result.label)

A file is heard as a stream, piece after piece, in little memory: both give the same
frames. Classification hears one training window of silence before it, since training
puts silence before short recordings (paper, section 4.2.2). What is left at the end,
less than 40 ms, gets no answer: half a frame of silence there is heard as an event
(UA of recordings of RAVDESS that are answered at their last frame: 0.504 without, 0.489
with it).
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diccoser_jax import audio, layers, model_file
from diccoser_jax import stream as stream_lib
from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES, SAMPLE_RATE_HZ, AudioError
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.model_file import ModelFileError, SavedModel

BUNDLED = "emodb.safetensors"  # in the folder models/

# Frames of one call of the network: programs are compiled for a length, and this one
# serves files of all lengths. What a layer leaves for the next one fits in the caches.
_PIECE_FRAMES = 50

_SAMPLES = "waveform"  # what errors call samples that come from no file


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says about a recording, or about the next piece of a stream.

    Attributes:
      task: ``classification`` or ``regression``.
      names: of the classes, or of the dimensions.
      seconds: how long the recording, or the piece, is; its last frame ends up to 40
        ms before.
      times_seconds: ``[frames]``, 25 a second: where each frame ends. What a frame
        says depends on nothing later.
      frames: float32 ``[frames, outputs]``: the posterior of each class, the network's
        answer for the window that ends with the frame (with ``answer_frames`` of the
        configuration, a mean over so many of them), or the dimensions.
      pooled: float32 ``[outputs]``, one answer. Of a recording: the mean posterior of
        the frames before which a whole training window was heard (in shorter
        recordings the last frame, as in the paper), or the mean of each dimension. Of
        a piece of a stream: the mean over its frames.
      local_context: float32 ``[frames, features]``, the embedding that the local
        network hands on (paper, section 3.2); None for the CNN-LSTM.
    """

    task: str
    names: tuple[str, ...]
    seconds: float
    times_seconds: np.ndarray
    frames: np.ndarray
    pooled: np.ndarray
    local_context: np.ndarray | None

    @property
    def label(self) -> str | None:
        """The most probable class; None for a regression."""
        if self.task != "classification":
            return None
        return self.names[int(self.pooled.argmax())]


def load(checkpoint: str | os.PathLike[str] | None = None) -> "Predictor":
    """Loads a trained network.

    Args:
      checkpoint: the workdir of a training run, or a model file; None for the model
        that comes with the package.

    Raises:
      ModelFileError: if there is none, or it is damaged or too new.
    """
    return Predictor(model_file.load(bundled() if checkpoint is None else checkpoint))


def bundled() -> pathlib.Path:
    """The model that comes with the package.

    Raises:
      ModelFileError: if there is none.
    """
    path = pathlib.Path(__file__).parent / "models" / BUNDLED
    if not path.exists():
        raise ModelFileError(
            f"{path}: this installation has no bundled model; name one of yours, such "
            "as the workdir of a training run"
        )
    return path


class Predictor:
    """A trained network that takes audio of any rate and length.

    Attributes:
      saved: the network, its variables, and what they mean.
    """

    def __init__(self, saved: SavedModel):
        self.saved = saved
        self._window_frames = round(saved.window_seconds * FRAME_RATE_HZ)
        if isinstance(saved.model, CnnLstm):
            self._apply = jax.jit(functools.partial(saved.model.apply, saved.variables))
        else:
            self._step = jax.jit(
                functools.partial(stream_lib.step, saved.model, saved.variables),
                donate_argnums=0,
            )

    @property
    def task(self) -> str:
        """``classification`` or ``regression``."""
        return self.saved.task

    @property
    def names(self) -> tuple[str, ...]:
        """Of the classes, or of the dimensions."""
        return self.saved.target_names

    def __call__(
        self,
        source: str | os.PathLike[str] | np.ndarray | Iterable[np.ndarray],
        sample_rate_hz: float | None = None,
    ) -> Prediction:
        """Hears a whole recording.

        Args:
          source: the path of an audio file of any rate and any channels; or samples
            ``[samples]``, float in [-1, 1] or int16; or an iterator of such chunks, of
            any lengths.
          sample_rate_hz: of the samples; a file knows its own.

        Raises:
          AudioError: if there is nothing to hear: see `audio.read`.
          ValueError: if the rate is missing, or given for a file.
        """
        if isinstance(source, str | os.PathLike):
            if sample_rate_hz is not None:
                raise ValueError(
                    f"sample_rate_hz={sample_rate_hz} beside a file, which knows its "
                    "own: leave it out."
                )
            name, chunks = str(source), audio.blocks(source)
        else:
            if isinstance(source, np.ndarray | jax.Array):
                source = [np.asarray(source)]
            name = _SAMPLES
            chunks = _resampled(source, sample_rate_hz, silence_allowed=False)
        counted = _Counted(chunks)
        hear = self._windows if isinstance(self.saved.model, CnnLstm) else self._pieces
        outputs, answers = [], []
        for output, answer in hear(counted):
            outputs.append(output)
            answers.append(answer)
        if not outputs:
            raise _too_short(name, counted.samples)
        frames, context = _concatenate(outputs)
        seconds = counted.samples / SAMPLE_RATE_HZ
        if self.task == "regression":
            pooled = frames.mean(axis=0)
        elif isinstance(self.saved.model, CnnLstm):
            weights = [len(output[0]) for output in outputs]
            pooled = np.average(answers, axis=0, weights=weights)
        else:
            pooled = frames[min(self._window_frames, len(frames)) - 1 :].mean(axis=0)
        return self._prediction(seconds, 0, frames, pooled, context)

    def stream(
        self, chunks: Iterable[np.ndarray], sample_rate_hz: float | None = None
    ) -> Iterator[Prediction]:
        """Hears a stream, and answers for each 40 ms as soon as they are complete.

        Args:
          chunks: ``[samples]`` each, float in [-1, 1] or int16, of any lengths.
          sample_rate_hz: of the samples. Resampling holds back some milliseconds.

        Yields:
          A `Prediction` for each chunk that completes a frame, with the frames that
          it completes; ``times_seconds`` go on from the start of the stream.

        Raises:
          AudioError: on samples that are not finite, far beyond full scale, or of
            another shape or dtype; or at the end of a stream without samples.
          ValueError: if the rate is missing, or the network is a CNN-LSTM, which
            cannot stream.
        """
        signal = _resampled(chunks, sample_rate_hz, silence_allowed=True)
        carry, _ = self._begin()
        # Compiled now, so that the first frame need not wait.
        self._step(carry, np.zeros((1, FRAME_SAMPLES), np.float32))
        return self._stream(signal)

    def _stream(self, signal: Iterator[np.ndarray]) -> Iterator[Prediction]:
        first = 0
        carry, interpret = self._begin()
        rest = np.zeros(0, np.float32)
        for chunk in signal:
            rest = np.concatenate([rest, chunk])
            outputs = []
            while len(rest) >= FRAME_SAMPLES:
                # Two lengths, so that two programs serve chunks of all lengths.
                whole = len(rest) >= _PIECE_FRAMES * FRAME_SAMPLES
                samples = FRAME_SAMPLES * (_PIECE_FRAMES if whole else 1)
                carry, output = self._step(carry, rest[None, :samples])
                outputs.append(interpret(output))
                rest = rest[samples:]
            if outputs:
                frames, context = _concatenate(outputs)
                yield self._prediction(
                    len(frames) / FRAME_RATE_HZ,
                    first,
                    frames,
                    frames.mean(axis=0),
                    context,
                )
                first += len(frames)
        if not first:
            raise _too_short(_SAMPLES, len(rest))

    def _pieces(self, signal: Iterable[np.ndarray]) -> Iterator[tuple[Any, None]]:
        """Yields what the causal network says, piece after piece."""
        carry, interpret = self._begin()
        samples = _PIECE_FRAMES * FRAME_SAMPLES
        for piece in _cut(signal, samples):
            padded = np.pad(piece, (0, samples - len(piece)))
            carry, output = self._step(carry, padded[None])
            yield interpret(output, len(piece) // FRAME_SAMPLES), None

    def _windows(self, signal: Iterable[np.ndarray]) -> Iterator[tuple[Any, Any]]:
        """Yields what the CNN-LSTM says about each window, and its one answer.

        What is left for the last window has zeros before it, as in training.
        """
        samples = self._window_frames * FRAME_SAMPLES
        for window in _cut(signal, samples):
            padded = np.pad(window, (samples - len(window), 0))
            output = self._apply(padded[None])
            frames = self._posteriors(np.asarray(output.frames[0]))
            answer = self._posteriors(np.asarray(output.pooled[0]))
            yield (frames[-len(window) // FRAME_SAMPLES :], None), answer

    def _begin(self) -> tuple[stream_lib.Carry, "_Interpreter"]:
        """The carry with which a recording begins, and what reads the outputs."""
        carry, past = self._start
        # Steps destroy the carry that they are given.
        return jax.tree.map(jnp.copy, carry), _Interpreter(self._posteriors, past)

    @functools.cached_property
    def _start(self) -> tuple[stream_lib.Carry, np.ndarray]:
        """The first carry, and the logits that the first answers are also a mean of."""
        config = self.saved.model.config
        carry = stream_lib.init_carry(self.saved.model, self.saved.variables, batch=1)
        if self.task == "regression":  # Its windows begin in the midst of speech.
            return carry, np.zeros((0, config.outputs), np.float32)
        parts = [np.zeros((config.answer_frames - 1, config.outputs), np.float32)]
        silence = np.zeros((1, _PIECE_FRAMES * FRAME_SAMPLES), np.float32)
        for _ in range(-(-self._window_frames // _PIECE_FRAMES)):
            carry, output = self._step(carry, silence)
            parts.append(np.asarray(output.frames[0]))
        frames = np.concatenate(parts)
        return carry, frames[len(frames) - config.answer_frames + 1 :]

    def _posteriors(self, outputs: np.ndarray) -> np.ndarray:
        if self.task == "regression":
            return outputs
        logits = outputs / np.float32(self.saved.temperature)
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)

    def _prediction(self, seconds, first, frames, pooled, context) -> Prediction:
        ends = np.arange(first + 1, first + len(frames) + 1)
        return Prediction(
            self.task,
            self.names,
            seconds,
            ends / FRAME_RATE_HZ,
            frames,
            pooled.astype(np.float32),
            context,
        )


class _Interpreter:
    """Reads what the network says about one signal, piece after piece."""

    def __init__(
        self, posteriors: Callable[[np.ndarray], np.ndarray], past: np.ndarray
    ):
        self._posteriors = posteriors
        self._past = past

    def __call__(
        self, output: layers.Output, frames: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Posteriors or dimensions, and local context, of the first so many frames."""
        logits = np.concatenate([self._past, np.asarray(output.frames)[0, :frames]])
        size = len(self._past) + 1
        self._past = logits[len(logits) - size + 1 :]
        means = np.lib.stride_tricks.sliding_window_view(logits, size, axis=0).mean(-1)
        return self._posteriors(means), np.asarray(output.local_context)[0, :frames]


class _Counted:
    """Passes chunks on and counts their samples."""

    def __init__(self, chunks: Iterable[np.ndarray]):
        self._chunks = chunks
        self.samples = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        for chunk in self._chunks:
            self.samples += len(chunk)
            yield chunk


def _resampled(
    chunks: Iterable[np.ndarray], sample_rate_hz: float | None, *, silence_allowed: bool
) -> Iterator[np.ndarray]:
    """Checks chunks and brings them to 16 kHz.

    Raises:
      ValueError: at once, without a rate.
    """
    if sample_rate_hz is None:
        raise ValueError(
            "sample_rate_hz is missing: samples do not tell their rate. Give it, such "
            "as sample_rate_hz=16_000."
        )
    resampler = audio.Resampler(sample_rate_hz, _SAMPLES)

    def resample() -> Iterator[np.ndarray]:
        for chunk in chunks:
            yield resampler(_to_float32(chunk)[:, None])
        yield resampler.finish()
        if not silence_allowed:
            resampler.check_not_silent()

    return resample()


def _to_float32(chunk: np.ndarray) -> np.ndarray:
    chunk = np.asarray(chunk)
    if chunk.ndim == 1 and chunk.dtype == np.int16:
        return chunk.astype(np.float32) / 32768
    if chunk.ndim == 1 and np.issubdtype(chunk.dtype, np.floating):
        return chunk.astype(np.float32, copy=False)
    raise AudioError(
        f"{_SAMPLES}: {chunk.dtype}{list(chunk.shape)}; expected one channel, [samples]"
        ", float in [-1, 1] or int16. Average channels, and divide other integers by "
        "their full scale"
    )


def _cut(signal: Iterable[np.ndarray], samples: int) -> Iterator[np.ndarray]:
    """Cuts chunks of any lengths into pieces of this one; only the last is shorter.

    What is less than a frame at the end is left out.
    """
    rest = np.zeros(0, np.float32)
    for chunk in signal:
        rest = np.concatenate([rest, chunk])
        whole = len(rest) // samples
        yield from rest[: whole * samples].reshape(-1, samples)
        rest = rest[whole * samples :]
    if last := len(rest) // FRAME_SAMPLES:
        yield rest[: last * FRAME_SAMPLES]


def _too_short(name: str, samples: int) -> AudioError:
    return AudioError(
        f"{name}: its {1000 * samples / SAMPLE_RATE_HZ:.0f} ms are less than one frame "
        "of 40 ms"
    )


def _concatenate(outputs: list[Any]) -> tuple[np.ndarray, np.ndarray | None]:
    frames, contexts = zip(*outputs)
    if contexts[0] is None:
        return np.concatenate(frames), None
    return np.concatenate(frames), np.concatenate(contexts)
