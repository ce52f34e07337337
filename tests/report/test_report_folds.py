"""What the page says of folds where the run has them, and that it says nothing where it has none."""

import json
from pathlib import Path

import pandas as pd
import pytest
from report_outline import outline
from report_run import write_run

from bench.report.read.files import read
from bench.report.tables import models as tables_models
from bench.run.folder import RunDir
from bench.stats.metrics import METRICS

RENDERED = ("comparison", "search")

pytestmark = pytest.mark.usefixtures("undrawn")


def write(path: Path, **options: object) -> RunDir:
    return write_run(path / "xray", trials=12, seeds=1, image_side=16, **options)  # type: ignore[arg-type]


def words(run: RunDir) -> str:
    return " ".join(outline(run).text.replace("\u00a0", " ").split())


def test_finalists_stand_with_their_mean_over_the_folds(tmp_path: Path) -> None:
    run = write(tmp_path, folds=5)
    scores = pd.read_csv(run.folds).groupby("backbone")["metric_auc"]
    mean, deviation = scores.mean()["inceptionv3"], scores.std()["inceptionv3"]
    text = words(run)
    assert "The finalist with the best mean validation ROC AUC over 5 folds was chosen" in text
    assert f"It was chosen by its mean over 5 folds: ROC AUC {mean:.3f} ± {deviation:.3f} (standard deviation)." in text
    table = text.partition("ROC AUC over the folds, mean ± SD")[2].partition("The finalists on each fold")[0]
    assert f"InceptionV3, chosen 0.{str(table).partition('chosen 0.')[2].split()[0]}" in table
    assert f"{mean:.3f} ± {deviation:.3f} 5" in table
    assert "The finalists on each fold. (15 rows)" in text
    assert "not a confidence interval" in text


def test_the_order_is_that_by_the_folds() -> None:
    rows = pd.DataFrame(
        {
            "backbone": ["a", "b", "c"],
            "state": ["completed"] * 3,
            "reason": [None] * 3,
            "winner": [False, True, False],
            "trial": [0, 1, 2],
            "trial_score": [0.9] * 3,
            "metric_auc": [0.99, 0.95, 0.97],
            "seconds": [1.0] * 3,
            "folds": [5.0, 5.0, 0.0],
            "fold_mean": [0.90, 0.93, None],
            "fold_sd": [0.01, 0.02, None],
        }
    )
    auc = METRICS["auc"]
    assert list(tables_models.finalists(rows, None, auc)["backbone"]) == ["b", "a", "c"], "no fold completed: last"
    without = rows.assign(folds=None, fold_mean=None, fold_sd=None)
    assert list(tables_models.finalists(without, None, auc)["backbone"]) == ["a", "c", "b"]


def test_without_folds_nothing_is_said_of_them(tmp_path: Path) -> None:
    run = write(tmp_path)
    files = read(run)
    assert files.folds is None and "folds.csv" not in files.problems
    contents, sections = words(run).split("Provenance")[:2]
    text = contents + sections
    assert " fold " not in text and " folds" not in text
    assert "The finalist with the best validation ROC AUC was chosen" in text


@pytest.mark.parametrize(
    ("folds", "said"),
    [(0, "the winner"), (3, "the best by the validation split alone, which the folds overrule here,")],
)
def test_who_wins_on_validation_drawn_anew_is_no_winner_where_folds_decide(
    tmp_path: Path, folds: int, said: str
) -> None:
    run = write(tmp_path, folds=folds)
    content = json.loads(run.evaluation.read_text())
    content["selection"] = {"configurations": 9, "epochs": 30, "chosen": {"vgg16": 0.75, "inception_v3": 0.25}}
    run.evaluation.write_text(json.dumps(content))
    assert f"drawn at random, {said} would have been VGG16 in 75.0 %" in words(run)


def test_a_fold_that_failed_is_told(tmp_path: Path) -> None:
    run = write(tmp_path, folds=3)
    rows = pd.read_csv(run.folds)
    rows["reason"] = rows["reason"].astype(object)
    rows.loc[1, ["state", "reason"]] = ["failed", "out of <b>memory</b>"]
    rows.to_csv(run.folds, index=False)
    text = words(run)
    assert "1 fold of VGG16 failed; the folds below give the reasons." in text
    assert "failed out of <b>memory</b>" in text


def test_folds_of_another_configuration_are_left_out(tmp_path: Path) -> None:
    run = write(tmp_path, folds=3)
    rows = pd.read_csv(run.folds)
    rows.loc[rows["backbone"] == "vgg16", "config_dropout"] = 0.37
    rows.to_csv(run.folds, index=False)
    text = words(run)
    assert "The finalists on each fold. (6 rows)" in text


@pytest.mark.parametrize("content", [b"", b"\xff\x00\x9f" * 50, b"fold,state\n1,completed\n"])
def test_damaged_folds_cost_themselves_alone(tmp_path: Path, content: bytes) -> None:
    run = write(tmp_path, folds=3)
    run.folds.write_bytes(content)
    text = words(run)
    assert "folds.csv could not be read" in text
    assert "could not be written" not in text
    assert "Configurations of the finalists." in text


def test_half_a_row_of_folds_is_counted(tmp_path: Path) -> None:
    run = write(tmp_path, folds=3)
    whole = run.folds.read_text(encoding="utf-8")
    run.folds.write_text(whole + "vgg16,3,4,comp", encoding="utf-8")
    assert read(run).problems["folds.csv"].startswith("folds.csv was cut short")
    run.folds.write_text(whole + "vgg16,3,4,comp\n", encoding="utf-8")
    text = words(run)
    assert "folds.csv holds 1 row that cannot be read" in text
    assert "The finalists on each fold. (9 rows)" in text
