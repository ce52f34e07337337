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

Rows = Mapping[str, npt.NDArray[np.int64]]
"""``train`` and ``val`` -> row numbers."""


def balanced_weights(labels: npt.NDArray[np.int64], n_classes: int) -> npt.NDArray[np.float64]:
    """Weight of each class in a loss that balances ``labels``, shape (n_classes,): their mean over images is 1."""
    counts = np.bincount(labels, minlength=n_classes)
    return np.asarray(counts.sum() / (n_classes * np.maximum(counts, 1)))


class Precision(NamedTuple):
    """What the two parts of a backbone compute in while it is trained: ``float32`` or ``bfloat16``."""

    prefix: str = "float32"
    suffix: str = "float32"


@dataclass(frozen=True, eq=False)
class Task:
    """All that decides training beside the configuration; cheap to send to a worker.

    Attributes:
        images: network name (`bench.search.parameters.network_name`) -> the stored set at its backbone's size.
        rows: ``train`` and ``val`` -> row numbers; the test split is not in here. Together they are the pool.
        labels: ``train`` and ``val`` -> class indices, in the order of ``rows``.
        n_classes: number of classes.
        backbones: network name -> its backbone, with the preprocessing that its weights want; those that no trial can
            begin with have no weights.
        weights: where the weights of each network are.
        policies: augmentation policies by name.
        metric: name of the score that decides.
        epochs: at most so many epochs per phase.
        patience: a phase ends after so many epochs without gain.
        views: pre-drawn augmentations of the training images.
        seed: of the run.
        cache: folder of the cache.
        cache_bytes: budget of the feature cache; 0 keeps nothing, features are computed at every read.
        depths: unfreeze depths that the space can ask for.
        precision: backbone name -> what its prefix and its suffix compute in; heads and weights are float32 in any
            case, and so is all of a backbone that is not in it.
        cache_dtype: what maps are kept as, ``float16`` (where their values fit) or ``float32``.
        class_weights: whether the loss weighs classes by the training labels, rare ones more.
        ordinal: whether the classes have an order, which is that of their indices.
        searched: ``train`` and ``val`` -> the rows of the pool that trials are trained and validated on; None for all.
            Not a part of the task's identity: an outer fold's trials run in the same trainers as all others.
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
    precision: Mapping[str, "Precision"] = field(default_factory=dict)
    cache_dtype: str = "float16"
    class_weights: bool = True
    ordinal: bool = False
    searched: Rows | None = field(default=None, compare=False)

    @property
    def architectures(self) -> dict[str, Backbone]:
        """Backbone name -> its row, whatever its weights."""
        return {row.name: row for row in self.backbones.values()}

    def precision_of(self, backbone: str) -> Precision:
        """What the parts of a network compute in: as its backbone, whatever its weights."""
        return self.precision.get(
            self.backbones[backbone].name if backbone in self.backbones else backbone, Precision()
        )

    @cached_property
    def pool(self) -> npt.NDArray[np.int64]:
        """Row numbers of all training and validation images, in the order in which the cache holds them.

        Shuffled, so that no part of a cached array is one class: what damages it must not tell the label.
        """
        return np.random.default_rng(0).permutation(np.sort(np.concatenate(list(self.rows.values()))))

    @cached_property
    def _sorter(self) -> npt.NDArray[np.int64]:
        return np.argsort(self.pool)

    @cached_property
    def _pool_labels(self) -> npt.NDArray[np.int64]:
        labels = np.empty(len(self.pool), np.int64)
        for split, chosen in self.rows.items():
            labels[self.places(chosen)] = self.labels[split]
        return labels

    def places(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Where ``rows``, all of the pool, stand in it."""
        return self._sorter[np.searchsorted(self.pool, rows, sorter=self._sorter)]

    def labels_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Class indices of ``rows``, all of the pool."""
        return self._pool_labels[self.places(rows)]

    @cached_property
    def key(self) -> str:
        """Identity of the task, the same in every process: two tasks are equal if all their fields are."""
        return stable_hash(_plain(self))

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
