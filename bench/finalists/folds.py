"""Finalists over folds: each configuration trained once a fold, its scores in folds.csv."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.finalists.seeds import attempt
from bench.run.folder import RunDir, write_table
from bench.run.results import TrialRecord, read_rows
from bench.seeds import stable_seed
from bench.stats.metrics import METRICS, Metric
from bench.train.task import Task
from bench.trial import TrialConfig, TrialResult


@dataclass(frozen=True)
class Folds:
    """How finalists are validated over folds.

    Attributes:
        sizes: of each fold in order, its ``images_train``, ``images_val`` and ``patients_val``.
        train: ``train(config, seed, fold)``, usually in a worker; folds count from 1.
        ended: called with the rows of a finalist when it has been through all folds.
    """

    sizes: Sequence[Mapping[str, int]]
    train: Callable[[TrialConfig, int, int], TrialResult]
    ended: Callable[[Sequence[Mapping[str, Any]]], None]


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


def fold_summary(rows: Iterable[Mapping[str, Any]], metric: Metric) -> dict[str, Any]:
    """What finalists.csv says about the folds of one finalist: completed, mean, and the sample's standard deviation."""
    scores = [float(row[f"metric_{metric.name}"]) for row in rows if row["state"] == "completed"]
    return {
        "folds": len(scores),
        "fold_mean": fmean(scores) if scores else None,
        "fold_sd": stdev(scores) if len(scores) > 1 else None,
    }


def validate(chosen: Sequence[TrialRecord], folds: Folds, run: RunDir, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Train ``chosen`` on all folds but one, for each; folds.csv is whole after each, and not repeated where it fits.

    Args:
        chosen: the best trial of each backbone.
        folds: how they are trained.
        run: the run folder.
        seed: of the run.

    Returns:
        Backbone -> its rows of folds.csv.
    """
    count = len(folds.sizes)
    before = {row["seed"]: row for row in _read_folds(run)}
    seeds = {  # (backbone, fold) -> seed; it tells rows of other configurations, folds or runs apart
        (record.config.backbone, fold): stable_seed("fold", seed, count, fold, record.config.key)
        for record in chosen
        for fold in range(1, count + 1)
    }
    rows = {place: before[fold_seed] for place, fold_seed in seeds.items() if fold_seed in before}

    def write() -> None:
        table = pd.DataFrame([rows[place] for place in seeds if place in rows])
        table["best_epoch"] = table["best_epoch"].astype("Int64")
        write_table(run.folds, table)

    if rows and len(rows) < len(before):
        write()
    done = {}
    for record in chosen:
        mine = [place for place in seeds if place[0] == record.config.backbone]
        for place in mine:
            if place not in rows:
                rows[place] = _train_fold(record, place[1], seeds[place], folds)
                write()
        done[record.config.backbone] = [rows[place] for place in mine]
        folds.ended(done[record.config.backbone])
    return done


def _train_fold(record: TrialRecord, fold: int, seed: int, folds: Folds) -> dict[str, Any]:
    result, reason = attempt(lambda: folds.train(record.config, seed, fold))
    return {
        "backbone": record.config.backbone,
        "trial": record.trial,
        "fold": fold,
        "state": "completed" if result else "failed",
        "reason": reason,
        "seed": seed,
        **folds.sizes[fold - 1],
        **{f"metric_{name}": result.metrics[name] if result else None for name in METRICS},
        "best_epoch": result.best_epoch if result else None,
        "epochs": len(result.epochs) if result else 0,
        "seconds": round(result.seconds, 3) if result else 0.0,
        **{f"config_{key}": value for key, value in asdict(record.config).items()},
    }


def _read_folds(run: RunDir) -> list[dict[str, Any]]:
    if not run.folds.exists():
        return []
    try:
        return [{**row, "seed": int(row["seed"]), "reason": row["reason"] or ""} for row in read_rows(run.folds)]
    except (ValueError, KeyError, TypeError):  # truncated: the folds are trained again
        return []
