"""Tests for `../data_prep/msp_improv/msp_improv_dataset_builder.py`."""

from collections import Counter

import pytest
import speech
import tensorflow_datasets as tfds

from data_prep import build, corpus
from data_prep.msp_improv import msp_improv_dataset_builder

# Two conditions, turns of both actors of a scene, all six sessions.
TURNS = {
    "S01A-F01-S-FM01": "A",
    "S01A-F01-S-MF01": "N",
    "S01A-F01-P-FM02": "X",
    "S02H-M01-T-MF01": "H",
    "S03N-F02-R-FF01": "N",
    "S04S-M03-S-MF10": "S",
    "S05S-F04-S-FM03": "O",
    "S05S-F04-S-FM04": "S",
    "S20H-M05-P-MF100": "H",
    "S20H-F06-P-FM01": "H",
}


def lines_of(turn, code):
    return (
        f"UTD-IMPROV-{turn}.avi; {code}; A:3.000000 ; V:3.500000 ; D:NaN ; "
        "N:2.500000 ;\n"
        "WORKER00000010; Angry; Angry,Other (can\u0092t \u0085 say); A:4.0; V:2.0; "
        "D:NaN; N:3.0;\n"
        "WORKER00000011; Neutral; Neutral; A:2.0; V:3.0; D:3.0; N:NaN;\n\n"
    )


def audio_path(root, turn):
    scene, actor, condition, _ = turn.split("-")
    name = f"MSP-IMPROV-{turn}.wav"
    return root / f"session{actor[2]}/{scene}/{condition}/{name}"


def write_corpus(root, turns=TURNS, audio=".", labels="Evalution.txt"):
    for i, turn in enumerate(turns):
        speech.write(audio_path(root / audio, turn), i)
    text = "".join(lines_of(turn, code) for turn, code in turns.items())
    (root / labels).write_bytes(text.encode("latin-1"))
    (root / "readme.txt").write_text("MSP-IMPROV database\n")
    (root / f"._{labels}").write_bytes(b"\0\5\x16\7")
    return root


@pytest.fixture
def folder(tmp_path):
    return write_corpus(tmp_path / "improv")


def checked(manual_dir, data_dir, **options):
    builder = msp_improv_dataset_builder.Builder(
        manual_dir=manual_dir, data_dir=data_dir, allow_partial=True, **options
    )
    builder.check()
    return builder


@pytest.mark.parametrize(
    ("audio", "labels"), [(".", "Evalution.txt"), ("Audio", "Evaluation.txt")]
)
def test_labels_actors_and_sessions(tmp_path, audio, labels):
    folder = write_corpus(tmp_path / "improv", audio=audio, labels=labels)
    builder = checked(folder, tmp_path)
    recordings = {r.id: r for group in builder._units.values() for r in group}
    names = {"N": "neutral", "A": "anger", "S": "sadness", "H": "happiness"}
    assert {id: r.label for id, r in recordings.items()} == {
        f"MSP-IMPROV-{turn}": names[code]
        for turn, code in TURNS.items()
        if code in names
    }
    for turn in TURNS:
        recording = recordings.get(f"MSP-IMPROV-{turn}")
        if recording:
            actor = turn.split("-")[1]
            assert (recording.speaker, recording.unit) == (actor, f"session{actor[2]}")
            assert recording.sex == {"F": "female", "M": "male"}[actor[0]]
            assert recording.path.samefile(audio_path(folder / audio, turn))
    metadata = builder.info.metadata
    assert set(metadata["units"]) == {f"session{i}" for i in range(1, 7)}
    assert metadata["units"]["session1"]["speakers"] == ["F01", "M01"]
    assert any(
        "2 turns left out" in w and "O 1, X 1" in w for w in metadata["warnings"]
    )


def test_windows_line_ends(folder, tmp_path):
    before = checked(folder, tmp_path).info.metadata["counts"]
    path = folder / "Evalution.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert checked(folder, tmp_path).info.metadata["counts"] == before


def test_documented_counts():
    builder = msp_improv_dataset_builder.Builder(data_dir="none")
    assert builder.documented_counts == {
        "neutral": 3477,
        "anger": 792,
        "sadness": 885,
        "happiness": 2644,
    }
    assert Counter(builder.documented_counts).total() == 7798


def test_a_part_of_the_corpus(folder, tmp_path):
    with pytest.raises(corpus.CorpusError, match=r"8 of 7798 .*anger 1 of 792"):
        build.build("msp_improv", folder, tmp_path / "shards", progress=False)
    shards = build.build(
        "msp_improv", folder, tmp_path / "shards", progress=False, allow_partial=True
    )
    info = tfds.builder_from_directory(shards).info
    assert sum(info.metadata["counts"]["split"].values()) == 8
    assert any("8 of 7798" in text for text in info.metadata["warnings"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("FM01.avi; A", "FM01.avi; Q", "line 1: emotion 'Q' of UTD-.* expected one of"),
        ("FM01.avi; A;", "FM01.avi", "line 1: turn .* does not follow the code"),
        ("S01A-F01-S-FM", "S01A-F07-S-FM", "line 1: turn .*F07.* does not follow"),
        ("S01A-F01-S-FM", "S01B-F01-S-FM", "line 1: turn .*S01B.* does not follow"),
        ("S-MF01", "S-FM01", "line 5: labels MSP-.*FM01 again, after line 1"),
        ("S-MF01", "S-MF77", "line 5: labels MSP-.*MF77, whose audio is missing"),
    ],
)
def test_bad_labels_name_file_and_line(folder, tmp_path, old, new, message):
    path = folder / "Evalution.txt"
    text = path.read_bytes()
    assert old.encode() in text
    path.write_bytes(text.replace(old.encode(), new.encode(), 1))
    with pytest.raises(corpus.CorpusError, match=f"Evalution.txt, {message}"):
        checked(folder, tmp_path)


def test_audio_without_a_label(folder, tmp_path):
    speech.write(audio_path(folder, "S20H-F06-P-FM77"), 60)
    warnings = checked(folder, tmp_path).info.metadata["warnings"]
    assert any("such as MSP-IMPROV-S20H-F06-P-FM77.wav" in text for text in warnings)


def test_a_second_copy_is_left_out(folder, tmp_path):
    source = audio_path(folder, "S03N-F02-R-FF01")
    copy = folder / "copy" / source.name
    copy.parent.mkdir()
    copy.write_bytes(source.read_bytes())
    metadata = checked(folder, tmp_path).info.metadata
    assert sum(metadata["counts"]["class"].values()) == 8
    assert any("1 files left out: copies" in text for text in metadata["warnings"])
    speech.write(copy, 70)
    with pytest.raises(corpus.CorpusError, match="has the name of"):
        checked(folder, tmp_path)


def test_no_labels(folder, tmp_path):
    (folder / "Evalution.txt").unlink()
    with pytest.raises(corpus.CorpusError, match=r"no file of labels. Expected the fo"):
        checked(folder, tmp_path)
