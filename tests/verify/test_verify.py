"""`verify` agrees with a run that is whole, and names what does not agree in one that is not."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from made import make
from scipy.special import expit
from scipy.stats import t
from statsmodels.stats.multitest import multipletests

from bench.cli import main
from bench.evaluation.calibration import _judged, calibration
from bench.evaluation.retrained import _expect
from bench.run.documents import CalibrationRecord, Estimate
from bench.run.folder import write_json
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.calibration import choose_map
from bench.stats.conformal import conformal_scores
from bench.stats.contrast import Contrast
from bench.stats.predictions import Predictions
from bench.verify import calibrated, conformal, integrity, verdicts
from bench.verify.command import checks, told, verified
from bench.verify.reading import Folder, NotThere, Place, Predicted, Tally
from bench.verify.resampled import Redrawn, check_ends, redrawn
from bench.verify.scores import SCORES
from bench.verify.weighted import metrics

GOLDEN = Path(__file__).parents[1] / "run" / "golden"
EVALUATION = "evaluation.json"
Plant = Callable[[Path], object]
Change = Callable[[Any], object]


def cell(name: str, column: str, value: Any, row: int | str = 0) -> Plant:
    """Another value in a cell of a CSV file: of a row by its number, or the first that is marked in a column."""

    def plant(folder: Path) -> None:
        table = pd.read_csv(folder / name, keep_default_na=False, dtype=str)
        place = row if isinstance(row, int) else int((table[row] == "True").to_numpy().argmax())
        table.loc[place, column] = str(value(table.loc[place, column]) if callable(value) else value)
        table.to_csv(folder / name, index=False)

    return plant


def shifted(by: float) -> Callable[[str], float]:
    return lambda text: float(text) + by


def entry(*place: Any, by: float = 0.01, of: str = EVALUATION) -> Plant:
    """Another number in a JSON document."""

    def plant(folder: Path) -> None:
        content = json.loads((folder / of).read_text())
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] += by
        (folder / of).write_text(json.dumps(content))

    return plant


def put(*place: Any, value: Any, of: str = EVALUATION) -> Plant:
    """Another value in a JSON document; a function is given the old one."""

    def plant(folder: Path) -> None:
        content = json.loads((folder / of).read_text())
        inner = content
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = value(inner[place[-1]]) if callable(value) else value
        (folder / of).write_text(json.dumps(content))

    return plant


def exchanged(old: str, new: str) -> Callable[[str], str]:
    """Other words in a text that has them."""

    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def shared_patient(folder: Path) -> None:
    table = pd.read_csv(folder / "splits.csv", keep_default_na=False)
    table.loc[table["split"] == "test", "patient"] = table.loc[table["split"] == "train", "patient"].iloc[0]
    table.to_csv(folder / "splits.csv", index=False)


def other_patients(name: str) -> Plant:
    """Every image its own patient, in one file."""

    def plant(folder: Path) -> None:
        table = pd.read_csv(folder / name, keep_default_na=False, dtype=str)
        table.assign(patient=table["image"]).to_csv(folder / name, index=False)

    return plant


def dropped(name: str, rows: slice) -> Plant:
    """Rows that are no longer there."""

    def plant(folder: Path) -> None:
        table = pd.read_csv(folder / name, keep_default_na=False, dtype=str)
        table.drop(table.index[rows]).to_csv(folder / name, index=False)

    return plant


def all_trials(column: str, value: str) -> Plant:
    """Another configuration of every trial."""

    def plant(folder: Path) -> None:
        table = pd.read_csv(folder / "trials.csv", keep_default_na=False, dtype=str)
        table.assign(**{column: value}).to_csv(folder / "trials.csv", index=False)

    return plant


def cut_short(folder: Path) -> None:
    (folder / "curves.csv").write_text("model,class\ntoy,A,B,C\n")


MODEL = ("models", "toy")
PLANTED: dict[str, tuple[str, Plant]] = {
    "a metric": ("scores of models", entry(*MODEL, "metrics", "brier", "value")),
    "a baseline's metric": ("scores of models", entry("models", "small_cnn", "metrics", "auc", "value")),
    "a count of the confusion": ("scores of models", entry(*MODEL, "confusion", 0, 1, by=1)),
    "a score of a class": ("scores of models", entry(*MODEL, "per_class", "PNEUMONIA", "f1")),
    "an average": ("scores of models", entry(*MODEL, "averages", "macro", "recall")),
    "a spread over seeds": ("scores of models", entry(*MODEL, "repeats", "sd", "auc", by=0.001)),
    "patients": ("images and validation", entry("patients", by=1)),
    "a validation score": ("images and validation", entry("validation", "metrics", "auc", "value")),
    "the gap": ("images and validation", entry("gap", "difference")),
    "a mean over seeds": ("finalists.csv", entry("retrained", 0, "mean")),
    "a score on validation": ("finalists.csv", cell("finalists.csv", "metric_auc", shifted(-0.1), "representative")),
    "a trial's score": ("finalists.csv", cell("finalists.csv", "trial_score", shifted(0.01))),
    "a finalist's configuration": ("finalists.csv", cell("finalists.csv", "config_dropout", "0.7")),
    "a trial's configuration": ("finalists.csv", all_trials("config_batch_size", "512")),
    "a finalist's trial": ("finalists.csv", cell("finalists.csv", "trial", "77")),
    "a mean over folds": ("folds.csv", cell("finalists.csv", "fold_mean", shifted(0.01))),
    "images of a fold": ("folds.csv", cell("folds.csv", "images_val", shifted(1))),
    "Wilson's interval": ("operating_points.csv", cell("operating_points.csv", "wilson_low", shifted(0.01))),
    "hits": ("operating_points.csv", cell("operating_points.csv", "hits", shifted(1))),
    "the frozen threshold": ("operating_points.csv", cell("operating_points.csv", "threshold", shifted(0.1), row=5)),
    "a predictive value": ("prevalences.csv", cell("prevalences.csv", "npv", shifted(0.01))),
    "a net benefit": ("decision_curve.csv", cell("decision_curve.csv", "model", shifted(0.01), row=40)),
    "a gain": ("decision_curve.csv", cell("decision_curve.csv", "gain", shifted(0.01), row=40)),
    "a point of a ROC curve": ("curves.csv", cell("curves.csv", "y", shifted(0.01), row=30)),
    "a point of a precision-recall curve": ("curves.csv", cell("curves.csv", "y", shifted(0.01), row=150)),
    "a whole curve": ("curves.csv", dropped("curves.csv", slice(101))),
    "a point of a curve": ("curves.csv", dropped("curves.csv", slice(7, 8))),
    "a threshold of the decision curve": ("decision_curve.csv", dropped("decision_curve.csv", slice(50, 51))),
    "a measure": ("operating_points.csv", dropped("operating_points.csv", slice(1, 2))),
    "a prevalence": ("prevalences.csv", dropped("prevalences.csv", slice(2, 3))),
    "a subgroup": ("subgroups.csv", dropped("subgroups.csv", slice(1))),
    "a file that is cut short": ("curves.csv", cut_short),
    "a difference": ("comparisons.csv", cell("comparisons.csv", "difference", shifted(0.01))),
    "a score that is compared": ("comparisons.csv", cell("comparisons.csv", "score_b", shifted(0.01))),
    "a corrected p": ("comparisons.csv", cell("comparisons.csv", "p_holm", shifted(0.01))),
    "who alone is right": ("comparisons.csv", cell("comparisons.csv", "only_a_right", shifted(1))),
    "McNemar's p": ("comparisons.csv", cell("comparisons.csv", "mcnemar_p", shifted(0.01))),
    "a verdict": ("verdicts on pairs", cell("comparisons.csv", "verdict", "a better")),
    "a sentence": ("verdicts on pairs", cell("comparisons.csv", "sentence", "Toy2 and Toy cannot be told apart.")),
    "the words of a sentence": (
        "verdicts on pairs",
        cell("comparisons.csv", "sentence", exchanged("better", "worse"), 3),
    ),
    "a number in a sentence": ("verdicts on pairs", cell("comparisons.csv", "sentence", exchanged("0.012", "0.112"))),
    "who is in a summary": (
        "verdicts on pairs",
        put("sentences", 1, value=exchanged("Metadata only cannot", "Majority class cannot")),
    ),
    "a number in a summary": ("verdicts on pairs", put("sentences", 1, value=exchanged("0.303", "0.503"))),
    "a verdict on the search": (
        "verdicts on validation",
        put("retrained", 0, "verdict", value="the search was faithful here"),
    ),
    "a flag of the search": ("verdicts on validation", put("retrained", 0, "flagged", value=True)),
    "the sentence on a finalist": (
        "verdicts on validation",
        put("retrained", 1, "sentence", value=exchanged("0.832", "0.732")),
    ),
    "the flag of the gap": ("verdicts on validation", put("gap", "flagged", value=True)),
    "the sentence on the gap": (
        "verdicts on validation",
        put("gap", "sentence", value=exchanged("less, too few", "less, no")),
    ),
    "a number in the sentence on the gap": (
        "verdicts on validation",
        put("gap", "sentence", value=exchanged("0.176", "0.276")),
    ),
    "openings of the split": ("what stands beside", entry("ledger", "this_split", by=1)),
    "a probability": ("predictions", cell("predictions_test.csv", "prob_NORMAL", shifted(0.01))),
    "a label": ("splits.csv", cell("predictions_test.csv", "label", "PNEUMONIA")),
    "a patient in two splits": ("splits.csv", shared_patient),
    "patients of the test images": ("splits.csv", other_patients("predictions_test.csv")),
    "patients of the validation images": ("splits.csv", other_patients("predictions_val.csv")),
    "patients of the models' images": ("splits.csv", other_patients("predictions_models.csv")),
}


def narrowed(*place: Any, of: str = EVALUATION) -> Plant:
    """An interval that is 20 % too narrow, in a JSON document."""

    def plant(folder: Path) -> None:
        content = json.loads((folder / of).read_text())
        inner = content
        for key in place:
            inner = inner[key]
        inner["low"], inner["high"] = fifth(inner["low"], inner["high"])
        (folder / of).write_text(json.dumps(content))

    return plant


def narrowed_row(name: str, row: int, prefix: str = "") -> Plant:
    """The same in a CSV file."""

    def plant(folder: Path) -> None:
        table = pd.read_csv(folder / name)
        columns = [f"{prefix}low", f"{prefix}high"]
        table.loc[row, columns] = fifth(*table.loc[row, columns])
        table.to_csv(folder / name, index=False)

    return plant


def fifth(low: float, high: float) -> tuple[float, float]:
    return low + 0.1 * (high - low), high - 0.1 * (high - low)


def turned(name: str, column: str, row: int) -> Plant:
    """A flag that is the other way round."""
    return cell(name, column, lambda text: text != "True", row)


AFTER = ("splits", "test", "after")
CALIBRATED = "calibration.json"
DRAWN: dict[str, list[tuple[Plant, str]]] = {
    "intervals of models": [
        (narrowed("models", "vgg16", "metrics", "auc"), "vgg16: auc: width"),
        (narrowed("models", "recipe", "metrics", "log_loss"), "recipe: log_loss: width"),
        (narrowed("models", "vgg16", "metrics", "f1"), "vgg16: f1: width"),
        (narrowed("validation", "metrics", "brier"), "validation: brier: width"),
    ],
    "intervals on validation": [
        (narrowed("retrained", 0), "vgg16: mean over seeds: "),
        (entry("retrained", 0, "reach"), "vgg16: reach of one more seed"),
        (narrowed("gap"), "gap: half its interval"),
    ],
    "comparisons.csv": [
        (cell("comparisons.csv", "standard_error", lambda text: 0.7 * float(text), row=1), "resnet50: standard error"),
        (cell("comparisons.csv", "seed_share", shifted(-0.25)), "recipe: share of the seeds"),
    ],
    "operating_points.csv, intervals": [
        (narrowed_row("operating_points.csv", 6), "B at frozen: specificity: width"),
        (cell("operating_points.csv", "expected_low", shifted(0.01), row=5), "sensitivity to be expected, lower end"),
        (turned("operating_points.csv", "flagged", 5), "sensitivity: flag"),
    ],
    "prevalences.csv, intervals": [(narrowed_row("prevalences.csv", 3, "ppv_"), "prevalence 0.2: ppv: width")],
    "decision_curve.csv, intervals": [
        (narrowed_row("decision_curve.csv", 40), "B at 0.41: width"),
        (narrowed_row("decision_curve.csv", 40, "gain_"), "B at 0.41, gain: width"),
    ],
    "curves.csv, intervals": [(narrowed_row("curves.csv", 20), "roc at 0.20: ")],
    "subgroups.csv, intervals": [(narrowed_row("subgroups.csv", 0, "auc_"), "sex f: auc: width")],
    "calibration map": [
        (entry("calibration", "intercepts", 1), "intercept 1 of the map"),
        (cell("predictions_test.csv", "calibrated_A", lambda text: float(text) ** 2), "distance of calibrated_*"),
    ],
    CALIBRATED: [
        (entry(*AFTER, "ece", of=CALIBRATED), "test, after: ECE:"),
        (entry(*AFTER, "ece_if_perfect", "high", by=0.03, of=CALIBRATED), "ECE if perfect, 95th percentile"),
        (entry(*AFTER, "reliability", "B", 0, "images", by=1, of=CALIBRATED), "bin from 0.000: images"),
        (entry(*AFTER, "reliability", "B", 1, "low", of=CALIBRATED), "bin from 0.067: low"),
        (entry(*AFTER, "agreement", "B", "intercept", "value", of=CALIBRATED), "test, after, B: intercept"),
        (narrowed(*AFTER, "agreement", "B", "slope", of=CALIBRATED), "test, after, B: slope: width"),
        (narrowed(*AFTER, "agreement", "B", "widened", "slope", of=CALIBRATED), "B: slope, widened: "),
        (narrowed("change", of=CALIBRATED), "change of the log loss: half its interval"),
    ],
    "verdict on calibration": [
        (put("verdict", value="unknown", of=CALIBRATED), "verdict on calibration: unknown is told, "),
        (put("sentence", value="All is well.", of=CALIBRATED), "the verdict of its sentence"),
        (entry("change", "value", by=-0.2, of=CALIBRATED), "has other numbers"),
        (put(*AFTER, "agreement", "B", "widened", "slope", "low", value=1.2, of=CALIBRATED), "B: slope is apart"),
    ],
    "what stands beside": [
        (
            put("randomisation", "sentence", value="Depend as they should.", of="saliency.json"),
            "another mean correlation",
        ),
        (put("randomisation", "mean_correlation", value=0.9, of="saliency.json"), "not that of the correlation 0.90"),
    ],
    "frozen thresholds": [
        (entry("thresholds", 0, "value", by=0.1), "B: threshold:"),
        (entry("thresholds", 0, "low", by=0.15), "B: low end of the threshold's interval"),
        (entry("thresholds", 0, "sensitivity", "high"), "B: sensitivity on validation, high"),
    ],
    "prediction sets": [
        (entry("conformal", "covered", "hits", by=1), "covered, counted"),
        (entry("conformal", "limit"), "limit of the prediction sets"),
        (entry("conformal", "single", "low"), "single, low"),
        (entry("conformal", "scores", 3, of="best_model.json"), "score 4 of validation"),
    ],
    "cost of choosing": [
        (entry("selection", "configurations", by=1), "configurations"),
        (entry("selection", "apparent"), "apparent score"),
        (entry("selection", "corrected", by=0.03), "corrected score:"),
        (entry("selection", "low", by=0.1), "corrected score: lower end"),
        (entry("selection", "chosen", "vgg16", by=-0.1), "in which vgg16 wins"),
    ],
    "scores of trainings": [
        (cell("trials.csv", "metric_auc", shifted(0.01)), "trial 0: auc"),
        (cell("learning_curve.csv", "metric_auc", shifted(0.01)), "size 0.125 1: auc"),
    ],
    "robustness.csv": [
        (dropped("robustness.csv", slice(-1, None)), "alterations and levels"),
        (cell("robustness.csv", "auc", shifted(0.01), row=3), "recompression 25.0: auc:"),
        (narrowed_row("robustness.csv", 3, "accuracy_"), "recompression 25.0: accuracy: width"),
        (narrowed_row("robustness.csv", 2, "auc_change_"), "recompression 50.0: half the interval of the change"),
    ],
    "saliency.json": [
        (entry("items", 2, "correlation", of="saliency.json"), "rank correlation"),
        (entry("randomisation", "mean_correlation", of="saliency.json"), "mean rank correlation"),
        (entry("items", 0, "probability", of="saliency.json"), "probability"),
    ],
}
"""What is planted into a run of 2,000 draws: the check that has to find all of it, and what it says of each."""


@pytest.fixture(scope="module", params=[2, 3], ids=["two classes", "three classes"])
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "run", request.param).path


def test_every_interval_is_drawn_again_and_agrees(drawn: Path) -> None:
    for name in DRAWN:
        tally = Tally()
        checks()[name](Folder(drawn), tally)
        assert tally.wrong == [] and tally.compared >= 2, name


@pytest.mark.parametrize("drawn", [2], indirect=True)
@pytest.mark.parametrize("name", DRAWN)
def test_an_interval_that_is_a_fifth_too_narrow_and_every_other_number_is_named(
    drawn: Path, tmp_path: Path, name: str
) -> None:
    folder, tally = Path(shutil.copytree(drawn, tmp_path / "copy")), Tally()
    for plant, _ in DRAWN[name]:
        plant(folder)
    checks()[name](Folder(folder), tally)
    said = [words for _, words in DRAWN[name] if not any(words in one for one in tally.wrong)]
    assert said == [], tally.wrong


def freed(folder: Path) -> None:
    """Five times the degrees of freedom, and all that follows from them made to fit."""
    table = pd.read_csv(folder / "comparisons.csv")
    df, error, apart = 5 * table["df"], table["standard_error"], table["difference"]
    p = 2 * t.sf(abs(apart) / error, df)
    reach = t.ppf(0.975, df) * error
    table = table.assign(df=df, low=apart - reach, high=apart + reach, p=p)
    table["p_equivalent"] = t.sf((table["margin"] - abs(apart)) / error, df)
    for row, one in table.iterrows():
        table.loc[row, "detectable"] = Contrast(one["difference"], one["standard_error"], one["df"]).detectable
    for _, part in table.groupby("family"):
        table.loc[part.index, "p_holm"] = multipletests(part["p"], method="holm")[1]
    table.to_csv(folder / "comparisons.csv", index=False)


OF_PAIRS: dict[str, tuple[Plant, list[str]]] = {
    "degrees of freedom": (freed, ["recipe: degrees of freedom", "resnet50: degrees of freedom"]),
    "none": (cell("comparisons.csv", "df", ""), ["recipe: whether there are degrees of freedom: False is told"]),
    "no power": (cell("comparisons.csv", "detectable", ""), ["recipe: power at the difference"]),
    "no equivalence": (cell("comparisons.csv", "p_equivalent", ""), ["recipe: p of equivalence"]),
    "no margin": (cell("comparisons.csv", "margin", ""), ["recipe: whether there is a margin: False is told"]),
    "no p": (cell("comparisons.csv", "p", "", row=1), ["resnet50: p:"]),
    "no share of the seeds": (cell("comparisons.csv", "seed_share", ""), ["recipe: no share of the seeds"]),
}


@pytest.mark.parametrize("what", OF_PAIRS)
@pytest.mark.parametrize("drawn", [2], indirect=True)
def test_degrees_of_freedom_and_what_a_pair_has_to_tell_are_named(drawn: Path, tmp_path: Path, what: str) -> None:
    plant, said = OF_PAIRS[what]
    plant(folder := Path(shutil.copytree(drawn, tmp_path / "copy")))
    wrong = verified_alone(folder, "comparisons.csv").wrong
    assert [words for words in said if not any(words in one for one in wrong)] == [], wrong
    assert what != "degrees of freedom" or len(wrong) == len(said), wrong


@pytest.mark.parametrize("drawn", [2], indirect=True)
def test_a_corrected_score_that_is_missing_is_named(drawn: Path, tmp_path: Path) -> None:
    folder, tally = Path(shutil.copytree(drawn, tmp_path / "copy")), Tally()
    record = json.loads((folder / "evaluation.json").read_text())
    del record["selection"]["corrected"]
    (folder / "evaluation.json").write_text(json.dumps(record))
    checks()["cost of choosing"](Folder(folder), tally)
    assert tally.wrong == ["no corrected score is told where there can be one: "]


@pytest.fixture(scope="module")
def whole() -> dict[str, Tally]:
    return verified(GOLDEN)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "copy"))


def test_the_kept_run_agrees_in_every_number(whole: dict[str, Tally]) -> None:
    assert {name: tally.wrong for name, tally in whole.items() if tally.wrong} == {}
    assert {name for name, _ in PLANTED.values()} <= {name for name, tally in whole.items() if tally.compared}
    assert sum(tally.compared for tally in whole.values()) > 1000
    assert told(whole)[-1].endswith("values checked: all agree.")


@pytest.mark.parametrize("what", PLANTED)
def test_what_does_not_agree_is_found(copy: Path, what: str) -> None:
    name, plant = PLANTED[what]
    plant(copy)
    found = checks()[name]
    tally = Tally()
    try:
        found(Folder(copy), tally)
    except (ValueError, KeyError):
        assert what == "a file that is cut short"
        tally = verified_alone(copy, name)
    assert tally.wrong, f"{what} is not found by {name}"


def test_calls_that_favour_the_other_model_may_be_said_and_not_those_that_do_not(copy: Path) -> None:
    table = pd.read_csv(copy / "comparisons.csv")
    row = table.index[table["b"] == "small_cnn"][0]
    table.loc[row, ["only_a_right", "only_b_right"]] = 7, 40
    before = str(table.loc[row, "sentence"]).replace("on 40 images", "on 7 images").replace("on 7 (", "on 40 (")
    favours = f"{before[:-1]}, though calls at the most probable class favour Small CNN from scratch."
    for sentence, agrees in (
        (before, True),
        (favours, True),
        (favours.replace("favour Small CNN from scratch", "favour Toy2"), False),
    ):
        table.loc[row, "sentence"] = sentence
        table.to_csv(copy / "comparisons.csv", index=False)
        assert (verified_alone(copy, "verdicts on pairs").wrong == []) is agrees


def test_a_slope_whose_interval_tells_nothing_is_no_agreement() -> None:
    for (low, high), widened, verdict in (
        ((-1.3, 2.1), {"slope": {}}, "unknown"),
        ((0.4, 1.7), {"slope": {}}, "unknown"),
        ((0.6, 1.7), {"slope": {}}, "agrees"),
        ((0.4, 1.7), {}, "agrees"),  # in earlier versions
    ):
        sure = {"value": 0.0, "low": -1.0, "high": 1.0}
        one = {"intercept": sure, "slope": {"value": 1.0, "low": low, "high": high}, "widened": widened, "apart": []}
        assert verdicts.judged(0.0, {"B": one})[0] == verdict


def test_a_gap_whose_narrow_interval_includes_0_agrees_with_its_sentence() -> None:
    tally, low, high = Tally(), -0.023, 0.077
    gap = {"metric": "auc", "validation": 0.824, "test": 0.797, "difference": 0.027, "low": low, "high": high}
    begins = "On validation the winner scored ROC AUC 0.824, on the internal test 0.797: 0.027 (−0.023 to 0.077) less"
    verdicts._gap({**gap, "sentence": begins + _expect(low, high, False)}, tally)
    assert not tally.wrong
    verdicts._gap({**gap, "test": 0.78, "sentence": begins + _expect(low, high, False)}, tally)
    assert len(tally.wrong) == 1


@pytest.mark.parametrize("slope", [1.0, 0.2])
def test_classes_that_are_called_by_numbers_are_told_from_numbers(tmp_path: Path, slope: float) -> None:
    """Five grades make ten comparisons, so that "for 10" begins as what a class's name would."""

    def agreement(value: float) -> dict[str, Any]:
        found = {"intercept": {"value": 0.0, "low": -0.1, "high": 0.1}}
        found["slope"] = {"value": value, "low": value - 0.1, "high": value + 0.1}
        return {**found, "widened": found, "apart": [] if value == 1 else ["slope"], "predicted": 0.2, "observed": 0.2}

    scores = {"log_loss": 0.5, "ece": 0.0, "brier": 0.1}
    classes = {str(grade): agreement(slope if grade == 1 else 1.0) for grade in range(5)}
    record = CalibrationRecord.model_validate(
        {"splits": {"test": {"before": scores, "after": {**scores, "agreement": classes}}}}
    )
    content = record.model_copy(update=_judged(record, Estimate(value=0.0)))
    write_json(tmp_path / "calibration.json", content)
    tally = Tally()
    verdicts.calibration(Folder(tmp_path), tally)
    assert not tally.wrong and content.verdict == ("agrees" if slope == 1 else "disagrees")


