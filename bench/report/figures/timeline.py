"""What each worker did when: run.json's timeline as rows, shares and a figure; reads no files."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from bench.report.palette import ACCENT, CONTRAST, MUTED, WIDTH, entry, legend, new_figure, styled
from bench.run.record import Worked

STAGES = {
    "trial": "Search",
    "finalist": "Finalists and baselines",
    "fold": "Finalists and baselines",
    "baseline": "Finalists and baselines",
    "size": "Finalists and baselines",
    "outer": "Outer folds",
    "evaluation": "Evaluation",
}
"""Kinds of jobs, in their order, and the part of the run that they belong to."""
COLOURS = {
    "trial": ACCENT,
    "finalist": CONTRAST,
    "fold": "#E69F00",
    "baseline": MUTED,
    "size": "#56B4E9",
    "outer": "#F0E442",
    "evaluation": "#CC79A7",
}
LONGEST_GAP = 60.0
"""Seconds without any work that are drawn; a run that was resumed the next day would show little else."""
MOST_SHARP = 500
"""Bars beyond which they are drawn as pixels, not as shapes of their own."""


def timeline(worked: Sequence[Worked], jobs_at: Callable[[float], int] = lambda moment: 1) -> pd.DataFrame:
    """One row per job: ``worker``, ``kind``, ``job``, and ``began`` and ``ended`` in seconds from the first.

    Stretches without any work are shortened to `LONGEST_GAP`. Jobs of an unknown kind are left out.

    Args:
        worked: of run.json.
        jobs_at: how many ran at a time at a moment, in seconds since the epoch; the column ``workers``.
    """
    known = [one for one in worked if one.kind in STAGES and one.ended >= one.began]
    rows = [{**one.model_dump(), "workers": jobs_at(one.began)} for one in known]
    columns = [*Worked.model_fields, "workers"]
    table = pd.DataFrame(rows, columns=columns).sort_values("began", ignore_index=True)
    if table.empty:
        return table
    busy_until = table["ended"].cummax().shift(fill_value=table["began"].iloc[0])
    cut = (table["began"] - busy_until - LONGEST_GAP).clip(lower=0).cumsum() + table["began"].iloc[0]
    return table.assign(began=table["began"] - cut, ended=table["ended"] - cut)


def busy(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per part of the run: jobs, seconds from the first to the last, share of worker time busy, longest job.

    Args:
        rows: as `timeline` returns them; ``workers`` is how many could have worked at once.
    """
    found = []
    for stage, part in rows.groupby(rows["kind"].map(STAGES), sort=False):
        lengths = part["ended"] - part["began"]
        seconds = part["ended"].max() - part["began"].min()
        longest = part["job"].to_list()[int(lengths.to_numpy().argmax())]
        changed = (part["workers"] != part["workers"].shift()).cumsum()
        could = sum(_could(some) for _, some in part.groupby(changed))
        found.append(
            {
                "stage": stage,
                "jobs": len(part),
                "seconds": seconds,
                "busy": lengths.sum() / could if could > 0 else np.nan,
                "longest": longest,
                "longest_seconds": lengths.max(),
            }
        )
    return pd.DataFrame(found)


def _could(rows: pd.DataFrame) -> float:
    """Seconds that as many workers had from the first to the last job of some."""
    count = max(rows["workers"].iloc[0], rows["worker"].nunique())
    return float(count * (rows["ended"].max() - rows["began"].min()))


@styled
def gantt(rows: pd.DataFrame) -> Figure:
    """One line per worker, one bar per job, coloured by kind.

    Args:
        rows: as `timeline` returns them, at least one.
    """
    workers = sorted(rows["worker"].unique())
    figure, (ax,) = new_figure(WIDTH, 1.2 + 0.42 * min(len(workers), 16))
    scale, unit = (60, "min") if rows["ended"].max() >= 600 else (1, "s")
    for (worker, kind), part in rows.groupby(["worker", "kind"]):
        colour = COLOURS[str(kind)]
        spans = list(zip(part["began"] / scale, (part["ended"] - part["began"]) / scale, strict=True))
        place = (workers.index(worker) - 0.36, 0.72)
        edge = 0.4 if len(rows) <= MOST_SHARP else 0.0
        bars = ax.broken_barh(spans, place, facecolors=colour, edgecolors="white", linewidth=edge)
        bars.set_rasterized(len(rows) > MOST_SHARP)
    ax.set(xlabel=f"Wall-clock time ({unit})", ylabel="Worker", ylim=(len(workers) - 0.5, -0.5))
    ax.set_xlim(0, 1.01 * rows["ended"].max() / scale or 1)
    ax.yaxis.set_major_locator(MaxNLocator(min(len(workers), 16), integer=True))
    ax.grid(False, axis="y")
    handles: list[Line2D] = [
        entry(kind, color=COLOURS[kind], linewidth=6) for kind in STAGES if kind in set(rows["kind"])
    ]
    legend(figure, handles)
    return figure
