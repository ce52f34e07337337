"""The yardstick of cached training: through the whole network, with augmentation drawn anew in every epoch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.models import assemble
from bench.models.augmentation import Augmenter, Policy
from bench.seeds import stable_seed
from bench.stats.metrics import get_metric
from bench.train.features import IMAGES
from bench.train.job import TrainingJob
from bench.train.loop import Progress
from bench.train.networks import compiled
from bench.train.trainer import exhaust, out_of_memory_fails
from bench.trial import TrialConfig, TrialResult


@dataclass(frozen=True)
class FreshImages:
    """Images as a policy draws them for one epoch.

    Attributes:
        stored: the stored set.
        rows: row numbers of the images.
        policy: how they are altered.
        seed: of the epoch.
    """

    stored: StoredImages
    rows: npt.NDArray[np.int64]
    policy: Policy
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_images, height, width, channels)."""
        return (len(self.rows), self.stored.size, self.stored.size, self.stored.channels)

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """The images of ``rows`` as float32."""
        images = np.asarray(self.stored.open()[self.rows[rows]])
        return Augmenter(self.policy, self.seed)(images).astype(np.float32)


def train_fresh(trainer: Any, config: TrialConfig, seed: int) -> TrialResult:
    """Train ``config`` through the full model of its own, with fresh augmentation in every epoch.

    With stages to unfreeze, the head is warmed up on cached features first: there the layers below are frozen as in a
    trial, and fresh augmentation begins with fine-tuning.

    Args:
        trainer: a `bench.train.trainer.Trainer`.
        config: what is trained.
        seed: decides the order of the images, and augmentation.

    Raises:
        TrialFailed: if the loss leaves the finite numbers or memory runs out.
    """
    task, networks, depth = trainer.task, trainer.networks, config.unfreeze_depth
    name, policy = config.network, task.policies[config.augmentation]
    job = TrainingJob(config, seed, min(task.views, task.epochs))
    progress = Progress(get_metric(task.metric), trainer.clock)
    with out_of_memory_fails():
        networks.restore(name)
        train = trainer.images(job, "train")
        start = trainer.start(config, train)
        head = start.head
        if depth:
            progress.begin("head")
            exhaust(trainer.train_phase(job, 0, progress))
            head = networks.head(name).get_layer("probabilities").get_weights()
        row, stored = task.backbones[name], task.images[name]
        network = networks.load(name, task.precision_of(name).suffix)
        model = assemble.full_model(
            row, network, stored.size, stored.channels, task.n_classes, start.standard, config.dropout, seed
        )
        model.get_layer("probabilities").set_weights(head)
        assemble.freeze_prefix(row, model, depth)
        progress.begin("finetune" if depth else "head")
        epochs = [
            FreshImages(stored, train.rows, policy, stable_seed("fresh", seed, epoch)) for epoch in range(task.epochs)
        ]
        exhaust(trainer.fit(job, compiled(model), epochs, IMAGES, progress, restore=False))
    return progress.result()
