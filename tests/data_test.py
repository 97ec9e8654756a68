"""Tests for `../diccoser_jax/data.py`."""

import itertools
import shutil

import grain
import numpy as np
import pytest

from diccoser_jax import data
from diccoser_jax.config import ConfigError

PLAIN = data.Augmentation()
REVERSED = data.Augmentation(reverse_probability=1.0)
UNITS = ("speaker00", "speaker01")


def _train_batches(corpus, **overrides):
    settings = {
        "batch_size": 16,
        "window_seconds": 2.0,
        "augmentation": data.Augmentation(0.5, 0.2, 10.0, 6.0),
        "seed": 0,
        "epoch": 1,
    }
    return list(data.train_batches(corpus, UNITS, **(settings | overrides)))


def _eval_batches(corpus):
    return list(data.eval_batches(corpus, UNITS, batch_size=7, window_seconds=2.0))


def _equal(a, b):
    return len(a) == len(b) and all(
        np.array_equal(x[key], y[key]) for x, y in zip(a, b) for key in x
    )


def test_batches_have_the_documented_shapes(classification, regression):
    batch = _train_batches(classification)[0]
    assert batch["audio"].shape == (16, 32_000)
    assert batch["audio"].dtype == np.float32
    assert np.abs(batch["audio"]).max() <= 1
    assert batch["target"].shape == (16,)
    assert batch["target"].dtype == np.int32
    assert batch["mask"].tolist() == [1] * 16
    batch = _train_batches(regression, window_seconds=8.0)[0]
    assert batch["audio"].shape == (16, 128_000)
    assert batch["target"].shape == (16, 200, 2)
    assert batch["target"].dtype == np.float32
    assert batch["mask"].shape == (16, 200)


def test_batches_depend_on_seed_and_epoch_and_on_nothing_else(classification):
    batches = _train_batches(classification)
    assert _equal(batches, _train_batches(classification))
    assert not _equal(batches, _train_batches(classification, epoch=2))
    assert not _equal(batches, _train_batches(classification, seed=1))


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_batches_do_not_depend_on_the_threads_that_read(
    classification, monkeypatch, threads
):
    expected = _train_batches(classification), _eval_batches(classification)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=4)
    monkeypatch.setattr(data, "_READ_OPTIONS", options)
    found = _train_batches(classification), _eval_batches(classification)
    assert _equal(found[0], expected[0])
    assert _equal(found[1], expected[1])


def test_an_epoch_can_go_on_in_its_middle(classification):
    whole = _train_batches(classification)
    assert _equal(whole[2:], _train_batches(classification, start=2))


