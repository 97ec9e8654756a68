"""Every key of a configuration, with its default.

The other files start from here and override. Three recipes for the optimisation go with
every corpus, ``--config=configs/emodb.py:paper``, ``...:tuned`` and ``...:best``: see
`use_recipe`.
"""

import ml_collections
from ml_collections import config_dict


def get_config() -> ml_collections.ConfigDict:
    """The synthetic corpus, the paper's network on log-mel, the tuned recipe."""
    config = ml_collections.ConfigDict()
    config.seed = 0  # of initialisation, order, augmentation and dropout
    config.fold = "0"  # which of the folds to run, or "all"
    config.repeats = 1  # runs of each, with seed, seed + 1, ...
    config.expected_score = 0.0  # the report says whether it was reached; 0: no word

    config.data = ml_collections.ConfigDict()
    config.data.dataset = "synthetic"  # see python -m data_prep.build --help
    config.data.manual_dir = ""  # the corpus as it was published
    config.data.data_dir = "~/.cache/diccoser_jax"  # shards made from it
    config.data.on_bad_file = "raise"  # or "skip": leave out, list in the report
    config.data.allow_partial = False  # other counts than documented: warn, go on
    config.data.window_seconds = 3.0  # L / 25 Hz; regression in the paper: 20
    config.data.shift_seconds = 4.0  # from window to window; regression only
    config.data.delay_seconds = 0.0  # labels are so late; regression only

    # Of training utterances; regression has overlapping windows instead.
    config.augmentation = ml_collections.ConfigDict()
    config.augmentation.reverse_probability = 0.5  # time reversal
    config.augmentation.crop_seconds = 0.0  # up to so much off each end
    config.augmentation.speed_percent = 0.0  # up to so much faster or slower
    config.augmentation.gain_decibel = 0.0  # up to so much louder or quieter
    config.augmentation.equaliser_decibel = 0.0  # likewise each octave by itself
    config.augmentation.mask_seconds = 0.0  # up to so much is silenced

    config.folds = ml_collections.ConfigDict()
    config.folds.plan = "balanced"  # in_order, leave_one_out, split_fold, explicit
    config.folds.count = 5
    config.folds.seed = 0
    # For "explicit": a tuple of {"train": [units], "validation": [...], "test": [...]}.
    config.folds.explicit = ()

    config.model = ml_collections.ConfigDict()
    config.model.network = "diccoser_cs"  # diccoser, diccoser_cs_v2, cnn_lstm
    config.model.frontend = "log_mel"  # raw
    config.model.aggregation = "rms"  # max; the networks with context stacking
    config.model.dropout_rate = 0.5
    config.model.compute_dtype = "float32"  # bfloat16: activations only
    # The DiCCOSER networks only:
    config.model.answer_seconds = 0.04  # the answer is the mean of so much, at the end
    config.model.features = 64  # channels of every convolution
    config.model.local_stacks = 7
    # Several local networks side by side, one for each hop: (5, 10, 20) of raw samples,
    # (160, 320, 640) of log-mel; (): one, of 5 or of 320.
    config.model.local_hop_samples = ()
    config.model.global_blocks = config_dict.placeholder(int)  # None: all
    config.model.block = "relu"  # dropout_last; gated: WaveNet's
    config.model.batch_norm_momentum = 0.99
    # Less memory for intermediate results, some of which are computed twice. None: on
    # CPU, where that is faster, too.
    config.model.rematerialise = config_dict.placeholder(bool)

    config.train = ml_collections.ConfigDict()
    config.train.batch_size = 10
    config.train.microbatches = 1  # parts of a batch, one after the other: less memory
    config.train.max_epochs = 40
    config.train.patience_epochs = 20  # stop so long after the best validation score
    # Then train anew, for as many epochs as were best, on training and validation
    # units, and test that network: more speakers for twice the time.
    config.train.refit = False
    config.train.log_every_steps = 10
    # Also saved after each epoch; what a kill costs is at most about this.
    config.train.checkpoint_every_seconds = 120.0
    # Classification: weight of the loss of earlier frames beside the last frame's.
    config.train.frame_loss_weight = 0.0
    # What is validated and kept is a moving average of the weights, in which the past
    # weighs so much from step to step; 0: the weights themselves.
    config.train.average_decay = 0.0
    # ccc: of each sequence; pooled_ccc: over all frames of a batch; squared_error.
    config.train.regression_loss = "ccc"
    # Before each validation, batch norm's statistics are estimated again without
    # dropout on so many training batches; 0: keep the running ones of training.
    config.train.batch_stats_batches = 20

    # Learning without labels (diccoser_jax/autoencoder.py).
    config.autoencoder = ml_collections.ConfigDict()
    config.autoencoder.frames_ahead = (0, 1, 5)  # 25 Hz frames whose log-mel is told
    config.autoencoder.max_epochs = 40

    # Several processes for one training run. Where SLURM, Open MPI or a TPU pod starts
    # them, nothing needs to be set. Elsewhere: host:port of the first, their number,
    # and which of them, from 0, this one is.
    config.distributed = ml_collections.ConfigDict()
    config.distributed.coordinator = ""
    config.distributed.processes = 1
    config.distributed.process = 0

    config.optimizer = ml_collections.ConfigDict()
    use_recipe(config, "tuned")
    return config


