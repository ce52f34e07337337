"""The intervals of what is said of the test images, drawn again from tables of predictions; one function a table."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import betabinom, t
from statsmodels.stats.proportion import proportion_confint

from bench.verify.reading import Folder, NotThere, Place, Predicted, Tally
from bench.verify.resampled import by_patients, check_ends, check_within, few, redrawn
from bench.verify.scores import NEEDS_ALL_CLASSES, SCORES, fewest, score
from bench.verify.weighted import GRID, Floats, Mask, auc, both_curves, metrics, quotient, together

LIMITS = {"log_loss": lambda n: np.inf, "brier": lambda n: 1.0 if n == 2 else 2.0}
"""Number of classes -> the largest value of a metric, where that is not 1."""
LEAST = {"quadratic_kappa": -1.0}
"""The smallest, where that is not 0."""


def sides_of(found: Predicted) -> list[Mask]:
    """Images of each class."""
    return [found.labels == number for number in range(found.scores.shape[1])]


def too_few(found: Predicted, metric: str) -> bool:
    """Whether a metric has no interval for want of patients."""
    return few(found.patients, *(sides_of(found) if metric in NEEDS_ALL_CLASSES else []))


def _metrics(where: str, told: dict[str, Any], found: Predicted, level: float, draws: int, tally: Tally) -> None:
    names = [name for name in told if name in SCORES and score(name, found) is not None]
    drawn = redrawn(found.patients, metrics(found, names)) if names and draws else None
    for column, name in enumerate(names):
        band = drawn.band(column, level, draws) if drawn else None
        check_ends(tally, f"{where}: {name}", told[name]["low"], told[name]["high"], band, too_few(found, name))


def models(run: Folder, tally: Tally) -> None:
    """Of every model's metrics and of each class's ROC AUC, and of the winner's metrics on validation."""
    for name, told in run.evaluation["models"].items():
        found = run.repeats(name)[run.representative(name)]
        _metrics(name, told["metrics"], found, run.level, run.draws, tally)
        sides = [side for side in sides_of(found) if side.any() and not side.all()]
        if not sides or not run.draws:
            continue
        numbers = [int(found.labels[side][0]) for side in sides]
        parts = [partial(auc, found.labels == number, found.scores[:, number]) for number in numbers]
        drawn = redrawn(found.patients, together(parts))
        for column, (number, side) in enumerate(zip(numbers, sides, strict=True)):
            one, why = told["per_class"][run.classes[number]], few(found.patients, side, ~side)
            where = f"{name}: ROC AUC of {run.classes[number]}"
            check_ends(
                tally, where, one.get("auc_low"), one.get("auc_high"), drawn.band(column, run.level, run.draws), why
            )
    _metrics(
        "validation", run.evaluation.get("validation", {}).get("metrics", {}), run.winners("val"), run.level,
        run.draws_on_validation, tally,
    )  # fmt: skip


def on_validation(run: Folder, tally: Tally) -> None:
    """Of each finalist's mean over seeds, how far one more seed may lie, and of the gap between the splits."""
    told, draws = run.evaluation, run.draws_on_validation
    for one in told.get("retrained", []):
        name, n, metric = one["backbone"], one["repeats"], run.metric
        reach = (
            None if n < 2 or one["sd"] <= 1e-12 else t.ppf((1 + run.level) / 2, n - 1) * one["sd"] * (1 + 1 / n) ** 0.5
        )
        if "reach" in one:
            tally.close(f"{name}: reach of one more seed", one["reach"], reach)
        found = run.repeats(name, "val").get(run.representative(name))
        if found is not None and (value := score(metric, found)) is not None:
            band = redrawn(found.patients, metrics(found, [metric])).band(0, run.level, draws)
            ends = [None if end is None else end - one["mean"] + value for end in (one["low"], one["high"])]
            largest = LIMITS.get(metric, lambda n: 1.0)(len(run.classes)) - one["mean"] + value
            cut = [LEAST.get(metric, 0.0) - one["mean"] + value, largest]
            _moved(tally, f"{name}: mean over seeds", ends, band, cut, too_few(found, metric))
    if gap := told.get("gap"):
        _gap(run, gap, draws, tally)


