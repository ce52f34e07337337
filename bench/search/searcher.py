"""What is tried next, by Optuna, and what became of it: trials.csv and the study are written here. No Ray.

`bench.search.tune` hands Ray's questions and answers on to a `RecordingSearch`; a test asks it directly.
"""

import contextlib
import itertools
import math
import sqlite3
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.trial import TrialState

from bench.cluster import Deaths
from bench.disk import is_of_a_full_disk
from bench.errors import ConfigError
from bench.failures import MEMORY, TRIED_AGAIN
from bench.numbers import joined
from bench.run.courses import Curve
from bench.run.record import Worked
from bench.run.results import TrialLog, TrialRecord
from bench.search.lanes import Lanes
from bench.search.parameters import PARAMETERS, Value
from bench.search.plan import MOST_TRIES, Planned, needs_as_much, once_more, to_try_again, too_large
from bench.search.settled import FIXED, Rule
from bench.search.space import Space
from bench.stats.metrics import Scores, get_metric
from bench.trial import EpochRecord, Scored, TrialConfig

STUDY = "bench"
FINISHED = "FINISHED"
"""In place of a configuration: there is none left."""
TRIES = 5
"""Samples in a row that are all known already before one is taken of what is left of the space: the sampler learns
nothing from a known one, so it would propose the best again and again."""
MOST_WALKED = 100_000
"""Configurations in a row that are looked at for one that is left; more need too much memory in a vast space alone."""
MOST_NAMED = 10
"""Trials that a sentence names."""
GIVE_UP_AFTER = 3
"""If the first so many configurations all fail, the fault is not theirs: the search stops. What failed because of the
machine or its memory counts once it has failed again."""
WINDOW = 2
"""Of the planned configurations, a worker chooses among the next so many times the number of workers."""


Report = dict[str, Any]
"""What `bench.cluster.train_trial` reports, with what Ray adds."""


BUSY_SECONDS = 300
"""How long a study.db that another process holds is waited for: a backup or a viewer lets go of it some time."""


def study_url(file: Path) -> str:
    """The address of a study's SQLite file for Optuna, whatever characters the path holds."""
    url = sqlalchemy.URL.create("sqlite", database=str(file.resolve())).render_as_string(hide_password=False)
    return url.replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template


_OUT_OF_REACH = (
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_CANTOPEN),
    *(sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_INTERRUPT),
)
"""What SQLite says of a file that may well be whole."""


