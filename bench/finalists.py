"""The finalists: each backbone's best configuration, retrained through the full model; the winner among them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bench.errors import ConfigError, TrialFailed
from bench.metrics import METRICS, Metric
from bench.results import TrialLog, TrialRecord, config_from_row, epoch_rows, rank, read_rows
from bench.rundir import RunDir, file_sha256, write_table
from bench.seeds import stable_seed
from bench.trial import TrialConfig, TrialResult

Retrain = Callable[[TrialConfig, int, Any, Any], TrialResult]


class NoFinalist(Exception):
    """Not one finalist could be retrained."""


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
) -> pd.DataFrame:
    """Retrain ``chosen`` one after another; finalists.csv is whole after each, and what is in it is not repeated.

    Args:
        chosen: the best trial of each backbone.
        run: the run folder; models go to its ``models/``.
        metric: decides the winner.
        seed: of the run.
        retrain: ``retrain(config, seed, checkpoint, model_file)``, usually in a worker.
        started: called before each retraining.
        ended: called with each new row.

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
    winner = min(finished, key=lambda row: rank(metric, _metrics(row)))
    for row in rows:
        row["winner"] = row is winner
    _place_models(rows, run)
    rows.sort(key=lambda row: rank(metric, _metrics(row)) if row["state"] == "completed" else (math.inf, math.inf))
    return _write(rows, run)


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
    try:
        result = retrain(record.config, finalist_seed, run.checkpoints / f"finalist-{name}.weights.h5", model)
    except ConfigError:
        raise
    except Exception as error:  # whatever ends one finalist, the others go on, as in the search
        known = isinstance(error, TrialFailed)
        reason = str(error) if known else f"{type(error).__name__}: {' '.join(str(error).split())}"
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


def _metrics(row: dict[str, Any]) -> dict[str, float]:
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
    write_table(run.finalists, table)
    return table