def test_a_class_with_one_patient_has_no_interval_and_no_end_of_its_check() -> None:
    rng = np.random.default_rng(0)
    found = Redrawn(np.zeros(2), rng.normal(size=(50, 2)), np.zeros((3, 2)), 60)
    assert np.isfinite(found.standard_error(np.array([1.0, -1.0]), 50, 1)).all()


def test_of_openings_in_one_second_the_first_is_of_this_split() -> None:
    def opening(split: str) -> dict[str, str]:
        return {"time": "2026-01-01T00:00:00+00:00", "split": split, "data": "d"}

    tally = Tally()
    ledger = {"this_split": 1, "this_data": 2, "openings": [opening("own"), opening("other")]}
    verdicts._openings(ledger, ["2026-01-01T00:00:00+00:00"], tally)
    assert tally.compared == 2 and not tally.wrong


def test_tables_of_earlier_versions_are_compared_in_what_they_hold(copy: Path) -> None:
    table = pd.read_csv(copy / "comparisons.csv")
    table.drop(columns=["seeds_a", "seeds_b", "metric", "margin"]).to_csv(copy / "comparisons.csv", index=False)
    (copy / "calibration.json").write_text(json.dumps({"splits": {"test": {"before": {}, "after": {}}}}))
    for name in ("verdicts on pairs", "verdict on calibration"):
        tally = verified_alone(copy, name)
        assert not tally.wrong and "earlier version" in tally.skipped


