"""Finalists and their folds: who wins, what is written after each, and what is not trained again."""

import dataclasses
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import toys

from bench.cli import main
from bench.errors import ConfigError, TrialFailed, WorkerDied
from bench.failures import MACHINE, MEMORY, kind_of
from bench.finalists.folds import Folds, epoch_of, fold_rows
from bench.finalists.seeds import NoFinalist, Repeats, Told, Wanted
from bench.finalists.select import choose, read_finalists, retrain_finalists
from bench.numbers import score, with_spread
from bench.run import stages
from bench.run.console import Screen
from bench.run.folder import RunDir, write_table
from bench.run.progress import RunDisplay
from bench.run.results import TrialLog, TrialRecord
from bench.run.tables import EPOCHS, FOLDS
from bench.stats.metrics import METRICS, Metric
from bench.trial import EpochRecord, TrialConfig, TrialResult

A, B = TrialConfig("a", dropout=0.1), TrialConfig("b", "light", 2, 1e-3, 0.1)
AUC, LOG_LOSS = METRICS["auc"], METRICS["log_loss"]
SIZE = {"images_train": 20, "images_val": 10, "patients_val": 7}
Scores = Mapping[str, Sequence[Any]]
SMALL = "--precision float32 --backbones toy --budget 2 --jobs 1"
ROWS = [{"train": np.arange(fold), "val": np.arange(fold, 9)} for fold in range(3)]


def metrics(auc: float, log_loss: float = 0.5) -> dict[str, float]:
    return {**dict.fromkeys(METRICS, 0.5), "auc": auc, "log_loss": log_loss}


def result(scores: Mapping[str, float]) -> TrialResult:
    return TrialResult(1, dict(scores), (EpochRecord("head", 1, 0.5, dict(scores), 1.0),), 2.0)


def curve(values: list[float]) -> TrialResult:
    """A head that was warmed up for one epoch, and then a suffix with these scores."""
    epochs = [EpochRecord("head", 1, 0.5, metrics(0.99), 1.0)]
    epochs += [EpochRecord("finetune", number, 0.5, metrics(value), 1.0) for number, value in enumerate(values, 2)]
    best = max(epochs[1:], key=lambda epoch: epoch.metrics["auc"])
    return TrialResult(best.epoch, best.metrics, tuple(epochs), 2.0)


class Work:
    """A run folder with one trial of each backbone, and trainings that only look up what they give."""

    def __init__(self, folder: Path, validation: Mapping[str, Any]) -> None:
        self.run = RunDir(folder)
        self.validation = validation
        self.retrained: list[str] = []
        self.seeds: list[int] = []
        self.summaries: list[list[float]] = []
        self.repeats = 1
        self.trained: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self.log = TrialLog(self.run)
        for config in (A, B):
            self.add(config, metrics(0.6))

    def add(self, config: TrialConfig, scores: Mapping[str, float]) -> None:
        number = self.log.next_trial
        self.log.add(TrialRecord(number, "completed", "", "sampled", config, scores, 1, 1, 1.0, 1.0), [])

    def retrain(self, config: TrialConfig, seed: int, model: Any) -> TrialResult:
        """``validation`` may hold a list for a backbone: what each repeat gives."""
        self.retrained.append(config.backbone)
        self.seeds.append(seed)
        scores = self.validation[config.backbone]
        if isinstance(scores, list):
            scores = scores[int(model.stem.rsplit("-", 1)[1]) - 1]
        if isinstance(scores, BaseException):
            raise scores
        model.parent.mkdir(exist_ok=True)
        model.write_text(f"model of {config.backbone}" + (f", {model.stem}" if self.repeats > 1 else ""))
        return result(scores)

    def go(self, scores: Scores | None = None, metric: Metric = AUC, seed: int = 0, repeats: int = 1) -> pd.DataFrame:
        """Retrain; ``scores`` are those of the folds, by backbone, an exception for a fold that fails."""
        self.repeats = repeats

        def train_fold(backbone: str, fold: int) -> TrialResult:
            assert scores is not None
            found = scores[backbone][fold - 1]
            if isinstance(found, BaseException):
                raise found
            self.trained.append((backbone, fold))
            if isinstance(found, list):
                return curve(found)
            return result(found if isinstance(found, dict) else metrics(found))

        def train(wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Any]]:
            for one in wanted:
                job, fold = one.job, one.curve.fold
                begins = (fold or one.curve.repeat or 0) - 1
                assert (job.views, job.first_view, job.from_scratch) == (6, begins, False)
                try:
                    if fold is not None:
                        assert job.rows is ROWS[fold - 1] and job.model_file is None
                        yield one, train_fold(job.config.backbone, fold)
                    else:
                        yield one, self.retrain(job.config, job.seed, job.model_file)
                except Exception as error:
                    yield one, error

        chosen = choose(self.log, metric, ["a", "b"])
        sizes = [SIZE] * len(scores["a"]) if scores else []
        folds = Folds(ROWS[: len(sizes)], sizes, 6, lambda rows: None, self.notes.append) if scores else None
        how = Repeats(self.run, metric, seed, repeats, 6, self.log.epochs)
        told = Told(on_group_done=lambda rows: self.summaries.append([row["metric_auc"] for row in rows]))
        return retrain_finalists(chosen, how, train, folds, told)

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
    assert table[["folds", "fold_mean", "fold_sd"]].isna().all(axis=None)


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


