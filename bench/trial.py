"""What a trial is: its configuration, its epochs and its result. No Keras, no Ray: every layer may use it."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from bench.errors import ConfigError
from bench.seeds import stable_hash

N_STAGES = 5
"""Every backbone is five stages; unfreeze depths run from 0 (head alone) to 5 (everything)."""


@dataclass(frozen=True)
class TrialConfig:
    """A configuration that can be trained.

    Attributes:
        backbone: a backbone's name.
        augmentation: a policy's name.
        unfreeze_depth: stages trained, counted from the output; 0 trains the head alone.
        learning_rate: of Adam, for the head.
        finetune_factor: fine-tuning runs at ``learning_rate * finetune_factor``; None at depth 0.
        dropout: share of pooled features dropped in training.
        label_smoothing: share of each label spread over all classes.
        batch_size: images a step.
    """

    backbone: str
    augmentation: str = "none"
    unfreeze_depth: int = 0
    learning_rate: float = 1e-3
    finetune_factor: float | None = None
    dropout: float = 0.2
    label_smoothing: float = 0.0
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("unfreeze_depth", "batch_size"):
            if int(getattr(self, name)) != getattr(self, name):
                raise ConfigError(f"{name} must be a whole number, but got {getattr(self, name)!r}.")
            object.__setattr__(self, name, int(getattr(self, name)))
        for name in ("learning_rate", "finetune_factor", "dropout", "label_smoothing"):
            if getattr(self, name) is not None:  # 0 and 0.0 are one configuration and must have one key
                object.__setattr__(self, name, float(getattr(self, name)))
        rules = {
            f"0 <= unfreeze_depth <= {N_STAGES}": 0 <= self.unfreeze_depth <= N_STAGES,
            "0 < learning_rate": 0 < self.learning_rate < math.inf,
            "0 < finetune_factor": self.finetune_factor is None or 0 < self.finetune_factor < math.inf,
            "0 <= dropout < 1": 0 <= self.dropout < 1,
            "0 <= label_smoothing < 1": 0 <= self.label_smoothing < 1,
            "1 <= batch_size": self.batch_size >= 1,
            "finetune_factor only when unfreeze_depth > 0": (self.finetune_factor is None)
            == (self.unfreeze_depth == 0),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ConfigError(f"{rule} must hold, but got {asdict(self)}.")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """From parameters by name; absent ones take their defaults, and finetune_factor 0.1 where it is needed.

        Raises:
            ConfigError: for an unknown parameter or an impossible value.
        """
        known = [entry.name for entry in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"Unknown parameter {unknown[0]!r}; known parameters: {', '.join(known)}.")
        given = dict(values)
        if given.get("unfreeze_depth", 0) == 0:
            given["finetune_factor"] = None
        elif given.get("finetune_factor") is None:
            given["finetune_factor"] = 0.1
        return cls(**given)

    @property
    def key(self) -> str:
        """Identity of the configuration: equal configurations have equal keys."""
        return stable_hash(asdict(self))


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
        spent: seconds by activity (`bench.clock.ACTIVITIES`, and ``checkpoints`` of a finalist).
    """

    best_epoch: int
    metrics: dict[str, float]
    epochs: tuple[EpochRecord, ...]
    seconds: float
    spent: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.metrics.values()):
            raise ValueError(f"metrics must be finite, but got {self.metrics}")
