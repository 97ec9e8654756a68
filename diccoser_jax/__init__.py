"""Causal, streamable speech emotion recognition in JAX.

    import diccoser_jax

    model = diccoser_jax.load()  # or load("runs/emodb"), the workdir of a training run
    result = model("speech.wav")
    result.label, result.frames

The package is flat, and every module imports only from those above it:
``audio``, ``features``, ``layers``, ``diccoser`` and ``cnn_lstm`` are the network;
``losses``, ``metrics``, ``optimizer``, ``folds``, ``data``, ``checkpoint``, ``train``
and ``evaluate`` train it; ``predictions``, ``calibration`` and ``statistics`` judge
what came out; ``figures``, ``page`` and ``report`` show it; ``main`` is the command.
``stream``, ``model_file`` and ``inference`` use what was trained; ``predict`` and
``export`` are their commands.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diccoser_jax.inference import Predictor

__version__ = "0.1.0"


def load(checkpoint: str | os.PathLike[str] | None = None) -> Predictor:
    """Loads a trained network; see `inference.load` and `inference.Predictor`."""
    from diccoser_jax import inference  # JAX takes a second to import

    return inference.load(checkpoint)
