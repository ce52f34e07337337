"""How values of more than 8 bits become 8: which of them is black, and which is white. Light to import."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.generic]
Rule = Literal["own", "header", "set", "asked"]
"""What decided a window: the image's own range, its DICOM header, the range of the whole set, or ``--window``."""
BLOCK = 64  # images whose extremes are found at a time, at most
BLOCK_VALUES = 2**22  # values that are looked at, or go through a window, at a time
SAMPLE = 256  # images of each array that percentiles are taken from
TAILS = (0.1, 99.9)  # percentiles between which nearly all values lie
NARROW = 0.25
"""Where nearly all values lie within this share of the range, the few others are outliers and do not decide it."""
NOT_FINITE = "it holds values that are not finite"


@dataclass(frozen=True)
class Window:
    """A linear window.

    Attributes:
        low, high: what becomes 0, and what becomes 255; what lies beyond is cut off.
        rule: what decided it.
    """

    low: float
    high: float
    rule: Rule = "own"

    @classmethod
    def centered(cls, center: float, width: float) -> "Window":
        """The window of ``--window CENTER,WIDTH``, width at least 1; DICOM PS3.3, C.11.2.1.2.1 (function LINEAR)."""
        return cls(center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2, "asked")

    @classmethod
    def own(cls, values: Values) -> "Window":
        """From the minimum of ``values`` to their maximum; ValueError if one is not finite."""
        low, high = float(values.min()), float(values.max())
        if not np.isfinite([low, high]).all():
            raise ValueError(NOT_FINITE)
        return cls(low, high)

    def apply(self, values: Values) -> Pixels:
        """``values``, of one axis at least, as 8 bits; ValueError if one is not finite."""
        rows = max(1, BLOCK_VALUES // max(1, math.prod(values.shape[1:])))
        if len(values) <= rows:
            return self._applied(values)
        found = np.empty(values.shape, dtype=np.uint8)
        for start in range(0, len(values), rows):  # numbers of eight bytes, several times, of some rows alone
            found[start : start + rows] = self._applied(values[start : start + rows])
        return found

    def _applied(self, values: Values) -> Pixels:
        numbers = values.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError(NOT_FINITE)
        if self.high > self.low:
            scaled = (numbers - self.low) * (255.0 / (self.high - self.low))
        else:
            scaled = (numbers > self.low) * np.float64(255)
        return np.asarray(scaled.round().clip(0, 255).astype(np.uint8))


def of_set(arrays: Sequence[Values]) -> Window | None:
    """One window for all images of a set, so that dark ones stay darker than bright ones.

    It goes from the least value to the greatest; where nearly all values lie within a quarter of that range, from the
    least to the greatest of these.

    Args:
        arrays: images along the first axis; maps of files are read a block at a time.

    Returns:
        None where every value is an integer from 0 to 255, which needs no window, or none is finite.
    """
    extremes = [ends for array in arrays for block in _blocks(array) if (ends := _finite_ends(block))]
    if not extremes:
        return None
    low, high = min(ends[0] for ends in extremes), max(ends[1] for ends in extremes)
    if low >= 0 and high <= 255 and all(array.dtype.kind in "biu" for array in arrays):
        return None
    tails = tails_of(arrays) or (low, high)
    if 0 < tails[1] - tails[0] < NARROW * (high - low):
        low, high = tails
    return Window(low, high, "set")


def tails_of(arrays: Sequence[Values]) -> tuple[float, float] | None:
    """Between which two nearly all values of some images of each array lie; None where none is finite."""
    sampled = [array[:: max(1, len(array) // SAMPLE)][:SAMPLE].ravel() for array in arrays]
    whole = all(part.dtype.kind in "biu" for part in sampled)  # integers stay as they are: they need less memory
    values = np.concatenate([part if whole else part.astype(np.float64) for part in sampled])
    values = values if whole else values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, TAILS)
    return float(low), float(high)


def _blocks(array: Values) -> Iterator[Values]:
    """A few images at a time."""
    count = min(BLOCK, max(1, BLOCK_VALUES // max(1, math.prod(array.shape[1:]))))
    return (array[start : start + count] for start in range(0, len(array), count))


def _finite_ends(block: Values) -> tuple[float, float] | None:
    low, high = float(block.min()), float(block.max())
    if np.isfinite([low, high]).all():
        return low, high
    finite = block[np.isfinite(block.astype(np.float64))]
    return (float(finite.min()), float(finite.max())) if finite.size else None
