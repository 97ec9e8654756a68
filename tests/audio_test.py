"""Tests for `../diccoser_jax/audio.py`."""

import pathlib
import signal
import struct

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from diccoser_jax import audio


def burst(rate_hz: int, tones_hz=(97.0, 440.0, 1234.5, 3100.0)) -> np.ndarray:
    """The same second of sound at any rate: tones under a smooth bell."""
    time = np.arange(rate_hz) / rate_hz
    bell = np.exp(-0.5 * ((time - 0.5) / 0.1) ** 2)
    return 0.2 * bell * sum(np.sin(2 * np.pi * f * time + f) for f in tones_hz)


def decibels(error: np.ndarray, reference: np.ndarray) -> float:
    return 20 * np.log10(np.linalg.norm(error) / np.linalg.norm(reference))


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "speech.wav"
    soundfile.write(path, burst(16_000), 16_000, subtype="PCM_16")
    return path


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_414, 44_100, 48_000, 96_000])
def test_resampling_agrees_with_sampling_at_16_khz(tmp_path, rate_hz):
    path = tmp_path / "x.wav"
    soundfile.write(path, burst(rate_hz), rate_hz, subtype="FLOAT")
    waveform = audio.read(path)
    assert waveform.dtype == np.float32
    assert waveform.shape == (16_000,)
    expected = burst(16_000)
    assert decibels(waveform - expected, expected) < -60


def test_resampling_removes_what_16_khz_cannot_hold(tmp_path):
    path = tmp_path / "x.wav"
    low, high = burst(48_000), burst(48_000, (9_000.0, 15_000.0, 20_000.0))
    soundfile.write(path, low + high, 48_000, subtype="FLOAT")
    expected = burst(16_000)
    assert decibels(audio.read(path) - expected, expected) < -60


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "DOUBLE"])
def test_16_bit_audio_is_read_exactly(tmp_path, subtype):
    path = tmp_path / "x.wav"
    expected = np.rint(burst(16_000) * 32768).astype(np.int16)
    soundfile.write(path, expected / 32768, 16_000, subtype=subtype)
    np.testing.assert_array_equal(audio.to_int16(audio.read(path)), expected)


@pytest.mark.parametrize("suffix", ["WAV", "flac", "aiff", "ogg", "mp3"])
def test_formats(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, burst(16_000), 16_000)
    expected = burst(16_000)
    lossy = suffix in ("ogg", "mp3")
    assert decibels(audio.read(path) - expected, expected) < (-20 if lossy else -60)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "x.wav"
    left, right = burst(16_000, (300.0,)), burst(16_000, (700.0,))
    soundfile.write(path, np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(path), (left + right) / 2, atol=1e-7)


def test_overshoot_is_clipped(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, 3 * burst(16_000), 16_000, subtype="FLOAT")
    waveform = audio.read(path)
    assert waveform.max() == 1
    assert waveform.min() == -1


def test_a_header_written_to_a_pipe_announces_no_size(wav):
    content = bytearray(wav.read_bytes())
    expected = audio.read(wav)
    content[4:8] = content[40:44] = struct.pack("<I", 0xFFFFFFFF)
    wav.write_bytes(content)
    np.testing.assert_array_equal(audio.read(wav), expected)


def missing(path):
    path.unlink()


def folder(path):
    path.unlink()
    path.mkdir()


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("speaker;emotion\n03;anger\n")


def lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1234\n")


def half_a_file(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def opposite_rates(path):
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 8_000)
    path.write_bytes(content)


def twice_the_channels(path):
    content = bytearray(path.read_bytes())
    content[22] = 2
    path.write_bytes(content)


def a_law_of_16_bits(path):
    content = bytearray(path.read_bytes())
    content[20] = 6
    path.write_bytes(content)


def less_data_than_there_is(path):
    content = bytearray(path.read_bytes())
    content[40:44] = struct.pack("<I", 31_800)
    path.write_bytes(content)


def text_mode_transfer(path):
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def header_only(path):
    soundfile.write(path, np.zeros(0), 16_000)


def silent(path):
    soundfile.write(path, np.zeros(16_000), 16_000)


def one_step_of_dither(path):
    soundfile.write(path, np.tile(np.int16([0, 1, -1]), 4_000), 16_000)


def constant(path):
    soundfile.write(path, np.full(16_000, 0.25), 16_000)


def opposite_channels(path):
    soundfile.write(path, np.outer(burst(16_000), [1, -1]), 16_000)


