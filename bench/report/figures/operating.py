"""Predictive values by prevalence, and net benefit by threshold -> figures; reads no files."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench.report.palette import INK, MUTED, clipped, hide_after, legend, new_figure, styled

MODEL = "#0072B2"
VALUES = {"ppv": ("PPV", "#0072B2"), "npv": ("NPV", "#D55E00")}
DASHES: dict[str, Any] = {"frozen": "-", "0.5": (0, (4, 2))}
MOST_CLASSES = 9
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
WIDE = 20
"""Prevalences whose largest is this many times the smallest are shown on a logarithmic axis."""


def subset(rows: pd.DataFrame, source: str) -> str:
    """How many of the classes a figure shows, and that the file ``source`` has all; empty where it shows all."""
    total = rows["class"].nunique()
    return f"The first {MOST_CLASSES} of {total} classes; {source} has all." if total > MOST_CLASSES else ""


def _panels(rows: pd.DataFrame, source: str) -> tuple[Figure, list[tuple[Axes, str]]]:
    """One panel per class, up to three abreast; where some classes have none, a line at the foot says so."""
    labels = [str(name) for name in rows["class"].drop_duplicates()][:MOST_CLASSES]
    columns = min(len(labels), 3)
    height = math.ceil(len(labels) / columns)
    width = {1: 6.6, 2: 8.4}.get(columns, 9.6)
    figure, axes = new_figure(width, 0.5 + 3.2 * height, columns, height, sharex=True, sharey=True)
    hide_after(axes, len(labels))
    if left_out := subset(rows, source):
        figure.supxlabel(left_out, x=0.01, ha="left", fontsize=9, color=MUTED)
    return figure, list(zip(axes, labels, strict=False))


def _label_outer(panels: list[tuple[Axes, str]], below: str, beside: str) -> None:
    """Titles and numbers of the axes where no panel stands below, or beside, that could carry them."""
    columns = min(len(panels), 3)
    for place, (ax, _) in enumerate(panels):
        lowest = place + columns >= len(panels)
        ax.tick_params(labelbottom=lowest, labelleft=place % columns == 0)
        ax.set(xlabel=below if lowest else "", ylabel=beside if place % columns == 0 else "")


@styled
def prevalences(rows: pd.DataFrame) -> Figure:
    """PPV and NPV by prevalence, one panel per class; the frozen operating point is solid, 0.5 dashed.

    Args:
        rows: as in prevalences.csv.
    """
    figure, panels = _panels(rows, "prevalences.csv")
    rows = rows[rows["prevalence"] > 0]
    known = rows["prevalence"]
    for ax, label in panels:
        part = rows[rows["class"] == label].sort_values("prevalence")
        for point, lines in part.groupby("point", sort=False):
            for name, (_, colour) in VALUES.items():
                dashes = DASHES.get(str(point), ":")
                ax.plot(lines["prevalence"], lines[name], color=colour, linestyle=dashes, linewidth=1.8)
                band = lines.dropna(subset=[f"{name}_low", f"{name}_high"])
                edges = (band["prevalence"], band[f"{name}_low"], band[f"{name}_high"])
                ax.fill_between(*edges, color=colour, alpha=0.12, linewidth=0)
        for observed in part.loc[part["observed"], "prevalence"].drop_duplicates():
            ax.axvline(observed, color=MUTED, linestyle=":", linewidth=1.2)
        if len(known) and known.max() / known.min() >= WIDE:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if known.min() <= tick <= known.max()]))
            ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        ax.set(ylim=(-0.02, 1.02), title=clipped(label, 30))
    _label_outer(panels, "Prevalence", "Predictive value")
    handles = [Line2D([], [], color=colour, linewidth=2, label=title) for title, colour in VALUES.values()]
    names = {"frozen": "frozen threshold", "0.5": "threshold 0.5"}
    present = [name for name in names if (rows["point"] == name).any()]
    handles += [Line2D([], [], color=INK, linestyle=DASHES[name], label=names[name]) for name in present]
    legend(figure, handles)
    return figure


@styled
def decision(rows: pd.DataFrame) -> Figure:
    """Net benefit by threshold of the model with its band, of acting on everyone and on nobody; one panel per class.

    Args:
        rows: as in decision_curve.csv.
    """
    figure, panels = _panels(rows, "decision_curve.csv")
    top = float(rows[["model", "high", "treat_all"]].max().max())
    for ax, label in panels:
        part = rows[rows["class"] == label].sort_values("threshold")
        band = part.dropna(subset=["low", "high"])
        ax.fill_between(band["threshold"], band["low"], band["high"], color=MODEL, alpha=0.16, linewidth=0)
        ax.plot(part["threshold"], part["model"], color=MODEL, linewidth=2)
        ax.plot(part["threshold"], part["treat_all"], color=MUTED, linewidth=1.5, linestyle=(0, (4, 2)))
        ax.axhline(0, color=INK, linewidth=1.2)
        ax.set(title=clipped(label, 30))
        ax.set(ylim=(-0.18 * top if top > 0 else -0.1, 1.08 * top if top > 0 else 0.1))
    _label_outer(panels, "Threshold probability", "Net benefit")
    handles = [
        Line2D([], [], color=MODEL, linewidth=2, label="the model"),
        Line2D([], [], color=MUTED, linestyle=(0, (4, 2)), label="act on everyone"),
        Line2D([], [], color=INK, linewidth=1.2, label="act on nobody"),
    ]
    legend(figure, handles)
    return figure
