"""The finalists: each backbone's best configuration, retrained with several seeds; the winner among them.

The best mean validation score over the seeds wins. With folds, each configuration is also trained once per fold, and
the folds' mean score decides instead of the scores on the validation split, which has chosen the configuration before.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.finalists.folds import Folds, validate
from bench.finalists.seeds import (
    NoFinalist,
    Repeats,
    Told,
    Training,
    Trainings,
    completed,
    has_model,
    lost_to_crashes,
    mark_representative,
    mean_metrics,
    repeat_seed,
    spread_of,
)
from bench.run.folder import RunDir
from bench.run.record import WinnerRecord
from bench.run.results import TrialLog, TrialRecord, rank
from bench.run.tables import FINALISTS, Row, records
from bench.stats.metrics import Metric
from bench.trial import TrialConfig, TrialResult

Retrain = Callable[[TrialConfig, int, Path, Path], TrialResult]
"""``retrain(config, seed, checkpoint, model_file)``, usually in a worker."""
Scores = Mapping[str, float]


def choose(log: TrialLog, metric: Metric, backbones: Sequence[str]) -> list[TrialRecord]:
    """The best trial of each backbone that has one."""
    best = (log.best(metric, backbone=name) for name in backbones)
    return [record for record in best if record is not None]


def retrain_finalists(
    chosen: Sequence[TrialRecord], how: Repeats, retrain: Retrain, folds: Folds | None = None, told: Told | None = None
) -> pd.DataFrame:
    """Retrain ``chosen`` one after another; finalists.csv is whole after each, and what is in it is not repeated.

    The winner has the best mean validation score over its completed repeats or, with folds, the best mean score of
    the folds; ties go by mean log loss. Its best repeat becomes best_model.h5.

    Returns:
        finalists.csv, the winner's rows first, with each backbone's representative and the exported row marked.

    Raises:
        NoFinalist: if none could be retrained, or a crash has taken one: the others would win without having met it.
    """
    trainings = Trainings("finalist", FINALISTS, how, told or Told(), lambda row: _still_valid(row, chosen, how))
    for record in chosen:
        trainings.over_seeds(_training(record, how, retrain))
    rows = trainings.rows
    finished = {row["backbone"] for row in completed(rows)}
    if not finished:
        raise NoFinalist(
            f"No finalist could be retrained; the last: {rows[-1]['reason'] if rows else 'there was none'}"
        )
    lost = [f"{name} ({reason})" for name, reason in trainings.lost.items() if name not in finished]
    if lost:
        raise NoFinalist(lost_to_crashes(lost))
    over_folds: dict[str, Scores] = {}
    if folds:
        validated = validate([one for one in chosen if one.config.backbone in finished], folds, how)
        for row in rows:
            scored = validated.get(row["backbone"], [])
            found = spread_of(scored, how.metric)
            row.update(folds=found.repeats, fold_mean=found.mean, fold_sd=found.sd)
            if found.repeats:
                over_folds[row["backbone"]] = mean_metrics(scored)
    winner = _settle(rows, [record.config.backbone for record in chosen], how.metric, over_folds)
    trainings.remove_strays()
    how.run.export(how.run.path / winner["model"])
    return trainings.write()


def _training(record: TrialRecord, how: Repeats, retrain: Retrain) -> Training:
    def seed_of(repeat: int) -> int:
        return repeat_seed("finalist", repeat, how.seed, record.config.key)

    def train(seed: int, checkpoint: Path, model: Path) -> TrialResult:
        return retrain(record.config, seed, checkpoint, model)

    score = (record.metrics or {}).get(how.metric.name)
    about = {"trial": record.trial, "winner": False, "trial_score": score}
    return Training(record.config.backbone, seed_of, train, record.config, about)


def _settle(rows: list[Row], backbones: Sequence[str], metric: Metric, over_folds: Mapping[str, Scores]) -> Row:
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


def winner_of(table: pd.DataFrame, metric: Metric) -> WinnerRecord:
    """Which finalist won, and by what; over folds, too, where finalists.csv, the ``table``, has them."""
    rows = records(table)
    winner = next(row for row in rows if row["winner"])
    spread = spread_of([row for row in rows if row["backbone"] == winner["backbone"]], metric)
    folds = {name: winner[name] for name in ("folds", "fold_mean", "fold_sd")}
    return WinnerRecord(
        backbone=winner["backbone"],
        score=spread.mean,
        sd=spread.sd,
        repeats=spread.repeats,
        metric=metric.name,
        trial=winner["trial"],
        **({} if winner["folds"] is None else folds),
    )


def read_finalists(run: RunDir) -> pd.DataFrame:
    """finalists.csv.

    A table from before there were repeats has one row per backbone, which represents it.

    Raises:
        ValueError, FileNotFoundError: if there is no such table.
    """
    table = FINALISTS.read(run.path)
    if table["repeat"].isna().all():
        table["repeat"] = table["repeat"].fillna(1)
        table["representative"] = table["state"] == "completed"
    return table


def _still_valid(row: Row, chosen: Sequence[TrialRecord], how: Repeats) -> bool:
    """Whether a retrained finalist is still the one to retrain, and its model still there, by its content."""
    row["repeat"] = row["repeat"] or 1  # from before there were repeats
    if row["state"] != "completed" or not any(record.config == TrialConfig.from_row(row) for record in chosen):
        return False
    if row["seed"] != repeat_seed("finalist", row["repeat"], how.seed, TrialConfig.from_row(row).key):
        return False
    return has_model(row["backbone"], row, how.run)
