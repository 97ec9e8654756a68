"""Tests for `../data_prep/manifest/manifest_dataset_builder.py` and `table.py`."""

import csv
import json
import pathlib
import re
import sys

import numpy as np
import pytest
import soundfile
import speech
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import build, corpus, table
from data_prep.manifest import manifest_dataset_builder

SECONDS = 0.4
NAMES = ("anna/one.wav", "anna/two.wav", "ben/one.wav", "cleo/one.wav")
LABELS = ("happy", "sad", "sad", "angry")
SPEAKERS = ("anna", "anna", "ben", "cleo")


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "mine"
    for i, name in enumerate(NAMES):
        speech.write(path / name, i, SECONDS)
    return path


def csv_of(columns, rows, separator=","):
    lines = [separator.join(map(str, row)) for row in [columns, *rows]]
    return "\n".join([*lines, ""])


def write(folder, columns, rows, name="manifest.csv"):
    (folder / name).write_text(csv_of(columns, rows))
    return folder


@pytest.fixture
def labelled(folder):
    return write(folder, ["path", "label", "speaker"], zip(NAMES, LABELS, SPEAKERS))


def checked(manual_dir, data_dir, **options):
    builder = manifest_dataset_builder.Builder(
        manual_dir=manual_dir, data_dir=data_dir, **options
    )
    builder.check()
    return builder


def made(manual_dir, data_dir, **options):
    shards = build.build("manifest", manual_dir, data_dir, progress=False, **options)
    return tfds.builder_from_directory(shards)


def write_track(path, rows, names=("arousal", "valence"), offset=0.0):
    values = np.random.default_rng(0).uniform(-1, 1, (rows, len(names)))
    cells = [[f"{i / 25 + offset:.2f}", *value] for i, value in enumerate(values)]
    path.write_text(csv_of(["time", *names], cells))
    return values.astype(np.float32)


def test_labels_speakers_and_audio(labelled, tmp_path):
    reader = made(labelled, tmp_path / "shards")
    metadata = reader.info.metadata
    assert metadata["class_names"] == ["angry", "happy", "sad"]
    assert reader.info.features["label"].names == ["angry", "happy", "sad"]
    assert metadata["counts"]["split"] == {
        "speaker_anna": 2,
        "speaker_ben": 1,
        "speaker_cleo": 1,
    }
    assert metadata["warnings"] == []
    records = {r["id"].decode(): r for r in reader.as_data_source("speaker_anna")}
    assert sorted(records) == ["anna/one.wav", "anna/two.wav"]
    assert records["anna/two.wav"]["label"] == 2
    for i, name in enumerate(NAMES[:2]):
        np.testing.assert_array_equal(records[name]["audio"], speech.cut(i, SECONDS))


@pytest.mark.parametrize(
    ("separator", "ends", "encoding", "quote"),
    [
        (",", "\n", "utf-8", ""),
        (";", "\r\n", "utf-8-sig", ""),
        ("\t", "\n", "utf-8", '"'),
        (",", "\r", "utf-8-sig", '"'),
        (";", "\r\n", "latin-1", '"'),
    ],
)
def test_ways_to_write_csv(folder, tmp_path, separator, ends, encoding, quote):
    speech.write(folder / "anna/größe, laut; 1.wav", 9)
    first = "anna/größe, laut; 1.wav" if quote else "anna/one.wav"
    rows = [[f"{quote}{first}{quote}", "happy", "anna"], *zip(NAMES, LABELS, SPEAKERS)]
    rows = rows[:1] + rows[2:]
    text = csv_of([" Path ", "LABEL", "Speaker "], rows, separator)
    blank = separator * 2 + "\n"  # Excel writes such rows below a table.
    (folder / "table.csv").write_bytes(
        (text + blank + "\n").replace("\n", ends).encode(encoding)
    )
    builder = checked(folder / "table.csv", tmp_path)
    found = {r.id: r.label for group in builder._units.values() for r in group}
    assert found == {first: "happy"} | dict(zip(NAMES[1:], LABELS[1:]))


