"""--also seconds in a run: what is measured and when, the plan, and a whole small run that is taken up again."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import toys

from bench.cli import main
from bench.cluster import Workers
from bench.errors import ConfigError
from bench.run import pipeline, stages
from bench.run.folder import RunDir, write_json, write_text
from bench.run.plans import write_plan
from bench.run.record import PrecisionRecord, RunRecord
from bench.search import tune
from bench.search.space import parse_space
from bench.settings import make_settings

WORKERS = Workers(1, 1, 0.0, 1, 0)
TIMED = {"toy": PrecisionRecord(measured={"prefix": {"float32": 2.5, "bfloat16": 1.0}})}


def begun(path: Path, precision: dict[str, PrecisionRecord]) -> Any:
    """The request of a run that has decided what it computes in."""
    run = RunDir(path / "toy")
    run.path.mkdir(parents=True)
    run.write(RunRecord(name="toy", settings={"also": "seconds"}, precision=precision))
    return SimpleNamespace(run=run, sizes={"toy": 32})


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(pipeline, "replace", lambda task, **changed: task)
    return SimpleNamespace(architectures={"toy": None})


@pytest.mark.parametrize("fixed", [False, True])
def test_what_was_timed_is_taken_else_it_is_measured_and_once(
    tmp_path: Path, task: Any, monkeypatch: pytest.MonkeyPatch, fixed: bool
) -> None:
    measured: list[str] = []
    monkeypatch.setattr(pipeline, "_measured", lambda run, *_: measured.append(run.name) or TIMED)
    request = begun(tmp_path, {"toy": PrecisionRecord()} if fixed else TIMED)
    for _ in range(2):
        pipeline._inference(request, WORKERS, task)
    found = request.run.read()
    assert measured == ["toy"] * fixed
    assert found.milliseconds == {"toy": 2.5}, "in float32, as exported models compute"
    assert found.inference.sizes == {"toy": 32} and found.inference.batch == 32 and found.inference.machine
    assert found.precision["toy"].measured == ({} if fixed else TIMED["toy"].measured)
    without = found.model_copy(update={"settings": found.settings.model_copy(update={"also": None})})
    assert without.milliseconds == {}


def test_what_cannot_be_measured_is_one_sentence(tmp_path: Path, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("no kernel for it")

    monkeypatch.setattr(pipeline, "_measured", fails)
    with pytest.raises(ConfigError, match=r"^--also seconds needs the time .* no kernel for it; .*--resume toy"):
        pipeline._inference(begun(tmp_path, {"toy": PrecisionRecord()}), WORKERS, task)


@pytest.mark.parametrize("also", [None, "seconds"])
def test_the_plan_holds_it_only_where_it_is_set(tmp_path: Path, also: str | None) -> None:
    run = RunDir(tmp_path)
    settings = make_settings(name="toy", cache=tmp_path, also=also).model_dump(mode="json")
    hashes = []
    for given in (settings, {name: value for name, value in settings.items() if name != "also"}):
        write_json(run.run, {"name": "toy", "settings": given})
        write_text(run.space, "epochs: 3\n")
        write_text(run.splits, "image\n")
        hashes.append(write_plan(run))
    assert (hashes[0] == hashes[1]) is (also is None), "a plan of an earlier version keeps its hash"


def test_nothing_but_seconds_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--also", "accuracy"]) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert "--also 'accuracy' is not possible" in said and "'seconds'" in said


def test_the_search_is_given_the_times(
    tmp_path: Path, task: Any, toy_table: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []

    class Enough(Exception): ...

    def search(plan: Any, *_: Any) -> Any:
        given.append(dict(plan.milliseconds))
        raise Enough

    monkeypatch.setattr(tune, "run_search", search)
    monkeypatch.setattr(stages, "SearchDisplay", lambda *_: SimpleNamespace(close=lambda: None, trials=None))
    for also in ("seconds", None):
        request = begun(tmp_path / str(also), TIMED)
        pipeline._inference(request, WORKERS, task)
        run = request.run
        write_text(run.space, toys.SPACE)
        write_text(run.splits, "image\n")
        run.change_settings(also=also)
        settings = make_settings(name="toy", cache=tmp_path, budget=3, also=also)
        request = SimpleNamespace(
            run=run, settings=settings, space=parse_space("toys", toys.SPACE), backbones=[toys.toy_backbone()]
        )
        nothing = SimpleNamespace(
            **dict.fromkeys(("knows", "begin", "stage", "watch", "renew", "line"), lambda *_: None),
            test=SimpleNamespace(set_aside=list),
        )
        nothing.screen = nothing
        stage = stages.Stage(request, nothing, nothing, WORKERS, nothing, run.read())
        with pytest.raises(Enough):
            stages.search(stage, task)
    assert given == [{"toy": 2.5}, {}]


@pytest.mark.thorough
@pytest.mark.end_to_end
def test_a_run_for_fast_ones_too_is_taken_up_with_what_it_began_with(
    tmp_path: Path,
    toy_folder: Path,
    briefly: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(tune, "_one_round", toys.trials_here)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    flags = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "1", "--budget", "3"]
    flags += ["--repeats", "1", "--cache", "cache", "--no-learning-curve", "--no-test", "--jobs", "1"]
    assert main(["run", *flags, "--precision", "float32", "--also", "seconds", "--name", "toy"]) == 0
    run = RunDir(tmp_path / "reports" / "toy")
    before = run.read().inference
    assert before is not None and set(before.milliseconds) == {"toy", "toy2"}
    assert "Pareto front on validation: Best: Toy" in capfd.readouterr().out
    assert "Best under X ms" in run.report.read_text(encoding="utf-8")
    run.study.unlink()
    assert main(["run", "--resume", "toy", "--budget", "4"]) == 0
    assert run.read().inference == before
    study = optuna.load_study(study_name="bench", storage=f"sqlite:///{run.study}")
    known = [one.values for one in study.trials if one.values]
    assert len(study.directions) == 2 and len(known) == 4
    assert {time for _, time in known} <= set(before.milliseconds.values())
    assert json.loads(run.run.read_text())["settings"]["also"] == "seconds"
    assert main(["run", "--resume", "toy", "--also", "seconds"]) == 2, "it is what the run began with"
