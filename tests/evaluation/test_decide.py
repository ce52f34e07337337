"""The tables of predictions, and what best_model.json says of how images are read."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from bench.data.images.store import StoredImages
from bench.data.images.window import Window
from bench.evaluation.decide import decide
from bench.evaluation.inputs import EvaluationInputs
from bench.evaluation.predictions import predictions_table
from bench.evaluation.thresholds import frozen_thresholds
from bench.models.metadata import read_card
from bench.run.documents import ModelCard, Refusal
from bench.run.folder import RunDir, file_sha256, write_table
from bench.settings import make_settings
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import CalibrationMap
from bench.stats.metrics import METRICS
from bench.stats.predictions import Predictions
from bench.trial import TrialConfig


@pytest.mark.parametrize("seed", range(10))
def test_the_frozen_threshold_calls_the_same_images_when_read_from_a_file(tmp_path: Path, seed: int) -> None:
    """It is one of the scores, so that a digit less would turn that very image round."""
    rng = np.random.default_rng(seed)
    positive = rng.random(60).astype(np.float32)
    scores = np.column_stack([1 - positive, positive]).astype(np.float32)
    labels = rng.random(60) < positive
    names = pd.Series("x.png", index=range(60))
    predictions = Predictions(labels.astype(int), scores, np.repeat("p", 60), ["A", "B"])
    (frozen,) = frozen_thresholds(predictions, 0.95, Bootstrap(0), CalibrationMap())
    threshold = frozen.value
    write_table(tmp_path / "predictions.csv", predictions_table(names, predictions, CalibrationMap.of_temperature(1.3)))
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert ((read["prob_B"] >= threshold).to_numpy() == (scores[:, 1] >= threshold)).all()
    assert (read["prob_B"] >= threshold)[labels].mean() >= 0.95


def study(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    window: Window | None = None,
    train: Sequence[str] = (),
    learnt: Sequence[float] = (1, 1),
    **more: Any,
) -> tuple[EvaluationInputs, RunDir, np.ndarray]:
    """A run of 40 validation images to be decided, and what its winner, with weights ``learnt``, says of them."""
    monkeypatch.setattr("bench.evaluation.decide.fresh_process", lambda *_: nullcontext(lambda _: 0.0))
    labels = np.arange(40) % 2
    positive = 0.2 + 0.5 * labels + np.random.default_rng(0).uniform(-0.19, 0.29, 40) * (1 - 0.5 * labels)
    scores = np.column_stack([1 - positive, positive]) * learnt
    scores = (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32)
    table = pd.DataFrame(
        {"label": [*np.array(["A", "B"])[labels], *train], "split": ["val"] * 40 + ["train"] * len(train)}
    )
    table = table.assign(image=[f"{row}.png" for row in range(len(table))])
    table = table.assign(patient_id=table["image"])
    np.save(tmp_path / "images.npy", np.zeros((len(table), 8, 8, 1), np.uint8))
    stored = {"vgg16": StoredImages(tmp_path / "images.npy", 8, 1, "data")}
    run = RunDir(tmp_path / "xray")
    run.path.mkdir()
    with h5py.File(run.best_model, "w") as file:
        file["weights"] = np.arange(3)
    winner = {"backbone": "vgg16", "repeat": 1, "state": "completed", "representative": True, "winner": True}
    scored = {f"metric_{name}": METRICS[name].compute(labels, scores) for name in METRICS} | TrialConfig(
        "vgg16"
    ).columns()
    finalists = pd.DataFrame([winner | scored | {"model": "best_model.h5", "sha256": "x"}])
    settings = make_settings(name="xray", cache=tmp_path, bootstrap=100, **more)
    known = (table, pd.DataFrame(), ("A", "B"), stored)
    inputs = EvaluationInputs(settings, *known, finalists=finalists, baselines=pd.DataFrame(), window=window)
    return inputs, run, scores


@pytest.mark.parametrize("window", [Window(0, 3799, "set"), None])
def test_the_card_tells_the_window_that_predict_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: Window | None
) -> None:
    inputs, run, scores = study(tmp_path, monkeypatch, window=window)
    decide(inputs, run, lambda calls: [scores] * len(calls), ModelCard())
    card = json.loads(run.best_model_card.read_text(encoding="utf-8"))
    told = card["input"]["window"]
    assert (Window(**told) if told else None) == window
    assert card["trained"] == "x" and card["sha256"] == file_sha256(run.best_model)
    held = read_card(run.best_model)
    assert held is not None and held.content() == {name: card[name] for name in card if name != "sha256"}
    assert card["primary_contrast"] == {"against": "recipe", "metric": "auc", "margin": 0.01}, "before the test is open"


def test_what_is_decided_is_written_and_undoes_the_weights_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of four training images are B, so the loss weighs A 2 and B 2/3."""
    learnt = (2, 2 / 3)
    inputs, run, scores = study(tmp_path, monkeypatch, train=["A", "B", "B", "B"] * 5, learnt=learnt)
    decisions = decide(inputs, run, lambda calls: [scores] * len(calls), ModelCard())
    card = ModelCard.model_validate_json(run.best_model_card.read_bytes())
    assert card.map == decisions.calibration.map
    assert card.map.class_weights == pytest.approx((2, 2 / 3))
    table = pd.read_csv(run.predictions_val)
    assert table["calibrated_B"].to_numpy() == pytest.approx(card.map(scores)[:, 1])
    (frozen,) = card.frozen
    assert frozen.low <= frozen.value <= frozen.high
    assert frozen.sensitivity.value == np.mean((scores[:, 1] >= frozen.value)[1::2])
    assert frozen.calibrated == pytest.approx(card.map(np.array([[1 - frozen.value, frozen.value]]))[0, 1])
    at_own, at_calibrated = table["prob_B"] >= frozen.value, table["calibrated_B"] >= frozen.calibrated
    assert (at_own == at_calibrated).all(), "a monotone map keeps what is called"


