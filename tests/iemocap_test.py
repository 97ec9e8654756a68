"""Tests for `../data_prep/iemocap/iemocap_dataset_builder.py`."""

import pathlib
import re
from collections import Counter

import pytest
import speech
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import build, corpus
from data_prep.iemocap import iemocap_dataset_builder

# As in the release: dialogs of both kinds, also with a letter behind the number, and in
# every dialog turns of both actors.
TURNS = {
    "Ses01F_impro01_F000": "neu",
    "Ses01F_impro01_F001": "ang",
    "Ses01F_impro01_M000": "sad",
    "Ses01M_impro02_M000": "exc",
    "Ses01F_script01_1_F000": "hap",
    "Ses02F_impro03_F000": "hap",
    "Ses02F_impro03_M000": "xxx",
    "Ses03M_impro05a_F000": "sad",
    "Ses03M_impro05a_M001": "fru",
    "Ses03M_impro05b_F002": "neu",
    "Ses04M_script02_2_F000": "ang",
    "Ses05M_script01_1b_F004": "exc",
    "Ses05M_script01_1b_M010": "neu",
}
HEAD = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"


def lines_of(turn, code):
    """What the release says of a turn: its label, then the votes."""
    return (
        f"[6.2901 - 8.2357]\t{turn}\t{code}\t[2.5000, 2.5000, 2.5000]\n"
        "C-E2:\tNeutral;\t()\n"
        "C-E3:\tFrustration; Anger;\t(she can\u0092t say \u0085 so)\n"
        "C-F1:\tNeutral; \t()\n"
        "A-E3:\tval 3; act 2; dom  2;\t()\n"
        "A-F1:\tval 3; act 2; dom  1;\t()\n\n"
    )


def label_path(root, turn):
    dialog = turn.rpartition("_")[0]
    session = root / f"IEMOCAP_full_release/Session{turn[4]}"
    return session / f"dialog/EmoEvaluation/{dialog}.txt"


def audio_path(root, turn):
    dialog = turn.rpartition("_")[0]
    session = root / f"IEMOCAP_full_release/Session{turn[4]}"
    return session / f"sentences/wav/{dialog}/{turn}.wav"


def write_release(root, turns, newline="\n"):
    """Writes the tree of the release, with what lies beside labels and turns."""
    dialogs = {}
    for i, (turn, code) in enumerate(turns.items()):
        speech.write(audio_path(root, turn), i)
        path = label_path(root, turn)
        dialogs[path] = dialogs.get(path, HEAD) + lines_of(turn, code)
    for path, text in dialogs.items():
        (path.parent / "Categorical").mkdir(parents=True, exist_ok=True)
        data = text.replace("\n", newline).encode("latin-1")
        path.write_bytes(data)
        (path.parent / f"Categorical/{path.stem}_e2_cat.txt").write_text("Neutral;")
        # The same lines again, which a recursive search would count twice.
        (path.parent / f"Categorical/{path.name}").write_bytes(data)
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7Mac OS X")
        session = path.parents[2]
        speech.write(session / f"dialog/wav/{path.stem}.wav", 0)
        text = session / f"dialog/transcriptions/{path.name}"
        text.parent.mkdir(exist_ok=True)
        text.write_text(f"{path.stem}_F000 [006.2901-008.2357]: Excuse me.\n")
        wavs = session / "sentences/wav" / path.stem
        (wavs / f"._{path.stem}_F000.wav").write_bytes(b"\0\5\x16\7Mac OS X")
    return root


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "corpus", TURNS)


def checked(manual_dir, data_dir, config="all", **options):
    builder = iemocap_dataset_builder.Builder(
        config=config,
        manual_dir=manual_dir,
        data_dir=data_dir,
        allow_partial=True,
        **options,
    )
    builder.check()
    return builder


def found(builder):
    return {r.id: r for group in builder._units.values() for r in group}


