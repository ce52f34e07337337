"""How faithful the search was, and how far the test split lies from validation."""

from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pandas as pd
from scipy.stats import t

from bench.models.backbones import get_backbone
from bench.numbers import counted, magnitude, spread, with_interval
from bench.run.documents import Gap, Retrained
from bench.stats.bootstrap import SAME, WIDEST, Bootstrap, intervals
from bench.stats.metrics import Metric
from bench.stats.predictions import Predictions
from bench.stats.proportions import Ends

LUCKY, UNLUCKY = "the search was lucky here", "the search had rated it too low"
FAITHFUL, TOO_FEW = "the search was faithful here", "too few validation patients to tell"


def retrained(
    finalists: pd.DataFrame, validation: Mapping[str, Predictions], metric: Metric, bootstrap: Bootstrap
) -> list[Retrained]:
    """Trial score beside retrained scores of each finalist.

    The interval is that of the representative's validation predictions, by patients, moved to the mean of the repeats,
    whose score it need not have. A trial score that is better than its better end is flagged; one within an interval
    wider than 2 x `WIDEST` proves nothing.

    Args:
        finalists: finalists.csv.
        validation: backbone -> its representative's predictions of validation.
        metric: the run's.
        bootstrap: without draws nothing is flagged.
    """
    done = finalists[(finalists["state"] == "completed") & finalists[f"metric_{metric.name}"].notna()]
    found = []
    for backbone, rows in done.groupby("backbone", sort=False):
        values = [float(value) for value in rows[f"metric_{metric.name}"]]
        trial = rows["trial_score"].iloc[0] if "trial_score" in rows else None
        ends = _moved(validation.get(str(backbone)), fmean(values), metric, bootstrap)
        found.append(_retrained(str(backbone), None if pd.isna(trial) else float(trial), values, ends, metric))
    return found


def gap(validation: Predictions, test: Predictions, metric: Metric, bootstrap: Bootstrap) -> Gap:
    """The winner's validation score less its test score.

    The two splits share no patient, so each is drawn again by itself, and their bootstrap variances add up; the
    interval is a t interval by the patients of the smaller split.
    """
    before, after = _value(validation, metric), _value(test, metric)
    difference, low, high, flagged = None, None, None, False
    if before is None or after is None:
        lacking = "validation" if before is None else "the internal test"
        sentence = (
            f"How far validation and the internal test lie apart cannot be said: {lacking} has no {metric.title}, "
            "because a class is missing from it."
        )
    else:
        difference = before - after
        low, high = _ends_of_gap(validation, test, metric, bootstrap, difference)
        flagged = low is not None and high is not None and bool(low > 0 if metric.higher_is_better else high < 0)
        sentence = (
            f"On validation the winner scored {metric.title} {spread(before)}, on the internal test {spread(after)}: "
            f"{magnitude(difference, low, high)} {'less' if difference >= 0 else 'more'}{_expect(low, high, flagged)}"
        )
    return Gap(
        metric=metric.name,
        validation=before,
        test=after,
        difference=difference,
        low=low,
        high=high,
        flagged=flagged,
        sentence=sentence,
    )


def _ends_of_gap(
    validation: Predictions, test: Predictions, metric: Metric, bootstrap: Bootstrap, difference: float
) -> Ends:
    bootstrap = bootstrap.unless(validation.few_for(metric) or test.few_for(metric))
    errors = [
        replace(bootstrap, seed=bootstrap.seed + number).of_models(metric.name, split, [split.scores]).standard_error(0)
        for number, split in enumerate((validation, test))
    ]
    if errors[0] is None or errors[1] is None or max(errors[0], errors[1]) <= SAME:
        return None, None
    fewest = min(validation.n_patients, test.n_patients)
    reach = float(t.ppf((1 + bootstrap.level) / 2, fewest - 1)) * float(np.hypot(errors[0], errors[1]))
    return difference - reach, difference + reach


def _value(split: Predictions, metric: Metric) -> float | None:
    usable = len(split) > 0 and not (metric.needs_all_classes and split.missing_classes)
    return metric.compute(split.labels, split.scores) if usable else None


def _expect(low: float | None, high: float | None, flagged: bool) -> str:
    """How the sentence on the gap goes on."""
    if low is None or high is None:
        return "; no interval can be given. Expect what the internal test says."
    if flagged:
        return "; expect what the internal test says."
    if low <= 0 <= high:
        few = (high - low) / 2 > WIDEST
        why = "too few patients to tell whether they differ" if few else "an interval that includes 0"
        return f", {why}; expect what the internal test says."
    return ": the internal test is the easier one, so be careful with both."


def _moved(predictions: Predictions | None, mean: float, metric: Metric, bootstrap: Bootstrap) -> Ends:
    """The interval of the representative's score, moved to the mean of all repeats."""
    if predictions is None or _value(predictions, metric) is None:
        return None, None
    found = intervals(predictions, bootstrap.unless(predictions.few_for(metric)), [metric.name])[metric.name]
    if found.low is None or found.high is None:
        return None, None
    limits = metric.limits(len(predictions.classes))
    low, high = np.clip([found.low + mean - found.value, found.high + mean - found.value], *limits)
    return float(low), float(high)


def _retrained(backbone: str, trial: float | None, values: list[float], ends: Ends, metric: Metric) -> Retrained:
    title, mean, (low, high) = get_backbone(backbone).title, fmean(values), ends
    verdict = _verdict(trial, ends, metric)
    seeds = f"over {counted(len(values), 'seed')}" if len(values) > 1 else "with one seed"
    again = f"retrained {seeds} it scored {with_interval(mean, low, high)}"
    if trial is None:
        sentence = f"{title} has no score of the search to compare with; {again}."
    else:
        said = f": {verdict}" if verdict else ", without an interval"
        sentence = f"{title} scored {metric.title} {spread(trial)} in the search; {again}{said}."
    sd = stdev(values) if len(values) > 1 else None
    return Retrained(
        backbone=backbone,
        trial_score=trial,
        mean=mean,
        sd=sd,
        low=low,
        high=high,
        repeats=len(values),
        verdict=verdict,
        flagged=verdict == LUCKY,
        sentence=sentence,
    )


def _verdict(trial: float | None, ends: Ends, metric: Metric) -> str:
    """Whether a trial's score lies within the interval of the retrained one; empty where either is not known."""
    low, high = ends
    if trial is None or low is None or high is None:
        return ""
    better, worse = (high, low) if metric.higher_is_better else (low, high)
    if metric.better(trial, better):
        return LUCKY
    if metric.better(worse, trial):
        return UNLUCKY
    return TOO_FEW if (high - low) / 2 > WIDEST else FAITHFUL
