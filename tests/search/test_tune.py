"""The order of a search, and how an interrupted one is settled; the search itself is in test_pipeline.py."""

import contextlib
import re
import sqlite3
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
import toys
from optuna.trial import TrialState

from bench.cluster import Workers
from bench.errors import ConfigError
from bench.run.courses import read_courses
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search import searcher, tune
from bench.search.plan import (
    Plan,
    Planned,
    longest_first,
    make_plan,
    needs_as_much,
    once_more,
    remaining,
    to_try_again,
    too_large,
)
from bench.search.searcher import BUSY_SECONDS, STUDY, RecordingSearch, Rules
from bench.search.space import Space, parse_space
from bench.search.tune import run_search
from bench.settings import make_settings
from bench.stats.metrics import get_metric
from bench.trial import EpochRecord, TrialConfig


@pytest.fixture
def space(toy_table: None) -> Space:
    return parse_space("toys", toys.SPACE)


@pytest.fixture
def backbones() -> list[Any]:
    return [toys.toy_backbone(), toys.toy_backbone("toy2")]


def record(trial: int, config: TrialConfig, origin: str = "sampled", auc: float = 0.7) -> TrialRecord:
    metrics = dict.fromkeys(("auc", "pr_auc", "accuracy", "balanced_accuracy", "f1", "log_loss", "brier"), auc)
    return TrialRecord(trial, "completed", "", origin, config, metrics, 1, 1, 1.0, 1.0 + trial)


class Silent:
    def trial_started(self, trial: int, config: TrialConfig) -> None: ...
    def trial_scored(self, trial: int, score: float, epoch: int) -> None: ...
    def trial_ended(self, record: TrialRecord) -> None: ...
    def note(self, text: str) -> None: ...


def recording(space: Space, run: RunDir, seed: int = 0, jobs: int = 9) -> RecordingSearch:
    return RecordingSearch(Rules(space, "auc", epochs=3, seed=seed, jobs=jobs), TrialLog.load(run), Silent())


def result(epoch: int, auc: float, **more: Any) -> dict[str, Any]:
    metrics = record(0, TrialConfig("toy")).metrics or {}
    new = EpochRecord("head", epoch, 0.5, {**metrics, "auc": auc}, 0.1)
    best = tuple({**metrics, "auc": auc}.items())
    said = {"auc": auc, "epoch": epoch, "best_metrics": best, "best_epoch": epoch, "new_epochs": [new]}
    said |= {"new_scores": [np.full((3, 2), auc, np.float32)]}
    said |= {"spent": (("filling", 0.5 * epoch), ("tracing", 0.25)), "notes": (("toy 1", "the disk is full"),)}
    return {**said, "training_iteration": epoch, **more}


def last(epoch: int, auc: float) -> dict[str, Any]:
    """What a trial reports when it has come to its end."""
    return result(epoch, auc, new_epochs=[], new_scores=[], finished=True, training_iteration=epoch + 1)


def test_points_then_recipes_then_backbones_up_to_a_fifth(space: Space, backbones: list[Any]) -> None:
    plan = make_plan(space, backbones, budget=20)
    assert [item.origin for item in plan.items] == ["point", "recipe", "recipe", *["backbone"] * 5]
    for name in ("toy", "toy2"):
        assert sum(item.values["backbone"] == name for item in plan.items) == 20 // 5
    assert plan.notes == []


def test_a_recipe_that_is_among_the_points_is_not_repeated(toy_table: None, backbones: list[Any]) -> None:
    space = parse_space("toys", toys.SPACE)
    recipe = space.recipe(backbones[0])
    text = toys.SPACE.split("points:")[0] + f"points: [{recipe}]\n"
    plan = make_plan(parse_space("toys", text), backbones, budget=10)
    assert [item.origin for item in plan.items][:2] == ["point", "recipe"]
    assert plan.items[1].values["backbone"] == "toy2"


def test_a_point_that_leaves_out_single_choices_is_the_recipe_all_the_same(
    toy_table: None, backbones: list[Any]
) -> None:
    recipe = parse_space("toys", toys.SPACE).recipe(backbones[0])
    assert recipe["initialisation"] == "given"
    written = {
        name: value for name, value in recipe.items() if name not in ("initialisation", "ema_momentum", "schedule")
    }
    written.pop("batch_size"), written.pop("label_smoothing")  # of which the space has one value each
    space = parse_space("toys", toys.SPACE.split("points:")[0] + f"points: [{written}, {{backbone: toy}}]\n")
    plan = make_plan(space, backbones, budget=10)
    fixed = [(item.origin, item.values["backbone"]) for item in plan.items if item.origin != "backbone"]
    assert fixed == [("point", "toy"), ("point", "toy"), ("recipe", "toy2")]
    assert plan.fixed == 3
    assert Plan(space, [plan.items[0], Planned("recipe", recipe)]).fixed == 1, "one configuration"


