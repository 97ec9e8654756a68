"""Tests for `../diccoser_jax/autoencoder.py`."""

import json
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import configs.demo
from diccoser_jax import (
    autoencoder,
    data,
    features,
    interrupt,
    layers,
    lock,
    model_file,
)
from diccoser_jax import train as train_lib
from diccoser_jax.config import ConfigError
from diccoser_jax.folds import Fold

FOLD = Fold(("speaker00", "speaker01"), ("speaker02",), ("speaker03",))


def _waveform(seed=0):
    """Two windows of 8 frames; the second begins with 3 of silence."""
    rng = np.random.default_rng(seed)
    waveform = rng.normal(scale=0.1, size=(2, 8 * 640)).astype(np.float32)
    waveform[1, : 3 * 640] = 0
    return jnp.asarray(waveform)


def test_targets_are_the_log_mel_frames_of_each_frame():
    waveform = _waveform()
    log_mel, sounds = autoencoder.targets(waveform)
    expected = features.log_mel(jnp.pad(waveform, ((0, 0), (320, 0))))
    assert log_mel.shape == (2, 8, 80)
    np.testing.assert_array_equal(log_mel[0, 5, :40], expected[0, 10])
    np.testing.assert_array_equal(log_mel[0, 5, 40:], expected[0, 11])
    np.testing.assert_array_equal(sounds[1], [False] * 3 + [True] * 5)
    assert sounds[0].all()


def test_the_loss_is_the_distance_from_what_comes():
    """Foretold exactly but for 0.5 in each value of one group: 0.5 / groups."""
    waveform, ahead = _waveform(), (0, 2)
    log_mel, _ = autoencoder.targets(waveform)
    now = log_mel
    later = jnp.pad(log_mel[:, 2:], ((0, 0), (0, 2), (0, 0)), constant_values=99)
    said = jnp.concatenate([now, later + 0.5], axis=-1)
    # In silence anything may be said: nothing there counts.
    said = said.at[1, :3, :80].set(-7)
    output = layers.Output(said, said[:, -1], None)
    loss = autoencoder.loss(output, {"audio": waveform}, frames_ahead=ahead)
    assert loss == pytest.approx(0.25, rel=1e-5)
    silence = {"audio": jnp.zeros_like(waveform)}
    assert autoencoder.loss(output, silence, frames_ahead=ahead) == 0


@pytest.fixture(scope="module")
def config(data_dir):
    config = configs.demo.get_config()
    config.data.data_dir = str(data_dir)
    config.model.network = "diccoser"
    config.model.features, config.model.local_stacks = 8, 1
    config.model.global_blocks = 1
    config.train.log_every_steps = 1
    config.train.batch_stats_batches = 2
    config.optimizer.learning_rate, config.optimizer.warmup_epochs = 0.02, 0.0
    config.train.average_decay = 0.5
    config.autoencoder.max_epochs = 3
    config.autoencoder.frames_ahead = (0, 1)
    return config


