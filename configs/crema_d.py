"""CREMA-D: 91 actors, six acted emotions.

    python -m diccoser_jax.main --config=configs/crema_d.py \
        --config.data.manual_dir=DIR --workdir=DIR

Five speaker-disjoint folds. Not measured here.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "crema_d"
    config.train.batch_size = 32
    return config
