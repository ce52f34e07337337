"""Finalists and their folds: who wins, what is written after each, and what is not trained again."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys

from bench.cli import main
from bench.errors import ConfigError, TrialFailed
from bench.finalists import Folds, choose, fold_task, read_finalists, retrain_finalists
from bench.metrics import METRICS, Metric
from bench.results import TrialLog, TrialRecord
from bench.rundir import RunDir, write_table
from bench.trial import EpochRecord, TrialConfig, TrialResult

A, B = TrialConfig("a", dropout=0.1), TrialConfig("b", "light", 2, 1e-3, 0.1)
AUC, LOG_LOSS = METRICS["auc"], METRICS["log_loss"]
SIZE = {"images_train": 20, "images_val": 10, "patients_val": 7}
Scores = Mapping[str, Sequence[Any]]


def metrics(auc: float, log_loss: float = 0.5) -> dict[str, float]:
    return {**dict.fromkeys(METRICS, 0.5), "auc": auc, "log_loss": log_loss}


def result(scores: Mapping[str, float]) -> TrialResult:
    return TrialResult(1, dict(scores), (EpochRecord("head", 1, 0.5, dict(scores), 1.0),), 2.0)


class Work:
    """A run folder with one trial of each backbone, and trainings that only look up what they give."""

    def __init__(self, folder: Path, validation: Mapping[str, Any]) -> None:
        self.run = RunDir(folder)
        self.validation = validation
        self.retrained: list[str] = []
        self.trained: list[tuple[str, int]] = []
        self.log = TrialLog(self.run)
        for config in (A, B):
            self.add(config, metrics(0.6))

    def add(self, config: TrialConfig, scores: Mapping[str, float]) -> None:
        number = self.log.next_trial
        self.log.add(TrialRecord(number, "completed", "", "sampled", config, scores, 1, 1, 1.0, 1.0), [])

    def retrain(self, config: TrialConfig, seed: int, checkpoint: Any, model: Any) -> TrialResult:
        self.retrained.append(config.backbone)
        scores = self.validation[config.backbone]
        if isinstance(scores, BaseException):
            raise scores
        model.parent.mkdir(exist_ok=True)
        model.write_text(f"model of {config.backbone}")
        return result(scores)

    def go(self, scores: Scores | None = None, metric: Metric = AUC, seed: int = 0) -> pd.DataFrame:
        """Retrain; ``scores`` are those of the folds, by backbone, an exception for a fold that fails."""

        def train(config: TrialConfig, seed: int, fold: int) -> TrialResult:
            assert scores is not None
            found = scores[config.backbone][fold - 1]
            if isinstance(found, BaseException):
                raise found
            self.trained.append((config.backbone, fold))
            return result(found if isinstance(found, dict) else metrics(found))

        chosen = choose(self.log, metric, ["a", "b"])
        sizes = [SIZE] * len(scores["a"]) if scores else []
        folds = Folds(sizes, train, ended=lambda rows: None) if scores else None
        return retrain_finalists(
            chosen,
            run=self.run,
            metric=metric,
            seed=seed,
            retrain=self.retrain,
            started=lambda record: None,
            ended=lambda row: None,
            folds=folds,
        )

    def winner(self) -> str:
        table = read_finalists(self.run)
        (name,) = table.loc[table["winner"], "backbone"]
        assert self.run.best_model.read_text() == f"model of {name}"
        assert table["backbone"].iloc[0] == name
        return str(name)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Backbone a is better on the validation split."""
    return Work(tmp_path, {"a": metrics(0.9), "b": metrics(0.8)})


def test_without_folds_the_validation_score_decides_and_nothing_tells_of_folds(work: Work) -> None:
    table = work.go()
    assert work.winner() == "a"
    assert not work.run.folds.exists()
    assert not [column for column in table if column.startswith("fold")]


def test_the_best_mean_of_the_folds_wins(work: Work) -> None:
    table = work.go({"a": [0.6, 0.7, 0.9], "b": [0.8, 0.75, 0.8]}).set_index("backbone")
    assert work.winner() == "b"
    assert table["folds"].to_dict() == {"a": 3, "b": 3}
    assert table.loc["a", "fold_mean"] == pytest.approx(np.mean([0.6, 0.7, 0.9]))
    assert table.loc["a", "fold_sd"] == pytest.approx(np.std([0.6, 0.7, 0.9], ddof=1))
    assert table.loc["b", "metric_auc"] == 0.8  # of the retrained model, as ever

    folds = pd.read_csv(work.run.folds)
    assert folds[["backbone", "fold"]].to_numpy().tolist() == [[name, fold] for name in "ab" for fold in (1, 2, 3)]
    assert folds["metric_auc"].tolist() == [0.6, 0.7, 0.9, 0.8, 0.75, 0.8]
    assert folds["seed"].nunique() == 6
    assert (folds[list(SIZE)] == list(SIZE.values())).all(axis=None)
    assert folds["config_unfreeze_depth"].tolist() == [0, 0, 0, 2, 2, 2]


