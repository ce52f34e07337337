"""Reading one file of a run folder: whole, or one sentence in ``problems`` on what is wrong with it."""

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Problems = dict[str, str]
"""File name -> the sentence on why it is not there, or not whole."""

NAMES = ("image", "label", "pixels", "patient", "patient_wide", "split", "reason")
"""Columns that are never taken for numbers or NaN."""


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def missing(path: Path, problems: Problems, why: str) -> None:
    """Note that ``path`` is not there."""
    problems[path.name] = f"{path.name} is missing: {why}."


def unreadable(path: Path, problems: Problems, error: Exception) -> None:
    """Note that ``path`` is there but cannot be read."""
    problems[path.name] = f"{path.name} could not be read and is left out: {first_line(error)}."


def json_object(path: Path, problems: Problems, why: str) -> dict[str, Any] | None:
    """The object in a JSON file; None, with ``why`` in ``problems``, where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError(f"it must hold a JSON object, but holds a {type(content).__name__}")
        return content
    except FileNotFoundError:
        missing(path, problems, why)
    except (OSError, ValueError, RecursionError) as error:
        unreadable(path, problems, error)
    return None


def csv_table(
    path: Path, problems: Problems, needed: Sequence[str], why: str, names: Sequence[str] = NAMES
) -> pd.DataFrame | None:
    """A CSV file with at least the columns ``needed``; those in ``names`` are never taken for numbers or NaN."""
    try:
        return _parsed(path.read_bytes(), needed, names)
    except FileNotFoundError:
        missing(path, problems, why)
    except (OSError, ValueError) as error:
        unreadable(path, problems, error)
    return None


def whole_lines(
    path: Path, problems: Problems, needed: Sequence[str], why: str, names: Sequence[str], flags: Sequence[str] = ()
) -> pd.DataFrame | None:
    """As ``csv_table``, but with numbers in all other columns, and without a last line that was cut short.

    Args:
        path: the file; the suite ends each line of it with a line feed, the last one too.
        problems: takes the sentence on what is wrong.
        needed: columns without which the table says nothing.
        why: why the file may not be there.
        names: columns of text.
        flags: columns of True and False; what is neither is False.
    """
    texts = [*NAMES, *names, *flags]
    try:
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        table = _parsed(whole, needed, texts)
    except FileNotFoundError:
        missing(path, problems, why)
        return None
    except (OSError, ValueError) as error:
        unreadable(path, problems, error)
        return None
    if len(whole) < len(content):
        problems[path.name] = f"{path.name} was cut short: its last line is not whole and is left out."
    for name in flags:
        told = table[name] if name in table else pd.Series(index=table.index, dtype="str")
        table[name] = told.astype("str").str.lower().isin(["true", "1", "1.0"])
    return numbers(table, texts)


def _parsed(content: bytes, needed: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    kept = dict.fromkeys(names, "str")
    table = pd.read_csv(io.BytesIO(content), dtype=kept, keep_default_na=False, na_values=[""])
    absent = [name for name in needed if name not in table]
    if absent:
        raise ValueError(f"it lacks the column {absent[0]!r}")
    return table


def numbers(table: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """``table`` with every column but ``texts`` as finite numbers; what is none becomes NaN."""
    table = table.copy()
    for name in table.columns:
        if name not in texts:
            values = pd.to_numeric(table[name], errors="coerce").astype("float64")
            table[name] = values.where(np.isfinite(values))
    return table


def arrays(path: Path, problems: Problems, needed: Sequence[str], why: str) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays ``needed`` of an .npz file; nothing in it is unpickled."""
    try:
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in needed}
    except FileNotFoundError:
        missing(path, problems, why)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        unreadable(path, problems, error)
    return None
