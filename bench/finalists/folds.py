"""Finalists over folds: each configuration is trained once per fold, its scores are in folds.csv."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.finalists.seeds import (
    NoFinalist,
    Outcome,
    Repeats,
    Wanted,
    config_columns,
    earlier_rows,
    judge,
    lost_to_crashes,
    reached,
)
from bench.numbers import joined
from bench.run.courses import Curve
from bench.run.results import TrialRecord
from bench.run.tables import FOLDS, Row, score_columns
from bench.seeds import stable_hash, stable_seed
from bench.stats.metrics import Metric
from bench.train.job import TrainingJob
from bench.train.task import Rows, Task
from bench.trial import EpochRecord


@dataclass(frozen=True)
class Folds:
    """How finalists are validated over folds.

    Attributes:
        rows: of each fold in order.
        sizes: of each fold, its ``images_train``, ``images_val`` and ``patients_val``.
        views: views of its augmentation that a training turns through.
        on_group_done: called with the rows of a finalist that was trained on all folds.
        on_note: called with what the user should know.
    """

    rows: Sequence[Rows]
    sizes: Sequence[Mapping[str, int]]
    views: int
    on_group_done: Callable[[Sequence[Row]], None]
    on_note: Callable[[str], None] = lambda text: None


def fold_rows(task: Task, assigned: npt.NDArray[np.int64], fold: int, groups: npt.NDArray[Any] | None = None) -> Rows:
    """One fold of a task's train and val images to validate on, and the other folds to train on.

    No image beyond the task's own can come in, so none of the test split. Given folds may part a patient, or copies:
    of these nothing is trained on.

    Args:
        task: of the run.
        assigned: the fold of every image of the set, as `bench.data.splits.folds` gives it.
        fold: the fold to validate on, from 1.
        groups: of every image of the set, what must stay together; None where folds are whole in that.
    """
    rows = np.sort(task.pool)
    held_out = assigned[rows] == fold
    together = rows if groups is None else groups[rows]
    of_fold = np.isin(together, together[held_out])
    return {"train": rows[~of_fold], "val": rows[held_out]}


def epoch_of(own: Sequence[EpochRecord], others: Sequence[Sequence[EpochRecord]], metric: Metric) -> EpochRecord:
    """The epoch by which a fold is scored: the one with the best mean score over the other folds.

    The best epoch of a fold's own images is the luckiest: its score would be too good. A training that had ended by
    then counts with its last epoch; without other folds nothing can choose, and the last epoch counts.

    Args:
        own: epochs of the phase that decides, of the fold that is scored.
        others: those of the other folds.
        metric: the run's.
    """
    if not others:
        return own[-1]
    longest = max(len(one) for one in others)
    means = [fmean(one[min(turn, len(one) - 1)].metrics[metric.name] for one in others) for turn in range(longest)]
    best = max(means) if metric.higher_is_better else min(means)
    return own[min(means.index(best), len(own) - 1)]


def _deciding(epochs: Sequence[EpochRecord]) -> list[EpochRecord]:
    """Those of the last phase."""
    return [epoch for epoch in epochs if epoch.phase == epochs[-1].phase]


def _checksum(epochs: Sequence[EpochRecord]) -> str:
    """Of the scores by which one of ``epochs`` is chosen: the same when they have been written and read again."""
    scores = [
        [epoch.epoch, {name: round(value, 9) for name, value in epoch.metrics.items() if math.isfinite(value)}]
        for epoch in _deciding(epochs)
    ]
    return stable_hash(scores)


class Validation:
    """folds.csv as it grows: whole after each training, and what fits is not repeated."""

    def __init__(self, chosen: Sequence[TrialRecord], folds: Folds, how: Repeats) -> None:
        self._records = {record.config.backbone: record for record in chosen}
        self._folds, self._how = folds, how
        count = len(folds.sizes)
        self._seeds = {  # it tells rows of other configurations, folds or runs apart
            Curve("fold", record.config.backbone, fold=fold): stable_seed(
                "fold", how.seed, count, fold, record.config.key
            )
            for record in chosen
            for fold in range(1, count + 1)
        }
        before = {row["seed"]: row for row in earlier_rows(FOLDS, how.run)}
        fitting = {curve: before[seed] for curve, seed in self._seeds.items() if seed in before}
        self._rows = {curve: row for curve, row in fitting.items() if self._has_curve(curve, row)}
        if lost := [f"{curve.name} on fold {curve.fold}" for curve in fitting if curve not in self._rows]:
            folds.on_note(f"epochs.csv is not as the run wrote it; trained again: {joined(lost)}")
        self._lost: dict[Curve, str] = {}
        if len(self._rows) < len(before):
            self._write()  # first: a row whose curve is gone would be taken for a damaged one
        how.epochs.keep("fold", set(self._rows))

    def _has_curve(self, curve: Curve, row: Row) -> bool:
        """Whether epochs.csv has the scores that a row was written with, or nothing tells; they choose its epoch."""
        return not row["curve"] or row["curve"] == _checksum(self._how.epochs.curves.get(curve, ()))

    def begin(self) -> list[Wanted]:
        """What is missing, and so is to be carried out and given to `take`."""
        wanted = []
        for curve, seed in self._seeds.items():
            if curve not in self._rows:
                assert curve.fold is not None
                config = self._records[curve.name].config
                rows, first = self._folds.rows[curve.fold - 1], curve.fold - 1
                wanted.append(Wanted(curve, TrainingJob(config, seed, self._folds.views, first, rows)))
        return wanted

    def take(self, curve: Curve, outcome: Outcome) -> None:
        """Note how a training ended."""
        result, reason, crashed = judge(outcome)
        if crashed:
            self._lost[curve] = reason
            return
        if result is not None:
            self._how.epochs.add(curve, result.epochs, result.scored)
        record, fold = self._records[curve.name], curve.fold
        assert fold is not None
        self._rows[curve] = {
            "backbone": curve.name,
            "trial": record.trial,
            "fold": fold,
            "state": "completed" if result else "failed",
            "reason": reason,
            "seed": self._seeds[curve],
            **self._folds.sizes[fold - 1],
            **reached(result),
            "curve": _checksum(result.epochs) if result else "",
            **config_columns(record.config),
        }
        if len(self._of(curve.name)) == len(self._folds.sizes):
            self._rescore(curve.name)
            self._folds.on_group_done(self._of(curve.name))
        self._write()

    def close(self, backbones: Sequence[str]) -> dict[str, list[Row]]:
        """The rows of ``backbones``, when all are trained; those of others, which cannot win, are removed.

        Each has the score of the epoch that the other folds choose: its own images have no say in it.

        Raises:
            NoFinalist: if crashes took some: the means would not be over the same folds.
        """
        lost = [
            f"{curve.name} on fold {curve.fold} ({reason})"
            for curve, reason in self._lost.items()
            if curve.name in backbones
        ]
        gone = [curve for curve in self._rows if curve.name not in backbones]
        for curve in gone:
            del self._rows[curve]
        if gone:
            self._write()
            self._how.epochs.keep("fold", set(self._rows))
        if lost:
            raise NoFinalist(lost_to_crashes(lost))
        for name in backbones:
            self._rescore(name)
        self._write()
        return {name: self._of(name) for name in backbones}

    def _rescore(self, name: str) -> None:
        """Give the folds of one finalist the scores of the epochs that their fellows choose."""
        done = [curve for curve in self._rows if curve.name == name and self._rows[curve]["state"] == "completed"]
        known = self._how.epochs.curves
        curves = {curve: _deciding(known[curve]) for curve in done if curve in known}
        for curve, own in curves.items():
            epoch = epoch_of(own, [other for its, other in curves.items() if its != curve], self._how.metric)
            self._rows[curve] |= {**score_columns(epoch.metrics), "best_epoch": epoch.epoch}

    def _of(self, name: str) -> list[Row]:
        return [self._rows[curve] for curve in self._seeds if curve.name == name and curve in self._rows]

    def _write(self) -> None:
        FOLDS.write(self._how.run.path, [self._rows[curve] for curve in self._seeds if curve in self._rows])
