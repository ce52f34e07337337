"""ROC and precision-recall curves: exact, of one set of scores, and on a common grid for many bootstrap draws."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from bench.stats.metrics import Mask, Scores, Weights

GRID = np.arange(101) / 100
ROUNDING = 1e-9
"""Of an image: 0.57 of 100 images is 57 of them."""


@dataclass(frozen=True)
class Curve:
    """A curve and its area.

    Attributes:
        x, y: of its points, shape (n_points,).
        area: ROC AUC, or average precision.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    area: float


def roc(positive: Mask, scores: Scores) -> Curve:
    """Sensitivity over 1 - specificity; both sides must occur.

    Args:
        positive: shape (n_images,).
        scores: probability of the positive class, shape (n_images,).
    """
    x, y, _ = sk.roc_curve(positive, scores)
    return Curve(x, y, float(sk.auc(x, y)))


def precision_recall(positive: Mask, scores: Scores) -> Curve:
    """Precision over recall, from the lowest threshold up; arguments as those of `roc`."""
    precision, recall, _ = sk.precision_recall_curve(positive, scores)
    return Curve(recall, precision, float(sk.average_precision_score(positive, scores)))


def on_grid(true: Weights, false: Weights) -> npt.NDArray[np.float64]:
    """ROC and then precision-recall values at the places of `GRID`, one row per draw; NaN in draws that lack one side.

    Between two thresholds an ROC curve is straight; a precision-recall curve has the precision of the highest
    threshold that reaches the recall (as average precision counts it), since precision is not linear in between.

    Args:
        true, false: as `bench.stats.metrics.positives_above` returns them, shape (n_draws, n_thresholds).

    Returns:
        shape (n_draws, 2 * len(GRID)).
    """
    found = np.full((len(true), 2 * len(GRID)), np.nan)
    for row, hits, alarms in zip(found, true, false, strict=True):
        positives, negatives = hits[-1], alarms[-1]
        if positives > 0 and negatives > 0:
            x, y = np.append(0.0, alarms / negatives), np.append(0.0, hits / positives)
            row[: len(GRID)] = np.interp(GRID, x, y)
            some = int(np.argmax(hits + alarms > 0))
            place = np.maximum(np.searchsorted(hits, GRID * positives - ROUNDING), some)
            row[len(GRID) :] = hits[place] / (hits[place] + alarms[place])
    return found
