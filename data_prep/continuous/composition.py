"""Utterances to long recordings: order, pauses, and labels as raters would give them.

Nobody rated these recordings. The target at each moment is the point of the emotion
that was last acted, on the plane of valence and arousal; raters are imitated by a
low-pass filter, a delay and, if wanted, noise.

Points are the mean ratings of pleasure and arousal in [-1, 1] of Russell and Mehrabian
1977 (Evidence for a three-factor theory of emotions, Journal of Research in
Personality 11), which lie about the circle of Russell 1980 (A circumplex model of
affect, Journal of Personality and Social Psychology 39); neutral speech is its centre.
The intensity of the acting moves a point along its radius; by how much is our choice,
for no source says it.

Pauses are log-normal with a median of 0.8 s: Campione and Veronis 2002 (A large-scale
multilingual study of silent pause duration) find that logarithms of durations are
normal, with one group from 0.2 to 1 s and, in spontaneous speech only, one beyond.

Raters respond 1 to 6 s late (Mariooryad and Busso 2015, Correcting time-continuous
emotional labels by modeling the reaction lag of evaluators); here, all by 3 s.
"""

import dataclasses
import re
from collections.abc import Iterator, Sequence

import librosa
import numpy as np

from diccoser_jax.audio import FRAME_RATE_HZ, FRAME_SAMPLES, SAMPLE_RATE_HZ

_PLEASURE_AND_AROUSAL = {
    "angry": (-0.51, 0.59),
    "bored": (-0.65, -0.62),
    "contempt": (-0.23, 0.31),
    "disgusted": (-0.60, 0.35),
    "excited": (0.62, 0.75),
    "fearful": (-0.64, 0.60),
    "frustrated": (-0.64, 0.52),
    "happy": (0.81, 0.51),
    "joyful": (0.76, 0.48),
    "neutral": (0.0, 0.0),
    "relaxed": (0.68, -0.46),
    "sad": (-0.63, -0.27),
    "surprised": (0.40, 0.67),
}
_ALSO_CALLED = {
    "anger": "angry",
    "boredom": "bored",
    "calm": "relaxed",  # the nearest of the terms that were rated
    "disgust": "disgusted",
    "excitement": "excited",
    "fear": "fearful",
    "frustration": "frustrated",
    "happiness": "happy",
    "joy": "joyful",
    "sadness": "sad",
    "surprise": "surprised",
}
EMOTIONS = tuple(sorted({*_PLEASURE_AND_AROUSAL, *_ALSO_CALLED}))

# Where names of recordings tell how strongly they were acted. CREMA-D does so for one
# sentence in twelve; the others are as if between.
_INTENSITIES = {
    "ravdess": (re.compile(r"(?:\d\d-){3}(\d\d)(?:-\d\d){3}"), {"01": 0.6, "02": 1.0}),
    "crema_d": (re.compile(r".*_(\w\w)"), {"LO": 0.4, "MD": 0.7, "HI": 1, "XX": 0.7}),
}

_PAUSE_MEDIAN_SECONDS = 0.8
_PAUSE_SPREAD = 0.6  # standard deviation of the logarithm
_PAUSE_LIMITS_SECONDS = (0.2, 4.0)
_SPEECH_DECIBEL = 45.0  # below the loudest moment; what is quieter at the ends is cut
_MARGIN_SECONDS = 0.1  # but for so much
_FADE_SAMPLES = SAMPLE_RATE_HZ // 50  # between the room of a pause and that of a file
_QUIET_SHARE = 0.1  # of the frames of a recording that tell how its room sounds
_QUANTUM = 1 / 32768  # one step of 16 bits
_FFT_SAMPLES, _HOP_SAMPLES = 512, 256


