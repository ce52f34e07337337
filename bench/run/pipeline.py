"""The stages of a run in their order: data, search, finalists, evaluation, report.

Everything that can be wrong with a request has been found by `bench.run.request` before a run is made of it.
"""

import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from filelock import FileLock, Timeout

from bench import RULES, __version__
from bench import cluster as workers
from bench.data.audit.audit import Audited, audit, require_enough
from bench.data.images.store import Stored, StoredImages, common_window, is_stored, store_images
from bench.data.images.window import Window
from bench.data.imageset import ImageSet
from bench.data.patients import naming
from bench.data.splits import fold_names, folds, labels_of, rows_of, write_splits
from bench.errors import ConfigError
from bench.evaluation.decide import decide
from bench.evaluation.final import open_test
from bench.evaluation.inputs import EvaluationInputs
from bench.evaluation.test_access import SealedTest
from bench.failures import unfair
from bench.finalists import select as finalists
from bench.finalists.baselines import TITLES, Material, Training, read_controls, train_controls
from bench.finalists.folds import Folds, fold_summary, fold_task
from bench.finalists.seeds import model_files, repeat_summary
from bench.invocation import in_output, typed
from bench.invocation import resume as resume_command
from bench.models.backbones import get_backbone
from bench.models.weights import Weights, resolve_weights
from bench.report import live
from bench.run.console import Screen, describe_config, duration
from bench.run.folder import LOCK, RunDir, atomic_path, write_json, write_text
from bench.run.request import Request, check_disk, check_output, expected_seconds
from bench.run.results import TrialLog, activities, config_from_row
from bench.settings import RunSettings
from bench.stats.metrics import get_metric
from bench.train.task import Task
from bench.trial import TrialConfig

GALLERY_COLUMNS = 6
PACKAGES = ("tensorflow", "keras", "ray", "optuna", "numpy", "pandas", "scikit-learn", "pillow")


