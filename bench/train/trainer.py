"""A training job becomes a `TrialResult`, on features of frozen layers that all jobs share.

No Ray here: workers call a `Trainer`, a test calls it directly.
"""

import math
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.clock import Clock
from bench.disk import is_of_a_full_disk
from bench.errors import TrialFailed
from bench.failures import EXPLODED, MEMORY
from bench.models import linear_probe, small_cnn
from bench.models.augmentation import Augmenter, Policy
from bench.models.scaling import N_IMAGES, check_scaling
from bench.models.standardisation import Features, Standard, standardisation
from bench.run.folder import atomic_path
from bench.run.record import ScalingRecord
from bench.seeds import stable_seed
from bench.stats.metrics import evaluate, get_metric
from bench.train.features import IMAGES, FrozenFeatures
from bench.train.job import TrainingJob
from bench.train.loop import Batches, Fitting, Progress, Validate, early_stopping, fit, predict
from bench.train.networks import Networks
from bench.train.suspected_labels import Suspected, suspected_labels
from bench.train.task import Rows, Task, balanced_weights
from bench.trial import EpochRecord, Scored, TrialConfig, TrialResult


class Start(NamedTuple):
    """What the head of a backbone under a policy starts from."""

    standard: Standard
    head: linear_probe.Head


class Images(NamedTuple):
    """Some images of the pool.

    Attributes:
        rows: row numbers, shape (n,).
        labels: class indices, shape (n,).
        weights: of each class in the loss, shape (n_classes,).
    """

    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]


