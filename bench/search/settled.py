"""Whether a search is settled: whether the trials left in its budget may still beat its best. No Ray, no Optuna.

The rule. The search ends when the chance that *any* of the trials left in the budget beats the best by more than the
best's standard error on validation is below 5 %; not before `FEWEST` trials have a score, `FAIR` of every backbone, and
not before every point of the space and every default recipe has ended. What failed, and is not tried again, has ended
without a score. A backbone is not waited for where none of `FAIR` trials has a score, or where nothing of it is left to
try. The comparison of what a search may still gain with
the standard error of what it has is that of Makarova et al., "Automatic termination for hyperparameter optimization"
(AutoML 2022, arXiv:2104.08166). They bound the gain by a Gaussian process; Optuna's terminators, which do the same,
need PyTorch and are to be removed in Optuna 6. Here the gain follows from the upper tail of the scores so far.

The chance. Of a score that has a best possible value, the upper tail is a power of the distance from that value (the
Weibull case of Gnedenko, Annals of Mathematics 44:423, 1943), so the logarithms of the distances have an exponential
tail (as in Hill, Annals of Statistics 3:1163, 1975). The best quarter of n scores, k of them, exceed the next one by d
on average, in the negative logarithm of the distance; a trial exceeds it by more than x with the chance
k / n · (1 + x / (k d))^-k, the predictive distribution of exponential data (Dunsmore, Technometrics 16:455, 1974),
which allows for d being an estimate. That all m trials left miss is taken as m independent misses. A plain exponential
tail of the scores themselves was more cautious than it had to be near the best possible value, and saved less.

Of the next trial alone, in place of any of those left, the chance is below 5 % after some 20 trials in any case: the
best of 21 exchangeable trials is the last in one of 21 cases. Of simulated searches that ended by that rule up to two
in three lost more than a standard error (docs/performance.md).
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench import numbers
from bench.run.record import SETTLED, RunRecord, SettledRecord
from bench.run.results import TrialRecord
from bench.stats.metrics import Metric, get_metric
from bench.stats.standard_error import standard_error

LEVEL = 0.05
"""A chance below this ends the search."""
FEWEST = 20
"""Trials with a score that the tail is estimated from at least: a quarter of them are five."""
FAIR = 5
"""Trials with a score that each backbone has had at least, its fair share; or so many that all failed."""
TAIL = 4
"""The best n / `TAIL` of n scores are the tail."""
FIXED = ("point", "recipe")
"""Origins of trials that are always run: points of the space and default recipes."""


def chance(distances: Sequence[float], margin: float, trials: int) -> float:
    """The chance that one of so many further ``trials`` beats the best so far by more than ``margin``.

    Args:
        distances: of the scores from the best possible one; not negative, in any order.
        margin: in the same unit; not negative.
        trials: that are still to come.

    Returns:
        0 to 1: 0 where nothing can beat the best by as much, and 1 where all scores are equal, for they say nothing of
        how far from them a further one may lie.
    """
    ordered = sorted(distances)
    best, count = ordered[0], max(1, len(ordered) // TAIL)
    if margin >= best:
        return 0.0
    while count < len(ordered) - 1 and ordered[count] == best:  # more than a quarter share the best score
        count += 1
    threshold = ordered[min(count, len(ordered) - 1)]
    excess = sum(math.log(threshold / one) for one in ordered[:count])
    if excess <= 0:
        return 1.0
    one = count / len(ordered) * (1 + math.log(threshold / (best - margin)) / excess) ** -count
    return float(1 - (1 - one) ** trials)


@dataclass(frozen=True)
class Rule:
    """What the rule goes by, beside the trials.

    Attributes:
        metric: that the search optimises.
        patients: of validation, by class.
        budget: number of trials.
        backbones: names of all that are compared.
        fixed: number of points of the space and default recipes that are run.
    """

    metric: Metric
    patients: tuple[float, ...]
    budget: int
    backbones: tuple[str, ...]
    fixed: int

    def standard_error(self, score: float) -> float:
        """Of a validation score."""
        return standard_error(self.metric.name, score, self.patients)

    def short(self, ended: Sequence[TrialRecord]) -> list[str]:
        """The backbones that have not had their share, once `FEWEST` of the trials ``ended`` have a score."""
        scored = Counter(record.config.backbone for record in ended if record.metrics)
        tried = Counter(record.config.backbone for record in ended)
        waiting = [name for name in self.backbones if scored[name] < FAIR and (scored[name] or tried[name] < FAIR)]
        return waiting if scored.total() >= FEWEST else []

    def chance(self, ended: Sequence[TrialRecord], closed: Collection[str] = ()) -> float | None:
        """The chance that a trial that is left beats the best by more than its standard error.

        Args:
            ended: all trials that have come to their end so far, in any order; failed ones too, unless they are to be
                tried again.
            closed: backbones of which nothing is left to try.

        Returns:
            0 to 1; None where the rule does not apply: nothing is left, or a backbone has not had its share.
        """
        left, scored = self.budget - len(ended), [record.metrics for record in ended if record.metrics]
        if left <= 0 or len(scored) < FEWEST or set(self.short(ended)) - set(closed):
            return None
        if sum(record.origin in FIXED for record in ended) < self.fixed:
            return None
        limit = self.metric.limits(len(self.patients))[self.metric.higher_is_better]
        scores = [metrics[self.metric.name] for metrics in scored]
        best = min(scores, key=lambda score: abs(limit - score))
        return chance([abs(limit - score) for score in scores], self.standard_error(best), left)

    def why(self, ended: Sequence[TrialRecord], closed: Collection[str] = ()) -> str:
        """Why the search is to end now, in words; empty if it is to go on. Arguments are those of `chance`."""
        found = self.chance(ended, closed)
        if found is None or found >= LEVEL:
            return ""
        left = numbers.counted(self.budget - len(ended), "trial")
        return (
            f"{SETTLED}that one of the {left} left beats the best by more than its standard error on validation has "
            f"a chance of {numbers.percent(found)}"
        )


def rule_of(record: RunRecord, budget: int, fixed: int) -> Rule | None:
    """The rule for a run; None where run.json does not tell the validation patients of two classes at least.

    Args:
        record: run.json.
        budget: number of trials.
        fixed: number of points of the space and default recipes that are run.
    """
    split = record.data.splits.get("val") if record.data else None
    if record.data is None or split is None or not split.images:
        return None
    share = (split.patients or split.images) / split.images
    images = [split.classes.get(label, 0) for label in record.data.classes]
    patients = tuple(share * number for number in images if number)
    metric = get_metric(record.settings.metric)
    return Rule(metric, patients, budget, tuple(record.titles), fixed) if len(patients) > 1 else None


def retrospect(rule: Rule, records: Sequence[TrialRecord]) -> SettledRecord:
    """When the rule would have ended a search, and what would have been saved and lost.

    Trials that were running then count as carried out, for they would have come to their end.

    Args:
        rule: of the search.
        records: all trials, in any order, without the failed that were tried again.
    """
    ended = sorted(records, key=lambda one: (one.elapsed, one.trial))
    chance = None
    for count in range(FEWEST, len(ended) + 1):
        chance = found if (found := rule.chance(ended[:count])) is not None else chance
        if chance is not None and chance < LEVEL:
            break
    else:
        return SettledRecord(chance=chance)
    kept = [one for one in records if one.elapsed - one.seconds < ended[count - 1].elapsed]
    (seconds, best), (all_seconds, all_best) = _reached(rule.metric, kept), _reached(rule.metric, records)
    return SettledRecord(
        chance=chance,
        trials=len(kept),
        seconds=round(seconds, 3),
        saved_trials=len(records) - len(kept),
        saved_seconds=round(all_seconds - seconds, 3),
        best=best,
        standard_error=rule.standard_error(best),
        lost=abs(all_best - best),
    )


def _reached(metric: Metric, records: Sequence[TrialRecord]) -> tuple[float, float]:
    """When the last of ``records`` ended, and the best score of all."""
    scores = [one.metrics[metric.name] for one in records if one.metrics]
    return max(one.elapsed for one in records), max(scores) if metric.higher_is_better else min(scores)


def of_run(record: RunRecord, records: Sequence[TrialRecord], budget: int) -> SettledRecord | None:
    """`retrospect` of a run, from run.json and its trials; None where run.json does not tell enough."""
    rule = rule_of(record, budget, sum(one.origin in FIXED for one in records))
    return retrospect(rule, records) if rule else None
