"""Fitted on validation predictions alone: a temperature and an operating point. And calibration, before and after."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_curve

from bench.run.documents import Bin, CalibrationRecord, CalibrationScores, FittedOn
from bench.stats.metrics import Labels, Mask, Scores, brier, log_loss, one_vs_rest
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson

LARGEST_LOG_TEMPERATURE = 3.0
BINS = 15
"""Equal-width bins of a probability, as Guo et al. have them."""


def apply_temperature(y_score: Scores, temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities with their logits divided by ``temperature``; same shape, rows sum to 1.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    logits = np.log(np.clip(np.asarray(y_score, dtype=np.float64), 1e-12, 1.0)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def fit_temperature(y_true: Labels, y_score: Scores) -> float:
    """The temperature, between e^-3 and e^3, that minimises the log loss of ``y_score``."""
    found = minimize_scalar(
        lambda logarithm: log_loss(y_true, apply_temperature(y_score, float(np.exp(logarithm)))),
        bounds=(-LARGEST_LOG_TEMPERATURE, LARGEST_LOG_TEMPERATURE),
        method="bounded",
    )
    return float(np.exp(found.x))


def youden_threshold(positive: Mask, scores: Scores) -> float:
    """The probability at and above which calling an image positive maximises sensitivity + specificity - 1.

    Source: Youden, Cancer 3:32 (1950).
    """
    false_rate, true_rate, thresholds = roc_curve(positive, scores)
    best = int(np.argmax((true_rate - false_rate)[1:])) + 1  # the first threshold is infinite: nobody positive
    return float(min(thresholds[best], 1.0))


def threshold_for_sensitivity(positive: Mask, scores: Scores, target: float) -> float:
    """The largest threshold at and above which at least a share ``target`` of the positive images are called so.

    Args:
        positive: shape (n_images,), at least one of them.
        scores: probabilities of the positive class, shape (n_images,).
        target: sensitivity, above 0 and at most 1.
    """
    found = np.sort(scores[positive])[::-1]
    reached = np.arange(1, len(found) + 1) / len(found) >= target - 1e-12
    return float(min(found[int(np.argmax(reached))], 1.0))


def frozen_threshold(positive: Mask, scores: Scores, target: float | None) -> tuple[float, str]:
    """The operating point that is fixed on validation, and in words the rule that fixed it.

    Args:
        positive: shape (n_images,), of validation.
        scores: probabilities of the positive class, shape (n_images,).
        target: sensitivity to be reached; None for Youden's index.
    """
    if positive.all() or not positive.any():
        return 0.5, "0.5, because all validation images are of one side"
    if target is None:
        return youden_threshold(positive, scores), "Youden index on validation"
    value = threshold_for_sensitivity(positive, scores, target)
    return value, f"largest threshold with a sensitivity of at least {target:g} on validation"


def expected_calibration_error(y_true: Labels, y_score: Scores) -> float:
    """Mean distance, weighted by images, between the top probability and the share that is right, over its bins.

    It has no interval: each bin's distance is absolute, so that noise alone makes it larger, and resampled images
    are noisier than the images themselves. Bootstrap draws lie above the value, and an interval of them would too.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; bins open below, closed above.
    """
    top = y_score.max(axis=1).astype(np.float64)
    right = (y_score.argmax(axis=1) == y_true).astype(np.float64)
    distance = np.bincount(_bins_of(top), weights=right - top, minlength=BINS)
    return float(np.abs(distance).sum() / len(y_true))


def reliability(positive: Mask, scores: Scores) -> list[Bin]:
    """The bins of a reliability diagram that hold images, with Wilson's interval of what was observed.

    Args:
        positive: shape (n_images,).
        scores: probabilities of the positive class, shape (n_images,).
    """
    doubled = np.asarray(scores, dtype=np.float64)
    index = _bins_of(doubled)
    found = []
    for number in np.unique(index):
        inside = index == number
        images, hits = int(inside.sum()), int(positive[inside].sum())
        low, high = wilson(hits, images)
        found.append(
            Bin(
                start=number / BINS,
                end=(number + 1) / BINS,
                images=images,
                predicted=doubled[inside].mean(),
                observed=hits / images,
                low=low,
                high=high,
            )
        )
    return found


def _bins_of(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number of the equal-width bin of each probability, open below and closed above."""
    return np.asarray(np.clip(np.ceil(probabilities * BINS) - 1, 0, BINS - 1), dtype=np.int64)


def calibration(validation: Predictions, test: Predictions | None, temperature: float) -> CalibrationRecord:
    """The content of calibration.json: both splits, before and after temperature scaling.

    Args:
        validation: the winner's predictions, on which the temperature was fitted.
        test: those of the test split; None if it was not opened.
        temperature: as `fit_temperature` found it.

    Returns:
        a split without images is left out; ``reason`` is there if validation lacks a class.
    """
    splits = {}
    for split, predictions in (("val", validation), ("test", test)):
        if predictions is not None and len(predictions):
            after = predictions.with_scores(apply_temperature(predictions.scores, temperature))
            splits[split] = {"before": _calibrated(predictions), "after": _calibrated(after)}
    fitted_on = FittedOn(split="val", images=len(validation))
    found = CalibrationRecord(temperature=temperature, fitted_on=fitted_on, bins=BINS, splits=splits)
    if missing := validation.missing_classes:
        return found.model_copy(update={"reason": f"the temperature says little, since on validation {missing}"})
    return found


def _calibrated(predictions: Predictions) -> CalibrationScores:
    labels, scores, classes = predictions.labels, predictions.scores, predictions.classes
    bins = {classes[index]: reliability(labels == index, scores[:, index]) for index in one_vs_rest(len(classes))}
    return CalibrationScores(
        ece=expected_calibration_error(labels, scores),
        brier=brier(labels, scores),
        log_loss=log_loss(labels, scores),
        reliability={name: tuple(found) for name, found in bins.items()},
    )
