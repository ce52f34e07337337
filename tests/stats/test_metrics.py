"""The metrics agree with scikit-learn called directly, and know which way is better."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bench.errors import ConfigError
from bench.stats.metrics import METRICS, brier_definition, evaluate, get_metric

HIGHER = {
    "auc": True,
    "pr_auc": True,
    "accuracy": True,
    "balanced_accuracy": True,
    "f1": True,
    "log_loss": False,
    "brier": False,
}


@st.composite
def predictions(draw):
    """Labels in which every class occurs, and probabilities with many ties, in double or single precision."""
    n_classes = draw(st.sampled_from([2, 3]))
    n_images = draw(st.integers(n_classes + 1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n_images - n_classes)]))
    steps = draw(st.sampled_from([2, 5, 1000]))  # few steps: many ties
    raw = rng.integers(1, steps + 1, (n_images, n_classes)).astype(np.float64)
    scores = raw / raw.sum(axis=1, keepdims=True)
    return labels, scores.astype(draw(st.sampled_from([np.float32, np.float64])))


def by_scikit_learn(labels, scores):
    """Each metric written out with scikit-learn alone; several classes one by one against the rest."""
    n_classes = scores.shape[1]
    doubled = scores.astype(np.float64)
    doubled /= doubled.sum(axis=1, keepdims=True)
    chosen = scores.argmax(axis=1)
    ranked = [1] if n_classes == 2 else range(n_classes)
    recalls = [np.mean(chosen[labels == index] == index) for index in range(n_classes)]
    return {
        "auc": np.mean([sk.roc_auc_score(labels == index, scores[:, index]) for index in ranked]),
        "pr_auc": np.mean([sk.average_precision_score(labels == index, scores[:, index]) for index in ranked]),
        "accuracy": np.mean(chosen == labels),
        "balanced_accuracy": np.mean(recalls),
        "f1": np.mean([sk.f1_score(labels == index, chosen == index, zero_division=0.0) for index in range(n_classes)]),
        "log_loss": sk.log_loss(labels, doubled, labels=list(range(n_classes))),
        "brier": sum(sk.brier_score_loss(labels == index, doubled[:, index]) for index in ranked),
    }


@settings(deadline=None, max_examples=40)
@given(predictions())
def test_every_metric_agrees_with_scikit_learn(given_predictions):
    labels, scores = given_predictions
    expected = by_scikit_learn(labels, scores)
    for name, value in evaluate(labels, scores).items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@settings(deadline=None, max_examples=40)
@given(predictions())
def test_metrics_are_plain_numbers_within_their_range(given_predictions):
    for name, value in evaluate(*given_predictions).items():
        assert type(value) is float, name
        largest = {"log_loss": np.inf, "brier": 1 if given_predictions[1].shape[1] == 2 else 2}
        assert 0 <= value <= largest.get(name, 1), name


def test_a_hand_example():
    """Four images; the second class is meant by ``positive``; the pair (0.4 negative, 0.4 positive) is a tie."""
    labels = np.array([0, 0, 1, 1])
    positive = np.array([0.1, 0.4, 0.4, 0.8])
    found = evaluate(labels, np.column_stack([1 - positive, positive]))
    assert found["auc"] == pytest.approx(3.5 / 4)
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == 0.75
    assert found["f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert found["log_loss"] == pytest.approx(-np.mean(np.log([0.9, 0.6, 0.4, 0.8])))
    assert found["brier"] == pytest.approx(np.mean(np.square([0.1, 0.4, 0.6, 0.2])))
    assert found["pr_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_perfect_predictions_are_best_in_every_metric(n_classes):
    labels = np.arange(4 * n_classes) % n_classes
    found = evaluate(labels, np.eye(n_classes)[labels])
    for name, higher in HIGHER.items():
        assert found[name] == pytest.approx(1.0 if higher else 0.0, abs=1e-12), name


def test_single_precision_rows_are_normalised_before_the_log():
    """A softmax in single precision misses 1 by 1e-7 and more; log loss must not depend on that, nor warn of it."""
    scores = np.random.default_rng(0).dirichlet([0.3, 0.3, 0.3], 500).astype(np.float32)
    labels = np.arange(500) % 3
    doubled = scores.astype(np.float64)
    assert np.abs(doubled.sum(axis=1) - 1).max() > 1e-9
    assert METRICS["log_loss"].compute(labels, scores) == METRICS["log_loss"].compute(
        labels, doubled / doubled.sum(axis=1, keepdims=True)
    )


def test_directions_are_a_table():
    assert {name: metric.higher_is_better for name, metric in METRICS.items()} == HIGHER


@pytest.mark.parametrize("name", METRICS)
def test_mode_and_better_follow_the_direction(name):
    metric = get_metric(name)
    assert metric.name == name
    assert metric.title
    assert metric.mode == ("max" if HIGHER[name] else "min")
    assert metric.better(0.6, 0.5) is HIGHER[name]
    assert metric.better(0.5, 0.6) is not HIGHER[name]
    assert not metric.better(0.5, 0.5)


def test_an_unknown_metric_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        get_metric("roc")
    assert "'roc'" in str(caught.value)
    for name in METRICS:
        assert name in str(caught.value)


def test_the_brier_score_of_a_constant_guess_tells_which_definition_it_is():
    """Half for either of two classes scores 1/4, a third for each of three 2/3: the worst are 1 and 2."""
    two, three = np.arange(6) % 2, np.arange(6) % 3
    assert METRICS["brier"].compute(two, np.full((6, 2), 1 / 2)) == pytest.approx(1 / 4)
    assert METRICS["brier"].compute(three, np.full((6, 3), 1 / 3)) == pytest.approx(2 / 3)
    assert METRICS["brier"].compute(two, np.eye(2)[1 - two]) == 1
    assert METRICS["brier"].compute(three, np.eye(3)[(three + 1) % 3]) == 2
    assert "probability of ill; 0 best, 1 worst" in brier_definition(["well", "ill"])
    assert "summed over the classes; 0 best, 2 worst" in brier_definition(["a", "b", "c"])
