"""Temperature and operating point, fitted on validation predictions, and calibration before and after."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.evaluation.calibration import (
    BINS,
    apply_temperature,
    calibration,
    expected_calibration_error,
    fit_temperature,
    frozen_threshold,
    reliability,
    threshold_for_sensitivity,
    youden_threshold,
)
from bench.stats.metrics import auc, brier, log_loss
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson


def calibrated(n=4000, n_classes=2, seed=0):
    """Labels drawn from the probabilities themselves: nothing is calibrated better."""
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1.0] * n_classes, n)
    labels = (rng.random(n)[:, None] > scores.cumsum(axis=1)).sum(axis=1)
    return np.minimum(labels, n_classes - 1), scores


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_of_sharpened_probabilities_is_recovered(temperature, n_classes):
    """Logits multiplied by t are as confident as if divided by 1/t; the fitted temperature undoes it."""
    labels, scores = calibrated(n_classes=n_classes)
    sharpened = scores**temperature / (scores**temperature).sum(axis=1, keepdims=True)
    found = fit_temperature(labels, sharpened)
    assert found == pytest.approx(temperature, rel=0.1)
    assert apply_temperature(sharpened, temperature) == pytest.approx(scores, abs=1e-3), "but for what is cut at 1e-12"
    assert log_loss(labels, apply_temperature(sharpened, found)) <= log_loss(labels, sharpened) + 1e-9


def test_no_other_temperature_is_better():
    labels, scores = calibrated(500, seed=1)
    sharpened = apply_temperature(scores, 1 / 3)
    best = log_loss(labels, apply_temperature(sharpened, fit_temperature(labels, sharpened)))
    for temperature in np.exp(np.linspace(-3, 3, 61)):
        assert best <= log_loss(labels, apply_temperature(sharpened, float(temperature))) + 1e-6


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3]), st.floats(0.05, 20.0))
def test_rows_sum_to_one_and_the_order_stays(seed, n_classes, temperature):
    scores = np.random.default_rng(seed).dirichlet([0.5] * n_classes, 20)
    found = apply_temperature(scores, temperature)
    assert found.shape == scores.shape
    assert found.sum(axis=1) == pytest.approx(np.ones(20))
    top = found[np.arange(20), scores.argmax(axis=1)]
    assert (top >= found.max(axis=1) - 1e-12).all()


def test_a_temperature_of_one_changes_nothing_and_none_changes_the_ranks():
    labels, scores = calibrated(200)
    assert apply_temperature(scores, 1.0) == pytest.approx(scores, abs=1e-12)
    assert auc(labels, apply_temperature(scores, 3.0)) == pytest.approx(auc(labels, scores), abs=1e-12)


def test_certain_predictions_stay_finite():
    scores = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], dtype=np.float32)
    assert np.isfinite(apply_temperature(scores, 5.0)).all()
    for labels in ([0, 1, 0], [0, 1, 1], [1, 0, 1]):
        found = fit_temperature(np.array(labels), scores)
        assert np.exp(-3.01) < found < np.exp(3.01)


def test_wrong_certainty_is_cooled_and_timid_truth_is_sharpened():
    labels = np.array([0, 1] * 50)
    timid = np.where(labels[:, None] == [0, 1], 0.55, 0.45)
    assert fit_temperature(labels, timid) < 0.2
    certain = np.where(np.arange(100)[:, None] % 3 == 0, timid[:, ::-1], timid)
    certain = np.where(certain > 0.5, 0.999, 0.001)
    assert fit_temperature(labels, certain) > 5


# Operating point


def test_youden_by_hand():
    """At 0.6: 2 of 3 positives, 0 of 3 negatives, J = 2/3; at 0.4: 3 of 3 and 2 of 3, J = 1/3; at 0.5: 1/3."""
    positive = np.array([True, True, True, False, False, False])
    scores = np.array([0.9, 0.6, 0.4, 0.5, 0.4, 0.1])
    assert youden_threshold(positive, scores) == 0.6


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.sampled_from([3, 10, 1000]))
def test_no_other_threshold_is_better(seed, n, steps):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(n) < max(1, n // 3))
    scores = rng.integers(0, steps + 1, n) / steps

    def youden(threshold):
        called = scores >= threshold
        return called[positive].mean() - called[~positive].mean()

    found = youden_threshold(positive, scores)
    assert 0 <= found <= 1
    assert youden(found) == pytest.approx(max(youden(threshold) for threshold in scores), abs=1e-12)


def test_the_threshold_is_a_probability_even_where_nothing_helps():
    """Ranks exactly reversed: nobody positive would be best, but a threshold of infinity is no probability."""
    found = youden_threshold(np.array([True, True, False, False]), np.array([0.1, 0.2, 0.8, 0.9]))
    assert 0 <= found <= 1


def test_a_threshold_for_a_sensitivity_by_hand():
    """Positives at 0.9, 0.6, 0.4, 0.4: 0.6 calls half of them, 0.4 all; 0.75 needs the tie, which brings all."""
    positive = np.array([True, True, False, True, True])
    scores = np.array([0.9, 0.6, 0.5, 0.4, 0.4])
    assert threshold_for_sensitivity(positive, scores, 0.5) == 0.6
    assert threshold_for_sensitivity(positive, scores, 0.51) == 0.4
    assert threshold_for_sensitivity(positive, scores, 0.75) == 0.4
    assert threshold_for_sensitivity(positive, scores, 1.0) == 0.4


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([3, 1000]), st.floats(0.5, 1))
def test_the_target_is_reached_and_no_larger_threshold_reaches_it(seed, n, steps, target):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(n) < max(1, n // 2))
    scores = (rng.integers(0, steps + 1, n) / steps).astype(np.float32)
    found = threshold_for_sensitivity(positive, scores, target)
    assert (scores[positive] >= found).mean() >= target - 1e-9
    assert all((scores[positive] >= larger).mean() < target for larger in scores[scores > found])


@pytest.mark.parametrize("images", [20, 40, 100, 300])
def test_a_share_that_divides_evenly_costs_no_image_more(images):
    """95 % of 20 are 19, not 20, whatever 0.95 x 20 gives in binary."""
    scores = np.arange(1, images + 1) / images
    found = threshold_for_sensitivity(np.ones(images, bool), scores, 0.95)
    assert np.sum(scores >= found) == images * 95 // 100


def test_the_frozen_threshold_says_its_rule():
    positive, scores = np.array([True, True, False, False]), np.array([0.9, 0.3, 0.4, 0.1])
    assert frozen_threshold(positive, scores, None) == (0.9, "Youden index on validation")
    value, rule = frozen_threshold(positive, scores, 0.95)
    assert (value, rule) == (0.3, "largest threshold with a sensitivity of at least 0.95 on validation")


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize("target", [None, 0.95])
def test_validation_of_one_side_freezes_one_half(label, target):
    value, rule = frozen_threshold(np.full(5, label), np.linspace(0.1, 0.9, 5), target)
    assert value == 0.5
    assert "one side" in rule


# Calibration


def test_ece_by_hand():
    """Tops 0.9 and 0.88 share a bin (one of two right: |1 - 1.78|), 0.6 is alone and right (|1 - 0.6|); over 3."""
    scores = np.array([[0.1, 0.9], [0.12, 0.88], [0.6, 0.4]])
    assert expected_calibration_error(np.array([1, 0, 0]), scores) == pytest.approx((0.78 + 0.4) / 3)


def test_ece_is_small_where_probabilities_are_true_and_resampling_raises_it():
    """Why it is given no interval: most draws of the images lie above the value, and far."""
    labels, scores = calibrated(600, seed=2)
    value = expected_calibration_error(labels, scores)
    assert value < 0.06
    assert expected_calibration_error(labels, apply_temperature(scores, 0.3)) > value + 0.05
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


def test_both_splits_before_and_after():
    labels, scores = calibrated(500)
    sharp = apply_temperature(scores, 0.5)
    test = Predictions(labels, sharp, np.arange(500), ["NORMAL", "PNEUMONIA"])
    content = calibration(test.part(slice(200)), test, 2.0).content()
    assert (content["temperature"], content["bins"]) == (2.0, 15)
    assert content["fitted_on"] == {"split": "val", "images": 200}
    assert list(content["splits"]) == ["val", "test"]
    before, after = content["splits"]["test"]["before"], content["splits"]["test"]["after"]
    assert before["brier"] == brier(labels, sharp)
    assert after["log_loss"] == pytest.approx(log_loss(labels, scores))
    assert after["ece"] < before["ece"]
    assert list(after["reliability"]) == ["PNEUMONIA"]
    assert "reason" not in content


def test_several_classes_each_against_the_rest():
    labels, scores = calibrated(300, 3)
    content = calibration(Predictions(labels, scores, np.arange(300), ["a", "b", "c"]), None, 1.0).content()
    assert list(content["splits"]) == ["val"]
    assert list(content["splits"]["val"]["after"]["reliability"]) == ["a", "b", "c"]


def test_a_class_that_validation_lacks_is_told():
    _, scores = calibrated(40)
    validation = Predictions(np.zeros(40, np.int64), scores, np.arange(40), ["NORMAL", "PNEUMONIA"])
    content = calibration(validation, validation.part(slice(0)), 1.0).content()
    assert content["reason"] == "the temperature says little, since on validation the split holds no image of PNEUMONIA"
    assert list(content["splits"]) == ["val"]
    assert "nan" not in json.dumps(content, allow_nan=False).lower()
