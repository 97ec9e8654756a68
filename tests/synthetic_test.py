"""Tests for `../data_prep/synthetic`."""

import numpy as np
import pytest
from sklearn import (
    discriminant_analysis,
    metrics,
    model_selection,
    pipeline,
    preprocessing,
)

from data_prep.synthetic import synthesis, synthetic_dataset_builder


def spectrogram(waveform, samples=640, bands=16):
    """Log energies ``[frames, bands]``, by a plain Fourier transform."""
    frames = waveform[: len(waveform) // samples * samples].reshape(-1, samples)
    power = np.abs(np.fft.rfft(frames * np.hanning(samples))) ** 2
    edges = np.geomspace(2, power.shape[1], bands + 1).astype(int)
    edges = np.maximum(edges, np.arange(bands + 1) + 2)
    return np.log(np.add.reduceat(power, edges[:-1], axis=1) + 1e-6)


def unweighted_accuracy(features, labels, speakers):
    model = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        discriminant_analysis.LinearDiscriminantAnalysis(),
    )
    predicted = model_selection.cross_val_predict(
        model, features, labels, groups=speakers, cv=model_selection.LeaveOneGroupOut()
    )
    return metrics.balanced_accuracy_score(labels, predicted)


@pytest.fixture(scope="module")
def utterances(tmp_path_factory):
    builder = synthetic_dataset_builder.Builder(data_dir=tmp_path_factory.mktemp("x"))
    recordings = builder.recordings([])
    return recordings, [builder.waveform(recording) for recording in recordings]


def test_utterances(utterances):
    recordings, waveforms = utterances
    assert len({recording.id for recording in recordings}) == len(recordings) == 400
    assert {recording.label for recording in recordings} == set(synthesis.EMOTIONS)
    units = {recording.unit: recording.sex for recording in recordings}
    assert sorted(units.values()) == ["female"] * 5 + ["male"] * 5
    for waveform in waveforms:
        assert waveform.dtype == np.float32
        assert 1.45 * 16_000 < len(waveform) <= 3.5 * 16_000
        assert 0.001 < np.abs(waveform).max() <= 1
    assert len({waveform.tobytes() for waveform in waveforms}) == 400


def test_emotions_of_unseen_speakers_are_heard_but_not_by_loudness_alone(utterances):
    recordings, waveforms = utterances
    labels = [recording.label for recording in recordings]
    speakers = [recording.speaker for recording in recordings]
    levels = [[np.log(np.mean(waveform**2))] for waveform in waveforms]
    assert unweighted_accuracy(levels, labels, speakers) < 0.6
    features = []
    for waveform in waveforms:
        bands = spectrogram(waveform)
        bands -= bands.mean()
        motion = np.abs(np.diff(bands, axis=0)).mean(axis=0)
        features.append([*bands.mean(axis=0), *bands.std(axis=0), *motion])
    assert unweighted_accuracy(features, labels, speakers) > 0.9


def test_the_seed_decides(utterances, tmp_path):
    recordings, waveforms = utterances
    builder = synthetic_dataset_builder.Builder(data_dir=tmp_path)
    for i in (0, 123, 399):
        np.testing.assert_array_equal(builder.waveform(recordings[i]), waveforms[i])


def test_pitch_is_that_of_the_speaker():
    rng = np.random.default_rng(0)
    voice = synthesis.Speaker(pitch_hz=160.0, formant_scale=1.0)
    plain = synthesis.Manner(contour=0.0, melody=0.0, syllables_hz=0.2)
    waveform = synthesis._say(rng, voice, plain, steps=250, phrase_seconds=2.0)
    middle = waveform[12_000:20_000]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    lag = 60 + np.argmax(correlation[60:160])
    assert 16_000 / lag == pytest.approx(160, rel=0.02)


def test_monologues_follow_their_tracks(tmp_path):
    builder = synthetic_dataset_builder.Builder(config="regression", data_dir=tmp_path)
    recordings = builder.recordings([])
    assert len(recordings) == 10
    inputs, targets = [], []
    for recording in recordings:
        waveform, labels = builder.waveform(recording), recording.label
        assert labels.dtype == np.float32
        assert labels.shape == (60 * 25, 2)
        assert len(waveform) == 640 * len(labels)
        assert np.abs(labels).max() <= 1
        assert (labels.std(axis=0) > 0.3).all()
        assert np.abs(np.diff(labels, axis=0)).max() < 0.15
        bands = spectrogram(waveform)
        second = np.ones(25) / 25
        inputs.append(np.stack([np.convolve(b, second, "same") for b in bands.T], 1))
        targets.append(labels)
    # Linear regression from the first eight voices predicts the last two.
    train, test = np.concatenate(inputs[:8]), np.concatenate(inputs[8:])
    weights, *_ = np.linalg.lstsq(
        np.c_[train, np.ones(len(train))], np.concatenate(targets[:8]), rcond=None
    )
    predicted = np.c_[test, np.ones(len(test))] @ weights
    for i, truth in enumerate(np.concatenate(targets[8:]).T):
        assert np.corrcoef(predicted[:, i], truth)[0, 1] > 0.8


def test_a_perfect_listener_is_a_syllable_late_and_no_more():
    """Constant labels are said exactly; a ramp, as late as the middle of a syllable."""
    constant = np.full((100, 2), [0.5, -0.3], np.float32)
    said = synthesis.heard_exactly(constant, 25.0)
    syllable = 25 / (4 * 2**0.25)  # frames
    silent = np.flatnonzero(~said.any(axis=1))
    np.testing.assert_array_equal(silent, np.arange(len(silent)))
    assert len(silent) == int(syllable)
    np.testing.assert_allclose(said[len(silent) :], constant[len(silent) :], atol=1e-6)
    ramp = np.stack([np.zeros(500), np.linspace(-1, 1, 500)], axis=1)
    late = (ramp - synthesis.heard_exactly(ramp.astype(np.float32), 25.0))[100:, 1]
    frames = late / (ramp[1, 1] - ramp[0, 1])
    # From half a syllable after its end to one and a half, by the labels' frame.
    assert frames.min() > 0.5 * 6.25 - 1
    assert frames.max() < 1.5 * 6.25 + 1


def test_the_ceiling_of_monologues_is_high_and_below_one():
    rng = np.random.default_rng(0)
    voice = synthesis.speaker(rng, "male")
    _, labels = synthesis.monologue(rng, voice, 60.0, 640)
    said = synthesis.heard_exactly(labels, 25.0)
    for n, m in zip(labels.T, said.T):
        ccc = 2 * np.cov(n, m, bias=True)[0, 1]
        ccc /= n.var() + m.var() + (n.mean() - m.mean()) ** 2
        assert 0.95 < ccc < 0.999
