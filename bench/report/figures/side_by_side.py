"""Several runs -> figures that set them side by side; one colour and line per run; reads no files."""

from collections.abc import Mapping, Sequence
from typing import Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures.base import score_label
from bench.report.figures.cost import unit_of
from bench.report.names import metric_words
from bench.report.palette import OTHERS, Look, bar, clipped, legend, new_figure, rows_down, styled
from bench.stats.metrics import Metric

_LINES: tuple[Literal["-", "--", ":"], ...] = ("-", "--", ":")


def run_look(position: int) -> tuple[Look, Literal["-", "--", ":"]]:
    """Look and line style of the run at ``position``; never those of a backbone that the suite knows."""
    return OTHERS[position % len(OTHERS)], _LINES[position // len(OTHERS) % len(_LINES)]


@styled
def history(best: Mapping[str, pd.DataFrame], labels: Sequence[str], metric: Metric, by_time: bool) -> Figure:
    """The best score so far of each run, by trial or by time; a point marks where the run stands.

    Args:
        best: label of a run -> columns ``x`` (trials, or seconds) and ``best``; runs that are not there are not drawn.
        labels: of all runs, in order.
        metric: what the scores are.
        by_time: whether ``x`` is seconds since the search began, else trials.
    """
    figure, (ax,) = new_figure(8, 3.9)
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
        handles.append(Line2D([], [], color=look.colour, linestyle=line, marker=look.marker, label=clipped(label, 40)))
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
    figure, axes = new_figure(9.6, 1.1 + 0.45 * len(rows), columns=len(metrics), sharey=True)
    for ax, metric in zip(axes, metrics, strict=True):
        name = f"test_{metric.name}"
        for place, (_, row) in enumerate(rows.iterrows()):
            look, _ = run_look(int(row["position"]))
            bar(ax, place, row, name, look)
        ax.set(xlabel=f"Test {metric_words(metric)}")
        ax.margins(x=0.08)
        rows_down(ax, [clipped(label, 28) for label in rows["label"]])
    return figure
