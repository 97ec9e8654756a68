"""Tests for `../data_prep/crema_d/crema_d_dataset_builder.py`."""

import pathlib

import layouts
import numpy as np
import pytest
import soundfile
import speech

from data_prep import corpus
from data_prep.crema_d import crema_d_dataset_builder


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return layouts.crema_d(tmp_path_factory.mktemp("crema_d"))


def checked(folder, tmp_path, **options):
    builder = crema_d_dataset_builder.Builder(
        manual_dir=folder, data_dir=tmp_path / "shards", **options
    )
    builder.check()
    return builder.info.metadata


def recordings(tmp_path, *names):
    builder = crema_d_dataset_builder.Builder(data_dir=tmp_path)
    return builder.recordings([pathlib.Path(name) for name in names])


def test_the_whole_corpus_less_the_file_without_sound(whole, tmp_path):
    assert len(list((whole / "AudioWAV").glob("*.wav"))) == 7442
    metadata = checked(whole, tmp_path)
    assert metadata["counts"]["class"] == {
        "anger": 1271,
        "disgust": 1271,
        "fear": 1271,
        "happiness": 1271,
        "neutral": 1087,
        "sadness": 1270,
    }
    assert not metadata["partial"]
    assert metadata["skipped"] == []
    assert metadata["warnings"][0] == (
        "1076_MTI_SAD_XX left out: without sound, as its authors say."
    )
    sexes = [unit["sex"] for unit in metadata["units"].values()]
    assert (sexes.count("male"), sexes.count("female")) == (48, 43)
    assert metadata["units"]["actor1001"] == {"speakers": ["1001"], "sex": "male"}


def test_names(tmp_path):
    first, second = recordings(
        tmp_path, "AudioWAV/1001_IEO_DIS_LO.wav", "AudioWAV/1040_ITH_SAD_X.wav"
    )
    assert (first.unit, first.speaker, first.sex) == ("actor1001", "1001", "unknown")
    assert (first.id, first.label) == ("1001_IEO_DIS_LO", "disgust")
    assert (second.id, second.label) == ("1040_ITH_SAD_XX", "sadness")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1092_DFA_ANG_XX.wav", "actor 1092 is not in the code .* 1001, ..., 1091"),
        ("1001_DFB_ANG_XX.wav", "sentence DFB is not in the code"),
        ("1001_DFA_SUR_XX.wav", "emotion SUR is not in the code"),
        ("1001_DFA_ANG.wav", "does not follow the code of CREMA-D"),
        ("1001_DFA_ANG_MM.wav", "does not follow the code of CREMA-D"),
    ],
)
def test_names_outside_the_code(tmp_path, name, message):
    with pytest.raises(corpus.CorpusError, match=message):
        recordings(tmp_path, name)


@pytest.fixture
def three(tmp_path):
    """Three files, one of them the one that may be silent."""
    folder = tmp_path / "crema"
    for i, name in enumerate(["1001_DFA_ANG_XX", "1002_DFA_ANG_XX", "1076_MTI_SAD_XX"]):
        speech.write(folder / f"{name}.wav", i)
    return folder


def counts(folder, tmp_path):
    return checked(folder, tmp_path, allow_partial=True)["counts"]["class"]


def test_the_file_is_kept_if_it_has_sound(three, tmp_path):
    assert counts(three, tmp_path)["sadness"] == 1


@pytest.mark.parametrize("level", [0, 1e-4])
def test_the_file_is_left_out_by_its_level(three, tmp_path, level):
    noise = level * np.random.default_rng(0).normal(size=41_000)
    soundfile.write(three / "1076_MTI_SAD_XX.wav", noise, 16_000)
    assert counts(three, tmp_path)["sadness"] == 0


def test_another_silent_file_is_an_error(three, tmp_path):
    soundfile.write(three / "1001_DFA_ANG_XX.wav", np.zeros(41_000), 16_000)
    with pytest.raises(corpus.CorpusError, match=r"1001_DFA_ANG_XX.wav: silent"):
        counts(three, tmp_path)


def test_pointers_instead_of_audio(three, tmp_path):
    for path in three.glob("*.wav"):
        path.write_text(
            "version https://git-lfs.github.com/spec/v1\n"
            "oid sha256:8f7b2d9a0c\nsize 82260\n"
        )
    with pytest.raises(
        corpus.CorpusError, match=r"1001_DFA_ANG_XX.wav: a Git LFS pointer.*git lfs pul"
    ):
        counts(three, tmp_path)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("Actor,Sex\n1001,Male\n", "its columns are 'Actor,Sex'; expected ActorID and"),
        ('"ActorID","Sex"\n1001,"M"\n', "Sex is 'm'; expected Female or Male"),
        ("ActorID,Sex\n1001\n", "expected ActorID and Sex"),
    ],
)
def test_a_table_of_actors_that_is_not_theirs(three, tmp_path, table, message):
    (three / "VideoDemographics.csv").write_text(table)
    with pytest.raises(corpus.CorpusError, match=f"VideoDemographics.csv: .*{message}"):
        counts(three, tmp_path)
