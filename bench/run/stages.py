"""The stages of a run after its data: search, finalists, evaluation, report; each a function.

A finished stage is passed over, so this is also how a run is resumed. A stage takes back the markers of what it makes
outdated before it changes anything, and its own marker is written after its files: whatever a crash leaves behind is
done again or is whole.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench import cluster, numbers
from bench.data.images.store import common_window
from bench.data.splits import fold_names, folds
from bench.disk import is_of_a_full_disk, pass_on_full_disk
from bench.errors import ConfigError
from bench.evaluation.decide import decide
from bench.evaluation.final import open_test, renew_selection
from bench.evaluation.inputs import EvaluationInputs, prefix_precision
from bench.failures import told as told_of
from bench.failures import unfair
from bench.finalists.baselines import TITLES, Material, Rivals, read_baselines, train_baselines
from bench.finalists.folds import Folds, fold_rows
from bench.finalists.learning_curve import LearningCurve, subsets, whole_row
from bench.finalists.seeds import Outcome, Repeats, Train, Wanted, completed, model_files
from bench.finalists.select import choose, read_finalists, retrain_finalists, winner_of
from bench.invocation import in_output, typed
from bench.invocation import resume as resume_command
from bench.models.backbones import get_backbone
from bench.models.metadata import write_with_card
from bench.report import live
from bench.run import messages
from bench.run.console import Screen
from bench.run.courses import mend
from bench.run.documents import EvaluationRecord, ModelCard
from bench.run.examine import Examined
from bench.run.folder import RunDir, atomic_path, file_sha256
from bench.run.plans import write_plan
from bench.run.progress import RunDisplay, SearchDisplay
from bench.run.record import SETTLED, RunRecord, SearchRecord, Worked, read_strictly
from bench.run.request import Request
from bench.run.results import STATES, TrialLog, activities, rank
from bench.run.tables import SUSPECTED_LABELS, records
from bench.settings import RunSettings
from bench.stats.metrics import Metric, get_metric
from bench.train.task import Task
from bench.trial import TrialConfig

GALLERY_COLUMNS = 6
SUSPECTS_SHOWN = 12


@dataclass(frozen=True)
class Stage:
    """What every stage works with.

    Attributes:
        request: what is to be done.
        display: where the user is told.
        live: the report while the run goes on.
        workers: where training is done.
        examined: the images.
        begun: run.json as it was before any stage.
    """

    request: Request
    display: RunDisplay
    live: live.LiveReport
    workers: cluster.Workers
    examined: Examined
    begun: RunRecord

    @property
    def screen(self) -> Screen:
        """Of the display."""
        return self.display.screen

    @property
    def run(self) -> RunDir:
        """The run folder."""
        return self.request.run

    @property
    def settings(self) -> RunSettings:
        """Of the run."""
        return self.request.settings

    @property
    def metric(self) -> Metric:
        """Of the run."""
        return get_metric(self.settings.metric)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a worker, and wait for it."""
        return cluster.call(self.workers, function, *arguments)

    def carry_out(self, jobs: Mapping[cluster.Job, float]) -> Iterator[cluster.Ended]:
        """Carry out jobs on all workers at once; run.json's timeline tells when each worker was at which.

        Args:
            jobs: with the seconds that each is expected to take; 0 where that is not known.
        """

        def on_death(why: str) -> None:
            self.screen.line(f"  note: {why}; what was being done is done once more.")

        self.display.planned(jobs)
        for ended in cluster.run_jobs(self.workers, jobs, on_death, self.display.job_began):
            self.display.job_ended(ended)
            began, over = round(ended.began, 3), round(ended.ended, 3)
            worked = Worked(worker=ended.worker, kind=ended.job.kind, job=ended.job.name, began=began, ended=over)
            self.run.update(timeline=(*self.run.read().timeline, worked))
            yield ended

    def call_all(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """Call each of ``calls``, the longest first, in a worker; what they return comes in their order.

        Raises:
            the first error, after all have ended; that of a full disk before any other.
        """
        jobs = [
            cluster.Job(_name(one), partial(cluster.without_trainer, one), cost=len(calls) - place, kind="evaluation")
            for place, one in enumerate(calls)
        ]
        ended = {one.job: one for one in self.carry_out(dict.fromkeys(jobs, 0.0))}
        errors = [one.error for one in ended.values() if one.error is not None]
        if errors:
            raise next(filter(is_of_a_full_disk, errors), errors[0])
        return [ended[job].result for job in jobs]


def _name(call: Any) -> str:
    """What a call of a function of `bench.evaluation.in_worker` is about, for the timeline."""
    arguments = getattr(call, "args", ())
    about = [one for one in arguments if isinstance(one, str)][:1] or [getattr(call, "func", call).__name__]
    files = [one for one in arguments if isinstance(one, Path)]
    files += [one.path for one in next((one for one in arguments if isinstance(one, list)), []) if hasattr(one, "path")]
    return ", ".join([*about, *(file.stem for file in files[:1])])


@contextmanager
def timed(run: RunDir, stage: str) -> Iterator[None]:
    """Time a stage, and mark it as finished when its files are whole."""
    started = time.perf_counter()
    try:
        yield
    finally:  # what an interrupted stage took counts too
        run.spend(stage, time.perf_counter() - started)
    run.finish(stage)


def search(stage: Stage, task: Task) -> TrialLog:
    """Run the trials that are still to be run; returns all of them."""
    from bench.search.plan import make_plan, to_try_again
    from bench.search.settled import of_run, rule_of
    from bench.search.tune import run_search

    run, settings = stage.run, stage.settings
    if damaged := mend(run):  # also where a crash came in its very first line, before there was a trials.csv
        stage.screen.line(f"  note: {damaged}.")
    log = TrialLog.load(run)
    stage.display.knows(log)
    before, done, again = stage.begun.search, len(log.current), len(to_try_again(log.records))
    if run.finished("search") and not again and not _raised(settings, before):
        stage.screen.line(f"Search: {done} trials are finished already.")
        messages.ended_early(stage.screen, run, before.stopped_by if before else "")
        return log
    if done > again:
        stage.screen.line(f"Search: {done - again} finished trials are kept; going on to {settings.budget}.")
    run.unfinish("search")
    write_plan(run)
    for folder in stage.examined.test.set_aside():
        stage.screen.line(f"  note: the ledger in {folder} cannot be written; openings are written into the others.")
    plan = make_plan(stage.request.space, stage.request.backbones, settings.budget)
    plan.until = rule_of(run.read(), settings.budget, plan.fixed) if settings.until_settled else None
    plan.milliseconds = run.read().milliseconds
    for note in plan.notes:
        stage.screen.line(f"  note: {note}")
    with timed(run, "search"):
        stage.live.stage(live.SEARCHING)
        display = SearchDisplay(stage.display, stage.metric, settings.budget, log, stage.live.renew)
        with closing(display) as watcher:
            stage.live.watch(watcher.trials)
            try:
                stopped_by = run_search(plan, task, stage.workers, settings, log, watcher)
            finally:  # once, however the search ends: no file is written anew for every trial
                if log.records:
                    log.write()
                run.update(timeline=(*run.read().timeline, *log.worked))
        messages.ended_early(stage.screen, run, stopped_by)
        counted = before.counts if before else {}
        if len(log.scored()) > counted.get("completed", 0) + counted.get("pruned", 0):
            run.unfinish("finalists")  # first: once run.json counts the new trials, nothing else tells of them
        found = _search_record(settings, plan.notes, stopped_by, log)
        settled = of_run(run.read(), log.current, settings.budget)
        run.update(search=found.model_copy(update={"settled": settled}))
    warn_if_unfair(log, stage.screen)
    return log


def _search_record(settings: RunSettings, notes: Sequence[str], stopped_by: str, log: TrialLog) -> SearchRecord:
    states = [record.state for record in log.current]
    return SearchRecord(
        planned=settings.budget,
        time_limit=settings.time_limit,
        notes=tuple(notes),
        stopped_by=stopped_by,
        counts={state: states.count(state) for state in STATES},
    )


def _raised(settings: RunSettings, search: SearchRecord | None) -> bool:
    """Whether the settings allow more than the finished ``search`` had, or it had not all that they allowed."""
    from bench.search.plan import NOTHING_ENDED

    if search is None or search.planned is None:
        return True
    longer = search.stopped_by == "time limit" and (settings.time_limit or math.inf) > (search.time_limit or math.inf)
    unsettled = search.stopped_by.startswith(SETTLED) and not settings.until_settled
    return settings.budget > search.planned or longer or unsettled or search.stopped_by == NOTHING_ENDED


def warn_if_unfair(log: TrialLog, screen: Screen) -> bool:
    """Say loudly that so many trials failed that the comparison is not fair; returns whether that is so."""
    found = unfair(log.ends(), lambda name: get_backbone(name).title)
    for sentence in found:
        screen.warning(sentence)
    return bool(found)


@dataclass(frozen=True)
class Models:
    """What is evaluated: finalists.csv and baselines.csv."""

    finalists: pd.DataFrame
    baselines: pd.DataFrame

    @classmethod
    def read(cls, run: RunDir) -> "Models":
        """Those of a run folder.

        Raises:
            ConfigError: if a table is not there, or cannot be read.
        """
        file = run.finalists
        try:
            finalists = read_finalists(run)
            file = run.baselines
            return cls(finalists, read_baselines(run))
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"{file} cannot be read, so its models cannot be evaluated: {reason}.") from error

    def winner(self, run: RunDir) -> Path:
        """The file of the training that is exported."""
        return run.path / str(self.finalists.loc[self.finalists["winner"], "model"].iloc[0])

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of every model file, by its name."""
        return model_files(self.finalists, self.baselines)

    def damaged(self, run: RunDir) -> list[str]:
        """The names of model files that are not there, or not as they were written."""
        paths = {name: run.models / f"{name}.h5" for name in self.files}
        return [name for name, path in paths.items() if not path.is_file() or file_sha256(path) != self.files[name]]


def finalists(stage: Stage, task: Task, log: TrialLog) -> Models:
    """Retrain the best trial of each backbone, and what the winner is to be held against."""
    run, settings, metric = stage.run, stage.settings, stage.metric
    if run.finished("finalists"):
        models = Models.read(run)
        damaged = models.damaged(run)
        if not damaged:
            return models
        stage.screen.line(f"  note: not as the run wrote them: {', '.join(damaged)}; they are trained again.")
    run.unfinish("finalists")
    chosen = choose(log, metric, [backbone.name for backbone in stage.request.backbones])
    how = Repeats(run, metric, settings.seed, settings.repeats, task.epochs, log.epochs)
    train = partial(train_on_workers, stage, task)
    with timed(run, "finalists"):
        stage.display.begin("finalists")
        stage.live.stage(live.RETRAINING)
        over_folds = validation_folds(stage, task, stage.examined.table)
        _tell_folds(stage, task, over_folds)
        titles = [get_backbone(record.config.backbone).title for record in chosen]
        messages.announce_finalists(stage.screen, titles, settings.repeats, over_folds)
        if not run.augmentation.exists():
            _draw_augmentations(stage, task)
        if not run.suspected_labels.exists():
            _suspect_labels(stage, task, chosen[0].config.network)
        told = messages.trainings(stage.screen, metric, settings.repeats)
        table = retrain_finalists(chosen, how, train, over_folds, told)
        messages.front(stage.screen, run.update(winner=winner_of(table, metric)), table, metric)
        return Models(table, _baselines(stage, task, log, how, train, table))


def _baselines(
    stage: Stage, task: Task, log: TrialLog, how: Repeats, train: Train, finalists: pd.DataFrame
) -> pd.DataFrame:
    """Train what the winner is to be held against, as the finalists were."""
    stage.live.stage(live.TRAINING_BASELINES)
    winner = TrialConfig.from_row(next(row for row in records(finalists) if row["winner"]))
    recipe = TrialConfig.from_mapping(stage.request.space.recipe(get_backbone(winner.backbone)))
    recipe = replace(recipe, initialisation=winner.initialisation)  # what weights give is the other baseline's question
    material = Material(
        labels=task.labels,
        facts={split: stage.examined.facts.iloc[rows] for split, rows in task.rows.items()},
        n_classes=task.n_classes,
        channels=task.images[winner.backbone].channels,
        ordinal=task.ordinal,
    )
    rivals = Rivals(winner, recipe, _other_start(stage, log, winner))
    named = (TITLES[name] for name in rivals.names)
    stage.screen.line(f"Baselines: {', '.join(title[0].lower() + title[1:] for title in named)}")
    told = messages.trainings(stage.screen, stage.metric, stage.settings.repeats)
    if stage.settings.learning_curve:
        train = _learning_curve(stage, task, how, winner, finalists).beside(train)
    return train_baselines(rivals, how, material, train, told)


def _other_start(stage: Stage, log: TrialLog, winner: TrialConfig) -> str | None:
    """The initialisation that did best in the search of the winner's backbone, but for the winner's; None if no other.

    One that no trial was given comes last.
    """
    others = [one for one in stage.request.space.initialisations[winner.backbone] if one != winner.initialisation]
    tried = [
        one for one in log.scored() if one.config.backbone == winner.backbone and one.config.initialisation in others
    ]
    best = min(tried, key=lambda one: rank(stage.metric, one.metrics or {}), default=None)
    return best.config.initialisation if best else next(iter(others), None)


def _learning_curve(
    stage: Stage, task: Task, how: Repeats, winner: TrialConfig, finalists: pd.DataFrame
) -> LearningCurve:
    """The winner trained on fewer patients."""
    rows, val = task.rows["train"], task.rows["val"]
    groups = stage.examined.table["group"].to_numpy()[rows]
    chosen = subsets(rows, task.labels["train"], groups, how.seed)
    done = [row for row in completed(records(finalists)) if row["backbone"] == winner.backbone]
    sizes = len(rows), len(val), len(np.unique(groups))
    return LearningCurve(winner, chosen, val, [whole_row(row, *sizes) for row in done], how)


def train_on_workers(stage: Stage, task: Task, wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Outcome]]:
    """Carry out trainings after a search on all workers."""
    jobs = {}
    for one in wanted:
        curve, network = one.curve, "small_cnn" if one.job.from_scratch else one.job.config.network
        number = f"fold {curve.fold}" if curve.fold else f"seed {curve.repeat}"
        call = partial(cluster.train_job, task, one.job)
        job = cluster.Job(f"{curve.kind} {curve.name}, {number}", call, network, one.job.cost(task), curve.kind)
        jobs[job] = one
    forecast = stage.display.forecast
    seconds = forecast.of_jobs([one.job for one in wanted]) if forecast else [0.0] * len(jobs)
    for ended in stage.carry_out(dict(zip(jobs, seconds, strict=True))):
        yield jobs[ended.job], ended.error or ended.result


def validation_folds(stage: Stage, task: Task, table: pd.DataFrame) -> Folds | None:
    """How finalists are validated over folds of the images of ``task``; None if they are not.

    Raises:
        ConfigError: if a class has too few patients.
    """
    settings = stage.settings
    if not settings.folds:
        return None
    assigned = folds(table, settings.folds, settings.split_seed).to_numpy()
    groups = table["group"].to_numpy()
    rows = [fold_rows(task, assigned, fold, groups) for fold in range(1, int(assigned.max()) + 1)]
    sizes = [
        {
            "images_train": len(one["train"]),
            "images_val": len(one["val"]),
            "patients_val": int(table["patient_id"].iloc[one["val"]].nunique()),
        }
        for one in rows
    ]
    return Folds(
        *(rows, sizes, task.epochs, partial(messages.fold_lines, stage.screen, stage.metric)),
        on_note=lambda text: stage.screen.line(f"  note: {text}."),
    )


def _tell_folds(stage: Stage, task: Task, over_folds: Folds | None) -> None:
    """How given folds are called, and that some part patients."""
    if over_folds is None:
        return
    if stage.settings.folds == "given":
        names = fold_names(stage.examined.table, "given")
        stage.screen.line(f"Folds as given: {', '.join(names)} (numbered from 1)")
    parted = [len(task.pool) - sum(map(len, one.values())) for one in over_folds.rows]
    if any(parted):
        stage.screen.line(
            f"  note: the given folds part patients or copies; {min(parted)} to {max(parted)} images per fold are "
            "not trained on, as the fold that is validated on has others of their group."
        )


def _draw_augmentations(stage: Stage, task: Task) -> None:
    """One image under every policy, for the report."""
    names = list(stage.request.space.policies)
    backbone = stage.request.backbones[0].name
    images = stage.call(cluster.gallery, task, backbone, names, GALLERY_COLUMNS)
    with atomic_path(stage.run.augmentation) as temporary:
        np.savez_compressed(temporary, policies=np.array(names), images=images)


def _suspect_labels(stage: Stage, task: Task, network: str) -> None:
    """List the images of train and val whose labels are doubtful, with pictures of the first; nothing is removed."""
    pool, table, classes = task.pool, stage.examined.table, stage.request.source.classes
    groups = table["group"].to_numpy()[pool]
    try:
        found = stage.call(cluster.suspected_labels, task, network, groups)
    except Exception as error:  # it decides nothing, and so ends nothing
        pass_on_full_disk(error)
        stage.screen.line(f"  note: not computed: suspected wrong labels: {told_of(error)}.")
        return
    if found is None:
        return
    rows = pool[found.positions]
    listed = table.iloc[rows][["image", "label", "patient_id", "split"]].rename(columns={"patient_id": "patient"})
    listed = listed.assign(suggested=[classes[label] for label in found.suggested], margin=found.margin)
    images = np.asarray(task.images[network].open()[rows[:SUSPECTS_SHOWN]])
    with atomic_path(stage.run.suspected_images) as temporary, temporary.open("wb") as opened:
        np.savez_compressed(opened, images=images, ranks=np.arange(len(images)))
    SUSPECTED_LABELS.write(stage.run.path, listed)
    counted = numbers.counted(len(rows), "image")
    stage.screen.line(f"Suspected wrong labels: {counted} of {len(pool):,} in train and validation, to be looked at.")


def evaluated(run: RunDir, models: Models, sealed: bool) -> bool:
    """Whether the evaluation is of the models that are there; of the test split too, unless ``sealed``.

    Raises:
        ConfigError: if what an evaluation has left cannot be read.
    """
    if not run.finished("evaluation") or not run.best_model_card.exists():
        return False
    card, table = read_strictly(ModelCard, run.best_model_card), models.finalists
    if card.of != table.loc[table["winner"], "sha256"].iloc[0]:
        return False
    if not run.best_model.is_file() or card.sha256 != file_sha256(run.best_model):
        return False
    if not run.evaluation.exists():
        return sealed
    return read_strictly(EvaluationRecord, run.evaluation).files == models.files


def evaluate(stage: Stage, models: Models, sealed: bool) -> None:
    """Fix every choice on validation and, unless it is to stay ``sealed``, open the test split."""
    run, screen, winner = stage.run, stage.screen, models.winner(stage.run)
    _restore(run, winner, models)
    if evaluated(run, models, sealed):
        if run.evaluation.exists():
            renew_selection(_inputs(stage, models), run)
        return
    if damaged := models.damaged(run):
        again = resume_command(run.name, run.path.parent)
        raise ConfigError(
            f"Not as the run wrote them: {', '.join(damaged)} in {run.models}; `{again}` trains them again."
        )
    if run.evaluation.exists():
        messages.evaluated_before(screen, models.files, read_strictly(EvaluationRecord, run.evaluation))
    run.unfinish("evaluation")
    for outdated in run.of_test:
        outdated.unlink(missing_ok=True)
    inputs = _inputs(stage, models)
    cluster.let_go()
    with timed(run, "evaluation"):
        stage.display.begin("evaluation")
        stage.live.stage(live.EVALUATING)
        config = TrialConfig.from_row(next(row for row in records(models.finalists) if row["winner"]))
        decisions = decide(inputs, run, stage.call_all, _provenance(run.read(), config))
        if sealed:
            where = in_output(run.path.parent)
            screen.line(f"The test split stays sealed; open it by: {typed('evaluate', run.name, *where)}")
            return
        screen.line("Evaluation: every choice is written down; the test split is opened")
        write_plan(run)  # a resumed run may have changed it
        found = open_test(inputs, decisions, stage.examined.test, run, stage.call_all)
        ledger = found.ledger
        if ledger and ledger.to_beware_of:
            screen.line(f"  note: {ledger.sentence}")
        for refusal in found.refusals:
            screen.line(f"  note: not computed: {refusal.what}: {refusal.reason}.")
        for sentence in (*found.sentences, *(one.sentence for one in (found.by_patient, *found.secondary) if one)):
            screen.line(f"  {sentence}")


def _restore(run: RunDir, winner: Path, models: Models) -> None:
    """Put best_model.h5 back where it was removed since, or damaged: the winner's file, with its card if there is one.

    Where that gives other bytes than the card names, as another version of HDF5 may, the evaluation is made anew.
    """
    found = file_sha256(run.best_model) if run.best_model.is_file() else ""
    decided = run.finished("evaluation") and run.best_model_card.exists()
    card = read_strictly(ModelCard, run.best_model_card) if decided else ModelCard()
    if card.of == models.files[winner.stem] and card.trained:
        if found != card.sha256 and not models.damaged(run):
            write_with_card(winner, run.best_model, card)
    elif winner.exists() and found != models.files[winner.stem]:
        run.export(winner)


def _inputs(stage: Stage, models: Models) -> EvaluationInputs:
    """What the evaluation knows before the test split is opened."""
    examined = stage.examined
    return EvaluationInputs(
        settings=stage.settings,
        table=examined.table,
        facts=examined.facts,
        classes=stage.request.source.classes,
        images=examined.images,
        finalists=models.finalists,
        baselines=models.baselines,
        window=common_window(examined.facts),
        precision=prefix_precision(stage.run.read(), examined.images),
        policies=stage.request.space.policies,
    )


def _provenance(record: RunRecord, winner: TrialConfig) -> ModelCard:
    assert record.data is not None
    return ModelCard(
        run=record.name,
        created=record.created,
        suite_version=record.suite_version,
        data=record.data.model_dump(include={"source", "fingerprint", "synthetic"}),
        weights=record.weights.of(winner.initialisation).model_dump(),
    )


def report(run: RunDir, log: TrialLog) -> None:
    """Write the report."""
    from bench.report.html import render

    started = time.perf_counter()
    record = run.read()
    where = activities(log.records, record.seconds, record.jobs_of)
    run.update(activities=where)
    render(run)
    run.update(seconds={**record.seconds, "report": round(time.perf_counter() - started, 3)})
