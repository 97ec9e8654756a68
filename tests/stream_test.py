"""Tests for `../diccoser_jax/stream.py`."""

import functools
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import speech
from flax import serialization

from diccoser_jax import diccoser, stream
from diccoser_jax.audio import FRAME_SAMPLES
from diccoser_jax.cnn_lstm import CnnLstm
from diccoser_jax.diccoser import Diccoser, DiccoserConfig

SMALL = DiccoserConfig(
    outputs=3, window_frames=5, features=8, local_stacks=2, local_dilations=(3,)
)
VARIANTS = [
    dict(network="diccoser", frontend="raw"),
    dict(network="diccoser", frontend="log_mel"),
    # Each network with each frontend and each aggregation.
    dict(network="diccoser_cs", frontend="raw", aggregation="rms"),
    dict(network="diccoser_cs", frontend="log_mel", aggregation="max"),
    dict(network="diccoser_cs_v2", frontend="raw", aggregation="max"),
    dict(network="diccoser_cs_v2", frontend="log_mel", aggregation="rms"),
    dict(network="diccoser_cs", block="gated", local_conditioning=True),
    dict(network="diccoser_cs_v2", frontend="log_mel", block="gated"),
    dict(network="diccoser_cs", frontend="log_mel", local_conditioning=True),
    dict(network="diccoser_cs", local_hop_samples=(160, 320)),
    dict(network="diccoser", frontend="log_mel", local_hop_samples=(160, 640)),
    dict(network="diccoser_cs", window_frames=1),
    dict(network="diccoser_cs", window_frames=8, compute_dtype="bfloat16"),
]
each_variant = pytest.mark.parametrize(
    "setting", VARIANTS, ids=lambda setting: "-".join(map(str, setting.values()))
)


