"""Patient-clustered bootstrap intervals: whole patients are drawn again, because their images resemble each other.

A draw is a weight for each image (how often its patient was drawn), and every score is computed for many draws at once.
The same seed gives the same draws, so that models scored on the same images are compared draw by draw.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri, stdtrit
from scipy.stats import t

from bench.stats.metrics import METRICS, Scores, Values, Weights
from bench.stats.predictions import Predictions
from bench.stats.proportions import Ends

BLOCK = 100
"""Draws scored at a time: bounds the memory."""
LEFT_OUT = 500
"""With more patients than this, so many groups of them are left out in turn, not each alone."""
WIDEST = 0.05
"""Half an interval's width beyond which it cannot say that two scores agree: too much else would agree with it too."""
SAME = 1e-12
"""Scores closer than this are equal."""


@dataclass(frozen=True)
class Interval:
    """A score with its bootstrap interval.

    Attributes:
        value: on the images as they are.
        low, high: ends of the interval; None if too few draws could be scored, or all agree.
    """

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference(Interval):
    """One score minus another on the same images.

    Attributes:
        p: two-sided, of no difference; None if too few draws could be scored.
    """

    p: float | None


@dataclass(frozen=True)
class Resampled:
    """Several statistics of the same images under the same draws of patients.

    Attributes:
        value: on the images as they are, shape (n_statistics,).
        draws: in each draw, shape (n_draws, n_statistics); NaN where a draw has none.
        left_out: without each patient (or group of patients) in turn, shape (n_groups, n_statistics).
        patients: how many there are.
        level: coverage of the intervals.
        fewest: patients of the part of the images that has the fewest, which standard errors and t intervals go by
            (`bench.stats.enough.fewest`); None for `patients`.
    """

    value: Values
    draws: npt.NDArray[np.float64]
    left_out: npt.NDArray[np.float64]
    patients: int
    level: float = 0.95
    fewest: int | None = None

    @property
    def counted(self) -> int:
        """Patients that standard errors and t intervals go by."""
        return self.patients if self.fewest is None else self.fewest

    @property
    def known_values(self) -> list[float | None]:
        """`value` as plain numbers; None where there is none."""
        return [float(value) if np.isfinite(value) else None for value in self.value]

    def ends(self, column: int) -> Ends:
        """Ends of the interval of one statistic; both None if fewer than half of the draws have a value, or they agree.

        Draws that agree, as where nothing is ranked wrongly, do not make a score certain: they know no interval.

        The interval is bias-corrected and accelerated (BCa; Efron, JASA 82:171, 1987), its quantiles widened as a t
        interval of so many patients is (Hesterberg, The American Statistician 69:371, 2015). A plain percentile
        interval covers an AUC near 1 too rarely: tests/stats/test_uncertainty_coverage.py has the figures.
        """
        usable = _usable(self.draws[:, column])
        if usable is None or self.patients < 2 or not np.isfinite(self.value[column]):
            return None, None
        wanted = stdtrit(self.patients - 1, [(1 - self.level) / 2, (1 + self.level) / 2])  # t.ppf, ten times as fast
        wanted *= np.sqrt(self.patients / (self.patients - 1))
        gap = usable - self.value[column]
        below = np.count_nonzero(gap < -SAME) + 0.5 * np.count_nonzero(np.abs(gap) <= SAME)
        bias = ndtri((below + 0.5) / (len(usable) + 1))
        shrink = 1 - self._acceleration(column) * (bias + wanted)
        if (shrink > 0).all():
            wanted = bias + (bias + wanted) / shrink
        low, high = np.quantile(usable, ndtr(wanted))
        return (float(low), float(high)) if high - low > SAME else (None, None)

    def bands(self) -> npt.NDArray[np.float64]:
        """Lower and upper ends of all statistics, shape (2, n_statistics); NaN where there are none."""
        ends = [self.ends(column) for column in range(len(self.value))]
        return np.array(ends, dtype=np.float64).T

    def standard_error(self, column: int) -> float | None:
        """Standard deviation of one statistic over the draws, as of `counted` patients; None as in `ends`.

        A bootstrap of n patients gives (n - 1) / n of a variance; of a class, with n patients of that class.
        """
        usable = _usable(self.draws[:, column])
        if usable is None or self.counted < 2:
            return None
        return float(np.std(usable, ddof=1) * np.sqrt(self.counted / (self.counted - 1)))

    def difference(self, a: int, b: int) -> Difference:
        """Statistic ``a`` minus statistic ``b``, draw by draw.

        Interval and p are those of a t test with the standard error of the draws, so they always agree (for two AUCs:
        Hanley and McNeil, Radiology 148:839, 1983; the error by bootstrap: Robin et al., BMC Bioinformatics 12:77,
        2011); its degrees of freedom are one less than the `counted` patients. Percentiles of the draws find a
        difference between equal models more often: in 5.7 % of simulated studies against 4.9 %, and near an AUC of 1 in
        7.0 % against 3.0 % (tests/stats/test_uncertainty_coverage.py).
        """
        value, draws = float(self.value[a] - self.value[b]), self.draws[:, a] - self.draws[:, b]
        error = Resampled(np.array([value]), draws[:, None], draws[:0, None], self.counted).standard_error(0)
        if error is None:
            return Difference(value, None, None, None)
        if error <= SAME:  # the same in every draw
            return Difference(value, None, None, 1.0 if abs(value) <= SAME else 2 / (len(draws) + 1))
        df = self.counted - 1
        reach = float(t.ppf((1 + self.level) / 2, df)) * error
        return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, df)))

    def _acceleration(self, column: int) -> float:
        values = self.left_out[:, column]
        known = values[np.isfinite(values)]
        influence = known.sum() / max(1, len(known)) - known
        spread = float(np.sum(influence**2))
        return float(np.sum(influence**3) / (6 * spread**1.5)) if spread > SAME**2 else 0.0


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are computed.

    Attributes:
        draws: number of bootstrap draws; with 0 there are no intervals.
        level: coverage of the intervals.
        seed: decides the draws.
    """

    draws: int = 2000
    level: float = 0.95
    seed: int = 0

    def unless(self, reason: str) -> "Bootstrap":
        """The same, but without draws if there is a ``reason`` against intervals."""
        return replace(self, draws=0) if reason else self

    def resample(
        self,
        statistics: Callable[[Weights], npt.NDArray[np.float64]],
        patients: npt.NDArray[Any],
        jackknife: bool = True,
    ) -> Resampled:
        """Statistics on the images as they are, in each draw of patients, and without each patient in turn.

        Args:
            statistics: weights of shape (n_draws, n_images) -> values of shape (n_draws, n_statistics). Give those of
                all models at once, and all share the draws.
            patients: patient of each image, shape (n_images,).
            jackknife: whether patients are left out in turn, which `Resampled.ends` needs and standard errors do not.
        """
        plain = statistics(np.ones((1, len(patients))))
        none = np.empty((0, plain.shape[1]))
        n_patients = len(np.unique(patients))
        wanted = jackknife and self.draws and n_patients > 1
        left_out = [statistics(block) for block in _blocks_left_out(patients)] if wanted else []
        drawn = [statistics(block) for block in blocks_of_draws(patients, self.draws, self.seed)]
        return Resampled(
            plain[0], np.concatenate([none, *drawn]), np.concatenate([none, *left_out]), n_patients, self.level
        )

    def of_models(
        self, metric: str, predictions: Predictions, models: Iterable[Scores], jackknife: bool = True
    ) -> Resampled:
        """A metric of several models in the same draws, one statistic per model.

        Args:
            metric: its name.
            predictions: the images; their scores are not read.
            models: probabilities of each model, shape (n_images, n_classes).
            jackknife: as of `resample`.
        """
        labels, scores, weighted = predictions.labels, list(models), METRICS[metric].weighted
        found = self.resample(
            lambda weights: np.column_stack([weighted(labels, one, weights) for one in scores]),
            predictions.patients,
            jackknife,
        )
        return replace(found, fewest=predictions.fewest_for(METRICS[metric]))


def intervals(
    predictions: Predictions, bootstrap: Bootstrap, names: Iterable[str] | None = None
) -> dict[str, Interval]:
    """Metrics, by name, with their patient-clustered bootstrap intervals (`Resampled.ends`).

    Without ``names``, all that are `bench.stats.metrics.applicable`.
    """
    labels, scores = predictions.labels, predictions.scores
    wanted = [METRICS[name] for name in (predictions.metrics if names is None else names)]
    found = bootstrap.resample(
        lambda weights: np.column_stack([metric.weighted(labels, scores, weights) for metric in wanted]),
        predictions.patients,
    )
    return {
        metric.name: Interval(metric.compute(labels, scores), *found.ends(column))
        for column, metric in enumerate(wanted)
    }


def paired_difference(a: Predictions, b: Scores, bootstrap: Bootstrap, metric: str = "auc") -> Difference:
    """Metric of model ``a`` minus that of a model with scores ``b`` on the same images; see `Resampled.difference`."""
    return bootstrap.of_models(metric, a, [a.scores, b], jackknife=False).difference(0, 1)


def between_samples(a: Resampled, b: Resampled, column: int) -> Difference:
    """A statistic of one sample of patients minus the same of another, no patient being in both.

    The variances add up, and interval and p are those of Welch's t test (Biometrika 34:28, 1947) with standard errors
    by bootstrap, each with one less than its `Resampled.counted` patients as degrees of freedom. The draws of the two
    must have different seeds. There is no interval where all draws of a sample
    agree: they know no error.
    """
    value = float(a.value[column] - b.value[column])
    errors = a.standard_error(column), b.standard_error(column)
    if errors[0] is None or errors[1] is None or min(errors[0], errors[1]) <= SAME:
        return Difference(value, None, None, None)
    variances = errors[0] ** 2, errors[1] ** 2
    df = sum(variances) ** 2 / (variances[0] ** 2 / (a.counted - 1) + variances[1] ** 2 / (b.counted - 1))
    error = float(np.sqrt(sum(variances)))
    reach = float(t.ppf((1 + a.level) / 2, df)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, df)))


def _usable(values: Values) -> Values | None:
    """The finite ones; None if they are fewer than half, or none were drawn."""
    usable = values[np.isfinite(values)]
    return usable if len(values) and len(usable) >= len(values) / 2 else None


def blocks_of_draws(patients: npt.NDArray[Any], draws: int, seed: int) -> Iterator[Weights]:
    """How often each image's patient is drawn, in blocks of `BLOCK` draws, each of shape (n_draws, n_images)."""
    _, index = np.unique(patients, return_inverse=True)
    n_patients = int(index.max()) + 1
    rng = np.random.default_rng(seed)
    for start in range(0, draws, BLOCK):
        size = min(BLOCK, draws - start)
        counts = rng.multinomial(n_patients, np.full(n_patients, 1 / n_patients), size=size)
        yield counts[:, index].astype(np.float64)


def _blocks_left_out(patients: npt.NDArray[Any]) -> Iterator[Weights]:
    _, index = np.unique(patients, return_inverse=True)
    groups = index % LEFT_OUT
    n_groups = int(groups.max()) + 1
    for start in range(0, n_groups, BLOCK):
        numbers = np.arange(start, min(start + BLOCK, n_groups))
        yield (groups[None, :] != numbers[:, None]).astype(np.float64)
