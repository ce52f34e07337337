"""Trials and their epochs -> tables of a search: by what was varied, over time, against cost, and at ASHA's rungs.

Scores are validation scores at a trial's best epoch, in columns ``metric_*``. The best of a group is the best of every
trial that has a score, as in the search itself: a trial stopped early counts with what it had. Means are at the rung
that all trials reached: completed trials are those that early stopping spared, and their mean hides what it stopped.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.search.parameters import GRACE_EPOCHS, PARAMETERS, REDUCTION_FACTOR, Hyperparameter
from bench.stats.metrics import Metric
from bench.stats.pareto import on_front

Frame = pd.DataFrame


def column(metric: Metric) -> str:
    """The column that holds ``metric``."""
    return f"metric_{metric.name}"


def scores(trials: Frame, metric: Metric) -> "pd.Series[float]":
    """The score of each trial; NaN where it failed."""
    return trials[column(metric)].where(trials["state"] != "failed")


def chosen_values(trials: Frame, row: Hyperparameter) -> "pd.Series[Any]":
    """A parameter of trials; missing where it does not exist, as of fine-tuning at depth 0."""
    values, other = trials[row.column], PARAMETERS[row.when].column if row.when else ""
    return values.where(trials[other] != 0) if other in trials else values


def summarise(trials: Frame, metric: Metric, by: list[str]) -> Frame:
    """One row per group of trials, best group first.

    Args:
        trials: one row per trial, as in trials.csv; ``at_rung`` is its score at the common rung, where known.
        metric: the metric that the search ranked by; it knows which way is better.
        by: columns whose values make a group.

    Returns:
        The columns ``by`` and ``trials``, ``completed``, ``stopped_early``, ``failed`` (counts), ``share_stopped`` (of
        all its trials), ``best``, ``mean`` and ``sd`` (at the common rung; NaN where they are not known), ``seconds``
        (their sum) and ``seconds_each`` (their mean).
    """
    table = trials.assign(
        completed=trials["state"] == "completed",
        stopped_early=trials["state"] == "pruned",
        failed=trials["state"] == "failed",
        score=scores(trials, metric),
        at_rung=trials.get("at_rung", math.nan),
    )
    groups = table.groupby(by, dropna=False, sort=True)
    summary = groups.agg(
        trials=("state", "size"),
        completed=("completed", "sum"),
        stopped_early=("stopped_early", "sum"),
        failed=("failed", "sum"),
        best=("score", "max" if metric.higher_is_better else "min"),
        mean=("at_rung", "mean"),
        sd=("at_rung", "std"),
        share_stopped=("stopped_early", "mean"),
        seconds=("seconds", "sum"),
        seconds_each=("seconds", "mean"),
    ).reset_index()
    return summary.sort_values("best", ascending=not metric.higher_is_better, na_position="last", kind="stable")


def by_backbone(trials: Frame, metric: Metric) -> Frame:
    """One row per backbone, best first; columns as in ``summarise``."""
    return summarise(trials, metric, ["config_backbone"]).reset_index(drop=True)


def by_augmentation(trials: Frame, metric: Metric) -> Frame:
    """One row per augmentation policy, best first; columns as in ``summarise``."""
    return summarise(trials, metric, ["config_augmentation"]).reset_index(drop=True)


def by_unfreeze_depth(trials: Frame, metric: Metric) -> Frame:
    """One row per unfreeze depth, in order of depth; columns as in ``summarise``."""
    summary = summarise(trials, metric, ["config_unfreeze_depth"])
    return summary.sort_values("config_unfreeze_depth").reset_index(drop=True)


def by_combination(trials: Frame, metric: Metric) -> Frame:
    """One row per backbone x augmentation x unfreeze depth that was tried, best first; columns as in ``summarise``."""
    by = ["config_backbone", "config_augmentation", "config_unfreeze_depth"]
    return summarise(trials, metric, by).reset_index(drop=True)


def leaderboard(trials: Frame, metric: Metric) -> Frame:
    """Every trial, best first, with ``score`` and ``rank``; those without a score come last and have no rank.

    Ranked by ``metric``, ties by log loss, then by number.
    """
    table = trials.assign(score=scores(trials, metric))
    order = {"score": not metric.higher_is_better, "metric_log_loss": True, "trial": True}
    table = table.sort_values(list(order), ascending=list(order.values()), na_position="last").reset_index(drop=True)
    ranks = pd.Series(range(1, len(table) + 1), index=table.index, dtype="float64")
    return table.assign(rank=ranks.where(table["score"].notna()))


def best_trials(trials: Frame, metric: Metric) -> Frame:
    """The best trial of each backbone, best first."""
    board = leaderboard(trials, metric)
    return board[board["rank"].notna()].drop_duplicates("config_backbone").reset_index(drop=True)


def running_best(trials: Frame, metric: Metric) -> Frame:
    """Columns ``trial``, ``score`` and ``best``: the best score of the trials up to each, in order of their numbers."""
    ordered = trials.sort_values("trial")
    score = scores(ordered, metric)
    best = score.cummax() if metric.higher_is_better else score.cummin()
    return Frame({"trial": ordered["trial"], "score": score, "best": best}).dropna().reset_index(drop=True)


def best_by_depth(trials: Frame, metric: Metric) -> tuple[Frame, Frame]:
    """The best score and the number of trials that have one, one row per backbone and one column per depth."""
    scored = trials[scores(trials, metric).notna() & trials["config_unfreeze_depth"].notna()]
    by = ["config_backbone", "config_unfreeze_depth"]
    summary = summarise(scored, metric, by).astype({"config_unfreeze_depth": "int64"})
    shape: dict[str, Any] = {"index": by[0], "columns": by[1]}
    return summary.pivot(**shape, values="best"), summary.pivot(**shape, values="trials").fillna(0)


_BY_OTHERS = ("stopped", "stopped by the time limit")
"""Reasons of trials that no scheduler stopped."""


def over_time(trials: Frame, metric: Metric) -> Frame:
    """The trials that have a score, in the order in which they ended, with the best so far.

    Returns:
        The columns of ``trials`` and ``began`` and ``ended`` (seconds since the search began, pauses between resumed
        runs left out) and ``best``. No rows where trials.csv does not hold ``elapsed``.
    """
    ended = trials["elapsed"]
    table = trials.assign(ended=ended, began=(ended - trials["seconds"].fillna(0)).clip(lower=0))
    table = table[scores(trials, metric).notna() & table["ended"].notna()].sort_values(["ended", "trial"])
    found = table[column(metric)]
    return table.assign(best=found.cummax() if metric.higher_is_better else found.cummin()).reset_index(drop=True)


def pareto(trials: Frame, metric: Metric) -> Frame:
    """The completed trials that none was both better and cheaper than, the cheapest first, with their ``score``.

    Trials stopped early are left out: what they would have cost is not known. Cost is ``seconds``.
    """
    table = trials.assign(score=scores(trials, metric))
    table = table[(table["state"] == "completed") & table["score"].notna() & table["seconds"].notna()]
    table = table.sort_values(["seconds", "score", "trial"], ascending=[True, not metric.higher_is_better, True])
    front = table[on_front(table["score"].tolist(), table["seconds"].tolist(), metric.higher_is_better)]
    return front.drop_duplicates(["seconds", "score"]).reset_index(drop=True)


def milestones(epochs: int) -> list[int]:
    """The epochs at which ASHA compares trials of at most ``epochs`` epochs, as Ray Tune spaces them.

    They are counted in the phase that decides: the head's warm-up, before stages are unfrozen, is no part of them.
    """
    least, most = min(GRACE_EPOCHS, epochs), epochs + 1
    count = int(math.log(most / least) / math.log(REDUCTION_FACTOR) + 1)
    return [least * REDUCTION_FACTOR**power for power in range(count)]


def epochs_of_trials(epochs: Frame, trials: Frame) -> Frame:
    """The epochs of the search, with ``trial``, ``state``, ``reason`` and some of the configuration of their trial."""
    about = trials[["trial", "state", "reason", "config_backbone", "config_unfreeze_depth"]]
    part = epochs[epochs["kind"] == "trial"]
    return part.assign(trial=pd.to_numeric(part["name"], errors="coerce")).merge(about, on="trial", how="inner")


def deciding_epochs(epochs: Frame, trials: Frame, metric: Metric) -> Frame:
    """The epochs of the search that decide a trial's score: those of fine-tuning, or of the head where it is all.

    Args:
        epochs: as in epochs.csv.
        trials: as in trials.csv.
        metric: the metric that the search ranked by.

    Returns:
        One row per epoch: ``trial``, ``turn`` (its number within its phase, from 1), ``best`` (the trial's best so far,
        which is what it reports), ``state``, ``reason``, ``config_backbone`` and ``config_unfreeze_depth``.
    """
    part = epochs_of_trials(epochs, trials)
    other = np.where(part["config_unfreeze_depth"] > 0, "head", "finetune")
    part = part[(part["phase"] != other) & part[column(metric)].notna()].sort_values(["trial", "epoch"])
    grouped = part.groupby("trial")
    found = grouped[column(metric)].cummax() if metric.higher_is_better else grouped[column(metric)].cummin()
    kept = ["trial", "turn", "best", "state", "reason", "config_backbone", "config_unfreeze_depth"]
    return part.assign(turn=grouped.cumcount() + 1, best=found)[kept].reset_index(drop=True)


@dataclass(frozen=True)
class Rung:
    """Trials that can be compared, since their scores are those after the same training.

    Attributes:
        trials: as in trials.csv, each with its best score up to the rung in place of its last.
        turn: the rung, in epochs of the phase that decides; None where none was stopped and scores are the last.
        left_out: trials with a score that ended before the rung for another reason, the time limit for one.
    """

    trials: Frame
    turn: int | None
    left_out: int


def at_common_rung(trials: Frame, epochs: Frame | None, metric: Metric) -> Rung | None:
    """Trials at the first rung at which one was stopped: the last that all reached whom nobody else stopped.

    A trial that ended by itself before it, as its score no longer rose, counts with its best.

    Args:
        trials: as in trials.csv.
        epochs: as in epochs.csv; None where there is none.
        metric: the metric that the search ranked by.

    Returns:
        None where trials were stopped early and their epochs are not known: the scores are those of unlike trainings.
    """
    scored = trials[scores(trials, metric).notna()]
    by_others = (scored["state"] == "pruned") & scored["reason"].isin(_BY_OTHERS)
    by_asha = scored[(scored["state"] == "pruned") & ~by_others]
    if not len(by_asha):
        return Rung(scored[~by_others], None, int(by_others.sum()))
    if epochs is None:
        return None
    deciding = deciding_epochs(epochs, scored, metric)
    last = deciding.groupby("trial")["turn"].max()
    if not by_asha["trial"].isin(last.index).all():
        return None
    turn = int(last[by_asha["trial"]].min())
    reached = scored["trial"].map(last).ge(turn) | (scored["state"] == "completed")
    best = deciding[deciding["turn"] <= turn].groupby("trial")["best"].last()
    there = scored[reached & scored["trial"].isin(best.index)]
    return Rung(there.assign(**{column(metric): there["trial"].map(best)}), turn, len(scored) - len(there))


def equal_chances(trials: Frame, metric: Metric) -> tuple[Frame, int]:
    """The best score that each backbone can be expected to have after equally many trials, best first.

    A backbone that was tried more often has had more chances to be lucky. The expected best of n trials, drawn without
    replacement from a backbone's own, is an unbiased estimate (Tang et al., ACL 2020, after Dodge et al., EMNLP 2019),
    as far as its trials are like independent ones; a sampler that learns makes later trials better.

    Returns:
        Columns ``config_backbone``, ``trials`` (with a score), ``best`` and ``expected``; and n, the smallest number
        of trials with a score that a backbone has.
    """
    scored = trials.assign(score=scores(trials, metric)).dropna(subset="score")
    groups = {name: np.sort(one["score"].to_numpy(float)) for name, one in scored.groupby("config_backbone")}
    fewest = min((len(one) for one in groups.values()), default=0)
    sign = 1 if metric.higher_is_better else -1
    rows = [
        {
            "config_backbone": name,
            "trials": len(values),
            "best": values[-1] if sign == 1 else values[0],
            "expected": sign * _expected_largest(np.sort(sign * values), fewest),
        }
        for name, values in groups.items()
    ]
    table = Frame(rows, columns=["config_backbone", "trials", "best", "expected"])
    return table.sort_values("expected", ascending=sign == -1, kind="stable", ignore_index=True), fewest


def _expected_largest(values: Any, n: int) -> float:
    """The mean of the largest of n of the rising ``values``, over all ways to draw n without replacement."""
    size = len(values)
    ways = [math.comb(place, n - 1) / math.comb(size, n) for place in range(size)]
    return float(np.dot(ways, values))


def arrivals(deciding: Frame, epochs: int | None) -> Frame:
    """One row per trial and rung that it reached: ``deciding_epochs`` with ``rung`` and ``stopped``.

    Args:
        deciding: as `deciding_epochs` returns it.
        epochs: the most epochs of a trial; None where that is not known, and the rungs are those where trials ended.
    """
    reason = deciding["reason"].fillna("").astype("str")
    by_asha = (deciding["state"] == "pruned") & ~reason.isin(_BY_OTHERS)
    last = deciding["turn"] == deciding.groupby("trial")["turn"].transform("max")
    stopped = by_asha & last
    rungs = {*deciding.loc[stopped, "turn"], *(milestones(epochs) if epochs else [])}
    return deciding.assign(rung=deciding["turn"], stopped=stopped)[deciding["turn"].isin(rungs)].reset_index(drop=True)


def rungs(arrived: Frame, metric: Metric) -> Frame:
    """One row per rung of ``arrivals``: ``rung``, ``arrived``, ``stopped``, ``share`` (stopped of arrived), ``cutoff``.

    The cutoff is the one at the end of the search, the score that the best third of those who arrived have. It was
    lower in the beginning: ASHA waits for nobody, and compares a trial with those that came before it alone.
    """
    best_third = 1 / REDUCTION_FACTOR
    groups = arrived.groupby("rung", sort=True)
    table = groups.agg(arrived=("trial", "size"), stopped=("stopped", "sum")).reset_index()
    share = 1 - best_third if metric.higher_is_better else best_third
    cutoff = groups["best"].quantile(share).reset_index(drop=True)
    return table.assign(share=table["stopped"] / table["arrived"], cutoff=cutoff)


def chosen(trials: Frame, metric: Metric, most: int = 8) -> Frame:
    """The best trials to be set off from the others: a fifth of those that have a score, 3 to ``most``, best first."""
    scored = trials[scores(trials, metric).notna()]
    count = min(max(3, len(scored) // 5), most)
    by = [column(metric), "trial"]
    return scored.sort_values(by, ascending=[not metric.higher_is_better, True]).head(count)
