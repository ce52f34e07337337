"""Scores by scikit-learn."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from bench.verify.reading import Predicted

Weights = npt.NDArray[np.float64]
Score = Callable[[Predicted, Weights | None], float]


def _ranked(score: Callable[..., float]) -> Score:
    def of(found: Predicted, weights: Weights | None = None) -> float:
        n = found.scores.shape[1]
        wanted = [1] if n == 2 else range(n)
        return float(
            np.mean([score(found.labels == k, found.scores[:, k], sample_weight=weights) for k in wanted]),
        )

    return of


def _called(score: Callable[..., float]) -> Score:
    def of(found: Predicted, weights: Weights | None = None) -> float:
        return float(score(found.labels, found.scores.argmax(axis=1), sample_weight=weights))

    return of


def _f1(found: Predicted, weights: Weights | None = None) -> float:
    labels = list(range(found.scores.shape[1]))
    called = found.scores.argmax(axis=1)
    how = {"labels": labels, "average": "macro", "zero_division": 0.0, "sample_weight": weights}
    return float(sk.f1_score(found.labels, called, **how))


def _log_loss(found: Predicted, weights: Weights | None = None) -> float:
    return float(sk.log_loss(found.labels, _whole(found), labels=range(found.scores.shape[1]), sample_weight=weights))


def _brier(found: Predicted, weights: Weights | None = None) -> float:
    if found.scores.shape[1] == 2:
        return float(sk.brier_score_loss(found.labels, _whole(found)[:, 1], sample_weight=weights))
    reference = np.eye(found.scores.shape[1])[found.labels]
    return float(np.average(((_whole(found) - reference) ** 2).sum(axis=1), weights=weights))


def _whole(found: Predicted) -> npt.NDArray[np.float64]:
    """Probabilities whose rows sum to 1, as their text in a file hardly does."""
    return np.asarray(found.scores / found.scores.sum(axis=1, keepdims=True))


SCORES: dict[str, Score] = {
    "auc": _ranked(sk.roc_auc_score),
    "pr_auc": _ranked(sk.average_precision_score),
    "accuracy": _called(sk.accuracy_score),
    "balanced_accuracy": _called(sk.balanced_accuracy_score),
    "f1": _f1,
    "log_loss": _log_loss,
    "brier": _brier,
}
"""Every metric by name."""
NEEDS_ALL_CLASSES = {"auc", "pr_auc", "balanced_accuracy", "f1"}


def score(name: str, found: Predicted) -> float | None:
    """A metric; None where a class that it needs has no image."""
    missing = len(np.unique(found.labels)) < found.scores.shape[1]
    return None if missing and name in NEEDS_ALL_CLASSES else SCORES[name](found, None)
