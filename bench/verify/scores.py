"""Scores by scikit-learn, and patient-clustered intervals by a bootstrap of our own."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t
from sklearn import config_context
from sklearn import metrics as sk

from bench.verify.reading import Predicted

Weights = npt.NDArray[np.float64]
Score = Callable[[Predicted, Weights | None], float]
DRAWS = 1000
ROOM = 0.15
"""Two bootstraps of 1,000 draws differ by chance: each end by so much of the interval's width at most. An end has a
standard error of about 0.02 of the width from the quantile and as much from the bias correction, in each of the two; of
16 intervals of four runs none was further off than 0.08."""


def _ranked(score: Callable[..., float]) -> Score:
    def of(found: Predicted, weights: Weights | None = None) -> float:
        n = found.scores.shape[1]
        wanted = [1] if n == 2 else range(n)
        return float(
            np.mean([score(found.labels == k, found.scores[:, k], sample_weight=weights) for k in wanted]),
        )

    return of


def _called(score: Callable[..., float]) -> Score:
    def of(found: Predicted, weights: Weights | None = None) -> float:
        return float(score(found.labels, found.scores.argmax(axis=1), sample_weight=weights))

    return of


def _f1(found: Predicted, weights: Weights | None = None) -> float:
    labels = list(range(found.scores.shape[1]))
    called = found.scores.argmax(axis=1)
    how = {"labels": labels, "average": "macro", "zero_division": 0.0, "sample_weight": weights}
    return float(sk.f1_score(found.labels, called, **how))


def _log_loss(found: Predicted, weights: Weights | None = None) -> float:
    return float(sk.log_loss(found.labels, _whole(found), labels=range(found.scores.shape[1]), sample_weight=weights))


def _brier(found: Predicted, weights: Weights | None = None) -> float:
    if found.scores.shape[1] == 2:
        return float(sk.brier_score_loss(found.labels, _whole(found)[:, 1], sample_weight=weights))
    reference = np.eye(found.scores.shape[1])[found.labels]
    return float(np.average(((_whole(found) - reference) ** 2).sum(axis=1), weights=weights))


def _whole(found: Predicted) -> npt.NDArray[np.float64]:
    """Probabilities whose rows sum to 1, as their text in a file hardly does."""
    return np.asarray(found.scores / found.scores.sum(axis=1, keepdims=True))


SCORES: dict[str, Score] = {
    "auc": _ranked(sk.roc_auc_score),
    "pr_auc": _ranked(sk.average_precision_score),
    "accuracy": _called(sk.accuracy_score),
    "balanced_accuracy": _called(sk.balanced_accuracy_score),
    "f1": _f1,
    "log_loss": _log_loss,
    "brier": _brier,
}
"""Every metric by name."""
NEEDS_ALL_CLASSES = {"auc", "pr_auc", "balanced_accuracy", "f1"}


def score(name: str, found: Predicted) -> float | None:
    """A metric; None where a class that it needs has no image."""
    missing = len(np.unique(found.labels)) < found.scores.shape[1]
    return None if missing and name in NEEDS_ALL_CLASSES else SCORES[name](found, None)


def interval(name: str, found: Predicted, level: float = 0.95, others: int = DRAWS) -> list[Weights] | None:
    """Both ends of the interval of a metric under draws of whole patients; None where fewer than half have a value.

    Of each end the least value that another bootstrap, of ``others`` draws, gives by chance, the value itself, and the
    largest: where few are drawn, or scores are skewed, that is more than `ROOM` of the width.

    Bias-corrected and accelerated (Efron, JASA 82:171, 1987), with the quantiles of Student's t (Hesterberg, The
    American Statistician 69:371, 2015), written anew.
    """
    patients, code = np.unique(found.patients, return_inverse=True)
    n, value = len(patients), SCORES[name](found, None)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        without = [_under(name, found, (code != one).astype(float)) for one in range(n)]
    drawn = draws(name, [found])[:, 0]
    usable = drawn[np.isfinite(drawn)]
    if len(usable) < DRAWS / 2:
        return None
    known = np.array([one for one in without if one is not None])
    pull = known.mean() - known
    curve = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5) if (pull**2).sum() > 0 else 0.0
    share = ((usable < value - 1e-12).sum() + 0.5 * (abs(usable - value) <= 1e-12).sum() + 0.5) / (len(usable) + 1)
    bias = norm.ppf(share)
    reach = t.ppf([(1 - level) / 2, (1 + level) / 2], n - 1) * np.sqrt(n / (n - 1))
    ends = bias + (bias + reach) / (1 - curve * (bias + reach))
    share = norm.cdf(ends)
    # standard errors of the quantile and of twice the bias, both in standard deviations, but for the number of draws
    error = np.hypot(np.sqrt(share * (1 - share)) / norm.pdf(ends), np.sqrt(2 * np.pi))
    chance = 2.5 * error * np.sqrt(1 / others + 1 / len(usable))
    return list(np.quantile(usable, norm.cdf([ends - chance, ends, ends + chance])).T)


def draws(name: str, models: Sequence[Predicted]) -> Weights:
    """A metric of models of the same images in the same draws of whole patients, shape (DRAWS, n_models).

    NaN where a class is gone.
    """
    patients, code = np.unique(models[0].patients, return_inverse=True)
    n, rng, found = len(patients), np.random.default_rng(20_000), []
    with config_context(assume_finite=True, skip_parameter_validation=True):
        for _ in range(DRAWS):
            weights = np.bincount(rng.integers(0, n, n), minlength=n)[code]
            found.append([_under(name, one, weights) for one in models])
    return np.array(found, dtype=np.float64)


def _under(name: str, found: Predicted, weights: npt.NDArray[np.number]) -> float | None:
    """A metric of images of which each counts so many times; None where a class is gone."""
    part = weights > 0
    if name in NEEDS_ALL_CLASSES and len(np.unique(found.labels[part])) < len(np.unique(found.labels)):
        return None
    return SCORES[name](found, weights.astype(np.float64))
