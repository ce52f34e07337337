"""Sensitivity, specificity, PPV and NPV at 0.5 and at the threshold that was frozen on validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.evaluation.thresholds import expected
from bench.run import tables
from bench.run.documents import Threshold
from bench.run.tables import OPERATING_POINTS, Row
from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.enough import Parts, one_against_rest, too_few
from bench.stats.metrics import Mask, Weights
from bench.stats.predictions import OneVsRest, Predictions
from bench.stats.proportions import Ends, wilson, wilson_by_patients

PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
TP, FN, FP, TN = range(4)
"""Columns of `_cells`: true positive, false negative, false positive, true negative."""
POINT_COLUMNS = ("measure", "hits", "of", "value", "wilson_low", "wilson_high", "low", "high", "reason")
LEVEL = 0.95
"""Of the interval in which sensitivity and specificity are expected: one of twenty is flagged by noise alone."""
Rows = list[Row]


@dataclass(frozen=True)
class Measure:
    """A share of images: ``hits`` out of ``of``, both as cells of the table of reference and call.

    Attributes:
        hits, of: cells that are counted.
        nothing: why there is no value where nothing is in ``of``.
        whose: the images in ``of``, in words; empty for all.
    """

    hits: tuple[int, ...]
    of: tuple[int, ...]
    nothing: str = ""
    whose: str = ""


MEASURES = {
    "sensitivity": Measure((TP,), (TP, FN), "the split holds no image of {name}", "{name}"),
    "specificity": Measure((TN,), (TN, FP), "the split holds images of {name} alone", "{rest}"),
    "ppv": Measure((TP,), (TP, FP), "no image is called {name}", "images called {name}"),
    "npv": Measure((TN,), (TN, FN), "every image is called {name}", "images not called {name}"),
    "accuracy": Measure((TP, TN), (TP, FN, FP, TN)),
}


def operating_points(
    predictions: Predictions,
    thresholds: Sequence[Threshold],
    bootstrap: Bootstrap,
    validation: Predictions | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """operating_points.csv and prevalences.csv.

    PPV and NPV at a prevalence follow from sensitivity and specificity by Bayes' rule, the prevalence being given, not
    estimated: so too in the row of the split's own prevalence.

    Args:
        predictions: of the test images.
        thresholds: frozen ones by class; an image is called so at and above it.
        bootstrap: without draws there are Wilson's intervals alone.
        validation: of the model that the thresholds are of, on which they were frozen.

    Returns:
        one row per class, point and measure (flagged where sensitivity or specificity at a frozen threshold is not
        what validation lets expect); and one per class, point and prevalence. What cannot be computed is empty.
    """
    points: Rows = []
    prevalences: Rows = []
    for frozen in thresholds if len(predictions) else ():
        index = predictions.classes.index(frozen.label)
        sides = one_against_rest(predictions.labels, index, predictions.classes)
        for point, threshold, words in (("0.5", 0.5, "fixed beforehand"), ("frozen", frozen.value, frozen.rule)):
            called = np.asarray(predictions.scores[:, index] >= threshold)
            measured, by_prevalence = _at_threshold(called, sides, predictions.patients, bootstrap)
            head = {"class": frozen.label, "point": point, "threshold": threshold}
            if point == "frozen" and validation is not None:
                measured = _beside_validation(measured, validation.against_rest(index), threshold, validation.patients)
            points += [{**head, "rule": words, **row} for row in measured]
            prevalences += [{**head, **row} for row in by_prevalence]
    return OPERATING_POINTS.frame(points), tables.PREVALENCES.frame(prevalences)


def _beside_validation(rows: Rows, one: OneVsRest, threshold: float, patients: npt.NDArray[Any]) -> Rows:
    """``rows`` with sensitivity and specificity on validation, and where new images are expected by them."""
    called = np.asarray(one.scores >= threshold)
    sides = {"sensitivity": (called, one.positive), "specificity": (~called, ~one.positive)}
    found = []
    for row in rows:
        right, side = sides.get(row["measure"], (called, np.zeros_like(called)))
        low, high = expected(right[side], patients[side], row["of"], LEVEL)
        if low is not None and high is not None:
            flagged = row["value"] is not None and not low <= row["value"] <= high
            known = {"validation": float(right[side].mean()), "expected_low": low, "expected_high": high}
            row = row | known | {"flagged": flagged}
        found.append(row)
    return found


def _at_threshold(called: Mask, sides: Parts, patients: npt.NDArray[Any], bootstrap: Bootstrap) -> tuple[Rows, Rows]:
    """Rows of both tables for one way to call images positive."""
    positive = next(iter(sides.values()))
    own = float(positive.mean())
    prevalences = sorted({*PREVALENCES, own})
    cells = np.column_stack([positive & called, positive & ~called, ~positive & called, ~positive & ~called])
    counts = cells.astype(np.float64)

    def measured(weights: Weights) -> npt.NDArray[np.float64]:
        return _measures(weights @ counts, prevalences)

    found = bootstrap.unless(too_few(patients)).resample(measured, patients)
    points = _point_rows(cells, found, patients, list(sides))
    right = called == positive
    ends = [wilson_by_patients(right[side], patients[side], bootstrap.level) for side in (positive, ~positive)]
    trusted = all(row["low"] is not None for row in points[:2])
    rows = _prevalence_rows(found, prevalences, ends, trusted)
    return points, [{**row, "observed": row["prevalence"] == own} for row in rows]


def _measures(counts: npt.NDArray[np.float64], prevalences: Sequence[float]) -> npt.NDArray[np.float64]:
    """The five measures of ``counts`` of the four cells, shape (n_draws, 4), then PPV and then NPV at each prevalence.

    NaN where nothing is divided by nothing.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        five = [counts[:, one.hits].sum(axis=1) / counts[:, one.of].sum(axis=1) for one in MEASURES.values()]
    return np.column_stack([*five, _predictive_values(five[0], five[1], prevalences)])


