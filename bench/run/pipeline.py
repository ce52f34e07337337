"""The order of a run's stages: data, search, finalists, evaluation, report.

Everything that can be wrong with a request has been found by `bench.run.request` before a run is made of it.
"""

import importlib.metadata
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache, partial

import numpy as np

from bench import RULES, __version__, cluster
from bench.cluster import Workers
from bench.data.splits import write_splits
from bench.errors import ConfigError
from bench.failures import reason_of, told
from bench.invocation import resume as resume_command
from bench.models.scaling import describe
from bench.models.weights import RANDOM, Weights, resolve_weights
from bench.report.live import LiveReport
from bench.run import messages, stages
from bench.run.console import Screen
from bench.run.examine import Examined, examine, make_task, networks
from bench.run.folder import LOCK, RunDir, atomic_path, held, write_json
from bench.run.forecast import Forecast
from bench.run.outer import outer
from bench.run.progress import RunDisplay
from bench.run.record import (
    Hardware,
    InferenceRecord,
    ParameterRange,
    PrecisionRecord,
    RecordedSettings,
    RunRecord,
    ScalingRecord,
    SpaceRecord,
    StartRecord,
    WeightsRecord,
)
from bench.run.request import Request, check_disk, check_output, write_request
from bench.run.results import TrialLog
from bench.search.parameters import GIVEN, network_name
from bench.settings import about_flag
from bench.train.precision import BATCH, by_backbone, fixed, inference_times, measure
from bench.train.task import Precision, Task

OF_ONE_GO = ("verify",)
"""Settings of a resumed run that the next resume does not take over."""
PACKAGES = ("tensorflow", "keras", "ray", "optuna", "numpy", "pandas", "scikit-learn", "pillow")


def execute(request: Request, screen: Screen, command: str) -> RunDir:
    """Go through all stages and leave report and model; a finished stage is passed over.

    Raises:
        ConfigError: if weights cannot be had (before run.json exists), or the data of a resumed run changed.
    """
    run, settings, command = request.run, request.settings, request.command or command
    with ExitStack() as stack:
        stack.enter_context(_alone(request))
        display = stack.enter_context(RunDisplay(screen))
        disk = check_disk(request)
        if not request.resumed:
            write_request(request, command)
        begun = run.read() if run.run.exists() else None
        damaged = begun is not None and _check(run, screen)
        opened = damaged or run.evaluation.exists()  # by `evaluate`: what is added is evaluated too
        start = cache(partial(_start, request))
        examined = examine(request, screen, begun, meanwhile=start)
        started = time.perf_counter()
        workers = start()
        weights = find_weights(request, workers, begun)
        starting = time.perf_counter() - started
        display.forecast = Forecast(request, workers)
        begun = take_up(request, workers) if begun else create(request, workers, weights, command)
        run.request.unlink(missing_ok=True)
        run.spend("start", starting)
        messages.announce(screen, request, workers, weights, examined, disk)
        live = stack.enter_context(LiveReport(run))
        write_data(request, examined)
        task = make_task(request, examined.table, examined.images, weights)
        task = replace(task, precision=_precision(request, workers, begun, task))
        messages.precision(screen, run.read())
        if settings.also == "seconds":
            _inference(request, workers, task)
            messages.inference(screen, run.read())
        _check_scaling(request, workers, task, screen.line)
        messages.scaling(screen, run.read())
        display.forecast = Forecast(request, workers, run.read().precision)
        stage = stages.Stage(request, display, live, workers, examined, begun)
        log = stages.search(stage, task)
        models = stages.finalists(stage, task, log)
        outer(stage, task)
        stages.evaluate(stage, models, sealed=settings.no_test and not opened)
        return _report(stage, log)


