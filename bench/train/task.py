"""What every trial of a run shares; cheap to send to a worker, and free of Keras."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.models.augmentation import Policy
from bench.models.backbones import Backbone
from bench.models.weights import Weights
from bench.seeds import stable_hash


class Precision(NamedTuple):
    """What a backbone's frozen prefix and its trained suffix compute in, each ``float32`` or ``bfloat16``."""

    prefix: str = "float32"
    suffix: str = "float32"


@dataclass(frozen=True, eq=False)
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
        epochs: at most so many epochs per phase.
        patience: a phase ends after so many epochs without gain.
        views: pre-drawn augmentations of the training images.
        seed: of the run.
        cache: folder of the cache.
        cache_bytes: budget of the feature cache; 0 keeps nothing, features are computed at every read.
        depths: unfreeze depths that the space can ask for.
        precision: backbone name -> what it computes in while it is trained, float32 where nothing is said; heads and
            weights are float32 in either case.
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
    precision: Mapping[str, Precision] = field(default_factory=dict)
    cache_dtype: str = "float16"
    class_weights: bool = True

    @cached_property
    def key(self) -> str:
        """Identity of the task, the same in every process: two tasks are equal if all their fields are."""
        return stable_hash(_plain(self))

    def precision_of(self, backbone: str) -> Precision:
        """What the prefix and the suffix of ``backbone`` compute in."""
        return self.precision.get(backbone, Precision())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _plain(value: Any) -> Any:
    """``value`` as JSON knows it, with arrays in full; fields that do not count for equality are left out."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.compare}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.tolist() if isinstance(value, np.ndarray) else value
