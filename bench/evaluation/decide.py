"""Every choice that the test split must not influence, made on validation and written down: best_model.json."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.decode import Pixels
from bench.data.images.store import StoredImages
from bench.data.images.window import Window
from bench.data.splits import labels_of, rows_of, units_of
from bench.evaluation.calibration import apply_temperature, fit_temperature, frozen_threshold
from bench.models.export import TOLERANCE, ExportMismatch, as_json, check_in_fresh_process
from bench.run.folder import RunDir, file_sha256, write_json, write_table
from bench.stats.metrics import Metric

CHECKED_IMAGES = 32


Predict = Callable[[Path, StoredImages, npt.NDArray[np.int64]], npt.NDArray[np.float32]]
"""Class probabilities that an exported file gives for some rows of a stored set, usually in a worker."""


@dataclass(frozen=True)
class Scene:
    """What the evaluation knows before the test split is opened.

    Attributes:
        table: a row an image: ``image``, ``label`` (empty for test images), ``patient_id``, ``split``.
        facts: a row an image, columns as in `bench.data.images.decode.Facts`.
        classes: class names by index.
        images: backbone name -> the stored set at that backbone's size, rows as in ``table``, test images sealed.
        metric: the run's metric.
        seed: of the run.
        draws: bootstrap draws.
        resize: how images become square.
        window: what all images of more than 8 bits went through; None if each had its own, or there are none.
        target_sensitivity: what the frozen operating point must reach on validation; None for Youden's index.
    """

    table: pd.DataFrame
    facts: pd.DataFrame
    classes: Sequence[str]
    images: Mapping[str, StoredImages]
    metric: Metric
    seed: int
    draws: int = 2000
    resize: str = "squash"
    window: Window | None = None
    target_sensitivity: float | None = None

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """Row numbers of a split."""
        return rows_of(self.table, split)

    def labels(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class indices of some rows, none of them in test."""
        return labels_of(self.table, rows, self.classes)

    def patients(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Patient of each of some rows, as `bench.data.splits.units` tells them apart."""
        return np.asarray(units_of(self.table).iloc[rows])


@dataclass(frozen=True)
class Decisions:
    """What was decided.

    Attributes:
        card: the content of best_model.json.
        validation: backbone -> what its representative's reloaded file predicts for the validation images.
    """

    card: Mapping[str, Any]
    validation: Mapping[str, npt.NDArray[np.float32]]

    @property
    def winner(self) -> str:
        """Name of the winning backbone."""
        return str(self.card["backbone"])

    @property
    def temperature(self) -> float:
        """Of the winner."""
        return float(self.card["temperature"])

    @property
    def thresholds(self) -> dict[str, tuple[float, str]]:
        """Class -> frozen threshold and the rule that gave it."""
        return {one["class"]: (one["value"], one["rule"]) for one in self.card["thresholds"]}


def decide(
    scene: Scene, finalists: pd.DataFrame, run: RunDir, predict: Predict, provenance: Mapping[str, Any]
) -> Decisions:
    """Fix all that is fitted on validation predictions of the reloaded files, and write best_model.json.

    Args:
        scene: the data.
        finalists: finalists.csv with representatives and the winner marked.
        run: the run folder; predictions_val.csv is written too.
        predict: predicts with an exported file, usually in a worker.
        provenance: what best_model.json says of the run.

    Raises:
        ExportMismatch: if the winner's reloaded file does not predict what the trained model did, or a fresh process
            disagrees.
    """
    rows = scene.rows("val")
    labels = scene.labels(rows)
    done = finalists[(finalists["state"] == "completed") & finalists["representative"]]
    validation = {
        str(row["backbone"]): predict(run.path / str(row["model"]), scene.images[str(row["backbone"])], rows)
        for row in done.to_dict("records")
    }
    winner = finalists[finalists["winner"]].iloc[0]
    name = str(winner["backbone"])
    stored, scores = scene.images[name], validation[name]
    trained, reloaded = float(winner[f"metric_{scene.metric.name}"]), scene.metric.compute(labels, scores)
    if not abs(trained - reloaded) <= 10 * TOLERANCE:
        raise ExportMismatch(
            f"{run.best_model} scores {scene.metric.title} {reloaded:.4f} on validation, "
            f"but the model that was trained scored {trained:.4f}."
        )
    images: Pixels = stored.open()
    difference = check_in_fresh_process(run.best_model, images[rows[:CHECKED_IMAGES]], scores[:CHECKED_IMAGES])
    temperature = fit_temperature(labels, scores)
    thresholds = _thresholds(scene, labels, scores)
    content = as_json(
        {
            "file": run.best_model.name,
            "sha256": file_sha256(run.best_model),
            "backbone": name,
            "repeat": int(winner["repeat"]),
            "classes": list(scene.classes),
            "input": {
                "height": stored.size,
                "width": stored.size,
                "channels": stored.channels,
                "range": [0, 255],
                "resize": scene.resize,
                "window": asdict(scene.window) if scene.window else None,
            },
            "config": {
                str(key).removeprefix("config_"): None if pd.isna(value) else value
                for key, value in winner.items()
                if str(key).startswith("config_")
            },
            "validation": {
                str(key).removeprefix("metric_"): winner[key] for key in winner.index if str(key).startswith("metric_")
            },
            "threshold": thresholds[0] if len(scene.classes) == 2 else None,
            "thresholds": thresholds,
            "temperature": temperature,
            "checked": {"images": len(scores[:CHECKED_IMAGES]), "largest_difference": difference},
            "candidates": {str(row["backbone"]): row["sha256"] for row in done.to_dict("records")},
            **provenance,
        }
    )
    write_json(run.best_model_card, content)
    write_table(run.predictions_val, predictions(scene.table.iloc[rows], scene.classes, scores, temperature))
    return Decisions(content, validation)


def predictions(
    part: pd.DataFrame, classes: Sequence[str], scores: npt.NDArray[np.float32], temperature: float | None = None
) -> pd.DataFrame:
    """A row an image: image, label, patient and ``prob_CLASS``; with a temperature ``calibrated_CLASS`` too.

    Probabilities are float64, whose text gives back the very values: a threshold that is one of them
    (`frozen_threshold`) calls the same images when they are read from a file.

    Args:
        part: the images' rows of the table.
        classes: class names by index.
        scores: shape (n_images, n_classes).
        temperature: of the calibrated probabilities.
    """
    table = part[["image", "label"]].assign(patient=units_of(part).to_numpy())
    columns: dict[str, npt.NDArray[np.floating]] = {
        f"prob_{name}": scores[:, index].astype(np.float64) for index, name in enumerate(classes)
    }
    if temperature is not None:
        calibrated = apply_temperature(scores, temperature)
        columns |= {f"calibrated_{name}": calibrated[:, index] for index, name in enumerate(classes)}
    return pd.concat([table.reset_index(drop=True), pd.DataFrame(columns)], axis=1)


def _thresholds(scene: Scene, labels: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[dict[str, Any]]:
    """The frozen threshold of the positive class or, of several classes, of each against the rest."""
    positives = [1] if len(scene.classes) == 2 else range(len(scene.classes))
    found = []
    for index in positives:
        value, rule = frozen_threshold(labels == index, scores[:, index], scene.target_sensitivity)
        found.append({"class": scene.classes[index], "value": value, "rule": rule})
    return found
