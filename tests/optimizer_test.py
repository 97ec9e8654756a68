"""Tests for `../diccoser_jax/optimizer.py`."""

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest

from diccoser_jax import optimizer
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

PARAMS = {
    "conv": {"kernel": jnp.array([1.0, -2.0]), "bias": jnp.array([3.0])},
    "norm": {"scale": jnp.array([4.0]), "bias": jnp.array([-5.0])},
}


def _config(**overrides):
    defaults = {
        "name": "rmsprop",
        "learning_rate": 1e-4,
        "schedule": "constant",
        "warmup_epochs": 0.0,
        "l2": 0.0,
        "weight_decay": 0.0,
    }
    return ml_collections.ConfigDict(defaults | overrides)


def _update(tx, gradient, params=PARAMS):
    updates, _ = tx.update(gradient, tx.init(params), params)
    return optax.apply_updates(params, updates)


@pytest.mark.parametrize(
    "config",
    [
        _config(l2=1e-4),
        _config(name="adam", l2=1e-4),
        _config(name="adam", weight_decay=1e-2),
    ],
    ids=["paper", "adam-l2", "adamw"],
)
def test_a_zero_gradient_shrinks_kernels_and_nothing_else(config):
    tx = optimizer.create_optimizer(config, steps_per_epoch=10, max_epochs=2)
    after = _update(tx, jax.tree.map(jnp.zeros_like, PARAMS))
    kernel = after["conv"]["kernel"]
    assert (jnp.abs(kernel) < jnp.abs(PARAMS["conv"]["kernel"])).all()
    assert (jnp.sign(kernel) == jnp.sign(PARAMS["conv"]["kernel"])).all()
    after["conv"]["kernel"] = PARAMS["conv"]["kernel"]
    assert jax.tree.all(jax.tree.map(jnp.array_equal, after, PARAMS))


def test_l2_is_the_gradient_of_a_term_in_the_loss():
    """The paper's recipe, against RMSProp on loss + c·Σw² over kernels.

    RMSProp forgets the scale of a gradient: only where the two terms oppose each other,
    near the minimum, would a wrong factor show.
    """
    c, target = 0.3, 0.5

    def loss(params, penalty):
        leaves = jax.tree.leaves(params)
        data_loss = sum(jnp.sum((leaf - target) ** 2) for leaf in leaves)
        return data_loss + penalty * jnp.sum(params["conv"]["kernel"] ** 2)

    ours = optimizer.create_optimizer(_config(l2=c, learning_rate=0.1), 10, 2)
    plain = optax.rmsprop(0.1)
    a, b = PARAMS, PARAMS
    state_a, state_b = ours.init(a), plain.init(b)
    for _ in range(30):
        updates, state_a = ours.update(jax.grad(loss)(a, 0.0), state_a, a)
        a = optax.apply_updates(a, updates)
        updates, state_b = plain.update(jax.grad(loss)(b, c), state_b, b)
        b = optax.apply_updates(b, updates)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), a, b
    )


def test_adam_with_weight_decay_is_adamw():
    config = _config(name="adam", learning_rate=1e-3, weight_decay=0.1)
    gradient = jax.tree.map(lambda x: x - 0.5, PARAMS)
    expected = _update(
        optax.adamw(1e-3, weight_decay=0.1, mask=optimizer.kernels), gradient
    )
    actual = _update(optimizer.create_optimizer(config, 10, 2), gradient)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), actual, expected
    )


@pytest.mark.parametrize(
    "model",
    [
        Diccoser(DiccoserConfig(features=4, block="gated")),
        Diccoser(DiccoserConfig(features=4)),
        CnnLstm(CnnLstmConfig(conv_features=(4, 4, 4), lstm_features=4)),
    ],
    ids=["gated", "relu", "cnn_lstm"],
)
def test_kernels_are_the_arrays_of_two_axes_and_more(model):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 48_000)))
    mask = optimizer.kernels(variables["params"])
    expected = jax.tree.map(lambda leaf: leaf.ndim >= 2, variables["params"])
    assert mask == expected


def test_cosine_warms_up_and_ends_at_zero():
    config = _config(schedule="cosine", warmup_epochs=1.5, learning_rate=2.0)
    schedule = optimizer.learning_rate_schedule(config, max_epochs=4)
    assert schedule(0) == 0
    assert schedule(0.6) == pytest.approx(2.0 * 6 / 15)
    assert schedule(1.5) == pytest.approx(2.0)
    assert schedule(1.5 + 2.5 / 2) == pytest.approx(1.0)
    assert schedule(4) == pytest.approx(0, abs=1e-7)
    short = optimizer.learning_rate_schedule(config, max_epochs=1)
    assert short(0.5) == pytest.approx(2.0)
    assert short(1) == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("steps_per_epoch", [4, 7])
def test_the_steps_of_an_epoch_are_counted(steps_per_epoch):
    config = _config(name="adam", schedule="cosine", warmup_epochs=1.0)
    ours = optimizer.create_optimizer(config, steps_per_epoch, max_epochs=3)
    steps = 3 * steps_per_epoch
    plain = optax.adam(
        optax.warmup_cosine_decay_schedule(0.0, 1e-4, steps_per_epoch, steps)
    )
    gradient = jax.tree.map(jnp.ones_like, PARAMS)
    state, plain_state = ours.init(PARAMS), plain.init(PARAMS)
    for _ in range(steps + 1):
        updates, state = ours.update(gradient, state, PARAMS)
        expected, plain_state = plain.update(gradient, plain_state)
        jax.tree.map(
            lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-11),
            updates,
            expected,
        )


def test_the_steps_of_an_epoch_are_no_part_of_the_program():
    config = _config(schedule="cosine", warmup_epochs=1.0)
    programs = set()
    for steps_per_epoch in (4, 7):
        tx = optimizer.create_optimizer(config, steps_per_epoch, max_epochs=3)
        lowered = jax.jit(tx.update).lower(PARAMS, tx.init(PARAMS), PARAMS)
        programs.add(lowered.as_text())
    assert len(programs) == 1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"name": "sgd"}, r"optimizer.name='sgd' is not in"),
        ({"schedule": "step"}, r"optimizer.schedule='step' is not"),
    ],
)
def test_unknown_settings_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        optimizer.create_optimizer(_config(**setting), 10, 2)
