"""Every choice that the test split must not influence, made on validation and written down: best_model.json."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pandas as pd

from bench.data.images.decode import Pixels
from bench.evaluation import in_worker
from bench.evaluation.calibration import fit_temperature, frozen_threshold
from bench.evaluation.inputs import Call, Decisions, EvaluationInputs
from bench.evaluation.predictions import predictions_table
from bench.models.export import TOLERANCE, ExportMismatch, as_json, check_in_fresh_process
from bench.run.folder import RunDir, file_sha256, write_json
from bench.run.tables import PREDICTIONS_VAL
from bench.stats.metrics import one_vs_rest
from bench.stats.predictions import Predictions

CHECKED_IMAGES = 32


def decide(inputs: EvaluationInputs, run: RunDir, call: Call, provenance: Mapping[str, Any]) -> Decisions:
    """Fix all that is fitted on validation predictions of the reloaded files, and write best_model.json.

    Args:
        inputs: the data, finalists.csv and settings.
        run: the run folder; predictions_val.csv is written too.
        call: calls a function in a worker.
        provenance: what best_model.json says of the run.

    Raises:
        ExportMismatch: if the winner's reloaded file does not predict what the trained model did, or a fresh process
            disagrees.
    """
    finalists, rows = inputs.finalists, inputs.rows("val")
    done = finalists[(finalists["state"] == "completed") & finalists["representative"]].to_dict("records")
    validation = {}
    for row in done:
        name, model = str(row["backbone"]), (run.path / str(row["model"])).absolute()
        validation[name] = inputs.on_validation(call(in_worker.predict, model, inputs.images[name], rows))
    winner = finalists[finalists["winner"]].iloc[0]
    name = str(winner["backbone"])
    predictions, stored = validation[name], inputs.images[name]
    _check_score(winner, predictions, inputs, run)
    images: Pixels = stored.open()
    checked = predictions.scores[:CHECKED_IMAGES]
    difference = check_in_fresh_process(run.best_model, images[rows[:CHECKED_IMAGES]], checked)
    temperature = fit_temperature(predictions.labels, predictions.scores)
    thresholds = _thresholds(predictions, inputs.settings.target_sensitivity)
    content = as_json(
        {
            "file": run.best_model.name,
            "sha256": file_sha256(run.best_model),
            "backbone": name,
            "repeat": int(winner["repeat"]),
            "classes": list(inputs.classes),
            "input": {
                "height": stored.size,
                "width": stored.size,
                "channels": stored.channels,
                "range": [0, 255],
                "resize": inputs.settings.resize,
                "window": asdict(inputs.window) if inputs.window else None,
            },
            "config": {key: None if pd.isna(value) else value for key, value in _prefixed(winner, "config_").items()},
            "validation": _prefixed(winner, "metric_"),
            "threshold": thresholds[0] if len(inputs.classes) == 2 else None,
            "thresholds": thresholds,
            "temperature": temperature,
            "checked": {"images": len(checked), "largest_difference": difference},
            "candidates": {str(row["backbone"]): row["sha256"] for row in done},
            **provenance,
        }
    )
    write_json(run.best_model_card, content)
    PREDICTIONS_VAL.write(run.path, predictions_table(inputs.table["image"].iloc[rows], predictions, temperature))
    return Decisions(content, validation)


def _check_score(winner: pd.Series, predictions: Predictions, inputs: EvaluationInputs, run: RunDir) -> None:
    """The reloaded file must score what the trained model did.

    Raises:
        ExportMismatch: if it does not.
    """
    metric = inputs.metric
    trained, reloaded = float(winner[f"metric_{metric.name}"]), metric.compute(predictions.labels, predictions.scores)
    if not abs(trained - reloaded) <= 10 * TOLERANCE:
        raise ExportMismatch(
            f"{run.best_model} scores {metric.title} {reloaded:.4f} on validation, "
            f"but the model that was trained scored {trained:.4f}."
        )


def _prefixed(row: pd.Series, prefix: str) -> dict[str, Any]:
    return {str(key).removeprefix(prefix): value for key, value in row.items() if str(key).startswith(prefix)}


def _thresholds(predictions: Predictions, target_sensitivity: float | None) -> list[dict[str, object]]:
    """The frozen threshold of the positive class or, of several classes, of each against the rest."""
    found = []
    for index in one_vs_rest(len(predictions.classes)):
        one = predictions.against_rest(index)
        value, rule = frozen_threshold(one.positive, one.scores, target_sensitivity)
        found.append({"class": one.name, "value": value, "rule": rule})
    return found
