"""Calibration and the frozen thresholds, computed again from the predictions of validation and test."""

import re
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logit, softmax
from scipy.stats import t
from statsmodels.stats.proportion import proportion_confint

from bench.verify.reading import TOLERANCE, Folder, Json, Place, Predicted, Tally
from bench.verify.resampled import DRAWS, ERRORS, by_patients, check_ends, check_within, few, redrawn
from bench.verify.scores import score
from bench.verify.weighted import LEAST, Floats, Mask, line, metrics, together, youden

SIMULATED = 1000
"""Sets of labels, of the run and here."""
CLOSE = 2e-3
"""Two optimisers end so near to each other."""


def _log(scores: Floats, weights: list[float]) -> Floats:
    """Log probabilities without the weights of the loss."""
    return np.asarray(log_softmax(np.log(np.clip(scores, LEAST, 1)) - np.log(weights or [1.0]), axis=1))


def mapped(scores: Floats, how: Json) -> Floats:
    """Probabilities after a calibration map."""
    slopes, intercepts = how.get("slopes") or [1.0], how.get("intercepts") or [0.0]
    return np.asarray(softmax(_log(scores, how.get("class_weights", [])) * slopes + intercepts, axis=1))


def fitted(run: Folder, tally: Tally) -> None:
    """The map is the one with the least penalised log loss on validation, and is what makes calibrated columns."""
    how = run.evaluation.get("calibration")
    if how is None:
        tally.skipped = "no map is on record, as in earlier versions"
        return
    for split in ("val", "test"):
        own, after = run.winners(split), run.winners(split, "calibrated_")
        distance = float(abs(mapped(own.scores, how) - after.scores).max()) if len(own.labels) else 0.0
        tally.close(f"predictions_{split}.csv: distance of calibrated_* from the map", 0.0, distance, 1e-5)
    val, method = run.winners("val"), how["method"]
    if method == "none" or not how["slopes"]:
        tally.check(not how["slopes"] and not how["intercepts"], "a map that fits nothing has slopes or intercepts")
        return
    logs, target, n = _log(val.scores, how["class_weights"]), np.eye(len(run.classes))[val.labels], len(run.classes)
    slopes = n if method == "vector scaling" else 1
    free = 0 if method == "temperature" else n - 1

    def loss(found: Floats) -> float:
        """With a standard normal prior on logarithms of slopes, and on intercepts."""
        shift = np.r_[np.zeros(n - free), found[slopes:]]
        return float(-(log_softmax(logs * np.exp(found[:slopes]) + shift, axis=1) * target).sum() + found @ found / 2)

    best = minimize(loss, np.zeros(slopes + free), method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-8}).x
    for name, told, found in (
        ("slope", how["slopes"], np.broadcast_to(np.exp(best[:slopes]), len(how["slopes"]))),
        ("intercept", how["intercepts"], np.r_[np.zeros(n - free), best[slopes:]] if free else []),
    ):
        for number, (one, other) in enumerate(zip(told, found, strict=True)):
            tally.close(f"{name} {number} of the map", one, other, CLOSE * max(1.0, abs(float(other))))


def calibration(run: Folder, tally: Tally) -> None:
    """Scores, ECE, reliability bins, calibration-in-the-large and slope of both splits, before and after the map."""
    told = run.json("calibration.json")
    how = told.get("calibration") or {}
    only_weights = {"class_weights": how.get("class_weights", [])}
    if told.get("of_loss"):
        _weights(run.winners("val"), told["of_loss"], only_weights["class_weights"], tally)
    for split, steps in told["splits"].items():
        own = run.winners(split)
        for step, one in steps.items():
            found = {
                "before": replace(own, scores=mapped(own.scores, {})),  # in double precision: 1.0 may be 1 − 1e-9
                "weights": replace(own, scores=mapped(own.scores, only_weights)),
                "after": run.winners(split, "calibrated_"),
            }[step]
            place, drawn = Place(run, f"{split}, {step}", tally), split == "test" and step != "weights"
            for name in ("brier", "log_loss"):
                place.close(name, one[name], score(name, found))
            _error(place, one, found, int(told.get("bins") or 15))
            for label in one.get("reliability", {}):
                _reliability(place.inside(label), one["reliability"][label], found, label, told["bins"])
            for label, agreement in one.get("agreement", {}).items():
                _agreement(place.inside(label), agreement, found, label, len(one["agreement"]), drawn)
    if told.get("change") and run.winners().labels.size:
        _change(run, told["change"], tally)


