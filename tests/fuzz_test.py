"""Damaged audio and label files give an error that names them, or what is in them."""

import pathlib

import layouts
import numpy as np
import pytest
import soundfile
import speech

from data_prep import corpus
from data_prep.recola import recola_dataset_builder
from diccoser_jax import audio

FILES_OF_EACH_KIND = 1000


def mutate(content: bytes, rng: np.random.Generator, head: int) -> bytes:
    """Damages a file as disks, transfers and editors do; its head most often."""
    data = bytearray(content)
    kind = rng.integers(6)
    place = int(rng.integers(min(head, len(data)) if rng.random() < 0.8 else len(data)))
    size = int(rng.integers(1, 9))
    if kind == 0:  # A byte.
        data[place] = rng.integers(256)
    elif kind == 1:  # A bit.
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:  # The end is missing.
        del data[place:]
    elif kind == 3:  # A piece is missing.
        del data[place : place + size]
    elif kind == 4:  # A piece is there twice.
        data[place:place] = data[place : place + size]
    else:  # Noise over a piece.
        data[place : place + size] = rng.bytes(size)
    return bytes(data)


def write_wav(path, samples):
    soundfile.write(path, samples, 16_000)


def write_stereo_24_bit(path, samples):
    soundfile.write(path, np.stack([samples] * 2, axis=1), 16_000, subtype="PCM_24")


def write_flac(path, samples):
    soundfile.write(path, samples, 16_000)


@pytest.mark.parametrize(
    ("write", "suffix"),
    [(write_wav, "wav"), (write_stereo_24_bit, "wav"), (write_flac, "flac")],
)
def test_audio(tmp_path, write, suffix):
    samples = speech.cut(3, 0.25)
    path = tmp_path / f"mutated.{suffix}"
    write(path, samples)
    content = path.read_bytes()
    whole = audio.read(path)
    rng = np.random.default_rng(len(content))
    refused = intact = 0
    for _ in range(FILES_OF_EACH_KIND):
        path.write_bytes(mutate(content, rng, head=64))
        try:
            waveform = audio.read(path)
        except audio.AudioError as error:
            refused += str(path) in str(error)
            continue
        assert waveform.dtype == np.float32
        assert np.isfinite(waveform).all()
        assert np.abs(waveform).max() <= 1
        # The sound itself, but for the piece that is damaged: FLAC tells even that.
        assert len(waveform) == len(whole)
        wrong = np.count_nonzero(waveform != whole)
        assert wrong <= (0 if suffix == "flac" else 9)
        intact += not wrong
    # The mutations are of both kinds: the test looks at something.
    assert refused > 50
    assert intact > 5


@pytest.fixture(params=["avec", "mean"])
def labels(request, tmp_path):
    """A reader of one label file, the file, and what it holds."""
    if request.param == "avec":
        folder = tmp_path / "ratings_gold_standard/arousal"
        track = layouts.loudness(50, np.random.default_rng(0))[:, 0]
        path = folder / "train_1.arff"
        layouts.write_arff(path, track)
    else:
        path = tmp_path / "emotional_behaviour/arousal/P16.csv"
        ratings = layouts.loudness(50, np.random.default_rng(0))
        layouts.write_raters(path, np.c_[ratings, ratings, ratings])
        track = ratings.mean(axis=1)
    builder = recola_dataset_builder.Builder(
        config=request.param, data_dir=tmp_path / "shards"
    )
    return builder._track, path, track


def test_label_files(labels):
    read, path, track = labels
    np.testing.assert_allclose(read(path), track, atol=1e-6)
    content = path.read_bytes()
    rng = np.random.default_rng(len(content))
    refused = intact = 0
    for _ in range(FILES_OF_EACH_KIND):
        path.write_bytes(mutate(content, rng, head=600))
        try:
            found = read(path)
        except corpus.CorpusError as error:
            refused += str(path) in str(error)
            continue
        assert np.isfinite(found).all()
        assert np.abs(found).max() <= 2
        # Rows may be lost at the end, which the length of the audio tells, and digits
        # of a rating or two may have changed, which nothing tells.
        assert 0 < len(found) <= len(track)
        wrong = np.abs(found - track[: len(found)]) > 1e-6
        assert wrong.sum() <= 3
        intact += not wrong.any()
    assert refused > 50
    assert intact > 5


def test_a_corpus_of_damaged_files_is_skipped_with_reasons(tmp_path):
    folder = tmp_path / "recola"
    layouts.recola_avec(folder, frames=30, sample_rate_hz=16_000)
    rng = np.random.default_rng(0)
    for path in sorted(folder.rglob("*_[1-4].*")):
        if path.parent.name != "recordings_audio" or path.stem.startswith("train"):
            path.write_bytes(mutate(path.read_bytes(), rng, head=64))
    builder = recola_dataset_builder.Builder(
        manual_dir=folder, data_dir=tmp_path / "shards", on_bad_file="skip"
    )
    builder.check()
    metadata = builder.info.metadata
    for bad in metadata["skipped"]:
        assert pathlib.Path(bad["file"]).stem in bad["reason"]
    kept = sum(metadata["counts"]["speaker"].values())
    assert kept + len(metadata["skipped"]) == 18
    assert metadata["skipped"]
