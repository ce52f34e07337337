"""Trials -> figures of the search: scores by order, time, cost and by each parameter; reads no files."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench import numbers
from bench.report import palette
from bench.report.names import metric_words, parameter
from bench.report.palette import ACCENT, GRID, INK, MUTED, WIDTH, Looks, clipped, entry, new_figure, styled
from bench.report.tables import search as tables_search
from bench.report.tables.search import column
from bench.stats.metrics import Metric

STOPPED = entry("stopped early", marker="o", markersize=7, color=MUTED, fillstyle="none")
FAILED = entry("failed", marker="x", markersize=7, color=MUTED)
MOST_LABELS = 8
"""Trials of the Pareto front that are named in the figure."""

_SPAN = entry("while it ran", color=MUTED, linewidth=1.2, alpha=0.6)
_BEST = entry("best so far", color=INK, linewidth=1.4)
_FRONT = entry("Pareto front", color=INK, linewidth=1.4)
_MEDIAN = entry("median of completed trials", color=INK, linewidth=1.8)


def score_label(metric: Metric) -> str:
    """The axis title of a validation score, with the direction where lower is better."""
    return f"Validation {metric_words(metric)}" + ("" if metric.higher_is_better else " (lower is better)")


@styled
def history(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score of each trial in order, and the best so far; failed trials are crosses on the axis."""
    figure, (ax,) = new_figure(WIDTH, 3.5)
    scored = scored_trials(trials, metric)
    points(ax, scored, "trial", metric, looks)
    best = tables_search.running_best(trials, metric)
    sns.lineplot(best, x="trial", y="best", drawstyle="steps-post", color=INK, linewidth=1.4, ax=ax)
    failed = trials.loc[trials["state"] == "failed", "trial"]
    ax.scatter(failed, [0.02] * len(failed), marker="x", color=MUTED, transform=ax.get_xaxis_transform(), clip_on=False)
    ax.set(xlabel="Trial, in the order in which they were started", ylabel=score_label(metric))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, trials, looks, _BEST)
    return figure


