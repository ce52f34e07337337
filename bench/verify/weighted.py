"""Statistics of images that count several times, for many draws of patients at once; each written anew for `verify`.

``weights`` has the shape (n_draws, n_images): how often an image counts. NaN stands where a draw has no value.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from bench.verify.reading import Predicted
from bench.verify.scores import REACHED

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Statistic = Callable[[Floats], Floats]
"""Weights -> values, shape (n_draws, n_statistics)."""
GRID = np.linspace(0, 1, 101)
LEAST = 1e-12
"""Probabilities are held so far from 0 and 1 before their log-odds are taken."""


def quotient(hits: Floats, of: Floats) -> Floats:
    """NaN where nothing is divided."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / of)


def together(parts: Sequence[Statistic]) -> Statistic:
    """Several statistics of the same images, side by side."""
    return lambda weights: np.column_stack([one(weights) for one in parts])


def auc(positive: Mask, scores: Floats, weights: Floats) -> Floats:
    """Share of pairs of a positive and a negative that are in order, ties as half (Mann and Whitney, 1947)."""
    negatives, mine = scores[~positive], scores[positive]
    order = np.argsort(negatives)
    below = np.cumsum(np.pad(weights[:, ~positive][:, order], ((0, 0), (1, 0))), axis=1)
    places = [np.searchsorted(negatives[order], mine, side) for side in ("left", "right")]
    beaten = np.zeros(len(weights))
    for place in places:
        beaten += 0.5 * np.einsum("ij,ij->i", below[:, place], weights[:, positive])
    return quotient(beaten, weights[:, positive].sum(axis=1) * below[:, -1])


