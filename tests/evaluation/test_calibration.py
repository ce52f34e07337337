"""Temperature and operating point, fitted on validation predictions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.evaluation.calibration import apply_temperature, fit_temperature, youden_threshold
from bench.metrics import auc, log_loss


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
