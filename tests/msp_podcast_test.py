"""Tests for `../data_prep/msp_podcast/msp_podcast_dataset_builder.py`."""

import numpy as np
import pytest
import soundfile
import speech
import tensorflow_datasets as tfds

from data_prep import build, corpus
from data_prep.msp_podcast import msp_podcast_dataset_builder
from diccoser_jax import folds

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
# File, class, speaker, sex, partition.
ROWS = [
    ("MSP-PODCAST_0001_0008", "N", "30", "Male", "Train"),
    ("MSP-PODCAST_0001_0009", "A", "30", "Male", "Train"),
    ("MSP-PODCAST_0002_0001", "S", "Spkr_1", "Female", "Train"),
    ("MSP-PODCAST_0002_0002", "U", "Unknown", "Unknown", "Train"),
    ("MSP-PODCAST_0003_0001", "H", "7", "Female", "Development"),
    ("MSP-PODCAST_0003_0002", "F", "Unknown", "Male", "Development"),
    ("MSP-PODCAST_1023_0235", "H", "9", "Female", "Test1"),
    ("MSP-PODCAST_0004_0002", "C", "9", "Female", "Test1"),
    ("MSP-PODCAST_0004_0003", "X", "9", "Female", "Test1"),
    ("MSP-PODCAST_0005_0001", "N", "Unknown", "Unknown", "Test2"),
    ("MSP-PODCAST_0005_0002", "O", "Unknown", "Unknown", "Test2"),
    ("MSP-PODCAST_0006_0001", "", "Unknown", "Unknown", "Test3"),
]


def csv_of(rows):
    lines = [
        f"{file}.wav,{code},2.2,4.0,2.6,{speaker},{sex},{partition}"
        for file, code, speaker, sex, partition in rows
    ]
    return "\n".join([HEADER, *lines, ""])


def write_release(root, rows=ROWS, labels="labels_consensus.csv", audio="Audios"):
    (root / "Labels").mkdir(parents=True)
    (root / "Labels" / labels).write_text(csv_of(rows))
    for i, (file, *_) in enumerate(rows):
        speech.write(root / audio / f"{file}.wav", i)
    # The outlier of the corpus: stereo at 44.1 kHz.
    noise = 0.1 * np.random.default_rng(0).normal(size=(44_100, 2))
    soundfile.write(root / audio / "MSP-PODCAST_1023_0235.wav", noise, 44_100)
    previous = root / "Previous_releases_information"
    speech.write(previous / "files_removed_from_prev_versions/removed.wav", 50)
    old = previous / "previous_releases_info/1.8" / labels
    old.parent.mkdir(parents=True)
    old.write_text(csv_of(rows[:2]))
    (root / "Transcripts").mkdir()
    (root / "Transcripts/MSP-PODCAST_0001_0008.txt").write_text("Right.")
    (root / "Labels/._labels_consensus.csv").write_bytes(b"\0\5\x16\7")
    return root


@pytest.fixture
def release(tmp_path):
    return write_release(tmp_path / "msp")


def checked(manual_dir, data_dir, **options):
    builder = msp_podcast_dataset_builder.Builder(
        manual_dir=manual_dir, data_dir=data_dir, **options
    )
    builder.check()
    return builder


@pytest.mark.parametrize(
    ("labels", "audio"),
    [("labels_consensus.csv", "Audios"), ("labels_concensus.csv", "Audio")],
)
def test_partitions_classes_and_speakers(tmp_path, labels, audio):
    release = write_release(tmp_path / "msp", labels=labels, audio=audio)
    metadata = checked(release, tmp_path).info.metadata
    assert metadata["class_names"] == ["neutral", "anger", "sadness", "happiness"]
    assert list(metadata["counts"]["class"].values()) == [2, 1, 1, 2]
    assert metadata["counts"]["split"] == {
        "development": 1,
        "test1": 1,
        "test2": 1,
        "train": 3,
    }
    assert metadata["units"] == {
        "train": {"speakers": ["30", "Spkr_1"], "sex": "unknown"},
        "development": {"speakers": ["7"], "sex": "female"},
        "test1": {"speakers": ["9"], "sex": "female"},
        "test2": {"speakers": ["unknown of test2"], "sex": "unknown"},
    }
    left_out, unlabelled, unknown = metadata["warnings"]
    assert "5 turns left out" in left_out
    assert "C 1, F 1, O 1, U 1, X 1" in left_out
    assert "1 turns of Test3 left out" in unlabelled
    assert "1 turns of speakers whom the corpus does not name" in unknown


