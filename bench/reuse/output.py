"""Where tables of predictions go, one after another: a CSV, JSON or Parquet file, a pipe, or a terminal."""

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import ConfigError
from bench.run.folder import atomic_path
from bench.texts import as_cell, visible

Write = Callable[[pd.DataFrame], None]
MOST_SHOWN = 200
"""Rows that a terminal is shown."""


def check_ending(path: Path) -> None:
    """Refuse, by a ConfigError, an ending that says no kind of file, or one that cannot be written here."""
    if path.suffix.lower() not in _FILES:
        raise ConfigError(f"--out takes a file that ends in .csv, .json or .parquet, but got {path}.")
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(
            f"{path} cannot be written without pyarrow, which is not installed; .csv and .json need nothing."
        )
    if path.is_dir():
        raise ConfigError(f"--out takes a file, but {path} is a folder.")


def to_file(path: Path) -> AbstractContextManager[Write]:
    """Writes tables into ``path``, which appears when all are written."""
    return _FILES[path.suffix.lower()](path)


@contextmanager
def _csv_file(path: Path) -> Iterator[Write]:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield to_stream(file)


def to_stream(stream: TextIO) -> Write:
    """Writes tables as CSV with one header; texts as cells that no spreadsheet computes."""
    lines, begun = csv.writer(stream, lineterminator="\n"), False

    def write(table: pd.DataFrame) -> None:
        nonlocal begun
        if not begun:
            lines.writerow([as_cell(str(name)) for name in table])
        begun = True
        lines.writerows([_cell(value) for value in row] for row in _rows(table))
        stream.flush()

    return write


def _rows(table: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows of plain values; what is missing is None."""
    whole = table.astype(object).where(table.notna(), None)
    return list(whole.itertuples(index=False, name=None))


def _cell(value: Any) -> Any:
    return "" if value is None else as_cell(value) if isinstance(value, str) else value


@contextmanager
def _json_file(path: Path) -> Iterator[Write]:
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        between = "[\n"

        def write(table: pd.DataFrame) -> None:
            nonlocal between
            for row in _rows(table):
                text = json.dumps(dict(zip(table, row, strict=True)), ensure_ascii=False, allow_nan=False)
                file.write(between + text)
                between = ",\n"

        yield write
        file.write("[]\n" if between == "[\n" else "\n]\n")


@contextmanager
def _parquet_file(path: Path) -> Iterator[Write]:
    import pyarrow
    from pyarrow import parquet

    with atomic_path(path) as temporary:
        writer: Any = None

        def write(table: pd.DataFrame) -> None:
            nonlocal writer
            schema = pyarrow.schema([(str(name), _kind(pyarrow, kind)) for name, kind in table.dtypes.items()])
            writer = writer or parquet.ParquetWriter(temporary, schema)
            writer.write_table(pyarrow.Table.from_pandas(table, schema, preserve_index=False))

        try:
            yield write
        finally:
            if writer is not None:
                writer.close()


def _kind(pyarrow: Any, kind: Any) -> Any:
    if pd.api.types.is_bool_dtype(kind):
        return pyarrow.bool_()
    if pd.api.types.is_integer_dtype(kind):
        return pyarrow.int64()
    return pyarrow.float64() if pd.api.types.is_float_dtype(kind) else pyarrow.string()


_FILES: dict[str, Callable[[Path], AbstractContextManager[Write]]] = {
    ".csv": _csv_file,
    ".json": _json_file,
    ".parquet": _parquet_file,
}


@contextmanager
def to_terminal(console: Console) -> Iterator[Write]:
    """Shows the first `MOST_SHOWN` rows as a table when all are there, and says how many more there were."""
    kept: list[pd.DataFrame] = []
    count = 0

    def write(table: pd.DataFrame) -> None:
        nonlocal count
        if count < MOST_SHOWN:
            kept.append(table.head(MOST_SHOWN - count))
        count += len(table)

    yield write
    if not kept:
        return
    shown = pd.concat(kept, ignore_index=True)
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    names = [str(name) for name in shown if name != "patient" or shown["patient"].astype(bool).any()]
    names = [name for name in names if not name.startswith("raw_")]
    for name in names:
        numeric = pd.api.types.is_float_dtype(shown[name])
        drawn.add_column(Text(visible(name)), justify="right" if numeric else "left", overflow="fold")
    for row in _rows(shown[names]):
        drawn.add_row(*(Text(_shown(value)) for value in row))
    console.print(drawn)
    if count > len(shown):
        console.print(f"… and {count - len(shown):,} more rows; --out FILE.csv holds all, with raw probabilities.")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else visible(str(value))