@dataclasses.dataclass(frozen=True)
class Settings:
    """How recordings are made.

    Attributes:
      minutes: length of a recording; any multiple of 40 ms.
      recordings_per_speaker: of another order each.
      smoothing_seconds: width of the Hann window that smooths the labels; 0 leaves
        them.
      delay_seconds: from what is heard to the label; a multiple of 40 ms. At least half
        of the smoothing, for nobody rates what is still to come.
      noise: standard deviation of what raters add, smoothed alike.
      seed: of orders, pauses and noise.

    Raises:
      ValueError: a setting that cannot be; the message names it.
    """

    minutes: float = 5.0
    recordings_per_speaker: int = 1
    smoothing_seconds: float = 2.0
    delay_seconds: float = 3.0
    noise: float = 0.0
    seed: int = 0

    def __post_init__(self):
        for name, seconds in (
            ("minutes", 60 * self.minutes),
            ("delay_seconds", self.delay_seconds),
        ):
            if not _is_whole(seconds * FRAME_RATE_HZ):
                raise ValueError(
                    f"{name} is {getattr(self, name)}; expected a multiple of "
                    f"{1 / FRAME_RATE_HZ:g} s, the frame of the labels"
                )
        if self.frames < 1 or self.recordings_per_speaker < 1:
            raise ValueError(
                f"{self.recordings_per_speaker} recordings of {self.minutes} minutes; "
                "expected at least one of more than no time"
            )
        if min(self.smoothing_seconds, self.noise) < 0:
            raise ValueError(
                f"smoothing_seconds is {self.smoothing_seconds} and noise "
                f"{self.noise}; expected none below 0"
            )
        if self.delay_seconds < self.smoothing_seconds / 2:
            raise ValueError(
                f"delay_seconds is {self.delay_seconds}; expected at least half of "
                f"smoothing_seconds, {self.smoothing_seconds / 2:g} s: raters do not "
                "respond to what is still to come"
            )

    @property
    def frames(self) -> int:
        """Label rows of a recording."""
        return round(60 * self.minutes * FRAME_RATE_HZ)


@dataclasses.dataclass(frozen=True, eq=False)
class Utterance:
    """What is said in one go.

    Attributes:
      id: of the recording in its corpus.
      emotion: its class there.
      intensity: of the acting, the radius' factor.
      speech: float32 ``[samples]``, without the silence about it.
    """

    id: str
    emotion: str
    intensity: float
    speech: np.ndarray

    @property
    def point(self) -> tuple[float, float]:
        """Arousal and valence."""
        return point(self.emotion, self.intensity)


@dataclasses.dataclass(frozen=True, eq=False)
class Composition:
    """A long recording.

    Attributes:
      waveform: float32 ``[FRAME_SAMPLES * frames]``.
      acted: float32 ``[frames, 2]``: arousal and valence of what was said last.
      utterances: what is said.
      starts: int ``[utterances]``: in frames.
    """

    waveform: np.ndarray
    acted: np.ndarray
    utterances: Sequence[Utterance]
    starts: Sequence[int]


def point(emotion: str, intensity: float) -> tuple[float, float]:
    """Arousal and valence of an emotion, in [-1, 1].

    Raises:
      ValueError: an emotion that was not rated; the message lists those that were.
    """
    if emotion not in EMOTIONS:
        raise ValueError(
            f"the class {emotion!r} has no place on the plane of arousal and valence; "
            f"expected one of {', '.join(EMOTIONS)}"
        )
    valence, arousal = _PLEASURE_AND_AROUSAL[_ALSO_CALLED.get(emotion, emotion)]
    return intensity * arousal, intensity * valence


def intensity(dataset: str, recording_id: str) -> float:
    """How strongly a recording was acted, in (0, 1]; 1 where its corpus does not say.

    RAVDESS: normal 0.6, strong 1. CREMA-D: low 0.4, medium and unsaid 0.7, high 1.
    """
    if dataset not in _INTENSITIES:
        return 1.0
    pattern, factors = _INTENSITIES[dataset]
    return factors[pattern.fullmatch(recording_id)[1]]


