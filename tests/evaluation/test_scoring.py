"""What evaluation.json says of one model: the contract's keys, right numbers, reasons in place of NaN."""

import json
from unittest.mock import ANY

import numpy as np
import pytest

from bench.evaluation import scoring
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import applicable, evaluate
from bench.stats.predictions import Predictions


def score_model(labels, scores, patients, classes, seed, draws=200):
    return scoring.score_model(Predictions(labels, scores, patients, classes), Bootstrap(draws, seed=seed)).content()


def spread(labels, repeats, classes):
    patients = np.arange(len(labels))
    each = {place: Predictions(labels, scores, patients, classes) for place, scores in enumerate(repeats, 1)}
    return scoring.spread(each, 1).content()


def cohort(n=60, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + np.eye(n_classes)[labels]
    scores = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return labels, scores, np.array([f"p{number // 2}" for number in range(n)])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_keys_of_the_contract(n_classes):
    classes = ["NORMAL", "BACTERIA", "VIRUS"][:n_classes]
    found = score_model(*cohort(n_classes=n_classes), classes, seed=0)
    assert set(found) == {"metrics", "confusion", "per_class", "averages"}
    assert set(found["metrics"]) == set(applicable(n_classes, ordinal=False))
    for entry in found["metrics"].values():
        assert set(entry) == {"value", "low", "high"}
        assert entry["low"] < entry["value"] < entry["high"]
    assert list(found["per_class"]) == classes
    for entry in found["per_class"].values():
        assert set(entry) == {"precision", "recall", "f1", "support", "auc", "auc_low", "auc_high"}
        assert entry["auc_low"] < entry["auc"] < entry["auc_high"]
    assert {kind: set(entry) for kind, entry in found["averages"].items()} == {
        "macro": {"precision", "recall", "f1"},
        "weighted": {"precision", "recall", "f1"},
    }
    json.dumps(found, allow_nan=False)


def test_metrics_are_those_of_the_table():
    labels, scores, patients = cohort()
    found = score_model(labels, scores, patients, ["A", "B"], seed=0)["metrics"]
    assert {name: entry["value"] for name, entry in found.items()} == evaluate(labels, scores)


def test_a_hand_example():
    """Of three NORMAL one is called SICK, of two SICK one is called NORMAL."""
    labels = np.array([0, 0, 0, 1, 1])
    sick = np.array([0.1, 0.2, 0.7, 0.9, 0.3])
    found = score_model(labels, np.column_stack([1 - sick, sick]), np.arange(5), ["NORMAL", "SICK"], seed=0)
    assert found["confusion"] == [[2, 1], [1, 1]], "rows are the reference standard"
    assert found["per_class"]["SICK"] == {
        "precision": 0.5,
        "recall": 0.5,
        "f1": 0.5,
        "support": 2,
        "auc": pytest.approx(5 / 6),
        "auc_low": ANY,
        "auc_high": ANY,
    }
    assert found["per_class"]["NORMAL"]["recall"] == pytest.approx(2 / 3)
    assert found["per_class"]["NORMAL"]["support"] == 3
    assert found["averages"]["macro"]["recall"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found["averages"]["weighted"]["recall"] == pytest.approx(3 / 5)


def test_a_class_that_is_never_predicted_has_zeros_and_no_warning(recwarn):
    labels, _, patients = cohort()
    certain = np.column_stack([np.full(60, 0.9), np.full(60, 0.1)])
    found = score_model(labels, certain, patients, ["A", "B"], seed=0)
    assert found["per_class"]["B"]["precision"] == found["per_class"]["B"]["f1"] == 0.0
    assert not [warning for warning in recwarn.list if "ill-defined" in str(warning.message)]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("present", [[0], [1], [0, 1], [2]])
def test_missing_classes_give_reasons_not_nan(present):
    labels, scores, patients = cohort(n_classes=3)
    keep = np.isin(labels, present)
    classes = ["NORMAL", "BACTERIA", "VIRUS"]
    found = score_model(labels[keep], scores[keep], patients[keep], classes, seed=0)
    json.dumps(found, allow_nan=False)
    accuracy = found["metrics"]["accuracy"]
    assert accuracy["value"] == pytest.approx((scores[keep].argmax(axis=1) == labels[keep]).mean())
    for name, entry in found["metrics"].items():
        if name in ("accuracy", "log_loss", "brier"):
            assert entry["low"] < entry["value"] < entry["high"], "these need no other class"
            continue
        assert entry["value"] is entry["low"] is entry["high"] is None
        for index, label in enumerate(classes):
            assert (label in entry["reason"]) == (index not in present)
    assert [len(row) for row in found["confusion"]] == [3, 3, 3]
    assert sum(map(sum, found["confusion"])) == keep.sum()


def test_a_single_class_of_two():
    labels, scores, patients = cohort()
    found = score_model(labels[labels == 1], scores[labels == 1], patients[labels == 1], ["NORMAL", "SICK"], seed=0)
    json.dumps(found, allow_nan=False)
    assert found["metrics"]["auc"]["value"] is None
    assert "NORMAL" in found["metrics"]["auc"]["reason"]
    assert found["per_class"]["NORMAL"] == {
        "precision": 0.0,
        "recall": 0.0,
        "f1": 0.0,
        "support": 0,
        "auc": None,
        "auc_low": None,
        "auc_high": None,
    }


def test_one_patient_alone_gives_values_that_json_takes():
    labels, scores, _ = cohort(8)
    found = score_model(labels, scores, np.array(["p"] * 8), ["A", "B"], seed=0)
    json.dumps(found, allow_nan=False)
    assert found["metrics"]["auc"]["value"] is not None


def test_the_seed_decides_the_intervals_and_nothing_else():
    first, second = (score_model(*cohort(), ["A", "B"], seed=seed) for seed in (0, 1))
    assert first["metrics"] != second["metrics"]
    assert {name: entry["value"] for name, entry in first["metrics"].items()} == {
        name: entry["value"] for name, entry in second["metrics"].items()
    }
    assert first["confusion"] == second["confusion"]
    assert first == score_model(*cohort(), ["A", "B"], seed=0)


def test_no_draws_no_intervals():
    found = score_model(*cohort(), ["A", "B"], seed=0, draws=0)
    json.dumps(found, allow_nan=False)
    for entry in found["metrics"].values():
        assert entry["value"] is not None
        assert entry["low"] is entry["high"] is None


def test_spread_over_seeds_is_that_of_the_sample():
    labels = np.array([0, 0, 1, 1])
    one = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    other = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.2, 0.8]])
    found = spread(labels, [one, other], ["A", "B"])
    assert (found["n"], found["repeats"], found["representative"]) == (2, [1, 2], 1)
    assert found["values"]["accuracy"] == [1.0, 0.75]
    assert found["mean"]["accuracy"] == pytest.approx((1 + 3 / 4) / 2)
    assert found["sd"]["accuracy"] == pytest.approx(0.25 / np.sqrt(2))
    assert spread(labels, [one], ["A", "B"])["sd"]["accuracy"] is None
    assert spread(labels[:2], [one[:2]], ["A", "B"])["mean"]["auc"] is None


def test_an_interval_of_no_width_is_none():
    labels, _, patients = cohort()
    perfect = np.eye(2)[labels] * 0.8 + 0.1
    found = score_model(labels, perfect, patients, ["A", "B"], seed=0)
    assert found["metrics"]["auc"] == {"value": 1.0, "low": None, "high": None}
    assert found["per_class"]["A"]["auc"] == 1.0 and found["per_class"]["A"]["auc_low"] is None
