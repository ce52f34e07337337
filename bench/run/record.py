"""`RunRecord`: run.json, everything that is known of a run apart from its tables.

It is read in two ways. The pipeline reads strictly: a run whose record is damaged cannot go on. The report reads
leniently: what cannot be read is dropped and named, and the rest is shown. Values are frozen; a stage returns what it
found, and the pipeline writes ``record.model_copy(update=...)``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from bench.errors import ConfigError
from bench.settings import RunSettings

Number = Annotated[float, Field(allow_inf_nan=False)]
Shown = Annotated[str, BeforeValidator(lambda value: value if isinstance(value, str) else str(value))]
"""A text that is only shown, such as a configured value of any type."""


class Part(BaseModel):
    """A part of a JSON document; unknown keys are ignored, so that a later version's document can be read."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    def content(self) -> Any:
        """What of it is known, as JSON's own values."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ParameterRange(Part):
    """What a search space offers for one hyperparameter: ``choices``, or an interval."""

    choices: tuple[str | bool | int | float, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    when: dict[str, Any] = {}


class SpaceRecord(Part):
    """The search space; ``augmentations`` are policies by name, ``points`` configurations to be tried first.

    ``recipes`` are the default recipes by backbone; runs of before they were changed have none.
    """

    name: str = ""
    parameters: dict[str, ParameterRange] = {}
    augmentations: dict[str, dict[str, Any]] = {}
    points: tuple[dict[str, Any], ...] = ()
    recipes: dict[str, dict[str, Any]] = {}


DOUBTED_TIMES, DOUBTED_BY = 2.0, 0.1
"""A scaling is doubted if another's divergence is so many times smaller, and smaller by so many nats per channel.

Chosen by one network's first layer with photographs and radiographs in every scaling: the right one is not doubted by
radiographs where the layer remembers photographs."""


class ScalingRecord(Part):
    """How the values that images give a network go with what its first batch normalisation remembers.

    Attributes:
        assumed: name of the scaling that the run takes.
        divergence: mean over channels of the Kullback-Leibler divergence under it, in nats (`bench.models.scaling`).
        best: the scaling that goes with them best.
        best_divergence: under that.
    """

    assumed: str = ""
    divergence: Number = 0.0
    best: str = ""
    best_divergence: Number = 0.0

    @property
    def doubtful(self) -> bool:
        """Whether another scaling goes with the weights so much better that the assumed one is probably wrong."""
        gained = self.divergence - self.best_divergence
        return gained >= DOUBTED_BY and self.divergence >= DOUBTED_TIMES * self.best_divergence


class StartRecord(Part):
    """The weights of one initialisation: ``kind`` is imagenet, random or folder."""

    kind: str = ""
    note: str = ""


class WeightsRecord(Part):
    """Weights that networks begin with: ``kind`` is imagenet, random, folder, or several; ``sha256`` of each network's.

    ``starts`` has the kind of each initialisation, and ``folders`` where those lie that are folders.
    ``scaling`` says how each network's pixels are scaled, and ``checked`` whether that can be right; None before it is
    known, and without an entry where there is nothing to check it by.
    """

    kind: str = ""
    note: str = ""
    sha256: dict[str, str] = {}
    scaling: dict[str, str] = {}
    checked: dict[str, ScalingRecord] | None = None
    starts: dict[str, StartRecord] = {}
    folders: dict[str, str] = {}

    def of(self, initialisation: str) -> StartRecord:
        """What is known of an initialisation's weights."""
        return self.starts.get(initialisation, StartRecord(kind=self.kind, note=self.note))


class Hardware(Part):
    """The machine that a run ran on."""

    cpus: int | None = None
    memory_gib: Number | None = None
    gpus: tuple[str, ...] = ()
    machine: str = ""
    system: str = ""
    jobs: int = 1
    threads: int | None = None

    def differs(self, other: "Hardware") -> bool:
        """Whether anything that is known of both is different."""
        both = [(getattr(self, name), getattr(other, name)) for name in self.model_fields_set & other.model_fields_set]
        return any(own != its for own, its in both if own not in (None, "") and its not in (None, ""))


class EarlierHardware(Part):
    """The machine that a run had before it was taken up on another, on an updated system, or with other ``--jobs``.

    Attributes:
        hardware: of then.
        trials: number of the first trial that came after it.
        until: when it was taken up, in seconds since the epoch.
    """

    hardware: Hardware
    trials: int
    until: Number


class SplitRecord(Part):
    """Size of one split; ``classes`` holds images by class."""

    images: int = 0
    patients: int = 0
    classes: dict[str, int] = {}


class DataRecord(Part):
    """The images; ``channels`` is 1 or 3, ``splits`` are those that were used."""

    source: str = ""
    path: str = ""
    fingerprint: str = ""
    synthetic: bool = False
    classes: tuple[str, ...] = ()
    channels: int | None = None
    splits: dict[str, SplitRecord] = {}
    notes: tuple[str, ...] = ()