def speech(waveform: np.ndarray) -> np.ndarray:
    """Cuts what is 45 dB below the loudest moment off the ends, but for 0.1 s."""
    _, (start, stop) = librosa.effects.trim(
        waveform,
        top_db=_SPEECH_DECIBEL,
        frame_length=_FFT_SAMPLES,
        hop_length=_HOP_SAMPLES,
    )
    margin = round(_MARGIN_SECONDS * SAMPLE_RATE_HZ)
    return waveform[max(start - margin, 0) : stop + margin]


def room(waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """How the room of some recordings sounds when nobody speaks.

    Of each recording the mean power spectrum of the quietest tenth of its frames, and
    of these the median. Frames below one step of 16 bits do not count: the recording
    was gated there, and they tell nothing of the room.

    Args:
      waveforms: float32 ``[samples]`` each, with the silence about the speech.

    Returns:
      Power spectrum ``[bins]`` for `pause`.
    """
    spectra = []
    for waveform in waveforms:
        waveform = np.pad(waveform, (0, max(0, _FFT_SAMPLES - len(waveform))))
        power = np.abs(_spectrogram(waveform, center=False)) ** 2
        frames = np.lib.stride_tricks.sliding_window_view(waveform, _FFT_SAMPLES)
        levels = np.sqrt(np.mean(np.square(frames[::_HOP_SAMPLES]), axis=1))
        order = np.argsort(levels)
        order = order[levels[order] >= min(_QUANTUM, levels.max())]
        quiet = order[: max(1, int(_QUIET_SHARE * len(order)))]
        spectra.append(power[:, quiet].mean(axis=1))
    return np.median(spectra, axis=0)


def pause(spectrum: np.ndarray, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise of the spectrum of a `room`; float32 ``[samples]``."""
    noise = _spectrogram(rng.standard_normal(samples, np.float32), center=True)
    white = np.square(librosa.filters.get_window("hann", _FFT_SAMPLES)).sum()
    noise *= np.sqrt(spectrum / white).astype(np.float32)[:, None]
    return librosa.istft(noise, hop_length=_HOP_SAMPLES, length=samples)


def compose(
    utterances: Sequence[Utterance],
    spectrum: np.ndarray,
    frames: int,
    rng: np.random.Generator,
) -> Composition:
    """Says utterances in random order, with pauses between them, until time is over.

    Each is said once before any is said again, and none twice running. They start with
    a frame of the labels. No utterance is cut: the last pause is as long as need be.

    Args:
      utterances: of one speaker.
      spectrum: of the pauses, from `room`.
      frames: length of the recording.
      rng: of order, pauses and room.

    Raises:
      ValueError: not even the first utterance fits.
    """
    waveform = pause(spectrum, frames * FRAME_SAMPLES, rng)
    acted = np.zeros((frames, 2), np.float32)
    said, starts, position = [], [], 0
    for utterance in _order(utterances, rng):
        start = -(-(position + _pause_samples(rng)) // FRAME_SAMPLES)
        position = start * FRAME_SAMPLES + len(utterance.speech)
        if position > len(waveform):
            break
        _lay(utterance.speech, waveform[start * FRAME_SAMPLES : position])
        acted[start:] = utterance.point
        said.append(utterance)
        starts.append(start)
    if not said:
        raise ValueError(
            f"{frames / FRAME_RATE_HZ:g} s have no room for {utterance.id}, which "
            f"lasts {len(utterance.speech) / SAMPLE_RATE_HZ:.2f} s; make recordings "
            "longer"
        )
    return Composition(waveform, acted, said, starts)


def heard_exactly(
    acted: np.ndarray, settings: Settings, moved_seconds: float
) -> np.ndarray:
    """What can be said of the labels by one who knows each utterance when it starts.

    Smoothing looks ahead, so that labels begin to move before an utterance is heard,
    and nobody knows what comes: this says the label as it would be if what is acted now
    went on. Without noise, it is right wherever nothing begins soon.

    Args:
      acted: ``[frames, dimensions]``, as of a `Composition`.
      settings: of the labels.
      moved_seconds: how far the labels were moved back (``delay_seconds`` of training).

    Returns:
      float32 ``[frames - moved, dimensions]``.
    """
    moved = round(moved_seconds * FRAME_RATE_HZ)
    window = _window(settings)
    late = round(settings.delay_seconds * FRAME_RATE_HZ) - moved
    lags = late + np.arange(len(window)) - len(window) // 2
    frames = np.arange(len(acted) - moved)
    # What is still to come is taken to be what is now; before all, the centre.
    known = np.concatenate([np.zeros((1, acted.shape[1])), acted])
    heard = np.clip(frames[:, None] - np.maximum(lags, 0), -1, None) + 1
    return np.einsum("k,tkd->td", window, known[heard]).astype(np.float32)


def rate(acted: np.ndarray, settings: Settings, rng: np.random.Generator) -> np.ndarray:
    """Labels as of raters who respond slowly and late, and begin at the centre.

    ``label[t] = sum_k w[k] acted[t - delay - k]``, where ``w[k]`` is
    ``cos(pi k / width)**2`` for ``|k| < width / 2``, divided by its sum.

    Args:
      acted: float ``[frames, dimensions]``.
      settings: smoothing, delay and noise.
      rng: of the noise.

    Returns:
      float32 ``[frames, dimensions]`` in [-1, 1].
    """
    window = _window(settings)
    reach = len(window) // 2
    delay = round(settings.delay_seconds * FRAME_RATE_HZ)
    before = np.zeros((delay + reach, acted.shape[1]))
    padded = np.concatenate([before, acted])[: len(acted) + 2 * reach]
    noise = rng.normal(size=padded.shape)
    labels = [
        np.convolve(track, window, "valid")
        + settings.noise
        * np.convolve(disturbance, window / np.linalg.norm(window), "valid")
        for track, disturbance in zip(padded.T, noise.T)
    ]
    return np.clip(np.stack(labels, axis=1), -1, 1).astype(np.float32)


def _window(settings: Settings) -> np.ndarray:
    """Weights of the labels' smoothing, of the sum 1, the middle at lag 0."""
    width = settings.smoothing_seconds * FRAME_RATE_HZ
    reach = max(int(np.ceil(width / 2)) - 1, 0)
    k = np.arange(-reach, reach + 1)
    window = np.cos(np.pi * k / max(width, 1)) ** 2
    return window / window.sum()


def _is_whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6 and number >= 0


def _spectrogram(waveform: np.ndarray, center: bool) -> np.ndarray:
    return librosa.stft(
        waveform, n_fft=_FFT_SAMPLES, hop_length=_HOP_SAMPLES, center=center
    )


def _order(
    utterances: Sequence[Utterance], rng: np.random.Generator
) -> Iterator[Utterance]:
    """Yields utterances without end, deck after deck."""
    last = None
    while True:
        deck = [utterances[i] for i in rng.permutation(len(utterances))]
        if deck[0] is last:
            deck = deck[1:] + deck[:1]
        yield from deck
        last = deck[-1]


def _pause_samples(rng: np.random.Generator) -> int:
    seconds = _PAUSE_MEDIAN_SECONDS * np.exp(_PAUSE_SPREAD * rng.standard_normal())
    return round(np.clip(seconds, *_PAUSE_LIMITS_SECONDS) * SAMPLE_RATE_HZ)


def _lay(speech: np.ndarray, place: np.ndarray) -> None:
    """Puts speech in the place of a pause, which fades out about it."""
    fade = min(_FADE_SAMPLES, len(speech) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    gate = np.concatenate([ramp, np.ones(len(speech) - 2 * fade, np.float32)])
    gate = np.concatenate([gate, ramp[::-1]])
    place *= 1 - gate
    place += gate * speech