def _moved(tally: Tally, where: str, ends: list[Any], band: Any, cut: list[float], why: bool) -> None:
    """Ends that were moved to another score and cut at the limits of the metric."""
    if band is None or None in ends or why:
        check_ends(tally, where, ends[0], ends[1], band, why)
        return
    for which, told, limits in zip(("lower", "upper"), ends, (band.low, band.high), strict=True):
        least, largest = (min(max(one, cut[0]), cut[1]) for one in limits)
        check_within(tally, f"{where}: {which} end", told, (least, largest))
    if cut[0] < band.low[0] and band.high[1] < cut[1]:
        check_within(tally, f"{where}: width", ends[1] - ends[0], band.width)


def _gap(run: Folder, gap: dict[str, Any], draws: int, tally: Tally) -> None:
    """A t interval by the patients of the smaller split, or of a class there, with the bootstrap variances of both."""
    splits, metric = (run.winners("val"), run.winners()), gap["metric"]
    ends = (gap.get("low"), gap.get("high"))
    if gap.get("difference") is None or any(too_few(one, metric) for one in splits):
        tally.same("gap: interval", ends, (None, None))
        return
    counts = [fewest(metric, one) for one in splits]
    drawn = [redrawn(one.patients, metrics(one, [metric]), jackknife=False) for one in splits]
    errors = [one.standard_error(np.ones(1), draws, count) for one, count in zip(drawn, counts, strict=True)]
    if ends == (None, None):
        tally.check(max(error for error, _ in errors) < 1e-9, "gap: no interval is told where there is one")
        return
    reach = t.ppf((1 + run.level) / 2, min(counts) - 1)
    middle, width = np.hypot(errors[0][0], errors[1][0]), np.hypot(errors[0][1], errors[1][1])
    for end, sign in zip(ends, (-1, 1), strict=True):
        told = (end - gap["difference"]) * sign
        check_within(tally, "gap: half its interval", told, (reach * (middle - width), reach * (middle + width)))


def _called(run: Folder, row: pd.Series, split: str = "test") -> tuple[Predicted, Mask, Mask]:
    found, number = run.winners(split), run.classes.index(row["class"])
    return found, found.labels == number, found.scores[:, number] >= row["threshold"]


def _measures(weights: Floats, positive: Mask, called: Mask) -> dict[str, Floats]:
    tp, fn, fp, tn = (
        weights @ cell.astype(float)
        for cell in (positive & called, positive & ~called, ~positive & called, ~positive & ~called)
    )
    return {
        "sensitivity": quotient(tp, tp + fn),
        "specificity": quotient(tn, tn + fp),
        "ppv": quotient(tp, tp + fp),
        "npv": quotient(tn, tn + fn),
        "accuracy": quotient(tp + tn, tp + fn + fp + tn),
    }


def _side(measure: str, positive: Mask, called: Mask) -> Mask:
    """The images that a measure is a share of."""
    of = {"sensitivity": positive, "specificity": ~positive, "ppv": called, "npv": ~called}
    return of.get(measure, np.ones(len(positive), dtype=bool))


def operating_points(run: Folder, tally: Tally) -> None:
    """By patients; and at frozen thresholds what validation lets expect, as `_expected` has it, with its flag."""
    table = run.table("operating_points.csv")
    for (label, point), rows in table.groupby(["class", "point"], sort=False):
        found, positive, called = _called(run, rows.iloc[0])
        names = [str(name) for name in rows["measure"]]
        statistic = partial(_stacked, positive=positive, called=called)
        drawn = redrawn(found.patients, statistic) if run.draws else None
        for _, row in rows.iterrows():
            where, side = f"{label} at {point}: {row['measure']}", _side(str(row["measure"]), positive, called)
            column = list(_measures(np.ones((1, len(positive))), positive, called)).index(str(row["measure"]))
            band = drawn.band(column, run.level, run.draws) if drawn else None
            check_ends(tally, where, row["low"], row["high"], band, not side.any() or few(found.patients, side))
        if "validation" in rows and point == "frozen":
            for name in set(names) & {"sensitivity", "specificity"}:
                _expected(run, rows[rows["measure"] == name].iloc[0], tally)


def _stacked(weights: Floats, positive: Mask, called: Mask) -> Floats:
    return np.column_stack(list(_measures(weights, positive, called).values()))


