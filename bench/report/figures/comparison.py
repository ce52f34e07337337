"""Finalists and controls on test -> figures; reads no files."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.names import backbone, metric_words
from bench.report.palette import INK, MUTED, Look, Looks, clipped, legend, new_figure, styled
from bench.stats.metrics import METRICS

CONTROL = Look(MUTED, "o")
MOST_PAIRS = 40
TOLD_APART = "#0072B2"
HOW_TO_READ = (
    "Colours go by the verdict, which is corrected for the number of comparisons (Holm). The intervals are not "
    "corrected: one may leave out 0 although its pair cannot be told apart."
)
"""What must be said of the figure of the differences."""


@styled
def intervals(models: pd.DataFrame, metrics: Sequence[str], looks: Looks) -> Figure:
    """A panel a metric: each model's value on test with its interval; controls are grey.

    Args:
        models: columns ``backbone`` and, for each metric, ``test_NAME`` with its bounds.
        metrics: names of the metrics.
        looks: of the backbones.
    """
    figure, axes = new_figure(9.6, 1.1 + 0.42 * len(models), columns=len(metrics), sharey=True)
    for ax, name in zip(axes, metrics, strict=True):
        for position, (_, row) in enumerate(models.iterrows()):
            look = looks.get(str(row["backbone"]), CONTROL)
            ax.plot(
                [row[f"test_{name}_low"], row[f"test_{name}_high"]], [position] * 2, color=look.colour, linewidth=2.4
            )
            ax.plot([row[f"test_{name}"]], [position], color=look.colour, marker=look.marker, markersize=8)
        ax.set(xlabel=f"Test {metric_words(METRICS[name])}")
        ax.set_ylim(len(models) - 0.4, -0.6)
        ax.set_yticks(range(len(models)), [clipped(backbone(name)) for name in models["backbone"]])
        ax.margins(x=0.08)
        ax.grid(False, axis="y")
    return figure


@styled
def differences(pairs: pd.DataFrame) -> Figure:
    """The difference of each pair with its interval, coloured by its verdict, and a line at no difference.

    Args:
        pairs: as ``tables_models.pairs`` returns it.
    """
    pairs = pairs.head(MOST_PAIRS)
    figure, (ax,) = new_figure(7.2, 0.9 + 0.36 * len(pairs))
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for position, (_, row) in enumerate(pairs.iterrows()):
        colour = TOLD_APART if row["told_apart"] else MUTED
        ax.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.4)
        ax.plot([row["difference"]], [position], color=INK, marker="o", markersize=6)
    ax.set_yticks(range(len(pairs)), [clipped(pair, 38) for pair in pairs["pair"]])
    ax.set(xlabel="Difference in test ROC AUC (right: the first is better)", ylim=(len(pairs) - 0.4, -0.6))
    ax.grid(False, axis="y")
    titles = {TOLD_APART: "told apart after Holm’s correction", MUTED: "not told apart"}
    legend(figure, [Line2D([], [], color=colour, linewidth=2.4, label=title) for colour, title in titles.items()])
    return figure
