"""The data -> figures: shares of the classes by split, properties of the images by class, augmented images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench import numbers
from bench.report.palette import (
    ACCENT,
    INK,
    MUTED,
    clipped,
    image,
    kept_together,
    new_figure,
    panels,
    rows_down,
    styled,
)
from bench.report.read.files import Gallery
from bench.report.tables.data import class_names
from bench.run.documents import DuplicateSet

COLOUR = ACCENT
MOST_CLASSES = 20
"""Classes that a figure of the data has room for; the tables have all."""

FEW_CLASSES = 8
"""Classes up to which the panels of a figure stand below each other."""

PROPERTIES = {
    "width": "Width (pixels)",
    "height": "Height (pixels)",
    "aspect": "Aspect ratio (width / height)",
    "bytes_per_pixel": "Bytes per pixel of the file",
}


def too_many(classes: int) -> str:
    """A sentence for the caption where a figure cannot show all classes; else empty."""
    return f" The first {MOST_CLASSES} of {classes} classes are drawn." if classes > MOST_CLASSES else ""


@styled
def class_shares(splits: pd.DataFrame) -> Figure:
    """One panel per split: bars of the classes' shares, with the images counted.

    Args:
        splits: as ``tables_data.splits`` returns it.
    """
    names = class_names(splits)[:MOST_CLASSES]
    figure, axes = _panels(len(splits), len(names), len(splits), sharex=True)
    for ax, (_, row) in zip(axes, splits.iterrows(), strict=True):
        shares = [100 * (numbers.number(row[f"share {name}"]) or 0) for name in names]
        sns.barplot(x=shares, y=list(range(len(names))), orient="h", color=COLOUR, saturation=1, width=0.62, ax=ax)
        for position, (name, share) in enumerate(zip(names, shares, strict=True)):
            words = numbers.count(row[f"class {name}"])
            place: Any = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
            ax.annotate(words, (share, position), fontsize=9, color=INK, **place)
        ax.set(title=clipped(row["split"]), xlabel="Share of the split (%)", ylabel="")
        ax.grid(False)
        rows_down(ax, [clipped(name, 16) for name in names])
    axes[0].set_xlim(0, 1.2 * max(axes[0].get_xlim()[1], 1))
    return figure


@styled
def properties(classes: pd.DataFrame, measures: list[str]) -> Figure:
    """One panel per property of ``PROPERTIES``: for each class the middle half as a box, its median, and the range.

    Args:
        classes: as ``tables_data.by_class`` returns it.
        measures: the properties that differ between images.
    """
    classes = classes.head(MOST_CLASSES)
    figure, axes = _panels(len(measures), len(classes), 2)
    for ax, measure in zip(axes, measures, strict=False):
        for position, (_, row) in enumerate(classes.iterrows()):
            _box(ax, position, row, measure)
        ax.set(xlabel=PROPERTIES[measure])
        ax.xaxis.set_major_locator(MaxNLocator(5))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.plain(value)))
        rows_down(ax, [clipped(name, 16) for name in classes["class"]])
    return figure


def _panels(number: int, classes: int, abreast: int, **options: Any) -> tuple[Figure, list[Axes]]:
    """A panel below the other, as a telephone shows it best; ``abreast`` where many classes make that too long."""
    columns = 1 if classes <= FEW_CLASSES else min(number, abreast)
    return panels(number, columns, 4.8 if columns == 1 else 8, (0.3, 0.65 + 0.34 * classes), sharey=True, **options)


def _box(ax: Axes, position: int, row: "pd.Series[float]", measure: str) -> None:
    low, first, middle, third, high = (row[f"{measure}_{key}"] for key in ("min", "q1", "median", "q3", "max"))
    ax.plot([low, high], [position] * 2, color=MUTED, linewidth=1.2)
    ax.barh(position, third - first, left=first, height=0.5, color=COLOUR, alpha=0.55, linewidth=0)
    ax.plot([middle] * 2, [position - 0.25, position + 0.25], color=INK, linewidth=2)


@styled
def copies(images: npt.NDArray[np.uint8], titles: Sequence[str], sets: Sequence[DuplicateSet]) -> Figure:
    """Pairs of copies, each with what was done to one of them; ``images`` as copies.npz has them."""
    columns = min(3, len(images))
    rows = -(-len(images) // columns)
    figure, axes = new_figure(3.1 * columns, 1.85 * rows, columns=columns, rows=rows)
    for ax in axes:
        ax.spines[:].set_visible(False)
        ax.set_axis_off()
    for ax, pair, title, one in zip(axes, images, titles, sets, strict=False):
        image(ax, pair)
        crossing = " – across splits" if one.across_splits else ""
        ax.set_title(clipped(f"{title}{crossing}", 42), loc="left", fontweight="normal", fontsize=8.5)
    return figure


@styled
def suspects(images: npt.NDArray[np.uint8], titles: Sequence[str]) -> Figure:
    """Images whose labels are doubtful, each under its label and the other one."""
    columns = min(6, len(images))
    rows = -(-len(images) // columns)
    figure, axes = new_figure(1.75 * columns, 1.95 * rows, columns=columns, rows=rows)
    for ax in axes:
        ax.set_axis_off()
    for ax, one, title in zip(axes, images, titles, strict=False):
        image(ax, one)
        ax.set_title(clipped(title, 26), loc="left", fontweight="normal", fontsize=8)
    return figure


@styled
def gallery(images: Gallery, most_rows: int = 8, most_columns: int = 4) -> Figure:
    """Augmented images: one row per policy, the first column the original."""
    policies = images.policies[:most_rows]
    columns = min(images.images.shape[1], most_columns)
    figure, axes = new_figure(1.45 * columns + 0.4, 1.4 * len(policies) + 0.3, columns=columns, rows=len(policies))
    kept_together(figure, 1)
    for position, ax in enumerate(axes):
        row, draw = divmod(position, columns)
        image(ax, images.images[row, draw])
        ax.spines[:].set_visible(False)
        if row == 0:
            ax.set_title("original" if draw == 0 else f"draw {draw}", loc="center", fontweight="normal", fontsize=9.5)
        if draw == 0:
            ax.set_ylabel(clipped(policies[row], 16), fontsize=9.5)
    return figure
