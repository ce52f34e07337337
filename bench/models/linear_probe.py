"""Logistic regression on pooled features: where every head starts.

From a random start, a few epochs of Adam do not reach what logistic regression finds on the same frozen features: its
steps have one size for every weight, so channels that speak on few images get as much as those that carry the class.
Starting from a fitted probe also keeps fine-tuning from distorting the features in its first steps
(Kumar et al. 2022, Fine-Tuning can Distort Pretrained Features, arXiv:2202.10054).
"""

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.models.standardisation import Features, Standard

Head = list[npt.NDArray[np.float32]]
"""Kernel (n_features, n_classes) and bias (n_classes,) of a dense softmax layer."""

C = 0.01
"""scikit-learn's inverse penalty for images seen once, divided by the number of views. On 1,000 radiographs under VGG16
and InceptionV3 it scores as scikit-learn's 1 does on clean images, and higher on augmented ones."""
MOST_ROWS = 16_384
"""More rows are drawn from: the probe is a start, and its time must stay small beside a trial's."""
ITERATIONS = 200


def linear_probe(
    views: Sequence[Features], labels: npt.NDArray[np.int64], weights: npt.NDArray[np.float32], standard: Standard
) -> Head:
    """A dense softmax layer fitted to standardised features by L2-penalised multinomial logistic regression.

    Args:
        views: pooled features of the training images, each of shape (n_images, n_features).
        labels: class indices of shape (n_images,).
        weights: of each class in the loss, shape (n_classes,).
        standard: as `bench.models.standardisation.standardisation` gives it.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean, variance = standard
    drawn = _drawn(len(views), len(labels))
    values = np.concatenate([view.take(rows) for view, rows in zip(views, drawn, strict=True)])
    values = (values - mean) / np.sqrt(variance)
    targets = np.concatenate([labels[rows] for rows in drawn])
    kernel, bias = np.zeros((values.shape[1], len(weights)), np.float32), np.zeros(len(weights), np.float32)
    classes = np.unique(targets)
    if len(classes) < 2:
        return [kernel, bias]
    penalty = C * len(labels) / len(targets)  # as if each image were seen once
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a start need not have converged
        found = LogisticRegression(C=penalty, max_iter=ITERATIONS).fit(values, targets, weights[targets])
    half = len(classes) == 2  # scikit-learn then gives the difference of the two logits
    kernel[:, classes] = np.stack([-found.coef_[0], found.coef_[0]], axis=1) / 2 if half else found.coef_.T
    bias[classes] = np.array([-found.intercept_[0], found.intercept_[0]]) / 2 if half else found.intercept_
    return [kernel, bias]


def _drawn(n_views: int, n_images: int) -> list[npt.NDArray[np.int64]]:
    """Row numbers of each view: all of them, or as many as `MOST_ROWS` allows."""
    share = MOST_ROWS // n_views
    if n_images <= share:
        return [np.arange(n_images)] * n_views
    rng = np.random.default_rng(0)
    return [np.sort(rng.choice(n_images, share, replace=False)) for _ in range(n_views)]
