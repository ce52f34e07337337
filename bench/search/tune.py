"""The search: Ray Tune schedules trials, Optuna proposes them, ASHA stops weak ones, trials.csv keeps them all.

Nothing of Ray's own state is ever read back: a resumed search is a new tuner for the remaining budget, over
study.db and trials.csv.
"""

import logging
import os
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import optuna
from optuna.trial import TrialState
from ray import tune
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from bench.metrics import get_metric
from bench.models.backbones import Backbone
from bench.results import TrialLog, TrialRecord
from bench.rundir import RunDir
from bench.search.space import Space
from bench.trial import EpochRecord, TrialConfig
from bench.workers import Workers, train_trial

STUDY = "bench"
GRACE_EPOCHS = 2
REDUCTION_FACTOR = 3
"""ASHA (Li et al., MLSys 2020): of the trials that reach a rung, a third goes on."""
TRIES = 200
"""Samples drawn in a row that are all known already before the space counts as exhausted."""
GIVE_UP_AFTER = 3
"""If the first so many trials all fail, the fault is not theirs: the search stops."""


class SearchFailed(Exception):
    """No trial of the search succeeded; the message gives the reason of the last."""


class Watcher(Protocol):
    """What a display of the search is told."""

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """A trial is about to run."""

    def trial_scored(self, trial: int, score: float) -> None:
        """A running trial has a new best."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in trials.csv."""


@dataclass(frozen=True)
class Planned:
    """A configuration, whole or in part, to be tried before anything is sampled freely."""

    origin: str
    values: Mapping[str, Any]


@dataclass
class Plan:
    """What is tried in a fixed order, and what the budget had no room for, in sentences."""

    items: list[Planned] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def make_plan(space: Space, backbones: Sequence[Backbone], budget: int) -> Plan:
    """The order of a search: the space's points, default recipes, then backbones alone up to a fifth each.

    Args:
        space: what is searched.
        backbones: rows of the backbones that the space offers.
        budget: number of trials.
    """
    plan = Plan()
    points = [Planned("point", point) for point in space.points]
    recipes = []
    for backbone in backbones:
        recipe = space.recipe(backbone)
        if all(dict(point.values) != recipe for point in points):
            recipes.append(Planned("recipe", recipe))
    if budget == len(points):
        plan.items = points
        plan.notes.append(f"The budget equals the number of points in the space ({budget}): nothing else is tried.")
        return plan
    plan.items = (points + recipes)[:budget]
    left_out = (points + recipes)[budget:]
    if left_out:
        names = ", ".join(f"{item.values.get('backbone', 'any backbone')} ({item.origin})" for item in left_out)
        plan.notes.append(f"The budget of {budget} is too small for all fixed configurations; left out: {names}.")
    share = budget // 5
    have = Counter(item.values.get("backbone") for item in plan.items)
    missing = [  # in turn, so that no backbone waits for another's share
        Planned("backbone", {"backbone": backbone.name})
        for turn in range(share)
        for backbone in backbones
        if turn < share - have[backbone.name]
    ]
    room = budget - len(plan.items)
    plan.items += missing[:room]
    if len(missing) > room and not left_out:
        plan.notes.append(f"The budget of {budget} is too small to give every backbone a fifth of it.")
    return plan


def remaining(plan: Plan, records: Sequence[TrialRecord]) -> list[Planned]:
    """The items of ``plan`` that no record answers to; a record answers to one item at most."""
    free = list(records)
    left = []
    for item in plan.items:
        found = next((record for record in free if _answers(record, item)), None)
        if found is None:
            left.append(item)
        else:
            free.remove(found)
    return left


def _answers(record: TrialRecord, item: Planned) -> bool:
    config = asdict(record.config)
    return record.origin == item.origin and all(config[name] == value for name, value in item.values.items())


@dataclass
class _Live:
    """A trial that is running."""

    trial: int
    config: TrialConfig
    origin: str
    started: float
    finished: bool = False
    epochs: list[EpochRecord] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)


