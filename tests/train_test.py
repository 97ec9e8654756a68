"""Tests for `../diccoser_jax/train.py` and `../diccoser_jax/evaluate.py`."""

import functools
import json
import math
import os
import pathlib
import re
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from configs import default
from diccoser_jax import data, evaluate, interrupt, layers, losses, model_file, train
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.config import ConfigError
from diccoser_jax.diccoser import Diccoser, DiccoserConfig
from diccoser_jax.folds import Fold
from diccoser_jax.predictions import Predictions

FOLD = Fold(
    train=("speaker00", "speaker01", "speaker02"),
    validation=("speaker03",),
    test=("speaker04", "speaker05"),
)
SAMPLES = 640 * 10


def small_config(**overrides):
    """The real configuration, shrunk."""
    config = default.get_config()
    config.update_from_flattened_dict(tiny.SHRUNK)
    config.train.max_epochs = 3
    config.train.log_every_steps = 2
    for key, value in overrides.items():
        section, name = key.split("__")
        config[section][name] = value
    return config


def _model(**settings):
    """One local block for each stack, and two global ones."""
    shape = {"features": 8, "local_stacks": 1, "local_dilations": (1,)}
    shape |= {"window_frames": 10, "global_blocks": 2}
    return Diccoser(DiccoserConfig(**(shape | settings)))


_SMALL_CNN_LSTM = CnnLstm(
    CnnLstmConfig(conv_features=(4, 4, 4), lstm_features=8, dropout_rate=0.2)
)


def _batch(batch=4, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "audio": jnp.asarray(rng.normal(scale=0.1, size=(batch, SAMPLES)), jnp.float32),
        "target": jnp.asarray(rng.integers(4, size=batch), jnp.int32),
        "mask": jnp.ones(batch),
    }


@functools.cache
def _fresh(model):
    return train.create_state(
        jax.random.key(0), model, optax.identity(), train.classification_loss, SAMPLES
    )


def _state(model, tx=None, loss_fn=train.classification_loss):
    """A fresh one, whose parameters are drawn once for each network."""
    tx = tx or optax.adam(1e-2)
    state = jax.tree.map(jnp.copy, _fresh(model))  # may be donated
    return state.replace(tx=tx, opt_state=tx.init(state.params), loss_fn=loss_fn)


def _assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("model", [_model(), _SMALL_CNN_LSTM])
def test_fresh_variables_are_those_of_flax(model):
    rng = jax.random.key(3)
    expected = jax.jit(model.init)(rng, jnp.zeros((1, SAMPLES)))
    found = train.fresh_variables(rng, model, SAMPLES)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    _assert_equal(found, expected)


@pytest.mark.parametrize(
    "model",
    [
        _model(dropout_rate=0.2),
        _model(network="diccoser_cs_v2", frontend="log_mel", dropout_rate=0.2),
        _SMALL_CNN_LSTM,
    ],
    ids=["diccoser_cs", "v2-log_mel", "cnn_lstm"],
)
def test_a_few_steps_lower_the_loss_and_repeat_bit_for_bit(model):
    step, tx = jax.jit(train.train_step), optax.adam(3e-3)
    batch, rng = _batch(), jax.random.key(1)

    def run():
        state, found = _state(model, tx), []
        for _ in range(40):
            state, metrics = step(state, batch, rng)
            found.append(float(metrics["loss"]))
        return state, found

    (state, found), (again, found_again) = run(), run()
    assert np.mean(found[-5:]) < 0.8 * np.mean(found[:5])
    assert found == found_again
    assert state.step == 40
    _assert_equal(state, again)


