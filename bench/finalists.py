"""The finalists: each backbone's best configuration, retrained through the full model; the winner among them.

With folds, each configuration is also trained once a fold, and the folds' mean score decides instead of the one
score on the validation split, which has chosen the configuration before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.errors import ConfigError, TrialFailed
from bench.metrics import METRICS, Metric
from bench.results import TrialLog, TrialRecord, config_from_row, epoch_rows, rank, read_rows
from bench.rundir import RunDir, file_sha256, write_table
from bench.seeds import stable_seed
from bench.task import Task
from bench.trial import TrialConfig, TrialResult

Retrain = Callable[[TrialConfig, int, Any, Any], TrialResult]


class NoFinalist(Exception):
    """Not one finalist could be retrained."""


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


def fold_task(task: Task, assigned: npt.NDArray[np.int64], fold: int) -> Task:
    """``task`` with one fold of its train and val images to validate on, and the other folds to train on.

    No image beyond the task's own can come in, so none of the test split.

    Args:
        task: of the run.
        assigned: the fold of every image of the set, as `bench.data.splits.folds` gives it.
        fold: the fold to validate on, from 1.
    """
    rows = np.concatenate([task.rows["train"], task.rows["val"]])
    labels = np.concatenate([task.labels["train"], task.labels["val"]])
    order = np.argsort(rows)
    held_out = assigned[rows[order]] == fold
    parts = {"train": order[~held_out], "val": order[held_out]}
    return replace(
        task,
        rows={split: rows[part] for split, part in parts.items()},
        labels={split: labels[part] for split, part in parts.items()},
        depths=(),  # no trial will ask for other boundaries of a fold
    )


def choose(log: TrialLog, metric: Metric, backbones: Sequence[str]) -> list[TrialRecord]:
    """The best trial of each backbone that has one."""
    best = (log.best(metric, backbone=name) for name in backbones)
    return [record for record in best if record is not None]


def retrain_finalists(
    chosen: Sequence[TrialRecord],
    *,
    run: RunDir,
    metric: Metric,
    seed: int,
    retrain: Retrain,
    started: Callable[[TrialRecord], None],
    ended: Callable[[dict[str, Any]], None],
    folds: Folds | None = None,
) -> pd.DataFrame:
    """Retrain ``chosen`` one after another; finalists.csv is whole after each, and what is in it is not repeated.

    The winner has the best validation score or, with folds, the best mean score of the folds; ties go by log loss.

    Args:
        chosen: the best trial of each backbone.
        run: the run folder; models go to its ``models/``.
        metric: decides the winner.
        seed: of the run.
        retrain: ``retrain(config, seed, checkpoint, model_file)``, usually in a worker.
        started: called before each retraining.
        ended: called with each new row.
        folds: how the retrained are then validated over folds, whose rows go to folds.csv.

    Returns:
        finalists.csv with the winner marked.

    Raises:
        NoFinalist: if none could be retrained.
    """
    rows = [row for row in _read(run) if _still_valid(row, chosen, run)]
    for record in chosen:
        if any(row["backbone"] == record.config.backbone for row in rows):
            continue
        started(record)
        rows.append(_retrain_one(record, run, metric, seed, retrain))
        _write(rows, run)
        ended(rows[-1])
    finished = [row for row in rows if row["state"] == "completed"]
    if not finished:
        raise NoFinalist(
            f"No finalist could be retrained; the last: {rows[-1]['reason'] if rows else 'there was none'}"
        )
    means: dict[str, dict[str, float]] = {}
    if folds:
        backbones = {row["backbone"] for row in finished}
        validated = _validate([one for one in chosen if one.config.backbone in backbones], folds, run, seed)
        for row in rows:
            scored = validated.get(row["backbone"], [])
            row.update(fold_summary(scored, metric))
            if row["folds"]:
                means[row["backbone"]] = {name: fold_summary(scored, METRICS[name])["fold_mean"] for name in METRICS}

    def place(row: Mapping[str, Any]) -> tuple[int, float, float]:
        if row["state"] != "completed":
            return (2, math.inf, math.inf)
        mean = means.get(row["backbone"])
        return (0, *rank(metric, mean)) if mean else (1, *rank(metric, _metrics(row)))

    rows.sort(key=place)
    for row in rows:
        row["winner"] = row is rows[0]
    _place_models(rows, run)
    return _write(rows, run)


def fold_summary(rows: Sequence[Mapping[str, Any]], metric: Metric) -> dict[str, Any]:
    """What finalists.csv says about the folds of one finalist: completed, mean, and the sample's standard deviation."""
    scores = [float(row[f"metric_{metric.name}"]) for row in rows if row["state"] == "completed"]
    return {
        "folds": len(scores),
        "fold_mean": fmean(scores) if scores else None,
        "fold_sd": stdev(scores) if len(scores) > 1 else None,
    }