class RecordingSearch(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that proposes no configuration twice and writes every ended trial to trials.csv.

    The table is written before the study is told, so a trial that the study has finished is in the table.
    """

    def __init__(
        self, space: Space, log: TrialLog, run: RunDir, metric_name: str, epochs: int, seed: int, watcher: Watcher
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
            storage=optuna.storages.RDBStorage(f"sqlite:///{run.study.resolve()}"),
        )
        self._table = log
        self._space_title = space.name
        self._epochs = epochs
        self._watcher = watcher
        self._offset = log.elapsed
        self._started = time.monotonic()
        self._next = log.next_trial
        self._seen = {record.config.key for record in log.records}
        self._live: dict[str, _Live] = {}
        self.stopped_because = ""
        self.fatal = ""

    def __getstate__(self) -> dict[str, Any]:
        """For Ray, which pickles a searcher at the start and never reads it back here: all but the display."""
        return {name: value for name, value in self.__dict__.items() if name != "_watcher"}

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

    def enqueue(self, items: Sequence[Planned]) -> None:
        """Have ``items`` tried first, in their order."""
        for item in items:
            self._ot_study.enqueue_trial(dict(item.values), user_attrs={"origin": item.origin})

    def suggest(self, trial_id: str) -> Any:
        """The next configuration, or ``Searcher.FINISHED`` where there is none that is new."""
        if self.fatal:
            return Searcher.FINISHED
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
        self._watcher.trial_started(self._live[trial_id].trial, config)
        return asdict(config)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note the epochs that a running trial has reported."""
        live = self._live.get(trial_id)
        if live is None:
            return
        live.epochs += result.get("new_epochs", [])
        live.finished = bool(result.get("finished"))
        if self.metric in result and not result.get("finished"):
            live.last = result
            self._ot_trials[trial_id].report(result[self.metric], result["epoch"])
            self._watcher.trial_scored(live.trial, result[self.metric])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Write an ended trial to the tables, then tell the study."""
        live = self._live.pop(trial_id, None)
        if live is None:
            return
        result = result or {}
        if error and not live.finished:  # a worker that ends after its trial was finished is being recycled
            self._record(live, "failed", "the worker process ended without a result (memory may have run out)")
        elif "failed" in result:
            self._record(live, "failed", result["failed"])
        elif live.finished or result.get("epoch", 0) >= self._epochs:
            self._record(live, "completed", "")
        elif self.metric in result:
            self._record(live, "pruned", f"stopped by ASHA after epoch {result['epoch']}")
        else:
            self._live[trial_id] = live  # ended before its first epoch: `close` decides

    def close(self, reason: str) -> None:
        """Record what is still running as stopped early; what has no score yet was never run."""
        for live in list(self._live.values()):
            if live.last:
                self._record(live, "pruned", reason)
        self._live.clear()
        for trial in self._ot_study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._ot_study.tell(trial.number, state=TrialState.FAIL)

    def _record(self, live: _Live, state: str, reason: str) -> None:
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
        )
        self._table.add(record, live.epochs)
        number = next(
            trial.number
            for trial in reversed(self._ot_study.get_trials(deepcopy=False))
            if trial.user_attrs.get("trial") == live.trial
        )
        self._tell(number, record)
        failures = [known for known in self._table.records if known.state == "failed"]
        if len(failures) == len(self._table.records) >= GIVE_UP_AFTER:
            self.fatal = failures[-1].reason
        self._watcher.trial_ended(record)

    def _tell(self, number: int, record: TrialRecord) -> None:
        states = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
        value = record.metrics[self.metric] if record.metrics and record.state == "completed" else None
        self._ot_study.tell(number, value, state=states[record.state])


def run_search(
    *,
    space: Space,
    backbones: Sequence[Backbone],
    task: Any,
    workers: Workers,
    run: RunDir,
    log: TrialLog,
    plan: Plan,
    budget: int,
    scheduler: str,
    time_limit: float | None,
    watcher: Watcher,
) -> str:
    """Run trials until ``budget`` of them are in ``log``, or the time is up, or nothing is left to try.

    Args:
        space: what is searched.
        backbones: rows of the backbones that it offers.
        task: the `bench.training.Task` that every trial shares.
        workers: where trials run.
        run: the run folder.
        log: finished trials; grows.
        plan: what is tried first.
        budget: number of trials, those in ``log`` included.
        scheduler: ``asha`` or ``none``.
        time_limit: seconds of search, earlier parts of a resumed run included; None for no limit.
        watcher: told what happens.

    Returns:
        why the search ended: ``budget``, ``time limit``, or a sentence.

    Raises:
        SearchFailed: if no trial succeeded.
    """
    metric = get_metric(task.metric)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = RecordingSearch(space, log, run, task.metric, task.epochs, task.seed, watcher)
    interrupted = search.settle(log.records)
    todo = remaining(plan, log.records)
    for item in interrupted:
        twin = next(
            (other for other in todo if other.origin == item.origin and other.values.items() <= item.values.items()),
            None,
        )
        if twin is not None:
            todo.remove(twin)
    wanted = budget - len(log.records)
    seconds_left = None if time_limit is None else time_limit - log.elapsed
    if wanted <= 0 or (seconds_left is not None and seconds_left <= 0):
        return "budget" if wanted <= 0 else "time limit"
    search.enqueue((interrupted + todo)[:wanted])
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=task.epochs + 1,
        grace_period=min(GRACE_EPOCHS, task.epochs),
        reduction_factor=REDUCTION_FACTOR,
    )
    scratch = tempfile.mkdtemp(prefix="bench-tune-")
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.update(_RAY_SETTINGS)
    started = time.monotonic()
    try:
        tune.Tuner(
            tune.with_resources(
                tune.with_parameters(train_trial, task=task, threads=workers.threads), workers.resources
            ),
            tune_config=tune.TuneConfig(
                metric=metric.name,
                mode=metric.mode,
                search_alg=search,
                scheduler=asha if scheduler == "asha" else None,
                num_samples=wanted,
                max_concurrent_trials=workers.jobs,
                time_budget_s=seconds_left,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search", storage_path=scratch, verbose=0, failure_config=tune.FailureConfig(max_failures=0)
            ),
        ).fit()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    out_of_time = seconds_left is not None and time.monotonic() - started >= seconds_left
    search.close("stopped by the time limit" if out_of_time else "stopped")
    if search.fatal or not log.scored():
        failed = [record.reason for record in log.records if record.state == "failed"]
        reason = search.fatal or (failed[-1] if failed else "no trial ended its first epoch")
        raise SearchFailed(
            f"The search was given up after {len(log.records)} trials, none of which succeeded; the last: {reason}"
        )
    if out_of_time and len(log.records) < budget:
        return "time limit"
    return search.stopped_because or "budget"


_RAY_SETTINGS = {
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports its reason and no score
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C reaches the command line, which says how to go on
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # its state is never read back
    "TUNE_WARN_THRESHOLD_S": "60",
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_MAX_PENDING_TRIALS_PG": "1",
}
