"""How a score grows with the number of patients: a power law, and what more of them can be expected to give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t

EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Exponents that are tried; learning curves of classifiers lie between (Viering & Loog, IEEE TPAMI 45:7799, 2023)."""
DRAWS = 1000
FEWEST_SIZES = 4
"""With fewer, a law of three parameters fits anything."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PowerLaw:
    """error(n) = floor + scale * n ** -exponent, with the uncertainty of what it was fitted to.

    Attributes:
        floor, scale, exponent: of the fit.
        others: the same of fits to scores drawn anew, shape (n_draws, 3).
    """

    floor: float
    scale: float
    exponent: float
    others: Numbers

    def error(self, n: npt.ArrayLike) -> Numbers:
        """The fitted error at ``n`` patients."""
        return np.asarray(self.floor + self.scale * np.asarray(n, float) ** -self.exponent)

    def gain(self, n: float, times: float = 2.0, level: float = 0.95) -> tuple[float, float, float]:
        """By how much ``times`` as many patients as ``n`` lower the error: value, lower and upper end."""
        draws = _gain(self.others, n, times)
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
        return float(_gain(np.array([[self.floor, self.scale, self.exponent]]), n, times)[0]), low, high


def _gain(laws: Numbers, n: float, times: float) -> Numbers:
    return np.asarray(laws[:, 1] * (n ** -laws[:, 2] - (times * n) ** -laws[:, 2]))


def fit_power_law(sizes: Sequence[float], errors: Sequence[Sequence[float]], seed: int = 0) -> PowerLaw | None:
    """Fit the law to several trainings at each size (Figueroa et al., BMC Med Inform Decis Mak 12:8, 2012).

    Each size weighs as the standard error of its mean says, the standard deviation being that of all sizes together
    as it falls with n, for three trainings alone know it badly. Means are then drawn anew from t distributions about
    the fit, and the law is fitted to each draw (parametric bootstrap).

    Args:
        sizes: patients, one per size.
        errors: what is to fall towards 0, of the trainings at each size.
        seed: of the draws.

    Returns:
        None for fewer than `FEWEST_SIZES` sizes, or where no size has two trainings.
    """
    n = np.asarray(sizes, float)
    spread = [np.std(one, ddof=1) if len(one) > 1 else np.nan for one in errors]
    freedom = sum(len(one) - 1 for one in errors)
    if len(n) < FEWEST_SIZES or freedom < 1:
        return None
    means = np.array([np.mean(one) for one in errors])
    smooth = _smoothed(n, np.asarray(spread), np.array([len(one) for one in errors]))
    error = np.maximum(smooth / np.sqrt([len(one) for one in errors]), 1e-6)
    (best,) = _fits(n, means[None, :], error)
    expected = best[0] + best[1] * n ** -best[2]
    # what the law itself misses counts as noise, too
    missed = np.sqrt(max(1.0, float(np.sum(((means - expected) / error) ** 2)) / max(1, len(n) - 3)))
    drawn = expected + missed * error * t.rvs(freedom, size=(DRAWS, len(n)), random_state=np.random.default_rng(seed))
    floor, scale, exponent = best.tolist()
    return PowerLaw(floor, scale, exponent, _fits(n, drawn, error))


def _smoothed(n: Numbers, spread: Numbers, trainings: npt.NDArray[np.int64]) -> Numbers:
    """The standard deviation at each size, as proportional to n to the power of -1/2 over all sizes together."""
    known = np.isfinite(spread)
    pooled = np.average((spread[known] ** 2) * n[known], weights=trainings[known] - 1)
    return np.asarray(np.sqrt(pooled / n))


def _fits(n: Numbers, means: Numbers, error: Numbers) -> Numbers:
    """Floor, scale and exponent of the best fit to each row of ``means``, floor and scale at least 0."""
    best, least = np.zeros((len(means), 3)), np.full(len(means), np.inf)
    wanted = means / error
    for exponent in EXPONENTS:
        one, falling = 1 / error, n**-exponent / error
        both = np.linalg.lstsq(np.column_stack([one, falling]), wanted.T, rcond=None)[0].T
        # of two columns the constrained optimum lies inside, or on one of two edges
        tried = [
            np.where((both >= 0).all(axis=1, keepdims=True), both, np.nan),
            np.column_stack([np.maximum(wanted @ one / (one @ one), 0), np.zeros(len(means))]),
            np.column_stack([np.zeros(len(means)), np.maximum(wanted @ falling / (falling @ falling), 0)]),
        ]
        for found in tried:
            misfit = ((found[:, :1] * one + found[:, 1:] * falling - wanted) ** 2).sum(axis=1)
            better = misfit < least - 1e-12
            least[better] = misfit[better]
            best[better] = np.column_stack([found, np.full(len(means), exponent)])[better]
    return best
