"""Seconds by activity -> a figure of where the time went; reads no files."""

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from bench import numbers
from bench.report.palette import INK, clipped, new_figure, styled

LONGEST_LABEL = 48


@styled
def activities(spent: pd.DataFrame) -> Figure:
    """Bars of seconds by activity, in the order of a run, each with its share of all.

    Args:
        spent: as `bench.report.tables.time.spent` returns it.
    """
    figure, (ax,) = new_figure(8, 0.9 + 0.34 * len(spent))
    scale, unit = (60, "min") if spent["seconds"].max() >= 600 else (1, "s")
    lengths = (spent["seconds"] / scale).to_numpy()
    labels = [clipped(name, LONGEST_LABEL) for name in spent["activity"]]
    sns.barplot(x=lengths, y=labels, color="#0072B2", saturation=1, width=0.62, ax=ax)
    for position, (length, share) in enumerate(zip(lengths, spent["share"], strict=True)):
        ax.annotate(
            numbers.percent(share), (length, position), (4, 0), textcoords="offset points", va="center", color=INK
        )
    ax.set(xlabel=f"Wall-clock time ({unit})", ylabel="", xlim=(0, 1.12 * max(lengths.max(), 1e-9)))
    ax.grid(False, axis="y")
    return figure
