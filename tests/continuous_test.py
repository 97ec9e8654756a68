"""Tests for `../data_prep/continuous`."""

import csv
import dataclasses
import itertools
import json

import commands
import numpy as np
import pytest
import scipy.signal
import soundfile
import tensorflow_datasets as tfds

from data_prep import build, corpus
from data_prep.continuous import __main__ as continuous
from data_prep.continuous import composition
from data_prep.continuous.composition import Settings, Utterance
from diccoser_jax import folds

SILENT = np.full(257, 1e-12)  # spectrum of a room


def utterance(name, emotion="angry", frames=5, strength=1.0, level=0.5):
    """A tone for whole frames."""
    time = np.arange(640 * frames) / 16_000
    tone = np.sin(2 * np.pi * 500 * time).astype(np.float32)
    return Utterance(name, emotion, strength, level * tone)


def decibel(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-30)


def test_labels_of_two_utterances_by_hand():
    two = [utterance("a", "angry", 70), utterance("b", "sad", 70, strength=0.5)]
    made = composition.compose(two, SILENT, 200, np.random.default_rng(1))
    assert sorted(u.id for u in made.utterances) == ["a", "b"]
    first, second = made.starts
    assert second >= first + 70 + 5  # a pause is 0.2 s at least
    places = {"a": [0.59, -0.51], "b": [-0.135, -0.315]}  # arousal, valence
    by_hand = np.zeros((200, 2))
    by_hand[first:second] = places[made.utterances[0].id]
    by_hand[second:] = places[made.utterances[1].id]
    np.testing.assert_allclose(made.acted, by_hand, atol=1e-7)
    settings = Settings(smoothing_seconds=0, delay_seconds=0.08)
    labels = composition.rate(made.acted, settings, np.random.default_rng(0))
    assert labels.dtype == np.float32
    np.testing.assert_array_equal(labels[:2], 0)
    np.testing.assert_allclose(labels[2:], by_hand[:-2], atol=1e-7)


@pytest.mark.parametrize("smoothing_seconds", [0.0, 0.04, 0.5, 2.0])
def test_labels_are_smoothed_and_late(smoothing_seconds):
    acted = np.random.default_rng(0).uniform(-1, 1, (300, 2))
    settings = Settings(smoothing_seconds=smoothing_seconds, delay_seconds=1.2)
    labels = composition.rate(acted, settings, np.random.default_rng(0))
    padded = np.concatenate([np.zeros((300, 2)), acted])
    steps = smoothing_seconds * 25
    # SciPy's window has zeros at both ends: half of the width off its middle.
    window = np.ones(1)
    if steps > 1:
        window = np.interp(
            np.arange(-60, 61),
            np.linspace(-steps / 2, steps / 2, 10_001),
            scipy.signal.windows.hann(10_001),
            left=0,
            right=0,
        )
    smooth = np.stack(
        [np.convolve(t, window / window.sum(), "same") for t in padded.T], axis=1
    )
    np.testing.assert_allclose(labels, smooth[300 - 30 : 600 - 30], atol=1e-6)


def test_raters_do_not_hear_what_is_to_come():
    settings = Settings(smoothing_seconds=2.0, delay_seconds=1.0)
    rng = np.random.default_rng
    acted = rng(0).uniform(-1, 1, (100, 2))
    before = composition.rate(acted, settings, rng(1))
    acted[60:] *= -1
    after = composition.rate(acted, settings, rng(1))
    np.testing.assert_array_equal(before[:61], after[:61])
    assert (before[61:64] != after[61:64]).all()
    with pytest.raises(
        ValueError, match=r"delay_seconds is 0.96; expected at least .*1"
    ):
        Settings(smoothing_seconds=2.0, delay_seconds=0.96)


