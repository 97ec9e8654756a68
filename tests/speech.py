"""Short real utterances for imitations of corpora; synthetic ones where none are."""

import functools
import pathlib

import numpy as np
import soundfile

from data_prep.synthetic import synthesis

DATA = pathlib.Path(__file__).parents[2] / "shared/data/emodb"
SAMPLE_RATE_HZ = 16_000


@functools.cache
def _sources() -> list[np.ndarray]:
    """Some 30 s of speech, int16."""
    paths = sorted(DATA.rglob("*.wav"))[::40]
    if paths:
        return [soundfile.read(path, dtype="int16")[0] for path in paths]
    made = []
    for i, emotion in enumerate(synthesis.EMOTIONS):
        rng = np.random.default_rng(i)
        voice = synthesis.speaker(rng, "female" if i % 2 else "male")
        made.append((32767 * synthesis.utterance(rng, voice, emotion)).astype(np.int16))
    return made


def cut(number: int, seconds: float = 0.2) -> np.ndarray:
    """Returns int16 ``[samples]``; another number is another piece of speech."""
    sources = _sources()
    source = sources[number % len(sources)]
    size = round(seconds * SAMPLE_RATE_HZ)
    start = (number // len(sources) * 50) % (len(source) - size)
    return source[start : start + size]


def write(path: pathlib.Path, number: int, seconds: float = 0.2) -> None:
    """Writes a piece of speech, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, cut(number, seconds), SAMPLE_RATE_HZ)
