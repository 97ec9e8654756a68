"""Tests for `../diccoser_jax/checkpoint.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diccoser_jax.checkpoint import Checkpoints


def _state(value):
    return {"step": jnp.int32(value), "kernel": jnp.full((3, 2), value, jnp.float32)}


def test_the_latest_and_the_best_are_kept(tmp_path):
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest_step is None
        assert checkpoints.best_step is None
        for step, score in ((10, 0.5), (20, 0.9), (30, 0.6), (40, 0.7)):
            checkpoints.save(step, _state(step), {"epoch": step // 10}, score)
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == ["20", "40"]
    with Checkpoints(tmp_path / "c") as checkpoints:
        assert checkpoints.latest_step == 40
        assert checkpoints.best_step == 20
        assert checkpoints.path(20).is_dir()
        for step in (20, 40):
            state, progress = checkpoints.restore(step, like=_state(0))
            jax.tree.map(np.testing.assert_array_equal, state, _state(step))
            assert progress == {"epoch": step // 10}


def test_a_state_of_another_shape_is_not_restored(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, _state(1), {}, 0.0)
        other = _state(0) | {"kernel": jnp.zeros((4, 2))}
        with pytest.raises(ValueError, match=r"\(3, 2\)|\(4, 2\)"):
            checkpoints.restore(1, like=other)


def test_a_step_is_not_saved_twice(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(2, _state(2), {}, 0.0)
        with pytest.raises(RuntimeError, match="No checkpoint of step 1"):
            checkpoints.save(1, _state(1), {}, 0.0)


def test_donated_buffers_can_be_reused_at_once(tmp_path):
    """Saving goes on in the background while training overwrites the state."""
    bump = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = {"kernel": jnp.zeros((2000, 2000))}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state, {}, 0.0)
        for _ in range(3):
            state = bump(state)
        restored, _ = checkpoints.restore(1, like=state)
    assert not restored["kernel"].any()
