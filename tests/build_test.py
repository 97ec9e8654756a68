"""Tests for `../data_prep/build.py`."""

import concurrent.futures
import contextlib
import os
import pathlib
import pickle
import shutil
import signal
import subprocess
import sys
import time
import tracemalloc

import commands
import malicious
import numpy as np
import pytest
import soundfile
import tensorflow_datasets as tfds

from data_prep import build, corpus, digests
from diccoser_jax import data

NAMES = ("03a01Wa", "03a01Nc", "16b10Lb", "16b10Td")


def write(path, seed=0):
    samples = 0.1 * np.random.default_rng(seed).normal(size=4_800)
    soundfile.write(path, samples, 16_000)


@pytest.fixture
def emodb(tmp_path):
    folder = tmp_path / "emodb/wav"
    folder.mkdir(parents=True)
    for i, name in enumerate(NAMES):
        write(folder / f"{name}.wav", seed=i)
    return folder


@pytest.fixture
def data_dir(tmp_path):
    return tmp_path / "shards"


def make(manual_dir, data_dir, allow_partial=True, **options):
    return build.build(
        "emodb",
        manual_dir,
        data_dir,
        allow_partial=allow_partial,
        progress=False,
        **options,
    )


def contents(shards):
    return {path.name: path.read_bytes() for path in shards.iterdir()}


def times(shards):
    return {path.name: path.stat().st_mtime_ns for path in shards.iterdir()}


def visible(folder):
    return [p.name for p in folder.iterdir() if not p.name.startswith(".")]


def metadata(shards):
    return tfds.builder_from_directory(shards).info.metadata


def test_builds_then_reuses(emodb, data_dir):
    shards = make(emodb, data_dir)
    assert shards == data_dir / "emodb/1.0.0"
    assert len(tfds.builder_from_directory(shards).as_data_source("speaker03")) == 2
    written = times(shards)
    assert make(emodb, data_dir) == shards
    assert make("", data_dir) == shards
    assert make(emodb, data_dir, on_bad_file="skip") == shards
    assert times(shards) == written
    assert [path.name for path in data_dir.iterdir()] == ["emodb"]


def test_builds_are_identical(emodb, data_dir, tmp_path):
    first = contents(make(emodb, data_dir))
    second = contents(make(emodb, tmp_path / "again"))
    records = [name for name in first if "array_record" in name]
    assert len(records) == 2
    for name in [*records, "metadata.json", "features.json"]:
        assert first[name] == second[name]


def test_rebuilds_when_the_corpus_changes(emodb, data_dir):
    before = metadata(make(emodb, data_dir))
    write(emodb / "03a02Wc.wav", seed=9)
    after = metadata(make(emodb, data_dir))
    assert before["counts"]["split"] == {"speaker03": 2, "speaker16": 2}
    assert after["counts"]["split"] == {"speaker03": 3, "speaker16": 2}
    assert before["fingerprint"] != after["fingerprint"]


def test_a_bad_file_leaves_the_old_shards_alone(emodb, data_dir):
    written = times(make(emodb, data_dir))
    (emodb / "03a02Wc.wav").write_bytes(b"RIFF")
    with pytest.raises(corpus.CorpusError, match=r"03a02Wc.wav: cannot be decoded"):
        make(emodb, data_dir)
    assert times(make("", data_dir)) == written
    skipping = make(emodb, data_dir, on_bad_file="skip")
    assert [bad["file"] for bad in metadata(skipping)["skipped"]] == ["03a02Wc.wav"]
    # Strict again: what was skipped is no longer accepted.
    with pytest.raises(corpus.CorpusError, match=r"03a02Wc.wav: cannot be decoded"):
        make(emodb, data_dir)


