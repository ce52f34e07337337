"""Suspected wrong labels: out-of-fold predictions of a linear head on frozen features, by confident learning.

Nothing is removed: what is found is listed for people to look at. Images of the test split take no part, for their
labels are not looked at before it is opened.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FOLDS = 5
C = 0.003  # scikit-learn's inverse penalty: a head that is less sure of what it has not seen than the probe's
LEAST_MARGIN = 0.7
"""An image is listed if the other class gets at least so much more than its label. Of 3 % of turned labels among 2,500
chest X-rays (InceptionV3, 112 pixels), without it 0.44 of those listed were turned, with it 0.61 to 0.65."""
Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Suspected:
    """Images whose labels are doubtful, the most doubtful first.

    Attributes:
        positions: of the images.
        suggested: class that each seems to be of.
        margin: probability of that class minus that of the label, out of fold.
    """

    positions: Labels
    suggested: Labels
    margin: Probabilities


def suspected_labels(
    features: npt.NDArray[np.float32], labels: Labels, groups: npt.NDArray[np.int64], seed: int
) -> Suspected | None:
    """The images that confident learning takes for mislabelled; None if a class has too few groups to judge.

    Args:
        features: pooled frozen features, shape (n_images, n_features).
        labels: class indices from 0, shape (n_images,).
        groups: what must not be parted (patients and copies), shape (n_images,).
        seed: decides the folds.
    """
    fewest = min(len(np.unique(groups[labels == label])) for label in range(labels.max() + 1))
    if labels.max() == 0 or fewest < FOLDS:
        return None
    return confident_learning(_out_of_fold(features, labels, groups, seed), labels)


def confident_learning(probabilities: Probabilities, labels: Labels) -> Suspected:
    """The images that are pruned by noise rate: the confident joint says how many of each pair of classes.

    A class's threshold is the mean probability that its own images get; an image counts for the most probable class
    whose threshold it reaches; these counts, the joint, are scaled to the numbers of images of each label; and of the
    images with label i, the n_ij with the largest p_j − p_i are suspected of being j, if that is at least LEAST_MARGIN.

    Source: Northcutt, Jiang & Chuang, Confident learning: Estimating uncertainty in dataset labels, Journal of
    Artificial Intelligence Research 70:1373 (2021).

    Args:
        probabilities: out of fold, shape (n_images, n_classes).
        labels: class indices, shape (n_images,).
    """
    n, n_classes = probabilities.shape
    thresholds = np.array([probabilities[labels == label, label].mean() for label in range(n_classes)])
    reached = np.where(probabilities >= thresholds, probabilities, -1.0)
    confident = reached.max(axis=1) >= 0
    joint = np.zeros((n_classes, n_classes))
    np.add.at(joint, (labels[confident], reached.argmax(axis=1)[confident]), 1)
    np.fill_diagonal(joint, np.maximum(np.diag(joint), 1))
    joint *= (np.bincount(labels, minlength=n_classes) / joint.sum(axis=1))[:, None]
    suggested, margin = np.full(n, -1), np.full(n, -np.inf)
    for given in range(n_classes):
        own = np.flatnonzero(labels == given)
        for other in (label for label in range(n_classes) if label != given):
            gap = probabilities[own, other] - probabilities[own, given]
            worst = np.argsort(-gap, kind="stable")[: round(joint[given, other])]
            worst = worst[(gap[worst] >= LEAST_MARGIN) & (gap[worst] > margin[own[worst]])]
            suggested[own[worst]], margin[own[worst]] = other, gap[worst]
    found = np.flatnonzero(suggested >= 0)
    found = found[np.argsort(-margin[found], kind="stable")]
    return Suspected(found, suggested[found], margin[found])


def _out_of_fold(
    features: npt.NDArray[np.float32], labels: Labels, groups: npt.NDArray[np.int64], seed: int
) -> Probabilities:
    """Probabilities from logistic regressions that were fitted to other groups, shape (n_images, n_classes)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = np.full((len(labels), labels.max() + 1), 1 / (labels.max() + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for train, out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(labels, labels, groups):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=200))
            model.fit(features[train], labels[train])
            found[np.ix_(out, model.classes_)] = model.predict_proba(features[out])
    return found
