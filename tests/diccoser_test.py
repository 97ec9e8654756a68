"""Tests for `../diccoser_jax/diccoser.py`."""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import speech
import weights

from diccoser_jax import diccoser, layers, stream
from diccoser_jax.cnn_lstm import CnnLstm, CnnLstmConfig
from diccoser_jax.diccoser import Diccoser, DiccoserConfig


def _small(name, **settings):
    """A configuration to try, and its name."""
    return pytest.param(
        DiccoserConfig(
            outputs=3,
            window_frames=5,
            features=8,
            local_stacks=2,
            local_dilations=(1, 3),
            **settings,
        ),
        id=name,
    )


PARALLEL = [
    _small(
        f"{network}-{frontend}-{len(hops)}_local_networks",
        network=network,
        frontend=frontend,
        local_hop_samples=hops,
    )
    for network, frontend, hops in [
        ("diccoser", "raw", (160, 320, 640)),
        ("diccoser_cs", "raw", (160, 320)),
        ("diccoser_cs", "log_mel", (160, 320, 640)),
        ("diccoser_cs_v2", "log_mel", (640, 160)),
    ]
]
VARIANTS = [
    _small(
        "-".join(
            [network, frontend, aggregation, block] + conditioning * ["conditioned"]
        ),
        network=network,
        frontend=frontend,
        aggregation=aggregation,
        block=block,
        local_conditioning=conditioning,
    )
    for network, frontend, aggregation, block, conditioning in [
        ("diccoser", "raw", "rms", "relu", False),
        ("diccoser", "log_mel", "rms", "relu", False),
        # Each network with each frontend and each aggregation.
        ("diccoser_cs", "raw", "rms", "relu", False),
        ("diccoser_cs", "raw", "max", "relu", False),
        ("diccoser_cs", "log_mel", "rms", "relu", False),
        ("diccoser_cs_v2", "raw", "rms", "relu", False),
        ("diccoser_cs_v2", "log_mel", "max", "relu", False),
        ("diccoser_cs", "raw", "rms", "gated", False),
        ("diccoser_cs", "log_mel", "max", "gated", True),
        ("diccoser_cs_v2", "raw", "max", "relu", True),
        ("diccoser", "log_mel", "rms", "relu", True),
    ]
]


def _waveform(config, frames, batch=2, seed=0):
    """Noise, and what conditions it, if anything does."""
    rng = np.random.default_rng(seed)
    waveform = rng.normal(scale=0.1, size=(batch, 640 * frames))
    conditioning = rng.normal(size=(batch, frames, 3))
    return (
        jnp.asarray(waveform, jnp.float32),
        jnp.asarray(conditioning, jnp.float32) if config.local_conditioning else None,
    )


@functools.cache
def _network(config):
    """A model, and variables none of which is what it began as."""
    model = Diccoser(config)
    inputs = _waveform(config, 1)
    return model, weights.draw(jax.eval_shape(model.init, jax.random.key(0), *inputs))


