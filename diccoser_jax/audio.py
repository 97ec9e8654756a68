"""Audio files as every model wants them: float32, mono, 16 kHz, in [-1, 1]."""

import hashlib
import os
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator

import numpy as np
import soundfile
import soxr

SAMPLE_RATE_HZ = 16_000
FRAME_RATE_HZ = 25  # of every network's outputs, and of labels over time
FRAME_SAMPLES = SAMPLE_RATE_HZ // FRAME_RATE_HZ  # 640
LFS_POINTER = (
    b"version https://git-lfs"  # What a file begins with whose content is not there.
)

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
# Memory that decoding needs besides the result, in samples of all channels.
_BLOCK_SAMPLES = 1 << 20
# Programs that write to a pipe cannot know the size and announce about 2 or 4 GiB.
_UNKNOWN_SIZE_BYTES = 0x7FFF_0000

# Formats of WAV that hold one number for each sample: integers, floats, A-law, mu-law,
# and the extensible form of these. Bits of the others, such as ADPCM, are fewer than 8.
_WAV_PLAIN, _WAV_LAW = (1, 3, 0xFFFE), (6, 7)
# Rates of which a FLAC frame holds the code: RFC 9639, section 9.1.2.
_FLAC_RATES_HZ = dict(
    enumerate(
        (88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000),
        start=1,
    )
)


# What libsndfile does not read and ffmpeg does, by its first bytes: MP4 (.m4a, .mp4,
# .mov) and Matroska (.webm, .mkv).
_MP4, _MATROSKA = b"ftyp", b"\x1a\x45\xdf\xa3"


class AudioError(ValueError):
    """An audio file that cannot be used; the message names the file and the cause."""


class SilentError(AudioError):
    """An audio file that can be decoded, and holds nothing."""


