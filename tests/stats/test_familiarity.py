"""The distance of features keeps 99 % of what is like the training images, and sees what never varied in them."""

import numpy as np
import pytest

from bench.stats.familiarity import MOST_COMPONENTS, fit_distance


def features(rng: np.random.Generator, n: int) -> np.ndarray:
    """Eight factors, seen by 64 features, the last of which is silent but for rounding."""
    basis = np.random.default_rng(9).normal(size=(8, 64))
    values = np.maximum(rng.normal(size=(n, 8)) @ basis + 0.3 * rng.normal(size=(n, 64)), 0)
    values[:, -1] = 1e-7 * rng.random(n)
    return np.asarray(values)


def test_one_in_a_hundred_of_new_images_is_beyond_the_limit_and_other_directions_are() -> None:
    rng = np.random.default_rng(0)
    distance = fit_distance(features(rng, 400), features(rng, 400))
    assert distance is not None and len(distance.variances) == MOST_COMPONENTS
    own = features(rng, 5000)
    assert (distance.distances(own) > distance.limit).mean() == pytest.approx(0.01, abs=0.012)
    silent = own[:100].copy()
    silent[:, -1] += 2 * own.std(axis=0).max()
    assert (distance.distances(silent) > distance.limit).mean() > 0.9
    elsewhere = np.maximum(rng.normal(size=(100, 8)) @ rng.normal(size=(8, 64)), 0)
    assert (distance.distances(elsewhere) > distance.limit).mean() > 0.9


def test_the_distance_is_that_of_mahalanobis_where_all_components_are_kept() -> None:
    rng = np.random.default_rng(1)
    training = rng.normal(size=(2000, 3)) @ np.array([[2.0, 0.3, 0], [0, 1, 0.4], [0, 0, 0.5]])
    distance = fit_distance(training, training)
    assert distance is not None
    away = training[:50] - training.mean(axis=0)
    exact = np.einsum("ij,jk,ik->i", away, np.linalg.inv(np.cov(training.T, bias=True)), away)
    np.testing.assert_allclose(distance.distances(training[:50]), np.sqrt(exact / 3), rtol=0.01)


def test_too_few_images_or_constant_features_have_none() -> None:
    rng = np.random.default_rng(2)
    assert fit_distance(features(rng, 19), features(rng, 100)) is None
    assert fit_distance(np.ones((50, 4)), np.ones((50, 4))) is None