def test_weights_that_were_not_learnt_are_not_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, run, scores = study(tmp_path, monkeypatch, train=["A", "B", "B", "B"] * 5)
    decisions = decide(inputs, run, lambda calls: [scores] * len(calls), ModelCard())
    compared = decisions.calibration.of_loss
    assert compared is not None and compared.weights == pytest.approx((2, 2 / 3)) and compared.kept < compared.undone
    assert decisions.calibration.map.class_weights == ()


def test_what_training_images_are_like_is_written_or_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One grey image is colour, and the validation images, which come after the training images, lie elsewhere."""
    inputs, run, scores = study(tmp_path, monkeypatch, train=["A", "B"] * 20)
    facts = pd.DataFrame({"grey": True, "deep": False, "width": range(100, 180), "height": 100}, index=range(80))
    facts.loc[40, "grey"] = False
    inputs = dataclasses.replace(inputs, facts=facts)
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(40, 6)), 3 * rng.normal(size=(40, 6))])

    def answers(calls: Sequence[Any], parts: list[Any]) -> list[Any]:
        rows = [call.args[-1].tolist() for call in calls[1:]]
        assert rows == [[*range(40, 80)], [*range(40)]], "training images first, in two halves side by side"
        return [scores, *parts]

    decide(inputs, run, lambda calls: answers(calls, [features[:40], features[40:]]), ModelCard())
    card = ModelCard.model_validate_json(run.best_model_card.read_bytes())
    known = card.training
    assert known is not None and known.features is not None and card.conformal is not None
    assert known.kinds == {"colour": 1, "grey": 39} and known.width == (140, 179) and known.aspect == (1.4, 1.79)
    assert known.features.limit == pytest.approx(known.features.distances(features[40:]).max(), rel=1e-5)
    assert known.features.limit > 1.5 * known.features.distances(features[:40]).max()
    assert card.conformal.patients == 40
    decide(
        inputs, run, lambda calls: answers(calls, [features[:40], Refusal(what="x", reason="no memory")]), ModelCard()
    )
    card = ModelCard.model_validate_json(run.best_model_card.read_bytes())
    assert card.training is not None and card.training.reason == "no memory" and card.training.features is None


def test_without_weights_there_are_none_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, run, scores = study(tmp_path, monkeypatch, train=["A", "B", "B", "B"] * 5, class_weights=False)
    assert not decide(inputs, run, lambda calls: [scores] * len(calls), ModelCard()).calibration.map.class_weights
