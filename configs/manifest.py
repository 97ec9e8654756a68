"""Your own recordings, listed in a CSV or Parquet file.

    python -m diccoser_jax.main --config=configs/manifest.py \
        --config.data.manual_dir=DIR --workdir=DIR

``DIR`` is the file, or the folder of ``manifest.csv``; its columns are described in
``data_prep/manifest/README.md``. Speakers are dealt into five folds; with a column
``fold`` set ``--config.folds.plan=in_order --config.folds.count=0``.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "manifest"
    return config
