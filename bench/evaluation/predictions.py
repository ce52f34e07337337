"""What every finalist and every baseline predicts for the test images, by the files that its trainings left.

Tables of predictions: predictions_val.csv, predictions_test.csv, predictions_models.csv and predictions_altered.csv.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bench.evaluation import in_worker
from bench.evaluation.inputs import CallAll, EvaluationInputs, ScoredModel
from bench.evaluation.shared_scores import ModelFile
from bench.evaluation.test_access import OpenTest
from bench.finalists.baselines import OF_WINNER, TITLES, fit_untrained
from bench.models.backbones import get_backbone
from bench.run.folder import RunDir
from bench.run.tables import Row, records
from bench.stats.calibration import CalibrationMap
from bench.stats.metrics import Scores
from bench.stats.predictions import Predictions

UNTRAINED = ("majority", "metadata")
"""Baselines that leave no file: they are fitted again on the training images, in no time."""


def score_models(
    inputs: EvaluationInputs, winner: str, test: OpenTest, run: RunDir, call_all: CallAll
) -> dict[str, ScoredModel]:
    """What each model says of the test images, finalists first; baselines take the images of the ``winner``.

    The exported file is scored by itself, as anybody would load it; the others of a backbone share what they can.
    """
    scores = _score_files(inputs, winner, test, run, call_all)

    def by_files(title: str, kind: str, rows: pd.DataFrame) -> ScoredModel:
        repeats = {int(row["repeat"]): inputs.on_test(test.table, scores[_path(run, row)]) for row in records(rows)}
        chosen = rows.loc[rows["representative"], "repeat"]
        return ScoredModel(title, kind, repeats, int(chosen.iloc[0]) if len(chosen) else min(repeats))

    found = {
        name: by_files(get_backbone(name).title, "finalist", rows)
        for name, rows in _completed(inputs.finalists, "backbone").items()
    }
    for name, rows in _completed(inputs.baselines, "baseline").items():
        if name in UNTRAINED:
            predictions = inputs.on_test(test.table, _untrained(name, inputs, test))
            found[name] = ScoredModel(TITLES[name], "control", {1: predictions}, 1, seeded=False)
        else:
            found[name] = by_files(TITLES[name], "control", rows)
    return found


def _score_files(
    inputs: EvaluationInputs, winner: str, test: OpenTest, run: RunDir, call_all: CallAll
) -> dict[Path, Scores]:
    """Every file -> its class probabilities of the test images; one call per backbone, side by side."""
    exported = _path(run, next(row for row in records(inputs.finalists) if row["winner"]))
    groups: dict[str, list[ModelFile]] = {}
    for row in records(_all_completed(inputs.finalists)):
        name, path = str(row["backbone"]), _path(run, row)
        if path != exported:
            groups.setdefault(name, []).append(ModelFile.of_backbone(path, name, int(row["config_unfreeze_depth"])))
    for row in records(_all_completed(inputs.baselines)):
        path = _path(run, row)
        if row["baseline"] in OF_WINNER:
            one = ModelFile.of_backbone(path, winner, int(row["config_unfreeze_depth"]))
            groups.setdefault(winner, []).append(one)
        elif row["baseline"] not in UNTRAINED:
            groups.setdefault(str(row["baseline"]), []).append(ModelFile(path))
    cost = {name: get_backbone(name).cost[0] * len(files) for name, files in groups.items() if name not in TITLES}
    order = sorted(groups, key=lambda name: -cost.get(name, 0.0))  # longest first; the small CNN costs next to nothing
    of_winner, *others = call_all(
        [partial(in_worker.predict, exported, test.images[winner], test.rows)]
        + [
            partial(in_worker.score, groups[name], test.images[name if name in cost else winner], test.rows)
            for name in order
        ]
    )
    return {path: one for found in others for path, one in found.items()} | {exported: of_winner}


def _path(run: RunDir, row: Row) -> Path:
    return (run.path / str(row["model"])).absolute()


def _all_completed(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["state"] == "completed"] if len(table) else table


def _completed(table: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """Completed trainings by what was trained, in the order of the table."""
    return {str(key): rows for key, rows in _all_completed(table).groupby(name, sort=False)} if len(table) else {}


def _untrained(name: str, inputs: EvaluationInputs, test: OpenTest) -> Scores:
    train = inputs.rows("train")
    predict = fit_untrained(name, inputs.facts.iloc[train], inputs.labels(train), len(inputs.classes))
    return predict(test.facts)


def predictions_table(
    names: pd.Series, predictions: Predictions, calibrate: CalibrationMap | None = None
) -> pd.DataFrame:
    """One row per image: image, label, patient and ``prob_CLASS``; with a map ``calibrated_CLASS`` too.

    Probabilities are float64, whose text gives back the very values: a threshold that is one of them
    (`frozen_threshold`) calls the same images when they are read from a file.
    """
    classes, scores = predictions.classes, predictions.scores
    labels = np.array(classes, dtype=object)[predictions.labels]
    columns = {"image": names.to_numpy(), "label": labels, "patient": predictions.patients}
    columns |= {f"prob_{name}": scores[:, index].astype(np.float64) for index, name in enumerate(classes)}
    if calibrate is not None:
        calibrated = calibrate(scores)
        columns |= {f"calibrated_{name}": calibrated[:, index] for index, name in enumerate(classes)}
    return pd.DataFrame(columns)


def altered_predictions(
    robustness: pd.DataFrame, altered: Mapping[str, Sequence[Scores]], predictions: Predictions, images: pd.Series
) -> pd.DataFrame:
    """predictions_altered.csv: what the winner says of the images of robustness.csv at every level.

    Args:
        robustness: robustness.csv, one row per level.
        altered: for each alteration the class probabilities at each of its levels, in that order.
        predictions: of the images as they are; their scores are not read.
        images: their names.
    """
    levels = [one for scores in altered.values() for one in scores]
    parts = [
        predictions_table(images, predictions.with_scores(scores)).assign(
            corruption=row["corruption"], level=row["level"]
        )
        for row, scores in zip(records(robustness), levels, strict=True)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


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
