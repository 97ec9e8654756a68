"""Tests for `../diccoser_jax/release.py`."""

import guessing
import numpy as np
import pytest
import scipy.special
import tiny

import configs.demo
from diccoser_jax import (
    calibration,
    experiment,
    model_file,
    predictions,
    release,
    report,
    train,
)
from diccoser_jax.config import ConfigError


@pytest.fixture(scope="module")
def validated(tmp_path_factory, data_dir):
    """A cross-validation of networks that guess, of five folds."""
    workdir = tmp_path_factory.mktemp("release")
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.fold = "all"
    config.update_from_flattened_dict(tiny.SHRUNK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "train_and_evaluate", guessing.train_and_evaluate)
        experiment.run(config, workdir)
    return workdir


def test_a_release_is_trained_on_everybody_and_says_how_good_it_is(validated, tmp_path):
    path = tmp_path / "model.safetensors"
    results = validated / "results.json"  # as if of a version without this key
    results.write_text(results.read_text().replace('"log_every_steps": 10,', ""))
    card = release.release(validated, path, licence="free", command="the command")
    saved = model_file.load(path)
    assert saved.card == card
    assert saved.target_names == ("neutral", "anger", "sadness", "happiness")
    assert saved.temperature == pytest.approx(0.5)
    assert card["trained_on"].startswith("all 10 speakers of synthetic")
    assert (card["licence_of_the_data"], card["command"]) == ("free", "the command")
    assert "Decisions about people" in card["not_for"]
    rows = predictions.load(validated / "predictions.npz")
    answers = rows.outputs.argmax(axis=1)
    for c, name in enumerate(saved.target_names):
        recall = np.mean(answers[rows.targets == c] == c)
        assert card["recalls"][name] == pytest.approx(recall)
    for name, scale in (("before", 1.0), ("after", 0.5)):
        error = calibration.expected_calibration_error(
            scipy.special.softmax(rows.outputs / scale, axis=1), rows.targets
        )
        assert card["calibration_error"][name] == pytest.approx(error)
    assert card["calibration_error"]["before"] < card["calibration_error"]["after"]
    # It has heard 400 utterances, all there are, and has learnt from them.
    mean = saved.variables["batch_stats"]["global"]["dilation1"]["BatchNorm_0"]["mean"]
    assert np.abs(mean).max() > 0


def test_a_single_fold_is_not_enough(validated):
    with pytest.raises(ConfigError, match=r"fold0 holds fold 0; .* --config.fold=all"):
        release.release(validated / "fold0", validated / "x", licence="")
    assert report.read_results(validated / "fold0" / "results.json")
