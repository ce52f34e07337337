"""The affine map that brings pooled features to one scale before the head.

Pretrained networks have channels that are silent on most images of another domain. Dividing those by their own tiny
deviation would throw the few images on which they speak hundreds of deviations away, and augmented ones, on which
other channels speak, without limit. So the map looks at augmented views as well, gives silent channels no weight, and
lets no training image lie further than `FURTHEST` from the mean. It stays affine: built-in layers express it, and class
activation maps remain exact.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Standard = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Mean and variance of each feature, as `keras.layers.Normalization` takes them; both of shape (n_features,)."""

FURTHEST = 10.0
"""Deviations from the mean beyond which no training image may lie; wider features are divided by more."""
SMALLEST_SPREAD = 0.01
"""No feature is divided by less than this share of the median deviation of the features that vary."""
CONSTANT = 1e-5
"""A feature whose deviation is a smaller share of its largest value is constant: what varies is rounding."""
LEAST_DEVIATION = 1e-15
"""A feature that varies by less is constant too: the variance of one near 1e-19 is 0 in float32."""
LEAST_EXPORTED = 1e-14
"""Smallest variance that `keras.layers.Normalization` divides by the root of: its smallest deviation is 1e-7."""
SILENT_VARIANCE = 1e30
"""Variance of a constant feature: divided by its root, whatever it says later has no weight."""
CHUNK = 4096


class Features(Protocol):
    """What standardisation, probe and training loop read: an array of which rows are taken, wherever it lies."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, ...)."""

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The values of ``rows``."""


@np.errstate(over="ignore", invalid="ignore")  # what is not finite in the result is for the caller to refuse
def standardisation(views: Sequence[Features]) -> Standard:
    """Mean and variance of each feature over all rows of all ``views``.

    The variance is that of the values, widened where the furthest value would lie beyond `FURTHEST` deviations or
    where it is tiny beside the other features', and `SILENT_VARIANCE` where the feature is constant. Where a value is
    not finite, the mean is not either.

    Args:
        views: pooled features of the training images, clean and augmented, each of shape (n_images, n_features).
    """
    count = sum(view.shape[0] for view in views)
    low = np.full(views[0].shape[1], np.inf)
    high = -low
    mean = np.zeros_like(low)
    for values in _chunks(views):
        mean += values.sum(axis=0) / count
        low, high = np.minimum(low, values.min(axis=0)), np.maximum(high, values.max(axis=0))
    variance = np.zeros_like(low)
    for values in _chunks(views):
        variance += ((values - mean) ** 2).sum(axis=0) / count
    spread = np.sqrt(variance)
    varies = spread > np.maximum(CONSTANT * np.maximum(np.abs(low), np.abs(high)), LEAST_DEVIATION)
    floor = SMALLEST_SPREAD * float(np.median(spread[varies])) if varies.any() else 0.0
    reach = np.maximum(high - mean, mean - low) / FURTHEST
    widened = np.where(varies, np.maximum(np.maximum(spread, reach), floor) ** 2, SILENT_VARIANCE)
    return mean.astype(np.float32), widened.astype(np.float32)


def exportable(standard: Standard, kernel: npt.NDArray[np.float32]) -> tuple[Standard, npt.NDArray[np.float32]]:
    """The same head for `keras.layers.Normalization`, which divides by 1e-7 where a deviation is smaller.

    Such are the features of networks with random weights: what they are divided by too much is made good by the weights
    behind them.

    Args:
        standard: as `standardisation` gives it.
        kernel: of the layer that follows, shape (n_features, n_classes).
    """
    mean, variance = standard
    widened = np.maximum(variance, np.float32(LEAST_EXPORTED))
    return (mean, widened), kernel * np.sqrt(widened / variance)[:, None]


def _chunks(views: Sequence[Features]) -> Iterator[npt.NDArray[Any]]:
    for view in views:
        for start in range(0, view.shape[0], CHUNK):
            yield view.take(np.arange(start, min(start + CHUNK, view.shape[0]))).astype(np.float64)