def _expected(run: Folder, row: pd.Series, tally: Tally) -> None:
    """A beta-binomial prediction interval of as many images as those of the validation patients are worth."""
    found, positive, called = _called(run, row, "val")
    side = positive if row["measure"] == "sensitivity" else ~positive
    right, patients, new = (called == positive)[side], found.patients[side], int(row["of"])
    where = f"{row['class']}, frozen: {row['measure']}"
    if not len(right) or not new:
        tally.close(f"{where} to be expected", row["expected_low"], None)
        return
    owner = pd.Series(right.astype(float)).groupby(patients)
    hits, images = owner.sum().to_numpy(), owner.size().to_numpy().astype(float)
    share, fewest = right.mean(), images.sum() ** 2 / (images**2).sum()
    apart = ((hits - share * images) ** 2).sum() / images.sum() ** 2 * len(images) / max(1, len(images) - 1)
    worth = np.clip(share * (1 - share) / apart, fewest, len(right)) if apart > 0 else fewest
    size = max(1, round(new * worth / len(right)))
    low, high = betabinom.ppf([0.025, 0.975], size, share * worth + 0.5, (1 - share) * worth + 0.5) / size
    tally.close(f"{where} on validation", row["validation"], share)
    tally.close(f"{where} to be expected, lower end", row["expected_low"], low)
    tally.close(f"{where} to be expected, upper end", row["expected_high"], high)
    tally.same(f"{where}: flag", str(row["flagged"]) == "True", not low <= row["value"] <= high)


def prevalences(run: Folder, tally: Tally) -> None:
    """Of PPV and NPV by Bayes' rule: by patients, else from Wilson's intervals of sensitivity and specificity."""
    for (label, point), rows in run.table("prevalences.csv").groupby(["class", "point"], sort=False):
        found, positive, called = _called(run, rows.iloc[0])
        shares = rows["prevalence"].to_numpy(dtype=float)

        def statistic(w: Floats, positive: Mask = positive, called: Mask = called, shares: Floats = shares) -> Floats:
            measured = _measures(w, positive, called)
            return _bayes(measured["sensitivity"][:, None], measured["specificity"][:, None], shares)

        drawn = redrawn(found.patients, statistic) if run.draws else None
        wilson = None
        if positive.any() and not positive.all():
            ends = [by_patients(found.patients[s], (called == positive)[s], run.level) for s in (positive, ~positive)]
            wilson = [_bayes(np.array([[ends[0][k]]]), np.array([[ends[1][k]]]), shares)[0] for k in (0, 1)]
        for number, (_, row) in enumerate(rows.iterrows()):
            for column, name in ((number, "ppv"), (number + len(rows), "npv")):
                where = f"{label} at {point}, prevalence {row['prevalence']:.3g}: {name}"
                low, high = row[f"{name}_low"], row[f"{name}_high"]
                if row.get(f"{name}_by") == "wilson" and wilson is not None:
                    tally.close(f"{where}, lower end by Wilson's", low, wilson[0][column])
                    tally.close(f"{where}, upper end by Wilson's", high, wilson[1][column])
                elif pd.isna(row[name]) or drawn is None:
                    tally.close(f"{where}, lower end", low, None)
                else:
                    check_ends(tally, where, low, high, drawn.band(column, run.level, run.draws))


def _bayes(sensitivity: Floats, specificity: Floats, share: Floats) -> Floats:
    """PPV, then NPV, at each prevalence."""
    hit, alarm = sensitivity * share, (1 - specificity) * (1 - share)
    cleared, miss = specificity * (1 - share), (1 - sensitivity) * share
    return np.hstack([quotient(hit, hit + alarm), quotient(cleared, cleared + miss)])


def decision_curve(run: Folder, tally: Tally) -> None:
    """Of the model's net benefit, and of its gain over the better of acting on everybody and on nobody."""
    found = run.winners(kind="calibrated_")
    for label, rows in run.table("decision_curve.csv").groupby("class", sort=False):
        number, at = run.classes.index(str(label)), rows["threshold"].to_numpy(dtype=float)
        positive, odds = (found.labels == number)[:, None], at / (1 - at)
        worth = (found.scores[:, number, None] >= at) * np.where(positive, 1.0, -odds)
        everybody = np.where(positive, 1.0, -odds)
        better = rows["treat_all"].to_numpy(dtype=float) > 0  # where both are worth 0, rounding decides
        both = np.hstack([worth, worth - np.where(better, everybody, 0.0)])
        _curve(run, str(label), rows, found, lambda w, both=both: w @ both / w.sum(axis=1, keepdims=True), tally)


