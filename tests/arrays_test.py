"""Tests for `../diccoser_jax/arrays.py`, and that the suite checks what it says."""

import importlib
import inspect

import axes
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from diccoser_jax import features, losses, metrics
from diccoser_jax.diccoser import DiccoserConfig, GlobalNetwork

X = jnp.zeros((2, 12, 3))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: features.frame_rms(X), "features.frame_rms"),
        (lambda: features.frame_max(jnp.zeros((1, 640), int)), "features.frame_max"),
        (lambda: losses.ccc_loss(X, X, jnp.ones((2, 11))), "losses.ccc_loss"),
        (lambda: losses.cross_entropy(X[0], jnp.zeros(12)), "losses.cross_entropy"),
        (lambda: metrics.recalls(np.ones((2, 3))), "metrics.recalls"),
        (
            lambda: GlobalNetwork(DiccoserConfig(features=3)).init({}, X, X[:, 1:]),
            "GlobalNetwork.__call__",
        ),
    ],
)
def test_an_array_of_another_shape_or_kind_is_refused(call, words):
    with pytest.raises(jaxtyping.TypeCheckError, match=rf"parameters of .*{words}"):
        call()


def test_a_function_that_returns_another_shape_is_found(monkeypatch):
    monkeypatch.setattr(features, "MEL_BANDS", 41)
    features._mel_filterbank.cache_clear()
    with pytest.raises(jaxtyping.TypeCheckError, match=r"return value of .*filterbank"):
        features.log_mel(jnp.zeros((1, 960)))


@pytest.mark.usefixtures("unchecked")
def test_who_uses_the_package_pays_for_no_check():
    assert features.frame_max(jnp.zeros((1, 640), int)).shape == (1, 1, 1)


def _public_functions(module):
    """Those of the module, and those of its classes."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", "") != module.__name__:
            continue
        if inspect.isclass(thing):
            yield from (
                member
                for key, member in vars(thing).items()
                if key == "__call__" or (not key.startswith("_") and callable(member))
            )
        elif callable(thing):
            yield thing


@pytest.mark.parametrize("name", axes.MODULES)
def test_every_array_of_a_public_function_has_axes(name):
    """But those of functions that check them, and say what is wrong."""
    found = 0
    for function in _public_functions(importlib.import_module(name)):
        hints = inspect.get_annotations(inspect.unwrap(function))
        parts = {part for hint in hints.values() for part in axes.parts(hint)}
        if not function.__name__.startswith("check_"):
            assert not parts & {jax.Array, np.ndarray}, function
        found += any(map(axes.is_array, parts))
    assert found
