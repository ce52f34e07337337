"""The mean score over folds that share their training data, with an interval: the corrected resampled t."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy.stats import t

from bench.stats.bootstrap import SAME

FEWEST_FOLDS = 3
"""With fewer there is no interval: a variance of two scores says next to nothing."""


@dataclass(frozen=True)
class FoldMean:
    """The mean score of some folds.

    Attributes:
        value: the mean.
        error: its standard error; None where it is not known, and then there is no interval.
        df: degrees of freedom.
        level: coverage of the interval.
        limits: the least and the largest value that the score can have.
    """

    value: float
    error: float | None = None
    df: int | None = None
    level: float = 0.95
    limits: tuple[float, float] = (-math.inf, math.inf)

    @property
    def ends(self) -> tuple[float | None, float | None]:
        """Of the t interval, within the limits; both None where there is none."""
        if self.error is None or self.df is None or self.error <= SAME:  # folds that agree make no score certain
            return None, None
        reach = float(t.ppf((1 + self.level) / 2, self.df)) * self.error
        return max(self.value - reach, self.limits[0]), min(self.value + reach, self.limits[1])


def fold_mean(
    scores: Sequence[float], folds: int, level: float = 0.95, limits: tuple[float, float] = (-math.inf, math.inf)
) -> FoldMean:
    """The mean of the scores of repeated folds, and how far that of the procedure may lie from it.

    The scores are no sample of independent ones: each two folds share most of their training patients, and in another
    repeat their test patients too. The variance of the mean is s² (1 / n + n_test / n_train) of n scores with n - 1
    degrees of freedom, where folds have n_test / n_train = 1 / (folds - 1) (Nadeau and Bengio, Machine Learning 52:239,
    2003; for repeated folds: Bouckaert and Frank, PAKDD 2004). Patients are whole in a fold, so the variance between
    folds has theirs. In simulated studies the 95 % interval covers the procedure's true score in 93 to 98 %, a plain
    t interval in 58 to 93 %: tests/stats/test_resampled_t.py, docs/method/outer.md.

    Args:
        scores: of all folds that were scored, of all repeats.
        folds: of one repeat.
        level: coverage of the interval.
        limits: the least and the largest value that the score can have.
    """
    n = len(scores)
    if n < FEWEST_FOLDS:
        return FoldMean(fmean(scores), level=level, limits=limits)
    error = math.sqrt(variance(scores) * (1 / n + 1 / (folds - 1)))
    return FoldMean(fmean(scores), error, n - 1, level, limits)