def test_a_budget_of_the_points_tries_nothing_else(space: Space, backbones: list[Any]) -> None:
    plan = make_plan(space, backbones, budget=1)
    assert [item.origin for item in plan.items] == ["point"]


def test_a_budget_too_small_says_what_was_left_out(space: Space, backbones: list[Any]) -> None:
    plan = make_plan(space, backbones, budget=2)
    assert [item.origin for item in plan.items] == ["point", "recipe"]
    assert "toy2 (recipe)" in plan.notes[0]


def test_what_is_done_is_not_planned_again(space: Space, backbones: list[Any]) -> None:
    plan = make_plan(space, backbones, budget=20)
    point = TrialConfig.from_mapping(plan.items[0].values)
    drawn = TrialConfig("toy2", learning_rate=0.005)
    left = remaining(plan, [record(0, point, "point"), record(1, drawn, "backbone")])
    assert len(left) == len(plan.items) - 2
    assert all(item.origin != "point" for item in left)
    assert sum(item.values.get("backbone") == "toy2" and item.origin == "backbone" for item in left) == 2


@pytest.mark.usefixtures("study_in_memory")
def test_the_timeline_has_every_trial_at_its_worker(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path), jobs=2)
    log = search._table
    search.suggest("a"), search.suggest("b")
    assert (search.worker("a"), search.worker("b"), search.busy) == (0, 1, [0, 1])
    search.scored("b", result(1, 0.7))
    search.ended("b", last(1, 0.7))
    search.suggest("c")
    search.died("a", "")
    assert not search.is_running("a")
    search.suggest("d")
    search.close("stopped by the time limit")
    assert [one.worker for one in log.worked] == [1, 0, 1, 0]
    assert [one.job.split(",")[0] for one in log.worked] == ["trial 1", "trial 0", "trial 2", "trial 3"]
    assert all(one.kind == "trial" and one.began <= one.ended for one in log.worked)


@pytest.mark.usefixtures("study_in_memory")
def test_no_configuration_is_proposed_twice(tmp_path: Path, toy_table: None) -> None:
    tiny = parse_space("tiny", "parameters: {backbone: {choices: [toy]}, dropout: {choices: [0.0, 0.1, 0.2]}}")
    search = recording(tiny, RunDir(tmp_path))
    seen = []
    for number in range(3):
        config = search.suggest(f"t{number}")
        seen.append(config["dropout"])
        search.scored(f"t{number}", result(1, 0.7))
        search.ended(f"t{number}", last(1, 0.7))
    assert sorted(seen) == [0.0, 0.1, 0.2]
    assert search.suggest("t3") == "FINISHED"
    assert search.stopped_because == "every configuration of the space 'tiny' was tried"


CHOICES = """
parameters:
  backbone: {choices: [toy, toy2]}
  unfreeze_depth: {low: 0, high: 1}
  learning_rate: {choices: [1e-3, 1e-2]}
  finetune_factor: {choices: [0.01, 0.1], when: {unfreeze_depth: [1]}}
  batch_size: {choices: [8]}
"""
"""Six configurations of each backbone."""


def try_out(search: RecordingSearch, budget: int) -> list[dict[str, Any]]:
    """What a search proposes, one after another; the larger the learning rate of toy2, the better."""
    found = []
    for number in range(budget):
        values = search.suggest(f"t{number}")
        if values == "FINISHED":
            break
        found.append(values)
        auc = 0.6 + 0.1 * (values["backbone"] == "toy2") + 10 * values["learning_rate"]
        search.scored(f"t{number}", result(1, auc))
        search.ended(f"t{number}", last(1, auc))
    return found


