"""The nested loop in a run: a fold's search and choice never see what it holds out, and what is done stays done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys

from bench import cluster
from bench.data.sources.open_source import folder_source
from bench.data.splits import OuterFold, outer_folds
from bench.models.backbones import get_backbone
from bench.run import messages
from bench.run import outer as outer_stage
from bench.run.documents import AuditedSplits, AuditRecord
from bench.run.folder import RunDir, write_text
from bench.run.outer import outer
from bench.run.plans import write_plan
from bench.run.record import RecordedSettings, RunRecord, SearchRecord, SplitRecord
from bench.run.stages import Stage
from bench.run.tables import OUTER, OUTER_PREDICTIONS
from bench.search import tune
from bench.search.space import parse_space
from bench.settings import make_settings
from bench.stats.metrics import METRICS
from bench.train.task import Task


class Loop:
    """A stage of the nested loop on the toy folder, in this process."""

    def __init__(self, folder: Path, task: Task, table: pd.DataFrame, only: int | None = None, **more: Any) -> None:
        self.said: list[str] = []
        self.said_live: list[str] = []
        self.task, self.run = task, RunDir(folder / "run")
        settings = make_settings(
            **{"name": "run", "output": folder, "outer": "2x1", "budget": 3, "repeats": 1, "bootstrap": 100, **more}
        )
        self.settings = settings
        space = parse_space("toys", toys.SPACE, ("toy",))
        table = table.assign(group=pd.factorize(table["patient_id"])[0], split_group=table["patient_id"])
        table["label"] = table["label"].where(table["split"] != "test", "")
        request = SimpleNamespace(
            run=self.run,
            settings=settings,
            space=space,
            backbones=(get_backbone("toy"),),
            source=SimpleNamespace(classes=["NORMAL", "PNEUMONIA"]),
        )
        screen = SimpleNamespace(line=self.said.append)
        quiet = dict.fromkeys(("begin", "planned", "job_began", "job_ended"), lambda *given: None)
        examined = SimpleNamespace(table=table, outer=tuple(outer_folds(table, *settings.outer_shape, 0))[:only])
        if not self.run.run.exists():
            self.run.write(RunRecord(name="run", settings=RecordedSettings(**settings.model_dump())))
            write_text(self.run.space, toys.SPACE)
            write_text(self.run.splits, "image\n")
        self.folds = examined.outer
        display = SimpleNamespace(screen=screen, forecast=None, **quiet)
        workers = cluster.Workers(1, 1, 0.0, 1, 0)
        page = SimpleNamespace(stage=self.said_live.append)
        self.stage = Stage(request, display, page, workers, examined, self.run.read())  # type: ignore[arg-type]

    def go(self) -> "Loop":
        outer(self.stage, self.task)
        return self

    @property
    def rows(self) -> pd.DataFrame:
        return pd.read_csv(self.run.outer)

    def trials(self, fold: str = "1-1") -> pd.DataFrame:
        return pd.read_csv(self.run.outer_folds / fold / "trials.csv")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, toy_table: None) -> Any:
    monkeypatch.setattr(cluster, "run_jobs", toys.jobs_here)
    monkeypatch.setattr(tune, "_one_round", toys.trials_here)
    yield
    cluster._trainer = None


def planted(task: Task, rows: Any, cache: Path) -> Task:
    """The task with other images and the other labels in some rows."""
    stored = task.images["toy"]
    images = np.array(stored.open())
    images[rows] = np.random.default_rng(9).integers(0, 256, images[rows].shape, dtype=np.uint8)
    np.save(cache / "planted.npy", images)
    other = replace(stored, file=cache / "planted.npy", fingerprint="planted")
    flipped = {
        split: np.where(np.isin(own, rows), 1 - task.labels[split], task.labels[split])
        for split, own in task.rows.items()
    }
    return replace(task, images=dict.fromkeys(task.images, other), labels=flipped)


def test_what_a_fold_holds_out_never_reaches_its_search_or_its_choice(
    tmp_path: Path, toy_folder: Path, make_task: Callable[..., Any], here: None
) -> None:
    """Held-out images become noise under the other label: nothing of the fold moves but its score."""
    table, task = folder_source(toy_folder).table, make_task(epochs=2)
    sound = Loop(tmp_path / "sound", task, table, only=1, folds=2).go()
    held_out = sound.folds[0].held_out
    cluster._trainer = None
    other = Loop(tmp_path / "planted", planted(task, held_out, tmp_path), table, only=1, folds=2).go()
    scores = [name for name in sound.trials() if name.startswith(("metric_", "config_", "state", "best_epoch"))]
    assert sound.trials()["metric_auc"].notna().sum() == 3
    pd.testing.assert_frame_equal(sound.trials()[scores], other.trials()[scores])
    chosen = ["backbone", "validation", "threshold", "best_epoch", "seed", "config_learning_rate"]
    pd.testing.assert_frame_equal(sound.rows[chosen], other.rows[chosen])
    assert sound.rows["metric_log_loss"].item() != pytest.approx(other.rows["metric_log_loss"].item())
    said = pd.read_csv(sound.run.outer_predictions)
    assert set(said["image"]) == set(table["image"].iloc[held_out])
    left = {path.name for path in (sound.run.outer_folds / "1-1").iterdir()}
    assert sound.rows["trainings"].item() == 3 + 1 + 2, "trials, the finalist, and its inner folds"
    assert left == {"trials.csv"}, "of a finished fold's search the table of its trials stays"


def test_finished_folds_are_passed_over_and_repeats_are_added(
    tmp_path: Path, toy_folder: Path, make_task: Callable[..., Any], here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, task = folder_source(toy_folder).table, make_task(epochs=1)
    begun: list[str] = []
    search = outer_stage._search

    def counted(loop: Any, fold: Any, *rest: Any) -> Any:
        begun.append(fold.name)
        if fold.name == "1-2" and begun.count("1-2") == 1:
            raise KeyboardInterrupt
        return search(loop, fold, *rest)

    monkeypatch.setattr(outer_stage, "_search", counted)
    first = Loop(tmp_path, task, table)
    with pytest.raises(KeyboardInterrupt):
        first.go()
    assert first.rows["fold"].tolist() == [1]
    found = first.run.read().outer
    assert found is not None and found.done == 1
    second = Loop(tmp_path, task, table).go()
    assert begun == ["1-1", "1-2", "1-2"], "a finished fold is not repeated"
    record = second.run.read()
    assert record.outer is not None and (record.outer.done, record.outer.folds, record.outer.budget) == (2, 2, 3)
    assert "outer.csv" in record.pinned and record.seconds["outer"] > 0
    assert {one.kind for one in record.timeline} == {"outer"}
    assert second.settings.no_test is False and not second.run.evaluation.exists()
    third = Loop(tmp_path, task, table).go()
    assert third.said == ["Outer folds: all 2 are finished already."]
    kept = third.rows
    fourth = Loop(tmp_path, task, table, outer="2x2").go()
    assert begun[3:] == ["2-1", "2-2"]
    pd.testing.assert_frame_equal(fourth.rows.iloc[:2], kept)
    assert any(line.startswith("The procedure: ROC AUC") for line in fourth.said)
    images = pd.read_csv(fourth.run.outer_predictions)
    images[images["fold"] * images["repeat"] != 4].to_csv(fourth.run.outer_predictions, index=False)
    fifth = Loop(tmp_path, task, table, outer="2x2").go()
    assert begun[5:] == ["2-2"] and len(fifth.trials("2-2")) == 3, "a fold whose images were lost is searched anew"
    assert "which are carried out again: 2-2." in fifth.said[0]


def test_a_fold_that_has_lost_its_epochs_is_searched_anew_with_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A study that tells of trials which are in no table would be refused at every resumption."""
    folder, found = RunDir(tmp_path / "outer" / "1-1"), list[str]()
    for path in (folder.trials, folder.study):
        write_text(path, "trial\n")

    def searched(*given: Any) -> None:
        found.extend(path.name for path in folder.path.iterdir())
        raise tune.SearchFailed

    monkeypatch.setattr(tune, "run_search", searched)
    monkeypatch.setattr(outer_stage, "replace", lambda task, **changes: task)
    monkeypatch.setattr("bench.search.plan.make_plan", lambda *given: SimpleNamespace(fixed=()))
    run = RunDir(tmp_path)
    run.write(RunRecord(name="run"))
    request = SimpleNamespace(space=None, backbones=())
    stage = SimpleNamespace(run=run, request=request, settings=make_settings(name="run"), workers=None)
    loop = SimpleNamespace(stage=stage, task=None, budget=3, display=SimpleNamespace(fold_has=lambda trials: None))
    with pytest.raises(tune.SearchFailed):
        outer_stage._search(loop, OuterFold(1, 1, np.array([0]), {}), folder, np.inf)  # type: ignore[arg-type]
    assert found == []