def test_the_step_is_traced_once():
    traces = 0

    def counted(state, batch, rng):
        nonlocal traces
        traces += 1
        return train.train_step(state, batch, rng)

    step = jax.jit(counted, donate_argnums=0)
    state = _state(_model())
    for seed in range(3):
        state, _ = step(state, _batch(seed=seed), jax.random.key(1))
    assert traces == 1


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_microbatches_make_the_step_of_the_whole_batch(task):
    """Of a network without batch norm; masked sequences weigh nothing in any part."""
    batch = _batch(6)
    if task == "classification":
        loss_fn, mask = train.classification_loss, jnp.array([1.0, 0, 0, 1, 1, 1])
    else:
        loss_fn = train.regression_loss
        batch["target"] = jax.random.normal(jax.random.key(2), (6, 10, 2))
        mask = jnp.ones((6, 10)).at[1:3].set(0).at[4, 5:].set(0)
    batch["mask"] = mask
    model = CnnLstm(
        CnnLstmConfig(
            2 if task == "regression" else 4,
            conv_features=(4, 4, 4),
            lstm_features=8,
            dropout_rate=0.0,
        )
    )
    state = _state(model, optax.sgd(1.0), loss_fn)
    results = [
        jax.jit(functools.partial(train.train_step, microbatches=parts))(
            state, batch, jax.random.key(1)
        )
        for parts in (1, 2, 6)
    ]
    assert not np.array_equal(
        *(jax.tree.leaves(s.params)[0] for s in (state, results[0][0]))
    )
    for found in results[1:]:
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
            (found[0].params, found[1]),
            (results[0][0].params, results[0][1]),
        )


def test_microbatches_hand_batch_statistics_on_and_drop_out_anew():
    model = _model(dropout_rate=0.5, batch_norm_momentum=0.9)
    same = jax.tree.map(lambda x: jnp.concatenate([x, x]), _batch(2))
    state = _state(model, optax.sgd(0.0))
    step = functools.partial(train.train_step, rng=jax.random.key(1))
    once, _ = jax.jit(step)(state, jax.tree.map(lambda x: x[:2], same))
    twice, _ = jax.jit(functools.partial(step, microbatches=2))(state, same)

    def mean(state):
        return state.batch_stats["local"]["stack0_dilation1"]["BatchNorm_0"]["mean"]

    # After two parts with means a and b: 0.9 * 0.1 a + 0.1 b. Equal dropout: a == b.
    ratio = mean(twice) / mean(once)
    assert 1 < np.median(ratio) < 2.8
    assert np.std(ratio) > 1e-3


def test_the_average_of_the_weights_forgets_the_first_ones():
    model = _model()
    state = _state(model, optax.sgd(0.1))
    state = state.replace(average=state.params)
    step = jax.jit(functools.partial(train.train_step, average_decay=0.15))
    weights = [state.params["output"]["kernel"]]
    averages = [weights[0]]
    for _ in range(3):
        state, _ = step(state, _batch(), jax.random.key(1))
        weights.append(state.params["output"]["kernel"])
        averages.append(state.variables["params"]["output"]["kernel"])
    assert not np.allclose(weights[0], weights[3])
    # Steps 1, 2 and 3 keep 1/11, then 2/12 and 3/13 or, as asked for, 0.15.
    for i, decay in enumerate((1 / 11, 0.15, 0.15)):
        np.testing.assert_allclose(
            averages[i + 1],
            decay * averages[i] + (1 - decay) * weights[i + 1],
            rtol=1e-5,
            atol=1e-7,
        )


def test_rematerialisation_changes_the_memory_and_nothing_else():
    batch, results = _batch(), []
    for rematerialise in (False, True):
        model = _model(
            local_stacks=7, local_dilations=(1, 2, 4), rematerialise=rematerialise
        )
        state, rng = _state(model, optax.sgd(1.0)), jax.random.key(1)
        options = train.compiler_options(rematerialise=rematerialise)
        step = jax.jit(train.train_step, compiler_options=options)
        compiled = step.lower(state, batch, rng).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes
        results.append((memory, *compiled(state, batch, rng)))
    (memory, state, metrics), (less, same_state, same_metrics) = results
    np.testing.assert_allclose(metrics["loss"], same_metrics["loss"], rtol=1e-6)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5),
        (state.params, state.batch_stats),
        (same_state.params, same_state.batch_stats),
    )
    assert less < 0.6 * memory


@pytest.mark.parametrize(
    "settings", [{}, {"frontend": "log_mel", "block": "gated"}], ids=str
)
def test_bfloat16_computes_roughly_the_same_on_float32_parameters(settings):
    models = [
        _model(dropout_rate=0.0, compute_dtype=dtype, **settings)
        for dtype in ("float32", "bfloat16")
    ]
    _compare_dtypes(*models)


def test_bfloat16_cnn_lstm():
    shape = dict(conv_features=(4, 4, 4), lstm_features=8, dropout_rate=0.0)
    _compare_dtypes(
        *(
            CnnLstm(CnnLstmConfig(compute_dtype=dtype, **shape))
            for dtype in ("float32", "bfloat16")
        )
    )


