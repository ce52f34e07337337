"""Calibration before and after the map."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.evaluation.calibration import (
    BINS,
    calibration,
    error_if_perfect,
    expected_calibration_error,
    reliability,
)
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap, Choice, choose_map
from bench.stats.metrics import brier, log_loss
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson
from bench.stats.recalibration import Agreement


def calibrated(n=4000, n_classes=2, seed=0):
    """Labels drawn from the probabilities themselves: nothing is calibrated better."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1.0] * n_classes, n)
    labels = (rng.random(n)[:, None] > scores.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, n_classes - 1), scores


def test_ece_by_hand():
    """Tops 0.9 and 0.88 share a bin (one of two right: |1 - 1.78|), 0.6 is alone and right (|1 - 0.6|); over 3."""
    scores = np.array([[0.1, 0.9], [0.12, 0.88], [0.6, 0.4]])
    assert expected_calibration_error(np.array([1, 0, 0]), scores) == pytest.approx((0.78 + 0.4) / 3)


def test_ece_is_small_where_probabilities_are_true_and_resampling_raises_it():
    """Why it is given no interval: most draws of the images lie above the value, and far."""
    labels, scores = calibrated(600, seed=2)
    value = expected_calibration_error(labels, scores)
    assert value < 0.06
    assert expected_calibration_error(labels, CalibrationMap.of_temperature(0.3)(scores)) > value + 0.05
    rng = np.random.default_rng(0)
    draws = [expected_calibration_error(labels[rows], scores[rows]) for rows in rng.integers(0, 600, (200, 600))]
    assert np.mean(np.array(draws) > value) > 0.7
    assert np.mean(draws) > 1.2 * value


def test_reliability_bins_leave_out_what_is_empty():
    positive, scores = np.array([True, False, True, True]), np.array([0.95, 0.97, 0.01, 0.0])
    low, high = (one.content() for one in reliability(positive, scores))
    assert (low["from"], low["to"], low["images"]) == (0.0, pytest.approx(1 / BINS), 2)
    assert (low["predicted"], low["observed"]) == (pytest.approx(0.005), 1.0)
    assert (high["from"], high["to"]) == (pytest.approx(14 / 15), 1.0)
    assert (high["low"], high["high"]) == wilson(1, 2)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 200), st.sampled_from([2, 15, 10_000]))
def test_every_image_is_in_the_bin_of_its_probability(seed, n, steps):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, steps + 1, n) / steps
    bins = [one.content() for one in reliability(rng.random(n) < 0.5, scores)]
    assert sum(one["images"] for one in bins) == n
    assert sum(one["images"] * one["predicted"] for one in bins) == pytest.approx(scores.sum())
    for one in bins:
        assert one["from"] - 1e-9 <= one["predicted"] <= one["to"] + 1e-9
        assert 0 <= one["low"] <= one["observed"] + 1e-12
        assert one["observed"] <= one["high"] + 1e-12


def test_the_error_of_true_probabilities_is_what_their_labels_show():
    """Labels drawn from the probabilities reach their simulated ECE in every second study; timid ones never do."""
    reached = []
    for seed in range(40):
        labels, scores = calibrated(150, seed=seed)
        found = error_if_perfect(Predictions(labels, scores, np.arange(150)), seed)
        assert 0 < found.mean < found.high
        reached.append(found.reached)
    assert 0.35 < np.mean(reached) < 0.65
    timid = Predictions(*calibrated(600), np.arange(600))
    timid = timid.with_scores(CalibrationMap.of_temperature(3)(timid.scores))
    assert error_if_perfect(timid, 0).reached < 0.01


def test_images_that_agree_make_a_larger_error_by_noise():
    labels, scores = calibrated(60, seed=5)
    copies = np.repeat(np.arange(60), 10)
    alike = error_if_perfect(Predictions(labels[copies], scores[copies], copies), 0)
    apart = error_if_perfect(Predictions(labels[copies], scores[copies], np.arange(600)), 0)
    assert alike.mean > 2 * apart.mean


SHARP = CalibrationMap.of_temperature(0.5)
DRAWS = Bootstrap(200)


def test_both_splits_before_and_after():
    labels, scores = calibrated(500)
    sharp = SHARP(scores)
    test = Predictions(labels, sharp, np.arange(500), ["NORMAL", "PNEUMONIA"])
    choice = Choice(CalibrationMap.of_temperature(2.0))
    content = calibration(test.part(slice(200)), test, choice, DRAWS).content()
    assert (content["calibration"]["method"], content["bins"]) == ("temperature", 15)
    assert content["fitted_on"] == {"split": "val", "images": 200, "patients": 200}
    assert list(content["splits"]) == ["val", "test"]
    before, after = content["splits"]["test"]["before"], content["splits"]["test"]["after"]
    assert before["brier"] == brier(labels, sharp)
    assert after["log_loss"] == pytest.approx(log_loss(labels, scores))
    assert after["ece"] < before["ece"]
    assert list(after["reliability"]) == list(after["agreement"]) == ["PNEUMONIA"]
    assert before["agreement"]["PNEUMONIA"]["slope"]["high"] < 1
    assert before["agreement"]["PNEUMONIA"]["apart"] == ["slope"]
    agreed = after["agreement"]["PNEUMONIA"]
    assert agreed["slope"]["low"] < 1 < agreed["slope"]["high"]
    assert agreed["observed"] == pytest.approx(labels.mean())
    assert agreed["difference"]["value"] == pytest.approx(scores[:, 1].mean() - labels.mean(), abs=1e-6)
    assert content["change"]["value"] == pytest.approx(after["log_loss"] - before["log_loss"])
    assert content["verdict"] == "agrees"
    assert "tell: no interval, widened for 2 comparisons, misses perfect agreement." in content["sentence"]
    assert agreed["widened"]["slope"]["low"] < agreed["slope"]["low"] < agreed["slope"]["value"]
    assert "reason" not in content
    assert content["splits"]["val"]["after"]["agreement"]["PNEUMONIA"]["slope"]["low"] is None, "it was fitted there"