@pytest.mark.parametrize("config", [*VARIANTS, *PARALLEL])
def test_outputs_depend_on_the_receptive_field_and_nothing_else(config):
    """The gradient of one output frame shows which samples it depends on.

    It is zero from sample 640·(t+1) on, non-zero at the sample before, and zero
    before the receptive field. Where the path is smooth, the field's first sample has
    a gradient too, which pins the formula; a maximum shows only its own sample, and
    the mel window is zero at its first, so that the first frame is the claim there.
    """
    model, variables = _network(config)
    field = diccoser.receptive_field_samples(config)
    t = -(-field // 640)
    waveform, conditioning = _waveform(config, t + 3, batch=1)

    @jax.jit
    @jax.grad
    def gradient(waveform):
        output = model.apply(variables, waveform, conditioning)
        return jnp.sum(output.frames[:, t] * jnp.arange(1.0, 4.0)[None])

    touched = np.flatnonzero(gradient(waveform)[0])
    end = 640 * (t + 1)
    assert touched[-1] < end
    first_of_last_frame, last_of_first_frame = end - 640, end - field + 640
    assert touched[-1] >= first_of_last_frame
    assert touched[0] >= end - field
    assert touched[0] < last_of_first_frame
    if config.aggregation == "rms" and config.network == "diccoser_cs":
        assert touched[-1] == end - 1
        assert touched[0] == end - field + (config.frontend == "log_mel")


@pytest.mark.parametrize("frontend", diccoser.FRONTENDS)
def test_the_network_of_the_paper_streams_real_speech(frontend):
    config = DiccoserConfig(frontend=frontend)
    pieces = [speech.cut(number, seconds=1.4) for number in range(2)]
    waveform = jnp.asarray(np.concatenate(pieces) / 32768, jnp.float32)[None]
    model, variables = _network(config)
    whole = jax.jit(model.apply)(variables, waveform).frames
    step = jax.jit(functools.partial(model.apply, mutable=layers.CARRY))
    carry, frames = stream.init_carry(model, variables, batch=1), []
    for start in range(0, waveform.shape[1], 640):
        output, carry = step({**variables, **carry}, waveform[:, start : start + 640])
        frames.append(output.frames)
    np.testing.assert_allclose(jnp.concatenate(frames, 1), whole, rtol=0, atol=1e-5)


def test_streams_can_be_differentiated_and_mapped():
    config = VARIANTS[0].values[0]
    model, variables = _network(config)
    waveform, _ = _waveform(config, 6, batch=4)

    def step(carry, chunk):
        output, carry = model.apply({**variables, **carry}, chunk, mutable=layers.CARRY)
        return carry, output.frames

    def last_output(waveform):
        carry, _ = step({}, waveform[:, :1920])
        return step(carry, waveform[:, 1920:])[1][:, -1].sum()

    whole = jax.grad(lambda w: model.apply(variables, w).pooled.sum())
    np.testing.assert_allclose(
        jax.jit(jax.grad(last_output))(waveform),
        jax.jit(whole)(waveform),
        rtol=0,
        atol=1e-5,
    )
    first = jax.jit(lambda w: step({}, w)[1])
    mapped = jax.jit(jax.vmap(lambda w: step({}, w[None])[1][0]))(waveform)
    np.testing.assert_allclose(mapped, first(waveform), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("window_frames", "expected"),
    [
        (75, (1, 2, 4, 8, 16, 32, 64, 75)),
        (500, (1, 2, 4, 8, 16, 32, 64, 128, 256, 500)),
        (64, (1, 2, 4, 8, 16, 32, 64)),
        (1, (1,)),
    ],
)
def test_global_dilations(window_frames, expected):
    assert DiccoserConfig(window_frames=window_frames).global_dilations == expected


def test_a_tap_at_lag_l_would_change_nothing_in_a_window():
    """The block at dilation L has one tap; another one would meet only padding."""
    x = jax.random.normal(jax.random.key(0), (2, 75, 8))
    one = layers.DilatedCausalBlock(features=8, dilation=75, width=1)
    two = layers.DilatedCausalBlock(features=8, dilation=75, width=2)
    variables = one.init(jax.random.key(1), x, train=False)
    tapped = two.init(jax.random.key(2), x, train=False)
    random_tap = tapped["params"]["filter"]["kernel"][:1]
    kernel = variables["params"]["filter"]["kernel"]
    tapped["params"] = {
        **variables["params"],
        "filter": {"kernel": jnp.concatenate([random_tap, kernel])},
    }
    np.testing.assert_array_equal(
        one.apply(variables, x, train=False), two.apply(tapped, x, train=False)
    )
    for config in (DiccoserConfig(), DiccoserConfig(window_frames=500)):
        widths = [
            diccoser.global_block_width(config, d) for d in config.global_dilations
        ]
        assert widths == [2] * (len(widths) - 1) + [1]


@functools.cache
def _count(model):
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 6400)))
    return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def _expected_count(outputs, blocks, stem, conditioned):
    conv, scale_and_bias, residual = 2 * 64 * 64, 2 * 64, 64 * 64 + 64
    local = 21 * (conv + scale_and_bias + residual)
    total = stem + 64 + local
    total += blocks * (conv + scale_and_bias + residual) - 64 * 64  # no tap at lag L
    if conditioned:
        total += blocks * conv + 8 * 64 + 64
    return total + 64 * outputs + outputs


@pytest.mark.parametrize("network", diccoser.NETWORKS)
@pytest.mark.parametrize(("frontend", "stem"), [("raw", 8 * 64), ("log_mel", 7680)])
@pytest.mark.parametrize(("frames", "outputs", "blocks"), [(75, 4, 8), (500, 2, 10)])
def test_parameters_are_counted_by_hand(
    network, frontend, stem, frames, outputs, blocks
):
    config = DiccoserConfig(outputs, frames, network=network, frontend=frontend)
    count = _count(Diccoser(config))
    assert count == _expected_count(outputs, blocks, stem, network != "diccoser")
    baseline = _count(CnnLstm(CnnLstmConfig(outputs=outputs, frontend=frontend)))
    assert count <= 0.36 * baseline


def test_batch_norm_follows_no_bias():
    """It would have no gradient but rounding noise, which Adam amplifies."""
    variables = jax.eval_shape(
        Diccoser().init, jax.random.key(0), jnp.zeros((1, 48_000))
    )
    block = variables["params"]["global"]["dilation1"]
    assert set(block["filter"]) == {"kernel"}
    assert set(block["filter_conditioning"]) == {"kernel"}


