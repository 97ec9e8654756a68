"""The demo: a shrunk DiCCOSER-CS on the synthetic corpus.

    python -m diccoser_jax.main

About two minutes on 2 CPU cores.
Expected: UA at least 0.80 on held-out speakers (chance 0.25).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
    """The defaults, shrunk."""
    config = default.get_config()
    config.expected_score = 0.8
    config.model.features = 32
    config.model.local_stacks = 3
    config.train.max_epochs = 30
    return config
