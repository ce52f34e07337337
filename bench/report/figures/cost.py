"""Trials -> figures of what the search cost: the best score over time, and score against cost; reads no files."""

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.report.figures.base import names_of, points, score_label, scored_trials, state_handles
from bench.report.palette import INK, MUTED, Looks, backbone_handles, legend, new_figure, styled
from bench.report.tables import search as tables_search
from bench.report.tables.base import column
from bench.stats.metrics import Metric

MOST_LABELS = 8
"""Trials of the Pareto front that are named in the figure."""

_SPAN = Line2D([], [], color=MUTED, linewidth=1.2, alpha=0.6, label="while it ran")
_BEST = Line2D([], [], color=INK, linewidth=1.4, label="best so far")
_FRONT = Line2D([], [], color=INK, linewidth=1.4, label="Pareto front")


def unit_of(seconds: float) -> tuple[float, str]:
    """The unit in which durations of up to ``seconds`` are shown, as its length in seconds and its symbol."""
    return (3600, "h") if seconds >= 7200 else (60, "min") if seconds >= 600 else (1, "s")


@styled
def history_by_time(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score of each trial at the time it ended, a line while it ran, and the best so far.

    Args:
        trials: as in trials.csv; those without ``elapsed`` are left out.
        metric: the metric that the search ranked by.
        looks: how each backbone is drawn.
    """
    ordered = tables_search.over_time(trials, metric)
    length, unit = unit_of(ordered["ended"].max())
    ordered = ordered.assign(began=ordered["began"] / length, ended=ordered["ended"] / length)
    figure, (ax,) = new_figure(8, 3.9)
    score = column(metric)
    spans = [[(row["began"], row[score]), (row["ended"], row[score])] for _, row in ordered.iterrows()]
    colours = [looks[str(name)].colour for name in ordered["config_backbone"]]
    ax.add_collection(LineCollection(spans, colors=colours, linewidths=1.2, alpha=0.35))
    points(ax, ordered, "ended", metric, looks)
    sns.lineplot(ordered, x="ended", y="best", drawstyle="steps-post", color=INK, linewidth=1.4, ax=ax)
    ax.set(xlabel=f"Wall-clock time since the search began ({unit})", ylabel=score_label(metric), xlim=(0, None))
    legend(figure, [*backbone_handles(looks, names_of(ordered)), _BEST, _SPAN, *state_handles(ordered)])
    return figure


@styled
def cost(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score against what a trial took, and the front of the trials that none was both better and cheaper than."""
    scored = scored_trials(trials, metric)
    scored = scored[scored["seconds"] > 0]
    length, unit = unit_of(scored["seconds"].max())
    scored = scored.assign(seconds=scored["seconds"] / length)
    front = tables_search.pareto(scored, metric)
    figure, (ax,) = new_figure(8, 4.2)
    if scored["seconds"].max() > 8 * scored["seconds"].min():
        _logarithmic(ax)
        unit = f"{unit}, logarithmic"
    points(ax, scored, "seconds", metric, looks)
    if len(front):
        ax.plot(front["seconds"], front["score"], drawstyle="steps-post", color=INK, linewidth=1.4, zorder=1)
    for _, row in front.tail(MOST_LABELS).iterrows():
        above = 1 if metric.higher_is_better else -1
        ax.annotate(
            f"{row['trial']:.0f}",
            (row["seconds"], row["score"]),
            (-4, 5 * above),
            textcoords="offset points",
            ha="right",
            va="bottom" if above > 0 else "top",
            fontsize=8.5,
            color=INK,
        )
    ax.margins(x=0.06, y=0.1)
    ax.set(xlabel=f"Wall-clock time of the trial ({unit})", ylabel=score_label(metric))
    legend(figure, [*backbone_handles(looks, names_of(scored)), _FRONT, *state_handles(scored)])
    return figure


def _logarithmic(ax: Axes) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_major_locator(MaxNLocator(6))
