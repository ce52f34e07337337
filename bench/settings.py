"""`RunSettings`: everything that decides a run, each setting explained once; its flag is made from its field."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, cast

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from bench.errors import ConfigError
from bench.stats.metrics import METRICS

REPORTS = Path("reports")
LONGEST_NAME = 100
"""Characters that the name of a run may have."""
FIRST = "needed first"
"""Heading of the flags that ``--help`` begins with."""


def default_cache() -> Path:
    """Where decoded images and features lie, unless another place is given."""
    try:
        return Path(platformdirs.user_cache_dir("medical-transfer-bench"))
    except RuntimeError:  # a user without a home folder, as containers have them: --cache has to be given
        return Path("~/.cache/medical-transfer-bench")


# What flags give as text. A `ConfigError` passes through pydantic as it is.


def parse_duration(text: str, otherwise: str = "") -> float:
    """Seconds in ``90s``, ``30m``, ``2h``, ``1h30m`` or a plain number of seconds.

    Args:
        text: as it was typed.
        otherwise: what else is taken, for the message.

    Raises:
        ConfigError: for anything else, and for 0.
    """
    number = r"(\d{1,9}(?:\.\d+)?)"
    match = re.fullmatch(rf"(?:{number}h)?(?:{number}m)?(?:{number}s)?|{number}", text.strip().lower())
    hours, minutes, seconds, plain = match.groups() if match else (None, None, None, None)
    total = 3600 * float(hours or 0) + 60 * float(minutes or 0) + float(seconds or plain or 0)
    if total <= 0:
        taken = f"a duration above 0 such as 90s, 30m, 2h or 1h30m{otherwise}"
        raise ConfigError(f"--time-limit takes {taken}, but got {text!r}.")
    return total


def _parse_limit(text: str) -> float | None:
    return None if text.strip().lower() == "none" else parse_duration(text, ", or none for no limit")


def parse_bytes(text: str) -> int:
    """Bytes in ``500M``, ``20G``, ``1T`` (powers of 1000), ``20GiB`` (powers of 1024) or a plain number.

    Raises:
        ConfigError: for anything else.
    """
    try:
        if not re.fullmatch(r"\s*\d+(\.\d+)?\s*[A-Za-z]*\s*", text):  # pydantic takes 20,5G for 20
            raise OverflowError
        return int(TypeAdapter(Annotated[ByteSize, Field(le=10**18)]).validate_python(text))
    except (ValidationError, OverflowError):
        raise ConfigError(
            f"--cache-size takes a size such as 500M or 20G, or 0 to keep nothing, but got {text!r}."
        ) from None


def _parse_pixels(text: str) -> int:
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)\s*([kMG])|(\d{1,11})", text.strip())
    if not match:
        raise ConfigError(f"--max-pixels takes a number of pixels such as 500M or 25000000, but got {text!r}.")
    number, unit, plain = match.groups()
    return int(plain) if plain else int(float(number) * 1000 ** (1 + "kMG".index(unit)))


def _parse_folds(text: str) -> int | str:
    given = text.strip().lower()
    if given != "given" and not re.fullmatch(r"-?\d{1,9}", given):
        raise ConfigError(f"--folds takes a number of folds from 2 to 20, 0 for none, or given, but got {text!r}.")
    return given if given == "given" else int(given)


def _parse_window(text: str) -> tuple[float, float]:
    try:
        center, width = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--window takes CENTER,WIDTH such as 40,400 or -600,1500, but got {text!r}.") from None
    return center, width


def _names(flag: str, kind: str, example: str) -> Callable[[str], tuple[str, ...]]:
    """A parser of names separated by commas."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(name.strip() for name in text.split(",") if name.strip())
        if not names:
            raise ConfigError(f"{flag} takes {kind} separated by commas, such as {example}.")
        return names

    return parse