def test_what_the_map_made_worse_is_never_called_calibrated():
    labels, scores = calibrated(500)
    test = Predictions(labels, scores, np.arange(500), ["NORMAL", "PNEUMONIA"])
    content = calibration(test, test, Choice(SHARP), DRAWS).content()
    assert content["verdict"] == "worse"
    assert "worse, from 0." in content["sentence"] and "by 0." in content["sentence"]
    assert "calibrated" not in content["sentence"]


def test_probabilities_that_still_disagree_are_told_by_what():
    """A map that helps, and leaves the slope at 2."""
    labels, scores = calibrated(800)
    test = Predictions(labels, CalibrationMap.of_temperature(4)(scores), np.arange(800), ["NORMAL", "PNEUMONIA"])
    content = calibration(test, test, Choice(SHARP), DRAWS).content()
    assert content["verdict"] == "disagrees"
    assert "disagree with what was observed: the slope is 2." in content["sentence"]
    assert "the intercept" not in content["sentence"]


def test_too_few_patients_leave_it_open():
    labels, scores = calibrated(60)
    test = Predictions(labels, scores, np.arange(60) % 8, ["NORMAL", "PNEUMONIA"])
    content = calibration(test, test, Choice(CalibrationMap()), DRAWS).content()
    assert content["verdict"] == "unknown"
    assert "there are 8 patients, fewer than 10" in content["sentence"]
    assert content["change"]["value"] == 0


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(-1.34, 2.05, "unknown"), (0.4, 1.7, "unknown"), (0.6, 2.3, "agrees")]
)
def test_an_interval_of_the_slope_that_tells_nothing_calls_nothing_calibrated(
    monkeypatch: pytest.MonkeyPatch, low: float, high: float, verdict: str
) -> None:
    found = Agreement(0.5, 0.5, (0.0, (-0.1, 0.1)), (0.0, (-1.0, 1.0)), (1.0, (low, high)))
    monkeypatch.setattr("bench.evaluation.calibration.agreement", lambda *_: found)
    labels, scores = calibrated(60)
    test = Predictions(labels, scores, np.arange(60), ["NORMAL", "PNEUMONIA"])
    content = calibration(test, test, Choice(CalibrationMap()), DRAWS).content()
    assert content["verdict"] == verdict
    assert ("too few patients to tell" in content["sentence"]) is (verdict == "unknown")


def test_a_class_that_is_off_is_not_called_undecided_too(monkeypatch: pytest.MonkeyPatch) -> None:
    off = {"intercept": (-1.0, 1.0), "slope": (0.01, 0.3)}
    found = Agreement(0.5, 0.5, (0.0, (-0.1, 0.1)), (0.0, (-1.0, 1.0)), (0.12, (0.02, 0.21)), off, ("slope",))
    monkeypatch.setattr("bench.evaluation.calibration.agreement", lambda *_: found)
    labels, scores = calibrated(60)
    test = Predictions(labels, scores, np.arange(60), ["NORMAL", "PNEUMONIA"])
    content = calibration(test, test, Choice(CalibrationMap()), DRAWS).content()
    assert content["verdict"] == "disagrees" and "too few patients" not in json.dumps(content)


def test_the_weights_of_the_loss_are_a_step_of_their_own():
    labels, scores = calibrated(300)
    test = Predictions(labels, scores, np.arange(300))
    both = Choice(CalibrationMap("temperature", (1.5, 0.75), (0.5,)))
    assert list(calibration(test, test, both, DRAWS).splits["test"]) == ["before", "weights", "after"]
    alone = Choice(CalibrationMap("none", (1.5, 0.75)))
    assert list(calibration(test, test, alone, DRAWS).splits["test"]) == ["before", "after"]


def test_several_classes_each_against_the_rest():
    labels, scores = calibrated(300, 3)
    predictions = Predictions(labels, scores, np.arange(300), ["a", "b", "c"])
    content = calibration(predictions, predictions, Choice(CalibrationMap()), DRAWS).content()
    for part in ("reliability", "agreement"):
        assert list(content["splits"]["test"]["after"][part]) == ["a", "b", "c"]
    assert content["verdict"] == "agrees"
    assert list(calibration(predictions, None, Choice(CalibrationMap()), DRAWS).splits) == ["val"]


def test_a_class_that_validation_lacks_is_told():
    _, scores = calibrated(40)
    validation = Predictions(np.zeros(40, np.int64), scores, np.arange(40), ["NORMAL", "PNEUMONIA"])
    choice = choose_map(validation, (2.0, 0.5))
    content = calibration(validation, validation.part(slice(0)), choice, DRAWS).content()
    assert content["reason"].startswith("no map was fitted, since on validation there are 0 patients of PNEUMONIA")
    assert content["calibration"]["class_weights"] == [2.0, 0.5]
    assert list(content["splits"]) == ["val"]
    assert "nan" not in json.dumps(content, allow_nan=False).lower()
