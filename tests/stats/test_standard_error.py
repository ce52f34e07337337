"""Standard errors from the score alone, held against the bootstrap of predictions that have that score."""

import math
from typing import Any

import numpy as np
import pytest

from bench.stats.metrics import METRICS
from bench.stats.standard_error import standard_error

# How many times the bootstrap's a standard error may be, as its docstring says
BETWEEN = {
    "auc": (0.8, 2.3),
    "pr_auc": (0.9, 4.7),
    "specificity_at_95_sensitivity": (0.6, 1.2),
    "quadratic_kappa": (0.7, 1.2),
    "accuracy": (0.9, 1.2),
    "balanced_accuracy": (0.9, 1.2),
    "f1": (0.9, 1.2),
    "brier": (1.4, 2.3),
    "log_loss": (0.3, 1.6),
}


def predicted(n_classes: int, patients: int, apart: float) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    labels = rng.choice(n_classes, patients, p=[0.33, 0.67] if n_classes == 2 else [0.1, 0.2, 0.3, 0.4])
    logits = rng.normal(0, 1, (patients, n_classes))
    logits[np.arange(patients), labels] += apart
    scores = np.exp(logits * min(apart, 2.0))
    return labels, scores / scores.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("patients", [120, 700])
@pytest.mark.parametrize("apart", [1.0, 2.5])
def test_it_is_near_that_of_the_bootstrap(n_classes: int, patients: int, apart: float) -> None:
    labels, scores = predicted(n_classes, patients, apart)
    weights = np.random.default_rng(1).multinomial(patients, np.full(patients, 1 / patients), 400).astype(float)
    for name, metric in METRICS.items():
        drawn = float(np.nanstd(metric.weighted(labels, scores, weights)))
        value = metric.compute(labels, scores)
        found = standard_error(name, value, np.bincount(labels).tolist())
        if value == 1:
            assert found == 0
            continue
        low, high = BETWEEN[name]
        assert low <= found / drawn <= high, f"{name}: {found} of {drawn}"


def test_that_of_an_auc_by_chance_is_mann_and_whitney_s() -> None:
    for negative, positive in ((10, 10), (58, 51), (1000, 30)):
        exact = math.sqrt((negative + positive + 1) / (12 * negative * positive))
        assert standard_error("auc", 0.5, [negative, positive]) == pytest.approx(exact)


@pytest.mark.parametrize("name", METRICS)
def test_four_times_the_patients_halve_it_and_a_perfect_score_has_none(name: str) -> None:
    perfect = 0.0 if name in ("log_loss", "brier") else 1.0
    assert standard_error(name, perfect, [40, 80]) == 0
    small, large = standard_error(name, 0.8, [400, 800]), standard_error(name, 0.8, [1600, 3200])
    assert large == pytest.approx(small / 2, rel=0.01)


@pytest.mark.parametrize("patients", [[], [0, 10], [10, 0, 3]])
def test_without_patients_of_a_class_nothing_is_known(patients: list[int]) -> None:
    assert math.isinf(standard_error("auc", 0.9, patients))
