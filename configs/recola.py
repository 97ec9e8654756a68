"""RECOLA, arousal and valence at 25 Hz: the paper's regression experiment.

    python -m diccoser_jax.main --config=configs/recola.py \
        --config.data.manual_dir=DIR --config.fold=0 --workdir=DIR

Needs the AVEC 2015/2016 distribution, by licence from the Universite de Fribourg. For
the full release set ``--config.data.dataset=recola/mean`` or ``recola/ewe``, and
``--config.folds.plan=split_fold``, which deals recordings of any name. Raw waveform,
windows of 20 s every 4 s (``--config.data.shift_seconds=20``: without that
augmentation), batch 5, CCC loss, RMSProp 1e-4, l2 1e-4, dropout 0.5.

The paper's Table 2, which says whom each fold validates and tests on, is not in the
text that this was written from, and neither is Table 1, which says who is a woman: the
plan below is that of ``split_fold`` with seed 0. Who has the tables can correct it.

The paper reports a CCC of 0.746 for arousal and 0.506 for valence, the mean of five
folds (section 5.1). Not measured here: the corpus is not open.
"""

import ml_collections

from configs import default

_RECORDINGS = [f"{part}_{i}" for part in ("train", "dev") for i in range(1, 10)]
# Validation and test of each fold; the other recordings train.
_FOLDS = (
    (["dev_4", "dev_6"], ["train_3", "train_5"]),
    (["dev_3", "train_7"], ["train_2", "train_9"]),
    (["dev_9", "train_1"], ["dev_2", "train_4"]),
    (["dev_8"], ["dev_1", "train_6"]),
    (["train_8"], ["dev_5", "dev_7"]),
)


def get_config(recipe: str = "paper") -> ml_collections.ConfigDict:
    """DiCCOSER-CS rms; ``--config.model.frontend=log_mel`` is section 5.3."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "recola/avec"
    config.data.window_seconds = 20.0
    config.data.shift_seconds = 4.0
    config.folds.plan = "explicit"
    config.folds.explicit = tuple(
        {
            "train": [r for r in _RECORDINGS if r not in validation + test],
            "validation": validation,
            "test": test,
        }
        for validation, test in _FOLDS
    )
    config.model.frontend = "raw"
    config.train.batch_size = 5
    config.train.max_epochs = 100
    return config
