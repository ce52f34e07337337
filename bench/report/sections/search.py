"""The section on the search: how it went, what was varied, what it cost, and every trial."""

from collections.abc import Sequence
from functools import partial

import pandas as pd

from bench import numbers
from bench.errors import ConfigError
from bench.report.blocks import Section, Table, table
from bench.report.figures import parameters as figures_parameters
from bench.report.figures import search as figures_search
from bench.report.figures import training as figures_training
from bench.report.guard import guarded
from bench.report.names import metric_words
from bench.report.page import Page
from bench.report.read.files import RunFiles
from bench.report.tables import importance
from bench.report.tables import search as tables_search
from bench.report.templating import Values
from bench.run import tables
from bench.run.record import SettledRecord
from bench.run.results import TrialRecord
from bench.search.settled import FAIR, FEWEST, of_run
from bench.stats.metrics import METRICS

TITLE = "Search"


def search(page: Page) -> Section:
    """Figures, tables and the leaderboard of the trials."""
    trials, metric = page.files.trials, page.metric
    ended = page.files.record.search
    values: Values = {"notes": ended.notes if ended else (), "ended": ended, "trials": trials}
    values |= {"settled": _settled(page.files), "fewest": FEWEST, "fair": FAIR}
    if trials is not None and len(trials):
        compared = tables_search.at_common_rung(trials, page.files.epochs, metric)
        values |= {
            "compared": compared,
            "scored": tables_search.scores(trials, metric).notna().any(),
            "by_backbone": tables_search.by_backbone(trials, metric),
            "by_augmentation": tables_search.by_augmentation(trials, metric),
            "by_depth": tables_search.by_unfreeze_depth(trials, metric),
            "course": _course,
            "varied": _varied,
            "cost": _cost,
            "importance": partial(_importance, compared=compared),
            "summaries": summaries(page.files, trials),
            "leaderboard": leaderboard(page.files, trials),
        }
    return page.section("search", TITLE, **values)


def summaries(files: RunFiles, trials: pd.DataFrame) -> Sequence[Table]:
    """Trials by backbone, by augmentation, by unfreeze depth and by all three, a table each."""
    metric, when = files.metric, ""
    if compared := tables_search.at_common_rung(trials, files.epochs, metric):
        there = compared.trials.set_index("trial")[tables_search.column(metric)]
        trials = trials.assign(at_rung=trials["trial"].map(there))
        when = f" after epoch {compared.turn}" if compared.turn else ""
    found = {
        "Trials by backbone, best first. SD: standard deviation.": tables_search.by_backbone,
        "Trials by augmentation policy, best first.": tables_search.by_augmentation,
        "Trials by unfreeze depth; 0 trains the head alone.": tables_search.by_unfreeze_depth,
        "Trials by backbone, augmentation and unfreeze depth, best first.": tables_search.by_combination,
    }
    shown = []
    for caption, by in found.items():
        rows, name = by(trials, metric), "combinations" if by is tables_search.by_combination else "summary"
        shown.append(table(name, titled(files, _shared(rows)), caption, metric=metric_words(metric), when=when))
    return shown


def _shared(summary: pd.DataFrame) -> pd.DataFrame:
    """``summary`` with the share of its trials that were stopped early, and the time that one took."""
    share = [numbers.percent(value) if value > 0 else "" for value in summary["share_stopped"]]
    each = [
        f"{numbers.seconds(seconds)} each" if count > 1 and numbers.number(seconds) is not None else ""
        for seconds, count in zip(summary["seconds_each"], summary["trials"], strict=True)
    ]
    return summary.assign(share=share, each=each)


def titled(files: RunFiles, rows: pd.DataFrame) -> pd.DataFrame:
    """``rows`` with the titles of their backbones, where they have any."""
    if "config_backbone" not in rows:
        return rows
    return rows.assign(config_backbone=rows["config_backbone"].map(files.title))


def leaderboard(files: RunFiles, trials: pd.DataFrame) -> Table:
    """Every trial, best first."""
    metric = files.metric
    board = titled(files, tables_search.leaderboard(trials, metric))
    others = [METRICS[name] for name in ("auc", "accuracy", "log_loss") if name != metric.name]
    metrics = {tables_search.column(other): other.title for other in others}
    best = board["rank"] == 1
    caption = "Every trial, ranked; ties by log loss."
    return table("leaderboard", board, caption, marked=best, metric=metric.title, metrics=metrics)


