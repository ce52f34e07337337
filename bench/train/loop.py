"""The loop over epochs: batches, validation, and early stopping around the steps of `bench.train.steps`."""

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from bench.clock import Clock
from bench.errors import TrialFailed
from bench.models.standardisation import Features
from bench.search.parameters import COSINE
from bench.stats.metrics import Metric, evaluate
from bench.train.steps import restart, train_steps
from bench.trial import EpochRecord, Scored, TrialConfig, TrialResult

PREDICT_BATCH = 128
WARM_UP = 0.1
"""Share of the steps of fine-tuning over which a cosine schedule's rate rises (Goyal et al. 2017, arXiv:1706.02677)."""
BLOCK_BYTES = 16 * 2**20
MOST_STEPS = 64
"""Batches are handed to the model in blocks of so many steps and bytes: a step on pooled features takes less time than
calling it from Python."""


@dataclass(frozen=True)
class Fitting:
    """One phase of one training: what is trained, and for how long.

    Attributes:
        config: what is trained.
        phase: ``head``, ``finetune`` or (small CNN) ``scratch``.
        seed: decides the order of the images.
        epochs: at most so many.
        patience: the phase ends after so many epochs without gain.
    """

    config: TrialConfig
    phase: str
    seed: int
    epochs: int
    patience: int

    @property
    def learning_rate(self) -> float:
        """Of Adam in this phase; under a schedule, the largest."""
        factor = float(self.config.finetune_factor or 1.0) if self.phase == "finetune" else 1.0
        return self.config.learning_rate * factor

    def rates(self, first: int, count: int, of: int) -> npt.NDArray[np.float32]:
        """The learning rate of each of ``count`` steps, the first being number ``first`` of ``of``, from 0.

        Under a cosine schedule (Loshchilov & Hutter 2017, arXiv:1608.03983, without restarts) fine-tuning's rate rises
        in a line over `WARM_UP` of all steps and falls to 0 as half a cosine. The head's rate is constant: it is
        trained from where a linear probe ends, and is at its best within an epoch or two.
        """
        rates = np.full(count, self.learning_rate)
        if self.phase == "finetune" and self.config.schedule == COSINE:
            number, rising = np.arange(first, first + count), max(1, round(WARM_UP * of))
            fallen = np.clip((number - rising) / max(1, of - rising), 0, 1)
            rates *= np.minimum((number + 1) / rising, (1 + np.cos(np.pi * fallen)) / 2)
        return rates.astype(np.float32)

    @property
    def ema_momentum(self) -> float:
        """Of the moving average of weights in this phase; 0 for none."""
        return self.config.ema_momentum if self.phase == "finetune" else 0.0

    @property
    def activity(self) -> str:
        """What its seconds are counted as."""
        return "suffix training" if self.phase == "finetune" else "head training"


