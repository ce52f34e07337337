"""The search: Ray Tune schedules trials, Optuna proposes them, ASHA stops weak ones, trials.csv keeps them all.

Nothing of Ray's own state is ever read back: a resumed search is a new tuner for the remaining budget, over
study.db and trials.csv.
"""

import logging
import math
import os
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
import sqlalchemy
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from bench.cluster import Deaths, Workers, train_trial
from bench.failures import ERROR, MACHINE, MEMORY, NOT_FINITE
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.lanes import Lanes
from bench.search.plan import Plan, Planned, longest_first, once_more, remaining, to_try_again, without
from bench.search.space import Space
from bench.stats.metrics import get_metric
from bench.train.task import Task
from bench.trial import EpochRecord, TrialConfig

STUDY = "bench"
GRACE_EPOCHS = 2
REDUCTION_FACTOR = 3
"""ASHA (Li et al., MLSys 2020): of the trials that reach a rung, a third goes on."""
TRIES = 200
"""Samples drawn in a row that are all known already before the space counts as exhausted."""
GIVE_UP_AFTER = 3
"""If the first so many trials all fail, the fault is not theirs: the search stops."""


ROUND = 40
"""Trials that a worker serves before a fresh one takes its place, whatever a long-lived process may have piled up."""


WINDOW = 2
"""Of the planned configurations, a worker chooses among the next so many times the number of workers."""


def study_url(file: Path) -> str:
    """The address of a study's SQLite file for Optuna, whatever characters the path holds."""
    url = sqlalchemy.URL.create("sqlite", database=str(file.resolve())).render_as_string(hide_password=False)
    return url.replace("{", "{{").replace("}", "}}")  # Optuna takes it for a template


class SearchFailed(Exception):
    """No trial of the search succeeded; the message gives the reason of the last, and what to do."""


class Watcher(Protocol):
    """What a display of the search is told."""

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
    """A trial that is running."""

    trial: int
    config: TrialConfig
    origin: str
    started: float
    iteration: int = 0
    epochs: list[EpochRecord] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    spent: dict[str, float] = field(default_factory=dict)


class RecordingSearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that proposes no configuration twice and writes every ended trial to trials.csv.

    The table is written before the study is told, so a trial that the study has finished is in the table.
    """

    def __init__(
        self,
        space: Space,
        log: TrialLog,
        run: RunDir,
        metric_name: str,
        epochs: int,
        seed: int,
        watcher: Watcher,
        jobs: int = 1,
        before: int | None = None,
    ) -> None:
        metric = get_metric(metric_name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = optuna.samplers.TPESampler(
                multivariate=True, group=True, constant_liar=True, seed=seed + len(log.records)
            )
        super().__init__(
            space.suggest,
            metric=metric.name,
            mode=metric.mode,
            sampler=sampler,
            study_name=STUDY,
            storage=optuna.storages.RDBStorage(study_url(run.study)),
        )
        self._table = log
        self._space_title = space.name
        self._epochs = epochs
        self._watcher = watcher
        self._jobs = jobs
        self._offset = log.elapsed
        self._started = time.monotonic()
        self._next = log.next_trial
        self._seen = {record.config.key for record in log.records}
        self._before = len(log.records) if before is None else before
        self._deaths = Deaths()
        self._live: dict[str, _Live] = {}
        self._planned: list[Planned] = []
        self._window = WINDOW * jobs
        self._passed_over = 0
        self._lanes = Lanes(jobs)
        self.notes: dict[str, str] = {}
        self.stopped_because = ""
        self.fatal = ""

    def __getstate__(self) -> dict[str, Any]:
        """For Ray, which pickles a searcher at the start and never reads it back here: all but the display."""
        return {name: value for name, value in self.__dict__.items() if name != "_watcher"}

    def forget(self, records: Sequence[TrialRecord]) -> list[Planned]:
        """Let the configurations of ``records`` be tried again; returns them, to be enqueued."""
        self._seen -= {record.config.key for record in records}
        return [once_more(record) for record in records]

    def save(self, checkpoint_path: str) -> None:
        """Ray's periodic checkpoint of the searcher: left empty, for study.db and trials.csv hold everything."""
        Path(checkpoint_path).touch()

    def settle(self, records: Sequence[TrialRecord]) -> list[Planned]:
        """Close what an interrupted run left open in the study; what was running then is to be tried again.

        Returns:
            the interrupted configurations, in the order of their numbers.
        """
        study = self._ot_study
        finished = {record.trial: record for record in records}
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
        return interrupted

    def enqueue(self, items: Sequence[Planned], any_order: bool = False) -> None:
        """Have ``items`` tried first, in about their order: each worker goes on with what it is warm for.

        Args:
            items: what is to be tried.
            any_order: whether their order means nothing; else the first waits for a few others at most.
        """
        self._planned = list(items)
        if any_order:
            self._window = max(1, len(self._planned))

    def suggest(self, trial_id: str) -> Any:
        """The next configuration; None while all jobs are busy, ``Searcher.FINISHED`` where none is left."""
        if self.fatal:
            return Searcher.FINISHED
        if len(self._live) >= self._jobs:
            return None
        if self._planned:
            index = self._lanes.choose([one.values for one in self._planned[: self._window]])
            if self._passed_over >= self._window:
                index = 0
            self._passed_over = self._passed_over + 1 if index else 0
            item = self._planned.pop(index)
            self._ot_study.enqueue_trial(dict(item.values), user_attrs={"origin": item.origin})
        for _ in range(TRIES):
            config = TrialConfig.from_mapping(super().suggest(trial_id))
            if config.key not in self._seen:
                break
            self._ot_study.tell(self._ot_trials.pop(trial_id), state=TrialState.FAIL)
        else:
            self.stopped_because = (
                f"every configuration of the space {self._space_title!r} that could be found was tried"
            )
            return Searcher.FINISHED
        self._seen.add(config.key)
        trial = self._ot_trials[trial_id]
        origin = trial.user_attrs.get("origin", "sampled")
        trial.set_user_attr("trial", self._next)
        self._live[trial_id] = _Live(self._next, config, origin, time.monotonic())
        self._next += 1
        self._lanes.begin(trial_id, config)
        self._watcher.trial_started(self._live[trial_id].trial, config)
        return asdict(config)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the epochs that a running trial has reported."""
        live = self._live.get(trial_id)
        if live is None or self.metric not in result or result["training_iteration"] == live.iteration:
            return
        live.iteration = result["training_iteration"]
        live.epochs += result["new_epochs"]
        live.spent = dict(result["spent"])
        for about, note in result["notes"]:
            if about not in self.notes:
                self.notes[about] = note
                self._watcher.note(note)
        if not result.get("finished"):
            live.last = result
            self._ot_trials[trial_id].report(result[self.metric], result["epoch"])
            self._watcher.trial_scored(live.trial, result[self.metric], len(live.epochs))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write an ended trial to the tables, then tell the study; what died without a result is for `died`."""
        if error:
            return
        self.on_trial_result(trial_id, result or {})  # Ray leaves out the result at which a trial is stopped
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        self._lanes.end(trial_id)
        result = result or {}
        if "failed" in result:
            self._record(live, "failed", result["failed"], result.get("failure", ""))
        elif result.get("finished") or result.get("epoch", 0) >= self._epochs:
            self._record(live, "completed", "")
        elif self.metric in result:
            self._record(live, "pruned", f"stopped by ASHA after epoch {result['epoch']}")
        # else it was stopped before its first epoch, by the time limit: as if it had never run

    def died(self, trial_id: str, told: str) -> None:
        """Write a trial whose worker died to the tables, unless that is done.

        Args:
            trial_id: Ray's name of the trial.
            told: Ray's message; empty where there is none.
        """
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        self._lanes.end(trial_id)
        failure, reason = self._deaths.why(told)
        self._record(live, "failed", reason, failure)

    def close(self, reason: str) -> None:
        """Record what is still running as stopped early; what has no score yet was never run."""
        for live in list(self._live.values()):
            if live.last:
                self._record(live, "pruned", reason)
        self._live.clear()
        for trial in self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._ot_study.tell(trial.number, state=TrialState.FAIL)

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
        self._table.add(record, live.epochs)
        number = next(
            trial.number
            for trial in reversed(self._ot_study.get_trials(deepcopy=False))
            if trial.user_attrs.get("trial") == live.trial
        )
        self._tell(number, record)
        if not self._table.scored() and len(self._table.records) - self._before >= GIVE_UP_AFTER:
            self.fatal = reason
        self._watcher.trial_ended(record)

    def _tell(self, number: int, record: TrialRecord) -> None:
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        value = record.metrics[self.metric] if record.metrics and record.state == "completed" else None
        self._ot_study.tell(number, value, state=states[record.state])


