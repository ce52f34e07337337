"""The tables of predictions."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.evaluation.calibration import frozen_threshold
from bench.evaluation.decide import predictions
from bench.rundir import write_table


@pytest.mark.parametrize("seed", range(10))
def test_the_frozen_threshold_calls_the_same_images_when_read_from_a_file(tmp_path: Path, seed: int) -> None:
    """It is one of the scores, so that a digit less would turn that very image round."""
    rng = np.random.default_rng(seed)
    positive = rng.random(60).astype(np.float32)
    scores = np.column_stack([1 - positive, positive]).astype(np.float32)
    labels = rng.random(60) < positive
    threshold, _ = frozen_threshold(labels, scores[:, 1], 0.95)
    part = pd.DataFrame({"image": "x.png", "label": "A", "patient_narrow": "p"}, index=range(60))
    write_table(tmp_path / "predictions.csv", predictions(part, ["A", "B"], scores, 1.3))
    read = pd.read_csv(tmp_path / "predictions.csv")
    assert ((read["prob_B"] >= threshold).to_numpy() == (scores[:, 1] >= threshold)).all()
    assert (read["prob_B"] >= threshold)[labels].mean() >= 0.95