def _curve(run: Folder, label: str, rows: pd.DataFrame, found: Predicted, statistic: Any, tally: Tally) -> None:
    side = found.labels == run.classes.index(label)
    why = few(found.patients, side, ~side)
    drawn = redrawn(found.patients, statistic) if run.draws and not why else None
    for offset, name in ((0, ""), (len(rows), "gain_")):
        for place, (_, row) in enumerate(rows.iterrows()):
            band = drawn.band(offset + place, run.level, run.draws) if drawn else None
            where = f"{label} at {row['threshold']:.2f}{', gain' * bool(name)}"
            check_ends(tally, where, row[f"{name}low"], row[f"{name}high"], band, why)


def curves(run: Folder, tally: Tally) -> None:
    """Pointwise bands of ROC and precision-recall curves."""
    for (name, label), rows in run.table("curves.csv").groupby(["model", "class"], sort=False):
        found = run.repeats(str(name))[run.representative(str(name))]
        number = run.classes.index(str(label))
        side = found.labels == number
        why = few(found.patients, side, ~side)
        drawn = None
        if run.draws and not why:
            drawn = redrawn(found.patients, partial(both_curves, side, found.scores[:, number]))
        for _, row in rows.iterrows():
            column = round(float(row["x"]) * 100) + len(GRID) * (row["curve"] == "pr")
            band = drawn.band(column, run.level, run.draws) if drawn else None
            where = f"{name}, {label}, {row['curve']} at {row['x']:.2f}"
            check_ends(tally, where, row["low"], row["high"], band, why)


def subgroups(run: Folder, tally: Tally) -> None:
    """Of each score of each subgroup; where all draws agree on a share, Wilson's over patients.

    Raises:
        NotThere: if predictions_test.csv names no subgroups, as earlier versions wrote it.
    """
    table, images, found = run.table("subgroups.csv"), run.table("predictions_test.csv"), run.winners()
    if len(table) and not any(str(name).startswith("group:") for name in images):
        raise NotThere("predictions_test.csv does not say which image is in which subgroup")
    threshold = (run.evaluation.get("threshold") or {}).get("value")
    called = found.scores.argmax(axis=1)
    if len(run.classes) == 2 and threshold is not None:
        called = (found.scores[:, 1] >= threshold).astype(np.int64)
    for _, row in table.iterrows():
        inside = images[f"group:{row['group']}"].fillna("(not given)").to_numpy() == row["value"]
        for measure in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"):
            if not pd.isna(row[measure]):
                _of_group(Place(run, f"{row['group']} {row['value']}", tally), row, measure, found, called, inside)


def _of_group(
    place: Place, row: pd.Series, measure: str, found: Predicted, called: npt.NDArray[np.int64], inside: Mask
) -> None:
    run = place.run
    labels, n = found.labels, len(run.classes)
    if measure == "auc" and len(np.unique(labels[inside])) < n:  # against all images of the other class
        inside = inside | (labels != labels[inside][0])
    parts_a_side = measure in ("sensitivity", "specificity")
    side = inside & (labels == (measure == "sensitivity")) if parts_a_side else inside
    patients, whole = found.patients[inside], few(found.patients[inside])
    by_class = [labels[inside] == number for number in range(n)]
    parts = {"auc": by_class, "balanced_accuracy": by_class, "accuracy": []}.get(measure, [side[inside]])
    low, high = row[f"{measure}_low"], row[f"{measure}_high"]
    why = not run.draws or whole or few(patients, *parts)
    share = measure not in ("auc", "balanced_accuracy") and float(row[measure]) in (0.0, 1.0)
    if share and not why:
        counting = len(set(found.patients[side]))
        ends = proportion_confint(float(row[measure]) * counting, counting, alpha=1 - run.level, method="wilson")
        place.close(f"{measure}, Wilson's lower end", low, ends[0])
        place.close(f"{measure}, Wilson's upper end", high, ends[1])
        return
    statistic = _group_statistic(measure, found, called, inside, side)
    drawn = redrawn(patients, statistic) if not why else None
    band = drawn.band(0, run.level, run.draws) if drawn else None
    check_ends(place.tally, place.of(measure), low, high, band, why)


def _group_statistic(
    measure: str, found: Predicted, called: npt.NDArray[np.int64], inside: Mask, side: Mask
) -> Callable[[Floats], Floats]:
    n = found.scores.shape[1]
    if measure in ("auc", "balanced_accuracy"):
        scores = found.scores if measure == "auc" else np.eye(n)[called]
        part = Predicted((), found.labels[inside], scores[inside], found.patients[inside])
        return metrics(part, [measure])
    right, of = (called == found.labels)[inside].astype(float), side[inside].astype(float)
    return lambda weights: quotient(weights @ (right * of), weights @ of)[:, None]
