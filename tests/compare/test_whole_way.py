"""The methods that go on to evaluated models: what they leave, what they are given, and how their times stand."""

import dataclasses
import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from toys import SPACE, toy_backbone, write_folder

from bench.compare import page, statistics
from bench.compare.methods import by_hand, suite_whole
from bench.compare.methods.by_hand import Model
from bench.compare.methods.experiment import OUTCOMES, SEARCHED, WholeWay
from bench.compare.methods.process import MethodRun
from bench.compare.methods.table import METHODS
from bench.compare.record import ComparisonRecord, Ended
from bench.models.weights import resolve_weights
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.stats.metrics import METRICS
from bench.trial import TrialConfig

SITE = Path(__file__).parent / "site"
FILES = ("scores.csv", "predictions.csv", "roc.csv", "roc.png", "calibration.csv", "calibration.png", "confusion.png")


def test_the_best_of_each_backbone_is_retrained() -> None:
    rows = pd.DataFrame(
        [
            {"auc": 0.7, **TrialConfig("toy", "none", learning_rate=0.01).columns()},
            {"auc": 0.9, **TrialConfig("toy2", "none", learning_rate=0.02).columns()},
            {"auc": 0.8, **TrialConfig("toy", "light", learning_rate=0.03).columns()},
            {"auc": None, **TrialConfig("toy3", "light", learning_rate=0.04).columns()},
        ]
    )
    found = by_hand.best_of_each_backbone(OUTCOMES.frame(rows.assign(method="by-hand", seed=0, trial=0, state="x")))
    assert [(config.backbone, config.learning_rate) for config in found] == [("toy2", 0.02), ("toy", 0.03)]


