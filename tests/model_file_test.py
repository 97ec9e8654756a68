"""Tests for `../diccoser_jax/model_file.py`."""

import dataclasses
import json
import pickle

import jax
import jax.numpy as jnp
import malicious
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import diccoser_jax
from diccoser_jax import model_file
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig
from diccoser_jax.model_file import ModelFileError

DICCOSER = Diccoser(
    DiccoserConfig(
        outputs=2,
        features=4,
        local_stacks=1,
        local_dilations=(1, 2),
        window_frames=5,
        aggregation="max",
        dropout_rate=0.25,
        compute_dtype="bfloat16",
    )
)
CNN_LSTM = CnnLstm(CnnLstmConfig(outputs=2, conv_features=(2, 3, 4), lstm_features=3))
ABOUT = {
    "task": "classification",
    "target_names": ("anger", "Überraschung"),
    "window_seconds": 0.2,
    "temperature": 1.25,
    "card": {"licence": "CC0", "scores": {"anger": 0.5}, "not_for": ["hiring"]},
}


def variables_of(model):
    """Random ones, so that none is taken for another."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 3_200)))
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), shapes
    )


@pytest.fixture
def path(tmp_path):
    path = tmp_path / model_file.NAME
    model_file.save(path, DICCOSER, variables_of(DICCOSER), **ABOUT)
    return path


def change(path, **changes):
    """Writes other metadata, with a digest that fits."""
    with safetensors.safe_open(path, "np") as file:
        about = json.loads(file.metadata()["diccoser_jax"]) | changes
    text, tensors = json.dumps(about), safetensors.numpy.load_file(path)
    metadata = {"diccoser_jax": text, "sha256": model_file._digest(text, tensors)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata))


@pytest.mark.parametrize("model", [DICCOSER, CNN_LSTM])
def test_everything_comes_back(tmp_path, model):
    variables = variables_of(model)
    path = tmp_path / "a.safetensors"
    model_file.save(path, model, variables, **ABOUT)
    loaded = model_file.load(path)
    assert loaded.model == model
    assert {field: getattr(loaded, field) for field in ABOUT} == ABOUT
    jax.tree.map(np.testing.assert_array_equal, dict(loaded.variables), variables)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_the_same_model_gives_the_same_bytes(path, tmp_path):
    for i in range(8):
        again = tmp_path / f"{i}.safetensors"
        model_file.save(again, DICCOSER, variables_of(DICCOSER), **ABOUT)
        assert again.read_bytes() == path.read_bytes()


def test_other_programs_can_read_it(path):
    with safetensors.safe_open(path, "np") as file:
        about = json.loads(file.metadata()["diccoser_jax"])
        kernel = file.get_tensor("params/local/stem/kernel")
        assert "batch_stats/local/stack0_dilation1/BatchNorm_0/mean" in file.keys()  # noqa: SIM118
    assert about["package_version"] == diccoser_jax.__version__
    assert about["config"] == dataclasses.asdict(DICCOSER.config) | {
        "local_dilations": [1, 2],
        "local_hop_samples": [],
    }
    expected = variables_of(DICCOSER)["params"]["local"]["stem"]["kernel"]
    np.testing.assert_array_equal(kernel, expected)


def test_a_folder_means_the_file_in_it(path):
    assert model_file.load(path.parent).model == DICCOSER
    assert model_file.load(str(path.parent)).model == DICCOSER


def test_the_carry_of_a_stream_is_not_saved(tmp_path):
    variables = variables_of(DICCOSER) | {"carry": {"x": jnp.zeros(3)}}
    path = tmp_path / "a.safetensors"
    model_file.save(path, DICCOSER, variables, **ABOUT)
    assert set(model_file.load(path).variables) == {"params", "batch_stats"}


def test_no_flipped_byte_passes(path):
    content = path.read_bytes()
    before = model_file.load(path)
    noticed, places = 0, range(0, len(content), 17)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            after = model_file.load(path)
        except ModelFileError:
            noticed += 1
        else:  # A space of the header may become a tab.
            jax.tree.map(
                np.testing.assert_array_equal, before.variables, after.variables
            )
            assert dataclasses.replace(before, variables=0) == dataclasses.replace(
                after, variables=0
            )
    assert noticed >= len(places) - 1


@pytest.mark.parametrize("size", [0, 7, 100, 5_000, -1])
def test_a_truncated_file_is_found(path, size):
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ModelFileError, match=r"model.safetensors: damaged, or not a"):
        model_file.load(path)


def test_a_newer_format_asks_for_an_upgrade(path):
    # It may hold fields that nobody knows yet.
    change(path, format_version=2, package_version="9.0", config={"new": 1})
    with pytest.raises(ModelFileError, match=r"format 2, .*diccoser-jax 9\.0.*Upgrade"):
        model_file.load(path)


def test_what_is_no_model_is_named(tmp_path, path):
    with pytest.raises(ModelFileError, match="nowhere: no such file or folder"):
        model_file.load(tmp_path / "nowhere")
    other = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"x": np.zeros(3)}, other)
    with pytest.raises(ModelFileError, match=r"other.safetensors: .*not a model of"):
        model_file.load(other)
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(ModelFileError, match=r"folder: holds no model.safetensors\. "):
        model_file.load(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(ModelFileError, match="an unfinished training run"):
        model_file.load(folder)
    for fold in ("fold1", "fold0"):
        (folder / fold).mkdir()
        (folder / fold / model_file.NAME).write_bytes(b"")
    with pytest.raises(
        ModelFileError, match=r"folder: holds 2 networks.* such as .*folder/fold0;"
    ):
        model_file.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "clustering"}, "task='clustering'"),
        ({"target_names": ("a", "b", "c")}, "2 outputs"),
        ({"temperature": 0.0}, "temperature=0.0 must be positive"),
        ({"window_seconds": float("nan")}, "window_seconds=nan"),
        ({"card": {"ua": float("nan")}}, "not JSON compliant"),
    ],
)
def test_what_makes_no_sense_is_not_saved(tmp_path, change, message):
    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=message):
        model_file.save(path, DICCOSER, variables_of(DICCOSER), **(ABOUT | change))
    assert not path.exists()


def test_weights_that_are_not_finite_are_not_saved(path):
    before = path.read_bytes()
    variables = variables_of(DICCOSER)
    variables["params"]["output"]["bias"] = jnp.array([0, jnp.inf])
    with pytest.raises(ValueError, match="params/output/bias holds NaN or infinite"):
        model_file.save(path, DICCOSER, variables, **ABOUT)
    assert path.read_bytes() == before


def test_a_pickle_is_not_executed(tmp_path):
    mark, path = tmp_path / "executed", tmp_path / model_file.NAME
    path.write_bytes(pickle.dumps(malicious.Pickle(mark)))
    with pytest.raises(ModelFileError, match="damaged, or not a model"):
        model_file.load(path)
    assert not mark.exists()


def test_a_card_for_people(path):
    card = {
        "trained_on": "all 10 speakers",
        "scores": {"ua": {"mean": 0.61234, "std": None, "interval": [0.5, 0.7]}},
        "recalls": {"anger": 0.9},
    }
    saved = dataclasses.replace(model_file.load(path), card=card)
    lines = model_file.describe(saved).splitlines()
    size = sum(leaf.size for leaf in jax.tree.leaves(variables_of(DICCOSER)["params"]))
    assert lines[0] == f"network: diccoser_cs, raw, {size:,} parameters"
    assert lines[1].startswith(f"{saved.task}: {saved.target_names[0]}, ")
    assert lines[-8:] == [
        "trained on: all 10 speakers",
        "scores:",
        "  ua:",
        "    mean: 0.612",
        "    std: None",
        "    interval: 0.500 to 0.700",
        "recalls:",
        "  anger: 0.900",
    ]


@pytest.mark.parametrize("network", ["os.system", "flax.linen.Dense"])
def test_names_in_a_file_choose_no_code(path, network):
    change(path, network=network)
    with pytest.raises(ModelFileError, match="damaged, or not a model"):
        model_file.load(path)
