"""The table of a comparison's page that holds every method's time against the limit of the list."""

import json
from pathlib import Path

import pandas as pd

from bench.peers.methods import title
from bench.report import wording
from bench.report.blocks import Block, Column, Paragraph, table


def blocks(folder: Path, trials: pd.DataFrame) -> list[Block]:
    """The limit and every method's time over it; nothing where no limit was computed (``compare --limit``)."""
    try:
        found = json.loads((folder / "limit.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    walls = trials.groupby(["method", "seed"])["ended"].max().reset_index()
    walls["limit"] = [found["warm" if name == "suite-warm" else "cold"]["seconds"] for name in walls["method"]]
    walls["ratio"] = walls["ended"] / walls["limit"]
    walls["method"] = walls["method"].map(title)
    columns = [
        Column("method", "Method", numeric=False),
        Column("seed", "Seed", wording.count),
        Column("ended", "Wall-clock", wording.seconds),
        Column("limit", "Limit", wording.seconds),
        Column("ratio", "Wall-clock / limit", wording.short),
    ]
    text = (
        "The limit is the least time in which bare Keras, at its best batch size, precision and number of processes, "
        "could do the list: each image once through each frozen network and view, then the trainable part alone. With "
        "a filled cache the frozen networks take no part. Wall-clock includes the start of all processes."
    )
    return [Paragraph(text), table(walls, "Wall-clock over the limit.", columns)]
