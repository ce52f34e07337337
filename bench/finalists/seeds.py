"""One thing trained with several seeds: what each training leaves, and which of them represents the others.

Shared by finalists and baselines; what is trained, and why, is theirs to say.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any, NamedTuple

import pandas as pd

from bench.disk import is_of_a_full_disk
from bench.errors import ConfigError, TrialFailed, WorkerDied
from bench.failures import TRIED_AGAIN, kind_of, told
from bench.run.courses import Curve
from bench.run.folder import RunDir, as_written, file_sha256
from bench.run.results import EpochLog
from bench.run.tables import Row, Schema, records, score_columns, scores_in
from bench.seeds import stable_seed
from bench.stats.metrics import Metric
from bench.train.job import TrainingJob
from bench.trial import TrialConfig, TrialResult


class NoFinalist(Exception):
    """Not one finalist could be retrained, or a crash has taken one that might well have won."""


def lost_to_crashes(lost: Sequence[str]) -> str:
    """The sentence on trainings that crashes have taken, so that nobody may win."""
    return (
        f"{' and '.join(lost)} could not be trained for a fault of the machine or its memory, and the others would win "
        "unopposed: the test split stays sealed. A new run with --backbones can do without it"
    )


@dataclass(frozen=True)
class Training:
    """One thing that is trained with several seeds.

    Attributes:
        name: of the backbone or baseline.
        seed_of: repeat, from 1 -> seed; see `repeat_seed`.
        job_of: ``job_of(seed, repeat, model_file)`` -> what is to be carried out.
        config: what is trained; None where it has no configuration.
        about: further columns of its rows.
    """

    name: str
    seed_of: Callable[[int], int]
    job_of: Callable[[int, int, Path], TrainingJob]
    config: TrialConfig | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class Wanted(NamedTuple):
    """A job, and whose curve it gives."""

    curve: Curve
    job: TrainingJob


Outcome = TrialResult | Exception
Train = Callable[[Sequence[Wanted]], Iterator[tuple[Wanted, Outcome]]]
"""Carries out jobs in any order, many at a time; gives what each reached, or what ended it, as soon as it has ended."""


@dataclass(frozen=True)
class Told:
    """Whom trainings are told to."""

    on_start: Callable[[Training], None] = lambda training: None
    """Called before the first training of each thing."""
    on_row: Callable[[Row], None] = lambda row: None
    """Called with each new row."""
    on_group_done: Callable[[Sequence[Row]], None] = lambda rows: None
    """Called with all rows of a thing that has been trained."""


@dataclass(frozen=True)
class Repeats:
    """How things are trained with several seeds.

    Attributes:
        run: the run folder; models go to its ``models``.
        metric: the run's.
        seed: of the run.
        repeats: seeds that each is trained with; rows of further ones are kept.
        views: views of its augmentation that a training turns through; each seed begins with another.
        epochs: takes the curves.
    """

    run: RunDir
    metric: Metric
    seed: int
    repeats: int
    views: int
    epochs: EpochLog


class Trainings:
    """finalists.csv or baselines.csv as it grows: whole after each training, and what is in it is not repeated.

    Args:
        kind: ``finalist`` or ``baseline``.
        order: names of all that is trained, in the order of the table.
        schema: of the table; its first column names what is trained.
        how: how it is trained.
        told: whom it is told to.
        valid: whether a row of an earlier table still holds.
    """

    def __init__(
        self,
        kind: str,
        order: Sequence[str],
        schema: Schema,
        how: Repeats,
        told: Told,
        valid: Callable[[Row], bool],
    ) -> None:
        self._kind, self._order, self._schema, self._how, self._told = kind, order, schema, how, told
        self._key = schema.names[0]
        self._running: dict[str, Training] = {}
        self._left: dict[str, int] = {}
        self.rows = [row for row in earlier_rows(schema, how.run) if _holds(row, valid)]
        self.lost: dict[str, str] = {}
        """What a crash has kept from being trained -> the last reason."""
        how.epochs.keep(kind, {Curve(kind, row[self._key], row["repeat"]) for row in self.rows})

    def of(self, name: str) -> list[Row]:
        """The rows of one thing."""
        return [row for row in self.rows if row[self._key] == name]

    def add(self, row: Row) -> None:
        """Note a training that has ended."""
        self.rows.append(row)
        self.write()
        self._told.on_row(row)

    def begin(self, trainings: Iterable[Training]) -> list[Wanted]:
        """What is missing of some things, and so is to be carried out and given to `take`."""
        wanted = []
        for training in trainings:
            done = {row["repeat"] for row in self.of(training.name)}
            missing = [repeat for repeat in range(1, self._how.repeats + 1) if repeat not in done]
            self._running[training.name], self._left[training.name] = training, len(missing)
            if missing:
                self._told.on_start(training)
            else:
                self.close(training.name, anything_new=False)
            for repeat in missing:
                model = self._how.run.model_file(training.name, repeat)
                job = training.job_of(training.seed_of(repeat), repeat, model.absolute())
                wanted.append(Wanted(Curve(self._kind, training.name, repeat), job))
        return wanted

    def take(self, curve: Curve, outcome: Outcome) -> None:
        """Note how a training ended, and mark the row that represents its thing when all of that have ended."""
        self.add(self._row(self._running[curve.name], curve, outcome))
        self._left[curve.name] -= 1
        if not self._left[curve.name]:
            self.close(curve.name, anything_new=True)

    def close(self, name: str, anything_new: bool) -> None:
        """Mark the row that represents one thing, and tell of it if there is anything new."""
        mark_representative(self.of(name), self._how.metric)
        if anything_new:
            self._told.on_group_done(self.of(name))

    def write(self, order: Sequence[str] = ()) -> pd.DataFrame:
        """Write the table, in another ``order`` of what is trained if one is given; returns it."""
        names = list(order or self._order)
        self.rows.sort(key=lambda row: (names.index(row[self._key]), row["repeat"]))
        return self._schema.write(self._how.run.path, self.rows)

    def remove_strays(self) -> None:
        """Remove the models of these things that belong to no row, left by an earlier choice."""
        run = self._how.run
        kept = {run.path / row["model"] for row in self.rows if row["model"]}
        for name in {row[self._key] for row in self.rows}:
            for path in run.models.glob(f"{name}-[0-9]*.h5"):
                if path not in kept:
                    path.unlink()

    def _row(self, training: Training, curve: Curve, outcome: Outcome) -> Row:
        run, repeat = self._how.run, curve.repeat
        assert repeat is not None
        model = run.model_file(training.name, repeat)
        result, reason, crashed = judge(outcome)
        if crashed:
            self.lost[training.name] = reason
        if result is not None:
            self._how.epochs.add(curve, result.epochs, result.scored)
        return {
            self._key: training.name,
            "repeat": repeat,
            "seed": training.seed_of(repeat),
            "state": "completed" if result else "failed",
            "reason": reason,
            "representative": False,
            **config_columns(training.config),
            **training.about,
            **reached(result),
            "model": model.relative_to(run.path).as_posix() if result else "",
            "sha256": file_sha256(model) if result else "",
        }


def earlier_rows(schema: Schema, run: RunDir) -> list[Row]:
    """The rows of a table that an earlier run has left; none where it is damaged: those are trained again."""
    try:
        return schema.records(run.path) if as_written(run.path / schema.file) else []
    except (FileNotFoundError, ValueError, TypeError):
        return []


def _holds(row: Row, valid: Callable[[Row], bool]) -> bool:
    try:
        return valid(row)
    except (ConfigError, ValueError, TypeError):  # the row is damaged
        return False


def has_model(name: str, row: Row, run: RunDir) -> bool:
    """Whether the file of ``row``, a training of ``name``, is there, by its content."""
    if row["repeat"] is None:
        return False
    path = run.model_file(name, row["repeat"])
    there = row["model"] == path.relative_to(run.path).as_posix()
    return there and path.is_file() and file_sha256(path) == row["sha256"]


def repeat_seed(purpose: str, repeat: int, *parts: Any) -> int:
    """The seed of one of several trainings; that of the first does not depend on how many follow.

    Args:
        purpose: what is trained.
        repeat: counted from 1.
        parts: JSON-like values that decide the seed too.
    """
    return stable_seed(purpose, *parts) if repeat == 1 else stable_seed(purpose, *parts, repeat)


def model_files(finalists: pd.DataFrame, baselines: pd.DataFrame) -> dict[str, str]:
    """``BACKBONE-REPEAT`` or ``BASELINE-REPEAT`` -> SHA-256 of its model file, of the trainings that left one."""
    found: dict[str, str] = {}
    for table, name in ((finalists, "backbone"), (baselines, "baseline")):
        for row in records(table):
            if row["state"] == "completed" and row.get("sha256"):
                found[f"{row[name]}-{row['repeat']}"] = row["sha256"]
    return found


def judge(outcome: Outcome) -> tuple[TrialResult | None, str, bool]:
    """What a training reached, or why it failed, and whether that was a crash: nothing that the configuration did.

    So is memory that ran out, alone too: less of it may be taken by other programs another time.

    Raises:
        ConfigError, or the error of a full disk: if that ended it; whatever else ends one training, the others go on,
            as in the search.
    """
    if isinstance(outcome, TrialResult):
        return outcome, "", False
    if isinstance(outcome, ConfigError) or is_of_a_full_disk(outcome):
        raise outcome
    crashed = isinstance(outcome, WorkerDied) or kind_of(outcome) in TRIED_AGAIN
    return None, str(outcome) if isinstance(outcome, TrialFailed) else told(outcome), crashed


def config_columns(config: TrialConfig | None) -> Row:
    """The columns of a configuration."""
    return config.columns() if config else {}


def reached(result: TrialResult | None) -> Row:
    """What a table says of how a training ended: its metrics, epochs and seconds."""
    return {
        **score_columns(result.metrics if result else None),
        "best_epoch": result.best_epoch if result else None,
        "epochs": len(result.epochs) if result else 0,
        "seconds": round(result.seconds, 3) if result else 0.0,
    }


def completed(rows: Iterable[Row]) -> list[Row]:
    """Those of ``rows`` whose training was completed."""
    return [row for row in rows if row["state"] == "completed"]


def mean_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """The mean of each validation metric that all completed of ``rows`` have, of which there must be one."""
    each = [scores_in(row) for row in completed(rows)]
    return {name: fmean(one[name] for one in each) for name in each[0] if all(name in one for one in each)}


@dataclass(frozen=True)
class Spread:
    """The validation score of completed trainings.

    Attributes:
        repeats: how many there are.
        mean: None if there is none.
        sd: the sample's standard deviation; None if there are less than two.
    """

    repeats: int
    mean: float | None
    sd: float | None


def spread_of(rows: Iterable[Row], metric: Metric) -> Spread:
    """How the validation scores of ``rows`` are spread."""
    scores = [float(row[f"metric_{metric.name}"]) for row in completed(rows)]
    return Spread(len(scores), fmean(scores) if scores else None, stdev(scores) if len(scores) > 1 else None)


def mark_representative(rows: Sequence[Row], metric: Metric) -> Row | None:
    """Mark the completed row whose validation score is nearest the median; returns it.

    The best of several seeds would be the luckiest on validation, and says no more of the others on test. Ties go by
    log loss, nearest its median too, then by repeat.
    """
    done = completed(rows)
    names = dict.fromkeys([metric.name, "log_loss"])
    middle = {name: median(scores_in(row)[name] for row in done) for name in names} if done else {}

    def distance(row: Row) -> tuple[float, ...]:
        """To 12 digits: of an even number the two in the middle are equally near."""
        scores = scores_in(row)
        return (*(round(abs(scores[name] - value), 12) for name, value in middle.items()), row["repeat"])

    nearest = min(done, key=distance, default=None)
    for row in rows:
        row["representative"] = row is nearest
    return nearest