def sound(file: Path) -> bool:
    """Whether a study's SQLite file is whole, and all of its trials can be read; one that is not there is.

    Raises:
        ConfigError: if another process holds it for longer than `BUSY_SECONDS`, or it is out of reach.
    """
    if not file.exists():
        return True
    try:
        with contextlib.closing(sqlite3.connect(file, timeout=BUSY_SECONDS)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return False
        _read_through(file)
    except Exception as error:  # whatever Optuna makes of cells that are damaged
        if is_of_a_full_disk(error):
            raise
        if reason := _out_of_reach(error):
            raise ConfigError(f"{file} cannot be used ({reason}); end what holds it, and resume the run.") from error
        return False
    return True


def _read_through(file: Path) -> None:
    """Read all that is in a study's file; an error, of any kind, if that cannot be, or no search can go on from it."""
    storage, known = _storage(file), dict[str, BaseDistribution]()
    try:
        for study in storage.get_all_studies():
            for trial in storage.get_all_trials(study._study_id, deepcopy=False):
                for name, one in trial.distributions.items():
                    if name not in PARAMETERS:
                        raise ValueError(f"no parameter is called {name!r}")
                    check_distribution_compatibility(known.setdefault(name, one), one)
    finally:
        storage.engine.dispose()


def _storage(file: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(study_url(file), engine_kwargs={"connect_args": {"timeout": BUSY_SECONDS}})


def _out_of_reach(error: BaseException | None) -> str:
    """What an error, or one that led to it, says of a file out of reach; empty if the fault is the file's content."""
    while error is not None:
        code = getattr(error, "sqlite_errorcode", None)
        if isinstance(error, OSError | MemoryError) or (code is not None and code & 0xFF in _OUT_OF_REACH):
            return str(error) or type(error).__name__
        error = error.__cause__ or error.__context__
    return ""


def _score_in(trial: optuna.trial.FrozenTrial) -> float | None:
    """The score that a study has of a trial: of one that was stopped early, what it reported last, its best by then."""
    if trial.state == TrialState.PRUNED:
        return None if trial.last_step is None else trial.intermediate_values[trial.last_step]
    return trial.values[0] if trial.values else None


class Watcher(Protocol):
    """What a display of the search is called with."""

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """A trial is about to run."""

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """A running trial has ended an epoch, of which ``epoch`` is the number; ``score`` is its best so far."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in trials.csv."""

    def note(self, text: str) -> None:
        """Something that the user should know, said once."""


@dataclass
class _Live:
    """A trial that is running, in which worker; ``began`` is in seconds since the epoch."""

    trial: int
    worker: int
    proposal: optuna.Trial
    config: TrialConfig
    origin: str
    started: float
    began: float
    iteration: int = 0
    epochs: list[EpochRecord] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)

    @property
    def scored(self) -> Scored | None:
        """What the trial said of the validation images in the phase that counts."""
        if not self.scores:
            return None
        return Scored(tuple(one.epoch for one in self.epochs[-len(self.scores) :]), np.stack(self.scores))


@dataclass(frozen=True)
class Rules:
    """What a search goes by.

    Attributes:
        space: what is chosen from.
        metric: name of the validation metric that is optimised.
        epochs: at most so many per phase: a trial that has had them all is completed.
        seed: of the run.
        jobs: trials at a time.
        before: how many records are of earlier searches; -1 for all that there are.
        milliseconds: of an image in each backbone; where they are given, the sampler minimises them beside the metric.
    """

    space: Space
    metric: str
    epochs: int
    seed: int
    jobs: int = 1
    before: int = -1
    milliseconds: Mapping[str, float] = field(default_factory=dict)


class RecordingSearch:
    """Proposes no configuration twice and writes every ended trial to trials.csv.

    The table is written before the study is, so a trial that the study has finished is in the table; one that the
    study still thinks to run is settled by the table when the search is resumed. Trials are known by the names that
    Ray gives them; their numbers, in the table and in the study's user attributes, are the suite's own.
    """

    def __init__(self, rules: Rules, log: TrialLog, watcher: Watcher) -> None:
        metric = get_metric(rules.metric)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # constant_liar: trials that run beside each other must not all sample the same good place. The seed moves
            # with the records, for a resumed search would else draw again what the first part has drawn.
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, seed=rules.seed + len(log.records)
            )
        if not sound(log.run.study):
            aside = log.run.study.replace(log.run.study.with_suffix(".damaged.db"))
            watcher.note(f"study.db was damaged; it is now {aside.name}, and the study is made again from trials.csv")
        self._study = optuna.create_study(
            storage=_storage(log.run.study),
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),  # ASHA prunes, by Ray
            study_name=STUDY,
            directions=[
                "maximize" if metric.higher_is_better else "minimize",
                *(["minimize"] if rules.milliseconds else ()),
            ],
            load_if_exists=True,
        )
        self._rng = np.random.default_rng((rules.seed + len(log.records)) % 2**63)
        self._rules = rules
        self._metric = metric.name
        self._table = log
        self._watcher = watcher
        self._offset = log.elapsed
        self._started = time.monotonic()
        self._next = log.next_trial
        self._seen = {record.config.key for record in log.records}
        self._large = too_large(log.records)
        self._before = len(log.records) if rules.before < 0 else rules.before
        self._deaths = Deaths()
        self._live: dict[str, _Live] = {}
        self._planned: list[Planned] = []
        self._reserved: set[str] = set()
        self._again: set[str] = set()
        self._tried_out: set[str] = set()
        self._window = WINDOW * rules.jobs
        self._passed_over = 0
        self._lanes = Lanes(rules.jobs)
        self.notes: dict[str, str] = {}
        self.until: Rule | None = None
        self.only_planned = False
        self.settled = ""
        self.stopped_because = ""
        self.fatal = ""
        self.again_first = False

    def forget(self, records: Sequence[TrialRecord]) -> list[Planned]:
        """Let the configurations of ``records`` be tried again; returns them, to be enqueued."""
        self._again = {record.config.key for record in records}
        self._seen -= self._again
        return [once_more(record) for record in records]

    def settle(self, records: Sequence[TrialRecord]) -> list[Planned]:
        """Close what an interrupted run left open in the study; what was running then is to be tried again.

        What a study lacks that was lost since is given back to it, for the sampler to learn from.

        Returns:
            the interrupted configurations, in the order of their numbers.

        Raises:
            ConfigError: if the two tell of other scores for a trial, or the table lacks one.
        """
        study = self._study
        finished = {record.trial: record for record in records}
        self._compare(finished)
        interrupted = []
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            record = finished.get(trial.user_attrs.get("trial", -1))
            if record is not None:
                self._tell(trial.number, record)
                continue
            study.tell(trial.number, state=TrialState.FAIL)
            if trial.params and "trial" in trial.user_attrs:
                interrupted.append(Planned(trial.user_attrs.get("origin", "sampled"), trial.params))
        while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.tell(study.ask(), state=TrialState.FAIL)
        told = {trial.user_attrs.get("trial") for trial in study.get_trials(deepcopy=False)}
        for record in records:
            if record.trial not in told:
                with contextlib.suppress(ValueError):  # its values are not of this space: nothing can be learnt
                    study.add_trial(self._as_told(record))
        return interrupted

    def _compare(self, finished: Mapping[int, TrialRecord]) -> None:
        """See whether trials.csv has trials and scores of the study: nothing else vouches for it before a search ends.

        Raises:
            ConfigError: if it has other scores, or lacks trials.
        """
        trials, study = self._table.run.trials, self._table.run.study
        scored = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        if lost := sorted({one.user_attrs["trial"] for one in scored if "trial" in one.user_attrs} - {*finished}):
            more = [f"{len(lost) - MOST_NAMED} more"] if len(lost) > MOST_NAMED else []
            named = joined([*map(str, lost[:MOST_NAMED]), *more])
            raise ConfigError(
                f"{trials} lacks trials that {study} has finished ({named}): it was damaged, or is gone. Put it back, "
                "for study.db holds only a part of what it says; or remove study.db (it is made again from "
                "trials.csv): then those trials are run again."
            )
        for trial in scored:
            record, told = finished.get(trial.user_attrs.get("trial", -1)), _score_in(trial)
            if record is None or record.metrics is None or self._end(record)[0] != trial.state:
                continue
            if told is None and trial.state == TrialState.PRUNED:  # nothing was reported
                continue
            kept = record.metrics[self._metric]
            if told is None or not math.isclose(kept, told, rel_tol=1e-9):
                raise ConfigError(
                    f"{trials} says {self._metric} {kept} for trial {record.trial}, {study} {told}: one of them is "
                    "damaged. Remove study.db if trials.csv is right (it is made again); else put trials.csv back."
                )

    def _as_told(self, record: TrialRecord) -> optuna.trial.FrozenTrial:
        """The trial that the study would hold of a record."""
        proposal = optuna.trial.FixedTrial(asdict(record.config))
        self._rules.space.suggest(proposal)
        state, values = self._end(record)
        curve = self._table.epochs.curves.get(Curve("trial", str(record.trial)))
        step = curve[-1].epoch if curve else record.epochs  # it counts within the phase, as in a live trial
        reported = {step: record.metrics[self._metric]} if record.metrics and not self._rules.milliseconds else {}
        return optuna.trial.create_trial(
            state=state,
            values=values,
            params=proposal.params,
            distributions=proposal.distributions,
            intermediate_values=reported,
            user_attrs={"origin": record.origin, "trial": record.trial},
        )

    def enqueue(self, items: Sequence[Planned], any_order: bool = False) -> None:
        """Have ``items`` tried first, in about their order: each worker goes on with what it is warm for.

        Args:
            items: what is to be tried.
            any_order: whether their order means nothing; else the first waits for a few others at most.
        """
        self._planned = list(items)
        configs = [self._rules.space.whole(item.values) for item in items if item.origin in FIXED]
        self._reserved = {config.key for config in configs if config}
        if any_order:
            self._window = max(1, len(self._planned))

    def suggest(self, trial_id: str) -> Any:
        """The next configuration; `FINISHED` where none is to come.

        None while all jobs are busy, or where those that are running must tell first whether anything succeeds at all.
        """
        if self.fatal or self.again_first:
            return FINISHED
        if len(self._live) >= self._rules.jobs or (self._live and self._in_doubt()):
            return None
        if self._is_settled():
            return FINISHED
        found = self._propose()
        if found is None:
            what = "point" if self.only_planned else "configuration"
            self.stopped_because = (
                f"every {what} of the space {self._rules.space.name!r} was tried"
                f"{', or needs more memory than there is' if self._large else ''}"
            )
            return FINISHED
        trial, config = found
        self._seen.add(config.key)
        self._again.discard(config.key)
        origin = trial.user_attrs.get("origin", "sampled")
        trial.set_user_attr("trial", self._next)
        worker = self._lanes.begin(config)
        self._live[trial_id] = _Live(self._next, worker, trial, config, origin, time.monotonic(), time.time())
        self._watcher.trial_started(self._next, config)
        self._next += 1
        return asdict(config)

    def _is_settled(self) -> bool:
        """Whether the search is to end here by its rule, or to try first again what the rule waits for."""
        if self.until is None:
            return False
        current, closed = self._table.current, self._closed(self.until.short(self._table.current))
        to_come = {record.trial for record in to_try_again(self._table.records, self._before)}
        if why := self.until.why([record for record in current if record.trial not in to_come], closed):
            self.settled = self.stopped_because = why
            return True
        # a point or recipe that failed because of the machine is tried again now, else the rule waits for the budget
        waits = any(record.origin in FIXED for record in self._later())
        self.again_first = waits and bool(self.until.why(current, closed))
        return self.again_first

    def _later(self) -> list[TrialRecord]:
        """The failed trials that are to be tried again, but are not among what is planned now."""
        again = to_try_again(self._table.records, self._before)
        return [record for record in again if record.config.key not in self._again]

    def _closed(self, backbones: Sequence[str]) -> set[str]:
        """Those of ``backbones`` of which nothing runs and nothing is left to try."""
        running = {live.config.backbone for live in self._live.values()}
        for name in backbones:
            if name not in self._tried_out | running and self._left({"backbone": name}) is None:
                self._tried_out.add(name)
        return self._tried_out - running

    def _in_doubt(self) -> bool:
        """Whether nothing has a score so far, and as many configurations have failed as end a search."""
        if self._table.scored() or any(live.last for live in self._live.values()):
            return False
        return len({record.config.key for record in self._table.records[self._before :]}) >= GIVE_UP_AFTER

    def _lost(self) -> int:
        """Of how many configurations this search has seen the last attempt fail."""
        tries: dict[str, list[TrialRecord]] = {}
        for record in self._table.records[self._before :]:
            tries.setdefault(record.config.key, []).append(record)
        return sum(own[-1].failure not in TRIED_AGAIN or len(own) >= MOST_TRIES for own in tries.values())

    def _propose(self) -> tuple[optuna.Trial, TrialConfig] | None:
        """The next planned configuration that is still to be tried, else a sampled one; None where none is left."""
        while self._planned:
            item = self._next_planned()
            config = self._rules.space.whole(item.values)
            self._reserved -= {config.key} if config else set()
            if found := self._draw(item):
                return found
        return None if self.only_planned else self._draw(Planned("sampled", {}))

    def _draw(self, item: Planned) -> tuple[optuna.Trial, TrialConfig] | None:
        """A configuration with the values of ``item``, the others by the sampler; None where none of these is left.

        Where the sampler proposes known ones alone, one of those left is drawn from the space.
        """
        for _ in range(TRIES):
            trial, config = self._ask(item)
            if self._free(config):
                return trial, config
            self._study.tell(trial, state=TrialState.FAIL)  # a known one teaches the sampler nothing
            if self._rules.space.whole(item.values):
                return None
        left = self._left(item.values)
        return self._ask(Planned(item.origin, left)) if left else None

    def _ask(self, item: Planned) -> tuple[optuna.Trial, TrialConfig]:
        """A trial of the study with the values of ``item``."""
        if item.values:
            self._study.enqueue_trial(dict(item.values), user_attrs={"origin": item.origin})
        # Not through Optuna's distributions: parameters exist under conditions, so the space asks for each in turn
        trial = self._study.ask()
        return trial, TrialConfig.from_mapping(self._rules.space.suggest(trial))

    def _left(self, fixed: Mapping[str, Value]) -> dict[str, Value] | None:
        """A random configuration with the values ``fixed`` that is still to be tried; None where there is none."""
        walk = itertools.islice(self._rules.space.walk(self._rng, fixed), MOST_WALKED)
        return next((one for one in walk if self._free(TrialConfig.from_mapping(one))), None)

    def _free(self, config: TrialConfig) -> bool:
        """Whether ``config`` was neither tried nor is planned, and memory may suffice for it."""
        return config.key not in self._seen and config.key not in self._reserved and not self._too_large(config)

    def _too_large(self, config: TrialConfig) -> bool:
        """Whether ``config`` needs as much memory as another that did not get it twice; said once of each of these."""
        for one in self._large:
            if needs_as_much(config, one) and config.key != one.key:
                self._note(
                    f"too large {one.key}",
                    f"memory did not suffice twice for {one.backbone} at unfreeze depth {one.unfreeze_depth} in "
                    f"batches of {one.batch_size}; what needs at least as much is not tried.",
                )
                return True
        return False

    def _note(self, about: str, text: str) -> None:
        if about not in self.notes:
            self.notes[about] = text
            self._watcher.note(text)

    def _next_planned(self) -> Planned:
        """The planned configuration that suits the next free worker; the first waits for a few others at most."""
        index = self._lanes.choose([one.values for one in self._planned[: self._window]])
        if self._passed_over >= self._window:
            index = 0
        self._passed_over = self._passed_over + 1 if index else 0
        return self._planned.pop(index)

    def is_running(self, trial_id: str) -> bool:
        """Whether a trial is."""
        return trial_id in self._live

    def worker(self, trial_id: str) -> int:
        """The number of the worker that a running trial was given."""
        return self._live[trial_id].worker

    @property
    def jobs(self) -> int:
        """Trials at a time."""
        return self._rules.jobs

    @property
    def busy(self) -> list[int]:
        """The workers of running trials."""
        return [live.worker for live in self._live.values()]

    def scored(self, trial_id: str, result: Report) -> None:
        """Note the epochs that a running trial has reported."""
        live = self._live.get(trial_id)
        if live is None or self._metric not in result or result["training_iteration"] == live.iteration:
            return
        live.iteration = result["training_iteration"]
        live.epochs += result["new_epochs"]
        live.scores += result.get("new_scores", ())
        live.spent = dict(result["spent"])
        for about, note in result["notes"]:
            self._note(about, note)
        if not result.get("finished"):
            live.last = result
            if not self._rules.milliseconds:  # Optuna takes none in a study of several objectives
                live.proposal.report(result[self._metric], result["epoch"])
            self._watcher.trial_scored(live.trial, result[self._metric], len(live.epochs))

    def ended(self, trial_id: str, result: Report) -> None:
        """Write an ended trial to the tables, then to the study; what died without a result is for `died`."""
        self.scored(trial_id, result)  # Ray leaves out the result at which a trial is stopped
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        self._leave(live)
        if "failed" in result:
            self._record(live, "failed", result["failed"], result.get("failure", ""))
        elif result.get("finished") or result.get("epoch", 0) >= self._rules.epochs:
            self._record(live, "completed", "")
        elif self._metric in result:
            self._record(live, "pruned", f"stopped by ASHA after epoch {result['epoch']}")
        # else it was stopped before its first epoch, by the time limit: as if it had never run

    def died(self, trial_id: str, message: str) -> None:
        """Write a trial whose worker died to the tables, unless that is done."""
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        self._leave(live, died=True)
        failure, reason = self._deaths.why(message)
        self._record(live, "failed", reason, failure)

    def close(self, reason: str) -> None:
        """Record what is still running as stopped early; what has no score yet was never run."""
        for live in self._live.values():
            self._leave(live, died=True)
            if live.last:
                self._record(live, "pruned", reason)
        self._live.clear()
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._study.tell(trial.number, state=TrialState.FAIL)

    def _leave(self, live: _Live, died: bool = False) -> None:
        """Note that a worker has ended a trial, for the timeline."""
        self._lanes.end(live.worker, died)
        job = f"trial {live.trial}, {live.config.backbone}"
        began, ended = round(live.began, 3), round(time.time(), 3)
        self._table.worked.append(Worked(worker=live.worker, kind="trial", job=job, began=began, ended=ended))

    def _record(self, live: _Live, state: str, reason: str, failure: str = "") -> None:
        best = live.last if state != "failed" else {}
        record = TrialRecord(
            trial=live.trial,
            state=state,
            reason=reason,
            origin=live.origin,
            config=live.config,
            metrics=dict(best["best_metrics"]) if best else None,
            best_epoch=best.get("best_epoch"),
            epochs=len(live.epochs),
            seconds=time.monotonic() - live.started,
            elapsed=self._offset + time.monotonic() - self._started,
            spent=live.spent,
            failure=failure,
        )
        self._table.add(record, live.epochs, live.scored)
        if self._large or failure == MEMORY:
            self._large = too_large(self._table.records)
        self._tell(live.proposal.number, record)
        if not self._live and self._in_doubt():
            if self._lost() >= GIVE_UP_AFTER:
                self.fatal = reason
            else:
                self.again_first = bool(self._later())
        self._watcher.trial_ended(record)

    def _tell(self, number: int, record: TrialRecord) -> None:
        state, values = self._end(record)
        self._study.tell(number, values, state=state)

    def _end(self, record: TrialRecord) -> tuple[TrialState, list[float] | None]:
        """What the study is told of a record: how it ended, and the values of the objectives.

        Of several objectives, a trial that was stopped early is told as complete, with its best score so far: a pruned
        one could have no values there, so the sampler would rank all of them alike, whatever they scored. ASHA stopped
        it because others did better by then, so among those as fast as it its score is low, and it counts as a bad one.
        """
        times, score = self._rules.milliseconds, record.metrics[self._metric] if record.metrics else None
        if times and score is not None and record.state != "failed":
            return TrialState.COMPLETE, [score, times[record.config.backbone]]
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        return states[record.state], [score] if score is not None and record.state == "completed" else None
