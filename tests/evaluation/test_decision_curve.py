"""Net benefit by hand, beside acting on everybody and on nobody."""

import numpy as np
import pytest
from cohorts import cohort

from bench.evaluation.decision_curve import decision_curve as curve_of
from bench.run.tables import DECISION_CURVE
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions

CLASSES = ["NORMAL", "PNEUMONIA"]


def decision_curve(labels, scores, patients, classes, draws=2000):
    return curve_of(Predictions(labels, scores, patients, classes), Bootstrap(draws))


def test_net_benefit_by_hand():
    """At 0.2: 2 true and 1 false positive of 4, odds 1/4. At 0.8: one true positive, and it is reached exactly."""
    positive = np.array([0.8, 0.3, 0.25, 0.1])
    table = decision_curve(np.array([1, 1, 0, 0]), np.column_stack([1 - positive, positive]), np.arange(4), CLASSES)
    assert list(table.columns) == DECISION_CURVE.names
    assert list(table["threshold"]) == [round(0.01 * step, 2) for step in range(1, 100)]
    at = table.set_index("threshold")
    assert at.loc[0.2, "model"] == pytest.approx(2 / 4 - 1 / 4 * 0.25)
    assert at.loc[0.8, "model"] == pytest.approx(1 / 4)
    assert at.loc[0.81, "model"] == 0
    assert at.loc[0.2, "treat_all"] == pytest.approx(0.5 - 0.5 * 0.25)
    assert (table["treat_none"] == 0).all()
    assert table[["low", "gain_low"]].isna().all(axis=None), "four patients"


def test_the_band_holds_the_curve_and_a_sure_low_threshold_is_treat_all():
    labels, scores, patients = cohort()
    table = decision_curve(labels, scores, patients, CLASSES, draws=300)
    assert ((table["low"] <= table["model"]) & (table["model"] <= table["high"])).all()
    below = table["threshold"] < scores[:, 1].min()
    assert np.allclose(table.loc[below, "model"], table.loc[below, "treat_all"])


def test_the_gain_is_held_against_the_better_of_the_simple_rules():
    labels, scores, patients = cohort()
    table = decision_curve(labels, scores, patients, CLASSES, draws=300)
    assert np.allclose(table["gain"], table["model"] - table["treat_all"].clip(lower=0))
    known = table.dropna(subset=["gain_low"])
    assert ((known["gain_low"] <= known["gain"]) & (known["gain"] <= known["gain_high"])).all()
    middle = table[table["threshold"] == 0.5].iloc[0]
    assert middle["gain_low"] > 0
    low = table[table["threshold"] == 0.1].iloc[0]
    narrower = low["gain_high"] - low["gain_low"] < (low["high"] - low["low"]) / 2
    assert narrower, "the draws are shared, and with them the number of positives"


def test_each_of_several_classes_against_the_rest():
    labels, scores, patients = cohort(150, 3)
    table = decision_curve(labels, scores, patients, ["a", "b", "c"], draws=100)
    assert table.groupby("class").size().to_dict() == {"a": 99, "b": 99, "c": 99}
    middle = table[table["class"] == "b"].reset_index(drop=True)
    alone = decision_curve(
        (labels == 1).astype(int), np.column_stack([1 - scores[:, 1], scores[:, 1]]), patients, CLASSES, 100
    )
    assert np.allclose(middle["model"], alone["model"])
    assert np.allclose(middle["high"], alone["high"], equal_nan=True)


def test_a_class_that_no_image_has_is_left_out():
    labels, scores, patients = cohort(150, 3)
    table = decision_curve(np.where(labels == 2, 0, labels), scores, patients, ["a", "b", "c"], draws=50)
    assert list(table["class"].unique()) == ["a", "b"]
    assert list(decision_curve(labels[:0], scores[:0], patients[:0], ["a", "b", "c"]).columns) == DECISION_CURVE.names
