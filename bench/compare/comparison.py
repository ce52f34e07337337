"""Methods and seeds one after the other on one machine; compare.csv, compare.json and compare.html are left.

A comparison that is run again under its name goes on where it stopped: what has finished is kept.
"""

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from bench import RULES, __version__
from bench.cluster import hardware
from bench.compare import page, statistics
from bench.compare.inputs import fingerprint, prepare_task, whole_way
from bench.compare.methods.experiment import COMPARED, Experiment
from bench.compare.methods.process import MethodRun
from bench.compare.methods.table import METHODS, Method
from bench.compare.plan import Plan, packages
from bench.compare.record import SPACE_FILE, ComparedData, ComparisonRecord, Ended, read_comparison
from bench.errors import ConfigError
from bench.run.console import Screen, duration
from bench.run.folder import held, write_text
from bench.run.record import WeightsRecord
from bench.train.task import Task


def carry_out(plan: Plan, screen: Screen) -> int:
    """Run what has not finished yet; returns the number of methods that failed.

    Raises:
        ConfigError: if the images cannot be used, weights cannot be had, or another process is at it.
    """
    name = plan.folder.name
    with held(plan.folder, f"Comparison {name!r}"):
        task = prepare_task(plan.request, screen)
        _begin(plan, task)
        failed = 0
        try:
            for seed in plan.seeds:
                for method in plan.methods:
                    ended = _run_method(plan, task, method, seed, screen)
                    failed += ended.state == "failed"
                    collect(plan.folder)
        finally:
            collect(plan.folder)
            written = page.render(plan.folder)
        for sentence in statistics.whole_way_sentences((read_comparison(plan.folder) or ComparisonRecord()).runs):
            screen.line(sentence)
        screen.line(f"Comparison: {written}")
        return failed


def _run_method(plan: Plan, task: Task, method: Method, seed: int, screen: Screen) -> Ended:
    run = plan.run(method, seed)
    ended = run.ended()
    if ended is not None and ended.stands(plan.time_limit):
        screen.line(f"{method.title}, seed {seed}: kept.")
        return ended
    screen.line(f"{method.title}, seed {seed} …")
    run.begin_anew()
    for other in METHODS.values():
        if other.goes_on_from == method.name:  # what it made of the old cache says nothing about the new one
            plan.run(other, seed).forget()
    source = plan.run(METHODS[method.goes_on_from], seed) if method.goes_on_from else None
    cache = (source or run).cache
    if source and (reason := source.no_cache()):
        ended = run.end("failed", reason=reason)
        screen.line(f"  failed: {ended.reason}")
        return ended
    ended = run.carry_out(
        Experiment(
            method=method,
            task=replace(task, seed=seed, patience=plan.patience, cache=cache.absolute()),
            space=plan.request.space,
            configurations=plan.configurations,
            budget=plan.request.settings.budget,
            jobs=plan.request.settings.jobs,
            scratch=(run.folder / "scratch").absolute(),
            whole=whole_way(plan.request, task, (plan.folder / SPACE_FILE).absolute()) if method.whole else None,
        ),
        plan.time_limit,
    )
    if not _is_awaited(plan, method, seed):  # a cache that nobody will go on from only fills the disk
        shutil.rmtree(cache, ignore_errors=True)
    rows = run.rows()
    best = f", best validation AUC {rows['auc'].max():.3f}" if rows["auc"].notna().any() else ""
    screen.line(f"  {len(rows)} trials in {duration(ended.seconds)}{best}")
    if ended.state != "finished":
        screen.line(f"  {ended.state}: {ended.reason or 'its trials so far count'}")
    return ended


def _is_awaited(plan: Plan, method: Method, seed: int) -> bool:
    """Whether a method is still to go on from the cache that ``method`` has used: itself, or another from its own."""
    if method.goes_on_from:
        return plan.is_left(method, seed)
    awaiting = any(other.goes_on_from == method.name and plan.is_left(other, seed) for other in plan.methods)
    return awaiting and not plan.run(method, seed).no_cache()


def collect(folder: Path) -> None:
    """Write compare.csv from the rows of all methods that have ended, and how they ended into compare.json."""
    names = [path.name.rpartition("-") for path in (folder / "runs").glob("*-*")]
    order = list(METHODS)
    known = sorted((order.index(name), int(seed)) for name, _, seed in names if name in METHODS)
    tables: list[pd.DataFrame] = []
    ends: list[Ended] = []
    for method, seed in ((METHODS[order[position]], seed) for position, seed in known):
        run = MethodRun(folder / "runs" / f"{method.name}-{seed}", method, seed)
        ended = run.ended()
        if ended is not None:
            ends.append(ended)
            tables.append(run.rows())
    filled = [table for table in tables if len(table)]
    COMPARED.write(folder, pd.concat(filled, ignore_index=True) if filled else [])
    record = read_comparison(folder) or ComparisonRecord()
    record.model_copy(update={"runs": tuple(ends)}).write(folder)


def _begin(plan: Plan, task: Task) -> None:
    """Write down what is compared, on what and with what: compare.json last, which says that the rest is there."""
    request, begun = plan.request, read_comparison(plan.folder)
    if begun and begun.data.fingerprint != fingerprint(task):
        raise ConfigError(f"The images have changed since comparison {plan.folder.name!r} was begun; start a new one.")
    if begun and begun.weights.sha256 != task.weights.sha256:
        raise ConfigError(
            f"The weights are not those that comparison {plan.folder.name!r} began with; start a new one."
        )
    record = ComparisonRecord(
        name=plan.folder.name,
        created=begun.created if begun else datetime.now(UTC).isoformat(timespec="seconds"),
        suite_version=__version__,
        rules=RULES,
        settings=plan.decisive(),
        target=plan.target,
        data=ComparedData(
            path=request.source.path,
            fingerprint=fingerprint(task),
            synthetic=request.source.synthetic,
            classes=tuple(request.source.classes),
            train=len(task.rows["train"]),
            val=len(task.rows["val"]),
            sizes=dict(request.sizes),
        ),
        weights=WeightsRecord(kind=task.weights.kind, note=task.weights.note, sha256=dict(task.weights.sha256)),
        hardware=hardware(),
        packages=packages(),
        runs=begun.runs if begun else (),
    )
    write_text(plan.folder / SPACE_FILE, request.space.text)
    record.write(plan.folder)
