"""Predictions and reference standard become the numbers of evaluation.json. No Keras."""

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev
from typing import Any

import numpy as np
from sklearn import metrics as sk

from bench.stats.bootstrap import Bootstrap, Interval, intervals
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions


def score_model(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, Any]:
    """What evaluation.json says of one model: metrics with intervals, confusion matrix, scores by class.

    A metric that the labels do not allow (a class is missing) is null, with its reason. There are no intervals of what
    depends on classes of which there are too few patients (`bench.stats.enough`).
    """
    labels, predicted, classes = predictions.labels, predictions.predicted, predictions.classes
    bootstrap = bootstrap.unless(predictions.few)
    averages = {}
    for kind in ("macro", "weighted", None):
        averages[kind] = sk.precision_recall_fscore_support(
            labels, predicted, labels=range(len(classes)), average=kind, zero_division=0.0
        )
    precision, recall, f1, support = averages.pop(None)
    return {
        "metrics": _metrics(predictions, bootstrap),
        "confusion": sk.confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        "per_class": {
            name: {
                "precision": float(precision[index]),
                "recall": float(recall[index]),
                "f1": float(f1[index]),
                "support": int(support[index]),
                **_auc_against_rest(predictions, index, bootstrap),
            }
            for index, name in enumerate(classes)
        },
        "averages": {
            kind: dict(zip(("precision", "recall", "f1"), map(float, scores[:3]), strict=True))
            for kind, scores in averages.items()
        },
    }


Entry = dict[str, float | str | None]
"""``value``, ``low`` and ``high``, and the ``reason`` of a value that there is not."""


def _metrics(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, Entry]:
    reason, few = predictions.missing_classes, predictions.few_of_a_class
    found = intervals(predictions, bootstrap, _possible(predictions))
    entries: dict[str, Entry] = {}
    for name, metric in METRICS.items():
        if name not in found:
            entries[name] = {"value": None, "low": None, "high": None, "reason": reason}
        elif few and metric.needs_all_classes:
            entries[name] = asdict(Interval(found[name].value, None, None))
        else:
            entries[name] = asdict(found[name])
    return entries


def _possible(predictions: Predictions) -> list[str]:
    """Names of the metrics that the labels allow."""
    missing = predictions.missing_classes
    return [name for name, metric in METRICS.items() if not (missing and metric.needs_all_classes)]


def _auc_against_rest(predictions: Predictions, index: int, bootstrap: Bootstrap) -> dict[str, float | None]:
    one = predictions.against_rest(index)
    if not one.both_sides:
        return {"auc": None, "auc_low": None, "auc_high": None}
    both = np.column_stack([1 - one.scores, one.scores])
    binary = Predictions(one.positive.astype(np.int64), both, predictions.patients)
    found = intervals(binary, bootstrap.unless(one.few), ["auc"])["auc"]
    return {"auc": found.value, "auc_low": found.low, "auc_high": found.high}


def spread(repeats: Sequence[Predictions]) -> dict[str, Any]:
    """Mean and standard deviation (of the sample) of each metric over trainings that differ by their seed.

    Args:
        repeats: each training's predictions of the same images.

    Returns:
        ``n``, ``mean`` and ``sd`` by metric; the deviation of one training is null.
    """
    values = {
        name: [METRICS[name].compute(one.labels, one.scores) for one in repeats] for name in _possible(repeats[0])
    }
    return {
        "n": len(repeats),
        "mean": {name: fmean(values[name]) if name in values else None for name in METRICS},
        "sd": {name: stdev(values[name]) if len(values.get(name, [])) > 1 else None for name in METRICS},
    }