def test_a_score_that_is_to_be_small(work: Work) -> None:
    work.go({name: [metrics(0.5, loss)] * 2 for name, loss in (("a", 0.4), ("b", 0.3))}, metric=LOG_LOSS)
    assert work.winner() == "b"


def test_log_loss_decides_between_equal_means(work: Work) -> None:
    work.go({"a": [metrics(0.5, 0.1), metrics(0.75, 0.7)], "b": [metrics(0.75, 0.3), metrics(0.5, 0.3)]})
    assert work.winner() == "b"


def test_a_failed_fold_is_recorded_and_the_others_go_on(work: Work) -> None:
    work.go({"a": [0.95, TrialFailed("memory ran out"), ValueError("two\nlines")], "b": [0.7, 0.8, 0.9]})
    folds = pd.read_csv(work.run.folds, keep_default_na=False)
    assert folds["state"].tolist() == ["completed", "failed", "failed", *["completed"] * 3]
    assert folds["reason"].tolist() == ["", "memory ran out", "ValueError: two lines", "", "", ""]
    assert folds["metric_auc"].tolist()[1:3] == ["", ""]
    assert folds["best_epoch"].tolist() == ["1", "", "", "1", "1", "1"]
    table = read_finalists(work.run).set_index("backbone")
    assert table["folds"].to_dict() == {"a": 1, "b": 3}
    assert table["fold_mean"].to_dict() == {"a": 0.95, "b": pytest.approx(0.8)}
    assert pd.isna(table.loc["a", "fold_sd"])


def test_a_finalist_without_a_completed_fold_loses(work: Work) -> None:
    broken = TrialFailed("the loss became nan")
    work.go({"a": [broken, broken], "b": [0.3, 0.2]})
    assert work.winner() == "b"
    assert read_finalists(work.run).set_index("backbone")["folds"].to_dict() == {"b": 2, "a": 0}


def test_the_validation_score_decides_if_no_fold_was_completed(work: Work) -> None:
    broken = TrialFailed("the loss became nan")
    table = work.go({"a": [broken, broken], "b": [broken, broken]})
    assert work.winner() == "a"
    assert table["folds"].tolist() == [0, 0]


def test_a_finalist_that_cannot_be_retrained_has_no_folds_and_cannot_win(tmp_path: Path) -> None:
    work = Work(tmp_path, {"a": TrialFailed("memory ran out"), "b": metrics(0.8)})
    work.go({"a": [0.9, 0.9], "b": [0.7, 0.7]})
    assert work.winner() == "b"
    assert work.trained == [("b", 1), ("b", 2)]


def test_a_request_that_is_wrong_ends_the_folds(work: Work) -> None:
    with pytest.raises(ConfigError):
        work.go({"a": [ConfigError("no such thing"), 0.5], "b": [0.5, 0.5]})


def test_what_is_in_folds_csv_is_not_trained_again(work: Work) -> None:
    scores: dict[str, list[Any]] = {"a": [0.6, TrialFailed("memory ran out"), 0.7], "b": [0.8, 0.9, 0.7]}
    with pytest.raises(KeyboardInterrupt):
        work.go({**scores, "b": [0.8, KeyboardInterrupt(), 0.7]})
    assert len(pd.read_csv(work.run.folds)) == 4  # whole after each
    work.trained.clear()
    work.go(scores)
    assert work.trained == [("b", 2), ("b", 3)]
    assert work.retrained == ["a", "b"]
    assert work.winner() == "b"
    whole = work.run.folds.read_bytes()
    work.trained.clear()
    work.go(scores)
    assert not work.trained
    assert work.run.folds.read_bytes() == whole


def test_folds_of_another_configuration_number_or_seed_do_not_count(work: Work) -> None:
    scores = {"a": [0.6, 0.7], "b": [0.8, 0.9]}
    work.go(scores)

    def anew(**changes: Any) -> list[tuple[str, int]]:
        work.trained.clear()
        work.go(**{"scores": scores, **changes})
        return work.trained

    assert anew() == []
    work.add(dataclasses.replace(A, dropout=0.4), metrics(0.7))  # a better trial: another finalist
    assert anew() == [("a", 1), ("a", 2)]
    assert pd.read_csv(work.run.folds)["config_dropout"].tolist() == [0.4, 0.4, 0.2, 0.2]
    three = {name: [*values, 0.5] for name, values in scores.items()}
    assert anew(scores=three) == [(name, fold) for name in "ab" for fold in (1, 2, 3)]
    assert len(pd.read_csv(work.run.folds)) == 6
    assert len(anew(scores=three, seed=1)) == 6


