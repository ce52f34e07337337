"""One trial: a `TrialConfig` becomes a `TrialResult`, on cached features; one finalist, or the small CNN, on images.

No Ray here: the search calls a `Trainer` from its workers, a test calls it directly.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from bench.clock import Clock
from bench.data.images.store import StoredImages
from bench.errors import TrialFailed
from bench.failures import EXPLODED
from bench.models import assemble, linear_probe, small_cnn
from bench.models.augmentation import Augmenter, Policy
from bench.models.standardisation import Standard, standardisation
from bench.seeds import stable_seed
from bench.stats.metrics import Metric, evaluate, get_metric
from bench.train.features import Features, FrozenFeatures, StoredFeatures
from bench.train.loop import FusedAdam, Moments, train_steps
from bench.train.task import Task
from bench.trial import EpochRecord, TrialConfig, TrialResult

PREDICT_BATCH = 128
BLOCK_BYTES = 16 * 2**20
MOST_STEPS = 64
"""Batches are handed to the model in blocks of so many steps and bytes: a step on pooled features takes less time than
calling it from Python."""


class Batches:
    """Shuffled batches of one epoch after another, in blocks of several; epoch e reads view e mod V.

    All batches have one shape, and all blocks too, for another would be traced anew: a last batch that is short is
    filled up with other images of weight 0, and its own images weigh as much as in a batch of their number. Nothing
    is dropped. A last block that is short says how many of its batches count.

    Args:
        views: the training features, one entry a view.
        targets: float array of shape (n_images, n_classes), rows sum to 1.
        weights: float array of shape (n_images,), the weight of each image in the loss.
        batch_size: images a batch.
        seed: decides the order.
    """

    def __init__(
        self,
        views: Sequence[Features],
        targets: npt.NDArray[np.float32],
        weights: npt.NDArray[np.float32],
        batch_size: int,
        seed: int,
    ) -> None:
        self._views = views
        self._targets = targets
        self._weights = weights
        self._batch_size = min(batch_size, len(targets))
        self._seed = seed
        batch_bytes = 4 * self._batch_size * math.prod(views[0].shape[1:])
        steps = math.ceil(len(targets) / self._batch_size)
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
                rows[step] = np.concatenate([own, np.sort(order[: size - len(own)])])
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


def fit(model: Any, batches: Batches, epochs: int, callbacks: Sequence[Any], clock: Clock, activity: str) -> None:
    """Train ``model`` for at most ``epochs`` epochs under Keras's callbacks.

    Not ``model.fit``: its threads fetch the next epoch's first batches before the present one has ended, so an image
    could be shown twice in an epoch and another not at all, differently from run to run.
    """
    told = keras.callbacks.CallbackList(list(callbacks), model=model)
    model.stop_training = False
    told.on_train_begin()
    for epoch in range(epochs):
        told.on_epoch_begin(epoch)
        total, images = 0.0, 0
        with clock(activity):
            for features, targets, weights in batches.epoch(epoch):
                count = int(weights.any(axis=1).sum())
                with clock.first(("train", id(model), features.shape), activity):
                    total += train_steps(model, features, targets, weights, count)
                images += int(np.count_nonzero(weights))
        told.on_epoch_end(epoch, {"loss": total / images})
        if model.stop_training:
            break
    told.on_train_end()


@dataclass
class Progress:
    """The epochs of one trial so far, and its best."""

    metric: Metric
    clock: Clock = field(default_factory=Clock)
    started: float = field(default_factory=time.perf_counter)
    epochs: list[EpochRecord] = field(default_factory=list)
    best: EpochRecord | None = None
    watch: Callable[[EpochRecord], None] | None = None

    def __post_init__(self) -> None:
        self._before = self.clock.read()

    def spent(self) -> dict[str, float]:
        """Seconds by activity since the trial began."""
        now = self.clock.read()
        return {activity: seconds - self._before.get(activity, 0.0) for activity, seconds in now.items()}

    def start_phase(self) -> None:
        """Forget the best: only the last phase decides a trial's score."""
        self.best = None

    def add(self, record: EpochRecord) -> None:
        """Note an epoch."""
        self.epochs.append(record)
        if self.watch:
            self.watch(record)
        name = self.metric.name
        if self.best is None or self.metric.better(record.metrics[name], self.best.metrics[name]):
            self.best = record

    def result(self) -> TrialResult:
        """What the trial reached."""
        if self.best is None:
            raise TrialFailed("no epoch was finished")
        seconds = time.perf_counter() - self.started
        return TrialResult(self.best.epoch, self.best.metrics, tuple(self.epochs), seconds, self.spent())


