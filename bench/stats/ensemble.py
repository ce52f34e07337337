"""Greedy selection of an ensemble's members, with replacement: Caruana et al., Ensemble Selection from Libraries of
Models, ICML 2004. No Keras, no files.
"""

from collections.abc import Callable, Sequence
from math import gcd

import numpy as np
import numpy.typing as npt

from bench.stats.metrics import Scores

MOST_MEMBERS = 5
"""Different trainings in an ensemble: more would hardly be carried away."""
ROUNDS = 10
"""Additions that are tried. The best ensemble on the way is taken; more would weigh members more finely than validation
can tell."""
Key = tuple[float, ...]
"""A sorting key, of which the smaller is better."""


def greedy(candidates: Sequence[Scores], rate: Callable[[Scores], Key], most: int) -> npt.NDArray[np.int64]:
    """How often each candidate counts in the ensemble.

    The start is the average of the n best candidates, with the best n (sorted initialisation, section 2.2 of the
    paper); then the candidate that helps most, or does least harm, is added again and again, the same one more than
    once where that is best (section 2.1). Of all ensembles on the way, the first with the best key is taken.

    Args:
        candidates: probabilities of each, shape (n_images, n_classes), of the same images.
        rate: probabilities -> key.
        most: different candidates, at most.

    Returns:
        shape (n_candidates,), without a common divisor; all 0 where there is no candidate.
    """
    n = len(candidates)
    counts = np.zeros(n, dtype=np.int64)
    if not n:
        return counts
    order = sorted(range(n), key=lambda place: (rate(candidates[place]), place))
    starts = []
    for length in range(1, min(most, n) + 1):
        start = np.bincount(order[:length], minlength=n)
        starts.append((rate(_average(candidates, start)), length, start))
    best, _, counts = min(starts, key=lambda one: one[:2])
    taken = counts
    for _ in range(ROUNDS):
        full = int((counts > 0).sum()) >= most
        tried: list[tuple[Key, int, npt.NDArray[np.int64]]] = []
        for place in order:
            if counts[place] or not full:
                more = counts.copy()
                more[place] += 1
                tried.append((rate(_average(candidates, more)), len(tried), more))
        key, _, counts = min(tried, key=lambda one: one[:2])
        if key < best:
            best, taken = key, counts
    return np.asarray(taken // gcd(*taken.tolist()))


def _average(candidates: Sequence[Scores], counts: npt.NDArray[np.int64]) -> Scores:
    return weighted_mean([candidates[place] for place in np.flatnonzero(counts).tolist()], counts[counts > 0])


def weighted_mean(scores: Sequence[Scores], counts: npt.NDArray[np.int64] | Sequence[int]) -> npt.NDArray[np.float64]:
    """The mean of several models' probabilities, each counted so often; shape (n_images, n_classes)."""
    return np.asarray(np.average(np.stack([np.asarray(one, np.float64) for one in scores]), axis=0, weights=counts))
