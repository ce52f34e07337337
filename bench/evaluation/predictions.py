"""The tables of predictions: predictions_val.csv, predictions_test.csv and predictions_models.csv."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from bench.evaluation.calibration import apply_temperature
from bench.evaluation.inputs import ScoredModel
from bench.stats.predictions import Predictions


def predictions_table(names: pd.Series, predictions: Predictions, temperature: float | None = None) -> pd.DataFrame:
    """One row per image: image, label, patient and ``prob_CLASS``; with a temperature ``calibrated_CLASS`` too.

    Probabilities are float64, whose text gives back the very values: a threshold that is one of them
    (`frozen_threshold`) calls the same images when they are read from a file.
    """
    classes, scores = predictions.classes, predictions.scores
    labels = np.array(classes, dtype=object)[predictions.labels]
    columns = {"image": names.to_numpy(), "label": labels, "patient": predictions.patients}
    columns |= {f"prob_{name}": scores[:, index].astype(np.float64) for index, name in enumerate(classes)}
    if temperature is not None:
        calibrated = apply_temperature(scores, temperature)
        columns |= {f"calibrated_{name}": calibrated[:, index] for index, name in enumerate(classes)}
    return pd.DataFrame(columns)


def all_predictions(
    models: Mapping[str, ScoredModel], test: pd.Series, validation: Mapping[str, Predictions], val: pd.Series
) -> pd.DataFrame:
    """predictions_models.csv: every repeat of every model on test, and the representatives on validation.

    Args:
        models: name -> what it says of the test images.
        test: their names.
        validation: backbone -> its representative's predictions of validation.
        val: the names of the validation images.
    """
    tables = [
        predictions_table(val, one).assign(model=name, repeat=models[name].representative, split="val")
        for name, one in validation.items()
    ]
    tables += [
        predictions_table(test, one).assign(model=name, repeat=repeat, split="test")
        for name, model in models.items()
        for repeat, one in model.repeats.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    first = ["model", "repeat", "split"]
    return table[first + [name for name in table if name not in first]]