def test_leftovers_of_killed_builds_go(emodb, data_dir):
    (data_dir / "emodb/incomplete.ABCDEF_1.0.0").mkdir(parents=True)
    broken = data_dir / "emodb/1.0.0"
    broken.mkdir()
    (broken / "emodb-speaker03.array_record-00000-of-00001").write_bytes(b"half")
    make(emodb, data_dir)
    assert visible(data_dir / "emodb") == ["1.0.0"]
    assert len(tfds.builder_from_directory(broken).as_data_source("speaker03")) == 2


def test_a_killed_build_leaves_nothing_that_the_next_one_does_not_remove(
    emodb, data_dir
):
    names = [
        f"{s}{t}{e}{take}"
        for s in ("03", "08")
        for t in ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")
        for e in "WLEAFTN"
        for take in "abcdef"
    ]
    for name in names:
        if name not in NAMES:
            (emodb / f"{name}.wav").hardlink_to(emodb / "03a01Wa.wav")
    command = [sys.executable, "-m", "data_prep.build", "--dataset=emodb"]
    command += [f"--manual_dir={emodb}", f"--data_dir={data_dir}", "--allow_partial"]
    process = subprocess.Popen(command, cwd=commands.ROOT, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if list(data_dir.glob("emodb/incomplete/**/*speaker03*")):
            process.kill()
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    assert list(data_dir.glob("emodb/incomplete*"))
    assert not (data_dir / "emodb/1.0.0").exists()
    shards = make(emodb, data_dir)
    assert visible(data_dir / "emodb") == ["1.0.0"]
    counts = metadata(shards)["counts"]["split"]
    assert counts == {"speaker03": 420, "speaker08": 420, "speaker16": 2}


def test_shards_of_a_part_are_not_reused_for_the_whole(emodb, data_dir):
    written = times(make(emodb, data_dir))
    with pytest.raises(corpus.CorpusError, match="4 of 535 documented recordings"):
        make(emodb, data_dir, allow_partial=False)
    assert times(make(emodb, data_dir)) == written


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["*speaker03.array_record*", "dataset_info.json"])
@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (_flip, "has changed"),
        (lambda path: os.truncate(path, 100), "has changed"),
        (pathlib.Path.unlink, "is missing"),
        (lambda path: path.with_name("more").touch(), "is not one of its files"),
    ],
    ids=["flipped", "truncated", "deleted", "added"],
)
def test_damaged_shards_are_never_used(emodb, data_dir, caplog, name, damage, what):
    shards = make(emodb, data_dir)
    before = contents(shards)
    damage(*shards.glob(name))
    if (shards / "dataset_info.json").exists():
        with pytest.raises(corpus.CorpusError, match=f"{what}.*name manual_dir to"):
            make("", data_dir)
    make(emodb, data_dir)
    assert "Rebuilding" in caplog.text
    after = contents(shards)
    assert after.keys() == before.keys()
    for record in shards.glob("*array_record*"):
        assert after[record.name] == before[record.name]


def test_shards_without_digests_are_built_anew(emodb, data_dir):
    """A build that was killed before its last file is not complete."""
    shards = make(emodb, data_dir)
    (shards / digests.NAME).unlink()
    make(emodb, data_dir)
    assert (shards / digests.NAME).exists()


def test_a_full_disk_leaves_nothing_of_a_build(emodb, small_disk):
    data_dir, rest = small_disk / "shards", small_disk / "rest"
    rest.write_bytes(bytes(1000 << 10))
    with pytest.raises(OSError, match=r"cannot be written.*No space left"):
        make(emodb, data_dir)
    assert visible(data_dir / "emodb") == []
    rest.unlink()
    shards = make(emodb, data_dir)
    assert digests.damage(shards) == ""


