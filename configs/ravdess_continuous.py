"""Five minutes of each actor of RAVDESS, arousal and valence at 25 Hz.

    python -m data_prep.continuous --dataset=ravdess --manual_dir=RAVDESS --output=DIR
    python -m diccoser_jax.main --config=configs/ravdess_continuous.py \
        --config.data.manual_dir=DIR --workdir=DIR

For want of RECOLA: real speech, and labels that were computed. Nobody rated it: the
target is the place of the acted emotion on the circumplex, smoothed over 2 s and 3 s
late (``data_prep/continuous/README.md``); ``delay_seconds`` moves the labels back, and
must be what the recordings were made with. Windows of 20 s every 4 s, as in the paper.

What the scores can show: that a network learns from long windows, follows changes of
acted emotion in voices that it never heard, and which variant does so better. What they
cannot: how well it agrees with people. Each label is one of 15 points and the way from
one to the next, two sentences carry them all, and valence and arousal hang together as
the emotions lie. They are not comparable with those on RECOLA.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "continuous"
    config.data.window_seconds = 20.0
    config.data.shift_seconds = 4.0
    config.data.delay_seconds = 3.0
    config.train.batch_size = 5
    config.train.max_epochs = 12  # of some 130 steps each
    return config