def made_up(n_classes: int, n_images: int = 60) -> tuple[list[Model], WholeWay]:
    rng = np.random.default_rng(0)
    labels = np.arange(n_images) % n_classes
    classes = tuple(f"class {index}" for index in range(n_classes))

    def scores(noise: float) -> np.ndarray:
        values = np.exp(2 * np.eye(n_classes)[labels] + noise * rng.normal(size=(n_images, n_classes)))
        return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)

    models = [Model("toy", 1, scores(9), scores(9)), Model("toy", 2, scores(0.1), scores(1))]
    return models, WholeWay({}, Path(), {}, np.arange(n_images), labels, classes, 2)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_scores_curves_and_matrix_are_left(n_classes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_hand, "DRAWS", 50)
    models, whole = made_up(n_classes)
    by_hand.evaluate(models, whole.labels, whole, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(FILES)
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["val_auc"].idxmax() == 1
    assert (table["test_auc_low"] < table["test_auc"]).all() and (table["test_auc"] < table["test_auc_high"]).all()
    predicted = pd.read_csv(tmp_path / "predictions.csv")
    assert len(predicted) == 2 * 2 * 60
    assert np.allclose(predicted.filter(like="prob_").sum(axis=1), 1, atol=1e-4)
    assert pd.read_csv(tmp_path / "roc.csv")["class"].nunique() == (1 if n_classes == 2 else 3)


ENDS = (
    Ended(method="suite-whole", seed=0, state="finished", seconds=100.0, search=40.0),
    Ended(method="by-hand", seed=0, state="finished", seconds=650.0, search=450.0),
    Ended(method="by-hand", seed=1, state="finished", seconds=600.0, search=400.0),
    Ended(method="by-hand", seed=2, state="failed", seconds=3.0),
    Ended(method="suite", seed=0, state="finished", seconds=50.0),
)


def test_times_to_the_end_stand_beside_each_other(tmp_path: Path) -> None:
    table = statistics.whole_way(ENDS)
    assert table["after"].tolist() == [60, 200, 200]
    assert table["ratio"].tolist()[:2] == [1, 6.5] and np.isnan(table["ratio"][2])
    assert statistics.whole_way_sentences(ENDS) == [
        "By hand, whole way, seed 0: 650 s to the end, 6.50 times as long as this suite."
    ]
    ComparisonRecord(name="toys", runs=ENDS).write(tmp_path)
    shown = page.render(tmp_path).read_text(encoding="utf-8")
    assert "The whole way: from the start" not in shown, "there is no trial in compare.csv"
    row = {**dict.fromkeys(OUTCOMES.names), "method": "by-hand", "seed": 0, "trial": 0, "state": "completed"}
    pd.DataFrame([{**row, "ended": 450.0, "core_seconds": 1.0, "auc": 0.9, "epochs": 2}]).to_csv(
        tmp_path / "compare.csv", index=False
    )
    shown = page.render(tmp_path).read_text(encoding="utf-8")
    assert "The whole way: from the start" in shown and "× 6.50" in shown


@pytest.mark.parametrize("seed", [0, 3])
def test_the_suite_s_whole_way_begins_with_the_weights_of_all_methods(
    tmp_path: Path, make_experiment, outcomes, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Those of seed 0, though its run is told another, and though weights of that seed lie in the cache."""
    shared, rows, found = tmp_path / "shared", [toy_backbone(), toy_backbone("toy2")], []
    first, third = (resolve_weights("random", rows, shared, seed).sha256 for seed in (0, 3))

    def begin(command: list[str]) -> SimpleNamespace:
        given = {name.removeprefix("--"): value for name, value in pairwise(command) if name.startswith("--")}
        found.append(resolve_weights("random", rows, Path(given["cache"]), int(given["seed"])).sha256)
        return SimpleNamespace(poll=lambda: 0, returncode=0)

    monkeypatch.setattr(suite_whole.subprocess, "Popen", begin)
    whole = WholeWay({}, shared, {}, np.arange(0), np.arange(0), ("a", "b"), 2)
    experiment = dataclasses.replace(make_experiment("suite-whole", seed=seed), whole=whole)
    experiment.scratch.mkdir()
    suite_whole.run(experiment, outcomes(experiment))
    assert found == [first] and first != third
    assert resolve_weights("random", rows, shared, 3).sha256 == third, "what is shared stays as it is"


def test_rows_of_a_run_are_taken_over_once(tmp_path: Path, make_experiment, outcomes) -> None:
    log = TrialLog(RunDir(tmp_path / suite_whole.RUN))
    told, known = outcomes(make_experiment("suite-whole")), set[int]()
    suite_whole._take_over(told, known)
    for number in (0, 1):
        metrics = dict.fromkeys(METRICS, 0.5 + number / 10)
        log.add(TrialRecord(number, "completed", "", "sampled", TrialConfig("toy"), metrics, 1, 2, 1.0, 1.0), [])
        suite_whole._take_over(told, known)
        suite_whole._take_over(told, known)
    assert not (tmp_path / SEARCHED).exists()
    RunDir(tmp_path / suite_whole.RUN).finish("search")
    suite_whole._take_over(told, known)
    assert (tmp_path / SEARCHED).exists()
    rows = pd.read_csv(tmp_path / OUTCOMES.file)
    assert rows["auc"].tolist() == [0.5, 0.6] and rows["method"].unique() == ["suite-whole"]


def test_the_end_of_the_search_is_noted_of_the_whole_way_alone(tmp_path: Path) -> None:
    for name, known in (("by-hand", 7.0), ("ray-tune", None)):
        run = MethodRun(tmp_path / name, METHODS[name], 0)
        run.begin_anew()
        row = {**dict.fromkeys(OUTCOMES.names), "method": name, "seed": 0, "trial": 0, "state": "completed"}
        pd.DataFrame([{**row, "ended": 7.0}]).to_csv(run.folder / OUTCOMES.file, index=False)
        assert run.end("time limit", 9.0).search is None, "it was searching still"
        (run.folder / SEARCHED).touch()
        assert run.end("finished", 9.0).search == known


def test_a_time_limit_after_the_search_is_no_time_of_the_search() -> None:
    row = {**dict.fromkeys(OUTCOMES.names), "method": "by-hand", "seed": 0, "trial": 0, "state": "completed"}
    trials = OUTCOMES.frame([{**row, "ended": 400.0, "core_seconds": 1.0, "auc": 0.9, "epochs": 2}])
    for search, wall in ((400.0, 400.0), (None, 720.0)):
        end = Ended(method="by-hand", seed=0, state="time limit", seconds=720.0, search=search, time_limit=720.0)
        assert statistics.runs(trials, 0.97, [end]).loc[0, ["wall", "trials_per_hour"]].tolist() == [wall, 3600 / wall]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison of both methods on toys."""
    root = tmp_path_factory.mktemp("whole")
    write_folder(root / "images", {"train": 40, "val": 50, "test": 20})
    (root / "space.yaml").write_text(SPACE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])}
    flags = ["--data", "images", "--space", "space.yaml", "--cache", "cache", "--output", "out", "--name", "toys"]
    flags += ["--weights", "random", "--image-size", "32", "--epochs", "2", "--budget", "2", "--jobs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "compare", *flags, "--methods", "by-hand,suite-whole"],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": os.pathsep.join([environment["PYTHONPATH"], str(Path.cwd())])},
        check=False,
        cwd=root,
    )
    logs = [log.read_text() for log in (root / "out" / "toys" / "runs").glob("*/log.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *logs])
    assert "times as long as this suite" in done.stdout
    return root / "out" / "toys"


@pytest.mark.thorough
@pytest.mark.end_to_end
def test_both_go_to_the_end(compared: Path) -> None:
    ends = {run["method"]: run for run in json.loads((compared / "compare.json").read_text())["runs"]}
    assert set(ends) == {"suite-whole", "by-hand"}
    for run in ends.values():
        assert run["state"] == "finished" and 0 < run["search"] < run["seconds"]
    rows = pd.read_csv(compared / "compare.csv")
    assert rows.groupby("method").size().to_dict() == {"by-hand": 2, "suite-whole": 2}
    assert rows["auc"].between(0, 1).all() and (rows["core_seconds"] > 1).all()
    assert any("1 trial at a time" in note for note in ends["by-hand"]["notes"]), "its search is plain Ray Tune's"
    assert 0.02 in set(rows.loc[rows["method"] == "by-hand", "config_learning_rate"]), "the space's point is tried"
    report = compared / "runs" / "suite-whole-0" / "run" / "report.html"
    assert report.exists()
    left = compared / "runs" / "by-hand-0" / by_hand.FOLDER
    assert set(FILES) < {path.name for path in left.iterdir()}
    backbones = rows[rows["method"] == "by-hand"]["config_backbone"].unique()
    names = {f"{name}-{seed}.h5" for name in backbones for seed in (1, 2, 3)}
    assert {path.name for path in (left / "models").iterdir()} == names
    predicted = pd.read_csv(left / "predictions.csv")
    tested = predicted[predicted["split"] == "test"]
    assert len(tested) == 40 * len(names)
    by_suite = pd.read_csv(report.parent / "predictions_test.csv")
    assert sorted(by_suite["label"]) == sorted(tested[tested["model"] == tested["model"].iloc[0]]["label"])
    assert (
        not list((compared / "runs").glob("*/scratch")) and "The whole way" in (compared / "compare.html").read_text()
    )
