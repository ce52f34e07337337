"""What is set beside the winner apart from the comparisons: the ensemble, and the mean over augmented copies.

Neither belongs to the families that are Holm-corrected, so no other number depends on them. Each has the difference
from the winner on the same images, of calibrated probabilities both, with its interval, and its cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.disk import pass_on_full_disk
from bench.evaluation import ensembles, test_time
from bench.evaluation.by_patient import frozen_points
from bench.evaluation.inputs import CallAll, Decisions, EvaluationInputs, ScoredModel, Secondary
from bench.evaluation.predictions import predictions_table
from bench.evaluation.scoring import score_model
from bench.evaluation.test_access import OpenTest
from bench.failures import told
from bench.numbers import factor, magnitude
from bench.run.courses import kept_images
from bench.run.documents import Cost, Estimate, ModelCard, SecondaryModel, Threshold
from bench.run.folder import RunDir
from bench.run.tables import PREDICTIONS_SECONDARY
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import Metric, get_metric
from bench.stats.predictions import Predictions

ENSEMBLE, TTA = "ensemble", "tta"
SAME_SIZE = 0.05
"""Files whose sizes differ by less than this share are of one size."""


def choose_secondary(
    inputs: EvaluationInputs,
    decisions: Decisions,
    run: RunDir,
    call_all: CallAll,
    provenance: ModelCard | None = None,
) -> Secondary:
    """Choose the members of the ensemble, write it, and score averaged views, all on validation.

    Args:
        inputs: of the evaluation.
        decisions: about the winner.
        run: the run folder.
        call_all: runs calls in workers.
        provenance: what the ensemble's file says of run, data and weights.
    """
    known = ensembles.Known(
        decisions.winner, decisions.calibration.map, decisions.validation, provenance or ModelCard()
    )
    choice, averaged = ensembles.choose_ensemble(inputs, run, known)
    choice = ensembles.export_ensemble(choice, averaged, inputs, run, known, call_all)
    if not inputs.settings.tta:
        return Secondary(choice, averaged)
    return Secondary(choice, averaged, *test_time.averaged_views(inputs, decisions, run, call_all))


@dataclass(frozen=True)
class _Row:
    """One of them, with its probabilities of validation (some of whose images may be left out) and of test."""

    about: SecondaryModel
    validation: Predictions
    images: pd.Series
    test: Predictions
    thresholds: tuple[Threshold, ...]


def score_secondary(
    inputs: EvaluationInputs,
    decisions: Decisions,
    models: Mapping[str, ScoredModel],
    test: OpenTest,
    run: RunDir,
    call_all: CallAll,
) -> tuple[SecondaryModel, ...]:
    """What evaluation.json says of both, and predictions_secondary.csv, which is written."""
    chosen, own = decisions.secondary or Secondary(), models[decisions.winner].predictions
    winner = own.with_scores(decisions.calibration.map(own.scores))
    rows: list[_Row | SecondaryModel] = []
    if chosen.ensemble is not None:
        rows.append(_ensemble(inputs, decisions, models, run))
    if chosen.views is not None:
        rows.append(_views(inputs, decisions, own, test, run, call_all))
    kept = [one for one in rows if isinstance(one, _Row)]
    if kept:
        tables = [
            predictions_table(names, predictions).assign(model=row.about.kind, split=split)
            for row in kept
            for split, names, predictions in (
                ("val", row.images, row.validation),
                ("test", test.table["image"], row.test),
            )
        ]
        PREDICTIONS_SECONDARY.write(run.path, pd.concat(tables, ignore_index=True))
    found = [_scored(one, winner, inputs) if isinstance(one, _Row) else one for one in rows]
    return tuple(one.model_copy(update={"sentence": sentence(one)}) for one in found)


def _ensemble(
    inputs: EvaluationInputs, decisions: Decisions, models: Mapping[str, ScoredModel], run: RunDir
) -> _Row | SecondaryModel:
    assert decisions.secondary is not None and decisions.secondary.ensemble is not None
    choice, scores = decisions.secondary.ensemble, decisions.secondary.of_ensemble
    if not choice.members or scores is None:
        return SecondaryModel(kind=ENSEMBLE, reason=choice.reason)
    validation, own = decisions.validation[decisions.winner], models[decisions.winner].predictions
    kept = kept_images(len(validation))
    return _Row(
        about=SecondaryModel(kind=ENSEMBLE, title=ensembles.title(choice), cost=ensembles.cost_of(run)),
        validation=validation.part(kept).with_scores(scores),
        images=inputs.table["image"].iloc[inputs.rows("val")[kept]],
        test=own.with_scores(ensembles.averaged(choice, models)),
        thresholds=choice.frozen,
    )


def _views(
    inputs: EvaluationInputs, decisions: Decisions, own: Predictions, test: OpenTest, run: RunDir, call_all: CallAll
) -> _Row | SecondaryModel:
    assert decisions.secondary is not None and decisions.secondary.views is not None
    choice, scores = decisions.secondary.views, decisions.secondary.of_views
    about = SecondaryModel(kind=TTA, title=test_time.title(choice), reason=choice.reason)
    if scores is None:
        return about
    stored = test.images[decisions.winner]
    try:
        tested = test_time.mean_over_views(inputs, decisions, run, test.rows, stored, call_all)
    except Exception as error:  # it decides nothing, and so ends nothing
        pass_on_full_disk(error)
        return about.model_copy(update={"reason": told(error)})
    return _Row(
        about=about.model_copy(update={"cost": Cost(time=float((choice.views or 0) + 1), size=1.0)}),
        validation=decisions.validation[decisions.winner].with_scores(scores),
        images=inputs.table["image"].iloc[inputs.rows("val")],
        test=own.with_scores(tested),
        thresholds=choice.frozen,
    )


def _scored(row: _Row, winner: Predictions, inputs: EvaluationInputs) -> SecondaryModel:
    """Scores, operating points and the difference from the ``winner``'s calibrated probabilities."""
    metric, bootstrap, test = inputs.metric, inputs.bootstrap, row.test
    missing = test.missing_classes if metric.needs_all_classes else ""
    about = {
        "metric": metric.name,
        "winner": None if missing else metric.compute(test.labels, winner.scores),
        "difference": Estimate(reason=missing) if missing else _difference(test, winner, metric, bootstrap),
        "scores": score_model(test, bootstrap),
        "points": frozen_points(test, row.thresholds, bootstrap.unless(test.few), row.validation),
    }
    return row.about.model_copy(update=about)