def _text(parse: Callable[[str], Any]) -> BeforeValidator:
    """Text goes through ``parse``; a value that is none, as run.json has it, stays as it is."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


def is_path(data: str) -> bool:
    """Whether ``data`` is a place on the disk, and not the name of a set."""
    return data != "demo" and not data.lower().startswith("medmnist:")


def _absolute_data(data: str) -> str:
    return str(Path(data).absolute()) if is_path(data) else data


def _absolute_weights(weights: str) -> str:
    return weights if weights in ("imagenet", "random") else str(Path(weights).absolute())


def _plain_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or len(name) > LONGEST_NAME:
        raise ValueError(f"at most {LONGEST_NAME} letters, digits, '.', '_' and '-' are accepted")
    return name


def _known_metric(metric: str) -> str:
    """The name of a metric, which may be given in capitals, with blanks, or by its title: AUC, ROC AUC."""
    known = {_plain(given): name for name, row in METRICS.items() for given in (row.title, name)}
    if _plain(metric) not in known:
        raise ValueError(f"known metrics: {', '.join(METRICS)}")
    return known[_plain(metric)]


def _plain(name: str) -> str:
    """A name without what people write in several ways: capitals, hyphens, underscores, blanks."""
    return re.sub(r"[-_\s]", "", name).lower()


def _several_folds(folds: int | str) -> int | str:
    if folds == 1:
        raise ValueError("at least 2 folds are needed, or 0 for none")
    return folds


def _outer(shape: str) -> str:
    plain = shape.strip().lower()
    if not re.fullmatch(r"([2-9]|1\d|20)x([1-9]|1\d|20)", plain):
        raise ValueError("2 to 20 folds, repeated 1 to 20 times, are accepted as KxR, such as 5x2")
    return plain


def _distinct_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    plain = {name.strip().lower() for name in columns}
    if "" in plain or not plain or len(plain) < len(columns):
        raise ValueError("names of columns, each once, are accepted")
    return columns


def _wide_enough(window: tuple[float, float]) -> tuple[float, float]:
    if not (math.isfinite(sum(window)) and window[1] >= 1):
        raise ValueError("a finite center and a width of at least 1 are accepted, such as 40,400")
    return window


PositiveInt = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.05, le=0.5)]
AbsolutePath = Annotated[Path, AfterValidator(Path.absolute)]
Backbones = Annotated[tuple[str, ...], _text(_names("--backbones", "names", "vgg16,resnet50"))]
Columns = Annotated[
    tuple[str, ...], _text(_names("--group-by", "names of columns", "sex,scanner")), AfterValidator(_distinct_columns)
]
Classes = Annotated[
    tuple[str, ...],
    _text(_names("--ordinal", "all classes from the least to the most", "mild,moderate,severe")),
]
Folds = Annotated[
    Annotated[int, Field(ge=0, le=20)] | Literal["given"], _text(_parse_folds), AfterValidator(_several_folds)
]
Window = Annotated[tuple[float, float], _text(_parse_window), AfterValidator(_wide_enough)]


class Flag(TypedDict):
    """What a field says of its flag, beside description and example."""

    group: str
    metavar: str
    shown: str
    resumable: bool
    revocable: bool


def setting(
    group: str,
    default: Any,
    metavar: str = "",
    example: str = "",
    *,
    shown: str = "",
    resumable: bool = False,
    revocable: bool = False,
) -> Any:
    """A field together with its flag; the docstring below it says what it decides.

    Args:
        group: heading under which ``--help`` lists the flag.
        default: its value, a function that finds it, or ``...`` if it must be given.
        metavar: stands for the value; may be left out for choices and switches.
        example: a value as it would be typed; none for a switch.
        shown: the default in words, where its value does not speak for itself.
        resumable: whether it may be given anew when a run is resumed.
        revocable: whether a switch has an opposite, by which a resumed run takes it back.
    """
    flag = Flag(group=group, metavar=metavar, shown=shown, resumable=resumable, revocable=revocable)
    kind = {"default_factory": default} if callable(default) else {"default": default}
    return Field(**kind, examples=[example], json_schema_extra=cast(dict[str, JsonValue], flag))


class RunSettings(BaseModel):
    """The settings of one run; build it with `make_settings`, which explains what is wrong.

    Each field's docstring is the help of its flag, and their order that of ``--help``; ``{metrics}``, ``{spaces}`` and
    ``{program}`` are filled in there.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    data: Annotated[str, AfterValidator(_absolute_data)] = setting(FIRST, "demo", "DATA", "chest_xray", resumable=True)
    """folder with train/, val/, test/ of class folders, or class folders alone; a table (.csv, .tsv, .txt) with
    path,label[,patient][,split][,fold]; an .npz in the MedMNIST layout; medmnist:NAME[@SIZE]; or demo"""
    patient_pattern: str | None = setting(
        FIRST,
        None,
        "REGEX",
        r"'^(P\d+)_'",
        shown="what the source says, else names of public sets with marks of their own, else each image its own",
    )
    """regular expression with one group that names the patient, searched for in the file name (in the path below the
    data folder if it holds a /)"""
    image_root: AbsolutePath | None = setting(
        "data", None, "FOLDER", "/data/HAM10000", shown="the table's own folder", resumable=True
    )
    """folder that the paths of a table start from; images are looked for below it by name too"""
    splits: AbsolutePath | None = setting(
        "data", None, "FILE", "reports/xray/splits.csv", shown="the given splits; what is missing is drawn"
    )
    """take the splits of this table over: image,label,split, as a run's splits.csv has them"""
    ordinal: Classes | None = setting("data", None, "CLASSES", "mild,moderate,severe", shown="they have no order")
    """the classes have an order: all of them, separated by commas, from the least to the most; of two the last is what
    is looked for"""
    test_share: Share = setting("data", 0.2, "SHARE", "0.25")
    """share of the images drawn for test where no test split is given"""
    val_share: Share = setting("data", 0.15, "SHARE", "0.2")
    """share of the other images drawn for validation where none is given, or one too small to select by"""
    split_seed: Annotated[int, Field(ge=0, lt=2**31)] = setting("data", 0, "N", "1")
    """together with the images' content, decides which of them are drawn for test, validation, folds and --max-images:
    a choice of the protocol, on record in the report, to be made before any score is seen"""
    folds: Folds = setting("data", 0, "K|given", "5", shown="off")
    """validate the finalists over so many patient-grouped folds of train and validation, or over those given by
    folders fold_1, fold_2 … or a fold column"""
    outer: Annotated[str, AfterValidator(_outer)] | None = setting(
        "data", None, "KxR", "5x2", shown="off", resumable=True
    )
    """measure the whole procedure, from search to threshold, by a nested loop: K patient-grouped folds of train and
    validation, drawn R times, each scored once by what is searched, chosen and trained without it"""
    outer_budget: PositiveInt | None = setting(
        "data", None, "N", "25 --outer 5x2", shown="that of the run", resumable=True
    )
    """number of trials in each fold of --outer"""
    repeats: Annotated[int, Field(ge=1, le=100)] = setting("data", 5, "R", "10", resumable=True)
    """train each finalist, the default recipe and the small CNN with so many seeds; the best mean wins"""
    resize: Literal["squash", "pad", "crop"] = setting("data", "squash", example="pad")
    """how images become square: squash ignores the aspect ratio, pad adds black, crop cuts the longer side"""
    window: Window | None = setting(
        "data",
        None,
        "CENTER,WIDTH",
        "40,400",
        shown="what the DICOM header says; else each image's own range, of an .npz the range of all",
    )
    """show these values of DICOM in grey and of grey of more than 8 bits, as DICOM windows do"""
    keep_going: bool = setting("data", False, shown="stop")
    """go on although more than 1 % of a class cannot be decoded"""
    verify: bool = setting("data", False, shown="trust size and time of change", resumable=True)
    """read every file again to see whether it is still what was decoded"""
    max_pixels: Annotated[int, Field(ge=1, le=10**10), _text(_parse_pixels)] = setting(
        "data", 100_000_000, "N", "500M", shown="100M"
    )
    """leave out images of more pixels, and files of more than 8 bytes for each of these, before memory is taken"""
    max_images: PositiveInt | None = setting("data", None, "N", "1200", shown="all")
    """train and validate on a stratified subset of whole patients; test stays whole"""
    image_size: PositiveInt | None = setting(
        "data", None, "N", "96", shown="the space's, else each backbone's native size: 224, InceptionV3 299"
    )
    """height and width in pixels for all backbones; InceptionV3 needs at least 75"""

    budget: PositiveInt = setting(FIRST, 50, "N", "12", resumable=True)
    """number of trials"""
    space: str | None = setting("search", None, "NAME|FILE", "wide", shown="default, or demo for the demo data")
    """search space: a shipped one ({spaces}) or a .yaml file"""
    backbones: Backbones | None = setting("search", None, "NAMES", "vgg16,resnet50", shown="all that the space offers")
    """search these, separated by commas, of vgg16, resnet50, inceptionv3 (the default spaces'), densenet121,
    efficientnetv2b0, convnexttiny, mobilenetv3large; of those that it lists, where a space of yours does"""
    weights: Annotated[str, AfterValidator(_absolute_weights)] | None = setting(
        FIRST,
        None,
        "KIND|FOLDER",
        "random",
        shown="imagenet; the demo falls back to random where it cannot be had",
        resumable=True,
    )
    """imagenet, random, or a folder of Keras's .h5 weight files, or RadImageNet's"""
    scaling: str | None = setting("search", None, "SCALING", "inceptionv3=unit", shown="that of the published weights")
    """how pixels were scaled when the weights were pretrained: caffe, tf, torch, radimagenet, unit (0 to 1) or raw (0
    to 255), for all backbones or as BACKBONE=SCALING, separated by commas; with -bgr or -rgb, colours in that order"""
    metric: Annotated[str, AfterValidator(_known_metric)] = setting("search", "auc", "NAME", "log_loss")
    """validation score that decides: {metrics}"""
    also: Literal["seconds"] | None = setting("search", None, "seconds", "seconds", shown="the score alone")
    """search for networks that are fast too: the sampler keeps the Pareto front of the score and of the time that an
    image takes, and the report names the best under a limit of time; --metric alone chooses, as before"""
    epochs: PositiveInt | None = setting("search", None, "N", "4", shown="the space's, else 8")
    """at most so many epochs per phase (head, then fine-tuning)"""
    patience: PositiveInt | None = setting("search", None, "N", "5", shown="the space's, else 3")
    """a phase ends after so many epochs without gain"""
    class_weights: bool = setting("search", True, shown="weights that balance the classes")
    """train without class weights from the training labels"""
    scheduler: Literal["asha", "none"] = setting("search", "asha", example="none")
    """asha stops weak trials early (never before 2 epochs), none trains all to the end"""
    views: PositiveInt = setting("search", 4, "N", "2")
    """pre-drawn augmentations of the training images that the search trains on"""
    time_limit: Annotated[Annotated[float, Field(gt=0)] | None, _text(_parse_limit)] = setting(
        "search", None, "TIME", "2h", shown="no limit", resumable=True
    )
    """end the search after this time, and the folds of --outer after as long again; finalists and evaluation come on
    top; none takes the limit of a resumed run away"""
    until_settled: bool = setting("search", False, shown="the whole budget is used", resumable=True, revocable=True)
    """end the search once the chance that a trial left in the budget beats the best by more than its standard error on
    validation is below 5 %; not before 20 trials, 5 of each backbone"""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = setting("search", 0, "N", "7")
    """decides samples, initial heads, orders and augmentations, and never which images are train, validation or test"""

    jobs: Annotated[int, Field(ge=0)] = setting(
        "machine", 0, "N", "1", shown="one per GPU, else one per CPU core up to 8, as memory allows", resumable=True
    )
    """trials at a time; with 1, a run can be repeated exactly"""
    address: str | None = setting("machine", None, "ADDRESS", "auto", shown="this machine alone")
    """Ray cluster to join, as `ray start --head` prints it; all its machines must share the disks of --data, --cache
    and --output"""
    cache: AbsolutePath = setting("machine", default_cache, "FOLDER", "/scratch/bench", resumable=True)
    """folder for decoded images and cached features"""
    cache_size: Annotated[int, Field(ge=0), _text(parse_bytes)] = setting(
        "machine", 20 * 10**9, "SIZE", "50G", shown="20G"
    )
    """disk space that cached features may take; the least recently used leave first, and 0 keeps none"""
    precision: Literal["auto", "float32", "bfloat16"] = setting(
        "machine",
        "auto",
        example="float32",
        shown="auto: measured for each backbone, bfloat16 where this machine is faster in it",
    )
    """what backbones compute in while they are trained; models are scored at the end and exported in float32"""

    bootstrap: Annotated[int, Field(ge=100, le=100_000)] = setting("evaluation", 2000, "N", "10000")
    """draws of patients that intervals and comparisons rest on, 100 to 100000"""
    margin: Annotated[float, Field(gt=0, lt=1)] = setting("evaluation", 0.01, "DIFFERENCE", "0.02")
    """difference in --metric that would not matter: within it, the winner and its default recipe are equivalent"""
    target_sensitivity: Annotated[float, Field(gt=0.5, lt=1)] | None = setting(
        "evaluation", None, "SHARE", "0.95", shown="Youden's index decides"
    )
    """freeze the operating point that reaches this sensitivity on validation, above 0.5 and below 1"""
    learning_curve: bool = setting("evaluation", True, shown="it is trained on a half, a quarter, ... of the patients")
    """leave out training the winner on fewer patients, which tells whether more would help"""
    group_by: Columns | None = setting(
        "evaluation", None, "COLUMNS", "sex,scanner", shown="image size, aspect ratio, and what file names tell"
    )
    """score the test images by these columns of a .csv too, separated by commas"""
    tta: Annotated[int, Field(ge=0, le=64)] = setting("evaluation", 0, "N", "8", shown="off")
    """score the winner once more by the mean over each image and so many augmented copies, drawn by its own policy"""

    ledger: Literal["machine", "data"] = setting("output", "machine", example="data", resumable=True)
    """where openings of the test split are written down: on this machine alone, or also in .medical-transfer-bench/ in
    the folder of the data, so that they travel with it; where that folder is there, it is used anyway"""
    name: Annotated[str, AfterValidator(_plain_name)] = setting(
        FIRST, ..., "NAME", "xray", shown="the data's name and the time"
    )
    """name of the run and of its folder"""
    output: Path = setting("output", REPORTS, "FOLDER", "/data/runs")
    """folder of run folders"""
    no_test: bool = setting("output", False, shown="it is opened once, at the end", resumable=True)
    """leave the test split sealed; `{program} evaluate NAME` opens it later"""
    images: bool = setting("output", True, shown="they are part of the page", resumable=True, revocable=True)
    """leave every picture of an image out of the report's page; file names and scores stay"""

    @field_validator("data", "image_root", "splits", "space", "weights", "cache", "output", mode="before")
    @classmethod
    def _named(cls, value: Any, info: ValidationInfo) -> Any:
        """A place that is empty, as of a shell's variable without a value, would be the working folder."""
        if isinstance(value, str) and not value.strip():
            flag, example = flag_of(str(info.field_name)), (cls.model_fields[str(info.field_name)].examples or [""])[0]
            raise ConfigError(f"{flag} is empty; give a value such as {flag} {example or REPORTS}, or leave it out.")
        return value

    @property
    def is_demo(self) -> bool:
        """Whether the embedded synthetic images are used."""
        return self.data == "demo"

    @property
    def outer_shape(self) -> tuple[int, int]:
        """Folds and repeats of the nested loop; no folds where there is none."""
        folds, _, repeats = (self.outer or "0x0").partition("x")
        return int(folds), int(repeats)

    @property
    def trials_of_outer(self) -> int | None:
        """Budget of each fold of the nested loop; None where there is none."""
        return (self.outer_budget or self.budget) if self.outer else self.outer_budget

    @property
    def space_name(self) -> str:
        """The space that is meant."""
        return self.space or ("demo" if self.is_demo else "default")