@pytest.mark.parametrize("manual_dir", ["", "IEMOCAP_full_release"])
def test_labels_talkers_and_sessions(release, tmp_path, manual_dir):
    recordings = found(checked(release / manual_dir, tmp_path))
    names = {"neu": "neutral", "ang": "anger", "sad": "sadness", "hap": "happiness"}
    expected = {turn: names[code] for turn, code in TURNS.items() if code in names}
    assert {id: r.label for id, r in recordings.items()} == expected
    for turn, recording in recordings.items():
        assert recording.path == audio_path(release, turn)
        assert recording.unit == f"session{turn[4]}"
        # By the last field; a bug of others: by the dialog's prefix.
        talker = turn.split("_")[-1][0]
        assert recording.speaker == f"Ses0{turn[4]}{talker}"
        assert recording.sex == {"F": "female", "M": "male"}[talker]
    # The bug just named, and another: by position, where a letter follows the number.
    assert recordings["Ses01F_impro01_M000"].speaker == "Ses01M"
    assert recordings["Ses03M_impro05a_F000"].speaker == "Ses03F"
    assert recordings["Ses03M_impro05b_F002"].speaker == "Ses03F"
    assert recordings["Ses05M_script01_1b_M010"].speaker == "Ses05M"


@pytest.mark.parametrize(
    ("config", "classes", "left_out"),
    [
        (
            "improvised",
            {"neutral": 2, "anger": 1, "sadness": 2, "happiness": 1},
            "3 turns left out, .*: exc 1, fru 1, xxx 1",
        ),
        (
            "improvised_with_excitement",
            {"neutral": 2, "anger": 1, "sadness": 2, "happiness": 2},
            "2 turns left out, .*: fru 1, xxx 1",
        ),
        (
            "scripted",
            {"neutral": 1, "anger": 1, "sadness": 0, "happiness": 1},
            "1 turns left out, .*: exc 1",
        ),
        (
            "scripted_with_excitement",
            {"neutral": 1, "anger": 1, "sadness": 0, "happiness": 2},
            None,
        ),
        (
            "all",
            {"neutral": 3, "anger": 2, "sadness": 2, "happiness": 2},
            "4 turns left out, .*: exc 2, fru 1, xxx 1",
        ),
        (
            "all_with_excitement",
            {"neutral": 3, "anger": 2, "sadness": 2, "happiness": 4},
            "2 turns left out, .*: fru 1, xxx 1",
        ),
    ],
)
def test_policies(release, tmp_path, config, classes, left_out):
    builder = checked(release, tmp_path, config)
    metadata = builder.info.metadata
    assert metadata["counts"]["class"] == classes
    warnings = [text for text in metadata["warnings"] if "left out" in text]
    assert len(warnings) == bool(left_out)
    if left_out:
        assert re.search(left_out, warnings[0])
    documented = builder.documented_counts
    assert list(documented) == ["neutral", "anger", "sadness", "happiness"]


def test_documented_counts_of_the_configurations():
    """Sums and differences that independent sources give."""
    totals = {}
    for config in iemocap_dataset_builder.Builder.BUILDER_CONFIGS:
        builder = iemocap_dataset_builder.Builder(config=config.name, data_dir="none")
        totals[config.name] = Counter(builder.documented_counts)
    for merged in ("", "_with_excitement"):
        parts = totals[f"improvised{merged}"] + totals[f"scripted{merged}"]
        assert parts == totals[f"all{merged}"]
    assert {name: counts.total() for name, counts in totals.items()} == {
        "improvised": 2280,
        "improvised_with_excitement": 2943,
        "scripted": 2210,
        "scripted_with_excitement": 2588,
        "all": 4490,
        "all_with_excitement": 5531,
    }
    excited = totals["all_with_excitement"] - totals["all"]
    assert excited == {"happiness": 1041}


def test_the_default_is_the_papers():
    builder = iemocap_dataset_builder.Builder(data_dir="none")
    assert builder.builder_config.name == "improvised"
    assert builder.documented_counts == {
        "neutral": 1099,
        "anger": 289,
        "sadness": 608,
        "happiness": 284,
    }


