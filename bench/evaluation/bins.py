"""A measure of images becomes up to three groups of about equal size, with names that people read."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

SHARES = (1 / 3, 2 / 3)
DIGITS = (2, 3, 4, 6)


def tertiles(values: npt.NDArray[np.floating], unit: str = "") -> list[str]:
    """The group of each value: ``up to 1.2 megapixels``, ``1.2 to 1.9 megapixels``, ``above 1.9 megapixels``.

    Values are rounded to two digits first (to more where two leave them all alike), so that what the names say holds
    for the rounded values. A value at an edge belongs to the lower group. Where many values are alike there are two
    groups; where all are, there is one, called ``all``.

    Args:
        values: finite, shape (n,).
        unit: follows the numbers in the names.
    """
    if not len(values) or np.ptp(values) == 0:
        return ["all"] * len(values)
    for digits in DIGITS:
        rounded = np.array([float(f"{value:.{digits}g}") for value in values])
        distinct, counts = np.unique(rounded, return_counts=True)
        if len(distinct) >= min(len(SHARES) + 1, len(np.unique(values))):
            break
    if len(distinct) == 1:
        return ["all"] * len(values)
    below = np.cumsum(counts)[:-1] / len(values)  # share at or below each value that can be an edge
    edges = sorted({float(distinct[np.argmin(np.abs(below - share))]) for share in SHARES})
    after = f" {unit}" if unit else ""
    ends = [f"{edge:.{digits}g}" if abs(edge) < 10**digits else f"{edge:.0f}" for edge in edges]
    names = [
        f"up to {ends[0]}{after}",
        *(f"{low} to {high}{after}" for low, high in pairwise(ends)),
        f"above {ends[-1]}{after}",
    ]
    return [names[index] for index in np.searchsorted(edges, rounded, side="left")]


def in_order(names: Sequence[str]) -> list[str]:
    """Distinct names, those of `tertiles` from low to high and all others by the alphabet, empty ones last."""

    def place(name: str) -> tuple[int, str]:
        if not name:
            return 3, name
        return (0 if name.startswith("up to ") else 2 if name.startswith("above ") else 1), name

    return sorted(set(names), key=place)