@pytest.mark.usefixtures("study_in_memory")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_space_of_choices_is_tried_to_the_last_of_them(
    tmp_path: Path, toy_table: None, backbones: list[Any], seed: int
) -> None:
    space = parse_space("choices", CHOICES)
    search = recording(space, RunDir(tmp_path), seed)
    plan = make_plan(space, backbones, budget=15)
    search.enqueue(plan.items)
    found = try_out(search, 15)
    assert len({TrialConfig.from_mapping(one).key for one in found}) == len(found) == 12
    assert search.stopped_because == "every configuration of the space 'choices' was tried"
    origins = [(one.origin, one.config.backbone) for one in search._table.records]
    assert [origins.count((origin, "toy")) for origin in ("recipe", "backbone")] == [1, 15 // 5 - 1], "by plan"
    assert [origins.count((origin, "toy2")) for origin in ("recipe", "backbone")] == [1, 15 // 5 - 1]


@pytest.mark.usefixtures("study_in_memory")
def test_of_a_planned_backbone_only_its_own_are_tried_and_then_the_next(tmp_path: Path, toy_table: None) -> None:
    search = recording(parse_space("choices", CHOICES), RunDir(tmp_path), jobs=1)
    search.enqueue([Planned("backbone", {"backbone": "toy"})] * 8 + [Planned("backbone", {"backbone": "toy2"})])
    found = try_out(search, 7)
    assert sorted(one["backbone"] for one in found) == ["toy"] * 6 + ["toy2"]
    assert [one.origin for one in search._table.records] == ["backbone"] * 7
    asked = search._study.get_trials(deepcopy=False)
    assert len(asked) < 7 + 5 * (searcher.TRIES + 1), "few are asked for in vain"


@pytest.mark.usefixtures("study_in_memory")
def test_what_is_planned_is_not_drawn_before_its_turn(tmp_path: Path, toy_table: None) -> None:
    tiny = "parameters: {backbone: {choices: [toy]}, learning_rate: {choices: [1e-4, 1e-3]}, dropout: {choices: [0.0]}}"
    space = parse_space("tiny", tiny)
    for seed in range(4):
        (tmp_path / str(seed)).mkdir()
        search = recording(space, RunDir(tmp_path / str(seed)), seed, jobs=1)
        whole = {"backbone": "toy", "learning_rate": 1e-3}
        search.enqueue([Planned("backbone", {"backbone": "toy"}), Planned("recipe", whole)])
        assert [one["learning_rate"] for one in try_out(search, 2)] == [1e-4, 1e-3]
        assert [one.origin for one in search._table.records] == ["backbone", "recipe"]


@pytest.mark.usefixtures("study_in_memory")
def test_where_the_points_alone_are_tried_nothing_takes_the_place_of_one(tmp_path: Path, space: Space) -> None:
    log = TrialLog.load(RunDir(tmp_path))
    for trial in (0, 1):
        log.add(broken(trial, TrialConfig("toy", batch_size=8), "memory"), [])
    search = RecordingSearch(Rules(space, "auc", epochs=3, seed=0, jobs=9), log, Silent())
    search.only_planned = True
    search.enqueue([Planned("point", {"backbone": "toy"}), Planned("point", {"backbone": "toy2"})])
    assert [one["backbone"] for one in try_out(search, 2)] == ["toy2"]
    assert search.stopped_because == "every point of the space 'toys' was tried, or needs more memory than there is"


def test_the_three_ends_of_a_trial(tmp_path: Path, space: Space) -> None:
    run = RunDir(tmp_path)
    search = recording(space, run)
    for name in ("done", "weak", "broken", "dead"):
        search.suggest(name)
    search.scored("done", result(1, 0.8))
    search.scored("done", last(1, 0.8))
    search.ended("done", last(1, 0.8))
    search.scored("weak", result(1, 0.5))
    search.ended("weak", result(2, 0.6))  # Ray does not report a result at which it stops a trial
    search.ended("broken", {"failed": "the loss became nan in head epoch 1", "finished": True})
    told = tune._ForRay(search, Workers(1, 1, 0.0, 1, 0), get_metric("auc"))
    told.on_trial_complete("dead", error=True)  # then Ray tells why
    search.died("dead", "The actor died unexpectedly before finishing this task. pid: 1")
    records = TrialLog.load(run).records
    assert [one.state for one in records] == ["completed", "pruned", "failed", "failed"]
    assert [one.epochs for one in records] == [1, 2, 0, 0]
    assert records[1].metrics["auc"] == 0.6
    assert "after epoch 2" in records[1].reason
    assert "nan" in records[2].reason
    assert records[2].metrics is None
    assert [one.failure for one in records] == ["", "", "non-finite loss", "machine"]
    assert "SIGKILL" in records[3].reason and "may have run out" not in records[3].reason
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{run.study}")
    states = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.FAIL]
    assert [trial.state for trial in study.trials] == states
    assert study.trials[0].value == 0.8
    assert study.trials[1].value == 0.6  # of its last report


def test_what_a_trial_said_of_the_validation_images_is_kept_by_epoch(tmp_path: Path, space: Space) -> None:
    run = RunDir(tmp_path)
    search = recording(space, run)
    for name in ("a", "b", "c"):
        search.suggest(name)
    search.scored("a", result(1, 0.7))
    search.scored("a", result(2, 0.8))
    search.ended("a", last(2, 0.8))
    search.ended("b", {"failed": "no such layer", "finished": True})
    search.scored("c", result(1, 0.6))
    search.close("stopped by the time limit")
    found = {course.curve.name: course for course in read_courses(run)}
    assert {name: course.epochs for name, course in found.items()} == {"0": (1, 2), "2": (1,)}
    assert found["0"].scores.mean(axis=(1, 2)).tolist() == pytest.approx([0.7, 0.8])


def test_no_more_trials_run_than_there_are_jobs(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path), jobs=2)
    assert search.suggest("a")
    assert search.suggest("b")
    assert search.suggest("c") is None
    search.ended("a", last(1, 0.7) | {"new_epochs": result(1, 0.7)["new_epochs"], "finished": None})
    assert search.suggest("c")


