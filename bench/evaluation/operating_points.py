"""Sensitivity, specificity, PPV and NPV at 0.5 and at the threshold that was frozen on validation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.stats.bootstrap import Bootstrap, Resampled
from bench.stats.enough import Parts, one_against_rest, too_few
from bench.stats.metrics import Mask, Weights
from bench.stats.predictions import Predictions
from bench.stats.proportions import Ends, wilson, wilson_by_patients

POINTS_COLUMNS = (
    *("class", "point", "rule", "threshold", "measure", "hits", "of", "value"),
    *("wilson_low", "wilson_high", "low", "high", "reason"),
)
PREVALENCE_COLUMNS = (
    *("class", "point", "threshold", "prevalence"),
    *("ppv", "ppv_low", "ppv_high", "ppv_by", "npv", "npv_low", "npv_high", "npv_by", "observed"),
)
MEASURES = ("sensitivity", "specificity", "ppv", "npv", "accuracy")
PREVALENCES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)


def operating_points(
    predictions: Predictions, thresholds: Mapping[str, tuple[float, str]], bootstrap: Bootstrap
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """operating_points.csv and prevalences.csv.

    PPV and NPV at a prevalence follow from sensitivity and specificity by Bayes' rule, the prevalence being given, not
    estimated: so too in the row of the split's own prevalence.

    Args:
        predictions: of the test images.
        thresholds: class -> frozen threshold and its rule; an image is called so at and above it.
        bootstrap: without draws there are Wilson's intervals alone.

    Returns:
        one row per class, point and measure; and one per class, point and prevalence. What cannot be computed is empty.
    """
    points: list[dict[str, Any]] = []
    prevalences: list[dict[str, Any]] = []
    for name, (frozen, rule) in thresholds.items() if len(predictions) else ():
        sides = one_against_rest(predictions.labels, predictions.classes.index(name), predictions.classes)
        for point, threshold, words in (("0.5", 0.5, "fixed beforehand"), ("frozen", frozen, rule)):
            called = np.asarray(predictions.scores[:, predictions.classes.index(name)] >= threshold)
            measured, by_prevalence = _at_threshold(called, sides, predictions.patients, bootstrap)
            head = {"class": name, "point": point, "threshold": threshold}
            points += [{**head, "rule": words, **row} for row in measured]
            prevalences += [{**head, **row} for row in by_prevalence]
    return pd.DataFrame(points, columns=POINTS_COLUMNS), pd.DataFrame(prevalences, columns=PREVALENCE_COLUMNS)


def _at_threshold(
    called: Mask, sides: Parts, patients: npt.NDArray[Any], bootstrap: Bootstrap
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of both tables for one way to call images positive.

    Args:
        called: whether an image is called positive, shape (n_images,).
        sides: the class, and then the others: name -> which images.
        patients: patient of each image, shape (n_images,).
        bootstrap: draws, level, seed.
    """
    name = next(iter(sides))
    positive = sides[name]
    own = float(positive.mean())
    prevalences = sorted({*PREVALENCES, own})
    counts = _counts(positive, called)

    def measured(weights: Weights) -> npt.NDArray[np.float64]:
        return _measures(weights @ counts, prevalences)

    found = bootstrap.unless(too_few(patients)).resample(measured, patients)
    points = _point_rows(counts.sum(axis=0), found, name, _too_few(counts, patients, sides))
    right = called == positive
    by_wilson = _by_wilson(
        [wilson_by_patients(right[side], patients[side], bootstrap.level) for side in (positive, ~positive)],
        prevalences,
    )
    trusted = all(row["low"] is not None for row in points[:2])
    rows = _prevalence_rows(found, prevalences, by_wilson, trusted)
    return points, [{**row, "observed": row["prevalence"] == own} for row in rows]


def _too_few(counts: npt.NDArray[np.float64], patients: npt.NDArray[Any], sides: Parts) -> dict[str, str]:
    """Measure -> why there are too few patients for an interval of it; empty if there are enough."""
    tp, fn, fp, tn = (counts > 0).T
    name, rest = sides
    looked_at: dict[str, Parts] = {
        "sensitivity": {name: sides[name]},
        "specificity": {rest: sides[rest]},
        "ppv": {f"images called {name}": tp | fp},
        "npv": {f"images not called {name}": fn | tn},
        "accuracy": {},
    }
    return {measure: too_few(patients, parts) for measure, parts in looked_at.items()}


def _counts(positive: Mask, called: Mask) -> npt.NDArray[np.float64]:
    """Which of true positive, false negative, false positive, true negative each image is: shape (n_images, 4)."""
    cells = [positive & called, positive & ~called, ~positive & called, ~positive & ~called]
    return np.column_stack(cells).astype(np.float64)