def not_a_number(path):
    samples = burst(16_000)
    samples[4_000] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def infinite(path):
    samples = np.stack([burst(16_000), burst(16_000)], axis=1)
    samples[800, 1] = -np.inf
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def integers_as_floats(path):
    soundfile.write(path, 32768 * burst(16_000), 16_000, subtype="FLOAT")


def rate_of_a_damaged_header(path):
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", 2_000_000_000)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (missing, "no such file"),
        (folder, "is a folder"),
        (empty, "empty \\(0 bytes\\)"),
        (text, "cannot be decoded as audio .* begins with b'speaker;emotion"),
        (lfs_pointer, "a Git LFS pointer.*git lfs pull"),
        (opposite_rates, "its header contradicts itself: format 0x1, 1 channels of 16"),
        (twice_the_channels, "its header contradicts itself"),
        (a_law_of_16_bits, "its header contradicts itself: format 0x6"),
        (less_data_than_there_is, "its header accounts for 31844 of its 32044 bytes"),
        (text_mode_transfer, "its header accounts for .* of its"),
        (half_a_file, "truncated; its header announces 32000 bytes.* holds 15978"),
        (header_only, "holds a header and no samples"),
        (silent, "silent; its 1.00 s"),
        (one_step_of_dither, "silent"),
        (constant, "silent"),
        (opposite_channels, "silent"),
        (not_a_number, "sample 4000 \\(0.250 s\\) is NaN or infinite"),
        (infinite, "sample 800 \\(0.050 s\\) is NaN or infinite"),
        (integers_as_floats, "its peak is .*expected samples in \\[-1, 1\\]"),
        (rate_of_a_damaged_header, "announces 2000000000 Hz"),
    ],
)
def test_errors_name_the_file_and_the_cause(wav, damage, cause):
    damage(wav)
    with pytest.raises(audio.AudioError, match=f"speech.wav: .*{cause}"):
        audio.read(wav)


@pytest.mark.parametrize("suffix", ["wav", "aiff", "au", "flac", "mp3"])
def test_truncated_files_are_found_in_every_format(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, burst(16_000), 16_000)
    half_a_file(path)
    with pytest.raises(audio.AudioError, match=r"truncated|cannot be decoded"):
        audio.read(path)


def test_padding_and_chunks_after_the_audio_are_not_damage(wav):
    expected = audio.read(wav)
    content = bytearray(wav.read_bytes())
    content += b"LIST" + struct.pack("<I", 4) + b"INFO" + bytes(100)
    content[4:8] = struct.pack("<I", len(content) - 8)
    wav.write_bytes(content)
    np.testing.assert_array_equal(audio.read(wav), expected)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("channels", [1, 2])
def test_flac_is_held_against_its_checksum_and_its_frames(tmp_path, subtype, channels):
    path = tmp_path / "x.flac"
    samples = np.outer(burst(44_100), np.arange(1, channels + 1) / 3)
    soundfile.write(path, samples, 44_100, subtype=subtype)
    content = path.read_bytes()
    assert len(audio.read(path)) == 16_000
    for place, message in (
        (30, "checksum"),
        (18, "header announces .* frame 44100 Hz"),
    ):
        damaged = bytearray(content)
        damaged[place] ^= 1  # The checksum, and the rate, of the stream's header.
        path.write_bytes(damaged)
        with pytest.raises(audio.AudioError, match=f"x.flac: damaged; .*{message}"):
            audio.read(path)
    path.write_bytes(content[:26] + bytes(16) + content[42:])  # Without checksum.
    assert len(audio.read(path)) == 16_000


@pytest.mark.parametrize("rate_hz", [16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_long_files_are_read_as_short_ones(tmp_path, monkeypatch, rate_hz, channels):
    path = tmp_path / "x.wav"
    samples = np.outer(burst(rate_hz), np.arange(1, channels + 1) / 2)
    soundfile.write(path, samples, rate_hz, subtype="FLOAT")
    whole = audio.read(path)
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 1_000)
    np.testing.assert_array_equal(audio.read(path), whole)
    blocks = list(audio.blocks(path))
    assert len(blocks) > 15
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(
        audio.to_int16(whole),
        np.clip(np.rint(whole * 32768), -32768, 32767).astype(np.int16),
    )


def test_silence_is_an_error_of_its_own(wav):
    silent(wav)
    with pytest.raises(audio.SilentError):
        audio.read(wav)
    empty(wav)
    with pytest.raises(audio.AudioError) as raised:
        audio.read(wav)
    assert not isinstance(raised.value, audio.SilentError)


def test_quiet_speech_is_not_silence(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, 2e-4 * burst(16_000), 16_000, subtype="FLOAT")
    assert audio.read(path).any()


@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 60), value=st.integers(0, 255), cut=st.integers(44, 400))
def test_a_mutated_header_gives_sound_or_an_audio_error(
    tmp_path_factory, position, value, cut
):
    path = tmp_path_factory.getbasetemp() / "mutated.wav"
    soundfile.write(path, burst(16_000)[7_800:8_200], 16_000)
    content = bytearray(path.read_bytes()[: 2 * cut])
    content[position] = value
    path.write_bytes(content)
    try:
        waveform = audio.read(path)
    except audio.AudioError:
        return  # Any other exception, or a crash, is what this test is for.
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert np.abs(waveform).max() <= 1


