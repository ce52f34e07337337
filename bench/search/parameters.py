"""The one table of hyperparameters: the fields of `TrialConfig`, each with what spaces, tables and reports need of it.

A further hyperparameter is one more field of `TrialConfig` and the line of training that uses it (see CONTRIBUTING.md).
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

from bench.errors import ConfigError
from bench.seeds import stable_hash

Value: TypeAlias = "str | int | float | bool | None"
"""What a hyperparameter can be, in a space file and in a configuration."""
N_STAGES = 5
"""Every backbone is five stages; unfreeze depths run from 0 (head alone) to 5 (everything)."""
GIVEN = "given"
"""The initialisation of configurations that name none: the weights that ``--weights`` gives."""
CONSTANT, COSINE = SCHEDULES = "constant", "cosine"
"""What a learning rate does over the steps of fine-tuning."""
COLUMN = "config_"
"""Before a parameter's name in the columns of tables."""
GRACE_EPOCHS = 2
REDUCTION_FACTOR = 3
"""ASHA (Li et al., MLSys 2020): of the trials that reach a rung, a third goes on."""


@dataclass(frozen=True)
class Hyperparameter:
    """One row of the table.

    Attributes:
        title: as people write it.
        default: of a configuration that leaves it out; None if it must be given.
        limits: the widest range that a space may choose from, ends included; None for names.
        names: the names that there are; empty where the space or its folders decide.
        ge, gt, le, lt: what a value must satisfy to be possible at all, by pydantic's words.
        when: another parameter, above whose 0 alone this one exists (None elsewhere; its default, if it is quiet);
            empty if it always does.
        scale: how axes are drawn: ``log``, ``linear``, or ``category`` where each value stands for itself.
        written: how a value is written: ``rate`` (1e-3), ``short`` (three digits), ``count``, or ``text``.
        phrase: the parameter in a sentence, with ``{}`` for its value.
        quiet: not spoken of where it is at its default.
        name: in a space file and in `TrialConfig`; behind `COLUMN` in tables. The table fills it in.
        kind: ``str``, ``int`` or ``float``. The table fills it in.
    """

    title: str
    default: Any = None
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    ge: float = -math.inf
    gt: float = -math.inf
    le: float = math.inf
    lt: float = math.inf
    when: str = ""
    scale: Literal["category", "linear", "log"] = "category"
    written: Literal["text", "count", "short", "rate"] = "text"
    phrase: str = ""
    quiet: bool = False
    name: str = ""
    kind: type = str

    @property
    def column(self) -> str:
        """Its column in tables."""
        return COLUMN + self.name

    @property
    def optional(self) -> bool:
        """Whether a configuration may be without it."""
        return bool(self.when) and not self.quiet

    @property
    def rule(self) -> str:
        """The bounds as people write them: ``0 <= dropout < 1``."""
        low = "".join(f"{end} {sign} " for end, sign in ((self.ge, "<="), (self.gt, "<")) if math.isfinite(end))
        high = "".join(f" {sign} {end}" for end, sign in ((self.le, "<="), (self.lt, "<")) if math.isfinite(end))
        return f"{low}{self.name}{high}"

    def possible(self, value: float) -> bool:
        """Whether a number is finite and within the bounds."""
        return math.isfinite(value) and self.ge <= value <= self.le and self.gt < value < self.lt

    def typed(self, value: Any) -> Any:
        """``value`` as the parameter's own kind: 0 and 0.0 are one configuration and must have one key.

        Raises:
            ConfigError: if a whole number is needed and ``value`` is none.
        """
        if value is None or self.kind is str:
            return value
        if self.kind is int and int(value) != value:
            raise ConfigError(f"{self.name} must be a whole number, but got {value!r}.")
        return self.kind(value)


def _row(title: str, default: Any = None, **about: Any) -> Any:
    """A field of `TrialConfig` that is a row of the table; ``about`` is as in `Hyperparameter`."""
    row = Hyperparameter(title, default, phrase=about.pop("phrase", f"{title.lower()} {{}}"), **about)
    return field(default=MISSING if default is None else None if row.optional else default, metadata={"row": row})


_IN_EVERY_KEY = (
    *("backbone", "augmentation", "unfreeze_depth", "learning_rate"),
    *("finetune_factor", "dropout", "label_smoothing", "batch_size"),
)
"""The first parameters there were. Later ones enter a key only where they differ from their default, so that every
earlier configuration keeps its key, and with it its seeds."""


