"""The search: Ray Tune schedules trials, Optuna proposes them, ASHA stops weak ones, trials.csv keeps them all.

Nothing of Ray's own state is ever read back: a resumed search is a new tuner for the remaining budget, over
study.db and trials.csv.
"""

import importlib
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.schedulers import AsyncHyperBandScheduler
from ray.tune.search import Searcher

from bench import cluster
from bench.cluster import Workers
from bench.failures import ERROR, MACHINE, MEMORY, NOT_FINITE
from bench.run.results import TrialLog, TrialRecord
from bench.scratch import own_folder
from bench.search.parameters import GRACE_EPOCHS, REDUCTION_FACTOR
from bench.search.plan import NOTHING_ENDED, Plan, Planned, longest_first, remaining, to_try_again, without
from bench.search.searcher import FINISHED, RecordingSearch, Report, Rules, Watcher
from bench.settings import RunSettings
from bench.stats.metrics import Metric, get_metric
from bench.train.task import Task
from bench.trial import TrialConfig


class SearchFailed(Exception):
    """No trial of the search succeeded; the message gives the reason of the last, and what to do."""


def run_search(plan: Plan, task: Task, workers: Workers, settings: RunSettings, log: TrialLog, watcher: Watcher) -> str:
    """Run trials until the budget of them is in ``log``, or the time is up, or nothing is left to try.

    Args:
        plan: what is searched, and what of it is tried first.
        task: what every trial shares.
        workers: where trials run.
        settings: budget (trials in ``log`` included), scheduler and time limit (seconds, earlier parts of a resumed
            run included).
        log: finished trials; grows.
        watcher: called with what happens.

    Returns:
        why the search ended: ``budget``, ``time limit``, or a sentence.

    Raises:
        SearchFailed: if no trial succeeded.
    """
    _quieten()
    limit, stopped_by = settings.time_limit, ""
    in_full = plan.complete and settings.scheduler == "none" and limit is None  # then order decides about time alone
    notes: dict[str, str] = {}
    before, again, again_first = len(log.records), to_try_again(log.records), False
    while not stopped_by:
        wanted = settings.budget - (len(log.current) - len(again))
        seconds_left = math.inf if limit is None else limit - log.elapsed
        if wanted <= 0 or seconds_left <= 0:
            stopped_by = "budget" if wanted <= 0 else "time limit"
            break
        jobs = workers.jobs
        if 0 < wanted == len(again) or again_first:  # what others beside it may have ended is tried again alone
            jobs, wanted = 1, len(again)
            cluster.end(range(1, workers.jobs))
        rules = Rules(plan.space, task.metric, task.epochs, settings.seed, jobs, before, plan.milliseconds)
        search = RecordingSearch(rules, log, watcher)
        search.notes, search.only_planned = notes, plan.complete
        search.until = None if again_first else plan.until
        for record in again:
            watcher.note(f"the configuration of trial {record.trial} is tried again; it had failed: {record.reason}.")
        todo = _todo(search, plan, log, again)
        if not again_first:  # else what is too large by then leaves its place to the next
            todo = longest_first(todo, task.backbones)[:wanted] if in_full else todo[:wanted]
        search.enqueue(todo, in_full and not again_first)
        had = len(log.records)
        stopped_by = _one_round(search, task, workers, settings.scheduler, wanted, seconds_left)
        again = to_try_again(log.records, before)
        again_first = search.again_first and bool(again)
        if search.fatal and not log.scored():
            stopped_by = stopped_by or f"the first trials all failed: {search.fatal}"
        elif again and stopped_by != "time limit" and not search.settled:
            stopped_by = ""
        if len(log.records) == had:
            stopped_by = stopped_by or NOTHING_ENDED
    if not log.scored():
        raise SearchFailed(_why_nothing(log))
    return stopped_by