def test_a_rebuild_that_finds_no_room_leaves_the_old_shards(emodb, small_disk):
    data_dir, rest = small_disk / "shards", small_disk / "rest"
    written = times(make(emodb, data_dir))
    write(emodb / "03a02Wc.wav", seed=9)
    rest.write_bytes(bytes(shutil.disk_usage(small_disk).free - (100 << 10)))
    with pytest.raises(OSError, match=r"cannot be written, and what was there is as"):
        make(emodb, data_dir)
    assert visible(data_dir / "emodb") == ["1.0.0"]
    assert times(make("", data_dir)) == written
    rest.unlink()
    assert metadata(make(emodb, data_dir))["counts"]["split"]["speaker03"] == 3


def test_a_build_that_was_killed_while_it_swapped_loses_nothing(emodb, data_dir):
    shards = make(emodb, data_dir)
    written = times(shards)
    shards.rename(shards.parent / "incomplete.replaced")
    (emodb / "03a02Wc.wav").write_bytes(b"RIFF")  # No new ones can be made.
    with pytest.raises(corpus.CorpusError, match="cannot be decoded"):
        make(emodb, data_dir)
    assert times(make("", data_dir)) == written


def test_a_pickle_in_place_of_shards_is_not_executed(emodb, data_dir, tmp_path):
    """Neither where its SHA-256 gives it away, nor where that was written anew."""
    shards, mark = make(emodb, data_dir), tmp_path / "executed"
    content = pickle.dumps(malicious.Pickle(mark))
    for path in list(shards.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(corpus.CorpusError, match=rf"{path.name} (has|is)"):
            make("", data_dir)
        if path.name != digests.NAME:
            digests.write(shards)
            with contextlib.suppress(Exception):  # TFDS's; none, by a file unread.
                opened = data.Corpus(make("", data_dir))
                source = opened.source(("speaker03", "speaker16"), evaluation=False)
                assert [source[i]["id"] for i in range(len(source))]
        path.write_bytes(whole)
        digests.write(shards)
    make("", data_dir)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()


def test_the_memory_of_a_build_does_not_grow_with_the_corpus(tmp_path):
    """Only with the records of a shard: 64 MiB unless somebody asks for more."""
    takes = [f"03a0{t}{e}{c}" for t in (1, 2) for e in "WLEAFTN" for c in "abcd"]
    sound = 0.1 * np.random.default_rng(0).normal(size=80_000)  # 160 kB in a record

    def peak_bytes(recordings, num_shards):
        folder = tmp_path / f"{recordings}-{num_shards}"
        folder.mkdir()
        for i, name in enumerate(takes[:recordings]):
            soundfile.write(folder / f"{name}.wav", np.roll(sound, i), 16_000)
        tracemalloc.start()
        make(folder, folder / "shards", num_shards=num_shards)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    peak_bytes(1, 1)  # what is imported, cached and compiled once
    few, many = peak_bytes(12, 3), peak_bytes(48, 12)
    assert few < 1.1 * many < 1.2 * few
    assert peak_bytes(48, 1) > 3 * few


def test_shards_on_a_disk_that_cannot_be_written_are_used(emodb, small_disk):
    shards = make(emodb, small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    assert make(emodb, small_disk) == shards


def test_of_two_that_build_the_same_one_waits(emodb, data_dir):
    with concurrent.futures.ThreadPoolExecutor() as pool:
        (one, two) = pool.map(lambda _: make(emodb, data_dir), range(2))
    assert one == two
    assert digests.damage(one) == ""
    assert visible(data_dir / "emodb") == ["1.0.0"]


def test_two_hours_fit_in_memory(emodb, data_dir):
    minute = (1000 * np.random.default_rng(0).normal(size=960_000)).astype(np.int16)
    with soundfile.SoundFile(emodb / "03a02Wc.wav", "w", 16_000, 1) as file:
        for _ in range(120):
            file.write(minute)
    code = (
        "import re, sys; from data_prep import build; "
        "build.build('emodb', *sys.argv[1:], allow_partial=True, progress=False); "
        # ru_maxrss would count the process that this one was forked from.
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, emodb, data_dir],
        cwd=commands.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    # The record alone is 220 MiB, and its writer copies it a few times.
    assert int(done.stdout) < 1800 * 1024
    shards = data_dir / "emodb/1.0.0"
    assert metadata(shards)["hours"] == pytest.approx(2, rel=0.001)
    lengths = [
        len(record["audio"])
        for record in tfds.builder_from_directory(shards).as_data_source("speaker03")
    ]
    assert sorted(lengths) == [4_800, 4_800, 120 * 960_000]


def test_number_of_shards(emodb, data_dir):
    shards = make(emodb, data_dir, num_shards=2)
    assert tfds.builder_from_directory(shards).info.splits["speaker16"].num_shards == 2
    written = times(shards)
    assert times(make(emodb, data_dir)) == written
    make(emodb, data_dir, num_shards=1)
    assert tfds.builder_from_directory(shards).info.splits["speaker16"].num_shards == 1
    with pytest.raises(corpus.CorpusError, match="num_shards is 3; expected 1 to 2"):
        make(emodb, data_dir, num_shards=3)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("emo-db", r"unknown dataset 'emo-db'; did you mean emodb\? Known: .*ravdess"),
        ("iris", r"unknown dataset 'iris'\. Known: .*emodb"),
        ("emodb/small", r"emodb has no configuration 'small'; expected one of none"),
        ("synthetic/x", r"no configuration 'x'; expected one of classification, regr"),
    ],
)
def test_unknown_names(data_dir, dataset, message):
    with pytest.raises(corpus.CorpusError, match=message):
        build.build(dataset, "", data_dir)


