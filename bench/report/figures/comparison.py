"""Models on test, and several runs, set side by side -> figures; reads no files."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench import numbers
from bench.report import palette
from bench.report.figures.search import score_label, unit_of
from bench.report.names import metric_words
from bench.report.palette import (
    ACCENT,
    DASHED,
    INK,
    MUTED,
    OTHERS,
    WIDTH,
    Look,
    Looks,
    clipped,
    entry,
    legend,
    new_figure,
    styled,
)
from bench.stats.metrics import Metric

BASELINE = Look(MUTED, "o")
MOST_PAIRS = 40
TOLD_APART = ACCENT
HOW_TO_READ = (
    "Colours show the verdict, which is adjusted for the number of pairs in its table (Holm). The intervals are not "
    "adjusted, so one may exclude 0 although its pair cannot be told apart."
)
"""What must be said of the figure of the differences."""

_LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


@styled
def forest(models: pd.DataFrame, metric: Metric, looks: Looks, chosen: str) -> Figure:
    """Each model's value on test with its interval, written beside it, its seeds and their mean; baselines are grey.

    Args:
        models: columns ``backbone``, ``title`` and ``test_NAME`` with its bounds; where several seeds are known,
            ``seeds_NAME`` with the value of each.
        metric: that is drawn.
        looks: of the backbones.
        chosen: name of the backbone that is set off.
    """
    figure, (ax,) = new_figure(5.4, 0.8 + 0.5 * len(models))
    name = f"test_{metric.name}"
    for place, (_, row) in enumerate(models.iterrows()):
        look = looks.get(str(row["backbone"]), BASELINE)
        palette.bar(ax, place, row, name, look)
        seeds = row.get(f"seeds_{metric.name}", [])
        ax.plot(seeds, [place + 0.27] * len(seeds), "o", color=look.colour, markersize=4, markerfacecolor="none")
        if len(seeds) > 1:
            ax.plot(np.mean(seeds), place + 0.27, "|", color=look.colour, markersize=10, markeredgewidth=2)
        bounds = numbers.interval(row[f"{name}_low"], row[f"{name}_high"])
        said = f"{numbers.score(row[name])}\n{bounds}" if bounds else numbers.score(row[name])
        weight = "bold" if row["backbone"] == chosen else "normal"
        ax.annotate(
            said, (1.03, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, weight=weight, color=INK
        )
    ax.margins(x=0.08)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set(xlabel=f"Test {metric_words(metric)}")
    palette.rows_down(ax, [clipped(title) for title in models["title"]])
    for label, backbone in zip(ax.get_yticklabels(), models["backbone"], strict=True):
        label.set_fontweight("bold" if backbone == chosen else "normal")
    return figure


def _on_test(
    rows: pd.DataFrame, metrics: Sequence[Metric], looks: Sequence[Look], labels: Sequence[str], height: float
) -> Figure:
    """One panel per metric: the value of each row on test with its interval, under its label."""
    figure, axes = new_figure(9.6, height, columns=len(metrics))
    for ax, metric in zip(axes, metrics, strict=True):
        for place, ((_, row), look) in enumerate(zip(rows.iterrows(), looks, strict=True)):
            palette.bar(ax, place, row, f"test_{metric.name}", look)
        ax.set(xlabel=f"Test {metric_words(metric)}")
        ax.margins(x=0.08)
        palette.rows_down(ax, labels)
    return figure


@styled
def differences(pairs: pd.DataFrame, metric: Metric) -> Figure:
    """The difference of each pair with its interval, coloured by its verdict, and a line at no difference.

    Args:
        pairs: as ``tables_models.pairs`` returns it.
        metric: by which they are compared.
    """
    pairs = pairs.head(MOST_PAIRS)
    figure, (ax,) = new_figure(5.4, 0.9 + 0.46 * len(pairs))
    ax.axvline(0, color=MUTED, linewidth=1, linestyle=DASHED)
    for position, (_, row) in enumerate(pairs.iterrows()):
        colour = TOLD_APART if row["told_apart"] else MUTED
        ax.plot([row["low"], row["high"]], [position] * 2, color=colour, linewidth=2.4)
        ax.plot([row["difference"]], [position], color=INK, marker="o", markersize=6)
    side = "right" if metric.higher_is_better else "left"
    ax.set(xlabel=f"Difference in test {metric_words(metric)} ({side}: the first is better)")
    palette.rows_down(ax, [clipped(pair, 48).replace(" − ", " −\n", 1) for pair in pairs["pair"]])
    titles = {TOLD_APART: "told apart after Holm’s adjustment", MUTED: "not told apart"}
    legend(figure, [entry(title, color=colour, linewidth=2.4) for colour, title in titles.items()])
    return figure


def run_look(position: int) -> tuple[Look, Literal["-", "--", ":"]]:
    """Look and line style of the run at ``position``; never those of a backbone that the suite knows."""
    return OTHERS[position % len(OTHERS)], _LINES[position // len(OTHERS) % len(_LINES)]


@styled
def histories(best: Mapping[str, pd.DataFrame], labels: Sequence[str], metric: Metric, by_time: bool) -> Figure:
    """The best score so far of each run, by trial or by time; a point marks where the run stands.

    Args:
        best: label of a run -> columns ``x`` (trials, or seconds) and ``best``; runs that are not there are not drawn.
        labels: of all runs, in order.
        metric: what the scores are.
        by_time: whether ``x`` is seconds since the search began, else trials.
    """
    figure, (ax,) = new_figure(WIDTH, 3.5)
    most = max(float(table["x"].max()) for table in best.values())
    length, unit = unit_of(most) if by_time else (1, "")
    handles = []
    for position, label in enumerate(labels):
        if label not in best:
            continue
        look, line = run_look(position)
        x, y = best[label]["x"] / length, best[label]["best"]
        width = 2 + min(len(labels) - 1 - position, 3)  # runs that extend one another coincide: the first shows beneath
        ax.plot(x, y, drawstyle="steps-post", color=look.colour, linestyle=line, linewidth=width)
        ax.plot(x.iloc[-1:], y.iloc[-1:], color=look.colour, marker=look.marker, markersize=8, linestyle="")
        handles.append(entry(clipped(label, 40), color=look.colour, linestyle=line, marker=look.marker))
    ax.set(
        xlabel=f"Wall-clock time of the search ({unit})" if by_time else "Trials",
        ylabel=f"{score_label(metric)}, best so far",
    )
    ax.set_xlim(0, None)
    legend(figure, handles)
    return figure


@styled
def winners(rows: pd.DataFrame, metrics: Sequence[Metric]) -> Figure:
    """One panel per metric: the winner of each run on the internal test, with its interval.

    Args:
        rows: one row per run, with its ``label`` and ``position``, and ``test_NAME`` with its bounds by metric.
        metrics: the metrics.
    """
    shown = [run_look(int(position))[0] for position in rows["position"]]
    labels = [clipped(label, 28) for label in rows["label"]]
    return _on_test(rows, metrics, shown, labels, 1.1 + 0.45 * len(rows))
