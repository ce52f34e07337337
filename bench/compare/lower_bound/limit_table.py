"""The table of a comparison's page that holds every method's time against the limit of the list."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bench.compare import summary
from bench.compare.lower_bound.limit import FILE
from bench.compare.methods.methods import METHODS, title
from bench.report import wording
from bench.report.blocks import Block, Column, Paragraph, table


def read_limit(folder: Path) -> dict[str, Any] | None:
    """The content of limit.json; None if no limit was computed."""
    try:
        content: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return content


def over_the_limit(trials: pd.DataFrame, facts: Mapping[str, Any], limit: Mapping[str, Any]) -> pd.DataFrame:
    """A row a method and seed of a fixed list.

    Columns: those of `bench.compare.summary.runs`; limit (seconds: with a filled cache, or without); ratio (wall-clock
    over it, NaN unless the whole list was trained); told (how many of the list's trials were, where not all).

    Args:
        trials: rows of compare.csv.
        facts: content of compare.json.
        limit: content of limit.json.
    """
    walls, length = summary.runs(trials, math.inf, facts["runs"]), int(facts["settings"]["budget"])
    done = walls["trials"] - walls["failed"]
    warm = [name in METHODS and bool(METHODS[name].goes_on_from) for name in walls["method"]]
    walls["limit"] = [limit["warm" if filled else "cold"]["seconds"] for filled in warm]
    walls["ratio"] = (walls["wall"] / walls["limit"]).where(done == length)
    walls["told"] = ["" if count == length else f"{count} of {length} trials" for count in done]
    return walls


def blocks(folder: Path, trials: pd.DataFrame, facts: Mapping[str, Any]) -> list[Block]:
    """The limit and every method's time over it; nothing where no limit was computed (``compare --limit``)."""
    found = read_limit(folder)
    if found is None or not facts:
        return []
    walls = over_the_limit(trials, facts, found)
    walls["method"] = walls["method"].map(title)
    columns = [
        Column("method", "Method", numeric=False),
        Column("seed", "Seed", wording.count),
        Column("wall", "Wall-clock", wording.seconds),
        Column("limit", "Limit", wording.seconds),
        Column("ratio", "Wall-clock / limit", wording.short, below="told"),
    ]
    text = (
        "The limit is the least time in which bare Keras, at its best batch size, precision and number of processes, "
        "could do the list: each image once through each frozen network and view, then the trainable part alone. With "
        "a filled cache the frozen networks take no part. Wall-clock includes the start of all processes. A run that "
        "did not train the whole list has no ratio."
    )
    return [Paragraph(text), table(walls, "Wall-clock over the limit.", columns)]
