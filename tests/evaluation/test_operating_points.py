"""Operating points by hand, their intervals, and what is missing."""

import numpy as np
import pytest
from cohorts import cohort

from bench.evaluation.operating_points import operating_points
from bench.run.documents import Threshold
from bench.run.tables import OPERATING_POINTS, PREVALENCES
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson

CLASSES = ["NORMAL", "PNEUMONIA"]
FROZEN = [Threshold(label="PNEUMONIA", value=0.7, rule="Youden index on validation")]


def points_of(labels, scores, patients, thresholds=FROZEN, classes=CLASSES, draws=300):
    return operating_points(Predictions(labels, scores, patients, classes), thresholds, Bootstrap(draws))


def by_name(points, point="frozen"):
    return {row["measure"]: row for row in points[points["point"] == point].to_dict("records")}


def test_counts_by_hand():
    """At 0.7 and above: 2 of 3 positives, 1 of 5 negatives."""
    positive = np.array([0.9, 0.7, 0.69, 0.8, 0.6, 0.3, 0.2, 0.1])
    labels = np.array([1, 1, 1, 0, 0, 0, 0, 0])
    found = by_name(points_of(labels, np.column_stack([1 - positive, positive]), np.arange(8))[0])
    counted = {measure: (row["hits"], row["of"]) for measure, row in found.items()}
    assert counted == {
        "sensitivity": (2, 3),
        "specificity": (4, 5),
        "ppv": (2, 3),
        "npv": (4, 5),
        "accuracy": (6, 8),
    }
    assert found["ppv"]["value"] == pytest.approx(2 / 3)
    assert (found["ppv"]["wilson_low"], found["ppv"]["wilson_high"]) == wilson(2, 3)
    assert found["ppv"]["reason"] == "no interval by patients: there are 8 patients, fewer than 10"


def test_both_points_with_both_intervals():
    points, prevalences = points_of(*cohort())
    assert list(points.columns) == OPERATING_POINTS.names
    assert list(prevalences.columns) == PREVALENCES.names
    assert list(zip(points["point"], points["threshold"], points["rule"], strict=True))[::5] == [
        ("0.5", 0.5, "fixed beforehand"),
        ("frozen", 0.7, "Youden index on validation"),
    ]
    assert (points["reason"] == "").all()
    assert ((points["low"] < points["value"]) & (points["value"] < points["high"])).all()
    assert ((points["wilson_low"] < points["value"]) & (points["value"] < points["wilson_high"])).all()


def test_a_higher_threshold_trades_sensitivity_for_specificity():
    points, _ = points_of(*cohort())
    low, high = by_name(points, "0.5"), by_name(points)
    assert high["sensitivity"]["value"] < low["sensitivity"]["value"]
    assert high["specificity"]["value"] > low["specificity"]["value"]


def test_copies_of_images_widen_the_interval_by_patients_alone():
    labels, scores, _ = cohort(60)
    copies = np.repeat(np.arange(60), 10)
    found = by_name(points_of(labels[copies], scores[copies], copies)[0])["accuracy"]
    assert found["high"] - found["low"] > 2 * (found["wilson_high"] - found["wilson_low"])


def test_bayes_by_hand_and_the_splits_own_prevalence():
    labels, scores, patients = cohort(600, 3)
    points, prevalences = points_of(labels, scores, patients, [Threshold(label="b", value=0.4)], ["a", "b", "c"])
    found = by_name(points)
    sensitivity, specificity = found["sensitivity"]["value"], found["specificity"]["value"]
    rows = prevalences[prevalences["point"] == "frozen"].to_dict("records")
    assert [row["prevalence"] for row in rows] == pytest.approx([0.01, 0.05, 0.1, 0.2, 0.3, 1 / 3, 0.5])
    for row in rows:
        share = row["prevalence"]
        alarms = (1 - specificity) * (1 - share)
        assert row["ppv"] == pytest.approx(sensitivity * share / (sensitivity * share + alarms))
        cleared = specificity * (1 - share)
        assert row["npv"] == pytest.approx(cleared / (cleared + (1 - sensitivity) * share))
        assert row["ppv_low"] < row["ppv"] < row["ppv_high"]
    (own,) = [row for row in rows if row["observed"]]
    assert (own["ppv"], own["npv"]) == pytest.approx((found["ppv"]["value"], found["npv"]["value"]))


def test_a_split_with_an_even_prevalence_has_it_once():
    _, prevalences = points_of(*cohort(200))
    assert list(prevalences[prevalences["observed"]]["prevalence"]) == [0.5, 0.5]
    assert len(prevalences) == 12


@pytest.mark.parametrize(
    ("label", "empty", "words"), [(0, "sensitivity", "holds no image of"), (1, "specificity", "alone")]
)
def test_one_class(label, empty, words):
    labels, scores, patients = cohort()
    points, prevalences = points_of(np.full_like(labels, label), scores, patients)
    found = by_name(points)
    assert np.isnan(found[empty]["value"])
    assert words in found[empty]["reason"]
    assert found["accuracy"]["low"] < found["accuracy"]["value"]
    assert prevalences[["ppv", "npv"]].isna().all(axis=None)


def test_nobody_called_has_no_ppv_and_a_sure_thing_no_interval_by_patients():
    labels, _, patients = cohort()
    found = by_name(points_of(labels, np.tile([0.8, 0.2], (len(labels), 1)), patients)[0])
    assert found["ppv"]["of"] == 0
    assert found["ppv"]["reason"] == "no image is called PNEUMONIA"
    assert found["sensitivity"]["value"] == 0.0
    assert np.isnan(found["sensitivity"]["low"])
    assert "the bootstrap draws all agree" in found["sensitivity"]["reason"]
    assert found["sensitivity"]["wilson_high"] > 0


def test_nothing_is_written_as_nan(tmp_path):
    labels, scores, patients = cohort()
    for number, table in enumerate(points_of(np.zeros_like(labels), scores, patients)):
        table.to_csv(tmp_path / f"{number}.csv", index=False)
        assert "nan" not in (tmp_path / f"{number}.csv").read_text().lower()


def test_no_images_give_empty_tables():
    labels, scores, patients = cohort()
    for table in points_of(labels[:0], scores[:0], patients[:0]):
        assert len(table) == 0
        assert "class" in table.columns