def _compare_dtypes(exact, rounded):
    batch, step = _batch(), jax.jit(train.train_step)
    states = [_state(model, optax.sgd(0.01)) for model in (exact, rounded)]
    _assert_equal(states[0].params, states[1].params)
    outputs = [
        jax.jit(model.apply)(state.variables, batch["audio"]).frames
        for model, state in zip((exact, rounded), states)
    ]
    assert outputs[1].dtype == jnp.float32
    error = np.abs(outputs[1] - outputs[0]).max() / np.abs(outputs[0]).max()
    assert 1e-6 < error < 0.05
    after, metrics = step(states[1], batch, jax.random.key(1))
    expected = step(states[0], batch, jax.random.key(1))[1]["loss"]
    assert metrics["loss"].dtype == jnp.float32
    np.testing.assert_allclose(metrics["loss"], expected, rtol=0.02)
    for leaf in jax.tree.leaves((after.params, after.batch_stats, after.opt_state)):
        assert leaf.dtype in (jnp.float32, jnp.int32)


def test_dropout_changes_from_step_to_step():
    """With a learning rate of zero, nothing else does."""
    state = _state(_model(dropout_rate=0.5), optax.sgd(0.0))
    step = jax.jit(train.train_step)
    found = []
    for _ in range(3):
        state, metrics = step(state, _batch(), jax.random.key(1))
        found.append(float(metrics["loss"]))
    assert len(set(found)) == 3


def test_the_loss_of_earlier_frames_is_that_of_each_frame_alone():
    rng = np.random.default_rng(0)
    frames = jnp.asarray(rng.normal(size=(3, 5, 4)), jnp.float32)
    output = layers.Output(frames, frames[:, -1], None)
    batch = {"target": jnp.array([0, 3, 1]), "mask": jnp.array([1.0, 0.0, 1.0])}
    plain = train.classification_loss(output, batch)
    late = np.mean(
        [
            losses.cross_entropy(frames[:, t], batch["target"], batch["mask"])
            for t in (2, 3, 4)
        ]
    )
    weighted = train.classification_loss(output, batch, frame_loss_weight=0.5)
    np.testing.assert_allclose(weighted, plain + 0.5 * late, rtol=1e-6)


def test_regression_learns_a_track_by_its_ccc():
    model = _model(outputs=2, dropout_rate=0.0)
    loss_fn = train.regression_loss
    state = _state(model, optax.adam(1e-2), loss_fn)
    batch = _batch()
    loudness = jnp.sin(jnp.arange(10.0))[None, :] * jnp.arange(1.0, 5.0)[:, None]
    gain = jnp.repeat(jnp.exp(loudness / 4), 640, axis=1)
    batch |= {
        "audio": batch["audio"] * gain,
        "target": jnp.stack([loudness, -loudness], axis=-1),
        "mask": jnp.ones((4, 10)),
    }
    step = jax.jit(train.train_step)
    for _ in range(60):
        state, metrics = step(state, batch, jax.random.key(1))
    assert metrics["loss"] < 0.3
    output, loss, sequences = jax.jit(evaluate.eval_step)(state, batch)
    expected = losses.ccc_loss(output.frames, batch["target"])
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert sequences == 4


def test_batch_statistics_are_those_of_the_data_without_dropout():
    """Against NumPy, at the first batch norm, over two batches as over one."""
    model = _model(network="diccoser", dropout_rate=0.5)
    state = _state(model)
    batches = [_batch(seed=seed)["audio"] for seed in range(2)]
    statistics_of = jax.jit(train.batch_statistics)
    both = train.pool_batch_statistics(
        [statistics_of(state, audio) for audio in batches]
    )
    statistics = both["local"]["stack0_dilation1"]["BatchNorm_0"]

    def first_convolution(audio):
        apply = functools.partial(
            model.apply, capture_intermediates=lambda m, _: m.name == "filter"
        )
        _, found = jax.jit(apply)(state.variables, audio)
        local = found["intermediates"]["local"]["stack0_dilation1"]
        return np.asarray(local["filter"]["__call__"][0], np.float64)

    z = np.concatenate([first_convolution(audio) for audio in batches])
    np.testing.assert_allclose(statistics["mean"], z.mean(axis=(0, 1)), atol=1e-6)
    np.testing.assert_allclose(statistics["var"], z.var(axis=(0, 1)), rtol=1e-4)
    jax.tree.map(lambda a, b: None, both, state.batch_stats)  # the same structure