def test_patients_of_whom_the_very_same_image_is_there_are_one(copy: Path) -> None:
    splits, predicted = copy / "splits.csv", copy / "predictions_test.csv"
    rows, table = pd.read_csv(splits, dtype=str), pd.read_csv(predicted, dtype=str)
    test = rows.index[rows["split"] == "test"]
    one, other = test[0], next(row for row in test if rows["patient"][row] != rows["patient"][test[0]])
    table["patient"] = table["patient"].replace(rows["patient"][other], rows["patient"][one])
    table.to_csv(predicted, index=False)
    (wrong,) = verified_alone(copy, "splits.csv").wrong
    assert wrong.startswith("predictions_test.csv: of other patients than in splits.csv: 1, such as ")
    rows.loc[other, "pixels"] = rows["pixels"][one]
    rows.to_csv(splits, index=False)
    assert verified_alone(copy, "splits.csv").wrong == []


def test_what_rounding_leaves_of_no_standard_error_agrees(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that rank without an error have none in one bootstrap, and 1e-17 in the other."""
    rows = pd.read_csv(copy / "comparisons.csv")
    row = rows["b"] == "small_cnn"
    rows.loc[row, ["standard_error", "seed_share"]] = 0.0, np.nan
    rows[row].to_csv(copy / "comparisons.csv", index=False)
    for found, agrees in ((1.5e-17, True), (1e-3, False)):
        monkeypatch.setattr(Redrawn, "standard_error", lambda *_, found=found: (found, 0.1 * found))
        tally = verified_alone(copy, "comparisons.csv")
        assert tally.compared > 5
        assert any("standard error" in one for one in tally.wrong) is not agrees


@pytest.mark.parametrize("draws", [100, 2000])
def test_another_bootstrap_of_skewed_scores_agrees_and_one_that_is_a_fifth_too_narrow_does_not(draws: int) -> None:
    """One image of eighty is far off: the upper end of the interval goes by few draws."""
    random = np.random.default_rng(1)
    labels, second = np.arange(80) % 2, random.uniform(0.001, 0.02, 80)
    second[labels == 1] = 1 - second[labels == 1]
    second[:2] = 0.5, 0.6
    skewed = np.column_stack([1 - second, second])
    usual = np.clip(0.5 + 0.2 * (2 * labels - 1) + random.normal(0, 0.3, 80), 0.01, 0.99)
    narrow = {0.0: 0, 0.2: 0}
    for scores, names in ((skewed, ["brier"]), (np.column_stack([1 - usual, usual]), ["brier", "auc"])):
        found = Predictions(labels, scores, np.arange(80))
        again = redrawn(found.patients, metrics(Predicted((), labels, scores, found.patients), names))
        for column, name in enumerate(names):
            band = again.band(column, 0.95, draws)
            for seed in range(8):
                one = intervals(found, Bootstrap(draws, seed=seed), [name])[name]
                assert one.low is not None and one.high is not None
                for by in narrow:
                    tally, off = Tally(), by / 2 * (one.high - one.low)
                    check_ends(tally, name, one.low + off, one.high - off, band)
                    narrow[by] += bool(tally.wrong)
    assert narrow[0.0] == 0
    assert draws < 2000 or narrow[0.2] >= 21, "8 studies of 3 scores"


def test_scores_of_draws_are_those_of_scikit_learn_under_weights() -> None:
    """Ties among scores, images that count 0 times, two and three classes."""
    random = np.random.default_rng(2)
    for n in (2, 3):
        labels, scores = np.arange(60) % n, np.round(random.dirichlet(np.ones(n), 60), 1) + 0.05
        found = Predicted((), labels, scores / scores.sum(axis=1, keepdims=True), np.arange(60))
        weights = random.integers(0, 3, (4, 60)).astype(float)
        drawn = metrics(found, list(SCORES))(weights)
        for row, some in zip(drawn, weights, strict=True):
            wanted = [SCORES[name](found, some) for name in SCORES]
            np.testing.assert_allclose(row, wanted, atol=1e-9)


def seal(openings: list[dict[str, Any]], plans: list[str], folder: Path) -> list[str]:
    """What the check of the seal says of the plans of a run."""
    table = pd.read_csv(folder / "predictions_test.csv", keep_default_na=False, dtype=str)
    images = hashlib.blake2b("\n".join(sorted(table["pixels"])).encode(), digest_size=16).hexdigest()
    (folder / "best_model.h5").write_bytes(b"a model")
    (folder / "best_model.json").write_text(json.dumps({"sha256": hashlib.sha256(b"a model").hexdigest()}))
    decisions = hashlib.sha256((folder / "best_model.json").read_bytes()).hexdigest()
    evaluation = json.loads((folder / EVALUATION).read_text())
    about = {"decisions": decisions, "split": images, "images": evaluation["images"]}
    record = {
        "test": {"opened": evaluation["opened"], "openings": [{**one, **about} for one in openings]},
        "plans": [{"time": time, "sha256": f"plan of {time}"} for time in plans],
    }
    (folder / "run.json").write_text(json.dumps(record))
    tally = Tally()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integrity, "_plan", lambda *_: None)  # what the plans hold is checked elsewhere
        integrity.seal(Folder(folder), tally)
    return [one for one in tally.wrong if "plan" in one]


def test_a_plan_that_was_changed_after_the_opening_is_none_of_it(copy: Path) -> None:
    """As where a larger budget changed no model, so that nothing was opened again."""
    first = {"time": "2026-01-02", "plan": "plan of 2026-01-01"}
    assert seal([first], ["2026-01-01", "2026-01-03"], copy) == []
    (other,) = seal([first], ["2025-01-01", "2026-01-02"], copy)
    assert other.startswith("plan of the opening: plan of 2026-01-01 is told, plan of 2026-01-02 is found")
    assert "the plan was written after the test split was opened" in seal([first], ["2026-01-03"], copy)


def test_the_exported_model_has_the_configuration_of_the_winner(copy: Path) -> None:
    """Parameters that tables of earlier versions lack are no others."""
    winner = pd.read_csv(copy / "finalists.csv").query("winner").iloc[0]
    config = {"dropout": float(winner["config_dropout"]), "schedule": "constant"}
    for off in (0.0, 0.1):
        told = {"config": config | {"dropout": config["dropout"] + off}}
        (copy / "best_model.json").write_text(json.dumps(told))
        wrong = [one for one in verified_alone(copy, "finalists.csv").wrong if "best_model.json" in one]
        assert [one.split(":")[1] for one in wrong] == [" dropout and that of the winner"] * bool(off)


SETTINGS = {"metric": "auc", "budget": 6, "bootstrap": 2000, "time_limit": None, "outer": None, "outer_budget": None}


@pytest.mark.parametrize(
    ("changed", "wrong", "noted"),
    [
        ({}, "", ""),
        ({"metric": "brier"}, "metric", ""),
        ({"bootstrap": 100}, "bootstrap", ""),
        ({"budget": 4}, "budget", ""),
        ({"budget": 8, "time_limit": 60.0}, "", "budget, time_limit"),
        ({"outer_budget": 6}, "", ""),
        ({"a later one": 1}, "", ""),
    ],
)
def test_settings_are_those_of_the_last_plan_but_for_what_a_resumed_run_takes_anew(
    copy: Path, changed: dict[str, Any], wrong: str, noted: str
) -> None:
    plans = [{"holds": {"settings": {"metric": "f1"}}}, {"holds": {"settings": SETTINGS}}]
    (copy / "run.json").write_text(json.dumps({"settings": SETTINGS | changed}))
    integrity._settings(Folder(copy), plans, tally := Tally())
    assert [one.partition(" and the last plan's")[0] for one in tally.wrong] == [f"setting {wrong}"] * bool(wrong)
    assert tally.skipped == (f"other than in the last plan, as --resume may take them: {noted}" if noted else "")


@pytest.mark.parametrize("name", ["best_model.h5", "best_model.json", "splits.csv", "space.yaml"])
def test_a_file_that_is_gone_is_wrong_and_the_rest_of_the_seal_is_compared(tmp_path: Path, name: str) -> None:
    """By the example, which never had best_model.h5."""
    shutil.copytree(GOLDEN.parents[2] / "docs/example", folder := tmp_path / "example")
    whole, tally = Tally(), Tally()
    integrity.seal(Folder(folder), whole)
    assert whole.wrong == ["best_model.h5 is gone"]
    (folder / name).unlink(missing_ok=True)
    (folder / "models").mkdir()
    (folder / "models/vgg16-1.h5").write_bytes(b"another")
    for check in (integrity.seal, integrity.files):
        check(Folder(folder), tally)
    assert f"{name} is gone" in tally.wrong and tally.compared > whole.compared
    assert "models/vgg16-1.h5 is not as the run wrote it" in tally.wrong and "models/vgg16-2.h5 is gone" in tally.wrong
    assert not tally.skipped


def test_errors_among_classes_that_are_called_by_numbers_agree(copy: Path) -> None:
    names = {"NORMAL": "0", "PNEUMONIA": "1"}
    content = json.loads((copy / EVALUATION).read_text())
    (copy / EVALUATION).write_text(json.dumps({**content, "classes": ["0", "1"]}))
    table = pd.read_csv(copy / "predictions_test.csv", keep_default_na=False, dtype=str)
    table["label"] = table["label"].map(names)
    table = table.rename(
        columns={f"{kind}_{name}": f"{kind}_{n}" for kind in ("prob", "calibrated") for name, n in names.items()}
    )
    table.to_csv(copy / "predictions_test.csv", index=False)
    called = table.assign(predicted=(table["prob_1"].astype(float) > 0.5).astype(int).astype(str))
    errors = called[called["label"] != called["predicted"]]
    own, other = errors["prob_0"].astype(float), errors["prob_1"].astype(float)
    errors = errors.assign(confidence=np.maximum(own, other), probability_of_label=np.minimum(own, other))
    errors = errors.sort_values(["confidence", "image"], ascending=[False, True])
    errors[["image", "predicted", "confidence", "probability_of_label"]].to_csv(copy / "failures.csv", index=False)
    tally = verified_alone(copy, "failures.csv")
    assert tally.compared > 3 and tally.wrong == []


def verified_alone(folder: Path, name: str) -> Tally:
    with pytest.MonkeyPatch.context() as patch:
        alone = {name: checks()[name]}
        patch.setattr("bench.verify.command.checks", lambda: alone)
        return verified(folder)[name]


@pytest.mark.parametrize("edge", [4, 8, 12])
def test_the_limit_of_a_confident_model_agrees_and_its_neighbour_does_not(
    edge: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of its scores lie within few millionths of each other, to which they are rounded up."""
    monkeypatch.setattr(conformal, "_on_test", lambda *_: None)
    complaints = {0: 0, 3: 0, -3: 0}
    for seed in range(10):
        second = expit(np.random.default_rng(seed).normal(edge, 2, 300))
        labels, own = np.arange(300) % 2, np.column_stack([second, 1 - second])
        scores = np.where(labels[:, None] == 0, own, own[:, ::-1])
        found = Predicted((), labels, scores, np.arange(300))
        sets = conformal_scores(labels, scores, found.patients)
        card = {"conformal": {"patients": sets.patients, "scores": list(sets.scores)}}
        for off in complaints:
            told = {"conformal": {"coverage": 0.9, "limit": sets.limit(0.9) + off * 1e-6}}
            run = SimpleNamespace(evaluation=told, json=lambda _, card=card: card, winners=lambda *_, one=found: one)
            conformal.prediction_sets(cast(Folder, run), tally := Tally())
            complaints[off] += bool(tally.wrong)
    assert complaints == {0: 0, 3: 10, -3: 10}


def calibrated_alone(labels: Any, scores: Any, weights: tuple[float, ...], change: Change | None = None) -> list[str]:
    """What `verify` says of calibration.json as the suite writes it, or after a ``change``."""
    patients = np.array([f"p{one}" for one in range(len(labels))])
    validation = Predictions(labels, scores, patients, ["A", "B"])
    choice = choose_map(validation, weights)
    record = json.loads(calibration(validation, validation, choice, Bootstrap(200)).model_dump_json(by_alias=True))
    if change:
        change(record)
    seen = {"prob_": scores.astype(float), "calibrated_": choice.map(scores)}
    run = SimpleNamespace(
        classes=["A", "B"],
        draws=200,
        level=0.95,
        evaluation={"bootstrap": {"draws": 200}},
        json=lambda _: record,
        winners=lambda split="test", kind="prob_": Predicted((), labels, seen[kind], patients),
    )
    calibrated.calibration(cast(Folder, run), tally := Tally())
    return tally.wrong


def test_probabilities_that_float32_rounds_to_one_agree() -> None:
    """The slope hangs on how far from 1 they are, which the probability of the other class still tells."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2
    odds = rng.normal(8 * (2 * labels - 1), 12)
    scores = np.column_stack([expit(-odds), expit(odds)]).astype(np.float32)
    assert (scores == 1).sum() > 20
    assert [one for one in calibrated_alone(labels, scores, ()) if "before" in one and ": slope" in one] == []


@pytest.mark.parametrize("learnt", [True, False])
def test_whether_weights_are_undone_is_decided_again(learnt: bool) -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(300) < 0.75).astype(int)
    odds = rng.normal(2 * labels - 1, 1.0) * 2 + np.log(3)
    weights = (2.0, 2 / 3)
    shown = np.column_stack([expit(-odds), expit(odds)]) * (weights if learnt else (1, 1))
    scores = (shown / shown.sum(axis=1, keepdims=True)).astype(np.float32)
    about = ["the weights of the loss", "log loss with"]

    def said(change: Change | None = None) -> list[str]:
        return [one for one in calibrated_alone(labels, scores, weights, change) if any(part in one for part in about)]

    assert said() == []
    other = [] if learnt else list(weights)
    assert said(lambda record: record["calibration"].update(class_weights=other)) == [
        "the weights of the loss are undone, or kept, wrongly"
    ]
    assert len(said(lambda record: record["of_loss"].update(kept=0.1, undone=0.2))) == 2


def test_what_rounding_makes_of_an_ece_that_few_images_can_have_agrees(copy: Path) -> None:
    """Of one patient at equal chances it is a half, whichever the class; models compute in float32."""
    found = Predicted((), np.zeros(4, np.int64), np.full((4, 2), 0.5), np.zeros(4))
    for high, agrees in ((0.5, True), (0.5 + 3e-8, True), (0.501, False)):
        told = {"ece": 0.5, "ece_if_perfect": {"mean": 0.5, "high": high, "reached": 1.0}}
        calibrated._error(Place(Folder(copy), "val", tally := Tally()), told, found, 15)
        assert (tally.wrong == []) is agrees, tally.wrong


def cut(name: str) -> Plant:
    """A file that ends in its middle."""

    def plant(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return plant


def nested_deeply(folder: Path) -> None:
    (folder / "evaluation.json").write_text("[" * 100_000)


DAMAGED: dict[str, tuple[str, Plant, str]] = {
    "a compressed file that is cut": ("scores of trainings", cut("predictions_epochs.jsonl.gz"), "EOFError"),
    "an archive that is cut": ("saliency.json", cut("saliency.npz"), "BadZipFile"),
    "a document that is nested deeply": ("images and validation", nested_deeply, "RecursionError"),
    "a count without end": ("comparisons.csv", cell("comparisons.csv", "only_a_right", "inf"), "OverflowError"),
}


@pytest.mark.parametrize("what", DAMAGED)
@pytest.mark.parametrize("drawn", [2], indirect=True)
def test_a_damaged_file_is_a_disagreement_and_no_crash(drawn: Path, tmp_path: Path, what: str) -> None:
    name, plant, error = DAMAGED[what]
    plant(folder := Path(shutil.copytree(drawn, tmp_path / "copy")))
    assert any(one.startswith(f"cannot be checked: {error}: ") for one in verified_alone(folder, name).wrong)


def test_a_run_without_checksums_of_its_files_says_so(copy: Path) -> None:
    """What changed in a table that is checked by its hash alone is not found then."""
    for pinned, note in (({"curves.csv": "0"}, ""), ({}, "run.json holds no checksums of files")):
        (copy / "run.json").write_text(json.dumps({"pinned": pinned}))
        assert verified_alone(copy, "file hashes").skipped == note


def test_a_table_that_is_gone_is_said_and_not_wrong(copy: Path) -> None:
    (copy / "prevalences.csv").unlink()
    with pytest.raises(NotThere, match=r"prevalences\.csv is not there"):
        checks()["prevalences.csv"](Folder(copy), Tally())
    tally = verified_alone(copy, "prevalences.csv")
    assert (tally.compared, tally.wrong, tally.skipped) == (0, [], "prevalences.csv is not there")


def test_the_exit_status_and_the_first_disagreements(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "run.json").write_text("{}")
    some = {name: checks()[name] for name in ("prevalences.csv", "curves.csv")}
    monkeypatch.setattr("bench.verify.command.checks", lambda: some)
    assert main(["verify", str(copy)]) == 0
    assert "all agree" in capsys.readouterr().out
    for row in range(7):
        cell("curves.csv", "y", 0.123, row)(copy)
    assert main(["verify", str(copy)]) == 1
    printed = capsys.readouterr().out
    assert re.search(r"curves\.csv: toy2?, PNEUMONIA, roc at 0\.00: 0\.123 is told, 0\.\d+ is found", printed)
    assert "curves.csv: and 2 more" in printed and "7 do not agree." in printed
    assert main(["verify", "no such run"]) == 2


def test_what_computes_the_numbers_a_second_time_loads_nothing_that_computed_them_first() -> None:
    script = (
        "import sys, bench.verify.compared, bench.verify.tested, bench.verify.trainings, bench.verify.integrity\n"
        "print([name for name in sys.modules if name.startswith(('bench.stats', 'bench.evaluation'))])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