def evaluate(request: Request, screen: Screen) -> RunDir:
    """Open the test split of a run that left it sealed; from then on the run is one whose test split is not sealed.

    Raises:
        ConfigError: if the run is not ready for that, or its test split is open already.
    """
    run, settings = request.run, request.settings.model_copy(update={"no_test": False})
    request = replace(request, settings=settings)
    for needed, lacking in (("search", "its search has not ended"), ("finalists", "it has no finalists yet")):
        if not run.finished(needed):
            finish = resume_command(run.name, run.path.parent)
            raise ConfigError(f"Run {run.name!r}: {lacking}; finish it by `{finish}`.")
    with _alone(request), ExitStack() as stack:
        _check(run, screen)
        models = stages.Models.read(run)
        if stages.evaluated(run, models, sealed=False):
            raise ConfigError(f"The test split of run {run.name!r} is open already: see {run.evaluation}.")
        display = stack.enter_context(RunDisplay(screen))
        live = stack.enter_context(LiveReport(run))
        begun = run.read()
        examined = examine(request, screen, begun)
        workers = cluster.start(settings.jobs, settings.address)
        find_weights(request, workers, begun)
        begun = take_up(request, workers, "bootstrap", "target_sensitivity", "group_by")
        log = TrialLog.load(run)
        display.forecast = Forecast(request, workers, begun.precision)
        display.knows(log)
        stage = stages.Stage(request, display, live, workers, examined, begun)
        stages.evaluate(stage, models, sealed=False)
        return _report(stage, log)


def _report(stage: stages.Stage, log: TrialLog) -> RunDir:
    stage.display.begin("report")
    stage.live.close()
    stages.report(stage.run, log)
    messages.headline(stage.screen, stage.run)
    return stage.run


def warn_if_unfair(run: RunDir, screen: Screen) -> bool:
    """Say at the end, too, that so many trials failed that the comparison is not fair; returns whether that is so."""
    return stages.warn_if_unfair(TrialLog.load(run), screen)


@contextmanager
def _alone(request: Request) -> Iterator[None]:
    """Hold the run folder, so that no second process writes to it; a new one goes again if its request was refused.

    Raises:
        ConfigError: if another process holds it, or has made the run that was to be made.
    """
    run, new, folder = request.run, not request.resumed, request.run.path
    if new:
        check_output(run, request.settings.cache)
    created = [folder, *(one for one in folder.parents if not one.exists())]
    other = ", or choose another --name" if new else ""
    with held(folder, f"Run {run.name!r}", other):
        try:
            if new:
                check_output(run, request.settings.cache)  # another process may have made it meanwhile
            run.clear_drafts()
            yield
        except ConfigError:  # a request that was refused leaves the run as it was
            if not request.command:
                run.request.unlink(missing_ok=True)
            raise
        except Exception as error:
            with suppress(OSError, ConfigError):
                run.update(stopped=reason_of(error))
            raise
        finally:
            if not run.run.exists() and not run.request.exists():
                for name in (LOCK, run.space.name):
                    (folder / name).unlink(missing_ok=True)
                for one in created:
                    with suppress(OSError):  # something else lies there by now
                        one.rmdir()


def _start(request: Request) -> Workers:
    """Start Ray and all workers, which load TensorFlow while other things are done."""
    workers = cluster.start(request.settings.jobs, request.settings.address)
    cluster.warm_up(workers)
    return workers


def _check(run: RunDir, screen: Screen) -> bool:
    """See whether the files of a run that is taken up are as it wrote them; whether scores on the test split are not.

    Raises:
        ConfigError: if one is not that cannot be made again.
    """
    damaged = run.check_pinned()
    if damaged:
        screen.line(f"  note: not as the run wrote them: {', '.join(damaged)}; the evaluation is made again.")
    for sentence in run.check_tables():
        screen.line(f"  note: {sentence}.")
    return any(path.name in damaged for path in run.of_test)


