"""Every finalist and every baseline predicts the test images, each by the files that its trainings left."""

import pandas as pd

from bench.evaluation import in_worker
from bench.evaluation.inputs import Call, EvaluationInputs, ScoredModel
from bench.evaluation.test_access import OpenTest
from bench.finalists.baselines import TITLES, fit_untrained
from bench.models.backbones import get_backbone
from bench.run.folder import RunDir
from bench.stats.metrics import Scores

UNTRAINED = ("majority", "metadata")
"""Baselines that leave no file: they are fitted again on the training images, in no time."""


def score_models(
    inputs: EvaluationInputs, winner: str, test: OpenTest, run: RunDir, call: Call
) -> dict[str, ScoredModel]:
    """What each model says of the test images, finalists first; baselines take the images of the ``winner``."""

    def by_files(title: str, kind: str, rows: pd.DataFrame, backbone: str) -> ScoredModel:
        repeats = {}
        for row in rows.to_dict("records"):
            model = (run.path / row["model"]).absolute()
            scores = call(in_worker.predict, model, test.images[backbone], test.rows)
            repeats[int(row["repeat"])] = inputs.on_test(test.table, scores)
        chosen = rows.loc[rows["representative"], "repeat"]
        return ScoredModel(title, kind, repeats, int(chosen.iloc[0]) if len(chosen) else min(repeats))

    found = {
        name: by_files(get_backbone(name).title, "finalist", rows, name)
        for name, rows in _completed(inputs.finalists, "backbone").items()
    }
    for name, rows in _completed(inputs.baselines, "baseline").items():
        if name in UNTRAINED:
            predictions = inputs.on_test(test.table, _untrained(name, inputs, test))
            found[name] = ScoredModel(TITLES[name], "control", {1: predictions}, 1)
        else:
            found[name] = by_files(TITLES[name], "control", rows, winner)
    return found


def _completed(table: pd.DataFrame, name: str) -> dict[str, pd.DataFrame]:
    """Completed trainings by what was trained, in the order of the table."""
    if not len(table):
        return {}
    return {str(key): rows for key, rows in table[table["state"] == "completed"].groupby(name, sort=False)}


def _untrained(name: str, inputs: EvaluationInputs, test: OpenTest) -> Scores:
    train = inputs.rows("train")
    predict = fit_untrained(name, inputs.facts.iloc[train], inputs.labels(train), len(inputs.classes))
    return predict(test.facts)
