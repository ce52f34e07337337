"""Weighted scores are the plain ones, scikit-learn's with ``sample_weight``, and those of repeated rows."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bench.stats.metrics import METRICS, evaluate, positives_above

OF_EVERY_CLASS = ("auc", "pr_auc", "specificity_at_95_sensitivity", "balanced_accuracy")
WEIGHTED = {name: metric.weighted for name, metric in METRICS.items()}


@st.composite
def predictions(draw):
    """Labels in which every class occurs, and probabilities with many ties."""
    n_classes = draw(st.sampled_from([2, 3, 4]))
    n_images = draw(st.integers(n_classes + 1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n_images - n_classes)]))
    raw = rng.integers(1, draw(st.sampled_from([2, 5, 1000])) + 1, (n_images, n_classes)).astype(np.float64)
    scores = raw / raw.sum(axis=1, keepdims=True)
    return labels, scores.astype(draw(st.sampled_from([np.float32, np.float64])))


def cohort(n=120, n_classes=2, seed=0):
    """Predictions that are better than chance, two images per patient."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    logits = rng.normal(size=(n, n_classes)) + 1.2 * np.eye(n_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, scores, np.arange(n) // (2 * n_classes)


@settings(deadline=None, max_examples=40)
@given(predictions())
def test_unit_weights_give_the_plain_score(given_predictions):
    labels, scores = given_predictions
    expected = evaluate(labels, scores, ordinal=True)
    for name, compute in WEIGHTED.items():
        (value,) = compute(labels, scores, np.ones((1, len(labels))))
        assert value == pytest.approx(expected[name], abs=1e-9), name


@settings(deadline=None, max_examples=40)
@given(predictions(), st.integers(0, 2**32 - 1))
def test_whole_weights_are_repeated_rows(given_predictions, seed):
    labels, scores = given_predictions
    weights = np.random.default_rng(seed).integers(0, 4, (3, len(labels)))
    for draw in weights:  # each class occurs in each draw
        for index in range(scores.shape[1]):
            draw[np.flatnonzero(labels == index)[0]] += 1
    for name, compute in WEIGHTED.items():
        values = compute(labels, scores, weights.astype(np.float64))
        for value, draw in zip(values, weights, strict=True):
            expected = METRICS[name].compute(np.repeat(labels, draw), np.repeat(scores, draw, axis=0))
            assert value == pytest.approx(expected, abs=1e-9), name