@dataclass(frozen=True)
class TrialConfig:
    """A configuration that can be trained; its fields are the table of hyperparameters.

    Attributes:
        backbone: a backbone's name.
        augmentation: a policy's name.
        unfreeze_depth: stages trained, counted from the output; 0 trains the head alone.
        learning_rate: of Adam, for the head.
        finetune_factor: fine-tuning runs at ``learning_rate * finetune_factor``; None at depth 0.
        dropout: share of pooled features dropped in training.
        label_smoothing: share of each label spread over all classes.
        batch_size: images per step.
        initialisation: where the backbone's weights come from: `GIVEN`, ``imagenet``, ``radimagenet``, ``random``, or a
            folder.
        schedule: of the learning rate over the steps of fine-tuning (`bench.train.loop.Fitting.rates`).
        ema_momentum: of the exponential moving average of weights over the steps of fine-tuning, which are what is
            scored and exported (Keras's ``use_ema``); 0 for the weights themselves.
    """

    backbone: str = _row("Backbone", phrase="{}")
    augmentation: str = _row("Augmentation", "none", phrase="augmentation “{}”")
    unfreeze_depth: int = _row(
        "Unfreeze depth", 0, limits=(0, N_STAGES), ge=0, le=N_STAGES, scale="linear", written="count"
    )
    learning_rate: float = _row("Learning rate", 1e-3, limits=(1e-8, 1.0), gt=0, scale="log", written="rate")
    finetune_factor: float | None = _row(
        "Fine-tuning factor",
        0.1,
        limits=(1e-6, 10.0),
        gt=0,
        when="unfreeze_depth",
        scale="log",
        written="short",
        phrase="fine-tuning at {} times that rate",
    )
    dropout: float = _row("Dropout", 0.2, limits=(0.0, 0.95), ge=0, lt=1, scale="linear", written="short")
    label_smoothing: float = _row(
        "Label smoothing", 0.0, limits=(0.0, 0.9), ge=0, lt=1, scale="linear", written="short"
    )
    batch_size: int = _row("Batch size", 32, limits=(1, 4096), ge=1, written="count", phrase="batches of {} images")
    initialisation: str = _row("Initialisation", GIVEN, phrase="initialised from {}", quiet=True)
    schedule: str = _row(
        "Schedule", CONSTANT, names=SCHEDULES, when="unfreeze_depth", phrase="a {} schedule", quiet=True
    )
    ema_momentum: float = _row(
        "EMA momentum",
        0.0,
        limits=(0.0, 0.9999),
        ge=0,
        lt=1,
        when="unfreeze_depth",
        scale="linear",
        written="short",
        phrase="weights averaged with momentum {}",
        quiet=True,
    )

    def __post_init__(self) -> None:
        for row in PARAMETERS.values():
            object.__setattr__(self, row.name, row.typed(getattr(self, row.name)))
        for row in PARAMETERS.values():
            value = getattr(self, row.name)
            if row.names and value not in row.names:
                raise ConfigError(f"{row.name} must be one of {', '.join(row.names)}, but got {value!r}.")
            if row.kind is not str and not (row.optional and value is None) and not row.possible(value):
                raise ConfigError(f"{row.rule} must hold, but got {asdict(self)}.")
        for row in PARAMETERS.values():
            if row.optional and (getattr(self, row.name) is None) != (getattr(self, row.when) == 0):
                raise ConfigError(f"{row.name} only when {row.when} > 0 must hold, but got {asdict(self)}.")
            if row.quiet and row.when and getattr(self, row.when) == 0:
                object.__setattr__(self, row.name, row.default)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Value]) -> "TrialConfig":
        """From parameters by name; absent ones take their defaults, a conditional one only where it exists.

        Raises:
            ConfigError: for an unknown parameter or an impossible value.
        """
        unknown = sorted(set(values) - set(PARAMETERS))
        if unknown:
            raise ConfigError(f"Unknown parameter {unknown[0]!r}; known parameters: {', '.join(PARAMETERS)}.")
        given: dict[str, Any] = dict(values)
        for row in PARAMETERS.values():
            if row.optional and given.get(row.when, PARAMETERS[row.when].default) == 0:
                given[row.name] = None
            elif row.optional and given.get(row.name) is None:
                given[row.name] = row.default
        return cls(**given)

    @classmethod
    def from_row(cls, row: Mapping[str, object]) -> "TrialConfig":
        """From a table's row; a column that is missing, as in a table of an earlier version, gives the default.

        An empty cell, which may be read as NaN, is no default: it is a value that must be there.

        Raises:
            TypeError: if a value is missing, or a column is of no parameter.
            ValueError, ConfigError: for an impossible value.
        """
        given: dict[str, Any] = {
            column.removeprefix(COLUMN): None if value is None or value != value else value
            for column, value in row.items()
            if column.startswith(COLUMN)
        }
        for one in PARAMETERS.values():
            if one.optional and one.name not in given and given.get(one.when):
                given[one.name] = one.default
            if one.quiet and not given.get(one.name):  # a table of an earlier version, whose schema makes it empty
                given[one.name] = one.default
        return cls(**given)

    def columns(self) -> dict[str, Value]:
        """Its cells in a table's row, by column."""
        return {COLUMN + name: value for name, value in asdict(self).items()}

    @property
    def network(self) -> str:
        """The name of the backbone with these weights: one network of a task (`network_name`)."""
        return network_name(self.backbone, self.initialisation)

    @cached_property
    def key(self) -> str:
        """Identity of the configuration: equal configurations have equal keys."""
        counted = {
            name: value
            for name, value in asdict(self).items()
            if name in _IN_EVERY_KEY or value != PARAMETERS[name].default
        }
        return stable_hash(counted)


def network_name(backbone: str, initialisation: str = GIVEN) -> str:
    """What a backbone with certain weights is called: ``resnet50``, or ``resnet50+radimagenet`` where not as given."""
    return backbone if initialisation == GIVEN else f"{backbone}+{initialisation}"


def network_title(network: str, titles: Mapping[str, str]) -> str:
    """A network as people write it, by the titles of backbones: ``ResNet50``, or ``ResNet50 from radimagenet``."""
    backbone, _, initialisation = network.partition("+")
    title = titles.get(backbone, backbone)
    return f"{title} from {initialisation}" if initialisation else title


PARAMETERS: Mapping[str, Hyperparameter] = {
    one.name: replace(one.metadata["row"], name=one.name, kind=next(iter(get_args(one.type)), one.type))
    for one in fields(TrialConfig)
}
"""The table, by name, in the order in which parameters are chosen and listed."""
