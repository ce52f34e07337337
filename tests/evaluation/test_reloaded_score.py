"""The exported file is compared with what was trained, before anything is fitted on what it says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from bench.evaluation.decide import _check_score
from bench.evaluation.inputs import EvaluationInputs
from bench.models.export import ExportMismatch
from bench.run.folder import RunDir
from bench.stats.metrics import evaluate, get_metric
from bench.stats.predictions import Predictions

LABELS = np.arange(40) % 2


def predictions(positive: Any) -> Predictions:
    """Of the images, by the probability of class 1."""
    return Predictions(LABELS, np.column_stack([1 - positive, positive]), np.arange(40), ("A", "B"))


def check(positive: Any, metric: str = "auc") -> None:
    """As a model is checked that was trained to give 0.1 and 0.9, rising a little from image to image."""
    trained = evaluate(LABELS, predictions(SCORES).scores)
    inputs = cast(EvaluationInputs, SimpleNamespace(metric=get_metric(metric)))
    winner = {f"metric_{name}": value for name, value in trained.items()}
    _check_score(winner, predictions(positive), inputs, RunDir(Path("reports/xray")))


SCORES = 0.1 + 0.8 * LABELS + np.linspace(0, 0.05, 40)


def test_a_file_that_predicts_what_was_trained_passes() -> None:
    check(SCORES)
    check(SCORES + 9e-5)
    check(SCORES, "accuracy")


def test_a_file_that_ranks_as_was_trained_and_gives_other_probabilities_is_refused() -> None:
    with pytest.raises(
        ExportMismatch, match=r"best_model.h5 scores Brier score 0\.2\d+ on .* trained scored 0\.0\d+\."
    ):
        check(0.5 + 1e-4 * (SCORES - 0.5))


def test_a_file_that_ranks_otherwise_is_refused() -> None:
    with pytest.raises(ExportMismatch, match=r"scores ROC AUC 0\.0000 on validation, .* scored 1\.0000"):
        check(1 - SCORES)
