"""The nested loop of ``--outer``: every outer fold searched, chosen and retrained anew, on the workers of the run.

Each fold has a folder of its own with its search (``outer/1-1/trials.csv``), so that an interrupted fold goes on; a
finished one is a row of outer.csv and is never repeated. The loop stands before the evaluation: of the test split
nothing is opened for it.
"""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench import numbers
from bench.data.splits import OuterFold, fold_names
from bench.disk import pass_on_full_disk
from bench.evaluation.outer import OuterLoop, Pool
from bench.failures import told
from bench.finalists.folds import Validation
from bench.finalists.outer import KIND, Retraining, choose_winner, wanted_in
from bench.finalists.seeds import NoFinalist, Repeats
from bench.finalists.select import choose
from bench.models.backbones import get_backbone
from bench.report import live
from bench.run.courses import mend
from bench.run.folder import RunDir
from bench.run.forecast import Forecast
from bench.run.plans import write_plan
from bench.run.record import OuterRecord
from bench.run.results import TrialLog, TrialRecord
from bench.run.stages import Stage, train_on_workers, validation_folds
from bench.run.tables import Row
from bench.seeds import stable_seed
from bench.stats.metrics import get_metric
from bench.train.task import Task
from bench.trial import Running, TrialConfig

TIME_LIMIT = "time limit"


@dataclass(frozen=True)
class _Loop:
    """What all folds are carried out with."""

    stage: Stage
    task: Task
    rows: OuterLoop
    display: "OuterDisplay"
    budget: int

    @property
    def limit(self) -> float:
        """Seconds that all folds together may take."""
        return self.stage.settings.time_limit or math.inf


class _OutOfTime(Exception):
    """The time limit came in the middle of a fold, whose trials are kept."""


def outer(stage: Stage, task: Task) -> None:
    """Carry out the outer folds that are left, and write down what all of them say of the procedure."""
    run, settings, screen = stage.run, stage.settings, stage.screen
    budget = settings.trials_of_outer
    if not settings.outer or budget is None:
        return
    pool = Pool(stage.examined.table, task, stage.request.source.classes)
    rows = OuterLoop(run, stage.examined.outer, pool, settings, budget)
    total, left = len(stage.examined.outer), rows.left
    searched = stage.begun.search  # of the go before
    raised = searched is not None and (searched.planned or 0) < settings.budget
    if raised and run.outer.exists() and budget != settings.budget:
        screen.line(
            f"  note: the outer folds were searched with {numbers.counted(budget, 'trial')} each and keep that budget; "
            f"that of the run is {settings.budget}."
        )
    if not left:
        screen.line(f"Outer folds: all {total} are finished already.")
        if run.read().outer != (found := rows.record()):  # it was killed after the last fold's row
            run.update(outer=found)
        run.pin(run.outer, run.outer_predictions)
        return
    write_plan(run)
    run.unpin(run.outer, run.outer_predictions)
    display = OuterDisplay(stage, total, total - len(left), budget)
    stage.display.begin(KIND, display)
    stage.live.stage(live.NESTED)
    if lost := rows.begin():
        screen.line(f"  note: {lost}.")
    run.change_settings(outer_budget=budget)  # folds of one loop have one budget, whatever the run's grows to
    inner = len(fold_names(stage.examined.table, settings.folds))
    trainings = budget + (settings.repeats + inner) * len(stage.request.backbones)
    screen.line(
        f"Outer folds: {len(left)} of {total}, each searched ({budget} trials), chosen and retrained without its "
        f"patients; up to {len(left) * trainings:,} trainings"
    )
    stopped_by = _folds(_Loop(stage, task, rows, display, budget), left)
    run.update(outer=rows.record(stopped_by))
    run.pin(run.outer, run.outer_predictions)
    for line in told_of(run.read().outer or OuterRecord(), stage.request.run.name):
        screen.line(line)