def test_a_fold_is_scored_after_the_epoch_that_the_others_choose(work: Work) -> None:
    """Each fold's own best is 0.9; the other two have theirs at another epoch."""
    a = [[0.9, 0.6, 0.5], [0.7, 0.8, 0.9], [0.5, 0.9]]
    work.go({"a": a, "b": [0.5] * 3})
    folds = pd.read_csv(work.run.folds).query("backbone == 'a'")
    # without the first: (0.6, 0.85, 0.9), the third: 0.5; without the second: (0.7, 0.75, 0.7), the second: 0.8;
    # without the third: (0.8, 0.7, 0.7), the first: 0.5
    assert folds["metric_auc"].tolist() == [0.5, 0.8, 0.5]
    assert folds["best_epoch"].tolist() == [4, 3, 2]
    assert read_finalists(work.run).set_index("backbone").loc["a", "fold_mean"] == pytest.approx(0.6)


def test_an_epoch_after_the_end_of_a_training_is_its_last() -> None:
    own, other = curve([0.5, 0.6]).epochs[1:], curve([0.1, 0.2, 0.3, 0.4]).epochs[1:]
    assert epoch_of(own, [other], AUC).epoch == 3
    assert epoch_of(other, [own], AUC).epoch == 3, "the second of the phase"
    assert epoch_of(own, [], AUC).epoch == 3, "nobody can choose: the last"
    assert epoch_of(own, [other], METRICS["log_loss"]).epoch == 2, "all alike: the first"


def test_a_failed_fold_is_recorded_and_the_others_go_on(work: Work) -> None:
    work.go({"a": [0.95, TrialFailed("the loss became nan"), ValueError("two\nlines")], "b": [0.7, 0.8, 0.9]})
    folds = pd.read_csv(work.run.folds, keep_default_na=False)
    assert folds["state"].tolist() == ["completed", "failed", "failed", *["completed"] * 3]
    assert folds["reason"].tolist() == ["", "the loss became nan", "ValueError: two lines", "", "", ""]
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
    work = Work(tmp_path, {"a": TrialFailed("the loss became nan"), "b": metrics(0.8)})
    work.go({"a": [0.9, 0.9], "b": [0.7, 0.7]})
    assert work.winner() == "b"
    assert pd.read_csv(work.run.folds)[["backbone", "fold"]].to_numpy().tolist() == [["b", 1], ["b", 2]]


def test_a_full_disk_ends_the_stage_and_what_was_finished_is_kept(tmp_path: Path) -> None:
    work = Work(tmp_path, {"a": metrics(0.9), "b": OSError(28, "No space left on device")})
    with pytest.raises(OSError, match="No space left on device"):
        work.go()
    assert not work.run.best_model.exists()
    assert read_finalists(work.run)["backbone"].tolist() == ["a"]
    work.validation["b"] = metrics(0.95)
    work.retrained.clear()
    work.go()
    assert work.retrained == ["b"] and work.winner() == "b"


def test_a_full_disk_in_a_fold_ends_the_stage(work: Work) -> None:
    with pytest.raises(OSError, match="No space left on device"):
        work.go({"a": [0.9, OSError(28, "No space left on device")], "b": [0.8, 0.7]})
    assert pd.read_csv(work.run.folds)["state"].tolist() == ["completed"]