def documented_release(root):
    """As many improvised turns as documented; names and sessions are made up."""
    codes = Counter(neu=1099, ang=289, sad=608, hap=284, exc=3)
    turns = {}
    for i, code in enumerate(codes.elements()):
        number, talker = 1 + i % 5, "FM"[i // 5 % 2]
        turns[f"Ses0{number}F_impro{1 + i % 7:02d}_{talker}{i:04d}"] = code
    return write_release(root, turns)


def test_documented_counts_are_checked(tmp_path):
    release = documented_release(tmp_path / "corpus")
    shards = build.build("iemocap", release, tmp_path / "shards", progress=False)
    assert shards == tmp_path / "shards/iemocap/improvised/1.0.0"
    metadata = tfds.builder_from_directory(shards).info.metadata
    assert sum(metadata["counts"]["split"].values()) == 2280
    assert [text for text in metadata["warnings"] if "exc 3" not in text] == []

    session = release / "IEMOCAP_full_release/Session3"
    session.rename(tmp_path / "Session3")
    with pytest.raises(corpus.CorpusError, match=r"No turn of Session3 is there.*all"):
        build.build("iemocap", release, tmp_path / "shards", progress=False)
    turn = "Ses01F_impro01_F0000"
    edit(label_path(release, turn), f"{turn}\tneu", f"{turn}\tfru")
    (tmp_path / "Session3").rename(session)
    with pytest.raises(
        corpus.CorpusError, match=r"2279 of 2280 .*neutral 1098 of 1099"
    ):
        build.build("iemocap", release, tmp_path / "shards", progress=False)
    session.rename(tmp_path / "Session3")
    partial = build.build(
        "iemocap", release, tmp_path / "shards", progress=False, allow_partial=True
    )
    stored = tfds.builder_from_directory(partial).info
    assert set(stored.splits) == {"session1", "session2", "session4", "session5"}
    warnings = stored.metadata["warnings"]
    assert "No turn of Session3 is there." in warnings
    assert any("1823 of 2280" in text for text in warnings)


def test_units_hold_both_actors(release, tmp_path):
    units = checked(release, tmp_path).info.metadata["units"]
    assert units["session1"] == {"speakers": ["Ses01F", "Ses01M"], "sex": "unknown"}
    assert set(units) == {f"session{i}" for i in range(1, 6)}


def test_windows_line_ends(release, tmp_path):
    other = write_release(tmp_path / "other", TURNS, newline="\r\n")
    labels = [
        {id: r.label for id, r in found(checked(root, tmp_path)).items()}
        for root in (release, other)
    ]
    assert labels[0] == labels[1]


def edit(path, old, new):
    text = path.read_bytes().decode("latin-1")
    assert old in text
    path.write_bytes(text.replace(old, new).encode("latin-1"))


def test_bad_labels_name_file_and_line(release, tmp_path):
    turn = "Ses01F_impro01_F001"
    path = label_path(release, turn)
    good = path.read_bytes()
    # Two lines of head, then seven for each turn: the label of F001 is in line 11.
    number = (
        good.decode("latin-1")
        .split("\n")
        .index(f"[6.2901 - 8.2357]\t{turn}\tang\t[2.5000, 2.5000, 2.5000]")
    )
    for old, new, message in [
        (f"{turn}\tang", f"{turn}\tmad", f"emotion mad of {turn} is not in the code"),
        (f"{turn}\tang", f"{turn} ang", "is not a label; expected '.start - end.'"),
        (f"{turn}\tang", "Ses01F_impro01_X001\tang", "turn .*_X001 does not follow"),
        (f"{turn}\tang", "Ses09F_impro01_F001\tang", "turn Ses09F.* does not follow"),
        (turn, "Ses01F_impro01_F000", "labels Ses01F_impro01_F000 again"),
        (turn, "Ses01F_impro01_F777", "Ses01F_impro01_F777, whose audio is missing"),
    ]:
        edit(path, old, new)
        with pytest.raises(
            corpus.CorpusError, match=f"impro01.txt, line {number + 1}: .*{message}"
        ):
            checked(release, tmp_path)
        path.write_bytes(good)


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty; expected text"), (HEAD, "labels no turn")]
)
def test_a_label_file_without_labels(release, tmp_path, text, message):
    path = label_path(release, "Ses01F_impro01_F001")
    path.write_text(text)
    with pytest.raises(corpus.CorpusError, match=f"impro01.txt: {message}"):
        checked(release, tmp_path)
    builder = checked(release, tmp_path, on_bad_file="skip")
    # Its turns have audio, and labels no more.
    reasons = [bad["reason"] for bad in builder.info.metadata["skipped"]]
    assert len(reasons) == 4
    assert not any(id.startswith("Ses01F_impro01") for id in found(builder))
    assert len(found(builder)) == 6