def test_an_epoch_holds_each_example_once(classification):
    source = classification.source(UNITS, evaluation=False)
    expected = sorted(record["audio"][-32_000:].tobytes() for record in source)
    batches = _train_batches(classification, batch_size=1, augmentation=PLAIN)
    assert len(batches) == len(expected)
    found = []
    for batch in batches:
        samples = np.round(batch["audio"][0] * 32768).astype(np.int16)
        short = [e for e in expected if np.frombuffer(e, np.int16).size < 32_000]
        padding = next(
            (
                32_000 - len(e) // 2
                for e in short
                if samples.tobytes().endswith(e) and not samples[: -len(e) // 2].any()
            ),
            0,
        )
        found.append(samples[padding:].tobytes())
    assert sorted(found) == expected


def test_half_of_the_examples_are_reversed(classification):
    plain, mixed, flipped = (
        _train_batches(
            classification, augmentation=data.Augmentation(reverse_probability=p)
        )
        for p in (0.0, 0.5, 1.0)
    )
    kinds = []
    for p, m, f in zip(plain, mixed, flipped):
        for example, forward, backward in zip(m["audio"], p["audio"], f["audio"]):
            kinds.append(np.array_equal(example, backward))
            assert kinds[-1] or np.array_equal(example, forward)
    # 80 fair coins: outside these bounds in 3 of 10 000 seeds.
    assert 24 <= sum(kinds) <= 56


def test_cropping_and_gain_stay_within_their_bounds():
    rng = np.random.default_rng(0)
    augment = data.Augmentation(crop_seconds=0.25, gain_decibel=6.0)
    ramp = np.linspace(0.1, 0.2, 16_000, dtype=np.float32)
    gains, starts, ends = [], [], []
    for _ in range(200):
        out = augment(ramp, rng)
        assert out.dtype == np.float32
        slope = np.polyfit(np.arange(len(out)), out.astype(np.float64), 1)
        gains.append(20 * np.log10(slope[0] / (0.1 / 15_999)))
        starts.append(round((slope[1] / slope[0] - 15_999) if slope[0] else 0))
        ends.append(16_000 - len(out) - starts[-1])
    assert -6 <= min(gains) < -5 < 5 < max(gains) <= 6.01
    for cut in (starts, ends):
        assert -2 <= min(cut) < 200
        assert 3800 < max(cut) <= 4002
    short = augment(ramp[:100], rng)
    assert len(short) >= 50
    assert np.abs(data.Augmentation(gain_decibel=60.0)(ramp, rng)).max() <= 1


def test_speed_changes_pitch_and_length_together():
    rng = np.random.default_rng(0)
    augment = data.Augmentation(speed_percent=20.0)
    seconds = np.arange(16_000) / 16_000
    tone = 0.5 * np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)
    pitches = []
    for _ in range(100):
        out = augment(tone, rng)
        assert out.dtype == np.float32
        middle = out[1000:-1000] * np.hanning(len(out) - 2000)
        peak = np.abs(np.fft.rfft(middle, 1 << 17)).argmax() * 16_000 / (1 << 17)
        assert peak * len(out) == pytest.approx(1000 * 16_000, rel=1e-3)
        pitches.append(peak)
    assert 800 <= min(pitches) < 820
    assert 1180 < max(pitches) <= 1200.5


def test_an_equaliser_changes_octaves_within_its_bounds_and_shifts_nothing():
    rng = np.random.default_rng(0)
    augment = data.Augmentation(equaliser_decibel=6.0)
    impulse = np.zeros(1001, np.float32)
    impulse[500] = 0.1
    curves = []
    for _ in range(100):
        out = augment(impulse, rng)
        assert out.dtype == np.float32
        np.testing.assert_allclose(out, out[::-1], atol=1e-7)
        hertz = np.fft.rfftfreq(1 << 14, 1 / 16_000)
        gains = np.abs(np.fft.rfft(out, 1 << 14)) / 0.1
        curves.append(20 * np.log10(np.interp([250, 1000, 4000], hertz, gains)))
    curves = np.array(curves)
    assert np.all(np.abs(curves) < 6.2)
    assert np.all(curves.min(axis=0) < -4)
    assert np.all(curves.max(axis=0) > 4)
    # Each octave has a gain of its own.
    assert np.abs(np.corrcoef(curves.T)[np.triu_indices(3, 1)]).max() < 0.4


def test_one_stretch_is_silenced_and_all_else_is_kept():
    rng = np.random.default_rng(0)
    augment = data.Augmentation(mask_seconds=0.25)
    ramp = np.linspace(0.1, 0.2, 32_000, dtype=np.float32)
    silenced = []
    for _ in range(100):
        out = augment(ramp, rng)
        (zeros,) = np.nonzero(out == 0)
        np.testing.assert_array_equal(np.delete(out, zeros), np.delete(ramp, zeros))
        if len(zeros):
            assert zeros[-1] - zeros[0] == len(zeros) - 1
        silenced.append(len(zeros))
    assert 3800 < max(silenced) <= 4000
    assert min(silenced) < 200
    assert np.count_nonzero(augment(ramp[:100], rng)) >= 75


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"speed_percent": -1.0}, r"augmentation.speed_percent=-1.0 is negative"),
        ({"speed_percent": 60.0}, r"augmentation.speed_percent=60.0 is more than 50"),
        ({"reverse_probability": 1.5}, r"augmentation.reverse_probability=1.5"),
        ({"crop_seconds": -1.0}, r"augmentation.crop_seconds=-1.0 is negative"),
        ({"gain_decibel": -1.0}, r"augmentation.gain_decibel=-1.0 is negative"),
    ],
)
def test_augmentation_out_of_range_is_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        data.Augmentation(**setting)


