"""Synthetic monologues of ten voices, arousal and valence at 25 Hz.

    python -m diccoser_jax.main --config=configs/synthetic_continuous.py --workdir=DIR

Needs no corpus. A minute of each voice, whose tempo, level and pitch follow arousal,
and whose tilt, contour and formants follow valence (``data_prep/synthetic``). The
labels are neither noisy nor late. ``diccoser_jax.reproduce --experiment=fig5`` shows
beside the scores what they permit at best: a CCC of about 0.98, that of one who
measures tempo and tilt without error, a syllable after the other.

Windows of 20 s every 4 s, as in the paper.
"""

import ml_collections

from configs import default


def get_config(recipe: str = "tuned") -> ml_collections.ConfigDict:
    """Log-mel DiCCOSER-CS rms; the recipe follows the colon after the file's name."""
    config = default.get_config()
    default.use_recipe(config, recipe)
    config.data.dataset = "synthetic/regression"
    config.data.window_seconds = 20.0
    config.data.shift_seconds = 4.0
    config.train.batch_size = 5
    return config
