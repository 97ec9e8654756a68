"""Tests for `../diccoser_jax/features.py`."""

import jax
import jax.numpy as jnp
import librosa
import numpy as np
import pytest

from diccoser_jax import audio, features


@pytest.fixture
def waveform() -> np.ndarray:
    """Float32 ``[2, 12800]``: coloured noise and a chirp, 0.8 s."""
    rng = np.random.default_rng(0)
    seconds = np.arange(12_800) / 16_000
    chirp = 0.3 * np.sin(2 * np.pi * (100 * seconds + 2000 * seconds**2))
    noise = np.cumsum(rng.normal(size=12_800)) * 1e-3
    return np.stack([chirp, noise - noise.mean()]).astype(np.float32)


def test_time_grid_is_25_hz():
    assert audio.FRAME_SAMPLES == 640
    assert audio.FRAME_RATE_HZ * audio.FRAME_SAMPLES == 16_000


@pytest.mark.parametrize("hop", [160, 320, 640])
def test_log_mel_equals_librosa(waveform, hop):
    padded = np.pad(waveform, ((0, 0), (hop, 0)))
    power = librosa.feature.melspectrogram(
        y=padded.astype(np.float64),
        sr=16_000,
        n_fft=2 * hop,
        hop_length=hop,
        window="hann",
        center=False,
        n_mels=40,
        fmin=0,
        fmax=7600,
    )
    floor = features.MEL_FLOOR * hop / 320
    expected = np.log10(power / floor + 1).transpose(0, 2, 1)
    actual = features.log_mel(jnp.asarray(padded), hop)
    assert actual.shape == (2, 12_800 // hop, 40)
    chirp, noise = np.abs(actual - expected).max(axis=(1, 2))
    assert noise < 1e-5
    # In the bands that a chirp leaves empty, float32 sees its own rounding.
    assert chirp < 3e-5


def test_log_mel_frame_spans_the_640_samples_from_320_j(waveform):
    padded = jnp.pad(jnp.asarray(waveform), ((0, 0), (320, 0)))
    frame = 7
    gradient = jax.grad(lambda w: features.log_mel(w)[:, frame].sum())(padded)
    touched = np.flatnonzero(np.abs(gradient).sum(axis=0))
    # The Hann window is zero at its first sample.
    assert touched[0] == 320 * frame + 1
    assert touched[-1] == 320 * frame + 639


def test_log_mel_of_silence_is_zero():
    assert not features.log_mel(jnp.zeros((1, 3200))).any()


def test_mel_floor_is_above_the_rounding_noise_of_16_bits():
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 320 * 301)) / 32768
    mel = features.log_mel(jnp.asarray(noise, jnp.float32))
    power = (10 ** np.asarray(mel, np.float64) - 1) * features.MEL_FLOOR
    decibel = 10 * np.log10(features.MEL_FLOOR / power.mean())
    assert decibel == pytest.approx(31, abs=0.5)


def test_aggregations_equal_numpy(waveform):
    frames = waveform.astype(np.float64).reshape(2, 20, 640)
    rms = np.sqrt(np.mean(frames**2, axis=-1, keepdims=True))
    np.testing.assert_allclose(features.frame_rms(waveform), rms, rtol=1e-6)
    np.testing.assert_array_equal(
        features.frame_max(waveform), frames.max(axis=-1, keepdims=True)
    )


def test_rms_gradient_is_finite_at_silence_and_right_elsewhere(waveform):
    silent = waveform.copy()
    silent[:, :640] = 0
    gradient = jax.grad(lambda w: features.frame_rms(w).sum())(jnp.asarray(silent))
    frames = silent.astype(np.float64).reshape(2, 20, 640)
    rms = np.sqrt(np.mean(frames**2, axis=-1, keepdims=True))
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(frames / (640 * rms)).reshape(2, -1)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-9)