def test_folds_of_a_backbone_that_left_are_removed(work: Work) -> None:
    scores = {"a": [0.6, 0.7], "b": [0.8, 0.9]}
    work.go(scores)
    work.validation = {"a": metrics(0.9), "b": TrialFailed("memory ran out")}
    work.run.best_model.unlink()  # so b has to be retrained
    work.trained.clear()
    work.go(scores)
    assert work.winner() == "a"
    assert pd.read_csv(work.run.folds)["backbone"].tolist() == ["a", "a"]
    assert work.trained == []


def test_a_damaged_table_of_folds_is_made_anew(work: Work) -> None:
    work.go({"a": [0.6, 0.7], "b": [0.8, 0.9]})
    work.run.folds.write_text("backbone,trial\na,1\n")
    work.trained.clear()
    work.go({"a": [0.6, 0.7], "b": [0.8, 0.9]})
    assert len(work.trained) == 4


def test_a_table_of_finalists_from_before_there_were_folds_goes_on(work: Work) -> None:
    work.go()
    work.go({"a": [0.6, 0.7], "b": [0.8, 0.9]})
    assert work.retrained == ["a", "b"]
    assert work.winner() == "b"  # and the files have changed places


def test_the_task_of_a_fold_holds_train_and_val_and_never_test(make_task: Callable[..., Any]) -> None:
    from bench.data.splits import folds

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"label": rng.choice(["A", "B"], 60), "split": rng.choice(["train", "val", "test", ""], 60)})
    table["patient"] = np.arange(60) // 2
    split_of = table.groupby("patient")["split"].first()
    table["split"] = table["patient"].map(split_of)
    classes = (table["label"] == "B").to_numpy(dtype=np.int64)
    rows = {split: np.flatnonzero(table["split"] == split) for split in ("train", "val")}
    task = make_task(rows=rows, labels={split: classes[chosen] for split, chosen in rows.items()})

    assigned = folds(table, 3, seed=0).to_numpy()
    own = sorted([*rows["train"], *rows["val"]])
    held_out: list[int] = []
    for number in (1, 2, 3):
        found = fold_task(task, assigned, number)
        train, val = found.rows["train"], found.rows["val"]
        assert (table["split"].iloc[[*train, *val]].isin(["train", "val"])).all()
        assert sorted([*train, *val]) == own
        assert set(assigned[val]) == {number}
        assert not set(table["patient"].iloc[train]) & set(table["patient"].iloc[val])
        for split in ("train", "val"):
            np.testing.assert_array_equal(found.labels[split], classes[found.rows[split]])
            assert (np.diff(found.rows[split]) > 0).all()
        assert dataclasses.replace(found, rows=rows, labels=task.labels, depths=task.depths) == task
        held_out += [int(row) for row in val]
    assert sorted(held_out) == own


@pytest.mark.end_to_end
def test_a_run_with_folds(
    tmp_path: Path,
    toy_folder: Path,
    toy_table: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    flags = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "2", "--no-test"]
    flags += ["--backbones", "toy", "--budget", "2", "--jobs", "1", "--cache", str(tmp_path / "cache")]
    flags += ["--name", "folds", "--folds", "2"]
    assert main(["run", *flags]) == 0
    run = RunDir(tmp_path / "reports" / "folds")
    folds = pd.read_csv(run.folds)
    assert folds[["fold", "state"]].to_numpy().tolist() == [[1, "completed"], [2, "completed"]]
    assert (folds["images_train"] + folds["images_val"] == 48 + 32).all()  # the 16 of test take no part
    assert folds["images_val"].sum() == 48 + 32
    mean, deviation = folds["metric_auc"].mean(), folds["metric_auc"].std()
    (row,) = read_finalists(run).to_dict("records")
    assert (row["fold_mean"], row["fold_sd"]) == pytest.approx((mean, deviation))
    winner = run.read_run()["winner"]
    assert (winner["fold_mean"], winner["fold_sd"], winner["folds"]) == pytest.approx((mean, deviation, 2))
    assert winner["score"] == row["metric_auc"]
    assert f"toy over 2 folds: ROC AUC {mean:.4f} ± {deviation:.4f}" in capfd.readouterr().out

    # interrupted after one fold: the other is trained, and gives what it gave
    write_table(run.folds, folds.iloc[:1])
    run.reopen("finalists")
    assert main(["run", "--resume", "folds"]) == 0
    again = pd.read_csv(run.folds)
    pd.testing.assert_frame_equal(again.iloc[:1], folds.iloc[:1])
    assert again["metric_log_loss"].tolist() == pytest.approx(folds["metric_log_loss"].tolist(), abs=1e-6)
    assert read_finalists(run)["sha256"].tolist() == [row["sha256"]]
    assert run.read_run()["winner"] == pytest.approx(winner, abs=1e-6)
