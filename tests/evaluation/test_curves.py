"""ROC and precision-recall curves on the grid agree with scikit-learn's, and their bands hold them."""

import numpy as np
import pytest
from cohorts import cohort
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from bench.evaluation.curves import curves
from bench.run.tables import CURVES
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions

CLASSES = ["NORMAL", "PNEUMONIA"]


def drawn(labels, scores, patients, draws=0):
    table = curves({"vgg16": Predictions(labels, scores, patients, CLASSES)}, Bootstrap(draws))
    return {name: part.reset_index(drop=True) for name, part in table.groupby("curve")}


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(4, 60), st.sampled_from([2, 5, 1000]))
def test_both_curves_are_those_of_scikit_learn(seed, n, steps):
    rng = np.random.default_rng(seed)
    labels = rng.permutation((np.arange(n) < max(1, n // 3)).astype(np.int64))
    positive = rng.integers(0, steps + 1, n) / steps
    found = drawn(labels, np.column_stack([1 - positive, positive]), np.arange(n))
    false, true, _ = roc_curve(labels, positive, drop_intermediate=False)
    grid = np.arange(101) / 100
    assert list(found["roc"]["x"]) == list(found["pr"]["x"]) == list(grid)
    assert np.allclose(found["roc"]["y"], np.interp(grid, false, true), atol=1e-9)
    precision, recall, _ = precision_recall_curve(labels, positive)
    highest = [precision[:-1][recall[:-1] >= place - 1e-9][-1] for place in grid]
    assert np.allclose(found["pr"]["y"], highest, atol=1e-9)


def test_their_areas_are_the_scores():
    labels, scores, patients = cohort(2000)
    found = drawn(labels, scores, patients)
    assert np.trapezoid(found["roc"]["y"], found["roc"]["x"]) == pytest.approx(
        roc_auc_score(labels, scores[:, 1]), abs=3e-3
    )
    assert found["pr"]["y"].mean() == pytest.approx(average_precision_score(labels, scores[:, 1]), abs=5e-3)


def test_a_jump_is_taken_at_its_upper_end():
    """A perfect ranking: sensitivity is 1 where 1 - specificity is 0."""
    labels = np.arange(20) % 2
    found = drawn(labels, np.eye(2)[labels], np.arange(20), draws=50)
    assert (found["roc"]["y"] == 1).all()
    assert (found["pr"]["y"] == 1).all()


def test_bands_hold_the_curves_and_copies_do_not_narrow_them():
    labels, scores, _ = cohort(120)
    copies = np.repeat(np.arange(120), 5)
    single = drawn(labels, scores, np.arange(120), 200)
    clustered = drawn(labels[copies], scores[copies], copies, 200)
    for curve in ("roc", "pr"):
        part = single[curve]
        known = part.dropna(subset=["low"])
        assert ((known["low"] <= known["y"]) & (known["y"] <= known["high"])).mean() > 0.95
        assert (known["low"] < known["high"]).all(), "no band where all draws agree"
        assert part[["low", "high"]].min(axis=None) >= 0
        assert part[["low", "high"]].max(axis=None) <= 1
        assert np.allclose(part[["low", "high"]], clustered[curve][["low", "high"]], equal_nan=True)


def test_few_patients_of_a_class_have_no_band():
    labels, scores, _ = cohort(120)
    few = np.where(labels == 1, np.arange(120) % 9, np.arange(120) + 9)
    found = drawn(labels, scores, few, 50)
    assert found["roc"]["low"].isna().all() and found["pr"]["high"].isna().all()


def test_several_models_and_classes():
    labels, scores, patients = cohort(150, 3)
    one = Predictions(labels, scores, patients, ["a", "b", "c"])
    table = curves({"vgg16": one, "resnet50": one.with_scores(scores[:, ::-1])}, Bootstrap(30))
    assert list(table.columns) == CURVES.names
    sizes = table.groupby(["model", "class", "curve"]).size()
    assert len(sizes) == 12
    assert (sizes == 101).all()


def test_a_class_that_no_image_has_is_left_out():
    labels, scores, patients = cohort(60, 3)
    table = curves({"vgg16": Predictions(np.zeros_like(labels), scores, patients, ["a", "b", "c"])}, Bootstrap())
    assert list(table.columns) == CURVES.names
    assert not len(table)
