"""Audio files as every model wants them: float32, mono, 16 kHz, in [-1, 1]."""

import os
import pathlib
import re

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16_000

# One step of 16 bits. A file that never leaves it holds no speech at any gain.
_SILENCE_PEAK = 1 / 32768  # -90.3 dBFS
# Hot recordings and lossy codecs overshoot full scale a little; a float file beyond
# 12 dB over it was never normalised, and clipping would turn it into noise.
_LARGEST_PEAK = 4.0
# Outside these a header is damaged, and resampling could ask for any memory.
_SAMPLE_RATES_HZ = (1_000, 768_000)

# libsndfile accepts a file whose header announces more data than there is, and only
# its log tells: "data : 64000 (should be 31956)" for WAV, SSND for AIFF, and
# "Data Size" for AU.
_TRUNCATED = re.compile(
    r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)", re.M
)
# Programs that write to a pipe cannot know the size and announce about 2 or 4 GiB.
_UNKNOWN_SIZE_BYTES = 0x7FFF_0000


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and the cause."""


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an audio file of any rate, channel count and format of libsndfile.

    Channels are averaged, the rate is changed by soxr's high-quality resampler, and
    what overshoots full scale is clipped.

    Args:
      path: the file.

    Returns:
      float32 ``[samples]`` at ``SAMPLE_RATE_HZ``, in [-1, 1].

    Raises:
      AudioError: the file is missing, a folder, empty, not audio, truncated or
        damaged; or it holds no samples, NaN or infinite samples, samples far beyond
        full scale, or silence: a peak, once the mean is removed, of at most -90 dBFS.
    """
    path = pathlib.Path(path)
    head = _first_bytes(path)
    try:
        with soundfile.SoundFile(path) as file:
            samples = file.read(dtype="float32", always_2d=True)
            sample_rate_hz, frames, log = file.samplerate, file.frames, file.extra_info
    except (soundfile.SoundFileError, TypeError) as error:
        # TypeError is soundfile's answer to names such as x.raw, without a header.
        raise AudioError(
            f"{path}: cannot be decoded as audio ({error}); it begins with {head!r}. "
            "Expected a whole WAV, FLAC, OGG, MP3 or other file that libsndfile reads"
        ) from error
    for announced, present in _TRUNCATED.findall(log):
        if int(present) < int(announced) < _UNKNOWN_SIZE_BYTES:
            raise AudioError(
                f"{path}: truncated; its header announces {announced} bytes of audio, "
                f"the file holds {present}. Copy it again from its source"
            )
    if len(samples) < frames:
        raise AudioError(
            f"{path}: truncated; its header announces {frames} samples, {len(samples)} "
            "could be decoded. Copy it again from its source"
        )
    if not len(samples):
        raise AudioError(f"{path}: holds a header and no samples")
    lowest_hz, highest_hz = _SAMPLE_RATES_HZ
    if not lowest_hz <= sample_rate_hz <= highest_hz:
        raise AudioError(
            f"{path}: its header announces {sample_rate_hz} Hz; expected "
            f"{lowest_hz} to {highest_hz} Hz"
        )
    waveform = samples.mean(axis=1)
    peak = float(np.max(np.abs(samples)))
    if not np.isfinite(peak):
        first = int(np.argmin(np.isfinite(samples).all(axis=1)))
        raise AudioError(
            f"{path}: sample {first} ({first / sample_rate_hz:.3f} s) is NaN or "
            "infinite; expected finite samples in [-1, 1]"
        )
    if peak > _LARGEST_PEAK:
        raise AudioError(
            f"{path}: its peak is {peak:.4g}; expected samples in [-1, 1]. Divide them "
            "by their full scale"
        )
    if np.max(np.abs(waveform - waveform.mean())) <= _SILENCE_PEAK:
        raise AudioError(
            f"{path}: silent; its {len(waveform) / sample_rate_hz:.2f} s never rise "
            "above -90 dBFS"
        )
    if sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = soxr.resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ, "HQ")
    if not len(waveform):
        raise AudioError(
            f"{path}: {len(samples)} samples at {sample_rate_hz} Hz are less than one "
            f"sample at {SAMPLE_RATE_HZ} Hz"
        )
    return np.clip(waveform, -1.0, 1.0)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Rounds float samples in [-1, 1] to int16; 1.0, which int16 lacks, is clipped.

    ``to_int16(x) / 32768`` gives ``x`` back, exactly if it came from 16-bit audio.
    """
    return np.clip(np.rint(waveform * 32768), -32768, 32767).astype(np.int16)


def _first_bytes(path: pathlib.Path) -> bytes:
    """Returns the first 16 bytes, or says why ``path`` is no file with audio."""
    if path.is_dir():
        raise AudioError(f"{path}: is a folder; expected an audio file")
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise AudioError(f"{path}: no such file") from error
    except OSError as error:
        raise AudioError(f"{path}: cannot be opened ({error.strerror})") from error
    if not head:
        raise AudioError(f"{path}: empty (0 bytes); expected an audio file")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(
            f"{path}: a Git LFS pointer, not audio; run `git lfs pull` in its "
            "repository, or download the file itself"
        )
    return head[:16]
