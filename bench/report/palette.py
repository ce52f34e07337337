"""How every figure looks: one colour and marker per backbone, ink that a dark page can replace, empty figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.names import model

INK = "#1b2734"
GRID = "#d8dfe6"
MUTED = "#66707b"
ACCENT, CONTRAST = "#5d3a9b", "#b0125b"
"""Colours of measures and of whatever else is no backbone; no backbone has them."""

WIDTH = 5.2
"""Inches of a figure of one panel: two stand abreast on a desk's screen, and on a telephone its text can be read."""

STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}
"""Names of classes may hold a dollar sign: nothing is read as mathematics."""

styled = rc_context(STYLE)
"""Decorator and context in which figures are drawn and saved; matplotlib's own settings are back afterwards."""


@dataclass(frozen=True)
class Look:
    """How one backbone is drawn in every figure; the marker tells it apart without colour."""

    colour: str
    marker: str
    title: str = ""


KNOWN = {
    "vgg16": Look("#0072B2", "o"),
    "resnet50": Look("#D55E00", "s"),
    "inceptionv3": Look("#009E73", "^"),
    "densenet121": Look("#2200CC", "D"),
    "efficientnetv2b0": Look("#334D00", "P"),
    "convnexttiny": Look("#8A5050", "X"),
    "mobilenetv3large": Look("#5A0050", "v"),
}
OTHERS = (Look("#CC79A7", "p"), Look("#E69F00", "*"), Look("#56B4E9", "<"), Look("#8C6D31", ">"), Look("#7F7F7F", "h"))
"""Looks of backbones that are not known, and of runs beside each other. Most colours are those of Okabe and Ito (2008),
told apart with every common colour blindness; the four dark ones of `KNOWN` lie no closer to any than those do."""

Looks = dict[str, Look]

DASHED: Any = (0, (4, 3))
"""The line of what is only compared with."""


