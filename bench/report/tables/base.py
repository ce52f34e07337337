"""DataFrame -> summary DataFrame: what a search found, by what was varied; nothing here reads files or draws.

Scores are validation scores at a trial's best epoch, in columns ``metric_*``. The best of a group is the best of every
trial that has a score, as in the search itself: a trial stopped early counts with what it had. Means are of completed
trials alone, as the others did not train as long.
"""

from typing import Any

import pandas as pd

from bench.run.documents import Estimate, EvaluationRecord
from bench.stats.metrics import Metric

Frame = pd.DataFrame


def column(metric: Metric) -> str:
    """The column that holds ``metric``."""
    return f"metric_{metric.name}"


def scores(trials: Frame, metric: Metric) -> "pd.Series[float]":
    """The score of each trial; NaN where it failed."""
    return trials[column(metric)].where(trials["state"] != "failed")


def summarise(trials: Frame, metric: Metric, by: list[str]) -> Frame:
    """One row per group of trials, best group first.

    Args:
        trials: one row per trial, as in trials.csv.
        metric: the metric that the search ranked by; it knows which way is better.
        by: columns whose values make a group.

    Returns:
        The columns ``by`` and ``trials``, ``completed``, ``stopped_early``, ``failed`` (counts), ``share_stopped`` (of
        all its trials), ``best``, ``mean`` and ``sd`` (of the completed trials; NaN where there are too few),
        ``seconds`` (their sum) and ``seconds_each`` (their mean).
    """
    table = trials.assign(
        completed=trials["state"] == "completed",
        stopped_early=trials["state"] == "pruned",
        failed=trials["state"] == "failed",
        score=scores(trials, metric),
        whole=scores(trials, metric).where(trials["state"] == "completed"),
    )
    groups = table.groupby(by, dropna=False, sort=True)
    summary = groups.agg(
        trials=("state", "size"),
        completed=("completed", "sum"),
        stopped_early=("stopped_early", "sum"),
        failed=("failed", "sum"),
        best=("score", "max" if metric.higher_is_better else "min"),
        mean=("whole", "mean"),
        sd=("whole", "std"),
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


def finalists(rows: Frame, evaluation: EvaluationRecord | None, metric: Metric) -> Frame:
    """One row per finalist, the winning order first: its trial's score beside its retrained score, then test metrics.

    The order is that by the mean over the folds, where there were folds, else that by the retrained score.

    Args:
        rows: one row per backbone and seed, as in finalists.csv.
        evaluation: the content of evaluation.json, or None while the test split is sealed.
        metric: the metric that the search ranked by.

    Returns:
        ``backbone``, ``winner``, the ``config_*`` columns, ``trial``, ``trial_score``, ``seeds`` and ``failed``
        (counts), ``score`` (mean over the completed seeds), ``sd``, ``lowest`` and ``highest`` (of several),
        ``change`` (score minus trial score), ``seconds`` (sum), ``folds`` (completed), ``fold_mean`` and ``fold_sd``,
        and for every metric of evaluation.json ``test_NAME``, ``test_NAME_low``, ``test_NAME_high``.
    """
    name = column(metric)
    summary = []
    for backbone, part in rows.groupby("backbone", sort=True):
        completed = part[part["state"] == "completed"]
        first = (completed if len(completed) else part).iloc[0]
        score, trial_score = completed[name].mean(), first["trial_score"]
        summary.append(
            {
                "backbone": backbone,
                "winner": bool(part["winner"].any()),
                **{key: first[key] for key in part.columns if str(key).startswith("config_")},
                "trial": first["trial"],
                "trial_score": trial_score,
                "seeds": len(completed),
                "failed": int((part["state"] == "failed").sum()),
                "reason": " · ".join(part["reason"].dropna().unique()),
                "score": score,
                "sd": completed[name].std() if len(completed) > 1 else None,
                "lowest": completed[name].min() if len(completed) > 1 else None,
                "highest": completed[name].max() if len(completed) > 1 else None,
                "change": score - trial_score,
                "seconds": part["seconds"].sum(),
                **{key: part[key].max() for key in ("folds", "fold_mean", "fold_sd")},
            }
        )
    table = Frame(summary)
    if not len(table):
        return table
    by = "fold_mean" if table["fold_mean"].notna().any() else "score"
    table = table.sort_values(by, ascending=not metric.higher_is_better, na_position="last", kind="stable")
    if evaluation is not None:
        table = table.merge(scores_on_test(evaluation).rename(columns={"model": "backbone"}), on="backbone", how="left")
    return table.reset_index(drop=True)


def fold_scores(folds: Frame, finalists: Frame) -> Frame:
    """The rows of folds.csv whose configuration is that of a finalist; those of an earlier choice are left out."""
    config = [name for name in finalists.columns if str(name).startswith("config_")]
    current = set(_keys(finalists, ["backbone", *config]))
    kept = [key in current for key in _keys(folds, ["backbone", *config])]
    return folds[kept].sort_values(["backbone", "fold"], kind="stable").reset_index(drop=True)


def _keys(table: Frame, names: list[str]) -> list[tuple[str, ...]]:
    """The values of ``names`` in each row as texts, numbers to nine digits, so that rows can be compared."""
    rows = table.reindex(columns=names).itertuples(index=False, name=None)
    return [tuple(f"{value:.9g}" if isinstance(value, float) else str(value) for value in row) for row in rows]


def bounded(name: str, one: Estimate) -> dict[str, float | None]:
    """An estimate as the columns ``name``, ``name_low`` and ``name_high``."""
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def scores_on_test(evaluation: EvaluationRecord) -> Frame:
    """One row per model of evaluation.json: ``model``, then ``test_NAME``, ``test_NAME_low``, ``test_NAME_high``."""
    rows = []
    for model, content in evaluation.models.items():
        row: dict[str, Any] = {"model": model}
        for name, one in content.metrics.items():
            row |= bounded(f"test_{name}", one)
        rows.append(row)
    table = Frame(rows if rows else {"model": []})
    return table.astype({name: "float64" for name in table.columns if name != "model"})
