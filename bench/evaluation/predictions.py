"""The tables of predictions: predictions_val.csv, predictions_test.csv and predictions_models.csv."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.splits import units_of
from bench.evaluation.calibration import apply_temperature
from bench.evaluation.inputs import ScoredModel
from bench.stats.metrics import Scores
from bench.stats.predictions import Predictions


def predictions_table(
    part: pd.DataFrame, classes: Sequence[str], scores: Scores, temperature: float | None = None
) -> pd.DataFrame:
    """One row per image: image, label, patient and ``prob_CLASS``; with a temperature ``calibrated_CLASS`` too.

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


def all_predictions(
    models: Mapping[str, ScoredModel], test: pd.DataFrame, validation: Mapping[str, Predictions], val: pd.DataFrame
) -> pd.DataFrame:
    """predictions_models.csv: every repeat of every model on test, and the representatives on validation.

    Args:
        models: name -> what it says of the test images.
        test: their rows of the table.
        validation: backbone -> its representative's predictions of validation.
        val: the rows of the validation images.
    """
    parts = [
        predictions_table(val, one.classes, one.scores).assign(
            model=name, repeat=models[name].representative, split="val"
        )
        for name, one in validation.items()
    ]
    parts += [
        predictions_table(test, one.classes, one.scores).assign(model=name, repeat=repeat, split="test")
        for name, model in models.items()
        for repeat, one in model.repeats.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    first = ["model", "repeat", "split"]
    return table[first + [name for name in table if name not in first]]


def without_nan(table: pd.DataFrame) -> pd.DataFrame:
    """The same with None in place of NaN; every column holds objects."""
    objects = table.astype(object)
    return objects.where(objects.notna(), None)