def looks(backbones: Sequence[str], titles: Mapping[str, str]) -> Looks:
    """A look for each backbone: the same for a known one in every run, by order for any other."""
    others = [name for name in backbones if name not in KNOWN]
    chosen = {name: OTHERS[position % len(OTHERS)] for position, name in enumerate(others)}
    return {name: replace(KNOWN.get(name) or chosen[name], title=model(name, titles)) for name in backbones}


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` x ``height`` inches outside pyplot's registry, and its axes row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.tick_params(labelleft=True, labelbottom=True)  # shared or not: a narrow screen shows each panel by itself
    return figure, [ax for row in axes for ax in row]


_GROUPS: WeakKeyDictionary[Figure, int] = WeakKeyDictionary()


def kept_together(figure: Figure, groups: int) -> None:
    """Columns of panels stay together in so many ``groups`` where a narrow screen stacks them; else each is alone."""
    _GROUPS[figure] = groups


def crops(figure: Figure) -> list[tuple[float, float, float, float]]:
    """Left, top, width and height of each part of a drawn figure that a narrow screen stacks, as shares of the figure.

    Empty where there is one part.
    """
    grid = [(ax, spec) for ax in figure.axes if (spec := ax.get_subplotspec()) and ax.get_visible()]
    if not grid:
        return []
    n_columns = grid[0][1].get_gridspec().ncols
    groups = _GROUPS.get(figure, n_columns)
    if groups < 2:
        return []
    wide, high = figure.bbox.width, figure.bbox.height
    columns: dict[int, list[tuple[float, float]]] = {}
    rows: dict[int, list[tuple[float, float]]] = {}
    cells = set()
    for ax, spec in grid:
        box = ax.get_tightbbox()
        if box is None:
            continue
        column, row = spec.colspan.start * groups // n_columns, spec.rowspan.start
        columns.setdefault(column, []).append((box.x0 / wide, box.x1 / wide))
        rows.setdefault(row, []).append((1 - box.y1 / high, 1 - box.y0 / high))
        cells.add((row, column))
    across, down = _edges(columns), _edges(rows)
    return [(across[c][0], down[r][0], across[c][1] - across[c][0], down[r][1] - down[r][0]) for r, c in sorted(cells)]


def _edges(spans: Mapping[int, Sequence[tuple[float, float]]]) -> dict[int, tuple[float, float]]:
    """Where each of the neighbouring ``spans`` begins and ends if they share what lies between them, from 0 to 1."""
    order = sorted(spans)
    ends = [(min(low for low, _ in spans[key]), max(high for _, high in spans[key])) for key in order]
    cuts = [0.0, *((one[1] + other[0]) / 2 for one, other in pairwise(ends)), 1.0]
    return {key: (cuts[place], cuts[place + 1]) for place, key in enumerate(order)}


def panels(
    number: int, abreast: int, width: float, height: tuple[float, float], **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of ``number`` panels, as many side by side as are ``abreast`` at most, and their axes.

    Its height in inches is the first of ``height`` and the second for each row of panels.
    """
    columns = min(number, abreast)
    rows = math.ceil(number / columns)
    figure, axes = new_figure(width, height[0] + height[1] * rows, columns, rows, **options)
    for ax in axes[number:]:
        ax.set_visible(False)
    return figure, axes[:number]


def entry(label: str, **style: Any) -> Line2D:
    """An entry of a legend, drawn as a line or, with a ``marker``, as a point."""
    return Line2D([], [], label=label, **({"linestyle": ""} if "marker" in style else {}) | style)


def band(ax: Axes, rows: pd.DataFrame, x: str, bounds: tuple[str, str], colour: str, alpha: float) -> None:
    """The area between the columns ``bounds`` of ``rows``, where both are known."""
    known = rows.dropna(subset=list(bounds))
    ax.fill_between(known[x], known[bounds[0]], known[bounds[1]], color=colour, alpha=alpha, linewidth=0)


def apart(rows: pd.DataFrame, by: str, score: str) -> "pd.Series[float]":
    """How far to move the points of each group ``by`` so that none hides another: the same way in every rendering."""
    turn = rows.groupby(by)[score].rank(method="first")
    return ((turn * 0.618034) % 1 - 0.5) * 0.5


def rows_down(ax: Axes, labels: Sequence[str]) -> None:
    """One row per label, from the top down."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.grid(False, axis="y")


def bar(ax: Axes, place: int, row: "pd.Series[Any]", name: str, look: Look, **point: Any) -> None:
    """The value ``name`` of ``row`` with its interval, in the row at ``place``."""
    ax.plot([row[f"{name}_low"], row[f"{name}_high"]], [place] * 2, color=look.colour, linewidth=2.4)
    ax.plot([row[name]], [place], color=look.colour, marker=look.marker, **{"markersize": 8} | point)


def image(ax: Axes, pixels: npt.NDArray[np.uint8]) -> None:
    """An image of shape (height, width, 1 or 3) without ticks."""
    single = pixels.shape[-1] == 1
    ax.imshow(pixels[..., 0] if single else pixels, cmap="gray" if single else None, vmin=0, vmax=255)
    ax.set(xticks=[], yticks=[])
    ax.grid(False)


def backbone_handles(looks: Looks, names: Sequence[str], line: bool = False) -> list[Line2D]:
    """Legend entries of the backbones ``names``, as markers or as lines."""
    handles = []
    for name, look in looks.items():
        style: dict[str, Any] = {"linewidth": 2} if line else {"marker": look.marker, "markersize": 7}
        handles += [entry(look.title, color=look.colour, **style)] if name in names else []
    return handles


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above the first panel, where it hides no point, in as many columns as that is wide enough for."""
    labels = [str(handle.get_label()) for handle in handles]
    columns = len(handles)
    spec = figure.axes[0].get_subplotspec() if figure.axes else None
    abreast = _GROUPS.get(figure, spec.get_gridspec().ncols if spec else 1)
    while columns > 1 and _legend_width(labels, columns) > figure.get_figwidth() / abreast:
        columns -= 1
    figure.legend(handles=list(handles), loc="outside upper left", ncols=max(columns, 1))


def _legend_width(labels: list[str], columns: int) -> float:
    """About how many inches a legend takes whose columns are filled one after the other."""
    parts = [list(part) for part in np.array_split(np.array(labels, dtype=object), columns)]  # as matplotlib does
    return sum(0.6 + 0.075 * max(map(len, part)) for part in parts)


def clipped(label: Any, length: int = 22) -> str:
    """A name short enough for an axis."""
    words = str(label)
    return words if len(words) <= length else f"{words[: length - 1]}…"
