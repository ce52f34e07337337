"""Prediction sets hold what they promise: of all images of a new patient, at any coverage, from few scores or many."""

import math

import numpy as np
import pytest

from bench.stats.conformal import MOST_KEPT, ConformalScores, conformal_scores


def draw(rng: np.random.Generator, patients: int, images: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities that share an error among the images of a patient, and patients."""
    owner = np.repeat(np.arange(patients), images)
    labels = rng.integers(0, 2, len(owner))
    margin = 2 * labels - 1 + rng.normal(size=patients)[owner] + rng.normal(size=len(owner))
    second = 1 / (1 + np.exp(-2 * margin))
    return labels, np.column_stack([1 - second, second]), owner


@pytest.mark.parametrize(("images", "coverage"), [(1, 0.9), (3, 0.9), (3, 0.6)])
def test_all_images_of_a_patient_are_covered_as_often_as_was_asked(images: int, coverage: float) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        scores = conformal_scores(*draw(rng, 30, images))
        labels, calibrated, owner = draw(rng, 50, images)
        held = scores.sets(calibrated, coverage)[np.arange(len(labels)), labels]
        covered.append((np.bincount(owner, weights=~held) == 0).mean())
    exact = math.ceil(31 * coverage) / 31
    assert np.mean(covered) == pytest.approx(exact, abs=0.01)


def test_a_limit_of_kept_scores_is_never_below_that_of_all() -> None:
    values = np.random.default_rng(1).random(5001)
    scores = conformal_scores(np.zeros(5001, int), np.column_stack([1 - values, values]), np.arange(5001))
    assert len(scores.scores) == MOST_KEPT and scores.patients == 5001
    for coverage in (0.1, 0.5, 0.9, 0.99):
        exact = np.sort(values)[math.ceil(5002 * coverage) - 1]
        assert exact <= scores.limit(coverage) < exact + 0.002
    assert scores.limit(0.99999) == math.inf


def test_too_few_patients_give_sets_of_all_classes() -> None:
    scores = ConformalScores(8, tuple(np.linspace(0.1, 0.4, 8).tolist()))
    assert scores.sets(np.array([[1.0, 0.0]]), 0.9).tolist() == [[True, True]]
    assert scores.sets(np.array([[1.0, 0.0]]), 0.8).tolist() == [[True, False]]
    with pytest.raises(ValueError, match="coverage must lie between 0 and 1, but got 1"):
        scores.limit(1)
    with pytest.raises(ValueError, match="in ascending order"):
        ConformalScores(2, (0.5, 0.1))