def test_no_corpus_and_no_shards(data_dir):
    with pytest.raises(corpus.CorpusError, match="emodb needs manual_dir, its folder"):
        make("", data_dir)


def test_options_make_other_shards(data_dir):
    def shards(**options):
        path = build.build(
            "synthetic/regression", "", data_dir, progress=False, **options
        )
        return metadata(path)

    default, sparse = shards(), shards(shift_seconds=20.0)
    options = {"window_seconds": 20.0, "shift_seconds": 4.0, "delay_seconds": 0.0}
    assert default["options"] == options
    assert sparse["options"] == {**options, "shift_seconds": 20.0}
    assert default["counts"]["split"]["speaker00"] == 11
    assert sparse["counts"]["split"]["speaker00"] == 3


def test_description(emodb, data_dir):
    (emodb / "03a02Wc.wav").write_bytes(b"")
    shards = make(emodb, data_dir, on_bad_file="skip")
    text = build.describe(metadata(shards))
    assert "4 recordings, 0.00 h, 2 speakers, 2 units" in text
    assert "by class: anger 1, boredom 1, disgust 0" in text
    assert "by split: speaker03 2, speaker16 2" in text
    assert "Warning: 4 of 535 documented recordings" in text
    assert "1 files skipped:\n  03a02Wc.wav: " in text


def test_command_line(emodb, data_dir):
    places = [f"--manual_dir={emodb}", f"--data_dir={data_dir}"]
    partial = commands.run("data_prep.build", "--dataset=emodb", *places)
    assert partial.returncode == 1
    assert "4 of 535 documented recordings" in partial.stderr
    assert visible(data_dir / "emodb") == []

    done = commands.run(
        "data_prep.build", "--dataset=emodb", "--allow_partial", *places
    )
    assert done.returncode == 0, done.stderr
    assert "by speaker: 03 2, 16 2" in done.stdout
    assert f"Shards: {data_dir}/emodb/1.0.0" in done.stdout
    assert "writing emodb: 100%" in done.stderr

    failed = commands.run("data_prep.build", "--dataset=ravdess", *places)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert "Error: " in failed.stderr
    assert "does not follow the code of RAVDESS" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_importing_defines_no_flags_and_no_tensorflow():
    code = (
        "import sys; from absl import flags; from data_prep import build; "
        "assert 'dataset' not in flags.FLAGS; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
