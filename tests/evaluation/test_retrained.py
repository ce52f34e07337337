"""A lucky trial is flagged, and so is a test split on which the winner does worse than on validation."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort
from scipy.stats import t

from bench.evaluation import retrained as faithful
from bench.evaluation.retrained import retrained
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import METRICS, get_metric
from bench.stats.predictions import Predictions

AUC, LOSS = get_metric("auc"), get_metric("log_loss")
LABELS, SCORES, PATIENTS = cohort(200)
OWN = AUC.compute(LABELS, SCORES)


def finalists(trial_score, *values, backbone="vgg16", metric="auc"):
    return pd.DataFrame(
        {
            "backbone": backbone,
            "repeat": range(1, len(values) + 1),
            "state": ["failed" if value is None else "completed" for value in values],
            "trial_score": trial_score,
            f"metric_{metric}": values,
        }
    )


def entry(*given, validation=SCORES, metric=AUC):
    table = finalists(*given, metric=metric.name)
    known = {} if validation is None else {"vgg16": Predictions(LABELS, validation, PATIENTS)}
    (found,) = retrained(table, known, metric, Bootstrap(300))
    return found


def gap(validation, test, metric, draws):
    return faithful.gap(Predictions(*validation), Predictions(*test), metric, Bootstrap(draws))


def test_mean_and_spread_over_completed_repeats():
    found = entry(0.9, OWN, OWN - 0.02, None)
    assert (found.mean, found.repeats) == (pytest.approx(OWN - 0.01), 2)
    assert found.sd == pytest.approx(0.02 / 2**0.5)
    assert entry(0.9, OWN).sd is None


def test_the_interval_is_moved_to_the_mean():
    own = intervals(Predictions(LABELS, SCORES, PATIENTS), Bootstrap(300), ["auc"])["auc"]
    found = entry(0.9, OWN, OWN - 0.04)
    assert (found.low, found.high) == pytest.approx((own.low - 0.02, min(1, own.high - 0.02)))


SEEDS = (OWN, OWN - 0.01, OWN - 0.02)
"""Mean OWN - 0.01, SD 0.01: one more seed lies within 4.303 x 0.01 x sqrt(4/3) = 0.0497 of the mean (t, 2 df)."""


@pytest.mark.parametrize(("beyond", "flagged"), [(0.001, True), (-0.001, False)])
def test_a_trial_that_no_further_seed_would_reach_is_flagged(beyond, flagged):
    found = entry(OWN - 0.01 + 0.0497 + beyond, *SEEDS)
    assert found.reach == pytest.approx(0.0497, abs=5e-5)
    assert found.flagged is flagged
    assert ("the search was lucky here" in found.sentence) is flagged
    assert found.sentence.startswith("VGG16 scored ROC AUC ")
    assert "retrained over 3 seeds" in found.sentence


def test_the_interval_by_patients_has_no_say_in_it():
    """The same validation patients: a trial beyond what other patients would score may be within what seeds do."""
    low, high = entry(0.9, *SEEDS).low, entry(0.9, *SEEDS).high
    closer = [OWN + 0.001 * number for number in (-1, 0, 1)]
    assert entry(OWN + 0.01, *closer).flagged and high > OWN + 0.01
    assert low < high


def test_one_seed_tells_nothing():
    found = entry(0.999, OWN)
    assert (found.reach, found.verdict, found.flagged) == (None, "", False)
    assert found.sentence.endswith("one seed cannot tell luck from skill.")


def test_the_verdict_errs_as_often_as_its_level_says():
    """1,000 trials that are one more seed of the same: 5 % lie beyond the 95 % prediction interval, in both ways."""
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(1000):
        trial, *seeds = random.normal(0.8, 0.01, 5)
        (found,) = retrained(finalists(trial, *seeds), {}, AUC, Bootstrap(300))
        verdicts.append(found.verdict)
    beyond = sum(verdict in (faithful.LUCKY, faithful.UNLUCKY) for verdict in verdicts)
    assert 30 <= beyond <= 72, "0.05 x 1,000 within 3 standard deviations"


def test_a_perfect_representative_knows_no_interval_and_flags_nothing():
    found = entry(0.9999, 1.0, 1.0, 1.0, validation=np.eye(2)[LABELS])
    assert (found.low, found.high, found.reach, found.flagged) == (None, None, None, False)
    assert found.sentence.endswith("the seeds all scored the same.")


def test_a_gap_that_no_draw_changes_has_no_interval():
    sure = (LABELS, np.eye(2)[LABELS], PATIENTS)
    found = gap(sure, sure, AUC, 100)
    assert (found.difference, found.low, found.high, found.flagged) == (0.0, None, None, False)
    assert "no interval can be given" in found.sentence


def test_a_trial_that_was_worse_is_not_flagged_and_not_called_faithful():
    found = entry(0.1, *SEEDS)
    assert found.flagged is False
    assert found.sentence.endswith("the search had rated it too low.")
    own = LOSS.compute(LABELS, SCORES)
    assert entry(own + 1, own, own + 0.01, metric=LOSS).verdict == "the search had rated it too low"


def test_seeds_too_far_apart_to_judge_by_are_said_to_be():
    sure = entry(OWN, OWN, OWN - 0.01, OWN - 0.005, OWN + 0.002)
    assert sure.sentence.endswith("the search was faithful here.")
    wide = entry(OWN, OWN, OWN - 0.05)
    assert wide.sentence.endswith("too few seeds to tell.")
    assert (wide.verdict, wide.flagged) == ("too few seeds to tell", False)


def test_a_low_loss_of_the_trial_is_what_was_lucky():
    seeds = (0.5, 0.51, 0.52)
    assert entry(0.51 - 0.06, *seeds, metric=LOSS).flagged is True
    assert entry(0.51 + 0.06, *seeds, metric=LOSS).flagged is False


def test_without_predictions_or_trial_there_is_no_verdict():
    found = entry(0.999, OWN, validation=None)
    assert (found.low, found.high, found.flagged) == (None, None, False)
    alone = entry(None, OWN)
    assert (alone.trial_score, alone.flagged) == (None, False)
    assert "no score of the search" in alone.sentence


def test_every_finalist_that_was_completed_once():
    table = pd.concat(
        [finalists(0.9, 0.8), finalists(0.9, None, backbone="resnet50"), finalists(0.7, 0.7, backbone="inceptionv3")]
    )
    assert [one.backbone for one in retrained(table, {}, AUC, Bootstrap())] == ["vgg16", "inceptionv3"]


# Validation and test


def test_a_gap_is_named():
    worse = cohort(300, edge=0.6, seed=1)
    found = gap((LABELS, SCORES, PATIENTS), worse, AUC, 300)
    assert found.validation == OWN
    assert found.test == AUC.compute(*worse[:2])
    assert found.difference == pytest.approx(found.validation - found.test)
    assert 0 < found.low < found.difference < found.high
    assert found.flagged is True
    assert found.sentence == (
        f"On validation the winner scored ROC AUC {OWN:.3f}, on the internal test {found.test:.3f}: "
        f"{found.difference:.3f} ({found.low:.3f}–{found.high:.3f}) less; expect what the internal test says."
    )


def test_its_variance_is_the_sum_of_both():
    """Each split beside an endless one is as uncertain as alone: the squares of half widths add up."""
    test = cohort(300, seed=1)
    both = gap((LABELS, SCORES, PATIENTS), test, AUC, 500)
    halves = []
    for labels, scores, patients in ((LABELS, SCORES, PATIENTS), test):
        alone = intervals(Predictions(labels, scores, patients), Bootstrap(2000), ["auc"])["auc"]
        halves.append((alone.high - alone.low) / 2)
    assert (both.high - both.low) / 2 == pytest.approx(np.hypot(*halves), rel=0.12)


@pytest.mark.parametrize(("metric", "counted"), [(AUC, 12), (METRICS["accuracy"], 72)])
def test_its_interval_goes_by_the_class_with_the_fewest_patients_of_either_split(metric, counted):
    chosen = np.r_[np.flatnonzero(LABELS == 1)[:12], np.flatnonzero(LABELS == 0)[:60]]
    few = tuple(part[chosen] for part in (LABELS, SCORES, np.arange(len(LABELS))))
    many = (LABELS, SCORES, np.arange(len(LABELS)))
    errors = []
    for seed, (labels, scores, patients) in enumerate((few, many)):
        split = Predictions(labels, scores, patients)
        errors.append(Bootstrap(200, seed=seed).of_models(metric.name, split, [scores]).standard_error(0))
    found = gap(few, many, metric, 200)
    assert found.high - found.difference == pytest.approx(t.ppf(0.975, counted - 1) * np.hypot(*errors))


def test_an_interval_that_includes_no_difference_is_named():
    found = gap((LABELS, SCORES, PATIENTS), cohort(200, seed=7), AUC, 300)
    assert found.flagged is False
    assert "an interval that includes 0; expect what the internal test says." in found.sentence


def test_a_gap_that_few_patients_cannot_tell_is_said_to_be_so():
    few = tuple(part[:80] for part in cohort(200, edge=0.4, seed=7))
    found = gap(few, tuple(part[80:160] for part in cohort(200, edge=0.4, seed=7)), AUC, 300)
    assert found.low < 0 < found.high and found.high - found.low > 0.1
    assert "too few patients to tell whether they differ" in found.sentence


def test_an_easier_test_split_is_named():
    found = gap(cohort(300, edge=0.3, seed=1), (LABELS, SCORES, PATIENTS), AUC, 300)
    assert found.flagged is False
    assert found.difference < 0
    assert "the internal test is the easier one" in found.sentence
    assert "[-" not in found.sentence


def test_a_loss_that_rises_is_flagged():
    found = gap((LABELS, SCORES, PATIENTS), cohort(300, edge=0.0, seed=1), LOSS, 300)
    assert found.difference < 0
    assert found.flagged is True
    assert " more; expect what the internal test says." in found.sentence


@pytest.mark.parametrize("side", ["validation", "test"])
def test_one_class_or_no_image_has_no_gap(side):
    whole = (LABELS, SCORES, PATIENTS)
    for lacking in ((np.zeros_like(LABELS), SCORES, PATIENTS), tuple(part[:0] for part in whole)):
        found = gap(*((lacking, whole) if side == "validation" else (whole, lacking)), AUC, 50)
        assert (found.difference, found.low, found.flagged) == (None, None, False)
        assert "cannot be said" in found.sentence
        assert "nan" not in found.sentence.lower()


def test_few_patients_have_a_gap_without_an_interval():
    few = tuple(part[:16] for part in (LABELS, SCORES, PATIENTS))
    found = gap((LABELS, SCORES, PATIENTS), few, AUC, 50)
    assert found.difference is not None
    assert found.low is None
    assert "no interval can be given" in found.sentence
