"""ROC and precision-recall curves on a common grid, with pointwise bands by patients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.stats.bootstrap import resample
from bench.stats.enough import one_against_rest, too_few
from bench.stats.metrics import Labels, Scores, one_vs_rest
from bench.stats.weighted import Weights, positives_above
from bench.stats.words import without_nan

COLUMNS = ("model", "class", "curve", "x", "y", "low", "high")
GRID = np.arange(101) / 100
ROUNDING = 1e-9
"""Of an image: 0.57 of 100 images is 57 of them."""


def curves(
    scores: Mapping[str, Scores],
    y_true: Labels,
    patients: npt.NDArray[Any],
    classes: Sequence[str],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """curves.csv: sensitivity over 1 - specificity (``roc``) and precision over recall (``pr``) at 101 places.

    Between two thresholds an ROC curve is straight; a precision-recall curve has the precision of the highest
    threshold that reaches the recall (as average precision counts it), since precision is not linear in between.

    Args:
        scores: model -> probabilities, shape (n_images, n_classes).
        y_true: class indices, shape (n_images,).
        patients: patient of each image, shape (n_images,).
        classes: class names by index; with two the second alone is drawn.
        draws: bootstrap draws; 0 gives no bands.
        level: of the bands, at each place by itself.
        seed: decides the draws, the same for all models.

    Returns:
        a row a model, class, curve and place; a class that no image has, or every image, is left out.
    """
    tables = []
    for name, probabilities in scores.items():
        for index in one_vs_rest(len(classes)):
            positive, column = np.asarray(y_true == index), np.asarray(probabilities)[:, index]
            if positive.all() or not positive.any():
                continue

            def both(
                weights: Weights, positive: npt.NDArray[np.bool_] = positive, column: Any = column
            ) -> npt.NDArray[np.float64]:
                return _both_curves(*positives_above(positive, column, weights))

            few = too_few(patients, one_against_rest(y_true, index, classes))
            found = resample(both, patients, 0 if few else draws, seed)
            ends = [found.ends(place, level) for place in range(2 * len(GRID))]
            tables.append(
                pd.DataFrame(
                    {
                        "model": name,
                        "class": classes[index],
                        "curve": np.repeat(["roc", "pr"], len(GRID)),
                        "x": np.tile(GRID, 2),
                        "y": without_nan(found.value),
                        "low": [low for low, _ in ends],
                        "high": [high for _, high in ends],
                    }
                )
            )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)


def _both_curves(true: Weights, false: Weights) -> npt.NDArray[np.float64]:
    """ROC and then precision-recall values on the grid, a row a draw; NaN in draws that lack one side.

    Args:
        true, false: weight of true and false positives at each threshold, shape (n_draws, n_thresholds).
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
