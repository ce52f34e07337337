"""The corrected resampled t: its formula, and how often its interval holds the procedure's true score."""

import math
from statistics import fmean, variance

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom, rankdata, t

from bench.stats.resampled_t import fold_mean

Floats = npt.NDArray[np.float64]
FEATURES = 20
CONFIGURATIONS = [(count, ridge) for count in (5, 20) for ridge in (0.05, 1.0)]
"""What the simulated procedure chooses among: the first so many features, and the ridge of a linear discriminant."""


def test_it_is_the_formula_of_nadeau_and_bengio() -> None:
    scores = [0.8, 0.9, 0.85, 0.7, 0.95, 0.9]
    found = fold_mean(scores, folds=3)
    assert found.value == pytest.approx(fmean(scores))
    assert found.error == pytest.approx(math.sqrt((1 / 6 + 1 / 2) * variance(scores)))
    assert found.df == 5
    low, high = found.ends
    assert low is not None and high is not None
    assert (high - low) / 2 == pytest.approx(t.ppf(0.975, 5) * found.error)
    assert high > 0.9
    assert fold_mean(scores, 3, limits=(0, 0.9)).ends == (low, 0.9), "nothing beyond what there can be"


def test_few_folds_and_folds_that_agree_have_no_interval() -> None:
    assert fold_mean([0.8, 0.9], 2).ends == (None, None)
    assert fold_mean([0.8] * 5, 5).ends == (None, None)
    assert fold_mean([0.99, 1.0, 1.0], 3, limits=(0.0, 1.0)).ends[1] == 1.0


class Study:
    """Patients with two images each, of two classes; a procedure that chooses on validation patients."""

    def __init__(self, patients: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.labels = self.rng.permutation(np.arange(patients) % 2)
        own = 0.8 * self.rng.normal(size=(patients, FEATURES)) + 0.5 * self.labels[:, None] * (np.arange(FEATURES) < 5)
        self.images = own[:, None] + 0.6 * self.rng.normal(size=(patients, 2, FEATURES))

    def auc(self, patients: Floats, weights: Floats) -> float:
        """Of the images of some patients."""
        scores, labels = (self.images[patients] @ weights).ravel(), np.repeat(self.labels[patients], 2)
        ones = labels.sum()
        return float((rankdata(scores)[labels == 1].sum() - ones * (ones + 1) / 2) / (ones * (len(labels) - ones)))

    def chosen(self, patients: Floats) -> Floats:
        """What the procedure makes of some patients: the discriminant with the best validation score."""
        some = self.rng.permutation(patients)
        some = some[np.argsort(self.labels[some], kind="stable")]  # every fifth of either class validates
        val, train = some[::5], np.delete(some, np.s_[::5])
        fitted = [self._fit(train, *one) for one in CONFIGURATIONS]
        return max(fitted, key=lambda weights: self.auc(val, weights))

    def _fit(self, patients: Floats, count: int, ridge: float) -> Floats:
        images, labels = self.images[patients][..., :count], self.labels[patients]
        one, other = (images[labels == side].reshape(-1, count) for side in (1, 0))
        spread = (np.cov(one.T) + np.cov(other.T)) / 2 + ridge * np.eye(count)
        return np.append(np.linalg.solve(spread, one.mean(0) - other.mean(0)), np.zeros(FEATURES - count))

    def folds(self, folds: int, repeats: int) -> list[float]:
        """Scores of the held-out patients, as of --outer."""
        found = []
        for _ in range(repeats):
            order = self.rng.permutation(len(self.labels))
            place = np.empty(len(order), int)
            place[order[np.argsort(self.labels[order], kind="stable")]] = np.arange(len(order)) % folds
            for fold in range(folds):
                weights = self.chosen(np.flatnonzero(place != fold))
                found.append(self.auc(np.flatnonzero(place == fold), weights))
        return found


def covered(studies: int, patients: int, folds: int, repeats: int) -> tuple[int, int]:
    """In how many studies the interval, and a plain t interval, hold what the procedure makes of so many patients.

    That is the mean over other sets of patients, each as many as a fold trains on, scored on 3000 further ones.
    """
    new = Study(3000, seed=999)
    used = patients * (folds - 1) // folds
    truth = fmean(new.auc(np.arange(3000), Study(used, 10_000 + one).chosen(np.arange(used))) for one in range(300))
    corrected = plain = 0
    for one in range(studies):
        scores = Study(patients, one).folds(folds, repeats)
        low, high = fold_mean(scores, folds).ends
        assert low is not None and high is not None
        corrected += low <= truth <= high
        reach = float(t.ppf(0.975, len(scores) - 1)) * math.sqrt(variance(scores) / len(scores))
        plain += abs(fmean(scores) - truth) <= reach
    return corrected, plain


def test_the_interval_covers_and_without_the_correction_it_would_not() -> None:
    """At 95 %, fewer than 74 of 85 come about once in 1000 times; a plain t interval holds 75 to 80 %."""
    least = binom.ppf(0.001, 85, 0.95)
    corrected, plain = covered(85, 80, 5, 2)
    assert corrected >= least > plain


@pytest.mark.thorough
@pytest.mark.parametrize("shape", [(5, 1), (5, 2), (3, 4), (10, 1)])
@pytest.mark.parametrize("patients", [60, 200])
def test_the_interval_covers_in_many_studies(shape: tuple[int, int], patients: int) -> None:
    corrected, plain = covered(1000, patients, *shape)
    print(f"{patients} patients, {shape[0]}x{shape[1]}: {corrected / 10:.1f} %, plain {plain / 10:.1f} %")
    assert corrected >= binom.ppf(0.001, 1000, 0.93)