def told_of(found: OuterRecord, name: str) -> list[str]:
    """What the loop says, in lines for the screen."""
    total = found.folds * found.repeats
    lines = []
    if found.score is not None:
        chosen = ", ".join(f"{get_backbone(one).title} {count}" for one, count in found.chosen.items())
        score = numbers.with_interval(found.score, found.low, found.high)
        metric = get_metric(found.metric).title
        lines.append(f"The procedure: {metric} {score} over {found.done} outer folds; chosen: {chosen}.")
    if found.failed:
        lines.append(
            f"  note: {numbers.counted(found.failed, 'outer fold')} came to nothing; --resume {name} tries again."
        )
    if found.stopped_by:
        lines.append(
            f"  note: {found.done} of {total} outer folds before the time limit; they go on with a longer one, or with "
            f"none: --resume {name} --time-limit none."
        )
    return lines


def _folds(loop: _Loop, left: Sequence[OuterFold]) -> str:
    """Carry out folds one after another; returns what ended them before the last, or nothing."""
    run = loop.stage.run
    for fold in left:
        started, before = time.perf_counter(), run.read().seconds.get(KIND, 0.0)
        if before >= loop.limit:
            return TIME_LIMIT
        try:
            loop.display.fold_began(fold)
            _fold(loop, fold, loop.limit - before)
        except _OutOfTime:
            return TIME_LIMIT
        finally:  # what an interrupted fold took counts too
            run.spend(KIND, time.perf_counter() - started)
        loop.display.fold_ended()
        run.update(outer=loop.rows.record())
    return ""


def _fold(loop: _Loop, fold: OuterFold, seconds_left: float) -> None:
    """One fold, from its search to the score of what it holds out; whatever ends it is a row of outer.csv."""
    from bench.search.tune import SearchFailed

    stage, settings = loop.stage, loop.stage.settings
    started = time.perf_counter()
    folder = RunDir(stage.run.outer_folds / fold.name)
    try:
        log = _search(loop, fold, folder, seconds_left)
        chosen = choose(log, stage.metric, [backbone.name for backbone in stage.request.backbones])
        how = Retraining(stage.metric, settings.seed, settings.repeats, loop.task.epochs)
        wanted = wanted_in(fold, chosen, how)
        validation = _validation(loop, fold, folder, log, chosen)
        wanted += validation.begin() if validation else []
        outcomes = []
        for one, outcome in train_on_workers(stage, loop.task, wanted):
            if validation and one.curve.fold is not None:
                validation.take(one.curve, outcome)
            else:
                outcomes.append((one, outcome))
        winner = choose_winner(outcomes, stage.metric, validation.close if validation else None)
    except (SearchFailed, NoFinalist) as error:
        pass_on_full_disk(error)
        loop.rows.fail(fold, told(error), time.perf_counter() - started)
        stage.screen.line(f"  outer fold {fold.name} failed: {error}")
        return
    trials = len(log.records)
    row = loop.rows.add(fold, winner, trials, trials + len(wanted), time.perf_counter() - started)
    for path in (folder.study, folder.epochs, folder.predictions_epochs, folder.folds):
        path.unlink(missing_ok=True)
    shutil.rmtree(folder.vouchers, ignore_errors=True)
    stage.screen.line(_told(row, loop))


def _validation(
    loop: _Loop, fold: OuterFold, folder: RunDir, log: TrialLog, chosen: Sequence[TrialRecord]
) -> Validation | None:
    """Of the finalists over folds of what the outer fold trains and validates on; None without --folds."""
    stage, settings, task = loop.stage, loop.stage.settings, replace(loop.task, rows=fold.rows)
    inner = validation_folds(stage, task, fold.rest(stage.examined.table))
    if inner is None:
        return None
    for sentence in folder.check_tables():
        loop.display.note(f"{sentence}.")
    how = Repeats(folder, stage.metric, settings.seed, settings.repeats, task.epochs, log.epochs)
    return Validation(chosen, replace(inner, on_group_done=lambda rows: None), how)


def _told(row: Row, loop: _Loop) -> str:
    """A line on a fold."""
    metric = loop.stage.metric
    score, validation = (numbers.score(row[name]) for name in (f"metric_{metric.name}", "validation"))
    title = get_backbone(row["backbone"]).title
    return (
        f"  outer fold {row['repeat']}-{row['fold']}: {title} chosen, {metric.title} {score} on its {row['patients']} "
        f"patients ({validation} on validation), {numbers.duration(row['seconds'])}"
    )