@given(
    st.lists(st.lists(st.text(min_size=1), min_size=3, max_size=3), max_size=5),
    st.sampled_from(",;\t"),
)
def test_any_cell_survives_quoting(tmp_path_factory, cells, separator):
    """Against csv.writer; cells come back without spaces around them."""
    path = tmp_path_factory.mktemp("table") / "x.csv"
    cells = [[re.sub(r"[\r\0]", "x", cell) for cell in row] for row in cells]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=separator, lineterminator="\n")
        writer.writerows([["a", "b", "c"], *cells])
    columns, rows = table.read(path)
    assert columns == ["a", "b", "c"]
    expected = [[cell.strip() for cell in row] for row in cells]
    assert [list(row.cells.values()) for row in rows] == [
        row for row in expected if any(row)
    ]


def test_parquet(folder, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {
        "path": list(NAMES),
        "label": list(LABELS),
        "fold": [0, 0, 1, 2],
        "start": [None, 0.1, float("nan"), 0.0],
    }
    parquet.write_table(pyarrow.table(columns), folder / "manifest.parquet")
    builder = checked(folder, tmp_path)
    assert builder.info.metadata["counts"]["split"] == {
        "fold0": 2,
        "fold1": 1,
        "fold2": 1,
    }
    lengths = {
        r.id: len(builder.waveform(r)) for g in builder._units.values() for r in g
    }
    assert lengths == {
        "anna/one.wav": 6400,
        "anna/two.wav[0.1-]": 4800,
        "ben/one.wav": 6400,
        "cleo/one.wav[0-]": 6400,
    }
    (folder / "manifest.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(corpus.CorpusError, match=r"manifest.parquet: is not Parquet"):
        checked(folder, tmp_path)


def test_parquet_without_pyarrow(folder, tmp_path, monkeypatch):
    (folder / "manifest.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(corpus.CorpusError, match=r"pip install 'diccoser-jax\[parquet"):
        checked(folder, tmp_path)


def test_segments_hold_their_samples(folder, tmp_path):
    whole = np.concatenate([speech.cut(i, 1.0) for i in range(3)])
    soundfile.write(folder / "talk.flac", whole, 16_000)
    write(
        folder,
        ["path", "label", "speaker", "start", "end"],
        [
            ["talk.flac", "sad", "a", 1.25, 2.5],
            ["talk.flac", "happy", "a", "", 1.25],
            ["./talk.flac", "sad", "b", 2.5, ""],
            ["talk.flac", "sad", "c", 0, "3.009"],
        ],
    )
    reader = made(folder, tmp_path / "shards")
    records = {
        record["id"].decode(): record["audio"]
        for split in reader.info.splits
        for record in reader.as_data_source(split)
    }
    for id, span in {
        "talk.flac[1.25-2.5]": slice(20_000, 40_000),
        "talk.flac[0-1.25]": slice(0, 20_000),
        "talk.flac[2.5-]": slice(40_000, 48_000),
        "talk.flac[0-3.009]": slice(0, 48_000),
    }.items():
        np.testing.assert_array_equal(records.pop(id), whole[span])
    assert not records


def test_each_file_is_read_once_in_turn(folder, tmp_path, monkeypatch):
    rows = [
        [name, "ab"[i % 2], i / 10, i / 10 + 0.1] for i in range(4) for name in NAMES
    ]
    write(folder, ["path", "label", "start", "end"], rows)
    reads = []
    read = manifest_dataset_builder.audio.read
    monkeypatch.setattr(
        manifest_dataset_builder.audio, "read", lambda p: reads.append(p) or read(p)
    )
    checked(folder, tmp_path)
    assert len(reads) == len(NAMES)


def test_files_count_as_speakers_where_none_are_named(folder, tmp_path):
    write(folder, ["path", "label", "text"], zip(NAMES, LABELS, "abcd"))
    metadata = checked(folder, tmp_path).info.metadata
    assert metadata["counts"]["speaker"] == dict.fromkeys(NAMES, 1)
    unused, speakers = metadata["warnings"]
    assert "left aside: text" in unused
    assert "each file counts as one" in speakers


def test_many_speakers_share_splits(folder, tmp_path):
    rows = []
    for i in range(51):
        speech.write(folder / f"{i}.wav", i)
        rows.append([f"{i}.wav", "ab"[i % 2], f"s{i}", "fm"[i % 2]])
    columns = ["path", "label", "speaker", "sex"]
    units = checked(write(folder, columns, rows), tmp_path).info.metadata["units"]
    assert set(units) == {f"group{i}" for i in range(10)}
    dealt = {speaker: name for name, u in units.items() for speaker in u["speakers"]}
    assert sum(len(unit["speakers"]) for unit in units.values()) == len(dealt) == 51
    for sex in range(2):
        sizes = [
            sum(int(s[1:]) % 2 == sex for s in u["speakers"]) for u in units.values()
        ]
        assert max(sizes) - min(sizes) <= 1
    again = checked(write(folder, columns, rows[::-1]), tmp_path).info.metadata
    assert again["units"] == units
    fifty = checked(write(folder, columns, rows[:50]), tmp_path).info.metadata
    assert len(fifty["units"]) == 50


def test_folds(folder, tmp_path):
    columns = ["path", "label", "fold", "speaker"]
    rows = list(zip(NAMES, LABELS, ["0", "0", "train", "dev a"], SPEAKERS))
    units = checked(write(folder, columns, rows), tmp_path).info.metadata["units"]
    assert {name: u["speakers"] for name, u in units.items()} == {
        "fold0": ["anna"],
        "fold_train": ["ben"],
        next(name for name in units if name.startswith("fold_dev_a_")): ["cleo"],
    }
    rows[1] = (*rows[1][:2], "train", "anna")
    with pytest.raises(
        corpus.CorpusError,
        match=r"line 3: fold of speaker anna is 'train'; expected '0', as in .*line 2",
    ):
        checked(write(folder, columns, rows), tmp_path)


@given(st.sets(st.text(min_size=1, max_size=60), max_size=30))
def test_split_names_are_permitted_and_never_collide(values):
    names = manifest_dataset_builder._split_names("speaker", values)
    assert set(names) == values
    splits = [*names.values(), *(name + "_eval" for name in names.values())]
    assert len(set(splits)) == 2 * len(values)
    for name in names.values():
        assert re.fullmatch(r"speaker[a-zA-Z0-9_]+", name)
        assert len(name) <= 60


def test_split_names():
    names = manifest_dataset_builder._split_names(
        "speaker", ["03", "3", "anna", "ann a", "ann_a", "anna_eval", "张伟", "李娜"]
    )
    assert list(names.values())[:3] == ["speaker03", "speaker3", "speaker_anna"]
    assert names["ann_a"] == "speaker_ann_a"
    assert names["ann a"].startswith("speaker_ann_a_")
    assert len(set(names.values())) == 8
    # A name in a report means the same speaker in the next version.
    assert names["张伟"] == "speaker____a3a0bafd"


def test_tracks_stay_with_their_audio(folder, tmp_path):
    """The label is the loudness of its frame: a shift by one row is seen."""
    rng = np.random.default_rng(0)
    rows = []
    for name in "ab":
        level = rng.uniform(0.05, 0.5, 100).round(4)
        noise = rng.choice([-1, 1], 64_000 + 300)  # not a whole number of frames
        soundfile.write(
            folder / f"{name}.wav",
            np.append(np.repeat(level, 640), [0.1] * 300) * noise,
            16_000,
        )
        cells = [[f"{i * 0.04:.2f}", x, i] for i, x in enumerate(level)]
        (folder / f"{name}.csv").write_text(csv_of(["time", "loudness", "row"], cells))
        rows.append([f"{name}.wav", f"{name}.csv", name, "", ""])
    rows.append(["b.wav", "b.csv", "b", 1.2, 3.0])
    write(folder, ["path", "track", "speaker", "start", "end"], rows)
    reader = made(folder, tmp_path / "shards", window_seconds=1.0, shift_seconds=0.4)
    metadata = reader.info.metadata
    assert metadata["task"] == "regression"
    assert metadata["dimension_names"] == ["loudness", "row"]
    assert metadata["counts"]["split"]["speaker_a_eval"] == 4
    assert metadata["counts"]["split"]["speaker_b_eval"] == 6
    for split in reader.info.splits:
        for record in reader.as_data_source(split):
            frames = record["audio"].reshape(-1, 640) / 32768
            np.testing.assert_allclose(
                np.sqrt(np.mean(frames**2, axis=1)), record["labels"][:, 0], atol=1e-4
            )
            first = 30 if b"[1.2-3]" in record["id"] else 0
            assert record["labels"][0, 1] == first + round(
                25 * float(record["start_seconds"])
            )


@pytest.fixture
def tracked(folder):
    write_track(folder / "one.csv", 10)
    write_track(folder / "two.csv", 10)
    return write(
        folder,
        ["path", "track", "start"],
        [[NAMES[0], "one.csv", ""], [NAMES[1], "two.csv", ""]],
    )


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            9,
            {"offset": 0.04},
            "two.csv, line 2: its time is 0.04 s; expected 0 s: 25 r",
        ),
        (10, {"names": ("arousal",)}, "two.csv: its dimensions are arousal; expected"),
        (10, {"names": ()}, "two.csv: its columns are time; expected time, and one"),
        (12, {}, "two.wav: 12 label rows, 0.48 s, for 0.40 s of audio"),
        (0, {}, "two.wav: 0 label rows"),
    ],
)
def test_bad_tracks(tracked, tmp_path, rows, options, message):
    write_track(tracked / "two.csv", rows, **options)
    with pytest.raises(corpus.CorpusError, match=message):
        checked(tracked, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("\n0.08,", "\n0.081,x", "two.csv, line 4: could not convert .*'x0?.*numbers"),
        ("\n0.08,", "\n0.10,", "two.csv, line 4: its time is 0.1 s; expected 0.08 s"),
        ("\n0.08,", "\nnan,", "two.csv, line 4: its time is nan s"),
        ("\n0.08,", "\n0.08,1,", "two.csv, line 4: 4 cells; expected 3"),
    ],
)
def test_bad_rows_of_tracks(tracked, tmp_path, old, new, message):
    path = tracked / "two.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(corpus.CorpusError, match=message):
        checked(tracked, tmp_path)


