"""Bootstrap intervals: weighted scores are the plain ones, patients stay whole, and nothing becomes NaN."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.metrics import METRICS, evaluate
from bench.uncertainty import WEIGHTED, intervals, patient_weights


@st.composite
def predictions(draw):
    """Labels in which every class occurs, and probabilities with many ties."""
    n_classes = draw(st.sampled_from([2, 3]))
    n_images = draw(st.integers(n_classes + 1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n_images - n_classes)]))
    raw = rng.integers(1, draw(st.sampled_from([2, 5, 1000])) + 1, (n_images, n_classes)).astype(np.float64)
    scores = raw / raw.sum(axis=1, keepdims=True)
    return labels, scores.astype(draw(st.sampled_from([np.float32, np.float64])))


def cohort(n=120, n_classes=2, seed=0):
    """Predictions that are better than chance, two images a patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, scores, np.arange(n) // (2 * n_classes)


def test_every_metric_has_its_weighted_form():
    assert set(WEIGHTED) == set(METRICS)


# Weighted scores


@settings(deadline=None, max_examples=80)
@given(predictions())
def test_unit_weights_give_the_plain_score(given_predictions):
    labels, scores = given_predictions
    expected = evaluate(labels, scores)
    for name, compute in WEIGHTED.items():
        (value,) = compute(labels, scores, np.ones((1, len(labels))))
        assert value == pytest.approx(expected[name], abs=1e-9), name


@settings(deadline=None, max_examples=80)
@given(predictions(), st.integers(0, 2**32 - 1))
def test_whole_weights_are_repeated_rows(given_predictions, seed):
    labels, scores = given_predictions
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(labels)))
    for draw in weights:  # each class occurs in each draw
        for index in range(scores.shape[1]):
            draw[np.flatnonzero(labels == index)[0]] += 1
    for name, compute in WEIGHTED.items():
        values = compute(labels, scores, weights.astype(np.float64))
        for value, draw in zip(values, weights, strict=True):
            expected = METRICS[name].compute(np.repeat(labels, draw), np.repeat(scores, draw, axis=0))
            assert value == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize("name", ["auc", "pr_auc", "balanced_accuracy"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_draw_without_a_class_has_no_score_of_ranks(name, n_classes, recwarn):
    """The last class (the positive one of two) is missing from the second draw; nothing is warned of."""
    labels, scores, _ = cohort(30, n_classes)
    weights = np.ones((2, len(labels)))
    weights[1, labels == n_classes - 1] = 0
    whole, lacking = WEIGHTED[name](labels, scores, weights)
    assert math.isfinite(whole)
    assert math.isnan(lacking)
    assert not recwarn.list


@pytest.mark.parametrize("name", ["accuracy", "f1", "log_loss", "brier"])
def test_a_draw_without_a_class_still_has_the_other_scores(name):
    labels, scores, _ = cohort(30)
    weights = np.ones((1, len(labels)))
    weights[0, labels == 1] = 0
    (value,) = WEIGHTED[name](labels, scores, weights)
    keep = labels == 0
    assert value == pytest.approx(METRICS[name].compute(labels[keep], scores[keep]), abs=1e-9)


# Draws


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 99))
def test_patients_stay_together_and_are_as_many_as_there_are(patients, seed):
    names = np.array([f"p{number}" for number in patients])
    weights = patient_weights(names, 20, seed)
    assert weights.shape == (20, len(names))
    first = [int(np.flatnonzero(names == name)[0]) for name in np.unique(names)]
    for name in np.unique(names):
        assert (np.ptp(weights[:, names == name], axis=1) == 0).all()
    assert (weights[:, first].sum(axis=1) == len(first)).all()
    assert (weights == np.round(weights)).all()
    assert (weights >= 0).all()


def test_the_seed_decides_the_draws():
    patients = np.arange(20)
    assert np.array_equal(patient_weights(patients, 5, 1), patient_weights(patients, 5, 1))
    assert not np.array_equal(patient_weights(patients, 5, 1), patient_weights(patients, 5, 2))


# Intervals


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_the_interval_contains_the_value(n_classes, seed):
    labels, scores, patients = cohort(120, n_classes, seed)
    found = intervals(labels, scores, patients, draws=400)
    assert set(found) == set(METRICS)
    for name, value in evaluate(labels, scores).items():
        interval = found[name]
        assert interval.value == value
        assert interval.low < value < interval.high, name
        assert type(interval.low) is type(interval.high) is float


def test_the_same_seed_gives_the_same_interval():
    given_cohort = cohort()
    assert intervals(*given_cohort, draws=200, seed=3) == intervals(*given_cohort, draws=200, seed=3)
    assert intervals(*given_cohort, draws=200, seed=3) != intervals(*given_cohort, draws=200, seed=4)


def test_a_higher_level_is_wider_and_more_images_are_narrower():
    def width(n, level):
        interval = intervals(*cohort(n), draws=500, level=level)["auc"]
        return interval.high - interval.low

    assert width(120, 0.99) > width(120, 0.95) > width(120, 0.5)
    assert width(1200, 0.95) < 0.6 * width(120, 0.95)


def test_images_that_resemble_each_other_widen_the_interval():
    """Ten copies of each image are ten times the images and not a bit more certain."""
    labels, scores, _ = cohort(60)
    copies = np.repeat(np.arange(60), 10)
    clustered = intervals(labels[copies], scores[copies], copies, draws=500)["accuracy"]
    single = intervals(labels, scores, np.arange(60), draws=500)["accuracy"]
    naive = intervals(labels[copies], scores[copies], np.arange(600), draws=500)["accuracy"]
    assert (clustered.low, clustered.high) == pytest.approx((single.low, single.high), abs=1e-12)
    assert clustered.high - clustered.low > 2 * (naive.high - naive.low)


def test_draws_that_lack_a_class_are_left_out():
    """One patient alone has the second class: about a third of the draws lack it, and the rest are taken."""
    labels = np.array([0] * 30 + [1] * 3)
    scores = np.column_stack([1 - np.linspace(0.1, 0.9, 33), np.linspace(0.1, 0.9, 33)])
    patients = np.array([*range(30), 30, 30, 30])
    interval = intervals(labels, scores, patients, draws=500)["auc"]
    assert (interval.value, interval.low, interval.high) == (1.0, 1.0, 1.0)


def test_too_few_usable_draws_give_no_interval_and_no_nan():
    """Each class hangs on one patient: half of all draws of two patients lack one, by this seed more than half."""
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]])
    patients = np.array(["a", "a", "b", "b"])
    seed = next(seed for seed in range(99) if (patient_weights(patients, 101, seed) == 1).all(axis=1).sum() < 50)
    found = intervals(labels, scores, patients, draws=101, seed=seed)
    assert (found["auc"].value, found["auc"].low, found["auc"].high) == (0.75, None, None)
    assert found["accuracy"].low is not None
    for interval in found.values():
        assert all(end is None or math.isfinite(end) for end in (interval.value, interval.low, interval.high))
