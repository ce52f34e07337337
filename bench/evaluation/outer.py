"""The nested loop: outer.csv as it grows, and what its folds say of the whole procedure.

In each outer fold everything is done anew without its images: search, choice of backbone, configuration and epoch,
retraining, calibration, threshold. Then its images are scored, once (docs/method/outer.md). Of the test split nothing
is read: the loop is about the images of train and validation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.splits import OuterFold, outer_seed, units_of
from bench.evaluation.thresholds import frozen_thresholds
from bench.finalists.outer import Winner
from bench.finalists.seeds import completed, earlier_rows
from bench.numbers import joined
from bench.run.folder import RunDir
from bench.run.record import OuterRecord
from bench.run.tables import OUTER, OUTER_PREDICTIONS, Row, score_columns
from bench.settings import RunSettings
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import choose_map
from bench.stats.metrics import Metric, Scores, evaluate, get_metric
from bench.stats.metrics import log_loss as log_loss_of
from bench.stats.predictions import Predictions
from bench.stats.resampled_t import fold_mean
from bench.train.task import Task, balanced_weights


@dataclass(frozen=True)
class Pool:
    """The images that a nested loop is about.

    Attributes:
        table: one row per image of the set, test images without labels.
        task: of the run: it knows the labels of train and validation.
        classes: class names by index.
    """

    table: pd.DataFrame
    task: Task
    classes: Sequence[str]

    def predictions(self, rows: npt.NDArray[np.int64], scores: Scores) -> Predictions:
        """What a model says of some images of train and validation."""
        patients = np.asarray(units_of(self.table).iloc[rows])
        return Predictions(self.task.labels_of(rows), scores, patients, self.classes, self.task.ordinal)

    def class_weights(self, rows: npt.NDArray[np.int64]) -> tuple[float, ...]:
        """Of the loss of a training on ``rows``; empty if all are alike."""
        weights = balanced_weights(self.task.labels_of(rows), len(self.classes))
        return tuple(map(float, weights)) if self.task.class_weights and np.ptp(weights) > 0 else ()


class OuterLoop:
    """outer.csv and outer_predictions.csv as they grow: whole after each fold, and a completed fold is not repeated.

    Args:
        run: the run folder.
        folds: all that there are to be.
        pool: of the run.
        settings: of the run.
        budget: trials of each fold.
    """

    def __init__(self, run: RunDir, folds: Sequence[OuterFold], pool: Pool, settings: RunSettings, budget: int) -> None:
        self._run, self._folds, self._pool, self._settings, self._budget = run, folds, pool, settings, budget
        known = {(one.repeat, one.fold) for one in folds}
        before = earlier_predictions(run)
        images = Counter(zip(before["repeat"], before["fold"], strict=True))
        done = [row for row in completed(earlier_rows(OUTER, run)) if (row["repeat"], row["fold"]) in known]
        self.rows = [row for row in done if images[row["repeat"], row["fold"]] == row["images"]]
        self._lost = [f"{row['repeat']}-{row['fold']}" for row in done if row not in self.rows]

    @cached_property
    def metric(self) -> Metric:
        """The run's."""
        return get_metric(self._settings.metric)

    @property
    def left(self) -> list[OuterFold]:
        """The folds that are not completed, in their order."""
        done = {(row["repeat"], row["fold"]) for row in completed(self.rows)}
        return [one for one in self._folds if (one.repeat, one.fold) not in done]

    def begin(self) -> str:
        """Drop what belongs to no completed fold: they are carried out again; returns a sentence on what was lost."""
        told, file = "", self._run.outer_predictions
        if self._lost:
            told = (
                f"{file.name} lacks images of finished outer folds, which are carried out again: {joined(self._lost)}"
            )
        if file.exists() and _readable(self._run) is None:
            aside = file.replace(file.with_suffix(".damaged.csv"))
            told = f"{told or f'{file.name} was damaged'}; what was left of it is now {aside.name}"
        done = {(row["repeat"], row["fold"]) for row in self.rows}
        before = earlier_predictions(self._run)
        kept = [pair in done for pair in zip(before["repeat"], before["fold"], strict=True)]
        of_classes = [f"{prefix}{name}" for prefix in OUTER_PREDICTIONS.classes for name in self._pool.classes]
        columns = [*OUTER_PREDICTIONS.names, *of_classes]  # also where there is no row yet, for what is appended
        OUTER_PREDICTIONS.write(self._run.path, before[kept].reindex(columns=columns))
        self._write()
        return told

    def add(self, fold: OuterFold, winner: Winner, trials: int, trainings: int, seconds: float) -> Row:
        """Score what a fold holds out by what was chosen without it; returns the row of outer.csv.

        Args:
            fold: that has ended.
            winner: what was chosen.
            trials: that its search had.
            trainings: trials and retrainings together.
            seconds: that all of it took.
        """
        row, predictions = self._scored(fold, winner)
        row |= {"trials": trials, "trainings": trainings, "seconds": round(seconds, 3)}
        OUTER_PREDICTIONS.append(
            self._run.path, predictions
        )  # first, so that a row of outer.csv means that all is there
        self.rows.append(row)
        self._write()
        return row

    def fail(self, fold: OuterFold, reason: str, seconds: float) -> None:
        """Note that a fold came to nothing."""
        self.rows.append({**self._about(fold), "state": "failed", "reason": reason, "seconds": round(seconds, 3)})
        self._write()

    def record(self, stopped_by: str = "") -> OuterRecord:
        """What the folds so far say of the procedure."""
        shape = self._settings.outer_shape
        about = OuterRecord(
            folds=shape[0],
            repeats=shape[1],
            seed=outer_seed(self._settings.split_seed),
            budget=self._budget,
            stopped_by=stopped_by,
        )
        whole = self._pool.predictions(self._pool.task.pool, np.full((len(self._pool.task.pool), 1), np.nan))
        few = whole.few_for(self.metric)
        return summary(self.rows, earlier_predictions(self._run), self._pool.classes, self.metric, about, few)

    def _about(self, fold: OuterFold) -> Row:
        held_out = units_of(self._pool.table).iloc[fold.held_out]
        return {
            "repeat": fold.repeat,
            "fold": fold.fold,
            "budget": self._budget,
            "images_train": len(fold.rows["train"]),
            "images_val": len(fold.rows["val"]),
            "images": len(fold.held_out),
            "patients": int(held_out.nunique()),
        }

    def _scored(self, fold: OuterFold, winner: Winner) -> tuple[Row, list[Row]]:
        """The row of a fold, and those of its images."""
        result, settings = winner.result, self._settings
        assert result.held_out is not None and result.scored is not None
        best = result.scored.scores[result.scored.epochs.index(result.best_epoch)]
        validation = self._pool.predictions(fold.rows["val"], best)
        held_out = self._pool.predictions(fold.held_out, result.held_out)
        calibrate = choose_map(validation, self._pool.class_weights(fold.rows["train"]), settings.seed).map
        calibrated = calibrate(held_out.scores)
        row = {
            **self._about(fold),
            "state": "completed",
            "reason": "",
            "backbone": winner.config.backbone,
            "validation": winner.validation,
            **score_columns(evaluate(held_out.labels, held_out.scores, held_out.ordinal)),
            "calibrated_log_loss": log_loss_of(held_out.labels, calibrated),
            **winner.config.columns(),
            "seed": winner.seed,
            "best_epoch": result.best_epoch,
        }
        if len(self._pool.classes) == 2:
            bootstrap = Bootstrap(settings.bootstrap, seed=settings.seed).unless(validation.few)
            (frozen,) = frozen_thresholds(validation, settings.target_sensitivity, bootstrap, calibrate)
            called, positive = held_out.scores[:, 1] >= frozen.value, held_out.labels == 1
            row |= {"threshold": frozen.value, "sensitivity": float(called[positive].mean())}
            row |= {"specificity": float((~called[~positive]).mean())}
        return row, self._images(fold, held_out, calibrated)

    def _images(self, fold: OuterFold, held_out: Predictions, calibrated: Scores) -> list[Row]:
        names, classes = self._pool.table["image"].iloc[fold.held_out], self._pool.classes
        return [
            {
                "repeat": fold.repeat,
                "fold": fold.fold,
                "image": name,
                "label": classes[label],
                "patient": patient,
                **{f"prob_{one}": float(score) for one, score in zip(classes, own, strict=True)},
                **{f"calibrated_{one}": float(score) for one, score in zip(classes, mapped, strict=True)},
            }
            for name, label, patient, own, mapped in zip(
                names, held_out.labels, held_out.patients, held_out.scores, calibrated, strict=True
            )
        ]

    def _write(self) -> None:
        OUTER.write(self._run.path, sorted(self.rows, key=lambda row: (row["repeat"], row["fold"])))


