"""The winner's results on test, and augmented images -> figures; reads no files."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import numbers
from bench.report.palette import DASHED, INK, MUTED, clipped, image, new_figure, styled
from bench.report.read.files import Gallery

CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
Points = Sequence[tuple[str, float, float]]
"""Names with a false and a true positive rate."""

MOST_WRITTEN = 12
"""Classes up to which the cells of a confusion matrix carry their numbers."""


def line(position: int) -> dict[str, Any]:
    """Colour and dashes of the class at ``position``: classes that share a colour differ in their dashes."""
    turn, place = divmod(position, len(CURVES))
    return {"color": CURVES[place], "linestyle": DASHES[turn % len(DASHES)]}


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
            band = bands[(bands["class"] == label) & (bands["curve"] == curve)].dropna(subset=["x", "low", "high"])
            ax.fill_between(band["x"], band["low"], band["high"], color=look["color"], alpha=0.16, linewidth=0)
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
def gallery(images: Gallery, most_rows: int = 8, most_columns: int = 6) -> Figure:
    """Augmented images: one row per policy, the first column the original."""
    policies = images.policies[:most_rows]
    columns = min(images.images.shape[1], most_columns)
    figure, axes = new_figure(1.45 * columns + 0.4, 1.4 * len(policies) + 0.3, columns=columns, rows=len(policies))
    for position, ax in enumerate(axes):
        row, draw = divmod(position, columns)
        image(ax, images.images[row, draw])
        ax.spines[:].set_visible(False)
        if row == 0:
            ax.set_title("original" if draw == 0 else f"draw {draw}", loc="center", fontweight="normal", fontsize=9.5)
        if draw == 0:
            ax.set_ylabel(clipped(policies[row], 16), fontsize=9.5)
    return figure
