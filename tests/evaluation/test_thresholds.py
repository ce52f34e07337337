"""Frozen thresholds: the rules by hand, what they do on new patients, and what validation lets expect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binom

from bench.evaluation.operating_points import operating_points
from bench.evaluation.thresholds import expected, frozen_threshold, frozen_thresholds, thresholds
from bench.run.documents import Threshold
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap
from bench.stats.predictions import Predictions
from bench.stats.proportions import effective_images, wilson_by_patients


def plain(positive, scores, target=None):
    """The threshold of these very images."""
    return float(thresholds(positive, np.asarray(scores, float), np.ones((1, len(scores))), target)[0])


def test_youden_by_hand():
    """At 0.6: 2 of 3 positives, 0 of 3 negatives, J = 2/3; at 0.4: 3 of 3 and 2 of 3, J = 1/3; at 0.5: 1/3."""
    positive = np.array([True, True, True, False, False, False])
    assert plain(positive, [0.9, 0.6, 0.4, 0.5, 0.4, 0.1]) == 0.6


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(4, 40), st.sampled_from([3, 10, 1000]))
def test_no_other_threshold_is_better(seed, n, steps):
    rng = np.random.default_rng(seed)
    positive = rng.permutation(np.arange(n) < max(1, n // 3))
    scores = rng.integers(0, steps + 1, n) / steps

    def youden(threshold):
        called = scores >= threshold
        return called[positive].mean() - called[~positive].mean()

    assert youden(plain(positive, scores)) == pytest.approx(max(map(youden, scores)), abs=1e-12)


def test_a_draw_is_its_images_as_often_as_it_holds_them():
    rng = np.random.default_rng(0)
    positive, scores = rng.random(30) < 0.5, rng.integers(0, 12, 30) / 11
    weights = rng.integers(0, 3, (20, 30))
    for target in (None, 0.8):
        found = thresholds(positive, scores, weights.astype(float), target)
        for row, value in zip(weights, found, strict=True):
            assert value == plain(np.repeat(positive, row), np.repeat(scores, row), target)
    assert np.isnan(thresholds(positive, scores, (positive * 1.0)[None, :], None)).all(), "nothing of the other side"


def test_a_threshold_for_a_sensitivity_by_hand():
    """Positives at 0.9, 0.6, 0.4, 0.4: 0.6 calls half of them, 0.4 all; 0.75 needs the tie, which brings all."""
    positive, scores = np.array([True, True, False, True, True]), [0.9, 0.6, 0.5, 0.4, 0.4]
    for target, value in ((0.5, 0.6), (0.51, 0.4), (0.75, 0.4), (1.0, 0.4)):
        assert plain(positive, scores, target) == value


@pytest.mark.parametrize("images", [20, 40, 100, 300])
def test_a_share_that_divides_evenly_costs_no_image_more(images):
    """95 % of 20 are 19, not 20, whatever 0.95 x 20 gives in binary."""
    positive = np.append(np.ones(images, bool), False)
    scores = np.append(np.arange(1, images + 1) / images, 0.0)
    assert np.sum(scores[positive] >= plain(positive, scores, 0.95)) == images * 95 // 100


# The frozen threshold


def study(rng, patients, distance=1.2, shift=0.0):
    """One to six images per patient, most of the patient's own class, sharing an effect on their scores."""
    owner = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    ill = rng.random(patients) < 0.6
    labels = np.where(rng.random(len(owner)) < 0.05, ~ill[owner], ill[owner]).astype(np.int64)
    noise = rng.normal(0, 0.9, patients)[owner] + rng.normal(0, 0.9, len(owner))
    positive = expit(1.5 * (distance * (2 * labels - 1) + noise) + shift)
    return Predictions(labels, np.column_stack([1 - positive, positive]), owner, ("well", "ill"))


def freeze(drawn, target=None, draws=200):
    return frozen_threshold(drawn.against_rest(1), drawn.patients, target, Bootstrap(draws))


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("target", [None, 0.95])
def test_validation_of_one_side_freezes_one_half(label, target):
    scores = np.linspace(0.1, 0.9, 5)
    one = Predictions(np.full(5, label), np.column_stack([1 - scores, scores]), np.arange(5))
    found = freeze(one, target)
    assert (found.value, found.low, found.high) == (0.5, None, None)
    assert "one side" in found.rule


