"""Every choice that the test split must not influence, made on validation and written down: best_model.json."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from bench.data.images.decode import Pixels
from bench.evaluation import familiar, in_worker
from bench.evaluation.by_patient import decide_by_patient
from bench.evaluation.inputs import CallAll, Decisions, EvaluationInputs, Secondary
from bench.evaluation.predictions import predictions_table
from bench.evaluation.secondary import choose_secondary
from bench.evaluation.thresholds import frozen_thresholds
from bench.models.backbones import get_backbone
from bench.models.export import TOLERANCE, ExportMismatch, fresh_process
from bench.models.metadata import write_with_card
from bench.run.documents import ModelCard, PlannedContrast, TrainingImages
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.tables import PREDICTIONS_VAL, Row, records, scores_in
from bench.stats.calibration import choose_map
from bench.stats.metrics import get_metric
from bench.stats.predictions import Predictions
from bench.trial import TrialConfig

CHECKED_IMAGES = 32
PROBABILITIES = "brier"
"""By which an exported file is compared with what was trained beside the metric, which may look at ranks alone."""


def decide(inputs: EvaluationInputs, run: RunDir, call_all: CallAll, provenance: ModelCard) -> Decisions:
    """Fix all that is fitted on validation predictions of the reloaded files, and write best_model.json.

    Raises:
        ExportMismatch: if the winner's reloaded file does not predict what the trained model did, or a fresh process
            disagrees.
    """
    finalists, rows = inputs.finalists, inputs.rows("val")
    done = records(finalists[(finalists["state"] == "completed") & finalists["representative"]])
    winner = next(row for row in done if row["winner"])
    name = winner["backbone"]
    images: Pixels = inputs.images[name].open()
    with fresh_process(run.best_model, images[rows[:CHECKED_IMAGES]]) as compare:  # starts while others are scored
        validation, training = _validation(done, inputs, run, call_all)
        predictions = validation[name]
        _check_score(winner, predictions, inputs, run)
        checked = predictions.scores[:CHECKED_IMAGES]
        difference = compare(checked)
    chosen = choose_map(predictions, inputs.class_weights, inputs.settings.seed)
    thresholds = frozen_thresholds(predictions, inputs.settings.target_sensitivity, inputs.bootstrap, chosen.map)
    decisions = _more(Decisions(name, chosen, thresholds, validation), inputs, run, call_all, provenance)
    candidates = {row["backbone"]: row["sha256"] for row in done}
    found = {
        "checked": {"images": len(checked), "largest_difference": difference},
        "candidates": candidates,
        "conformal": decisions.conformal,
        "training": training,
    }
    found |= _beside(decisions)
    write_card(_card(winner, decisions, inputs, run).model_copy(update=found), provenance, winner["model"], run)
    PREDICTIONS_VAL.write(run.path, predictions_table(inputs.table["image"].iloc[rows], predictions, chosen.map))
    return decisions


def write_card(decided: ModelCard, provenance: ModelCard, trained: str, run: RunDir) -> None:
    """Make best_model.h5 a copy of the winner's file ``trained`` that holds the card, and write best_model.json last.

    A crash in between leaves no best_model.json: the evaluation is not finished then, and is made anew.
    """
    card = ModelCard.model_validate(decided.content() | provenance.content())
    run.best_model_card.unlink(missing_ok=True)
    write_with_card(run.path / trained, run.best_model, card)
    write_json(run.best_model_card, card.model_copy(update={"sha256": file_sha256(run.best_model)}))


def _more(
    decisions: Decisions, inputs: EvaluationInputs, run: RunDir, call_all: CallAll, provenance: ModelCard
) -> Decisions:
    """``decisions`` with those about patients with several images, and about what is set beside the winner."""
    own = decisions.validation[decisions.winner]
    calibrated = own.with_scores(decisions.calibration.map(own.scores))
    return replace(
        decisions,
        by_patient=decide_by_patient(inputs, calibrated),
        secondary=choose_secondary(inputs, decisions, run, call_all, provenance),
    )


def _validation(
    representatives: Sequence[Row], inputs: EvaluationInputs, run: RunDir, call_all: CallAll
) -> tuple[dict[str, Predictions], TrainingImages]:
    """Backbone -> what its representative's file predicts for the validation images; one file each shares nothing.

    And what the training images are like to the winner, found out at the same time.
    """
    rows, names = inputs.rows("val"), [str(row["backbone"]) for row in representatives]
    order = sorted(range(len(names)), key=lambda place: -get_backbone(names[place]).cost[0])  # longest first
    models = [(run.path / row["model"]).absolute() for row in representatives]
    chosen = next(place for place, row in enumerate(representatives) if row["winner"])
    sampled = familiar.sample(inputs)
    parts = np.array_split(np.concatenate(sampled), familiar.PARTS)
    look = partial(in_worker.attempt, familiar.WHAT, in_worker.pooled, models[chosen], inputs.images[names[chosen]])
    found = call_all(
        [partial(in_worker.predict, models[place], inputs.images[names[place]], rows) for place in order]
        + [partial(look, part) for part in parts if len(part)]
    )
    scores, features = found[: len(order)], familiar.put_together(found[len(order) :])
    predicted = {names[place]: inputs.on_validation(one) for place, one in zip(order, scores, strict=True)}
    return {name: predicted[name] for name in names}, familiar.training_images(inputs, features, len(sampled[0]))


def _card(winner: Row, decisions: Decisions, inputs: EvaluationInputs, run: RunDir) -> ModelCard:
    """What best_model.json says of the ``winner``, a row of finalists.csv, and of the `decisions` about it."""
    settings = inputs.settings
    return ModelCard(
        file=run.best_model.name,
        trained=winner["sha256"],
        backbone=decisions.winner,
        repeat=winner["repeat"],
        classes=tuple(inputs.classes),
        ordinal=inputs.ordinal,
        input=inputs.taken_by(decisions.winner),
        config=asdict(TrialConfig.from_row(winner)),
        validation=scores_in(winner),
        threshold=decisions.threshold,
        thresholds=decisions.thresholds,
        calibration=decisions.calibration.map,
        primary_contrast=PlannedContrast(against="recipe", metric=settings.metric, margin=settings.margin),
    )


def _beside(decisions: Decisions) -> dict[str, Any]:
    """What best_model.json says of patients, of the ensemble and of averaged views; nothing of what is not there."""
    secondary = decisions.secondary or Secondary()
    found = {
        "by_patient": decisions.by_patient,
        "ensemble": secondary.ensemble,
        "averaged_views": secondary.views,
    }
    return {name: one for name, one in found.items() if one is not None}


def _check_score(winner: Row, predictions: Predictions, inputs: EvaluationInputs, run: RunDir) -> None:
    """The reloaded file must score what the trained model did: by the run's metric, and by its probabilities.

    Raises:
        ExportMismatch: if it does not.
    """
    rank = 1 / len(predictions)  # rounding may move an image's
    for metric, most in ((inputs.metric, max(10 * TOLERANCE, rank)), (get_metric(PROBABILITIES), 10 * TOLERANCE)):
        trained, reloaded = winner[f"metric_{metric.name}"], metric.compute(predictions.labels, predictions.scores)
        if not abs(trained - reloaded) <= most:
            raise ExportMismatch(
                f"{run.best_model} scores {metric.title} {reloaded:.4f} on validation, "
                f"but the model that was trained scored {trained:.4f}."
            )