def test_a_search_whose_first_trials_all_fail_is_given_up(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path))
    for name in ("a", "b", "c"):
        search.suggest(name)
        search.ended(name, {"failed": "no such layer", "finished": True})
    assert search.fatal == "no such layer"
    assert search.suggest("d") == "FINISHED"


@pytest.mark.usefixtures("study_in_memory")
def test_a_search_is_not_given_up_while_a_trial_runs_that_may_succeed(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path), jobs=4)
    for name in ("a", "b", "c", "d"):
        search.suggest(name)
    for name in ("a", "b", "c"):
        search.ended(name, {"failed": "the loss became nan in head epoch 1", "finished": True})
    assert search.fatal == ""
    assert search.suggest("e") is None, "nothing more is begun before it is known"
    search.scored("d", result(1, 0.7))
    assert search.suggest("e") not in (None, "FINISHED")
    search.ended("d", last(1, 0.7))
    search.ended("e", {"failed": "the loss became nan in head epoch 1", "finished": True})
    assert search.fatal == "" and search.suggest("f") != "FINISHED"


def in_turn(fails: Any, rounds: list[tuple[int, int]]) -> Any:
    """A round of Ray Tune whose trials end in the order in which they began; ``fails`` gives the kind of a failure."""

    def one_round(search: RecordingSearch, task: Any, workers: Any, scheduler: str, wanted: int, *_: Any) -> str:
        rounds.append((search.jobs, wanted))
        live: list[tuple[str, Any]] = []
        begun = 0

        def begin() -> None:
            nonlocal begun
            values = search.suggest(str(begun)) if begun < wanted else "FINISHED"
            if values is not None and values != "FINISHED":
                live.append((str(begun), values))
                begun += 1

        for _ in range(search.jobs):
            begin()
        while live:
            name, values = live.pop(0)
            if kind := fails(values, search):
                search.ended(name, {"failed": "so it was", "failure": kind, "finished": True})
            else:
                search.scored(name, result(1, 0.7))
                search.ended(name, last(1, 0.7))
            for _ in range(search.jobs - len(live)):
                begin()
        search.close("stopped")
        return search.stopped_because

    return one_round


def searched(tmp_path: Path, space: Space, backbones: list[Any], budget: int, jobs: int) -> tuple[str, TrialLog]:
    log = TrialLog.load(RunDir(tmp_path))
    task = SimpleNamespace(metric="auc", epochs=3, seed=0, backbones={one.name: one for one in backbones})
    settings = make_settings(name="x", budget=budget, cache=tmp_path)
    plan = make_plan(space, backbones, budget)
    workers = Workers(jobs, 1, 0.0, jobs, 0)
    return run_search(plan, task, workers, settings, log, Silent()), log  # type: ignore[arg-type]


