"""The last stage: decisions are fitted on validation and written down, then the test split is opened, once.

Only here are test images predicted; training never receives their row numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.decode import Pixels
from bench.data.splits import labels_of, rows_of
from bench.data.store import StoredImages
from bench.evaluation.calibration import apply_temperature, fit_temperature, youden_threshold
from bench.evaluation.scoring import DRAWS, LEVEL, score_model
from bench.metrics import Metric
from bench.models.export import TOLERANCE, ExportMismatch, as_json, check_in_fresh_process
from bench.rundir import RunDir, file_sha256, write_json, write_table

CHECKED_IMAGES = 32

Predict = Callable[[Path, StoredImages, npt.NDArray[np.int64]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Scene:
    """What the evaluation needs to know of the data.

    Attributes:
        table: a row an image: ``image``, ``label``, ``patient_narrow``, ``split``.
        classes: class names by index.
        images: backbone name -> the stored set at that backbone's size, rows as in ``table``.
        metric: the run's metric.
        seed: of the run.
        resize: how images become square.
    """

    table: pd.DataFrame
    classes: Sequence[str]
    images: Mapping[str, StoredImages]
    metric: Metric
    seed: int
    resize: str = "squash"

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of a split."""
        return rows_of(self.table, split)

    def labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class indices of some rows."""
        return labels_of(self.table, rows, self.classes)


def decide(
    scene: Scene, finalists: pd.DataFrame, run: RunDir, predict: Predict, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """Fix all that is fitted on validation predictions of the winner's reloaded file, and write best_model.json.

    Args:
        scene: the data.
        finalists: finalists.csv with the winner marked.
        run: the run folder.
        predict: predicts with an exported file, usually in a worker.
        provenance: what best_model.json says of the run.

    Returns:
        the content of best_model.json.

    Raises:
        ExportMismatch: if the reloaded file does not predict what the trained model did, or a fresh process disagrees.
    """
    winner = finalists[finalists["winner"]].iloc[0]
    name = str(winner["backbone"])
    stored, rows = scene.images[name], scene.rows("val")
    scores = predict(run.best_model, stored, rows)
    labels = scene.labels(rows)
    trained, reloaded = float(winner[f"metric_{scene.metric.name}"]), scene.metric.compute(labels, scores)
    if not abs(trained - reloaded) <= 10 * TOLERANCE:
        raise ExportMismatch(
            f"{run.best_model} scores {scene.metric.title} {reloaded:.4f} on validation, "
            f"but the model that was trained scored {trained:.4f}."
        )
    images: Pixels = stored.open()
    difference = check_in_fresh_process(run.best_model, images[rows[:CHECKED_IMAGES]], scores[:CHECKED_IMAGES])
    threshold = None
    if len(scene.classes) == 2:
        value = youden_threshold(labels == 1, scores[:, 1])
        threshold = {"class": scene.classes[1], "value": value, "rule": "Youden index on validation"}
    content = as_json(
        {
            "file": run.best_model.name,
            "sha256": file_sha256(run.best_model),
            "backbone": name,
            "classes": list(scene.classes),
            "input": {
                "height": stored.size,
                "width": stored.size,
                "channels": stored.channels,
                "range": [0, 255],
                "resize": scene.resize,
            },
            "config": {
                str(key).removeprefix("config_"): None if pd.isna(value) else value
                for key, value in winner.items()
                if str(key).startswith("config_")
            },
            "validation": {
                str(key).removeprefix("metric_"): winner[key] for key in winner.index if str(key).startswith("metric_")
            },
            "threshold": threshold,
            "temperature": fit_temperature(labels, scores),
            "checked": {"images": len(scores[:CHECKED_IMAGES]), "largest_difference": difference},
            **provenance,
        }
    )
    write_json(run.best_model_card, content)
    return dict(content)


def open_test(
    scene: Scene,
    finalists: pd.DataFrame,
    run: RunDir,
    predict: Predict,
    decisions: Mapping[str, Any],
    opened: Sequence[str],
) -> dict[str, Any]:
    """Open the test split: score every finalist on it, write predictions_test.csv and evaluation.json.

    Args:
        scene: the data.
        finalists: finalists.csv with the winner marked.
        run: the run folder.
        predict: predicts with an exported file.
        decisions: what `decide` returned; nothing in it is changed here.
        opened: when the test split was opened, this time included: ISO times.

    Returns:
        the content of evaluation.json.
    """
    rows = scene.rows("test")
    labels, part = scene.labels(rows), scene.table.iloc[rows]
    patients = part["patient_narrow"].to_numpy()
    models: dict[str, Any] = {}
    winners = np.empty((0, len(scene.classes)), np.float32)
    files = {}
    for row in finalists[finalists["state"] == "completed"].to_dict("records"):
        name = str(row["backbone"])
        files[name] = row["sha256"]
        scores = predict(run.path / row["model"], scene.images[name], rows)
        models[name] = score_model(labels, scores, patients, scene.classes, scene.seed)
        if row["winner"]:
            winners = scores
    calibrated = apply_temperature(winners, float(decisions["temperature"]))
    table = part[["image", "label"]].assign(patient=patients)
    for index, name in enumerate(scene.classes):
        table[f"prob_{name}"] = winners[:, index]
    for index, name in enumerate(scene.classes):
        table[f"calibrated_{name}"] = calibrated[:, index]
    write_table(run.predictions_test, table)
    content: dict[str, Any] = as_json(
        {
            "opened": list(opened),
            "images": len(rows),
            "patients": int(part["patient_narrow"].nunique()),
            "classes": list(scene.classes),
            "winner": decisions["backbone"],
            "temperature": decisions["temperature"],
            "threshold": decisions["threshold"],
            "bootstrap": {"draws": DRAWS, "level": LEVEL, "unit": "patient"},
            "files": files,
            "models": models,
        }
    )
    write_json(run.evaluation, content)
    return content