@pytest.mark.parametrize("batch", [3, 4])
@pytest.mark.parametrize("model", [_model(), _SMALL_CNN_LSTM])
def test_inference_in_pieces_is_that_of_the_batch(model, batch):
    audio = _batch(batch)["audio"]
    variables = _state(model).variables
    expected = jax.jit(model.apply)(variables, audio)
    found = jax.jit(evaluate.infer, static_argnums=0)(model, variables, audio)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5),
        found,
        expected,
    )


def test_padding_does_not_change_a_score(classification):
    """Batches of 7 leave a tail of 3 in 80 utterances; batches of 80 leave none."""
    state = _state(_model(frontend="log_mel"))
    sharding = train.data_parallel(1)[1]
    (tail, tail_loss), (whole, whole_loss) = (
        evaluate.predict(
            jax.jit(evaluate.eval_step),
            state,
            corpus=classification,
            units=("speaker00", "speaker01"),
            batch_size=size,
            window_seconds=SAMPLES / 16_000,
            sharding=sharding,
        )
        for size in (7, 80)
    )
    assert tail_loss == pytest.approx(whole_loss, rel=1e-5)
    np.testing.assert_allclose(tail.outputs, whole.outputs, rtol=1e-4, atol=1e-6)
    for name in ("recordings", "speakers", "targets"):
        np.testing.assert_array_equal(getattr(tail, name), getattr(whole, name))
    assert len(set(tail.recordings)) == len(tail.recordings) == 80
    assert list(dict.fromkeys(tail.speakers)) == ["00", "01"]
    scores = evaluate.score(tail, classification.target_names)
    assert scores["examples"] == np.sum(scores["confusion"]) == 80


def test_regression_scores_count_every_frame_once(regression):
    model = Diccoser(
        DiccoserConfig(
            2, 200, features=8, local_stacks=1, global_blocks=2, frontend="log_mel"
        )
    )
    loss_fn = train.regression_loss
    state = train.create_state(
        jax.random.key(0), model, optax.sgd(0.1), loss_fn, 128_000
    )
    unit = "speaker00"
    rows, _ = evaluate.predict(
        jax.jit(evaluate.eval_step),
        state,
        corpus=regression,
        units=[unit],
        batch_size=3,
        window_seconds=8.0,
        sharding=train.data_parallel(1)[1],
    )
    found = evaluate.score(rows, regression.target_names)
    predictions, labels, apply = [], [], jax.jit(model.apply)
    for record in regression.source([unit], evaluation=True):
        audio = jnp.asarray(record["audio"], jnp.float32)[None] / 32768
        predictions.append(apply(state.variables, audio).frames[0])
        labels.append(record["labels"])
    x, y = np.concatenate(predictions), np.concatenate(labels)
    assert len(y) == 1500
    np.testing.assert_array_equal(rows.targets, y)
    for d, name in enumerate(("arousal", "valence")):
        covariance = np.cov(x[:, d], y[:, d], bias=True)
        expected = (
            2
            * covariance[0, 1]
            / (np.trace(covariance) + (x[:, d].mean() - y[:, d].mean()) ** 2)
        )
        assert found["ccc"][name]["pooled"] == pytest.approx(expected, rel=1e-4)


def test_a_batch_that_the_devices_cannot_share_names_those_that_they_can(monkeypatch):
    monkeypatch.setattr(jax, "devices", lambda: 8 * jax.local_devices())
    message = "train.batch_size=10 cannot be shared by 8 devices; .* 8 or 16"
    with pytest.raises(ConfigError, match=message):
        train.data_parallel(10)