def use_recipe(config: ml_collections.ConfigDict, recipe: str) -> None:
    """Sets optimiser, dropout, augmentation, and what earlier frames have to say.

    ``paper``: RMSProp, constant rate 1e-4, l2 1e-4, dropout 0.5, time reversal (paper,
    sections 4.2.3 and 4.2.4). ``tuned``: AdamW, linear warm-up, then cosine to zero;
    cropped ends, gain and speed; a loss on earlier frames, too; answers that are means
    over frames; averaged weights. ``best``: besides, an equaliser and silenced
    stretches, more epochs, and a second training on training and validation units:
    three to four times the time.

    Raises:
      ValueError: on another name.
    """
    if recipe == "paper":
        config.optimizer.name = "rmsprop"
        config.optimizer.learning_rate = 1e-4
        config.optimizer.schedule = "constant"
        config.optimizer.warmup_epochs = 0.0  # cosine only
        config.optimizer.l2 = 1e-4  # of kernels, in the loss
        config.optimizer.weight_decay = 0.0  # of kernels, decoupled
        config.model.dropout_rate = 0.5
        config.augmentation.reverse_probability = 0.5
        config.augmentation.crop_seconds = 0.0
        config.augmentation.speed_percent = 0.0
        config.augmentation.gain_decibel = 0.0
        config.augmentation.equaliser_decibel = 0.0
        config.augmentation.mask_seconds = 0.0
        config.model.answer_seconds = 0.04
        config.train.frame_loss_weight = 0.0
        config.train.average_decay = 0.0
    elif recipe == "tuned":
        config.optimizer.name = "adam"
        config.optimizer.learning_rate = 1e-3
        config.optimizer.schedule = "cosine"
        config.optimizer.warmup_epochs = 2.0
        config.optimizer.l2 = 0.0
        config.optimizer.weight_decay = 1e-2
        config.model.dropout_rate = 0.2
        config.augmentation.reverse_probability = 0.0
        config.augmentation.crop_seconds = 0.8
        config.augmentation.gain_decibel = 6.0
        config.augmentation.speed_percent = 15.0
        config.model.answer_seconds = 1.6
        config.train.frame_loss_weight = 1.0
        config.train.average_decay = 0.99
    elif recipe == "best":
        use_recipe(config, "tuned")
        config.augmentation.equaliser_decibel = 4.0
        config.augmentation.mask_seconds = 0.3
        config.train.max_epochs = 60
        config.train.refit = True
    else:
        raise ValueError(f"The recipe {recipe!r} is not 'paper', 'tuned' or 'best'.")
