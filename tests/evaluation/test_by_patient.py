"""By patient: the rule is chosen on validation, the test scored once, and all of it computed again by `verify`."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from test_final import Study

from bench.evaluation.by_patient import Choosing, decide_by_patient, patient_level
from bench.evaluation.inputs import Decisions, EvaluationInputs
from bench.evaluation.predictions import predictions_table
from bench.run.folder import file_sha256, write_json
from bench.run.tables import PREDICTIONS_VAL
from bench.stats.bootstrap import Bootstrap
from bench.stats.metrics import get_metric
from bench.stats.predictions import Predictions
from bench.verify.command import checks
from bench.verify.reading import Folder, Tally


def by_patient(study: Study, inputs: EvaluationInputs, decisions: Decisions) -> tuple[EvaluationInputs, Decisions]:
    """What `decide` adds, and best_model.json with it."""
    own = decisions.validation["vgg16"]
    level = decide_by_patient(inputs, own.with_scores(decisions.calibration.map(own.scores)))
    card: dict[str, Any] = {"sha256": file_sha256(study.run.best_model)}
    write_json(study.run.best_model_card, card | ({"by_patient": level.content()} if level else {}))
    renamed = study.table.rename(columns={"patient_id": "patient"})
    renamed[["image", "label", "patient", "split"]].to_csv(study.run.splits, index=False)
    names = study.table["image"].iloc[inputs.rows("val")]
    PREDICTIONS_VAL.write(study.run.path, predictions_table(names, own, decisions.calibration.map))
    return inputs, replace(decisions, by_patient=level)


class Alike(Study):
    """A study whose patients have images of one label each, but for the first of the test split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        table, n = self.table, len(self.classes)
        owner = table["patient_id"].str.removeprefix("p").astype(int)
        table["label"] = [self.classes[number % n] for number in owner]
        first = table.index[table["split"] == "test"][0]
        table.loc[first, "label"] = self.classes[(owner[first] + 1) % n]
        labels = [self.classes.index(label) for label in self.table["label"]]
        rng = np.random.default_rng(11)
        self.logits = rng.normal(size=(len(labels), len(self.classes))) + np.eye(len(self.classes))[labels]
        self.inputs = replace(self.inputs, table=self.sealed.sealed_table())


def tally(study: Study, name: str = "by patient") -> Tally:
    found = Tally()
    checks()[name](Folder(study.run.path), found)
    return found


Opened = tuple[Study, dict[str, Any]]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Opened]:
    """A study of 45 test patients with so many classes, and its evaluation."""

    @cache
    def study_of(n: int) -> Opened:
        folder = tmp_path_factory.mktemp("opened")
        study = Alike(("A", "B", "C")[:n], [0] * 90, folder=folder, more=by_patient)
        return study, study.open()

    return study_of


@pytest.mark.parametrize("n", [2, 3])
def test_it_is_decided_scored_and_computed_again(opened: Callable[[int], Opened], n: int) -> None:
    study, content = opened(n)
    found = content["by_patient"]
    level = found["decided"]
    scores = {one["rule"]: (-one["score"], one["log_loss"]) for one in level["candidates"]}
    assert set(scores) == {"mean", "maximum", "noisy-or", "top"}
    assert min(scores, key=scores.__getitem__) == level["rule"]
    assert (found["patients"], found["several"], found["left_out"], found["left_out_images"]) == (44, 44, 1, 2)
    assert "whose images have different labels is left out" in found["sentence"]
    one = found["scores"]["metrics"]["auc"]
    assert one["low"] < one["value"] < one["high"]
    assert len(level["thresholds"]) == len(found["points"]) == (1 if n == 2 else 3)
    table = pd.read_csv(study.run.predictions_patients)
    assert table.groupby("split").size().to_dict() == {"test": 44, "val": 10 * n}
    seen = tally(study)
    assert seen.wrong == [] and seen.compared > 60


def test_another_number_by_patient_is_found(opened: Callable[[int], Opened]) -> None:
    study, whole = opened(2)
    content = copy.deepcopy(whole)
    found = content["by_patient"]
    found["decided"]["several"] = 99
    found["scores"]["metrics"]["auc"]["value"] -= 0.01
    found["points"][0]["sensitivity"]["value"] -= 0.01
    found["patients"] = 3
    study.run.evaluation.write_text(json.dumps(content))
    wrong = tally(study).wrong
    study.run.evaluation.write_text(json.dumps(whole))
    for said in ("best_model.json", "by patient: auc", "sensitivity", "test patients"):
        assert any(said in sentence for sentence in wrong), said


def test_nothing_is_decided_where_each_patient_has_one_image(tmp_path: Path) -> None:
    study = Study(("A", "B"), [0, 1] * 20, images_a_patient=1, folder=tmp_path)
    scores = study.predict(study.inputs.rows("val"), 1)
    assert decide_by_patient(study.inputs, study.inputs.on_validation(scores)) is None


def test_ties_go_to_the_smaller_log_loss_and_one_image_each_decides_nothing() -> None:
    """Validation ranks all patients rightly by every rule, so that log loss decides."""
    sick = np.array([0.1, 0.3, 0.2, 0.2, 0.7, 0.9, 0.8, 0.6])
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    patients = pd.Series(["a", "a", "b", "b", "c", "c", "d", "d"])
    images = Predictions(labels, np.column_stack([1 - sick, sick]), patients.to_numpy(str), ("A", "B"))
    how = Choosing(get_metric("auc"), None, Bootstrap(0))
    level = patient_level(images, patients, how)
    losses = {one.rule: one.log_loss for one in level.candidates}
    assert {one.score for one in level.candidates} == {1.0} and level.rule == min(losses, key=losses.__getitem__)
    alone = patient_level(images, pd.Series([str(number) for number in range(8)]), how)
    assert alone.rule == "mean" and not alone.candidates and "has several" in alone.reason