def test_eight_emotions(release, tmp_path):
    builder = checked(release, tmp_path, config="eight_emotions")
    assert builder.info.metadata["counts"]["class"] == {
        "neutral": 2,
        "anger": 1,
        "sadness": 1,
        "happiness": 2,
        "fear": 1,
        "disgust": 0,
        "contempt": 1,
        "surprise": 1,
    }
    assert any("O 1, X 1" in text for text in builder.info.metadata["warnings"])


def test_official_partitions_are_a_plan(release, tmp_path):
    """Unknown speakers of several partitions do not forbid it."""
    shards = build.build(
        "msp_podcast/eight_emotions", release, tmp_path / "shards", progress=False
    )
    info = tfds.builder_from_directory(shards).info
    units = info.metadata["units"]
    assert set(info.splits) == set(units)
    (fold,) = folds.explicit(
        [{"train": ["train"], "validation": ["development"], "test": ["test1"]}], units
    )
    folds.check_speakers_disjoint(
        fold, {name: unit["speakers"] for name, unit in units.items()}
    )
    assert "unknown of train" in units["train"]["speakers"]
    source = tfds.builder_from_directory(shards).as_data_source("test1")
    outlier = next(r for r in source if r["id"] == b"MSP-PODCAST_1023_0235")
    assert len(outlier["audio"]) == 16_000


def test_the_older_name_of_a_partition(tmp_path):
    rows = [(*row[:4], row[4].replace("Development", "Validation")) for row in ROWS]
    units = checked(write_release(tmp_path / "msp", rows), tmp_path).info.metadata
    assert "development" in units["units"]


def test_spaces_line_ends_and_blank_lines(release, tmp_path):
    path = release / "Labels/labels_consensus.csv"
    text = path.read_text()
    before = checked(release, tmp_path).info.metadata
    path.write_bytes(
        text.replace(",", " , ").replace("\n", "\r\n\r\n").encode("utf-8-sig")
    )
    after = checked(release, tmp_path).info.metadata
    assert after["counts"] == before["counts"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0008.wav,N", "0008.wav,Q", "line 2: emoclass is 'Q'; expected one of N, A"),
        ("30,Male", "30,male", "line 2: gender is 'male'; expected one of Female"),
        ("Male,Train", "Male,Dev", "line 2: split_set is 'Dev'; expected .* Test2"),
        ("0001_0009", "0001_0008", "line 3: labels .*_0008.wav again, after .* line 2"),
        ("0001_0009", "0001_0010", "line 3: labels .*_0010.wav, whose audio is miss"),
        ("0008.wav,N,", "0008.wav,N,,", "line 2: 9 cells; expected 8"),
        ("EmoClass", "Emotion", "has no column emoclass; found filename, emotion"),
        ("FileName", '"FileName', "is not CSV"),
    ],
)
def test_bad_labels_name_file_and_line(release, tmp_path, old, new, message):
    path = release / "Labels/labels_consensus.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(corpus.CorpusError, match=f"labels_consensus.csv.*{message}"):
        checked(release, tmp_path)


def test_audio_without_a_label(release, tmp_path):
    speech.write(release / "Audios/MSP-PODCAST_0009_0001.wav", 60)
    warnings = checked(release, tmp_path).info.metadata["warnings"]
    assert any(
        "1 audio files without a label left out, such as MSP-PODCAST_0009" in text
        for text in warnings
    )


@pytest.mark.parametrize("names", [[], ["labels_consensus.csv"] * 2])
def test_no_labels_or_two(release, tmp_path, names):
    (release / "Labels/labels_consensus.csv").rename(release / "kept.csv")
    for old in release.rglob("labels_consensus.csv"):
        old.unlink()
    for i, name in enumerate(names):
        (release / f"Labels{i}").mkdir()
        (release / f"Labels{i}" / name).write_text((release / "kept.csv").read_text())
    found = r"Labels0/.*, .*Labels1/" if names else "no file of labels"
    with pytest.raises(corpus.CorpusError, match=rf"{found}.*Expected the folder of"):
        checked(release, tmp_path)