class Run:
    """One run on its way through the stages; a finished stage is passed over, so this is also how one resumes.

    Args:
        request: what is to be done.
        screen: where the user is told.
        command: the command line, for the record.
    """

    def __init__(self, request: Request, screen: Screen, command: str) -> None:
        self.request = request
        self.run = request.run
        self.screen = screen
        self.command = command
        self.metric = get_metric(request.settings.metric)
        self._workers: workers.Workers | None = None
        self._stored: dict[str, StoredImages] = {}
        self._table = request.table
        self._facts = pd.DataFrame()
        self._test: SealedTest | None = None
        self._audited: Audited | None = None
        self._seconds_auditing = 0.0
        self._live = live.LiveReport(self.run)
        self._weights: Weights | None = None

    def execute(self) -> RunDir:
        """Go through all stages and leave report and model.

        Raises:
            ConfigError: if weights cannot be had (before the run folder exists), or the data of a resumed run changed.
        """
        request, settings = self.request, self.request.settings
        with ExitStack() as stack:
            stack.enter_context(self._alone())
            disk = check_disk(request)
            started = time.perf_counter()
            self._workers = workers.start(settings.jobs, settings.address)
            self._weights = self._resolve_weights()
            starting = time.perf_counter() - started
            self._examine()
            if request.resumed:
                self._note_places()
            else:
                self._create()
            self._add_seconds("start", starting)
            self._announce(disk)
            stack.enter_context(self._live)
            self._data()
            self._search()
            self._finalists()
            self._evaluation(sealed=settings.no_test)
            return self._report()

    def evaluate(self) -> RunDir:
        """Open the test split of a run that left it sealed."""
        settings, finish = self.request.settings, resume_command(self.run.name, self.run.path.parent)
        for stage, lacking in (("search", "its search has not ended"), ("finalists", "it has no finalists yet")):
            if not self.run.finished(stage):
                raise ConfigError(f"Run {self.run.name!r}: {lacking}; finish it by `{finish}`.")
        if self._evaluated(finalists.read_finalists(self.run), sealed=False):
            raise ConfigError(f"The test split of run {self.run.name!r} is open already: see {self.run.evaluation}.")
        with self._alone(), self._live:
            self._workers = workers.start(settings.jobs, settings.address)
            self._weights = self._resolve_weights()
            self._examine()
            self._note_places()

            def asked(content: dict[str, Any]) -> None:
                names = ("bootstrap", "target_sensitivity", "group_by")
                given = settings.model_dump(mode="json")
                content["settings"].update({name: given[name] for name in names})

            self.run.update_run(asked)
            self._evaluation(sealed=False)
            return self._report()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the run folder, so that no second process writes to it; a new one goes again if nothing came of it.

        Raises:
            ConfigError: if another process holds it, or has made the run that was to be made.
        """
        new, folder = not self.request.resumed, self.run.path
        if new:
            check_output(self.run, self.request.settings.cache)
        made = [folder, *(one for one in folder.parents if not one.exists())]
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            other = ", or choose another --name" if new else ""
            raise ConfigError(
                f"Run {self.run.name!r} is going on in another process; wait for it or end it{other}."
            ) from None
        try:
            if new:
                check_output(self.run, self.request.settings.cache)  # another process may have made it meanwhile
            yield
        finally:
            if not self.run.run.exists():
                (folder / LOCK).unlink(missing_ok=True)
                for one in made:
                    with suppress(OSError):  # something else lies there by now
                        one.rmdir()
            lock.release()

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """Time a stage, and mark it as finished when its files are whole."""
        started = time.perf_counter()
        try:
            yield
        finally:  # what an interrupted stage took counts too
            self._add_seconds(name, time.perf_counter() - started)
        self.run.finish(name)

    def _add_seconds(self, name: str, seconds: float) -> None:
        def note(content: dict[str, Any]) -> None:
            spent = content.setdefault("seconds", {})
            spent[name] = round(spent.get(name, 0.0) + seconds, 3)

        self.run.update_run(note)

    def _resolve_weights(self) -> Weights:
        """The weights of the run; a resumed run gets the very ones that it began with.

        Raises:
            ConfigError: if weights cannot be had, or are not those that the run began with.
        """
        settings = self.request.settings
        assert self._workers is not None
        begun = self.run.read_run()["weights"] if self.run.run.exists() else None
        wanted = settings.weights
        if begun is not None and begun["kind"] != "folder":
            wanted = begun["kind"]
        weights: Weights = workers.run_alone(
            self._workers,
            resolve_weights,
            wanted,
            self.request.backbones,
            settings.cache.absolute(),
            settings.seed,
            settings.is_demo,
        )
        if begun is not None and begun["sha256"] != weights.sha256:
            raise ConfigError(
                f"The {weights.kind} weights are not those that run {self.run.name!r} began with; start a new run."
            )
        return weights

    def _create(self) -> None:
        request, settings = self.request, self.request.settings
        self.run.path.mkdir(parents=True, exist_ok=True)
        write_text(self.run.space, request.space.text)
        write_json(
            self.run.run,
            {
                "name": self.run.name,
                "suite_version": __version__,
                "rules": RULES,
                "command": self.command,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "settings": {**settings.model_dump(mode="json"), "epochs": request.epochs},
                "space": {
                    "name": request.space.name,
                    "parameters": {parameter.name: parameter.describe() for parameter in request.space.parameters},
                    "augmentations": {name: policy.amounts() for name, policy in request.space.policies.items()},
                    "points": [dict(point) for point in request.space.points],
                },
                "weights": self._describe_weights(),
                "hardware": self._hardware(),
                "packages": _versions(),
                "seconds": {},
            },
        )

    def _note_places(self) -> None:
        """Write down where a resumed run's files lie by now."""
        given = self.request.settings.model_dump(mode="json")

        def note(content: dict[str, Any]) -> None:
            content["settings"].update({name: given[name] for name in ("data", "image_root", "cache", "weights")})
            if "data" in content:
                content["data"]["path"] = self.request.source.path

        self.run.update_run(note)

    def _describe_weights(self) -> dict[str, Any]:
        assert self._weights is not None
        return {"kind": self._weights.kind, "note": self._weights.note, "sha256": self._weights.sha256}

    def _hardware(self) -> dict[str, Any]:
        assert self._workers is not None
        return {
            "cpus": self._workers.cpus,
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "gpus": [f"{self._workers.total_gpus} GPU(s)"] if self._workers.total_gpus else [],
            "machine": platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "jobs": self._workers.jobs,
            "threads": self._workers.threads,
        }

    def _announce(self, disk: str) -> None:
        request, settings = self.request, self.request.settings
        assert self._weights is not None and self._workers is not None
        assert self._audited is not None
        found = self._audited.audit["splits"]["used"]
        splits = "; ".join(
            f"{split} {part['images']} images of {part['patients']} patients ("
            + ", ".join(f"{name} {count}" for name, count in part["classes"].items())
            + ")"
            for split, part in found.items()
        )
        guess = expected_seconds(request, self._workers)
        sizes = ", ".join(f"{backbone.title} {request.sizes[backbone.name]} px" for backbone in request.backbones)
        self.screen.summary(
            f"Run {self.run.name}: {settings.budget} trials",
            [
                ("data", f"{request.source.path}; patients: {request.source.patient_rule}"),
                ("splits", splits),
                ("machine", self._workers.describe()),
                ("space", f"{request.space.name}: {', '.join(p.name for p in request.space.parameters)}"),
                ("backbones", f"{sizes}; {self._weights.kind} weights"),
                ("objective", f"validation {self.metric.title}, at most {request.epochs} epochs a phase"),
                ("expected", f"very roughly {duration(guess / 2)} to {duration(guess * 2)}; disk: {disk}"),
            ],
        )
        self.screen.layout(self._audited.audit["layout"])
        self.screen.findings(self._audited.audit["findings"])
        if self._weights.kind == "random":
            self.screen.warning(self._weights.note)
        self.screen.line("")

    def _examine(self) -> None:
        """Decode what is not stored yet, audit the images and split them; nothing is written to the run folder.

        Raises:
            ConfigError: if the images cannot be used, or are not those that the run began with.
        """
        request, settings = self.request, self.request.settings
        started = time.perf_counter()
        stored = decode_all(request.source, sorted(set(request.sizes.values())), settings, self.screen)
        if self.run.run.exists() and self.run.read_run().get("data", {}).get("fingerprint") not in (
            None,
            stored.fingerprint,
        ):
            raise ConfigError(
                f"The images at {request.source.path} are not those of run {self.run.name!r}: they have changed, or "
                "are others; start a new run, or name the place of its images by --data."
            )
        require_enough(request.source, stored, settings.keep_going)
        self._audited = audit(request.source, stored, settings, request.taken)
        self._facts = stored.facts
        # from here on the test split is out of reach for all but the evaluation, once everything is decided
        images = {name: stored.sizes[size] for name, size in request.sizes.items()}
        self._test = SealedTest(self._audited.table, stored.facts, images, self.run, settings.cache.absolute())
        self._table, self._stored = self._test.sealed_table(), self._test.sealed_images()
        if settings.folds:
            with naming(request.source.patient_rule):
                folds(self._table, settings.folds, settings.seed)
        self._seconds_auditing = time.perf_counter() - started

    def _data(self) -> None:
        if self.run.finished("data"):
            return
        assert self._audited is not None
        source, found = self.request.source, self._audited
        stored = next(iter(self._stored.values()))
        with self._stage("data"):
            write_splits(self.run.splits, found.table)
            write_json(self.run.audit, found.audit)

            def add(content: dict[str, Any]) -> None:
                content["seconds"]["data"] = round(self._seconds_auditing, 3)
                content["data"] = {
                    "source": source.source,
                    "path": source.path,
                    "fingerprint": stored.fingerprint,
                    "synthetic": source.synthetic,
                    "classes": list(source.classes),
                    "channels": stored.channels,
                    "splits": found.audit["splits"]["used"],
                    "notes": found.audit["notes"],
                }

            self.run.update_run(add)

    def _task(self) -> Task:
        """What training needs to know; the test split's rows are not in it."""
        request, settings = self.request, self.request.settings
        rows = {split: rows_of(self._table, split) for split in ("train", "val")}
        labels = {split: labels_of(self._table, chosen, request.source.classes) for split, chosen in rows.items()}
        assert self._weights is not None
        return Task(
            images=self._stored,
            rows=rows,
            labels=labels,
            n_classes=len(request.source.classes),
            backbones={backbone.name: backbone for backbone in request.backbones},
            weights=self._weights,
            policies=request.space.policies,
            metric=settings.metric,
            epochs=request.epochs,
            patience=settings.patience,
            views=settings.views,
            seed=settings.seed,
            cache=settings.cache.absolute(),
            cache_bytes=settings.cache_size,
            depths=request.space.depths,
            precision=self._precision(),
            class_weights=settings.class_weights,
        )

    def _precision(self) -> str:
        """What this run computes in; a resumed run keeps what it began with, for its scores must compare."""
        content = self.run.read_run()
        known = content.get("precision")
        if known is None:
            wanted, found = self.request.settings.precision, self._workers
            assert found is not None
            known = workers.choose_precision(found, self.request.settings.address) if wanted == "auto" else wanted

            def note(content: dict[str, Any]) -> None:
                content["precision"] = known

            self.run.update_run(note)
        return str(known)

    def _search(self) -> None:
        from bench.search.plan import make_plan, to_try_again
        from bench.search.tune import run_search

        settings, log = self.request.settings, TrialLog.load(self.run)
        before = self.run.read_run().get("search", {})
        done, again = len(log.current), len(to_try_again(log.records))
        if self.run.finished("search") and not again and not _raised(settings, before):
            self.screen.line(f"Search: {done} trials are finished already.")
            return
        if done > again:
            self.screen.line(f"Search: {done - again} finished trials are kept; going on to {settings.budget}.")

        def begin(content: dict[str, Any]) -> None:
            content["settings"].update(budget=settings.budget, time_limit=settings.time_limit)

        self.run.update_run(begin)  # first, so that an interrupted extension goes on to its own budget
        self.run.unfinish("search")
        plan = make_plan(self.request.space, self.request.backbones, settings.budget)
        for note in plan.notes:
            self.screen.line(f"  note: {note}")
        assert self._workers is not None
        task = self._task()
        workers.release_alone()
        with self._stage("search"):
            self._live.stage(live.SEARCHING)
            with self.screen.search(self.metric, settings.budget, log.current, self._live.renew) as watcher:
                self._live.watch(watcher.running)
                stopped_by = run_search(
                    space=self.request.space,
                    task=task,
                    workers=self._workers,
                    run=self.run,
                    log=log,
                    plan=plan,
                    budget=settings.budget,
                    scheduler=settings.scheduler,
                    time_limit=settings.time_limit,
                    watcher=watcher,
                )
            if stopped_by != "budget":
                self.screen.line(f"  note: the search ended before its budget: {stopped_by}.")

            def add(content: dict[str, Any]) -> None:
                states = [record.state for record in log.current]
                content["search"] = {
                    "planned": settings.budget,
                    "time_limit": settings.time_limit,
                    "notes": plan.notes,
                    "stopped_by": stopped_by,
                    "counts": {state: states.count(state) for state in ("completed", "pruned", "failed")},
                }

            counted = before.get("counts", {})
            if len(log.scored()) > counted.get("completed", 0) + counted.get("pruned", 0):
                self.run.unfinish("finalists")  # first: once run.json counts the new trials, nothing else tells of them
            self.run.update_run(add)
        self.warn()

    def warn(self) -> bool:
        """Say loudly that so many trials failed that the comparison is not fair; returns whether that is so."""
        found = unfair(TrialLog.load(self.run).ends(), lambda name: get_backbone(name).title)
        for sentence in found:
            self.screen.warning(sentence)
        return bool(found)

    def _finalists(self) -> None:
        settings = self.request.settings
        if self.run.finished("finalists") and settings.repeats <= self.run.read_run()["settings"].get("repeats", 1):
            return
        assert self._workers is not None
        self.run.unfinish("finalists")

        def begin(content: dict[str, Any]) -> None:
            content["settings"]["repeats"] = settings.repeats

        self.run.update_run(begin)  # first, so that an interrupted extension goes on to its own number of seeds
        log, task = TrialLog.load(self.run), self._task()
        chosen = finalists.choose(log, self.metric, [backbone.name for backbone in self.request.backbones])
        with self._stage("finalists"):
            self._live.stage(live.RETRAINING)
            over_folds = self._folds(task)
            seeds = f" with {settings.repeats} seeds" if settings.repeats > 1 else ""
            then = f", then over {len(over_folds.sizes)} folds of train and validation" if over_folds else ""
            names = ", ".join(get_backbone(record.config.backbone).title for record in chosen)
            self.screen.line(
                f"Finalists: the best configuration of {names}, retrained{seeds} with fresh augmentation{then}"
            )
            if not self.run.augmentation.exists():
                self._gallery(task)
            table = finalists.retrain_finalists(
                chosen,
                run=self.run,
                metric=self.metric,
                seed=settings.seed,
                retrain=self._training(task).retrain,
                started=lambda record: self.screen.line(f"  retraining {describe_config(record.config)}"),
                ended=lambda row: self._trained(row, get_backbone(row["backbone"]).title),
                through=lambda rows: self._through(rows, get_backbone(rows[0]["backbone"]).title),
                repeats=settings.repeats,
                folds=over_folds,
            )
            self._note_winner(table, over_folds is not None)
            won = {str(key): value for key, value in table[table["winner"]].iloc[0].items()}
            self._controls(task, config_from_row(won))

    def _note_winner(self, table: pd.DataFrame, over_folds: bool) -> None:
        """Write into run.json which finalist won, and by what."""
        winner = table[table["winner"]].iloc[0]
        own = table[table["backbone"] == winner["backbone"]]
        spread = repeat_summary([dict(row) for _, row in own.iterrows()], self.metric)

        def add(content: dict[str, Any]) -> None:
            content["winner"] = {
                "backbone": winner["backbone"],
                "score": spread["mean"],
                "sd": spread["sd"],
                "repeats": spread["repeats"],
                "metric": self.metric.name,
                "trial": int(winner["trial"]),
            }
            if over_folds:
                mean, deviation = winner["fold_mean"], winner["fold_sd"]
                content["winner"] |= {
                    "folds": int(winner["folds"]),
                    "fold_mean": None if pd.isna(mean) else float(mean),
                    "fold_sd": None if pd.isna(deviation) else float(deviation),
                }

        self.run.update_run(add)

    def _controls(self, task: Task, winner: TrialConfig) -> None:
        """Train what the winner is to be held against, as the finalists were."""
        settings, backbone = self.request.settings, get_backbone(winner.backbone)
        self._live.stage(live.CONTROLLING)
        self.screen.line(f"Controls: {', '.join(title[0].lower() + title[1:] for title in TITLES.values())}")
        train_controls(
            winner,
            TrialConfig.from_mapping(self.request.space.recipe(backbone)),
            run=self.run,
            metric=self.metric,
            seed=settings.seed,
            repeats=settings.repeats,
            material=Material(
                labels=task.labels,
                facts={split: self._facts.iloc[rows] for split, rows in task.rows.items()},
                n_classes=task.n_classes,
                channels=task.images[backbone.name].channels,
            ),
            training=self._training(task),
            ended=lambda row: self._trained(row, TITLES[row["control"]]),
            through=lambda rows: self._through(rows, TITLES[rows[0]["control"]]),
        )

    def _training(self, task: Task) -> Training:
        """How finalists and controls are trained: in the worker that has the machine to itself."""
        found = self._workers
        assert found is not None

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            places = [one.absolute() if isinstance(one, Path) else one for one in arguments]
            result = workers.run_alone(found, function, task, *places)

            def note(content: dict[str, Any]) -> None:
                spent = content.get("checkpoints", 0.0) + result.spent.get("checkpoints", 0.0)
                content["checkpoints"] = round(spent, 3)

            self.run.update_run(note)
            return result

        return Training(partial(call, workers.retrain), partial(call, workers.train_small_cnn))

    def _trained(self, row: Mapping[str, Any], title: str) -> None:
        """A line on one training of several, or on what was not trained."""
        repeats = self.request.settings.repeats
        several = repeats > 1 and row.get("control") not in ("majority", "metadata")
        which = f"{title}, seed {row['repeat']} of {repeats}" if several else title
        if row["state"] == "skipped":
            self.screen.line(f"  {title}: not trained, {row['reason']}")
        elif row["state"] == "failed":
            self.screen.line(f"  {which} failed: {row['reason']}")
        elif several:
            score = row[f"metric_{self.metric.name}"]
            self.screen.line(f"    {which}: {self.metric.title} {score:.4f}, {duration(row['seconds'])}")

    def _through(self, rows: Sequence[Mapping[str, Any]], title: str) -> None:
        """A line on all trainings of one finalist or control."""
        summary = repeat_summary(rows, self.metric)
        if summary["mean"] is None:
            return
        spread = f" ± {summary['sd']:.4f}" if summary["sd"] is not None else ""
        seeds = f" over {summary['repeats']} seeds" if summary["repeats"] > 1 else ""
        before = next((row["trial_score"] for row in rows if row.get("trial_score") is not None), None)
        search = f", {before:.4f} in the search" if before is not None else ""
        self.screen.line(
            f"  {title}: validation {self.metric.title} {summary['mean']:.4f}{spread}{seeds}{search}, "
            f"{duration(sum(row['seconds'] for row in rows))}"
        )

    def _folds(self, task: Task) -> Folds | None:
        """How the finalists are validated over folds; None if they are not.

        Raises:
            ConfigError: if a class has too few patients.
        """
        settings, found = self.request.settings, self._workers
        assert found is not None
        if not settings.folds:
            return None
        names = fold_names(self._table, settings.folds)
        assigned = folds(self._table, settings.folds, settings.seed).to_numpy()
        groups = self._table["group"].to_numpy()
        tasks = [fold_task(task, assigned, fold, groups) for fold in range(1, len(names) + 1)]
        if settings.folds == "given":
            self.screen.line(f"Folds as given: {', '.join(names)} (numbered from 1)")
        parted = [sum(map(len, task.rows.values())) - sum(map(len, one.rows.values())) for one in tasks]
        if any(parted):
            self.screen.line(
                f"  note: the given folds part patients or copies; {min(parted)} to {max(parted)} images a fold are "
                "not trained on, as the fold that is validated on has others of their group."
            )
        sizes = [
            {
                "images_train": len(one.rows["train"]),
                "images_val": len(one.rows["val"]),
                "patients_val": int(self._table["patient_id"].iloc[one.rows["val"]].nunique()),
            }
            for one in tasks
        ]

        def train(config: TrialConfig, seed: int, fold: int) -> Any:
            return workers.run_alone(found, workers.retrain, tasks[fold - 1], config, seed)

        def ended(rows: Sequence[Mapping[str, Any]]) -> None:
            for row in rows:
                if row["state"] == "failed":
                    self.screen.line(f"  {row['backbone']}, fold {row['fold']} failed: {row['reason']}")
            summary = fold_summary(rows, self.metric)
            if not summary["folds"]:
                return
            spread = f" ± {summary['fold_sd']:.4f}" if summary["fold_sd"] is not None else ""
            self.screen.line(
                f"  {rows[0]['backbone']} over {summary['folds']} folds: {self.metric.title} "
                f"{summary['fold_mean']:.4f}{spread}, {duration(sum(row['seconds'] for row in rows))}"
            )

        return Folds(sizes, train, ended)

    def _gallery(self, task: Any) -> None:
        assert self._workers is not None
        names = list(self.request.space.policies)
        backbone = self.request.backbones[0].name
        images = workers.run_alone(self._workers, workers.gallery, task, backbone, names, GALLERY_COLUMNS)
        with atomic_path(self.run.augmentation) as temporary:
            np.savez_compressed(temporary, policies=np.array(names), images=images)

    def _evaluated(self, table: pd.DataFrame, sealed: bool) -> bool:
        """Whether the evaluation was made of the models that are there; of the test split too, unless sealed."""
        if not self.run.finished("evaluation") or not self.run.best_model_card.exists():
            return False
        card = json.loads(self.run.best_model_card.read_text(encoding="utf-8"))
        if card["sha256"] != table.loc[table["winner"], "sha256"].iloc[0]:
            return False
        if not self.run.evaluation.exists():
            return sealed
        evaluation = json.loads(self.run.evaluation.read_text(encoding="utf-8"))
        return bool(evaluation["files"] == model_files(table, read_controls(self.run)))

    def _evaluation(self, sealed: bool) -> None:
        settings, table = self.request.settings, finalists.read_finalists(self.run)
        if self._evaluated(table, sealed):
            return
        self.run.unfinish("evaluation")
        for outdated in self.run.of_test:
            outdated.unlink(missing_ok=True)
        found, test = self._workers, self._test
        assert found is not None and test is not None
        inputs = EvaluationInputs(
            settings=settings,
            table=self._table,
            facts=self._facts,
            classes=self.request.source.classes,
            images=self._stored,
            finalists=table,
            baselines=read_controls(self.run),
            window=common_window(self._facts),
        )

        def call(function: Callable[..., Any], *arguments: Any) -> Any:
            return workers.run_alone(found, function, *arguments)

        with self._stage("evaluation"):
            self._live.stage(live.EVALUATING)
            decisions = decide(inputs, self.run, call, _provenance(self.run.read_run()))
            if sealed:
                where = in_output(self.run.path.parent)
                self.screen.line(f"The test split stays sealed; open it by: {typed('evaluate', self.run.name, *where)}")
                return
            self.screen.line("Evaluation: every choice is written down; the test split is opened")
            content = open_test(inputs, decisions, test, self.run, call)
            if content["ledger"]["this_split"] > 1 or content["ledger"]["overlapping"]:
                self.screen.line(f"  note: {content['ledger']['sentence']}")
            for refusal in content["refusals"]:
                self.screen.line(f"  note: not computed: {refusal['what']}: {refusal['reason']}.")
            for sentence in content["sentences"]:
                self.screen.line(f"  {sentence}")

    def _report(self) -> RunDir:
        from bench.report.html import render

        self._live.close()
        started = time.perf_counter()
        records = TrialLog.load(self.run).records

        def went(content: dict[str, Any]) -> None:
            jobs, checkpoints = content["hardware"]["jobs"], content.get("checkpoints", 0.0)
            content["activities"] = activities(records, content["seconds"], jobs, checkpoints)

        self.run.update_run(went)
        render(self.run)

        def note(content: dict[str, Any]) -> None:
            content["seconds"]["report"] = round(time.perf_counter() - started, 3)

        self.run.update_run(note)
        self._headline()
        return self.run

    def _headline(self) -> None:
        """The last lines: the verdict, as the report has it, and the scores of the model that was chosen."""
        from bench.report import summary
        from bench.report.read import files

        content, found = self.run.read_run(), files.read(self.run)
        winner = content["winner"]
        title = get_backbone(winner["backbone"]).title
        text = f"{title}: validation {self.metric.title} {winner['score']:.4f}"
        if self.run.evaluation.exists():
            evaluation = json.loads(self.run.evaluation.read_text(encoding="utf-8"))
            scores = evaluation["models"][winner["backbone"]]["metrics"]
            for name in ("auc", "accuracy"):
                score = scores[name]
                if score["value"] is not None:
                    low_high = f" [{score['low']:.3f}, {score['high']:.3f}]" if score["low"] is not None else ""
                    text += f", internal test {get_metric(name).title} {score['value']:.3f}{low_high}"
        self.screen.line("")
        self.screen.line(f"{summary.headline(found)}.")
        self.screen.line(f"{text}.")
        for banner in summary.banners(found):
            if banner.grave:
                self.screen.warning(f"{banner.title}. {banner.text}")
        if content["data"]["synthetic"]:
            self.screen.line("The images are synthetic: these scores say nothing about medicine.")
        if content["weights"]["kind"] == "random":
            self.screen.line("Random weights: this is not transfer learning.")
        self.screen.line(f"Report: {self.run.report}")
        self.screen.line(f"Model:  {self.run.best_model}")