@pytest.mark.parametrize("frames", [1, 2, 7, 75])
def test_one_frame_for_each_640_samples(frames):
    model, variables = _network(VARIANTS[0].values[0])
    output = jax.eval_shape(model.apply, variables, jnp.zeros((2, 640 * frames)))
    assert output.frames.shape == (2, frames, 3)
    assert output.pooled.shape == (2, 3)
    assert output.local_context.shape == (2, frames, 8)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("waveform", "message"),
    [
        (jnp.zeros((1, 1000)), "1000 samples.*multiple of 640.*cut it to 640"),
        (jnp.zeros((1, 0)), "0 samples"),
        (jnp.zeros(640), r"\[batch, samples\].*float32\[640\]"),
        (jnp.zeros((1, 640), jnp.int16), "floating point.*int16"),
    ],
)
def test_a_waveform_off_the_time_grid_is_refused(waveform, message):
    model, variables = _network(VARIANTS[0].values[0])
    with pytest.raises(ValueError, match=message):
        model.apply(variables, waveform)


@pytest.mark.usefixtures("unchecked")
def test_conditioning_matters_and_must_match_the_config():
    config = VARIANTS[-1].values[0]
    assert config.local_conditioning
    model, variables = _network(config)
    waveform, conditioning = _waveform(config, 6)
    a = model.apply(variables, waveform, conditioning).frames
    b = model.apply(variables, waveform, -conditioning).frames
    assert not np.allclose(a, b)
    with pytest.raises(ValueError, match="conditioning is absent"):
        model.apply(variables, waveform)
    with pytest.raises(ValueError, match=r"expected \[batch, frames, channels\]"):
        model.apply(variables, waveform, conditioning[:, :-1])
    plain, variables = _network(VARIANTS[0].values[0])
    with pytest.raises(ValueError, match="conditioning is given"):
        plain.apply(variables, waveform, conditioning)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"network": "cs"}, "network='cs' is not one of"),
        ({"frontend": "mfcc"}, "frontend='mfcc' is not one of"),
        ({"aggregation": "mean"}, "aggregation='mean' is not one of"),
        ({"block": "glu"}, "block='glu' is not one of"),
        ({"outputs": 0}, "outputs=0 must be at least 1"),
        ({"dropout_rate": 1.0}, "dropout_rate=1.0 must be in"),
        ({"local_stacks": 8}, "local_stacks=8.*up to 7"),
        ({"local_hop_samples": (5, 7)}, r"local_hop_samples=\(5, 7\) must be diff"),
        ({"local_hop_samples": (5, 5)}, r"different ones of \[640, 320, .*, 5\]"),
        ({"local_hop_samples": (5,), "local_stacks": 6}, "6 stacks halve"),
    ],
)
def test_settings_that_make_no_network_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        DiccoserConfig(**setting)


def test_an_answer_is_the_mean_of_the_last_frames():
    config = dataclasses.replace(
        VARIANTS[1].values[0], window_frames=10, global_blocks=1, answer_frames=4
    )
    model, variables = _network(config)
    waveform, _ = _waveform(config, 10)
    apply = jax.jit(functools.partial(model.apply, mutable="carry"))
    whole, _ = apply(variables, waveform)
    expected = np.asarray(whole.frames)[:, -4:].mean(axis=1)
    np.testing.assert_allclose(whole.pooled, expected, rtol=1e-6, atol=1e-7)
    # Before there are four frames, those that have not been count as zeros.
    output, carry = apply(variables, waveform[:, :640])
    np.testing.assert_allclose(output.pooled, whole.frames[:, 0] / 4, atol=1e-6)
    for start in range(640, 6400, 640):
        chunk = waveform[:, start : start + 640]
        output, carry = apply({**variables, **carry}, chunk)
    np.testing.assert_allclose(output.pooled, expected, atol=1e-6)


def test_each_local_network_has_a_say_in_the_context():
    """One of them is silenced in turn: the context changes, at each level."""
    model, variables = _network(PARALLEL[2].values[0])
    waveform, _ = _waveform(model.config, 3)
    apply = jax.jit(lambda v: model.apply(v, waveform).local_context)
    contexts = [apply(variables)]
    for hop in model.config.local_hop_samples:
        params = dict(variables["params"])
        params[f"local{hop}"] = jax.tree.map(jnp.zeros_like, params[f"local{hop}"])
        contexts.append(apply({**variables, "params": params}))
    for a, b in itertools.combinations(contexts, 2):
        assert np.abs(a - b).max() > 1e-3


def test_fewer_global_blocks_see_less():
    full = DiccoserConfig(window_frames=75)
    assert full.global_dilations == (1, 2, 4, 8, 16, 32, 64, 75)
    fields = []
    for blocks in (1, 3, 7, 8):
        config = dataclasses.replace(full, global_blocks=blocks)
        assert config.global_dilations == full.global_dilations[:blocks]
        fields.append(diccoser.receptive_field_samples(config))
    # Blocks of dilation 2 and 4, then 8 to 64; the last one has no second tap.
    assert np.diff(fields).tolist() == [640 * 6, 640 * 120, 0]
    with pytest.raises(ValueError, match="global_blocks=0 must be at least 1"):
        DiccoserConfig(global_blocks=0)