def find_weights(request: Request, workers: Workers, begun: RunRecord | None) -> Weights:
    """The weights of the run; a resumed run gets the very ones that it began with.

    Raises:
        ConfigError: if weights cannot be had, or are not those that the run began with, or with another scaling.
    """
    settings, wanted = request.settings, request.settings.weights
    if begun is not None and begun.weights.kind in ("imagenet", "random"):
        wanted = begun.weights.kind
    cache = settings.cache.absolute()
    weights: Weights = cluster.call(
        workers,
        resolve_weights,
        wanted,
        request.backbones,
        cache,
        settings.seed,
        settings.is_demo,
        settings.scaling,
        request.space.initialisations,
        dict(request.folders),
    )
    before = begun.weights.sha256 if begun is not None else weights.sha256
    changed = sorted(name for name in {*before, *weights.sha256} if before.get(name) != weights.sha256.get(name))
    if changed:
        raise ConfigError(
            f"The weights of {', '.join(changed)} are not those that run {request.run.name!r} began with; "
            "start a new run."
        )
    scaling = _scaling(request, weights)
    recorded = begun.weights.scaling if begun is not None else scaling
    if others := sorted(name for name in recorded if recorded[name] != scaling.get(name)):
        raise ConfigError(
            f"The pixels for {', '.join(others)} would be scaled otherwise than run {request.run.name!r} began with "
            f"({recorded[others[0]]}); start a new run."
        )
    return weights


def _scaling(request: Request, weights: Weights) -> dict[str, str]:
    """Network -> how its pixels are scaled, in words."""
    used = networks(request, weights)
    return {name: describe(row.preprocessing) for name, row in used.items() if name in weights.files}


def create(request: Request, workers: Workers, weights: Weights, command: str) -> RunRecord:
    """Write run.json, with all that is known at the start."""
    run, settings, space = request.run, request.settings, request.space
    run.path.mkdir(parents=True, exist_ok=True)
    return run.write(
        RunRecord(
            name=run.name,
            suite_version=__version__,
            rules=RULES,
            command=command,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=RecordedSettings(
                **{**settings.model_dump(), "epochs": request.epochs, "patience": request.patience}
            ),
            titles={backbone.name: backbone.title for backbone in request.backbones},
            space=SpaceRecord(
                name=space.name,
                parameters={one.name: ParameterRange.model_validate(one.describe()) for one in space.told},
                augmentations={name: policy.amounts() for name, policy in space.policies.items()},
                points=tuple(dict(point) for point in space.points),
                recipes={backbone.name: space.recipe(backbone) for backbone in request.backbones},
            ),
            weights=WeightsRecord(
                kind=weights.kind,
                note=weights.note,
                sha256=dict(weights.sha256),
                starts={start: StartRecord(kind=kind, note=note) for start, (kind, note) in weights.starts.items()},
                folders=dict(request.folders),
                scaling=_scaling(request, weights),
            ),
            hardware=_hardware(workers),
            packages=_versions(),
            seconds={},
        )
    )


def take_up(request: Request, workers: Workers, *more: str) -> RunRecord:
    """Write down what a resumed run goes on with, before any stage; returns the record.

    So that what was given stays, wherever the run is interrupted: a test split that was sealed is not opened by the
    next resume, and an extension goes on to its own end. ``more`` settings may change where it is evaluated alone.
    So is the machine that it goes on with, for times are told by it.
    """
    run, settings = request.run, request.settings
    if settings.repeats > run.read().settings.repeats:
        run.unfinish("finalists")  # first: once run.json has the number, nothing else tells that some are missing
    names = [name for name in type(settings).model_fields if about_flag(name)["resumable"] and name not in OF_ONE_GO]
    record = run.change_settings(**{name: getattr(settings, name) for name in (*names, *more)})
    if (here := _hardware(workers)) != record.hardware:
        record = run.write(record.taken_up_on(here, TrialLog.load(run).next_trial, time.time()))
    if record.stopped:
        record = run.update(stopped="")
    if record.data is None:
        return record
    return run.update(data=record.data.model_copy(update={"path": request.source.path}))


def write_data(request: Request, examined: Examined) -> None:
    """Write what the audit found, and the splits."""
    run = request.run
    if run.finished("data"):
        return
    with stages.timed(run, "data"):
        write_splits(run.splits, examined.audited.table, examined.facts)
        write_json(run.audit, examined.audited.audit)
        copies = examined.audited.copies
        with atomic_path(run.copies) as temporary, temporary.open("wb") as opened:
            np.savez_compressed(opened, images=copies.images, ranks=copies.sets)
        run.spend("data", examined.seconds)
        run.update(data=examined.record(request.source))