def _raised(settings: RunSettings, search: Mapping[str, Any]) -> bool:
    """Whether the settings allow more than the finished ``search`` had."""
    limit = search.get("time_limit")
    longer = search["stopped_by"] == "time limit" and (settings.time_limit or math.inf) > (limit or math.inf)
    return bool(settings.budget > search["planned"] or longer)


def _provenance(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run": content["name"],
        "created": content["created"],
        "suite_version": content["suite_version"],
        "data": {key: content["data"][key] for key in ("source", "fingerprint", "synthetic")},
        "weights": {"kind": content["weights"]["kind"], "note": content["weights"]["note"]},
    }


def decode_all(source: ImageSet, sizes: Sequence[int], settings: RunSettings, screen: Screen) -> Stored:
    """The stored set, decoded under the user's eyes if it is not stored yet."""
    cache = settings.cache.absolute()
    window = Window.centered(*settings.window) if settings.window else None
    if not settings.verify and is_stored(source, sizes, settings.resize, cache, window):
        return store_images(source, sizes, cache, resize=settings.resize, window=window)
    title = "Images compared" if settings.verify else "Images decoded"
    with screen.counting(title, len(source.table)) as counting:
        how: dict[str, Any] = {"resize": settings.resize, "window": window, "verify": settings.verify}
        stored = store_images(source, sizes, cache, counting.advance, **how)
    if stored.changed:
        screen.line(
            f"  note: {stored.changed} files had changed although size and time had not; all were decoded again."
        )
    return stored


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