def run_search(
    *,
    space: Space,
    task: Task,
    workers: Workers,
    run: RunDir,
    log: TrialLog,
    plan: Plan,
    budget: int,
    scheduler: str,
    time_limit: float | None,
    watcher: Watcher,
    warm: bool = True,
) -> str:
    """Run trials until ``budget`` of them are in ``log``, or the time is up, or nothing is left to try.

    Args:
        space: what is searched.
        task: what every trial shares.
        workers: where trials run.
        run: the run folder.
        log: finished trials; grows.
        plan: what is tried first.
        budget: number of trials, those in ``log`` included.
        scheduler: ``asha`` or ``none``.
        time_limit: seconds of search, earlier parts of a resumed run included; None for no limit.
        watcher: told what happens.
        warm: whether a worker serves one trial after another; else each trial gets a fresh process.

    Returns:
        why the search ended: ``budget``, ``time limit``, or a sentence.

    Raises:
        SearchFailed: if no trial succeeded.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.update(_RAY_SETTINGS)
    stopped_by = ""
    in_full = plan.complete and scheduler == "none" and time_limit is None  # then order decides about time alone
    notes: dict[str, str] = {}
    before, again = len(log.records), to_try_again(log.records)
    while not stopped_by:
        wanted = min(budget - (len(log.current) - len(again)), ROUND * workers.jobs)
        seconds_left = math.inf if time_limit is None else time_limit - log.elapsed
        if wanted <= 0 or seconds_left <= 0:
            stopped_by = "budget" if wanted <= 0 else "time limit"
            break
        search = RecordingSearch(space, log, run, task.metric, task.epochs, task.seed, watcher, workers.jobs, before)
        interrupted = search.settle(log.records)
        search.notes = notes
        for record in again:
            watcher.note(f"the configuration of trial {record.trial} is tried again; it had failed: {record.reason}.")
        known = {record.config.key for record in again}  # a retry that was interrupted waits among them already
        interrupted = [one for one in interrupted if TrialConfig.from_mapping(one.values).key not in known]
        todo = search.forget(again) + interrupted + without(remaining(plan, log.current), interrupted)
        search.enqueue(longest_first(todo, task.backbones)[:wanted] if in_full else todo[:wanted], in_full)
        had = len(log.records)
        stopped_by = _one_round(search, task, workers, scheduler, wanted, seconds_left, warm)
        again = to_try_again(log.records, before)
        if again and stopped_by != "time limit":
            stopped_by = ""
        if search.fatal or len(log.records) == had:
            stopped_by = stopped_by or "no trial came to an end"
    if not log.scored():
        raise SearchFailed(_why_nothing(log))
    return stopped_by


_ADVICE = {
    MEMORY: "Fewer --jobs, a smaller --image-size or smaller batches in the space need less memory",
    NOT_FINITE: "Smaller learning rates in the space may keep the loss finite",
    MACHINE: "The machine is to be seen to, not the settings",
    ERROR: "What is named there is to be mended: a package, a file, or a fault of the suite to be reported",
}


def _why_nothing(log: TrialLog) -> str:
    """That no trial has a score, the reason of the last, and what to do about it."""
    if not log.records:
        return "No trial ended its first epoch before the time limit; a longer --time-limit lets the search go on."
    last, trials = log.records[-1], len(log.records)
    which = "The only trial" if trials == 1 else f"All {trials} trials"
    return (
        f"{which} failed, so there is nothing to choose from; the last: {last.reason.rstrip('.')}. "
        f"{_ADVICE[last.failure]}; the failed trials are tried again by --resume."
    )


def _one_round(
    search: RecordingSearch,
    task: Task,
    workers: Workers,
    scheduler: str,
    wanted: int,
    seconds_left: float,
    warm: bool,
) -> str:
    """Run ``wanted`` trials on fresh workers; returns why the whole search is to end, or nothing if it may go on."""
    metric = get_metric(task.metric)
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=task.epochs + 1,
        grace_period=min(GRACE_EPOCHS, task.epochs),
        reduction_factor=REDUCTION_FACTOR,
    )
    trainable = tune.with_parameters(train_trial, task=task, threads=workers.threads)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bench-tune-", ignore_cleanup_errors=True) as scratch:
        tune.Tuner(
            tune.with_resources(trainable, workers.resources),
            tune_config=tune.TuneConfig(
                metric=metric.name,
                mode=metric.mode,
                search_alg=search,
                scheduler=asha if scheduler == "asha" else None,
                num_samples=wanted,
                time_budget_s=None if math.isinf(seconds_left) else seconds_left,
                reuse_actors=warm,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=scratch,
                verbose=0,
                callbacks=[_Orphans(search)],
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()
    out_of_time = time.monotonic() - started >= seconds_left
    search.close("stopped by the time limit" if out_of_time else "stopped")
    return "time limit" if out_of_time else search.stopped_because


class _Orphans(tune.Callback):  # type: ignore[misc]
    """Tells the search why workers died, and of trials that Ray dropped without a word when it could not reuse one."""

    def __init__(self, search: RecordingSearch) -> None:
        self._search = search

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose worker died."""
        self._search.died(trial.trial_id, _told(trial))

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Record every trial that ended in an error and is still thought to run."""
        for trial in trials:
            if trial.status == "ERROR":
                self._search.died(trial.trial_id, _told(trial))


def _told(trial: Any) -> str:
    """Ray's message about a trial that ended in an error; empty where it left none."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8", errors="replace")
    except (OSError, TypeError):
        return ""


_RAY_SETTINGS = {
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports its reason and no score
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the command line, which says how to go on
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # its state is never read back
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}