@pytest.mark.usefixtures("study_in_memory")
@pytest.mark.parametrize("failure", ["memory", "machine", "non-finite loss"])
def test_a_search_goes_on_after_early_failures_and_tries_again_alone_what_the_machine_ended(
    tmp_path: Path, space: Space, backbones: list[Any], monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    left, rounds = [failure] * 3, list[tuple[int, int]]()
    monkeypatch.setattr(tune, "_one_round", in_turn(lambda *_: left.pop() if left else "", rounds))
    why, log = searched(tmp_path, space, backbones, budget=20, jobs=8)
    again = 0 if failure == "non-finite loss" else 3
    assert why == "budget"
    assert rounds == [(8, 20), *[(1, 3)] * bool(again)]
    assert [record.state for record in log.records].count("completed") == 17 + again
    assert len(log.current) == 20


@pytest.mark.usefixtures("study_in_memory")
@pytest.mark.parametrize("jobs", [1, 8])
def test_memory_that_suffices_for_nothing_is_found_out_by_trying_again_alone(
    tmp_path: Path, space: Space, backbones: list[Any], monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    rounds: list[tuple[int, int]] = []
    monkeypatch.setattr(tune, "_one_round", in_turn(lambda *_: "memory", rounds))
    with pytest.raises(tune.SearchFailed, match=r"trials failed, .* the last: so it was\. Fewer --jobs"):
        searched(tmp_path, space, backbones, budget=50, jobs=jobs)
    assert rounds[0] == (jobs, 50) and rounds[1][0] == 1
    assert len(TrialLog.load(RunDir(tmp_path)).records) <= 2 * jobs + 8, "not all 50, each of them twice"


@pytest.mark.usefixtures("study_in_memory")
def test_memory_that_suffices_for_one_alone_is_no_reason_to_give_up(
    tmp_path: Path, space: Space, backbones: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        tune, "_one_round", in_turn(lambda _, search: "memory" if search.jobs > 1 else "", rounds := [])
    )
    why, log = searched(tmp_path, space, backbones, budget=6, jobs=3)
    assert why == "budget"
    assert rounds == [(3, 6), (1, 5), (3, 1), (1, 1)], "three and the two beside them; the rest, and that alone"
    assert {record.state for record in log.current} == {"completed"}


def test_a_search_that_was_given_up_is_taken_up_again_at_the_same_budget(
    tmp_path: Path, space: Space, backbones: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune, "_one_round", in_turn(lambda *_: "error", []))
    with pytest.raises(tune.SearchFailed, match="All 3 trials failed"):
        searched(tmp_path, space, backbones, budget=9, jobs=1)
    monkeypatch.setattr(tune, "_one_round", in_turn(lambda *_: "", []))
    why, log = searched(tmp_path, space, backbones, budget=9, jobs=1)
    assert why == "budget" and len(log.current) == 9
    assert {record.state for record in log.current} == {"completed"}


def test_a_search_that_ended_before_its_time_is_not_counted_as_finished() -> None:
    from bench.run.record import SearchRecord
    from bench.run.stages import _raised

    settings = make_settings(name="x", budget=50)
    assert _raised(settings, SearchRecord(planned=50, stopped_by="no trial came to an end"))
    assert not _raised(settings, SearchRecord(planned=50, stopped_by="budget"))


def test_where_a_trials_time_went_is_kept_and_notes_are_said_once(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path))
    for name in ("a", "b"):
        search.suggest(name)
        search.scored(name, result(1, 0.7))
        search.scored(name, result(2, 0.7))
        search.ended(name, last(3, 0.7))
    assert search.notes == {"toy 1": "the disk is full"}
    kept = TrialLog.load(RunDir(tmp_path)).records[0]
    assert kept.spent == {"filling": 1.5, "tracing": 0.25}


def test_a_fixed_list_runs_the_longest_first_and_a_worker_stays_with_its_backbone(
    tmp_path: Path, toy_table: None, backbones: list[Any]
) -> None:
    points = [
        {"backbone": backbone, "augmentation": policy, "unfreeze_depth": depth, "learning_rate": 0.01, "dropout": 0.0}
        | ({"finetune_factor": 0.1} if depth else {})
        for backbone in ("toy", "toy2")
        for policy in ("none", "light")
        for depth in (0, 1, 2)
    ]
    listed = parse_space("listed", toys.SPACE.split("points:")[0] + f"points: {points}")
    plan = make_plan(listed, backbones, budget=len(points))
    assert plan.complete
    items = longest_first(plan.items, {backbone.name: backbone for backbone in backbones})
    assert [item.values["unfreeze_depth"] for item in items] == [2] * 4 + [1] * 4 + [0] * 4
    assert sorted(map(str, (dict(item.values) for item in items))) == sorted(map(str, points))
    search = recording(listed, RunDir(tmp_path), jobs=2)
    search.enqueue(items, any_order=True)
    ran: dict[str, list[tuple[str, int]]] = {"a": [], "b": []}
    for turn in range(6):
        for worker in ("a", "b"):
            found = search.suggest(f"{worker}{turn}")
            ran[worker].append((found["backbone"], found["unfreeze_depth"]))
        for worker in ("a", "b"):
            search.scored(f"{worker}{turn}", result(1, 0.7))
            search.ended(f"{worker}{turn}", last(2, 0.7))
    assert ran["a"] == [("toy", depth) for depth in (2, 2, 1, 1, 0, 0)]
    assert ran["b"] == [("toy2", depth) for depth in (2, 2, 1, 1, 0, 0)]


@pytest.mark.usefixtures("study_in_memory")
def test_what_is_planned_is_overtaken_by_a_few_at_most(tmp_path: Path, space: Space) -> None:
    search = recording(space, RunDir(tmp_path), jobs=1)
    names = ["toy", "toy2", *["toy"] * 6]
    search.enqueue([Planned("backbone", {"backbone": name}) for name in names])
    order = []
    for number in range(len(names)):
        order.append(search.suggest(f"t{number}")["backbone"])
        search.ended(f"t{number}", {"failed": "no matter", "finished": True})
        search.fatal = ""
    assert order == ["toy", "toy", "toy", "toy2", *["toy"] * 4]


def test_a_study_that_another_process_holds_is_waited_for(tmp_path: Path, space: Space) -> None:
    study: Any = recording(space, RunDir(tmp_path))._study
    with study._storage._backend.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1000 * BUSY_SECONDS


def test_a_study_that_stays_held_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searcher, "BUSY_SECONDS", 0)
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as holder:
        holder.execute("create table one (number)")
        holder.execute("begin exclusive")
        with pytest.raises(ConfigError, match=r"study\.db cannot be used \(database is locked\)"):
            searcher.sound(tmp_path / "study.db")