@pytest.mark.parametrize(
    "error",
    [
        WorkerDied(MACHINE, "the worker was killed"),
        OSError(5, "Input/output error"),
        MemoryError("no room"),
        pickle.loads(pickle.dumps(TrialFailed("memory ran out; a smaller batch size needs less", MEMORY))),
    ],
)
def test_nobody_wins_while_a_backbone_is_missing_through_a_crash(tmp_path: Path, error: Exception) -> None:
    work = Work(tmp_path, {"a": error, "b": metrics(0.8)})
    with pytest.raises(
        NoFinalist, match=r"^a \(.*\) could not be trained for a fault of the machine or its memory, .*sealed"
    ):
        work.go()
    assert not work.run.best_model.exists()
    kept = pd.read_csv(work.run.finalists)
    assert kept[["backbone", "state"]].to_numpy().tolist() == [["a", "failed"], ["b", "completed"]]
    work.validation["a"] = metrics(0.9)
    work.retrained.clear()
    work.go()
    assert work.retrained == ["a"], "the resumed run tries it again, and it alone"
    assert work.winner() == "a"


def test_a_fold_that_a_crash_took_keeps_everybody_from_winning_and_is_trained_again(work: Work) -> None:
    died = WorkerDied(MACHINE, "the worker process was killed")
    with pytest.raises(NoFinalist, match=r"^a on fold 2 \(the worker process was killed\) could not be trained"):
        work.go({"a": [0.9, died, 0.9], "b": [0.8, 0.75, 0.8]})
    assert not work.run.best_model.exists()
    assert pd.read_csv(work.run.folds)["backbone"].tolist() == ["a", "a", "b", "b", "b"]
    work.trained.clear()
    work.go({"a": [0.9, 0.8, 0.9], "b": [0.8, 0.75, 0.8]})
    assert work.trained == [("a", 2)]
    assert work.winner() == "a"


@pytest.mark.parametrize("error", [WorkerDied(MACHINE, "it was killed"), TrialFailed("too little", MEMORY)])
def test_a_failure_goes_to_another_process_and_back(error: TrialFailed) -> None:
    died = pickle.loads(pickle.dumps(error))
    assert (type(died), died.kind, str(died)) == (type(error), error.kind, str(error))
    assert kind_of(died) == error.kind


def test_one_seed_of_several_that_a_crash_took_keeps_nobody_from_winning(tmp_path: Path) -> None:
    died = WorkerDied(MACHINE, "the worker process was killed")
    work = Work(tmp_path, {"a": [died, metrics(0.9)], "b": [metrics(0.8), metrics(0.8)]})
    work.go(repeats=2)
    assert work.run.best_model.read_text() == "model of a, a-2"


def test_a_request_that_is_wrong_ends_the_folds(work: Work) -> None:
    with pytest.raises(ConfigError):
        work.go({"a": [ConfigError("no such thing"), 0.5], "b": [0.5, 0.5]})


def test_what_is_in_folds_csv_is_not_trained_again(work: Work) -> None:
    scores: dict[str, list[Any]] = {"a": [0.6, TrialFailed("the loss became nan"), 0.7], "b": [0.8, 0.9, 0.7]}
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
    work.validation = {"a": metrics(0.9), "b": TrialFailed("the loss became nan")}
    work.run.model_file("b", 1).unlink()  # so b has to be retrained
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


@pytest.mark.parametrize("name", ["finalists", "folds"])
def test_a_score_that_was_changed_while_the_stage_is_unfinished_lets_nobody_else_win(work: Work, name: str) -> None:
    scores = {"a": [0.9, 0.8], "b": [0.7, 0.7]} if name == "folds" else None
    work.go(scores)
    assert work.winner() == "a"
    file = getattr(work.run, name)
    table = pd.read_csv(file)
    table.loc[table["backbone"] == "a", "metric_auc"] = 0.1
    write_table(file, table)
    work.retrained.clear(), work.trained.clear()
    work.go(scores)
    assert work.winner() == "a"
    assert (work.retrained, len(work.trained)) == ((["a", "b"], 0) if name == "finalists" else ([], 4))


