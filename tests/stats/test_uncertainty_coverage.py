"""How often the 95 % intervals cover the true value: simulated studies with clustered patients.

Measured (1,000 studies each, 400 draws, one seed; the standard error of a coverage near 95 % is 0.7 points):

=============  ========  ========  ========  ==========================================
patients       ROC AUC   accuracy  Brier     plain percentile interval of the AUC
=============  ========  ========  ========  ==========================================
200            94.6 %    94.7 %    94.3 %    93.9 %
80             93.8 %    94.7 %    93.4 %    92.4 %
40             92.2 %    92.6 %    91.5 %    88.7 %
200, AUC .996  92.7 %    94.0 %    92.8 %    88.2 %
=============  ========  ========  ========  ==========================================

Two models that are alike are told apart, at p < 0.05, in 4.9 % of the studies of 200 patients at an AUC of 0.89 and in
3.0 % at 0.993; by percentiles of the draws it would be 5.7 % and 7.0 %. Of 80 patients of whom 10 are ill it is 1.9 %,
and by the degrees of freedom of all patients it would be 4.3 %.

The difference of the AUCs of two samples, externally of cases that are harder to tell apart, is covered in 96.9 % (150
internal and 100 external patients) and 96.0 % (60 and 40).

Below about a hundred patients, and where hardly an image is ranked wrongly, the intervals are a little too narrow.

Here 200 studies are simulated, and their share may be what the measured one gives but for one case in a thousand, by
the binomial distribution. ``-m thorough`` simulates 1,000, with closer bounds.
"""

from functools import cache

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binom

from bench.stats.bootstrap import Bootstrap, between_samples, intervals, paired_difference
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions

NAMES = ("auc", "accuracy", "brier")
BY_CHANCE = 0.001
"""Probability that a share of so many studies lies outside its bounds."""
pytestmark = pytest.mark.slow
NUMBERS = pytest.mark.parametrize("studies", [200, pytest.param(1000, marks=pytest.mark.thorough)])


def bounds(studies, lowest, highest):
    """The shares of so many studies that true shares from ``lowest`` to ``highest`` give."""
    low, high = binom.ppf([BY_CHANCE / 2, 1 - BY_CHANCE / 2], studies, [lowest, highest])
    return low / studies, high / studies


def study(rng, patients, distance=1.2, rare=None, odd=0.05):
    """One to six images per patient, most of the patient's own class, sharing an effect on their scores.

    Six of ten patients are ill, or ``rare`` of them; an image is ``odd`` where it is of the other class.
    """
    owner = np.repeat(np.arange(patients), rng.integers(1, 7, patients))
    ill = rng.random(patients) < 0.6 if rare is None else np.arange(patients) < rare
    labels = np.where(rng.random(len(owner)) < odd, ~ill[owner], ill[owner]).astype(np.int64)
    shared, own = rng.normal(0, 0.9, patients)[owner], rng.normal(0, 0.9, len(owner))
    positive = expit(1.5 * (distance * (2 * labels - 1) + shared + own))
    return Predictions(labels, np.column_stack([1 - positive, positive]), owner)


@cache
def true_values(distance):
    """The scores of 400,000 simulated patients, by metric."""
    whole = study(np.random.default_rng(1), 400_000, distance)
    return {name: METRICS[name].compute(whole.labels, whole.scores) for name in NAMES}


@NUMBERS
@pytest.mark.parametrize(
    ("patients", "distance", "measured", "lowest"),
    [(200, 1.2, 0.943, 0.93), (80, 1.2, 0.934, 0.92), (40, 1.2, 0.915, 0.90), (200, 2.4, 0.927, 0.915)],
)
def test_the_intervals_cover_the_true_value(patients, distance, measured, lowest, studies):
    """Of few patients, or where scores are nearly perfect, a little less often."""
    expected = true_values(distance)
    covered = dict.fromkeys(NAMES, 0)
    for number in range(studies):
        drawn = study(np.random.default_rng(1000 + number), patients, distance)
        found = intervals(drawn, Bootstrap(400, seed=number), NAMES)
        for name in NAMES:
            covered[name] += found[name].low <= expected[name] <= found[name].high
    low, high = (lowest, 0.97) if studies == 1000 else bounds(studies, measured, 0.95)
    for name, count in covered.items():
        assert low <= count / studies <= high, name


def two_readings(rng, patients, distance, **kind):
    """A study with two models of the same quality: readings of its images that differ by noise alone."""
    predictions = study(rng, patients, distance, **kind)
    logits = np.log(predictions.scores[:, 1] / predictions.scores[:, 0])
    owner = predictions.patients
    noise = [rng.normal(0, 0.6, patients)[owner] + rng.normal(0, 0.6, len(owner)) for _ in range(2)]
    first, second = (np.column_stack([expit(-logits - one), expit(logits + one)]) for one in noise)
    return predictions.with_scores(first), second


FEW_ILL = {"rare": 10, "odd": 0.0}


@NUMBERS
@pytest.mark.parametrize(
    ("patients", "distance", "kind", "measured", "lowest"),
    [(200, 1.2, {}, 0.049, 0.03), (200, 2.4, {}, 0.030, 0.0), (80, 1.2, FEW_ILL, 0.019, 0.005)],
)
def test_models_that_are_alike_are_seldom_told_apart(patients, distance, kind, measured, lowest, studies):
    """5 % of the studies are to mislead, and fewer do where hardly an image is ranked wrongly."""
    misled = 0
    for number in range(studies):
        first, second = two_readings(np.random.default_rng(1000 + number), patients, distance, **kind)
        misled += paired_difference(first, second, Bootstrap(400, seed=number)).p < 0.05
    low, high = (lowest, 0.07) if studies == 1000 else bounds(studies, measured, 0.05)
    assert low <= misled / studies <= high


@pytest.mark.parametrize(
    ("studies", "patients"),
    [(100, (60, 40)), *(pytest.param(1000, some, marks=pytest.mark.thorough) for some in ((150, 100), (60, 40)))],
)
def test_the_difference_of_two_samples_covers_the_true_one(studies, patients):
    """Of an internal and an external test; fewer studies are enough to find an error that is half or twice as large."""
    expected = true_values(1.0)["auc"] - true_values(1.2)["auc"]
    covered = known = 0
    for number in range(studies):
        rng, draws = np.random.default_rng(1000 + number), []
        for place, (count, distance) in enumerate(zip(patients, (1.2, 1.0), strict=True)):
            drawn = study(rng, count, distance)
            draws.append(
                Bootstrap(300, seed=2 * number + place).of_models("auc", drawn, [drawn.scores], jackknife=False)
            )
        found = between_samples(draws[1], draws[0], 0)
        if found.low is not None:
            known += 1
            covered += found.low <= expected <= found.high
    low, high = (0.92, 0.975) if studies == 1000 else bounds(studies, 0.95, 0.969)
    assert known == studies and low <= covered / studies <= high, covered / studies