def test_a_study_that_cannot_be_reached_is_not_taken_for_a_damaged_one(
    tmp_path: Path, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording(space, RunDir(tmp_path))
    assert searcher.sound(tmp_path / "study.db")
    for error in (PermissionError(13, "Permission denied"), MemoryError()):
        caused = RuntimeError("raised during the commit")
        caused.__cause__ = error
        with monkeypatch.context() as patched, pytest.raises(ConfigError, match=r"study\.db cannot be used"):
            patched.setattr(searcher, "_read_through", lambda file, error=caused: (_ for _ in ()).throw(error))
            searcher.sound(tmp_path / "study.db")
    with monkeypatch.context() as patched, pytest.raises(OSError):
        full = OSError(28, "No space left on device")
        patched.setattr(searcher, "_read_through", lambda file: (_ for _ in ()).throw(full))
        searcher.sound(tmp_path / "study.db")


def test_an_interrupted_search_is_settled(tmp_path: Path, space: Space) -> None:
    run = RunDir(tmp_path)
    first = recording(space, run)
    first.enqueue([Planned("recipe", {"backbone": "toy2"}), Planned("backbone", {"backbone": "toy"})])
    told, running = first.suggest("told"), first.suggest("running")
    log = TrialLog.load(run)
    # the table was written, then the machine died before the study was told
    log.add(record(0, TrialConfig.from_mapping(told), "recipe", auc=0.9), [])
    first._study.enqueue_trial({"backbone": "toy2"})  # as if it had died just before this one was begun

    second = recording(space, run)
    interrupted = second.settle(log.records)
    assert [item.origin for item in interrupted] == ["backbone"]
    assert TrialConfig.from_mapping(interrupted[0].values) == TrialConfig.from_mapping(running)
    study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{run.study}")
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL, TrialState.FAIL]
    assert study.trials[0].value == 0.9
    second.enqueue(interrupted)
    assert TrialConfig.from_mapping(second.suggest("again")) == TrialConfig.from_mapping(running)


FLIPPED = {
    "a state": (b"COMPLETE", b"COMPLEUE"),
    "a name of Optuna's": (b"CategoricalDistribution", b"CategorhcalDistribution"),
    "a choice": (b'["toy", "toy2"]', b'["toy", "tox2"]'),
    "a parameter": (b"ema_momentum{", b"ema_Momentum{"),
    "an index": (b"\x01ema_momentum", b"\x01ema_momenuum"),
}
"""What one bit turns into what, where SQLite's quick check sees nothing."""


