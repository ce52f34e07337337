"""Predictions by patient, where patients have several images: the rule is chosen on validation, the test scored once.

Calibrated probabilities of the images are aggregated, since rules such as noisy-or ask for probabilities. What comes of
that is not calibrated (a maximum is too large on average): it gets a calibration map and a threshold of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.evaluation.inputs import Decisions, EvaluationInputs
from bench.evaluation.operating_points import operating_points
from bench.evaluation.scoring import score_model
from bench.evaluation.thresholds import frozen_thresholds
from bench.numbers import count, counted, with_interval
from bench.run.documents import Estimate, FrozenPoint, PatientLevel, PatientScores, RuleScore, Threshold
from bench.run.folder import RunDir
from bench.run.results import rank
from bench.run.tables import PREDICTIONS_PATIENTS, records
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap, choose_map
from bench.stats.metrics import Metric, brier, get_metric, log_loss
from bench.stats.patients import RULES, TOP, Grouped, by_patient
from bench.stats.predictions import Predictions


def several_images(inputs: EvaluationInputs) -> bool:
    """Whether a patient of validation or test has several images."""
    return any(
        bool(inputs.table["patient_id"].iloc[inputs.rows(split)].duplicated().any()) for split in ("val", "test")
    )


@dataclass(frozen=True)
class Choosing:
    """By what a rule is chosen and a threshold frozen.

    Attributes:
        metric: the run's.
        target: sensitivity that the threshold is to reach; None for Youden's index.
        bootstrap: of the threshold; its seed deals the folds of the calibration map, too.
    """

    metric: Metric
    target: float | None
    bootstrap: Bootstrap


def decide_by_patient(
    inputs: EvaluationInputs, calibrated: Predictions, rows: npt.NDArray[np.int64] | None = None
) -> PatientLevel | None:
    """`patient_level` of a run; None where no patient of validation and test has several images.

    Args:
        inputs: what is known before the test split is opened.
        calibrated: a model's calibrated probabilities of validation images.
        rows: numbers of these images in the table, shape (n_images,); None for all of validation.
    """
    if not several_images(inputs):
        return None
    how = Choosing(inputs.metric, inputs.settings.target_sensitivity, inputs.bootstrap)
    level = patient_level(calibrated, _patients(inputs.table, inputs.rows("val") if rows is None else rows), how)
    return level if level.patients else None


def _patients(table: pd.DataFrame, rows: npt.NDArray[np.int64]) -> pd.Series:
    return table["patient_id"].iloc[rows]


def score_by_patient(
    inputs: EvaluationInputs, decisions: Decisions, tested: Predictions, test: pd.DataFrame, run: RunDir
) -> PatientScores | None:
    """What evaluation.json says by patient, and predictions_patients.csv, which is written; None where it is neither.

    Args:
        inputs: of the evaluation.
        decisions: made on validation.
        tested: the winner's predictions of the test images.
        test: their rows of the table.
        run: the run folder.
    """
    level, calibrate = decisions.by_patient, decisions.calibration.map
    if level is None:
        return None
    own = decisions.validation[decisions.winner]
    splits = {
        "val": Split(own.with_scores(calibrate(own.scores)), _patients(inputs.table, inputs.rows("val"))),
        "test": Split(tested.with_scores(calibrate(tested.scores)), test["patient_id"]),
    }
    found = patient_scores(level, splits["val"], splits["test"], inputs.bootstrap)
    if found is not None:
        PREDICTIONS_PATIENTS.write(run.path, patients_table(level, splits))
    return found


def patient_level(validation: Predictions, patients: pd.Series, choosing: Choosing) -> PatientLevel:
    """The rule that is best on validation by patient, ties by log loss, then in the order of `RULES`.

    Args:
        validation: calibrated probabilities of the images.
        patients: of each image.
        choosing: by what is chosen.
    """
    metric = choosing.metric
    grouped = {rule: by_patient(validation, patients.to_numpy(str), rule) for rule in RULES}
    first = grouped["mean"]
    reason = _reason(first, metric)
    scored = {} if reason else {rule: _scores(one.predictions, metric) for rule, one in grouped.items()}
    rule = min(scored, key=lambda name: rank(metric, scored[name])) if scored else "mean"
    chosen = grouped[rule].predictions
    calibration = choose_map(chosen, seed=choosing.bootstrap.seed)
    thresholds = frozen_thresholds(chosen, choosing.target, choosing.bootstrap, calibration.map)
    return PatientLevel(
        rule=rule,
        metric=metric.name,
        top=TOP,
        candidates=tuple(
            RuleScore(rule=name, score=one[metric.name], log_loss=one["log_loss"]) for name, one in scored.items()
        ),
        patients=len(first.names),
        several=first.several,
        left_out=first.left_out,
        calibration=calibration.map,
        uncalibrated=calibration.reason,
        threshold=thresholds[0] if len(thresholds) == 1 else None,
        thresholds=thresholds,
        reason=reason,
    )


def _reason(grouped: Grouped, metric: Metric) -> str:
    """Why rules cannot be told apart by a score; empty if they can."""
    if not grouped.several:
        return "no validation patient whose images have one label has several of them"
    return grouped.predictions.missing_classes if metric.needs_all_classes else ""


def _scores(predictions: Predictions, metric: Metric) -> dict[str, float]:
    labels, scores = predictions.labels, predictions.scores
    return {metric.name: metric.compute(labels, scores), "log_loss": log_loss(labels, scores)}


@dataclass(frozen=True)
class Split:
    """Calibrated probabilities of the images of a split, and their patients."""

    predictions: Predictions
    patients: pd.Series

    def grouped(self, rule: str) -> Grouped:
        """By patient."""
        return by_patient(self.predictions, self.patients.to_numpy(str), rule)


def patient_scores(level: PatientLevel, validation: Split, test: Split, bootstrap: Bootstrap) -> PatientScores | None:
    """What evaluation.json says by patient; None where no test patient that can be used has several images."""
    before, found = validation.grouped(level.rule), test.grouped(level.rule)
    if not found.several:
        return None
    predictions, calibrate = found.predictions, level.map or CalibrationMap()
    mapped = calibrate(predictions.scores)
    own = bootstrap.unless(predictions.few)
    scores = score_model(predictions, own)
    record = PatientScores(
        decided=level,
        images=int(found.images.sum()),
        patients=len(found.names),
        several=found.several,
        left_out=found.left_out,
        left_out_images=found.left_out_images,
        scores=scores,
        after={"log_loss": log_loss(predictions.labels, mapped), "brier": brier(predictions.labels, mapped)},
        points=frozen_points(predictions, level.frozen, own, before.predictions),
    )
    return record.model_copy(update={"sentence": _sentence(record, level)})


def frozen_points(
    predictions: Predictions, thresholds: Sequence[Threshold], bootstrap: Bootstrap, validation: Predictions
) -> tuple[FrozenPoint, ...]:
    """Sensitivity and specificity at frozen thresholds, with intervals, as operating_points.csv has those of images."""
    table, _ = operating_points(predictions, thresholds, bootstrap, validation)
    rows = {(row["class"], row["measure"]): row for row in records(table) if row["point"] == "frozen"}

    def estimate(label: str, measure: str) -> Estimate:
        row = rows.get((label, measure), {})
        return Estimate(
            value=row.get("value"), low=row.get("low"), high=row.get("high"), reason=row.get("reason") or ""
        )

    return tuple(
        FrozenPoint(
            label=one.label,
            threshold=one.value,
            sensitivity=estimate(one.label, "sensitivity"),
            specificity=estimate(one.label, "specificity"),
        )
        for one in thresholds
    )


def _sentence(record: PatientScores, level: PatientLevel) -> str:
    metric = get_metric(level.metric)
    assert record.scores is not None
    one = record.scores.metrics[metric.name]
    several = f"{count(record.several)} of them with several images"
    said = f"By patient ({counted(record.patients, 'patient')}, {several})"
    score = "" if one.value is None else f", {metric.title} is {with_interval(one.value, one.low, one.high)}"
    left = ""
    if record.left_out:
        verb = "is" if record.left_out == 1 else "are"
        left = (
            f" {counted(record.left_out, 'patient')} whose images have different labels {verb} left out: which of them "
            "the patient counts as would be a clinical assumption."
        )
    return f"{said}, images aggregated by {RULE_WORDS[level.rule]}{score}.{left}"


RULE_WORDS = {
    "mean": "their mean",
    "maximum": "the maximum",
    "noisy-or": "noisy-or",
    "top": f"the mean of the {TOP} largest",
}
"""Rules inside a sentence."""


def patients_table(level: PatientLevel, splits: dict[str, Split]) -> pd.DataFrame:
    """predictions_patients.csv: one row per patient of validation and test that is used."""
    calibrate, parts = level.map or CalibrationMap(), []
    for name, split in splits.items():
        found = split.grouped(level.rule)
        one, classes = found.predictions, found.predictions.classes
        calibrated = calibrate(one.scores)
        columns = {
            "split": name,
            "patient": found.names,
            "label": np.array(classes, dtype=object)[one.labels],
            "images": found.images,
        }
        columns |= {f"prob_{label}": one.scores[:, index] for index, label in enumerate(classes)}
        columns |= {f"calibrated_{label}": calibrated[:, index] for index, label in enumerate(classes)}
        parts.append(pd.DataFrame(columns))
    return PREDICTIONS_PATIENTS.frame(pd.concat(parts, ignore_index=True))
