"""Images of errors, saliency maps, subgroups, and scores on altered images -> figures; reads no files."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench import numbers
from bench.report import palette
from bench.report.palette import (
    ACCENT,
    CONTRAST,
    DASHED,
    MUTED,
    Look,
    clipped,
    entry,
    legend,
    new_figure,
    panels,
    styled,
)
from bench.report.read.files import Images
from bench.run.documents import SaliencyCase

MOST_COLUMNS = 4
RIGHT, WRONG = ACCENT, CONTRAST
GROUP = Look(ACCENT, "o")
SCORES = {"auc": ("ROC AUC", ACCENT, "o"), "accuracy": ("Accuracy", CONTRAST, "s")}
MOST_GROUPS = 40


@styled
def errors(images: npt.NDArray[np.uint8], rows: pd.DataFrame) -> Figure:
    """The images of errors, four abreast.

    Args:
        images: shape (n, height, width, 1 or 3).
        rows: one row per image: ``rank``, ``label``, ``predicted``, ``confidence``, maybe ``copies``.
    """
    width = max(1.95 * min(len(images), MOST_COLUMNS), 2.4)
    figure, axes = panels(len(images), MOST_COLUMNS, width, (0, 2.35))
    for ax, pixels, (_, row) in zip(axes, images, rows.iterrows(), strict=False):
        _picture(ax, pixels)
        label = f"{clipped(row['label'], 18)}{_times(row.get('copies'))}"
        title = f"{row['rank']:.0f}. {label}\n→ {clipped(row['predicted'], 14)} "
        ax.set_title(title + numbers.score(row["confidence"]), loc="left", fontweight="normal", fontsize=9)
    return figure


@styled
def saliency(images: Images, items: Sequence[SaliencyCase]) -> Figure:
    """Of each case the image, its map, and the map of randomised weights; two cases abreast.

    Args:
        images: with maps and randomised maps.
        items: one per case.
    """
    if images.maps is None or images.randomised is None:
        raise ValueError("saliency needs maps and randomised maps, but got images alone")
    figure, axes = panels(3 * len(items), 6, 4.9 * min(len(items), 2), (0.2, 2.05))
    palette.kept_together(figure, min(len(items), 2))
    for place, item in enumerate(items):
        plain, with_map, with_random = axes[3 * place : 3 * place + 3]
        for ax in (plain, with_map, with_random):
            _picture(ax, images.images[place])
        _map(with_map, images.maps[place])
        _map(with_random, images.randomised[place])
        right = item.correct is True
        label, predicted = (clipped(numbers.text(name), 15) for name in (item.label, item.predicted))
        words = f"{label}{_times(item.copies)}\n→ {predicted} {numbers.score(item.probability)}"
        for ax, title in ((plain, words), (with_map, "map"), (with_random, "randomised")):
            ax.set_title(title, loc="left", fontsize=8.5, fontweight="normal")
        word, colour = ("right", RIGHT) if right else ("wrong", WRONG)
        plain.set_xlabel(word, color=colour, fontsize=9, fontweight="bold", loc="left")
    return figure


def _times(copies: Any) -> str:
    """The number of identical images, where it is more than one."""
    number = numbers.number(copies) or 1
    return f" ×{number:.0f}" if number > 1 else ""


def _picture(ax: Axes, pixels: npt.NDArray[np.uint8]) -> None:
    palette.image(ax, pixels)
    ax.spines[:].set(color=MUTED, visible=True, linewidth=0.5)


def _map(ax: Axes, heat: npt.NDArray[np.float32]) -> None:
    """A map over the image below it: the stronger, the more it covers."""
    heat = np.clip(np.nan_to_num(np.asarray(heat, dtype="float64")), 0, 1)
    ax.imshow(heat, cmap="inferno", vmin=0, vmax=1, alpha=0.15 + 0.6 * heat)


@styled
def forest(rows: pd.DataFrame, metrics: Mapping[str, str], overall: Mapping[str, Any]) -> Figure:
    """One panel per metric: each group's value with its interval; hollow where the group is small.

    Args:
        rows: as in subgroups.csv.
        metrics: name -> title of the metrics.
        overall: name -> value on all images, where it is known.
    """
    rows = rows.head(MOST_GROUPS).reset_index(drop=True)
    figure, axes = new_figure(3.5 * len(metrics), 0.9 + 0.45 * len(rows), columns=len(metrics))
    starts = rows.index[rows["group"].ne(rows["group"].shift())][1:]
    for ax, (name, title) in zip(axes, metrics.items(), strict=True):
        for position, (_, row) in enumerate(rows.iterrows()):
            palette.bar(
                ax, position, row, name, GROUP, markersize=7, markerfacecolor="white" if row["small"] else GROUP.colour
            )
        known = numbers.number(overall.get(name))
        if known is not None:
            ax.axvline(known, color=MUTED, linewidth=1, linestyle=DASHED, zorder=0)
        for start in starts:
            ax.axhline(start - 0.5, color=MUTED, linewidth=0.6)
        names = [
            f"{clipped(': '.join(pair), 24)}\n{numbers.counted(images, 'image')}"
            for *pair, images in zip(rows["group"], rows["value"].fillna(""), rows["images"], strict=True)
        ]
        ax.set(xlabel=title)
        ax.margins(x=0.06)
        palette.rows_down(ax, names)
    return figure


@styled
def robustness(rows: pd.DataFrame, titles: Mapping[str, str], clean: Mapping[str, Any]) -> Figure:
    """One panel per alteration: AUC and accuracy by its level with their bands; dashed, the values on clean images.

    Args:
        rows: as in robustness.csv, without the row of clean images.
        titles: alteration -> its title.
        clean: ``auc`` and ``accuracy`` of clean images, where they are known.
    """
    kinds = list(rows["corruption"].drop_duplicates())
    figure, axes = panels(len(kinds), 2, 6.0 if len(kinds) == 1 else 9.2, (0.4, 2.7), sharey=True)
    for ax, kind in zip(axes, kinds, strict=True):
        part = rows[rows["corruption"] == kind].sort_values("level")
        for name, (_, colour, marker) in SCORES.items():
            palette.band(ax, part, "level", (f"{name}_low", f"{name}_high"), colour, 0.15)
            ax.plot(part["level"], part[name], color=colour, marker=marker, markersize=5, linewidth=1.6)
            known = numbers.number(clean.get(name))
            if known is not None:
                ax.axhline(known, color=colour, linewidth=1, linestyle=DASHED, alpha=0.8)
        unit = str(part["unit"].dropna().iloc[0]) if part["unit"].notna().any() else "level"
        ax.set(title=titles.get(kind, clipped(kind)), xlabel=unit, ylabel="Score")
    handles = [
        entry(title, color=colour, marker=marker, linestyle="-", linewidth=1.6)
        for title, colour, marker in SCORES.values()
    ]
    legend(figure, [*handles, entry("on clean images", color=MUTED, linestyle=DASHED)])
    return figure
