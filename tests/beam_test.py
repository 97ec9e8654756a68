"""Tests for `../data_prep/beam.py`: builds with Apache Beam, on one machine."""

import csv
import sys

import numpy as np
import pytest
import soundfile

from data_prep import build, corpus

# What DirectRunner becomes where it cannot download another one, Prism, of Go.
LOCAL = ("runner=FnApiRunner",)


def write(path, seconds, seed):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    soundfile.write(path, 0.1 * rng.normal(size=round(16_000 * seconds)), 16_000)


def contents(shards):
    return {path.name: path.read_bytes() for path in shards.iterdir()}


@pytest.fixture
def utterances(tmp_path):
    """Seven files of EmoDB, one of them broken, two of them equal."""
    folder = tmp_path / "corpus"
    names = ("03a01Wa", "03a01Nc", "03a02Nc", "16b10Lb", "16b10Td", "16b09Td")
    for i, name in enumerate(names):
        write(folder / f"{name}.wav", 0.3 + i / 100, seed=i % 5)
    (folder / "16b02Td.wav").write_bytes(b"RIFF")
    return "emodb", folder, {"on_bad_file": "skip", "num_shards": 2}


@pytest.fixture
def tracks(tmp_path):
    """A table of recordings with arousal, which a worker has to read, too."""
    folder = tmp_path / "corpus"
    rows = [["path", "track", "speaker"]]
    for i, speaker in enumerate("abc"):
        write(folder / f"{speaker}.wav", 6, seed=i)
        with (folder / f"{speaker}.csv").open("w", newline="") as file:
            values = np.random.default_rng(i).normal(size=150)
            lines = [[t / 25, value] for t, value in enumerate(values)]
            csv.writer(file).writerows([["time", "arousal"], *lines])
        rows.append([f"{speaker}.wav", f"{speaker}.csv", speaker])
    with (folder / "mine.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return (
        "manifest",
        folder / "mine.csv",
        {"window_seconds": 2.0, "shift_seconds": 1.0},
    )


@pytest.mark.parametrize("made", ["utterances", "tracks"])
def test_beam_makes_the_same_files(made, tmp_path, request):
    pytest.importorskip("apache_beam", reason="needs Apache Beam")
    dataset, folder, options = request.getfixturevalue(made)
    alone, shared = (
        build.build(
            dataset,
            folder,
            tmp_path / name,
            allow_partial=True,
            progress=False,
            beam_options=beam_options,
            **options,
        )
        for name, beam_options in (("alone", ()), ("shared", LOCAL))
    )
    expected, found = contents(alone), contents(shared)
    assert len([name for name in expected if "array_record" in name]) >= 4
    assert found == expected
    assert [p.name for p in shared.parent.iterdir() if p.name[0] != "."] == ["1.0.0"]


def test_a_bad_file_ends_a_build_by_beam(utterances, tmp_path):
    pytest.importorskip("apache_beam", reason="needs Apache Beam")
    with pytest.raises(corpus.CorpusError, match=r"16b02Td.wav: cannot be decoded"):
        build.build(
            *utterances[:2], tmp_path / "shards", progress=False, beam_options=LOCAL
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["runer=DirectRunner"], r"Beam has no option 'runer'; did you mean runner\?"),
        (["runner=Director"], "Unexpected pipeline runner: Director. Valid values"),
        (
            ["direct_num_workers=many"],
            "--direct_num_workers: invalid int value: 'many'",
        ),
        (["direct_num_workers=2", "job_port"], "--job_port: expected one argument"),
    ],
)
def test_wrong_options(utterances, tmp_path, options, message):
    pytest.importorskip("apache_beam", reason="needs Apache Beam")
    with pytest.raises(corpus.CorpusError, match=message):
        build.build(*utterances[:2], tmp_path / "shards", beam_options=options)
    assert not (tmp_path / "shards").exists()


def test_without_beam_the_extra_is_named(utterances, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(corpus.CorpusError, match=r"pip install 'diccoser-jax\[beam\]'"):
        build.build(*utterances[:2], tmp_path / "shards", beam_options=LOCAL)
