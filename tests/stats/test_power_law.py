"""The power law of a learning curve: found where it is known, and its interval covers what more patients give."""

import numpy as np
import pytest

from bench.stats.power_law import fit_power_law

SHARES = np.array([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1])


def errors(
    floor: float, scale: float, exponent: float, n: np.ndarray, seed: int, noise: float = 0.15
) -> list[list[float]]:
    random = np.random.default_rng(seed)
    return [(floor + scale * m**-exponent + random.normal(0, noise * m**-0.5, 3)).tolist() for m in n]


def test_a_law_without_noise_is_found() -> None:
    n = 400 * SHARES
    found = fit_power_law(n, errors(0.03, 0.6, 0.6, n, 0, noise=1e-9))
    assert (found.floor, found.scale, found.exponent) == pytest.approx((0.03, 0.6, 0.6), rel=0.1)
    value, low, high = found.gain(400)
    assert value == pytest.approx(0.6 * (400**-0.6 - 800**-0.6), rel=0.02)
    assert low <= value <= high and high - low < 1e-3
    assert found.error([800]) == pytest.approx([found.error(400) - value])


@pytest.mark.parametrize("law", [(0.03, 0.6, 0.6), (0.0, 0.5, 0.3), (0.1, 0.0, 1.0)])
def test_the_interval_covers_what_twice_as_many_give(law: tuple[float, float, float]) -> None:
    """40 studies: at 95 % at least 34 cover, whatever the draw (binomial, one in a thousand)."""
    n, covered = 200 * SHARES, 0
    truth = law[1] * (200 ** -law[2] - 400 ** -law[2])
    for study in range(40):
        _, low, high = fit_power_law(n, errors(*law, n, study), seed=study).gain(200)
        covered += low - 1e-9 <= truth <= high + 1e-9
    assert covered >= 33


def test_more_patients_never_do_harm_and_nothing_is_said_of_too_little() -> None:
    n = 200 * SHARES
    rising = [[0.1 + 0.01 * place] * 2 for place in range(5)]
    value, low, high = fit_power_law(n, rising).gain(200)
    assert 0 <= low <= high and value >= 0
    assert fit_power_law(n[:3], rising[:3]) is None, "three sizes"
    assert fit_power_law(n, [[0.1]] * 5) is None, "no size was trained twice"
