"""Whether there are patients enough for an interval or a test: of the split, and of each part a score depends on."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.numbers import counted
from bench.stats.metrics import Labels, Mask

FEWEST_PATIENTS = 10
"""With fewer, of a split or of a class, an interval by patients is too narrow to be trusted (few clusters: Cameron,
Gelbach and Miller, Review of Economics and Statistics 90:414, 2008, and there it goes wrong well above ten), so none is
given. With 100 patients of the other class, the intervals of an AUC of 0.87 covered the true value in 88 % of simulated
studies with 10 patients of a class, in 83 % with 4 and in 17 % with 1."""

FEW_FOR_A_TEST = 100
"""With fewer patients of the test split, its scores are so uncertain that a nested loop is recommended beside them."""
RECOMMENDED_OUTER = (5, 2)
"""Most folds, and repeats, of that loop."""


def outer_folds_for(fewest: int, inner: int = 0) -> int:
    """Folds of the nested loop that is recommended, up to those of `RECOMMENDED_OUTER`; 0 if none are possible.

    Args:
        fewest: patients of the scarcest class in train and validation. Each fold needs one, and what it leaves two: one
            to train and one to validate on.
        inner: folds of ``--folds``, each of which needs one of what a fold leaves.
    """
    left = {k: fewest - math.ceil(fewest / k) for k in range(RECOMMENDED_OUTER[0], 1, -1) if fewest >= k}
    return next((k for k, patients in left.items() if patients >= max(2, inner)), 0)


Parts = Mapping[str, Mask]
"""Name -> which images belong to it, shape (n_images,)."""


def too_few(patients: npt.NDArray[Any], parts: Parts | None = None) -> str:
    """Why there are too few patients for an interval; empty if there are enough.

    Args:
        patients: patient of each image, shape (n_images,).
        parts: images that the score depends on by themselves, such as each class; None for the images as a whole.
    """
    everyone = len(np.unique(patients))
    if everyone < FEWEST_PATIENTS:
        return _there_are(everyone, "")
    for name, inside in (parts or {}).items():
        found = len(np.unique(np.asarray(patients)[inside]))
        if found < FEWEST_PATIENTS:
            return _there_are(found, f" of {name}")
    return ""


def fewest(patients: npt.NDArray[Any], parts: Parts | None = None) -> int:
    """Patients of the part with the fewest, one with images of several parts counting in each; without parts, of all.

    A t interval goes by them: the variance of a score that depends on each class by itself is a sum of one component a
    class (DeLong, DeLong and Clarke-Pearson, Biometrics 44:837, 1988), each with one less than the patients of its
    class as degrees of freedom, and the sum has at least as many as the least of them (Satterthwaite, Biometrics
    Bulletin 2:110, 1946; Welch, Biometrika 34:28, 1947). The class with the fewest patients mostly brings the largest;
    where several bring as much, the interval is wider than it had to be (docs/method/contrast.md).

    Args:
        patients: patient of each image, shape (n_images,).
        parts: as of `too_few`.
    """
    masks = (parts or {"": np.ones(len(patients), dtype=bool)}).values()
    return min(len(np.unique(np.asarray(patients)[inside])) for inside in masks)


def _there_are(patients: int, whose: str) -> str:
    are = "is" if patients == 1 else "are"
    return f"there {are} {counted(patients, 'patient')}{whose}, fewer than {FEWEST_PATIENTS}"


def by_class(y_true: Labels, classes: Sequence[str]) -> dict[str, Mask]:
    """The parts of a score that depends on every class by itself."""
    return {name: np.asarray(y_true == index) for index, name in enumerate(classes)}


def one_against_rest(y_true: Labels, index: int, classes: Sequence[str]) -> dict[str, Mask]:
    """The parts of a score that sets the class of an ``index`` against all others."""
    rest = classes[1 - index] if len(classes) == 2 else f"classes other than {classes[index]}"
    return {classes[index]: np.asarray(y_true == index), rest: np.asarray(y_true != index)}