def _precision(request: Request, workers: Workers, begun: RunRecord, task: Task) -> Mapping[str, Precision]:
    """What this run computes in; a resumed run keeps what it began with, for its scores must compare."""
    found = begun.precision
    chosen: str = request.settings.precision
    if isinstance(found, str):  # as earlier versions wrote it
        chosen, found = found, None
    if found is None:
        found = _measured(request.run, workers, task) if chosen == "auto" else fixed(task.architectures, chosen)
        request.run.update(precision=found)
    return by_backbone(found)


def _inference(request: Request, workers: Workers, task: Task) -> None:
    """Write down how long an image takes in each backbone, once in a run: later trials must compare with earlier ones.

    Raises:
        ConfigError: if that cannot be measured.
    """
    run, record = request.run, request.run.read()
    if record.inference is not None:
        return
    found = record.precision if isinstance(record.precision, dict) else {}
    times = inference_times(found)
    if set(times) != set(task.architectures):  # --precision was given, so nothing was timed
        try:
            times = inference_times(_measured(run, workers, replace(task, depths=())))
        except Exception as error:
            raise ConfigError(
                f"--also seconds needs the time that an image takes in each backbone, which could not be measured: "
                f"{told(error)}; `{resume_command(run.name, run.path.parent)}` tries again, and a new run without "
                "--also goes by the score alone."
            ) from error
    here = _hardware(workers)
    machine = ", ".join(here.gpus) or here.machine
    run.update(inference=InferenceRecord(milliseconds=times, sizes=dict(request.sizes), batch=BATCH, machine=machine))


def _measured(run: RunDir, workers: Workers, task: Task) -> dict[str, PrecisionRecord]:
    """The precision that each backbone is fastest in, measured in all workers at once, as trials will run."""
    started = time.perf_counter()
    jobs = [
        cluster.Job(f"precision of {name}", partial(measure, replace(task, backbones={name: row})), cost=row.cost[1])
        for name, row in task.architectures.items()
    ]
    found: dict[str, PrecisionRecord] = {}
    for ended in cluster.run_jobs(workers, jobs):
        if ended.error is not None:
            raise ended.error
        found |= ended.result
    run.spend("start", time.perf_counter() - started)
    return {name: found[name] for name in task.architectures}


def _check_scaling(request: Request, workers: Workers, task: Task, tell: Callable[[str], None]) -> None:
    """Write down how the values that images give pretrained networks go with what these remember; once in a run."""
    weights, started = request.run.read().weights, time.perf_counter()
    if weights.checked is not None:
        return
    drawn = {RANDOM, *({GIVEN} if weights.kind == RANDOM else ())}
    names = [
        network_name(name, start)
        for name, some in request.space.initialisations.items()
        for start in some
        if start not in drawn
    ]
    jobs = [cluster.Job(name, partial(cluster.check_scaling, task, name)) for name in names]
    found: dict[str, ScalingRecord] = {}
    for ended in cluster.run_jobs(workers, jobs):
        if ended.error is not None:  # it decides nothing, and so ends nothing
            tell(f"  note: not checked: the scaling of {ended.job.name}: {told(ended.error)}.")
        elif ended.result is not None:
            found[ended.job.name] = ended.result
    request.run.update(weights=weights.model_copy(update={"checked": found}))
    request.run.spend("start", time.perf_counter() - started)


def _hardware(workers: Workers) -> Hardware:
    """What trials share: this machine or, with --address, its cluster, whose GPUs are only counted."""
    found = cluster.hardware()
    gpus = found.gpus if len(found.gpus) == workers.total_gpus else (f"{workers.total_gpus} GPU(s)",)
    shared = {"cpus": workers.cpus, "jobs": workers.jobs, "threads": workers.threads}
    return found.model_copy(update={**shared, "gpus": gpus if workers.total_gpus else ()})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
