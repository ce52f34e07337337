"""calibration.json: how well the winner's probabilities agree with what was observed, before and after the map."""

from dataclasses import asdict

import numpy as np
import numpy.typing as npt

from bench import numbers
from bench.run.documents import (
    Bin,
    CalibrationRecord,
    CalibrationScores,
    CandidateMap,
    ClassAgreement,
    Estimate,
    ExpectedError,
    FittedOn,
    WeightsOfLoss,
)
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap, Choice
from bench.stats.metrics import Labels, Mask, Scores, brier, log_loss, one_vs_rest
from bench.stats.predictions import Predictions
from bench.stats.proportions import Ends, wilson
from bench.stats.recalibration import Agreement, agreement

BINS = 15
"""Equal-width bins of a probability, as Guo et al. have them."""
NOTHING = 1e-6
"""A change of the log loss that rounding can make."""
SIMULATIONS = 1000
"""Sets of labels drawn from the probabilities, for the ECE that these would have if they were true."""
WIDEST_SLOPE = 4.0
"""How many times its lower end the upper end of a slope's interval may be: 0.5 to 2 cannot say that a slope is 1."""
TOO_WIDE = (
    "too few patients to tell: the interval of a slope contains 0, or its upper end is more than "
    f"{WIDEST_SLOPE:g} times its lower one"
)
WORSE, DISAGREES, AGREES, UNKNOWN = "worse", "disagrees", "agrees", "unknown"
"""Verdicts of `CalibrationRecord`."""


def expected_calibration_error(y_true: Labels, y_score: Scores) -> float:
    """Mean distance, weighted by images, between the top probability and the share that is right, over its bins.

    It has no interval: each bin's distance is absolute, so that noise alone makes it larger, and resampled images
    are noisier than the images themselves. Bootstrap draws lie above the value, and an interval of them would too.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, equation 3; bins open below, closed above.
    """
    top = y_score.max(axis=1).astype(np.float64)
    right = (y_score.argmax(axis=1) == y_true).astype(np.float64)
    distance = np.bincount(_bins_of(top), weights=right - top, minlength=BINS)
    return float(np.abs(distance).sum() / len(y_true))


def reliability(positive: Mask, scores: Scores) -> list[Bin]:
    """The bins of a reliability diagram that hold images, with Wilson's interval of what was observed.

    Args:
        positive: shape (n_images,).
        scores: probabilities of the positive class, shape (n_images,).
    """
    doubled = np.asarray(scores, dtype=np.float64)
    index = _bins_of(doubled)
    found = []
    for number in np.unique(index):
        inside = index == number
        images, hits = int(inside.sum()), int(positive[inside].sum())
        low, high = wilson(hits, images)
        found.append(
            Bin(
                start=number / BINS,
                end=(number + 1) / BINS,
                images=images,
                predicted=doubled[inside].mean(),
                observed=hits / images,
                low=low,
                high=high,
            )
        )
    return found