def test_the_recording_is_reversed_not_its_padding(classification):
    """Zeros stay in front, where they stand without reversal."""
    plain = _train_batches(classification, augmentation=PLAIN, window_seconds=10.0)
    flipped = _train_batches(classification, augmentation=REVERSED, window_seconds=10.0)
    for p, f in zip(plain, flipped):
        for forward, backward in zip(p["audio"], f["audio"]):
            assert not forward[:64_000].any()
            speech = forward[np.flatnonzero(forward)[0] :]
            end = backward[: -len(speech) - 16].any()
            assert not end
            np.testing.assert_array_equal(
                np.trim_zeros(backward), np.trim_zeros(forward)[::-1]
            )


@pytest.mark.parametrize(
    ("length", "expected"),
    [(3, [0, 0, 1, 2, 3]), (5, [1, 2, 3, 4, 5]), (7, [3, 4, 5, 6, 7])],
)
def test_windows_are_cut_and_padded_in_front(length, expected):
    waveform = np.arange(1, length + 1, dtype=np.float32)
    assert data.fit_window(waveform, 5).tolist() == expected


def test_evaluation_sees_every_example_once(classification):
    batches = list(
        data.eval_batches(classification, UNITS, batch_size=32, window_seconds=2.0)
    )
    assert [len(b["audio"]) for b in batches] == [32, 32, 16]
    source = classification.source(UNITS, evaluation=True)
    labels = [record["label"] for record in source]
    assert list(itertools.chain(*(b["target"] for b in batches))) == labels


def test_regression_is_evaluated_on_every_frame_once(regression):
    """7.5 windows of 8 s make 60 s; the tail is padded at its end and masked."""
    (batch,) = data.eval_batches(
        regression, UNITS[:1], batch_size=32, window_seconds=8.0
    )
    assert batch["mask"].sum() == 60 * 25
    (short,) = np.flatnonzero(batch["mask"].sum(axis=1) == 100)
    assert batch["mask"][short].tolist() == [1] * 100 + [0] * 100
    assert not batch["audio"][short, 64_000:].any()
    assert batch["audio"][short, 63_000:64_000].any()


def test_windows_that_the_shards_do_not_hold_are_refused(regression):
    with pytest.raises(ConfigError, match=r"holds 200 frames.*window is 100 frames"):
        _train_batches(regression, window_seconds=4.0)


def test_padding_is_masked():
    batch = {"audio": np.ones((2, 5)), "target": np.ones(2), "mask": np.ones(2)}
    padded = data.pad_batch(batch, 4)
    assert padded["audio"].shape == (4, 5)
    assert padded["mask"].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("seconds", [0, -3, 3.01])
def test_windows_off_the_frame_grid_are_refused(seconds):
    with pytest.raises(ConfigError, match=r"data.window_seconds=.* multiple of 0.04"):
        data.window_frames(seconds)


def test_a_batch_larger_than_the_corpus_is_refused(classification):
    with pytest.raises(ConfigError, match=r"train.batch_size=999 must be at most 80"):
        data.steps_per_epoch(classification, UNITS, 999)
    assert data.steps_per_epoch(classification, UNITS, 16) == 5


def test_shards_that_change_while_they_are_used_are_an_error(tmp_path, classification):
    shards = shutil.copytree(classification.directory, tmp_path / "shards")
    corpus = data.Corpus(shards)
    assert len(corpus.source(["speaker00"], evaluation=False)) == 40
    (path,) = shards.glob("*speaker09*")
    path.write_bytes(path.read_bytes())
    with pytest.raises(ConfigError, match="have changed while they were in use"):
        corpus.source(["speaker00"], evaluation=False)
