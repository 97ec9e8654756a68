"""Tests for `../diccoser_jax/predictions.py`."""

import pickle

import malicious
import numpy as np
import pytest

from diccoser_jax import predictions


def make(rows=4, **replaced):
    arrays = {
        "recordings": np.array([f"ü/{i}" for i in range(rows)]),
        "speakers": np.array(["a"] * rows),
        "folds": np.zeros(rows, np.int32),
        "seeds": np.ones(rows, np.int32),
        "targets": np.arange(rows, dtype=np.int32),
        "outputs": np.eye(rows, 5, dtype=np.float32),
    }
    return predictions.Predictions(**arrays | replaced)


def assert_equal(a, b):
    for key in predictions._KEYS:
        assert getattr(a, key).dtype.kind == getattr(b, key).dtype.kind
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key))


def test_what_is_saved_is_loaded(tmp_path):
    path = tmp_path / "predictions.npz"
    make().save(path)
    assert_equal(predictions.load(path), make())
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.npz"]


def test_parts_follow_one_another():
    parts = [make(2), make(3, folds=np.full(3, 7, np.int32))]
    whole = predictions.concatenate(parts)
    np.testing.assert_array_equal(whole.folds, [0, 0, 7, 7, 7])
    np.testing.assert_array_equal(whole.targets, [0, 1, 0, 1, 2])
    assert whole.recordings.tolist() == ["ü/0", "ü/1", "ü/0", "ü/1", "ü/2"]


def test_damage_is_named(tmp_path):
    path = tmp_path / "predictions.npz"
    with pytest.raises(FileNotFoundError):
        predictions.load(path)
    make().save(path)
    whole = path.read_bytes()
    for content in (b"", b"nothing of the kind", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"predictions\.npz does not hold"):
            predictions.load(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 8] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"predictions\.npz does not hold"):
        predictions.load(path)
    np.savez(path, targets=np.zeros(3))
    with pytest.raises(ValueError, match=r"npz lacks \['recordings', "):
        predictions.load(path)
    make(targets=np.zeros(3, np.int32)).save(path)
    with pytest.raises(ValueError, match=r"as many rows, got .*'targets': 3"):
        predictions.load(path)


def test_a_pickle_is_not_executed(tmp_path):
    mark, path = tmp_path / "executed", tmp_path / "predictions.npz"
    path.write_bytes(pickle.dumps(malicious.Pickle(mark)))
    with pytest.raises(ValueError, match="does not hold predictions"):
        predictions.load(path)
    array = np.array([malicious.Pickle(mark)], dtype=object)
    np.savez(path, recordings=array)
    with pytest.raises(ValueError, match="does not hold predictions"):
        predictions.load(path)
    assert not mark.exists()
