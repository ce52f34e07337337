"""How faithful the search was, and how far the test split lies from validation."""

from collections.abc import Mapping
from statistics import fmean, stdev
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import t

from bench.models.backbones import get_backbone
from bench.stats.bootstrap import SAME, WIDEST, intervals, resample
from bench.stats.enough import WITHOUT_ALL_CLASSES, parts_of, too_few
from bench.stats.metrics import Labels, Metric, Scores
from bench.stats.weighted import WEIGHTED, Weights
from bench.stats.words import counted, score, size, with_interval

UNBOUNDED = ("log_loss",)
LUCKY, UNLUCKY = "the search was lucky here", "the search had rated it too low"
FAITHFUL, TOO_FEW = "the search was faithful here", "too few validation patients to tell"
Split = tuple[Labels, Scores, npt.NDArray[Any]]
"""Class indices, probabilities and patients of a split's images."""


def retrained(
    finalists: pd.DataFrame,
    validation: Mapping[str, Scores],
    y_true: Labels,
    patients: npt.NDArray[Any],
    metric: Metric,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Trial score beside retrained scores of each finalist: ``retrained`` in evaluation.json.

    The interval is that of the representative's validation predictions, by patients, moved to the mean of the
    repeats: the representative is the best of them, and its own interval would lie too high. A trial score that is
    better than its better end is flagged; one within an interval wider than 2 x `WIDEST` proves nothing.

    Args:
        finalists: finalists.csv.
        validation: backbone -> its representative's probabilities, shape (n_val, n_classes).
        y_true: class indices of validation, shape (n_val,).
        patients: patient of each image, shape (n_val,).
        metric: the run's.
        draws: bootstrap draws; 0 gives no interval, and then nothing is flagged.
        level: of the interval.
        seed: decides the draws.
    """
    done = finalists[(finalists["state"] == "completed") & finalists[f"metric_{metric.name}"].notna()]
    found = []
    for backbone, rows in done.groupby("backbone", sort=False):
        values = [float(value) for value in rows[f"metric_{metric.name}"]]
        trial = rows["trial_score"].iloc[0] if "trial_score" in rows else None
        low, high = _moved(validation.get(str(backbone)), fmean(values), y_true, patients, metric, draws, level, seed)
        found.append(_entry(str(backbone), None if pd.isna(trial) else float(trial), values, low, high, metric))
    return found


def gap(
    validation: Split, test: Split, metric: Metric, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> dict[str, Any]:
    """The winner's validation score less its test score: ``gap`` in evaluation.json.

    The two splits share no patient, so each is drawn again by itself, and their bootstrap variances add up; the
    interval is a t interval by the patients of the smaller split.

    Args:
        validation: labels, probabilities and patients of validation.
        test: the same of the test split.
        metric: the run's.
        draws: bootstrap draws; 0 gives no interval.
        level: of the interval.
        seed: decides the draws.
    """
    entry: dict[str, Any] = {
        "metric": metric.name,
        "validation": _value(validation, metric),
        "test": _value(test, metric),
        "difference": None,
        "low": None,
        "high": None,
        "flagged": False,
    }
    if entry["validation"] is None or entry["test"] is None:
        lacking = "validation" if entry["validation"] is None else "the internal test"
        entry["sentence"] = (
            f"How far validation and the internal test lie apart cannot be said: {lacking} has no {metric.title}, "
            "because a class is missing from it."
        )
        return entry
    entry["difference"] = entry["validation"] - entry["test"]
    fewest = min(len(np.unique(patients)) for _, _, patients in (validation, test))
    draws = 0 if any(_few(split, metric) for split in (validation, test)) else draws
    errors = [_standard_error(split, metric, draws, seed + number) for number, split in enumerate((validation, test))]
    if errors[0] is not None and errors[1] is not None and max(errors[0], errors[1]) > SAME:
        reach = float(t.ppf((1 + level) / 2, fewest - 1)) * float(np.hypot(errors[0], errors[1]))
        low, high = entry["difference"] - reach, entry["difference"] + reach
        entry |= {"low": low, "high": high, "flagged": bool(low > 0 if metric.higher_is_better else high < 0)}
    return {**entry, "sentence": _gap_sentence(entry, metric)}


def _value(split: Split, metric: Metric) -> float | None:
    labels, scores, _ = split
    whole = len(labels) > 0 and len(np.unique(labels)) == scores.shape[1]
    usable = whole or (len(labels) > 0 and metric.name in WITHOUT_ALL_CLASSES)
    return metric.compute(labels, scores) if usable else None


def _few(split: Split, metric: Metric) -> str:
    labels, scores, patients = split
    return too_few(patients, parts_of(metric.name, labels, [str(index) for index in range(scores.shape[1])]))


def _standard_error(split: Split, metric: Metric, draws: int, seed: int) -> float | None:
    labels, scores, patients = split

    def compute(weights: Weights) -> npt.NDArray[np.float64]:
        return WEIGHTED[metric.name](labels, scores, weights)[:, None]

    return resample(compute, patients, draws, seed).standard_error(0)


def _gap_sentence(entry: Mapping[str, Any], metric: Metric) -> str:
    difference, low, high = (entry[name] for name in ("difference", "low", "high"))
    way = "less" if difference >= 0 else "more"
    scored = (
        f"On validation the winner scored {metric.title} {score(entry['validation'])}, on the internal test "
        f"{score(entry['test'])}: {size(difference, low, high)} {way}"
    )
    if low is None:
        return f"{scored}; no interval can be given. Expect what the internal test says."
    if entry["flagged"]:
        return f"{scored}; expect what the internal test says."
    if low <= 0 <= high:
        few = (high - low) / 2 > WIDEST
        why = "too few patients to tell whether they differ" if few else "which chance may explain"
        return f"{scored}, {why}; expect what the internal test says."
    return f"{scored}: the internal test is the easier one, so be careful with both."


def _moved(
    scores: Scores | None,
    mean: float,
    y_true: Labels,
    patients: npt.NDArray[Any],
    metric: Metric,
    draws: int,
    level: float,
    seed: int,
) -> tuple[float | None, float | None]:
    if scores is None or _value((y_true, scores, patients), metric) is None:
        return None, None
    draws = 0 if _few((y_true, scores, patients), metric) else draws
    found = intervals(y_true, scores, patients, draws, level, seed, [metric.name])[metric.name]
    if found.low is None or found.high is None:
        return None, None
    summed = metric.name == "brier" and scores.shape[1] > 2
    largest = np.inf if metric.name in UNBOUNDED else 2.0 if summed else 1.0
    low, high = np.clip([found.low + mean - found.value, found.high + mean - found.value], 0.0, largest)
    return float(low), float(high)


def _entry(
    backbone: str, trial: float | None, values: list[float], low: float | None, high: float | None, metric: Metric
) -> dict[str, Any]:
    title, mean = get_backbone(backbone).title, fmean(values)
    verdict = _faithful(trial, low, high, metric)
    seeds = f"over {counted(len(values), 'seed')}" if len(values) > 1 else "with one seed"
    again = f"retrained {seeds} it scored {with_interval(mean, low, high)}"
    if trial is None:
        sentence = f"{title} has no score of the search to compare with; {again}."
    else:
        said = f": {verdict}" if verdict else ", without an interval"
        sentence = f"{title} scored {metric.title} {score(trial)} in the search; {again}{said}."
    return {
        "backbone": backbone,
        "trial_score": trial,
        "mean": mean,
        "sd": stdev(values) if len(values) > 1 else None,
        "low": low,
        "high": high,
        "repeats": len(values),
        "verdict": verdict,
        "flagged": verdict == LUCKY,
        "sentence": sentence,
    }


def _faithful(trial: float | None, low: float | None, high: float | None, metric: Metric) -> str:
    """Whether a trial's score lies within the interval of the retrained one; empty where either is not known."""
    if trial is None or low is None or high is None:
        return ""
    better, worse = (high, low) if metric.higher_is_better else (low, high)
    if metric.better(trial, better):
        return LUCKY
    if metric.better(worse, trial):
        return UNLUCKY
    return TOO_FEW if (high - low) / 2 > WIDEST else FAITHFUL