def test_a_segment_between_two_rows_of_a_track(tracked, tmp_path):
    write(tracked, ["path", "track", "start"], [[NAMES[0], "one.csv", 0.05]])
    with pytest.raises(corpus.CorpusError, match=r"line 2: 0.05 s is between two rows"):
        checked(tracked, tmp_path)


GOOD = {"path": NAMES[0], "label": "sad", "speaker": "anna", "start": 0.1, "end": 0.2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": " "}, "label is empty"),
        ({"speaker": ""}, "speaker is empty"),
        ({"path": ""}, "path is empty"),
        ({"path": "anna/gone.wav"}, "path .*mine/anna/gone.wav is not a file"),
        ({"path": "anna"}, "path .*mine/anna is not a file"),
        ({"path": "../mine/anna/one.wav"}, "leads out of .*mine; expected a path rel"),
        ({"path": "/etc/hostname"}, "path /etc/hostname leads out of"),
        ({"path": "anna/../../x.wav"}, "leads out of"),
        ({"start": "0,1s"}, "start is '0,1s'; expected seconds, such as 1.25"),
        ({"start": "-1"}, "start is '-1'; expected seconds"),
        ({"end": "nan"}, "end is 'nan'; expected seconds"),
        ({"end": 0.1}, "end 0.1 is not after start 0.1"),
        ({"start": "", "end": 0}, "end 0 is not after start 0"),
        ({"end": 0.42}, r"0.1 to 0.42 s is not within .*one.wav, which lasts 0.400 s"),
        ({"start": 0.4, "end": ""}, "0.4 to 0.4 s is not within"),
        ({"sex": "x"}, "sex is 'x'; expected female, male or unknown"),
        ({"path": "silent.wav"}, "silent.wav is silent from 0.1 to 0.2 s"),
    ],
)
def test_bad_rows_name_file_and_line(folder, tmp_path, change, message):
    silence = np.zeros(6400, np.int16)
    silence[-640:] = speech.cut(0)[:640]
    soundfile.write(folder / "silent.wav", silence, 16_000)
    good = {"sex": "f"} | GOOD
    rows = [good | {"path": NAMES[1]}, good | {"sex": "", "speaker": "x"} | change]
    quoted = [[f'"{cell}"' for cell in row.values()] for row in rows]
    write(folder, rows[0], quoted)
    with pytest.raises(corpus.CorpusError, match=rf"manifest.csv, line 3: .*{message}"):
        checked(folder, tmp_path)
    metadata = checked(folder, tmp_path, on_bad_file="skip").info.metadata
    assert len(metadata["skipped"]) == 1
    assert sum(metadata["counts"]["speaker"].values()) == 1


