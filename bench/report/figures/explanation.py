"""One image, its map and the map of shuffled weights, side by side -> a picture by itself; reads no files."""

import textwrap
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from bench import numbers
from bench.report import palette
from bench.report.palette import MUTED, STYLE, clipped, new_figure, styled
from bench.report.pictures import PAPER_DPI
from bench.run.folder import atomic_path
from bench.texts import visible

COLOURS = "inferno"
WIDTH, HEIGHT = 10.4, 4.3
SOURCE = "Source"
"""Keyword of the PNG file's text on what it was drawn of."""
LINE = 150
"""Characters of the words below the panels, a line."""


@dataclass(frozen=True)
class Panel:
    """A map to be drawn over the image.

    Attributes:
        heat: float array of shape (height, width), from 0 to 1.
        values: what 0 and 1 stand for.
        measure: what its values are.
    """

    heat: npt.NDArray[np.float32]
    values: tuple[float, float]
    measure: str


@styled
def draw(
    image: npt.NDArray[np.uint8],
    panels: Sequence[Panel],
    title: tuple[str, str, float],
    method: str,
    correlation: float | None,
    words: str,
) -> Figure:
    """The image, its map and that of shuffled weights, each map with its own colour bar.

    Args:
        image: shape (height, width, 1 or 3).
        panels: the two maps.
        title: name of the image, the class that it is called, and the probability of that.
        method: what kind of map it is.
        correlation: rank correlation of the two maps; None where there is none.
        words: below the panels.
    """
    figure, (plain, *over) = new_figure(WIDTH, HEIGHT, columns=3)
    name, called, probability = title
    figure.suptitle(
        f"{clipped(visible(name), 60)}: {clipped(visible(called), 40)}, probability {numbers.score(probability)}",
        x=0.01,
        ha="left",
        fontweight="bold",
        fontsize=12,
    )
    alike = f"correlation {numbers.score(correlation, 2)}" if correlation is not None else "no correlation"
    heads = (numbers.capital(method), f"With shuffled weights ({alike})")
    palette.image(plain, image)
    plain.set_title("Image, as the model sees it", fontsize=9)
    for ax, panel, head in zip(over, panels, heads, strict=True):
        palette.image(ax, image)
        ax.imshow(panel.heat, cmap=COLOURS, vmin=0, vmax=1, alpha=0.15 + 0.6 * panel.heat)
        ax.set_title(head, fontsize=9)
        _bar(figure, ax, panel)
    for ax in (plain, *over):
        ax.spines[:].set(color=MUTED, visible=True, linewidth=0.5)
    figure.supxlabel(textwrap.fill(words, LINE), x=0.01, ha="left", fontsize=8.5, color=MUTED)
    return figure


def _bar(figure: Figure, ax: Axes, panel: Panel) -> None:
    """The colour bar of a map; none where it does not vary."""
    low, high = panel.values
    if not high > low:
        ax.set_xlabel("It does not vary.", fontsize=8.5)
        return
    bar = figure.colorbar(ScalarMappable(Normalize(low, high), COLOURS), ax=ax, orientation="horizontal", pad=0.02)
    bar.set_label(clipped(visible(panel.measure), 60), fontsize=8.5)
    bar.outline.set_visible(False)


def write(figure: Figure, path: Path, source: str) -> None:
    """Write ``figure`` as a PNG file in one step; ``source`` stands in it as what it was drawn of."""
    with warnings.catch_warnings(), rc_context(STYLE), atomic_path(path, durable=False) as temporary:
        warnings.filterwarnings("ignore", "Glyph", UserWarning)  # a name in a script that the font lacks
        figure.savefig(temporary, format="png", dpi=PAPER_DPI, facecolor="white", metadata={SOURCE: source})


def source_of(path: Path) -> str:
    """What a picture that `write` wrote was drawn of; empty of any other file."""
    with suppress(OSError, SyntaxError, ValueError), Image.open(path) as picture:
        return str(picture.info.get(SOURCE, ""))
    return ""
