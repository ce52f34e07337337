"""How well two scores rank the same configurations: rank correlations with intervals, the cost of choosing by one."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from bench.errors import ConfigError
from bench.run.record import Number, Part

DRAWS = 2000


class Agreement(Part):
    """How well a ranking by one score agrees with that by another; what cannot be computed is None.

    Attributes:
        configurations: how many are ranked.
        spearman: Spearman's rho.
        bootstrap, fisher: its 95 % intervals, by the percentile bootstrap over configurations and by Fisher's z with
            the standard error of Bonett & Wright (Psychometrika 65:23, 2000).
        kendall: Kendall's tau.
        winner, winner_cached, winner_fresh: the configuration that cached scores would choose, and its two scores.
        best, best_fresh: the best by fresh scores.
        winner_difference: what choosing by cached scores costs.
        mean_difference, sd_difference: of fresh less cached scores.
    """

    configurations: int
    spearman: Number | None
    bootstrap: tuple[Number, Number] | None
    fisher: tuple[Number, Number] | None
    kendall: Number | None
    winner: int
    winner_cached: Number
    winner_fresh: Number
    best: int
    best_fresh: Number
    winner_difference: Number
    mean_difference: Number
    sd_difference: Number


def agreement(cached: npt.ArrayLike, fresh: npt.ArrayLike, higher_is_better: bool = True, seed: int = 0) -> Agreement:
    """How well the ranking by ``cached`` scores agrees with that by ``fresh`` ones.

    Args:
        cached: scores of n configurations on cached features.
        fresh: their scores with fresh augmentation, in the same order.
        higher_is_better: which way the score points.
        seed: of the bootstrap.

    Raises:
        ConfigError: for fewer than three configurations.
    """
    first, second = np.asarray(cached, float), np.asarray(fresh, float)
    n = len(first)
    if n < 3:
        raise ConfigError(f"At least 3 configurations must have both scores for a ranking, but {n} have.")
    rho = _spearman(first, second)
    chosen = np.random.default_rng(seed).integers(0, n, (DRAWS, n))
    draws = _spearman_of_rows(first[chosen], second[chosen])
    sign = 1 if higher_is_better else -1
    winner, best = int(np.argmax(sign * first)), int(np.argmax(sign * second))
    differences = second - first
    return Agreement(
        configurations=n,
        spearman=rho,
        bootstrap=tuple(np.quantile(draws, [0.025, 0.975]).tolist()) if len(draws) else None,
        fisher=_fisher(rho, n),
        kendall=float(stats.kendalltau(first, second).statistic) if rho is not None else None,
        winner=winner,
        winner_cached=float(first[winner]),
        winner_fresh=float(second[winner]),
        best=best,
        best_fresh=float(second[best]),
        winner_difference=float(second[winner] - second[best]),
        mean_difference=float(differences.mean()),
        sd_difference=float(differences.std(ddof=1)),
    )


def _spearman(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float | None:
    """Spearman's rho; None where one side is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.spearmanr(first, second).statistic)


def _spearman_of_rows(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Spearman's rho of each pair of rows; left out where one of them is constant."""
    varies = (np.ptp(first, axis=1) > 0) & (np.ptp(second, axis=1) > 0)
    x, y = (stats.zscore(stats.rankdata(values[varies], axis=1), axis=1) for values in (first, second))
    return np.asarray(np.clip((x * y).mean(axis=1), -1.0, 1.0))


def _fisher(rho: float | None, n: int) -> tuple[float, float] | None:
    if rho is None or abs(rho) > 1 - 1e-9 or n < 4:
        return None
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half)
