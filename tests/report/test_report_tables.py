"""The summaries that the report shows are right, whichever way the metric points."""

import numpy as np
import pandas as pd
import pytest
from report_run import CLASSES, write_run

from bench.report.read.files import RunFiles, read
from bench.report.tables import data as tables_data
from bench.report.tables import importance
from bench.report.tables import models as tables_models
from bench.report.tables import search as tables_search
from bench.report.tables import winner as tables_winner
from bench.run.documents import ClassAgreement, ClassScores, Estimate, EvaluationRecord, ModelScores
from bench.stats.metrics import METRICS

AUC, LOG_LOSS = METRICS["auc"], METRICS["log_loss"]


def trials() -> pd.DataFrame:
    """Six trials of two backbones: 0 and 3 tie in AUC, 2 was stopped early, 4 failed."""
    return pd.DataFrame(
        {
            "trial": [0, 1, 2, 3, 4, 5],
            "state": ["completed", "completed", "pruned", "completed", "failed", "completed"],
            "config_backbone": ["vgg16", "vgg16", "vgg16", "resnet50", "resnet50", "resnet50"],
            "config_augmentation": ["none", "light", "none", "none", "light", "light"],
            "config_unfreeze_depth": [0.0, 1.0, 0.0, 1.0, 0.0, 1.0],
            "metric_auc": [0.95, 0.90, 0.70, 0.95, np.nan, 0.93],
            "metric_log_loss": [0.30, 0.20, 0.90, 0.25, np.nan, 0.40],
            "seconds": [10.0, 20.0, 5.0, 30.0, 1.0, 40.0],
        }
    )


def test_counts_and_scores_by_backbone() -> None:
    at_rung = [0.8, 0.85, 0.6, 0.9, np.nan, 0.94]
    summary = tables_search.by_backbone(trials().assign(at_rung=at_rung), AUC).set_index("config_backbone")
    vgg, resnet = summary.loc["vgg16"], summary.loc["resnet50"]
    assert (vgg["trials"], vgg["completed"], vgg["stopped_early"], vgg["failed"]) == (3, 2, 1, 0)
    assert (resnet["trials"], resnet["completed"], resnet["stopped_early"], resnet["failed"]) == (3, 2, 0, 1)
    assert vgg["best"] == 0.95
    assert vgg["mean"] == pytest.approx(0.75), "of all its trials, at the rung that all reached"
    assert resnet["sd"] == pytest.approx(np.std([0.9, 0.94], ddof=1))
    assert tables_search.by_backbone(trials(), AUC)["mean"].isna().all(), "not known"
    assert (vgg["seconds"], resnet["seconds"]) == (35.0, 71.0)


def test_best_follows_the_direction_of_the_metric() -> None:
    by_auc = tables_search.by_augmentation(trials(), AUC)
    by_loss = tables_search.by_augmentation(trials(), LOG_LOSS)
    assert list(by_auc["config_augmentation"]) == ["none", "light"]
    assert list(by_loss["config_augmentation"]) == ["light", "none"]
    assert list(by_loss["best"]) == [0.20, 0.25]


def test_depths_stand_in_order_and_combinations_add_up() -> None:
    assert list(tables_search.by_unfreeze_depth(trials(), AUC)["config_unfreeze_depth"]) == [0, 1]
    combinations = tables_search.by_combination(trials(), AUC)
    assert combinations["trials"].sum() == 6
    assert len(combinations) == 5


def test_leaderboard_breaks_ties_by_log_loss_and_ranks_no_failure() -> None:
    board = tables_search.leaderboard(trials(), AUC)
    assert list(board["trial"]) == [3, 0, 5, 1, 2, 4]
    assert list(board["rank"].iloc[:5]) == [1, 2, 3, 4, 5]
    assert pd.isna(board["rank"].iloc[5])
    assert list(tables_search.leaderboard(trials(), LOG_LOSS)["trial"]) == [1, 3, 0, 5, 2, 4]


def test_running_best_goes_up_for_auc_and_down_for_log_loss() -> None:
    assert list(tables_search.running_best(trials(), AUC)["best"]) == [0.95] * 5
    assert list(tables_search.running_best(trials(), LOG_LOSS)["best"]) == [0.30, 0.20, 0.20, 0.20, 0.20]


def test_best_by_depth_leaves_untried_cells_empty() -> None:
    best, number = tables_search.best_by_depth(trials(), AUC)
    assert best.loc["vgg16", 0] == 0.95
    assert number.loc["vgg16", 0] == 2
    assert pd.isna(best.loc["resnet50", 0]), "its only trial at depth 0 failed"


def test_finalists_average_over_seeds_and_carry_test_intervals() -> None:
    rows = pd.DataFrame(
        {
            "backbone": ["vgg16", "vgg16", "resnet50", "resnet50"],
            "state": ["completed", "completed", "completed", "failed"],
            "reason": [None, None, None, "out of memory"],
            "winner": [False, True, False, False],
            "trial": [0, 0, 3, 3],
            "trial_score": [0.95, 0.95, 0.97, 0.97],
            "metric_auc": [0.94, 0.98, 0.95, np.nan],
            "seconds": [10.0, 12.0, 8.0, 1.0],
        }
    ).assign(folds=None, fold_mean=None, fold_sd=None)
    auc = Estimate(value=0.9, low=0.8, high=0.95)
    evaluation = EvaluationRecord(models={"vgg16": ModelScores(metrics={"auc": auc, "f1": Estimate()})})
    table = tables_models.finalists(rows, evaluation, AUC).set_index("backbone")
    vgg, resnet = table.loc["vgg16"], table.loc["resnet50"]
    assert (vgg["score"], vgg["lowest"], vgg["highest"], vgg["seeds"]) == (pytest.approx(0.96), 0.94, 0.98, 2)
    assert vgg["change"] == pytest.approx(0.01)
    assert vgg["winner"] and not resnet["winner"]
    assert (vgg["test_auc"], vgg["test_auc_low"], vgg["test_auc_high"]) == (0.9, 0.8, 0.95)
    assert (resnet["seeds"], resnet["failed"], resnet["reason"]) == (1, 1, "out of memory")
    assert pd.isna(resnet["lowest"]), "one seed has no range"
    assert pd.isna(resnet["test_auc"])