def _weights(own: Predicted, told: Json, undone: list[float], tally: Tally) -> None:
    """Log loss with the weights of the training loss, and without: kept if lower by more than half a standard error."""
    rows = np.arange(len(own.labels))
    maps: list[Json] = [{}, {"class_weights": told["weights"]}]
    kept, without = (-np.log(np.maximum(mapped(own.scores, how)[rows, own.labels], LEAST)) for how in maps)
    tally.close("log loss with the weights of the training loss", told["kept"], float(kept.mean()))
    tally.close("log loss with these undone", told["undone"], float(without.mean()))
    _, owner = np.unique(own.patients, return_inverse=True)
    gain = np.bincount(owner, weights=without - kept)
    beyond = gain.mean() - 0.5 * gain.std(ddof=1) / np.sqrt(len(gain))
    right = [] if beyond > 0 else told["weights"]
    tally.check(abs(beyond) < TOLERANCE or undone == right, "the weights of the loss are undone, or kept, wrongly")


def _bin(values: Floats, bins: int) -> Floats:
    """Which of equal-width bins, open below and closed above."""
    return np.clip(np.searchsorted(np.arange(1, bins + 1) / bins, values - 1e-15), 0, bins - 1)


def _ece(labels: Any, scores: Floats, bins: int) -> float:
    top = scores.max(axis=1)
    apart = (scores.argmax(axis=1) == labels) - top
    inside = _bin(top, bins)
    return float(abs(np.bincount(inside, weights=apart)).sum() / len(labels))


def _error(place: Place, told: Json, found: Predicted, bins: int) -> None:
    """ECE; and what labels that are drawn from the probabilities give, patients sharing the draw."""
    value = _ece(found.labels, found.scores, bins)
    place.close("ECE", told["ece"], value)
    perfect = told.get("ece_if_perfect")
    if not perfect:
        return
    _, owner = np.unique(found.patients, return_inverse=True)
    if any(len(np.unique(found.labels[owner == one])) > 1 for one in np.unique(owner)):
        owner = np.arange(len(owner))
    rng, below = np.random.default_rng(30_000), found.scores.cumsum(axis=1)[:, :-1]
    drawn = [rng.random(len(owner))[owner] for _ in range(2 * SIMULATED)]
    eces = np.array([_ece((one[:, None] > below).sum(axis=1), found.scores, bins) for one in drawn])
    noise = ERRORS * np.sqrt(1 / SIMULATED + 1 / len(eces))
    place.close("mean ECE if perfect", perfect["mean"], eces.mean(), noise * eces.std() + 1e-9)
    at = noise * np.sqrt(0.95 * 0.05)
    check_within(
        place.tally, place.of("ECE if perfect, 95th percentile"), perfect["high"],
        (float(np.quantile(eces, 0.95 - at)), float(np.quantile(eces, min(1.0, 0.95 + at)))), TOLERANCE,
    )  # fmt: skip
    share = float((eces >= value - 1e-12).mean())
    room = noise * np.sqrt(max(share * (1 - share), 0.002)) + 1 / SIMULATED
    place.close("share of simulations that reach the ECE", perfect["reached"], share, room)


