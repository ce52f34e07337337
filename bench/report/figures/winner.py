"""The winner's results on test -> figures: confusion, curves, calibration, operating points; reads no files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench import numbers
from bench.report.palette import DASHED, INK, MUTED, band, clipped, entry, legend, new_figure, panels, styled

CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
CLASS_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
Points = Sequence[tuple[str, float, float]]
"""Names with a false and a true positive rate."""

MOST_WRITTEN = 12
"""Classes up to which the cells of a confusion matrix carry their numbers."""

PANELS = {"before": "The model’s own probabilities", "after": "After the calibration map"}
MODEL = "#0072B2"
VALUES = {"ppv": ("PPV", "#0072B2"), "npv": ("NPV", "#D55E00")}
POINT_DASHES: dict[str, Any] = {"frozen": "-", "0.5": (0, (4, 2))}
MOST_CLASSES = 9
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
WIDE = 20
"""Prevalences whose largest is this many times the smallest are shown on a logarithmic axis."""


def line(position: int) -> dict[str, Any]:
    """Colour and dashes of the class at ``position``: classes that share a colour differ in their dashes."""
    turn, place = divmod(position, len(CURVES))
    return {"color": CURVES[place], "linestyle": CLASS_DASHES[turn % len(CLASS_DASHES)]}


@styled
def confusion(counts: pd.DataFrame, rates: pd.DataFrame) -> Figure:
    """Confusion matrix as counts and as shares of each row.

    Rows are the reference standard, columns the predicted class.
    """
    side = min(max(2.9, 0.75 + 0.62 * len(counts)), 9)
    figure, (left, right) = new_figure(2 * side + 1.6, side + 0.35, columns=2)
    written = len(counts) <= MOST_WRITTEN
    _matrix(left, counts, rates, ".0f" if written else "", "Images")
    _matrix(right, rates * 100, rates, ".1f" if written else "", "Share of the row (%)")
    return figure


def _matrix(ax: Axes, values: pd.DataFrame, rates: pd.DataFrame, form: str, title: str) -> None:
    """Cells carry ``values`` and are coloured by ``rates``, so that a rare class is as visible as a common one."""
    annotation = values.to_numpy() if form else False
    options = {"cmap": "Blues", "vmin": 0, "vmax": 1, "cbar": False, "square": True, "linewidths": 1.5}
    sns.heatmap(rates, annot=annotation, fmt=form, annot_kws={"fontsize": 12}, linecolor="#ffffff", ax=ax, **options)
    names = [clipped(name, 16) for name in values.columns]
    turned = len(names) > 2 or max(map(len, names)) > 11
    ax.set_xticks(ax.get_xticks(), names, rotation=35 if turned else 0, ha="right" if turned else "center")
    ax.set_yticks(ax.get_yticks(), names, rotation=0)
    ax.set(xlabel="Predicted class", ylabel="Reference standard", title=title)
    ax.grid(False)


@styled
def curves(roc: pd.DataFrame, precision_recall: pd.DataFrame, bands: pd.DataFrame, points: Points = ()) -> Figure:
    """ROC curves and curves of precision by recall, one per class, with their bands.

    Args:
        roc: columns ``label``, ``fpr``, ``tpr``, ``auc``.
        precision_recall: columns ``label``, ``recall``, ``precision``, ``area``, ``share``.
        bands: columns ``class``, ``curve`` (roc or pr), ``x``, ``low``, ``high``; may be empty.
        points: false and true positive rates to be marked on the ROC curve.
    """
    figure, (left, right) = new_figure(9.6, 5.1, columns=2)
    left.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED, label="chance, 0.500")
    several = roc["label"].nunique() > 1
    for position, label in enumerate(roc["label"].drop_duplicates()):
        look = line(position)
        one, other = roc[roc["label"] == label], precision_recall[precision_recall["label"] == label]
        name = f"{clipped(label)}, AUC {numbers.score(one['auc'].iloc[0])}"
        left.plot(one["fpr"], one["tpr"], **look, linewidth=2, label=name)
        name = f"{clipped(label)}, area {numbers.score(other['area'].iloc[0])}"
        right.plot(other["recall"], other["precision"], **look, linewidth=2, label=name)
        if not several:
            share = float(other["share"].iloc[0])
            right.axhline(share, color=MUTED, linewidth=1, linestyle=DASHED, label=f"guessing, {numbers.score(share)}")
        for ax, curve in ((left, "roc"), (right, "pr")):
            own = bands[(bands["class"] == label) & (bands["curve"] == curve)].dropna(subset=["x"])
            band(ax, own, "x", ("low", "high"), look["color"], 0.16)
    for (name, false_rate, true_rate), marker in zip(points, "oD", strict=False):
        left.plot(false_rate, true_rate, marker=marker, markersize=8, color=INK, linestyle="", label=name)
    left.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)", title="ROC")
    right.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV)", title="Precision and recall")
    for ax in (left, right):
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    left.legend(loc="lower right")
    right.legend(loc="lower left")
    return figure


@styled
def reliability(bins: pd.DataFrame) -> Figure:
    """The share of images of the class by predicted probability, before and after; one colour and dashes per class.

    Args:
        bins: as `bench.report.sections.winner.reliability` returns it.
    """
    labels = list(bins["class"].drop_duplicates())
    figure, axes = new_figure(9.2, 5.4 + 0.045 * len(labels), columns=2, sharey=True)
    looks = {label: line(place) for place, label in enumerate(labels)}
    largest = bins["images"].max()
    for ax, (step, title) in zip(axes, PANELS.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
        for label, part in bins[bins["step"] == step].groupby("class", sort=False):
            part, colour = part.sort_values("predicted"), looks[label]["color"]
            ax.plot(part["predicted"], part["observed"], **looks[label], linewidth=1.2, alpha=0.7)
            known = part.dropna(subset=["low", "high"])
            ax.vlines(known["predicted"], known["low"], known["high"], color=colour, linewidth=1.3, alpha=0.7)
            sizes = 12 + 90 * np.sqrt(part["images"] / largest)
            ax.scatter(part["predicted"], part["observed"], s=sizes, color=colour, linewidth=0, zorder=3)
        ax.set(title=title, xlabel="Predicted probability (mean of the bin)", ylabel="Share of the class")
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        ax.label_outer()
    diagonal = entry("as it should be", color=MUTED, linewidth=1, linestyle=DASHED)
    legend(figure, [*(entry(clipped(name), **looks[name], linewidth=1.8) for name in labels), diagonal])
    return figure


def subset(rows: pd.DataFrame, source: str) -> str:
    """How many of the classes a figure shows, and that the file ``source`` has all; empty where it shows all."""
    total = rows["class"].nunique()
    return f"The first {MOST_CLASSES} of {total} classes; {source} has all." if total > MOST_CLASSES else ""


def _panels(rows: pd.DataFrame, source: str) -> tuple[Figure, list[tuple[Axes, str]]]:
    """One panel per class, up to three abreast; where some classes have none, a line at the foot says so."""
    labels = [str(name) for name in rows["class"].drop_duplicates()][:MOST_CLASSES]
    width = {1: 6.6, 2: 8.4}.get(len(labels), 9.6)
    figure, axes = panels(len(labels), 3, width, (0.5, 3.2), sharex=True, sharey=True)
    if left_out := subset(rows, source):
        figure.supxlabel(left_out, x=0.01, ha="left", fontsize=9, color=MUTED)
    return figure, list(zip(axes, labels, strict=True))


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
                dashes = POINT_DASHES.get(str(point), ":")
                ax.plot(lines["prevalence"], lines[name], color=colour, linestyle=dashes, linewidth=1.8)
                band(ax, lines, "prevalence", (f"{name}_low", f"{name}_high"), colour, 0.12)
        for observed in part.loc[part["observed"], "prevalence"].drop_duplicates():
            ax.axvline(observed, color=MUTED, linestyle=":", linewidth=1.2)
        if len(known) and known.max() / known.min() >= WIDE:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if known.min() <= tick <= known.max()]))
            ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        ax.set(ylim=(-0.02, 1.02), title=clipped(label, 30))
    _label_outer(panels, "Prevalence", "Predictive value")
    handles = [entry(title, color=colour, linewidth=2) for title, colour in VALUES.values()]
    names = {"frozen": "frozen threshold", "0.5": "threshold 0.5"}
    present = [name for name in names if (rows["point"] == name).any()]
    handles += [entry(names[name], color=INK, linestyle=POINT_DASHES[name]) for name in present]
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
        band(ax, part, "threshold", ("low", "high"), MODEL, 0.16)
        ax.plot(part["threshold"], part["model"], color=MODEL, linewidth=2)
        ax.plot(part["threshold"], part["treat_all"], color=MUTED, linewidth=1.5, linestyle=(0, (4, 2)))
        ax.axhline(0, color=INK, linewidth=1.2)
        ax.set(title=clipped(label, 30), ylim=(-0.18 * top, 1.08 * top) if top > 0 else (-0.1, 0.1))
    _label_outer(panels, "Threshold probability", "Net benefit")
    everyone = entry("act on everyone", color=MUTED, linestyle=(0, (4, 2)))
    nobody = entry("act on nobody", color=INK, linewidth=1.2)
    legend(figure, [entry("the model", color=MODEL, linewidth=2), everyone, nobody])
    return figure
