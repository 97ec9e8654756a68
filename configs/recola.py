"""RECOLA, arousal and valence at 25 Hz: the paper's regression experiment.

    python -m diccoser_jax.main --config=configs/recola.py \
        --config.data.manual_dir=DIR --config.fold=0 --workdir=DIR

Needs the AVEC 2015/2016 distribution, by licence from the Universite de Fribourg; for
the full release set ``--config.data.dataset=recola/mean`` or ``recola/ewe``. Raw
waveform, windows of 20 s every 4 s, batch 5, CCC loss, RMSProp 1e-4, l2 1e-4, dropout
0.5.

The paper's Table 2, which says whom each fold validates and tests on, is not in the
text that this plan was written from: here the 18 recordings are dealt into five groups,
of which each is split in turn. Who has the table can spell it out:
``config.folds.plan = "explicit"`` and ``config.folds.explicit``.

The paper reports a CCC of 0.746 for arousal and 0.506 for valence, the mean of five
folds (section 5.1). Not measured here: the corpus is not open.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "paper") -> ml_collections.ConfigDict:
    """DiCCOSER-CS rms; ``--config.model.frontend=log_mel`` is section 5.3."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "recola/avec"
    config.data.window_seconds = 20.0
    config.data.shift_seconds = 4.0
    config.folds.plan = "split_fold"
    config.model.frontend = "raw"
    config.train.batch_size = 5
    config.train.max_epochs = 100
    return config