def _counts(positive: Mask, scores: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """True and false positives at each distinct threshold, the highest first, shape (n_draws, n_thresholds)."""
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    whole = np.cumsum(weights[:, order], axis=1)[:, last]
    true = np.cumsum((weights * positive)[:, order], axis=1)[:, last]
    return true, whole - true


def average_precision(positive: Mask, scores: Floats, weights: Floats) -> Floats:
    """Mean over the positives of the precision at their threshold."""
    true, false = _counts(positive, scores, weights)
    precision = np.nan_to_num(quotient(true, true + false))
    return quotient((np.diff(true, axis=1, prepend=0) * precision).sum(axis=1), true[:, -1])


def specificity(positive: Mask, scores: Floats, weights: Floats) -> Floats:
    """The largest at the distinct thresholds whose sensitivity is at least `REACHED`."""
    true, false = _counts(positive, scores, weights)
    reached = quotient(true, true[:, -1:]) >= REACHED
    cleared = 1 - quotient(false, false[:, -1:])
    return np.where(true[:, -1] > 0, np.where(reached, cleared, 0).max(axis=1), np.nan)


def both_curves(positive: Mask, scores: Floats, weights: Floats) -> Floats:
    """Sensitivity at each rate of false positives of `GRID`, then precision at each recall."""
    true, false = _counts(positive, scores, weights)
    found = np.full((len(weights), 2 * len(GRID)), np.nan)
    for row, hits, alarms in zip(found, true, false, strict=True):
        if hits[-1] and alarms[-1]:
            row[: len(GRID)] = np.interp(GRID, np.r_[0, alarms] / alarms[-1], np.r_[0, hits] / hits[-1])
            called = hits + alarms > 0
            hits, alarms = hits[called], alarms[called]
            place = np.searchsorted(hits, GRID * hits[-1] - 1e-9)
            row[len(GRID) :] = hits[place] / (hits + alarms)[place]
    return found


def youden(positive: Mask, scores: Floats, target: float | None, weights: Floats) -> Floats:
    """The highest threshold with the largest sensitivity + specificity, or that reaches a target sensitivity."""
    true, false = _counts(positive, scores, weights)
    sensitivity, alarms = quotient(true, true[:, -1:]), quotient(false, false[:, -1:])
    wanted = sensitivity - alarms if target is None else (sensitivity >= target - 1e-12).astype(float)
    known = np.isfinite(sensitivity[:, -1] + alarms[:, -1])
    place = np.where(known[:, None], wanted, 0).argmax(axis=1)
    return np.where(known, np.unique(scores)[::-1][place], np.nan)


def metrics(found: Predicted, names: Sequence[str]) -> Statistic:
    """Metrics by their names, each a statistic."""
    n = found.scores.shape[1]
    sides = [(found.labels == k, found.scores[:, k]) for k in ([1] if n == 2 else range(n))]
    whole = found.scores / found.scores.sum(axis=1, keepdims=True)
    own = np.clip(whole[np.arange(len(whole)), found.labels], np.finfo(float).eps, 1)
    apart = (whole - np.eye(n)[found.labels]) ** 2
    by_image = {"log_loss": -np.log(own), "brier": apart[:, 1] if n == 2 else apart.sum(axis=1)}
    called = found.scores.argmax(axis=1)
    by_image["accuracy"] = (called == found.labels).astype(float)

    def one(name: str, weights: Floats) -> Floats:
        if name in by_image:
            return quotient(weights @ by_image[name], weights.sum(axis=1))
        if name in OF_SIDES:
            return np.asarray(np.mean([OF_SIDES[name](*side, weights) for side in sides], axis=0))
        if name == "quadratic_kappa":
            return _kappa(found.labels, called, weights)
        return _of_calls(name, found.labels, called, n, weights)

    return lambda weights: np.column_stack([one(name, weights) for name in names])


OF_SIDES = {"auc": auc, "pr_auc": average_precision, "specificity_at_95_sensitivity": specificity}
"""Of one class against the others."""


def _kappa(labels: npt.NDArray[np.int64], called: npt.NDArray[np.int64], w: Floats) -> Floats:
    """1 less the mean squared distance of pairs over that of a label and any call; sums of whole numbers are exact."""
    own, said, squares = w @ labels, w @ called, w @ (labels**2) + w @ (called**2)
    total, pairs = w.sum(axis=1), w @ ((labels - called) ** 2)
    return 1 - quotient(total * pairs, total * squares - 2 * own * said)


def _of_calls(name: str, labels: npt.NDArray[np.int64], called: npt.NDArray[np.int64], n: int, w: Floats) -> Floats:
    """Balanced accuracy, NaN without an image of a class; or macro F1, 0 of a class that nothing is or is called."""
    own, said = np.eye(n)[labels], np.eye(n)[called]
    hits, mine, given = w @ (own * said), w @ own, w @ said
    if name == "f1":
        return np.asarray(np.nan_to_num(quotient(2 * hits, mine + given)).mean(axis=1))
    present = np.unique(labels)
    return np.asarray(quotient(hits, mine)[:, present].mean(axis=1))


def line(positive: Mask, scores: Floats) -> Statistic:
    """Mean of predicted minus observed, calibration intercept (slope held at 1), and calibration slope.

    Logistic regression of the reference on the log-odds, by Newton's method (Cox, Biometrika 45:562, 1958).
    """
    odds = logit(np.clip(scores, LEAST, 1 - LEAST))
    y, scale = positive.astype(float), odds.std() if np.ptp(odds) > 0 else 1.0

    def fitted(weights: Floats, x: Floats, offset: Floats, start: Floats | None = None) -> Floats:
        """Of columns x, shape (n_images, 1 or 2); NaN where no step becomes small."""
        if start is None:
            start = np.nan_to_num(fitted(np.ones((1, len(x))), x, offset, np.zeros((1, x.shape[1]))))
        beta, step = np.repeat(start, len(weights), axis=0), np.zeros(1)
        outer = np.einsum("ni,nj->nij", x, x).reshape(len(x), -1)
        for _ in range(60):
            expected = expit(beta @ x.T + offset)
            gradient = (weights * (y - expected)) @ x
            bend = ((weights * expected * (1 - expected)) @ outer).reshape(len(weights), x.shape[1], -1)
            step = np.linalg.solve(bend + LEAST * np.eye(x.shape[1]), gradient[..., None])[..., 0]
            step = np.clip(step, -2, 2)
            beta = beta + step
            if abs(step).max() < 1e-4:
                break
        return np.where(abs(step).max(axis=1, keepdims=True) < 1e-4, beta, np.nan)

    def statistic(weights: Floats) -> Floats:
        ones = np.ones((len(odds), 1))
        intercept = fitted(weights, ones, odds)[:, 0]
        standard = np.column_stack([ones[:, 0], (odds - odds.mean()) / scale])
        slope = fitted(weights, standard, np.zeros(len(odds)))[:, 1] / scale if np.ptp(odds) > LEAST else None
        gap = quotient(weights @ (scores - y), weights.sum(axis=1))
        return np.column_stack([gap, intercept, np.full(len(weights), np.nan) if slope is None else slope])

    return statistic