def _settled(files: RunFiles) -> SettledRecord | None:
    """When the search would have ended by itself; from trials.csv where run.json does not tell, as of old."""
    record = files.record
    if record.search is None or files.trials is None or record.search.settled:
        return record.search.settled if record.search else None
    try:
        trials = [TrialRecord.from_row(row) for row in tables.records(files.trials)]
        return of_run(record, trials, record.search.planned or len(trials))
    except (ValueError, KeyError, TypeError, ConfigError):  # rows that are not whole
        return None


def _course(page: Page) -> Values:
    """The scores in order and over time, the learning curves, and what ASHA stopped."""
    trials, shape = page.trials, (page.metric, page.looks)
    ended = tables_search.over_time(trials, page.metric)
    best = ended["best"].iloc[-1] if len(ended) else None
    epochs = page.files.epochs
    if epochs is not None:
        epochs = tables_search.epochs_of_trials(epochs, trials).dropna(subset=[tables_search.column(page.metric)])
    return {
        "history": page.drawing("history", figures_search.history, trials, *shape),
        "ended": ended,
        "best": best,
        "reached": ended.loc[ended["best"] == best, "ended"].min(),
        "by_time": page.drawing("history_by_time", figures_search.history_by_time, trials, *shape),
        "epochs": epochs,
        "curves": page.drawing("trial_curves", figures_training.trial_curves, epochs, *shape),
        **_rungs(page),
    }


def _rungs(page: Page) -> Values:
    """What the scheduler stopped and where: ``rungs`` is None where that cannot be told, or was not its task."""
    settings = page.files.record.settings
    if page.files.epochs is None or settings.scheduler != "asha":
        return {"rungs": None}
    deciding = tables_search.deciding_epochs(page.files.epochs, page.trials, page.metric)
    arrived = tables_search.arrivals(deciding, settings.epochs)
    summary = tables_search.rungs(arrived, page.metric)
    return {
        "rungs": summary,
        "stopped": summary["stopped"].any(),
        "by_rung": page.drawing("rungs", figures_training.rungs, arrived, summary, page.metric, page.looks),
    }


def _varied(page: Page) -> Values:
    """Scores by each parameter and by several."""
    trials, shape = page.trials, (page.metric, page.looks)
    return {
        "leaders": tables_search.best_trials(trials, page.metric),
        "by_backbone": page.drawing("score_by_backbone", figures_search.by_backbone, trials, *shape),
        "by_augmentation": page.drawing("score_by_augmentation", figures_search.by_augmentation, trials, *shape),
        "by_unfreeze_depth": page.drawing("score_by_unfreeze_depth", figures_search.by_unfreeze_depth, trials, *shape),
        "learning_rate": page.drawing("learning_rate", figures_search.learning_rate, trials, *shape),
        "rate_by_depth": page.drawing("learning_rate_by_depth", figures_parameters.rate_by_depth, trials, *shape),
        "scored": tables_search.scores(trials, page.metric).notna().sum(),
        "least": figures_parameters.LEAST_LINES,
        "coloured": len(tables_search.chosen(trials, page.metric)),
        "parallel": page.drawing("parallel_coordinates", figures_parameters.parallel, trials, *shape),
    }


def _importance(page: Page, compared: tables_search.Rung | None) -> Values:
    """How much each hyperparameter decided the score, or ``why`` that is not known."""
    if compared is None:
        return {
            "why": "Hyperparameter importance is not computed: epochs.csv does not hold the trials that were stopped "
            "early, and the completed ones alone would mislead."
        }
    if why := importance.why_not(compared.trials, page.metric):
        return {"why": why}
    summary: pd.DataFrame | str = guarded(
        partial(importance.importance, compared.trials, page.metric),
        lambda why: f"Hyperparameter importance could not be computed: {why}",
        "The importance of hyperparameters could not be computed.",
    )
    if isinstance(summary, str):
        return {"why": summary}
    drawing = page.drawing("importance", figures_search.importance, summary)
    return {"why": "", "summary": summary, "draws": importance.DRAWS, "drawing": drawing}


def _cost(page: Page) -> Values:
    """Score against what a trial took."""
    return {
        "known": (page.trials["seconds"] > 0).any(),
        "front": tables_search.pareto(page.trials, page.metric),
        "drawing": page.drawing("score_by_cost", figures_search.cost, page.trials, page.metric, page.looks),
    }
