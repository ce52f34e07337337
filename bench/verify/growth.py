"""What report.html says that twice as many patients would give, by a power law that is fitted anew."""

import re
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import t

from bench.verify.reading import Folder, Tally
from bench.verify.resampled import ERRORS
from bench.verify.shown_models import by_size

EXPONENTS = np.linspace(0.05, 2.0, 79)
"""Of the power law, as `bench.stats.power_law` tries them."""
LAWS = 1000


def growth(run: Folder, text: str, tally: Tally) -> None:
    """What a power law expects of twice as many patients: fitted anew, its interval within what chance makes."""
    said = re.search(r"twice as many patients to (raise|lower) .*? by (\S+) \((\S+) to (\S+?),", text)
    sizes = by_size(run)
    if said is None:
        return
    told = [float(one.replace("−", "-")) for one in said.groups()[1:]]
    best = {"log_loss": 0.0, "brier": 0.0}.get(run.metric, 1.0)
    n, errors = np.array([one["patients"] for one in sizes]), [abs(best - one["score"]) for one in sizes]
    several = np.array([len(one) for one in errors])
    pooled = sum(n_one * one.var(ddof=1) * (len(one) - 1) for n_one, one in zip(n, errors, strict=True) if len(one) > 1)
    spread = np.sqrt(pooled / (several - 1).sum() / n)
    error = np.maximum(spread / np.sqrt(several), 1e-6)
    means = np.array([one.mean() for one in errors])
    fitted = _law(n, means, error)
    line = fitted[0] + fitted[1] * n ** -fitted[2]
    missed = max(1.0, (((means - line) / error) ** 2).sum() / max(1, len(n) - 3)) ** 0.5
    noise = t.rvs((several - 1).sum(), size=(LAWS, len(n)), random_state=np.random.default_rng(50_000))
    gains = np.array([_gain(_law(n, row, error), n.max()) for row in line + missed * error * noise])
    digits = 6e-4
    tally.close("twice as many patients", told[0], _gain(fitted, n.max()), digits)
    for end, at, value in zip(("lower", "upper"), ((1 - run.level) / 2, (1 + run.level) / 2), told[1:], strict=True):
        off = ERRORS * np.sqrt(at * (1 - at) * 2 / LAWS)
        least, largest = np.quantile(gains, np.clip([at - off, at + off], 0, 1))
        tally.check(
            least - digits <= value <= largest + digits,
            f"twice as many patients, {end} end: {value:g} is told, {least:.4g} to {largest:.4g} is found",
        )


def _law(n: Any, means: Any, error: Any) -> tuple[float, float, float]:
    """Floor, scale and exponent of the best law, floor and scale at least 0 (non-negative least squares)."""
    fits = [(*nnls(np.column_stack([1 / error, n**-one / error]), means / error), one) for one in EXPONENTS]
    (floor, scale), _, exponent = min(fits, key=lambda fit: fit[1])
    return float(floor), float(scale), float(exponent)


def _gain(law: tuple[float, float, float], n: float) -> float:
    return float(law[1] * (n ** -law[2] - (2 * n) ** -law[2]))