def _search(loop: _Loop, fold: OuterFold, folder: RunDir, seconds_left: float) -> TrialLog:
    """The search of a fold: the run's space, sampler and scheduler, with draws of its own.

    Raises:
        _OutOfTime: if the time limit came first.
        SearchFailed: if no trial succeeded.
    """
    from bench.search.plan import make_plan
    from bench.search.settled import rule_of
    from bench.search.tune import SearchFailed, run_search

    stage, settings = loop.stage, loop.stage.settings
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.epochs.exists():  # the fold was finished once, and its rows were lost: it is searched anew
        folder.study.unlink(missing_ok=True)  # first, for a study without its trials is refused
        folder.trials.unlink(missing_ok=True)
    if damaged := mend(folder):
        loop.display.note(f"{damaged}.")
    log = TrialLog.load(folder)
    loop.display.fold_has(len(log.current))
    limit = None if math.isinf(seconds_left) else seconds_left + log.elapsed
    seed = stable_seed(KIND, settings.seed, fold.repeat, fold.fold)
    own = settings.model_copy(update={"budget": loop.budget, "seed": seed, "time_limit": limit})
    plan = make_plan(stage.request.space, stage.request.backbones, loop.budget)
    plan.until = rule_of(stage.run.read(), loop.budget, plan.fixed) if settings.until_settled else None
    plan.milliseconds = stage.run.read().milliseconds
    before = time.perf_counter()
    try:
        ended = run_search(plan, replace(loop.task, searched=fold.rows), stage.workers, own, log, loop.display)
    except SearchFailed:
        if time.perf_counter() - before >= seconds_left:
            raise _OutOfTime from None
        raise
    finally:
        if log.records:
            log.write()
        worked = [one.model_copy(update={"kind": KIND, "job": f"fold {fold.name}, {one.job}"}) for one in log.worked]
        stage.run.update(timeline=(*stage.run.read().timeline, *worked))
    if ended == TIME_LIMIT:
        raise _OutOfTime
    return log


class OuterDisplay:
    """The outer folds: which is at work, and at what; told of the trials of each search.

    Args:
        stage: that works.
        total: folds there are to be.
        done: of them before.
        budget: trials of each.
    """

    def __init__(self, stage: Stage, total: int, done: int, budget: int) -> None:
        self._screen, self._total, self._done, self._budget = stage.screen, total, done, budget
        self._fold, self._trials, self._began = "", 0, time.monotonic()
        self._running: dict[int, Running] = {}

    def fold_began(self, fold: OuterFold) -> None:
        """A fold is about to be searched."""
        self._fold, self._trials, self._running, self._began = fold.name, 0, {}, time.monotonic()

    def fold_has(self, trials: int) -> None:
        """It has so many trials from before."""
        self._trials = trials

    def fold_ended(self) -> None:
        """It is a row of outer.csv."""
        self._done += 1

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """A trial is about to run."""
        self._running = {**self._running, trial: Running(trial, config)}

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """A trial goes on; nothing is told of it."""

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in the fold's trials.csv."""
        self._running = {number: one for number, one in self._running.items() if number != record.trial}
        self._trials += 1

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self._screen.line(f"  note: outer fold {self._fold}: {text}")

    def status(self) -> str:
        """Folds and trials that are done."""
        trials = f"{self._trials} of {self._budget} trials" if self._trials < self._budget else "being retrained"
        return f"{self._done} of {self._total} outer folds done; fold {self._fold}: {trials}"

    def running(self) -> Sequence[str]:
        """The trials that are running."""
        return [f"trial {number}" for number in self._running]

    def left(self, forecast: Forecast, elapsed: float) -> float:
        """As many folds as are left, less what the present one has had."""
        each = forecast.outer_fold()
        return max(each * (self._total - self._done) - (time.monotonic() - self._began), each / 10)
