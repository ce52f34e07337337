"""How a model's scores change as its images are altered: robustness.csv."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.decode import Pixels
from bench.evaluation.corruptions import CORRUPTIONS
from bench.run.tables import ROBUSTNESS, Row
from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.enough import FEWEST_PATIENTS
from bench.stats.metrics import Labels, Scores
from bench.stats.predictions import Predictions

MOST_IMAGES = 200
"""Test images that are altered at most: each is predicted again for every level."""
NONE = "none"
"""The alteration that leaves the images as they are."""
ALTERATIONS = (NONE, *(corruption.name for corruption in CORRUPTIONS))


def choose_rows(predictions: Predictions, most: int = MOST_IMAGES, seed: int = 0) -> npt.NDArray[np.int64]:
    """Positions of at most ``most`` images: whole patients drawn from a seed, classes in their proportions.

    Where fewer than `FEWEST_PATIENTS` of a class (or all of its patients, if there are fewer) fit whole, as of long
    series, evenly spaced images of each are taken.

    Args:
        predictions: of the images; their scores are not read.
        most: images at most; patients that would go beyond are passed over.
        seed: decides the draw.

    Returns:
        in rising order; all where there are no more than ``most``.
    """
    labels = predictions.labels
    if len(labels) <= most:
        return np.arange(len(labels))
    _, numbers = np.unique(predictions.patients, return_inverse=True)
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
        drawn = [rows_of[members[place]] for place in rng.permutation(len(members))]
        fewest = min(FEWEST_PATIENTS, len(drawn))
        fitting = _within(drawn, room)
        if len(fitting) < fewest:
            fitting = _within([_spaced(rows, labels, max(1, room // fewest)) for rows in drawn], room)
        chosen += [row for rows in fitting for row in rows]
    return np.array(sorted(chosen), dtype=np.int64)


def _within(patients: Sequence[list[int]], room: int) -> list[list[int]]:
    """The first of them that fit into so many images; one that does not is passed over."""
    fitting = []
    for rows in patients:
        if len(rows) <= room:
            fitting.append(rows)
            room -= len(rows)
    return fitting


def _spaced(rows: Sequence[int], labels: Labels, most: int) -> list[int]:
    """At most ``most`` of a patient's images, evenly spaced through those of each class."""
    ordered = sorted(rows, key=lambda row: labels[row])
    return [ordered[place * len(ordered) // most] for place in range(most)] if len(ordered) > most else ordered


def alter(images: Pixels, alteration: str, seed: int) -> Iterator[Pixels]:
    """The images at each level of one of `ALTERATIONS`.

    Args:
        images: uint8 array of shape (n_images, height, width, 1 or 3), such as `choose_rows` chose.
        alteration: its name.
        seed: decides the noise and the way images are turned.
    """
    if alteration == NONE:
        yield images
        return
    corruption = next(one for one in CORRUPTIONS if one.name == alteration)
    for amount in corruption.levels:
        yield corruption.alter(images, amount, seed)


def robustness(
    altered: Mapping[str, Sequence[Scores]], predictions: Predictions, bootstrap: Bootstrap, precision: str
) -> pd.DataFrame:
    """Scores on the images as they are and at every level of every corruption, with intervals by patients.

    The change in AUC against the images as they are is paired: both are scored in the same draws.

    Args:
        altered: for each of `ALTERATIONS`, the class probabilities at each level, shape (n_images, n_classes).
        predictions: of the images as they are; their scores are not read.
        bootstrap: draws and seed.
        precision: what all of the scores were computed in.

    Returns:
        one row per level, the images as they are (``none``) first; what cannot be computed
        is empty, with the reason. No rows without images.
    """
    if not len(predictions):
        return ROBUSTNESS.frame([])
    rows: list[Row] = [{"corruption": NONE, "level": None, "unit": None}]
    for corruption in CORRUPTIONS:
        rows += [{"corruption": corruption.name, "level": one, "unit": corruption.unit} for one in corruption.levels]
    scores = [one for name in ALTERATIONS for one in altered[name]]
    missing, few, few_of_a_class = predictions.missing_classes, predictions.few, predictions.few_of_a_class
    reasons = [f"no ROC AUC: {missing}"] if missing else []
    if few:
        reasons.append(f"no intervals: {few}")
    elif few_of_a_class and not missing:
        reasons.append(f"no interval of ROC AUC: {few_of_a_class}")
    by_accuracy = bootstrap.unless(few).of_models("accuracy", predictions, scores)
    by_auc = None if missing else bootstrap.unless(few_of_a_class).of_models("auc", predictions, scores)
    for place, row in enumerate(rows):
        row |= {"images": len(predictions), "precision": precision, "reason": "; ".join(reasons) or None}
        row |= _with_ends("accuracy", by_accuracy, place)
        if by_auc is not None:
            row |= _with_ends("auc", by_auc, place)
        if by_auc is not None and place:
            change = by_auc.difference(place, 0)
            row |= {"auc_change": change.value, "auc_change_low": change.low, "auc_change_high": change.high}
    return ROBUSTNESS.frame(rows)


def _with_ends(name: str, found: Resampled, place: int) -> dict[str, float | None]:
    low, high = found.ends(place)
    return {name: float(found.value[place]), f"{name}_low": low, f"{name}_high": high}
