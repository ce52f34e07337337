"""An external test beside the internal one -> figures; reads no files."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bench import numbers
from bench.report import palette
from bench.report.figures.winner import line
from bench.report.palette import ACCENT, DASHED, INK, MUTED, Look, band, clipped, entry, legend, new_figure, styled

EXTERNAL, INTERNAL = Look(ACCENT, "o"), Look(MUTED, "s")
DASHES: Mapping[str, Any] = {"external": "-", "internal": (0, (4, 2))}


@styled
def forest(rows: pd.DataFrame) -> Figure:
    """A measure externally and internally, each with its interval written out beside it.

    Args:
        rows: columns ``title``, ``side`` (external or internal), ``value``, ``value_low`` and ``value_high``.
    """
    figure, (ax,) = new_figure(5.4, 0.9 + 0.5 * len(rows))
    for place, (_, row) in enumerate(rows.iterrows()):
        palette.bar(ax, place, row, "value", EXTERNAL if row["side"] == "external" else INTERNAL)
        bounds = numbers.interval(row["value_low"], row["value_high"])
        said = f"{numbers.score(row['value'])}\n{bounds}" if bounds else numbers.score(row["value"])
        ax.annotate(said, (1.03, place), xycoords=("axes fraction", "data"), va="center", fontsize=9, color=INK)
    ax.margins(x=0.08)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    palette.rows_down(ax, [clipped(title, 40) for title in rows["title"]])
    return figure


@styled
def roc(rows: pd.DataFrame) -> Figure:
    """ROC curves, one colour per class, the external ones solid, the internal ones dashed; of one class with a band.

    Args:
        rows: as in curves.csv, ``model`` being external or internal.
    """
    figure, (ax,) = new_figure(palette.WIDTH, palette.WIDTH + 0.4)
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
    labels = list(rows["class"].drop_duplicates())
    looks = {label: line(place) for place, label in enumerate(labels)}
    banded = len(labels) == 1
    for (side, label), part in rows.groupby(["model", "class"], sort=False):
        style = looks[label] | {"linestyle": DASHES[str(side)]}
        ax.plot([0, *part["x"]], [0, *part["y"]], linewidth=2, **style)
        if banded and side == "external":
            band(ax, part, "x", ("low", "high"), looks[label]["color"], 0.16)
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title="ROC")
    ax.set(xlabel="False positive rate (1 − specificity)", ylabel="True positive rate (sensitivity)")
    sides = [side for side in DASHES if (rows["model"] == side).any()]
    handles = [entry(f"{side} test", color=INK, linewidth=2, linestyle=DASHES[side]) for side in sides]
    several = [entry(clipped(label), color=looks[label]["color"], linewidth=2) for label in labels]
    legend(figure, [*handles, *(several if len(labels) > 1 else [])])
    return figure
