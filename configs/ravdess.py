"""ravdess."""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """The corpus, with the recipe that follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "ravdess"
    return config
