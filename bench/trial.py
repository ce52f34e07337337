"""What a trial is: its configuration (`bench.search.parameters`), its epochs and its result. No Keras, no Ray."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.search.parameters import N_STAGES, TrialConfig

__all__ = ["N_STAGES", "EpochRecord", "Running", "Scored", "TrialConfig", "TrialResult"]


@dataclass(frozen=True)
class Running:
    """A trial that is running: ``score`` is its best validation score so far, and ``epoch`` its last epoch."""

    trial: int
    config: TrialConfig
    score: float | None = None
    epoch: int = 0


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: ``phase`` is head, finetune or (small CNN) scratch; ``epoch`` counts from 1 through all of them."""

    phase: str
    epoch: int
    loss: float
    metrics: dict[str, float]
    seconds: float


class Scored(NamedTuple):
    """What a training said of the validation images.

    Attributes:
        epochs: numbers of the epochs, from 1 through all phases.
        scores: probabilities, shape (n_epochs, n_images, n_classes).
    """

    epochs: tuple[int, ...]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True)
class TrialResult:
    """What a trained configuration reached.

    Attributes:
        best_epoch: number of the epoch with the best validation score, in the phase that counts.
        metrics: validation metrics of that epoch, by name.
        epochs: all epochs, the head's warm-up included.
        seconds: wall-clock seconds from start to end.
        spent: seconds by activity (`bench.clock.ACTIVITIES`, and ``export`` of a finalist).
        scored: what it said of the validation images after each epoch of the phase that counts, or what the exported
            model does; None where that is not kept.
        held_out: probabilities of the job's held-out rows, shape (n_images, n_classes); None where it has none.
    """

    best_epoch: int
    metrics: dict[str, float]
    epochs: tuple[EpochRecord, ...]
    seconds: float
    spent: Mapping[str, float] = field(default_factory=dict)
    scored: Scored | None = field(default=None, compare=False, repr=False)
    held_out: npt.NDArray[np.float32] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.metrics.values()):
            raise ValueError(f"metrics must be finite, but got {self.metrics}")
