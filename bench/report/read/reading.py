"""Reading one file of a run folder as far as it can be read, and one sentence in ``problems`` on what is wrong."""

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel

from bench.numbers import counted
from bench.report.names import joined
from bench.run.record import RunRecord, read_leniently
from bench.run.tables import Schema

Problems = dict[str, str]
"""File name -> the sentence on why it is not there, or not whole."""

MOST_BYTES = 10**9
"""Of the arrays of one file, which are images of a few hundred pixels."""
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, RecursionError),
    *(TypeError, OverflowError, MemoryError, SyntaxError, AttributeError, struct.error),
)
"""What an archive, or a document, that is damaged ends in, beside errors of reading and of values."""
MOST_DROPPED = 6
"""Dropped parts of a document that are named."""

Arrays = dict[str, npt.NDArray[Any]]
"""By name."""
Content = TypeVar("Content")
Document = TypeVar("Document", bound=BaseModel)


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its kind where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def missing(path: Path, problems: Problems, why: str) -> None:
    """Note that ``path`` is not there."""
    problems[path.name] = f"{path.name} is missing: {why}."


def changed(path: Path, problems: Problems, said: str = "") -> None:
    """Add to what is wrong with ``path`` that it has another checksum than the run wrote down; ``said`` of it."""
    said = said or f"{path.name} is not as the run wrote it: it was damaged or changed."
    problems[path.name] = " ".join(filter(None, (problems.get(path.name), said)))


def told_now(run: Path, file: Path) -> str:
    """The checksum that ``run`` (run.json), read now, has of a file; empty if none, as while that is written anew."""
    record = document(RunRecord, run, {})
    return record.pinned.get(file.name, "") if record else ""


def unreadable(path: Path, problems: Problems, error: Exception) -> None:
    """Note that ``path`` is there but cannot be read."""
    problems[path.name] = f"{path.name} could not be read and is left out: {first_line(error)}."


def _guarded(path: Path, problems: Problems, why: str, read: Callable[[], Content]) -> Content | None:
    """What ``read`` returns; None, with the reason in ``problems``, where the file is missing or cannot be read."""
    try:
        return read()
    except FileNotFoundError:
        missing(path, problems, why)
    except (OSError, ValueError, KeyError, EOFError, *DAMAGED) as error:
        unreadable(path, problems, error)
    return None


def document(kind: type[Document], path: Path, problems: Problems, why: str = "") -> Document | None:
    """A JSON file without the parts that cannot be read, which are named; None, with ``why``, where there is none."""

    def read() -> Document:
        text = path.read_text(encoding="utf-8")
        content, dropped = read_leniently(kind, json.loads(text, parse_constant=lambda _: None))
        if dropped:  # null and NaN are as good as missing, and need not be told
            _, dropped = read_leniently(kind, json.loads(text, parse_constant=lambda _: None, object_hook=_given))
        if dropped:
            more = [f"{len(dropped) - MOST_DROPPED} more"] if len(dropped) > MOST_DROPPED else []
            named = joined([*dropped[:MOST_DROPPED], *more])
            problems[path.name] = f"{path.name} has parts that cannot be read and are left out: {named}."
        return content

    return _guarded(path, problems, why, read)


def _given(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` without those that are null."""
    return {key: value for key, value in values.items() if value is not None}


def table(
    schema: Schema, folder: Path, problems: Problems, why: str, states: Collection[str] = ()
) -> pd.DataFrame | None:
    """A CSV file with every column of its schema, without the rows that mean nothing, which are counted.

    Args:
        schema: of the file.
        folder: that it lies in.
        problems: takes the sentence on what is wrong.
        why: why the file may not be there.
        states: what the column ``state`` may hold; a row with another state means nothing.
    """
    path = folder / schema.file

    def read() -> pd.DataFrame:
        rows, cut = schema.read_leniently(folder)
        known = rows["state"].isin(list(states)) if states else pd.Series(True, index=rows.index)
        left_out = cut.rows + int((~known).sum())
        said = [f"{path.name} was cut short: its last line is not whole and is left out."] if cut.last_line else []
        if left_out:
            unread = counted(left_out, "row")
            said.append(f"{path.name} holds {unread} that cannot be read; they are left out of what follows.")
        if said:
            problems[path.name] = " ".join(said)
        return rows[known].reset_index(drop=True)

    return _guarded(path, problems, why, read)


def arrays(
    path: Path, problems: Problems, needed: Sequence[str], why: str, made: Callable[[Arrays], Content]
) -> Content | None:
    """What ``made`` makes of the arrays ``needed`` of an .npz file; nothing in it is unpickled.

    ``made`` may raise what `_guarded` notes, such as ValueError, of arrays that mean nothing.
    """

    def read() -> Content:
        with zipfile.ZipFile(path) as archive:
            members = [archive.getinfo(f"{name}.npy") for name in needed]
            size = sum(one.file_size for one in members)
            if size > MOST_BYTES:
                raise ValueError(f"its arrays would take {size:,} bytes")
            for one in members:
                _check_header(archive, one)
        with np.load(path, allow_pickle=False) as content:
            return made({name: content[name] for name in needed})

    return _guarded(path, problems, why, read)


def _check_header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Refuse, by a ValueError, an array whose header claims more than there is: it would be made room for."""
    with archive.open(member) as file:
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, _, kind = header[np.lib.format.read_magic(file)](file)
    if min(shape, default=0) < 0 or math.prod(shape) * kind.itemsize > member.file_size:
        raise ValueError(f"{member.filename} claims the shape {shape}, which {member.file_size:,} bytes do not hold")
