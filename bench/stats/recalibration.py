"""How well probabilities agree with what was observed: calibration-in-the-large, slope, and ECE under perfection."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import SMALLEST
from bench.stats.metrics import Mask, Scores, Values, Weights
from bench.stats.predictions import OneVsRest
from bench.stats.proportions import Ends

STEPS, LARGEST_STEP, PRECISE = 40, 2.0, 1e-4
"""Of Newton's method: at most so many steps, each at most so long; done when none is longer than `PRECISE`, after which
an error of its square is left."""

COLUMNS = {"intercept": 1, "slope": 2}
"""Where they stand among the statistics of `agreement`."""
PERFECT = {"intercept": 0.0, "slope": 1.0}


@dataclass(frozen=True)
class Agreement:
    """Calibration of the probabilities of one class against the rest.

    Attributes:
        predicted, observed: mean probability, and share of the images that are of the class.
        difference: predicted minus observed, with the ends of its interval: calibration-in-the-large.
        intercept: of a logistic regression with the logit of the probability as offset; 0 is perfect, above 0 the
            class is commoner than predicted. None where all images are of one side.
        slope: of a logistic regression on that logit; 1 is perfect, below 1 predictions are too extreme. None where
            the logit tells both sides apart without an error, or is the same for all images.
        widened: ends of the intervals of ``intercept`` and ``slope`` that hold for all comparisons at once.
        apart: which of the two miss perfection by those.
    """

    predicted: float
    observed: float
    difference: tuple[float, Ends]
    intercept: tuple[float | None, Ends]
    slope: tuple[float | None, Ends]
    widened: dict[str, Ends] = field(default_factory=dict)
    apart: tuple[str, ...] = ()


def agreement(one: OneVsRest, patients: npt.NDArray[Any], bootstrap: Bootstrap, comparisons: int = 2) -> Agreement:
    """Calibration-in-the-large and calibration slope of one class, with patient-clustered intervals.

    Source: Cox, Biometrika 45:562 (1958); Van Calster et al., BMC Medicine 17:230 (2019).

    Args:
        one: the class and its probabilities.
        patients: of each image, shape (n_images,).
        bootstrap: without draws there are no intervals.
        comparisons: how many intercepts and slopes are judged together (Bonferroni).
    """
    positive, scores = one.positive, np.asarray(one.scores, dtype=np.float64)
    gaps = scores - positive
    start = intercept_and_slope(positive, scores, np.ones((1, len(scores))))[1]

    def statistics(weights: Weights) -> npt.NDArray[np.float64]:
        fitted, _ = intercept_and_slope(positive, scores, weights, start)
        return np.column_stack([weights @ gaps / weights.sum(axis=1), fitted])

    found = bootstrap.unless(one.few).resample(statistics, patients)
    values = found.known_values
    ends = [found.ends(column) if value is not None else (None, None) for column, value in enumerate(values)]
    wide = replace(found, level=1 - (1 - found.level) / comparisons)
    widened = {name: wide.ends(column) for name, column in COLUMNS.items() if values[column] is not None}
    return Agreement(
        predicted=float(scores.mean()),
        observed=float(positive.mean()),
        difference=(float(found.value[0]), ends[0]),
        intercept=(values[1], ends[1]),
        slope=(values[2], ends[2]),
        widened=widened,
        apart=tuple(name for name, reached in widened.items() if _misses(reached, PERFECT[name])),
    )


def _misses(ends: Ends, value: float) -> bool:
    low, high = ends
    return low is not None and high is not None and not low <= value <= high


Start = tuple[Values, Values]


def intercept_and_slope(
    positive: Mask, scores: Scores, weights: Weights, start: Start | None = None
) -> tuple[npt.NDArray[np.float64], Start]:
    """Calibration intercept (slope held at 1) and calibration slope, NaN where they are not finite.

    Args:
        positive: shape (n_images,).
        scores: probabilities of the class, shape (n_images,).
        weights: of each image in each draw, shape (n_draws, n_images).
        start: where Newton's method begins, as an earlier call returned it; None for its own beginning.

    Returns:
        shape (n_draws, 2), and the coefficients of the first draw.
    """
    logits = logit(np.clip(scores, SMALLEST, 1 - SMALLEST))
    ones, spread = np.ones((len(logits), 1)), float(logits.std())
    first, second = start or (np.zeros(1), np.zeros(2))
    intercept = _newton(ones, logits, positive, weights, first)
    if spread < SMALLEST:
        return np.column_stack([intercept, np.full(len(weights), np.nan)]), (_finite(intercept[0]), np.zeros(2))
    design = np.column_stack([ones, (logits - logits.mean()) / spread])  # so that a step has the same length for all
    line = _newton(design, np.zeros(len(logits)), positive, weights, second)
    return np.column_stack([intercept, line[:, 1] / spread]), (_finite(intercept[0]), _finite(line[0]))


def _finite(values: Values) -> Values:
    return np.where(np.isfinite(values), values, 0.0)


def _newton(
    design: npt.NDArray[np.float64], offset: Values, positive: Mask, weights: Weights, start: Values
) -> npt.NDArray[np.float64]:
    """Coefficients of a weighted logistic regression for each draw, shape (n_draws, n_columns); NaN without an end."""
    columns = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    found = np.tile(start, (len(weights), 1))
    step = np.full_like(found, np.inf)
    for _ in range(STEPS):
        expected = expit(found @ design.T + offset)
        gradient = (weights * (positive - expected)) @ design
        curvature = ((weights * expected * (1 - expected)) @ products).reshape(-1, columns, columns)
        step = np.linalg.solve(curvature + SMALLEST * np.eye(columns), gradient[:, :, None])[:, :, 0]
        step = np.clip(step, -LARGEST_STEP, LARGEST_STEP)
        found = found + step
        if np.abs(step).max() <= PRECISE:
            break
    return np.where(np.abs(step).max(axis=1, keepdims=True) <= PRECISE, found, np.nan)