MP4 = b"\0\0\0\x20ftypM4A " + bytes(100)


@pytest.fixture
def ffmpeg(tmp_path, monkeypatch):
    """A program of that name, which says and does what it is told."""

    def pretend(samples, complaint="", code=0, afterwards=""):
        np.asarray(samples, "<f4").tofile(tmp_path / "samples")
        program = tmp_path / "ffmpeg"
        program.write_text(
            f"#!/bin/sh\necho \"$@\" > '{tmp_path}/arguments'\n"
            f"cat '{tmp_path}/samples'\nprintf '{complaint}' >&2\n"
            f"{afterwards}\nexit {code}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return pretend


def test_ffmpeg_reads_what_libsndfile_does_not(tmp_path, ffmpeg, monkeypatch):
    path = tmp_path / "-x.m4a"
    path.write_bytes(MP4)
    ffmpeg(burst(16_000))
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 3_000)
    waveform = audio.read(path)
    np.testing.assert_array_equal(waveform, burst(16_000).astype(np.float32))
    arguments = (tmp_path / "arguments").read_text()
    assert f"-i file:{path} -map 0:a:0 -ac 1 -ar 16000 -f f32le -" in arguments


@pytest.mark.parametrize(
    ("samples", "complaint", "code", "message"),
    [
        ([], "Stream map 0:a:0 matches no streams.", 1, "no audio track, only video"),
        ([0.1, 0.2], "moov atom not found", 1, "cannot decode it .moov atom not found"),
        ([0.1, 0.2], "Invalid data", 0, "cannot decode it .Invalid data"),
        ([], "", 0, "holds no samples"),
        (np.zeros(9_000), "", 0, "silent"),
        ([0.1, np.nan], "", 0, "sample 1 .* is NaN"),
    ],
)
def test_what_ffmpeg_cannot_read(tmp_path, ffmpeg, samples, complaint, code, message):
    path = tmp_path / "x.m4a"
    path.write_bytes(MP4)
    ffmpeg(samples, complaint, code)
    with pytest.raises(audio.AudioError, match=f"x.m4a: .*{message}"):
        audio.read(path)


def test_without_ffmpeg_the_error_says_what_would_help(tmp_path, monkeypatch):
    path = tmp_path / "x.webm"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes(100))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(audio.AudioError, match=r"x.webm: .*install ffmpeg .*FLAC"):
        audio.read(path)


def test_ffmpeg_ends_with_a_reader_who_wants_no_more(tmp_path, ffmpeg, monkeypatch):
    path = tmp_path / "x.m4a"
    path.write_bytes(MP4)
    ffmpeg(burst(16_000), afterwards="exec sleep 20")
    monkeypatch.setattr(audio, "_BLOCK_SAMPLES", 3_000)
    processes = []
    popen = audio.subprocess.Popen
    monkeypatch.setattr(
        audio.subprocess,
        "Popen",
        lambda *a, **k: processes.append(popen(*a, **k)) or processes[-1],
    )
    blocks = audio.blocks(path)
    assert len(next(blocks)) == 3_000
    blocks.close()
    assert processes[0].poll() == -signal.SIGKILL


def test_to_int16_inverts_the_scaling_and_clips():
    every = np.arange(-32768, 32768).astype(np.int16)
    np.testing.assert_array_equal(audio.to_int16(every / np.float32(32768)), every)
    np.testing.assert_array_equal(
        audio.to_int16(np.float32([-1, 1, 0.49 / 32768, 0.51 / 32768])),
        np.int16([-32768, 32767, 0, 1]),
    )


def test_paths_may_be_strings_with_odd_characters(tmp_path):
    path = tmp_path / "été 100% [1] #ä.wav"
    soundfile.write(path, burst(16_000), 16_000)
    assert len(audio.read(str(path))) == 16_000
    assert len(audio.read(pathlib.Path(path))) == 16_000
