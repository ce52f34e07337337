"""Results on test, and augmented images -> figures; reads no files."""

from collections.abc import Sequence

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.metrics import METRICS
from bench.report import wording
from bench.report.files import Gallery
from bench.report.names import backbone, metric_words
from bench.report.palette import INK, MUTED, Look, Looks, clipped, new_figure, styled

CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F7F7F")
MOST_WRITTEN = 12
"""Classes up to which the cells of a confusion matrix carry their numbers."""


@styled
def intervals(finalists: pd.DataFrame, metrics: Sequence[str], looks: Looks) -> Figure:
    """A panel a metric: each finalist's value on test with its interval."""
    figure, axes = new_figure(9.6, 1.1 + 0.42 * len(finalists), columns=len(metrics), sharey=True)
    for ax, name in zip(axes, metrics, strict=True):
        for position, (_, row) in enumerate(finalists.iterrows()):
            look = looks.get(str(row["backbone"]), Look(MUTED, "o"))
            ax.plot(
                [row[f"test_{name}_low"], row[f"test_{name}_high"]], [position] * 2, color=look.colour, linewidth=2.4
            )
            ax.plot([row[f"test_{name}"]], [position], color=look.colour, marker=look.marker, markersize=8)
        ax.set(xlabel=f"Test {metric_words(METRICS[name])}")
        ax.set_ylim(len(finalists) - 0.4, -0.6)
        ax.set_yticks(range(len(finalists)), [clipped(backbone(name)) for name in finalists["backbone"]])
        ax.margins(x=0.08)
        ax.grid(False, axis="y")
    return figure


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
def roc(curves: pd.DataFrame, point: tuple[float, float] | None = None) -> Figure:
    """ROC curves, one a class.

    Args:
        curves: columns ``label``, ``fpr``, ``tpr``, ``auc``.
        point: false and true positive rate at which the confusion matrix was counted.
    """
    figure, (ax,) = new_figure(5.4, 5.0)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label="chance, 0.500")
    for position, (label, part) in enumerate(curves.groupby("label", sort=False)):
        name = f"{clipped(label)}, AUC {wording.score(part['auc'].iloc[0])}"
        ax.plot(part["fpr"], part["tpr"], color=CURVES[position % len(CURVES)], linewidth=2, label=name)
    if point is not None:
        ax.plot(*point, marker="o", markersize=8, color=INK, linestyle="", label="as in the confusion matrix")
    ax.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    ax.legend(loc="lower right")
    return figure


@styled
def gallery(images: Gallery, most_rows: int = 8, most_columns: int = 6) -> Figure:
    """Augmented images: a row a policy, the first column the original."""
    policies = images.policies[:most_rows]
    columns = min(images.images.shape[1], most_columns)
    figure, axes = new_figure(1.45 * columns + 0.4, 1.4 * len(policies) + 0.3, columns=columns, rows=len(policies))
    for position, ax in enumerate(axes):
        row, draw = divmod(position, columns)
        picture = images.images[row, draw]
        single = picture.shape[-1] == 1
        ax.imshow(picture[..., 0] if single else picture, cmap="gray" if single else None, vmin=0, vmax=255)
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set_visible(False)
        if row == 0:
            ax.set_title("original" if draw == 0 else f"draw {draw}", loc="center", fontweight="normal", fontsize=9.5)
        if draw == 0:
            ax.set_ylabel(clipped(policies[row], 16), fontsize=9.5)
    return figure