def test_it_says_its_rule_its_interval_and_what_it_did_on_validation():
    drawn = study(np.random.default_rng(0), 60)
    for target, words in ((None, "Youden index on validation"), (0.9, "a sensitivity of at least 0.9 on validation")):
        found = freeze(drawn, target)
        assert found.rule == f"{words}, mean over 200 bootstrap draws of patients"
        assert found.low < found.value < found.high
        called, ill = drawn.scores[:, 1] >= found.value, drawn.labels == 1
        assert found.sensitivity.value == called[ill].mean() and found.specificity.value == (~called[~ill]).mean()
        assert (found.sensitivity.low, found.sensitivity.high) == wilson_by_patients(called[ill], drawn.patients[ill])
        if target:
            assert found.sensitivity.value >= target


def test_without_draws_it_is_that_of_the_images_and_of_few_patients_it_has_no_interval():
    drawn = study(np.random.default_rng(0), 60)
    found = freeze(drawn, draws=0)
    assert found.value == plain(drawn.labels == 1, drawn.scores[:, 1])
    assert (found.low, found.rule) == (None, "Youden index on validation")
    few = freeze(study(np.random.default_rng(1), 9))
    assert few.low is None and "fewer than 10" in few.reason
    assert "mean over" in few.rule


def test_scores_that_all_draws_agree_on_stay_what_they_are():
    """A mean by way of log-odds could lie above the score itself by rounding, and nobody would be called."""
    for score in np.random.default_rng(0).random(50):
        labels = np.arange(40) % 2
        scores = np.where(labels == 1, score, score / 2)
        found = freeze(Predictions(labels, np.column_stack([1 - scores, scores]), np.arange(40)))
        assert found.value == score and found.sensitivity.value == 1


@pytest.mark.parametrize("target", [None, 0.9])
def test_a_map_of_two_classes_moves_threshold_and_images_alike(target):
    drawn = study(np.random.default_rng(3), 80)
    own = drawn.with_scores(drawn.scores.astype(np.float32))
    change = CalibrationMap("intercept and slope", (1.7, 0.6), (0.5, 0.5), (0.0, 0.8))
    (found,) = frozen_thresholds(own, target, Bootstrap(100), change)
    (mapped,) = frozen_thresholds(own.with_scores(change(own.scores)), target, Bootstrap(100), CalibrationMap())
    assert mapped.value == pytest.approx(found.calibrated, abs=1e-6)
    assert ((change(own.scores)[:, 1] >= found.calibrated) == (own.scores[:, 1] >= found.value)).all()


def test_several_classes_have_one_each_on_the_scale_of_the_file():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    scores = rng.dirichlet([1, 1, 1], 90) + np.eye(3)[labels]
    three = Predictions(labels, scores / scores.sum(axis=1, keepdims=True), np.arange(90), ("a", "b", "c"))
    found = frozen_thresholds(three, None, Bootstrap(100), CalibrationMap())
    assert [one.label for one in found] == ["a", "b", "c"]
    assert all(one.calibrated is None and one.low is not None for one in found)


# New patients


def transferred(studies, patients, distance, draws=100):
    """Youden's index that is lost on new patients, and the error of a sensitivity of 0.95: of one sample, and frozen.

    Returns:
        array of shape (2 rules, 2 measures): the plain threshold and the frozen one, mean loss and root mean square.
    """
    whole = study(np.random.default_rng(999), 40_000, distance)
    ill, well = (np.sort(whole.scores[whole.labels == label, 1]) for label in (1, 0))

    def sensitivity(value):
        return 1 - np.searchsorted(ill, value) / len(ill)

    def youden(value):
        return sensitivity(value) + np.searchsorted(well, value) / len(well) - 1

    best = youden(np.linspace(0, 1, 4001)).max()
    lost, missed = np.zeros((studies, 2)), np.zeros((studies, 2))
    for number in range(studies):
        drawn = study(np.random.default_rng(number), patients, distance)
        positive, scores = drawn.labels == 1, drawn.scores[:, 1]
        lost[number] = [best - youden(plain(positive, scores)), best - youden(freeze(drawn, None, draws).value)]
        values = plain(positive, scores, 0.95), freeze(drawn, 0.95, draws).value
        missed[number] = [sensitivity(value) - 0.95 for value in values]
    return np.column_stack([lost.mean(axis=0), np.sqrt((missed**2).mean(axis=0))])