def _brief(milliseconds: float) -> str:
    return (
        f"{milliseconds:.0f}"
        if milliseconds >= 10
        else f"{milliseconds:.1f}"
        if milliseconds >= 1
        else f"{milliseconds:.2g}"
    )


class PrecisionRecord(Part):
    """What a backbone's frozen prefix and its trained suffix compute in, ``float32`` or ``bfloat16``.

    ``measured`` holds milliseconds per image by part (``prefix``, ``suffix``) and precision; empty if the user chose.
    """

    prefix: str = "float32"
    suffix: str = "float32"
    measured: dict[str, dict[str, Number]] = {}

    def describe(self) -> str:
        """In words: ``bfloat16 (prefix 24 ms instead of 48 per image, suffix 18 instead of 31)``."""
        same = self.prefix == self.suffix
        words = self.prefix if same else f"prefix {self.prefix}, suffix {self.suffix}"
        told: list[str] = []
        for part, chosen in (("prefix", self.prefix), ("suffix", self.suffix)):
            times = self.measured.get(part, {})
            other = next((value for name, value in times.items() if name != chosen), None)
            if chosen in times and other is not None:
                first = not told
                unit, per = (" ms", " per image") if first else ("", "")
                told.append(f"{part} {_brief(times[chosen])}{unit} instead of {_brief(other)}{per}")
        return f"{words} ({', '.join(told)})" if told else words


class InferenceRecord(Part):
    """How long an image takes in each backbone, from pixels to pooled features; a head adds nothing worth mentioning.

    Exported models compute in float32, and so does what is timed.

    Attributes:
        milliseconds: per image, by backbone.
        sizes: height and width of the images in pixels, by backbone.
        batch: at most so many images at a time.
        machine: on which it was measured.
    """

    milliseconds: dict[str, Number] = {}
    sizes: dict[str, int] = {}
    batch: int = 0
    machine: str = ""

    def measured(self) -> str:
        """How, and on what."""
        return f"measured in float32, in batches of at most {self.batch} images, on {self.machine or 'this machine'}"


class SettledRecord(Part):
    """When ``--until-settled`` would have ended a search (`bench.search.settled`).

    Attributes:
        chance: that a trial left then, or at the end of a search that it would not have ended, beats the best by more
            than its standard error; None where the rule did not apply.
        trials: that had begun by then; None if it would not have ended the search.
        seconds: of search until the last of them ended.
        saved_trials, saved_seconds: what was done after that.
        best: validation score by then, with its ``standard_error``.
        lost: how much better the best of all trials is.
    """

    chance: Number | None = None
    trials: int | None = None
    seconds: Number | None = None
    saved_trials: int = 0
    saved_seconds: Number = 0.0
    best: Number | None = None
    standard_error: Number | None = None
    lost: Number = 0.0


SETTLED = "settled: "
"""What ``stopped_by`` of a search that ``--until-settled`` has ended begins with."""


class SearchRecord(Part):
    """How a search ended; ``time_limit`` is in seconds, ``counts`` holds trials by state."""

    planned: int | None = None
    time_limit: Number | None = None
    notes: tuple[str, ...] = ()
    stopped_by: str = ""
    settled: SettledRecord | None = None
    counts: dict[str, int] = {}


class WinnerRecord(Part):
    """The finalist that won: mean and standard deviation of its validation score over seeds, and over folds."""

    backbone: str
    score: Number | None = None
    sd: Number | None = None
    repeats: int | None = None
    metric: str = "auc"
    trial: int | None = None
    folds: int | None = None
    fold_mean: Number | None = None
    fold_sd: Number | None = None


class OuterRecord(Part):
    """What the nested loop says of the whole procedure, from the search to the threshold (`bench.evaluation.outer`).

    Attributes:
        folds, repeats: that were asked for; ``done`` and ``failed`` count folds of all repeats.
        seed: that the folds were drawn from, beside the images.
        budget: trials of each fold.
        metric: name of the score.
        score, low, high: mean over the folds, with its interval; ``reason`` says why there is none.
        error, df: its standard error and degrees of freedom.
        pooled: score of all held-out images together, mean over the whole repeats; probabilities are calibrated.
        validation: mean over the folds of the chosen finalist's own validation score.
        chosen: backbone -> number of folds in which it was chosen.
        sensitivity, specificity: of two classes, means over the folds at the thresholds that each fold froze.
        log_loss, calibrated: mean log loss of the held-out images before and after calibration.
        trainings: how many there were.
        seconds: that the folds took.
        stopped_by: what ended the loop before its last fold; empty if nothing did.
    """

    folds: int = 0
    repeats: int = 0
    done: int = 0
    failed: int = 0
    seed: int | None = None
    budget: int | None = None
    metric: str = "auc"
    score: Number | None = None
    low: Number | None = None
    high: Number | None = None
    error: Number | None = None
    df: int | None = None
    reason: str = ""
    pooled: Number | None = None
    validation: Number | None = None
    chosen: dict[str, int] = {}
    sensitivity: Number | None = None
    specificity: Number | None = None
    log_loss: Number | None = None
    calibrated: Number | None = None
    trainings: int = 0
    seconds: Number | None = None
    stopped_by: str = ""


