"""Checks the axes of arrays at each call while tests run: see `diccoser_jax.arrays`."""

import inspect
import typing

import beartype
import jaxtyping

MODULES = [
    f"diccoser_jax.{name}"
    for name in (
        *("features", "layers", "diccoser", "cnn_lstm"),
        *("losses", "metrics", "ops", "stream", "attribution"),
    )
]


def install():
    """To be called before anything imports the modules."""
    jaxtyping.install_import_hook(MODULES, f"{__name__}.check")


def check(function):
    """The function, which refuses other arrays; what else it takes is for mypy."""
    function.__annotations__ = {
        name: hint
        for name, hint in function.__annotations__.items()
        if any(map(is_array, parts(hint)))
    }
    return beartype.beartype(function)


def parts(hint):
    """What a union or a tuple is made of."""
    inner = typing.get_args(hint)
    return [part for one in inner for part in parts(one)] if inner else [hint]


def is_array(hint):
    return inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray)
