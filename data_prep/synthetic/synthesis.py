"""Speech-like signals from a seed: a pulse and noise source, shaped by formants.

Everything varies in steps of ``CONTROL_SAMPLES``: the pitch and the strength of the
source, and the spectrum that shapes it by overlap and add. Emotions act on pitch level
and contour, tempo, energy and spectral tilt, relative to the speaker; gain varies more
between utterances than between emotions, so that loudness alone tells little.
"""

import dataclasses

import numpy as np

SAMPLE_RATE_HZ = 16_000
CONTROL_SAMPLES = 128
_CONTROL_RATE_HZ = SAMPLE_RATE_HZ / CONTROL_SAMPLES
_BLOCK_SAMPLES = 4 * CONTROL_SAMPLES

# First three formants of a, e, i, o, u in Hz, for an adult man.
_VOWELS_HZ = np.array(
    [
        [730, 1090, 2440],
        [530, 1840, 2480],
        [270, 2290, 3010],
        [570, 840, 2410],
        [300, 870, 2240],
    ]
)
_BANDWIDTHS_HZ = np.array([80.0, 110.0, 160.0])
_FORMANT_GAINS = np.array([1.0, 0.6, 0.35])


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A voice: the middle of its pitch, and formants relative to an adult man's."""

    pitch_hz: float
    formant_scale: float


@dataclasses.dataclass(frozen=True)
class Manner:
    """How something is said.

    Attributes:
      pitch: factor on the speaker's pitch.
      contour: rise of the pitch from beginning to end of a phrase, in octaves.
      melody: movement of the pitch within a syllable, in octaves.
      syllables_hz: tempo.
      gain_db: level.
      tilt_db: spectral tilt, in dB per octave above 250 Hz.
      smile: factor on the formants.

    Each is a float, or an array with a value for each control step.
    """

    pitch: float | np.ndarray = 1.0
    contour: float | np.ndarray = -0.15
    melody: float | np.ndarray = 0.06
    syllables_hz: float | np.ndarray = 4.2
    gain_db: float | np.ndarray = 0.0
    tilt_db: float | np.ndarray = -6.0
    smile: float | np.ndarray = 1.0


EMOTIONS = {
    "neutral": Manner(),
    "anger": Manner(
        pitch=1.25,
        contour=-0.5,
        melody=0.12,
        syllables_hz=5.6,
        gain_db=4.0,
        tilt_db=-1.5,
    ),
    "sadness": Manner(
        pitch=0.9,
        contour=-0.1,
        melody=0.02,
        syllables_hz=2.8,
        gain_db=-4.0,
        tilt_db=-10.0,
    ),
    "happiness": Manner(
        pitch=1.35,
        contour=0.35,
        melody=0.25,
        syllables_hz=5.0,
        gain_db=2.0,
        tilt_db=-4.5,
        smile=1.08,
    ),
}


def speaker(rng: np.random.Generator, sex: str) -> Speaker:
    """Draws a voice; ``sex`` is 'female' or 'male'."""
    pitch_hz, formant_scale = (205.0, 1.17) if sex == "female" else (118.0, 1.0)
    return Speaker(
        pitch_hz=pitch_hz * 2 ** rng.normal(0, 0.12),
        formant_scale=formant_scale * 2 ** rng.normal(0, 0.04),
    )


def utterance(rng: np.random.Generator, voice: Speaker, emotion: str) -> np.ndarray:
    """Says one of ``EMOTIONS`` for 1.5 to 3.5 s; float32 ``[samples]`` in [-1, 1]."""
    manner = EMOTIONS[emotion]
    varied = dataclasses.replace(
        manner,
        pitch=manner.pitch * 2 ** rng.normal(0, 0.08),
        contour=manner.contour + rng.normal(0, 0.08),
        syllables_hz=manner.syllables_hz * 2 ** rng.normal(0, 0.12),
        gain_db=manner.gain_db + rng.normal(0, 6.0),
        tilt_db=manner.tilt_db + rng.normal(0, 1.0),
    )
    steps = int(rng.uniform(1.5, 3.5) * _CONTROL_RATE_HZ)
    return _say(rng, voice, varied, steps, phrase_seconds=steps / _CONTROL_RATE_HZ)