def _difference(test: Predictions, winner: Predictions, metric: Metric, bootstrap: Bootstrap) -> Estimate:
    few = test.few_for(metric)
    models = [test.scores, winner.scores]
    one = bootstrap.unless(few).of_models(metric.name, test, models, jackknife=False).difference(0, 1)
    return Estimate(value=one.value, low=one.low, high=one.high, reason=few)


def sentence(one: SecondaryModel) -> str:
    """Whether it is worth its cost."""
    what = "ensemble" if one.kind == ENSEMBLE else "mean over augmented copies"
    if one.reason:
        reason = one.reason.rstrip(".")
        return (
            f"There is no {what}: {reason}."
            if one.kind == ENSEMBLE
            else f"Augmented copies were not averaged: {reason}."
        )
    metric, difference = get_metric(one.metric), one.difference
    if difference.value is None:
        return f"Whether the {what} is worth its cost cannot be said: {difference.reason.rstrip('.')}."
    side = "above" if difference.value >= 0 else "below"
    by = magnitude(difference.value, difference.low, difference.high)
    told, price = f"its {metric.words} is {by} {side} the winner’s", _price(one.cost)
    if difference.low is None or difference.high is None:
        why = difference.reason.rstrip(".") or "all draws give the same difference"
        return f"Whether the {what} is worth its cost cannot be said: {told}, without an interval ({why}); {price}."
    if difference.low <= 0 <= difference.high:
        return f"The {what} is not shown to be worth its cost: {told}; {price}."
    better = (difference.value > 0) == metric.higher_is_better
    return f"The {what} is {'better' if better else 'worse'} than the winner: {told}; {price}."


def _price(cost: Cost | None) -> str:
    if cost is None or cost.time is None:
        return "what it costs is not known"
    size = f", the file is {factor(cost.size)} as large" if cost.size and abs(cost.size - 1) > SAME_SIZE else ""
    return f"an image takes {factor(cost.time)} as long{size}"
