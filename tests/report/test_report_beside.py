"""The parts of the page on patients with several images and on what is set beside the winner."""

from pathlib import Path
from typing import Any

import pandas as pd
from report_outline import Outline

from bench.report.blocks import Html
from bench.report.page import Page
from bench.report.read.files import Evaluated, RunFiles, read
from bench.report.sections import beside
from bench.report.sections.winner import winner
from bench.report.templating import section
from bench.run.documents import (
    Cost,
    Estimate,
    EvaluationRecord,
    ExternalModel,
    ExternalRecord,
    FrozenPoint,
    ModelScores,
    PatientLevel,
    PatientScores,
    RuleScore,
    SampleDifference,
    SampleScores,
    SecondaryModel,
)
from bench.run.folder import RunDir, write_json

SCORES = ModelScores(metrics={"auc": Estimate(value=0.91, low=0.85, high=0.95)})
POINT = FrozenPoint(
    label="<sick>",
    threshold=0.37,
    sensitivity=Estimate(value=0.88, low=0.8, high=0.93),
    specificity=Estimate(value=0.77, low=0.7, high=0.84),
)
LEVEL = PatientLevel(
    rule="noisy-or",
    metric="auc",
    top=3,
    candidates=tuple(RuleScore(rule=rule, score=0.9, log_loss=0.3) for rule in ("mean", "maximum", "noisy-or", "top")),
    patients=50,
    several=30,
)
PATIENTS = PatientScores(
    decided=LEVEL, patients=60, several=40, left_out=2, left_out_images=5, scores=SCORES, after={"log_loss": 0.25},
    points=(POINT,),
)  # fmt: skip
ENSEMBLE = SecondaryModel(
    kind="ensemble",
    title="Ensemble of 2 trainings (VGG16 seeds 1 and 2)",
    metric="auc",
    winner=0.9,
    difference=Estimate(value=0.01, low=-0.002, high=0.022),
    scores=SCORES,
    points=(POINT,),
    cost=Cost(milliseconds=12.3, winner_milliseconds=10, time=1.23, megabytes=61, winner_megabytes=59, size=1.03),
    sentence="The ensemble is not shown to be worth its cost.",
)


def shown(name: str, tmp_path: Path, **found: Any) -> Outline:
    record = EvaluationRecord(winner="vgg16", images=200, models={"vgg16": SCORES}, **found)
    frozen = {"class": "<sick>", "point": "frozen", "threshold": 0.4}
    points = pd.DataFrame([frozen | {"measure": "sensitivity", "value": 0.8, "low": 0.7, "high": 0.9}])
    files = RunFiles(evaluation=record, evaluated=Evaluated(points=points))
    page = Page(RunDir(tmp_path), files, {})
    given = {"page": page, "files": files, "titles": {}, "metric": page.metric}
    build = {"by_patient": beside.by_patient, "secondary": beside.secondary}
    return Outline(f"<html>{section(name, **given, **build)}</html>")


def test_patients_stand_beside_images(tmp_path: Path) -> None:
    text = shown("patients", tmp_path, by_patient=PATIENTS).text
    for words in ("40 of 60 test patients have several images", "aggregated by noisy-or", "mean of the 3 largest 0.900",
                  "2 test patients (5 images) whose images have different labels are left out",
                  "the log loss by patient is 0.250", "0.850–0.950", "0.770", "<sick>"):  # fmt: skip
        assert words in text, words


def test_an_ensemble_is_shown_with_its_cost(tmp_path: Path) -> None:
    text = shown("secondary", tmp_path, secondary=(ENSEMBLE,)).text
    for words in (ENSEMBLE.title, ENSEMBLE.sentence, "+0.010", "−0.002 to +0.022", "1.2\xa0×", "best_ensemble.h5"):
        assert words in text, words


def test_what_is_not_there_is_said_or_left_out(tmp_path: Path) -> None:
    assert shown("patients", tmp_path).text.strip() == shown("secondary", tmp_path).text.strip() == ""
    alone = SecondaryModel(kind="ensemble", reason="why", sentence="There is no ensemble: why.")
    text = shown("secondary", tmp_path, secondary=(alone,)).text
    assert "There is no ensemble: why." in text and "best_ensemble.h5" not in text


def test_tests_on_other_data_are_listed_with_their_page(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    scored = SampleDifference(
        measure="auc",
        external=Estimate(value=0.9, low=0.88, high=0.92),
        internal=Estimate(value=0.95),
        difference=Estimate(value=-0.05, low=-0.08, high=-0.02),
    )
    sample = SampleScores(images=624, patients=452)
    for name, created, trained, found, path in (
        ("elsewhere", "2026-11-02", "chosen", (scored,), "best_model.h5"),
        ("<b>old</b>", "2026-11-01", "another", (), "best_model.h5"),
        ("both", "2026-11-01", "averaged", (), "best_ensemble.h5"),
    ):
        model = ExternalModel(trained=trained, path=f"reports/xray/{path}")
        record = ExternalRecord(name=name, created=created, model=model, external=sample, differences=found)
        folder = run.external / {"elsewhere": "first", "both": "third"}.get(name, "second")
        folder.mkdir(parents=True)
        write_json(folder / "external.json", record)
    (run.external / "torn").mkdir()
    (run.external / "torn" / "external.json").write_text("{")
    files = read(run)
    files.finalists = pd.DataFrame({"backbone": ["a", "b"], "winner": [True, False], "sha256": ["chosen", "other"]})
    page = Page(run, files, {})
    html = "".join(block.html for block in winner(page).blocks if isinstance(block, Html))
    text = " ".join(Outline(f"<html>{html}</html>").text.replace("\u00a0", " ").split())
    first = "ROC AUC 0.900 (0.880–0.920), on the internal test 0.950, difference −0.050 (−0.080 to −0.020)."
    last = "An earlier model of this run was tested. All of it: external/second/report.html."
    for words in (
        f"elsewhere, 624 images of 452 patients: {first} All of it: external/first/report.html.",
        f"<b>old</b>, 624 images of 452 patients. {last}",
        "both, 624 images of 452 patients. The ensemble was tested, best_ensemble.h5. All of it: external/third/",
        "external.json could not be read",
    ):
        assert words in text, text
