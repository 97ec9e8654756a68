"""Tables as people write them: CSV of any common separator, or Parquet."""

import csv
import io
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

from data_prep import corpus

_SEPARATORS = ",;\t"


class Row(NamedTuple):
    """A row, and where it stands: 'FILE, line 7'; its columns in small letters."""

    where: str
    cells: dict[str, str]


def read(path: pathlib.Path) -> tuple[list[str], list[Row]]:
    """Reads a table.

    CSV is text as `corpus.read_text` takes it, separated by comma, semicolon or tab,
    whichever its first line holds most of. Empty rows are left out, and spaces around
    cells.

    Args:
      path: a file; Parquet if it is called so, otherwise CSV.

    Returns:
      the names of the columns, in small letters, and the rows.

    Raises:
      CorpusError: the file is no such table, two columns have one name, or a row has
        more or fewer cells than the first; the message names file and line.
    """
    raw = _parquet(path) if path.suffix.lower() == ".parquet" else _csv(path)
    where, first = next(raw, (f"{path}", []))
    header = [name.strip().lower() for name in first]
    if not any(header):
        raise corpus.CorpusError(
            f"{where}: empty; expected names of columns in its first line"
        )
    if len(set(header)) < len(header):
        twice = sorted({name for name in header if header.count(name) > 1})
        raise corpus.CorpusError(
            f"{where}: column {', '.join(map(repr, twice))} occurs twice"
        )
    rows = []
    for where, cells in raw:
        cells = [cell.strip() for cell in cells]
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise corpus.CorpusError(
                f"{where}: {len(cells)} cells; expected {len(header)}, as in its first "
                f"line ({', '.join(header)}). Quote a cell that holds the separator"
            )
        rows.append(Row(where, dict(zip(header, cells))))
    return header, rows


def _csv(path: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    text = corpus.read_text(path)
    first_line = text.lstrip().partition("\n")[0]
    separator = max(_SEPARATORS, key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield f"{path}, line {reader.line_num}", cells
    except csv.Error as error:
        raise corpus.CorpusError(
            f"{path}, line {reader.line_num}: is not CSV ({error})"
        ) from error


def _parquet(path: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise corpus.CorpusError(
            f"{path}: reading Parquet needs pyarrow, which is not installed. Run `pip "
            "install 'diccoser-jax[parquet]'`, or write the table as CSV"
        ) from error
    try:
        columns = parquet.read_table(path).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise corpus.CorpusError(f"{path}: is not Parquet ({error})") from error
    yield f"{path}", list(columns)
    for number, cells in enumerate(zip(*columns.values()), 1):
        # A missing number is NaN, which alone differs from itself.
        yield (
            f"{path}, row {number}",
            ["" if cell is None or cell != cell else str(cell) for cell in cells],
        )
