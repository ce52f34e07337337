"""Intervals by another bootstrap over patients than the run's, and how far two bootstraps lie apart by chance.

Monte Carlo errors are those of quantiles, of the bias correction and of standard deviations, of both bootstraps. With
the 2,000 draws of a run, the width of an interval has one of 2.6 %, so that one which is 20 % too narrow does not pass;
with fewer draws the run itself knows its intervals no better.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kurtosis, norm, t
from statsmodels.stats.proportion import proportion_confint

from bench.verify.reading import Tally
from bench.verify.weighted import Floats, Mask, Statistic

DRAWS = 6000
SIMULATED, CHANCE = 1000, 1.5
"""An end may lie `CHANCE` times as far off as the furthest of so many simulated bootstraps: about five standard errors.
Some thousand ends are compared in a run, and none may be off by chance."""
OUTERMOST = 4
"""An end that rests on fewer draws may lie any distance outward: how far the rarest draws go is known from none."""
ERRORS = 5.0
"""Standard errors that a standard error may be off."""
BLOCK = 4_000_000
"""Cells of a block of weights."""
LEFT_OUT = 500
"""Of more patients, so many groups are left out in turn."""
FEWEST = 10
"""Patients, of the images and of each part that a score depends on by itself, without whom no interval is given."""
NOTHING = 1e-12


def few(patients: npt.NDArray[Any], *parts: Mask) -> bool:
    """Whether there are too few patients for an interval."""
    masks = [np.ones(len(patients), dtype=bool), *parts]
    return any(len(np.unique(patients[mask])) < FEWEST for mask in masks)


def _weights(code: npt.NDArray[np.int64], n: int, draws: int) -> Iterator[Floats]:
    rng, block = np.random.default_rng(20_000), max(1, BLOCK // len(code))
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = rng.integers(0, n, (rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)[:, code].astype(np.float64)


@dataclass(frozen=True)
class Band:
    """The least and the largest that another bootstrap gives by chance, of both ends and of the width."""

    low: tuple[float, float]
    high: tuple[float, float]
    width: tuple[float, float]

    @property
    def may_be_nothing(self) -> bool:
        """Whether all draws may agree."""
        return self.high[0] - self.low[1] <= NOTHING


@dataclass(frozen=True)
class Redrawn:
    """Statistics of the same images in draws of patients.

    Attributes:
        value: of the images as they are, shape (n_statistics,).
        drawn: shape (n_draws, n_statistics).
        without: without each patient, or each of `LEFT_OUT` groups, shape (n_groups, n_statistics).
        patients: how many.
    """

    value: Floats
    drawn: Floats
    without: Floats
    patients: int

    def band(self, column: int, level: float, others: int) -> Band | None:
        """What an interval of ``others`` draws may be; None where there is none.

        Bias-corrected and accelerated (Efron, JASA 82:171, 1987), with quantiles of Student's t (Hesterberg, The
        American Statistician 69:371, 2015), written anew.
        """
        value, drawn = self.value[column], self.drawn[:, column]
        usable = drawn[np.isfinite(drawn)]
        if not np.isfinite(value) or self.patients < 2 or len(usable) < len(drawn) / 2:
            return None
        n, known = self.patients, self.without[np.isfinite(self.without[:, column]), column]
        pull = known.mean() - known if len(known) else known
        spread = (pull**2).sum()
        curve = (pull**3).sum() / (6 * spread**1.5) if spread > NOTHING**2 else 0.0
        apart = usable - value
        share = ((apart < -NOTHING).sum() + 0.5 * (abs(apart) <= NOTHING).sum() + 0.5) / (len(usable) + 1)
        reach = t.ppf([(1 - level) / 2, (1 + level) / 2], n - 1) * np.sqrt(n / (n - 1))
        with np.errstate(all="ignore"):
            return _band(usable, others, share, curve, reach)

    def quantiles(self, column: int, level: float, others: int) -> Band:
        """The same of plain quantiles of the draws."""
        usable = self.drawn[np.isfinite(self.drawn[:, column]), column]
        return _band(usable, others, None, 0.0, norm.ppf([(1 - level) / 2, (1 + level) / 2]))

    def standard_error(self, contrast: Floats, others: int, patients: int) -> tuple[float, float]:
        """Of a weighted sum of the statistics, as of so many patients, and how far another bootstrap may be off."""
        usable = self.drawn[np.isfinite(self.drawn).all(axis=1)] @ contrast
        error = float(usable.std(ddof=1) * np.sqrt(patients / max(1, patients - 1)))  # of one there is no interval
        heavy = float(kurtosis(usable, fisher=False)) if error > NOTHING else 3.0
        return error, ERRORS * error * float(np.sqrt((heavy - 1) / 4 * (1 / others + 1 / len(usable))))


def _band(usable: Floats, others: int, share: float | None, curve: float, reach: Floats) -> Band:
    """Both ends and the width as `SIMULATED` bootstraps of ``others`` draws give them, and `CHANCE` as far again.

    A quantile of a sample is the quantile of all at a place that follows a beta distribution; the share below the value
    (None for no bias correction) is binomial. Both bootstraps, the other and this one, are allowed for by fewer draws.
    """
    rng, draws = np.random.default_rng(1), 1 / (1 / others + 1 / len(usable))
    wanted = np.tile(reach, (SIMULATED, 1))
    if share is not None:
        bias = norm.ppf((rng.binomial(round(draws), share, (SIMULATED, 1)) + 0.5) / (round(draws) + 1))
        stretch = 1 - curve * (bias + reach)
        corrected = bias + (bias + reach) / stretch
        wanted = np.where((stretch > 0).all(axis=1, keepdims=True), corrected, wanted)
    place = norm.cdf(wanted) * (draws - 1)
    ends = np.quantile(usable, rng.beta(place + 1, draws - place))
    limits = []
    for values in (*ends.T, ends[:, 1] - ends[:, 0]):
        middle = float(np.median(values))
        limits.append([middle - CHANCE * (middle - values.min()), middle + CHANCE * (values.max() - middle)])
    outermost = np.median(norm.cdf(wanted), axis=0) * [1, -1] + [0, 1]
    for side, sign in ((0, -1), (1, 1)):
        if outermost[side] * (others - 1) < OUTERMOST:
            limits[side][side], limits[2][1] = sign * np.inf, np.inf
    (low, high, width) = ((least, largest) for least, largest in limits)
    return Band(low, high, width)


def redrawn(patients: npt.NDArray[Any], statistic: Statistic, jackknife: bool = True, draws: int = DRAWS) -> Redrawn:
    """A statistic under draws of whole patients with replacement, and without each in turn."""
    names, code = np.unique(patients, return_inverse=True)
    n, groups = len(names), code % LEFT_OUT
    value = statistic(np.ones((1, len(code))))
    drawn = [statistic(weights) for weights in _weights(code, n, draws)]
    without = [np.empty((0, value.shape[1]))]
    numbers = np.arange(groups.max() + 1) if jackknife and n > 1 else np.arange(0)
    step = max(1, BLOCK // len(code))
    for start in range(0, len(numbers), step):
        without.append(statistic((groups[None, :] != numbers[start : start + step, None]).astype(np.float64)))
    return Redrawn(value[0], np.concatenate(drawn), np.concatenate(without), n)


def check_ends(tally: Tally, where: str, low: Any, high: Any, band: Band | None, why_none: bool = False) -> None:
    """Ends that are told lie within the band; none are told where there is none, or ``why_none`` holds."""
    missing = [end is None or end != end for end in (low, high)]
    if all(missing):
        nothing = why_none or band is None or band.may_be_nothing
        tally.check(nothing, f"{where}: no interval is told where patients and draws are enough for one")
    elif any(missing) or why_none or band is None:
        why = "one end alone" if any(missing) else "an interval"
        tally.check(False, f"{where}: {why} is told where there should be {'two' if any(missing) else 'none'}")
    else:
        check_within(tally, f"{where}: lower end", low, band.low)
        check_within(tally, f"{where}: upper end", high, band.high)
        check_within(tally, f"{where}: width", float(high) - float(low), band.width)


def check_within(tally: Tally, where: str, told: Any, limits: tuple[float, float], room: float = 1e-9) -> None:
    """A number that is told lies between the least and the largest that chance makes of it."""
    held = limits[0] - room <= float(told) <= limits[1] + room
    sentence = f"{float(told):.6g} is told, {limits[0]:.6g} to {limits[1]:.6g} is found"
    tally.check(held, f"{where}: {sentence}")


def by_patients(patients: npt.NDArray[Any], right: Mask, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share of as many images as are left if those of a patient are alike (Kish, 1965)."""
    sizes = np.unique(patients, return_counts=True)[1].astype(float)
    left = sizes.sum() ** 2 / (sizes**2).sum()
    low, high = proportion_confint(right.mean() * left, left, alpha=1 - level, method="wilson")
    return float(low), float(high)