def _measures(counts: npt.NDArray[np.float64], prevalences: Sequence[float]) -> npt.NDArray[np.float64]:
    """The five measures, then PPV and then NPV at each prevalence, NaN where nothing is divided by nothing.

    Args:
        counts: shape (n_draws, 4).
        prevalences: of the positive class.
    """
    tp, fn, fp, tn = counts.T
    asked = np.asarray(prevalences)
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, specificity = tp / (tp + fn), tn / (tn + fp)
        five = [sensitivity, specificity, tp / (tp + fp), tn / (tn + fn), (tp + tn) / counts.sum(axis=1)]
        hit, miss = sensitivity[:, None] * asked, (1 - sensitivity)[:, None] * asked
        alarm, cleared = (1 - specificity)[:, None] * (1 - asked), specificity[:, None] * (1 - asked)
        return np.hstack([np.column_stack(five), hit / (hit + alarm), cleared / (cleared + miss)])


def _point_rows(
    counts: npt.NDArray[np.float64], found: Resampled, name: str, few: Mapping[str, str]
) -> list[dict[str, Any]]:
    tp, fn, fp, tn = (int(count) for count in counts)
    of_measure = {
        "sensitivity": (tp, tp + fn, f"the split holds no image of {name}"),
        "specificity": (tn, tn + fp, f"the split holds images of {name} alone"),
        "ppv": (tp, tp + fp, f"no image is called {name}"),
        "npv": (tn, tn + fn, f"every image is called {name}"),
        "accuracy": (tp + tn, tp + fn + fp + tn, ""),
    }
    rows = []
    for column, measure in enumerate(MEASURES):
        hits, of, nothing = of_measure[measure]
        wilson_low, wilson_high = wilson(hits, of, found.level)
        low, high = found.ends(column)
        reason = None
        if not of:
            reason = nothing
        elif few[measure]:
            low = high = None
            reason = f"no interval by patients: {few[measure]}"
        elif low is None or high is None:
            known = np.isfinite(found.draws[:, column]).sum()
            lacking = known < len(found.draws) / 2
            why = "more than half of the bootstrap draws have no value" if lacking else "the bootstrap draws all agree"
            reason = f"no interval by patients: {why if len(found.draws) else 'no bootstrap draws'}"
        rows.append(
            {
                "measure": measure,
                "hits": hits,
                "of": of,
                "value": hits / of if of else None,
                "wilson_low": wilson_low,
                "wilson_high": wilson_high,
                "low": low,
                "high": high,
                "reason": reason,
            }
        )
    return rows


def _prevalence_rows(
    found: Resampled, prevalences: Sequence[float], by_wilson: npt.NDArray[np.float64] | None, trusted: bool
) -> list[dict[str, Any]]:
    """PPV and NPV at each prevalence.

    Args:
        found: the measures in each draw.
        prevalences: of the positive class.
        by_wilson: the measures at both ends of Wilson's intervals by patients of sensitivity and of specificity. Both
            predictive values rise with both, so that the lower ends of the two give their lower ends: where the
            bootstrap has none (of 20 sick patients all are found).
        trusted: whether the bootstrap knows the intervals of sensitivity and of specificity.
    """
    values = found.known_values
    rows = []
    for number, prevalence in enumerate(prevalences):
        row: dict[str, Any] = {"prevalence": prevalence}
        for measure, start in (("ppv", len(MEASURES)), ("npv", len(MEASURES) + len(prevalences))):
            low, high = found.ends(start + number) if trusted else (None, None)
            by = "patients"
            if low is None and values[start + number] is not None and by_wilson is not None:
                (low, high), by = by_wilson[:, start + number].tolist(), "wilson"
            row |= {measure: values[start + number], f"{measure}_low": low, f"{measure}_high": high}
            row[f"{measure}_by"] = by if low is not None else None
        rows.append(row)
    return rows


def _by_wilson(ends: Sequence[Ends], prevalences: Sequence[float]) -> npt.NDArray[np.float64] | None:
    """The measures at the lower and at the upper ends of sensitivity and specificity; None where an end is not known.

    Returns:
        shape (2, n_measures), as `_measures` gives them; of use for PPV and NPV at the prevalences alone.
    """
    (sensitivity_low, sensitivity_high), (specificity_low, specificity_high) = ends
    if sensitivity_low is None or sensitivity_high is None or specificity_low is None or specificity_high is None:
        return None
    pairs = [(sensitivity_low, specificity_low), (sensitivity_high, specificity_high)]
    return _measures(np.array([[tp, 1 - tp, 1 - tn, tn] for tp, tn in pairs]), prevalences)
