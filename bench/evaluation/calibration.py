"""What is fitted on validation predictions alone: a temperature and an operating point."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.metrics import roc_curve

from bench.metrics import Labels, Scores, log_loss

LARGEST_LOG_TEMPERATURE = 3.0


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


def youden_threshold(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating]) -> float:
    """The probability at and above which calling an image positive maximises sensitivity + specificity - 1.

    Source: Youden, Cancer 3:32 (1950).
    """
    false_rate, true_rate, thresholds = roc_curve(positive, scores)
    best = int(np.argmax((true_rate - false_rate)[1:])) + 1  # the first threshold is infinite: nobody positive
    return float(min(thresholds[best], 1.0))