@pytest.mark.parametrize("loss", ["gone", "empty", "cut short", "overwritten", *FLIPPED])
def test_a_study_that_was_lost_is_made_again_from_the_table(tmp_path: Path, space: Space, loss: str) -> None:
    run = RunDir(tmp_path)
    first = recording(space, run)
    for number in range(6):
        first.suggest(f"t{number}")
        first.scored(f"t{number}", result(1, 0.5 + 0.05 * number))
        first.ended(
            f"t{number}", last(1, 0.5 + 0.05 * number) if number != 3 else {"failed": "no memory", "failure": "memory"}
        )
    log = TrialLog.load(run)

    def told() -> list[Any]:
        study = optuna.load_study(study_name=STUDY, storage=f"sqlite:///{run.study}")
        return [
            (trial.state, trial.value, trial.params, trial.distributions, trial.user_attrs["trial"], trial.last_step)
            for trial in study.trials
        ]

    before, content = told(), run.study.read_bytes()
    assert len(before) == len(log.records) == 6
    del first
    if loss == "gone":
        run.study.unlink()
    else:
        half = content[: len(content) // 2]
        damaged = {"empty": b"", "cut short": half, "overwritten": half.ljust(len(content), b"\xff")}
        run.study.write_bytes(damaged[loss] if loss in damaged else flipped(content, *FLIPPED[loss]))
    said: list[str] = []
    watcher = Silent()
    watcher.note = said.append  # type: ignore[method-assign]
    again = RecordingSearch(Rules(space, "auc", epochs=3, seed=0, jobs=9), log, watcher)
    assert again.settle(log.records) == []
    after = told()
    assert [one[:3] + one[4:5] for one in after] == [one[:3] + one[4:5] for one in before]
    assert [one[3] for one in after] == [one[3] for one in before], "distributions, without which nothing is learnt"
    assert [one[5] for one in after if one[0] != TrialState.FAIL] == [1] * 5
    assert bool(said) == (run.path / "study.damaged.db").exists() == (loss not in ("gone", "empty"))
    assert again.settle(log.records) == [] and len(told()) == 6, "and once"


def flipped(content: bytes, old: bytes, new: bytes) -> bytes:
    """``content`` with the last ``old`` in it turned into ``new``."""
    before, found, after = content.rpartition(old)
    assert found and len(old) == len(new)
    return before + new + after


def test_the_same_seed_proposes_the_same(tmp_path: Path, space: Space) -> None:
    def proposals(folder: Path, seed: int) -> list[dict[str, Any]]:
        folder.mkdir()
        search = recording(space, RunDir(folder), seed)
        found = []
        for number in range(14):
            found.append(search.suggest(f"t{number}"))
            score = 0.5 + 0.01 * number
            search.scored(f"t{number}", result(1, score))
            search.ended(f"t{number}", last(1, score))
        return found

    assert proposals(tmp_path / "a", 3) == proposals(tmp_path / "b", 3)
    assert proposals(tmp_path / "c", 4) != proposals(tmp_path / "d", 3)


def test_the_recipe_lies_in_the_space(space: Space, backbones: list[Any]) -> None:
    for backbone in backbones:
        recipe = space.recipe(backbone)
        assert all(space[name].contains(value) for name, value in recipe.items())
        assert asdict(TrialConfig.from_mapping(recipe))["backbone"] == backbone.name


def broken(trial: int, config: TrialConfig, failure: str) -> TrialRecord:
    return TrialRecord(trial, "failed", "so it was", "sampled", config, None, None, 0, 1.0, 1.0 + trial, {}, failure)


@pytest.mark.parametrize(("failure", "again"), [("machine", 1), ("memory", 1), ("error", 0), ("non-finite loss", 0)])
def test_what_the_machine_ended_is_tried_again_once_in_a_search_and_once_more_when_it_is_resumed(
    failure: str, again: int
) -> None:
    good, bad = record(0, TrialConfig("toy")), TrialConfig("toy2")
    records = [good, broken(1, bad, failure)]
    assert [one.trial for one in to_try_again(records, before=0)] == [1] * again
    records.append(broken(2, bad, failure))
    assert to_try_again(records, before=0) == [], "not for ever"
    assert [one.trial for one in to_try_again(records)] == [2] * again, "resumed"
    records.append(record(3, bad))
    assert to_try_again(records) == [], "it has succeeded"


def test_what_needs_as_much_memory_as_what_died_of_it_twice_waits_until_that_has_succeeded() -> None:
    good, small, large = TrialConfig("toy2"), TrialConfig("toy", batch_size=8), TrialConfig("toy", batch_size=16)
    records = [record(0, good), broken(1, large, "memory"), broken(2, small, "memory")]
    assert too_large(records) == [] and [one.trial for one in to_try_again(records)] == [1, 2]
    records.append(broken(3, small, "memory"))
    assert too_large(records) == [small]
    assert [one.trial for one in to_try_again(records)] == [3], "resumed, perhaps with more memory"
    records.append(record(4, small))
    assert too_large(records) == [] and [one.trial for one in to_try_again(records)] == [1]


@pytest.mark.parametrize(
    ("other", "as_much"),
    [
        ({"batch_size": 16}, True),
        ({"unfreeze_depth": 2, "finetune_factor": 0.1, "learning_rate": 0.02}, True),
        ({"batch_size": 4, "unfreeze_depth": 2, "finetune_factor": 0.1}, False),
        ({"unfreeze_depth": 0, "finetune_factor": None}, False),
        ({"backbone": "toy2", "batch_size": 16}, False),
    ],
)
def test_memory_goes_by_backbone_depth_and_batch(other: dict[str, Any], as_much: bool) -> None:
    died = {"backbone": "toy", "unfreeze_depth": 1, "finetune_factor": 0.1, "batch_size": 8}
    assert needs_as_much(TrialConfig(**(died | other)), TrialConfig(**died)) == as_much


@pytest.mark.usefixtures("study_in_memory")
def test_a_search_proposes_nothing_that_is_too_large_and_says_so_once(tmp_path: Path, space: Space) -> None:
    log, notes = TrialLog.load(RunDir(tmp_path)), []
    for trial in (0, 1):
        log.add(broken(trial, TrialConfig("toy", batch_size=8), "memory"), [])
    watcher = Silent()
    watcher.note = notes.append  # type: ignore[method-assign]
    search = RecordingSearch(Rules(space, "auc", epochs=3, seed=0, jobs=9), log, watcher)
    search.enqueue([Planned("space", {"backbone": "toy", "unfreeze_depth": 0, "batch_size": 8})])
    assert {search.suggest(str(number))["backbone"] for number in range(6)} == {"toy2"}
    assert len(notes) == 1 and "memory did not suffice twice for toy at unfreeze depth 0" in notes[0]


@pytest.mark.parametrize("failure", ["machine", "memory", "error", "non-finite loss"])
def test_all_is_tried_again_when_a_search_is_resumed_of_which_nothing_succeeded(failure: str) -> None:
    first, second = TrialConfig("toy"), TrialConfig("toy2")
    records = [broken(0, first, failure), broken(1, second, failure)]
    assert [one.trial for one in to_try_again(records)] == [0, 1]
    records += [record(2, first), broken(3, second, failure)]
    assert [one.trial for one in to_try_again(records, before=2)] == ([3] if failure in ("machine", "memory") else [])


def test_a_configuration_that_is_tried_again_is_the_very_same_under_a_new_number(tmp_path: Path, space: Space) -> None:
    run = RunDir(tmp_path)
    first = recording(space, run)
    config = first.suggest("killed")
    first.died("killed", "The actor died unexpectedly before finishing this task. pid: 1")
    assert TrialLog.load(run).records[0].failure == "machine"
    log = TrialLog.load(run)
    again = recording(space, run)
    again.enqueue(again.forget(to_try_again(log.records)))
    assert again.suggest("again") == config
    again.scored("again", result(1, 0.8))
    again.ended("again", last(1, 0.8))
    log = TrialLog.load(run)
    assert [(one.trial, one.state, one.origin) for one in log.records] == [
        (0, "failed", "sampled"),
        (1, "completed", "sampled"),
    ]
    assert [one.trial for one in log.current] == [1]
    assert once_more(log.records[0]).values["backbone"] == config["backbone"]


@pytest.mark.usefixtures("study_in_memory")
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_trial_that_is_tried_again_takes_one_place_of_the_plan(
    tmp_path: Path, space: Space, backbones: list[Any], monkeypatch: pytest.MonkeyPatch, interrupted: bool
) -> None:
    (tmp_path / "other").mkdir()
    lost = TrialConfig.from_mapping(recording(space, RunDir(tmp_path / "other")).suggest("any"))
    run = RunDir(tmp_path)
    log = TrialLog.load(run)
    log.add(record(0, replace(lost, label_smoothing=0.01)), [])
    log.add(replace(broken(1, lost, "machine"), origin="backbone"), [])
    if interrupted:  # while it was tried again
        search = recording(space, run)
        search.enqueue(search.forget(to_try_again(log.records)))
        search.suggest("interrupted")
    else:
        log.add(record(2, lost, "backbone"), [])
    asked: list[Planned] = []

    def one_round(search: RecordingSearch, *_: Any) -> str:
        asked.extend(search._planned)
        return "time limit"

    monkeypatch.setattr(tune, "_one_round", one_round)
    plan = Plan(space, [Planned("backbone", {"backbone": lost.backbone})] * 3)
    task = SimpleNamespace(metric="auc", epochs=3, seed=0, backbones={one.name: one for one in backbones})
    settings = make_settings(name="x", budget=20, scheduler="none", cache=tmp_path)
    run_search(plan, task, Workers(1, 1, 0.0, 1, 0), settings, log, Silent())  # type: ignore[arg-type]
    whole = [one for one in asked if "dropout" in one.values]
    assert len(whole) == int(interrupted)
    assert len(asked) == (3 if interrupted else 2), "three in the plan, one of which was tried"


def test_without_being_told_to_nothing_that_failed_is_proposed_again(tmp_path: Path, toy_table: None) -> None:
    tiny = parse_space("tiny", "parameters: {backbone: {choices: [toy]}, dropout: {choices: [0.0]}}")
    search = recording(tiny, RunDir(tmp_path))
    search.suggest("a")
    search.died("a", "")
    assert recording(tiny, RunDir(tmp_path)).suggest("b") == "FINISHED"


@pytest.mark.parametrize(("kept", "named"), [(3, "3"), (1, "1, 2 and 3"), (0, "0, 1, 2 and 3")])
def test_trials_that_the_table_has_lost_are_named(tmp_path: Path, space: Space, kept: int, named: str) -> None:
    """The table is written before the study: it is damaged, although each of its rows is whole."""
    run = RunDir(tmp_path)
    search = recording(space, run)
    for number in range(4):
        search.suggest(f"t{number}")
        search.scored(f"t{number}", result(1, 0.6))
        search.ended(f"t{number}", last(1, 0.6))
    del search
    run.trials.write_text("".join(run.trials.read_text().splitlines(keepends=True)[: kept + 1]))
    if not kept:
        run.trials.unlink()
    said = f"{run.trials} lacks trials that {run.study} has finished ({named}): "
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        recording(space, run).settle(TrialLog.load(run).records)
    run.study.unlink()
    log = TrialLog.load(run)
    assert recording(space, run).settle(log.records) == [] and len(log.records) == kept


@pytest.mark.parametrize("end", ["completed", "pruned"])
def test_a_score_that_the_study_does_not_know_is_told(tmp_path: Path, space: Space, end: str) -> None:
    search = recording(space, RunDir(tmp_path))
    search.suggest("a")
    search.scored("a", result(1, 0.65 if end == "pruned" else 0.75))
    search.ended("a", result(2, 0.75) if end == "pruned" else last(1, 0.75))
    log = TrialLog.load(RunDir(tmp_path))
    assert [one.state for one in log.records] == [end]
    assert recording(space, RunDir(tmp_path)).settle(log.records) == []
    flipped = [replace(one, metrics={**(one.metrics or {}), "auc": 0.85}) for one in log.records]
    said = f"{log.run.trials} says auc 0.85 for trial 0, {log.run.study} 0.75: one of them is damaged"
    with pytest.raises(ConfigError, match=f"^{re.escape(said)}"):
        recording(space, RunDir(tmp_path)).settle(flipped)
