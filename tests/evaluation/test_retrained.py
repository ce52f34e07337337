"""A lucky trial is flagged, and so is a test split on which the winner does worse than on validation."""

import numpy as np
import pandas as pd
import pytest
from cohorts import cohort

from bench.evaluation import retrained as faithful
from bench.evaluation.retrained import retrained
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.metrics import get_metric
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


@pytest.mark.parametrize(("beyond", "flagged"), [(0.001, True), (-0.001, False)])
def test_a_trial_score_beyond_the_better_end_is_flagged(beyond, flagged):
    high = entry(0.5, OWN).high
    found = entry(high + beyond, OWN)
    assert found.flagged is flagged
    assert ("the search was lucky here" in found.sentence) is flagged
    assert found.sentence.startswith("VGG16 scored ROC AUC 0.9")
    assert "retrained with one seed" in found.sentence


def test_a_perfect_representative_knows_no_interval_and_flags_nothing():
    found = entry(0.9999, 1.0, 0.997, 0.998, validation=np.eye(2)[LABELS])
    assert (found.low, found.high, found.flagged) == (None, None, False)
    assert "lucky" not in found.sentence


def test_a_gap_that_no_draw_changes_has_no_interval():
    sure = (LABELS, np.eye(2)[LABELS], PATIENTS)
    found = gap(sure, sure, AUC, 100)
    assert (found.difference, found.low, found.high, found.flagged) == (0.0, None, None, False)
    assert "no interval can be given" in found.sentence


def test_a_trial_that_was_worse_is_not_flagged_and_not_called_faithful():
    found = entry(0.1, OWN)
    assert found.flagged is False
    assert found.sentence.endswith("the search had rated it too low.")
    own = LOSS.compute(LABELS, SCORES)
    assert entry(own + 1, own, metric=LOSS).verdict == "the search had rated it too low"


def test_an_interval_too_wide_to_judge_by_is_said_to_be():
    """The same trial score, and predictions of the same worth, of 200 images and of 40."""
    own = entry(OWN, OWN)
    assert own.high - own.low < 0.1
    assert own.sentence.endswith("the search was faithful here.")
    few = slice(0, 40)
    table = finalists(OWN, OWN)
    predictions = Predictions(LABELS, SCORES, PATIENTS).part(few)
    (wide,) = retrained(table, {"vgg16": predictions}, AUC, Bootstrap(300))
    assert wide.high - wide.low > 0.1 and wide.low < OWN < wide.high
    assert wide.sentence.endswith("too few validation patients to tell.")
    assert (wide.verdict, wide.flagged) == ("too few validation patients to tell", False)


def test_a_low_loss_of_the_trial_is_what_was_lucky():
    own = LOSS.compute(LABELS, SCORES)
    low, high = (getattr(entry(own, own, metric=LOSS), end) for end in ("low", "high"))
    assert entry(low - 0.01, own, metric=LOSS).flagged is True
    assert entry(high + 0.01, own, metric=LOSS).flagged is False


def test_without_predictions_or_trial_there_is_no_verdict():
    found = entry(0.999, OWN, validation=None)
    assert (found.low, found.high, found.flagged) == (None, None, False)
    assert "without an interval" in found.sentence
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


def test_chance_is_named_too():
    found = gap((LABELS, SCORES, PATIENTS), cohort(200, seed=7), AUC, 300)
    assert found.flagged is False
    assert "an interval that includes 0; expect what the internal test says." in found.sentence


def test_a_gap_that_few_patients_cannot_tell_is_not_called_chance():
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
