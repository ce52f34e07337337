"""Predictions and reference standard become the numbers of evaluation.json. No Keras."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from bench.stats.bootstrap import Interval, intervals
from bench.stats.enough import WITHOUT_ALL_CLASSES, by_class, one_against_rest, too_few
from bench.stats.metrics import METRICS, Labels, Scores

LEVEL = 0.95


def score_model(
    y_true: Labels,
    y_score: Scores,
    patients: npt.NDArray[Any],
    classes: Sequence[str],
    seed: int,
    draws: int = 2000,
) -> dict[str, Any]:
    """What evaluation.json says of one model: metrics with intervals, confusion matrix, scores by class.

    A metric that the labels do not allow (a class is missing) is null, with its reason. There are no intervals of what
    looks at classes of which there are too few patients (`bench.stats.enough`).

    Args:
        y_true: class indices, shape (n_images,).
        y_score: probabilities, shape (n_images, n_classes).
        patients: patient of each image, shape (n_images,).
        classes: class names by index.
        seed: decides the bootstrap draws.
        draws: number of them; 0 gives no intervals.
    """
    predicted = y_score.argmax(axis=1)
    labels = list(range(len(classes)))
    reason = missing_classes(y_true, classes)
    draws = 0 if too_few(patients) else draws
    possible = WITHOUT_ALL_CLASSES if reason else METRICS
    found = intervals(y_true, y_score, patients, draws, LEVEL, seed, possible)
    if too_few(patients, by_class(y_true, classes)):
        found |= {name: Interval(found[name].value, None, None) for name in found if name not in WITHOUT_ALL_CLASSES}
    metrics: dict[str, Any] = {
        name: asdict(found[name])
        if name in found
        else {"value": None, "low": None, "high": None, "reason": reason or "not computed"}
        for name in METRICS
    }
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        y_true, predicted, labels=labels, average=None, zero_division=0.0
    )
    per_class = {
        name: {
            "precision": float(precision[index]),
            "recall": float(recall[index]),
            "f1": float(f1[index]),
            "support": int(support[index]),
            **_one_vs_rest(y_true, y_score[:, index], index, classes, patients, draws, seed),
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


def missing_classes(y_true: Labels, classes: Sequence[str]) -> str:
    """Why scores over all classes cannot be computed, empty if they can."""
    missing = [name for index, name in enumerate(classes) if not np.any(y_true == index)]
    return f"the split holds no image of {', '.join(missing)}" if missing else ""


def spread(y_true: Labels, repeats: Sequence[Scores], classes: Sequence[str]) -> dict[str, Any]:
    """Mean and standard deviation (of the sample) of each metric over trainings that differ by their seed.

    Args:
        y_true: class indices, shape (n_images,).
        repeats: probabilities of each training, shape (n_images, n_classes).
        classes: class names by index.

    Returns:
        ``n``, ``mean`` and ``sd`` by metric; the deviation of one training is null.
    """
    possible = WITHOUT_ALL_CLASSES if missing_classes(y_true, classes) else tuple(METRICS)
    values: Mapping[str, list[float]] = {
        name: [METRICS[name].compute(y_true, scores) for scores in repeats] for name in possible
    }
    return {
        "n": len(repeats),
        "mean": {name: fmean(values[name]) if name in values else None for name in METRICS},
        "sd": {name: stdev(values[name]) if len(values.get(name, [])) > 1 else None for name in METRICS},
    }


def _one_vs_rest(
    y_true: Labels,
    scores: Scores,
    index: int,
    classes: Sequence[str],
    patients: npt.NDArray[Any],
    draws: int,
    seed: int,
) -> dict[str, float | None]:
    positive = y_true == index
    if positive.all() or not positive.any():
        return {"auc": None, "auc_low": None, "auc_high": None}
    both = np.column_stack([1 - scores, scores])
    draws = 0 if too_few(patients, one_against_rest(y_true, index, classes)) else draws
    found = intervals(positive.astype(np.int64), both, patients, draws, LEVEL, seed, ["auc"])["auc"]
    return {"auc": found.value, "auc_low": found.low, "auc_high": found.high}
