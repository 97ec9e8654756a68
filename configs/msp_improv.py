"""MSP-IMPROV: six sessions of two actors, four emotions.

    python -m diccoser_jax.main --config=configs/msp_improv.py \
        --config.data.manual_dir=DIR --workdir=DIR

Six folds, each of which tests one session. Not measured here.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "msp_improv"
    config.folds.plan = "in_order"
    config.folds.count = 0
    config.train.batch_size = 32
    return config
