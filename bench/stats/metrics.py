"""Scores of predicted probabilities: ``(y_true, y_score) -> numbers``, by NumPy and scikit-learn alone.

Throughout, ``y_true`` is an integer array of shape (n_images,) holding class indices and ``y_score`` a float
array of shape (n_images, n_classes) whose rows sum to 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from bench.errors import ConfigError

Labels = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]


def _binarised(y_true: Labels, n_classes: int) -> npt.NDArray[np.int64]:
    return np.eye(n_classes, dtype=np.int64)[y_true]


def _probabilities(y_score: Scores) -> Scores:
    """Rows that sum to 1 in double precision: float32 softmax rows miss 1 by up to 1e-6."""
    scores = np.asarray(y_score, dtype=np.float64)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def one_vs_rest(n_classes: int) -> list[int]:
    """Indices of the classes that get a curve or a threshold: the second of two, else each against the rest."""
    return [1] if n_classes == 2 else list(range(n_classes))


def auc(y_true: Labels, y_score: Scores) -> float:
    """Area under the ROC curve; for several classes the macro average of one-vs-rest."""
    if y_score.shape[1] == 2:
        return float(sk.roc_auc_score(y_true == 1, y_score[:, 1]))
    return float(sk.roc_auc_score(_binarised(y_true, y_score.shape[1]), y_score, average="macro"))


def pr_auc(y_true: Labels, y_score: Scores) -> float:
    """Average precision of the second class; for several classes the macro average of one-vs-rest."""
    if y_score.shape[1] == 2:
        return float(sk.average_precision_score(y_true == 1, y_score[:, 1]))
    targets = _binarised(y_true, y_score.shape[1])
    return float(sk.average_precision_score(targets, y_score, average="macro"))


def accuracy(y_true: Labels, y_score: Scores) -> float:
    """Share of images whose most probable class is their label."""
    return float(sk.accuracy_score(y_true, y_score.argmax(axis=1)))


def balanced_accuracy(y_true: Labels, y_score: Scores) -> float:
    """Mean recall over the classes that occur."""
    return float(sk.balanced_accuracy_score(y_true, y_score.argmax(axis=1)))


def f1(y_true: Labels, y_score: Scores) -> float:
    """F1 averaged over the classes (macro), at the most probable class."""
    labels = list(range(y_score.shape[1]))
    return float(sk.f1_score(y_true, y_score.argmax(axis=1), labels=labels, average="macro", zero_division=0.0))


def log_loss(y_true: Labels, y_score: Scores) -> float:
    """Cross-entropy of the labels under the predicted probabilities, in nats an image."""
    return float(sk.log_loss(y_true, _probabilities(y_score), labels=list(range(y_score.shape[1]))))


def brier(y_true: Labels, y_score: Scores) -> float:
    """Mean squared distance of the probabilities from the labels, 0 best.

    Of two classes that of the second alone, 1 worst; of several their sum over the classes, 2 worst, as in the original
    (Brier, Monthly Weather Review 78:1, 1950), which for two classes is twice the binary one.
    """
    return float(np.mean(brier_by_image(y_true, y_score)))


def brier_by_image(y_true: Labels, y_score: Scores) -> npt.NDArray[np.float64]:
    """Squared distance of each image's probabilities from its label, shape (n_images,); see `brier`."""
    squared = (_probabilities(y_score) - _binarised(y_true, y_score.shape[1])) ** 2
    return np.asarray(squared[:, 1] if y_score.shape[1] == 2 else squared.sum(axis=1))


BRIER_SUM = "mean (p − y)² summed over the classes; 0 best, 2 worst, as in Brier 1950"


def brier_definition(classes: Sequence[str]) -> str:
    """Which of the scores of that name `brier` is for ``classes``, as a part of a sentence."""
    if len(classes) != 2:
        return BRIER_SUM
    return f"mean (p − y)², p the probability of {classes[1]}; 0 best, 1 worst; Brier’s of 1950 is twice that"


@dataclass(frozen=True)
class Metric:
    """A score by name, and which way is better (never guessed from the name)."""

    name: str
    title: str
    compute: Callable[[Labels, Scores], float]
    higher_is_better: bool = True

    @property
    def mode(self) -> str:
        """``max`` or ``min``, as Ray, Optuna and Keras call it."""
        return "max" if self.higher_is_better else "min"

    def better(self, a: float, b: float) -> bool:
        """Whether score ``a`` is strictly better than score ``b``."""
        return a > b if self.higher_is_better else a < b


METRICS = {
    metric.name: metric
    for metric in (
        Metric("auc", "ROC AUC", auc),
        Metric("pr_auc", "PR AUC", pr_auc),
        Metric("accuracy", "Accuracy", accuracy),
        Metric("balanced_accuracy", "Balanced accuracy", balanced_accuracy),
        Metric("f1", "F1 (macro)", f1),
        Metric("log_loss", "Log loss", log_loss, higher_is_better=False),
        Metric("brier", "Brier score", brier, higher_is_better=False),
    )
}


def get_metric(name: str) -> Metric:
    """The metric called ``name``.

    Raises:
        ConfigError: if there is none; the message lists those there are.
    """
    try:
        return METRICS[name]
    except KeyError:
        raise ConfigError(f"Unknown metric {name!r}; known metrics: {', '.join(METRICS)}.") from None


def evaluate(y_true: Labels, y_score: Scores) -> dict[str, float]:
    """Every metric of the table, by name."""
    return {name: metric.compute(y_true, y_score) for name, metric in METRICS.items()}