def _validate(chosen: Sequence[TrialRecord], folds: Folds, run: RunDir, seed: int) -> dict[str, list[dict[str, Any]]]:
    """Train ``chosen`` on all folds but one, for each; folds.csv is whole after each, and not repeated where it fits.

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
    result, reason = _attempt(lambda: folds.train(record.config, seed, fold))
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


def _attempt(train: Callable[[], TrialResult]) -> tuple[TrialResult | None, str]:
    """What ``train`` returns, or why it failed: whatever ends one training, the others go on, as in the search."""
    try:
        return train(), ""
    except ConfigError:
        raise
    except TrialFailed as error:
        return None, str(error)
    except Exception as error:
        return None, f"{type(error).__name__}: {' '.join(str(error).split())}"


def _retrain_one(record: TrialRecord, run: RunDir, metric: Metric, seed: int, retrain: Retrain) -> dict[str, Any]:
    name = record.config.backbone
    finalist_seed = stable_seed("finalist", seed, record.config.key)
    row: dict[str, Any] = {
        "backbone": name,
        "seed": finalist_seed,
        "trial": record.trial,
        "state": "completed",
        "reason": "",
        "winner": False,
        **{f"config_{key}": value for key, value in asdict(record.config).items()},
        "trial_score": (record.metrics or {}).get(metric.name),
        **{f"metric_{key}": None for key in METRICS},
        "best_epoch": None,
        "epochs": 0,
        "seconds": 0.0,
        "model": "",
        "sha256": "",
    }
    model = run.models / f"{name}.h5"
    checkpoint = run.checkpoints / f"finalist-{name}.weights.h5"
    result, reason = _attempt(lambda: retrain(record.config, finalist_seed, checkpoint, model))
    if result is None:
        return {**row, "state": "failed", "reason": reason}
    _add_epochs(run, name, result)
    return {
        **row,
        **{f"metric_{key}": value for key, value in result.metrics.items()},
        "best_epoch": result.best_epoch,
        "epochs": len(result.epochs),
        "seconds": round(result.seconds, 3),
        "model": model.relative_to(run.path).as_posix(),
        "sha256": file_sha256(model),
    }


def _add_epochs(run: RunDir, name: str, result: TrialResult) -> None:
    table = pd.read_csv(run.epochs)
    table = table[table["finalist"] != name]
    new = pd.DataFrame(epoch_rows(result.epochs, finalist=name), columns=table.columns)
    table = pd.concat([table.astype(object), new.astype(object)], ignore_index=True)
    write_table(run.epochs, table)


def read_finalists(run: RunDir) -> pd.DataFrame:
    """finalists.csv, its names as text and the winner as a truth value.

    Raises:
        ValueError, FileNotFoundError: if there is no such table.
    """
    rows = [{**row, "reason": row["reason"] or "", "model": row["model"] or ""} for row in read_rows(run.finalists)]
    table = pd.DataFrame(rows)
    table["winner"] = table["winner"].astype(str) == "True"
    return table


def _read(run: RunDir) -> list[dict[str, Any]]:
    if not run.finalists.exists():
        return []
    try:
        rows = read_finalists(run).to_dict("records")
    except (ValueError, KeyError):  # truncated: the finalists are retrained
        return []
    return [{str(key): value for key, value in row.items()} for row in rows]


def _read_folds(run: RunDir) -> list[dict[str, Any]]:
    if not run.folds.exists():
        return []
    try:
        return [{**row, "seed": int(row["seed"]), "reason": row["reason"] or ""} for row in read_rows(run.folds)]
    except (ValueError, KeyError, TypeError):  # truncated: the folds are trained again
        return []


def _still_valid(row: dict[str, Any], chosen: Sequence[TrialRecord], run: RunDir) -> bool:
    """Whether a retrained finalist is still the one to retrain, and its model still there, by its content."""
    if row["state"] != "completed" or not any(record.config == config_from_row(row) for record in chosen):
        return False
    # a crash while models changed places may have left this one where it is to go, not where the row says
    places = (run.path / row["model"], run.best_model, run.models / f"{row['backbone']}.h5")
    found = next((path for path in places if path.is_file() and file_sha256(path) == row["sha256"]), None)
    if found is not None:
        row["model"] = found.relative_to(run.path).as_posix()
    return found is not None


def _metrics(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(row[f"metric_{name}"]) for name in METRICS}


def _place_models(rows: list[dict[str, Any]], run: RunDir) -> None:
    """The winner's file becomes best_model.h5; an earlier winner goes back among the others."""
    for row in sorted(rows, key=lambda row: bool(row["winner"])):
        wanted = run.best_model if row["winner"] else run.models / f"{row['backbone']}.h5"
        if row["model"] and run.path / row["model"] != wanted:
            (run.path / row["model"]).replace(wanted)
            row["model"] = wanted.relative_to(run.path).as_posix()


def _write(rows: list[dict[str, Any]], run: RunDir) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table["best_epoch"] = table["best_epoch"].astype("Int64")
    table["config_unfreeze_depth"] = table["config_unfreeze_depth"].astype(int)
    table["config_batch_size"] = table["config_batch_size"].astype(int)
    if "folds" in table:
        table["folds"] = table["folds"].astype("Int64")
    write_table(run.finalists, table)
    return table
