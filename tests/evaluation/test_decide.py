"""The tables of predictions, and what best_model.json says of how images are read."""

import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.data.images.store import StoredImages
from bench.data.images.window import Window
from bench.evaluation.calibration import frozen_threshold
from bench.evaluation.decide import decide
from bench.evaluation.inputs import EvaluationInputs
from bench.evaluation.predictions import predictions_table
from bench.run.documents import ModelCard
from bench.run.folder import RunDir, write_table
from bench.settings import make_settings
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
    threshold, _ = frozen_threshold(labels, scores[:, 1], 0.95)
    names = pd.Series("x.png", index=range(60))
    predictions = Predictions(labels.astype(int), scores, np.repeat("p", 60), ["A", "B"])
    write_table(tmp_path / "predictions.csv", predictions_table(names, predictions, 1.3))
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert ((read["prob_B"] >= threshold).to_numpy() == (scores[:, 1] >= threshold)).all()
    assert (read["prob_B"] >= threshold)[labels].mean() >= 0.95


@pytest.mark.parametrize("window", [Window(0, 3799, "set"), None])
def test_the_card_tells_the_window_that_predict_goes_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: Window | None
) -> None:
    monkeypatch.setattr("bench.evaluation.decide.fresh_process", lambda *_: nullcontext(lambda _: 0.0))
    labels = np.arange(40) % 2
    scores = np.column_stack([0.8 - 0.5 * labels, 0.2 + 0.5 * labels]).astype(np.float32)
    table = pd.DataFrame({"image": [f"{row}.png" for row in range(40)], "label": np.array(["A", "B"])[labels]})
    table = table.assign(patient_id=table["image"], split="val")
    np.save(tmp_path / "images.npy", np.zeros((40, 8, 8, 1), np.uint8))
    stored = {"vgg16": StoredImages(tmp_path / "images.npy", 8, 1, "data")}
    run = RunDir(tmp_path / "xray")
    run.path.mkdir()
    run.best_model.write_bytes(b"a model")
    winner = {"backbone": "vgg16", "repeat": 1, "state": "completed", "representative": True, "winner": True}
    scored = {f"metric_{name}": 1.0 for name in METRICS} | TrialConfig("vgg16").columns()
    finalists = pd.DataFrame([winner | scored | {"model": "best_model.h5", "sha256": "x"}])
    settings = make_settings(name="xray", cache=tmp_path, bootstrap=100)
    known = (table, pd.DataFrame(), ("A", "B"), stored)
    inputs = EvaluationInputs(settings, *known, finalists=finalists, baselines=pd.DataFrame(), window=window)
    decide(inputs, run, lambda calls: [scores] * len(calls), ModelCard())
    card = json.loads(run.best_model_card.read_text(encoding="utf-8"))
    told = card["input"]["window"]
    assert (Window(**told) if told else None) == window
    assert card["primary_contrast"] == {"against": "recipe", "metric": "auc", "margin": 0.01}, "before the test is open"