@styled
def learning_rate(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Learning rate, on a logarithmic axis, against score."""
    figure, (ax,) = new_figure(WIDTH, 3.5)
    scored = scored_trials(trials, metric)
    scored = scored[scored["config_learning_rate"] > 0]
    _logarithmic(ax, numbers.rate)
    lowest, highest = scored["config_learning_rate"].min(), scored["config_learning_rate"].max()
    if lowest == highest:  # a logarithmic axis finds no limits of its own around one value
        ax.set_xlim(lowest / 2, 2 * lowest)
    points(ax, scored, "config_learning_rate", metric, looks)
    ax.set(xlabel="Learning rate of the head (logarithmic)", ylabel=score_label(metric))
    _legend(figure, scored, looks)
    return figure


@styled
def by_backbone(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score of each trial by backbone, with the median of the completed ones."""
    figure, (ax,) = new_figure(WIDTH, 3.4)
    scored = scored_trials(trials, metric)
    shown = [name for name in looks if name in names_of(scored)]
    titles = {name: clipped(looks[name].title, 52 // max(len(shown), 1)) for name in shown}
    _strip(ax, scored, "config_backbone", titles, metric, looks)
    _legend(figure, scored, {}, _MEDIAN)
    return figure


@styled
def by_augmentation(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score of each trial by augmentation policy, with the median of the completed ones."""
    figure, (ax,) = new_figure(WIDTH, 3.4)
    scored = scored_trials(trials, metric).dropna(subset=["config_augmentation"])
    order = sorted(scored["config_augmentation"].unique(), key=lambda name: (name != "none", name))
    titles = {name: clipped(name, 52 // max(len(order), 1)) for name in order}
    _strip(ax, scored, "config_augmentation", titles, metric, looks)
    ax.set(xlabel="Augmentation policy")
    _legend(figure, scored, looks, _MEDIAN)
    return figure


@styled
def by_unfreeze_depth(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Left, score of each trial by unfreeze depth; right, the best score by backbone and depth."""
    figure, (left, right) = new_figure(9.6, 3.9, columns=2, width_ratios=[1.15, 1])
    scored = scored_trials(trials, metric).dropna(subset=["config_unfreeze_depth"])
    depths = sorted(int(depth) for depth in scored["config_unfreeze_depth"].unique())
    _strip(left, scored, "config_unfreeze_depth", {depth: str(depth) for depth in depths}, metric, looks)
    left.set(xlabel="Unfrozen stages, from the output", title="Every trial")
    best, number = tables_search.best_by_depth(trials, metric)
    best = best.reindex([name for name in looks if name in best.index])
    titles = [clipped(looks[name].title, 14) for name in best.index]
    _heat_map(right, best, number.reindex_like(best), titles, metric)
    _legend(figure, scored, looks, _MEDIAN)
    return figure


@styled
def importance(summary: pd.DataFrame) -> Figure:
    """Bars of the parameters' shares of the scores' variance; whiskers span one standard deviation either way."""
    figure, (ax,) = new_figure(WIDTH, 0.9 + 0.38 * len(summary))
    labels = [parameter(str(name)) for name in summary["parameter"]]
    sns.barplot(x=summary["mean"].to_numpy(), y=labels, color=ACCENT, saturation=1, width=0.62, ax=ax)
    spread = summary["sd"].fillna(0)
    below = spread.clip(upper=summary["mean"])  # no share is below zero
    ax.errorbar(
        summary["mean"], range(len(summary)), xerr=[below, spread], fmt="none", ecolor=INK, elinewidth=1.2, capsize=3
    )
    ax.set(xlabel="Share of the variance of the scores (fANOVA)", ylabel="", xlim=(0, None))
    ax.grid(False, axis="y")
    return figure


def scored_trials(trials: pd.DataFrame, metric: Metric) -> pd.DataFrame:
    """The trials that have a score."""
    return trials[tables_search.scores(trials, metric).notna()]


def names_of(trials: pd.DataFrame) -> list[str]:
    """The backbones that occur."""
    return [str(name) for name in trials["config_backbone"].dropna().unique()]


def _legend(figure: Figure, trials: pd.DataFrame, looks: Looks, *more: Line2D) -> None:
    """The backbones that occur, ``more``, and the states that occur besides completed."""
    states = set(trials["state"])
    ended = [handle for state, handle in (("pruned", STOPPED), ("failed", FAILED)) if state in states]
    palette.legend(figure, [*palette.backbone_handles(looks, names_of(trials)), *more, *ended])


def points(ax: Axes, data: pd.DataFrame, x: str, metric: Metric, looks: Looks) -> None:
    """One point per trial, coloured and shaped by backbone: filled if completed, hollow if stopped early."""
    names = names_of(data)
    options: dict[str, Any] = {
        "x": x,
        "y": column(metric),
        "hue": "config_backbone",
        "style": "config_backbone",
        "palette": {name: looks[name].colour for name in names},
        "markers": {name: looks[name].marker for name in names},
        "legend": False,
        "s": 42,
        "ax": ax,
    }
    stopped, completed = data[data["state"] == "pruned"], data[data["state"] == "completed"]
    if len(stopped):
        sns.scatterplot(stopped, **options, linewidth=1.1)
        hollow = ax.collections[-1]
        hollow.set_edgecolor(hollow.get_facecolor())
        hollow.set_facecolor("none")
    if len(completed):
        sns.scatterplot(completed, **options, linewidth=0, alpha=0.85)


def _strip(ax: Axes, data: pd.DataFrame, by: str, titles: Mapping[Any, str], metric: Metric, looks: Looks) -> None:
    """Points by the categories ``titles``, spread sideways, and the medians of the completed trials."""
    score = column(metric)
    codes = data[by].map({value: position for position, value in enumerate(titles)}).astype("float64")
    points(ax, data.assign(position=codes + palette.apart(data, by, score)), "position", metric, looks)
    medians = data[data["state"] == "completed"].groupby(by)[score].median()
    for position, value in enumerate(titles):
        if value in medians.index:
            ax.plot([position - 0.32, position + 0.32], [medians[value]] * 2, color=INK, linewidth=1.8)
    ax.set_xticks(range(len(titles)), list(titles.values()))
    ax.set(xlim=(-0.6, len(titles) - 0.4), xlabel="", ylabel=score_label(metric))
    ax.grid(False, axis="x")


def _heat_map(ax: Axes, best: pd.DataFrame, amounts: pd.DataFrame, titles: list[str], metric: Metric) -> None:
    """Best score by backbone and depth; brighter is better, whichever way the metric points."""
    texts = np.array(
        [
            [f"{numbers.score(score)}\nn = {number:.0f}" for score, number in zip(*row, strict=True)]
            for row in zip(best.to_numpy(), amounts.to_numpy(), strict=True)
        ]
    )
    sns.heatmap(
        best.astype("float64"),
        annot=texts if texts.size else False,
        fmt="",
        cmap="cividis" if metric.higher_is_better else "cividis_r",
        cbar=False,
        linewidths=1.5,
        linecolor=GRID,
        annot_kws={"fontsize": 9},
        ax=ax,
    )
    ax.set_yticks(ax.get_yticks(), titles, rotation=0)
    ax.set(xlabel="Unfrozen stages, from the output", ylabel="", title="Best trial")
    ax.grid(False)


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
    figure, (ax,) = new_figure(WIDTH, 3.5)
    score = column(metric)
    spans = [[(row["began"], row[score]), (row["ended"], row[score])] for _, row in ordered.iterrows()]
    colours = [looks[str(name)].colour for name in ordered["config_backbone"]]
    ax.add_collection(LineCollection(spans, colors=colours, linewidths=1.2, alpha=0.35))
    points(ax, ordered, "ended", metric, looks)
    sns.lineplot(ordered, x="ended", y="best", drawstyle="steps-post", color=INK, linewidth=1.4, ax=ax)
    ax.set(xlabel=f"Wall-clock time since the search began ({unit})", ylabel=score_label(metric), xlim=(0, None))
    _legend(figure, ordered, looks, _BEST, _SPAN)
    return figure


@styled
def cost(trials: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score against what a trial took, and the front of the trials that none was both better and cheaper than."""
    scored = scored_trials(trials, metric)
    scored = scored[scored["seconds"] > 0]
    length, unit = unit_of(scored["seconds"].max())
    scored = scored.assign(seconds=scored["seconds"] / length)
    front = tables_search.pareto(scored, metric)
    figure, (ax,) = new_figure(WIDTH, 3.7)
    if scored["seconds"].max() > 8 * scored["seconds"].min():
        _logarithmic(ax, "{:g}".format)
        ax.yaxis.set_major_locator(MaxNLocator(6))
        unit = f"{unit}, logarithmic"
    points(ax, scored, "seconds", metric, looks)
    if len(front) > 1:
        ax.plot(front["seconds"], front["score"], drawstyle="steps-post", color=INK, linewidth=1.4, zorder=1)
    ax.margins(x=0.06, y=0.1)
    _name(ax, front.tail(MOST_LABELS), scored[["seconds", column(metric)]], -1 if metric.higher_is_better else 1)
    ax.set(xlabel=f"Wall-clock time of the trial ({unit})", ylabel=score_label(metric))
    _legend(figure, scored, looks, *([_FRONT] if len(front) > 1 else []))
    return figure


def _name(ax: Axes, front: pd.DataFrame, every: pd.DataFrame, side: int) -> None:
    """The numbers of the trials on the front, where no line passes and no point of ``every`` trial lies.

    That is to the right below (``side`` -1) or above the line, else to the left on its other side. Numbers that would
    overprint share one label, at the last of them.
    """
    ax.autoscale_view()

    def in_axes(values: pd.DataFrame) -> npt.NDArray[np.float64]:
        return np.asarray(ax.transAxes.inverted().transform(ax.transData.transform(values.to_numpy())))

    axes_points, others = in_axes(front[["seconds", "score"]]), in_axes(every)
    groups: list[list[int]] = []
    for place, (x, y) in enumerate(axes_points):
        last = axes_points[groups[-1][0]] if groups else None
        near = last is not None and abs(x - last[0]) < 0.06 * (1 + len(groups[-1])) and abs(y - last[1]) < 0.07
        if near:
            groups[-1].append(place)
        else:
            groups.append([place])
    for group in groups:
        rows = front.iloc[group]
        text = ", ".join(f"{trial:.0f}" for trial in rows["trial"])
        at = (rows["seconds"].iloc[-1], rows["score"].iloc[-1])
        within = (others - axes_points[group[-1]]) / (0.03 + 0.017 * len(text), 0.09)  # a label of width and height 1
        way = next((way for way in (1, -1) if not _any_beside(within * (way, way * side))), 1)
        shown: dict[str, Any] = {"ha": "left" if way > 0 else "right", "va": "bottom" if way * side > 0 else "top"}
        ax.annotate(text, at, (5 * way, 5 * way * side), textcoords="offset points", fontsize=8.5, color=INK, **shown)


def _any_beside(places: npt.NDArray[np.float64]) -> bool:
    """Whether a point lies in a label of width and height 1, or above or below its near end; its own is at 0."""
    return bool(((places > (-0.2, 0.1)) & (places < 1)).all(axis=1).any())


def _logarithmic(ax: Axes, show: Callable[[float], str]) -> None:
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show(value)))
