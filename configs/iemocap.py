"""IEMOCAP, improvised turns of four emotions: the paper's classification experiment.

    python -m diccoser_jax.main --config=configs/iemocap.py \
        --config.data.manual_dir=IEMOCAP_full_release --config.fold=0 --workdir=DIR

Needs the corpus, by licence from the University of Southern California. Fold k tests
session k+1, validates on the next one and trains on the other three. Raw waveform, 3 s,
batch 10, RMSProp 1e-4, l2 1e-4, dropout 0.5, time reversal with probability 0.5.

The paper reports WA 64.1 % and UA 53.6 %, the mean of five folds (section 5.1). Not
measured here: the corpus is not open.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "paper") -> ml_collections.ConfigDict:
    """DiCCOSER-CS rms; ``--config.model.frontend=log_mel`` is section 5.3."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "iemocap/improvised"
    config.folds.plan = "in_order"
    config.model.frontend = "raw"
    config.train.max_epochs = 100
    return config
