"""Greedy selection of members, on made-up candidates."""

import numpy as np
from sklearn.metrics import log_loss

from bench.stats.ensemble import greedy, weighted_mean

LABELS = np.arange(400) % 2


def candidate(seed: int, edge: float) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(0, 1, 400) + edge * (2 * LABELS - 1)
    sick = 1 / (1 + np.exp(-2 * logits))
    return np.column_stack([1 - sick, sick])


def rate(scores: np.ndarray) -> tuple[float, ...]:
    return (float(log_loss(LABELS, scores[:, 1])),)


def test_what_is_good_and_different_is_taken_and_what_is_bad_is_not() -> None:
    candidates = [candidate(0, 0.8), candidate(1, 0.8), candidate(2, -1.0), candidate(3, 0.8)]
    counts = greedy(candidates, rate, most=5)
    assert counts[2] == 0 and (counts[[0, 1, 3]] > 0).all()
    chosen = weighted_mean(candidates, counts)
    assert rate(chosen) < min(rate(one) for one in candidates)


def test_one_that_is_the_best_by_far_stands_alone_and_counts_are_in_lowest_terms() -> None:
    assert greedy([candidate(0, 3.0), candidate(1, -1.0)], rate, most=5).tolist() == [1, 0]
    assert greedy([candidate(0, 0.8)] * 3, rate, most=5).tolist() == [1, 0, 0], "a copy adds nothing"


def test_there_are_no_more_members_than_may_be() -> None:
    counts = greedy([candidate(seed, 0.8) for seed in range(8)], rate, most=2)
    assert (counts > 0).sum() == 2
    assert greedy([], rate, most=2).tolist() == []


def test_the_weights_are_counts() -> None:
    first, second = np.array([[1.0, 0.0]]), np.array([[0.4, 0.6]])
    np.testing.assert_allclose(weighted_mean([first, second], [1, 3]), [[0.55, 0.45]])