def test_what_rows_must_agree_upon(folder, tmp_path):
    row = [NAMES[0], "sad", "anna", "f"]
    for other, message in [
        (row, "line 3: names anna/one.wav again, after .*line 2"),
        (["anna/../anna/one.wav", "happy", "anna", "f"], "names anna/one.wav again"),
        ([NAMES[1], "sad", "anna", "m"], "line 3: sex of speaker anna is 'male'; exp"),
    ]:
        write(folder, ["path", "label", "speaker", "sex"], [row, other])
        with pytest.raises(corpus.CorpusError, match=message):
            checked(folder, tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected text"),
        ("\n\n,,\n", "empty; expected names of columns"),
        ("path,label\n", "has no row"),
        ("file,label\na,b\n", "its columns are file, label; expected path, and either"),
        ("path\na\n", "its columns are path; expected path, and either label"),
        ("path,label,track\na,b,c\n", "expected path, and either label .* or track"),
        ("path,label,Path\na,b,c\n", "column 'path' occurs twice"),
        ("path,label\na\n", "line 2: 1 cells; expected 2, as in its first line"),
        ("path,label\n\na,b,c\n", "line 3: 3 cells; expected 2"),
        ('path,label\n"a,b\n', "is not CSV .unexpected end of data"),
        ("p\0ath,label\na,b\n", "holds zero bytes"),
        ("version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("path,track\na.wav,a.csv\n", "none of its tracks is a file"),
    ],
)
def test_tables_that_are_none(folder, tmp_path, text, message):
    (folder / "manifest.csv").write_text(text)
    with pytest.raises(corpus.CorpusError, match=rf"manifest.csv.*{message}"):
        checked(folder, tmp_path)


