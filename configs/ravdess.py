"""RAVDESS, speech: 24 actors, eight acted emotions.

    python -m diccoser_jax.main --config=configs/ravdess.py \
        --config.data.manual_dir=DIR --workdir=DIR

``DIR`` holds ``Actor_01`` to ``Actor_24``. Five speaker-disjoint folds. The utterances
end with about a second of silence: windows of 4 s hold nearly all of the speech.

All five (``--config.fold=all``), on actors 1 to 16: UA 0.548 ± 0.071 (chance 0.125), WA
0.569, about 3 core-minutes a fold. The recipe ``best`` with
``--config.model.network=diccoser --config.model.block=dropout_last``: 0.573 ± 0.072, WA
0.588. With ``--config.train.max_epochs=120 --config.train.patience_epochs=120``, too:
0.587 ± 0.078, WA 0.604.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "ravdess"
    config.data.window_seconds = 4.0
    # Copies with a part of the actors are common; the report names those that lack.
    config.data.allow_partial = True
    return config