def earlier_predictions(run: RunDir) -> pd.DataFrame:
    """outer_predictions.csv; empty where there is none, or it cannot be read."""
    found = _readable(run)
    return OUTER_PREDICTIONS.frame([]) if found is None else found


def _readable(run: RunDir) -> pd.DataFrame | None:
    try:
        return OUTER_PREDICTIONS.read(run.path, grown=True)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def summary(
    rows: Sequence[Row],
    predictions: pd.DataFrame,
    classes: Sequence[str],
    metric: Metric,
    about: OuterRecord,
    few: str = "",
) -> OuterRecord:
    """What outer.csv and outer_predictions.csv say of the procedure.

    Args:
        rows: of outer.csv.
        predictions: outer_predictions.csv.
        classes: class names by index.
        metric: the run's.
        about: what is known of the loop as a whole.
        few: why there are too few patients for an interval; empty if there are enough.
    """
    done = completed(rows)
    counts = {
        "done": len(done),
        "failed": len(rows) - len(done),
        "metric": metric.name,
        "trainings": sum(int(row["trainings"] or 0) for row in done),
        "seconds": round(sum(float(row["seconds"] or 0) for row in rows), 3),
    }
    if not done:
        return about.model_copy(update={**counts, "reason": "no fold has ended"})
    scores = [float(row[f"metric_{metric.name}"]) for row in done]
    found = fold_mean(scores, about.folds, limits=metric.limits(len(classes)))
    low, high = (None, None) if few else found.ends
    reason = few or ("" if low is not None else _no_interval(len(done)))
    return about.model_copy(
        update={
            **counts,
            "score": found.value,
            "low": low,
            "high": high,
            "error": None if few else found.error,
            "df": None if few else found.df,
            "reason": reason,
            "pooled": _pooled(predictions, done, classes, metric, about.folds),
            "validation": _mean(done, "validation"),
            "chosen": dict(Counter(row["backbone"] for row in done).most_common()),
            "sensitivity": _mean(done, "sensitivity"),
            "specificity": _mean(done, "specificity"),
            "log_loss": _mean(done, "metric_log_loss"),
            "calibrated": _mean(done, "calibrated_log_loss"),
        }
    )


def _no_interval(folds: int) -> str:
    return "all folds score alike" if folds > 2 else "fewer than three folds have ended"


def _mean(rows: Sequence[Row], column: str) -> float | None:
    values = [float(row[column]) for row in rows if row.get(column) is not None]
    return fmean(values) if values else None


def _pooled(
    predictions: pd.DataFrame, done: Sequence[Row], classes: Sequence[str], metric: Metric, folds: int
) -> float | None:
    """The score of all held-out images together, mean over the repeats of which every fold was completed."""
    ended = Counter(row["repeat"] for row in done)
    index, values = {name: number for number, name in enumerate(classes)}, []
    for _, own in predictions[predictions["repeat"].map(ended) == folds].groupby("repeat"):
        labels = own["label"].map(index).to_numpy(dtype=np.int64)
        scores: npt.NDArray[Any] = own[[f"calibrated_{name}" for name in classes]].to_numpy(dtype=np.float64)
        values.append(metric.compute(labels, scores))
    return fmean(values) if values else None