def monologue(
    rng: np.random.Generator, voice: Speaker, seconds: float, frame_samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Speaks under slowly wandering arousal and valence.

    Arousal drives level, pitch and tempo; valence drives tilt, contour and formants.

    Returns:
      the waveform, float32 ``[samples]`` in [-1, 1], and the labels, float32
      ``[frames, 2]`` (arousal, valence) in [-1, 1]: for each frame of
      ``frame_samples``, the mean of what drove it.
    """
    frames = int(seconds * SAMPLE_RATE_HZ) // frame_samples
    steps_per_frame = frame_samples // CONTROL_SAMPLES
    steps = frames * steps_per_frame
    arousal, valence = _wander(rng, steps), _wander(rng, steps)
    manner = Manner(
        pitch=2 ** (0.35 * arousal),
        contour=0.35 * valence,
        melody=0.1 + 0.08 * valence,
        syllables_hz=_syllables_hz(arousal),
        gain_db=8.0 * arousal + rng.normal(0, 2.0),
        tilt_db=-6.0 + 4.0 * valence,
        smile=2 ** (0.1 * valence),
    )
    waveform = _say(rng, voice, manner, steps, phrase_seconds=2.5)
    labels = np.stack([arousal, valence], axis=1)
    labels = labels.reshape(frames, steps_per_frame, 2).mean(axis=1)
    return waveform, labels.astype(np.float32)


def heard_exactly(labels: np.ndarray, frame_rate_hz: float) -> np.ndarray:
    """What can be said of a `monologue` at best, by measurement without error.

    Neither tempo nor tilt depends on the speaker, and both are functions of the labels,
    which are not noisy; but a syllable tells its tempo only when it has ended. At each
    frame, this says the arousal that the last whole syllable's duration tells, and its
    mean valence. Level and pitch would tell a little more of what has come since.

    Args:
      labels: ``[frames, 2]``, arousal and valence, of a whole recording.
      frame_rate_hz: of the labels.

    Returns:
      float32 ``[frames, 2]``; zeros until the first syllable has ended.
    """
    beat = np.cumsum(_syllables_hz(labels[:, 0].astype(np.float64))) / frame_rate_hz
    ends = np.interp(np.arange(int(beat[-1]) + 1), np.r_[0, beat], range(len(beat) + 1))
    total = np.concatenate([[0], np.cumsum(labels[:, 1], dtype=np.float64)])
    at_ends = np.interp(ends, range(len(total)), total)
    last = beat.astype(int) - 1  # the syllable that has ended
    said = np.zeros(labels.shape, np.float32)
    heard = last >= 0
    first, stop = last[heard], last[heard] + 1
    frames = ends[stop] - ends[first]
    said[heard, 0] = _TEMPO_OCTAVES**-1 * np.log2(frame_rate_hz / frames / _TEMPO_HZ)
    said[heard, 1] = (at_ends[stop] - at_ends[first]) / frames
    return said


_TEMPO_HZ, _TEMPO_OCTAVES = 4.0, 0.5  # of a monologue: at arousal 0, and at 1 more


def _syllables_hz(arousal: np.ndarray) -> np.ndarray:
    return _TEMPO_HZ * 2 ** (_TEMPO_OCTAVES * arousal)


def _wander(rng: np.random.Generator, steps: int) -> np.ndarray:
    """A smooth random walk in (-1, 1) that turns every few seconds."""
    width = int(5.0 * _CONTROL_RATE_HZ)
    window = np.hanning(width)
    noise = rng.normal(size=steps + width - 1)
    walk = np.convolve(noise, window, mode="valid") / np.linalg.norm(window)
    return np.tanh(walk)


def _say(
    rng: np.random.Generator,
    voice: Speaker,
    manner: Manner,
    steps: int,
    phrase_seconds: float,
) -> np.ndarray:
    time = np.arange(steps) / _CONTROL_RATE_HZ
    beat = np.cumsum(np.broadcast_to(manner.syllables_hz, steps)) / _CONTROL_RATE_HZ
    beat += rng.uniform()
    syllable, within = beat.astype(int), beat % 1
    stress = 2 ** rng.normal(0, 0.3, size=syllable[-1] + 1)[syllable]
    loudness = np.sin(np.pi * within) ** 0.7 * stress
    phrase = (time / phrase_seconds) % 1 - 0.5

    octaves = manner.contour * phrase + manner.melody * np.sin(2 * np.pi * within)
    pitch_hz = voice.pitch_hz * manner.pitch * 2**octaves
    vowels = rng.integers(len(_VOWELS_HZ), size=syllable[-1] + 2)
    # Glide from one vowel to the next over the second half of a syllable.
    glide = np.clip(2 * within - 1, 0, 1)[:, None]
    formants_hz = (1 - glide) * _VOWELS_HZ[vowels[syllable]]
    formants_hz += glide * _VOWELS_HZ[vowels[syllable + 1]]
    formants_hz *= voice.formant_scale * np.broadcast_to(manner.smile, steps)[:, None]

    source = _source(rng, pitch_hz, consonant=within < 0.15)
    shaped = _shape(source, _spectra(formants_hz, manner.tilt_db))
    # The spectrum sets colour only; the manner sets the level.
    shaped /= np.sqrt(np.mean(shaped**2))
    gain = loudness * 10 ** (np.asarray(manner.gain_db) / 20)
    shaped *= 0.05 * _per_sample(gain)
    shaped += 10 ** (-60 / 20) * rng.normal(size=len(shaped))  # The room.
    return np.clip(shaped, -1, 1).astype(np.float32)


def _source(
    rng: np.random.Generator, pitch_hz: np.ndarray, consonant: np.ndarray
) -> np.ndarray:
    """Pulses at the pitch and a little breath; noise alone where ``consonant``."""
    turns = np.cumsum(_per_sample(pitch_hz)) / SAMPLE_RATE_HZ
    pulses = np.diff(np.floor(turns), prepend=0) * np.sqrt(
        SAMPLE_RATE_HZ / _per_sample(pitch_hz)
    )
    noise = rng.normal(size=len(turns))
    return np.where(_per_sample(consonant) > 0.5, 0.3 * noise, pulses + 0.05 * noise)


def _spectra(formants_hz: np.ndarray, tilt_db: float | np.ndarray) -> np.ndarray:
    """Returns magnitudes ``[steps, bins]`` of resonances on a tilted spectrum."""
    frequency = np.fft.rfftfreq(_BLOCK_SAMPLES, 1 / SAMPLE_RATE_HZ)
    magnitude = np.full((len(formants_hz), len(frequency)), 0.02)
    for centre, width, gain in zip(formants_hz.T, _BANDWIDTHS_HZ, _FORMANT_GAINS):
        offset = (frequency - centre[:, None]) / width
        magnitude += gain / np.sqrt(1 + offset**2)
    octaves = np.log2(np.maximum(frequency, 250) / 250)
    tilt = np.broadcast_to(tilt_db, len(formants_hz))[:, None]
    return magnitude * 10 ** (tilt * octaves / 20)


def _shape(source: np.ndarray, spectra: np.ndarray) -> np.ndarray:
    """Filters block by block (overlap and add), block k centred on step k."""
    margin = _BLOCK_SAMPLES // 2
    padded = np.pad(source, margin)
    starts = np.arange(len(spectra)) * CONTROL_SAMPLES + CONTROL_SAMPLES // 2
    blocks = np.lib.stride_tricks.sliding_window_view(padded, _BLOCK_SAMPLES)[starts]
    window = np.hanning(_BLOCK_SAMPLES + 1)[:-1]
    blocks = np.fft.irfft(np.fft.rfft(blocks * window) * spectra)
    output = np.zeros(len(padded))
    quarters = blocks.reshape(len(blocks), 4, CONTROL_SAMPLES)
    for i in range(4):
        start = starts[0] + i * CONTROL_SAMPLES
        stop = start + len(blocks) * CONTROL_SAMPLES
        output[start:stop] += quarters[:, i].ravel()
    return output[margin:-margin]


def _per_sample(control: np.ndarray) -> np.ndarray:
    """Interpolates control steps, each at the middle of its samples."""
    steps = np.arange(len(control)) + 0.5
    samples = (np.arange(len(control) * CONTROL_SAMPLES) + 0.5) / CONTROL_SAMPLES
    return np.interp(samples, steps, control)
