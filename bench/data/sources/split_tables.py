"""Tables of one split each that lie beside each other, such as train.csv, valid.csv and test.csv."""

import json
import shlex
from pathlib import Path

from bench.data.names import printable, split_of
from bench.data.sources.columns import role_of
from bench.data.sources.one_label import reading_code
from bench.data.sources.table_file import ENDINGS, Table, read_table
from bench.errors import ConfigError
from bench.numbers import joined


def splits_beside(table: Table) -> str:
    """What to say of tables beside ``table`` that have its columns and are called after other splits; "" of none.

    Tables without labels, as competitions have of their test images, have other columns. Two of one split are left
    out: the names do not tell which is meant.
    """
    own = split_of(table.path.stem)
    if own is None or any(role_of(name) == "split" for name in table.header):
        return ""
    try:
        beside = sorted(path for path in table.path.parent.iterdir() if path.suffix.lower() in ENDINGS)
    except OSError:  # a folder that may not be listed
        return ""
    by_split: dict[str, list[Table]] = {}
    for path in beside:
        split = split_of(path.stem)
        if split not in (None, own) and path.is_file():
            by_split.setdefault(str(split), []).extend(_alike(path, table))
    others = {split: tables[0] for split, tables in by_split.items() if len(tables) == 1}
    if not others:
        return ""
    names = joined(printable(one.path.name) for one in others.values())
    have = "has" if len(others) == 1 else "have"
    return f"{names} beside it {have} the same columns; {_join({own: table, **others})}"


def _alike(path: Path, table: Table) -> list[Table]:
    """The table in ``path``, if it can be read and has the columns of ``table``."""
    try:
        found = read_table(path, role_of)
    except ConfigError:
        return []
    return [found] if found.header == table.header and found.rows else []


def _join(tables: dict[str, Table]) -> str:
    """The command that makes one table of those of several splits, and how to go on."""
    target = next(iter(tables.values())).path.with_name("all-splits.csv")
    parts = ", ".join(f"{reading_code(one)}.assign(split={json.dumps(split)})" for split, one in tables.items())
    code = f"import pandas as pd; pd.concat([{parts}]).to_csv({json.dumps(str(target))}, index=False)"
    return f"to take them as splits, type `python -c {shlex.quote(code)}` and give --data {shlex.quote(str(target))}"
