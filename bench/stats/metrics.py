"""Scores of predicted probabilities, each by scikit-learn and, for many bootstrap draws at once, under weights.

Throughout, ``y_true`` is an integer array of shape (n_images,) holding class indices and ``y_score`` a float
array of shape (n_images, n_classes) whose rows sum to 1. A metric is one row of `METRICS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import ConfigError

Labels = npt.NDArray[np.integer[Any]]
Scores = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]
"""Shape (n_images,)."""
Weights = npt.NDArray[np.float64]
"""Shape (n_draws, n_images): how often each image counts."""
Values = npt.NDArray[np.float64]
"""Shape (n_draws,); NaN where a draw cannot be scored (a class is missing from it)."""
Plain = Callable[[Labels, Scores], float]
Weighted = Callable[[Labels, Scores, Weights], Values]
EPSILON = float(np.finfo(np.float64).eps)
SENSITIVITY = 0.95
"""At which a specificity is told."""
BRIER_SUM = "mean (p − y)² summed over the classes; 0 best, 2 worst, as in Brier 1950"


def _binarised(y_true: Labels, n_classes: int) -> npt.NDArray[np.int64]:
    return np.eye(n_classes, dtype=np.int64)[y_true]


def _probabilities(y_score: Scores) -> npt.NDArray[np.float64]:
    """Rows that sum to 1 in double precision: float32 softmax rows miss 1 by up to 1e-6."""
    scores = np.asarray(y_score, dtype=np.float64)
    return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def one_vs_rest(n_classes: int) -> list[int]:
    """Indices of the classes that get a curve or a threshold: the second of two, else each against the rest."""
    return [1] if n_classes == 2 else list(range(n_classes))


# On the images as they are: y_true, y_score -> float


def _sklearn(name: str) -> Callable[..., Any]:
    """A function of `sklearn.metrics`, which is loaded where a score is computed: command lines know it by name."""
    from sklearn import metrics

    return getattr(metrics, name)  # type: ignore[no-any-return]


def _ranked(name: str) -> Plain:
    """Of the second of two classes; of several the macro average of one-vs-rest."""

    def plain(y_true: Labels, y_score: Scores) -> float:
        score = _sklearn(name)
        if y_score.shape[1] == 2:
            return float(score(y_true == 1, y_score[:, 1]))
        return float(score(_binarised(y_true, y_score.shape[1]), y_score, average="macro"))

    return plain


def _of_calls(name: str) -> Plain:
    """At the most probable class of each image."""
    return lambda y_true, y_score: float(_sklearn(name)(y_true, y_score.argmax(axis=1)))


auc = _ranked("roc_auc_score")
"""Area under the ROC curve; for several classes the macro average of one-vs-rest."""
pr_auc = _ranked("average_precision_score")
"""Average precision of the second class; for several classes the macro average of one-vs-rest."""


def specificity_at_95_sensitivity(y_true: Labels, y_score: Scores) -> float:
    """The largest specificity of all thresholds whose sensitivity is at least `SENSITIVITY`.

    Of the second of two classes; of several the macro average of one-vs-rest. Thresholds are the scores that there are,
    and nothing is interpolated between them: the point of the empirical ROC curve that could be used (Pepe, The
    Statistical Evaluation of Medical Tests, 2003, chapter 4, with the roles of the two rates exchanged).
    """
    found = [_specificity(y_true == index, y_score[:, index]) for index in one_vs_rest(y_score.shape[1])]
    return float(np.mean(found))


def _specificity(positive: Mask, scores: Scores) -> float:
    """Of one class against the rest; NaN where either is missing."""
    if positive.all() or not positive.any():
        return float("nan")
    false, true, _ = _sklearn("roc_curve")(positive, scores, drop_intermediate=False)
    return float(1 - false[true >= SENSITIVITY].min())


def quadratic_kappa(y_true: Labels, y_score: Scores) -> float:
    """Cohen's kappa of the most probable classes, weighted by the square of how many classes a call is off.

    1 is agreement, 0 that of calls by chance, and below 0 there is less (Cohen, Psychological Bulletin 70:213, 1968).
    The order of the class indices is taken for that of the classes; of two classes it is the unweighted kappa. NaN
    where all images are of one class and called so.
    """
    labels = list(range(y_score.shape[1]))
    return float(_sklearn("cohen_kappa_score")(y_true, y_score.argmax(axis=1), labels=labels, weights="quadratic"))


def f1(y_true: Labels, y_score: Scores) -> float:
    """F1 averaged over the classes (macro), at the most probable class."""
    labels = list(range(y_score.shape[1]))
    return float(
        _sklearn("f1_score")(y_true, y_score.argmax(axis=1), labels=labels, average="macro", zero_division=0.0)
    )


def log_loss(y_true: Labels, y_score: Scores) -> float:
    """Cross-entropy of the labels under the predicted probabilities, in nats per image."""
    return float(_sklearn("log_loss")(y_true, _probabilities(y_score), labels=list(range(y_score.shape[1]))))


def brier(y_true: Labels, y_score: Scores) -> float:
    """Mean squared distance of the probabilities from the labels, 0 best.

    Of two classes that of the second alone, 1 worst; of several their sum over the classes, 2 worst, as in the original
    (Brier, Monthly Weather Review 78:1, 1950), which for two classes is twice the binary one.
    """
    return float(np.mean(_brier_by_image(y_true, y_score)))


def _brier_by_image(y_true: Labels, y_score: Scores) -> npt.NDArray[np.float64]:
    squared = (_probabilities(y_score) - _binarised(y_true, y_score.shape[1])) ** 2
    return np.asarray(squared[:, 1] if y_score.shape[1] == 2 else squared.sum(axis=1))


def brier_definition(classes: Sequence[str]) -> str:
    """Which of the scores of that name `brier` is for ``classes``, as a part of a sentence."""
    if len(classes) != 2:
        return BRIER_SUM
    return f"mean (p − y)², p the probability of {classes[1]}; 0 best, 1 worst; Brier’s of 1950 is twice that"


# Under weights: y_true, y_score, weights of shape (n_draws, n_images) -> shape (n_draws,)


def positives_above(positive: Mask, scores: Any, weights: Weights) -> tuple[Weights, Weights]:
    """Weight of the true and of the false positives at each distinct threshold, from the highest down.

    Args:
        positive: shape (n_images,).
        scores: shape (n_images,); an image is called positive at and above a threshold.
        weights: shape (n_draws, n_images).

    Returns:
        two arrays of shape (n_draws, n_thresholds).
    """
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # the last of each run of equal scores
    ordered, truth = weights[:, order], positive[order]
    return np.cumsum(ordered * truth, axis=1)[:, ends], np.cumsum(ordered * ~truth, axis=1)[:, ends]


def _macro(compute: Callable[[Weights, Weights], Values]) -> Weighted:
    """Of true and false positives by threshold: of the second of two classes, else the mean over one-vs-rest."""

    def weighted(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
        parts = [
            compute(*positives_above(y_true == index, y_score[:, index], weights))
            for index in one_vs_rest(y_score.shape[1])
        ]
        return parts[0] if len(parts) == 1 else np.asarray(np.mean(parts, axis=0))

    return weighted


def _roc_auc(true: Weights, false: Weights) -> Values:
    start = np.zeros((len(true), 1))
    area = np.trapezoid(np.hstack([start, true]), np.hstack([start, false]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(area / (true[:, -1] * false[:, -1]))


def _average_precision(true: Weights, false: Weights) -> Values:
    gained = np.diff(np.hstack([np.zeros((len(true), 1)), true]), axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(true + false > 0, true / (true + false), 0.0)
        return np.asarray((gained * precision).sum(axis=1) / true[:, -1])


def _specificity_at_sensitivity(true: Weights, false: Weights) -> Values:
    with np.errstate(invalid="ignore", divide="ignore"):
        sensitivity, alarms = true / true[:, -1:], false / false[:, -1:]
    first = (sensitivity >= SENSITIVITY).argmax(axis=1)  # the highest threshold that reaches it has the fewest alarms
    found = 1 - alarms[np.arange(len(alarms)), first]
    return np.asarray(np.where(np.isnan(sensitivity[:, -1]), np.nan, found))


def _mean(by_image: Callable[[Labels, Scores], npt.NDArray[Any]]) -> Weighted:
    """Of one value per image."""

    def weighted(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
        values = np.asarray(by_image(y_true, y_score), dtype=np.float64)  # no copy: its strides decide the last bit
        return np.asarray(weights @ values / weights.sum(axis=1))

    return weighted


def _log_loss_by_image(y_true: Labels, y_score: Scores) -> npt.NDArray[np.float64]:
    chosen = _probabilities(y_score)[np.arange(len(y_true)), y_true]
    return np.asarray(-np.log(np.clip(chosen, EPSILON, 1.0)))


def _of_confusion(compute: Callable[[npt.NDArray[np.float64]], Values]) -> Weighted:
    """Of confusion matrices, shape (n_draws, n_classes, n_classes): rows reference, columns predicted."""

    def weighted(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
        n = y_score.shape[1]
        cell = np.asarray(y_true) * n + y_score.argmax(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(compute((weights @ np.eye(n * n)[cell]).reshape(-1, n, n)))

    return weighted


def _balanced_accuracy(y_true: Labels, y_score: Scores, weights: Weights) -> Values:
    present = np.isin(np.arange(y_score.shape[1]), y_true)

    def mean_recall(matrix: npt.NDArray[np.float64]) -> Values:
        recall = np.diagonal(matrix, axis1=1, axis2=2) / matrix.sum(axis=2)
        return np.asarray(recall[:, present].mean(axis=1))

    return _of_confusion(mean_recall)(y_true, y_score, weights)


def _quadratic_kappa(matrix: npt.NDArray[np.float64]) -> Values:
    place = np.arange(matrix.shape[1])
    apart = (place[:, None] - place) ** 2
    observed = (matrix * apart).sum(axis=(1, 2)) * matrix.sum(axis=(1, 2))
    by_chance = ((matrix.sum(axis=2) @ apart) * matrix.sum(axis=1)).sum(axis=1)
    return np.asarray(1 - observed / by_chance)


def _f1(matrix: npt.NDArray[np.float64]) -> Values:
    hits = np.diagonal(matrix, axis1=1, axis2=2)
    total = matrix.sum(axis=1) + matrix.sum(axis=2)
    return np.asarray(np.divide(2 * hits, total, out=np.zeros_like(hits), where=total > 0).mean(axis=1))


@dataclass(frozen=True)
class Metric:
    """A score by name, and which way is better (never guessed from the name).

    Attributes:
        name: of the column ``metric_NAME`` and of ``--metric``.
        title: for people.
        compute: on the images as they are.
        weighted: the same for many draws at once, within 1e-9.
        higher_is_better: which way is better.
        needs_all_classes: whether it means nothing where a class is missing; if not, it takes all images together.
        limits: number of classes -> the least and the largest value there can be.
        needs_order: whether it means nothing where several classes have no order; two always have one.
        needed: whether every record of a training has it; one that came later, or that needs an order, may be missing.
    """

    name: str
    title: str
    compute: Plain
    weighted: Weighted
    higher_is_better: bool = True
    needs_all_classes: bool = True
    limits: Callable[[int], tuple[float, float]] = lambda n_classes: (0.0, 1.0)
    needs_order: bool = False
    needed: bool = True

    @property
    def mode(self) -> str:
        """``max`` or ``min``, as Ray, Optuna and Keras call it."""
        return "max" if self.higher_is_better else "min"

    @property
    def words(self) -> str:
        """The title inside a sentence: ``log loss``, but ``ROC AUC`` and ``Brier score``, after its author."""
        first = self.title.split()[0]
        as_it_is = first == "Brier" or first[1:] != first[1:].lower() or not first.isalpha()
        return self.title if as_it_is else self.title.lower()

    def better(self, a: float, b: float) -> bool:
        """Whether score ``a`` is strictly better than score ``b``."""
        return a > b if self.higher_is_better else a < b

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process finds its own row by the name, for functions made here cannot be pickled."""
        return get_metric, (self.name,)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("auc", "ROC AUC", auc, _macro(_roc_auc)),
        Metric("pr_auc", "PR AUC", pr_auc, _macro(_average_precision)),
        Metric(
            name="specificity_at_95_sensitivity",
            title="Specificity at 95 % sensitivity",
            compute=specificity_at_95_sensitivity,
            weighted=_macro(_specificity_at_sensitivity),
            needed=False,
        ),
        Metric(
            name="quadratic_kappa",
            title="Quadratic weighted kappa",
            compute=quadratic_kappa,
            weighted=_of_confusion(_quadratic_kappa),
            limits=lambda n_classes: (-1.0, 1.0),
            needs_order=True,
            needed=False,
        ),
        Metric(
            name="accuracy",
            title="Accuracy",
            compute=_of_calls("accuracy_score"),
            weighted=_mean(lambda y_true, y_score: y_score.argmax(axis=1) == y_true),
            needs_all_classes=False,
        ),
        Metric("balanced_accuracy", "Balanced accuracy", _of_calls("balanced_accuracy_score"), _balanced_accuracy),
        Metric("f1", "F1 (macro)", f1, _of_confusion(_f1)),
        Metric(
            name="log_loss",
            title="Log loss",
            compute=log_loss,
            weighted=_mean(_log_loss_by_image),
            higher_is_better=False,
            needs_all_classes=False,
            limits=lambda n_classes: (0.0, np.inf),
        ),
        Metric(
            name="brier",
            title="Brier score",
            compute=brier,
            weighted=_mean(_brier_by_image),
            higher_is_better=False,
            needs_all_classes=False,
            limits=lambda n_classes: (0.0, 1.0 if n_classes == 2 else 2.0),
        ),
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


def applicable(n_classes: int, ordinal: bool) -> list[str]:
    """Names of the metrics that mean something for so many classes, which have an order if ``ordinal``."""
    return [name for name, metric in METRICS.items() if n_classes == 2 or ordinal or not metric.needs_order]


def evaluate(y_true: Labels, y_score: Scores, ordinal: bool = False) -> dict[str, float]:
    """Every metric that is `applicable`, by name."""
    return {name: METRICS[name].compute(y_true, y_score) for name in applicable(y_score.shape[1], ordinal)}