def test_confusion_rates_are_shares_of_the_reference_standard() -> None:
    model = ModelScores(confusion=((8, 2), (0, 0)))
    counts, rates = tables_winner.confusion(model, list(CLASSES))
    assert counts.loc["NORMAL", "PNEUMONIA"] == 2
    assert list(rates.loc["NORMAL"]) == [0.8, 0.2]
    assert rates.loc["PNEUMONIA"].isna().all()
    assert tables_winner.operating_point(model, list(CLASSES)) is None
    with pytest.raises(ValueError, match="3 classes"):
        tables_winner.confusion(model, ["a", "b", "c"])


def test_operating_point_and_majority() -> None:
    model = ModelScores(confusion=((90, 10), (30, 270)))
    assert tables_winner.operating_point(model, list(CLASSES)) == (0.1, 0.9)
    assert tables_winner.majority(model, list(CLASSES)) == ("PNEUMONIA", 0.75)


def test_classification_report_has_a_row_a_class_and_the_averages() -> None:
    model = ModelScores(
        per_class={"NORMAL": ClassScores(precision=0.5, recall=1.0, f1=0.67, support=3, auc=0.9)},
        averages={"macro": {"precision": 0.4, "recall": 0.6, "f1": 0.5}},
    )
    report = tables_winner.classification_report(model, list(CLASSES)).set_index("label")
    assert list(report.index) == ["NORMAL", "PNEUMONIA", "Average (macro)"]
    assert report.loc["NORMAL", "precision"] == 0.5
    assert pd.isna(report.loc["PNEUMONIA", "recall"])
    assert report.loc["Average (macro)", "f1"] == 0.5


def test_roc_has_one_curve_for_two_classes_and_one_each_for_more() -> None:
    two = pd.DataFrame({"label": ["a", "a", "b", "b"], "prob_a": [0.9, 0.4, 0.5, 0.1]}).assign(
        prob_b=lambda table: 1 - table["prob_a"]
    )
    curve = tables_winner.curves(two, ["a", "b"])[0]
    assert set(curve["label"]) == {"b"}
    assert curve["auc"].iloc[0] == 0.75
    three = pd.DataFrame({"label": ["a", "b", "a"], "prob_a": [1, 0, 1], "prob_b": [0, 1, 0], "prob_c": [0, 0, 0]})
    several = tables_winner.curves(three, ["a", "b", "c"])[0]
    assert set(several["label"]) == {"a", "b"}, "no image has class c: it has no curve"


def test_patients_across_splits_are_counted() -> None:
    splits = pd.DataFrame({"patient": ["1", "1", "2", None, None], "split": ["train", "test", "val", "train", "test"]})
    assert tables_data.shared_patients(splits) == 1


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    return read(write_run(tmp_path_factory.mktemp("run") / "xray"))


def test_importance_finds_what_decided_the_score(files: RunFiles) -> None:
    assert files.trials is not None
    trials = files.trials[files.trials["state"] != "failed"]
    assert importance.why_not(trials, AUC) == ""
    noise = np.random.default_rng(0).normal(0, 1e-4, len(trials))
    decided = trials.assign(metric_auc=0.9 + 0.02 * np.log10(trials["config_learning_rate"]) + noise)
    summary = importance.importance(decided, AUC, draws=2)
    assert summary["parameter"].iloc[0] == "learning_rate"
    assert summary["mean"].iloc[0] > 0.9
    assert summary["mean"].sum() == pytest.approx(1)
    assert "finetune_factor" not in set(summary["parameter"]), "frozen trials have none"
    frozen = decided["config_unfreeze_depth"] == 0
    assert 0 < frozen.sum() < len(frozen)
    averaged = decided.assign(config_ema_momentum=np.where(frozen, 0.0, 0.98))
    assert set(importance.importance(averaged, AUC, draws=2)["parameter"]) == set(summary["parameter"])


def test_importance_says_why_it_is_skipped(files: RunFiles) -> None:
    assert files.trials is not None
    assert "at least 8 trials with comparable scores; this run has 0." in importance.why_not(files.trials.head(0), AUC)
    assert "same score" in importance.why_not(files.trials.assign(metric_auc=0.9), AUC)
    constant = {name: "x" for name in files.trials.columns if name.startswith("config_")}
    assert "same configuration" in importance.why_not(files.trials.assign(**constant), AUC)


def test_widened_intervals_stand_behind_the_others_where_there_are_any() -> None:
    slope = Estimate(value=1.426, low=1.036, high=2.127)
    found = tables_winner.agreement_cells(
        ClassAgreement(slope=slope, widened={"slope": Estimate(value=1.426, low=0.98, high=2.31)})
    )
    assert (found["slope"], found["slope bounds"]) == (1.426, "1.036–2.127; widened 0.980–2.310")
    assert tables_winner.agreement_cells(ClassAgreement(slope=slope))["slope bounds"] == "1.036–2.127"