def _predictive_values(sensitivity: Any, specificity: Any, prevalences: Sequence[float]) -> npt.NDArray[np.float64]:
    """PPV and then NPV at each prevalence, shape (n_draws, 2 * n_prevalences), by Bayes' rule."""
    share = np.asarray(prevalences)
    sensitivity, specificity = np.reshape(sensitivity, (-1, 1)), np.reshape(specificity, (-1, 1))
    hit, miss = sensitivity * share, (1 - sensitivity) * share
    alarm, cleared = (1 - specificity) * (1 - share), specificity * (1 - share)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.hstack([hit / (hit + alarm), cleared / (cleared + miss)])


def _point_rows(cells: npt.NDArray[np.bool_], found: Resampled, patients: npt.NDArray[Any], sides: list[str]) -> Rows:
    """One row per measure; ``cells`` is which of the four each image is, shape (n_images, 4)."""
    name, rest = sides
    rows = []
    for column, (measure, one) in enumerate(MEASURES.items()):
        inside = np.asarray(cells[:, one.of].any(axis=1))
        hits, of = int(cells[:, one.hits].sum()), int(inside.sum())
        low, high = found.ends(column)
        reason = None
        if not of:
            reason = one.nothing.format(name=name)
        elif few := too_few(patients, {one.whose.format(name=name, rest=rest): inside} if one.whose else None):
            low = high = None
            reason = f"no interval by patients: {few}"
        elif low is None:
            reason = f"no interval by patients: {_why_none(found.draws[:, column])}"
        ends = wilson(hits, of, found.level)
        value = hits / of if of else None
        row = (measure, hits, of, value, *ends, low, high, reason)
        rows.append(dict(zip(POINT_COLUMNS, row, strict=True)))
    return rows


def _why_none(draws: npt.NDArray[np.float64]) -> str:
    if not len(draws):
        return "no bootstrap draws"
    lacking = np.isfinite(draws).sum() < len(draws) / 2
    return "more than half of the bootstrap draws have no value" if lacking else "the bootstrap draws all agree"


def _prevalence_rows(found: Resampled, prevalences: Sequence[float], ends: Sequence[Ends], trusted: bool) -> Rows:
    """PPV and NPV at each prevalence.

    Args:
        found: the measures in each draw.
        prevalences: of the positive class.
        ends: Wilson's by patients, of sensitivity and of specificity. Both predictive values rise with both, so that
            the lower ends of the two give their lower ends: where the bootstrap has none (of 20 sick patients all are
            found).
        trusted: whether the bootstrap knows the intervals of sensitivity and of specificity.
    """
    known = None not in (*ends[0], *ends[1])
    by_wilson = _predictive_values(ends[0], ends[1], prevalences).T if known else None
    rows = []
    for number, prevalence in enumerate(prevalences):
        row: Row = {"prevalence": prevalence}
        for measure, place in (("ppv", number), ("npv", number + len(prevalences))):
            value = found.known_values[len(MEASURES) + place]
            low, high = found.ends(len(MEASURES) + place) if trusted else (None, None)
            by = None if low is None else "patients"
            if low is None and value is not None and by_wilson is not None:
                (low, high), by = by_wilson[place].tolist(), "wilson"
            row |= {measure: value, f"{measure}_low": low, f"{measure}_high": high, f"{measure}_by": by}
        rows.append(row)
    return rows
