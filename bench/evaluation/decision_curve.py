"""The decision curve: what acting on the model is worth, beside acting on everybody and on nobody."""

from functools import partial

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.run.tables import DECISION_CURVE
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import Weights
from bench.stats.predictions import Predictions

THRESHOLDS = np.arange(1, 100) / 100


def decision_curve(calibrated: Predictions, bootstrap: Bootstrap) -> pd.DataFrame:
    """decision_curve.csv: net benefit per image, in true positives, at thresholds from 0.01 to 0.99.

    Net benefit is the share of true positives less the share of false positives times the odds of the threshold
    (Vickers and Elkin, Medical Decision Making 26:565, 2006). It holds at the prevalence of these images.

    Args:
        calibrated: predictions with calibrated probabilities; with two classes the second alone is drawn.
        bootstrap: the bands hold at each threshold by itself.

    Returns:
        one row per class and threshold; ``gain`` is the model's net benefit less that of
        acting on everybody or on nobody, whichever is worth more on these images, in the same draws. A class that no
        image has, or every image, is left out.
    """
    odds = THRESHOLDS / (1 - THRESHOLDS)
    tables = []
    for one in calibrated.curves():
        positive = one.positive[:, None]
        called = one.scores[:, None] >= THRESHOLDS
        worth = np.where(positive, called, called * -odds)
        share = float(one.positive.mean())
        treat_all = share - (1 - share) * odds
        everyone = np.where(positive, 1.0, -odds)
        worth = np.hstack([worth, worth - np.where(treat_all > 0, everyone, 0.0)])
        found = bootstrap.unless(one.few).resample(partial(_mean_worth, worth), calibrated.patients)
        (low, high), (gain_low, gain_high) = np.split(found.bands(), 2, axis=1)
        columns = {
            "class": one.name,
            "threshold": THRESHOLDS,
            "model": found.value[: len(THRESHOLDS)],
            "treat_all": treat_all,
            "treat_none": 0.0,
            "low": low,
            "high": high,
            "gain": found.value[len(THRESHOLDS) :],
            "gain_low": gain_low,
            "gain_high": gain_high,
        }
        tables.append(pd.DataFrame(columns))
    return DECISION_CURVE.frame(pd.concat(tables, ignore_index=True) if tables else [])


def _mean_worth(worth: npt.NDArray[np.float64], weights: Weights) -> npt.NDArray[np.float64]:
    return np.asarray(weights @ worth / weights.sum(axis=1, keepdims=True))