def test_a_fold_whose_curve_was_changed_is_trained_again(work: Work) -> None:
    """The curves choose the epochs that folds are scored by."""
    scores = {"a": [[0.6, 0.9], [0.5, 0.9], [0.4, 0.9]], "b": [0.7, 0.7, 0.7]}
    work.go(scores)
    assert work.winner() == "a"
    table = EPOCHS.read(work.run.path)
    mine = (table["name"] == "a") & (table["fold"] == 2)
    table.loc[mine & (table["epoch"] == 2), "metric_auc"] = 0.99999
    EPOCHS.write(work.run.path, table)
    work.log = TrialLog.load(work.run)
    work.trained.clear()
    work.go(scores)
    assert work.trained == [("a", 2)] and work.winner() == "a"
    assert work.notes == ["epochs.csv is not as the run wrote it; trained again: a on fold 2"]
    work.log = TrialLog.load(work.run)
    work.trained.clear()
    work.go(scores)
    assert not work.trained, "as it was read again"
    old = FOLDS.read(work.run.path).drop(columns="curve")
    FOLDS.write(work.run.path, old)
    work.go(scores)
    assert not work.trained, "as before there was that column"


def test_a_table_of_finalists_from_before_there_were_folds_goes_on(work: Work) -> None:
    work.go()
    work.go({"a": [0.6, 0.7], "b": [0.8, 0.9]})
    assert work.retrained == ["a", "b"]
    assert work.winner() == "b"  # and the files have changed places


# Repeats


def files(work: Work) -> set[str]:
    """The files of all models; the table says the same, and each holds what its own training has left."""
    found = {path.name: path.read_text() for path in work.run.models.glob("*.h5")}
    table = read_finalists(work.run)
    done = table[table["state"] == "completed"]
    assert {row["model"] for row in done.to_dict("records")} == {f"models/{name}" for name in found}
    for row in done.to_dict("records"):
        assert Path(row["model"]).stem == f"{row['backbone']}-{row['repeat']}"
        assert found[Path(row["model"]).name] == f"model of {row['backbone']}, {row['backbone']}-{row['repeat']}"
        assert row["winner"] == (work.run.path / row["model"]).samefile(work.run.best_model)
    return set(found)


@pytest.fixture
def repeated(tmp_path: Path) -> Work:
    """Backbone a has the best single repeat, backbone b the better mean."""
    a, b = [metrics(0.7), metrics(0.95), metrics(0.6)], [metrics(0.8), metrics(0.79), metrics(0.82)]
    return Work(tmp_path, {"a": a, "b": b})


def test_the_best_mean_over_the_repeats_wins_and_its_repeat_nearest_the_median_is_exported(repeated: Work) -> None:
    table = repeated.go(repeats=3)
    assert table["backbone"].tolist() == ["b", "b", "b", "a", "a", "a"]
    assert table["repeat"].tolist() == [1, 2, 3] * 2
    assert table["winner"].tolist() == [True, False, False, False, False, False]
    assert table["representative"].tolist() == [True, False, False, True, False, False]
    assert files(repeated) == {f"{name}-{repeat}.h5" for name in "ab" for repeat in (1, 2, 3)}
    assert repeated.run.best_model.read_text() == "model of b, b-1"
    pd.testing.assert_frame_equal(read_finalists(repeated.run), table, check_dtype=False)
    assert repeated.summaries == [[0.7, 0.95, 0.6], [0.8, 0.79, 0.82]]


def test_a_score_that_is_to_be_small_with_repeats(tmp_path: Path) -> None:
    work = Work(tmp_path, {"a": [metrics(0.9, 0.5), metrics(0.9, 0.1)], "b": [metrics(0.9, 0.2), metrics(0.9, 0.3)]})
    work.go(repeats=2, metric=LOG_LOSS)
    assert work.run.best_model.read_text() == "model of b, b-1"


def test_equal_means_go_by_log_loss_and_so_do_equal_repeats(tmp_path: Path) -> None:
    a, b = [metrics(0.8, 0.5)] * 3, [metrics(0.8, 0.6), metrics(0.8, 0.3), metrics(0.8, 0.4)]
    work = Work(tmp_path, {"a": a, "b": b})
    work.go(repeats=3)
    assert work.run.best_model.read_text() == "model of b, b-3"


def test_every_repeat_has_a_seed_of_its_own_and_the_first_that_of_a_single_one(work: Work) -> None:
    from bench.seeds import stable_seed

    work.go(repeats=3)
    assert len(set(work.seeds)) == 6
    assert work.seeds[0] == stable_seed("finalist", 0, A.key)
    assert read_finalists(work.run).set_index(["backbone", "repeat"])["seed"].to_dict() == {
        (name, repeat): seed
        for (name, repeat), seed in zip([(n, r) for n in "ab" for r in (1, 2, 3)], work.seeds, strict=True)
    }


