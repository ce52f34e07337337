"""Wilson, McNemar and Holm by hand and by their published examples."""

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from statsmodels.stats.contingency_tables import mcnemar

from bench.stats.proportions import clustered_mcnemar, holm, wilson, wilson_by_patients


def test_wilson_of_the_usual_test_split():
    """88 % of 624 images: 85.2 to 90.3 %."""
    low, high = wilson(549, 624)
    assert (round(100 * low, 1), round(100 * high, 1)) == (85.2, 90.3)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_solves_its_equation(of, share):
    """At either end the score test of that proportion has exactly z; no end leaves 0 to 1."""
    hits = round(share * of)
    z = 1.959963984540054
    for end in wilson(hits, of):
        assert 0 <= end <= 1
        assert (hits / of - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / of, abs=1e-9)


def test_wilson_by_patients_counts_what_is_left_of_images_that_are_alike():
    right = np.repeat([True, True, False, True], 3)
    assert wilson_by_patients(right[::3], np.arange(4)) == pytest.approx(wilson(3, 4))
    assert wilson_by_patients(right, np.repeat(np.arange(4), 3)) == pytest.approx(wilson(3, 4))
    most = np.array([0] * 9 + [1, 2, 3])
    assert wilson_by_patients(np.ones(12, bool), most) == pytest.approx(wilson(144 / 84, 144 / 84))
    assert wilson_by_patients(right[:0], np.arange(0)) == (None, None)


def test_wilson_of_nothing_and_of_all():
    assert wilson(0, 0) == (None, None)
    assert wilson(10, 10)[0] == pytest.approx(0.7225, abs=1e-4)
    assert wilson(10, 10, level=0.99)[0] < wilson(10, 10)[0]


def exact_mcnemar(a_right, b_right):
    return clustered_mcnemar(a_right, b_right, np.arange(len(a_right)))


def test_mcnemar_by_hand():
    """Two against eight: twice the binomial tail of at most two in ten."""
    a_right = np.array([True] * 2 + [False] * 8 + [True] * 50 + [False] * 3)
    b_right = np.array([False] * 2 + [True] * 8 + [True] * 50 + [False] * 3)
    found = exact_mcnemar(a_right, b_right)
    assert (found.only_a, found.only_b) == (2, 8)
    assert found.p == pytest.approx(2 * sum(comb(10, count) for count in range(3)) / 2**10)
    turned = exact_mcnemar(b_right, a_right)
    assert (turned.only_a, turned.only_b, turned.p) == (8, 2, pytest.approx(found.p))


def test_models_that_are_right_together_do_not_differ():
    right = np.array([True, False, True])
    assert exact_mcnemar(right, right).p == 1.0
    assert exact_mcnemar(np.array([True, False]), np.array([False, True])).p == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_with_one_image_per_patient_it_is_mcnemars_exact_test(seed):
    a_right, b_right = np.random.default_rng(seed).random((2, 80)) < [[0.7], [0.6]]
    counts = [[0, np.sum(a_right & ~b_right)], [np.sum(~a_right & b_right), 0]]
    assert exact_mcnemar(a_right, b_right).p == pytest.approx(mcnemar(counts, exact=True).pvalue)


def test_every_change_of_signs_by_patient_counts_once():
    """Three patients whose images speak for a by 3, 1 and -1: of the 8 sums, 6 are as far from 0 as 3."""
    a_right = np.array([1, 1, 1, 1, 0, 1], bool)
    b_right = np.array([0, 0, 0, 0, 1, 1], bool)
    found = clustered_mcnemar(a_right, b_right, np.array(["p", "p", "p", "q", "r", "r"]))
    assert (found.only_a, found.only_b) == (4, 1)
    sums = [abs(sum(signs)) for signs in product((3, -3), (1, -1), (1, -1))]
    assert found.p == pytest.approx(np.mean([value >= 3 for value in sums]))


def test_of_many_patients_it_is_the_modified_obuchowski_test():
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(600), 3)
    shared = rng.random((2, 600))[:, patients]
    a_right, b_right = shared * 0.7 + rng.random((2, 1800)) * 0.3 < [[0.72], [0.69]]
    by_patient = np.bincount(patients, a_right.astype(float) - b_right)
    statistic = by_patient.sum() ** 2 / (by_patient**2).sum()
    found = clustered_mcnemar(a_right, b_right, patients)
    assert found.p == pytest.approx(chi2.sf(statistic, 1), abs=0.02)
    assert found.p > 2 * exact_mcnemar(a_right, b_right).p, "images of one patient are not independent"


def test_copies_of_the_images_of_a_patient_change_nothing():
    rng = np.random.default_rng(1)
    a_right, b_right = rng.random((2, 60)) < 0.7
    once = exact_mcnemar(a_right, b_right).p
    twice = clustered_mcnemar(np.repeat(a_right, 2), np.repeat(b_right, 2), np.repeat(np.arange(60), 2)).p
    assert twice == pytest.approx(once)


def test_holm_by_hand():
    """0.01 x 3, 0.02 x 2, and 0.03, which may not fall below the one before it; order is kept."""
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_what_was_not_tested_costs_nothing():
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None]) == [None]
    assert holm([]) == []