def _train_on_all_devices(corpus, output):
    """Writes outputs, losses and parameters; returns the collectives of its programs.

    A step of SGD is linear in the gradient: rounding stays rounding.
    """
    replicated, shared = train.data_parallel(8)
    model = _model(dropout_rate=0.5, frontend="log_mel")
    state = jax.device_put(_state(model, optax.sgd(0.1)), replicated)
    step = jax.jit(
        train.on_devices_of(shared, train.train_step),
        donate_argnums=0,
        in_shardings=(replicated, shared, replicated),
        out_shardings=replicated,
    )
    evaluation = jax.jit(
        train.on_devices_of(shared, evaluate.eval_step),
        in_shardings=(replicated, shared),
    )
    batch, rng = jax.device_put(_batch(8), shared), jax.random.key(1)
    collectives = {}
    for name, lowered in (
        ("step", step.lower(state, batch, rng)),
        ("evaluation", evaluation.lower(state, batch)),
    ):
        kinds = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
        hlo = lowered.compile().as_text()
        collectives[name] = re.findall(rf" = (.*?) ({kinds})(?:-start)?\(", hlo)
    rows, _ = evaluate.predict(
        evaluation,
        state,
        corpus=corpus,
        units=["speaker00"],
        batch_size=24,
        window_seconds=0.4,
        sharding=shared,
    )
    found = [rows.outputs]
    for seed in range(3):
        batch = jax.device_put(_batch(8, seed), shared)
        assert len(batch["audio"].devices()) == jax.local_device_count()
        state, metrics = step(state, batch, rng)
        found.append(metrics["loss"])
    np.savez(output, *jax.tree.leaves((found, state.params, state.batch_stats)))
    return collectives


def _size(shape):
    return math.prod(int(n) for n in re.findall(r"\d+", shape.partition("[")[2]))


def test_eight_devices_train_and_evaluate_as_one(tmp_path, classification):
    """Losses, parameters, batch-norm statistics with dropout, a padded evaluation.

    The only collectives sum: the statistics of each batch norm, and its gradients; the
    gradients of all parameters; the loss and the examples that count.
    """
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); import train_test\n"
        "corpus = train_test.data.Corpus(sys.argv[2])\n"
        "print(json.dumps(train_test._train_on_all_devices(corpus, sys.argv[3])))"
    )
    tests = pathlib.Path(__file__).parent
    results, collectives = {}, {}
    for devices in (1, 8):
        output = tmp_path / f"{devices}.npz"
        done = subprocess.run(
            [sys.executable, "-c", code, tests, classification.directory, output],
            env=os.environ
            | {
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "JAX_PLATFORMS": "cpu",
            },
            check=True,
            timeout=300,
            stdout=subprocess.PIPE,
        )
        results[devices] = list(np.load(output).values())
        collectives[devices] = json.loads(done.stdout)
    assert len(results[1]) > 20
    assert results[1][0].shape == (40, 4)
    for one, many in zip(results[1], results[8]):
        np.testing.assert_allclose(many, one, rtol=1e-5, atol=2e-6)
    step, evaluation = collectives[8].values()
    assert {kind for _, kind in step + evaluation} == {"all-reduce"}
    shapes = " ".join(shapes for shapes, _ in step)
    reduced = map(_size, re.findall(r"[a-z]\d+\[[\d,]*\]", shapes))
    parameters = sum(leaf.size for leaf in results[1][4:])
    assert parameters < sum(reduced) < 3 * parameters
    assert all(_size(shapes) == 1 for shapes, _ in evaluation if "(" not in shapes)
    assert collectives[1] == {"step": [], "evaluation": []}


