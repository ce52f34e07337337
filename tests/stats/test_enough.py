"""How many patients an interval needs, of a split and of its classes."""

import numpy as np
import pytest
from scipy.stats import t

from bench.evaluation.comparisons import Rules, comparisons
from bench.evaluation.inputs import ScoredModel
from bench.evaluation.operating_points import operating_points
from bench.evaluation.scoring import score_model
from bench.run.documents import Threshold
from bench.stats.bootstrap import Bootstrap
from bench.stats.enough import by_class, fewest, one_against_rest, too_few
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

CLASSES = ["NORMAL", "PNEUMONIA"]
BOOTSTRAP = Bootstrap(100)


def study(sick, healthy=100):
    """Fairly good predictions of patients with one image each."""
    rng = np.random.default_rng(0)
    labels = np.array([1] * sick + [0] * healthy)
    positive = np.clip(rng.normal(0.4 + 0.3 * labels, 0.15), 0.01, 0.99)
    return Predictions(labels, np.column_stack([1 - positive, positive]), np.arange(len(labels)), CLASSES)


@pytest.mark.parametrize(
    "patients, parts, said",
    [
        (np.arange(10), None, ""),
        (np.arange(9), None, "there are 9 patients, fewer than 10"),
        (np.zeros(30), None, "there is 1 patient, fewer than 10"),
        (np.arange(20), {"A": np.arange(20) < 10, "B": np.arange(20) >= 10}, ""),
        (np.arange(20), {"A": np.arange(20) < 9}, "there are 9 patients of A, fewer than 10"),
        (np.arange(40) // 2, {"A": np.arange(40) < 18}, "there are 9 patients of A, fewer than 10"),
        (np.arange(9), {"A": np.arange(9) < 1}, "there are 9 patients, fewer than 10"),
    ],
)
def test_patients_are_counted_in_each_part(patients, parts, said):
    assert too_few(patients, parts) == said


def test_the_part_with_the_fewest_patients_counts_those_with_images_of_several_parts_in_each():
    patients = np.repeat(np.arange(10), 2)
    parts = {"A": np.arange(20) < 3, "B": np.arange(20) >= 3}  # patient 1 has one image of either
    assert fewest(patients) == 10
    assert fewest(patients, parts) == 2
    assert fewest(patients, {"B": parts["B"]}) == 9


@pytest.mark.parametrize(("metric", "counted"), [("auc", 12), ("f1", 12), ("accuracy", 112), ("log_loss", 112)])
def test_t_intervals_go_by_the_class_with_the_fewest_where_the_metric_needs_all(metric, counted):
    found = study(12)
    assert found.fewest_for(METRICS[metric]) == counted
    drawn = BOOTSTRAP.of_models(metric, found, [found.scores, found.scores[::-1]])
    assert (drawn.patients, drawn.counted) == (112, counted)
    apart = drawn.difference(0, 1)
    spread = np.std(drawn.draws[:, 0] - drawn.draws[:, 1], ddof=1) * np.sqrt(counted / (counted - 1))
    assert apart.high - apart.value == pytest.approx(t.ppf(0.975, counted - 1) * spread)
    assert apart.p == pytest.approx(2 * t.sf(abs(apart.value) / spread, counted - 1))


def test_parts():
    labels = np.array([0, 1, 2, 1])
    assert {name: part.tolist() for name, part in by_class(labels, "ABC").items()} == {
        "A": [True, False, False, False],
        "B": [False, True, False, True],
        "C": [False, False, True, False],
    }
    assert list(one_against_rest(labels, 1, "ABC")) == ["B", "classes other than B"]
    assert list(one_against_rest(labels % 2, 1, CLASSES)) == ["PNEUMONIA", "NORMAL"]


def test_what_takes_all_images_together_needs_no_patients_of_each_class():
    found = study(3)
    assert found.few_for(METRICS["accuracy"]) == found.few == ""
    assert found.few_for(METRICS["auc"]) == "there are 3 patients of PNEUMONIA, fewer than 10"
    assert (
        Predictions(found.labels, found.scores, found.patients)
        .few_for(METRICS["f1"])
        .endswith("of class 1, fewer than 10")
    )


def test_scores_that_look_at_a_rare_class_have_no_interval():
    found = score_model(study(3), BOOTSTRAP).content()
    for name in ("auc", "pr_auc", "balanced_accuracy", "f1"):
        assert found["metrics"][name]["value"] is not None
        assert found["metrics"][name]["low"] is found["metrics"][name]["high"] is None, name
    for name in ("accuracy", "log_loss", "brier"):
        assert found["metrics"][name]["low"] < found["metrics"][name]["high"], name
    assert found["per_class"]["PNEUMONIA"]["auc_low"] is None
    enough = score_model(study(10), BOOTSTRAP).content()
    assert enough["metrics"]["auc"]["low"] < enough["metrics"]["auc"]["high"]


def test_models_are_not_told_apart_by_one_patient():
    """The two rank one sick patient differently, which says nothing of others."""
    predictions = study(1)
    other = predictions.scores.copy()
    other[0] = [0.99, 0.01]
    models = {
        name: ScoredModel(name.upper(), "finalist", {1: predictions.with_scores(scores)}, 1)
        for name, scores in (("a", predictions.scores), ("b", other))
    }
    row = comparisons(models, Rules("a", METRICS["auc"], 0.01, BOOTSTRAP)).iloc[0]
    assert abs(row["difference"]) > 0.5
    assert row[["low", "p", "p_holm"]].isna().all()
    assert row["verdict"] == "not computed"
    assert "there is 1 patient of PNEUMONIA, fewer than 10" in row["sentence"]


@pytest.mark.parametrize("sick", [5, 20])
def test_predictive_values_are_never_certain(sick):
    """All sick patients are found: NPV is 1 in each draw, and Wilson's interval of sensitivity still says how sure."""
    labels, patients = study(sick).labels, study(sick).patients
    scores = np.column_stack([1 - labels * 0.9, labels * 0.9])
    scores[-20:] = [0.1, 0.9]
    predictions = Predictions(labels, scores, patients, CLASSES)
    points, rows = operating_points(predictions, [Threshold(label="PNEUMONIA", value=0.5, rule="a rule")], BOOTSTRAP)
    known = points.set_index(["point", "measure"]).loc[("frozen", "sensitivity")]
    assert (known["value"], known["low"]) == (1.0, None) or np.isnan(known["low"])
    for row in rows.to_dict("records"):
        assert row["npv"] == 1.0
        assert row["npv_by"] == "wilson"
        assert row["npv_low"] < row["npv_high"] == pytest.approx(1.0)
        assert row["ppv_low"] < row["ppv"] < row["ppv_high"]
        assert row["ppv_by"] == "wilson", "it depends on the same sensitivity"
    half = rows[rows["prevalence"] == 0.5].iloc[0]
    sensitivity, specificity = (
        known["wilson_low"],
        points.set_index(["point", "measure"]).loc[("frozen", "specificity"), "wilson_low"],
    )
    assert half["npv_low"] == pytest.approx(specificity / (specificity + 1 - sensitivity))
    thrice = np.repeat(np.arange(len(labels)), 3)
    _, copied = operating_points(
        predictions.part(thrice), [Threshold(label="PNEUMONIA", value=0.5, rule="a rule")], BOOTSTRAP
    )
    ends = ["npv_low", "npv_high", "ppv_low", "ppv_high"]
    assert np.allclose(copied[ends], rows[ends]), "more images of the same patients make nothing surer"
