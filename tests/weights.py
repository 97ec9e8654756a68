"""Random variables of networks, without the seconds of compiling an initialisation."""

import jax
import jax.numpy as jnp
import numpy as np


def of(network, samples):
    """Variables of a network that hears waveforms of this many samples."""
    waveform = jnp.zeros((1, samples))
    return draw(jax.eval_shape(network.init, jax.random.key(0), waveform))


def draw(shapes, seed=0):
    """Variables of these shapes (of `jax.eval_shape`), none of which is 0 or 1."""
    rng = np.random.default_rng(seed)

    def one(path, leaf):
        noise = rng.normal(size=leaf.shape)
        if path[-1].key == "kernel":
            noise /= np.sqrt(np.prod(leaf.shape[:-1]))
            if path[-2].key == "residual":  # many blocks add up: see layers.py
                noise /= np.sqrt(32)
        elif path[-1].key in ("scale", "var"):
            noise = np.exp(0.1 * noise)
        else:
            noise *= 0.1
        return jnp.asarray(noise, leaf.dtype)

    return jax.tree_util.tree_map_with_path(one, shapes)
