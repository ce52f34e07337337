"""The whole command on toy backbones and small images: run, resume, extend, evaluate, and what it leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys

from bench.cli import main
from bench.data.audit.audit import draw_splits
from bench.data.images.decode import decode, fit
from bench.data.sources.open_source import folder_source
from bench.finalists.seeds import model_files
from bench.run.courses import Curve, read_courses
from bench.run.folder import RunDir
from bench.run.request import resume
from bench.search import settled, tune
from bench.settings import make_settings

pytestmark = pytest.mark.end_to_end
ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(
    tmp_path: Path, toy_folder: Path, toy_table: None, shared_ray: None, monkeypatch: pytest.MonkeyPatch
) -> Any:
    """``command("run", ...)`` in a folder of its own, on the toy folder and space."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)

    def call(name: str, *flags: str) -> int:
        fixed = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "2"]
        fixed += ["--repeats", "1", "--cache", str(tmp_path / "cache")]
        fixed += [] if "toy" in flags else ["--no-learning-curve"]  # it is tried from end to end
        return main([name, *(fixed if name == "run" and "--resume" not in flags else []), *flags])

    return call


def trials(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "trials.csv", keep_default_na=False, na_values=[""])


def test_a_run_from_end_to_end(
    command: Any,
    blank_figures: None,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import keras
    from ray.air.execution._internal import RayActorManager

    started: list[Any] = []
    add = RayActorManager.add_actor
    monkeypatch.setattr(RayActorManager, "add_actor", lambda *one, **how: (started.append(one), add(*one, **how))[1])
    assert command("run", "--budget", "6", "--repeats", "2", "--name", "toy", "--no-test") == 0
    assert len(started) == json.loads((tmp_path / "reports/toy/run.json").read_text())["hardware"]["jobs"], (
        "Ray Tune's processes stay, though trials take less than the start of one"
    )
    folder = tmp_path / "reports" / "toy"
    screen = capfd.readouterr().out
    assert "not transfer learning" in screen
    assert "6 of 6 trials done" in screen
    for chatter in ("ray::", "(pid=", "WARNING", "Traceback", "2026-", "oneDNN"):
        assert chatter not in screen.replace(str(tmp_path), "")

    # the search: points first, then recipes, nothing twice
    table = trials(folder)
    assert len(table) == 6
    assert table["origin"].tolist()[:3] == ["point", "recipe", "recipe"]
    assert table["config_learning_rate"].iloc[0] == 0.02
    configs = table[[column for column in table if column.startswith("config_")]]
    assert not configs.duplicated().any()
    assert table["state"].isin(["completed", "pruned"]).all()
    epochs = pd.read_csv(folder / "epochs.csv")
    for row in table.itertuples():
        mine = epochs[(epochs["kind"] == "trial") & (epochs["name"] == str(row.trial))]
        phase = "finetune" if row.config_unfreeze_depth else "head"
        assert row.metric_auc == pytest.approx(mine.loc[mine["phase"] == phase, "metric_auc"].max())

    # the test split is sealed
    assert not (folder / "evaluation.json").exists()
    assert not (folder / "predictions_test.csv").exists()
    assert "test" not in json.loads((folder / "run.json").read_text())
    assert "sealed" in (folder / "report.html").read_text()
    before = json.loads((folder / "best_model.json").read_text())

    # ... until it is opened, once
    assert command("evaluate", "toy") == 0
    assert command("evaluate", "toy") == 2
    assert "open already" in capfd.readouterr().err
    evaluation = json.loads((folder / "evaluation.json").read_text())
    assert len(evaluation["opened"]) == 1
    assert json.loads((folder / "run.json").read_text())["settings"]["no_test"] is False
    assert command("run", "--resume", "toy", "--no-test") == 2
    assert "--no-test cannot seal it again" in capfd.readouterr().err

    # a damaged file of the evaluation is made again, in the same opening
    whole = (folder / "curves.csv").read_text()
    (folder / "curves.csv").write_text(whole.replace("1.0", "0.9", 1))
    assert command("run", "--resume", "toy") == 0
    assert "curves.csv; the evaluation is made again" in capfd.readouterr().out
    assert (folder / "curves.csv").read_text() == whole
    assert json.loads((folder / "evaluation.json").read_text())["opened"] == evaluation["opened"]
    after = json.loads((folder / "best_model.json").read_text())
    assert after["threshold"] == before["threshold"]
    assert after["calibration"] == before["calibration"]

    # plain Keras predicts what was written down, from the files themselves
    predictions = pd.read_csv(folder / "predictions_test.csv")
    assert len(predictions) == 16
    model = keras.models.load_model(folder / "best_model.h5")
    source = Path(json.loads((folder / "run.json").read_text())["settings"]["data"])
    images = [fit(decode((source / name).read_bytes()).image, toys.SIZE, "squash") for name in predictions["image"]]
    found = model.predict(np.stack(images).astype("float32"), verbose=0)
    np.testing.assert_allclose(found, predictions[["prob_NORMAL", "prob_PNEUMONIA"]], atol=1e-5)
    winner = evaluation["models"][evaluation["winner"]]
    assert np.sum(winner["confusion"]) == 16
    for score in winner["metrics"].values():
        assert score["value"] is not None
        assert score["low"] is score["high"] is None, "there are 8 patients"
    assert any("8 patients" in refusal["reason"] for refusal in evaluation["refusals"])
    assert evaluation["ledger"]["this_split"] == 1

    # finalists over seeds, baselines beside them, and all that is said of the winner, in files
    finalists = pd.read_csv(folder / "finalists.csv")
    assert all(sorted(rows["repeat"]) == [1, 2] for _, rows in finalists.groupby("backbone"))
    means = finalists.groupby("backbone")["metric_auc"].mean()
    assert means[evaluation["winner"]] == means.max()
    own = finalists[finalists["backbone"] == evaluation["winner"]]
    off = (own["metric_auc"] - own["metric_auc"].median()).abs()
    assert off[own["winner"]].item() == pytest.approx(off.min()), "of the seeds, that nearest the median is exported"
    courses = {course.curve: course for course in read_courses(RunDir(folder))}
    for row in table.itertuples():
        assert courses[Curve("trial", str(row.trial))].scores.shape[1:] == (32, 2)
    kinds = [curve.kind for curve in courses]
    assert kinds.count("finalist") == len(finalists) and kinds.count("size") == 6
    assert evaluation["selection"]["configurations"] == 6
    sizes = pd.read_csv(folder / "learning_curve.csv")
    assert sizes["share"].tolist() == [0.25, 0.5] * 3 + [1.0] * 2, "6 of 12 patients of each class, and 3; the finalist"
    assert sizes["metric_auc"].notna().all()
    baselines = pd.read_csv(folder / "baselines.csv")
    assert set(baselines["baseline"]) == {"recipe", "small_cnn", "majority", "metadata"}
    assert set(evaluation["models"]) == set(finalists["backbone"]) | set(
        baselines.query("state == 'completed'")["baseline"]
    )
    assert evaluation["models"]["majority"]["metrics"]["auc"]["value"] == 0.5
    every = pd.read_csv(folder / "predictions_models.csv")
    mine = every.query("model == @evaluation['winner'] and split == 'test' and repeat == @before['repeat']")
    np.testing.assert_allclose(mine["prob_NORMAL"], predictions["prob_NORMAL"])
    for name in (
        *("comparisons.csv", "calibration.json", "operating_points.csv", "prevalences.csv", "decision_curve.csv"),
        *("curves.csv", "subgroups.csv", "failures.csv", "failures.npz", "robustness.csv", "saliency.json"),
        *("saliency.npz", "thumbnails.npz", "predictions_val.csv"),
    ):
        assert (folder / name).stat().st_size > 0, name
    for file in folder.glob("*.csv"):
        assert "nan" not in file.read_text().lower().replace("finance", ""), file

    # it can be used, and reported again
    assert command("predict", "toy", str(source / predictions["image"].iloc[0])) == 0
    *_, header, line_of_run = capfd.readouterr().out.strip().splitlines()
    head, line = header.split(","), line_of_run.split(",")
    told, expected = dict(zip(head, line, strict=True)), predictions.iloc[0]
    for name in ("NORMAL", "PNEUMONIA"):
        assert float(told[f"raw_{name}"]) == pytest.approx(expected[f"prob_{name}"], abs=1e-5)
        assert float(told[f"probability_{name}"]) == pytest.approx(expected[f"calibrated_{name}"], abs=1e-5)
    called = expected["prob_PNEUMONIA"] >= after["threshold"]["value"]
    assert told["called"] == ("PNEUMONIA" if called else "NORMAL")

    # the file alone says the same, elsewhere
    shutil.copy(folder / "best_model.h5", alone := folder.parent / "copied.h5")
    assert command("predict", str(alone), str(source / predictions["image"].iloc[0])) == 0
    assert capfd.readouterr().out.strip().splitlines()[-1] == line_of_run
    # and is put back where it was removed
    kept = (folder / "best_model.h5").read_bytes()
    (folder / "best_model.h5").unlink()
    assert command("run", "--resume", "toy") == 0
    assert (folder / "best_model.h5").read_bytes() == kept
    assert json.loads((folder / "run.json").read_text())["test"]["opened"] == evaluation["opened"]
    capfd.readouterr()
    (folder / "report.html").unlink()
    assert command("report", "toy") == 0
    assert (folder / "report.html").stat().st_size > 50_000

    # a finished run can be extended: what is done stays as it is, and what was opened stays open
    capfd.readouterr()
    assert command("run", "--resume", "toy", "--budget", "8") == 0
    screen = capfd.readouterr().out
    longer = trials(folder)
    assert len(longer) == 8
    pd.testing.assert_frame_equal(longer.iloc[:6], table, check_dtype=False)
    assert not longer[[column for column in longer if column.startswith("config_")]].duplicated().any()
    hashes = model_files(pd.read_csv(folder / "finalists.csv"), pd.read_csv(folder / "baselines.csv"))
    last = json.loads((folder / "evaluation.json").read_text())
    assert last["files"] == hashes
    assert ("under other models (" in screen) is (hashes != evaluation["files"])
    opened = len(json.loads((folder / "run.json").read_text())["test"]["opened"])
    assert opened == 1 if hashes == evaluation["files"] else opened in (1, 2)
    winner = pd.read_csv(folder / "finalists.csv").query("winner")
    assert json.loads((folder / "best_model.json").read_text())["trained"] == winner["sha256"].item()
    # and doing it again does nothing
    stamp = (folder / "trials.csv").stat().st_mtime_ns, (folder / "finalists.csv").stat().st_mtime_ns
    assert command("run", "--resume", "toy") == 0
    assert ((folder / "trials.csv").stat().st_mtime_ns, (folder / "finalists.csv").stat().st_mtime_ns) == stamp
    assert command("run", "--resume", "toy", "--budget", "7") == 2


def test_a_run_on_a_faulty_folder(
    command: Any,
    briefly: None,
    tmp_path: Path,
    toy_folder: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faults are named and left out, what crosses leaves train, the run ends, and its splits serve another run."""
    monkeypatch.setattr(tune, "_one_round", toys.trials_here)
    faulty = tmp_path / "faulty"
    shutil.copytree(toy_folder, faulty)
    train, test = sorted((faulty / "train" / "NORMAL").iterdir()), sorted((faulty / "test" / "NORMAL").iterdir())
    train[0].write_bytes(train[0].read_bytes()[:100])
    train[1].write_bytes(b"")
    copy = train[2].with_name("IM-9001-0001.png")
    shutil.copy(test[0], copy)
    flags = ["--data", str(faulty), "--budget", "2", "--no-test", "--name"]
    assert command("run", *flags, "stopped") == 2
    refused = capfd.readouterr().err
    assert "2 of 49 images of class 'NORMAL' (4.1 %)" in refused
    assert "--keep-going" in refused
    assert not (tmp_path / "reports" / "stopped").exists()

    assert command("run", *flags, "faulty", "--keep-going") == 0
    folder = tmp_path / "reports" / "faulty"
    kinds = {finding["kind"] for finding in json.loads((folder / "audit.json").read_text())["findings"]}
    assert {"truncated", "empty", "exact", "moved"} <= kinds
    table = pd.read_csv(folder / "splits.csv", keep_default_na=False).set_index("image")
    assert len(table) == 97
    reasons = table.loc[table["split"] == "", "reason"].to_dict()
    assert set(reasons) == {path.relative_to(faulty).as_posix() for path in (train[0], train[1], copy)}
    assert reasons[copy.relative_to(faulty).as_posix()] == "the same pixels are also in test"
    assert "Truncated" in (folder / "report.html").read_text()

    # a resumed run keeps its splits, and another run can take them over
    assert resume(RunDir(folder), {}).table["split"].tolist() == table["split"].tolist()
    taken = make_settings(data=str(faulty), name="again", cache="cache", splits=folder / "splits.csv", seed=9)
    again, _ = draw_splits(folder_source(faulty), taken)
    assert again.set_index("image")["split"].to_dict() == table["split"].to_dict()


@pytest.mark.thorough
def test_a_settled_search_ends_before_its_budget_and_a_larger_one_goes_by_the_same_rule(
    command: Any, briefly: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, number in (("FEWEST", 6), ("FAIR", 2)):
        monkeypatch.setattr(settled, name, number)
    monkeypatch.setattr(settled.Rule, "standard_error", lambda *_: 1.0)  # nothing can beat any score by as much
    assert command("run", "--budget", "15", "--jobs", "1", "--until-settled", "--no-test", "--name", "toy") == 0
    folder = tmp_path / "reports" / "toy"
    table = trials(folder)
    assert 6 <= len(table) < 15
    assert table["origin"].isin(["point", "recipe"]).sum() == 3
    assert "note: the search ended before its budget: settled: that one of the" in capfd.readouterr().out

    search = json.loads((folder / "run.json").read_text())["search"]
    assert search["stopped_by"].startswith("settled: that one of the")
    assert (search["planned"], search["settled"]["trials"], search["settled"]["saved_trials"]) == (15, len(table), 0)
    assert "before all 15 trials of its budget had been run: settled: that one" in (folder / "report.html").read_text()

    for more in ([], ["--budget", "20"]):
        assert command("run", "--resume", "toy", *more) == 0
        assert len(trials(folder)) == len(table)
    search = json.loads((folder / "run.json").read_text())["search"]
    assert search["planned"] == 20
    assert search["stopped_by"].startswith("settled: that one of the")
    assert "--resume toy --no-until-settled" in capfd.readouterr().out

    assert command("run", "--resume", "toy", "--no-until-settled") == 0
    assert len(trials(folder)) == 20
    assert json.loads((folder / "run.json").read_text())["search"]["stopped_by"] == "budget"


def test_one_trial_at_a_time_repeats_exactly(command: Any, briefly: None, tmp_path: Path) -> None:
    tables = []
    for name in ("a", "b"):
        flags = [
            "--budget",
            "4",
            "--jobs",
            "1",
            "--seed",
            "3",
            "--no-test",
            "--precision",
            "float32",
            "--cache",
            str(tmp_path / f"cache-{name}"),
        ]
        assert command("run", *flags, "--name", name) == 0
        table = trials(tmp_path / "reports" / name)
        times = [column for column in table if column.startswith("seconds")]
        tables.append(table.drop(columns=[*times, "elapsed"]))
    pd.testing.assert_frame_equal(tables[0], tables[1], rtol=0, atol=1e-6)


def test_killed_in_the_middle_and_resumed(tmp_path: Path, toy_folder: Path) -> None:
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    script = tmp_path / "driver.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(toys.__file__).parent)!r})\n"
        "import toys\nfrom ray import cloudpickle\nfrom bench.models.backbones import BACKBONES\n"
        "from bench.cli import main\n"
        "cloudpickle.register_pickle_by_value(toys)\n"
        "BACKBONES.update(toy=toys.toy_backbone(), toy2=toys.toy_backbone('toy2'))\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    folder = tmp_path / "reports" / "killed"
    start = [sys.executable, str(script), "run"]
    flags = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "3", "--jobs", "1"]
    flags += [
        "--precision",
        "float32",
        "--budget",
        "5",
        "--name",
        "killed",
        "--repeats",
        "1",
        "--no-learning-curve",
        "--cache",
        str(tmp_path / "cache"),
    ]
    with (tmp_path / "log").open("w") as log:
        first = subprocess.Popen([*start, *flags], cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 180
        while not ((folder / "trials.csv").exists() and len(trials(folder)) >= 2):
            assert first.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    kept = trials(folder)
    assert len(kept) < 5
    done = subprocess.run(
        [*start, "--resume", "killed"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    table = trials(folder)
    assert len(table) == 5
    pd.testing.assert_frame_equal(
        table.iloc[: len(kept)], kept, check_dtype=False
    )  # nothing finished was lost or trained again
    assert not table[[column for column in table if column.startswith("config_")]].duplicated().any()
    assert table["origin"].tolist().count("point") == 1
    assert table["origin"].tolist().count("recipe") == 2
    assert len(json.loads((folder / "evaluation.json").read_text())["opened"]) == 1
    assert (folder / "report.html").exists()
