"""Tables of one split each that lie beside each other, such as train.csv, valid.csv and test.csv."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

from bench.data.names import eval_as_test, printable, split_of
from bench.data.sources.columns import role_of
from bench.data.sources.one_label import reading_code
from bench.data.sources.table_file import Table, read_table
from bench.errors import ConfigError
from bench.numbers import joined

MOST_CHARACTERS = 10**6
"""Of a header that is compared."""


def splits_beside(table: Table) -> str:
    """What to say of tables beside ``table`` that have its columns and are called after other splits; "" of none.

    Tables without labels, as competitions have of their test images, have other columns. Where two are of one split,
    the names do not tell which is meant, and none of that split is told.
    """
    if split_of(table.path.stem) is None or any(role_of(name) == "split" for name in table.header):
        return ""
    alike = [table.path, *_with_its_header(table)]
    splits = eval_as_test({path.stem: str(split_of(path.stem)) for path in alike})
    by_split: dict[str, list[Path]] = {}
    for path in alike:
        by_split.setdefault(splits[path.stem], []).append(path)
    single = {split: paths[0] for split, paths in by_split.items() if len(paths) == 1}
    read = {split: table if path == table.path else _read(path) for split, path in single.items()}
    found = {split: one for split, one in read.items() if one}
    names = [printable(one.path.name) for one in found.values() if one.path != table.path]
    if not names or len(names) == len(found):  # the table's own split has several, too
        return ""
    return f"{joined(names)} beside it {'has' if len(names) == 1 else 'have'} the same columns; {_join(found)}"


def _with_its_header(table: Table) -> list[Path]:
    """The files beside a table that are called after a split, and begin with its header: little of each is read."""
    ending, found = table.path.suffix.lower(), []
    try:
        for path in sorted(table.path.parent.iterdir()):
            if path.suffix.lower() == ending and path != table.path and split_of(path.stem) and path.is_file():
                with path.open(encoding=table.encoding, errors="replace") as file:
                    header = [file.readline(MOST_CHARACTERS) for _ in range(table.before + 1)][-1]
                cells = header.strip("\ufeff\r\n").split(table.separator)
                if [cell.strip(" \"'") for cell in cells] == table.header:
                    found.append(path)
    except OSError:  # what may not be looked at is no table of this set
        return []
    return found


def _read(path: Path) -> Table | None:
    try:
        found = read_table(path, role_of)
    except ConfigError:
        return None
    return found if found.rows else None


def _join(tables: Mapping[str, Table]) -> str:
    """The command that makes one table of those of several splits, unless it is there, and how to go on."""
    target = next(iter(tables.values())).path.with_name("all-splits.csv")
    parts = ", ".join(f"{reading_code(one)}.assign(split={json.dumps(split)})" for split, one in tables.items())
    written = f"to_csv({json.dumps(str(target), ensure_ascii=False)}, index=False, mode={json.dumps('x')})"
    code = f"import pandas as pd; pd.concat([{parts}]).{written}"
    return f"to take them as splits, type `python -c {shlex.quote(code)}` and give --data {shlex.quote(str(target))}"
