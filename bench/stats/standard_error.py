"""Standard error of a score, from the score itself and the number of patients of each class.

A search keeps the scores of its trials, not their predictions. Where predictions are at hand, the bootstrap by patients
(`bench.stats.bootstrap`) is the better way.
"""

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from bench.stats.metrics import SENSITIVITY, one_vs_rest


def standard_error(metric: str, value: float, patients: Sequence[float]) -> float:
    """Standard error of one model's score, of a sampled set of patients.

    A patient's images count as one, as if they were all alike: so it is rather too large where they are not.

    Of 120 and 700 simulated patients, two and four classes, it was 0.9 to 1.2 times that of the bootstrap for accuracy,
    balanced accuracy and F1, 0.8 to 2.3 times for ROC AUC, 0.9 to 4.7 for PR AUC (most near 1, of few patients), 0.6 to
    1.2 for specificity at a sensitivity (0 of a score of 1), 0.7 to 1.2 for quadratic kappa (up to 2.3 where calls are
    mostly one of five ordered classes off), 1.4 to 2.3 for the Brier score, and 0.3 to 1.6 for log loss, of which the
    mean alone says little.

    Args:
        metric: name of the score.
        value: of the score.
        patients: number of patients of each class, the positive one second where there are two.

    Returns:
        the standard error, in the score's own unit; infinite where a class has no patient.

    Sources:
        ROC AUC: Hanley and McNeil, Radiology 143:29 (1982); of several classes the mean over one-vs-rest, whose terms
        are taken as independent. PR AUC: the binomial one of Boyd, Eng and Page, ECML PKDD (2013). Accuracy: binomial;
        balanced accuracy and F1 (macro): a mean of one binomial per class. Brier score: the bound of Bhatia and Davis,
        American Mathematical Monthly 107:353 (2000), for values between 0 and its worst. Log loss: that of a mean of
        exponentially distributed losses. Specificity at a sensitivity: Greenhouse and Mantel, Biometrics 6:399 (1950),
        with scores of both sides normal and of one variance. Quadratic kappa: that of an unweighted one of the same
        value, called classes as frequent as the reference's (Cohen, Educational and Psychological Measurement 20:37,
        1960).
    """
    total, classes = sum(patients), len(patients)
    if min(patients, default=0) <= 0:
        return math.inf
    if metric in AGAINST_REST:
        chosen = [patients[index] for index in one_vs_rest(classes)]
        return _of_mean([AGAINST_REST[metric](value, size, total - size) for size in chosen])
    if metric == "quadratic_kappa":
        by_chance = sum((size / total) ** 2 for size in patients)
        return math.sqrt(max(0.0, (1 - value) * (1 / (1 - by_chance) - (1 - value))) / total)
    if metric in ("balanced_accuracy", "f1"):
        return _of_mean([_binomial(value, size) for size in patients])
    if metric == "log_loss":
        return value / math.sqrt(total)
    worst = 2.0 if metric == "brier" and classes > 2 else 1.0
    return worst * _binomial(value / worst, total)


def _of_mean(errors: Sequence[float]) -> float:
    return math.hypot(*errors) / len(errors)


def _binomial(share: float, size: float, _: float = 0.0) -> float:
    return math.sqrt(max(0.0, share * (1 - share)) / size)


def _hanley_mcneil(auc: float, positive: float, negative: float) -> float:
    two_positive, two_negative = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (
        auc * (1 - auc) + (positive - 1) * (two_positive - auc**2) + (negative - 1) * (two_negative - auc**2)
    ) / (positive * negative)
    return math.sqrt(max(0.0, variance))


def _greenhouse_mantel(specificity: float, positive: float, negative: float) -> float:
    """That of the specificity at a threshold, and what the threshold adds, which the positives decide."""
    own = _binomial(specificity, negative)
    if not 0 < specificity < 1:
        return own
    normal = NormalDist()
    slope = normal.pdf(normal.inv_cdf(specificity)) / normal.pdf(normal.inv_cdf(SENSITIVITY))
    return math.hypot(own, slope * _binomial(SENSITIVITY, positive))


AGAINST_REST: dict[str, Callable[[float, float, float], float]] = {
    "auc": _hanley_mcneil,
    "pr_auc": _binomial,
    "specificity_at_95_sensitivity": _greenhouse_mantel,
}
"""Of one class against the others: score, patients of the class, patients of the others -> standard error."""
