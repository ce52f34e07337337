"""One training job: a `TrialConfig` becomes a `TrialResult`, on cached features or, as a finalist, on images.

No Ray here: the search calls a `Trainer` from its workers, a test calls it directly.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt

from bench.clock import Clock
from bench.errors import TrialFailed
from bench.failures import EXPLODED
from bench.models import assemble, linear_probe, small_cnn
from bench.models.augmentation import Augmenter, Policy
from bench.models.standardisation import Features, Standard, standardisation
from bench.run.folder import atomic_path
from bench.seeds import stable_seed
from bench.stats.metrics import get_metric
from bench.train.features import FrozenFeatures, StoredFeatures
from bench.train.loop import Batches, Fitting, Progress, SaveBest, Validate, copying_weights, early_stopping, fit
from bench.train.networks import Networks, compiled
from bench.train.task import Task
from bench.trial import EpochRecord, TrialConfig, TrialResult


class Start(NamedTuple):
    """What the head of a backbone under a policy starts from."""

    standard: Standard
    head: linear_probe.Head


class Trainer:
    """Trains configurations one after another in one process, keeping networks and traced steps between them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.clock = Clock()
        self.networks = Networks(task, self.clock)
        self.features = FrozenFeatures(self.networks)
        self._metric = get_metric(task.metric)
        self._starts: dict[tuple[str, Policy], Start] = {}
        self._explosions: dict[str, str] = {}
        counts = np.bincount(task.labels["train"], minlength=task.n_classes)
        balanced = counts.sum() / (task.n_classes * np.maximum(counts, 1))
        self._class_weights = (balanced if task.class_weights else np.ones(task.n_classes)).astype(np.float32)

    @property
    def notes(self) -> dict[str, str]:
        """What a user should know of the cache and of exploding losses: what it is about -> a sentence."""
        return {**self.features.notes, **self._explosions}

    def run(self, config: TrialConfig, report: Callable[[Progress], None] | None = None) -> TrialResult:
        """Train ``config`` on cached features and return what it reached.

        Args:
            config: what to train.
            report: called after each epoch of the phase that counts.

        Raises:
            TrialFailed: if the loss leaves the finite numbers or memory runs out.
        """
        progress = Progress(self._metric, self.clock, watch=partial(self._note_explosion, config))
        seed = stable_seed("trial", self.task.seed, config.key)
        with out_of_memory_fails():
            self.networks.restore(config.backbone)
            try:
                progress.begin("head", None if config.unfreeze_depth else report)
                self._train_on_views(config, 0, seed, progress)
                if config.unfreeze_depth:
                    progress.begin("finetune", report)
                    self._train_on_views(config, config.unfreeze_depth, seed, progress)
            finally:
                self.features.forget()
        return progress.result()

    def retrain(
        self, config: TrialConfig, seed: int, checkpoint: Path | None = None, model_file: Path | None = None
    ) -> TrialResult:
        """Train ``config`` through the full model with fresh augmentation in every epoch; save it to a given file.

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
        task, depth = self.task, config.unfreeze_depth
        progress = Progress(self._metric, self.clock)
        with out_of_memory_fails():
            self.networks.restore(config.backbone)
            keras.utils.set_random_seed(seed)
            if depth:
                progress.begin("head")
                head = self._train_on_views(config, 0, seed, progress).get_layer("probabilities").get_weights()
            else:
                head = self._start(config).head
            build = partial(self.networks.full, config, self._start(config).standard, head, seed)
            full = scored = build()
            if (
                task.precision_of(config.backbone).suffix != "float32"
            ):  # what is scored and exported computes in float32, whatever trains it
                scored = build("float32")
            assemble.freeze_prefix(task.backbones[config.backbone], full, depth)
            trained = compiled(assemble.augmented(full, task.policies[config.augmentation], seed))
            progress.begin("finetune" if depth else "head")
            fitting = Fitting(config, progress.phase, seed, task.epochs, task.patience)
            before = [] if scored is full else [copying_weights(full, scored)]
            self._train_on_images(trained, scored, fitting, progress, checkpoint, before)
            if model_file is not None and checkpoint is not None:
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
        """Train a small CNN from scratch on the same images as a backbone; save it to a given file.

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
        config = TrialConfig(
            backbone, augmentation, learning_rate=small_cnn.LEARNING_RATE, batch_size=small_cnn.BATCH_SIZE
        )
        epochs, patience = max(small_cnn.EPOCHS, task.epochs), max(small_cnn.PATIENCE, task.patience)
        progress = Progress(self._metric, self.clock)
        progress.begin("scratch")
        with out_of_memory_fails():
            model = small_cnn.small_cnn(stored.size, stored.channels, task.n_classes, seed)
            trained = compiled(assemble.augmented(model, task.policies[augmentation], seed))
            fitting = Fitting(config, progress.phase, seed, epochs, patience)
            self._train_on_images(trained, model, fitting, progress, checkpoint)
            if model_file is not None and checkpoint is not None:
                _save(model, model_file)
        return progress.result()

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

    def _train_on_views(self, config: TrialConfig, depth: int, seed: int, progress: Progress) -> Any:
        """One phase on cached features: the head alone at ``depth`` 0, else the suffix; returns the model."""
        task, networks = self.task, self.networks
        policy = task.policies[config.augmentation]
        views = self.features.training_views(config.backbone, policy, depth, min(task.views, task.epochs))
        val = self.features.validation(config.backbone, depth)
        start, head = self._start(config), networks.head(config.backbone)
        model = networks.suffix(config.backbone, depth) if depth else head
        if not depth:  # the suffix goes on from the head that was warmed up
            head.get_layer("probabilities").set_weights(start.head)
        head.get_layer("standardise").reset(start.standard)
        head.get_layer("dropout").reset(config.dropout, seed)
        fitting = Fitting(config, progress.phase, seed, task.epochs, task.patience)
        validate = Validate(val, task.labels["val"], progress)
        stop = early_stopping(self._metric, fitting.patience, restore=not depth)
        fit(model, self._batches(views, fitting), fitting, [validate, stop], self.clock)
        return model

    def _train_on_images(
        self,
        trained: Any,
        scored: Any,
        fitting: Fitting,
        progress: Progress,
        checkpoint: Path | None,
        before: Sequence[Any] = (),
    ) -> None:
        """One phase on images; with a ``checkpoint``, ``scored`` has the weights of the best epoch then."""
        task, images = self.task, self.task.images[fitting.config.backbone].open()
        train, val = (StoredFeatures(images, task.rows[split]) for split in ("train", "val"))
        batches = self._batches([train], fitting)
        callbacks = [*before, Validate(val, task.labels["val"], progress, scored)]
        callbacks.append(early_stopping(self._metric, fitting.patience))
        if checkpoint is None:
            fit(trained, batches, fitting, callbacks, self.clock)
            return
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        try:
            callbacks.append(SaveBest(scored, checkpoint, self._metric, self.clock))
            fit(trained, batches, fitting, callbacks, self.clock)
            scored.load_weights(checkpoint)
        finally:
            checkpoint.unlink(missing_ok=True)

    def _batches(self, views: Sequence[Features], fitting: Fitting) -> Batches:
        labels, smoothing = self.task.labels["train"], fitting.config.label_smoothing
        targets = np.eye(self.task.n_classes, dtype=np.float32)[labels]
        targets = targets * (1 - smoothing) + smoothing / self.task.n_classes
        return Batches(views, targets, self._class_weights[labels], fitting.config.batch_size, fitting.seed)

    def _start(self, config: TrialConfig) -> Start:
        """Standardisation over the training images, clean and as the policy shows them, and a linear probe on them.

        Raises:
            TrialFailed: if a feature is not finite.
        """
        task, policy = self.task, self.task.policies[config.augmentation]
        if (config.backbone, policy) not in self._starts:
            with self.clock("head training"):
                views = self.features.training_views(config.backbone, Policy("none"), 0, 1)
                if not policy.identity:
                    views += self.features.training_views(config.backbone, policy, 0, min(task.views, task.epochs))
                standard = standardisation(views)
                if not all(np.isfinite(part).all() for part in standard):
                    title = task.backbones[config.backbone].title
                    raise TrialFailed(f"features of the training images under {title} are not finite")
                head = linear_probe.linear_probe(views, task.labels["train"], self._class_weights, standard)
            self._starts[config.backbone, policy] = Start(standard, head)
        return self._starts[config.backbone, policy]

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


def _save(model: Any, file: Path) -> None:
    """Write ``model`` to an .h5 file in one step: an earlier one that best_model.h5 is a link to stays as it is."""
    with atomic_path(file) as temporary:
        model.save(temporary, include_optimizer=False)


class out_of_memory_fails:  # noqa: N801 (a context manager reads as a phrase)
    """Turns running out of memory into a failed trial."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is not None and (isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"):
            raise TrialFailed("memory ran out; a smaller batch size or image size needs less") from error
