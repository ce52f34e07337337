"""The winner's results on test -> figures: confusion, curves, calibration, operating points; reads no files."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.special import expit, logit

from bench import numbers
from bench.report.palette import (
    ACCENT,
    CONTRAST,
    DASHED,
    INK,
    MUTED,
    Looks,
    band,
    clipped,
    entry,
    legend,
    new_figure,
    panels,
    styled,
)

CURVES = (ACCENT, CONTRAST, "#00838f", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
CLASS_DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
Points = Sequence[tuple[str, float, float]]
"""Names with a false and a true positive rate."""

MOST_WRITTEN = 12
"""Classes up to which the cells of a confusion matrix carry their numbers."""

PANELS = {"before": "The model’s own probabilities", "after": "After the calibration map"}
MODEL = ACCENT
VALUES = {"ppv": ("PPV", ACCENT), "npv": ("NPV", CONTRAST)}
POINT_DASHES: dict[str, Any] = {"frozen": "-", "0.5": (0, (4, 2))}
MOST_CLASSES = 9
CROWDED = 5
"""Models beyond which a legend stands below its panel: in a corner it would hide their curves."""
TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOST_POINTS = 200
"""Prevalences at which a curve is drawn."""
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
def finalists(
    roc: pd.DataFrame, by_recall: pd.DataFrame, bins: pd.DataFrame, bands: pd.DataFrame, points: Points, looks: Looks
) -> Figure:
    """All finalists on test, for two classes: ROC curves, precision by recall, and calibration.

    Args:
        roc: columns ``backbone``, ``fpr``, ``tpr``, ``auc``; the chosen one comes first.
        by_recall: columns ``backbone``, ``recall``, ``precision``, ``area``, ``share``.
        bins: columns ``backbone``, ``predicted``, ``observed``, ``images``, of each model's own probabilities.
        bands: of the chosen one's curves: ``curve`` (roc or pr), ``x``, ``low``, ``high``; may be empty.
        points: false and true positive rates of the chosen one to be marked on its ROC curve.
        looks: of the backbones.
    """
    names = list(roc["backbone"].drop_duplicates())
    figure, (left, middle, right) = new_figure(10.6, 4.3 + _below(len(names)), columns=3)
    for ax in (left, right):
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    for place, name in enumerate(names):
        style: Any = {"color": looks[name].colour, "linewidth": 2.4 if place == 0 else 1.4, "zorder": 3 - 0.1 * place}
        one, other, bin_ = (rows[rows["backbone"] == name] for rows in (roc, by_recall, bins))
        left.plot(one["fpr"], one["tpr"], label=f"{looks[name].title} {numbers.score(one['auc'].iloc[0])}", **style)
        label = f"{looks[name].title} {numbers.score(other['area'].iloc[0])}"
        middle.plot(other["recall"], other["precision"], label=label, **style)
        right.plot(bin_["predicted"], bin_["observed"], marker=looks[name].marker, markersize=5, **style)
    for ax, curve in ((left, "roc"), (middle, "pr")):
        band(ax, bands[bands["curve"] == curve], "x", ("low", "high"), looks[names[0]].colour, 0.16)
    share = float(by_recall["share"].iloc[0])
    middle.axhline(share, color=MUTED, linewidth=1, linestyle=DASHED, label=f"guessing {numbers.score(share)}")
    _marked(left, points)
    left.set(xlabel="1 − specificity", ylabel="Sensitivity", title="ROC, area under the curve")
    middle.set(xlabel="Recall (sensitivity)", ylabel="Precision (PPV)", title="Precision and recall, area")
    right.set(xlabel="Predicted probability", ylabel="Share of the class", title="Calibration, before the map")
    for ax in (left, middle, right):
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    _legend(left, "lower right", len(names))
    _legend(middle, "lower left", len(names))
    return figure


@styled
def finalists_by_class(
    roc: pd.DataFrame, bins: pd.DataFrame, bands: pd.DataFrame, points: Mapping[str, Points], looks: Looks
) -> Figure:
    """All finalists on test, for several classes: one panel of ROC curves per class, and one of calibration.

    Args:
        roc: columns ``backbone``, ``label``, ``fpr``, ``tpr``, ``auc``; the chosen one comes first.
        bins: columns ``backbone``, ``predicted``, ``observed``, of the most probable class.
        bands: of the chosen one's curves: ``class``, ``curve`` (roc or pr), ``x``, ``low``, ``high``; may be empty.
        points: class -> false and true positive rates of the chosen one to be marked on its ROC curve.
        looks: of the backbones.
    """
    labels = list(roc["label"].drop_duplicates())[:MOST_CLASSES]
    names = list(roc["backbone"].drop_duplicates())
    figure, axes = panels(len(labels) + 1, 3, 10.6, (0.3, 3.6 + _below(len(names))))
    for ax in axes:
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    for place, name in enumerate(names):
        style: Any = {"color": looks[name].colour, "linewidth": 2.4 if place == 0 else 1.4, "zorder": 3 - 0.1 * place}
        own, bin_ = roc[roc["backbone"] == name], bins[bins["backbone"] == name]
        for ax, label in zip(axes, labels, strict=False):
            one = own[own["label"] == label]
            if len(one):
                ax.plot(
                    one["fpr"], one["tpr"], label=f"{looks[name].title} {numbers.score(one['auc'].iloc[0])}", **style
                )
        axes[-1].plot(bin_["predicted"], bin_["observed"], marker=looks[name].marker, markersize=5, **style)
    for ax, label in zip(axes, labels, strict=False):
        own = bands[(bands["class"] == label) & (bands["curve"] == "roc")]
        band(ax, own, "x", ("low", "high"), looks[names[0]].colour, 0.16)
        _marked(ax, points.get(label, ()))
        ax.set(xlabel="1 − specificity", ylabel="Sensitivity", title=f"ROC, {clipped(label)}")
        _legend(ax, "lower right", len(names))
    title = "Calibration, before the map"
    axes[-1].set(xlabel="Probability of the called class", ylabel="Share that is right", title=title)
    return figure


def _below(models: int) -> float:
    """Inches that a legend of so many models, two abreast, and of three other entries takes below its panel."""
    return 0.16 * math.ceil((models + 3) / 2) if models > CROWDED else 0.0


def _legend(ax: Axes, corner: str, models: int) -> None:
    """A legend in a corner of the panel, or below it where that would be crowded."""
    style: dict[str, Any] = {"loc": corner, "fontsize": 8.5}
    if models > CROWDED:
        style = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.17), "ncols": 2, "fontsize": 8, "handlelength": 1.2}
        style["columnspacing"] = 0.8
    ax.legend(**style)


def _marked(ax: Axes, points: Points) -> None:
    """Operating points as diamonds, the first of them filled."""
    for (name, false_rate, true_rate), face in zip(points, (INK, "none"), strict=False):
        at: dict[str, Any] = {"marker": "D", "markersize": 8, "color": INK, "markerfacecolor": face, "zorder": 5}
        ax.plot(false_rate, true_rate, label=name, linestyle="", **at)


@styled
def reliability(bins: pd.DataFrame, titles: Mapping[str, str] = PANELS) -> Figure:
    """The share of images of the class by predicted probability, before and after; one colour and dashes per class.

    Args:
        bins: as `bench.report.sections.winner.reliability` returns it.
        titles: of the panels, by what ``step`` is in each.
    """
    labels = list(bins["class"].drop_duplicates())
    figure, axes = new_figure(4.6 * len(titles), 5.4 + 0.045 * len(labels), columns=len(titles), sharey=True)
    looks = {label: line(place) for place, label in enumerate(labels)}
    largest = bins["images"].max()
    for ax, (step, title) in zip(axes, titles.items(), strict=True):
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


def _labelled(panels: list[tuple[Axes, str]], below: str, beside: str) -> None:
    """Titles and numbers of the axes at every panel, for a narrow screen shows each by itself."""
    for ax, _ in panels:
        ax.set(xlabel=below, ylabel=beside)


def dense(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """A predictive value with its bounds at `MOST_POINTS` prevalences from the least to the greatest of ``rows``.

    By Bayes' rule the log-odds of a predictive value differ from those of the prevalence by the logarithm of a
    likelihood ratio, which no prevalence changes. So one row gives the whole curve: that of the middlemost prevalence.

    Args:
        rows: of prevalences.csv at one operating point of one class, prevalences above 0 and below 1 among them.
        name: ``ppv`` or ``npv``.

    Returns:
        ``prevalence``, ``name`` and its bounds; ``rows`` themselves where they span no range.
    """
    columns = [name, f"{name}_low", f"{name}_high"]
    inside = rows[(rows["prevalence"] > 0) & (rows["prevalence"] < 1)]
    known = inside.dropna(subset=[name])
    if len(known) < 2:
        return rows[["prevalence", *columns]]
    one = known.iloc[len(known) // 2]
    sign = 1 if name == "ppv" else -1
    grid = np.geomspace(inside["prevalence"].min(), inside["prevalence"].max(), MOST_POINTS)
    values = np.array([one[column] for column in columns], dtype="float64")
    curve = expit(sign * logit(grid)[:, None] + logit(values) - sign * logit(one["prevalence"]))
    return pd.DataFrame(curve, columns=columns).assign(prevalence=grid)


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
                curve = dense(lines, name)
                ax.plot(curve["prevalence"], curve[name], color=colour, linestyle=dashes, linewidth=1.8)
                band(ax, curve, "prevalence", (f"{name}_low", f"{name}_high"), colour, 0.12)
        for observed in part.loc[part["observed"], "prevalence"].drop_duplicates():
            ax.axvline(observed, color=MUTED, linestyle=":", linewidth=1.2)
        if len(known) and known.max() / known.min() >= WIDE:
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(FixedLocator([tick for tick in TICKS if known.min() <= tick <= known.max()]))
            ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        ax.set(ylim=(-0.02, 1.02), title=clipped(label, 30))
    _labelled(panels, "Prevalence", "Predictive value")
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
    _labelled(panels, "Threshold probability", "Net benefit")
    everyone = entry("act on everyone", color=MUTED, linestyle=(0, (4, 2)))
    nobody = entry("act on nobody", color=INK, linewidth=1.2)
    legend(figure, [entry("the model", color=MODEL, linewidth=2), everyone, nobody])
    return figure
