"""The metrics agree with scikit-learn called directly, and know which way is better."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bench.errors import ConfigError
from bench.stats.metrics import METRICS, applicable, brier_definition, evaluate, get_metric

HIGHER = {
    "auc": True,
    "pr_auc": True,
    "specificity_at_95_sensitivity": True,
    "quadratic_kappa": True,
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


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 1]])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_specificity_without_one_of_the_classes_is_not_a_number(labels, n_classes):
    scores = np.random.default_rng(0).dirichlet(np.ones(n_classes), 3)
    found = METRICS["specificity_at_95_sensitivity"].compute(np.array(labels), scores)
    assert np.isnan(found) == (len(set(labels)) < n_classes)


def largest_specificity(positive, score):
    """Of all thresholds whose sensitivity is at least 95 %, every one tried, in whole numbers."""
    called = [score >= threshold for threshold in np.unique(score)]
    enough = [one for one in called if 20 * (one & positive).sum() >= 19 * positive.sum()]
    return float(max(Fraction(int((~one & ~positive).sum()), int((~positive).sum())) for one in enough))


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
        "specificity_at_95_sensitivity": np.mean(
            [largest_specificity(labels == index, scores[:, index]) for index in ranked]
        ),
        "quadratic_kappa": sk.cohen_kappa_score(labels, chosen, labels=range(n_classes), weights="quadratic"),
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
    found = evaluate(labels, scores, ordinal=True)
    assert set(found) == set(METRICS)
    for name, value in found.items():
        assert value == pytest.approx(expected[name], abs=1e-9), name


@settings(deadline=None, max_examples=40)
@given(predictions())
def test_metrics_are_plain_numbers_within_their_range(given_predictions):
    for name, value in evaluate(*given_predictions, ordinal=True).items():
        assert type(value) is float, name
        least, largest = {"log_loss": (0, np.inf), "quadratic_kappa": (-1, 1)}.get(name, (0, 1))
        assert least <= value <= (2 if name == "brier" and given_predictions[1].shape[1] > 2 else largest), name


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
    assert found["specificity_at_95_sensitivity"] == 0.5, "the threshold that both positives reach is 0.4, a tie"
    assert found["quadratic_kappa"] == pytest.approx((3 / 4 - 1 / 2) / (1 - 1 / 2))


@pytest.mark.parametrize(("missed", "expected"), [(1, 1.0), (2, 0.0)])
def test_nineteen_of_twenty_positives_are_95_percent(missed, expected):
    """One positive below all negatives may be missed, a second may not; between the two nothing is interpolated."""
    labels, score = np.repeat([1, 0], [20, 10]), np.repeat([0.9, 0.1, 0.5], [20 - missed, missed, 10])
    for dtype in (np.float32, np.float64):
        scores = np.column_stack([1 - score, score]).astype(dtype)
        assert METRICS["specificity_at_95_sensitivity"].compute(labels, scores) == expected


def test_quadratic_kappa_counts_how_far_a_call_is_off():
    """Of four classes: calls one class off cost a ninth of those three off, by Cohen's definition written out."""
    labels = np.repeat(np.arange(4), 5)
    near, far = labels.copy(), labels.copy()
    near[0], far[0] = 1, 3
    expected = []
    for called in (near, far):
        by_chance = np.mean((labels[:, None] - called) ** 2)
        expected.append(1 - np.mean((labels - called) ** 2) / by_chance)
    found = [METRICS["quadratic_kappa"].compute(labels, np.eye(4)[called]) for called in (near, far)]
    assert found == pytest.approx(expected)
    assert found[0] > found[1]
    nearest, turned = np.abs(labels - 3), METRICS["quadratic_kappa"].compute(labels, np.eye(4)[3 - labels])
    assert turned == pytest.approx(-1.0)
    assert METRICS["quadratic_kappa"].compute(nearest, np.eye(4)[np.abs(near - 3)]) == pytest.approx(found[0])


def test_what_needs_an_order_is_left_out_where_several_classes_have_none():
    assert applicable(2, ordinal=False) == applicable(3, ordinal=True) == list(METRICS)
    assert applicable(3, ordinal=False) == [name for name in METRICS if name != "quadratic_kappa"]
    labels = np.arange(6) % 3
    assert "quadratic_kappa" not in evaluate(labels, np.eye(3)[labels])


@pytest.mark.parametrize("n_classes", [2, 3])
def test_perfect_predictions_are_best_in_every_metric(n_classes):
    labels = np.arange(4 * n_classes) % n_classes
    found = evaluate(labels, np.eye(n_classes)[labels], ordinal=True)
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
