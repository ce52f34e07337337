"""The nested loop, computed again from outer.csv and outer_predictions.csv, with scikit-learn and SciPy."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from bench.verify.reading import Folder, Predicted, Tally
from bench.verify.resampled import NOTHING, few
from bench.verify.scores import NEEDS_ALL_CLASSES, score, scores_told

LIMITS = {"log_loss": (0.0, math.inf), "brier": (0.0, 2.0), "quadratic_kappa": (-1.0, 1.0)}
"""The least and the largest value; of other metrics 0 and 1. Brier's of two classes ends at 1."""
FEWEST_FOLDS = 3


def outer(run: Folder, tally: Tally) -> None:
    """Scores of every fold, their mean with its interval, the pooled score, and that folds part the patients."""
    rows, images = run.table("outer.csv"), run.table("outer_predictions.csv")
    told, done = run.run.get("outer") or {}, rows[rows["state"] == "completed"]
    tally.same("outer folds that ended", told.get("done"), len(done))
    tally.same("outer folds that failed", told.get("failed"), len(rows) - len(done))
    for _, row in done.iterrows():
        own = images[(images["repeat"] == row["repeat"]) & (images["fold"] == row["fold"])]
        where, found = f"outer fold {row['repeat']:.0f}-{row['fold']:.0f}", _predicted(run, own, "prob_")
        tally.close(f"{where}: images", row["images"], len(own))
        tally.close(f"{where}: patients", row["patients"], own["patient"].nunique())
        for name in scores_told(row):
            tally.close(f"{where}: {name}", row[f"metric_{name}"], score(name, found), 1e-5)
        calibrated = score("log_loss", _predicted(run, own, "calibrated_"))
        tally.close(f"{where}: calibrated log loss", row["calibrated_log_loss"], calibrated, 1e-5)
        if not pd.isna(row["threshold"]):
            called, positive = found.scores[:, 1] >= row["threshold"] - 1e-9, found.labels == 1
            tally.close(f"{where}: sensitivity", row["sensitivity"], called[positive].mean())
            tally.close(f"{where}: specificity", row["specificity"], (~called[~positive]).mean())
    if len(done) and told:
        _summary(run, told, done, images, tally)
    counts = done.groupby("repeat").size()
    _parted(run, images, set(counts[counts == told.get("folds")].index), tally)


def _summary(run: Folder, told: dict[str, Any], done: pd.DataFrame, images: pd.DataFrame, tally: Tally) -> None:
    metric, folds = told["metric"], told["folds"]
    scores = done[f"metric_{metric}"].to_numpy(dtype=np.float64)
    tally.close("the procedure's score", told["score"], scores.mean())
    _interval(run, told, scores, _few(run, images, metric), tally)
    counts = done.groupby("repeat").size()
    whole = [
        score(metric, _predicted(run, own, "calibrated_"))
        for repeat, own in images.groupby("repeat")
        if counts.get(repeat) == folds
    ]
    known = [one for one in whole if one is not None]
    tally.close("pooled over the folds", told.get("pooled"), float(np.mean(known)) if known else None, 1e-5)
    for name in ("validation", "sensitivity", "specificity"):
        tally.close(f"mean {name} of the folds", told.get(name), done[name].mean())
    for name, column in (("log_loss", "metric_log_loss"), ("calibrated", "calibrated_log_loss")):
        tally.close(f"mean {name} of the folds", told.get(name), done[column].mean())
    tally.same("chosen in the folds", told["chosen"], done["backbone"].value_counts().to_dict())
    tally.same("trainings of the folds", told["trainings"], int(done["trainings"].sum()))


def _interval(
    run: Folder, told: dict[str, Any], scores: npt.NDArray[np.float64], too_few: bool | None, tally: Tally
) -> None:
    """The corrected resampled t: there must be one where folds and patients are enough, and none elsewhere."""
    metric, n = told["metric"], len(scores)
    error = math.sqrt(scores.var(ddof=1) * (1 / n + 1 / (told["folds"] - 1))) if n >= FEWEST_FOLDS else None
    if too_few or (too_few is None and told.get("error") is None):
        error = None
    known = error is not None and error > NOTHING
    tally.same("whether the procedure has an interval", told.get("low") is not None, known)
    tally.close("its standard error", told.get("error"), error)
    tally.close("its degrees of freedom", told.get("df"), None if error is None else n - 1)
    least, most = LIMITS.get(metric, (0.0, 1.0))
    most = 1.0 if metric == "brier" and len(_classes(run)) == 2 else most
    low, high = np.clip(t.interval(0.95, n - 1, scores.mean(), error), least, most) if known else (None, None)
    tally.close("its lower end", told.get("low"), low)
    tally.close("its upper end", told.get("high"), high)


def _few(run: Folder, images: pd.DataFrame, metric: str) -> bool | None:
    """Whether train and validation have too few patients for an interval; None if the folds so far do not tell."""
    once = images.drop_duplicates("image")
    parts = [] if metric not in NEEDS_ALL_CLASSES else [(once["label"] == name).to_numpy() for name in _classes(run)]
    found = few(once["patient"].to_numpy(), *parts)
    return None if found and len(once) < len(_pool(run)) else found


def _pool(run: Folder) -> set[str]:
    splits = run.table("splits.csv")
    return set(splits.loc[splits["split"].isin(["train", "val"]), "image"])


def _parted(run: Folder, images: pd.DataFrame, whole: set[Any], tally: Tally) -> None:
    """In a repeat an image of train and validation is held out once, no patient by two folds, none of test.

    Of a repeat that is not among the ``whole`` ones, images may be missing.
    """
    pool = _pool(run)
    for repeat, own in images.groupby("repeat"):
        where = f"repeat {float(str(repeat)):.0f} of the outer folds"
        others = set(own["image"]) - pool
        tally.check(not others, f"{where}: {len(others)} images are not of train and validation")
        tally.check(not own["image"].duplicated().any(), f"{where}: an image is held out twice")
        left_out = len(pool - set(own["image"])) if repeat in whole else 0
        tally.check(not left_out, f"{where}: {left_out} images of train and validation are never held out")
        parted = int((own.groupby("patient")["fold"].nunique() > 1).sum())
        tally.check(not parted, f"{where}: {parted} patients are in several folds")


def _classes(run: Folder) -> list[str]:
    return list(run.run["data"]["classes"])


def _predicted(run: Folder, table: pd.DataFrame, kind: str) -> Predicted:
    """As `Folder.predicted`, also while the test split is sealed."""
    classes = _classes(run)
    number = {name: index for index, name in enumerate(classes)}
    return Predicted(
        images=tuple(table["image"]),
        labels=np.array([number[label] for label in table["label"]], dtype=np.int64),
        scores=table[[f"{kind}{name}" for name in classes]].to_numpy(dtype=np.float64),
        patients=table["patient"].to_numpy(),
    )
