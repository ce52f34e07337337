"""`RunSettings`: everything that decides a run, validated, frozen, written to run.json."""

import math
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import ConfigError
from bench.stats.metrics import METRICS

PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.05, le=0.5)]


class RunSettings(BaseModel):
    """The settings of one run; build it with `make_settings`, which explains what is wrong.

    Attributes:
        data: folder of images, table (.csv, .tsv, .txt), .npz, ``medmnist:NAME[@SIZE]``, or ``demo``.
        name: of the run and its folder.
        budget: number of trials.
        epochs: at most so many epochs a phase; None takes the space's or 8.
        seed: decides splits, samples, initial heads, orders and augmentations.
        metric: validation score that decides.
        space: name or file of the search space; None takes ``demo`` for demo data, else ``default``.
        backbones: narrow the space to these; None takes all it offers.
        image_size: pixels for all backbones; None takes the space's or each backbone's native size.
        weights: ``imagenet``, ``random`` or a folder; None means imagenet (the demo may fall back to random).
        scheduler: ``asha`` stops weak trials early, ``none`` trains all to the end.
        patience: a phase ends after so many epochs without gain.
        views: pre-drawn augmentations of the training images.
        max_images: size of a subset of train and validation; None takes all.
        patient_pattern: regular expression with one group that names the patient in an image's name.
        image_root: folder that the paths of a table start from; None takes the table's own.
        splits: a splits.csv whose splits are taken over; None keeps the given ones and draws what is missing.
        test_share: share of the images drawn for a test split that is not given.
        val_share: share of the other images drawn for a validation split that is not given, or too small.
        folds: patient-grouped folds over which the finalists are validated; ``given`` takes those that the source
            gives; 0 for none.
        repeats: seeds that each finalist, and each control that is trained, is retrained with.
        class_weights: whether the loss weighs classes by the training labels, rare ones more.
        resize: how images become square: squashed, padded or cropped.
        window: center and width of the values of DICOM and of grey of more than 8 bits that are shown; None takes the
            header's, an image's own or the set's.
        keep_going: go on although more than 1 % of a class cannot be decoded.
        verify: read every file again to see whether it is still what was decoded.
        time_limit: seconds after which the search stops; None for no limit.
        jobs: trials at a time; 0 chooses.
        no_test: leave the test split sealed.
        bootstrap: draws of patients that intervals and comparisons rest on.
        target_sensitivity: what the frozen operating point must reach on validation; None takes Youden's index.
        group_by: columns of a manifest whose values name subgroups of the test split; None for no column.
        output: folder of run folders.
        cache: folder of decoded images and features.
        cache_size: bytes the features may take; 0 keeps none.
        precision: what backbones compute in while they are trained; ``auto`` takes bfloat16 where it is faster. Files
            are exported, and finalists scored, in float32.
        address: of a Ray cluster to join; None starts Ray on this machine.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = "demo"
    name: str
    budget: PositiveInt = 50
    epochs: PositiveInt | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    metric: str = "auc"
    space: str | None = None
    backbones: tuple[str, ...] | None = None
    image_size: PositiveInt | None = None
    weights: str | None = None
    scheduler: Literal["asha", "none"] = "asha"
    patience: PositiveInt = 3
    views: PositiveInt = 4
    max_images: PositiveInt | None = None
    patient_pattern: str | None = None
    image_root: Path | None = None
    splits: Path | None = None
    test_share: Share = 0.2
    val_share: Share = 0.15
    folds: Annotated[int, Field(ge=0, le=20)] | Literal["given"] = 0
    repeats: Annotated[int, Field(ge=1, le=100)] = 3
    class_weights: bool = True
    resize: Literal["squash", "pad", "crop"] = "squash"
    window: tuple[float, float] | None = None
    keep_going: bool = False
    verify: bool = False
    time_limit: Annotated[float, Field(gt=0)] | None = None
    jobs: Annotated[int, Field(ge=0)] = 0
    no_test: bool = False
    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = 2000
    target_sensitivity: Annotated[float, Field(gt=0.5, lt=1)] | None = None
    group_by: tuple[str, ...] | None = None
    output: Path = Path("reports")
    cache: Path
    cache_size: Annotated[int, Field(ge=0)] = 20 * 10**9
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    address: str | None = None

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError("at most 100 letters, digits, '.', '_' and '-' are accepted")
        return name

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"known metrics: {', '.join(METRICS)}")
        return metric

    @field_validator("folds")
    @classmethod
    def _several_folds(cls, folds: int | str) -> int | str:
        if folds == 1:
            raise ValueError("at least 2 folds are needed, or 0 for none")
        return folds

    @field_validator("group_by")
    @classmethod
    def _distinct_columns(cls, group_by: tuple[str, ...] | None) -> tuple[str, ...] | None:
        plain = [name.strip().lower() for name in group_by or ()]
        if group_by is not None and (not all(plain) or not plain or len(set(plain)) < len(plain)):
            raise ValueError("names of columns, each once, are accepted")
        return group_by

    @field_validator("window")
    @classmethod
    def _wide_enough(cls, window: tuple[float, float] | None) -> tuple[float, float] | None:
        if window is not None and not (math.isfinite(sum(window)) and window[1] >= 1):
            raise ValueError("a finite center and a width of at least 1 are accepted, such as 40,400")
        return window

    @property
    def is_demo(self) -> bool:
        """Whether the embedded synthetic images are used."""
        return self.data == "demo"

    @property
    def space_name(self) -> str:
        """The space that is meant."""
        return self.space or ("demo" if self.is_demo else "default")


def make_settings(**values: Any) -> RunSettings:
    """Validated settings.

    Raises:
        ConfigError: for the first impossible value: which flag, what arrived, what is accepted.
    """
    try:
        return RunSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        flag = "--" + str(first["loc"][0]).replace("_", "-")
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{flag} {first['input']!r} is not possible: {reason[0].lower()}{reason[1:]}.") from None


def parse_folds(text: str) -> int | str:
    """The number of folds in ``text``, or ``given``.

    Raises:
        ConfigError: for anything else.
    """
    given = text.strip().lower()
    if given != "given" and not re.fullmatch(r"-?\d{1,9}", given):
        raise ConfigError(f"--folds takes a number of folds from 2 to 20, 0 for none, or given, but got {text!r}.")
    return given if given == "given" else int(given)


def parse_duration(text: str) -> float:
    """Seconds in ``90s``, ``30m``, ``2h``, ``1h30m`` or a plain number of seconds.

    Raises:
        ConfigError: for anything else, and for 0.
    """
    number = r"(\d{1,9}(?:\.\d+)?)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?|{number}", text.strip().lower())
    hours, minutes, seconds, plain = match.groups() if match else (None, None, None, None)
    total = 3600 * float(hours or 0) + 60 * float(minutes or 0) + float(seconds or plain or 0)
    if total <= 0:
        raise ConfigError(f"--time-limit takes a duration above 0 such as 90s, 30m, 2h or 1h30m, but got {text!r}.")
    return total


def parse_window(text: str) -> tuple[float, float]:
    """Center and width in ``40,400``.

    Raises:
        ConfigError: for anything but two numbers.
    """
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--window takes CENTER,WIDTH such as 40,400 or -600,1500, but got {text!r}.") from None
    return center, width


def parse_bytes(text: str) -> int:
    """Bytes in ``500M``, ``20G``, ``1T`` (powers of 1000) or a plain number.

    Raises:
        ConfigError: for anything else.
    """
    match = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if not match:
        raise ConfigError(f"--cache-size takes a size such as 500M or 20G, or 0 to keep nothing, but got {text!r}.")
    return int(float(match[1]) * 1000 ** " kmgt".index(match[2] or " "))
