"""`verify` agrees with a run that is whole, and names what does not agree in one that is not."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.cli import main
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.predictions import Predictions
from bench.verify import compared, integrity
from bench.verify.command import checks, told, verified
from bench.verify.reading import Folder, NotThere, Predicted, Tally
from bench.verify.scores import interval

GOLDEN = Path(__file__).parents[1] / "run" / "golden"
EVALUATION = "evaluation.json"
Plant = Callable[[Path], object]


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


def halve_interval(folder: Path) -> None:
    content = json.loads((folder / EVALUATION).read_text())
    one = content["models"][content["winner"]]["metrics"]["auc"]
    one["low"] = (one["value"] + one["low"]) / 2
    (folder / EVALUATION).write_text(json.dumps(content))


def shared_patient(folder: Path) -> None:
    table = pd.read_csv(folder / "splits.csv", keep_default_na=False)
    table.loc[table["split"] == "test", "patient"] = table.loc[table["split"] == "train", "patient"].iloc[0]
    table.to_csv(folder / "splits.csv", index=False)


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
    "an interval": ("intervals by patients", halve_interval),
    "patients": ("images and validation", entry("patients", by=1)),
    "a validation score": ("images and validation", entry("validation", "metrics", "auc", "value")),
    "the gap": ("images and validation", entry("gap", "difference")),
    "a mean over seeds": ("finalists.csv", entry("retrained", 0, "mean")),
    "a score on validation": ("finalists.csv", cell("finalists.csv", "metric_auc", shifted(-0.1), "representative")),
    "a trial's score": ("finalists.csv", cell("finalists.csv", "trial_score", shifted(0.01))),
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
    "a file that is cut short": ("curves.csv", cut_short),
    "a difference": ("comparisons.csv", cell("comparisons.csv", "difference", shifted(0.01))),
    "a score that is compared": ("comparisons.csv", cell("comparisons.csv", "score_b", shifted(0.01))),
    "a corrected p": ("comparisons.csv", cell("comparisons.csv", "p_holm", shifted(0.01))),
    "who alone is right": ("comparisons.csv", cell("comparisons.csv", "only_a_right", shifted(1))),
    "McNemar's p": ("comparisons.csv", cell("comparisons.csv", "mcnemar_p", shifted(0.01))),
    "a probability": ("predictions", cell("predictions_test.csv", "prob_NORMAL", shifted(0.01))),
    "a label": ("splits.csv", cell("predictions_test.csv", "label", "PNEUMONIA")),
    "a patient in two splits": ("splits.csv", shared_patient),
}


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


def test_what_rounding_leaves_of_no_standard_error_agrees(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that rank without an error have none in one bootstrap, and 1e-17 in the other."""
    rows = pd.read_csv(copy / "comparisons.csv")
    row = rows["b"] == "small_cnn"
    rows.loc[row, "family"], rows.loc[row, "standard_error"] = "primary", 0.0
    rows[row].to_csv(copy / "comparisons.csv", index=False)
    for found, agrees in ((1.5e-17, True), (1e-3, False)):
        monkeypatch.setattr(compared, "_standard_error", lambda *_, found=found: found)
        tally = verified_alone(copy, "comparisons.csv")
        assert tally.compared > 5
        assert any("standard error" in one for one in tally.wrong) is not agrees


@pytest.mark.parametrize("draws", [100, 200, 2000])
def test_another_bootstrap_of_skewed_scores_agrees_and_half_an_interval_does_not(draws: int) -> None:
    """One image of eighty is far off: the upper end of the interval goes by few draws."""
    random = np.random.default_rng(1)
    labels, second = np.arange(80) % 2, random.uniform(0.001, 0.02, 80)
    second[labels == 1] = 1 - second[labels == 1]
    second[:2] = 0.5, 0.6
    found = Predictions(labels, np.column_stack([1 - second, second]), np.arange(80))
    ends = interval("brier", Predicted((), labels, found.scores, found.patients), others=draws)
    assert ends is not None
    beyond = 0
    for seed in range(12):
        one = intervals(found, Bootstrap(draws, seed=seed), ["brier"])["brier"]
        assert one.low is not None and one.high is not None
        beyond += not (ends[0][0] <= one.low <= ends[0][2] and ends[1][0] <= one.high <= ends[1][2])
    assert beyond <= 1
    assert not ends[0][0] <= (one.value + one.low) / 2 <= ends[0][2]


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
