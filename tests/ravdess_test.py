"""Tests for `../data_prep/ravdess/ravdess_dataset_builder.py`."""

import pathlib

import numpy as np
import pytest
import soundfile

from data_prep import corpus
from data_prep.ravdess import ravdess_dataset_builder

DATA = pathlib.Path(__file__).parents[2] / "shared/data/ravdess"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"RAVDESS is not in {DATA}")


def recordings(builder, *names):
    return builder.recordings([pathlib.Path(name) for name in names])


@pytest.fixture
def builder(tmp_path):
    return ravdess_dataset_builder.Builder(data_dir=tmp_path)


def test_names(builder):
    first, second = recordings(
        builder,
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_12/03-01-08-02-01-02-12.wav",
    )
    assert (first.unit, first.speaker, first.sex) == ("actor01", "01", "male")
    assert (second.unit, second.speaker, second.sex) == ("actor12", "12", "female")
    assert (first.label, second.label) == ("neutral", "surprised")
    assert first.id == "03-01-01-01-01-01-01"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-01-09-01-01-01-01.wav", "emotion 09 is not in the code .* 01 to 08"),
        ("03-01-01-01-01-01-25.wav", "actor 25 is not in the code .* 01 to 24"),
        ("04-01-01-01-01-01-01.wav", "modality 04 is not in the code"),
        ("03-01-01-01-01-01.wav", "does not follow .* expected modality-channel-emot"),
        ("03-01-01-01-01-01-1.wav", "actor 1 is not in the code"),
    ],
)
def test_names_outside_the_code(builder, name, message):
    with pytest.raises(corpus.CorpusError, match=message):
        recordings(builder, name)


def write(path, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.1 * np.random.default_rng(seed).normal(size=4_800)
    soundfile.write(path, samples, 48_000)


def test_song_videos_and_copies_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "ravdess"
    for i, name in enumerate(
        ["03-01-05-01-01-01-02", "03-02-05-01-01-01-02", "01-01-05-01-01-01-02"]
    ):
        write(folder / f"Actor_02/{name}.wav", seed=i)
    write(folder / "audio_speech/Actor_02/03-01-05-01-01-01-02.wav", seed=0)
    builder = ravdess_dataset_builder.Builder(
        manual_dir=folder, data_dir=tmp_path, allow_partial=True
    )
    builder.check()
    metadata = builder.info.metadata
    assert metadata["counts"]["split"] == {"actor02": 1}
    assert metadata["counts"]["class"]["angry"] == 1
    assert any("2 files of song" in warning for warning in metadata["warnings"])
    assert any(
        "1 files left out: copies" in warning for warning in metadata["warnings"]
    )
    assert metadata["skipped"] == []


@needs_data
def test_the_real_corpus(tmp_path):
    actors = sorted(path.name.removeprefix("Actor_") for path in DATA.iterdir())
    builder = ravdess_dataset_builder.Builder(
        manual_dir=DATA, data_dir=tmp_path, allow_partial=len(actors) < 24
    )
    builder.check()
    metadata = builder.info.metadata
    assert metadata["counts"]["speaker"] == dict.fromkeys(actors, 60)
    for name, count in metadata["counts"]["class"].items():
        assert count == len(actors) * (4 if name == "neutral" else 8)
    assert metadata["skipped"] == []
    assert metadata["partial"] == (len(actors) < 24)
    if len(actors) < 24:
        warning = metadata["warnings"][0]
        assert f"{60 * len(actors)} of 1440 documented recordings; by class" in warning
        assert "24 0 of 60 (60 missing)" in warning
        assert f"{actors[-1]} 60" not in warning
    # Two takes of the release are one: found by their samples.
    assert "03-01-03-01-02-01-07 = 03-01-03-01-02-02-07" in metadata["warnings"][-1]
