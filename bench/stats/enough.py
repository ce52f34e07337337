"""Whether there are patients enough for an interval or a test: of the split, and of each part that a score looks at."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats.bootstrap import FEWEST_PATIENTS
from bench.stats.metrics import Labels
from bench.stats.words import counted

WITHOUT_ALL_CLASSES = ("accuracy", "log_loss", "brier")
"""Metrics of all images together, which mean something on a split in which a class is missing."""

Parts = Mapping[str, npt.NDArray[np.bool_]]
"""Name -> which images belong to it, shape (n_images,)."""


def too_few(patients: npt.NDArray[Any], parts: Parts | None = None) -> str:
    """Why there are too few patients for an interval; empty if there are enough.

    Args:
        patients: patient of each image, shape (n_images,).
        parts: what the score looks at by itself, such as each class; None for the images as a whole.
    """
    everyone = len(np.unique(patients))
    if everyone < FEWEST_PATIENTS:
        return _there(everyone, "")
    for name, inside in (parts or {}).items():
        found = len(np.unique(np.asarray(patients)[inside]))
        if found < FEWEST_PATIENTS:
            return _there(found, f" of {name}")
    return ""


def _there(patients: int, whose: str) -> str:
    are = "is" if patients == 1 else "are"
    return f"there {are} {counted(patients, 'patient')}{whose}, fewer than {FEWEST_PATIENTS}"


def by_class(y_true: Labels, classes: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """The parts of a score that looks at every class by itself."""
    return {name: np.asarray(y_true == index) for index, name in enumerate(classes)}


def one_against_rest(y_true: Labels, index: int, classes: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """The parts of a score that sets the class of an ``index`` against all others."""
    rest = classes[1 - index] if len(classes) == 2 else f"classes other than {classes[index]}"
    return {classes[index]: np.asarray(y_true == index), rest: np.asarray(y_true != index)}


def parts_of(metric: str, y_true: Labels, classes: Sequence[str]) -> dict[str, npt.NDArray[np.bool_]]:
    """What ``metric``, by its name, looks at by itself; nothing if it takes all images together."""
    return {} if metric in WITHOUT_ALL_CLASSES else by_class(y_true, classes)
