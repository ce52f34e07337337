"""Epochs -> learning curves of the trials and of the finalists; reads no files."""

from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench.report import palette
from bench.report.figures.search import names_of, score_label
from bench.report.palette import (
    ACCENT,
    INK,
    MUTED,
    WIDTH,
    Looks,
    backbone_handles,
    clipped,
    entry,
    legend,
    new_figure,
    panels,
    styled,
)
from bench.report.tables.learning_curve import Growth
from bench.report.tables.search import column
from bench.stats.metrics import Metric

_STOPPED_HERE = entry("stopped at this rung", marker="o", markersize=7, color=MUTED, fillstyle="none")
_CUTOFF = entry("best third in the end", color=INK, linewidth=1.8)
_START = entry("fine-tuning begins", marker="o", markersize=4, color=MUTED)


@styled
def trial_curves(epochs: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Validation score by epoch, one line per trial and one panel per backbone; trials that were stopped are faded.

    Args:
        epochs: as `bench.report.tables.search.epochs_of_trials` returns it.
    """
    names = [name for name in looks if name in set(epochs["config_backbone"])]
    figure, axes = panels(len(names), 3, 9.6, (0.5, 2.9), sharex=True, sharey=True)
    for ax, name in zip(axes, names, strict=True):
        part = epochs[epochs["config_backbone"] == name]
        for state, alpha, width in (("pruned", 0.35, 1.0), ("failed", 0.35, 1.0), ("completed", 0.9, 1.4)):
            lines = part[part["state"] == state]
            style = {"color": looks[name].colour, "alpha": alpha}
            _lines(ax, lines, "trial", column(metric), linewidth=width, **style)
            _fine_tuning(ax, lines, "trial", column(metric), **style)
        ax.set(title=clipped(looks[name].title), xlabel="Epoch", ylabel=score_label(metric))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    faded = entry("stopped early or failed", color=MUTED, linewidth=1.0, alpha=0.4)
    legend(figure, [entry("completed", color=MUTED, linewidth=1.4), faded, _START])
    return figure


@styled
def rungs(arrived: pd.DataFrame, summary: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Score of each trial at every rung that it reached: hollow where it was stopped, a line where it went on.

    Args:
        arrived: as `bench.report.tables.search.arrivals` returns it.
        summary: as `bench.report.tables.search.rungs` returns it.
        metric: the metric that the search ranked by.
        looks: how each backbone is drawn.
    """
    figure, (ax,) = new_figure(WIDTH, 3.6)
    places = {rung: place for place, rung in enumerate(summary["rung"])}
    shown = arrived.assign(x=arrived["rung"].map(places) + palette.apart(arrived, "rung", "best"))
    ways = [part[["x", "best"]].to_numpy() for _, part in shown.sort_values("rung").groupby("trial") if len(part) > 1]
    ax.add_collection(LineCollection(ways, colors=MUTED, linewidths=0.7, alpha=0.3))
    names = [name for name in looks if name in names_of(shown)]
    for name in names:
        look = looks[name]
        part = shown[shown["config_backbone"] == name]
        for hollow, points in ((True, part[part["stopped"]]), (False, part[~part["stopped"]])):
            face = "none" if hollow else look.colour
            ax.scatter(points["x"], points["best"], s=40, marker=look.marker, facecolors=face, edgecolors=look.colour)
    for place, cutoff in zip(places.values(), summary["cutoff"], strict=True):
        ax.plot([place - 0.34, place + 0.34], [cutoff, cutoff], color=INK, linewidth=1.8)
    ticks = [
        f"after epoch {row['rung']:.0f}\n{row['arrived']:.0f} arrived\n{row['stopped']:.0f} stopped"
        for _, row in summary.iterrows()
    ]
    ax.set_xticks(list(places.values()), ticks)
    ax.set(xlim=(-0.6, len(places) - 0.4), xlabel="", ylabel=score_label(metric))
    ax.grid(False, axis="x")
    legend(figure, [*backbone_handles(looks, names), _STOPPED_HERE, _CUTOFF])
    return figure


@styled
def finalist_curves(epochs: pd.DataFrame, metric: Metric, looks: Looks) -> Figure:
    """Training loss and validation score of the finalists by epoch, one line per seed.

    Args:
        epochs: those of finalists in epochs.csv.
    """
    figure, axes = new_figure(9.6, 3.7, columns=2)
    panels = (("loss", "Training loss (nats per image)"), (column(metric), score_label(metric)))
    names = [name for name in looks if name in set(epochs["name"])]
    for ax, (score, title) in zip(axes, panels, strict=True):
        for name in names:
            part = epochs[epochs["name"] == name]
            _lines(ax, part, "repeat", score, color=looks[name].colour, alpha=0.85, linewidth=1.5)
            _fine_tuning(ax, part, "repeat", score, color=looks[name].colour, alpha=0.9)
        ax.set(xlabel="Epoch", ylabel=title)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(figure, [*backbone_handles(looks, names, line=True), _START])
    return figure


@styled
def by_patients(growth: Growth, metric: Metric) -> Figure:
    """Score of each training by the number of patients that it saw, and the fitted law as far as twice as many."""
    figure, (ax,) = new_figure(WIDTH, 3.4)
    ax.scatter(growth.trainings["patients"], growth.trainings["score"], s=26, color=ACCENT, alpha=0.7, linewidth=0)
    ax.plot(growth.sizes["patients"], growth.sizes["score"], marker="_", markersize=13, color=INK, linestyle="")
    if growth.law is not None:
        ends = (growth.sizes["patients"].min(), growth.patients, 2 * growth.patients)
        for first, last, style in zip(ends, ends[1:], ("-", "--"), strict=False):
            n = pd.Series(np.geomspace(first, last, 60))
            ax.plot(n, growth.expected(n), color=INK, linewidth=1.4, linestyle=style)
    ax.set(xscale="log", xlabel="Training patients", ylabel=score_label(metric))
    ticks = [*growth.sizes["patients"], *([2 * growth.patients] if growth.law is not None else [])]
    ax.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    ax.minorticks_off()
    shown = [entry("one training", marker="o", markersize=5, color=ACCENT)]
    shown.append(entry("mean", marker="_", markersize=11, color=INK))
    legend(figure, [*shown, *([entry("power law", color=INK)] if growth.law is not None else [])])
    return figure


def _lines(ax: Axes, data: pd.DataFrame, unit: str, y: str, linewidth: float, **style: Any) -> None:
    """One line per training; one of a single epoch, which has no line, is drawn as a dash."""
    data = data.dropna(subset=[y])
    if len(data):
        options = {"x": "epoch", "y": y, "ax": ax, **style}
        sns.lineplot(data, units=unit, estimator=None, linewidth=linewidth, **options)
        single = data[data.groupby(unit)["epoch"].transform("size") == 1]
        sns.scatterplot(single, marker="_", legend=False, **options)


def _fine_tuning(ax: Axes, data: pd.DataFrame, unit: str, y: str, **style: Any) -> None:
    """A dot at the first fine-tuned epoch of each training: what comes before is the head's warm-up."""
    first = data[data["phase"] == "finetune"].drop_duplicates(unit)
    ax.scatter(first["epoch"], first[y], s=14, linewidth=0, zorder=3, **style)
