"""What a network costs, read from its program rather than from a stopwatch."""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core


def multiply_adds(function: Callable[..., Any], *arguments: Any) -> int:
    """Multiplications, each with an addition, in matrix products and convolutions.

    Counts the program as JAX traces it, before any compiler changes it. Loops count as
    often as they run; of several formulations for several platforms the leanest counts.

    Args:
      function: of arrays, as `jax.make_jaxpr` takes it.
      *arguments: arrays, or their shapes and dtypes.

    Returns:
      Their number.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
    return sum(_count_equation(equation) for equation in jaxpr.eqns)


def _shape(atom: Any) -> tuple[int, ...]:
    return atom.aval.shape  # of arrays, which is all that these operations take


def _count_equation(equation: core.JaxprEqn) -> int:
    outputs = math.prod(_shape(equation.outvars[0])) if equation.outvars else 0
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        left = _shape(equation.invars[0])
        return outputs * math.prod(left[axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        numbers = equation.params["dimension_numbers"]
        kernel = list(_shape(equation.invars[1]))
        kernel[numbers.rhs_spec[0]] = 1  # its outputs are counted already
        return outputs * math.prod(kernel)
    inside = [_count(jaxpr) for jaxpr in core.jaxprs_in_params(equation.params)]
    if equation.primitive.name == "scan":
        return equation.params["length"] * sum(inside)
    if equation.primitive.name == "cond":
        return min(inside)
    return sum(inside)
