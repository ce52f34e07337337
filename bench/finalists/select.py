"""The finalists: each backbone's best configuration, retrained with several seeds; the winner among them.

The best mean validation score over the seeds wins. With folds, each configuration is also trained once a fold, and
the folds' mean score decides instead of the scores on the validation split, which has chosen the configuration before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from bench.finalists.folds import Folds, fold_summary, validate
from bench.finalists.seeds import (
    Row,
    attempt,
    completed,
    find_model,
    mark_representative,
    mean_metrics,
    outcome,
    own_place,
    place_models,
    repeat_seed,
)
from bench.run.folder import RunDir, write_table
from bench.run.results import TrialLog, TrialRecord, config_from_row, epoch_rows, rank, read_rows
from bench.stats.metrics import METRICS, Metric
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
    ended: Callable[[Row], None],
    through: Callable[[Sequence[Row]], None] = lambda rows: None,
    repeats: int = 1,
    folds: Folds | None = None,
) -> pd.DataFrame:
    """Retrain ``chosen`` one after another; finalists.csv is whole after each, and what is in it is not repeated.

    The winner has the best mean validation score over its completed repeats or, with folds, the best mean score of
    the folds; ties go by mean log loss. Its best repeat becomes best_model.h5.

    Args:
        chosen: the best trial of each backbone.
        run: the run folder; models go to its ``models/``.
        metric: decides the winner.
        seed: of the run.
        retrain: ``retrain(config, seed, checkpoint, model_file)``, usually in a worker.
        started: called before the first retraining of a backbone.
        ended: called with each new row.
        through: called with all rows of a backbone that has been retrained.
        repeats: seeds that each is retrained with; rows of further ones are kept.
        folds: how the retrained are then validated over folds, whose rows go to folds.csv.

    Returns:
        finalists.csv, the winner's rows first, with each backbone's representative and the exported row marked.

    Raises:
        NoFinalist: if none could be retrained.
    """
    rows = [row for row in _read(run) if _still_valid(row, chosen, run, seed)]
    _drop_epochs(run, rows)
    for record in chosen:
        mine = [row for row in rows if row["backbone"] == record.config.backbone]
        left = sorted(set(range(1, repeats + 1)) - {row["repeat"] for row in mine})
        if left:
            started(record)
        for repeat in left:
            rows.append(_retrain_one(record, repeat, run, metric, seed, retrain))
            mine.append(rows[-1])
            _write(rows, run)
            ended(rows[-1])
        if left:
            through(mine)
    finished = {row["backbone"] for row in completed(rows)}
    if not finished:
        raise NoFinalist(
            f"No finalist could be retrained; the last: {rows[-1]['reason'] if rows else 'there was none'}"
        )
    over_folds: dict[str, dict[str, float]] = {}
    if folds:
        validated = validate([one for one in chosen if one.config.backbone in finished], folds, run, seed)
        for row in rows:
            scored = validated.get(row["backbone"], [])
            row.update(fold_summary(scored, metric))
            if row["folds"]:
                over_folds[row["backbone"]] = {
                    name: fold_summary(scored, METRICS[name])["fold_mean"] for name in METRICS
                }

    winner = _settle(rows, [record.config.backbone for record in chosen], metric, over_folds)
    place_models(rows, run, "backbone", winner)
    return _write(rows, run)


def _settle(
    rows: list[Row], backbones: Sequence[str], metric: Metric, over_folds: Mapping[str, Mapping[str, float]]
) -> Row:
    """Mark representatives and the winner, and put its backbone's rows first; returns the row that is exported."""
    by_backbone = {name: [row for row in rows if row["backbone"] == name] for name in backbones}
    representatives = {name: mark_representative(own, metric) for name, own in by_backbone.items()}

    def place(name: str) -> tuple[int, float, float]:
        if representatives[name] is None:
            return (2, math.inf, math.inf)
        if name in over_folds:
            return (0, *rank(metric, over_folds[name]))
        return (1, *rank(metric, mean_metrics(by_backbone[name])))

    order = sorted(backbones, key=place)
    rows.sort(key=lambda row: (order.index(row["backbone"]), row["repeat"]))
    winner = representatives[order[0]]
    assert winner is not None
    for row in rows:
        row["winner"] = row is winner
    return winner


