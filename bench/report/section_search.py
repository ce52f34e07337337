"""The section on the search: what the trials show by everything that was varied, and every trial."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from bench.metrics import METRICS, Metric
from bench.report import figures, figures_training, importance, names, tables, wording
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Section, Table, parameter_columns, table
from bench.report.files import mapping
from bench.report.names import backbone, joined, metric_words
from bench.report.page import Page
from bench.report.wording import counted

TITLE = "The search"


def search(page: Page) -> Section:
    """Figures, tables and the leaderboard of the trials."""
    trials, metric = page.files.trials, page.metric
    blocks: list[Block] = [*page.problems("trials.csv")]
    blocks += [Paragraph(str(note)) for note in mapping(page.files.run.get("search")).get("notes") or []]
    if trials is None or not len(trials):
        return Section("search", TITLE, blocks or [Missing("trials.csv holds no finished trial yet.")])
    blocks.append(
        Paragraph(
            f"Scores are validation {metric_words(metric)} at each trial's best epoch. A trial stopped early counts "
            "with the score that it had by then; means are of completed trials alone."
        )
    )
    blocks += _pictures(page, trials)
    blocks += [Heading("In numbers"), *_summaries(trials, metric), Heading("Leaderboard"), _leaderboard(trials, metric)]
    return Section("search", TITLE, blocks)


def _pictures(page: Page, trials: pd.DataFrame) -> list[Block]:
    metric, looks, words = page.metric, page.looks, metric_words(page.metric)
    if not tables.scores(trials, metric).notna().any():
        return [Missing(f"No trial has a validation {words} yet, so there is nothing to draw.")]
    by_backbone = _bests(tables.by_backbone(trials, metric), "config_backbone", backbone)
    by_augmentation = _bests(tables.by_augmentation(trials, metric), "config_augmentation", wording.text)
    by_depth = _bests(tables.by_unfreeze_depth(trials, metric), "config_unfreeze_depth", wording.count)
    return [
        page.picture(
            "history",
            lambda: figures.history(trials, metric, looks),
            f"Validation {words} of {counted(len(trials), 'trial')} in order, the best so far as a line.{by_backbone}",
            "Optimisation history. Each point is a trial; the line is the best one so far.",
        ),
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
            f"Points of validation {words} against learning rate on a logarithmic axis, coloured by backbone.",
            "Score by learning rate. The unfrozen stages are then trained at this rate times the fine-tuning factor.",
        ),
        _importance(page, trials),
        *_curves(page, trials),
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
    told = joined(f"{names.parameter(row['parameter'])} {row['mean']:.2f}" for _, row in summary.iterrows())
    return page.picture(
        "importance",
        lambda: figures.importance(summary),
        f"Bars of hyperparameter importance: {told}.",
        "Hyperparameter importance. fANOVA on completed trials: the mean over five seeds, with one standard deviation. "
        "From so few trials it is a hint, no proof. A parameter that only some trials have is left out.",
    )


def _curves(page: Page, trials: pd.DataFrame) -> list[Block]:
    if page.files.epochs is None:
        return [*page.problems("epochs.csv")]
    epochs = figures_training.trial_epochs(page.files.epochs, trials).dropna(subset=[tables.column(page.metric)])
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


def _summaries(trials: pd.DataFrame, metric: Metric) -> list[Block]:
    columns = [
        Column("config_backbone", "Backbone", backbone, numeric=False),
        Column("config_augmentation", "Augmentation", numeric=False),
        Column("config_unfreeze_depth", "Unfreeze depth", wording.count),
        Column("trials", "Trials", wording.count),
        Column("completed", "Completed", wording.count),
        Column("stopped_early", "Stopped early", wording.count),
        Column("failed", "Failed", wording.count),
        Column("best", f"Best {metric_words(metric)}", wording.score),
        Column("mean", f"Mean {metric_words(metric)}", wording.score),
        Column("sd", "SD", wording.score),
        Column("seconds", "Time", wording.seconds),
    ]
    combination = "Trials by backbone, augmentation and unfreeze depth, best first."
    return [
        table(tables.by_backbone(trials, metric), "Trials by backbone, best first. SD: standard deviation.", columns),
        table(tables.by_augmentation(trials, metric), "Trials by augmentation policy, best first.", columns),
        table(tables.by_unfreeze_depth(trials, metric), "Trials by unfreeze depth; 0 trains the head alone.", columns),
        table(tables.by_combination(trials, metric), combination, columns, sortable=True, folded=True),
    ]


def _leaderboard(trials: pd.DataFrame, metric: Metric) -> Table:
    board = tables.leaderboard(trials, metric)
    others = [METRICS[name] for name in ("auc", "accuracy", "log_loss") if name != metric.name]
    columns = [
        Column("rank", "Rank", wording.count),
        Column("trial", "Trial", wording.count),
        Column("config_backbone", "Backbone", backbone, numeric=False),
        Column("score", metric.title, wording.score),
        *(Column(tables.column(other), other.title, wording.score) for other in others),
        Column("state", "Ended", names.state, numeric=False),
        *parameter_columns(),
        Column("epochs", "Epochs", wording.count),
        Column("seconds", "Time", wording.seconds),
        Column("origin", "Origin", numeric=False),
        Column("reason", "Reason", numeric=False),
    ]
    best = [position for position, rank in enumerate(board["rank"]) if rank == 1]
    caption = "Every trial, ranked; ties by log loss. A click on a heading sorts by its column."
    return table(board, caption, columns, marked=best, sortable=True)