class Trainer:
    """Carries out jobs one after another in one process, keeping networks and traced steps between them."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.clock = Clock()
        self.networks = Networks(task, self.clock)
        self.features = FrozenFeatures(self.networks)
        self._metric = get_metric(task.metric)
        self._starts: dict[tuple[str, Policy, bytes], Start] = {}
        self._explosions: dict[str, str] = {}

    @property
    def notes(self) -> dict[str, str]:
        """What a user should know of the cache and of exploding losses: what it is about -> a sentence."""
        return {**self.features.notes, **self._explosions}

    def run(self, config: TrialConfig) -> TrialResult:
        """Carry out a trial of the search: ``config`` with the seed that is its own.

        Raises:
            TrialFailed: as `train`.
        """
        return self.train(self.trial(config))

    def trial(self, config: TrialConfig, rows: Rows | None = None) -> TrainingJob:
        """The job of a trial of the search, on all of the task's rows or on some."""
        seed = stable_seed("trial", self.task.seed, config.key)
        return TrainingJob(config, seed, min(self.task.views, self.task.epochs), rows=rows)

    def train(self, job: TrainingJob) -> TrialResult:
        """Carry out a job and return what it reached.

        Raises:
            TrialFailed: if the loss leaves the finite numbers or memory runs out.
        """
        epochs = self.epochs(job)
        while True:
            try:
                next(epochs)
            except StopIteration as ended:
                result: TrialResult = ended.value
                return result

    def epochs(self, job: TrainingJob) -> Generator[Progress, None, TrialResult]:
        """Carry out a job, pausing after each epoch of the phase that counts; what is closed there ends early.

        Raises:
            TrialFailed: as `train`.
        """
        config, networks = job.config, self.networks
        progress = Progress(self._metric, self.clock, watch=partial(self._note_explosion, config))
        with out_of_memory_fails():
            try:
                if job.from_scratch:
                    progress.begin("scratch")
                    for _ in self._train_from_scratch(job, progress):
                        yield progress
                    return progress.result()
                networks.restore(config.network)
                progress.begin("head")
                phase = self.train_phase(job, 0, progress)
                if config.unfreeze_depth:
                    exhaust(phase)
                    progress.begin("finetune")
                    phase = self.train_phase(job, config.unfreeze_depth, progress)
                for _ in phase:
                    yield progress
                result = progress.result()
                if job.model_file is None:
                    return result if job.held_out is None else replace(result, held_out=self._asked(job, job.held_out))
                scores = self._export(job, job.model_file)
                metrics = evaluate(self.task.labels["val"], scores, self.task.ordinal)
                scored = Scored((result.best_epoch,), scores[None])
                return replace(progress.result(), metrics=metrics, scored=scored)
            finally:
                self.features.forget()

    def augmentation_gallery(self, backbone: str, policies: Sequence[str], columns: int) -> npt.NDArray[np.uint8]:
        """One training image as it is, and examples of what each policy makes of it.

        Returns:
            shape (n_policies, columns, height, width, channels).
        """
        image = np.asarray(self.task.images[backbone].open()[self.task.rows["train"][:1]])
        rows = []
        for name in policies:
            seeds = [stable_seed("gallery", self.task.seed, name, view) for view in range(columns - 1)]
            draws = [Augmenter(self.task.policies[name], seed)(image) for seed in seeds]
            rows.append(np.concatenate([image, *draws]))
        return np.stack(rows)

    def check_scaling(self, backbone: str) -> ScalingRecord | None:
        """How training images, scaled as the task says, go with what the backbone's weights remember."""
        rows = self.task.rows["train"]
        chosen = np.sort(rows[np.linspace(0, len(rows) - 1, min(N_IMAGES, len(rows))).astype(int)])
        images = np.asarray(self.task.images[backbone].open()[chosen])
        return check_scaling(self.networks.pretrained(backbone), images, self.task.backbones[backbone].preprocessing)

    def suspected_labels(self, backbone: str, groups: npt.NDArray[np.int64]) -> Suspected | None:
        """Doubtful labels in the pool, by a linear head on the backbone's features; ``groups`` must not be parted."""
        task = self.task
        self.networks.restore(backbone)
        features = self.features.clean(backbone, 0, task.pool).take(np.arange(len(task.pool)))
        return suspected_labels(features, task.labels_of(task.pool), groups, task.seed)

    def images(self, job: TrainingJob, split: str) -> Images:
        """The images of a split of a job."""
        rows = (job.rows or self.task.rows)[split]
        labels = self.task.labels_of(rows)
        n_classes = self.task.n_classes
        weights = balanced_weights(labels, n_classes) if self.task.class_weights else np.ones(n_classes)
        return Images(rows, labels, weights.astype(np.float32))

    def train_phase(self, job: TrainingJob, depth: int, progress: Progress) -> Generator[None, None, None]:
        """One phase on cached features: the head alone at ``depth`` 0, else the suffix; ends at its best epoch.

        Pauses after each epoch.
        """
        networks, config, train = self.networks, job.config, self.images(job, "train")
        policy = self.task.policies[config.augmentation]
        views = self.features.training_views(config.network, policy, depth, job.order, train.rows)
        start, head = self.start(config, train), networks.head(config.network)
        model = networks.suffix(config.network, depth) if depth else head
        if not depth:  # the suffix goes on from the head that was warmed up
            head.get_layer("probabilities").set_weights(start.head)
        head.get_layer("standardise").reset(start.standard)
        head.get_layer("dropout").reset(config.dropout, job.seed)
        restore = not depth or job.model_file is not None or job.held_out is not None
        yield from self.fit(job, model, views, depth, progress, restore)

    def _train_from_scratch(self, job: TrainingJob, progress: Progress) -> Generator[None, None, None]:
        """Train a small CNN on the same images, as a network must be trained that knows nothing yet; in float32."""
        backbone, policy = job.config.backbone, self.task.policies[job.config.augmentation]
        model, exported = self.networks.small_cnn(backbone, job.seed)
        views = self.features.training_views(backbone, policy, IMAGES, job.order, self.images(job, "train").rows)
        yield from self.fit(job, model, views, IMAGES, progress, restore=True)
        if job.model_file is not None:
            exported.set_weights(model.get_weights())
            _save(exported, job.model_file)

    def fit(
        self, job: TrainingJob, model: Any, views: Sequence[Features], depth: int, progress: Progress, restore: bool
    ) -> Generator[None, None, None]:
        """Train a compiled model of the boundary of ``depth``, an epoch on each of ``views`` in turn.

        Pauses after each epoch; ``restore`` gives it the weights of its best epoch at the end.
        """
        task, train, val = self.task, self.images(job, "train"), self.images(job, "val")
        epochs, patience = task.epochs, task.patience
        if job.from_scratch:
            epochs, patience = max(small_cnn.EPOCHS, epochs), max(small_cnn.PATIENCE, patience)
        fitting = Fitting(job.config, progress.phase, job.seed, epochs, patience)
        features = self.features.clean(job.config.network, depth, val.rows)
        validate = Validate(features, val.labels, progress, self.task.ordinal)
        smoothing = job.config.label_smoothing
        targets = np.eye(task.n_classes, dtype=np.float32)[train.labels]
        targets = targets * (1 - smoothing) + smoothing / task.n_classes
        like = len(task.rows["train"])
        batches = Batches(views, targets, train.weights[train.labels], job.config.batch_size, job.seed, like)
        stop = early_stopping(self._metric, patience, restore)
        yield from fit(model, batches, fitting, [validate, stop], self.clock)

    def _asked(self, job: TrainingJob, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """What the model that was just trained, at its best epoch, says of some images of the pool."""
        backbone, depth = job.config.network, job.config.unfreeze_depth
        model = self.networks.suffix(backbone, depth) if depth else self.networks.head(backbone)
        with self.clock.first(("predict", id(model)), "validation"):
            return predict(model, self.features.clean(backbone, depth, rows))

    def _export(self, job: TrainingJob, file: Path) -> npt.NDArray[np.float32]:
        """Write the model that was just trained; returns what that file says of the validation images."""
        config, standard = job.config, self.start(job.config, self.images(job, "train")).standard
        with self.clock("export"):
            exported, suffix = self.networks.export(config, standard)
            _save(exported, file)
            features = self.features.exact_validation(config.network, config.unfreeze_depth)
            with self.clock.first(("predict", id(suffix)), "validation"):
                return predict(suffix, features)

    def start(self, config: TrialConfig, train: Images) -> Start:
        """Standardisation over the training images, clean and as the policy shows them, and a linear probe on them.

        Raises:
            TrialFailed: if a feature is not finite.
        """
        task, policy = self.task, self.task.policies[config.augmentation]
        place = (config.network, policy, train.rows.tobytes())
        if place not in self._starts:
            with self.clock("head training"):
                views = [self.features.clean(config.network, 0, train.rows)]
                if not policy.identity:
                    first = range(min(task.views, task.epochs))
                    views += self.features.training_views(config.network, policy, 0, first, train.rows)
                standard = standardisation(views)
                if not all(np.isfinite(part).all() for part in standard):
                    title = task.backbones[config.network].title
                    raise TrialFailed(f"features of the training images under {title} are not finite")
                head = linear_probe.linear_probe(views, train.labels, train.weights, standard)
            self._starts[place] = Start(standard, head)
        return self._starts[place]

    def _note_explosion(self, config: TrialConfig, record: EpochRecord) -> None:
        """Remember a loss that is many times a constant guess's: the backbone's scores may say little then."""
        guess = math.log(self.task.n_classes)
        loss, which = max((record.loss, "training"), (record.metrics["log_loss"], "validation"))
        about, title = f"loss {config.network}", self.task.backbones[config.network].title
        if loss > EXPLODED * guess and about not in self._explosions:
            self._explosions[about] = (
                f"{title}: the {which} loss was {loss:.3g} nats per image after {record.phase} epoch {record.epoch}, "
                f"{loss / guess:.0f} times that of a constant guess (learning rate {config.learning_rate:.2g}, "
                f"augmentation {config.augmentation}); its scores may be too low."
            )


def exhaust(steps: Iterable[None]) -> None:
    """Go through all steps of something that pauses after each."""
    deque(steps, maxlen=0)


def _save(model: Any, file: Path) -> None:
    """Write ``model`` to an .h5 file in one step: an earlier one that best_model.h5 is a link to stays as it is."""
    with atomic_path(file) as temporary:
        model.save(temporary, include_optimizer=False)


class out_of_memory_fails:  # noqa: N801 (a context manager reads as a phrase)
    """Turns running out of memory into a failed trial; a full disk, which TensorFlow reports alike, stays one."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        ran_out = isinstance(error, MemoryError) or type(error).__name__ == "ResourceExhaustedError"
        if error is not None and ran_out and not is_of_a_full_disk(error):
            raise TrialFailed("memory ran out; a smaller batch size or image size needs less", MEMORY) from error
