"""The contrast of means over seeds: its variance by hand, its limits, and the tests that rest on it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nct, t, ttest_ind

from bench.stats.bootstrap import Bootstrap, Resampled, paired_difference
from bench.stats.contrast import Contrast, Seeds, contrast
from bench.stats.predictions import Predictions

A, B = Seeds((0, 1, 2)), Seeds((3, 4))


def drawn(values, draws=2000, shared=0.0, own=0.0, seed=0, patients=400):
    """Draws of models that move together by ``shared`` and each by ``own``."""
    rng = np.random.default_rng(seed)
    together = rng.normal(0, shared, (draws, 1))
    values = np.asarray(values, float)
    return Resampled(values, values + together + rng.normal(0, own, (draws, len(values))), values[None], patients)


def test_the_variance_is_that_of_obuchowski_and_rockette_for_seeds_nested_in_models():
    """MS of seeds over their number, plus the covariances of different seeds within less those across (Hillis 2014)."""
    values = [0.90, 0.94, 0.92, 0.85, 0.89]
    found = drawn(values, own=0.02)
    found.draws[:, :3] += np.random.default_rng(1).normal(0, 0.01, (2000, 1))  # patients move all seeds of a
    covariance = np.cov(found.draws, rowvar=False) * 400 / 399
    within_a = np.mean([covariance[i, j] for i in range(3) for j in range(3) if i != j])
    across = covariance[:3, 3:].mean()
    patients = within_a + covariance[3, 4] - 2 * across
    seeds = [np.var(values[:3], ddof=1) / 3, np.var(values[3:], ddof=1) / 2]
    one = contrast(found, A, B)
    assert one.value == pytest.approx(0.05)
    assert one.error**2 == pytest.approx(sum(seeds) + patients)
    assert one.seed_share == pytest.approx(sum(seeds) / (sum(seeds) + patients))
    assert one.df == pytest.approx(
        (sum(seeds) + patients) ** 2 / (seeds[0] ** 2 / 2 + seeds[1] ** 2 + patients**2 / 399)
    )


def test_the_part_of_the_patients_goes_by_those_of_the_class_with_the_fewest():
    found = drawn([0.90, 0.94, 0.92, 0.85, 0.89], own=0.02)
    few = replace(found, fewest=10)
    seedless = [Seeds(one.columns, vary=False) for one in (A, B)]
    whole, rare = (contrast(one, *seedless) for one in (found, few))
    assert (whole.df, rare.df) == pytest.approx((399, 9))
    assert rare.error / whole.error == pytest.approx(np.sqrt(10 / 9 * 399 / 400))
    one = contrast(few, A, B)
    seeds = [np.var(found.value[:3], ddof=1) / 3, np.var(found.value[3:], ddof=1) / 2]
    patients = one.error**2 - sum(seeds)
    assert one.df == pytest.approx(one.error**4 / (seeds[0] ** 2 / 2 + seeds[1] ** 2 + patients**2 / 9))


def test_without_patients_it_is_welchs_t_test():
    values = [0.90, 0.94, 0.92, 0.85, 0.89, 0.80, 0.82]
    one = contrast(drawn(values, shared=0.05), Seeds(range(3)), Seeds(range(3, 7)))
    welch = ttest_ind(values[:3], values[3:], equal_var=False)
    assert one.p == pytest.approx(welch.pvalue)
    assert one.ends == pytest.approx(welch.confidence_interval())
    assert one.seed_share == pytest.approx(1)


def test_models_without_seeds_are_compared_by_patients_alone():
    rng = np.random.default_rng(0)
    labels, patients = np.arange(120) % 2, np.arange(120) // 4
    p = np.clip(rng.random((2, 120)) * 0.6 + 0.4 * labels, 0, 1)
    first, second = (np.column_stack([1 - one, one]) for one in p)
    images = Predictions(labels, first, patients)
    found = Bootstrap(300).of_models("auc", images, [first, second])
    one, pair = (
        contrast(found, Seeds((0,), vary=False), Seeds((1,), vary=False)),
        paired_difference(images, second, Bootstrap(300)),
    )
    assert (one.value, *one.ends, one.p) == pytest.approx((pair.value, pair.low, pair.high, pair.p))
    assert one.seed_share == pytest.approx(0)
    single = contrast(found, Seeds((0,)), Seeds((1,), vary=False))
    assert (single.ends, single.seed_share) == (one.ends, None), "a single seed tells nothing of seeds"


def test_seeds_widen_the_interval_that_patients_alone_would_give():
    found = drawn([0.95, 0.85, 0.90, 0.84, 0.86], own=0.01)
    low, high = contrast(found, A, B).ends
    fixed = contrast(found, Seeds(A.columns, vary=False), Seeds(B.columns, vary=False)).ends
    assert high - low > 3 * (fixed[1] - fixed[0])
    assert low < 0 < high
    assert fixed[0] > 0


def test_the_tests_agree_with_the_interval():
    one = Contrast(0.004, error=0.002, df=7.5)
    low = one.ends[0]
    assert (one.p < 0.05) == (low > 0)
    edge = Contrast(float(t.ppf(0.975, 7.5)) * 0.002, 0.002, 7.5)
    assert edge.p == pytest.approx(0.05)
    reach = float(t.ppf(0.95, 7.5)) * 0.002  # half of the 90 % interval
    assert one.p_equivalent(0.004 + reach) == pytest.approx(0.05)
    assert Contrast(-0.004, 0.002, 7.5).p_equivalent(0.004 + reach) == pytest.approx(0.05)
    assert one.p_equivalent(0.003) > 0.5, "the difference itself is beyond the margin"


@pytest.mark.parametrize("df", [2.3, 4, 60])
def test_the_detectable_difference_is_found_with_a_power_of_80_percent(df):
    one = Contrast(0.0, 0.01, df)
    crossing = t.ppf(0.975, df)
    assert nct.sf(crossing, df, one.detectable / 0.01) == pytest.approx(0.8)
    rng = np.random.default_rng(0)
    seen = (one.detectable + rng.normal(0, 0.01, 20000)) / (0.01 * np.sqrt(rng.chisquare(df, 20000) / df))
    assert np.mean(seen > crossing) == pytest.approx(0.8, abs=0.012)


def test_draws_and_seeds_that_agree_know_no_interval():
    same = contrast(drawn([0.9] * 5), A, B)
    assert (same.value, same.ends, same.p, same.p_equivalent(0.01), same.detectable) == (0, (None, None), 1, None, None)
    apart = contrast(drawn([1.0] * 3 + [0.5] * 2), A, B)
    assert apart.ends == (None, None)
    assert apart.p == pytest.approx(2 / 2001)


def test_too_few_draws_give_the_difference_alone():
    found = drawn([0.9, 0.8, 0.9, 0.7, 0.7], own=0.1)
    found.draws[:1001] = np.nan
    one = contrast(found, A, B)
    assert one.value == pytest.approx(26 / 30 - 0.7)
    assert (one.error, one.ends, one.p, one.p_equivalent(0.01), one.detectable) == (
        None,
        (None, None),
        None,
        None,
        None,
    )
