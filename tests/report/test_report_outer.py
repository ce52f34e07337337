"""What the report says of a nested loop, and what it recommends where the test split is small."""

from pathlib import Path
from typing import Any

import pytest
from report_run import edit_json, write_run

from bench.report import methods
from bench.report.html import render
from bench.report.page import Page
from bench.report.palette import looks
from bench.report.read import files
from bench.report.tables.outer import cost
from bench.run import tables
from bench.run.folder import RunDir
from bench.run.record import OuterRecord

FOUND = OuterRecord(
    folds=5, repeats=2, done=10, seed=7, budget=50, metric="auc", score=0.912, low=0.861, high=0.963, error=0.02, df=9,
    pooled=0.905, validation=0.951, chosen={"resnet50": 7, "vgg16": 3}, sensitivity=0.88, specificity=0.81,
    log_loss=0.41, calibrated=0.37, trainings=650, seconds=5000.0,
)  # fmt: skip


def with_loop(folder: Path, found: OuterRecord = FOUND, failed: int = 0) -> RunDir:
    run = write_run(folder / "looped", trials=12, image_side=16)
    edit_json(run.run, outer=found.model_dump(mode="json"))
    rows: list[dict[str, Any]] = [
        {
            "repeat": repeat, "fold": fold, "state": "completed", "backbone": "resnet50" if fold > 1 else "vgg16",
            "metric_auc": 0.9 + fold / 100, "validation": 0.95, "patients": 88, "images": 120, "trainings": 65,
            "threshold": 0.4, "sensitivity": 0.88, "specificity": 0.81, "seconds": 500.0,
        }
        for repeat in (1, 2)
        for fold in range(1, 6)
    ]  # fmt: skip
    for row in rows[:failed]:
        row |= {"state": "failed", "reason": "SearchFailed: memory ran out", "metric_auc": None, "backbone": ""}
    tables.OUTER.write(run.path, rows)
    return run


def page(run: RunDir) -> str:
    render(run)
    return " ".join(run.report.read_text(encoding="utf-8").split())


def test_the_procedure_stands_beside_the_scores_that_it_might_be_taken_for(tmp_path: Path, undrawn: None) -> None:
    told = page(with_loop(tmp_path))
    part = told[told.index(">The procedure as a whole<") : told.index(">Was tuning worth it?<")]
    assert "carried out anew 10 times, each time without one of 5 folds" in part
    assert "ROC AUC 0.912 (0.861–0.963)" in part and "80.0 % of them to learn from" in part
    for score in ("0.905", "0.951", "0.880", "0.810", "0.410", "0.370"):
        assert score in part
    assert "ResNet50 in 7 and VGG16 in 3 of 10 folds; the winner of this run, ResNet50, in 7" in part
    assert "The winner, on validation" in part and "The exported model, internal test" in part
    assert "Nadeau and Bengio 2003" in part
    assert "The outer folds. (10 rows)" in part
    assert "missing" not in part and "--outer 5x2" not in told
    assert told.count("carried out anew in 10 folds of a nested loop") >= 1, "also among the answers of CLAIM"


def test_what_is_lacking_is_said(tmp_path: Path, undrawn: None) -> None:
    found = FOUND.model_copy(update={"done": 4, "failed": 2, "low": None, "high": None, "reason": "so few"})
    told = page(with_loop(tmp_path, found.model_copy(update={"stopped_by": "time limit"}), failed=2))
    assert "2 outer folds came to nothing, and are left out of these numbers" in told
    assert "4 of 10 outer folds have ended (time limit)" in told and "--time-limit TIME" in told
    assert "There is no interval: so few." in told and "SearchFailed: memory ran out" in told


