"""What a trial is: its configuration (`bench.search.parameters`), its epochs and its result. No Keras, no Ray."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.search.parameters import N_STAGES, TrialConfig

__all__ = ["N_STAGES", "EpochRecord", "Running", "TrialConfig", "TrialResult"]


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


@dataclass(frozen=True)
class TrialResult:
    """What a trained configuration reached.

    Attributes:
        best_epoch: number of the epoch with the best validation score, in the phase that counts.
        metrics: validation metrics of that epoch, by name.
        epochs: all epochs, the head's warm-up included.
        seconds: wall-clock seconds from start to end.
        spent: seconds by activity (`bench.clock.ACTIVITIES`, and ``export`` of a finalist).
    """

    best_epoch: int
    metrics: dict[str, float]
    epochs: tuple[EpochRecord, ...]
    seconds: float
    spent: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.metrics.values()):
            raise ValueError(f"metrics must be finite, but got {self.metrics}")