def test_a_label_without_its_audio(release, tmp_path):
    audio_path(release, "Ses03M_impro05a_F000").unlink()
    with pytest.raises(
        corpus.CorpusError,
        match=r"impro05a.txt, line \d+: .*whose audio is missing; expected .*F000.wav",
    ):
        checked(release, tmp_path)
    # The part that was not asked for is not missed, nor are labels of no class.
    checked(release, tmp_path, "scripted")
    audio_path(release, "Ses02F_impro03_M000").unlink()
    builder = checked(release, tmp_path, on_bad_file="skip")
    assert len(builder.info.metadata["skipped"]) == 1
    assert len(found(builder)) == 8


def test_audio_without_a_label(release, tmp_path):
    speech.write(audio_path(release, "Ses02F_impro03_F009"), 99)
    with pytest.raises(
        corpus.CorpusError,
        match=r"F009.wav: has no label; expected a line of Ses02F_impro03_F009 in",
    ):
        checked(release, tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("dialog/wav/Ses01F_impro01.wav", "holds no .wav file in its place"),
        ("sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav", "holds no labels of"),
    ],
)
def test_a_release_without_labels(tmp_path, file, message):
    folder = tmp_path / "IEMOCAP_full_release"
    speech.write(folder / "Session1" / file, 0)
    with pytest.raises(corpus.CorpusError, match=f"{message}.* Session1 to Session5"):
        checked(folder, tmp_path)


def test_a_second_copy_is_left_out(release, tmp_path):
    write_release(release / "copy", TURNS)
    metadata = checked(release, tmp_path).info.metadata
    assert sum(metadata["counts"]["class"].values()) == 9
    assert any("9 files left out: copies" in text for text in metadata["warnings"])


def test_links_to_the_release(release, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(release / "IEMOCAP_full_release")
    assert len(found(checked(link, tmp_path))) == 9


def test_relative_manual_dir(release, tmp_path, monkeypatch):
    monkeypatch.chdir(release)
    assert len(found(checked(pathlib.Path("."), tmp_path))) == 9


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("fuzz") / "corpus", TURNS)


@settings(max_examples=300, deadline=None)
@given(
    position=st.floats(0, 1),
    removed=st.integers(0, 40),
    inserted=st.binary(max_size=20),
)
def test_damaged_labels_are_errors_or_change_nothing_else(
    fuzzed, position, removed, inserted
):
    """A mutation must not crash, move a turn to another person, or pass unseen."""
    path = label_path(fuzzed, "Ses01F_impro01_F001")
    good = path.read_bytes()
    start = round(position * len(good))
    path.write_bytes(good[:start] + inserted + good[start + removed :])
    builder = iemocap_dataset_builder.Builder(
        config="all", manual_dir=fuzzed, data_dir=fuzzed
    )
    try:
        recordings = builder.recordings(builder._files)
    except corpus.CorpusError:
        return
    finally:
        path.write_bytes(good)
    # What is left over from a label that became another, or none, is audio without
    # one: an error. So all turns are there, with their own talkers.
    wanted = {
        turn for turn, code in TURNS.items() if code in ("neu", "ang", "sad", "hap")
    }
    assert wanted - {r.id for r in recordings} <= set(list(TURNS)[:3])
    for recording in recordings:
        assert recording.speaker[-1] == recording.id.split("_")[-1][0]
