"""The decision curve: what acting on the model is worth, beside acting on everybody and on nobody."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.stats.bootstrap import resample
from bench.stats.enough import one_against_rest, too_few
from bench.stats.metrics import Labels, Scores, one_vs_rest
from bench.stats.weighted import Weights

COLUMNS = ("class", "threshold", "model", "treat_all", "treat_none", "low", "high", "gain", "gain_low", "gain_high")
THRESHOLDS = np.arange(1, 100) / 100


def decision_curve(
    y_true: Labels,
    y_score: Scores,
    patients: npt.NDArray[Any],
    classes: Sequence[str],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """decision_curve.csv: net benefit an image, in true positives, at thresholds from 0.01 to 0.99.

    Net benefit is the share of true positives less the share of false positives times the odds of the threshold
    (Vickers and Elkin, Medical Decision Making 26:565, 2006). It holds at the prevalence of these images.

    Args:
        y_true: class indices, shape (n_images,).
        y_score: calibrated probabilities, shape (n_images, n_classes).
        patients: patient of each image, shape (n_images,).
        classes: class names by index; with two the second alone is drawn.
        draws: bootstrap draws for the model's band; 0 gives none.
        level: of the band, at each threshold by itself.
        seed: decides the draws.

    Returns:
        a row a class and threshold, columns as in ``COLUMNS``; ``gain`` is the model's net benefit less that of acting
        on everybody or on nobody, whichever is worth more on these images, in the same draws. A class that no image
        has, or every image, is left out.
    """
    odds = THRESHOLDS / (1 - THRESHOLDS)
    tables = []
    for index in one_vs_rest(len(classes)):
        positive = np.asarray(y_true == index)
        if positive.all() or not positive.any():
            continue
        called = np.asarray(y_score)[:, index, None] >= THRESHOLDS
        worth = np.where(positive[:, None], called, called * -odds)
        share = float(positive.mean())
        treat_all = share - (1 - share) * odds
        everyone = np.where(positive[:, None], 1.0, -odds)
        worth = np.hstack([worth, worth - np.where(treat_all > 0, everyone, 0.0)])

        def net_benefit(weights: Weights, worth: npt.NDArray[np.float64] = worth) -> npt.NDArray[np.float64]:
            return np.asarray(weights @ worth / weights.sum(axis=1, keepdims=True))

        few = too_few(patients, one_against_rest(y_true, index, classes))
        found = resample(net_benefit, patients, 0 if few else draws, seed)
        ends = [found.ends(column, level) for column in range(2 * len(THRESHOLDS))]
        (low, high), (gain_low, gain_high) = (part.T for part in np.split(np.array(ends, np.float64), 2))
        tables.append(
            pd.DataFrame(
                {
                    "class": classes[index],
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
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
