"""Tests for `../diccoser_jax/checkpoint.py`."""

import pickle
import shutil

import jax
import jax.numpy as jnp
import malicious
import numpy as np
import pytest

from configs import default
from diccoser_jax.checkpoint import CheckpointError, Checkpoints
from diccoser_jax.config import ConfigError


def _open(directory, corpus="abc", every_seconds=60.0, **settings):
    config = default.get_config()
    config.update(settings)
    return Checkpoints(directory, config, corpus, every_seconds)


def _state(value):
    return {
        "step": jnp.int32(value),
        "kernel": jnp.full((3, 2), value, jnp.float32),
        "key": jax.random.key(value),
    }


def _assert_state(state, value):
    for leaf, expected in zip(jax.tree.leaves(state), jax.tree.leaves(_state(value))):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf, expected = map(jax.random.key_data, (leaf, expected))
        np.testing.assert_array_equal(leaf, expected)


def _steps(directory):
    return sorted(int(p.name) for p in directory.iterdir())


@pytest.fixture
def saved(tmp_path):
    """Steps 10, 20 (the best), 30 and 40."""
    directory = tmp_path / "checkpoints"
    with _open(directory) as checkpoints:
        for step, best in ((10, 10), (20, 20), (30, 20), (40, 20)):
            checkpoints.save(step, _state(step), {"epoch": step // 10}, best_step=best)
    return directory


def test_the_two_latest_and_the_best_are_kept(saved):
    assert _steps(saved) == [20, 30, 40]
    with _open(saved) as checkpoints:
        assert checkpoints.latest_step == 40
        assert checkpoints.path(20).is_dir()
        state, progress = checkpoints.restore_latest(like=_state(0))
        _assert_state(state, 40)
        assert progress == {"epoch": 4}
        _assert_state(checkpoints.restore(20, like=_state(0)), 20)
        checkpoints.save(50, _state(50), {}, best_step=50)
    assert _steps(saved) == [40, 50]


def test_an_empty_folder_has_none(tmp_path):
    with _open(tmp_path / "c") as checkpoints:
        assert checkpoints.latest_step is None
        assert checkpoints.restore_latest(like=_state(0)) is None


def _files(directory, step):
    return sorted(p for p in (directory / str(step)).rglob("*") if p.is_file())


# Orbax leaves futures of failed reads to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_any_flipped_byte_of_what_is_restored_is_found(saved, tmp_path, capsys):
    """In every file in turn; a byte that is none of state or progress may pass."""
    for number, whole in enumerate(_files(saved, 40)):
        copy = tmp_path / str(number) / "checkpoints"
        shutil.copytree(saved, copy)
        path = copy / whole.relative_to(saved)
        content = bytearray(path.read_bytes())
        if not content:
            continue
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)
        with _open(copy) as checkpoints:
            state, progress = checkpoints.restore_latest(like=_state(0))
        value = 10 * progress["epoch"]
        _assert_state(state, value)
        if value == 40:
            assert _steps(copy) == [20, 30, 40]
            continue
        assert value == 30
        assert _steps(copy) == [20, 30]
        (aside,) = (copy.parent / "damaged_checkpoints").iterdir()
        assert aside.name == "1-step40"
        assert f"was moved to {aside}" in capsys.readouterr().err


def _data_file(directory, step):
    return max(_files(directory / str(step), "state"), key=lambda p: p.stat().st_size)


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda step: _flip(_data_file(step.parent, step.name)),
        lambda step: _data_file(step.parent, step.name).write_bytes(b""),
        lambda step: shutil.rmtree(step / "state"),
        lambda step: shutil.rmtree(step / "about"),
        lambda step: [p.unlink() for p in step.rglob("*") if p.is_file()],
        lambda step: (step / "about/metadata").write_text("{}"),
    ],
    ids=["flipped", "emptied", "no state", "no progress", "no files", "other JSON"],
)
def test_a_damaged_latest_goes_aside_and_the_one_before_is_used(saved, damage, capsys):
    damage(saved / "40")
    with _open(saved) as checkpoints:
        state, progress = checkpoints.restore_latest(like=_state(0))
        _assert_state(state, 30)
        assert progress == {"epoch": 3}
        checkpoints.save(40, _state(41), {"epoch": 4}, best_step=20)
    assert "Warning: a checkpoint cannot be used" in capsys.readouterr().err
    with _open(saved) as checkpoints:
        _assert_state(checkpoints.restore_latest(like=_state(0))[0], 41)