def test_a_loop_is_recommended_with_its_cost_where_the_test_split_is_small(tmp_path: Path, undrawn: None) -> None:
    run = write_run(tmp_path / "small", trials=12, image_side=16)

    def of_patients(number: int) -> files.RunFiles:
        about = files.read(run).about_data
        splits = {**about.splits, "test": about.splits["test"].model_copy(update={"patients": number})}
        edit_json(run.run, data=about.model_copy(update={"splits": splits}).model_dump(mode="json"))
        return files.read(run)

    assert cost(of_patients(100)) is None
    found = of_patients(99)
    expected, settings, trials, finalists = cost(found), found.record.settings, found.trials, found.finalists
    assert expected is not None and trials is not None and finalists is not None
    assert expected.trainings == 10 * (settings.budget + 3 * settings.repeats)
    once = trials[["seconds_filling", "seconds_tracing"]].sum(axis=1)
    seconds = (trials["seconds"] - once).sum() + finalists["seconds"].sum()
    assert expected.seconds == pytest.approx(10 * 0.8 * seconds / found.record.hardware.jobs)
    earlier = [{"hardware": {"jobs": 2}, "trials": 12, "until": 100.0}]
    timeline = [{"worker": 0, "kind": "finalist", "job": "one", "began": 0.0, "ended": 9.0}]
    edit_json(run.run, hardware={"jobs": 1}, earlier=earlier, timeline=timeline)
    resumed = cost(files.read(run))
    assert resumed is not None and resumed.seconds == pytest.approx(10 * 0.8 * seconds / 2), "two ran at a time then"
    edit_json(run.run, hardware={"jobs": 1}, earlier=[], timeline=[])
    told = page(run)
    again = f"--resume {run.name} --output {run.path.parent} --outer 5x2”"
    assert "The test split has 99 patients" in told and again in told
    assert f"up to {expected.trainings:,} trainings more, about" in told


@pytest.mark.parametrize(("of_a_class", "folds"), [(5, 5), (4, 4), (3, 3), (2, 0), (0, 0)])
def test_a_loop_that_would_be_refused_is_not_recommended(tmp_path: Path, of_a_class: int, folds: int) -> None:
    run = write_run(tmp_path / "small", trials=12, image_side=16)
    found = files.read(run)
    about, splits = found.about_data, found.splits
    assert splits is not None
    few = {**about.splits, "test": about.splits["test"].model_copy(update={"patients": 50})}
    edit_json(run.run, data=about.model_copy(update={"splits": few}).model_dump(mode="json"))
    pool, name = splits["split"].isin(["train", "val"]), splits["label"].iloc[0]
    kept = set(splits["patient_wide"][pool & (splits["label"] == name)].unique()[:of_a_class])
    splits = splits[~pool | (splits["label"] != name) & (of_a_class > 0) | splits["patient_wide"].isin(kept)]
    tables.SPLITS.write(run.path, splits)
    expected = cost(files.read(run))
    assert (expected.folds if expected else 0) == folds
    if expected:
        settings = found.record.settings
        assert expected.trainings == folds * 2 * (settings.budget + 3 * settings.repeats)


def test_the_methods_tell_of_the_loop_and_cite_its_interval_where_there_is_one(tmp_path: Path) -> None:
    def told(found: OuterRecord | None) -> str:
        run = write_run(tmp_path / "looped", trials=12, image_side=16)
        edit_json(run.run, outer=found.model_dump(mode="json") if found else None)
        read = files.read(run)
        methods.methods(Page(run, read, looks(read.backbones, read.titles)))
        return " ".join((run.path / methods.FILE).read_text(encoding="utf-8").split())

    text = told(FOUND)
    assert "repeated in 10 folds of a nested cross-validation" in text and "(5 folds, 2 draws, 50 trials each)" in text
    assert "the corrected resampled t [@nadeau2003]." in text
    assert "Inference for the Generalization Error" in (tmp_path / "looped" / methods.REFERENCES).read_text("utf-8")
    without = told(FOUND.model_copy(update={"done": 2, "low": None, "high": None}))
    assert "repeated in 2 folds of a nested" in without and "nadeau2003" not in without
    assert "nested" not in told(None) and "nested" not in told(FOUND.model_copy(update={"done": 0}))