@pytest.mark.parametrize(("studies", "patients", "distance"), [(40, 60, 1.0)])
def test_the_mean_over_draws_does_better_on_new_patients_than_one_sample(studies, patients, distance):
    alone, frozen = transferred(studies, patients, distance)
    assert frozen[0] < 0.75 * alone[0]
    assert frozen[1] < 0.95 * alone[1]


MORE, MANY = (pytest.param(patients, marks=pytest.mark.thorough) for patients in (100, 300))
HIGH = pytest.param(0.95, marks=pytest.mark.thorough)


@pytest.mark.slow
@pytest.mark.parametrize("patients", [40, MORE, MANY])
@pytest.mark.parametrize("distance", [0.7, 1.2, 2.0])
def test_it_does_so_at_every_size_and_difficulty(patients, distance):
    alone, frozen = transferred(150, patients, distance)
    assert frozen[0] < 0.85 * alone[0]
    assert frozen[1] < 1.05 * alone[1]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "lowest"), [(None, 0.90), (0.95, 0.85)])
@pytest.mark.parametrize("patients", [40, MORE, MANY])
def test_the_interval_holds_the_threshold_that_is_best_for_all_patients(patients, target, lowest):
    """The bootstrap of an arg max promises nothing (Abrevaya and Huang, Econometrica 73:1175, 2005); here it covers."""
    whole = study(np.random.default_rng(999), 200_000)
    best = plain(whole.labels == 1, whole.scores[:, 1], target)
    found = [freeze(study(np.random.default_rng(number), patients), target) for number in range(200)]
    assert np.mean([one.low <= best <= one.high for one in found]) >= binom.ppf(0.0005, 200, lowest) / 200


# What validation lets expect


def flags(studies, patients, shift, target=None):
    """Shares of studies in which sensitivity and specificity of as many new patients are flagged."""
    found = np.zeros(2)
    for number in range(studies):
        drawn = study(np.random.default_rng(number), patients)
        new = study(np.random.default_rng(10_000 + number), patients, shift=shift)
        frozen = Threshold(label="ill", value=freeze(drawn, target, 50).value)
        points, _ = operating_points(new, [frozen], Bootstrap(0), drawn)
        rows = points[(points["point"] == "frozen") & points["measure"].isin(["sensitivity", "specificity"])]
        assert rows["expected_low"].notna().all() and points["flagged"].sum() == rows["flagged"].sum()
        found += rows["flagged"].to_numpy(dtype=float)
    return found / studies


@pytest.mark.parametrize("target", [None, HIGH])
def test_new_patients_from_the_same_source_are_seldom_flagged_and_others_are(target):
    """5 % are to be, of 100 studies less than 13; of scores that have moved by 1.5 on the logit most."""
    assert max(flags(60, 100, 0.0, target)) < 0.15
    assert max(flags(20, 100, 2.0, target)) > 0.7


@pytest.mark.slow
@pytest.mark.parametrize("target", [None, HIGH])
@pytest.mark.parametrize("patients", [40, MANY])
def test_few_are_flagged_at_every_size(patients, target):
    assert max(flags(200, patients, 0.0, target)) <= binom.ppf(0.9995, 200, 0.09) / 200


def test_what_is_expected_is_wider_for_few_images_and_few_patients():
    right = np.arange(200) % 10 > 0
    many, few = (expected(right, np.arange(200), images, 0.95) for images in (2000, 20))
    assert few[0] < many[0] < 0.9 < many[1] < few[1]
    alike = expected(np.repeat(right[:20], 10), np.repeat(np.arange(20), 10), 2000, 0.95)
    assert alike[0] < many[0]
    assert expected(right[:0], right[:0], 10, 0.95) == expected(right, np.arange(200), 0, 0.95) == (None, None)


def test_images_are_worth_what_they_do_not_repeat():
    right = np.random.default_rng(0).random(40) < 0.7
    assert effective_images(right, np.arange(40)) == pytest.approx(40, rel=0.05)
    assert effective_images(np.repeat(right, 5), np.repeat(np.arange(40), 5)) == pytest.approx(40, rel=0.05)
    assert effective_images(np.ones(40, bool), np.arange(40) // 4) == 10
    apart = np.random.default_rng(1).random(400) < 0.7
    assert effective_images(apart, np.arange(400) // 4) > 250, "images of a patient that have nothing in common"
