"""Doubtful labels: those that were turned are found, by a head that never saw their patients, and nothing else is."""

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from bench.train import suspected_labels as module
from bench.train.suspected_labels import LEAST_MARGIN, confident_learning, suspected_labels


def planted(n_classes, share=0.03, n=900, seed=0):
    """Features of separable classes, labels of which some were turned, patients of three images, and the turned."""
    features, right = make_blobs(n, n_features=100, centers=n_classes, cluster_std=12.0, random_state=seed)
    rng = np.random.default_rng(seed)
    patients = rng.permutation(np.repeat(np.arange(n // 3), 3))
    turned = np.sort(rng.choice(n, round(share * n), replace=False))
    labels = right.astype(np.int64)
    labels[turned] = (labels[turned] + rng.integers(1, n_classes, len(turned))) % n_classes
    return features.astype(np.float32), labels, patients, turned, right


@pytest.mark.parametrize("n_classes", [2, 3])
def test_turned_labels_are_found_and_the_right_ones_suggested(n_classes):
    features, labels, patients, turned, right = planted(n_classes)
    found = suspected_labels(features, labels, patients, seed=0)
    assert found is not None
    hits = np.isin(found.positions, turned)
    assert hits.mean() > 0.6
    assert hits.sum() > 0.6 * len(turned)
    assert (found.suggested[hits] == right[found.positions[hits]]).all()
    assert (np.diff(found.margin) <= 0).all()
    assert (found.margin >= LEAST_MARGIN).all()


def test_without_turned_labels_next_to_none_are_suspected():
    features, labels, patients, _, _ = planted(2, share=0)
    found = suspected_labels(features, labels, patients, seed=0)
    assert found is not None
    assert len(found.positions) <= 0.01 * len(labels)


def test_no_image_is_judged_by_a_head_that_saw_its_patient(monkeypatch):
    """Features that tell the patient alone say nothing of the label, however well a head can learn them by heart."""
    rng = np.random.default_rng(0)
    patients = np.repeat(np.arange(60), 5)
    features = np.eye(60, dtype=np.float32)[patients] * 10
    labels = rng.integers(0, 2, 60)[patients]
    seen = module._out_of_fold(features, labels, patients, 0)
    assert abs(np.corrcoef(seen[:, 1], labels)[0, 1]) < 0.35
    alone = module._out_of_fold(features, labels, np.arange(300), 0)
    assert np.corrcoef(alone[:, 1], labels)[0, 1] > 0.8, "it would be learnt by heart"


def test_confident_learning_by_hand():
    """Thresholds are 0.66 and 0.7: of class 0, the image at 0.9 for class 1 is confidently of that one."""
    for_one = np.array([0.1, 0.2, 0.1, 0.1, 0.9, 0.65, 0.7, 0.6, 0.8, 0.7, 0.7])
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    found = confident_learning(np.column_stack([1 - for_one, for_one]), labels)
    assert found.positions.tolist() == [4]
    assert found.suggested.tolist() == [1]
    assert found.margin == pytest.approx([0.8])


def test_too_few_patients_are_not_judged():
    features, labels, patients, _, _ = planted(2, n=30)
    assert suspected_labels(features, labels, np.minimum(patients, 3), seed=0) is None
    assert suspected_labels(features, labels * 0, patients, seed=0) is None
