"""Tests for `../data_prep/savee/savee_dataset_builder.py`."""

import pathlib

import layouts
import pytest
import speech

from data_prep import corpus
from data_prep.savee import savee_dataset_builder


def checked(folder, tmp_path):
    builder = savee_dataset_builder.Builder(
        manual_dir=folder, data_dir=tmp_path / "shards"
    )
    builder.check()
    return builder.info.metadata


@pytest.mark.parametrize("flat", [False, True])
def test_the_whole_corpus_in_both_layouts(tmp_path, flat):
    metadata = checked(layouts.savee(tmp_path / "savee", flat), tmp_path)
    counts = metadata["counts"]
    assert counts["class"] == {
        **dict.fromkeys(counts["class"], 60),
        "neutral": 120,
    }
    assert counts["speaker"] == dict.fromkeys(["DC", "JE", "JK", "KL"], 120)
    assert list(metadata["units"]) == [f"speaker{s}" for s in ("DC", "JE", "JK", "KL")]
    assert not metadata["partial"]


def test_both_layouts_at_once_are_copies(tmp_path):
    layouts.savee(tmp_path / "savee")
    layouts.savee(tmp_path / "savee", flat=True)
    metadata = checked(tmp_path / "savee", tmp_path)
    assert sum(metadata["counts"]["class"].values()) == 480
    assert metadata["warnings"][0].startswith("480 files left out: copies")


def recordings(tmp_path, *names):
    builder = savee_dataset_builder.Builder(data_dir=tmp_path)
    return builder.recordings([pathlib.Path(name) for name in names])


def test_codes_of_two_letters_are_not_codes_of_one(tmp_path):
    names = ("DC/sa01.wav", "DC/su01.wav", "DC/a01.wav", "DC/d01.wav", "KL_n30.wav")
    labels = [recording.label for recording in recordings(tmp_path, *names)]
    assert labels == ["sadness", "surprise", "anger", "disgust", "neutral"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("DC/s01.wav", "does not follow the code of SAVEE"),
        ("DC/a1.wav", "does not follow the code of SAVEE"),
        ("AudioData/a01.wav", "its speaker is 'AudioData'; expected one of DC, JE"),
        ("XY_a01.wav", "its speaker is 'XY'"),
        ("DC/a16.wav", "sentence 16 is not in the code of SAVEE; expected 01 to 15"),
        ("DC/n00.wav", "sentence 00 is not in the code"),
    ],
)
def test_names_outside_the_code(tmp_path, name, message):
    with pytest.raises(corpus.CorpusError, match=message):
        recordings(tmp_path, name)


def test_a_missing_speaker_is_named(tmp_path):
    folder = layouts.savee(tmp_path / "savee")
    for path in (folder / "AudioData/JK").glob("*.wav"):
        path.unlink()
    with pytest.raises(
        corpus.CorpusError, match=r"360 of 480 .*anger 45 of 60.*JK 0 of 120"
    ):
        checked(folder, tmp_path)


def test_a_surplus_is_named(tmp_path):
    folder = layouts.savee(tmp_path / "savee")
    speech.write(folder / "AudioData/JK/a16.wav", 999)
    with pytest.raises(corpus.CorpusError, match=r"a16.wav: sentence 16"):
        checked(folder, tmp_path)
