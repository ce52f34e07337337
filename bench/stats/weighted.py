"""Each metric of `bench.stats.metrics` under weights an image, for many draws at once. Intervals are made elsewhere."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats.metrics import Labels, Scores, brier_by_image

Weights = npt.NDArray[np.float64]
"""Shape (n_draws, n_images): how often each image counts."""
Values = npt.NDArray[np.float64]
"""Shape (n_draws,); NaN where a draw cannot be scored (a class is missing from it)."""
EPSILON = float(np.finfo(np.float64).eps)


def _one_vs_rest(compute: Callable[[npt.NDArray[np.bool_], Any, Weights], Values]) -> Callable[..., Values]:
    def macro(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
        if y_score.shape[1] == 2:
            return compute(y_true == 1, y_score[:, 1], weights)
        parts = [compute(y_true == index, y_score[:, index], weights) for index in range(y_score.shape[1])]
        return np.asarray(np.mean(parts, axis=0))

    return macro


def _ends_of_ties(scores: Any) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Order of descending score, and the position of the last of each run of equal scores."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return order, ends


def positives_above(positive: npt.NDArray[np.bool_], scores: Any, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of the true and of the false positives at each distinct threshold, from the highest down.

    Args:
        positive: shape (n_images,).
        scores: shape (n_images,); an image is called positive at and above a threshold.
        weights: shape (n_draws, n_images).

    Returns:
        two arrays of shape (n_draws, n_thresholds).
    """
    order, ends = _ends_of_ties(scores)
    ordered, truth = weights[:, order], positive[order]
    return np.cumsum(ordered * truth, axis=1)[:, ends], np.cumsum(ordered * ~truth, axis=1)[:, ends]


def _roc_auc(positive: npt.NDArray[np.bool_], scores: Any, weights: Weights) -> Values:
    true, false = positives_above(positive, scores, weights)
    start = np.zeros((len(weights), 1))
    area = np.trapezoid(np.hstack([start, true]), np.hstack([start, false]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(area / (true[:, -1] * false[:, -1]))


def _average_precision(positive: npt.NDArray[np.bool_], scores: Any, weights: Weights) -> Values:
    true, false = positives_above(positive, scores, weights)
    gained = np.diff(np.hstack([np.zeros((len(weights), 1)), true]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(true + false > 0, true / (true + false), 0.0)
        return np.asarray((gained * precision).sum(axis=1) / true[:, -1])


def _mean_of(per_image: npt.NDArray[np.float64], weights: Weights) -> Values:
    return np.asarray(weights @ per_image / weights.sum(axis=1))


def _confusion(y_true: Labels, y_score: Scores, weights: Weights) -> npt.NDArray[np.float64]:
    """Weighted confusion matrices, shape (n_draws, n_classes, n_classes): rows reference, columns predicted."""
    n = y_score.shape[1]
    cell = np.asarray(y_true) * n + y_score.argmax(axis=1)
    onehot = np.eye(n * n)[cell]
    return np.asarray((weights @ onehot).reshape(-1, n, n))


def _balanced_accuracy(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
    matrix = _confusion(y_true, y_score, weights)
    present = np.isin(np.arange(y_score.shape[1]), y_true)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.diagonal(matrix, axis1=1, axis2=2) / matrix.sum(axis=2)
    return np.asarray(recall[:, present].mean(axis=1))


def _f1(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
    matrix = _confusion(y_true, y_score, weights)
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    total = matrix.sum(axis=1) + matrix.sum(axis=2)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0).mean(axis=1))


def _normalised(y_score: Scores) -> npt.NDArray[np.float64]:
    scores = np.asarray(y_score, dtype=np.float64)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _log_loss(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
    chosen = _normalised(y_score)[np.arange(len(y_true)), y_true]
    return _mean_of(-np.log(np.clip(chosen, EPSILON, 1.0)), weights)


def _brier(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
    return _mean_of(brier_by_image(y_true, y_score), weights)


WEIGHTED: dict[str, Callable[[Labels, Scores, Weights], Values]] = {
    "auc": _one_vs_rest(_roc_auc),
    "pr_auc": _one_vs_rest(_average_precision),
    "accuracy": lambda y, p, w: _mean_of((p.argmax(axis=1) == y).astype(np.float64), w),
    "balanced_accuracy": _balanced_accuracy,
    "f1": _f1,
    "log_loss": _log_loss,
    "brier": _brier,
}
"""Each metric of `bench.stats.metrics` for many draws at once."""
