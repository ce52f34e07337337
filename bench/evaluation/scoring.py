"""Predictions and reference standard become the numbers of evaluation.json. No Keras."""

from collections.abc import Mapping
from dataclasses import asdict
from statistics import fmean, stdev

import numpy as np
from sklearn import metrics as sk

from bench.run.documents import ClassScores, Estimate, ModelScores, SeedSpread
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions


def score_model(predictions: Predictions, bootstrap: Bootstrap) -> ModelScores:
    """What evaluation.json says of one model: metrics with intervals, confusion matrix, scores by class.

    A metric that the labels do not allow (a class is missing) is null, with its reason. There are no intervals of what
    depends on classes of which there are too few patients (`bench.stats.enough`).
    """
    labels, predicted, classes = predictions.labels, predictions.predicted, predictions.classes
    bootstrap = bootstrap.unless(predictions.few)
    scores = {
        kind: sk.precision_recall_fscore_support(
            labels, predicted, labels=range(len(classes)), average=kind, zero_division=0.0
        )
        for kind in ("macro", "weighted", None)
    }
    precision, recall, f1, support = scores[None]
    against_rest = [_auc_against_rest(predictions, index, bootstrap) for index in range(len(classes))]
    return ModelScores(
        metrics=_metrics(predictions, bootstrap),
        confusion=sk.confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        per_class={
            name: ClassScores(
                precision=precision[index],
                recall=recall[index],
                f1=f1[index],
                support=int(support[index]),
                auc=against_rest[index].value,
                auc_low=against_rest[index].low,
                auc_high=against_rest[index].high,
            )
            for index, name in enumerate(classes)
        },
        averages={
            kind: dict(zip(("precision", "recall", "f1"), scores[kind][:3], strict=True))
            for kind in ("macro", "weighted")
        },
    )


def _metrics(predictions: Predictions, bootstrap: Bootstrap) -> dict[str, Estimate]:
    found = intervals(predictions, bootstrap, _possible(predictions))
    entries = {}
    for name in predictions.metrics:
        if name not in found:
            entries[name] = Estimate(value=None, low=None, high=None, reason=predictions.missing_classes)
        elif predictions.few_of_a_class and METRICS[name].needs_all_classes:
            entries[name] = Estimate(value=found[name].value, low=None, high=None)
        else:
            entries[name] = Estimate(**asdict(found[name]))
    return entries


def _possible(predictions: Predictions) -> list[str]:
    """Names of the metrics that the labels allow."""
    missing = predictions.missing_classes
    return [name for name in predictions.metrics if not (missing and METRICS[name].needs_all_classes)]


def _auc_against_rest(predictions: Predictions, index: int, bootstrap: Bootstrap) -> Estimate:
    one = predictions.against_rest(index)
    if not one.both_sides:
        return Estimate()
    both = np.column_stack([1 - one.scores, one.scores])
    binary = Predictions(one.positive.astype(np.int64), both, predictions.patients)
    return Estimate(**asdict(intervals(binary, bootstrap.unless(one.few), ["auc"])["auc"]))


def spread(repeats: Mapping[int, Predictions], representative: int) -> SeedSpread:
    """Each metric of trainings that differ by their seed, its mean and its standard deviation (of the sample).

    The deviation of one training is None.
    """
    order = sorted(repeats)
    names = repeats[order[0]].metrics
    values = {
        name: [METRICS[name].compute(repeats[place].labels, repeats[place].scores) for place in order]
        for name in _possible(repeats[order[0]])
    }
    return SeedSpread(
        n=len(repeats),
        repeats=tuple(order),
        representative=representative,
        values={name: tuple(each) for name, each in values.items()},
        mean={name: fmean(values[name]) if name in values else None for name in names},
        sd={name: stdev(values[name]) if len(values.get(name, [])) > 1 else None for name in names},
    )