@pytest.fixture(scope="module")
def pretrained(config, classification, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("autoencoder")
    return autoencoder.pretrain(config, workdir, classification, FOLD)


def test_it_learns_and_is_not_repeated(config, classification, pretrained, monkeypatch):
    lines = (pretrained.parent / "metrics.jsonl").read_text().splitlines()
    losses = [r["validation_loss"] for r in map(json.loads, lines) if len(r) == 4]
    assert len(losses) == 3
    assert losses[-1] < 0.9 * losses[0]
    saved = model_file.load(pretrained)
    assert len(saved.target_names) == 160
    assert saved.card["validation_loss_bel"] == pytest.approx(min(losses))
    monkeypatch.setattr(train_lib, "set_up", None)  # would train
    again = autoencoder.pretrain(config, pretrained.parent, classification, FOLD)
    assert again == pretrained


def test_no_label_is_read(config, classification, tmp_path, monkeypatch, pretrained):
    """All labels are changed: the network stays the same, bit for bit."""
    batches = data.train_batches

    def relabelled(*args, **kwargs):
        for batch in batches(*args, **kwargs):
            yield batch | {"target": 3 - batch["target"]}

    monkeypatch.setattr(data, "train_batches", relabelled)
    other = autoencoder.pretrain(config, tmp_path, classification, FOLD)
    leaves = [
        jax.tree.leaves(model_file.load(p).variables) for p in (pretrained, other)
    ]
    for a, b in zip(*leaves):
        np.testing.assert_array_equal(a, b)


def test_it_goes_on_where_it_stopped(
    config, classification, tmp_path, monkeypatch, pretrained
):
    """Stopped in two epochs, once by each signal: bit for bit as without a stop."""
    real, steps_per_epoch = data.train_batches, 80 // config.train.batch_size
    stops = {(1, 2): signal.SIGTERM, (3, 1): signal.SIGINT}

    def stopping(*arguments, epoch, start, **settings):
        batches = real(*arguments, epoch=epoch, start=start, **settings)
        for i, batch in enumerate(batches, start):
            if number := stops.pop((epoch, i), None):
                signal.raise_signal(number)
            yield batch

    monkeypatch.setattr(data, "train_batches", stopping)
    for step in (3, 2 * steps_per_epoch + 2):
        with pytest.raises(interrupt.Interrupted, match=f"Saved after step {step}"):
            autoencoder.pretrain(config, tmp_path, classification, FOLD)
    path = autoencoder.pretrain(config, tmp_path, classification, FOLD)
    assert not stops
    for name in (path.name, "metrics.jsonl"):
        assert (tmp_path / name).read_bytes() == pretrained.with_name(name).read_bytes()


def test_one_process_at_a_time(config, classification, tmp_path):
    with lock.hold(tmp_path), pytest.raises(lock.InUseError):
        autoencoder.pretrain(config, tmp_path, classification, FOLD)


def test_representations_are_moments_of_the_frames_that_sound(
    classification, pretrained
):
    saved = model_file.load(pretrained)
    vectors = autoencoder.represent(saved, classification, batch_size=7)
    records = classification.source(["speaker03"], evaluation=True)
    assert len(vectors) == 400
    record = min(
        (records[i] for i in range(len(records))), key=lambda r: len(r["audio"])
    )
    assert len(record["audio"]) < 46_000
    window = data.fit_window(record["audio"].astype(np.float32) / 32768, 48_000)
    context = jax.jit(saved.model.apply)(saved.variables, window[None])
    context = context.local_context[0]
    sounds = np.any(window.reshape(75, 640) != 0, axis=1)
    assert not sounds.all()
    vector = vectors[record["id"].decode()]
    assert vector.shape == (4 * 8,)
    np.testing.assert_allclose(vector[:8], context[sounds].mean(0), atol=1e-4)
    np.testing.assert_allclose(vector[16:24], context[sounds].std(0), atol=1e-4)


def test_a_classifier_begins_with_what_was_learnt(config, pretrained):
    model = train_lib.create_model(config.model, outputs=4, window_frames=75)
    variables = train_lib.fresh_variables(jax.random.key(7), model, 48_000)
    begun = autoencoder.transfer(pretrained, variables)
    assert jax.tree.map(jnp.shape, begun) == jax.tree.map(jnp.shape, variables)
    np.testing.assert_array_equal(
        begun["params"]["output"]["kernel"], variables["params"]["output"]["kernel"]
    )
    saved = model_file.load(pretrained)
    sound = _waveform(3)
    np.testing.assert_allclose(
        jax.jit(model.apply)(begun, sound).local_context,
        jax.jit(saved.model.apply)(saved.variables, sound).local_context,
        atol=1e-6,
    )
    config = config.copy_and_resolve_references()
    config.model.features = 4
    other = train_lib.create_model(config.model, outputs=4, window_frames=75)
    variables = train_lib.fresh_variables(jax.random.key(7), other, 48_000)
    with pytest.raises(ConfigError, match=r"of another network: .* expected \("):
        autoencoder.transfer(pretrained, variables)


@pytest.mark.parametrize(
    ("ahead", "message"), [((), "expected"), ((0, 0), "different"), ((75,), "leaves")]
)
def test_frames_that_cannot_be_foretold(
    config, classification, tmp_path, ahead, message
):
    config = config.copy_and_resolve_references()
    config.autoencoder.frames_ahead = ahead
    with pytest.raises(ConfigError, match=message):
        autoencoder.pretrain(config, tmp_path, classification, FOLD)


def test_the_configuration_of_a_workdir_stays(config, classification, pretrained):
    other = config.copy_and_resolve_references()
    other.autoencoder.max_epochs = 4
    with pytest.raises(ConfigError, match=r"max_epochs: was 3, is 4"):
        autoencoder.pretrain(other, pretrained.parent, classification, FOLD)


def test_the_output_is_causal(config, pretrained):
    """What is foretold at a frame has no gradient from any later sample."""
    saved = model_file.load(pretrained)

    @jax.jit
    @jax.grad
    def gradient(waveform):
        return saved.model.apply(saved.variables, waveform).frames[0, 4].sum()

    touched = np.flatnonzero(gradient(_waveform())[0])
    assert 4 * 640 <= touched[-1] < 5 * 640
