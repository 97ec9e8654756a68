"""A page to read, described once and written as Markdown and as HTML.

The HTML is one file: pictures are inside, and its policy forbids every request.
"""

import base64
import dataclasses
import html
import math
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from diccoser_jax import figures


@dataclasses.dataclass(frozen=True)
class Heading:
    """Begins a section, which lasts until the next one of its level, 2 or 3."""

    text: str
    level: int = 2


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list."""

    items: Sequence[Any]


@dataclasses.dataclass(frozen=True)
class Scores:
    """What to see first: measure, value, and what the value is compared with."""

    rows: Sequence[tuple[str, str, Sequence[str]]]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose first column names the rows."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """A PNG, in Markdown the file ``<name>.png`` beside the page.

    Attributes:
      name: Of the file, without its ending.
      png: Its content.
      alt: What it shows, for those who do not see it.
      caption: How to read it.
    """

    name: str
    png: bytes = dataclasses.field(repr=False)
    alt: str
    caption: str


@dataclasses.dataclass(frozen=True)
class Code:
    """Lines for a shell."""

    text: str


@dataclasses.dataclass(frozen=True)
class Details:
    """What is folded away under a title until a reader asks for it."""

    title: str
    blocks: Sequence["Block"]


Block: TypeAlias = Heading | Text | Bullets | Scores | Table | Picture | Code | Details


NOTHING = "\u2013"  # for a number that does not exist


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed digits, or a dash for None, NaN and infinity."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{value:.{digits}f}"


def pictures(blocks: Iterable[Block]) -> Iterator[Picture]:
    """All pictures, also those that are folded away."""
    for block in blocks:
        if isinstance(block, Picture):
            yield block
        elif isinstance(block, Details):
            yield from pictures(block.blocks)


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())


# One or several, such as "0.61 ± 0.05", "0.5 to 0.7", "1 h 30 min", or a dash for none.
_NUMBER = re.compile(r"\u2013?|[-+]?\d[\d.,]*%?( (±|to|h|min|s|[-+]?\d[\d.,]*%?))*")


def _numeric_columns(table: Table) -> list[bool]:
    """Which columns hold nothing but numbers; the first one holds names."""
    return [False] + [
        all(_NUMBER.fullmatch(_one_line(row[i])) for row in table.rows)
        for i in range(1, len(table.header))
    ]


# Markdown.


def to_markdown(title: str, blocks: Iterable[Block]) -> str:
    """The page as GitHub's Markdown."""
    lines = [f"# {_escape(title)}", ""]
    for block in blocks:
        lines += [*_markdown(block), ""]
    return "\n".join(lines)


def _escape(value: Any) -> str:
    """One line, in which no sign means more than itself."""
    return re.sub(r"([|*`<])", r"\\\1", _one_line(value))


