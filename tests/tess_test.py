"""Tests for `../data_prep/tess/tess_dataset_builder.py`."""

import pathlib

import layouts
import pytest

from data_prep import corpus
from data_prep.tess import tess_dataset_builder


def test_the_whole_corpus(tmp_path):
    builder = tess_dataset_builder.Builder(
        manual_dir=layouts.tess(tmp_path / "tess"), data_dir=tmp_path / "shards"
    )
    builder.check()
    metadata = builder.info.metadata
    assert set(metadata["counts"]["class"].values()) == {400}
    assert metadata["counts"]["speaker"] == {"OAF": 1400, "YAF": 1400}
    assert metadata["units"] == {
        f"speaker{name}": {"speakers": [name], "sex": "female"}
        for name in ("OAF", "YAF")
    }
    assert not metadata["partial"]
    assert metadata["skipped"] == []


def recordings(tmp_path, *names):
    builder = tess_dataset_builder.Builder(data_dir=tmp_path)
    return builder.recordings([pathlib.Path(name) for name in names])


def test_names(tmp_path):
    first, second, third = recordings(
        tmp_path, "OAF_back_angry.wav", "OA_bite_neutral.wav", "YAF_youth_ps.wav"
    )
    assert (first.speaker, first.unit, first.label) == ("OAF", "speakerOAF", "anger")
    assert (second.speaker, second.id) == ("OAF", "OAF_bite_neutral")
    assert (third.speaker, third.sex, third.label) == ("YAF", "female", "surprise")
    (odd,) = recordings(tmp_path, "YAF_say_youth_SAD.wav")
    assert (odd.id, odd.label) == ("YAF_say_youth_sad", "sadness")


@pytest.mark.parametrize(
    "name", ["back_angry.wav", "OAF_angry.wav", "OAF_back_calm.wav", "EAF_back_sad.wav"]
)
def test_names_outside_the_code(tmp_path, name):
    with pytest.raises(corpus.CorpusError, match=f"{name}: its name does not follow"):
        recordings(tmp_path, name)
