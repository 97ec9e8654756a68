"""Tests for `../data_prep/emodb/emodb_dataset_builder.py`."""

import pathlib

import pytest
import soundfile

from data_prep import corpus
from data_prep.emodb import emodb_dataset_builder

DATA = pathlib.Path(__file__).parents[2] / "shared/data/emodb"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"EmoDB is not in {DATA}")


def recordings(builder, *names):
    return builder.recordings([pathlib.Path(name) for name in names])


@pytest.fixture
def builder(tmp_path):
    return emodb_dataset_builder.Builder(data_dir=tmp_path)


def test_names(builder):
    first, second = recordings(builder, "wav/03a01Wa.wav", "wav/16b10Tf.WAV")
    assert (first.id, first.unit, first.speaker) == ("03a01Wa", "speaker03", "03")
    assert (first.sex, first.label) == ("male", "anger")
    assert (second.id, second.unit, second.speaker) == ("16b10Tf", "speaker16", "16")
    assert (second.sex, second.label) == ("female", "sadness")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03a01Xa.wav", "emotion X is not in the code of EmoDB; expected one of W, L"),
        ("04a01Wa.wav", "speaker 04 is not in the code of EmoDB; expected one of 03, "),
        ("03a03Wa.wav", "text a03 is not in the code of EmoDB; expected one of a01, "),
        ("03a01W.wav", "does not follow the code of EmoDB; expected speaker, text, "),
        ("03a01Wa (1).wav", "does not follow the code of EmoDB"),
        ("03a01wa.wav", "does not follow the code of EmoDB"),
    ],
)
def test_names_outside_the_code(builder, name, message):
    with pytest.raises(corpus.CorpusError, match=message):
        recordings(builder, name)


@needs_data
@pytest.mark.parametrize("folder", [DATA, DATA / "wav"])
def test_the_real_corpus(tmp_path, folder):
    builder = emodb_dataset_builder.Builder(manual_dir=folder, data_dir=tmp_path)
    builder.check()
    metadata = builder.info.metadata
    # Counted by the authors: http://emodb.bilderbar.info/docu/#docu
    assert metadata["counts"]["class"] == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    }
    speakers = ["03", "08", "09", "10", "11", "12", "13", "14", "15", "16"]
    utterances = [49, 58, 43, 38, 55, 35, 61, 69, 56, 71]
    assert metadata["counts"]["speaker"] == dict(zip(speakers, utterances))
    sexes = {unit: described["sex"] for unit, described in metadata["units"].items()}
    assert sorted(sexes.values()) == ["female"] * 5 + ["male"] * 5
    assert metadata["warnings"] == []
    assert not metadata["partial"]
    assert metadata["skipped"] == []
    seconds = sum(soundfile.info(path).duration for path in DATA.rglob("*.wav"))
    assert metadata["hours"] * 3600 == pytest.approx(seconds, rel=1e-3)
