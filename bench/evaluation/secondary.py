"""What is set beside the winner apart from the comparisons: the ensemble, and the mean over augmented copies.

Neither belongs to the families that are Holm-corrected, so no other number depends on them. Each has the difference
from the winner on the same images, of calibrated probabilities both, with its interval, and its cost.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from bench.evaluation import ensembles, test_time
from bench.evaluation.by_patient import frozen_points
from bench.evaluation.inputs import CallAll, Decisions, EvaluationInputs, ScoredModel, Secondary
from bench.evaluation.predictions import predictions_table
from bench.evaluation.scoring import score_model
from bench.evaluation.test_access import OpenTest
from bench.failures import told
from bench.numbers import factor, magnitude
from bench.run.courses import kept_images
from bench.run.documents import Cost, Estimate, SecondaryModel, Threshold
from bench.run.folder import RunDir
from bench.run.tables import PREDICTIONS_SECONDARY
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import Metric, Scores, get_metric
from bench.stats.predictions import Predictions

ENSEMBLE, TTA = "ensemble", "tta"
SAME_SIZE = 0.05
"""Files whose sizes differ by less than this share are of one size."""


def choose_secondary(inputs: EvaluationInputs, decisions: Decisions, run: RunDir, call_all: CallAll) -> Secondary:
    """Choose the members of the ensemble, write it, and score averaged views, all on validation."""
    known = ensembles.Known(decisions.winner, decisions.calibration.map, decisions.validation)
    choice, averaged = ensembles.choose_ensemble(inputs, run, known)
    choice = ensembles.export_ensemble(choice, inputs, run, known, call_all)
    if not inputs.settings.tta:
        return Secondary(choice, averaged)
    return Secondary(choice, averaged, *test_time.averaged_views(inputs, decisions, run, call_all))


@dataclass(frozen=True)
class _Beside:
    """The winner's calibrated probabilities of the test images, and by what others are set beside it."""

    winner: Predictions
    metric: Metric
    bootstrap: Bootstrap

    def row(
        self, about: SecondaryModel, test: Predictions, validation: Predictions, thresholds: tuple[Threshold, ...]
    ) -> SecondaryModel:
        """Scores, difference and operating points of one."""
        possible = not (self.metric.needs_all_classes and test.missing_classes)
        found = about.model_copy(
            update={
                "metric": self.metric.name,
                "winner": self.metric.compute(test.labels, self.winner.scores) if possible else None,
                "difference": self._difference(test) if possible else Estimate(reason=test.missing_classes),
                "scores": score_model(test, self.bootstrap),
                "points": frozen_points(test, thresholds, self.bootstrap.unless(test.few), validation),
            }
        )
        return found.model_copy(update={"sentence": sentence(found)})

    def _difference(self, test: Predictions) -> Estimate:
        few = test.few_for(self.metric)
        models = [test.scores, self.winner.scores]
        one = self.bootstrap.unless(few).of_models(self.metric.name, test, models).difference(0, 1)
        return Estimate(value=one.value, low=one.low, high=one.high, reason=few)


def score_secondary(
    inputs: EvaluationInputs,
    decisions: Decisions,
    models: Mapping[str, ScoredModel],
    test: OpenTest,
    run: RunDir,
    call_all: CallAll,
) -> tuple[SecondaryModel, ...]:
    """What evaluation.json says of both, and predictions_secondary.csv, which is written."""
    chosen, name = decisions.secondary or Secondary(), decisions.winner
    own = models[name].predictions
    calibrate, validation = decisions.calibration.map, decisions.validation[name]
    beside = _Beside(own.with_scores(calibrate(own.scores)), inputs.metric, inputs.bootstrap)
    found: list[SecondaryModel] = []
    kept: list[tuple[str, str, pd.Series, Predictions]] = []
    names = {"val": inputs.table["image"].iloc[inputs.rows("val")], "test": test.table["image"]}

    def add(kind: str, about: SecondaryModel, on_test: Scores, on_val: Predictions, val_names: pd.Series,
            thresholds: tuple[Threshold, ...]) -> None:  # fmt: skip
        tested = own.with_scores(on_test)
        found.append(beside.row(about, tested, on_val, thresholds))
        kept.extend([(kind, "val", val_names, on_val), (kind, "test", names["test"], tested)])

    if (ensemble := chosen.ensemble) is not None:
        about = SecondaryModel(kind=ENSEMBLE, reason=ensemble.reason)
        if ensemble.members and chosen.of_ensemble is not None:
            about = SecondaryModel(kind=ENSEMBLE, title=ensembles.title(ensemble), cost=ensembles.cost_of(run))
            rows = kept_images(len(validation))
            on_val = validation.part(rows).with_scores(chosen.of_ensemble)
            on_test = ensembles.averaged(ensemble, models)
            add(ENSEMBLE, about, on_test, on_val, names["val"].iloc[rows], ensemble.frozen)
        else:
            found.append(about.model_copy(update={"sentence": sentence(about)}))
    if (views := chosen.views) is not None:
        about = SecondaryModel(kind=TTA, title=test_time.title(views), reason=views.reason)
        try:
            on_test = None
            if chosen.of_views is not None:
                on_test = test_time.views_on_test(inputs, decisions, run, test.rows, test.images[name], call_all)
        except Exception as error:
            about = about.model_copy(update={"reason": told(error)})
        if on_test is not None and chosen.of_views is not None:
            cost = Cost(time=float((views.views or 0) + 1), size=1.0)
            about = about.model_copy(update={"cost": cost})
            add(TTA, about, on_test, validation.with_scores(chosen.of_views), names["val"], views.frozen)
        else:
            found.append(about.model_copy(update={"sentence": sentence(about)}))
    if kept:
        tables = [predictions_table(images, one).assign(model=kind, split=split) for kind, split, images, one in kept]
        PREDICTIONS_SECONDARY.write(run.path, pd.concat(tables, ignore_index=True))
    return tuple(found)


def sentence(one: SecondaryModel) -> str:
    """Whether it is worth its cost."""
    what = "ensemble" if one.kind == ENSEMBLE else "mean over augmented copies"
    if one.reason:
        return f"There is no {what}: {one.reason.rstrip('.')}."
    metric, difference = get_metric(one.metric), one.difference
    if difference.value is None:
        return f"Whether the {what} is worth its cost cannot be said: {difference.reason.rstrip('.')}."
    gained = difference.value if metric.higher_is_better else -difference.value
    by = magnitude(difference.value, difference.low, difference.high)
    price = _price(one.cost)
    if difference.low is None or difference.high is None:
        why = difference.reason.rstrip(".") or "all draws give the same difference"
        return (
            f"Whether the {what} is worth its cost cannot be said: {metric.words} differs by {by}, without an interval "
            f"({why}); {price}."
        )
    if difference.low <= 0 <= difference.high:
        return (
            f"The {what} is not shown to be worth its cost: {metric.words} differs from the winner’s by {by}; {price}."
        )
    if gained > 0:
        return f"The {what} is better than the winner, {metric.words} by {by}, for its cost: {price}."
    return f"The {what} is worse than the winner, {metric.words} by {by}; {price}."


def _price(cost: Cost | None) -> str:
    if cost is None or cost.time is None:
        return "what it costs is not known"
    size = f", the file is {factor(cost.size)} as large" if cost.size and abs(cost.size - 1) > SAME_SIZE else ""
    return f"an image takes {factor(cost.time)} as long{size}"
