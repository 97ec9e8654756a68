"""Draws the network from its configuration: ``python docs/architecture.py``."""

import math
import pathlib

from diccoser_jax.audio import FRAME_RATE_HZ, SAMPLE_RATE_HZ
from diccoser_jax.diccoser import (
    BRANCH_WIDTH,
    DiccoserConfig,
    local_receptive_field_samples,
    receptive_field_samples,
)

PATH = pathlib.Path(__file__).with_name("architecture.svg")

_WIDTH, _HEIGHT = 960, 470
_INK, _GREY, _PALE = "#24292f", "#6e7781", "#f6f8fa"
_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"


def _text(x, y, words, size=12, colour=_INK, anchor="middle", weight="normal"):
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}" font-weight="{weight}">{words}</text>'
    )


def _box(x, y, width, height, lines, colour, size=11):
    """A box with its middle line at y, and lines of text in it."""
    middle = y + 4 - 7 * (len(lines) - 1)
    parts = [
        f'<rect x="{x:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}" '
        f'rx="5" fill="{colour}" fill-opacity="0.12" stroke="{colour}"/>'
    ]
    for i, line in enumerate(lines):
        parts.append(_text(x + width / 2, middle + 14 * i, line, size))
    return "".join(parts)


def _arrow(points, colour=_INK):
    path = " ".join(f"{x:g},{y:g}" for x, y in points)
    return (
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.3" '
        f'marker-end="url(#{colour[1:]})"/>'
    )


def _curve(x, y, width, height, function, colour):
    points = " ".join(
        f"{x + width * i / 100:.1f},{y - height / 2 * function(i / 100):.1f}"
        for i in range(101)
    )
    return f'<polyline points="{points}" fill="none" stroke="{colour}"/>'


def _speech(t):
    return math.sin(math.pi * t) * math.sin(70 * t) * math.sin(9 * t)