def about_flag(name: str) -> Flag:
    """What the field ``name`` says of its flag."""
    return cast(Flag, RunSettings.model_fields[name].json_schema_extra)


def flag_of(name: str) -> str:
    """The flag of the setting ``name``: a switch that is on by default is switched off."""
    field = RunSettings.model_fields.get(name)
    return f"--{'no-' if field is not None and field.default is True else ''}{name.replace('_', '-')}"


def opposite_of(name: str) -> str:
    """The flag that takes the switch ``name`` back on ``--resume``; empty where there is none."""
    if not about_flag(name)["revocable"]:
        return ""
    flag = flag_of(name)
    return f"--{flag.removeprefix('--no-')}" if flag.startswith("--no-") else f"--no-{flag.removeprefix('--')}"


def make_settings(**values: Any) -> RunSettings:
    """Validated settings; what flags give as text is parsed.

    Raises:
        ConfigError: for the first impossible value: which flag, what arrived, what is accepted.
    """
    try:
        return RunSettings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        given = first["input"]
        is_number = isinstance(given, str) and re.fullmatch(r"-?\d+(\.\d+)?|nan", given)
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{flag_of(str(first['loc'][0]))} {given if is_number else repr(given)} is not possible: "
            f"{reason[0].lower()}{reason[1:]}."
        ) from None
