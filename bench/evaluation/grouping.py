"""How test images are grouped: a measure becomes up to three groups of about equal size, named for people."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

SHARES = (1 / 3, 2 / 3)
DIGITS = (2, 3, 4, 6)
MOST_NUMBERS = 6
"""With more different values than this, a column of numbers is cut into three groups."""
MOST_TEXTS = 20
"""With more different values than this, the rarest of a column of texts are put together."""
SQUARE_PIXELS = 1e6


def image_groups(facts: pd.DataFrame) -> dict[str, list[str]]:
    """Groups by the size and the shape that the images had in their files; left out where all are alike.

    Args:
        facts: one row per image, columns ``width`` and ``height`` in pixels.

    Returns:
        ``image size`` (in megapixels, or thousand pixels where images are small) and ``aspect ratio`` (width by
        height) -> the group of each image.
    """
    width, height = (facts[name].to_numpy(dtype=np.float64) for name in ("width", "height"))
    if not len(facts):
        return {}
    large = np.median(width * height) >= SQUARE_PIXELS / 10
    groups = {
        "image size": tertiles(
            width * height / (SQUARE_PIXELS if large else 1e3), "megapixels" if large else "thousand pixels"
        ),
        "aspect ratio": tertiles(width / height),
    }
    return {name: values for name, values in groups.items() if len(set(values)) > 1}


def grouped(values: Sequence[str]) -> list[str]:
    """Values as they are, unless there are too many different ones to show."""
    given = [value for value in values if value]
    distinct = sorted(set(given))
    if len(distinct) > MOST_NUMBERS and (numbers := _numbers(given)) is not None:
        names = iter(tertiles(numbers))
        return [next(names) if value else "" for value in values]
    if len(distinct) > MOST_TEXTS:
        often = sorted(distinct, key=lambda value: (-given.count(value), value))[: MOST_TEXTS - 1]
        rest = f"(the other {len(distinct) - len(often)} values)"
        return [value if value in often or not value else rest for value in values]
    return list(values)


def _numbers(values: Sequence[str]) -> npt.NDArray[np.float64] | None:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


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