def draw(config: DiccoserConfig) -> str:
    """The network with context stacking, as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="Helvetica, Arial, sans-serif" role="img">',
        "<title>DiCCOSER-CS: a local network conditions a global one</title><defs>",
        *(
            f'<marker id="{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" '
            'markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
            for colour in (_INK, _BLUE)
        ),
        f'</defs><rect width="{_WIDTH}" height="{_HEIGHT}" rx="8" fill="white"/>',
    ]
    upper, lower = 78, 232
    parts += _local(config, upper)
    parts += _global(config, upper, lower)
    parts += _block(380)
    return "\n".join([*parts, "</svg>", ""])


def _local(config, y):
    """From the waveform to the local context."""
    field = 1000 * local_receptive_field_samples(config) / SAMPLE_RATE_HZ
    rate = SAMPLE_RATE_HZ // config.stem_pool
    yield _curve(16, 155, 74, 60, _speech, _INK)
    yield _text(53, 205, "waveform")
    yield _text(53, 220, f"{SAMPLE_RATE_HZ // 1000} kHz", 11, _GREY)
    yield _arrow([(53, 128), (53, y), (118, y)])
    lines = [f"conv {config.stem_width}", f"pool {config.stem_pool}"]
    yield _box(120, y, 60, 44, lines, _BLUE)
    yield _text(150, y + 36, f"{rate} Hz", 10, _GREY)
    x = 196
    for pool in config.stack_pools:
        yield _arrow([(x - 14, y), (x - 2, y)])
        dilations = " ".join(map(str, config.local_dilations))
        yield _box(x, y, 66, 44, [dilations, f"pool {pool}"], _BLUE)
        rate //= pool
        yield _text(x + 33, y + 36, f"{rate} Hz", 10, _GREY)
        x += 82
    title = f"Local network: {config.local_stacks} stacks of blocks"
    yield _text(196, y - 34, title, 13, _BLUE, "start", "bold")
    yield _text(x - 16, y - 34, f"each frame sees {field:.0f} ms", 11, _GREY, "end")
    yield _arrow([(x - 14, y), (x + 16, y)], _BLUE)
    yield _box(
        x + 18, y, 92, 44, ["local context", f"{config.features} features"], _BLUE
    )


def _global(config, above, y):
    """From the waveform, by frame, to the answers."""
    field = receptive_field_samples(config) / SAMPLE_RATE_HZ
    yield _arrow([(53, 226), (53, y), (118, y)])
    yield _box(120, y, 60, 44, [config.aggregation.upper(), "of 40 ms"], _ORANGE)
    yield _arrow([(182, y), (194, y)])
    yield _box(196, y, 52, 44, [f"conv {BRANCH_WIDTH}"], _ORANGE)
    x, bus = 264, y - 52
    for dilation in config.global_dilations:
        yield _arrow([(x - 14, y), (x - 2, y)])
        yield _box(x, y, 46, 44, [str(dilation)], _ORANGE, 12)
        yield _arrow([(x + 23, bus), (x + 23, y - 24)], _BLUE)
        x += 62
    context = 196 + 82 * config.local_stacks + 18 + 46
    points = f"{context:g},{above + 22:g} {context:g},{bus:g} 287,{bus:g}"
    yield (
        f'<polyline points="{points}" fill="none" stroke="{_BLUE}" stroke-width="1.3"/>'
    )
    yield _text(context - 8, bus - 6, "conditions every block", 11, _BLUE, "end")
    title = f"Global network: blocks of dilations up to L = {config.window_frames}"
    yield _text(264, y + 42, title, 13, _ORANGE, "start", "bold")
    yield _text(264, y + 58, f"each frame sees {field:.1f} s", 11, _GREY, "start")
    yield _arrow([(x - 14, y), (x - 2, y)])
    yield _box(x, y, 52, 44, ["conv 1"], _GREEN)
    yield _arrow([(x + 54, y), (x + 70, y)])
    x += 76
    for shift, colour in ((0.0, _GREEN), (0.5, _ORANGE)):
        yield _curve(
            x, y, 84, 40, lambda t, s=shift: math.sin(5 * t + 4 * s) * 0.8, colour
        )
    yield _text(x + 42, y + 42, "emotion")
    yield _text(x + 42, y + 58, f"{FRAME_RATE_HZ} Hz", 11, _GREY)


def _block(y):
    """What is in each block."""
    yield (
        f'<rect x="104" y="{y - 62}" width="840" height="132" rx="8" fill="{_PALE}"/>'
    )
    yield _text(120, y - 40, "A block", 13, _INK, "start", "bold")
    yield _text(120, y - 6, "input", 12, _INK, "start")
    yield _text(120, y + 46, "local context", 12, _BLUE, "start")
    yield _arrow([(150, y - 10), (226, y - 10)])
    yield _box(228, y - 10, 112, 30, ["dilated conv, 2 taps"], _INK)
    yield _arrow([(194, y + 42), (226, y + 42)], _BLUE)
    yield _box(228, y + 42, 112, 30, ["conv, 2 taps"], _BLUE)
    yield _arrow([(340, y + 42), (366, y + 42), (366, y + 2)], _BLUE)
    yield _arrow([(340, y - 10), (355, y - 10)])
    x, operations = 379, ("dropout", "batch norm", "ReLU", "conv 1")
    for operation in operations:
        yield _arrow([(x - 2, y - 10), (x + 18, y - 10)])
        yield _box(x + 20, y - 10, 84, 30, [operation], _INK)
        x += 106
    yield _arrow([(x - 2, y - 10), (x + 22, y - 10)])
    yield _arrow([(172, y - 10), (172, y - 46), (x + 34, y - 46), (x + 34, y - 24)])
    yield _arrow([(x + 46, y - 10), (x + 76, y - 10)])
    yield _text(x + 82, y - 6, "output", 12, _INK, "start")
    for middle in (366, x + 34):
        yield (
            f'<circle cx="{middle}" cy="{y - 10}" r="11" fill="white" stroke="{_INK}"/>'
        )
        yield _text(middle, y - 5, "+", 15)


if __name__ == "__main__":
    PATH.write_text(draw(DiccoserConfig()))
