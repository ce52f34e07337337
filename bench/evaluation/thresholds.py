"""Frozen operating points: chosen on validation over bootstrap draws of patients, with what is uncertain about them.

Thresholds are on the scale of the model's own probabilities. The mean is taken on their log-odds, which the calibration
maps of two classes move along a straight line: the threshold of the calibrated probabilities is the mapped one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import betabinom

from bench.numbers import count
from bench.run.documents import Estimate, Threshold
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import SMALLEST, CalibrationMap
from bench.stats.metrics import Mask, Scores, Values, Weights, one_vs_rest, positives_above
from bench.stats.predictions import OneVsRest, Predictions
from bench.stats.proportions import Ends, effective_images, wilson_by_patients


def frozen_thresholds(
    validation: Predictions, target: float | None, bootstrap: Bootstrap, calibrate: CalibrationMap
) -> tuple[Threshold, ...]:
    """The frozen threshold of the second of two classes or, of several, of each against the rest.

    Args:
        validation: the model's own probabilities.
        target: sensitivity to be reached; None for Youden's index.
        bootstrap: without draws, the threshold of the validation images as they are.
        calibrate: of two classes, it gives the same threshold on the scale of calibrated probabilities.
    """
    found = []
    for index in one_vs_rest(len(validation.classes)):
        one = frozen_threshold(validation.against_rest(index), validation.patients, target, bootstrap)
        if len(validation.classes) == 2:
            calibrated = calibrate(np.array([[1 - one.value, one.value]]))[0, 1]
            one = one.model_copy(update={"calibrated": float(calibrated)})
        found.append(one)
    return tuple(found)


def frozen_threshold(
    one: OneVsRest, patients: npt.NDArray[Any], target: float | None, bootstrap: Bootstrap
) -> Threshold:
    """The mean of the thresholds of bootstrap draws of patients, on the scale of log-odds.

    A single sample's best threshold jumps from one score to another, and does worse on other patients. The mean over
    draws (bagging: Breiman, Machine Learning 24:123, 1996; for cutpoints: Thiele and Hirschfeld, Journal of Statistical
    Software 98:11, 2021) loses about half as much of Youden's index on new patients in simulated studies
    (docs/method/calibration.md). For a sensitivity of s, each draw reaches s (n + 1) / n, n patients of the
    class, since the quantile of a sample is too high for new patients; the result is never above the threshold that the
    validation images themselves need.
    """
    positive, scores = one.positive, np.asarray(one.scores, dtype=np.float64)
    if not one.both_sides:
        return Threshold(label=one.name, value=0.5, rule="0.5, because all validation images are of one side")
    everyone = np.ones((1, len(scores)))
    plain = float(thresholds(positive, scores, everyone, target)[0])
    n_patients = len(np.unique(patients[positive]))
    share = None if target is None else min(1.0, target * (n_patients + 1) / n_patients)

    def both(weights: Weights) -> npt.NDArray[np.float64]:
        """What the mean is taken of, and what other samples would give."""
        return np.column_stack([thresholds(positive, scores, weights, aim) for aim in (share, target)])

    found = bootstrap.resample(both, patients).draws
    drawn, others = found[np.isfinite(found[:, 0])].T
    value, how = plain, ""
    if len(drawn):
        value = float(expit(_log_odds(drawn).mean())) if np.ptp(drawn) > 0 else float(drawn[0])
        value = value if target is None else min(value, plain)
        how = f", mean over {count(len(drawn))} bootstrap draws of patients"
    rule = f"a sensitivity of at least {target:g} on validation" if target is not None else "Youden index on validation"
    low = high = None
    if len(others) and not one.few:
        low, high = np.quantile(others, [(1 - bootstrap.level) / 2, (1 + bootstrap.level) / 2]).tolist()
    called = scores >= value
    return Threshold(
        label=one.name,
        value=value,
        rule=f"{rule}{how}",
        low=low,
        high=high,
        reason=one.few,
        sensitivity=_share(called[positive], patients[positive]),
        specificity=_share(~called[~positive], patients[~positive]),
    )


def _log_odds(probabilities: Values) -> Values:
    return np.asarray(logit(np.clip(probabilities, SMALLEST, 1 - SMALLEST)))


def thresholds(positive: Mask, scores: Scores, weights: Weights, target: float | None) -> Values:
    """The threshold of each draw, shape (n_draws,); an image is called positive at and above it.

    Args:
        positive: shape (n_images,).
        scores: probabilities of the positive class, shape (n_images,).
        weights: shape (n_draws, n_images).
        target: sensitivity, which the largest threshold that reaches it is taken for; None for the largest that
            maximises sensitivity + specificity - 1 (Youden, Cancer 3:32, 1950).

    Returns:
        NaN for a draw without images of both sides.
    """
    distinct = np.unique(scores)[::-1]
    true, false = positives_above(positive, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, false_rate = true / true[:, -1:], false / false[:, -1:]
    reached = sensitivity - false_rate if target is None else sensitivity >= target - 1e-12
    lacking = ~np.isfinite(sensitivity[:, -1] + false_rate[:, -1])
    return np.where(lacking, np.nan, distinct[np.argmax(np.where(lacking[:, None], 0, reached), axis=1)])


def _share(right: Mask, patients: npt.NDArray[Any]) -> Estimate:
    """The share of images that are right, with Wilson's interval by patients."""
    low, high = wilson_by_patients(right, patients)
    return Estimate(value=float(right.mean()), low=low, high=high)


def expected(right: Mask, patients: npt.NDArray[Any], images: int, level: float) -> Ends:
    """Where the share that is right of so many new ``images`` lies, by validation: a prediction interval.

    Beta-binomial, with Jeffreys' prior, of as many images as those of patients are worth. It allows for the noise of
    both splits, so that one of twenty studies or fewer leaves it where patients come from the same source.

    Args:
        right: of each validation image of a side, shape (n_images,).
        patients: of each, shape (n_images,).
        images: of the same side, in the split that is opened.
        level: of the interval.
    """
    if not len(right) or not images:
        return None, None
    worth = effective_images(right, patients)
    hits = float(right.mean()) * worth
    new = max(1, round(images * worth / len(right)))
    places: Sequence[float] = ((1 - level) / 2, (1 + level) / 2)
    low, high = betabinom.ppf(places, new, hits + 0.5, worth - hits + 0.5) / new
    return float(low), float(high)