def test_no_table(folder, labelled, tmp_path):
    data_dir = tmp_path / "shards"
    for manual_dir, message in [
        (tmp_path / "none", "none does not exist. Expected a table"),
        (folder / NAMES[0], "one.wav is no table"),
        (folder / "anna", "anna holds no manifest. Expected a table"),
        ("", "manifest needs manual_dir"),
    ]:
        with pytest.raises(corpus.CorpusError, match=message):
            made(manual_dir, data_dir)
    (folder / "manifest.parquet").write_bytes(b"")
    with pytest.raises(corpus.CorpusError, match=r"manifest.csv and manifest.parquet"):
        made(folder, data_dir)


def test_shards_are_reused_without_the_table(labelled, tmp_path):
    data_dir = tmp_path / "shards"
    first = made(labelled, data_dir)
    files = sorted(pathlib.Path(first.data_path).iterdir())
    stamps = {p: p.stat().st_mtime_ns for p in files}
    for manual_dir in ["", labelled, labelled / "manifest.csv"]:
        again = made(manual_dir, data_dir)
        assert again.info.metadata["class_names"] == ["angry", "happy", "sad"]
    assert {p: p.stat().st_mtime_ns for p in files} == stamps


def test_tracks_are_reused_without_the_table(tracked, tmp_path):
    data_dir, windows = tmp_path / "shards", {"window_seconds": 0.2}
    made(tracked, data_dir, shift_seconds=0.2, **windows)
    reader = made("", data_dir, shift_seconds=0.2, **windows)
    assert reader.info.metadata["dimension_names"] == ["arousal", "valence"]
    with pytest.raises(corpus.CorpusError, match="name manual_dir to rebuild them"):
        made("", data_dir, **windows)


