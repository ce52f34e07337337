"""The map from a model's own probabilities to calibrated ones: how it is applied, fitted and chosen.

A loss that weighs classes teaches the model other class frequencies than those of the images: the softmax estimates
``w_k P(k|x)`` up to a constant, and not ``P(k|x)``. Dividing by the weights undoes that (Elkan, IJCAI 2001, theorem 2;
Saerens et al., Neural Computation 14:21, 2002), exactly where the network has learnt what its loss asks for. One that
tells its training images all apart has not: no weight moves a loss that is 0 anyway (Byrd and Lipton, What is the
Effect of Importance Weighting in Deep Learning?, ICML 2019). So validation may say that nothing is to be undone. Slopes
and intercepts of the logits are fitted after it.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import scipy  # whose parts are loaded where they are used: command lines need none

from bench.stats.enough import by_class, too_few
from bench.stats.metrics import Labels, Scores
from bench.stats.predictions import Predictions

NONE, TEMPERATURE, INTERCEPT, VECTOR = "none", "temperature", "intercept and slope", "vector scaling"
SMALLEST = 1e-12
"""Probabilities below this count as this."""
FOLDS, ROUNDS = 10, 3
"""Of the cross-validation that chooses a map, and how often patients are dealt to folds anew."""
CAUTION = 0.5
"""Standard errors of its gain that a map has to gain over a simpler one. In simulated studies of 60 patients 0 loses
three times as much log loss as 0.5 where no map is needed, and 1 nearly twice as much over all studies
(docs/method/calibration.md).
"""


@dataclass(frozen=True)
class CalibrationMap:
    """What makes calibrated probabilities of a model's own: ``softmax(slopes * log(p / class_weights) + intercepts)``.

    Attributes:
        method: what was fitted: ``none``, ``temperature`` (one slope), ``intercept and slope`` (of two classes), or
            ``vector scaling`` (a slope and an intercept for each of several classes).
        class_weights: of the training loss, by class; empty if all are alike.
        slopes: by class, or one for all; empty for 1. A temperature is 1 / slope.
        intercepts: by class, the first 0; empty for 0.

    Sources: Platt 1999 (intercept and slope); Guo et al., On Calibration of Modern Neural Networks, ICML 2017
    (temperature, vector scaling).
    """

    method: str = NONE
    class_weights: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    intercepts: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name in ("class_weights", "slopes"):
            if not all(0 < value < np.inf for value in getattr(self, name)):
                raise ValueError(f"{name} must be finite and above 0, but got {getattr(self, name)}")
        if not np.isfinite(self.intercepts).all():
            raise ValueError(f"intercepts must be finite, but got {self.intercepts}")

    @classmethod
    def of_temperature(cls, temperature: float) -> "CalibrationMap":
        """Logits divided by ``temperature``: all that run folders of earlier versions have."""
        return cls(TEMPERATURE, slopes=(1 / temperature,))

    @property
    def temperature(self) -> float | None:
        """That which alone was fitted; None where something else was."""
        return 1 / self.slopes[0] if self.method == TEMPERATURE else None

    def fits(self, n_classes: int) -> bool:
        """Whether it is a map of so many classes."""
        by_class = all(len(one) in (0, n_classes) for one in (self.class_weights, self.intercepts))
        return by_class and len(self.slopes) in (0, 1, n_classes)

    @property
    def changes_nothing(self) -> bool:
        """Whether calibrated probabilities are the model's own."""
        return not (self.class_weights or self.slopes or self.intercepts)

    @property
    def keeps_order(self) -> bool:
        """Whether the most probable class of every image stays so."""
        return not self.class_weights and len(set(self.slopes)) < 2 and not any(self.intercepts)

    @property
    def only_weights(self) -> "CalibrationMap":
        """The same without what was fitted."""
        return replace(self, method=NONE, slopes=(), intercepts=())

    def __call__(self, scores: Scores) -> npt.NDArray[np.float64]:
        """Calibrated probabilities of ``scores``; same shape (n_images, n_classes), rows sum to 1."""
        logits = _logits(scores, self.class_weights)
        slopes, intercepts = np.asarray(self.slopes or 1.0), np.asarray(self.intercepts or 0.0)
        return np.asarray(scipy.special.softmax(logits * slopes + intercepts, axis=1))


