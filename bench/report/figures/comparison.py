"""Finalists and baselines on test -> figures; reads no files."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.names import backbone, metric_words
from bench.report.palette import DASHED, INK, MUTED, Look, Looks, bar, clipped, legend, new_figure, rows_down, styled
from bench.stats.metrics import METRICS

BASELINE = Look(MUTED, "o")
MOST_PAIRS = 40
TOLD_APART = "#0072B2"
HOW_TO_READ = (
    "Colours go by the verdict, which is corrected for the number of comparisons (Holm). The intervals are not "
    "corrected: one may leave out 0 although its pair cannot be told apart."
)
"""What must be said of the figure of the differences."""


@styled
def intervals(models: pd.DataFrame, metrics: Sequence[str], looks: Looks) -> Figure:
    """One panel per metric: each model's value on test with its interval; baselines are grey.

    Args:
        models: columns ``backbone`` and, for each metric, ``test_NAME`` with its bounds.
        metrics: names of the metrics.
        looks: of the backbones.
    """
    figure, axes = new_figure(9.6, 1.1 + 0.42 * len(models), columns=len(metrics), sharey=True)
    for ax, name in zip(axes, metrics, strict=True):
        for position, (_, row) in enumerate(models.iterrows()):
            look = looks.get(str(row["backbone"]), BASELINE)
            bar(ax, position, row, f"test_{name}", look)
        ax.set(xlabel=f"Test {metric_words(METRICS[name])}")
        ax.margins(x=0.08)
        rows_down(ax, [clipped(backbone(name)) for name in models["backbone"]])
    return figure


@styled
def differences(pairs: pd.DataFrame) -> Figure:
    """The difference of each pair with its interval, coloured by its verdict, and a line at no difference.

    Args:
        pairs: as ``tables_models.pairs`` returns it.
    """
    pairs = pairs.head(MOST_PAIRS)
    figure, (ax,) = new_figure(7.2, 0.9 + 0.36 * len(pairs))
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=DASHED)
    for position, (_, row) in enumerate(pairs.iterrows()):
        colour = TOLD_APART if row["told_apart"] else MUTED
        ax.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.4)
        ax.plot([row["difference"]], [position], color=INK, marker="o", markersize=6)
    ax.set(xlabel="Difference in test ROC AUC (right: the first is better)")
    rows_down(ax, [clipped(pair, 38) for pair in pairs["pair"]])
    titles = {TOLD_APART: "told apart after Holm’s correction", MUTED: "not told apart"}
    legend(figure, [Line2D([], [], color=colour, linewidth=2.4, label=title) for colour, title in titles.items()])
    return figure