def test_another_table_replaces_the_shards(labelled, tmp_path):
    data_dir = tmp_path / "shards"
    made(labelled, data_dir)
    # Of the same size, and other classes.
    path = labelled / "manifest.csv"
    path.write_text(path.read_text().replace("happy", "happi"))
    reader = made(labelled, data_dir)
    assert reader.info.features["label"].names == ["angry", "happi", "sad"]
    write(labelled, ["path", "label"], zip(NAMES, "abcd"))
    reader = made(labelled, data_dir)
    assert reader.info.metadata["class_names"] == ["a", "b", "c", "d"]
    write_track(labelled / "one.csv", 10)
    write(labelled, ["path", "track"], [[NAMES[0], "one.csv"]])
    reader = made(labelled, data_dir, window_seconds=0.2, shift_seconds=0.2)
    metadata = json.loads((reader.data_path / "metadata.json").read_text())
    assert metadata["task"] == "regression"
    assert set(reader.info.features) >= {"labels"}
    made(labelled, data_dir, window_seconds=0.2, shift_seconds=0.2)
    write(labelled, ["path", "label"], zip(NAMES, "abcd"))
    reader = made(labelled, data_dir)
    assert reader.info.features["label"].names == ["a", "b", "c", "d"]
    assert "dimension_names" not in reader.info.metadata


def test_a_track_that_changes_makes_new_shards(tracked, tmp_path):
    options = {"window_seconds": 0.2, "shift_seconds": 0.2}
    before = made(tracked, tmp_path / "shards", **options).info.metadata
    path = tracked / "one.csv"
    path.write_text(path.read_text().replace("\n0.08,0.", "\n0.08,1."))
    after = made(tracked, tmp_path / "shards", **options).info.metadata
    assert before["fingerprint"] != after["fingerprint"]


def test_links_within_the_folder(labelled, tmp_path):
    (labelled / "anna").rename(tmp_path / "elsewhere")
    (labelled / "anna").symlink_to(tmp_path / "elsewhere")
    assert sum(checked(labelled, tmp_path).info.metadata["counts"]["class"].values())


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory):
    path = tmp_path_factory.mktemp("fuzz")
    for i, name in enumerate(NAMES):
        speech.write(path / name, i, SECONDS)
    write_track(path / "one.csv", 10)
    return path


@pytest.mark.parametrize("label", ["label", "track"])
@settings(max_examples=300, deadline=None)
@given(
    position=st.floats(0, 1),
    removed=st.integers(0, 20),
    inserted=st.one_of(
        st.binary(max_size=6), st.sampled_from([b",", b'"', b"\n", b"../"])
    ),
    in_track=st.booleans(),
)
def test_damaged_tables_are_errors_or_hold_what_is_there(
    fuzzed, label, position, removed, inserted, in_track
):
    value = "one.csv" if label == "track" else "sad"
    rows = [[name, value, who, 0, 0.4] for name, who in zip(NAMES, SPEAKERS)]
    write(fuzzed, ["path", label, "speaker", "start", "end"], rows)
    path = fuzzed / ("one.csv" if in_track else "manifest.csv")
    good = path.read_bytes()
    start = round(position * len(good))
    path.write_bytes(good[:start] + inserted + good[start + removed :])
    try:
        builder = checked(fuzzed, fuzzed / "shards")
    except corpus.CorpusError:
        return
    finally:
        path.write_bytes(good)
    metadata = builder.info.metadata
    assert sum(metadata["counts"]["speaker"].values()) <= len(NAMES)
    for group in builder._units.values():
        for segment in group:
            assert segment.path.relative_to(fuzzed).as_posix() in NAMES
            if label == "track":
                assert np.isfinite(segment.label).all()
