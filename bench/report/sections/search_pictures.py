"""The pictures of the search, with what each shows in words: how it went, what was varied, what it cost."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.report import names, wording
from bench.report.blocks import Block, Missing, Paragraph
from bench.report.figures import (
    base as figures,
)
from bench.report.figures import (
    cost as figures_cost,
)
from bench.report.figures import (
    parameters as figures_parameters,
)
from bench.report.figures import (
    training as figures_training,
)
from bench.report.names import backbone, joined, metric_words
from bench.report.page import Page
from bench.report.read import importance
from bench.report.tables import base as tables
from bench.report.tables import search as tables_search
from bench.report.wording import counted


def course(page: Page, trials: pd.DataFrame) -> list[Block]:
    """The scores in order and over time, the learning curves, and what ASHA stopped."""
    metric, looks, words = page.metric, page.looks, metric_words(page.metric)
    by_backbone = _bests(tables.by_backbone(trials, metric), "config_backbone", backbone)
    return [
        page.picture(
            "history",
            lambda: figures.history(trials, metric, looks),
            f"Validation {words} of {counted(len(trials), 'trial')} in order, the best so far as a line.{by_backbone}",
            "Optimisation history. Each point is a trial; the line is the best one so far.",
        ),
        _over_time(page, trials),
        *_curves(page, trials),
        *_rungs(page, trials),
    ]


def _over_time(page: Page, trials: pd.DataFrame) -> Block:
    ordered = tables_search.over_time(trials, page.metric)
    if not len(ordered):
        return Missing("trials.csv does not say when trials ended, so their scores are not shown over time.")
    best, last = ordered["best"].iloc[-1], ordered["ended"].max()
    reached = ordered.loc[ordered["best"] == best, "ended"].min()
    told = f"The best, {wording.score(best)}, ended after {wording.seconds(reached)} of {wording.seconds(last)}."
    return page.picture(
        "history_by_time",
        lambda: figures_cost.history_by_time(trials, page.metric, page.looks),
        f"Validation {metric_words(page.metric)} of {counted(len(ordered), 'trial')} over wall-clock time. {told}",
        "Optimisation history by time. A line spans the time that a trial took, its point stands where it ended. "
        f"{told} Pauses between resumed runs are left out.",
    )


def _rungs(page: Page, trials: pd.DataFrame) -> list[Block]:
    """What the scheduler stopped and where; nothing where it stopped nothing and was not asked to."""
    asked = page.files.settings.get("scheduler")
    if page.files.epochs is None or asked not in (None, "asha"):
        return []
    deciding = tables_search.deciding_epochs(page.files.epochs, trials, page.metric)
    most = wording.number(page.files.settings.get("epochs"))
    arrived = tables_search.arrivals(deciding, int(most) if most and most >= 1 else None)
    summary = tables_search.rungs(arrived, page.metric)
    if not summary["stopped"].any():
        return [Paragraph("The scheduler stopped no trial early.")] if asked == "asha" else []
    told = joined(
        f"{wording.count(row['stopped'])} of {counted(row['arrived'], 'trial')} ({wording.percent(row['share'])}) "
        f"after epoch {wording.count(row['rung'])}"
        for _, row in summary.iterrows()
    )
    return [
        page.picture(
            "rungs",
            lambda: figures_training.rungs(arrived, summary, page.metric, page.looks),
            f"Validation {metric_words(page.metric)} of the trials at each rung of ASHA. Stopped there: {told}.",
            f"Early-stopping rungs. ASHA stopped {told}. Epochs are counted after the head's warm-up. A trial is "
            "compared with those that reached the rung before it: an early one goes on with a score that stops a late "
            "one.",
        )
    ]


def varied(page: Page, trials: pd.DataFrame) -> list[Block]:
    """Scores by each parameter and by several."""
    metric, looks, words = page.metric, page.looks, metric_words(page.metric)
    by_backbone = _bests(tables.by_backbone(trials, metric), "config_backbone", backbone)
    by_augmentation = _bests(tables.by_augmentation(trials, metric), "config_augmentation", wording.text)
    by_depth = _bests(tables.by_unfreeze_depth(trials, metric), "config_unfreeze_depth", wording.count)
    leaders = tables.best_trials(trials, metric)
    at = joined(
        f"{backbone(row['config_backbone'])} learning rate {wording.rate(row['config_learning_rate'])} at depth "
        f"{wording.count(row['config_unfreeze_depth'])} ({wording.score(row['score'])})"
        for _, row in leaders.iterrows()
    )
    return [
        page.picture(
            "score_by_backbone",
            lambda: figures.by_backbone(trials, metric, looks),
            f"Points of validation {words} by backbone.{by_backbone}",
            "Score by backbone. The height of a cloud says how much the configuration matters.",
        ),
        page.picture(
            "score_by_augmentation",
            lambda: figures.by_augmentation(trials, metric, looks),
            f"Points of validation {words} by augmentation policy, coloured by backbone.{by_augmentation}",
            "Score by augmentation policy. The policies are listed under “How it was made” and drawn under “The data”.",
        ),
        page.picture(
            "score_by_unfreeze_depth",
            lambda: figures.by_unfreeze_depth(trials, metric, looks),
            f"Points of validation {words} by unfreeze depth, and a heat map of the best by backbone.{by_depth}",
            "Score by unfreeze depth. 0 trains the head alone, 5 the whole backbone. Brighter cells are better; n "
            "counts trials, and where there is none the cell is blank.",
        ),
        page.picture(
            "learning_rate",
            lambda: figures.learning_rate(trials, metric, looks),
            f"Points of validation {words} against learning rate on a logarithmic axis, coloured by backbone. Best: "
            f"{at}.",
            "Score by learning rate. The unfrozen stages are then trained at this rate times the fine-tuning factor.",
        ),
        page.picture(
            "learning_rate_by_depth",
            lambda: figures_parameters.rate_by_depth(trials, metric, looks),
            f"Points of learning rate against unfreeze depth, a panel a backbone, brighter where validation {words} is "
            f"better. Best: {at}.",
            "Learning rate and unfreeze depth together. Brighter is better; a ring marks the best trial of each "
            "backbone, small faded points were stopped early. Points are moved up and down a little, "
            "so that none hides another.",
        ),
        _parallel(page, trials, at),
        _importance(page, trials),
    ]


def _parallel(page: Page, trials: pd.DataFrame, at: str) -> Block:
    metric, words = page.metric, metric_words(page.metric)
    scored = tables.scores(trials, metric).notna().sum()
    if scored < figures_parameters.LEAST_LINES:
        return Missing(
            f"Parallel coordinates need at least {figures_parameters.LEAST_LINES} trials with a score; this run has "
            f"{scored}."
        )
    best = counted(len(tables_search.chosen(trials, metric)), "trial")
    return page.picture(
        "parallel_coordinates",
        lambda: figures_parameters.parallel(trials, metric, page.looks),
        f"Each trial as a line through its parameters to its validation {words}; the best {best} are coloured. Best: "
        f"{at}.",
        f"All parameters at once. Each line is a trial; the best {best} have their backbone's colour. Where these "
        "cross an axis close together, that parameter matters or the search has settled on it.",
    )


def cost(page: Page, trials: pd.DataFrame) -> list[Block]:
    """Score against what a trial took."""
    metric = page.metric
    if not (trials["seconds"] > 0).any():
        return [Missing("trials.csv does not say how long trials took, so score is not shown against cost.")]
    front = tables_search.pareto(trials, metric)
    told = joined(
        f"trial {row['trial']:.0f} ({backbone(row['config_backbone'])}, {wording.seconds(row['seconds'])}, "
        f"{wording.score(row['score'])})"
        for _, row in front.iterrows()
    )
    words = f"On the Pareto front: {told}." if told else "No trial was completed, so there is no Pareto front."
    return [
        page.picture(
            "score_by_cost",
            lambda: figures_cost.cost(trials, metric, page.looks),
            f"Points of validation {metric_words(metric)} against the seconds of each trial. {words}",
            "Score against cost. No completed trial is both better and cheaper than one on the line; those are named "
            "by their numbers. A trial that finds its frozen features in the cache costs less than the one that had to "
            "compute them.",
        )
    ]


def _bests(summary: pd.DataFrame, by: str, show: Callable[[Any], str]) -> str:
    """The best score of each group, as a sentence for those who do not see the figure."""
    found = summary.dropna(subset=["best"])
    told = joined(f"{show(row[by])} {wording.score(row['best'])}" for _, row in found.iterrows())
    return f" Best: {told}." if told else ""


def _importance(page: Page, trials: pd.DataFrame) -> Block:
    reason = importance.why_not(trials, page.metric)
    if reason:
        return Missing(reason)
    try:
        summary = importance.importance(trials, page.metric)
    except Exception as error:  # a forest may meet data that nobody thought of
        return Missing(f"Hyperparameter importance could not be computed: {type(error).__name__}: {error}")
    told = joined(
        f"{names.parameter(row['parameter'])} {row['mean']:.2f} ± {row['sd']:.2f}" for _, row in summary.iterrows()
    )
    return page.picture(
        "importance",
        lambda: figures.importance(summary),
        f"Bars of hyperparameter importance: {told}.",
        "Hyperparameter importance. fANOVA on completed trials, drawn anew with replacement "
        f"{importance.DRAWS} times: the mean, with one standard deviation. Where whiskers overlap, the order is open. "
        "From so few trials it is a hint, no proof. A parameter that only some trials have is left out.",
    )


def _curves(page: Page, trials: pd.DataFrame) -> list[Block]:
    if page.files.epochs is None:
        return [*page.problems("epochs.csv")]
    epochs = tables_search.epochs_of_trials(page.files.epochs, trials).dropna(subset=[tables.column(page.metric)])
    if not len(epochs):
        return [Missing("epochs.csv holds no scored epoch of a trial, so there are no learning curves to show.")]
    shown = counted(epochs["trial"].nunique(), "trial")
    return [
        page.picture(
            "trial_curves",
            lambda: figures_training.trial_curves(epochs, page.metric, page.looks),
            f"Validation {metric_words(page.metric)} by epoch of {shown}, a panel a backbone.",
            "Learning curves of the trials. Epochs before the dot train the head alone.",
        )
    ]
