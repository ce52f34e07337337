"""Small pictures of the images that a reader of the confusion matrix wants to see first: thumbnails.npz."""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from bench.data.images.decode import Pixels
from bench.run.documents import Threshold
from bench.stats.predictions import Predictions

SIDE = 96
"""Height and width of a thumbnail, in pixels, unless the model sees smaller images."""

A_CELL = 12
"""Thumbnails of a cell of the confusion matrix; several classes share them."""


def worth_seeing(
    predictions: Predictions, thresholds: Sequence[Threshold], a_cell: int = A_CELL
) -> npt.NDArray[np.int64]:
    """Of each class and of the rest the most wrong images and, called right, those nearest to the frozen threshold.

    The most wrong of a class are the errors at any threshold that makes so few; which the nearest are depends on it.

    Returns:
        positions among ``predictions`` in ascending order, at most four times ``a_cell`` of them where there are no
        more classes than ``a_cell``.
    """
    each = max(1, a_cell // max(1, len(thresholds)))
    found: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for frozen in thresholds:
        one = predictions.against_rest(predictions.classes.index(frozen.label))
        called = one.scores >= frozen.value
        for side, right, wrongness in ((one.positive, called, -one.scores), (~one.positive, ~called, one.scores)):
            rows = np.flatnonzero(side)
            worst_first = rows[np.argsort(-wrongness[rows], kind="stable")]
            found += [worst_first[:each], worst_first[right[worst_first]][:each]]
    return np.unique(np.concatenate(found))


def thumbnails(images: Pixels) -> Pixels:
    """``images`` at `SIDE`.

    Args:
        images: shape (n, height, width, 1 or 3).

    Returns:
        shape (n, side, side, 1 or 3).
    """
    _, height, width, channels = images.shape
    side = min(SIDE, height, width)
    small = [cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA) for one in images]
    return np.asarray(small, np.uint8).reshape(len(images), side, side, channels)
