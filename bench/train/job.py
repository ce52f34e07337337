"""A training job: all that tells one training of a run from another, whatever it is for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bench.models import small_cnn
from bench.train.task import Task
from bench.trial import TrialConfig


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """A trial of the search, a seed of a finalist, a fold, a baseline: they differ in these fields, not in code.

    Attributes:
        config: what is trained.
        seed: decides initial values that are drawn, the order of the images, and dropout.
        views: how many views of its augmentation policy it turns through, an epoch each.
        first_view: the one it begins with.
        rows: ``train`` and ``val`` -> row numbers, all of the task's pool; None takes the task's own.
        from_scratch: a small CNN on the images of the configuration's backbone instead of that backbone.
        model_file: .h5 file for the model at its best epoch, which is scored in float32 as that file computes; None
            exports nothing.
        held_out: row numbers that the model is asked about once, at its best epoch: they decide nothing.
    """

    config: TrialConfig
    seed: int
    views: int
    first_view: int = 0
    rows: Mapping[str, npt.NDArray[np.int64]] | None = None
    from_scratch: bool = False
    model_file: Path | None = None
    held_out: npt.NDArray[np.int64] | None = None

    @property
    def order(self) -> list[int]:
        """Numbers of the views, in the order of the epochs."""
        return [(self.first_view + epoch) % self.views for epoch in range(self.views)]

    def cost(self, task: Task) -> float:
        """Rough milliseconds of training, to begin with the longest: as `Backbone.cost`, if every epoch is run."""
        images = len((self.rows or task.rows)["train"])
        if self.from_scratch:
            return images * small_cnn.EPOCHS * small_cnn.COST
        step = task.backbones[self.config.network].suffix_cost(self.config.unfreeze_depth)
        return images * task.epochs * (0.1 + step)


def small_cnn_job(
    backbone: str, augmentation: str, seed: int, views: int, first_view: int = 0, model_file: Path | None = None
) -> TrainingJob:
    """A small CNN trained from scratch on the images of a backbone, under a policy."""
    config = TrialConfig(backbone, augmentation, learning_rate=small_cnn.LEARNING_RATE, batch_size=small_cnn.BATCH_SIZE)
    return TrainingJob(config, seed, views, first_view, from_scratch=True, model_file=model_file)
