"""What every trial of a run shares; cheap to send to a worker, and free of Keras."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.models.augmentation import Policy
from bench.models.backbones import Backbone
from bench.models.weights import Weights, load_backbone


@dataclass(frozen=True)
class Task:
    """All that decides training beside the configuration; cheap to send to a worker.

    Attributes:
        images: backbone name -> the stored set at that backbone's size.
        rows: ``train`` and ``val`` -> row numbers; the test split is not in here.
        labels: ``train`` and ``val`` -> class indices, in the order of ``rows``.
        n_classes: number of classes.
        backbones: by name.
        weights: where their weights are.
        policies: augmentation policies by name.
        metric: name of the score that decides.
        epochs: at most so many epochs a phase.
        patience: a phase ends after so many epochs without gain.
        views: pre-drawn augmentations of the training images.
        seed: of the run.
        cache: folder of the cache.
        cache_bytes: budget of the feature cache; 0 keeps nothing, features are computed at every read.
        depths: unfreeze depths that the space can ask for.
        precision: what backbones compute in while they are trained, ``float32`` or ``bfloat16``; heads and weights
            are float32 in either case.
        cache_dtype: what maps are kept as, ``float16`` (where their values fit) or ``float32``.
        class_weights: whether the loss weighs classes by the training labels, rare ones more.
    """

    images: Mapping[str, StoredImages]
    rows: Mapping[str, npt.NDArray[np.int64]]
    labels: Mapping[str, npt.NDArray[np.int64]]
    n_classes: int
    backbones: Mapping[str, Backbone]
    weights: Weights
    policies: Mapping[str, Policy]
    metric: str
    epochs: int
    patience: int
    views: int
    seed: int
    cache: Path
    cache_bytes: int
    depths: tuple[int, ...] = ()
    precision: str = "float32"
    cache_dtype: str = "float16"
    class_weights: bool = True

    def load_network(self, backbone: str, precision: str | None = None) -> Any:
        """A backbone with its pretrained weights, as a Keras model that computes in ``precision``, else the task's."""
        size, file = self.images[backbone].size, self.weights.files[backbone]
        return load_backbone(self.backbones[backbone], size, file, precision or self.precision)