KEPT = "  note: the outer folds were searched with 3 trials each and keep that budget; that of the run is 50."


def test_folds_keep_the_budget_that_the_first_began_with(
    tmp_path: Path, toy_folder: Path, make_task: Callable[..., Any], here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then it is that of the run, which may grow; a loop that was interrupted before a fold has none yet."""
    table, task = folder_source(toy_folder).table, make_task(epochs=1)
    loop = Loop(tmp_path, task, table)

    def interrupted(*given: Any) -> Any:
        assert loop.run.read().settings.outer_budget == 3, "written down before the first fold begins"
        raise KeyboardInterrupt

    assert loop.run.read().settings.outer_budget is None
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(outer_stage, "_search", interrupted)
        loop.go()
    assert "each searched (3 trials)" in loop.said[0]
    settings = loop.run.read().settings
    assert settings.model_copy(update={"budget": 80}).trials_of_outer == 3
    write_plan(loop.run)
    assert len(loop.run.read().plans) == 1, "the plan named that number already"
    loop.run.update(search=SearchRecord(planned=3))
    larger = Loop(tmp_path, task, table, budget=80, outer_budget=3)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(outer_stage, "_search", interrupted)
        larger.go()
    assert larger.said[0] == KEPT.replace("50", "80"), "no fold is finished, and the budget is fixed all the same"


def test_a_run_killed_after_its_last_fold_is_written_down_when_it_goes_on(tmp_path: Path) -> None:
    said: list[str] = []
    run = finished_loop(tmp_path)
    assert run.read().outer is None and not run.read().pinned
    resumed(run, said.append, searched=40)
    assert said == [KEPT, "Outer folds: all 2 are finished already."]
    record = run.read()
    assert record.outer is not None and (record.outer.done, record.outer.chosen) == (2, {"vgg16": 2})
    assert record.outer.score == pytest.approx(0.75) and {"outer.csv", "outer_predictions.csv"} <= set(record.pinned)
    said.clear()
    resumed(run, said.append, searched=50)
    assert said == ["Outer folds: all 2 are finished already."] and run.read() == record, "the budget was not raised"


def finished_loop(folder: Path) -> RunDir:
    """A run folder with the rows of a 2x1 loop on four images, and nothing of it in run.json."""
    run, scores = RunDir(folder), dict.fromkeys((f"metric_{name}" for name in METRICS), 0.7)
    run.write(RunRecord(name="run", settings=RecordedSettings(name="run")))
    about = {"repeat": 1, "state": "completed", "backbone": "vgg16", "images": 2, "trainings": 4, "seconds": 1.0}
    OUTER.write(folder, [{**about, **scores, "fold": fold, "metric_auc": 0.65 + fold / 15} for fold in (1, 2)])
    images = [
        {"repeat": 1, "fold": 1 + number // 2, "image": f"{number}.png", "label": f"C{number % 2}"}
        | dict.fromkeys(("prob_C0", "prob_C1", "calibrated_C0", "calibrated_C1"), 0.5)
        for number in range(4)
    ]
    OUTER_PREDICTIONS.write(folder, OUTER_PREDICTIONS.frame(images))
    return run


def resumed(run: RunDir, say: Callable[[str], None], searched: int) -> None:
    """The stage of the loop in that run, whose own search had so many trials before it went on."""
    labels = np.array([0, 1, 0, 1])
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(4)], "patient_id": range(4)})
    table = table.assign(split="train", group=range(4), split_group=[str(number) for number in range(4)])
    folds = [OuterFold(1, fold, np.array([2 * fold - 2, 2 * fold - 1]), {}) for fold in (1, 2)]
    stage = SimpleNamespace(
        run=run,
        begun=RunRecord(search=SearchRecord(planned=searched)),
        settings=make_settings(name="run", outer="2x1", outer_budget=3),
        screen=SimpleNamespace(line=say),
        examined=SimpleNamespace(table=table, outer=folds),
        request=SimpleNamespace(source=SimpleNamespace(classes=["C0", "C1"])),
    )
    outer(stage, SimpleNamespace(labels_of=lambda rows: labels[rows], pool=np.arange(4), ordinal=False))  # type: ignore[arg-type]


def test_a_search_that_fails_is_a_row_and_the_time_limit_ends_the_loop(
    tmp_path: Path, toy_folder: Path, make_task: Callable[..., Any], here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, task = folder_source(toy_folder).table, make_task(epochs=1)

    def fails(*given: Any) -> str:
        raise tune.SearchFailed("All 3 trials failed")

    with monkeypatch.context() as patched:
        patched.setattr(tune, "run_search", fails)
        loop = Loop(tmp_path, task, table).go()
    assert loop.rows["state"].tolist() == ["failed", "failed"]
    assert loop.rows["reason"].str.contains("All 3 trials failed").all()
    assert any("2 outer folds came to nothing" in line for line in loop.said)

    def full(*given: Any) -> str:
        raise tune.SearchFailed("All 3 trials failed; the last: OSError: [Errno 28] No space left on device.")

    with monkeypatch.context() as patched, pytest.raises(tune.SearchFailed, match="No space left"):
        patched.setattr(tune, "run_search", full)
        loop = Loop(tmp_path, task, table)
        loop.go()
    assert len(loop.rows) == 0, "which ends the run, for it goes on once there is room"

    with monkeypatch.context() as patched:
        patched.setattr(tune, "run_search", lambda *given: "time limit")
        loop = Loop(tmp_path, task, table, time_limit=1000).go()
    found = loop.run.read().outer
    assert found is not None and (found.done, found.stopped_by) == (0, "time limit")
    loop.run.spend("outer", 2000)
    loop = Loop(tmp_path, task, table, time_limit=1000).go()
    assert not (loop.run.outer_folds / "1-1" / "trials.csv").exists(), "no fold is begun when the time is over"
    assert any("0 of 2 outer folds before the time limit" in line for line in loop.said)


@pytest.mark.parametrize(
    ("patients", "more", "synthetic", "of_a_class", "folds"),
    [
        (99, {}, False, 30, 5),
        (100, {}, False, 30, 0),
        (99, {"outer": "3x1"}, False, 30, 0),
        (99, {}, True, 30, 0),
        (99, {}, False, 4, 4),
        (99, {}, False, 2, 0),
        (99, {"folds": 4}, False, 5, 5),
        (99, {"folds": 4}, False, 4, 0),
    ],
)
def test_a_loop_that_is_possible_is_recommended_before_work_where_the_test_split_is_small(
    tmp_path: Path, patients: int, more: dict[str, Any], synthetic: bool, of_a_class: int, folds: int
) -> None:
    said: list[str] = []
    settings = make_settings(name="x", output=tmp_path, budget=50, repeats=5, **more)
    request = SimpleNamespace(settings=settings, source=SimpleNamespace(synthetic=synthetic), backbones=("a", "b", "c"))
    names = [f"p{number}" for number in range(of_a_class + 30)]
    table = pd.DataFrame({"label": ["sick"] * of_a_class + ["well"] * 30, "split_group": names, "group": names})
    table = table.assign(image=names, pixels=names, split=np.where(np.arange(len(names)) % 5, "train", "val"))
    request.table = table
    audit = AuditRecord(splits=AuditedSplits(used={"test": SplitRecord(images=200, patients=patients)}))
    examined = SimpleNamespace(table=table, audited=SimpleNamespace(audit=audit))
    forecast = SimpleNamespace(outer_fold=lambda: 360.0)
    messages._recommend_outer(SimpleNamespace(line=said.append), request, examined, forecast)  # type: ignore[arg-type]
    assert len(said) == bool(folds)
    if folds:
        assert f"the test split has 99 patients; --outer {folds}x2" in said[0]
        list(outer_folds(table, folds, 2, settings.split_seed))
    if folds and not more:
        assert f"up to {folds * 2 * 65} trainings, very roughly {folds * 12} min" in said[0]
