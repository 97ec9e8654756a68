"""Tests for `../diccoser_jax/config.py` and the files in `../configs`."""

import importlib
import json
import pathlib

import ml_collections
import pytest

import configs
from configs import default
from diccoser_jax import config as config_lib
from diccoser_jax import folds, optimizer, train

FILES = sorted(
    path.stem
    for path in pathlib.Path(configs.__file__).parent.glob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("name", FILES)
def test_every_config_builds_a_network_and_an_optimizer(name):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config()
    config_lib.check_keys(config, default.get_config())
    train.create_model(config.model, outputs=4, window_frames=75)
    optimizer.create_optimizer(config.optimizer, 10, config.train.max_epochs)


@pytest.mark.parametrize("name", sorted(set(FILES) - {"default", "demo"}))
@pytest.mark.parametrize("recipe", ["paper", "tuned", "best"])
def test_every_corpus_has_every_recipe(name, recipe):
    config = importlib.import_module(f"configs.{name}").get_config(recipe)
    config_lib.check_keys(config, default.get_config())
    assert config.optimizer.name == ("rmsprop" if recipe == "paper" else "adam")
    assert config.train.refit == (recipe == "best")


def test_the_paper_recipe_is_that_of_section_4_2_4():
    config = default.get_config()
    default.use_recipe(config, "paper")
    assert config.optimizer.name == "rmsprop"
    assert config.optimizer.schedule == "constant"
    assert config.optimizer.learning_rate == 1e-4
    assert config.optimizer.l2 == 1e-4
    assert config.optimizer.weight_decay == 0
    assert config.model.dropout_rate == 0.5
    with pytest.raises(ValueError, match="recipe 'good' is not 'paper', 'tuned'"):
        default.use_recipe(config, "good")


def test_an_unknown_key_is_named_with_its_nearest_neighbour():
    config = default.get_config()
    config.train.batchsize = 3
    config.modle = ml_collections.ConfigDict({"network": "diccoser"})
    with pytest.raises(config_lib.ConfigError) as error:
        config_lib.check_keys(config, default.get_config())
    assert "no key 'train.batchsize'; did you mean 'train.batch_size'" in str(error)
    assert "no key 'modle.network'; did you mean 'model.network'" in str(error)


def test_a_missing_key_is_named():
    config = default.get_config()
    del config.train.batch_size
    with pytest.raises(config_lib.ConfigError, match=r"lacks the key 'train.batch_"):
        config_lib.check_keys(config, default.get_config())


def test_a_changed_configuration_is_refused_but_a_moved_corpus_is_not():
    config = default.get_config()
    config.folds.explicit = ({"train": ("a", "b")},)
    stored = ml_collections.ConfigDict(json.loads(config.to_json()))
    config_lib.check_same(config, stored, "config.json")
    config.data.manual_dir = "elsewhere"
    config.data.data_dir = "elsewhere"
    config.train.checkpoint_every_seconds = 5.0
    config_lib.check_same(config, stored, "config.json")
    config.seed = 7
    config.model.network = "cnn_lstm"
    with pytest.raises(config_lib.ConfigError, match=r"^config.json was") as error:
        config_lib.check_same(config, stored, "config.json")
    assert "seed: was 0, is 7" in str(error)
    assert "model.network: was 'diccoser_cs', is 'cnn_lstm'" in str(error)


def test_the_plan_of_recola_splits_each_of_five_groups():
    config = importlib.import_module("configs.recola").get_config()
    units = [f"{part}_{i}" for part in ("train", "dev") for i in range(1, 10)]
    made = folds.explicit(config.folds.explicit, units)
    dealt = folds.split_fold(dict.fromkeys(units, "unknown"), 5, seed=0)
    for fold, expected in zip(made, dealt, strict=True):
        assert sorted(fold.train) == sorted(expected.train)
        assert fold.validation == expected.validation
        assert fold.test == expected.test
    judged = [unit for fold in made for unit in fold.validation + fold.test]
    assert sorted(judged) == sorted(units)
