"""MSP-Podcast: natural speech, four emotions, the official partitions.

    python -m diccoser_jax.main --config=configs/msp_podcast.py \
        --config.data.manual_dir=DIR --workdir=DIR

One fold: train, development and test1. Not measured here.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "msp_podcast/four_emotions"
    config.folds.plan = "explicit"
    config.folds.explicit = (
        {"train": ["train"], "validation": ["development"], "test": ["test1"]},
    )
    config.train.batch_size = 32
    return config
