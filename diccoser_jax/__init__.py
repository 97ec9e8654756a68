"""Causal, streamable speech emotion recognition in JAX.

The package is flat, and every module imports only from those above it:
``audio``, ``features``, ``layers``, ``diccoser`` and ``cnn_lstm`` are the network;
``losses``, ``metrics``, ``optimizer``, ``folds``, ``data``, ``checkpoint``, ``train``
and ``evaluate`` train it; ``predictions``, ``calibration`` and ``statistics`` judge
what came out; ``figures``, ``page`` and ``report`` show it; ``main`` is the command.
"""

__version__ = "0.1.0"
