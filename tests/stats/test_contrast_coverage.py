"""How often the 95 % intervals of a contrast over seeds cover the true difference: simulated studies of two models.

Measured (500 studies each, 200 draws; the standard error of a share near 95 % is 1 point; * at an AUC near 1):

=======  ========  =====  =============  ==========  =======================  =================
classes  patients  seeds  between seeds  of a model  over seeds and patients  by patients alone
=======  ========  =====  =============  ==========  =======================  =================
2        60        3, 3   0.0            0.6         95.2 %                   95.8 %
2        60        3, 3   0.25           0.3         95.8 %                   79.4 %
2        60        3, 3   0.6            0.3         96.8 %                   45.0 %
2        60        5, 5   0.0            0.6         96.4 %                   96.0 %
2        60        5, 5   0.25           0.3         96.0 %                   84.2 %
2        60        5, 5   0.6            0.3         96.2 %                   48.2 %
2        60        3, 5   0.0            0.6         95.4 %                   95.6 %
2        60        3, 5   0.25           0.3         95.2 %                   80.8 %
2        60        3, 5   0.6            0.3         95.2 %                   46.6 %
3        60        3, 3   0.0            0.6         94.2 %                   94.4 %
3        60        3, 3   0.25           0.3         94.8 %                   72.2 %
3        60        3, 3   0.6            0.3         97.0 %                   40.0 %
3        60        5, 5   0.0            0.6         93.6 %                   93.6 %
3        60        5, 5   0.25           0.3         96.8 %                   76.4 %
3        60        5, 5   0.6            0.3         98.0 %                   43.2 %
3        60        3, 5   0.0            0.6         95.0 %                   94.8 %
3        60        3, 5   0.25           0.3         93.4 %                   73.4 %
3        60        3, 5   0.6            0.3         95.6 %                   41.0 %
2        200       3, 3   0.25           0.3         96.2 %                   58.2 %
2        200       5, 5   0.25           0.3         94.0 %                   65.6 %
2        200       3, 5   0.25           0.3         94.2 %                   56.8 %
2*       60        3, 3   0.25           0.3         98.6 %                   98.0 %
2        60        5, 5   0.0            0.0         96.8 %                   96.2 %
=======  ========  =====  =============  ==========  =======================  =================

Where the second model is worse (``behind``), 92 to 95 %; where its seeds differ a quarter as much, 93 to 96 % at 0.25,
and at 0.6, where an AUC has a tail of bad trainings, 85 to 87 % with three such seeds and 89 to 91 % with five.

Of 10 patients of one class (1,000 studies each, three seeds, AUCs of 0.74 to 0.78), by the patients of the class with
the fewest, and as it would be by all patients:

=================  =============  ==========  ====================  ===========
patients by class  between seeds  of a model  by the rarest class   by all
=================  =============  ==========  ====================  ===========
10, 70             0.0            0.6         95.5 %                93.0 %
10, 200            0.0            0.6         94.3 %                92.5 %
10, 70             0.25           0.3         96.1 %                95.2 %
10, 40, 40         0.0            0.6         97.2 %                95.5 %
=================  =============  ==========  ====================  ===========

The table above was measured by all patients; of 60 in classes of one size, 1,000 studies each gave 96.1 and 95.9 % by
either, 95.9 and 95.9 %, and of three classes 94.8 and 94.4 %.

Here a few studies of two and three classes are simulated; ``-m thorough`` simulates 300 of each kind, and
``python tests/stats/test_contrast_coverage.py 500`` makes the table. Shares may be what the measured ones give but for
one case in a thousand, by the binomial distribution.
"""

import sys
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binom

from bench.stats.bootstrap import Bootstrap
from bench.stats.contrast import Contrast, Seeds, contrast
from bench.stats.predictions import Predictions

BY_CHANCE = 0.001
"""Probability that a share of so many studies lies outside its bounds."""


@dataclass(frozen=True)
class Kind:
    """Studies of two models.

    Attributes:
        classes, patients: how many.
        seeds: of either model.
        by_seed: standard deviation of how well a seed tells the classes apart; 1.9 on average.
        by_model: standard deviation of how a patient's images look to a model, whatever its seed.
        distance: on average, between the classes.
        behind: by how much less the second model tells the classes apart.
        steadier: how many times less its seeds differ.
        rare: patients of the first class; None for as many as of any other.
    """

    classes: int
    patients: int
    seeds: tuple[int, int]
    by_seed: float
    by_model: float
    distance: float = 1.9
    behind: float = 0.0
    steadier: float = 1.0
    rare: int | None = None

    @property
    def of_patients(self):
        """Class of each patient, shape (patients,)."""
        if self.rare is None:
            return np.arange(self.patients) % self.classes
        return np.r_[np.zeros(self.rare, int), 1 + np.arange(self.patients - self.rare) % (self.classes - 1)]


