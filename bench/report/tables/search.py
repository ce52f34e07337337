"""Trials and their epochs -> tables of how a search went: over time, against cost, and at ASHA's rungs."""

import math

import numpy as np
import pandas as pd

from bench.report.tables.base import Frame, column, scores
from bench.stats.metrics import Metric

GRACE_EPOCHS = 2
REDUCTION_FACTOR = 3
"""ASHA's settings in every run so far (Li et al., MLSys 2020): of the trials that reach a rung, a third goes on."""

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
    sign = 1 if metric.higher_is_better else -1
    before = (sign * table["score"]).cummax().shift(fill_value=-math.inf)
    return table[sign * table["score"] > before].reset_index(drop=True)


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
