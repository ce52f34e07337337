"""How faithful the search was, and how far the test split lies from validation."""

import math
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
FAITHFUL, TOO_FEW = "the search was faithful here", "too few seeds to tell"


def retrained(
    finalists: pd.DataFrame, validation: Mapping[str, Predictions], metric: Metric, bootstrap: Bootstrap
) -> list[Retrained]:
    """Trial score beside retrained scores of each finalist.

    All are scores of the same validation patients, so what parts them is the seed: the verdict sets their difference
    against the prediction interval of one more training, from the spread of the seeds (a t interval of variance
    s² (1 + 1/n)). A trial that is better than that is flagged; an interval wider than 2 x `WIDEST` proves nothing, and
    one seed has no spread. How far other patients would move the score is another interval: that of the
    representative's predictions, by patients, moved to the mean of the repeats, whose score it need not have.

    Args:
        finalists: finalists.csv.
        validation: backbone -> its representative's predictions of validation.
        metric: the run's.
        bootstrap: of the interval by patients; its level is that of both.
    """
    done = finalists[(finalists["state"] == "completed") & finalists[f"metric_{metric.name}"].notna()]
    found = []
    for backbone, rows in done.groupby("backbone", sort=False):
        values = [float(value) for value in rows[f"metric_{metric.name}"]]
        trial = rows["trial_score"].iloc[0] if "trial_score" in rows else None
        low, high = _moved(validation.get(str(backbone)), fmean(values), metric, bootstrap)
        one = Retrained(
            backbone=str(backbone),
            trial_score=None if pd.isna(trial) else float(trial),
            mean=fmean(values),
            sd=stdev(values) if len(values) > 1 else None,
            low=low,
            high=high,
            repeats=len(values),
        )
        found.append(_judged(one, metric, bootstrap.level))
    return found


def gap(validation: Predictions, test: Predictions, metric: Metric, bootstrap: Bootstrap) -> Gap:
    """The winner's validation score less its test score.

    The two splits share no patient, so each is drawn again by itself, and their bootstrap variances add up; the
    interval is a t interval by the patients of the smaller split; of a metric that needs all classes, by those of the
    class with the fewest in either (`bench.stats.enough.fewest`).
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
    fewest = min(split.fewest_for(metric) for split in (validation, test))
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


def _judged(one: Retrained, metric: Metric, level: float) -> Retrained:
    """``one`` with the verdict on its trial, in words too."""
    title, trained = get_backbone(one.backbone).title, one.repeats or 0
    seeds = f"over {counted(trained, 'seed')}" if trained > 1 else "with one seed"
    again = f"retrained {seeds} it scored {with_interval(one.mean, one.low, one.high)}"
    if one.trial_score is None or one.mean is None:
        return one.model_copy(update={"sentence": f"{title} has no score of the search to compare with; {again}."})
    reach = _reach(one.sd, trained, level)
    verdict = "" if reach is None else _verdict(one.trial_score - one.mean, reach, metric)
    said = verdict or ("one seed cannot tell luck from skill" if trained < 2 else "the seeds all scored the same")
    return one.model_copy(
        update={
            "reach": reach,
            "verdict": verdict,
            "flagged": verdict == LUCKY,
            "sentence": f"{title} scored {metric.title} {spread(one.trial_score)} in the search; {again}: {said}.",
        }
    )


def _reach(sd: float | None, trained: int, level: float) -> float | None:
    """How far one more training may lie from the mean of ``trained`` ones; None where they do not tell."""
    if sd is None or sd <= SAME:
        return None
    return float(t.ppf((1 + level) / 2, trained - 1)) * sd * math.sqrt(1 + 1 / trained)


def _verdict(difference: float, reach: float, metric: Metric) -> str:
    """What the trial's score less the mean of the retrained ones says, beside what seeds make of it."""
    gained = difference if metric.higher_is_better else -difference
    if abs(gained) > reach:
        return LUCKY if gained > 0 else UNLUCKY
    return TOO_FEW if reach > WIDEST else FAITHFUL