def test_a_damaged_best_takes_those_along_that_name_it(saved):
    """What is lost is trained again: nothing else gives the same result."""
    _flip(_data_file(saved, 20))
    with _open(saved) as checkpoints:
        with pytest.raises(CheckpointError, match=r"20: state: .*same command again"):
            checkpoints.restore(20, like=_state(0))
        assert checkpoints.restore_latest(like=_state(0)) is None
    assert _steps(saved) == []
    assert len(list((saved.parent / "damaged_checkpoints").iterdir())) == 3


def test_another_configuration_or_corpus_is_refused(saved):
    with (
        _open(saved, seed=3, fold="1") as checkpoints,
        pytest.raises(ConfigError, match=r"40 was made by .*\n.*\n  seed: was 0, is 3"),
    ):
        checkpoints.restore_latest(like=_state(0))
    with (
        _open(saved, corpus="def") as checkpoints,
        pytest.raises(ConfigError, match=r"40 was made from other recordings"),
    ):
        checkpoints.restore_latest(like=_state(0))
    assert _steps(saved) == [20, 30, 40]


def test_a_state_of_another_structure_is_not_restored(saved):
    other = _state(0) | {"kernel": jnp.zeros((4, 2))}
    with (
        _open(saved) as checkpoints,
        pytest.raises(CheckpointError, match=r"made by version .* whose states are"),
    ):
        checkpoints.restore_latest(like=other)
    assert _steps(saved) == [20, 30, 40]


def test_a_step_is_not_saved_twice(tmp_path):
    with _open(tmp_path) as checkpoints:
        checkpoints.save(2, _state(2), {}, best_step=0)
        with pytest.raises(CheckpointError, match="No checkpoint of step 1"):
            checkpoints.save(1, _state(1), {}, best_step=0)


def test_one_is_due_when_the_last_is_old(tmp_path):
    with _open(tmp_path, every_seconds=1e6) as checkpoints:
        assert not checkpoints.due
    with _open(tmp_path, every_seconds=0.0) as checkpoints:
        assert checkpoints.due


def test_donated_buffers_can_be_reused_at_once(tmp_path):
    """Saving goes on in the background while training overwrites the state."""
    bump = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = {"kernel": jnp.zeros((2000, 2000))}
    with _open(tmp_path) as checkpoints:
        checkpoints.save(1, state, {}, best_step=0)
        for _ in range(3):
            state = bump(state)
        restored = checkpoints.restore(1, like=state)
    assert not restored["kernel"].any()


def test_a_full_disk_leaves_the_checkpoints_that_are_there(small_disk):
    big = {"noise": jax.random.normal(jax.random.key(0), (100_000,))}

    def fill():
        with _open(small_disk / "c") as checkpoints:
            for step in (1, 2, 3, 4):
                checkpoints.save(step, big, {"step": step}, best_step=1)

    with pytest.raises(CheckpointError, match=r"No space left .*steps \[1, 2\]"):
        fill()
    with _open(small_disk / "c") as checkpoints:
        state, progress = checkpoints.restore_latest(like=big)
    assert progress == {"step": 2}
    np.testing.assert_array_equal(state["noise"], big["noise"])


def test_a_pickle_in_place_of_any_file_is_not_executed(saved, tmp_path):
    mark = tmp_path / "executed"
    content = pickle.dumps(malicious.Pickle(mark))
    for path in _files(saved, 40):
        path.write_bytes(content)
    with _open(saved) as checkpoints:
        state, _ = checkpoints.restore_latest(like=_state(0))
    _assert_state(state, 30)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()
