"""Images of errors, and saliency maps -> figures; reads no files."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import numbers
from bench.report.palette import MUTED, clipped, hide_after, image, new_figure, styled
from bench.report.read.files import Images

MOST_COLUMNS = 4
RIGHT, WRONG = "#0072B2", "#D55E00"


@styled
def errors(images: npt.NDArray[np.uint8], rows: pd.DataFrame) -> Figure:
    """The images of errors, four abreast.

    Args:
        images: shape (n, height, width, 1 or 3).
        rows: one row per image: ``rank``, ``label``, ``predicted``, ``confidence``, maybe ``copies``.
    """
    columns = min(len(images), MOST_COLUMNS)
    height = math.ceil(len(images) / columns)
    figure, axes = new_figure(max(1.95 * columns, 2.4), 2.35 * height, columns, height)
    for ax, pixels, (_, row) in zip(axes, images, rows.iterrows(), strict=False):
        _picture(ax, pixels)
        label = f"{clipped(row['label'], 18)}{_times(row.get('copies'))}"
        title = f"{row['rank']:.0f}. {label}\n→ {clipped(row['predicted'], 14)} "
        ax.set_title(title + numbers.score(row["confidence"]), loc="left", fontweight="normal", fontsize=9)
    hide_after(axes, len(images))
    return figure


@styled
def saliency(images: Images, items: Sequence[dict[str, Any]]) -> Figure:
    """Of each case the image, its map, and the map of randomised weights; two cases abreast.

    Args:
        images: with maps and randomised maps.
        items: one per case: ``label``, ``predicted``, ``probability``, ``correct``, maybe ``copies``.
    """
    if images.maps is None or images.randomised is None:
        raise ValueError("saliency needs maps and randomised maps, but got images alone")
    abreast = min(len(items), 2)
    height = math.ceil(len(items) / abreast)
    figure, axes = new_figure(4.9 * abreast, 2.05 * height + 0.2, 3 * abreast, height)
    for place, item in enumerate(items):
        plain, with_map, with_random = axes[3 * place : 3 * place + 3]
        for ax in (plain, with_map, with_random):
            _picture(ax, images.images[place])
        _map(with_map, images.maps[place])
        _map(with_random, images.randomised[place])
        right = item.get("correct") is True
        label, predicted = (
            clipped(numbers.text(item.get("label")), 15),
            clipped(numbers.text(item.get("predicted")), 15),
        )
        words = f"{label}{_times(item.get('copies'))}\n→ {predicted} {numbers.score(item.get('probability'))}"
        colour = RIGHT if right else WRONG
        plain.set_title(words, loc="left", fontsize=8.5, fontweight="normal")
        with_map.set_title("map", loc="left", fontsize=8.5, fontweight="normal")
        with_random.set_title("randomised", loc="left", fontsize=8.5, fontweight="normal")
        plain.set_xlabel("right" if right else "wrong", color=colour, fontsize=9, fontweight="bold", loc="left")
    hide_after(axes, 3 * len(items))
    return figure


def _times(copies: Any) -> str:
    """The number of identical images, where it is more than one."""
    number = numbers.number(copies) or 1
    return f" ×{number:.0f}" if number > 1 else ""


def _picture(ax: Axes, pixels: npt.NDArray[np.uint8]) -> None:
    image(ax, pixels)
    for spine in ax.spines.values():
        spine.set_color(MUTED)
        spine.set_visible(True)
        spine.set_linewidth(0.5)


def _map(ax: Axes, heat: npt.NDArray[np.float32]) -> None:
    """A map over the image below it: the stronger, the more it covers."""
    heat = np.clip(np.nan_to_num(np.asarray(heat, dtype="float64")), 0, 1)
    ax.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.6 * heat)
