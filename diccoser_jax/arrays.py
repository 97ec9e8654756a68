"""How signatures write arrays: ``Float[Array, "batch frames outputs"]``.

The annotations are those of jaxtyping: a kind of number, then a name or a number for
each axis. One name is one length within a call; ``frames`` are ``samples // 640``, and
``time`` is whatever rate a layer runs at. They cost nothing when the package is used;
the tests check them at each call (``tests/axes.py``).
"""

import jax
import numpy as np

Array = jax.Array | np.ndarray
"""Waveforms, parameters and what is scored come as either; JAX returns the first."""
