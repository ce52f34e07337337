"""Figures -> files in figures/ and data URIs in the page; the page's copy follows light and dark."""

import io
import warnings
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from bench.report.blocks import Missing, Picture
from bench.report.guard import guarded
from bench.report.palette import GRID, INK, MUTED, STYLE, crops
from bench.run.folder import atomic_path
from bench.texts import visible

MOST_SVG_BYTES = 400_000
"""A drawing larger than this goes into the page as pixels."""

PAPER_DPI = 200
PAGE_DPI = 130

_DARK = {
    INK: "#e4e9ef",
    GRID: "#39424d",
    MUTED: "#98a3af",
    "#0072b2": "#3f9fe0",
    "#d55e00": "#ff8a3d",
    "#009e73": "#22c394",
    "#2200cc": "#7f70ff",
    "#334d00": "#cfe88a",
    "#8a5050": "#b86a6a",
    "#5a0050": "#e29bff",
    "#5d3a9b": "#b49cf0",
    "#b0125b": "#ff7fb0",
}
"""Colours of a drawing that are too dim on a dark page, and what a dark page shows instead."""

_STYLE = (
    "<style>svg{"
    + "".join(f"--c{light[1:]}:{light};" for light in _DARK)
    + "}@media (prefers-color-scheme:dark){svg{"
    + "".join(f"--c{light[1:]}:{dark};" for light, dark in _DARK.items())
    + "}}</style>"
)
_FONTS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif"


def picture(folder: Path, name: str, draw: Callable[[], Figure], alt: str, caption: str) -> Picture | Missing:
    """Draw a figure, keep it as ``folder/NAME.png`` and ``.svg``, and return it for the page.

    A figure that cannot be drawn becomes one sentence with the reason: the rest of the page must not wait for it.
    """

    def drawn() -> Picture | Missing:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph", UserWarning)  # it has the character itself in it
            figure = draw()
            with rc_context(STYLE):
                svg = _save(figure, folder, name)
            return replace(_embedded(figure, svg, alt, caption), name=name)

    def missing(why: str) -> Picture | Missing:
        return Missing(f"The figure “{caption.split('.')[0]}” could not be drawn: {why}")

    return guarded(drawn, missing, f"The figure {name!r} could not be drawn.")


def inline(figure: Figure, alt: str, caption: str) -> Picture:
    """``figure`` for the page alone: no file is kept, which takes a fraction of the time.

    Raises:
        Exception: whatever matplotlib raises where it cannot be drawn.
    """
    buffer = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _embedded(figure, visible(buffer.getvalue(), keep="\n\t"), alt, caption)


def _embedded(figure: Figure, svg: str, alt: str, caption: str) -> Picture:
    """The drawing as a data URI; as pixels where it is too large for a page."""
    with rc_context(STYLE):
        paper = len(svg) > MOST_SVG_BYTES
        uri = _pixels(figure) if paper else _data("image/svg+xml", _themed(svg).encode())
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    return Picture(uri, width, height, alt, caption, paper, crops(figure))


def _save(figure: Figure, folder: Path, name: str) -> str:
    """Write the figure as .png (white) and .svg (transparent); return the SVG."""
    with atomic_path(folder / f"{name}.svg", durable=False) as path:
        figure.savefig(path, format="svg", metadata={"Date": None})
        svg = visible(path.read_text(encoding="utf-8"), keep="\n\t")  # XML knows no control characters
        path.write_text(svg, encoding="utf-8")
    figure.set_layout_engine("none")  # laid out once, for every format
    with atomic_path(folder / f"{name}.png", durable=False) as path:
        figure.savefig(path, format="png", dpi=PAPER_DPI, facecolor="white")
    return svg


def _themed(svg: str) -> str:
    """The drawing with its colours as variables that a dark page changes, and in the page's own font."""
    start = svg.index("<svg")
    body = svg[start:].replace("'DejaVu Sans'", _FONTS)
    for light in _DARK:
        body = body.replace(light, f"var(--c{light[1:]})")
    opening_ends = body.index(">") + 1
    return body[:opening_ends] + _STYLE + body[opening_ends:]


def _pixels(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="webp", dpi=PAGE_DPI, facecolor="white", pil_kwargs={"quality": 85})
    return _data("image/webp", buffer.getvalue())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