def _bins_of(probabilities: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Number of the equal-width bin of each probability, open below and closed above."""
    return np.asarray(np.clip(np.ceil(probabilities * BINS) - 1, 0, BINS - 1), dtype=np.int64)


def error_if_perfect(predictions: Predictions, seed: int) -> ExpectedError:
    """ECE of labels that are drawn from the probabilities themselves: what noise alone makes at this size.

    Images of one patient share the draw, if no patient here has images of two classes: so their labels agree as far as
    their probabilities do.
    """
    scores, (_, owner) = predictions.scores, np.unique(predictions.patients, return_inverse=True)
    mixed = len(np.unique(np.column_stack([owner, predictions.labels]), axis=0)) > predictions.n_patients
    owner = np.arange(len(owner)) if mixed else owner
    above = np.asarray(scores, dtype=np.float64).cumsum(axis=1)[:, :-1]
    rng, found = np.random.default_rng(seed), np.empty(SIMULATIONS)
    for number in range(SIMULATIONS):
        drawn = rng.random(int(owner.max()) + 1)[owner]
        found[number] = expected_calibration_error((drawn[:, None] > above).sum(axis=1), scores)
    ece = expected_calibration_error(predictions.labels, scores)
    reached = (np.sum(found >= ece - 1e-12) + 1) / (SIMULATIONS + 1)
    return ExpectedError(mean=float(found.mean()), high=float(np.quantile(found, 0.95)), reached=float(reached))


def calibration(
    validation: Predictions, test: Predictions | None, choice: Choice, bootstrap: Bootstrap
) -> CalibrationRecord:
    """The content of calibration.json: both splits, before and after the map.

    Args:
        validation: the winner's predictions, on which the map was chosen and fitted.
        test: those of the test split; None if it was not opened.
        choice: as `bench.stats.calibration.choose_map` made it.
        bootstrap: of the intervals on test; validation has none, since the map was fitted on it.

    Returns:
        a split without images is left out; ``reason`` says why no map was fitted.
    """
    steps = {"before": CalibrationMap(), "after": choice.map}
    if choice.map.class_weights and choice.map.slopes:
        steps = {"before": steps["before"], "weights": choice.map.only_weights, "after": steps["after"]}
    splits = {}
    quiet = bootstrap.unless("validation chose the map, and the weights are but a step to it")
    for split, predictions in (("val", validation), ("test", test)):
        if predictions is not None and len(predictions):
            splits[split] = {
                step: calibration_scores(
                    predictions.with_scores(apply(predictions.scores)),
                    bootstrap if split == "test" and step != "weights" else quiet,
                )
                for step, apply in steps.items()
            }
    found = CalibrationRecord(
        calibration=choice.map,
        of_loss=WeightsOfLoss(**asdict(choice.of_loss)) if choice.of_loss else None,
        candidates=tuple(CandidateMap(**asdict(one)) for one in choice.candidates),
        fitted_on=FittedOn(split="val", images=len(validation), patients=validation.n_patients),
        bins=BINS,
        splits=splits,
    )
    if choice.reason:
        found = found.model_copy(update={"reason": f"no map was fitted, since on validation {choice.reason}"})
    if test is None or not len(test):
        return found
    return found.model_copy(update=_judged(found, _change(test, choice, bootstrap)))


def calibration_scores(predictions: Predictions, bootstrap: Bootstrap) -> CalibrationScores:
    """How well probabilities agree with what was observed; intervals by patients where ``bootstrap`` has draws."""
    labels, scores, classes = predictions.labels, predictions.scores, predictions.classes
    chosen = [predictions.against_rest(index) for index in one_vs_rest(len(classes))]
    compared = 2 * len(chosen)  # intercept and slope of each class
    return CalibrationScores(
        ece=expected_calibration_error(labels, scores),
        ece_if_perfect=error_if_perfect(predictions, bootstrap.seed),
        brier=brier(labels, scores),
        log_loss=log_loss(labels, scores),
        agreement={
            one.name: _agreement(agreement(one, predictions.patients, bootstrap, compared), one.few) for one in chosen
        },
        reliability={one.name: tuple(reliability(one.positive, one.scores)) for one in chosen},
    )


def _agreement(found: Agreement, few: str) -> ClassAgreement:
    reason = few
    if found.slope[0] is None:
        reason = "no finite slope fits: all images are of one side, or all are told apart, or all have one probability"
    elif not reason and not found.apart and _too_wide(found.slope[1]):
        reason = TOO_WIDE
    return ClassAgreement(
        predicted=found.predicted,
        observed=found.observed,
        difference=_estimate(*found.difference),
        intercept=_estimate(*found.intercept),
        slope=_estimate(*found.slope),
        widened={name: _estimate(getattr(found, name)[0], ends) for name, ends in found.widened.items()},
        apart=found.apart,
        reason=reason,
    )


def _too_wide(ends: Ends) -> bool:
    """Whether an interval of a slope cannot tell whether probabilities agree with what was observed."""
    low, high = ends
    return low is not None and high is not None and not 0 < low <= high <= WIDEST_SLOPE * low


def _estimate(value: float | None, ends: Ends) -> Estimate:
    return Estimate(value=value, low=ends[0], high=ends[1])


def _change(test: Predictions, choice: Choice, bootstrap: Bootstrap) -> Estimate:
    """What the map adds to the log loss, on the same images."""
    if choice.map.changes_nothing:
        return Estimate(value=0.0)
    models = [choice.map(test.scores), test.scores]
    found = bootstrap.unless(test.few).of_models("log_loss", test, models).difference(0, 1)
    return Estimate(value=found.value, low=found.low, high=found.high)


def _judged(record: CalibrationRecord, change: Estimate) -> dict[str, Estimate | str]:
    """``change``, ``verdict`` and ``sentence`` of a record: nothing is called calibrated that the map made worse."""
    before, after = (record.splits["test"][step] for step in ("before", "after"))
    assert change.value is not None
    moved = numbers.magnitude(change.value, change.low, change.high)
    losses = f"from {numbers.score(before.log_loss)} to {numbers.score(after.log_loss)}"
    if change.value > NOTHING:
        said = f"The map made the log loss on the internal test worse, {losses}, by {moved}: do not read its"
        return {"change": change, "verdict": WORSE, "sentence": f"{said} probabilities as frequencies."}
    said = f"The map lowered the log loss on the internal test {losses}, by {moved}" if change.value else ""
    known = {name: one for name, one in after.agreement.items() if None not in (one.intercept.low, one.slope.low)}
    if apart := [f"{_words(one)} for {name}" for name, one in known.items() if one.apart]:
        verdict, then = DISAGREES, f"probabilities disagree with what was observed: {numbers.joined(apart)}"
    elif len(known) < len(after.agreement) or any(one.reason for one in known.values()):
        verdict, then = UNKNOWN, "whether probabilities agree with what was observed is not known"
        reasons = dict.fromkeys(one.reason for one in after.agreement.values() if one.reason)
        then += f" ({'; '.join(reasons)})" if reasons else ""
    else:
        verdict, then = AGREES, "calibrated as far as these images can tell: no interval"
        then += f", widened for {2 * len(known)} comparisons, misses perfect agreement"
    sentence = f"{said}; {then}." if said else f"{numbers.capital(then)}."
    return {"change": change, "verdict": verdict, "sentence": sentence}


def _words(one: ClassAgreement) -> str:
    """Those of intercept and slope that disagree."""
    told = {"intercept": (one.intercept, "0"), "slope": (one.slope, "1")}
    return numbers.joined(
        f"the {name} is {numbers.with_interval(it.value, it.low, it.high)} instead of {perfect}"
        for name, (it, perfect) in told.items()
        if name in one.apart
    )