def _noise(frames, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    waveform = rng.normal(scale=0.1, size=(batch, FRAME_SAMPLES * frames))
    return waveform.astype(np.float32)


@functools.cache
def _network(**setting):
    """A model, and variables of which none is what it began as."""
    model = Diccoser(DiccoserConfig(**{**vars(SMALL), **setting}))
    inputs = [_noise(2)]
    if model.config.local_conditioning:
        inputs.append(np.zeros((2, 2, 3), np.float32))
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        noise = rng.normal(size=leaf.shape).astype(np.float32)
        if path[-1].key in ("var", "scale"):
            return np.exp(0.1 * noise)
        return noise * (0.5 / np.sqrt(max(leaf.size // leaf.shape[-1], 4)))

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


@functools.cache
def _functions(**setting):
    """`stream.step` and ``apply`` of a network, jitted once for all tests."""
    model, variables = _network(**setting)
    step = functools.partial(stream.step, model, variables)
    return jax.jit(step), jax.jit(functools.partial(model.apply, variables))


def _cut(frames, seed, sizes=(1, 3)):
    """Where chunks of random sizes start and stop."""
    rng, start = np.random.default_rng(seed), 0
    while start < frames:
        size = int(rng.choice(sizes))
        # At the end by single frames: another size would be another program.
        stop = start + (size if start + size <= frames else 1)
        yield start, stop
        start = stop


def _stream(step, carry, inputs, cuts):
    """The carry after the chunks, and their outputs in one."""
    outputs = []
    for start, stop in cuts:
        waveform, *conditioning = inputs
        chunk = waveform[:, FRAME_SAMPLES * start : FRAME_SAMPLES * stop]
        carry, output = step(carry, chunk, *(c[:, start:stop] for c in conditioning))
        outputs.append(output)
    frames = np.concatenate([output.frames for output in outputs], axis=1)
    context = np.concatenate([output.local_context for output in outputs], axis=1)
    np.testing.assert_array_equal(outputs[-1].pooled, frames[:, -1])
    return carry, frames, context


def _kinds(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@each_variant
def test_any_cutting_gives_what_the_whole_recording_gives(setting):
    model, variables = _network(**setting)
    # Longer than the receptive field, and than any delay by more than a chunk.
    frames = 30 + diccoser.receptive_field_samples(model.config) // FRAME_SAMPLES
    inputs = [_noise(frames)]
    if model.config.local_conditioning:
        rng = np.random.default_rng(2)
        inputs.append(rng.normal(size=(2, frames, 3)).astype(np.float32))
    step, apply = _functions(**setting)
    whole = apply(*inputs)
    assert np.std(whole.frames) > 0.01
    begin = stream.init_carry(model, variables, batch=2)
    tolerance = 1e-5 if model.config.compute_dtype == "float32" else 0.03
    cuts = list(_cut(frames, seed=3))
    carry, answers, context = _stream(step, begin, inputs, cuts)
    np.testing.assert_allclose(answers, whole.frames, rtol=0, atol=tolerance)
    np.testing.assert_allclose(context, whole.local_context, rtol=0, atol=tolerance)
    assert _kinds(carry) == _kinds(begin)


@pytest.fixture(scope="module", params=[("log_mel", 600), ("raw", 84)], ids=str)
def minutes(request):
    """Long speech through a network of the paper's delays for 20 s."""
    frontend, seconds = request.param
    model, variables = _network(frontend=frontend, window_frames=500, local_stacks=3)
    spoken = np.concatenate([speech.cut(number, seconds=4.0) for number in range(5)])
    samples = seconds * 16_000
    waveform = np.resize(spoken, samples)[None] * np.linspace(0.5, 1, samples) / 32768
    waveform = waveform.astype(np.float32)
    whole = jax.jit(model.apply)(variables, waveform)
    step = jax.jit(functools.partial(stream.step, model, variables), donate_argnums=0)
    return model, variables, waveform, np.asarray(whole.frames), step


def test_minutes_in_any_cutting(minutes):
    model, variables, waveform, whole, step = minutes
    carry = stream.init_carry(model, variables, batch=1)
    cuts = list(_cut(800, seed=0, sizes=(1, 3, 12)))
    cuts += [*((t, t + 1) for t in range(800, 1200)), (1200, 1908)]
    cuts += [(t, t + 12) for t in range(1908, whole.shape[1], 12)]
    _, frames, _ = _stream(step, carry, [waveform], cuts)
    np.testing.assert_allclose(frames, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("via", ["msgpack", "npz"])
def test_a_stream_goes_on_from_a_saved_carry(minutes, via):
    model, variables, waveform, whole, step = minutes
    carry = stream.init_carry(model, variables, batch=1)
    carry, _, _ = _stream(step, carry, [waveform], [(0, 708), (708, 711)])
    fresh = stream.init_carry(model, variables, batch=1)
    if via == "msgpack":
        restored = serialization.from_bytes(fresh, serialization.to_bytes(carry))
    else:
        file = io.BytesIO()
        np.savez(file, *jax.tree.leaves(carry))
        file.seek(0)
        leaves = np.load(file, allow_pickle=False)
        restored = jax.tree.unflatten(jax.tree.structure(fresh), leaves.values())
    assert _kinds(restored) == _kinds(carry)
    cuts = [(711 + start, 711 + stop) for start, stop in _cut(189, seed=1)]
    _, frames, _ = _stream(step, restored, [waveform], cuts)
    np.testing.assert_allclose(frames, whole[:, 711:900], rtol=0, atol=1e-5)


def test_a_frame_answers_for_the_receptive_field_that_ends_there(minutes):
    """A stream is what recomputing the last receptive field at each frame would be."""
    model, variables, waveform, whole, _ = minutes
    field = -(-diccoser.receptive_field_samples(model.config) // FRAME_SAMPLES)
    assert field > model.config.window_frames
    apply = jax.jit(model.apply)
    for end in (field + 1, whole.shape[1] - 1_321, whole.shape[1]):
        window = waveform[:, (end - field) * FRAME_SAMPLES : end * FRAME_SAMPLES]
        pooled = apply(variables, window).pooled
        np.testing.assert_allclose(pooled, whole[:, end - 1], rtol=0, atol=1e-5)


def test_within_a_window_a_stream_is_what_was_trained():
    model, variables = _network()
    frames = model.config.window_frames
    waveform = _noise(frames, batch=1)
    step, apply = _functions()
    begin = stream.init_carry(model, variables, batch=1)
    cuts = [(t, t + 1) for t in range(frames)]
    _, answers, _ = _stream(step, begin, [waveform], cuts)
    pooled = apply(waveform).pooled
    np.testing.assert_allclose(answers[:, -1], pooled, rtol=0, atol=1e-5)


def test_streams_at_different_times_can_be_mapped():
    model, variables = _network()
    waveform, frames = _noise(40, batch=3), 40
    step, apply = _functions()
    whole = apply(waveform).frames
    heard, carries = [0, 5, 18], []
    for number, until in enumerate(heard):
        carry = stream.init_carry(model, variables, batch=1)
        cuts = list(_cut(until, seed=number))
        if cuts:
            carry, _, _ = _stream(step, carry, [waveform[number][None]], cuts)
        carries.append(carry)
    carries = jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries)
    mapped = jax.jit(jax.vmap(functools.partial(stream.step, model, variables)))
    heard = np.array(heard)
    while heard.max() < frames - 3:
        length = 1 + 2 * (heard[0] % 2)
        samples = FRAME_SAMPLES * heard[:, None] + np.arange(FRAME_SAMPLES * length)
        chunk = np.take_along_axis(waveform, samples, axis=1)[:, None]
        carries, output = mapped(carries, chunk)
        for number, start in enumerate(heard):
            np.testing.assert_allclose(
                output.frames[number, 0],
                whole[number, start : start + length],
                rtol=0,
                atol=1e-5,
            )
        heard += length


def test_a_scan_over_chunks():
    model, variables = _network()
    waveform = _noise(24)
    chunks = waveform.reshape(2, 8, 3 * FRAME_SAMPLES).swapaxes(0, 1)
    step = functools.partial(stream.step, model, variables)
    begin = stream.init_carry(model, variables, batch=2)
    _, outputs = jax.jit(lambda c, x: jax.lax.scan(step, c, x))(begin, chunks)
    frames = outputs.frames.swapaxes(0, 1).reshape(2, 24, -1)
    whole = _functions()[1](waveform).frames
    np.testing.assert_allclose(frames, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "setting",
    [dict(frontend="raw"), dict(frontend="log_mel", block="gated")],
    ids=lambda setting: "-".join(setting.values()),
)
def test_gradients_flow_through_the_carry(setting):
    """To the parameters and to all samples, those of earlier chunks included."""
    model, variables = _network(
        window_frames=2, local_stacks=1, local_dilations=(2,), features=4, **setting
    )
    waveform = _noise(6)
    weights = np.random.default_rng(4).normal(size=(2, 6, 3)).astype(np.float32)
    begin = stream.init_carry(model, variables, batch=2)

    def chunked(params, waveform):
        carry, frames = begin, []
        for start, stop in [(0, 5), (5, 6)]:
            chunk = waveform[:, FRAME_SAMPLES * start : FRAME_SAMPLES * stop]
            carry, output = stream.step(
                model, {**variables, "params": params}, carry, chunk
            )
            frames.append(output.frames)
        return (jnp.concatenate(frames, axis=1) * weights).sum()

    def whole(params, waveform):
        output = model.apply({**variables, "params": params}, waveform)
        return (output.frames * weights).sum()

    actual, expected = (
        jax.jit(jax.grad(loss, (0, 1)))(variables["params"], waveform)
        for loss in (chunked, whole)
    )
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected))
    assert largest > 0.1
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5 * largest),
        actual,
        expected,
    )


def test_one_trace_for_each_length_of_chunk():
    model, variables = _network()
    traces = []

    @jax.jit
    def step(carry, chunk):
        traces.append(chunk.shape)
        return stream.step(model, variables, carry, chunk)

    carry = stream.init_carry(model, variables, batch=1)
    for frames in (1, 2, 1, 1, 2, 1):
        carry, _ = step(carry, _noise(frames, batch=1))
    assert traces == [(1, FRAME_SAMPLES), (1, 2 * FRAME_SAMPLES)]


@functools.cache
def _compiled(window_frames, frames):
    model, variables = _network(window_frames=window_frames)
    carry = stream.init_carry(model, variables, batch=1)
    step = functools.partial(stream.step, model, variables)
    jitted = jax.jit(step, donate_argnums=0)
    return jitted.lower(carry, _noise(frames, batch=1)).compile()


@pytest.mark.parametrize("frames", [1, 3])
def test_the_cost_of_a_frame_is_not_that_of_the_past(frames):
    """From L = 75 to L = 500, two blocks come to eight: their work, and no more."""
    short, long = (
        _compiled(window_frames, frames).cost_analysis() for window_frames in (75, 500)
    )
    assert long["flops"] < 1.06 * short["flops"]
    blocks = Diccoser(DiccoserConfig(window_frames=500)).config.global_dilations
    assert len(blocks) == 10


def test_a_donated_carry_is_changed_in_place():
    """No other array of the size of the rings is ever made."""
    program = _compiled(500, 1).as_text()
    entry = program[program.index("\nENTRY") :]
    rings = [line for line in entry.splitlines() if " = f32[1,511,8]" in line]
    assert len(rings) == 1 + 9  # as it comes, and one row of each block written
    assert all(
        " parameter(" in line or "dynamic-update-slice" in line for line in rings
    )
    memory = _compiled(500, 1).memory_analysis()
    ring_bytes = 511 * 8 * 4
    assert memory.alias_size_in_bytes > ring_bytes
    assert (
        memory.temp_size_in_bytes
        - _compiled(75, 1).memory_analysis().temp_size_in_bytes
        < ring_bytes / 4
    )


def test_nobody_sees_a_donated_carry_again():
    model, variables = _network()
    step = jax.jit(functools.partial(stream.step, model, variables), donate_argnums=0)
    waveform = _noise(30, batch=1)
    carry = first = stream.init_carry(model, variables, batch=1)
    carry, frames, _ = _stream(step, carry, [waveform], [(t, t + 1) for t in range(30)])
    whole = _functions()[1](waveform).frames
    np.testing.assert_allclose(frames, whole, rtol=0, atol=1e-5)
    with pytest.raises((RuntimeError, ValueError), match=r"deleted|donated"):
        step(first, waveform[:, :FRAME_SAMPLES])


def test_the_carry_begins_as_silence_without_any_audio():
    model, variables = _network()
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables
    )
    carry = stream.init_carry(model, shapes, batch=2)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(carry))
    step, apply = _functions()
    advanced, output = step(carry, _noise(1))
    assert _kinds(carry) == _kinds(advanced)
    whole = apply(_noise(1))
    np.testing.assert_allclose(output.frames, whole.frames, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((1, 0), np.float32), "0 samples is not of whole frames"),
        (np.zeros((1, 320), np.float32), "320 samples.*640 samples.*16 000 Hz.*resamp"),
        (np.zeros((1, 1764), np.float32), "1764 samples is not of whole frames"),
        (np.zeros(640, np.float32), r"float32 \[batch, samples\].*float32\[640\]"),
        (np.zeros((1, 640), np.int16), r"not int16\[1, 640\]"),
        (np.zeros((1, 640), np.float64), r"not float64\[1, 640\]"),
        (np.full((1, 640), np.nan, np.float32), "Sample 0 of stream 0 .* is nan"),
        (np.zeros((2, 640), np.float32), r"carry is of shape \(1, 7, 1\).*batch size"),
    ],
)
def test_chunks_that_are_refused(chunk, message):
    model, variables = _network()
    carry = stream.init_carry(model, variables, batch=1)
    with pytest.raises(ValueError, match=message):
        stream.step(model, variables, carry, chunk)


