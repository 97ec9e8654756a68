"""SAVEE: four men, seven acted emotions.

    python -m diccoser_jax.main --config=configs/savee.py \
        --config.data.manual_dir=DIR --workdir=DIR

Four folds, each of which tests one man. Not measured here.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "savee"
    config.folds.plan = "leave_one_out"
    config.folds.count = 0
    return config
