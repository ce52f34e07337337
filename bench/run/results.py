"""Trial records and the two logs of a run: trials.csv has one row per trial, epochs.csv one row per epoch.

A record that could not have happened cannot be built, neither from a training run nor from a file.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd

from bench.clock import ACTIVITIES, column
from bench.errors import ConfigError
from bench.failures import KINDS, End, kind_in
from bench.run.courses import Curve, append_course
from bench.run.folder import RunDir
from bench.run.record import Worked
from bench.run.tables import EPOCHS, TRIALS, Row, missing, records, score_columns, scores_in
from bench.stats.metrics import METRICS, Metric
from bench.trial import EpochRecord, Scored, TrialConfig

STATES = ("completed", "pruned", "failed")
ORIGINS = ("point", "recipe", "backbone", "sampled")


@dataclass(frozen=True)
class TrialRecord:
    """How one trial ended.

    Attributes:
        trial: its number, from 0.
        state: ``completed``, ``pruned`` (stopped early) or ``failed``.
        reason: why it was stopped or failed; empty when completed.
        origin: where the configuration came from: a fixed ``point``, a default ``recipe``, a point that gives the
            ``backbone`` alone, or ``sampled``.
        config: what was trained.
        metrics: validation metrics at the best epoch; None when failed.
        best_epoch: that epoch's number; None when failed.
        epochs: number of epochs trained.
        seconds: that the trial took.
        elapsed: seconds from the start of the search to the trial's end, pauses between resumed runs left out.
        spent: seconds by activity (`bench.clock.ACTIVITIES`); what is left of ``seconds`` was spent between them.
        failure: the kind of failure, one of `bench.failures.KINDS`, read from the reason where it is not given; empty
            unless failed.
    """

    trial: int
    state: str
    reason: str
    origin: str
    config: TrialConfig
    metrics: Mapping[str, float] | None
    best_epoch: int | None
    epochs: int
    seconds: float
    elapsed: float
    spent: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""

    def __post_init__(self) -> None:
        failed = self.state == "failed"
        if failed and not self.failure:
            object.__setattr__(self, "failure", kind_in(self.reason))
        metrics = self.metrics or {}
        rules = {
            f"state in {STATES}": self.state in STATES,
            f"origin in {ORIGINS}": self.origin in ORIGINS,
            "0 <= trial and 0 <= epochs": self.trial >= 0 and self.epochs >= 0,
            "0 <= seconds and 0 <= elapsed, both finite": 0 <= self.seconds < math.inf and 0 <= self.elapsed < math.inf,
            "a trial has a reason unless it was completed": (self.state == "completed") != bool(self.reason),
            f"a failed trial has a kind of failure, one of {KINDS}, and no other has one": self.failure in KINDS
            if failed
            else not self.failure,
            "a failed trial has no metrics and no best epoch": not failed
            or (self.metrics is None and self.best_epoch is None),
            "a trial that did not fail has a best epoch and every metric, all finite, or all it needs": failed
            or (
                self.best_epoch is not None
                and {name for name, one in METRICS.items() if one.needed} <= set(metrics) <= set(METRICS)
                and all(math.isfinite(value) for value in metrics.values())
            ),
        }
        for rule, holds in rules.items():
            if not holds:
                raise ValueError(f"trial {self.trial}: {rule} must hold, but got {self}")

    def row(self) -> Row:
        """As a row of trials.csv."""
        as_they_are = ("trial", "state", "reason", "failure", "origin", "best_epoch", "epochs")
        return {
            **{name: getattr(self, name) for name in as_they_are},
            **self.config.columns(),
            **score_columns(self.metrics),
            **{column(name): round(self.spent[name], 3) for name in ACTIVITIES if name in self.spent},
            "seconds": round(self.seconds, 3),
            "elapsed": round(self.elapsed, 3),
        }

    @classmethod
    def from_row(cls, row: Row) -> "TrialRecord":
        """From a row of trials.csv.

        Raises:
            ValueError, KeyError, ConfigError: if the row is not a record that could have happened.
        """
        given: dict[str, Any] = {key: None if missing(value) else value for key, value in row.items()}
        failed = given["state"] == "failed"
        metrics = {name: float(given[f"metric_{name}"]) for name in METRICS if given.get(f"metric_{name}") is not None}
        return cls(
            trial=int(given["trial"]),
            state=given["state"],
            reason=given["reason"] or "",
            origin=given["origin"],
            config=TrialConfig.from_row(given),
            metrics=None if failed else metrics,
            best_epoch=None if given["best_epoch"] is None else int(given["best_epoch"]),
            epochs=int(given["epochs"]),
            seconds=float(given["seconds"]),
            elapsed=float(given["elapsed"]),
            spent={name: float(given[column(name)]) for name in ACTIVITIES if given.get(column(name)) is not None},
            failure=given.get("failure") or "",
        )


CURVES = ("trial", "finalist", "baseline", "fold", "size")
"""The kinds of curves, in their order in epochs.csv."""


class EpochLog:
    """The epochs of every training of a run, in memory and in epochs.csv.

    The file is written whole at first, and then grows by what is new: a run may have thousands of trials.
    """

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._written = False
        self.curves: dict[Curve, list[EpochRecord]] = {}

    @classmethod
    def load(cls, run: RunDir) -> "EpochLog":
        """The log of a run folder.

        Raises:
            ValueError, OSError: if epochs.csv cannot be read.
        """
        log = cls(run)
        for row in EPOCHS.records(run.path, grown=True):
            curve = Curve(row["kind"], row["name"], row["repeat"], row["fold"])
            metrics = scores_in(row)
            if row["seconds"] is None:
                raise ValueError(f"an epoch of {curve.name} has no seconds")
            epoch = EpochRecord(row["phase"], row["epoch"], row["loss"], metrics, row["seconds"])
            log.curves.setdefault(curve, []).append(epoch)
        return log

    def add(self, curve: Curve, epochs: Sequence[EpochRecord], scored: Scored | None = None) -> None:
        """Note the epochs of a training in place of those of an earlier one, in epochs.csv too.

        What it said of the validation images, ``scored``, goes to predictions_epochs.jsonl.gz before.
        """
        if scored is not None:
            append_course(self._run, curve, scored)
        known = self.curves.pop(curve, None) is not None
        self.curves[curve] = list(epochs)
        if known or not self._written:
            self.write()
        else:
            EPOCHS.append(self._run.path, _epoch_rows(curve, epochs))

    def keep(self, kind: str, wanted: Collection[Curve]) -> None:
        """Forget the curves of ``kind`` that are not in ``wanted``: their trainings count no more."""
        dropped = [curve for curve in self.curves if curve.kind == kind and curve not in wanted]
        for curve in dropped:
            del self.curves[curve]
        if dropped:
            self.write()

    def write(self) -> None:
        """Write epochs.csv anew, trials first."""
        curves = sorted(self.curves.items(), key=lambda one: CURVES.index(one[0].kind))
        EPOCHS.write(self._run.path, [row for curve, epochs in curves for row in _epoch_rows(curve, epochs)])
        self._written = True


def _epoch_rows(curve: Curve, epochs: Sequence[EpochRecord]) -> list[Row]:
    return [
        {
            **asdict(curve),
            "phase": epoch.phase,
            "epoch": epoch.epoch,
            "loss": epoch.loss,
            **score_columns(epoch.metrics),
            "seconds": round(epoch.seconds, 3),
        }
        for epoch in epochs
    ]


class TrialLog:
    """All finished trials of a run, in memory and in trials.csv and epochs.csv; both are on the disk after every trial.

    trials.csv, too, grows by a row per trial, in the order in which they ended; `write` puts it in order.

    Attributes:
        run: the run folder.
        records: all trials, in the order in which they ended.
        worked: when workers were at trials since the log was loaded; run.json's timeline takes them when they are done.
        epochs: of every training of the run.
    """

    def __init__(self, run: RunDir) -> None:
        self.run = run
        self.records: list[TrialRecord] = []
        self.worked: list[Worked] = []
        self.epochs = EpochLog(run)
        self._written = False
        self._failed: set[str] = set()

    @classmethod
    def load(cls, run: RunDir) -> "TrialLog":
        """The log of a run folder, without a row that was being written; empty where there is none yet.

        Raises:
            ConfigError: if trials.csv or epochs.csv cannot be read.
        """
        log = cls(run)
        file = run.trials
        try:
            if not run.trials.exists():
                return log
            table = TRIALS.read(run.path, grown=True)
            absent = [name for name in table if str(name).startswith("config_") and table[name].isna().all()]
            log.records = [TrialRecord.from_row(row) for row in records(table.drop(columns=absent))]
            file = run.epochs
            log.epochs = EpochLog.load(run)
        except (ValueError, KeyError, TypeError, OSError, ConfigError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{file} cannot be read, so the run cannot be resumed: {reason}.") from error
        known = {str(record.trial) for record in log.records}
        for curve in [one for one in log.epochs.curves if one.kind == "trial" and one.name not in known]:
            del log.epochs.curves[curve]  # of a trial that a crash has ended before it was in trials.csv
        return log

    def add(self, record: TrialRecord, epochs: Sequence[EpochRecord], scored: Scored | None = None) -> None:
        """Note a finished trial; epochs.csv is written first, so a row in trials.csv means that all is there."""
        self.epochs.add(Curve("trial", str(record.trial)), epochs, scored)
        self.records.append(record)
        if not self._written or record.config.key in self._failed:  # whose row tells by then that it was tried again
            self.write()
        else:
            TRIALS.append(self.run.path, [record.row()])
        if record.state == "failed":
            self._failed.add(record.config.key)

    def write(self) -> None:
        """Write trials.csv anew, in the order of the trials' numbers."""
        TRIALS.write(self.run.path, self.table())
        self._written = True
        self._failed = {record.config.key for record in self.records if record.state == "failed"}

    def table(self) -> pd.DataFrame:
        """All records as a table, in the order of their numbers.

        ``retried_as`` is the number of the trial that tried the configuration of a failed one again: such a row is
        history, and counts no more.
        """
        retried = self._retried()
        return TRIALS.frame(
            record.row() | {"retried_as": retried.get(record.trial)}
            for record in sorted(self.records, key=lambda record: record.trial)
        )

    def _retried(self) -> dict[int, int]:
        """Number of a failed trial -> that of the next one with its configuration."""
        found, later = {}, dict[str, int]()
        for record in sorted(self.records, key=lambda record: -record.trial):
            if record.state == "failed" and record.config.key in later:
                found[record.trial] = later[record.config.key]
            later[record.config.key] = record.trial
        return found

    @property
    def current(self) -> list[TrialRecord]:
        """All records in the order of their numbers, without the failed whose configuration was tried again."""
        retried = self._retried()
        return sorted((one for one in self.records if one.trial not in retried), key=lambda one: one.trial)

    def ends(self) -> list[End]:
        """How each of `current` ended."""
        return [End(record.config.backbone, record.failure, record.reason) for record in self.current]

    @property
    def next_trial(self) -> int:
        """The first number that is free."""
        return max((record.trial for record in self.records), default=-1) + 1

    @property
    def elapsed(self) -> float:
        """Seconds of search so far."""
        return max((record.elapsed for record in self.records), default=0.0)

    def scored(self) -> list[TrialRecord]:
        """The records that have a score."""
        return [record for record in self.records if record.metrics is not None]

    def best(self, metric: Metric, backbone: str | None = None) -> TrialRecord | None:
        """The best record by ``metric``, ties by log loss, then by number; stopped trials count with what they had."""
        wanted = [record for record in self.scored() if backbone in (None, record.config.backbone)]
        return min(wanted, key=lambda record: (*rank(metric, record.metrics or {}), record.trial), default=None)