def test_noise_has_its_strength_and_is_as_smooth():
    settings = Settings(noise=0.1)
    noise = composition.rate(np.zeros((50_000, 2)), settings, np.random.default_rng(0))
    np.testing.assert_allclose(noise.std(axis=0), 0.1, rtol=0.05)
    power = np.abs(np.fft.rfft(noise[:, 0])) ** 2
    assert power[4_000:].sum() < 1e-3 * power.sum()  # above 2 Hz


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"minutes": 0}, "1 recordings of 0 minutes"),
        ({"minutes": 0.001}, "minutes is 0.001; expected a multiple of 0.04 s"),
        ({"recordings_per_speaker": 0}, "0 recordings of 5"),
        ({"delay_seconds": 3.01}, "delay_seconds is 3.01; expected a multiple"),
        ({"delay_seconds": -1}, "delay_seconds is -1"),
        ({"noise": -0.1}, "noise -0.1"),
        ({"smoothing_seconds": -1}, "smoothing_seconds is -1"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        Settings(**wrong)


def test_each_is_said_once_before_any_is_said_again():
    five = [utterance(name) for name in "abcde"]
    for seed in range(20):
        made = composition.compose(five, SILENT, 1500, np.random.default_rng(seed))
        names = "".join(u.id for u in made.utterances)
        assert len(names) > 20
        for start in range(0, len(names) - 5, 5):
            assert sorted(names[start : start + 5]) == list("abcde")
        assert all(a != b for a, b in itertools.pairwise(names))


def test_speech_lies_where_it_starts_and_pauses_sound_like_the_room():
    rng = np.random.default_rng(0)
    colour = scipy.signal.firwin(65, 1_000, fs=16_000)

    def noise(samples):
        return 0.05 * np.convolve(rng.standard_normal(samples), colour, "same")

    takes = []
    for i in range(8):
        loud = utterance(str(i), frames=40).speech
        take = np.concatenate([noise(20_000), loud, noise(20_000)])
        takes.append(take.astype(np.float32))
    room = composition.room(takes)
    one = dataclasses.replace(utterance("x"), speech=composition.speech(takes[0]))
    made = composition.compose([one], room, 60 * 25, rng)
    assert made.waveform.dtype == np.float32
    assert made.waveform.shape == (60 * 16_000,)
    spoken = np.zeros(len(made.waveform), bool)
    for start in made.starts:
        place = slice(640 * start, 640 * start + len(one.speech))
        spoken[place] = True
        inner = slice(320, -320)
        np.testing.assert_array_equal(made.waveform[place][inner], one.speech[inner])
    pauses = made.waveform[~spoken]
    expected = noise(100_000)
    # The quietest tenth is a little quieter than the whole.
    assert -3 < decibel(pauses) - decibel(expected) < 0.5
    frequencies, got = scipy.signal.welch(pauses, 16_000, nperseg=512)
    _, wanted = scipy.signal.welch(expected, 16_000, nperseg=512)
    low, high = frequencies < 800, frequencies > 1_500
    assert np.all(np.abs(10 * np.log10(got[low] / wanted[low])) < 6)
    assert np.all(10 * np.log10(got[high] / got[low].mean()) < -30)


def test_a_gated_recording_has_the_room_that_it_shows_somewhere():
    rng = np.random.default_rng(0)
    gated = np.zeros(30_000)
    hiss = 0.001 * rng.standard_normal(10_000)
    take = np.concatenate([gated, hiss, utterance("x").speech, hiss, gated])
    made = composition.pause(composition.room([take.astype(np.float32)]), 50_000, rng)
    assert -63 < decibel(made) < -59.5


def test_the_silence_about_speech_is_cut_but_for_a_margin():
    loud = utterance("x", frames=25).speech
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(16_000)
    take = np.concatenate([quiet, loud, quiet]).astype(np.float32)
    kept = composition.speech(take)
    assert 0 <= len(kept) - len(loud) - 2 * 1_600 <= 2 * 512
    assert np.max(np.abs(kept)) == np.max(np.abs(loud))


def test_pauses_are_as_documented():
    made = composition.compose(
        [utterance("a"), utterance("b")], SILENT, 15_000, np.random.default_rng(0)
    )
    gaps = (np.diff(made.starts) - 5) / 25  # rounded up by 20 ms in the mean
    assert len(gaps) > 400
    assert gaps.min() >= 0.2
    assert gaps.max() <= 4.04
    assert np.median(gaps) == pytest.approx(0.82, abs=0.06)
    assert np.std(np.log(gaps)) == pytest.approx(0.57, abs=0.06)


def test_speech_starts_with_the_first_frame_after_the_pause(monkeypatch):
    monkeypatch.setattr(composition, "_pause_samples", lambda rng: 5 * 640 + 1)
    made = composition.compose(
        [utterance("a", frames=5)], SILENT, 30, np.random.default_rng(0)
    )
    assert made.starts == [6, 6 + 5 + 6]


def test_intensities_and_emotions():
    at = composition.intensity
    assert at("ravdess", "03-01-05-02-01-01-12") == 1
    assert at("ravdess", "03-01-05-01-02-02-12") == 0.6
    assert at("crema_d", "1001_IEO_ANG_LO") == 0.4
    assert at("emodb", "03a01Wa") == 1
    assert composition.point("anger", 0.5) == composition.point("angry", 0.5)
    arousal, valence = composition.point("happy", 0.6)
    assert (arousal, valence) == pytest.approx((0.306, 0.486))
    for name, builder in build.BUILDERS.items():
        if isinstance(builder.class_names, tuple):
            for emotion in builder.class_names:
                assert len(composition.point(emotion, 1)) == 2, name


def test_an_emotion_without_a_place_and_a_recording_without_room():
    with pytest.raises(
        ValueError, match=r"class 'smug' has no place .* one of anger, "
    ):
        composition.point("smug", 1.0)
    long = utterance("long", frames=100)
    with pytest.raises(ValueError, match=r"2 s have no room .* lasts 4.00"):
        composition.compose([long], SILENT, 50, np.random.default_rng(0))


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    """Three actors with four utterances each, in the names of RAVDESS."""
    folder = tmp_path_factory.mktemp("ravdess")
    for actor in (1, 2, 3):
        for i, emotion in enumerate(("01-01", "04-01", "05-02", "08-02")):
            rng = np.random.default_rng([actor, i])
            speech = 0.1 * rng.standard_normal(24_000)
            path = folder / f"Actor_{actor:02d}/03-01-{emotion}-01-01-{actor:02d}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, speech, 48_000)
    return folder


SMALL = Settings(minutes=0.4, smoothing_seconds=0.4, delay_seconds=0.4)


def make(ravdess, output, settings=SMALL, dataset="ravdess"):
    return continuous.make(
        dataset, ravdess, output, settings, allow_partial=True, progress=False
    )


@pytest.fixture(scope="module")
def made(ravdess, tmp_path_factory):
    settings = dataclasses.replace(SMALL, recordings_per_speaker=2)
    return make(ravdess, tmp_path_factory.mktemp("made") / "corpus", settings)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_the_folder_and_its_descriptions(made):
    names = [f"speaker{s:02d}_{n}" for s in (1, 2, 3) for n in (1, 2)]
    ratings = [f"ratings_gold_standard/{d}/" for d in ("arousal", "valence")]
    assert sorted(contents(made)) == sorted(
        [
            "corpus.json",
            "utterances.csv",
            *(f"recordings_audio/{name}.wav" for name in names),
            *(f"{folder}{name}.arff" for folder in ratings for name in names),
        ]
    )
    description = json.loads((made / "corpus.json").read_text())
    assert description["speakers"] == {
        "speaker01": "male",
        "speaker02": "female",
        "speaker03": "male",
    }
    with (made / "utterances.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert row["utterance"].endswith(row["recording"][7:9])  # the actor
        length = float(row["end_seconds"]) - float(row["start_seconds"])
        assert length == pytest.approx(0.5, abs=0.011)
    sad = next(row for row in rows if row["emotion"] == "sad")
    assert (sad["intensity"], sad["valence"]) == ("0.6", "-0.3780")
    info = soundfile.info(made / "recordings_audio/speaker01_1.wav")
    assert (info.samplerate, info.channels, info.frames) == (16_000, 1, 384_000)


def test_the_seed_decides_and_nothing_else(ravdess, made, tmp_path):
    again = make(ravdess, tmp_path / "again")
    first, second = contents(made), contents(again)
    for name in set(first) & set(second) - {"corpus.json", "utterances.csv"}:
        assert first[name] == second[name], name
    other = make(ravdess, tmp_path / "other", dataclasses.replace(SMALL, seed=1))
    name = "recordings_audio/speaker02_1.wav"
    assert contents(other)[name] != second[name]
    assert first[name] != first["recordings_audio/speaker02_2.wav"]
    assert not list(tmp_path.glob("*.unfinished"))


def test_shards_of_it_have_speakers_for_units_and_labels_in_their_place(made, tmp_path):
    shards = build.build(
        "continuous",
        made,
        tmp_path,
        window_seconds=8.0,
        shift_seconds=4.0,
        delay_seconds=0.4,
        progress=False,
    )
    reader = tfds.builder_from_directory(shards)
    metadata = reader.info.metadata
    assert metadata["dimension_names"] == ["arousal", "valence"]
    assert metadata["units"] == {
        "speaker01": {"speakers": ["speaker01"], "sex": "male"},
        "speaker02": {"speakers": ["speaker02"], "sex": "female"},
        "speaker03": {"speakers": ["speaker03"], "sex": "male"},
    }
    assert not metadata["partial"]
    assert "Nobody rated these recordings. They are 12 utt" in metadata["warnings"][0]
    assert "cannot be compared with scores on RECOLA" in metadata["warnings"][0]
    assert "ravdess: 12 of 1440 documented" in metadata["warnings"][1]
    sexes = {name: unit["sex"] for name, unit in metadata["units"].items()}
    for fold in folds.plan("balanced", sexes, 3, 0):
        folds.check_speakers_disjoint(
            fold, {name: u["speakers"] for name, u in metadata["units"].items()}
        )
    # Once the delay is taken back, labels change with the sound.
    records = list(reader.as_data_source("speaker03_eval"))
    labels = np.concatenate([r["labels"] for r in records if r["id"] == b"speaker03_1"])
    assert labels.shape == (600 - 10, 2)
    acted = np.zeros((600, 2))
    with (made / "utterances.csv").open() as file:
        for row in csv.DictReader(file):
            if row["recording"] == "speaker03_1":
                start = round(25 * float(row["start_seconds"]))
                acted[start:] = float(row["arousal"]), float(row["valence"])
    window = scipy.signal.windows.hann(11)
    smooth = [np.convolve(t, window / window.sum(), "same") for t in acted.T]
    np.testing.assert_allclose(labels[:-10], np.array(smooth).T[:-20], atol=1e-3)


def test_what_cannot_be_made_is_named_and_leaves_nothing(ravdess, made, tmp_path):
    with pytest.raises(corpus.CorpusError, match="corpus is there; remove it"):
        make(ravdess, made)
    with pytest.raises(corpus.CorpusError, match=r"speaker01: 0.4 s have no room"):
        make(ravdess, tmp_path / "x", dataclasses.replace(SMALL, minutes=0.4 / 60))
    with pytest.raises(corpus.CorpusError, match="has labels over time; expected a c"):
        make("", tmp_path / "x", dataset="synthetic/regression")
    with pytest.raises(corpus.CorpusError, match="did you mean ravdess"):
        make(ravdess, tmp_path / "x", dataset="ravdes")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "corpus.json").unlink(), "holds no corpus.json; expected one"),
        (lambda f: (f / "corpus.json").write_text("{}"), "KeyError: 'speakers'"),
        (lambda f: (f / "corpus.json").write_text("{"), "JSONDecodeError"),
        (
            lambda f: (f / "corpus.json").write_text(
                (f / "corpus.json").read_text().replace("speaker02", "speaker09")
            ),
            "names no speaker 'speaker02'; expected one of speaker01, speaker09",
        ),
        (
            lambda f: (f / "ratings_gold_standard/valence/speaker01_1.arff").unlink(),
            "speaker01_1.wav: has no ratings of valence",
        ),
    ],
)
def test_a_damaged_folder_is_named(ravdess, tmp_path, damage, message):
    folder = make(ravdess, tmp_path / "made")
    damage(folder)
    with pytest.raises(corpus.CorpusError, match=message):
        build.build("continuous", folder, tmp_path / "shards", progress=False)