def test_samples_that_are_not_finite_are_told_by_place():
    chunk = _noise(2)
    stream.check_chunk(chunk)
    chunk[1, 700] = -np.inf
    with pytest.raises(ValueError, match=r"Sample 700 of stream 1 .* is -inf"):
        stream.check_chunk(chunk)
    with pytest.raises(ValueError, match="Sample 700 of stream 1"):
        stream.check_chunk(jnp.asarray(chunk))


def test_what_is_not_finite_leaves_with_the_receptive_field():
    model, variables = _network()
    field = -(-diccoser.receptive_field_samples(model.config) // FRAME_SAMPLES)
    waveform = _noise(field + 8, batch=1)
    broken = waveform.copy()
    broken[0, 3 * FRAME_SAMPLES + 100] = np.nan
    step, apply = _functions()
    begin = stream.init_carry(model, variables, batch=1)
    cuts = [(t, t + 1) for t in range(field + 8)]
    _, frames, _ = _stream(step, begin, [broken], cuts)
    whole = apply(waveform).frames
    assert np.isnan(frames[:, 3]).all()
    np.testing.assert_allclose(frames[:, :3], whole[:, :3], rtol=0, atol=1e-5)
    after = slice(3 + field, None)
    np.testing.assert_allclose(frames[:, after], whole[:, after], rtol=0, atol=1e-5)


def test_a_carry_of_another_network_is_refused():
    model, variables = _network(network="diccoser")
    other, other_variables = _network()
    carry = stream.init_carry(model, variables, batch=1)
    with pytest.raises(ValueError, match="belongs to another network"):
        stream.step(other, other_variables, carry, _noise(1, batch=1))
    with pytest.raises(ValueError, match="belongs to another network"):
        stream.step(other, other_variables, {}, _noise(1, batch=1))


def test_no_stream_at_all_is_refused():
    model, variables = _network()
    with pytest.raises(ValueError, match="batch=0 must be at least 1"):
        stream.init_carry(model, variables, batch=0)


def test_the_baseline_cannot_stream():
    model = CnnLstm()
    variables = jax.eval_shape(model.init, jax.random.key(0), _noise(2))
    with pytest.raises(ValueError, match=r"CNN-LSTM cannot stream.*see the future"):
        stream.init_carry(model, variables, batch=1)
