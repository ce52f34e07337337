"""The numbers of a comparison -> figures; reads no files."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.compare import statistics
from bench.compare.methods.table import METHODS
from bench.report.palette import GRID, INK, MUTED, new_figure, styled

LINES: dict[str, tuple[str, Any]] = {
    "suite": ("#0072B2", "-"),
    "suite-warm": ("#0072B2", ":"),
    "ray-tune": ("#D55E00", "--"),
    "hyperband": ("#009E73", "-."),
    "bayesian": ("#CC79A7", (0, (6, 2))),
    "random": ("#8C6D31", (0, (2, 1))),
}
"""Colour and dashes of the methods that are set side by side; the suite's levers have a figure of their own."""
TICKS = [1, 3, 10, 30, *(60 * minutes for minutes in (1, 3, 10, 30)), *(3600 * hours for hours in (1, 3, 10, 30, 100))]
AXES = {"ended": "Wall-clock since the process was started (logarithmic)", "core_seconds": "Core-seconds (logarithmic)"}


@styled
def best_so_far(trials: pd.DataFrame, x: str, target: float) -> Figure:
    """Best validation AUC so far against ``x``: the median over seeds, and their range as a band."""
    figure, (ax,) = new_figure(8, 4.2)
    handles, lowest = [], target
    for method, (colour, dashes) in LINES.items():
        curve = statistics.best_so_far(trials, method, x)
        if not len(curve):
            continue
        ax.step(curve["x"], curve["best"], where="post", color=colour, linestyle=dashes, linewidth=1.8)
        ax.plot(curve["x"].iloc[-1], curve["best"].iloc[-1], "o", color=colour, markersize=4)
        ax.fill_between(curve["x"], curve["low"], curve["high"], step="post", color=colour, alpha=0.1, linewidth=0)
        lowest = min(lowest, float(curve["best"].iloc[0]))
        handles.append(Line2D([], [], color=colour, linestyle=dashes, linewidth=1.8, label=METHODS[method].title))
    ax.axhline(target, color=MUTED, linewidth=1)
    ax.annotate(
        f"target {target:g}", (1, target), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=MUTED
    )
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(TICKS))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set(xlabel=AXES[x], ylabel="Best validation AUC so far", ylim=(max(0.5, lowest - 0.02), None))
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


@styled
def levers(rows: pd.DataFrame) -> Figure:
    """Left, wall-clock without each lever over with it; right, the AUC that the lever costs or gains."""
    figure, (left, right) = new_figure(9.2, 1.5 + 0.5 * len(rows), columns=2, sharey=True)
    places = np.arange(len(rows))
    ratio, gain = rows["ratio"].to_numpy(float), rows["difference"].to_numpy(float)
    left.barh(places, ratio, color="#0072B2", height=0.6)
    low, high = rows["ratio_low"].to_numpy(float), rows["ratio_high"].to_numpy(float)
    left.errorbar(ratio, places, xerr=[ratio - low, high - ratio], fmt="none", ecolor=INK, capsize=3)
    left.axvline(1, color=MUTED, linewidth=1)
    left.set(xlabel="Wall-clock without it / with it", title="Time", xlim=(0, None))
    left.set_yticks(places, [f"{name} off" for name in rows["off"]])
    left.invert_yaxis()
    right.axvspan(-statistics.MARGIN, statistics.MARGIN, color=GRID, alpha=0.6, linewidth=0)
    right.axvline(0, color=MUTED, linewidth=1)
    below = gain - rows["difference_low"].fillna(rows["difference"]).to_numpy(float)
    above = rows["difference_high"].fillna(rows["difference"]).to_numpy(float) - gain
    right.errorbar(gain, places, xerr=[below.clip(0), above.clip(0)], fmt="o", color="#D55E00", capsize=3)
    right.set(xlabel="Best AUC with it − without it", title=f"Score, and the margin of {statistics.MARGIN}")
    for ax in (left, right):
        ax.grid(False, axis="y")
    return figure


def _tick(seconds: float) -> str:
    """``30 s``, ``3 min``, ``1 h``."""
    unit, name = (3600, "h") if seconds >= 3600 else (60, "min") if seconds >= 60 else (1, "s")
    return f"{seconds / unit:g}\u00a0{name}"
