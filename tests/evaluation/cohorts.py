"""Predictions with which the tests of evaluation work."""

import numpy as np


def cohort(n=200, n_classes=2, edge=1.5, seed=0, images_a_patient=2):
    """Labels, probabilities better than chance by ``edge``, and patients with images of one class."""
    rng = np.random.default_rng(seed)
    patients = np.arange(n) // images_a_patient
    labels = patients % n_classes
    logits = rng.normal(size=(n, n_classes)) + edge * np.eye(n_classes)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return labels, scores, patients