class OpeningRecord(Part):
    """One opening of a test split.

    Attributes:
        time: ISO time, UTC.
        run: name of the run.
        data: fingerprint of the whole set, names and labels included.
        split: fingerprint of the test images alone, by their pixels: other names, labels or training images do not
            make it another split.
        images: how many there are.
        decisions: SHA-256 of best_model.json as it stood, where every choice is written down; of an external test that
            of the model's file.
        begun: when the run was created: another run of the same name is another run.
        sample: hashes of the images that two splits are compared by (`bench.evaluation.known_images`).
        looks: the same of perceptual hashes, by which resized and recompressed images are found.
        kind: of the line in the ledger (`bench.evaluation.ledger`).
        plan: hash of the plan under which it was opened.
        scores: the winner's on the test images, by metric, once they are known.
        call: of a prediction, which command it belongs to and which part of its images it is, as ``COMMAND/PART``.
        ledgers: folders of the ledgers that hold it.
    """

    time: str = ""
    run: str = ""
    data: str = ""
    split: str = ""
    images: int = 0
    decisions: str = ""
    begun: str = ""
    sample: str = ""
    looks: str = ""
    kind: str = "evaluation"
    plan: str = ""
    scores: dict[str, Number] = {}
    call: str = ""
    ledgers: tuple[str, ...] = ()


class PlanRecord(Part):
    """What was to be done, written down and hashed before the search, and anew whenever it is changed.

    Attributes:
        time: ISO time, UTC.
        sha256: of what it ``holds``, as JSON with sorted keys, no spaces and no escapes.
        holds: ``settings`` that decide results, SHA-256 of ``space`` (space.yaml) and ``split`` (splits.csv),
            ``data`` (fingerprint), ``weights``, ``rules`` and the primary ``contrast``.
    """

    time: str = ""
    sha256: str = ""
    holds: dict[str, Any] = {}


class TestRecord(Part):
    """Every opening of the test split by this run.

    Attributes:
        opened: their times.
        openings: what the ledger keeps of each.
        evaluated: the times of those that led to an evaluation; others were ended by a crash.
    """

    __test__ = False  # no test of pytest's
    opened: tuple[str, ...] = ()
    openings: tuple[OpeningRecord, ...] = ()
    evaluated: tuple[str, ...] = ()


