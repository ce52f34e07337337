"""ROC and precision-recall curves of one set of scores: their areas, and the same on the grid."""

import numpy as np
import pytest

from bench.stats.curves import GRID, on_grid, precision_recall, roc
from bench.stats.metrics import auc, positives_above, pr_auc


@pytest.fixture(scope="module")
def scored():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    return labels == 1, np.round(1 / (1 + np.exp(-rng.normal(2 * labels - 1, 1.5))), 2)


def test_their_areas_are_the_metrics(scored):
    positive, scores = scored
    both = np.column_stack([1 - scores, scores])
    assert roc(positive, scores).area == pytest.approx(auc(positive.astype(int), both), abs=1e-12)
    assert precision_recall(positive, scores).area == pr_auc(positive.astype(int), both)


def test_on_the_grid_they_are_the_same(scored):
    positive, scores = scored
    (values,) = on_grid(*positives_above(positive, scores, np.ones((1, 400))))
    curve = roc(positive, scores)
    assert values[: len(GRID)] == pytest.approx(np.interp(GRID, curve.x, curve.y), abs=1e-9)
    curve = precision_recall(positive, scores)
    highest = [curve.y[:-1][curve.x[:-1] >= place - 1e-9][-1] for place in GRID]
    assert values[len(GRID) :] == pytest.approx(highest, abs=1e-9)
