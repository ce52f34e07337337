"""Bootstrap intervals and paired differences: patients stay whole, models share draws, and nothing becomes NaN."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap, norm

from bench.stats import bootstrap as stats
from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.metrics import METRICS, applicable, evaluate
from bench.stats.predictions import Predictions


def cohort(n=120, n_classes=2, seed=0):
    """Predictions that are better than chance, two images per patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, scores, np.arange(n) // (2 * n_classes)


def intervals(labels, scores, patients, names=None, **how):
    return stats.intervals(Predictions(labels, scores, patients), Bootstrap(**how), names)


def paired_difference(labels, a, b, patients, draws=2000, level=0.95, seed=0, metric="auc"):
    return stats.paired_difference(Predictions(labels, a, patients), b, Bootstrap(draws, level, seed), metric)


def resample(statistics, patients, draws, seed):
    return Bootstrap(draws, seed=seed).resample(statistics, patients)


def patient_weights(patients, draws, seed):
    """How often each image occurs in each draw, shape (draws, n_images)."""
    return resample(lambda weights: weights, patients, draws, seed).draws


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
    assert set(found) == set(applicable(n_classes, ordinal=False))
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
    assert (interval.value, interval.low, interval.high) == (1.0, None, None), "those that are left agree"


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


def test_no_draws_give_no_interval():
    found = intervals(*cohort(), draws=0)
    assert {(one.low, one.high) for one in found.values()} == {(None, None)}
    assert found["auc"].value == evaluate(*cohort()[:2])["auc"]


def test_one_patient_gives_no_interval():
    labels, scores, _ = cohort(20)
    assert intervals(labels, scores, np.zeros(20), draws=50)["accuracy"].low is None


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 3, 4]), st.integers(2, 12))
def test_nothing_is_nan_where_draws_lack_a_class(seed, n_classes, n_patients):
    rng = np.random.default_rng(seed)
    n = 4 * n_patients
    labels = rng.permutation(np.append(np.arange(n_classes), np.zeros(n - n_classes, np.int64)))
    scores = rng.integers(1, 4, (n, n_classes)).astype(np.float64)
    scores /= scores.sum(axis=1, keepdims=True)
    for interval in intervals(labels, scores, np.arange(n) % n_patients, draws=60, seed=seed % 1000).values():
        assert (interval.low is None) == (interval.high is None)
        assert all(end is None or math.isfinite(end) for end in (interval.value, interval.low, interval.high))
        assert interval.low is None or interval.low <= interval.high


def test_with_many_images_the_interval_is_that_of_scipy():
    """Patients with one image each: SciPy's BCa of a mean, but for draws and for a few hundredths of its width."""
    labels, scores, _ = cohort(400)
    right = (scores.argmax(axis=1) == labels).astype(float)
    expected = bootstrap((right,), np.mean, n_resamples=4000, rng=np.random.default_rng(0)).confidence_interval
    found = intervals(labels, scores, np.arange(400), draws=4000, names=["accuracy"])["accuracy"]
    width = expected.high - expected.low
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.06 * width)


def test_a_skewed_statistic_has_the_bca_interval_of_scipy():
    """A mean of values with a long tail; the upper end by plain percentiles lies a fifth of the width too low."""
    losses = np.exp(2 * norm.ppf((np.arange(200) + 0.5) / 200))
    found = resample(lambda weights: (weights @ losses)[:, None] / 200, np.arange(200), 6000, 0)
    how = {"n_resamples": 6000, "rng": np.random.default_rng(1), "method": "BCa"}
    expected = bootstrap((losses,), np.mean, **how).confidence_interval
    width = expected.high - expected.low
    assert found.ends(0) == pytest.approx((expected.low, expected.high), abs=0.06 * width)
    assert np.quantile(found.draws, 0.975) < expected.high - 0.15 * width


# Several statistics under the same draws


def test_blocks_do_not_change_the_draws():
    """All draws are one stream, so that a larger number of them begins with the smaller."""
    patients = np.arange(30) // 2
    assert np.array_equal(patient_weights(patients, 250, 7)[:120], patient_weights(patients, 120, 7))
    assert patient_weights(patients, 0, 7).shape == (0, 30)