@pytest.mark.parametrize("name", ["auc", "pr_auc", "specificity_at_95_sensitivity", "balanced_accuracy"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_draw_without_a_class_has_no_score_of_ranks(name, n_classes, recwarn):
    """The last class (the positive one of two) is missing from the second draw; nothing is warned of."""
    labels, scores, _ = cohort(30, n_classes)
    weights = np.ones((2, len(labels)))
    weights[1, labels == n_classes - 1] = 0
    whole, lacking = WEIGHTED[name](labels, scores, weights)
    assert math.isfinite(whole)
    assert math.isnan(lacking)
    assert not recwarn.list


@pytest.mark.parametrize("name", ["quadratic_kappa", "accuracy", "f1", "log_loss", "brier"])
def test_a_draw_without_a_class_still_has_the_other_scores(name):
    labels, scores, _ = cohort(30)
    weights = np.ones((1, len(labels)))
    weights[0, labels == 1] = 0
    (value,) = WEIGHTED[name](labels, scores, weights)
    keep = labels == 0
    assert value == pytest.approx(METRICS[name].compute(labels[keep], scores[keep]), abs=1e-9)


def test_quadratic_kappa_of_a_draw_without_disagreement_by_chance_is_unknown(recwarn):
    """All images of one class and called so: 0 of 0. Without the called images of the other class, 0: no agreement."""
    labels, scores = np.array([0, 0, 0, 1]), np.eye(3)[[0, 0, 1, 1]]
    weights = np.array([[1.0, 1, 1, 1], [2, 2, 0, 0], [1, 1, 2, 0]])
    whole, unknown, nothing = WEIGHTED["quadratic_kappa"](labels, scores, weights)
    assert whole == pytest.approx(METRICS["quadratic_kappa"].compute(labels, scores))
    assert math.isnan(unknown)
    assert nothing == 0
    assert not recwarn.list


def specificity(positive, score, weights):
    false, true, _ = sk.roc_curve(positive, score, sample_weight=weights, drop_intermediate=False)
    return (1 - false)[true >= 0.95].max()


def by_scikit_learn(labels, scores, weights):
    """Each metric by scikit-learn with ``sample_weight``; every class must occur among the images that count."""
    n_classes = scores.shape[1]
    doubled = scores.astype(np.float64)
    doubled /= doubled.sum(axis=1, keepdims=True)
    chosen, ranked = scores.argmax(axis=1), [1] if n_classes == 2 else range(n_classes)
    how = {"sample_weight": weights}
    return {
        "auc": np.mean([sk.roc_auc_score(labels == index, scores[:, index], **how) for index in ranked]),
        "pr_auc": np.mean([sk.average_precision_score(labels == index, scores[:, index], **how) for index in ranked]),
        "specificity_at_95_sensitivity": np.mean(
            [specificity(labels == index, scores[:, index], weights) for index in ranked]
        ),
        "quadratic_kappa": sk.cohen_kappa_score(labels, chosen, labels=range(n_classes), weights="quadratic", **how),
        "accuracy": sk.accuracy_score(labels, chosen, **how),
        "balanced_accuracy": sk.balanced_accuracy_score(labels, chosen, **how),
        "f1": sk.f1_score(labels, chosen, labels=range(n_classes), average="macro", zero_division=0.0, **how),
        "log_loss": sk.log_loss(labels, doubled, labels=range(n_classes), **how),
        "brier": sum(sk.brier_score_loss(labels == index, doubled[:, index], **how) for index in ranked),
    }


@settings(deadline=None, max_examples=60)
@given(predictions(), st.integers(0, 2**32 - 1), st.booleans())
def test_weighted_scores_are_those_of_scikit_learn(given_predictions, seed, whole):
    """Counts of a draw, or any positive weights; an image may count nothing, a class may not."""
    labels, scores = given_predictions
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 4, len(labels)).astype(np.float64) if whole else rng.random(len(labels)) + 0.01
    for index in range(scores.shape[1]):
        weights[np.flatnonzero(labels == index)[0]] += 1
    expected = by_scikit_learn(labels, scores, weights)
    for name, compute in WEIGHTED.items():
        (value,) = compute(labels, scores, weights[None])
        assert value == pytest.approx(expected[name], abs=1e-9), name


@settings(deadline=None, max_examples=60)
@given(predictions(), st.integers(0, 2**32 - 1))
def test_a_missing_class_spoils_its_own_draw_alone(given_predictions, seed):
    labels, scores = given_predictions
    weights = np.random.default_rng(seed).integers(1, 4, (3, len(labels))).astype(np.float64)
    alone = {name: compute(labels, scores, weights[[0, 2]]) for name, compute in WEIGHTED.items()}
    weights[1, labels == scores.shape[1] - 1] = 0
    for name, compute in WEIGHTED.items():
        values = compute(labels, scores, weights)
        assert values[[0, 2]] == pytest.approx(alone[name], abs=1e-12, nan_ok=True), name
        if name != "quadratic_kappa":  # unknown where what is left is of one class and called so
            assert math.isnan(values[1]) == (name in OF_EVERY_CLASS), name


def test_positives_above_by_hand():
    """Thresholds 0.9, 0.5 (a tie) and 0.2; the second draw counts the tied positive twice and the top not at all."""
    positive, scores = np.array([True, False, True, False]), np.array([0.9, 0.5, 0.5, 0.2])
    true, false = positives_above(positive, scores, np.array([[1.0, 1, 1, 1], [0, 1, 2, 1]]))
    assert true.tolist() == [[1, 2, 2], [0, 2, 2]]
    assert false.tolist() == [[0, 1, 2], [0, 1, 2]]