class RecordedSettings(RunSettings):
    """`RunSettings` as run.json holds them: what is missing has its default."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = ""
    cache: Path = Path()

    @field_validator("*", mode="wrap")
    @classmethod
    def _refused_by_place(cls, value: Any, read: ValidatorFunctionWrapHandler) -> Any:
        """What is wrong with a flag's text is here wrong with the file, whose place pydantic names."""
        try:
            return read(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None


class Worked(Part):
    """What one worker did: a ``job`` of a ``kind``, from ``began`` to ``ended``, in seconds since the epoch."""

    worker: int
    kind: str
    job: str
    began: Number
    ended: Number


class RunRecord(Part):
    """run.json.

    Attributes:
        name: of the run.
        suite_version: of the suite that began it.
        rules: version of the rules that decide scores (`bench.RULES`).
        command: as it was typed.
        created: ISO 8601, UTC.
        settings: what decided the run; ``epochs`` is resolved.
        titles: of the backbones, by name.
        space: the search space.
        weights: the pretrained weights.
        hardware: the machine, of a resumed run the last.
        earlier: the machines before it, where they differ, in their order.
        packages: versions by package.
        seconds: wall-clock seconds by stage.
        data: the images; None before they are split.
        precision: what backbones compute in while they are trained, by name; None before that is known. Earlier
            versions wrote one name for all.
        inference: how long an image takes in each backbone; None before that is known, and without --also seconds.
        search: how the search ended; None before it did.
        winner: the finalist that won; None before there is one.
        outer: what the nested loop says of the procedure; None without --outer.
        stopped: the error that ended the run before its end, in a line; empty if there was none, or it was taken up.
        plans: what was planned, the first before the search; more than one if it was changed.
        test: openings of the test split.
        activities: seconds by activity; they add up to the stages' own.
        timeline: what each worker did when, in the order in which it ended.
        pinned: checksums of the files of finished stages, by name (`RunDir.pin`).
    """

    name: str = ""
    suite_version: str = ""
    rules: int | None = None
    command: str = ""
    created: str = ""
    settings: RecordedSettings = RecordedSettings()
    titles: dict[str, str] = {}
    space: SpaceRecord = SpaceRecord()
    weights: WeightsRecord = WeightsRecord()
    hardware: Hardware = Hardware()
    earlier: tuple[EarlierHardware, ...] = ()
    packages: dict[str, str] = {}
    seconds: dict[str, Number] = {}
    data: DataRecord | None = None
    precision: dict[str, PrecisionRecord] | str | None = None
    inference: InferenceRecord | None = None
    search: SearchRecord | None = None
    winner: WinnerRecord | None = None
    outer: OuterRecord | None = None
    stopped: str = ""
    plans: tuple[PlanRecord, ...] = ()
    test: TestRecord = TestRecord()
    activities: dict[str, Number] = {}
    timeline: tuple[Worked, ...] = ()
    pinned: dict[str, str] = {}

    def precisions(self) -> dict[str, str]:
        """What each backbone computes in, in words by its title; empty before that is known."""
        if isinstance(self.precision, str):
            return dict.fromkeys(self.titles.values() or ["all backbones"], self.precision)
        return {self.titles.get(name, name): one.describe() for name, one in (self.precision or {}).items()}

    def jobs_of(self, trial: int) -> int:
        """How many trials ran at a time when the one of this number did."""
        of_then = (one.hardware for one in self.earlier if trial < one.trials)
        return max(1, next(of_then, self.hardware).jobs)

    def jobs_at(self, moment: float) -> int:
        """How many jobs ran at a time at a moment, in seconds since the epoch."""
        of_then = (one.hardware for one in self.earlier if moment < one.until)
        return max(1, next(of_then, self.hardware).jobs)

    def taken_up_on(self, hardware: Hardware, trials: int, moment: float) -> "RunRecord":
        """This record of a run that goes on elsewhere, or with other jobs; the same where nothing is different.

        Args:
            hardware: of now.
            trials: number of the first trial that may run on it.
            moment: now, in seconds since the epoch.
        """
        if not hardware.differs(self.hardware):
            return self.model_copy(update={"hardware": hardware})
        before = EarlierHardware(hardware=self.hardware, trials=trials, until=round(moment, 3))
        return self.model_copy(update={"hardware": hardware, "earlier": (*self.earlier, before)})

    @property
    def milliseconds(self) -> dict[str, float]:
        """What an image takes in each backbone; empty where the run is not to know."""
        return self.inference.milliseconds if self.settings.also == "seconds" and self.inference else {}

    def spend(self, stage: str, seconds: float) -> "RunRecord":
        """This record with ``seconds`` more for ``stage``."""
        spent = round(self.seconds.get(stage, 0.0) + seconds, 3)
        return self.model_copy(update={"seconds": {**self.seconds, stage: spent}})


Document = TypeVar("Document", bound=BaseModel)


def read_strictly(kind: type[Document], path: Path) -> Document:
    """The document in ``path``.

    Raises:
        ConfigError: if the file is not valid JSON, or not such a document; the message says where.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ").rstrip(".")
        raise ConfigError(
            f"{path} cannot be read: {f'{where}: ' if where else 'it is not valid JSON: '}{reason}."
        ) from None


def read_leniently(kind: type[Document], content: Any) -> tuple[Document, list[str]]:
    """As much of ``content`` as is such a document, and the places of what is dropped, such as ``data.splits``.

    A part without which the part around it means nothing takes that with it.

    Raises:
        ValueError: if ``content`` is no JSON object, or nothing of it can be read.
    """
    if not isinstance(content, dict):
        raise ValueError(f"it must hold a JSON object, but holds a {type(content).__name__}")
    dropped: list[str] = []
    content = json.loads(json.dumps(content))
    while True:
        try:
            return kind.model_validate(content), dropped
        except ValidationError as error:
            places = {_place(content, one["loc"]) for one in error.errors()} - {()}
            if not places:
                raise ValueError(str(error).splitlines()[0]) from None
            for place in sorted(places, key=lambda place: [str(part) for part in place], reverse=True):
                if not any(place[: len(other)] == other for other in places - {place}):
                    _drop(content, place)
                    dropped.append(".".join(map(str, place)))


def _place(content: Any, loc: Sequence[int | str]) -> tuple[int | str, ...]:
    """The longest beginning of ``loc`` that exists in ``content``: an alternative's name, say, is no place."""
    place: tuple[int | str, ...] = ()
    for part in loc:
        there = part in content if isinstance(content, dict) else isinstance(content, list) and isinstance(part, int)
        if not there:
            break
        content, place = content[part], (*place, part)
    return place


def _drop(content: Any, place: Sequence[int | str]) -> None:
    for part in place[:-1]:
        content = content[part]
    del content[place[-1]]
