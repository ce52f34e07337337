"""Scores by scikit-learn."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from bench.verify.reading import Predicted

Weights = npt.NDArray[np.float64]
Score = Callable[[Predicted, Weights | None], float]
REACHED = 0.95
"""Sensitivity at which a specificity is told."""


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


def _specificity(
    positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.float64], sample_weight: Weights | None
) -> float:
    false, true, _ = sk.roc_curve(positive, scores, sample_weight=sample_weight, drop_intermediate=False)
    return float((1 - false)[true >= REACHED].max())


def _kappa(found: Predicted, weights: Weights | None = None) -> float:
    how = {"labels": range(found.scores.shape[1]), "weights": "quadratic", "sample_weight": weights}
    return float(sk.cohen_kappa_score(found.labels, found.scores.argmax(axis=1), **how))


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
    "specificity_at_95_sensitivity": _ranked(_specificity),
    "quadratic_kappa": _kappa,
    "accuracy": _called(sk.accuracy_score),
    "balanced_accuracy": _called(sk.balanced_accuracy_score),
    "f1": _f1,
    "log_loss": _log_loss,
    "brier": _brier,
}
"""Every metric by name."""
NEEDS_ALL_CLASSES = set(SCORES) - {"accuracy", "log_loss", "brier"}
MAY_MISS = {"specificity_at_95_sensitivity", "quadratic_kappa"}
"""Metrics that trainings of earlier versions, or of classes without an order, do not have."""


def scores_told(row: pd.Series) -> list[str]:
    """The metrics that a row of a table of trainings has to tell, and those that it tells beside them."""
    return [name for name in SCORES if name not in MAY_MISS or pd.notna(row.get(f"metric_{name}"))]


def score(name: str, found: Predicted) -> float | None:
    """A metric; None where a class that it needs has no image."""
    missing = len(np.unique(found.labels)) < found.scores.shape[1]
    return None if missing and name in NEEDS_ALL_CLASSES else SCORES[name](found, None)


def fewest(metric: str, found: Predicted) -> int:
    """Patients that a t interval goes by: of the class that has the fewest, if the metric needs every class."""
    groups = found.labels if metric in NEEDS_ALL_CLASSES else np.zeros(len(found.labels))
    return int(pd.Series(found.patients).groupby(groups).nunique().min())
