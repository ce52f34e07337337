"""Finalists over folds: each configuration is trained once per fold, its scores are in folds.csv."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.finalists.seeds import NoFinalist, Repeats, attempt, config_columns, earlier_rows, lost_to_crashes, outcome
from bench.run.results import Curve, TrialRecord
from bench.run.tables import FOLDS, Row
from bench.seeds import stable_seed
from bench.train.task import Task
from bench.trial import TrialConfig, TrialResult


@dataclass(frozen=True)
class Folds:
    """How finalists are validated over folds.

    Attributes:
        sizes: of each fold in order, its ``images_train``, ``images_val`` and ``patients_val``.
        train: ``train(config, seed, fold)``, usually in a worker; folds count from 1.
        on_group_done: called with the rows of a finalist that was trained on all folds.
    """

    sizes: Sequence[Mapping[str, int]]
    train: Callable[[TrialConfig, int, int], TrialResult]
    on_group_done: Callable[[Sequence[Row]], None]


def fold_task(task: Task, assigned: npt.NDArray[np.int64], fold: int, groups: npt.NDArray[Any] | None = None) -> Task:
    """``task`` with one fold of its train and val images to validate on, and the other folds to train on.

    No image beyond the task's own can come in, so none of the test split. Given folds may part a patient, or copies:
    of these nothing is trained on.

    Args:
        task: of the run.
        assigned: the fold of every image of the set, as `bench.data.splits.folds` gives it.
        fold: the fold to validate on, from 1.
        groups: of every image of the set, what must stay together; None where folds are whole in that.
    """
    rows = np.concatenate([task.rows["train"], task.rows["val"]])
    labels = np.concatenate([task.labels["train"], task.labels["val"]])
    order = np.argsort(rows)
    held_out = assigned[rows[order]] == fold
    together = rows if groups is None else groups[rows]
    of_fold = np.isin(together[order], together[order[held_out]])
    parts = {"train": order[~of_fold], "val": order[held_out]}
    return replace(
        task,
        rows={split: rows[part] for split, part in parts.items()},
        labels={split: labels[part] for split, part in parts.items()},
        depths=(),  # no trial will ask for other boundaries of a fold
    )


def validate(chosen: Sequence[TrialRecord], folds: Folds, how: Repeats) -> dict[str, list[Row]]:
    """Train ``chosen`` on all folds but one, for each; folds.csv is whole after each, and not repeated where it fits.

    Returns:
        Backbone -> its rows of folds.csv.

    Raises:
        NoFinalist: when all are trained, if crashes took some: the means would not be over the same folds.
    """
    count = len(folds.sizes)
    seeds = {  # it tells rows of other configurations, folds or runs apart
        (record.config.backbone, fold): stable_seed("fold", how.seed, count, fold, record.config.key)
        for record in chosen
        for fold in range(1, count + 1)
    }
    before = {row["seed"]: row for row in earlier_rows(FOLDS, how.run)}
    rows = {place: before[seed] for place, seed in seeds.items() if seed in before}
    how.epochs.keep("fold", {_curve(*place) for place in rows})

    def write() -> None:
        FOLDS.write(how.run.path, [rows[place] for place in seeds if place in rows])

    if rows and len(rows) < len(before):
        write()
    done, lost = {}, []
    for record in chosen:
        mine = [place for place in seeds if place[0] == record.config.backbone]
        for place in mine:
            if place not in rows:
                row, crashed = _train_fold(record, place[1], seeds[place], folds, how)
                if crashed:
                    lost.append(f"{place[0]} on fold {place[1]} ({row['reason']})")
                    continue
                rows[place] = row
                write()
        done[record.config.backbone] = [rows[place] for place in mine if place in rows]
        folds.on_group_done(done[record.config.backbone])
    if lost:
        raise NoFinalist(lost_to_crashes(lost))
    return done


def _curve(backbone: str, fold: int) -> Curve:
    return Curve("fold", backbone, fold=fold)


def _train_fold(record: TrialRecord, fold: int, seed: int, folds: Folds, how: Repeats) -> tuple[Row, bool]:
    result, reason, crashed = attempt(lambda: folds.train(record.config, seed, fold))
    if result is not None:
        how.epochs.add(_curve(record.config.backbone, fold), result.epochs)
    row = {
        "backbone": record.config.backbone,
        "trial": record.trial,
        "fold": fold,
        "state": "completed" if result else "failed",
        "reason": reason,
        "seed": seed,
        **folds.sizes[fold - 1],
        **outcome(result),
        **config_columns(record.config),
    }
    return row, crashed