def _quieten() -> None:
    """Have Optuna and Ray Tune leave it to the watcher to say what happens."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.update(_RAY_SETTINGS)


def _todo(search: RecordingSearch, plan: Plan, log: TrialLog, again: Sequence[TrialRecord]) -> list[Planned]:
    """What is tried first: the failed trials that are tried ``again``, the interrupted, what is left of the plan."""
    interrupted = search.settle(log.records)
    known = {record.config.key for record in again}  # a retry that was interrupted waits among them already
    interrupted = [one for one in interrupted if TrialConfig.from_mapping(one.values).key not in known]
    return search.forget(again) + interrupted + without(remaining(plan, log.current), interrupted)


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
) -> str:
    """Run ``wanted`` trials; returns why the whole search is to end, or nothing if it may go on."""
    metric = get_metric(task.metric)
    asha = AsyncHyperBandScheduler(
        time_attr="epoch",
        max_t=task.epochs + 1,
        grace_period=min(GRACE_EPOCHS, task.epochs),
        reduction_factor=REDUCTION_FACTOR,
    )
    trainable = tune.with_parameters(_proxy(), task=[ray.put(task)])
    for_ray = _ForRay(search, workers, metric)
    started = time.monotonic()
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(search.jobs)
    with own_folder("bench-tune-") as scratch, _kept(search.jobs):
        tune.Tuner(
            tune.with_resources(trainable, _RESOURCES),
            tune_config=tune.TuneConfig(
                metric=metric.name,
                mode=metric.mode,
                search_alg=for_ray,
                scheduler=asha if scheduler == "asha" else None,
                num_samples=wanted,
                time_budget_s=None if math.isinf(seconds_left) else seconds_left,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(scratch),
                verbose=0,
                callbacks=[_Orphans(for_ray)],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        ).fit()
    out_of_time = time.monotonic() - started >= seconds_left
    cluster.end(search.busy)  # in the middle of an epoch, which may take long
    search.close("stopped by the time limit" if out_of_time else "stopped")
    return "time limit" if out_of_time else search.stopped_because


_RESOURCES = {"cpu": 0, "memory": 1.0}
"""What Ray is to reserve for a proxy: it does not take a trial that needs nothing at all."""


def _proxy() -> Any:
    """Ray Tune's end of a trial; its configuration has the name of the worker among its values.

    Ray Tune starts processes for its trials and ends them with the search. What is dear, though, is what a process has
    loaded, built and traced, and the trainings after the search need it too. So the process that Ray Tune has reserves
    next to nothing: it hands its trial to the worker that the search has chosen, and passes on what that reports.

    The class is made here, so that it is sent by value: its process need not import Optuna.
    """

    class TrialProxy(tune.Trainable):  # type: ignore[misc]
        def setup(self, config: dict[str, Any], task: list[Any]) -> None:
            self._task = task[0]  # Ray's reference to what all trials share
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            values = {name: value for name, value in new_config.items() if name != "worker"}
            self._epochs = cluster.epochs_of(new_config["worker"], values, self._task)
            return True

        def step(self) -> dict[str, Any]:
            report = next(self._epochs)
            return {**report, "done": "finished" in report}

    return TrialProxy


class _KeepingController(TuneController):  # type: ignore[misc]
    """Ray Tune's loop over trials, which lets no process go that it has started.

    Ray's own gives a trial whose process is starting that of one that has just ended, and ends the new one; and of two
    that are free at once it keeps one. Where trials take less than the start of a process (a head on cached features:
    less than a second) it would never have two.
    """

    proxies = 0
    """How many processes are kept."""
    _keeping = False

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        return trial not in self._trial_to_actor and super()._maybe_reuse_cached_actor(trial)

    def _schedule_trial_actor(self, trial: Any) -> None:
        if not self._keeping:
            self._keeping = True
            self._actor_cache.increase_max(trial.placement_group_factory, self.proxies)
        super()._schedule_trial_actor(trial)


@contextmanager
def _kept(proxies: int) -> Iterator[None]:
    """Within the block Ray Tune keeps so many processes."""
    controller = type("Controller", (_KeepingController,), {"proxies": proxies})
    with mock.patch.object(importlib.import_module("ray.tune.tune"), "TuneController", controller):
        yield


class _ForRay(Searcher):  # type: ignore[misc]
    """Hands Ray's questions and results on to the search, and the search's configurations to its workers."""

    def __init__(self, search: RecordingSearch, workers: Workers, metric: Metric) -> None:
        super().__init__(metric=metric.name, mode=metric.mode)
        self._search = search
        self._workers = workers

    def __getstate__(self) -> dict[str, object]:
        """Nothing: Ray pickles a searcher at the start, and it is never read back here."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Ray's periodic checkpoint of the searcher: left empty, for study.db and trials.csv hold everything."""
        Path(checkpoint_path).touch()

    def suggest(self, trial_id: str) -> Any:
        """The next configuration, and the worker that trains it."""
        found = self._search.suggest(trial_id)
        if found is None or found == FINISHED:
            return Searcher.FINISHED if found else None
        network = TrialConfig.from_mapping(found).network
        return {**found, "worker": cluster.for_trial(self._workers, self._search.worker(trial_id), network)}

    def on_trial_result(self, trial_id: str, result: Report) -> None:
        """A running trial has reported."""
        self._search.scored(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: Report | None = None, error: bool = False) -> None:
        """A trial has ended; of one whose proxy died `_Orphans` tells."""
        if result and "died" in result:
            self.died(trial_id, result["died"])
        elif not error:
            self._search.ended(trial_id, result or {})

    def died(self, trial_id: str, message: str) -> None:
        """A trial has ended because a process died, its worker or its proxy; Ray's ``message`` tells of it."""
        if self._search.is_running(trial_id):
            cluster.end([self._search.worker(trial_id)])
            self._search.died(trial_id, message)


class _Orphans(tune.Callback):  # type: ignore[misc]
    """Tells the search of proxies that died, and of trials that Ray dropped when it could not reuse one."""

    def __init__(self, search: _ForRay) -> None:
        self._search = search

    def __getstate__(self) -> dict[str, object]:
        return {}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Record a trial whose proxy died."""
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
}
