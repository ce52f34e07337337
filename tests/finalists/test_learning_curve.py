"""The winner on fewer patients: whole patients of every class, and a table that is whole after each training."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bench.errors import WorkerDied
from bench.failures import MACHINE
from bench.finalists.learning_curve import KIND, LearningCurve, subsets, whole_row
from bench.finalists.seeds import Repeats, Wanted
from bench.run.courses import Curve
from bench.run.folder import RunDir
from bench.run.results import EpochLog
from bench.stats.metrics import METRICS
from bench.train.job import TrainingJob
from bench.trial import EpochRecord, TrialConfig, TrialResult

CONFIG = TrialConfig("toy", "none", learning_rate=0.01)
LABELS = np.repeat([0, 1], [120, 72])
GROUPS = np.concatenate([np.arange(120) // 2, 60 + np.arange(72) // 3])  # 60 patients of one class, 24 of the other
ROWS = np.arange(192) * 3 + 1


def test_subsets_hold_whole_patients_of_every_class_in_its_share() -> None:
    found = subsets(ROWS, LABELS, GROUPS, seed=0)
    assert {one.share for one in found} == {1 / 8, 1 / 4, 1 / 2}, "a 16th of 24 patients is too few"
    for one in found:
        inside = np.isin(ROWS, one.rows)
        assert not set(GROUPS[inside]) & set(GROUPS[~inside]), "no patient is parted"
        patients = [len(set(GROUPS[inside & (kind == LABELS)])) for kind in (0, 1)]
        assert patients == [round(60 * one.share), round(24 * one.share)]
        assert one.patients == sum(patients)
        assert (np.diff(one.rows) > 0).all()
    for draw in (1, 2, 3):
        eighth, quarter, half = (set(one.rows) for one in found if one.draw == draw)
        assert eighth < quarter < half
    assert len({tuple(one.rows) for one in found}) == 9
    assert [tuple(one.rows) for one in subsets(ROWS, LABELS, GROUPS, 0)] == [tuple(one.rows) for one in found]
    assert [tuple(one.rows) for one in subsets(ROWS, LABELS, GROUPS, 1)] != [tuple(one.rows) for one in found]


def result(auc: float) -> TrialResult:
    metrics = {**dict.fromkeys(METRICS, 0.5), "auc": auc}
    return TrialResult(1, metrics, (EpochRecord("head", 1, 0.5, metrics, 1.0),), 2.0)


class Work:
    def __init__(self, folder: Path) -> None:
        self.run = RunDir(folder)
        self.trained: list[TrainingJob] = []
        self.fails: set[int] = set()
        self.error: Exception = RuntimeError("no such layer")
        self.epochs = EpochLog(self.run)

    def go(self, config: TrialConfig = CONFIG, stop_after: int = 99) -> list[Any]:
        whole = {"repeat": 1, "state": "completed", "seed": 5, "metric_auc": 0.9, **config.columns()}
        how = Repeats(self.run, METRICS["auc"], 0, 1, 6, self.epochs)
        curve = LearningCurve(
            config, subsets(ROWS, LABELS, GROUPS, 0), np.arange(9), [whole_row(whole, 192, 9, 84)], how
        )
        own = Wanted(Curve("baseline", "recipe", 1), TrainingJob(config, 1, 6))

        def train(wanted: Sequence[Wanted]) -> Iterator[tuple[Wanted, Any]]:
            assert wanted[0] is own
            for number, one in enumerate(wanted):
                if number > stop_after:
                    return
                self.trained.append(one.job)
                yield one, self.error if number in self.fails else result(0.5 + number / 100)

        return [one for one, _ in curve.beside(train)([own])]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def test_it_is_trained_beside_others_and_kept_to_itself(work: Work) -> None:
    others = work.go()
    assert [one.curve.kind for one in others] == ["baseline"]
    table = pd.read_csv(work.run.learning_curve)
    assert table["share"].tolist() == [1 / 8, 1 / 4, 1 / 2] * 3 + [1]
    assert table["draw"].tolist() == [1, 1, 1, 2, 2, 2, 3, 3, 3, 1]
    assert table["patients"].tolist()[-2:] == [42, 84] and table["images"].iloc[-1] == 192
    jobs = work.trained[1:]
    assert all(len(job.rows["val"]) == 9 and job.model_file is None for job in jobs)
    assert [len(job.rows["train"]) for job in jobs] == table["images"].tolist()[:-1]
    assert [job.first_view for job in jobs] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len({job.seed for job in jobs}) == 9
    assert sum(curve.kind == KIND for curve in work.epochs.curves) == 9


def test_what_was_trained_is_not_trained_again_and_what_failed_is(work: Work) -> None:
    work.fails = {2}
    work.go()
    table = pd.read_csv(work.run.learning_curve)
    assert table["state"].tolist().count("failed") == 1 and "no such layer" in table["reason"].iloc[1]
    work.trained.clear()
    work.fails = set()
    work.go()
    assert len(work.trained) == 2, "the baseline, and what failed"
    assert pd.read_csv(work.run.learning_curve)["state"].tolist() == ["completed"] * 10
    work.trained.clear()
    work.go(TrialConfig("toy", "none", learning_rate=0.02))
    assert len(work.trained) == 10, "another winner"


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), WorkerDied(MACHINE, "No space left on device")],
)
def test_a_full_disk_ends_it_and_what_was_finished_is_kept(work: Work, error: Exception) -> None:
    work.fails, work.error = {4}, error
    with pytest.raises(type(error), match="No space left on device"):
        work.go()
    assert pd.read_csv(work.run.learning_curve)["state"].tolist() == ["completed"] * 4
    work.fails = set()
    work.trained.clear()
    work.go()
    assert len(work.trained) == 1 + 6, "the baseline, and what was left"


def test_it_is_whole_after_each_training(work: Work) -> None:
    work.go(stop_after=4)
    assert len(pd.read_csv(work.run.learning_curve)) == 4 + 1
