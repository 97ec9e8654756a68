"""EmoDB: ten speakers, seven acted emotions.

    python -m diccoser_jax.main --config=configs/emodb.py \
        --config.data.manual_dir=DIR --workdir=DIR

``DIR`` holds ``wav/03a01Wa.wav`` and so on. Five speaker-disjoint folds.

All five (``--config.fold=all``): UA 0.593 ± 0.149 (chance 0.143), WA 0.602, about 3
core-minutes a fold, on a copy cut to 2.0 s at 22 050 Hz. The recipe ``best`` with
``--config.model.network=diccoser``: 0.641 ± 0.113, WA 0.652.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "emodb"
    return config