def test_a_repeat_that_fails_says_why_and_the_mean_is_over_the_others(repeated: Work) -> None:
    repeated.validation["a"][2] = TrialFailed("the loss became nan")  # so a's mean is the better one
    table = repeated.go(repeats=3)
    assert table["winner"].tolist() == [True, False, False, False, False, False]
    failed = table[table["state"] == "failed"].iloc[0]
    assert (failed["backbone"], failed["repeat"], failed["reason"]) == ("a", 3, "the loss became nan")
    assert not failed["representative"]
    assert failed["model"] == ""
    assert files(repeated) == {"a-1.h5", "a-2.h5", "b-1.h5", "b-2.h5", "b-3.h5"}
    # it is tried again, and alone, and another one is exported
    repeated.validation["a"][2] = metrics(0.1)
    repeated.retrained.clear()
    repeated.go(repeats=3)
    assert repeated.retrained == ["a"]
    assert files(repeated) == {f"{name}-{repeat}.h5" for name in "ab" for repeat in (1, 2, 3)}
    assert repeated.run.best_model.read_text() == "model of b, b-1"


def test_finished_repeats_are_not_trained_again_and_more_only_add(repeated: Work) -> None:
    repeated.validation["b"][1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        repeated.go(repeats=2)
    assert read_finalists(repeated.run)[["backbone", "repeat"]].to_numpy().tolist() == [["a", 1], ["a", 2], ["b", 1]]
    repeated.validation["b"][1] = metrics(0.79)
    repeated.retrained.clear()
    repeated.go(repeats=2)
    assert repeated.retrained == ["b"]
    assert repeated.run.best_model.read_text() == "model of a, a-1"  # 0.825 on average against 0.795
    before = read_finalists(repeated.run).set_index(["backbone", "repeat"])["sha256"].to_dict()
    repeated.retrained.clear()
    repeated.go(repeats=3)
    assert repeated.retrained == ["a", "b"]
    assert repeated.run.best_model.read_text() == "model of b, b-1"
    after = read_finalists(repeated.run).set_index(["backbone", "repeat"])["sha256"].to_dict()
    assert {place: after[place] for place in before} == before
    files(repeated)
    repeated.retrained.clear()
    whole = repeated.run.finalists.read_bytes()
    repeated.go(repeats=3)
    assert not repeated.retrained
    assert repeated.run.finalists.read_bytes() == whole


@pytest.mark.parametrize("lost", ["gone", "of another model"])
def test_a_crash_before_the_winner_is_exported_costs_no_training(repeated: Work, lost: str) -> None:
    repeated.go(repeats=3)
    repeated.run.best_model.unlink()
    if lost != "gone":
        repeated.run.best_model.write_text("model of a, a-2")
    repeated.retrained.clear()
    repeated.go(repeats=3)
    assert not repeated.retrained
    assert files(repeated) == {f"{name}-{repeat}.h5" for name in "ab" for repeat in (1, 2, 3)}


def test_a_file_that_is_gone_or_changed_is_trained_again(repeated: Work) -> None:
    repeated.go(repeats=3)
    (repeated.run.models / "a-1.h5").unlink()
    (repeated.run.models / "b-2.h5").write_text("something else")
    repeated.retrained.clear()
    repeated.go(repeats=3)
    assert repeated.retrained == ["a", "b"]
    files(repeated)


def test_another_configuration_replaces_all_repeats_and_leaves_no_stray_file(repeated: Work) -> None:
    repeated.go(repeats=3)
    repeated.add(dataclasses.replace(A, dropout=0.4), metrics(0.7))
    repeated.retrained.clear()
    repeated.validation["a"] = [metrics(0.99), metrics(0.98), metrics(0.97)]
    repeated.go(repeats=2)
    assert repeated.retrained == ["a", "a"]
    assert files(repeated) == {"a-1.h5", "a-2.h5", "b-1.h5", "b-2.h5", "b-3.h5"}
    assert repeated.run.best_model.read_text() == "model of a, a-1"


def curves(work: Work, kind: str = "finalist") -> dict[tuple[str, int], list[float]]:
    """(backbone, repeat or fold) -> scores by epoch, as epochs.csv has them."""
    epochs = EPOCHS.read(work.run.path).query("kind == @kind")
    which = "fold" if kind == "fold" else "repeat"
    return {key: list(part["metric_auc"]) for key, part in epochs.groupby(["name", which])}


def test_the_curves_of_all_repeats_are_kept_and_those_of_earlier_finalists_are_not(repeated: Work) -> None:
    repeated.go(repeats=2)
    two = {("a", 1): [0.7], ("a", 2): [0.95], ("b", 1): [0.8], ("b", 2): [0.79]}
    assert curves(repeated) == two
    repeated.go(repeats=3)
    assert curves(repeated) == two | {("a", 3): [0.6], ("b", 3): [0.82]}
    repeated.log = TrialLog.load(repeated.run)  # as a resumed run does
    repeated.add(dataclasses.replace(A, dropout=0.4), metrics(0.7))
    assert len(curves(repeated)) == 6
    repeated.validation["a"] = [metrics(0.5), TrialFailed("the loss became nan"), metrics(0.52)]
    repeated.go(repeats=3)
    assert {key: curve for key, curve in curves(repeated).items() if key[0] == "a"} == {
        ("a", 1): [0.5],
        ("a", 3): [0.52],
    }


def test_the_curves_of_folds_are_kept_by_fold(work: Work) -> None:
    work.go({"a": [0.6, 0.7], "b": [0.8, TrialFailed("the loss became nan")]})
    assert curves(work, "fold") == {("a", 1): [0.6], ("a", 2): [0.7], ("b", 1): [0.8]}
    work.add(dataclasses.replace(A, dropout=0.4), metrics(0.7))
    work.go({"a": [0.65, 0.75], "b": [0.8, 0.9]})
    assert curves(work, "fold") == {("a", 1): [0.65], ("a", 2): [0.75], ("b", 1): [0.8]}


def test_folds_decide_between_repeated_finalists_and_are_trained_once(repeated: Work) -> None:
    table = repeated.go({"a": [0.9, 0.9], "b": [0.6, 0.7]}, repeats=3)
    assert repeated.trained == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert repeated.run.best_model.read_text() == "model of a, a-1"
    assert table.groupby("backbone")["fold_mean"].first().to_dict() == {"a": 0.9, "b": pytest.approx(0.65)}


def test_an_exported_model_that_was_removed_is_there_again(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    work.go()
    models = stages.Models.read(work.run)
    work.run.best_model.unlink()
    monkeypatch.setattr(stages, "evaluated", lambda run, models, sealed: True)
    stages.evaluate(SimpleNamespace(run=work.run, screen=None), models, sealed=False)  # type: ignore[arg-type]
    assert work.run.best_model.samefile(work.run.model_file("a", 1))


@pytest.mark.parametrize("name", ["finalists.csv", "baselines.csv"])
@pytest.mark.parametrize("content", ["", "backbone,state\na,completed", "a,b\n1,2\n"])
def test_damaged_models_cannot_be_evaluated(work: Work, name: str, content: str) -> None:
    work.go()
    (work.run.path / name).write_text(content)
    with pytest.raises(ConfigError, match=f"{name} cannot be read"):
        stages.Models.read(work.run)


def test_a_table_from_before_there_were_repeats_is_read_and_goes_on(work: Work) -> None:
    table = work.go()
    old = table.drop(columns=["repeat", "representative"])
    shutil.rmtree(work.run.vouchers)
    write_table(work.run.finalists, old)
    read = read_finalists(work.run)
    assert read["repeat"].tolist() == [1, 1]
    assert read["representative"].tolist() == [True, True]
    work.retrained.clear()
    work.go()
    assert not work.retrained


def test_a_fold_holds_train_and_val_and_never_test(make_task: Callable[..., Any]) -> None:
    from bench.data.splits import folds

    rng = np.random.default_rng(0)
    table = pd.DataFrame({"label": rng.choice(["A", "B"], 60), "split": rng.choice(["train", "val", "test", ""], 60)})
    table["image"] = [f"{row}.png" for row in table.index]
    table["split_group"] = np.arange(60) // 2
    split_of = table.groupby("split_group")["split"].first()
    table["split"] = table["split_group"].map(split_of)
    classes = (table["label"] == "B").to_numpy(dtype=np.int64)
    rows = {split: np.flatnonzero(table["split"] == split) for split in ("train", "val")}
    task = make_task(rows=rows, labels={split: classes[chosen] for split, chosen in rows.items()})

    assigned = folds(table, 3, seed=0).to_numpy()
    own = sorted([*rows["train"], *rows["val"]])
    held_out: list[int] = []
    for number in (1, 2, 3):
        found = fold_rows(task, assigned, number)
        train, val = found["train"], found["val"]
        assert (table["split"].iloc[[*train, *val]].isin(["train", "val"])).all()
        assert sorted([*train, *val]) == own
        assert set(assigned[val]) == {number}
        assert not set(table["split_group"].iloc[train]) & set(table["split_group"].iloc[val])
        for split in ("train", "val"):
            np.testing.assert_array_equal(task.labels_of(found[split]), classes[found[split]])
            assert (np.diff(found[split]) > 0).all()
        held_out += [int(row) for row in val]
    assert sorted(held_out) == own


def test_of_a_patient_whom_given_folds_part_nothing_is_trained_on(make_task: Callable[..., Any]) -> None:
    rows = {"train": np.arange(6), "val": np.arange(6, 8)}
    task = make_task(rows=rows, labels={split: chosen % 2 for split, chosen in rows.items()})
    assigned = np.array([1, 1, 1, 1, 2, 2, 2, 2, 0])
    groups = np.array(["a", "b", "c", "d", "a", "e", "f", "g", "e"])  # the last is of test
    found = fold_rows(task, assigned, 2, groups)
    assert found["val"].tolist() == [4, 5, 6, 7]
    assert found["train"].tolist() == [1, 2, 3]


@pytest.mark.thorough
@pytest.mark.end_to_end
def test_a_run_over_given_folds(
    tmp_path: Path,
    briefly: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    rng = np.random.default_rng(0)
    for fold in range(3):
        for label in "ab":
            (tmp_path / "data" / f"fold_{fold}" / label).mkdir(parents=True)
            for number in range(14):
                name = tmp_path / "data" / f"fold_{fold}" / label / f"{fold}{label}{number}.png"
                toys.draw_image(rng, label == "b").save(name)
    flags = ["--data", "data", "--space", "toys.yaml", "--weights", "random", "--epochs", "2", "--no-test"]
    flags += [*SMALL.split(), "--cache", str(tmp_path / "cache")]
    assert main(["run", *flags, "--name", "given", "--folds", "given", "--repeats", "1", "--no-learning-curve"]) == 0
    run = RunDir(tmp_path / "reports" / "given")
    folds, splits = pd.read_csv(run.folds), pd.read_csv(run.splits)
    assert folds[["fold", "state"]].to_numpy().tolist() == [[1, "completed"], [2, "completed"], [3, "completed"]]
    used = splits[splits["split"].isin(["train", "val"])]
    sizes = used["image"].str.extract(r"^fold_(\d)/")[0].value_counts().sort_index()
    assert folds["images_val"].tolist() == sizes.tolist()
    assert folds["images_train"].tolist() == (len(used) - sizes).tolist()
    assert run.read_run()["settings"]["folds"] == "given"
    printed = capfd.readouterr().out
    assert "layout: fold/class; 3 folds (--folds given validates over them), 2 classes" in printed
    assert "Folds as given: 0, 1, 2 (numbered from 1)" in printed


@pytest.mark.end_to_end
def test_the_stage_trains_finalists_and_baselines_and_says_so(
    tmp_path: Path,
    toy_folder: Path,
    toy_table: None,
    alone_here: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The stage of a run in this process, on two trials that are made up."""
    from bench import cluster as workers
    from bench.finalists.baselines import read_baselines
    from bench.models import small_cnn
    from bench.models.weights import resolve_weights
    from bench.report.live import LiveReport
    from bench.run import pipeline, request
    from bench.run.examine import examine, make_task
    from bench.settings import make_settings
    from bench.train.task import Task

    monkeypatch.setattr(small_cnn, "EPOCHS", 2)
    weights = resolve_weights("random", [toys.toy_backbone()], tmp_path / "weights", seed=0)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    settings = make_settings(
        data=str(toy_folder),
        name="toy",
        space=str(tmp_path / "toys.yaml"),
        backbones=("toy",),
        weights="random",
        epochs=2,
        repeats=2,
        precision="float32",
        class_weights=False,
        output=tmp_path / "reports",
        cache=tmp_path / "cache",
    )

    found = workers.Workers(1, 1, 0.0, 1, 0)

    def begin(**changes: Any) -> tuple[stages.Stage, Task]:
        run = RunDir(tmp_path / "reports" / "toy")
        made = request.resume(run, changes) if changes else request.prepare(settings)
        if not changes:
            request.write_request(made, "python run_bench.py")
        examined = examine(made, Screen(), run.read() if changes else None)
        begun = (
            pipeline.take_up(made, found) if changes else pipeline.create(made, found, weights, "python run_bench.py")
        )
        pipeline.write_data(made, examined)
        stage = stages.Stage(made, RunDisplay(Screen()), LiveReport(run), found, examined, begun)
        return stage, make_task(made, examined.table, examined.images, weights)

    stage, task = begin()
    run = stage.run
    assert not task.class_weights
    log = TrialLog(run)
    for number, config in enumerate((TrialConfig("toy", "light", 1, 2e-2, 0.1, batch_size=8), TrialConfig("toy"))):
        scores = metrics(0.9 - 0.1 * number)
        log.add(TrialRecord(number, "completed", "", "sampled", config, scores, 1, 1, 1.0, 1.0), [])
    models = stages.finalists(stage, task, log)

    table, winner = read_finalists(run), run.read_run()["winner"]
    pd.testing.assert_frame_equal(models.finalists, table)
    pd.testing.assert_frame_equal(models.baselines, read_baselines(run))
    assert table["state"].tolist() == ["completed"] * 2
    assert table["seed"].nunique() == 2
    assert winner["score"] == pytest.approx(table["metric_auc"].mean())
    assert winner["sd"] == pytest.approx(table["metric_auc"].std())
    assert winner["repeats"] == 2
    found_baselines = read_baselines(run)
    assert found_baselines[["baseline", "state"]].to_numpy().tolist() == [
        *[["recipe", "completed"]] * 2,
        *[["small_cnn", "completed"]] * 2,
        ["majority", "completed"],
        ["metadata", "completed"],
    ]
    assert {path.name for path in run.models.iterdir()} == {
        f"{name}-{repeat}.h5" for name in ("toy", "recipe", "small_cnn") for repeat in (1, 2)
    }
    assert run.best_model.samefile(run.path / table.loc[table["winner"], "model"].item())
    stage.screen.console.print(stage.display)
    said = capsys.readouterr().out
    assert "10 of 10 trainings of baselines done" in said, "with the six of the learning curve"
    mean, deviation = table["metric_auc"].mean(), table["metric_auc"].std()
    assert "retrained with 2 seeds" in said
    assert f"    Toy, seed 1 of 2: ROC AUC {score(table['metric_auc'].iloc[0])}, " in said
    assert f"  Toy: validation ROC AUC {with_spread(mean, deviation)} over 2 seeds, 0.900 in the search, " in said
    assert "  Default recipe: validation ROC AUC " in said
    assert "  Majority class: validation ROC AUC 0.500, " in said

    assert "Baselines: default recipe, small CNN from scratch, majority class, metadata only" in said

    stages.finalists(stage, task, log)
    assert capsys.readouterr().out == "", "a finished stage is passed over"
    more, task = begin(repeats=3)
    stages.finalists(more, task, TrialLog.load(run))
    again = read_finalists(run)
    assert len(again) == 3
    assert set(table["sha256"]) < set(again["sha256"])
    assert set(found_baselines["sha256"]) < set(read_baselines(run)["sha256"])
    assert run.read_run()["settings"]["repeats"] == 3
    assert run.finished("finalists")


@pytest.mark.end_to_end
def test_a_run_with_folds(
    tmp_path: Path,
    toy_folder: Path,
    briefly: None,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toys.yaml").write_text(toys.SPACE)
    flags = ["--data", str(toy_folder), "--space", "toys.yaml", "--weights", "random", "--epochs", "2", "--no-test"]
    flags += [*SMALL.split(), "--cache", str(tmp_path / "cache")]
    flags += ["--name", "folds", "--folds", "2", "--repeats", "1", "--no-learning-curve"]
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
    assert (winner["score"], winner["sd"], winner["repeats"]) == (row["metric_auc"], None, 1)
    assert f"toy over 2 folds: ROC AUC {with_spread(mean, deviation)}" in capfd.readouterr().out

    # interrupted after one fold: the other is trained, and gives what it gave
    FOLDS.write(run.path, folds.iloc[:1])
    run.unfinish("finalists")
    assert main(["run", "--resume", "folds"]) == 0
    again = pd.read_csv(run.folds)
    pd.testing.assert_frame_equal(again.iloc[:1], folds.iloc[:1])
    assert again["metric_log_loss"].tolist() == pytest.approx(folds["metric_log_loss"].tolist(), abs=1e-6)
    assert read_finalists(run)["sha256"].tolist() == [row["sha256"]]
    assert run.read_run()["winner"] == pytest.approx(winner, abs=1e-6)
