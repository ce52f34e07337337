"""What prediction sets come to on the test split: how often they hold the class, and how often they are one class."""

import math

import numpy as np

from bench.run.documents import ConformalRecord, Share
from bench.stats.conformal import COVERAGE, ConformalScores
from bench.stats.predictions import Predictions
from bench.stats.proportions import wilson


def conformal(scores: ConformalScores, tested: Predictions, coverage: float = COVERAGE) -> ConformalRecord:
    """Coverage, by patients and by images, and the share of images with one answer, with Wilson's intervals.

    Args:
        scores: of validation.
        tested: calibrated probabilities of the test images.
        coverage: that is asked for.
    """
    sets, limit = scores.sets(tested.scores, coverage), scores.limit(coverage)
    size, held = sets.sum(axis=1), sets[np.arange(len(tested)), tested.labels]
    _, owner = np.unique(tested.patients, return_inverse=True)
    missed = np.bincount(owner, weights=~held)
    return ConformalRecord(
        coverage=coverage,
        limit=limit if math.isfinite(limit) else None,
        patients=scores.patients,
        patients_covered=share(int((missed == 0).sum()), len(missed)),
        covered=share(int(held.sum()), len(held)),
        single=share(int((size == 1).sum()), len(size)),
        right=share(int((held & (size == 1)).sum()), int((size == 1).sum())),
        empty=int((size == 0).sum()),
    )


def share(hits: int, of: int) -> Share:
    """``hits`` of ``of``, with its Wilson interval."""
    low, high = wilson(hits, of)
    return Share(hits=hits, of=of, value=hits / of if of else None, low=low, high=high)