def test_the_command(ravdess, tmp_path):
    done = commands.run(
        "data_prep.continuous",
        *("--allow_partial", "--dataset=ravdess", f"--manual_dir={ravdess}"),
        *("--minutes=0.2", f"--output={tmp_path / 'made'}", "--delay_seconds=0.5"),
    )
    assert done.returncode == 1
    assert "Error: delay_seconds is 0.5; expected a multiple" in done.stderr


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_one_who_knows_what_is_acted_is_right_where_nothing_comes(smoothing):
    """Late labels can be said exactly; where they look ahead, until something comes."""
    settings = composition.Settings(
        minutes=0.1, smoothing_seconds=smoothing, delay_seconds=0.4
    )
    acted = np.zeros((settings.frames, 2), np.float32)
    acted[30:] = 0.5, -0.6
    acted[80:] = -0.1, 0.2
    labels = composition.rate(acted, settings, np.random.default_rng(0))
    late = composition.heard_exactly(acted, settings, 0.0)
    np.testing.assert_allclose(late, labels, atol=1e-6)
    moved = composition.heard_exactly(acted, settings, 0.4)
    wrong = np.flatnonzero(np.abs(moved - labels[10:]).max(axis=1) > 1e-6)
    reach = int(25 * smoothing / 2)
    reach -= reach > 0 and 25 * smoothing / 2 == reach  # the window ends in zeros
    expected = [*range(30 - reach, 30), *range(80 - reach, 80)]
    np.testing.assert_array_equal(wrong, expected)