def _reliability(place: Place, told: list[Json], found: Predicted, label: str, bins: int) -> None:
    number = place.run.classes.index(label)
    scores, positive = found.scores[:, number], found.labels == number
    inside = _bin(scores, bins)
    held = np.unique(inside).tolist()
    place.same("bins with images", [round(one["from"] * bins) for one in told], held)
    for one in told:
        chosen = inside == round(one["from"] * bins)
        hits, of, own = int(positive[chosen].sum()), int(chosen.sum()), place.inside(f"bin from {one['from']:.3f}")
        own.same("images", one["images"], of)
        if of:
            low, high = proportion_confint(hits, of, alpha=0.05, method="wilson")
            values = {"predicted": scores[chosen].mean(), "observed": hits / of, "low": low, "high": high}
            for name, value in values.items():
                own.close(name, one[name], value)


def _agreement(place: Place, told: Json, found: Predicted, label: str, classes: int, drawn: bool) -> None:
    """Values by statsmodels; intervals by draws of patients; what is apart by intervals for all comparisons at once."""
    run = place.run
    number = run.classes.index(label)
    scores, positive = found.scores[:, number], found.labels == number
    values = [scores.mean() - positive.mean(), *_by_statsmodels(positive, scores)]
    place.close("predicted", told["predicted"], scores.mean())
    place.close("observed", told["observed"], positive.mean())
    why = not drawn or not run.draws or few(found.patients, positive, ~positive)
    again = None if why else redrawn(found.patients, line(positive, scores), draws=DRAWS // 2)
    for column, name in enumerate(("difference", "intercept", "slope")):
        one, value = told[name], values[column]
        if one["value"] is None or value is None:  # no finite one fits; GLM goes on for ever where sides are parted
            place.check(one["value"] is None, f"{name} is told where none is finite")
            continue
        place.close(name, one["value"], value, CLOSE * max(1.0, abs(value)) if column else 1e-6)
        band = again.band(column, run.level, run.draws) if again else None
        check_ends(place.tally, place.of(name), one["low"], one["high"], band, why)
        if again and column and one["low"] is not None:
            wider = again.band(column, 1 - (1 - run.level) / (2 * classes), run.draws)
            _apart(place, told, name, wider)
            if wide := told.get("widened", {}).get(name):  # none in earlier versions
                check_ends(place.tally, place.of(f"{name}, widened"), wide["low"], wide["high"], wider)


def _apart(place: Place, told: Json, name: str, band: Any) -> None:
    """Whether perfection lies outside the wider interval; either is right where its end may lie on either side."""
    perfect = {"intercept": 0.0, "slope": 1.0}[name]
    if band is not None:
        surely_out = perfect < band.low[0] or perfect > band.high[1]
        surely_in = band.low[1] <= perfect <= band.high[0]
        listed = name in told["apart"]
        place.check(not (surely_out and not listed), f"{name} is apart from {perfect:g}, and is not said to be")
        place.check(not (surely_in and listed), f"{name} is said to be apart from {perfect:g}, and is not")


def _by_statsmodels(positive: Mask, scores: Floats) -> list[float | None]:
    """Calibration intercept, with the log-odds as offset, and slope."""
    odds, y = logit(np.clip(scores, LEAST, 1 - LEAST)), positive.astype(float)
    if positive.all() or not positive.any():
        return [None, None]
    family = sm.families.Binomial()
    intercept = sm.GLM(y, np.ones_like(y), family=family, offset=odds).fit(maxiter=200).params[0]
    parted = odds[positive].min() > odds[~positive].max() or odds[positive].max() < odds[~positive].min()
    if parted or np.ptp(odds) < LEAST:
        return [float(intercept), None]
    return [float(intercept), float(sm.GLM(y, sm.add_constant(odds), family=family).fit(maxiter=200).params[1])]


def _change(run: Folder, told: Json, tally: Tally) -> None:
    """What the map adds to the log loss on test, with the t interval of paired draws."""
    before, after = run.winners(), run.winners(kind="calibrated_")
    added = (score("log_loss", after) or 0.0) - (score("log_loss", before) or 0.0)
    tally.close("change of the log loss", told["value"], added)
    if told.get("low") is None:
        tally.check(abs(added) < 1e-6 or not run.draws, "change of the log loss: no interval is told")
        return
    parts = [metrics(one, ["log_loss"]) for one in (after, before)]
    drawn = redrawn(after.patients, together(parts), jackknife=False)
    check_reach(
        run,
        "change of the log loss",
        told,
        drawn.standard_error(np.array([1.0, -1.0]), run.draws, drawn.patients),
        drawn.patients,
        tally,
    )


def check_reach(run: Folder, where: str, told: Json, error: tuple[float, float], patients: int, tally: Tally) -> None:
    """A t interval is as wide as its standard error says, which two bootstraps know but for ``error[1]``."""
    reach = float(t.ppf((1 + run.level) / 2, patients - 1))
    limits = (reach * (error[0] - error[1]), reach * (error[0] + error[1]))
    for half in (told["value"] - told["low"], told["high"] - told["value"]):
        check_within(tally, f"{where}: half its interval", half, limits)


def thresholds(run: Folder, tally: Tally) -> None:
    """The mean over draws of patients, the interval of single samples, and what they reach on validation."""
    for told in run.evaluation.get("thresholds", []):
        threshold(run, told, run.winners("val"), run.evaluation.get("calibration"), tally)


def threshold(run: Folder, told: Json, val: Predicted, how: Json | None, tally: Tally, about: str = "") -> None:
    """One of them, by the predictions of validation that it was frozen on, and the map after it."""
    label, number = f"{about}{told['class']}", run.classes.index(told["class"])
    positive, scores, patients = val.labels == number, val.scores[:, number], val.patients
    if not positive.any() or positive.all():
        tally.close(f"{label}: threshold without images of both sides", told["value"], 0.5)
        return
    called = scores >= told["value"]
    for name, side, right in (("sensitivity", positive, called), ("specificity", ~positive, ~called)):
        if one := told.get(name):
            low, high = by_patients(patients[side], right[side])
            values = {"value": right[side].mean(), "low": low, "high": high}
            for end, found in values.items():
                tally.close(f"{label}: {name} on validation, {end}", one[end], found)
    if told.get("calibrated") is not None and how:
        point = np.array([[1 - told["value"], told["value"]]])
        tally.close(f"{label}: threshold after the map", told["calibrated"], mapped(point, how)[0, 1])
    _bagged(run, told, positive, scores, patients, tally)


def _bagged(run: Folder, told: Json, positive: Mask, scores: Floats, patients: Any, tally: Tally) -> None:
    aim, count = (re.search(pattern, told["rule"]) for pattern in (r"at least ([\d.]+)", r"over ([\d,]+) bootstrap"))
    target = float(aim[1]) if aim else None
    plain = float(youden(positive, scores, target, np.ones((1, len(scores))))[0])
    if count is None:  # without draws
        tally.close(f"{told['class']}: threshold", told["value"], plain)
        return
    others = int(count[1].replace(",", ""))
    n = len(set(patients[positive]))
    reached = None if target is None else min(1.0, target * (n + 1) / n)
    parts = [partial(youden, positive, scores, one) for one in (reached, target)]
    drawn = redrawn(patients, together(parts), jackknife=False)
    odds = logit(np.clip(drawn.drawn[np.isfinite(drawn.drawn[:, 0]), 0], LEAST, 1 - LEAST))
    room = ERRORS * float(odds.std()) * np.sqrt(1 / others + 1 / len(odds))
    least, largest = (float(expit(odds.mean() + sign * room)) for sign in (-1, 1))
    if target is not None:
        least, largest = min(least, plain), min(largest, plain)
    check_within(tally, f"{told['class']}: threshold", told["value"], (least, largest), 1e-6)
    why = few(patients, positive, ~positive)
    if why or told["low"] is None:
        tally.check(why and told["low"] is None, f"{told['class']}: whether the threshold has an interval")
        return
    band = drawn.quantiles(1, run.level, others)
    for name, limits in (("low", band.low), ("high", band.high)):
        check_within(tally, f"{told['class']}: {name} end of the threshold's interval", told[name], limits, 1e-6)