def _logits(scores: Scores, class_weights: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Logarithms of the probabilities without the weights of the loss, shape (n_images, n_classes)."""
    logits = np.log(np.clip(np.asarray(scores, dtype=np.float64), SMALLEST, 1.0))
    return np.asarray(scipy.special.log_softmax(logits - np.log(np.asarray(class_weights or 1.0)), axis=1))


def methods_for(n_classes: int) -> tuple[str, ...]:
    """The maps to choose from, the simplest first."""
    return (NONE, TEMPERATURE, INTERCEPT if n_classes == 2 else VECTOR)


def fit_map(y_true: Labels, scores: Scores, method: str, class_weights: tuple[float, ...] = ()) -> CalibrationMap:
    """The map of a ``method`` with the least penalised log loss.

    The penalty is that of a standard normal prior on each logarithm of a slope and each intercept. It weighs as much as
    an image or so, and keeps validation images that are all told apart from making every probability 0 or 1. Slopes
    are positive, so that of two classes none changes its order.
    """
    if method == NONE:
        return CalibrationMap(NONE, class_weights)
    logits = _logits(scores, class_weights)
    n_images, n_classes = logits.shape
    n_slopes = n_classes if method == VECTOR else 1
    n_intercepts = 0 if method == TEMPERATURE else n_classes - 1
    target = np.eye(n_classes)[y_true]

    def parts(found: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        slopes = np.broadcast_to(np.exp(found[:n_slopes]), n_classes)
        return slopes, np.concatenate([np.zeros(n_classes - n_intercepts), found[n_slopes:]])

    def loss(found: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        """Penalised log loss and its gradient."""
        slopes, intercepts = parts(found)
        logarithms = scipy.special.log_softmax(logits * slopes + intercepts, axis=1)
        over = np.exp(logarithms) - target
        by_slope = (over * logits).sum(axis=0) * slopes
        by_slope = by_slope if n_slopes > 1 else by_slope.sum(keepdims=True)
        gradient = np.concatenate([by_slope, over.sum(axis=0)[n_classes - n_intercepts :]]) + found
        return float((-logarithms * target).sum() + found @ found / 2) / n_images, gradient / n_images

    best = scipy.optimize.minimize(
        loss, np.zeros(n_slopes + n_intercepts), jac=True, method="BFGS", options={"gtol": 1e-7}
    ).x
    slopes, intercepts = parts(best)
    return CalibrationMap(
        method, class_weights, tuple(map(float, slopes)), tuple(map(float, intercepts)) if n_intercepts else ()
    )


@dataclass(frozen=True)
class Candidate:
    """A map that could have been chosen.

    Attributes:
        method: as in `CalibrationMap`.
        log_loss: cross-validated, nats per image.
    """

    method: str
    log_loss: float


@dataclass(frozen=True)
class WeightsOfLoss:
    """Whether validation has the weights of the loss undone.

    Attributes:
        weights: by class.
        kept, undone: log loss on validation of the model's own probabilities, and of these divided by the weights.
    """

    weights: tuple[float, ...]
    kept: float
    undone: float


@dataclass(frozen=True)
class Choice:
    """The chosen map, with what it was chosen from.

    Attributes:
        map: fitted on all validation images.
        candidates: the simplest first; empty if nothing could be fitted.
        reason: why nothing was fitted; empty if the maps were compared.
        of_loss: what was compared before; None where the loss weighed no class, or nothing could be compared.
    """

    map: CalibrationMap
    candidates: tuple[Candidate, ...] = ()
    reason: str = ""
    of_loss: WeightsOfLoss | None = None


def choose_map(validation: Predictions, class_weights: tuple[float, ...] = (), seed: int = 0) -> Choice:
    """The map with the least cross-validated log loss, a simpler one unless another gains by more than noise.

    The log loss of every map is cross-validated over patients, dealt to `FOLDS` folds `ROUNDS` times. A map replaces a
    simpler one only if it gains more than `CAUTION` standard errors of the gain by patients, as in the rule of Breiman
    et al., Classification and Regression Trees, 1984, section 3.4.3. By the same rule, but without fitting anything,
    the weights of the loss are undone or, where the model's own probabilities gain over that, not.

    Args:
        validation: predictions of the model as it is.
        class_weights: of the training loss; empty if all are alike.
        seed: decides the folds.
    """
    plain = CalibrationMap(NONE, class_weights)
    if few := too_few(validation.patients, by_class(validation.labels, validation.classes)):
        return Choice(plain, reason=few)
    class_weights, of_loss = _weights_to_undo(validation, class_weights)
    methods = methods_for(len(validation.classes))
    losses = _cross_validated(validation, methods, class_weights, np.random.default_rng(seed))
    chosen = NONE
    for method in methods[1:]:
        if _gains(validation, losses[method], losses[chosen]):
            chosen = method
    candidates = tuple(Candidate(method, float(losses[method].mean())) for method in methods)
    return Choice(fit_map(validation.labels, validation.scores, chosen, class_weights), candidates, of_loss=of_loss)


def _weights_to_undo(
    validation: Predictions, class_weights: tuple[float, ...]
) -> tuple[tuple[float, ...], WeightsOfLoss | None]:
    """``class_weights``, or none where the model's own probabilities gain over those without them; and by how much."""
    if not class_weights:
        return (), None
    kept, undone = (_losses(CalibrationMap(NONE, one), validation) for one in ((), class_weights))
    compared = WeightsOfLoss(class_weights, float(kept.mean()), float(undone.mean()))
    return () if _gains(validation, kept, undone) else class_weights, compared


def _losses(apply: CalibrationMap, images: Predictions) -> npt.NDArray[np.float64]:
    """Log loss of each image, shape (n_images,)."""
    right = apply(images.scores)[np.arange(len(images)), images.labels]
    return np.asarray(-np.log(np.maximum(right, SMALLEST)))


def _gains(images: Predictions, losses: npt.NDArray[np.float64], over: npt.NDArray[np.float64]) -> bool:
    """Whether ``losses`` are lower than others by more than `CAUTION` standard errors of the difference by patients."""
    _, owner = np.unique(images.patients, return_inverse=True)
    gain = np.bincount(owner, weights=over - losses)
    return bool(gain.mean() > CAUTION * gain.std(ddof=1) / np.sqrt(len(gain)))


def _cross_validated(
    validation: Predictions, methods: tuple[str, ...], class_weights: tuple[float, ...], rng: np.random.Generator
) -> dict[str, npt.NDArray[np.float64]]:
    """Method -> log loss of each image under maps fitted to other patients, shape (n_images,)."""
    labels, scores = validation.labels, validation.scores
    found = {method: np.zeros(len(labels)) for method in methods}
    for _ in range(ROUNDS):
        folds = _folds(validation, rng)
        for fold in range(FOLDS):
            out = folds == fold
            for method in methods:
                fitted = fit_map(labels[~out], scores[~out], method, class_weights)
                found[method][out] += _losses(fitted, validation.part(np.flatnonzero(out))) / ROUNDS
    return found


def _folds(validation: Predictions, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Fold of each image: whole patients, dealt class by class."""
    _, first, owner = np.unique(validation.patients, return_index=True, return_inverse=True)
    order = np.lexsort((rng.random(len(first)), validation.labels[first]))
    folds = np.empty(len(first), dtype=np.int64)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[owner]