def _markdown(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            yield f"{'#' * level} {_escape(text)}"
        case Text(text):
            yield _escape(text)
        case Bullets(items):
            yield from (f"- {_escape(item)}" for item in items)
        case Scores(rows):
            yield "| measure | test | to compare |"
            yield "| --- | --- | --- |"
            for measure, value, notes in rows:
                cells = (f"**{_escape(measure)}**", f"**{_escape(value)}**")
                yield f"| {' | '.join(cells)} | {_escape('; '.join(notes))} |"
        case Table(header, rows):
            rules = ["---:" if n else "---" for n in _numeric_columns(block)]
            yield f"| {' | '.join(map(_escape, header))} |"
            yield f"| {' | '.join(rules)} |"
            for row in rows:
                yield f"| {' | '.join(map(_escape, row))} |"
        case Picture():
            alt = re.sub(r"([\[\]])", r"\\\1", _escape(block.alt))
            yield f"![{alt}]({block.name}.png)"
            yield ""
            yield _escape(block.caption)
        case Code(text):
            yield "```sh"
            yield text
            yield "```"
        case Details(title, blocks):
            yield f"<details><summary>{html.escape(_one_line(title))}</summary>"
            yield ""
            for inner in blocks:
                yield from _markdown(inner)
                yield ""
            yield "</details>"


# HTML.

# Nothing is loaded from anywhere: pictures and styles are in the file itself.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c1e21; --faint: #5f6670; --line: #dfe3e8; --card: #f5f7f9;
  --accent: #0072b2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #15181c; --ink: #e4e7eb; --faint: #9aa3ad; --line: #333a42;
    --card: #1e2329; --accent: #56b4e9;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 64rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
h1 { margin: 0 0 .25rem; font-size: 1.75rem; line-height: 1.2; }
h2 {
  margin: 2.75rem 0 .75rem; padding-top: .6rem; border-top: 1px solid var(--line);
  font-size: 1.25rem;
}
p { margin: .5rem 0; max-width: 48rem; }
a { color: var(--accent); }
nav { margin: 1.25rem 0; font-size: .9rem; line-height: 1.9; }
nav a { margin-right: 1rem; text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
.scores {
  display: grid; gap: .75rem; margin: 1.25rem 0;
  grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr));
}
.scores div {
  margin: 0; padding: .9rem 1.1rem; border-left: .25rem solid var(--accent);
  border-radius: .25rem; background: var(--card);
}
.scores dt { color: var(--faint); font-size: .9rem; }
.scores dd { margin: 0; font-size: .85rem; color: var(--faint); }
.scores dd:first-of-type {
  font-size: 2rem; font-weight: 650; line-height: 1.25; color: var(--ink);
  font-variant-numeric: tabular-nums;
}
.wide { overflow-x: auto; margin: .75rem 0; }
table {
  border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums;
}
th, td {
  padding: .28rem .8rem .28rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; overflow-wrap: anywhere;
}
thead th { color: var(--faint); font-weight: 600; }
tbody th { font-weight: 500; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; padding-left: .8rem; }
figure { margin: 1rem 0 1.5rem; }
figure img {
  display: block; max-width: 100%; height: auto; padding: .5rem;
  border: 1px solid var(--line); border-radius: .25rem; background: #fff;
}
figcaption {
  margin-top: .4rem; max-width: 48rem; color: var(--faint); font-size: .9rem;
}
pre {
  padding: .8rem 1rem; overflow-x: auto; border-radius: .25rem; background: var(--card);
  font-size: .85rem;
}
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--accent); }
@media print {
  body { max-width: none; padding: 0; }
  nav { display: none; }
  figure, table { break-inside: avoid; }
}
"""


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """The page as one HTML file that needs nothing beside it, and no network."""
    headings = [b for b in blocks if isinstance(b, Heading) and b.level == 2]
    links = "\n".join(
        f'<a href="#{_anchor(h.text)}">{html.escape(h.text)}</a>' for h in headings
    )
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',  # Else browsers ask a server for one.
        f"<title>{html.escape(_one_line(title))}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{html.escape(_one_line(title))}</h1>",
    ]
    for block in blocks:
        if headings and block is headings[0]:
            lines.append(f'<nav aria-label="Sections">\n{links}\n</nav>')
        lines += _html(block)
    return "\n".join([*lines, "</body>", "</html>", ""])


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _html(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, level):
            name = f'id="{_anchor(text)}"'
            yield f"<h{level} {name}>{html.escape(text)}</h{level}>"
        case Text(text):
            yield f"<p>{html.escape(text)}</p>"
        case Bullets(items):
            yield "<ul>"
            yield from (f"<li>{html.escape(_one_line(item))}</li>" for item in items)
            yield "</ul>"
        case Scores(rows):
            yield '<dl class="scores">'
            for measure, value, notes in rows:
                cells = "".join(f"<dd>{html.escape(x)}</dd>" for x in (value, *notes))
                yield f"<div><dt>{html.escape(measure)}</dt>{cells}</div>"
            yield "</dl>"
        case Table():
            yield from _html_table(block)
        case Picture():
            width, height = struct.unpack(">II", block.png[16:24])
            scale = 96 / figures.DOTS_PER_INCH  # a CSS inch has 96 pixels
            content = base64.b64encode(block.png).decode()
            yield "<figure>"
            yield (
                f'<img src="data:image/png;base64,{content}"'
                f' alt="{html.escape(_one_line(block.alt))}"'
                f' width="{width * scale:.0f}" height="{height * scale:.0f}">'
            )
            yield f"<figcaption>{html.escape(block.caption)}</figcaption>"
            yield "</figure>"
        case Code(text):
            yield f"<pre><code>{html.escape(text)}</code></pre>"
        case Details(title, blocks):
            yield f"<details><summary>{html.escape(_one_line(title))}</summary>"
            for inner in blocks:
                yield from _html(inner)
            yield "</details>"


def _html_table(table: Table) -> Iterator[str]:
    classes = [' class="number"' if n else "" for n in _numeric_columns(table)]
    yield '<div class="wide"><table>'
    cells = (
        f'<th scope="col"{c}>{html.escape(_one_line(name))}</th>'
        for c, name in zip(classes, table.header)
    )
    yield f"<thead><tr>{''.join(cells)}</tr></thead>"
    yield "<tbody>"
    for name, *values in table.rows:
        cells = (
            f"<td{c}>{html.escape(_one_line(value))}</td>"
            for c, value in zip(classes[1:], values)
        )
        yield (
            f'<tr><th scope="row">{html.escape(_one_line(name))}</th>'
            f"{''.join(cells)}</tr>"
        )
    yield "</tbody></table></div>"
