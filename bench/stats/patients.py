"""Several images of a patient become one prediction: rules that aggregate their probabilities."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.stats.metrics import Scores
from bench.stats.predictions import Predictions

TOP = 3
"""Images that the rule ``top`` takes the mean of; all, where a patient has fewer."""


def _noisy_or(values: Scores) -> Scores:
    return np.asarray(1 - np.prod(1 - values, axis=0))


def _top(values: Scores) -> Scores:
    return np.asarray(np.sort(values, axis=0)[-TOP:].mean(axis=0))


RULES: dict[str, Callable[[Scores], Scores]] = {
    "mean": lambda values: np.asarray(values.mean(axis=0)),
    "maximum": lambda values: np.asarray(values.max(axis=0)),
    "noisy-or": _noisy_or,
    "top": _top,
}
"""Rule by name: probabilities of one patient, shape (n_images, n_values), to one value each, shape (n_values,).

``mean`` is the sum rule of Kittler et al. (IEEE PAMI 20:226, 1998), ``maximum`` the standard assumption of multiple
instance learning (Dietterich et al., Artificial Intelligence 89:31, 1997), ``noisy-or`` the probability that at least
one of several independent findings is there (Pearl, Probabilistic Reasoning, 1988; Viola et al., NIPS 2005), ``top``
the mean of the `TOP` largest.
"""


def aggregate(
    scores: Scores, patients: npt.NDArray[Any], rule: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """One set of probabilities for each patient.

    Of two classes the second is aggregated, as the finding that one looks for, and the first is what is left; of
    several, each class is, and the values are divided by their sum.

    Args:
        scores: probabilities, shape (n_images, n_classes), rows sum to 1.
        patients: of each image, shape (n_images,).
        rule: one of `RULES`.

    Returns:
        the patients, sorted, shape (n_patients,); their probabilities, shape (n_patients, n_classes), rows sum to 1.

    Raises:
        ValueError: for a rule that there is not, or patients that are not as many as scores.
    """
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, but got {rule!r}")
    if len(patients) != len(scores):
        raise ValueError(f"there must be as many patients as scores, but got {len(patients)} and {len(scores)}")
    names, owner = np.unique(patients, return_inverse=True)
    values = np.asarray(scores, dtype=np.float64)
    binary = values.shape[1] == 2
    wanted = values[:, 1:] if binary else values
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(1, len(names)))
    parts = np.split(wanted[order], starts) if len(names) else []
    found = np.array([RULES[rule](part) for part in parts]).reshape(len(names), wanted.shape[1])
    if binary:
        return names, np.column_stack([1 - found[:, 0], found[:, 0]])
    return names, found / found.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class Grouped:
    """Predictions by patient.

    Attributes:
        names: of the patients, shape (n_patients,).
        images: of each, shape (n_patients,).
        predictions: one row for each patient; ``patients`` are what a bootstrap draws, which may join several of them.
        left_out: patients whose images have different labels.
        left_out_images: how many images these have.
    """

    names: npt.NDArray[Any]
    images: npt.NDArray[np.int64]
    predictions: Predictions
    left_out: int
    left_out_images: int

    @property
    def several(self) -> int:
        """Patients with several images."""
        return int((self.images > 1).sum())


def by_patient(predictions: Predictions, patients: npt.NDArray[Any], rule: str) -> Grouped:
    """``predictions`` aggregated by patient.

    A patient whose images have different labels has no label of its own and is left out: that one image with a finding
    makes the patient a case is a clinical assumption, which the data have to state.

    Args:
        predictions: of images; its ``patients`` are what a bootstrap draws.
        patients: of each image, shape (n_images,).
        rule: one of `RULES`.
    """
    names, scores = aggregate(predictions.scores, patients, rule)
    _, first, owner, images = np.unique(patients, return_index=True, return_inverse=True, return_counts=True)
    mixed = np.zeros(len(names), dtype=bool)
    np.logical_or.at(mixed, owner, predictions.labels != predictions.labels[first][owner])
    whole = replace(predictions.part(first), scores=scores)
    return Grouped(names[~mixed], images[~mixed], whole.part(~mixed), int(mixed.sum()), int(images[mixed].sum()))