def study(kind, number):
    """One to three images per patient, whose difficulty all trainings share in part."""
    rng = np.random.default_rng([7, number])
    owner = np.repeat(np.arange(kind.patients), rng.integers(1, 4, kind.patients))
    labels = kind.of_patients[owner]
    truth, shape = np.eye(kind.classes)[labels], (len(owner), kind.classes)

    def by_patient(spread):
        return rng.normal(0, spread, (kind.patients, kind.classes))[owner]

    difficulty = by_patient(0.8) + rng.normal(0, 0.6, shape)
    scores = []
    models = ((kind.distance, kind.by_seed), (kind.distance - kind.behind, kind.by_seed / kind.steadier))
    for seeds, (average, by_seed) in zip(kind.seeds, models, strict=True):
        seen = difficulty + by_patient(kind.by_model)
        for _ in range(seeds):
            distance = average + rng.normal(0, by_seed)
            scores.append(softmax(distance * truth + seen + by_patient(0.4) + rng.normal(0, 0.6, shape), axis=1))
    return Predictions(labels, scores[0], owner), scores


def compared(kind, number, draws=200):
    """The contrast of a study, and that of the same trainings by patients alone."""
    images, scores = study(kind, number)
    found = Bootstrap(draws, seed=number).of_models("auc", images, scores)
    a, b = range(kind.seeds[0]), range(kind.seeds[0], sum(kind.seeds))
    weights = np.array([1 / len(a)] * len(a) + [-1 / len(b)] * len(b))
    fixed = float(np.sqrt(weights @ np.cov(found.draws, rowvar=False) @ weights))
    both = contrast(found, Seeds(a), Seeds(b))
    return both, Contrast(both.value, fixed, found.counted - 1)


def covers(one, true):
    low, high = one.ends
    return low <= true <= high if low is not None else one.value == true


def covered(kind, studies):
    """Share of the studies whose interval covers the true difference: over seeds and patients, by patients alone.

    The true difference of models alike is 0; of others it is the mean of all studies, for an AUC has no bias.
    """
    found = [compared(kind, number) for number in range(studies)]
    true = float(np.mean([both.value for both, _ in found])) if kind.behind or kind.steadier != 1 else 0.0
    return np.mean([[covers(one, true) for one in pair] for pair in found], axis=0)


def bounds(studies, lowest, highest):
    low, high = binom.ppf([BY_CHANCE / 2, 1 - BY_CHANCE / 2], studies, [lowest, highest])
    return low / studies, high / studies


EFFECTS = ((0.0, 0.6), (0.25, 0.3), (0.6, 0.3))
NUMBERS = ((3, 3), (5, 5), (3, 5))
KINDS = [Kind(classes, 60, seeds, *effects) for classes in (2, 3) for seeds in NUMBERS for effects in EFFECTS]
KINDS += [Kind(2, 200, seeds, 0.25, 0.3) for seeds in NUMBERS]
KINDS += [Kind(2, 60, (3, 3), 0.25, 0.3, distance=3.2), Kind(2, 60, (5, 5), 0.0, 0.0)]
KINDS += [Kind(2, 60, seeds, 0.25, 0.3, behind=0.6) for seeds in NUMBERS]
KINDS += [Kind(2, 60, (3, 5), 0.6, 0.3, steadier=4), Kind(2, 60, (5, 3), 0.6, 0.3, steadier=4)]
UNBALANCED = [Kind(2, 10 + many, (3, 3), *EFFECTS[0], distance=1.0, rare=10) for many in (70, 200)]
UNBALANCED += [Kind(2, 80, (3, 3), *EFFECTS[1], distance=1.0, rare=10)]
UNBALANCED += [Kind(3, 90, (3, 3), *EFFECTS[0], distance=1.0, rare=10)]
"""Ten patients of one class, 40 to 200 of each other."""


@pytest.mark.parametrize(("classes", "studies"), [(2, 120), (3, 30)])
def test_unequal_numbers_of_seeds_are_covered_and_patients_alone_do_not_cover(classes, studies):
    both, fixed = covered(Kind(classes, 60, (3, 5), 0.6, 0.3), studies)
    low, high = bounds(studies, 0.94, 0.97)
    assert low <= both <= high
    assert fixed < 0.75


@pytest.mark.parametrize(
    ("kind", "studies"),
    [(UNBALANCED[0], 40), *(pytest.param(kind, 300, marks=pytest.mark.thorough) for kind in UNBALANCED)],
)
def test_few_patients_of_one_class_are_covered(kind, studies):
    low, high = bounds(studies, 0.94, 0.98)
    assert low <= covered(kind, studies)[0] <= high


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
def test_the_true_difference_is_covered(kind):
    both, fixed = covered(kind, 300)
    lowest = 0.94 if kind.steadier == 1 else 0.86
    low, high = bounds(300, lowest, 0.985 if kind.by_model == 0 or kind.distance > 3 else 0.97)
    assert low <= both <= high
    if kind.by_seed == 0.6 and kind.steadier == 1:
        assert fixed < 0.6, "patients alone are too sure"


if __name__ == "__main__":
    for kind in KINDS + UNBALANCED:
        both, fixed = covered(kind, int(sys.argv[1]))
        about = (
            kind.classes,
            kind.patients,
            kind.seeds,
            kind.distance,
            kind.behind,
            kind.by_seed,
            kind.by_model,
            kind.rare,
        )
        print(*about, f"{both:.3f} {fixed:.3f}", sep="\t", flush=True)