def _retrain_one(record: TrialRecord, repeat: int, run: RunDir, metric: Metric, seed: int, retrain: Retrain) -> Row:
    name = record.config.backbone
    own_seed = repeat_seed("finalist", repeat, seed, record.config.key)
    model = own_place(name, repeat, run)
    checkpoint = run.checkpoints / f"finalist-{name}.weights.h5"
    result, reason = attempt(lambda: retrain(record.config, own_seed, checkpoint, model))
    if result is not None:
        _add_epochs(run, name, result)
    return {
        "backbone": name,
        "repeat": repeat,
        "seed": own_seed,
        "trial": record.trial,
        "state": "completed" if result else "failed",
        "reason": reason,
        "winner": False,
        "representative": False,
        **{f"config_{key}": value for key, value in asdict(record.config).items()},
        "trial_score": (record.metrics or {}).get(metric.name),
        **outcome(result, model, run),
    }


def _add_epochs(run: RunDir, name: str, result: TrialResult) -> None:
    table = pd.read_csv(run.epochs)
    new = pd.DataFrame(epoch_rows(result.epochs, finalist=name), columns=table.columns)
    table = pd.concat([table.astype(object), new.astype(object)], ignore_index=True)
    write_table(run.epochs, table)


def _drop_epochs(run: RunDir, rows: Sequence[Row]) -> None:
    """Remove the curves of finalists that are trained again from epochs.csv.

    The file does not say of which repeat a curve is: it begins where the epoch does not go up, and is that of the row
    whose number of epochs and whose score it has.
    """
    if not run.epochs.exists():
        return
    table = pd.read_csv(run.epochs)
    own = table[table["finalist"].notna()]
    curve = (own.groupby("finalist")["epoch"].diff() <= 0).astype(int).groupby(own["finalist"]).cumsum()
    dropped: list[Any] = []
    for (name, _), part in own.groupby([own["finalist"], curve], sort=False):
        if not any(row["backbone"] == name and _is_curve_of(row, part) for row in rows):
            dropped += list(part.index)
    if dropped:
        write_table(run.epochs, table.drop(index=dropped))


def _is_curve_of(row: Row, part: pd.DataFrame) -> bool:
    best = part.loc[part["epoch"] == row["best_epoch"], "metric_log_loss"]
    return len(part) == row["epochs"] and len(best) > 0 and math.isclose(best.iloc[0], row["metric_log_loss"])


def read_finalists(run: RunDir) -> pd.DataFrame:
    """finalists.csv, its names as text, winner and representative as truth values.

    A table from before there were repeats has one a backbone, which represents it.

    Raises:
        ValueError, FileNotFoundError: if there is no such table.
    """
    rows = [{**row, "reason": row["reason"] or "", "model": row["model"] or ""} for row in read_rows(run.finalists)]
    table = pd.DataFrame(rows)
    table["winner"] = table["winner"].astype(str) == "True"
    if "repeat" not in table:
        table.insert(1, "repeat", 1)
        table["representative"] = table["state"] == "completed"
    table["representative"] = table["representative"].astype(str) == "True"
    table["repeat"] = table["repeat"].astype(int)
    return table


def _read(run: RunDir) -> list[Row]:
    if not run.finalists.exists():
        return []
    try:
        rows = read_finalists(run).to_dict("records")
    except (ValueError, KeyError):  # truncated: the finalists are retrained
        return []
    return [{str(key): value for key, value in row.items()} for row in rows]


def _still_valid(row: Row, chosen: Sequence[TrialRecord], run: RunDir, seed: int) -> bool:
    """Whether a retrained finalist is still the one to retrain, and its model still there, by its content."""
    if row["state"] != "completed" or not any(record.config == config_from_row(row) for record in chosen):
        return False
    if row["seed"] != repeat_seed("finalist", row["repeat"], seed, config_from_row(row).key):
        return False
    name = row["backbone"]
    return find_model(row, run, (run.best_model, run.models / f"{name}.h5", own_place(name, row["repeat"], run)))


def _write(rows: list[Row], run: RunDir) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    table["best_epoch"] = table["best_epoch"].astype("Int64")
    table["config_unfreeze_depth"] = table["config_unfreeze_depth"].astype(int)
    table["config_batch_size"] = table["config_batch_size"].astype(int)
    if "folds" in table:
        table["folds"] = table["folds"].astype("Int64")
    write_table(run.finalists, table)
    return table