class Validate(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch: scores the validation images, puts ``val_*`` into the logs, and tells ``report``.

    It stands first among the callbacks, so that Keras's EarlyStopping and ModelCheckpoint see its scores.
    """

    def __init__(
        self,
        features: Features,
        labels: npt.NDArray[np.int64],
        phase: str,
        progress: Progress,
        clock: Clock,
        report: Callable[[Progress], None] | None = None,
        model: Any = None,
    ) -> None:
        super().__init__()
        self._clock = clock
        self._features = features
        self._labels = labels
        self._phase = phase
        self._progress = progress
        self._report = report
        self._scored = model
        self._started = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Start the clock of the epoch."""
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
        """Score the epoch.

        Raises:
            TrialFailed: at the first loss or probability that is not finite.
        """
        number = len(self._progress.epochs) + 1
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise TrialFailed(f"the loss became {loss} in {self._phase} epoch {epoch + 1}")
        model = self._scored or self.model
        with self._clock.first(("predict", id(model)), "validation"):
            scores = predict(model, self._features)
        if not np.isfinite(scores).all():
            raise TrialFailed(f"a predicted probability is not finite after {self._phase} epoch {epoch + 1}")
        with self._clock("validation"):
            metrics = evaluate(self._labels, scores)
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        self._progress.add(EpochRecord(self._phase, number, loss, metrics, time.perf_counter() - self._started))
        if self._report:
            self._report(self._progress)


class Trainer:
    """Trains configurations one after another in one process, keeping networks and traced steps between them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._metric = get_metric(task.metric)
        self.clock = Clock()
        self._features = FrozenFeatures(task, self.clock)
        self._heads: dict[str, Any] = {}
        self._suffixes: dict[tuple[str, int], Any] = {}
        self._moments = Moments()
        self._pretrained: dict[str, list[npt.NDArray[Any]]] = {}
        self._changed: set[str] = set()
        self._standards: dict[tuple[str, Policy], Standard] = {}
        self._probes: dict[tuple[str, Policy], linear_probe.Head] = {}
        self._explosions: dict[str, str] = {}
        counts = np.bincount(task.labels["train"], minlength=task.n_classes)
        balanced = counts.sum() / (task.n_classes * np.maximum(counts, 1))
        self._class_weights = (balanced if task.class_weights else np.ones(task.n_classes)).astype(np.float32)

    def run(self, config: TrialConfig, report: Callable[[Progress], None] | None = None) -> TrialResult:
        """Train ``config`` on cached features and return what it reached.

        Args:
            config: what to train.
            report: called after each epoch of the phase that counts.

        Raises:
            TrialFailed: if the loss leaves the finite numbers or memory runs out.
        """
        progress = Progress(self._metric, clock=self.clock, watch=partial(self._note_explosion, config))
        seed = stable_seed("trial", self.task.seed, config.key)
        with out_of_memory_fails():
            self._restore(config.backbone)
            warm_up = config.unfreeze_depth > 0
            try:
                self._train_head(config, seed, progress, None if warm_up else report)
                if warm_up:
                    progress.start_phase()
                    self._train_suffix(config, seed, progress, report)
            finally:
                self._features.forget()
        return progress.result()

    def retrain(
        self, config: TrialConfig, seed: int, checkpoint: Path | None = None, model_file: Path | None = None
    ) -> TrialResult:
        """Train ``config`` through the full model with fresh augmentation in every epoch, and save it if asked to.

        With stages to unfreeze, the head is warmed up on cached features first: there the layers below are frozen
        as in the trial, and fresh augmentation begins with fine-tuning.

        Args:
            config: what to train.
            seed: decides initial head, order and augmentation.
            checkpoint: file for the weights of the best epoch; gone at the end. Goes with ``model_file``.
            model_file: .h5 file for the model at its best epoch, without augmentation; None saves no model.

        Raises:
            TrialFailed: as `run`.
        """
        task = self.task
        backbone, stored = task.backbones[config.backbone], task.images[config.backbone]
        progress = Progress(self._metric, clock=self.clock)
        with out_of_memory_fails():
            self._restore(config.backbone)
            keras.utils.set_random_seed(seed)
            if config.unfreeze_depth > 0:
                head_weights = self._train_head(config, seed, progress, None).get_layer("probabilities").get_weights()
                progress.start_phase()
                phase, learning_rate = "finetune", config.learning_rate * float(config.finetune_factor or 1.0)
            else:
                head_weights = self._initial_head(config)
                phase, learning_rate = "head", config.learning_rate
            model, network = self._full_model(config, seed, head_weights, task.precision)
            scored, scored_network = model, network
            if task.precision != "float32":  # what is scored and exported computes in float32, whatever trains it
                scored, scored_network = self._full_model(config, seed, head_weights, "float32")
            assemble.freeze_prefix(backbone, network, config.unfreeze_depth)
            trained = assemble.augmented(model, task.policies[config.augmentation], seed)
            trained.compile(FusedAdam(learning_rate), "categorical_crossentropy", jit_compile=False)
            before = [] if scored is model else [_CopyWeights(model, scored)]
            self._fit_on_images(
                trained, scored, stored, _Fitting.of(config, task), seed, phase, progress, checkpoint, before
            )
            if model_file is not None and checkpoint is not None:
                scored_network.trainable = True
                _save(scored, model_file)
        return progress.result()

    def train_small_cnn(
        self,
        seed: int,
        backbone: str,
        augmentation: str,
        checkpoint: Path | None = None,
        model_file: Path | None = None,
    ) -> TrialResult:
        """Train a small CNN from scratch on the same images as a backbone, and save it if asked to.

        It has the epochs and the patience that a network needs which knows nothing yet, a rate of 1e-3, and its
        batch normalisation in training mode; everything is float32.

        Args:
            seed: decides initial weights, order and augmentation.
            backbone: whose images it takes.
            augmentation: a policy's name.
            checkpoint: file for the weights of the best epoch; gone at the end. Goes with ``model_file``.
            model_file: .h5 file for the model at its best epoch, without augmentation; None saves no model.

        Raises:
            TrialFailed: as `run`.
        """
        task, stored = self.task, self.task.images[backbone]
        progress = Progress(self._metric, clock=self.clock)
        fitting = _Fitting(
            small_cnn.BATCH_SIZE, 0.0, max(small_cnn.EPOCHS, task.epochs), max(small_cnn.PATIENCE, task.patience)
        )
        with out_of_memory_fails():
            model = small_cnn.small_cnn(stored.size, stored.channels, task.n_classes, seed)
            trained = assemble.augmented(model, task.policies[augmentation], seed)
            trained.compile(FusedAdam(small_cnn.LEARNING_RATE), "categorical_crossentropy", jit_compile=False)
            self._fit_on_images(trained, model, stored, fitting, seed, "scratch", progress, checkpoint)
            if model_file is not None and checkpoint is not None:
                _save(model, model_file)
        return progress.result()

    def _fit_on_images(
        self,
        trained: Any,
        scored: Any,
        stored: StoredImages,
        fitting: "_Fitting",
        seed: int,
        phase: str,
        progress: Progress,
        checkpoint: Path | None,
        before: Sequence[Any] = (),
    ) -> None:
        """Train on images; with a ``checkpoint``, ``scored`` has the weights of the best epoch then."""
        images = stored.open()
        train = StoredFeatures(_Rows(images, self.task.rows["train"]))  # type: ignore[arg-type]
        val = StoredFeatures(_Rows(images, self.task.rows["val"]))  # type: ignore[arg-type]
        callbacks = [*before, Validate(val, self.task.labels["val"], phase, progress, self.clock, model=scored)]
        callbacks.append(self._early_stopping(fitting.patience))
        if checkpoint is None:
            self._fit(trained, [train], fitting, seed, callbacks)
            return
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        try:
            callbacks.append(_SaveBest(scored, checkpoint, f"val_{self._metric.name}", self._metric.mode, self.clock))
            self._fit(trained, [train], fitting, seed, callbacks)
            scored.load_weights(checkpoint)
        finally:
            checkpoint.unlink(missing_ok=True)

    def _full_model(
        self, config: TrialConfig, seed: int, head_weights: Sequence[Any], precision: str
    ) -> tuple[Any, Any]:
        """(images -> probabilities with the head's weights, the backbone inside it), computing in ``precision``."""
        task, name = self.task, config.backbone
        backbone, stored, network = task.backbones[name], task.images[name], task.load_network(name, precision)
        standard = self._standardisation(config)
        model = assemble.full_model(
            backbone, network, stored.size, stored.channels, task.n_classes, standard, config.dropout, seed
        )
        model.get_layer("probabilities").set_weights(head_weights)
        return model, network

    @property
    def notes(self) -> dict[str, str]:
        """What a user should know of the cache and of exploding losses: what it is about -> a sentence."""
        return {**self._features.notes, **self._explosions}

    def _note_explosion(self, config: TrialConfig, record: EpochRecord) -> None:
        """Remember a loss that is many times a constant guess's: the backbone's scores may say little then."""
        guess = math.log(self.task.n_classes)
        loss, which = max((record.loss, "training"), (record.metrics["log_loss"], "validation"))
        about, title = f"loss {config.backbone}", self.task.backbones[config.backbone].title
        if loss > EXPLODED * guess and about not in self._explosions:
            self._explosions[about] = (
                f"{title}: the {which} loss was {loss:.3g} nats per image after {record.phase} epoch {record.epoch}, "
                f"{loss / guess:.0f} times that of a constant guess (learning rate {config.learning_rate:.2g}, "
                f"augmentation {config.augmentation}); its scores may be too low."
            )

    def _restore(self, backbone: str) -> None:
        """Give the backbone its pretrained weights back, which a trial has changed."""
        if backbone in self._changed:
            for variable, value in zip(
                self._features.network(backbone).weights, self._pretrained[backbone], strict=True
            ):
                variable.assign(value)
            self._changed.discard(backbone)

    def augmentation_gallery(self, backbone: str, policies: Sequence[str], columns: int) -> npt.NDArray[np.uint8]:
        """One training image as it is and under each policy: shape (n_policies, columns, height, width, channels)."""
        stored = self.task.images[backbone]
        image = np.asarray(stored.open()[self.task.rows["train"][:1]])
        rows = []
        for name in policies:
            augment = Augmenter(self.task.policies[name], stable_seed("gallery", self.task.seed, name))
            draws = augment(np.repeat(image, columns - 1, axis=0))
            rows.append(np.concatenate([image, draws]))
        return np.stack(rows)

    def _train_head(
        self, config: TrialConfig, seed: int, progress: Progress, report: Callable[[Progress], None] | None
    ) -> Any:
        task = self.task
        policy = task.policies[config.augmentation]
        views = self._features.training_views(config.backbone, policy, 0, min(task.views, task.epochs))
        val = self._features.validation(config.backbone, 0)
        head = self._head(config.backbone)
        head.get_layer("probabilities").set_weights(self._initial_head(config))
        self._reset(head, head, config, config.learning_rate, seed)
        self._fit(
            head,
            views,
            _Fitting.of(config, task),
            seed,
            [
                Validate(val, task.labels["val"], "head", progress, self.clock, report),
                self._early_stopping(task.patience, restore_best_weights=True),
            ],
        )
        return head

    def _train_suffix(
        self, config: TrialConfig, seed: int, progress: Progress, report: Callable[[Progress], None] | None
    ) -> None:
        task = self.task
        depth = config.unfreeze_depth
        policy = task.policies[config.augmentation]
        views = self._features.training_views(config.backbone, policy, depth, min(task.views, task.epochs))
        val = self._features.validation(config.backbone, depth)
        suffix = self._suffix(config.backbone, depth)
        self._changed.add(config.backbone)
        learning_rate = config.learning_rate * float(config.finetune_factor or 1.0)
        self._reset(suffix, self._head(config.backbone), config, learning_rate, seed)
        self._fit(
            suffix,
            views,
            _Fitting.of(config, task),
            seed,
            [
                Validate(val, task.labels["val"], "finetune", progress, self.clock, report),
                self._early_stopping(task.patience),
            ],
            "suffix training",
        )

    def _fit(
        self,
        model: Any,
        views: Sequence[Features],
        fitting: "_Fitting",
        seed: int,
        callbacks: Sequence[Any],
        activity: str = "head training",
    ) -> None:
        labels = self.task.labels["train"]
        targets = np.eye(self.task.n_classes, dtype=np.float32)[labels]
        targets = targets * (1 - fitting.label_smoothing) + fitting.label_smoothing / self.task.n_classes
        batches = Batches(views, targets, self._class_weights[labels], fitting.batch_size, seed)
        fit(model, batches, fitting.epochs, callbacks, self.clock, activity)

    def _early_stopping(self, patience: int, **arguments: Any) -> Any:
        return keras.callbacks.EarlyStopping(
            f"val_{self._metric.name}", mode=self._metric.mode, patience=patience, **arguments
        )

    def _initial_head(self, config: TrialConfig) -> linear_probe.Head:
        """Kernel and bias that training starts from: those of a linear probe on the same features."""
        key = config.backbone, self.task.policies[config.augmentation]
        if key not in self._probes:
            with self.clock("head training"):
                self._probes[key] = linear_probe.linear_probe(
                    self._pooled_views(config),
                    self.task.labels["train"],
                    self._class_weights,
                    self._standardisation(config),
                )
        return self._probes[key]

    def _reset(self, model: Any, head: Any, config: TrialConfig, learning_rate: float, seed: int) -> None:
        """Forget the trial before: standardisation, optimizer state, dropout's random stream, learning rate."""
        head.get_layer("standardise").reset(self._standardisation(config))
        head.get_layer("dropout").reset(config.dropout, seed)
        optimizer = model.optimizer
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
        for variable in optimizer.variables:
            variable.assign(keras.ops.zeros_like(variable))
        optimizer.learning_rate = learning_rate

    def _standardisation(self, config: TrialConfig) -> Standard:
        """Mean and variance of each pooled feature over the training images, clean and as the policy shows them.

        Raises:
            TrialFailed: if a feature is not finite.
        """
        key = config.backbone, self.task.policies[config.augmentation]
        if key not in self._standards:
            found = standardisation(self._pooled_views(config))
            if not all(np.isfinite(part).all() for part in found):
                title = self.task.backbones[config.backbone].title
                raise TrialFailed(f"features of the training images under {title} are not finite")
            self._standards[key] = found
        return self._standards[key]

    def _pooled_views(self, config: TrialConfig) -> list[Features]:
        """Pooled features of the training images: clean, and in every view of the configuration's policy."""
        task, policy = self.task, self.task.policies[config.augmentation]
        views = self._features.training_views(config.backbone, Policy("none"), 0, 1)
        if not policy.identity:
            views += self._features.training_views(config.backbone, policy, 0, min(task.views, task.epochs))
        return views

    def _head(self, backbone: str) -> Any:
        if backbone not in self._heads:
            head = assemble.trial_head(self.task.backbones[backbone].n_features, self.task.n_classes)
            head.compile(FusedAdam(moments=self._moments), "categorical_crossentropy", jit_compile=False)
            self._heads[backbone] = head
        return self._heads[backbone]

    def _suffix(self, backbone: str, depth: int) -> Any:
        network = self._features.network(backbone)
        if backbone not in self._pretrained:
            self._pretrained[backbone] = network.get_weights()
        if (backbone, depth) not in self._suffixes:
            stored = self.task.images[backbone]
            model = assemble.suffix_model(
                self.task.backbones[backbone],
                network,
                stored.size,
                stored.channels,
                depth,
                self._head(backbone),
            )
            model.compile(FusedAdam(moments=self._moments), "categorical_crossentropy", jit_compile=False)
            self._suffixes[backbone, depth] = model
        return self._suffixes[backbone, depth]


@dataclass(frozen=True)
class _Fitting:
    """How a model is fitted: images a batch, label smoothing, most epochs, and epochs without gain at its end."""

    batch_size: int
    label_smoothing: float
    epochs: int
    patience: int

    @classmethod
    def of(cls, config: TrialConfig, task: Task) -> "_Fitting":
        """As a trial of ``config`` is."""
        return cls(config.batch_size, config.label_smoothing, task.epochs, task.patience)


def _save(model: Any, file: Path) -> None:
    """Write ``model`` to an .h5 file in one step."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.stem}.h5")
    model.save(temporary, include_optimizer=False)
    temporary.replace(file)


class _CopyWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch, gives the weights of one model to another of the same layers."""

    def __init__(self, source: Any, target: Any) -> None:
        super().__init__()
        self._source = source
        self._target = target

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Copy."""
        self._target.set_weights(self._source.get_weights())


class _SaveBest(keras.callbacks.ModelCheckpoint):  # type: ignore[misc]
    """Keras's ModelCheckpoint (best only, weights only) for a model inside the one that is being trained."""

    def __init__(self, saved: Any, path: Path, monitor: str, mode: str, clock: Clock) -> None:
        template = str(path).replace("{", "{{").replace("}", "}}")
        super().__init__(template, monitor=monitor, mode=mode, save_best_only=True, save_weights_only=True)
        self._saved = saved
        self._clock = clock

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Save, if the epoch is the best so far."""
        with self._clock("checkpoints"):
            super().on_epoch_end(epoch, logs)

    def set_model(self, model: Any) -> None:
        """Watch ``saved`` whatever model the training loop belongs to."""
        super().set_model(self._saved)


class _Rows:
    """Some rows of a memory map, read when they are asked for."""

    def __init__(self, values: npt.NDArray[Any], rows: npt.NDArray[np.int64]) -> None:
        self._values = values
        self._rows = rows
        self.shape = (len(rows), *values.shape[1:])

    def __getitem__(self, chosen: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        return self._values[self._rows[chosen]]


class out_of_memory_fails:  # noqa: N801 (a context manager reads as a phrase)
    """Turns running out of memory into a failed trial."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is not None and (isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"):
            raise TrialFailed("memory ran out; a smaller batch size or image size needs less") from error
