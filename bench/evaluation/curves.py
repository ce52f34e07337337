"""ROC and precision-recall curves on a common grid, with pointwise bands by patients."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.run.tables import CURVES
from bench.stats.bootstrap import Bootstrap
from bench.stats.curves import GRID, on_grid
from bench.stats.metrics import Mask, Scores, Weights, positives_above
from bench.stats.predictions import Predictions


def curves(models: Mapping[str, Predictions], bootstrap: Bootstrap) -> pd.DataFrame:
    """curves.csv: sensitivity over 1 - specificity (``roc``) and precision over recall (``pr``) at 101 places.

    Args:
        models: name -> its predictions of the same images; with two classes the second alone is drawn.
        bootstrap: the bands hold at each place by itself; all models share the draws.

    Returns:
        one row per model, class, curve and place; a class that no image has, or every image, is left out.
    """
    tables = []
    for name, predictions in models.items():
        for one in predictions.curves():
            found = bootstrap.unless(one.few).resample(
                partial(_both_curves, one.positive, one.scores), predictions.patients
            )
            low, high = found.bands()
            columns = {
                "model": name,
                "class": one.name,
                "curve": np.repeat(["roc", "pr"], len(GRID)),
                "x": np.tile(GRID, 2),
                "y": found.known_values,
                "low": low,
                "high": high,
            }
            tables.append(pd.DataFrame(columns))
    return CURVES.frame(pd.concat(tables, ignore_index=True) if tables else [])


def _both_curves(positive: Mask, scores: Scores, weights: Weights) -> npt.NDArray[np.float64]:
    return on_grid(*positives_above(positive, scores, weights))