def test_each_patient_is_left_out_once():
    patients = np.repeat(np.arange(7), 3)
    found = resample(lambda weights: weights, patients, 10, 0)
    assert found.value.tolist() == [1.0] * 21
    assert (found.left_out.sum(axis=0) == 6).all()
    assert (np.sort(found.left_out.sum(axis=1)) == 18).all()
    assert found.patients == 7


def test_many_patients_are_left_out_in_groups():
    found = resample(lambda weights: weights.sum(axis=1, keepdims=True), np.arange(1200), 1, 0)
    assert found.left_out.shape == (500, 1)
    assert (1200 - found.left_out).sum() == 1200


def test_a_model_differs_from_itself_by_nothing():
    labels, scores, patients = cohort()
    found = paired_difference(labels, scores, scores, patients, 200)
    assert (found.value, found.low, found.high, found.p) == (0.0, None, None, 1.0)


@pytest.mark.parametrize("metric", METRICS)
def test_a_difference_is_turned_round_with_its_models(metric):
    labels, scores, patients = cohort()
    other = cohort(seed=5)[1]
    found = paired_difference(labels, scores, other, patients, 300, metric=metric)
    turned = paired_difference(labels, other, scores, patients, 300, metric=metric)
    plain = METRICS[metric].compute(labels, scores) - METRICS[metric].compute(labels, other)
    assert found.value == pytest.approx(plain, abs=1e-9)
    assert (turned.value, turned.low, turned.high) == pytest.approx((-found.value, -found.high, -found.low), abs=1e-12)
    assert turned.p == pytest.approx(found.p)


def test_pairing_makes_like_models_comparable():
    """Two models that share most of their errors differ by far less than their own intervals are wide."""
    labels, scores, patients = cohort(400)
    other = scores + 0.01 * np.random.default_rng(3).random(scores.shape)
    other /= other.sum(axis=1, keepdims=True)
    own = intervals(labels, scores, patients, names=["auc"])["auc"]
    paired = paired_difference(labels, scores, other, patients)
    assert paired.high - paired.low < (own.high - own.low) / 10


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_interval_and_p_agree(level):
    disagreed = 0
    for seed in range(40):
        labels, scores, patients = cohort(80, seed=seed)
        other = cohort(80, seed=seed + 100)[1]
        found = paired_difference(labels, scores, other, patients, 100, level, seed)
        disagreed += (found.p < 1 - level) != (found.low > 0 or found.high < 0)
    assert disagreed == 0


def test_a_difference_that_no_draw_changes():
    """A perfect model and a constant one: 1 and 0.5 in each draw."""
    labels, _, patients = cohort(40)
    found = paired_difference(labels, np.eye(2)[labels], np.full((40, 2), 0.5), patients, 199)
    assert (found.value, found.low, found.high, found.p) == (0.5, None, None, 0.01)


def test_a_difference_without_draws_has_neither_interval_nor_p():
    labels, scores, patients = cohort()
    found = paired_difference(labels, scores, cohort(seed=1)[1], patients, 0)
    assert (found.low, found.high, found.p) == (None, None, None)


def test_ends_need_half_of_the_draws():
    values = np.append(np.full(60, np.nan), np.arange(40.0))[:, None]
    lacking = Resampled(np.array([20.0]), values, np.arange(10.0)[:, None], 10)
    assert lacking.ends(0) == (None, None)
    assert lacking.standard_error(0) is None
    enough = Resampled(np.array([20.0]), values[20:], np.arange(10.0)[:, None], 10)
    low, high = enough.ends(0)
    assert 0 <= low < 20 < high <= 39


def test_a_value_that_is_none_is_told():
    none = np.empty((0, 3))
    assert Resampled(np.array([0.5, np.nan, np.inf]), none, none, 10).known_values == [0.5, None, None]


def test_a_reason_against_intervals_leaves_no_draws():
    assert Bootstrap(300, seed=4).unless("there is 1 patient") == Bootstrap(0, seed=4)
    assert Bootstrap(300, seed=4).unless("") == Bootstrap(300, seed=4)