def read(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an audio file of any rate, channel count and format of libsndfile.

    Channels are averaged, the rate is changed by soxr's high-quality resampler, and
    what overshoots full scale is clipped. MP4 and Matroska are read where the program
    ``ffmpeg`` is installed.

    Args:
      path: the file.

    Returns:
      float32 ``[samples]`` at ``SAMPLE_RATE_HZ``, in [-1, 1].

    Raises:
      AudioError: the file is missing, a folder, empty, not audio, truncated or
        damaged; or it holds no samples, NaN or infinite samples, or samples far beyond
        full scale.
      SilentError: its peak, once the mean is removed, is at most -90 dBFS.
    """
    waveform = bytearray()  # Grows in place, where a list would be copied at the end.
    for block in blocks(path):
        waveform += block.data
    return np.frombuffer(waveform, np.float32)


def blocks(path: str | os.PathLike[str]) -> Iterator[np.ndarray]:
    """Reads an audio file as `read` does, in little memory.

    Yields:
      float32 ``[samples]`` of any length, which together are what `read` returns.

    Raises:
      AudioError: as `read`; some errors show only after the last block.
    """
    path = pathlib.Path(path)
    head = _first_bytes(path)
    if head[4:8] == _MP4 or head.startswith(_MATROSKA):
        yield from _decode_with_ffmpeg(path)
        return
    try:
        with soundfile.SoundFile(path) as file:
            _check_header(file, path)
            checksum = b""
            if head.startswith(b"RIFF"):
                _check_wav(path)
            elif head.startswith(b"fLaC"):
                checksum = _check_flac(path, file.samplerate)
            yield from _decode(file, path, checksum)
    except (soundfile.SoundFileError, TypeError) as error:
        # TypeError is soundfile's answer to names such as x.raw, without a header.
        raise AudioError(
            f"{path}: cannot be decoded as audio ({error}); it begins with {head!r}. "
            "Expected a whole WAV, FLAC, OGG, MP3 or other file that libsndfile reads"
        ) from error


class Resampler:
    """Turns one signal, chunk after chunk, into float32 at 16 kHz in [-1, 1].

    Attributes:
      sample_rate_hz: of what comes in.
      name: of the signal, with which errors begin.
    """

    def __init__(self, sample_rate_hz: float, name: str):
        lowest_hz, highest_hz = _SAMPLE_RATES_HZ
        if not lowest_hz <= sample_rate_hz <= highest_hz:
            raise AudioError(
                f"{name}: its rate is {sample_rate_hz} Hz; expected {lowest_hz} to "
                f"{highest_hz} Hz"
            )
        self.sample_rate_hz = sample_rate_hz
        self.name = name
        self._resample = None
        if sample_rate_hz != SAMPLE_RATE_HZ:
            self._resample = soxr.ResampleStream(
                sample_rate_hz, SAMPLE_RATE_HZ, 1, quality="HQ"
            )
        self._samples_in = self._samples_out = 0
        self._sum, self._lowest, self._highest = 0.0, np.inf, -np.inf

    @property
    def seconds(self) -> float:
        """Heard so far."""
        return self._samples_in / self.sample_rate_hz

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Converts the next float32 ``[time, channels]`` to ``[samples]``.

        Raises:
          AudioError: on NaN or infinite samples, and far beyond full scale.
        """
        if not len(samples):
            return np.zeros(0, np.float32)
        peak = float(np.max(np.abs(samples)))
        if not np.isfinite(peak):
            bad = self._samples_in + int(np.argmin(np.isfinite(samples).all(axis=1)))
            raise AudioError(
                f"{self.name}: sample {bad} ({bad / self.sample_rate_hz:.3f} s) is NaN "
                "or infinite; expected finite samples in [-1, 1]"
            )
        if peak > _LARGEST_PEAK:
            raise AudioError(
                f"{self.name}: its peak is {peak:.4g}; expected samples in [-1, 1]. "
                "Divide them by their full scale"
            )
        mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
        self._samples_in += len(mono)
        self._sum += float(mono.sum(dtype=np.float64))
        self._lowest = min(self._lowest, mono.min())
        self._highest = max(self._highest, mono.max())
        return self._emit(mono)

    def finish(self) -> np.ndarray:
        """Returns the ``[samples]`` that the resampler held back.

        Raises:
          AudioError: if there was not enough for one sample.
        """
        if not self._samples_in:
            raise AudioError(f"{self.name}: holds no samples")
        rest = self._emit(np.zeros(0, np.float32), last=True)
        if not self._samples_out:
            raise AudioError(
                f"{self.name}: {self._samples_in} samples at {self.sample_rate_hz} Hz "
                f"are less than one sample at {SAMPLE_RATE_HZ} Hz"
            )
        return rest

    def check_not_silent(self) -> None:
        """Raises `SilentError` if what was heard never left -90 dBFS."""
        mean = self._sum / self._samples_in
        if max(self._highest - mean, mean - self._lowest) <= _SILENCE_PEAK:
            raise SilentError(
                f"{self.name}: silent; its {self.seconds:.2f} s never rise above "
                "-90 dBFS"
            )

    def _emit(self, mono: np.ndarray, last: bool = False) -> np.ndarray:
        if self._resample:
            mono = self._resample.resample_chunk(np.ascontiguousarray(mono), last=last)
        self._samples_out += len(mono)
        return np.clip(mono, -1.0, 1.0)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Rounds float samples in [-1, 1] to int16; 1.0, which int16 lacks, is clipped.

    ``to_int16(x) / 32768`` gives ``x`` back, exactly if it came from 16-bit audio.

    Examples:
      >>> to_int16(np.array([-1.0, 0.5, 1.0]))
      array([-32768,  16384,  32767], dtype=int16)
    """
    result = np.empty(waveform.shape, np.int16)
    for start in range(0, len(waveform), _BLOCK_SAMPLES):  # Two hours fit in memory.
        block = waveform[start : start + _BLOCK_SAMPLES]
        result[start : start + len(block)] = np.clip(
            np.rint(block * 32768), -32768, 32767
        )
    return result


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
    if head.startswith(LFS_POINTER):
        raise AudioError(
            f"{path}: a Git LFS pointer, not audio; run `git lfs pull` in its "
            "repository, or download the file itself"
        )
    return head[:16]


def _check_header(file: soundfile.SoundFile, path: pathlib.Path) -> None:
    """Holds what the header says against itself and against the file's size."""
    for announced, present in _TRUNCATED.findall(file.extra_info):
        if int(present) < int(announced) < _UNKNOWN_SIZE_BYTES:
            raise AudioError(
                f"{path}: truncated; its header announces {announced} bytes of audio, "
                f"the file holds {present}. Copy it again from its source"
            )
    lowest_hz, highest_hz = _SAMPLE_RATES_HZ
    if not lowest_hz <= file.samplerate <= highest_hz:
        raise AudioError(
            f"{path}: its header announces {file.samplerate} Hz; expected "
            f"{lowest_hz} to {highest_hz} Hz"
        )


def _check_wav(path: pathlib.Path) -> None:
    """Finds the contradictions that libsndfile plays as noise, or cuts short.

    Source: Multimedia Programming Interface and Data Specifications 1.0, 1991, "RIFF".
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        (riff_length,) = struct.unpack("<4xI", file.read(8))
        position = 12
        while file.seek(position) < size:
            name, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
            if not (name.isascii() and name.decode().isprintable()):
                break
            if name == b"fmt ":
                tag, channels, rate, bytes_per_second, block, bits = struct.unpack(
                    "<HHIIHH", file.read(16).ljust(16, b"\0")
                )
                plain = tag in _WAV_PLAIN or (tag in _WAV_LAW and bits == 8)
                if plain and block == channels * -(-bits // 8):
                    consistent = bytes_per_second == rate * block
                else:
                    consistent = not plain and bits < 8
                if not consistent:
                    raise AudioError(
                        f"{path}: its header contradicts itself: format {tag:#x}, "
                        f"{channels} channels of {bits} bits at {rate} Hz in blocks "
                        f"of {block} bytes, {bytes_per_second} bytes a second. Copy "
                        "it again from its source, or rewrite its header"
                    )
            if name == b"data" and _is_unknown(length) and _is_unknown(riff_length):
                return
            position += 8 + length + length % 2
        # Zeros are padding. Sound is what a wrong length, or bytes that a transfer
        # inserted, push out of its chunk; what is left inside may be noise by then.
        file.seek(position)
        surplus = file.read().strip(b"\0")
    # A last chunk of odd length may lack its byte of padding.
    if surplus or position > size + 1:
        raise AudioError(
            f"{path}: damaged; its header accounts for {position} of its {size} bytes. "
            "Copy it again from its source"
        )


def _is_unknown(length: int) -> bool:
    return not 0 < length < _UNKNOWN_SIZE_BYTES


def _check_flac(path: pathlib.Path, sample_rate_hz: int) -> bytes:
    """Holds the header against the first frame; returns the checksum of the samples.

    Source: RFC 9639, sections 8 and 9.
    """
    with path.open("rb") as file:
        position, last = 4, False
        while not last:
            file.seek(position)
            block = file.read(4).ljust(4, b"\x80")
            last = block[0] >= 0x80
            if block[0] & 0x7F == 0:
                checksum = file.read(34)[18:]
            position += 4 + int.from_bytes(block[1:])
        file.seek(position)
        code = file.read(3).ljust(3, b"\0")[2] & 0x0F
    if _FLAC_RATES_HZ.get(code, sample_rate_hz) != sample_rate_hz:
        raise AudioError(
            f"{path}: damaged; its header announces {sample_rate_hz} Hz, its first "
            f"frame {_FLAC_RATES_HZ[code]} Hz. Copy it again from its source"
        )
    return checksum


def _decode(
    file: soundfile.SoundFile, path: pathlib.Path, checksum: bytes
) -> Iterator[np.ndarray]:
    """Decodes block by block, in little memory."""
    # libsndfile leaves the checksum of FLAC alone; zeros stand for none.
    digest = hashlib.md5() if any(checksum) else None
    sample_bytes = {"PCM_S8": 1, "PCM_16": 2, "PCM_24": 3}.get(file.subtype, 0)
    resampler = Resampler(file.samplerate, str(path))
    frames = 0
    while len(samples := _next_block(file)):
        frames += len(samples)
        block = resampler(samples)
        if digest:
            whole = (samples * 2 ** (8 * sample_bytes - 1)).astype("<i4")
            octets = whole.view(np.uint8).reshape(-1, 4)[:, :sample_bytes]
            digest.update(octets.tobytes())
        yield block
    if frames < file.frames:
        raise AudioError(
            f"{path}: truncated; its header announces {file.frames} samples, {frames} "
            "could be decoded. Copy it again from its source"
        )
    if digest and digest.digest() != checksum:
        raise AudioError(
            f"{path}: damaged; its samples do not have the checksum of its header. "
            "Copy it again from its source"
        )
    if not frames:
        raise AudioError(f"{path}: holds a header and no samples")
    resampler.check_not_silent()
    yield resampler.finish()


def _next_block(file: soundfile.SoundFile) -> np.ndarray:
    """Returns the next float32 ``[samples, channels]``, none at the end."""
    return file.read(
        max(_BLOCK_SAMPLES // file.channels, 1), dtype="float32", always_2d=True
    )


def _decode_with_ffmpeg(path: pathlib.Path) -> Iterator[np.ndarray]:
    """Decodes the first audio track block by block; ffmpeg mixes and resamples."""
    program = shutil.which("ffmpeg")
    if not program:
        raise AudioError(
            f"{path}: an MP4 or Matroska file, which libsndfile does not read; install "
            "ffmpeg (it was not found on the PATH), or convert the file to FLAC"
        )
    command = [program, "-nostdin", "-v", "error", "-xerror", "-i", f"file:{path}"]
    command += ["-map", "0:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE_HZ)]
    command += ["-f", "f32le", "-"]
    resampler = Resampler(SAMPLE_RATE_HZ, str(path))
    with tempfile.TemporaryFile() as log:  # A pipe that nobody reads would fill up.
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
        try:
            while octets := process.stdout.read(4 * _BLOCK_SAMPLES):
                samples = np.frombuffer(octets[: len(octets) // 4 * 4], "<f4")
                yield resampler(samples[:, None])
            process.wait()
        finally:
            process.kill()  # Where nobody wants the rest.
            process.stdout.close()
            process.wait()
        log.seek(0)
        complaint = log.read().decode(errors="replace").strip()
    if "matches no streams" in complaint:
        raise AudioError(f"{path}: holds no audio track, only video or other data")
    if process.returncode or complaint:
        raise AudioError(f"{path}: ffmpeg cannot decode it ({complaint})")
    yield resampler.finish()
    resampler.check_not_silent()
