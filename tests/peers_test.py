"""Tests for `../benchmarks`: every contestant computes what the package computes."""

import dataclasses
import functools
import importlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks import ours
from benchmarks.workloads import L2, LEARNING_RATE, WORKLOADS

LIBRARIES = {"plain_flax": "flax", "pytorch": "torch", "tensorflow_keras": "tensorflow"}
each_peer = pytest.mark.parametrize("peer", LIBRARIES)
each_workload = pytest.mark.parametrize("name", WORKLOADS)


def build(peer, workload):
    pytest.importorskip(LIBRARIES[peer])
    return importlib.import_module(f"benchmarks.peers.{peer}").build(workload)


def small(name):
    """Two windows of five frames, one local stack, no dropout.

    So small that hardly a unit is near a kink of ReLU or max-pooling, where rounding
    would decide about its gradient.
    """
    return dataclasses.replace(
        WORKLOADS[name], batch_size=2, samples=3200, dropout_rate=0.0, local_stacks=1
    )


@dataclasses.dataclass(frozen=True)
class Reference:
    """What this package makes of a small workload, from random variables."""

    variables: dict[str, Any]
    outputs: np.ndarray
    loss: float
    gradient: Any
    variables_after: dict[str, Any]


@functools.cache
def reference(name):
    contestant = ours.build(small(name))
    rng = np.random.default_rng(0)

    def disturb(path, leaf):
        noise = rng.normal(scale=0.1, size=leaf.shape).astype(np.float32)
        return leaf * np.exp(noise) if path[-1].key == "var" else leaf + noise

    variables = jax.tree_util.tree_map_with_path(
        disturb, jax.device_get(contestant.state.variables)
    )
    keep_gradient = optax.GradientTransformation(
        lambda params: jax.tree.map(jnp.zeros_like, params),
        lambda gradient, state, params=None: (gradient, gradient),
    )
    tx = optax.chain(keep_gradient, contestant.state.tx)
    contestant.state = contestant.state.replace(
        **jax.tree.map(jnp.array, variables),
        tx=tx,
        opt_state=tx.init(variables["params"]),
    )
    outputs, loss = contestant.infer(), contestant.train_step()
    return Reference(
        variables,
        outputs,
        loss,
        jax.device_get(contestant.state.opt_state[0]),
        jax.device_get(contestant.state.variables),
    )


def parameters(build_contestant, workload):
    """Of a contestant of the full size, traced only where it is of JAX."""
    counts = []
    jax.eval_shape(lambda: counts.append(build_contestant(workload).parameters))
    return counts[0]


@each_workload
@each_peer
def test_networks_are_of_one_size(peer, name):
    workload = WORKLOADS[name]
    assert parameters(functools.partial(build, peer), workload) == parameters(
        ours.build, workload
    )


def assert_close(actual, expected, tolerance, what=""):
    """Equal but for rounding; the tolerance is a share of the largest value."""
    atol = tolerance * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=atol, err_msg=what)


def learnt(contestant):
    """Parameters and running statistics, in an order of the library's own."""
    if hasattr(contestant, "model"):
        return contestant.model.get_weights()
    return jax.tree.leaves(jax.device_get(contestant.state.variables))


@each_workload
@pytest.mark.parametrize("peer", ["plain_flax", "tensorflow_keras"])
def test_outputs_loss_and_step_equal_the_package(peer, name):
    contestant, expected = build(peer, small(name)), reference(name)
    contestant.load(expected.variables)
    assert_close(contestant.infer(), expected.outputs, 2e-6)
    assert_close(contestant.train_step(), expected.loss, 1e-5)
    actual = learnt(contestant)
    contestant.load(expected.variables_after)
    for after, expected_after in zip(actual, learnt(contestant), strict=True):
        # The step itself is 3e-4 where there is much of a gradient.
        np.testing.assert_allclose(after, expected_after, rtol=1e-5, atol=1e-5)


@each_workload
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_pytorch_equals_the_package_but_for_the_epsilon_of_rmsprop(name):
    contestant, expected = build("pytorch", small(name)), reference(name)
    contestant.load(expected.variables)
    assert_close(contestant.infer(), expected.outputs, 2e-6)
    assert_close(contestant.train_step(), expected.loss, 1e-5)
    params = {
        key: parameter
        for key, parameter in contestant.module.named_parameters()
        if parameter.requires_grad
    }
    gradient = contestant.state_dict({"params": expected.gradient})
    before = contestant.state_dict(expected.variables)
    after = contestant.module.state_dict()
    assert set(params) == set(gradient)
    for key in params:
        assert_close(params[key].grad, gradient[key], 1e-4, key)
        g = params[key].grad + 2 * L2 * before[key] * (gradient[key].ndim > 1)
        step = LEARNING_RATE * g / ((0.1 * g**2).sqrt() + 1e-4)
        np.testing.assert_allclose(after[key], before[key] - step, atol=1e-7)
    for key, value in contestant.state_dict(expected.variables_after).items():
        # The running variance is of the other estimator, divided by n - 1.
        if key.endswith("running_mean"):
            assert_close(after[key], value, 1e-5, key)
