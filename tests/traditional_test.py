"""Tests for `../diccoser_jax/traditional.py`."""

import builtins
import dataclasses
import sys

import librosa
import numpy as np
import pytest
import soundfile
from sklearn import metrics as sklearn_metrics
from sklearn import preprocessing, svm

from data_prep import build
from diccoser_jax import data, traditional
from diccoser_jax.config import ConfigError
from diccoser_jax.folds import Fold

PITCHES_HZ = {"high": 900, "low": 150, "middle": 400}
FOLD = Fold(
    train=("speaker_ann", "speaker_ben", "speaker_cas"),
    validation=("speaker_dan", "speaker_eve"),
    test=("speaker_flo", "speaker_gus"),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Seven people who buzz at three pitches, six times each, three times if high."""
    folder = tmp_path_factory.mktemp("buzzes")
    rows = ["path,label,speaker"]
    for s, speaker in enumerate(("ann", "ben", "cas", "dan", "eve", "flo", "gus")):
        for label, pitch_hz in PITCHES_HZ.items():
            for take in range(3 if label == "high" else 6):
                rng = np.random.default_rng([s, pitch_hz, take])
                time = np.arange(6_000) / 16_000
                buzz = np.sign(np.sin(2 * np.pi * pitch_hz * rng.normal(1, 0.3) * time))
                sound = 0.1 * buzz + 0.05 * rng.standard_normal(len(time))
                name = f"{speaker}-{label}-{take}.wav"
                soundfile.write(folder / name, sound, 16_000)
                rows.append(f"{name},{label},{speaker}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    shards = build.build("manifest", folder, folder / "shards", progress=False)
    return data.Corpus(shards)


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def vectors(corpus, cache_dir):
    return traditional.features(corpus, "mfcc", cache_dir, progress=False)


@pytest.fixture(scope="module")
def evaluated(corpus, vectors):
    return traditional.evaluate_fold(corpus, FOLD, vectors)


@dataclasses.dataclass(frozen=True)
class Relabelled(data.Corpus):
    """Labels of some units shifted by one."""

    units: tuple[str, ...] = ()

    def source(self, units, *, evaluation):
        records = []
        for unit in sorted(units):
            for record in super().source([unit], evaluation=evaluation):
                shift = unit in self.units
                label = (record["label"] + shift) % len(self.target_names)
                records.append({**record, "label": label})
        return records


def test_mfcc_statistics_are_those_of_librosa():
    rng = np.random.default_rng(0)
    waveform = rng.standard_normal(8_000).astype(np.float32)
    vector = traditional.mfcc_statistics(waveform)
    assert vector.shape == (240,)
    assert vector.dtype == np.float32
    mfcc = librosa.feature.mfcc(
        y=waveform, sr=16_000, n_mfcc=20, n_fft=512, hop_length=160, win_length=400,
        n_mels=40,
    )  # fmt: skip
    for i, statistic in enumerate((np.mean, np.std, np.min, np.max)):
        third = statistic(mfcc[3])
        assert vector[60 * i + 3] == pytest.approx(third, rel=1e-5)
        slope = librosa.feature.delta(mfcc)[3, 4:-4]  # without the ends
        delta = vector[60 * i + 23]
        if statistic is np.max:
            assert delta >= slope.max() - 1e-6
        if statistic is np.min:
            assert delta <= slope.min() + 1e-6
    constant = traditional.mfcc_statistics(np.full(600, 0.1, np.float32))
    assert np.isfinite(constant).all()


def test_features_are_computed_once(corpus, cache_dir, monkeypatch):
    first = traditional.features(corpus, "mfcc", cache_dir, progress=False)
    assert len(first) == 7 * 15
    assert {len(vector) for vector in first.values()} == {240}
    (record, *_) = corpus.source(["speaker_cas"], evaluation=True)
    np.testing.assert_array_equal(
        first[record["id"].decode()],
        traditional.mfcc_statistics(record["audio"] / np.float32(32768)),
    )
    assert [path.suffix for path in cache_dir.iterdir()] == [".npz"]
    monkeypatch.setattr(traditional, "mfcc_statistics", None)
    again = traditional.features(corpus, "mfcc", cache_dir, progress=False)
    assert list(again) == list(first)
    np.testing.assert_array_equal(list(again.values()), list(first.values()))


def test_scores_and_rows_are_of_the_test_units(corpus, evaluated):
    rows, chosen = evaluated
    assert len(rows.targets) == 2 * 15
    records = list(corpus.source(FOLD.test, evaluation=True))
    assert rows.recordings.tolist() == [r["id"].decode() for r in records]
    assert set(rows.speakers) == {"flo", "gus"}
    assert (rows.targets.dtype, rows.outputs.dtype) == (np.int32, np.float32)
    assert rows.targets.tolist() == [r["label"] for r in records]
    answers = rows.outputs.argmax(axis=1)
    assert sklearn_metrics.balanced_accuracy_score(rows.targets, answers) > 0.6
    assert (rows.folds == 0).all()
    assert chosen["features"] == 240


def test_the_machine_has_heard_the_training_units_only(corpus, cache_dir, evaluated):
    rows, chosen = evaluated
    vectors = traditional.features(corpus, "mfcc", cache_dir, progress=False)

    def side(units):
        records = list(corpus.source(units, evaluation=True))
        x = np.stack([vectors[r["id"].decode()] for r in records])
        return x, np.array([r["label"] for r in records])

    (train, targets), (test, _) = side(FOLD.train), side(FOLD.test)
    scaler = preprocessing.StandardScaler().fit(train)
    machine = svm.SVC(
        kernel=chosen["kernel"], C=chosen["penalty"], class_weight="balanced"
    ).fit(scaler.transform(train), targets)
    np.testing.assert_allclose(
        machine.decision_function(scaler.transform(test)), rows.outputs, rtol=1e-5
    )
    x, y = side(FOLD.validation)
    best = 0.0
    for kernel in traditional.KERNELS:
        for penalty in traditional.PENALTIES:
            machine = svm.SVC(
                kernel=kernel, C=penalty, class_weight="balanced", break_ties=True
            ).fit(scaler.transform(train), targets)
            answers = machine.predict(scaler.transform(x))
            score = sklearn_metrics.balanced_accuracy_score(y, answers)
            if score > best:
                best, expected = score, (kernel, penalty)
    assert chosen["validation_score"] == pytest.approx(best)
    assert (chosen["kernel"], chosen["penalty"]) == expected


def test_test_labels_have_no_say(corpus, vectors, evaluated):
    rows, chosen = evaluated
    garbage = Relabelled(corpus.directory, FOLD.test)
    other_rows, other = traditional.evaluate_fold(garbage, FOLD, vectors)
    for key in ("kernel", "penalty", "validation_score"):
        assert other[key] == chosen[key]
    np.testing.assert_array_equal(other_rows.outputs, rows.outputs)
    assert not np.array_equal(other_rows.targets, rows.targets)
    # Those of the validation units do.
    garbage = Relabelled(corpus.directory, FOLD.validation)
    _, other = traditional.evaluate_fold(garbage, FOLD, vectors)
    assert other["validation_score"] < chosen["validation_score"]


def test_a_class_that_was_not_heard_in_training_is_never_the_answer():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 3))
    x[:, 1] = np.nan  # a functional that is nowhere defined
    machine = traditional._machine("linear", 1.0).fit(x, np.repeat([1, 3], 10))
    outputs = traditional._decide(machine, x, 5)
    assert outputs.shape == (20, 5)
    assert np.isfinite(outputs).all()
    assert set(outputs.argmax(axis=1)) == {1, 3}
    np.testing.assert_array_equal(outputs.argmax(axis=1), machine.predict(x))


def test_what_cannot_be_done_is_named(
    corpus, regression, cache_dir, vectors, monkeypatch
):
    with pytest.raises(ConfigError, match=r"features 'mfc'; expected one of egemaps, "):
        traditional.features(corpus, "mfc", cache_dir)
    with pytest.raises(ConfigError, match=r"labels over time; .*\(classification\)"):
        traditional.features(regression, "mfcc", cache_dir)
    same = Relabelled(corpus.directory)
    monkeypatch.setattr(
        Relabelled,
        "source",
        lambda self, units, evaluation: [
            {**r, "label": 0} for r in data.Corpus.source(self, units, evaluation=True)
        ],
    )
    with pytest.raises(ConfigError, match="speaker_cas hold one class"):
        traditional.evaluate_fold(same, FOLD, vectors)


def _features_and_svm(corpus, name, cache_dir):
    vectors = traditional.features(corpus, name, cache_dir, progress=False)
    traditional.evaluate_fold(corpus, FOLD, vectors)


@pytest.mark.parametrize(
    ("package", "name"), [("opensmile", "egemaps"), ("sklearn", "mfcc")]
)
def test_a_package_that_is_not_there(corpus, cache_dir, monkeypatch, package, name):
    real = builtins.__import__

    def without(wanted, *args, **kwargs):
        if wanted.partition(".")[0] == package:
            raise ImportError(f"No module named {wanted!r}")
        return real(wanted, *args, **kwargs)

    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(builtins, "__import__", without)
    message = rf"needs {package}, .*pip install 'diccoser-jax\[traditional\]'"
    with pytest.raises(ConfigError, match=message):
        _features_and_svm(corpus, name, cache_dir)


@pytest.mark.parametrize(
    ("name", "size"), [("egemaps", 88), ("gemaps", 62), ("compare", 6373)]
)
def test_opensmile(name, size):
    opensmile = pytest.importorskip("opensmile")
    waveform = np.random.default_rng(0).normal(0, 0.1, 8_000).astype(np.float32)
    vector = traditional._extractor(name)(waveform)
    assert vector.shape == (size,)
    assert vector.dtype == np.float32
    sets = {"egemaps": "eGeMAPSv02", "gemaps": "GeMAPSv01b", "compare": "ComParE_2016"}
    smile = opensmile.Smile(opensmile.FeatureSet[sets[name]])
    np.testing.assert_array_equal(
        vector, smile.process_signal(waveform, 16_000).to_numpy(np.float32)[0]
    )
    with pytest.warns(UserWarning, match="too short"):
        assert np.isnan(traditional._extractor(name)(waveform[:100])).all()
