"""The finalists: each backbone's best configuration, retrained with several seeds; the winner among them.

The best mean validation score over the seeds wins. With folds, each configuration is also trained once per fold, and
the folds' mean score decides instead of the scores on the validation split, which has chosen the configuration before.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bench.finalists.folds import Folds, Validation
from bench.finalists.seeds import (
    NoFinalist,
    Repeats,
    Told,
    Train,
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
from bench.train.job import TrainingJob
from bench.trial import TrialConfig

Scores = Mapping[str, float]


def choose(log: TrialLog, metric: Metric, backbones: Sequence[str]) -> list[TrialRecord]:
    """The best trial of each backbone that has one."""
    best = (log.best(metric, backbone=name) for name in backbones)
    return [record for record in best if record is not None]


def retrain_finalists(
    chosen: Sequence[TrialRecord],
    how: Repeats,
    train: Train,
    folds: Folds | None = None,
    told: Told | None = None,
) -> pd.DataFrame:
    """Retrain ``chosen``; finalists.csv is whole after each training, and what is in it is not repeated.

    All seeds and folds of all backbones are wanted at once, for none waits for another. The winner has the best mean
    validation score over its completed repeats or, with folds, the best mean score of the folds; ties go by mean log
    loss. Its repeat nearest the median validation score becomes best_model.h5.

    Returns:
        finalists.csv, the winner's rows first, with each backbone's representative and the exported row marked.

    Raises:
        NoFinalist: if none could be retrained, or a crash has taken one: the others would win without having met it.
    """
    names = [record.config.backbone for record in chosen]
    trainings = Trainings("finalist", names, FINALISTS, how, told or Told(), lambda row: _still_valid(row, chosen, how))
    validation = Validation(chosen, folds, how) if folds else None
    wanted = trainings.begin(_training(record, how) for record in chosen)
    for one, outcome in train(wanted + (validation.begin() if validation else [])):
        if validation and one.curve.fold is not None:
            validation.take(one.curve, outcome)
        else:
            trainings.take(one.curve, outcome)
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
    if validation:
        validated = validation.close([name for name in names if name in finished])
        for row in rows:
            scored = validated.get(row["backbone"], [])
            found = spread_of(scored, how.metric)
            row.update(folds=found.repeats, fold_mean=found.mean, fold_sd=found.sd)
            if found.repeats:
                over_folds[row["backbone"]] = mean_metrics(scored)
    order, winner = _settle(rows, names, how.metric, over_folds)
    trainings.remove_strays()
    how.run.export(how.run.path / winner["model"])
    return trainings.write(order)


def _training(record: TrialRecord, how: Repeats) -> Training:
    def seed_of(repeat: int) -> int:
        return repeat_seed("finalist", repeat, how.seed, record.config.key)

    def job_of(seed: int, repeat: int, model: Path) -> TrainingJob:
        return TrainingJob(record.config, seed, how.views, repeat - 1, model_file=model)

    score = (record.metrics or {}).get(how.metric.name)
    about = {"trial": record.trial, "winner": False, "trial_score": score}
    return Training(record.config.backbone, seed_of, job_of, record.config, about)


def _settle(
    rows: list[Row], backbones: Sequence[str], metric: Metric, over_folds: Mapping[str, Scores]
) -> tuple[list[str], Row]:
    """Mark representatives and the winner; returns the backbones, best first, and the row that is exported."""
    by_backbone = {name: [row for row in rows if row["backbone"] == name] for name in backbones}
    representatives = {name: mark_representative(own, metric) for name, own in by_backbone.items()}

    def place(name: str) -> tuple[int, float, float]:
        if representatives[name] is None:
            return (2, math.inf, math.inf)
        if name in over_folds:
            return (0, *rank(metric, over_folds[name]))
        return (1, *rank(metric, mean_metrics(by_backbone[name])))

    order = sorted(backbones, key=place)
    winner = representatives[order[0]]
    assert winner is not None
    for row in rows:
        row["winner"] = row is winner
    return order, winner


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
