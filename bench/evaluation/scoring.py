"""Predictions and reference standard become the numbers of evaluation.json. No Keras."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from bench.metrics import METRICS, Labels, Scores
from bench.uncertainty import intervals

DRAWS = 2000
LEVEL = 0.95


def score_model(
    y_true: Labels, y_score: Scores, patients: npt.NDArray[Any], classes: Sequence[str], seed: int
) -> dict[str, Any]:
    """What evaluation.json says of one model: metrics with intervals, confusion matrix, scores by class.

    A metric that the labels do not allow (one class only) is null, with its reason.

    Args:
        y_true: class indices, shape (n_images,).
        y_score: probabilities, shape (n_images, n_classes).
        patients: patient of each image, shape (n_images,).
        classes: class names by index.
        seed: decides the bootstrap draws.
    """
    predicted = y_score.argmax(axis=1)
    labels = list(range(len(classes)))
    missing = [name for index, name in enumerate(classes) if not np.any(y_true == index)]
    if missing:
        reason = f"the split holds no image of {', '.join(missing)}"
        metrics: dict[str, Any] = {
            name: {"value": None, "low": None, "high": None, "reason": reason} for name in METRICS
        }
        metrics["accuracy"] = {"value": METRICS["accuracy"].compute(y_true, y_score), "low": None, "high": None}
    else:
        found = intervals(y_true, y_score, patients, DRAWS, LEVEL, seed)
        metrics = {name: asdict(interval) for name, interval in found.items()}
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y_true, predicted, labels=labels, average=None, zero_division=0.0
    )
    per_class = {
        name: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
            "auc": None if missing else float(sk.roc_auc_score(y_true == index, y_score[:, index])),
        }
        for index, name in enumerate(classes)
    }
    averages = {}
    for kind in ("macro", "weighted"):
        scores = sk.precision_recall_fscore_support(y_true, predicted, labels=labels, average=kind, zero_division=0.0)
        averages[kind] = dict(zip(("precision", "recall", "f1"), map(float, scores[:3]), strict=True))
    return {
        "metrics": metrics,
        "confusion": sk.confusion_matrix(y_true, predicted, labels=labels).tolist(),
        "per_class": per_class,
        "averages": averages,
    }