class Batches:
    """Shuffled batches of one epoch after another, in blocks of several; epoch e reads view e mod V.

    All batches have one shape, and all blocks too, for another would be traced anew: a last batch that is short is
    filled up with other images of weight 0, and its own images weigh as much as in a batch of their number. Nothing
    is dropped. A last block that is short says how many of its batches count.

    Attributes:
        per_epoch: steps of an epoch.

    Args:
        views: the training features, one entry per view.
        targets: float array of shape (n_images, n_classes), rows sum to 1.
        weights: float array of shape (n_images,), the weight of each image in the loss.
        batch_size: images per batch.
        seed: decides the order.
        like: blocks have the shape that they have for so many images, for one step to be traced for both; at least
            those that there are.
    """

    def __init__(
        self,
        views: Sequence[Features],
        targets: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        batch_size: int,
        seed: int,
        like: int = 0,
    ) -> None:
        self._views = views
        self._targets = targets
        self._weights = weights
        like = max(like, len(targets))
        self._batch_size = min(batch_size, like)
        self._seed = seed
        batch_bytes = 4 * self._batch_size * math.prod(views[0].shape[1:])
        self.per_epoch = math.ceil(len(targets) / self._batch_size)
        steps = math.ceil(like / self._batch_size)
        self._steps = max(1, min(MOST_STEPS, BLOCK_BYTES // batch_bytes, steps))

    def epoch(self, number: int) -> Iterator[tuple[npt.NDArray[np.float32], ...]]:
        """(features, targets, weights) of each block of epoch ``number``, counted from 0.

        Shapes are (n_steps, batch, ...); a short last block ends in batches whose weights are all 0.
        """
        size = self._batch_size
        order = np.random.default_rng([self._seed, number]).permutation(len(self._targets))
        view = self._views[number % len(self._views)]
        for first in range(0, len(order), size * self._steps):
            block = order[first : first + size * self._steps]
            rows = np.full((self._steps, size), block[0])
            weights = np.zeros((self._steps, size), np.float32)
            for step, start in enumerate(range(0, len(block), size)):
                own = np.sort(block[start : start + size])
                # others, not one of its own many times: batch normalisation looks at all, whatever they weigh
                rows[step] = np.concatenate([own, np.sort(np.resize(order, size - len(own)))])
                weights[step, : len(own)] = self._weights[own] * (size / len(own))
            count = math.ceil(len(block) / size)
            features = view.take(rows[:count].ravel()).reshape(count, size, *view.shape[1:])
            if count < self._steps:
                unused = np.zeros((self._steps - count, *features.shape[1:]), np.float32)
                features = np.concatenate([features, unused])
            yield features, self._targets[rows], weights


def predict(model: Any, features: Features) -> npt.NDArray[np.float32]:
    """Class probabilities of all rows, float array of shape (n_images, n_classes)."""
    n_images = features.shape[0]
    batch = min(PREDICT_BATCH, n_images)
    starts = range(0, n_images, batch)
    # the last batch begins again at the first image instead of being shorter: another shape would be traced anew
    parts = [np.asarray(model.predict_on_batch(features.take(np.arange(s, s + batch) % n_images))) for s in starts]
    return np.concatenate(parts)[:n_images]


def fit(
    model: Any, batches: Batches, fitting: Fitting, callbacks: Sequence[Any], clock: Clock
) -> Generator[None, None, None]:
    """Train ``model`` as ``fitting`` says, with an optimizer as new, under Keras's callbacks; pauses after each epoch.

    Not ``model.fit``: its threads fetch the next epoch's first batches before the present one has ended, so an image
    could be shown twice in an epoch and another not at all, differently from run to run. Where weights are averaged,
    the callbacks see the averages at the end of an epoch, and the model has them at the end.
    """
    restart(model, fitting.ema_momentum)
    if fitting.ema_momentum:
        callbacks = [keras.callbacks.SwapEMAWeights(swap_on_epoch=True), *callbacks]
    called = keras.callbacks.CallbackList(list(callbacks), model=model, epochs=fitting.epochs)
    model.stop_training = False
    called.on_train_begin()
    steps, done = fitting.epochs * batches.per_epoch, 0
    for epoch in range(fitting.epochs):
        called.on_epoch_begin(epoch)
        total, images = 0.0, 0
        with clock(fitting.activity):
            for features, targets, weights in batches.epoch(epoch):
                count = int(weights.any(axis=1).sum())
                rates = fitting.rates(done, len(weights), steps)
                with clock.first(("train", id(model), features.shape), fitting.activity):
                    total += train_steps(model, features, targets, weights, rates, count)
                done += count
                images += int(np.count_nonzero(weights))
        called.on_epoch_end(epoch, {"loss": total / images})
        yield
        if model.stop_training:
            break
    called.on_train_end()


@dataclass
class Progress:
    """The epochs of one training so far, and its best.

    Attributes:
        metric: decides what is best.
        clock: counts the seconds.
        watch: called with each epoch.
        phase: the one that is running.
        epochs: of all phases.
        best: of the running phase: only the last phase decides a trial's score.
        scores: of the running phase: probabilities of the validation images after each epoch, each of shape
            (n_images, n_classes).
    """

    metric: Metric
    clock: Clock = field(default_factory=Clock)
    watch: Callable[[EpochRecord], None] | None = None
    phase: str = ""
    epochs: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None
    scores: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._started = time.perf_counter()
        self._before = self.clock.read()

    def spent(self) -> dict[str, float]:
        """Seconds by activity since the training began."""
        now = self.clock.read()
        return {activity: seconds - self._before.get(activity, 0.0) for activity, seconds in now.items()}

    def begin(self, phase: str) -> None:
        """Begin a phase."""
        self.phase, self.best, self.scores = phase, None, []

    def add(self, loss: float, metrics: dict[str, float], seconds: float, scores: npt.NDArray[np.float32]) -> None:
        """Note an epoch."""
        self.scores.append(scores)
        record = EpochRecord(self.phase, len(self.epochs) + 1, loss, metrics, seconds)
        self.epochs.append(record)
        if self.watch:
            self.watch(record)
        name = self.metric.name
        if self.best is None or self.metric.better(record.metrics[name], self.best.metrics[name]):
            self.best = record

    def result(self) -> TrialResult:
        """What the training reached."""
        if self.best is None:
            raise TrialFailed("no epoch was finished")
        seconds = time.perf_counter() - self._started
        numbers = tuple(record.epoch for record in self.epochs[-len(self.scores) :])
        scored = Scored(numbers, np.stack(self.scores))
        return TrialResult(self.best.epoch, self.best.metrics, tuple(self.epochs), seconds, self.spent(), scored)


class Validate(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: scores the validation images, puts ``val_*`` into the logs, and notes the epoch.

    It stands first among the callbacks, so that Keras's EarlyStopping sees its scores.

    Args:
        features: of the validation images.
        labels: their class indices.
        progress: what grows.
        ordinal: whether the classes have an order.
    """

    def __init__(
        self, features: Features, labels: npt.NDArray[np.int64], progress: Progress, ordinal: bool = False
    ) -> None:
        super().__init__()
        self._features = features
        self._labels = labels
        self._progress = progress
        self._ordinal = ordinal
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock of the epoch."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Score the epoch.

        Raises:
            TrialFailed: at the first loss or probability that is not finite.
        """
        phase, clock = self._progress.phase, self._progress.clock
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrialFailed(f"the loss became {loss} in {phase} epoch {epoch + 1}")
        with clock.first(("predict", id(self.model)), "validation"):
            scores = predict(self.model, self._features)
        if not np.isfinite(scores).all():
            raise TrialFailed(f"a predicted probability is not finite after {phase} epoch {epoch + 1}")
        with clock("validation"):
            metrics = evaluate(self._labels, scores, self._ordinal)
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        self._progress.add(loss, metrics, time.perf_counter() - self._started, scores)


def early_stopping(metric: Metric, patience: int, restore: bool = False) -> Any:
    """Keras's EarlyStopping on a validation metric; ``restore`` gives the best epoch's weights back at the end."""
    return keras.callbacks.EarlyStopping(
        f"val_{metric.name}", mode=metric.mode, patience=patience, restore_best_weights=restore
    )
