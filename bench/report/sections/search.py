"""The section on the search: its pictures, what the trials show by everything that was varied, and every trial."""

from typing import Any

import pandas as pd

from bench.report import names, wording
from bench.report.blocks import Block, Column, Heading, Missing, Paragraph, Section, Table, parameter_columns, table
from bench.report.names import backbone, metric_words
from bench.report.page import Page
from bench.report.read.files import mapping
from bench.report.sections import search_pictures as section_search_pictures
from bench.report.tables import base as tables
from bench.report.wording import counted
from bench.stats.metrics import METRICS, Metric

TITLE = "The search"


def search(page: Page) -> Section:
    """Figures, tables and the leaderboard of the trials."""
    trials, metric = page.files.trials, page.metric
    blocks: list[Block] = [*page.problems("trials.csv")]
    blocks += [Paragraph(str(note)) for note in mapping(page.files.run.get("search")).get("notes") or []]
    if page.files.retried:
        again = counted(page.files.retried, "failed trial was", "failed trials were")
        blocks.append(Paragraph(f"{again} tried again: the last attempt counts, and trials.csv keeps them all."))
    if trials is None or not len(trials):
        return Section("search", TITLE, blocks or [Missing("trials.csv holds no finished trial yet.")])
    blocks.append(
        Paragraph(
            f"Scores are validation {metric_words(metric)} at each trial's best epoch. A trial stopped early counts "
            "with the score that it had by then; means are of completed trials alone."
        )
    )
    if not tables.scores(trials, metric).notna().any():
        blocks.append(Missing(f"No trial has a validation {metric_words(metric)} yet, so there is nothing to draw."))
    else:
        blocks += page.part("How it went", lambda page: section_search_pictures.course(page, trials))
        blocks += page.part("What was varied", lambda page: section_search_pictures.varied(page, trials))
        blocks += page.part("What it cost", lambda page: section_search_pictures.cost(page, trials))
    blocks += [Heading("In numbers"), *summaries(trials, metric), Heading("Leaderboard"), leaderboard(trials, metric)]
    return Section("search", TITLE, blocks)


def summaries(trials: pd.DataFrame, metric: Metric) -> list[Block]:
    """Trials by backbone, by augmentation, by unfreeze depth and by all three, a table each."""
    columns = [
        Column("config_backbone", "Backbone", backbone, numeric=False),
        Column("config_augmentation", "Augmentation", numeric=False),
        Column("config_unfreeze_depth", "Unfreeze depth", wording.count),
        Column("trials", "Trials", wording.count),
        Column("completed", "Completed", wording.count),
        Column("stopped_early", "Stopped early", wording.count, below="share"),
        Column("failed", "Failed", wording.count),
        Column("best", f"Best {metric_words(metric)}", wording.score),
        Column("mean", f"Mean {metric_words(metric)}", wording.score),
        Column("sd", "SD", wording.score),
        Column("seconds", "Time", wording.seconds, below="each"),
    ]
    combination = "Trials by backbone, augmentation and unfreeze depth, best first."
    return [
        _summary(
            tables.by_backbone(trials, metric), "Trials by backbone, best first. SD: standard deviation.", columns
        ),
        _summary(tables.by_augmentation(trials, metric), "Trials by augmentation policy, best first.", columns),
        _summary(
            tables.by_unfreeze_depth(trials, metric), "Trials by unfreeze depth; 0 trains the head alone.", columns
        ),
        _summary(tables.by_combination(trials, metric), combination, columns, sortable=True),
    ]


def _summary(summary: pd.DataFrame, caption: str, columns: list[Column], **options: Any) -> Table:
    """The table with the share of its trials that were stopped early, and the time that one took."""
    share = [wording.percent(value) if value > 0 else "" for value in summary["share_stopped"]]
    each = [
        f"{wording.seconds(seconds)} each" if count > 1 and wording.number(seconds) is not None else ""
        for seconds, count in zip(summary["seconds_each"], summary["trials"], strict=True)
    ]
    return table(summary.assign(share=share, each=each), caption, columns, **options)


def leaderboard(trials: pd.DataFrame, metric: Metric) -> Table:
    """Every trial, best first."""
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
    caption = "Every trial, ranked; ties by log loss."
    return table(board, caption, columns, marked=best, sortable=True)