def activities(
    records: Sequence[TrialRecord], seconds: Mapping[str, float], jobs: int | Callable[[int], int]
) -> dict[str, float]:
    """Where a run's wall-clock time went: seconds by activity, which add up to the stages' own.

    What several workers do at once counts as the share of it that one machine-second holds. Where trials took more
    than the search, as when a kill has lost what it had taken by then, their activities share what is known.

    Args:
        records: all trials.
        seconds: wall-clock seconds by stage; ``start`` is what came before the data.
        jobs: trials at a time; of a run that was resumed with others, when the trial of a number ran.
    """
    shares = [1 / (jobs if isinstance(jobs, int) else jobs(record.trial)) for record in records]
    search = seconds.get("search", 0.0)
    trials = sum(record.seconds * share for record, share in zip(records, shares, strict=True))
    if trials > search:
        shares, trials = [share * search / trials for share in shares], search
    spent = {
        name: sum(record.spent.get(name, 0.0) * share for record, share in zip(records, shares, strict=True))
        for name in ACTIVITIES
    }
    between = max(0.0, trials - sum(spent.values()))
    idle = max(0.0, search - trials)
    found = {
        **spent,
        "start-up": spent["start-up"] + seconds.get("start", 0.0),
        "decoding": seconds.get("data", 0.0),
        "waiting": spent["waiting"] + idle,
        "other": between,
        "finalists": seconds.get("finalists", 0.0),
        **({"outer": seconds["outer"]} if "outer" in seconds else {}),
        "evaluation": seconds.get("evaluation", 0.0),
    }
    return {name: round(value, 3) for name, value in found.items()}


def rank(metric: Metric, metrics: Mapping[str, float]) -> tuple[float, float]:
    """A sorting key under which the better set of metrics comes first: the score, ties by log loss."""
    value = metrics[metric.name]
    return (-value if metric.higher_is_better else value, metrics.get("log_loss", math.inf))
