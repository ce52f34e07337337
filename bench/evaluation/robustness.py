"""How a model's scores change as its images are altered: robustness.csv."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.decode import Pixels
from bench.evaluation.corruptions import CORRUPTIONS
from bench.evaluation.scoring import missing_classes
from bench.stats.bootstrap import Resampled, resample
from bench.stats.enough import by_class, too_few
from bench.stats.metrics import Labels, Scores
from bench.stats.weighted import WEIGHTED, Weights

MOST_IMAGES = 256
"""Test images that are altered at most: each is predicted again for every level."""
COLUMNS = (
    *("corruption", "level", "unit", "images"),
    *(f"{measure}{end}" for measure in ("auc", "accuracy", "auc_change") for end in ("", "_low", "_high")),
    "reason",
)


def choose_rows(
    labels: Labels, patients: npt.NDArray[Any], most: int = MOST_IMAGES, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Positions of at most ``most`` images: whole patients drawn from a seed, classes in their proportions.

    Args:
        labels: class indices, shape (n_images,).
        patients: patient of each image, shape (n_images,).
        most: images at most; patients that would go beyond are passed over.
        seed: decides the draw.

    Returns:
        in rising order; all where there are no more than ``most``.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    _, numbers = np.unique(np.asarray(patients), return_inverse=True)
    rows_of: dict[int, list[int]] = {}
    for row, number in enumerate(numbers.tolist()):
        rows_of.setdefault(number, []).append(row)
    strata: dict[tuple[int, ...], list[int]] = {}
    for number in sorted(rows_of):
        classes = tuple(sorted({int(labels[row]) for row in rows_of[number]}))
        strata.setdefault(classes, []).append(number)
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for classes in sorted(strata):
        members = strata[classes]
        share = sum(len(rows_of[number]) for number in members) / len(labels)
        room = min(max(1, math.floor(share * most)), most - len(chosen))
        for place in rng.permutation(len(members)):
            rows = rows_of[members[place]]
            if len(rows) <= room:
                chosen += rows
                room -= len(rows)
    return np.array(sorted(chosen), dtype=np.int64)


def robustness(
    images: Pixels,
    y_true: Labels,
    patients: npt.NDArray[Any],
    predict: Callable[[Pixels], Scores],
    classes: Sequence[str],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores on the images as they are and at every level of every corruption, with intervals by patients.

    The change in AUC against the images as they are is paired: both are scored in the same draws.

    Args:
        images: uint8 array of shape (n_images, height, width, 1 or 3), such as `choose_rows` chose.
        y_true: class indices, shape (n_images,).
        patients: patient of each image, shape (n_images,).
        predict: images -> probabilities, shape (n_images, n_classes).
        classes: class names by index.
        draws: bootstrap draws.
        level: of the intervals.
        seed: decides the noise, the way images are turned, and the draws.

    Returns:
        a row a level, columns as in ``COLUMNS``, the images as they are (``none``) first; what cannot be computed is
        empty, with the reason. No rows without images.
    """
    if not len(images):
        return pd.DataFrame(columns=list(COLUMNS))
    about: list[tuple[str, float | None, str | None]] = [("none", None, None)]
    scores = [predict(images)]
    for corruption in CORRUPTIONS:
        for amount in corruption.levels:
            about.append((corruption.name, amount, corruption.unit))
            scores.append(predict(corruption.alter(images, amount, seed)))
    reason = missing_classes(y_true, classes)
    told = [f"no ROC AUC: {reason}"] if reason else []
    few, few_of_class = too_few(patients), too_few(patients, by_class(y_true, classes))
    if few:
        told.append(f"no intervals: {few}")
    elif few_of_class and not reason:
        told.append(f"no interval of ROC AUC: {few_of_class}")
    by_accuracy = _of_all("accuracy", scores, y_true, patients, 0 if few else draws, seed)
    by_auc = None if reason else _of_all("auc", scores, y_true, patients, 0 if few_of_class else draws, seed)
    table_rows = []
    for place, (name, at, unit) in enumerate(about):
        row: dict[str, Any] = {"corruption": name, "level": at, "unit": unit, "images": len(images)}
        row |= _with_ends("accuracy", by_accuracy, place, level)
        if by_auc is not None:
            row |= _with_ends("auc", by_auc, place, level)
        if by_auc is not None and place:
            change = by_auc.difference(place, 0, level)
            row |= {"auc_change": change.value, "auc_change_low": change.low, "auc_change_high": change.high}
        table_rows.append(row | {"reason": "; ".join(told) or None})
    table = pd.DataFrame(table_rows, columns=list(COLUMNS)).astype(object)
    return table.where(table.notna(), None)


def _of_all(
    metric: str, scores: Sequence[Scores], y_true: Labels, patients: npt.NDArray[Any], draws: int, seed: int
) -> Resampled:
    def compute(weights: Weights) -> npt.NDArray[np.float64]:
        return np.column_stack([WEIGHTED[metric](y_true, one, weights) for one in scores])

    return resample(compute, np.asarray(patients), draws, seed)


def _with_ends(name: str, found: Resampled, place: int, level: float) -> dict[str, float | None]:
    low, high = found.ends(place, level)
    return {name: float(found.value[place]), f"{name}_low": low, f"{name}_high": high}
