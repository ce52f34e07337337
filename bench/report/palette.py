"""How every figure looks: one colour and marker per backbone, ink that a dark page can replace, empty figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.names import backbone

INK = "#1b2734"
GRID = "#d8dfe6"
MUTED = "#66707b"

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


KNOWN = {
    "vgg16": Look("#0072B2", "o"),
    "resnet50": Look("#D55E00", "s"),
    "inceptionv3": Look("#009E73", "^"),
}
OTHERS = (Look("#CC79A7", "D"), Look("#E69F00", "P"), Look("#56B4E9", "X"), Look("#8C6D31", "v"), Look("#7F7F7F", "p"))
"""Colours of Okabe and Ito (2008), told apart with every common colour blindness."""

Looks = dict[str, Look]

DASHED: Any = (0, (4, 3))
"""The line of what is only compared with."""


def looks(backbones: Sequence[str]) -> Looks:
    """A look for each backbone: the same for the three known ones in every run, by order for any other."""
    others = [name for name in backbones if name not in KNOWN]
    chosen = {name: OTHERS[position % len(OTHERS)] for position, name in enumerate(others)}
    return {name: KNOWN.get(name) or chosen[name] for name in backbones}


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of ``width`` x ``height`` inches outside pyplot's registry, and its axes row by row."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    return figure, [ax for row in axes for ax in row]


def hide_after(axes: Sequence[Axes], number: int) -> None:
    """Hide the axes after the first ``number``, which have nothing to show."""
    for ax in axes[number:]:
        ax.set_visible(False)


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
    style: dict[str, Any] = {"linestyle": "-", "linewidth": 2} if line else {"linestyle": "", "markersize": 7}
    return [
        Line2D(
            [], [], color=looks[name].colour, marker=None if line else looks[name].marker, label=backbone(name), **style
        )
        for name in looks
        if name in names
    ]


def legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """A legend above the axes, where it hides no point, in as many columns as the figure is wide enough for."""
    labels = [str(handle.get_label()) for handle in handles]
    columns = len(handles)
    while columns > 1 and _legend_width(labels, columns) > figure.get_figwidth():
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
