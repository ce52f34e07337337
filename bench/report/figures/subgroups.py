"""Subgroups, and scores on altered images -> figures; reads no files."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench import numbers
from bench.report.palette import DASHED, MUTED, Look, bar, clipped, hide_after, legend, new_figure, rows_down, styled

GROUP = Look("#0072B2", "o")
SCORES = {"auc": ("ROC AUC", "#0072B2", "o"), "accuracy": ("Accuracy", "#D55E00", "s")}
MOST_GROUPS = 40


@styled
def forest(rows: pd.DataFrame, metrics: Mapping[str, str], overall: Mapping[str, Any]) -> Figure:
    """One panel per metric: each group's value with its interval; hollow where the group is small.

    Args:
        rows: as in subgroups.csv.
        metrics: name -> title of the metrics.
        overall: name -> value on all images, where it is known.
    """
    rows = rows.head(MOST_GROUPS).reset_index(drop=True)
    figure, axes = new_figure(9.6, 1.0 + 0.33 * len(rows), columns=len(metrics), sharey=True)
    starts = rows.index[rows["group"].ne(rows["group"].shift())][1:]
    for ax, (name, title) in zip(axes, metrics.items(), strict=True):
        for position, (_, row) in enumerate(rows.iterrows()):
            bar(ax, position, row, name, GROUP, markersize=7, markerfacecolor="white" if row["small"] else GROUP.colour)
        known = numbers.number(overall.get(name))
        if known is not None:
            ax.axvline(known, color=MUTED, linewidth=1, linestyle=DASHED, zorder=0)
        for start in starts:
            ax.axhline(start - 0.5, color=MUTED, linewidth=0.6)
        names = [
            f"{clipped(': '.join(pair), 30)} ({numbers.count(images)})"
            for *pair, images in zip(rows["group"], rows["value"].fillna(""), rows["images"], strict=True)
        ]
        ax.set(xlabel=title)
        ax.margins(x=0.06)
        rows_down(ax, names)
    return figure


@styled
def robustness(rows: pd.DataFrame, titles: Mapping[str, str], clean: Mapping[str, Any]) -> Figure:
    """One panel per alteration: AUC and accuracy by its level with their bands; dashed, the values on clean images.

    Args:
        rows: as in robustness.csv, without the row of clean images.
        titles: alteration -> its title.
        clean: ``auc`` and ``accuracy`` of clean images, where they are known.
    """
    kinds = list(rows["corruption"].drop_duplicates())
    columns = min(len(kinds), 2)
    height = math.ceil(len(kinds) / columns)
    figure, axes = new_figure(
        4.6 * columns + (1.4 if columns == 1 else 0), 0.4 + 2.7 * height, columns, height, sharey=True
    )
    for ax, kind in zip(axes, kinds, strict=False):
        part = rows[rows["corruption"] == kind].sort_values("level")
        for name, (_, colour, marker) in SCORES.items():
            band = part.dropna(subset=[f"{name}_low", f"{name}_high"])
            edges = (band["level"], band[f"{name}_low"], band[f"{name}_high"])
            ax.fill_between(*edges, color=colour, alpha=0.15, linewidth=0)
            ax.plot(part["level"], part[name], color=colour, marker=marker, markersize=5, linewidth=1.6)
            known = numbers.number(clean.get(name))
            if known is not None:
                ax.axhline(known, color=colour, linewidth=1, linestyle=DASHED, alpha=0.8)
        unit = str(part["unit"].dropna().iloc[0]) if part["unit"].notna().any() else "level"
        ax.set(title=titles.get(kind, clipped(kind)), xlabel=unit, ylabel="Score")
    hide_after(axes, len(kinds))
    handles = [
        Line2D([], [], color=colour, marker=marker, linewidth=1.6, label=title)
        for title, colour, marker in SCORES.values()
    ]
    legend(figure, [*handles, Line2D([], [], color=MUTED, linestyle=DASHED, label="on clean images")])
    return figure