def test_a_run_resumes_where_it_stopped(tmp_path, classification, monkeypatch):
    """Stopped in two epochs and when it is fitted anew: as without a stop."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    config = small_config(train__max_epochs=2)
    config.train.log_every_steps, config.train.refit = 3, True
    expected = train.train_and_evaluate(config, whole, classification, FOLD)
    real = data.train_batches
    stops = {
        (FOLD.train, 1, 2): signal.SIGTERM,
        (FOLD.train, 2, 4): signal.SIGINT,
        ((*FOLD.train, *FOLD.validation), 1, 5): signal.SIGTERM,
    }

    def stopping(corpus, units, *, epoch, start, **settings):
        batches = real(corpus, units, epoch=epoch, start=start, **settings)
        for i, batch in enumerate(batches, start):
            if number := stops.pop((units, epoch, i), None):
                signal.raise_signal(number)
            yield batch

    monkeypatch.setattr(data, "train_batches", stopping)
    handler = signal.getsignal(signal.SIGINT)
    for step in (3, 17, 6):
        with pytest.raises(interrupt.Interrupted, match=f"Saved after step {step}"):
            train.train_and_evaluate(config, parts, classification, FOLD)
    found = train.train_and_evaluate(config, parts, classification, FOLD)
    assert not stops
    assert signal.getsignal(signal.SIGINT) is handler
    for results in (expected, found):
        del results["seconds"], results["cost"]
    assert found == expected
    names = ("metrics.jsonl", "predictions.npz", "model.safetensors")
    for name in (*names, "refit/metrics.jsonl"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()
    saved = model_file.load(parts / "model.safetensors")
    assert saved.card["trained_on"].endswith("speaker02, speaker03")
    lines = (parts / "refit" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] // 3 == 16 * found["best_epoch"] // 3


def test_the_best_epoch_is_tested_and_patience_ends_the_run(
    tmp_path, classification, monkeypatch
):
    scores = iter([0.3, 0.6, 0.6, 0.5, 0.1])
    tested = []

    def fake(step, state, *, units, **_):
        if units == FOLD.test:
            tested.append(int(state.step))
        else:
            assert units == FOLD.validation
        same = np.zeros(3, np.int32)
        return Predictions(same, same, same, same, same, np.eye(3)), 1.0

    # The fourth epoch ends the run; then best state's validation and test are scored.
    monkeypatch.setattr(evaluate, "predict", fake)
    monkeypatch.setattr(evaluate, "score", lambda *_, **__: {"score": next(scores)})
    config = small_config(train__max_epochs=9, train__patience_epochs=2)
    found = train.train_and_evaluate(config, tmp_path, classification, FOLD)
    assert found["epochs"] == 4
    assert found["best_epoch"] in (2, 3)
    assert found["validation_score"] == 0.6
    steps_per_epoch = 120 // 10
    assert tested == [found["best_epoch"] * steps_per_epoch]


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, classification, monkeypatch):
    real, calls = train.train_step, []

    def broken(state, batch, rng, **options):
        calls.append(None)
        state, metrics = real(state, batch, rng, **options)
        # Traced once: the 15th step of the run makes the loss NaN.
        loss = jnp.where(state.step == 15, jnp.nan, metrics["loss"])
        return state, metrics | {"loss": loss}

    monkeypatch.setattr(train, "train_step", broken)
    with pytest.raises(FloatingPointError) as error:
        train.train_and_evaluate(small_config(), tmp_path, classification, FOLD)
    assert "training loss is nan after step 14" in str(error.value)
    assert f"Last good checkpoint: {tmp_path / 'checkpoints' / '12'}" in str(
        error.value
    )
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model__network", "rnn", r"model.network='rnn' is not in"),
        ("model__frontend", "mfcc", r"model: frontend='mfcc' is not one of"),
        ("model__dropout_rate", 1.5, r"model: dropout_rate=1.5"),
        ("model__compute_dtype", "half", r"model: compute_dtype='half' is not one of"),
        ("optimizer__name", "sgd", r"optimizer.name='sgd'"),
        ("train__batch_size", 999, r"train.batch_size=999 must be at most 120"),
        ("data__window_seconds", 0.01, r"data.window_seconds=0.01"),
    ],
)
def test_settings_that_cannot_run_are_named(
    tmp_path, classification, key, value, message
):
    config = small_config(**{key: value})
    if value != 999:
        with pytest.raises(ConfigError, match=message):
            train.check_settings(config)
    with pytest.raises(ConfigError, match=message):
        train.train_and_evaluate(config, tmp_path, classification, FOLD)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"microbatches": 0}, r"train\.microbatches=0 must be at least 1"),
        ({"average_decay": 1.0}, r"train\.average_decay=1.0 is not in \[0, 1\)"),
        ({"regression_loss": "mae"}, r"train\.regression_loss='mae' is not in"),
        (
            {"microbatches": 3, "batch_size": 10},
            r"train\.batch_size=10 .* train\.microbatches=3 parts; .* 9 or 12",
        ),
        (
            {
                "microbatches": 2,
                "batch_size": 10,
                "regression_loss": "pooled_ccc",
            },
            r"train\.regression_loss='pooled_ccc' .* train\.microbatches=2",
        ),
    ],
    ids=str,
)
def test_steps_that_cannot_be_run_are_refused_early(settings, message):
    config = small_config()
    config.train.update(settings)
    with pytest.raises(ConfigError, match=message):
        train.check_settings(config)
