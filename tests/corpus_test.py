"""Tests for `../data_prep/corpus.py`."""

import itertools
import json
import zipfile

import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_datasets.core import dataset_metadata

from data_prep import corpus
from data_prep.emodb import emodb_dataset_builder
from diccoser_jax import audio

FRAME_SAMPLES = 640


class LoudnessBuilder(corpus.CorpusBuilder):
    """A corpus whose first label is the loudness of its frame, read from a file."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "pairs of wav and npy files."
    dimension_names = ("loudness", "row")

    def recordings(self, files):
        return self.parse_each(
            files,
            lambda path: corpus.Recording(
                id=path.stem,
                unit=path.stem,
                speaker=path.stem,
                sex="unknown",
                label=np.load(path.with_suffix(".npy")),
                path=path,
            ),
        )

    @classmethod
    def get_metadata(cls):  # TFDS looks for a README beside the class.
        return dataset_metadata.DatasetMetadata("", "", [])


def write_loudness(folder, name, frames, extra_samples=0, rng=0):
    """Writes noise whose level changes with each frame, and that level as its label."""
    rng = np.random.default_rng(rng)
    level = rng.uniform(0.05, 0.2, size=frames)
    samples = np.repeat(level, FRAME_SAMPLES) * rng.choice(
        [-1, 1], frames * FRAME_SAMPLES
    )
    samples = np.append(samples, np.full(extra_samples, 0.1))
    soundfile.write(folder / f"{name}.wav", samples, 16_000)
    labels = np.stack([level, np.arange(frames)], axis=1).astype(np.float32)
    np.save(folder / f"{name}.npy", labels)
    return labels


def prepare(builder):
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
    return tfds.builder_from_directory(builder.data_dir)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "corpus"
    path.mkdir()
    return path


@pytest.fixture
def shards(tmp_path):
    return tmp_path / "shards"


@pytest.fixture
def emodb(folder):
    """Files named as in EmoDB, two of each of two speakers, all different."""
    (folder / "wav").mkdir()
    for i, name in enumerate(["03a01Wa", "03a01Nc", "16b10Lb", "16b10Td"]):
        samples = 0.1 * np.random.default_rng(i).normal(size=4_800)
        soundfile.write(folder / f"wav/{name}.wav", samples, 16_000)
    return folder


def checked(folder, shards, allow_partial=True, **options):
    builder = emodb_dataset_builder.Builder(
        manual_dir=folder, data_dir=shards, allow_partial=allow_partial, **options
    )
    builder.check()
    return builder.info.metadata


@given(st.integers(1, 1000), st.integers(1, 200))
def test_evaluation_windows_hold_each_frame_once(frames, size):
    windows = corpus.evaluation_windows(frames, size)
    covered = [i for window in windows for i in range(frames)[window]]
    assert covered == list(range(frames))
    assert all(w.stop - w.start == size for w in windows[:-1])


@given(st.integers(1, 1000), st.integers(1, 200), st.integers(1, 200))
def test_training_windows_are_whole_and_leave_no_frame_out(frames, size, shift):
    shift = min(shift, size)
    windows = corpus.training_windows(frames, size, shift)
    assert all(w.stop - w.start == min(size, frames) for w in windows)
    assert {i for w in windows for i in range(frames)[w]} == set(range(frames))
    starts = [w.start for w in windows]
    assert all(0 < b - a <= shift for a, b in itertools.pairwise(starts))
    assert starts[:-1] == list(range(0, starts[-1], shift))


def test_windows_of_the_paper():
    starts = [w.start for w in corpus.training_windows(7500, 500, 100)]
    assert starts == list(range(0, 7001, 100))


def test_labels_stay_with_their_samples_in_every_window(folder, shards):
    labels = {
        "a": write_loudness(folder, "a", 60, extra_samples=500, rng=1),
        "b": write_loudness(folder, "b", 7, rng=2),
    }
    reader = prepare(
        LoudnessBuilder(
            manual_dir=folder, data_dir=shards, window_seconds=1.0, shift_seconds=0.4
        )
    )
    counts = reader.info.metadata["counts"]["split"]
    assert counts == {"a": 5, "a_eval": 3, "b": 1, "b_eval": 1}
    assert set(reader.info.splits) == set(counts)
    for split, count in counts.items():
        records = list(reader.as_data_source(split))
        assert len(records) == count
        for record in records:
            frames = record["audio"].reshape(-1, FRAME_SAMPLES) / 32768
            # The level is both the label and what is heard: no row may slip.
            np.testing.assert_allclose(
                np.sqrt(np.mean(frames**2, axis=1)), record["labels"][:, 0], atol=1e-4
            )
            np.testing.assert_allclose(
                record["start_seconds"], record["labels"][0, 1] / 25, rtol=1e-6
            )
            assert record["audio"].dtype == np.int16
    for name, track in labels.items():
        records = sorted(
            reader.as_data_source(f"{name}_eval"), key=lambda r: r["start_seconds"]
        )
        assert {r["id"].decode() for r in records} == {name}
        np.testing.assert_array_equal(
            np.concatenate([r["labels"] for r in records]), track
        )


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((5, 2)), "a.wav: 5 label rows, 0.20 s, for 1.20 s of audio"),
        (np.zeros((31, 2)), "a.wav: 31 label rows, 1.24 s, for 1.20 s of audio"),
        (np.zeros((0, 2)), "a.wav: 0 label rows"),
        (np.zeros((30, 3)), "shape \\(30, 3\\); expected \\[frames, 2\\] for loudness"),
        (np.zeros(30), "shape \\(30,\\)"),
        (np.where(np.arange(60).reshape(30, 2) == 7, np.nan, 0.0), "label row 3 "),
    ],
)
def test_bad_tracks_are_errors(folder, shards, labels, message):
    write_loudness(folder, "a", 30)
    np.save(folder / "a.npy", labels.astype(np.float32))
    builder = LoudnessBuilder(manual_dir=folder, data_dir=shards)
    with pytest.raises(corpus.CorpusError, match=message):
        builder.check()


def test_a_recording_of_less_than_a_frame_is_an_error(folder, shards):
    np.save(folder / "a.npy", np.zeros((0, 2), np.float32))
    soundfile.write(folder / "a.wav", np.sin(np.arange(639)), 16_000)
    builder = LoudnessBuilder(manual_dir=folder, data_dir=shards)
    with pytest.raises(corpus.CorpusError, match=r"0 label rows, 0.00 s, for 0.04 s"):
        builder.check()


@pytest.mark.parametrize(
    ("rows", "extra_samples", "kept"),
    [(6, 0, 6), (30, 15_999, 30), (30, 0, 30), (31, 1, 30), (31, 639, 30)],
)
def test_audio_may_run_on_and_lack_a_part_of_the_last_frame(
    folder, shards, rows, extra_samples, kept
):
    write_loudness(folder, "a", 30, extra_samples)
    track = np.arange(2 * rows, dtype=np.float32).reshape(rows, 2)
    np.save(folder / "a.npy", track)
    reader = prepare(LoudnessBuilder(manual_dir=folder, data_dir=shards))
    (record,) = reader.as_data_source("a_eval")
    np.testing.assert_array_equal(record["labels"], track[:kept])
    assert len(record["audio"]) == kept * FRAME_SAMPLES


def test_delay_moves_labels_earlier_and_cuts_the_end(folder, shards):
    track = write_loudness(folder, "a", 30)
    builder = LoudnessBuilder(
        manual_dir=folder, data_dir=shards, window_seconds=0.4, delay_seconds=0.2
    )
    reader = prepare(builder)
    assert builder.options["delay_seconds"] == 0.2
    records = list(reader.as_data_source("a_eval"))
    assert [len(record["labels"]) for record in records] == [10, 10, 5]
    labels = np.concatenate([record["labels"] for record in records])
    np.testing.assert_array_equal(labels, track[5:])
    samples = np.concatenate([record["audio"] for record in records])
    wave, _ = soundfile.read(folder / "a.wav", dtype="int16")
    np.testing.assert_array_equal(samples, wave[: 25 * FRAME_SAMPLES])


def test_records_of_utterances(emodb, shards):
    reader = prepare(
        emodb_dataset_builder.Builder(
            manual_dir=emodb, data_dir=shards, allow_partial=True
        )
    )
    records = list(reader.as_data_source("speaker16"))
    assert sorted(record["id"] for record in records) == [b"16b10Lb", b"16b10Td"]
    for record in records:
        path = emodb / f"wav/{record['id'].decode()}.wav"
        np.testing.assert_array_equal(
            record["audio"], soundfile.read(path, dtype="int16")[0]
        )
        assert record["speaker"] == b"16"
        assert record["start_seconds"] == 0
    labels = {record["id"]: record["label"] for record in records}
    names = reader.info.metadata["class_names"]
    assert ",".join(names) == "anger,boredom,disgust,fear,happiness,neutral,sadness"
    assert names == reader.info.features["label"].names
    assert labels == {b"16b10Lb": 1, b"16b10Td": 6}


def test_metadata_is_json_and_counts_what_is_there(emodb, shards):
    metadata = checked(emodb, shards)
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["task"] == "classification"
    assert metadata["units"] == {
        "speaker03": {"speakers": ["03"], "sex": "male"},
        "speaker16": {"speakers": ["16"], "sex": "female"},
    }
    assert metadata["counts"]["class"] == {
        **dict.fromkeys(metadata["class_names"], 0),
        **dict.fromkeys(["anger", "neutral", "boredom", "sadness"], 1),
    }
    assert metadata["counts"]["speaker"] == {"03": 2, "16": 2}
    assert metadata["counts"]["split"] == {"speaker03": 2, "speaker16": 2}
    assert metadata["hours"] == pytest.approx(4 * 0.3 / 3600)
    assert metadata["skipped"] == []
    assert metadata["options"] == {}
    assert metadata["partial"]
    (warning,) = metadata["warnings"]
    assert warning.startswith("4 of 535 documented recordings; by class: anger 1 of 12")


def test_counts_other_than_documented_are_an_error(emodb, shards):
    message = (
        r"4 of 535 documented recordings; by class: anger 1 of 127 \(126 missing\).*; "
        r"by speaker: 03 2 of 49 \(47 missing\), 08 0 of 58 .*allow_partial"
    )
    with pytest.raises(corpus.CorpusError, match=message):
        checked(emodb, shards, allow_partial=False)


class TwoBuilder(LoudnessBuilder):
    documented_speakers = {"a": 1, "b": 1}  # noqa: RUF012


def test_counts_by_speaker_miss_nobody_and_nobody_is_too_many(folder, shards):
    def check(**options):
        builder = TwoBuilder(manual_dir=folder, data_dir=shards, **options)
        builder.check()
        return builder.info.metadata

    for i, name in enumerate("abc"):
        write_loudness(folder, name, 10, rng=i)
    with pytest.raises(corpus.CorpusError, match=r"3 of 2 .*c 1 of 0 \(1 too many\)"):
        check()
    (folder / "c.wav").unlink()
    assert check() == {**check(), "partial": False, "warnings": []}
    (folder / "b.wav").write_bytes(b"")
    # The user asked to skip, and no more is missing than was skipped.
    assert "b 0 of 1 (1 missing)" in check(on_bad_file="skip")["warnings"][0]
    (folder / "b.wav").unlink()
    with pytest.raises(corpus.CorpusError, match=r"1 of 2 .*b 0 of 1 \(1 missing\)"):
        check(on_bad_file="skip")


def test_the_same_sound_under_other_names_is_warned_of(emodb, shards):
    sound, _ = soundfile.read(emodb / "wav/03a01Wa.wav", dtype="int16")
    soundfile.write(emodb / "wav/16a02Wa.wav", sound, 16_000)
    soundfile.write(emodb / "wav/03a02Wa.wav", sound / 65536, 16_000, "FLOAT")
    metadata = checked(emodb, shards)
    assert metadata["warnings"][1:] == [
        "Identical audio under several names: 1 sets, 1 of them across units: "
        "03a01Wa = 16a02Wa."
    ]
    assert metadata["counts"]["speaker"] == {"03": 3, "16": 3}


def test_reading_writes_nothing_into_the_corpus(emodb, shards):
    def state():
        return {
            path: path.stat().st_mtime_ns for path in [emodb, *sorted(emodb.rglob("*"))]
        }

    before = state()
    for path in emodb.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    prepare(
        emodb_dataset_builder.Builder(
            manual_dir=emodb, data_dir=shards, allow_partial=True
        )
    )
    assert state() == before


def test_odd_names_links_and_the_shortest_files(folder, shards):
    odd = folder / "Ünïcode folder #1 100% [x]"
    odd.mkdir()
    for i, name in enumerate(["03a01Wa", "16a01Wa"]):
        sound = 0.1 * np.random.default_rng(i).normal(size=1_600)
        soundfile.write(odd / f"{name}.wav", sound, 16_000)
    (folder / "03a02Wa.WAV").symlink_to(odd / "03a01Wa.wav")
    (folder / "03a04Wa.wav").symlink_to(folder / "gone.wav")
    with pytest.raises(corpus.CorpusError, match=r"03a04Wa.wav: no such file"):
        checked(folder, shards)
    (folder / "03a04Wa.wav").unlink()
    metadata = checked(folder, shards)
    assert metadata["counts"]["split"] == {"speaker03": 2, "speaker16": 1}
    assert metadata["hours"] == pytest.approx(3 * 0.1 / 3600)


def test_text_of_any_age(tmp_path):
    path = tmp_path / "labels.txt"
    for content in (
        b"caf\xe9 1\r\nb\r",
        "café 1\nb\n".encode(),
        "\ufeffcafé 1\r\nb\n".encode(),
    ):
        path.write_bytes(content)
        assert corpus.read_text(path) == "café 1\nb\n"
    for content, message in (
        (b"", "empty"),
        (b" \n", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("a,b".encode("utf-16"), "zero bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(corpus.CorpusError, match=f"labels.txt: .*{message}"):
            corpus.read_text(path)
    path.unlink()
    with pytest.raises(corpus.CorpusError, match="No such file"):
        corpus.read_text(path)


def test_records_are_dealt_to_shards_in_order(folder, shards, monkeypatch):
    for i, name in enumerate("ab"):
        write_loudness(folder, name, 100, rng=i)
    options = {"window_seconds": 1.0, "shift_seconds": 0.4}

    def starts(reader):
        records = reader.as_data_source("a")
        return [float(record["start_seconds"]) for record in records]

    whole = prepare(LoudnessBuilder(manual_dir=folder, data_dir=shards, **options))
    assert whole.info.splits["a"].num_shards == 1
    expected = [0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.0]
    assert starts(whole) == pytest.approx(expected)
    # A window is 32 kB, so two fill a shard and nine take five.
    monkeypatch.setattr(corpus, "_SHARD_BYTES", 64_000)
    small = prepare(
        LoudnessBuilder(manual_dir=folder, data_dir=shards / "small", **options)
    )
    assert small.info.splits["a"].shard_lengths == [1, 2, 2, 2, 2]
    assert starts(small) == starts(whole)


def test_bad_files_stop_the_build_or_are_listed(emodb, shards):
    (emodb / "wav/03a02Wa.wav").write_bytes(b"")
    (emodb / "wav/03a02Xa.wav").write_bytes((emodb / "wav/03a01Wa.wav").read_bytes())
    (emodb / "wav/cough.WAV").write_bytes((emodb / "wav/03a01Wa.wav").read_bytes())
    with pytest.raises(corpus.CorpusError, match=r"emotion X .*on_bad_file"):
        checked(emodb, shards)
    metadata = checked(emodb, shards, on_bad_file="skip")
    assert {bad["file"]: bad["reason"] for bad in metadata["skipped"]} == {
        "wav/03a02Wa.wav": f"{emodb}/wav/03a02Wa.wav: empty (0 bytes); expected an "
        "audio file",
        "wav/03a02Xa.wav": f"{emodb}/wav/03a02Xa.wav: emotion X is not in the code of "
        "EmoDB; expected one of W, L, E, A, F, N, T",
        "wav/cough.WAV": f"{emodb}/wav/cough.WAV: its name does not follow the code of "
        "EmoDB; expected speaker, text, emotion and take, such as 03a01Wa.wav",
    }
    assert sum(metadata["counts"]["speaker"].values()) == 4


def test_a_unit_without_a_good_file_is_no_split(emodb, shards):
    for path in (emodb / "wav").glob("16*"):
        path.write_bytes(b"")
    metadata = checked(emodb, shards, on_bad_file="skip")
    assert list(metadata["units"]) == ["speaker03"]
    for path in (emodb / "wav").glob("03*"):
        path.write_bytes(b"")
    with pytest.raises(corpus.CorpusError, match="none of its recordings can be used"):
        checked(emodb, shards, on_bad_file="skip")


def test_what_macos_leaves_behind_is_ignored(emodb, shards):
    (emodb / "wav/._03a01Wa.wav").write_bytes(b"\0\5\26\7")
    (emodb / "wav/.DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert checked(emodb, shards)["skipped"] == []


def test_copies_are_dropped_and_contradictions_are_errors(emodb, shards):
    (emodb / "again").mkdir()
    copy = emodb / "again/03a01Wa.wav"
    copy.write_bytes((emodb / "wav/03a01Wa.wav").read_bytes())
    metadata = checked(emodb, shards)
    assert metadata["counts"]["speaker"] == {"03": 2, "16": 2}
    assert any(
        "1 files left out: copies" in warning for warning in metadata["warnings"]
    )
    copy.write_bytes((emodb / "wav/03a01Nc.wav").read_bytes())
    with pytest.raises(
        corpus.CorpusError, match=r"wav/03a01Wa.wav: has the name of .*again"
    ):
        checked(emodb, shards)


def test_links_are_followed_and_loops_end(emodb, shards, tmp_path):
    outside = tmp_path / "elsewhere"
    (emodb / "wav").rename(outside)
    (emodb / "wav").symlink_to(outside)
    (outside / "loop").symlink_to(emodb)
    assert checked(emodb, shards)["counts"]["split"] == {"speaker03": 2, "speaker16": 2}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.rmdir(), "corpus does not exist. Expected the EmoDB folder"),
        (lambda path: None, "corpus holds no .wav file. Expected the EmoDB folder"),
        (
            lambda path: zipfile.ZipFile(path / "emodb.zip", "w").close(),
            "holds no .wav file, but emodb.zip: unpack it",
        ),
        (
            lambda path: (path.rmdir(), path.write_text("wav")),
            "corpus is not a folder",
        ),
    ],
)
def test_a_wrong_folder_is_an_error_that_tells_the_layout(
    folder, shards, make, message
):
    make(folder)
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, shards)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_bad_file": "ignore"}, "on_bad_file is 'ignore'; expected raise or skip"),
        ({"window_seconds": 0.03}, "window_seconds is 0.03; expected a positive mult"),
        ({"shift_seconds": 0}, "shift_seconds is 0; expected a positive multiple"),
    ],
)
def test_bad_options_are_errors(folder, shards, options, message):
    with pytest.raises(corpus.CorpusError, match=message):
        checked(folder, shards, **options)


def test_the_fingerprint_changes_with_files_and_options(folder, shards):
    write_loudness(folder, "a", 10)

    def fingerprint(**options):
        return LoudnessBuilder(
            manual_dir=folder, data_dir=shards, **options
        ).fingerprint()

    first = fingerprint()
    assert fingerprint(on_bad_file="skip") == first
    assert fingerprint(window_seconds=8.0) != first
    write_loudness(folder, "a", 11)
    longer = fingerprint()
    assert longer != first
    write_loudness(folder, "b", 11)
    assert fingerprint() not in (first, longer)


def test_frames_are_those_of_the_networks():
    assert corpus.FRAME_SAMPLES == FRAME_SAMPLES
    assert corpus.FRAME_SAMPLES * corpus.FRAME_RATE_HZ == audio.SAMPLE_RATE_HZ
