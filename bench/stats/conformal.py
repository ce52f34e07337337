"""Prediction sets that hold the right class as often as was asked for: split-conformal, calibrated by patient.

The score of an image is 1 less the calibrated probability of its own class; a set holds every class whose score is at
most a limit, which is a quantile of the scores of validation (Angelopoulos and Bates, A gentle introduction to
conformal prediction, arXiv:2107.07511, 2021, section 1). What is exchangeable are patients, not images (Dunn,
Wasserman and Ramdas, Distribution-free prediction sets for two-layer hierarchical models, JASA 118:2491, 2023). So each
validation patient counts once, with the worst score among the images: at a coverage of 90 % the sets of all images of a
new patient hold their class with a probability of at least 90 %, and those of single images more often.

The calibration map was fitted on the same validation patients. Its few numbers are taken as given, which the guarantee
does not strictly allow.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.stats.metrics import Labels, Mask, Scores

COVERAGE = 0.9
"""Unless another is asked for."""
MOST_KEPT = 2000
"""Scores that are kept; of more patients, these order statistics, each standing for those below it."""
DIGITS = 6
"""Scores are rounded up to so many digits, which widens sets by next to nothing."""


def check_coverage(coverage: float) -> None:
    """Raise a ValueError unless the coverage lies between 0 and 1."""
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie between 0 and 1, but got {coverage:g}")


@dataclass(frozen=True)
class ConformalScores:
    """What the limit of every coverage is read off.

    Attributes:
        patients: of validation.
        scores: theirs in ascending order, each the worst among the images of one patient; at most `MOST_KEPT`.
    """

    patients: int
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        ordered = all(one <= other for one, other in zip(self.scores, self.scores[1:], strict=False))
        if not ordered or not all(0 <= one <= 1 for one in self.scores) or len(self.scores) > self.patients:
            raise ValueError("conformal scores must lie from 0 to 1 in ascending order, one a patient at most")

    def limit(self, coverage: float = COVERAGE) -> float:
        """The highest score of a class that is in a set; infinite where there are too few patients for the coverage.

        It is the score of rank ``ceil((patients + 1) * coverage)``, or the next higher one that was kept.

        Raises:
            ValueError: unless the coverage lies between 0 and 1.
        """
        check_coverage(coverage)
        rank = math.ceil(round((self.patients + 1) * coverage, 9))
        if not self.scores or rank > self.patients:
            return math.inf
        place = math.ceil(round(rank * len(self.scores) / self.patients, 9))
        return self.scores[place - 1]

    def sets(self, calibrated: Scores, coverage: float = COVERAGE) -> Mask:
        """Which classes are in the set of each image; a set may be empty.

        Args:
            calibrated: probabilities after the calibration map, shape (n_images, n_classes).
            coverage: of the images of a new patient, all together.

        Returns:
            bool array of shape (n_images, n_classes).
        """
        return np.asarray(1 - np.asarray(calibrated, dtype=np.float64) <= self.limit(coverage))


def conformal_scores(labels: Labels, calibrated: Scores, patients: npt.NDArray[np.generic]) -> ConformalScores:
    """The scores of validation, by patient.

    Args:
        labels: class indices, shape (n_images,).
        calibrated: probabilities after the calibration map, shape (n_images, n_classes).
        patients: patient of each image, shape (n_images,).
    """
    own = 1 - np.asarray(calibrated, dtype=np.float64)[np.arange(len(labels)), labels]
    _, owner = np.unique(patients, return_inverse=True)
    worst = np.zeros(int(owner.max(initial=-1)) + 1)
    np.maximum.at(worst, owner, own)
    ordered = np.sort(np.clip(np.ceil(worst * 10**DIGITS) / 10**DIGITS, 0, 1))
    n = len(ordered)
    kept = min(n, MOST_KEPT)
    ranks = [math.ceil(number * n / kept) for number in range(1, kept + 1)]
    return ConformalScores(n, tuple(float(ordered[rank - 1]) for rank in ranks))
