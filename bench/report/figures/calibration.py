"""Bins of predicted probability -> reliability diagram; reads no files."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.report.figures.results import line
from bench.report.palette import DASHED, MUTED, clipped, legend, new_figure, styled

PANELS = {"before": "Before temperature scaling", "after": "After temperature scaling"}


@styled
def reliability(bins: pd.DataFrame) -> Figure:
    """The share of images of the class by predicted probability, before and after; one colour and dashes per class.

    Args:
        bins: as ``section_calibration.reliability`` returns it.
    """
    labels = list(bins["class"].drop_duplicates())
    figure, axes = new_figure(9.2, 5.4 + 0.045 * len(labels), columns=2, sharey=True)
    looks = {label: line(place) for place, label in enumerate(labels)}
    largest = bins["images"].max()
    for ax, (step, title) in zip(axes, PANELS.items(), strict=True):
        ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=DASHED)
        for label, part in bins[bins["step"] == step].groupby("class", sort=False):
            part, colour = part.sort_values("predicted"), looks[label]["color"]
            ax.plot(part["predicted"], part["observed"], **looks[label], linewidth=1.2, alpha=0.7)
            known = part.dropna(subset=["low", "high"])
            ax.vlines(known["predicted"], known["low"], known["high"], color=colour, linewidth=1.3, alpha=0.7)
            sizes = 12 + 90 * np.sqrt(part["images"] / largest)
            ax.scatter(part["predicted"], part["observed"], s=sizes, color=colour, linewidth=0, zorder=3)
        ax.set(title=title, xlabel="Predicted probability (mean of the bin)", ylabel="Share of the class")
        ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        ax.label_outer()
    diagonal = Line2D([], [], color=MUTED, linewidth=1, linestyle=DASHED, label="as it should be")
    handles = [Line2D([], [], **looks[name], linewidth=1.8, label=clipped(name)) for name in labels]
    legend(figure, [*handles, diagonal])
    return figure
