"""The page of a run that has not finished: what its trials show so far, from history and tables alone."""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pandas as pd

from bench import __version__, numbers
from bench.invocation import in_output, resume, typed
from bench.numbers import counted, number
from bench.report import cautions, palette, pictures, summary
from bench.report.blocks import Block, Code, Column, Heading, Missing, Paragraph, Section, parameter_columns, table
from bench.report.figures import base as figures
from bench.report.names import backbone, joined, metric_words, state
from bench.report.read.files import RunFiles, read
from bench.report.sections import search as section_search
from bench.report.summary import Banner, Tile
from bench.report.tables import base as tables
from bench.report.templating import filled
from bench.run.folder import RunDir
from bench.stats.metrics import Metric
from bench.trial import Running

logger = logging.getLogger(__name__)

RENEWED_EVERY = 60
"""Seconds after which the page loads itself anew."""


@dataclass(frozen=True)
class Trials:
    """What the files of a run held when they were read, and the section on its trials, which takes long to make."""

    files: RunFiles
    blocks: list[Block]

    @classmethod
    def of(cls, run: RunDir) -> "Trials":
        """Read the files of ``run`` and make the section."""
        files = read(run)
        return cls(files, _search(files))


def live_page(run: RunDir, trials: Trials, note: str, going_on: bool, running: Sequence[Running]) -> str:
    """The page as HTML.

    Args:
        run: the run folder.
        trials: what its files held.
        note: what the run is doing, or why it stopped, as a sentence.
        going_on: whether the run goes on, so that the page loads itself anew.
        running: the trials that are running.
    """
    files = trials.files
    sections = [Section("search", "The search so far", trials.blocks), _resume(run)]
    if going_on:
        sections.insert(0, Section("running", "Running now", _running(files, running)))
    return filled(
        "live.html.j2",
        name=run.name,
        headline=f"{'Going on' if going_on else 'Stopped'}: {_finished(files)}",
        as_of=numbers.moment(datetime.now(UTC).isoformat()),
        renewed_every=RENEWED_EVERY if going_on else None,
        banners=[_news(files, note, going_on), *_banners(files)],
        tiles=_tiles(files, going_on),
        story=_story(files),
        cautions=_audited(files),
        sections=sections,
        suite=files.record.suite_version or __version__,
        rules=numbers.text(files.record.rules),
    )


def _running(files: RunFiles, running: Sequence[Running]) -> list[Block]:
    """The trials that are running, a row each: what is trained, its last epoch, and its best score so far."""
    if not running:
        return [Paragraph("No trial is running.")]
    rows = pd.DataFrame(
        {
            "trial": one.trial,
            "config_backbone": one.config.backbone,
            "epoch": one.epoch or None,
            "score": one.score,
            **{f"config_{name}": value for name, value in asdict(one.config).items()},
        }
        for one in running
    )
    columns = [
        Column("trial", "Trial", numbers.count),
        Column("config_backbone", "Backbone", backbone, numeric=False),
        Column("epoch", "Last epoch", numbers.count),
        Column("score", f"{files.metric.title} so far", numbers.score),
        *parameter_columns(),
    ]
    return [table(rows, "Trials that were running at the heartbeat.", columns)]


def _audited(files: RunFiles) -> list[str]:
    """What the audit of the images warns of."""
    try:
        return cautions.audited(files)
    except Exception:  # a damaged file must not cost the reader the rest
        logger.debug("The warnings of the audit could not be written.", exc_info=True)
        return []


def _ended(files: RunFiles) -> int:
    return 0 if files.trials is None else len(files.trials)


def _budget(files: RunFiles) -> int | None:
    """The number of trials that the run may have; None where run.json does not say, or more have ended."""
    settings = files.record.settings
    return settings.budget if "budget" in settings.model_fields_set and settings.budget >= _ended(files) else None


def _finished(files: RunFiles) -> str:
    budget, ended = _budget(files), _ended(files)
    return counted(ended, "trial") if budget is None else f"{ended} of {counted(budget, 'trial')}"


def _news(files: RunFiles, note: str, going_on: bool) -> Banner:
    budget, ended = _budget(files), _ended(files)
    if budget is None:
        finished = f"{counted(ended, 'trial has', 'trials have')} ended."
    else:
        finished = f"{ended} of the {counted(budget, 'trial')} in its budget {'has' if ended == 1 else 'have'} ended."
    if not going_on:
        return Banner("This run has stopped before its end", f"{note} {finished} What follows is no result yet.")
    return Banner(
        "This run is going on",
        f"{note} {finished} What follows will change, and is no result yet. The page is written once a minute, also "
        "where no trial has ended; if its heartbeat is long past, the run has stopped.",
    )


def _banners(files: RunFiles) -> list[Banner]:
    try:
        return summary.banners(files)
    except Exception:  # a damaged file must not cost the reader the rest
        logger.debug("The warnings could not be written.", exc_info=True)
        return []


def _tiles(files: RunFiles, going_on: bool) -> list[Tile]:
    found, metric = summary.counts(files), files.metric
    ends = f"{found['completed']} completed, {found['pruned']} stopped early, {found['failed']} failed"
    shown = [Tile("Trials ended", _finished(files).rsplit(" ", 1)[0], ends)]
    if files.trials is None:
        return shown
    best = tables.best_trials(files.trials, metric)
    if len(best):
        first = best.iloc[0]
        detail = f"validation {metric_words(metric)}: {backbone(first['config_backbone'])}, trial {first['trial']:.0f}"
        shown.append(Tile("Best so far", numbers.score(first["score"]), detail))
    elapsed = number(files.trials["elapsed"].max())
    if elapsed:
        shown.append(Tile("Time of the search", numbers.seconds(elapsed), "to the end of the last trial"))
        left = (_budget(files) or 0) - _ended(files)
        if going_on and left > 0 and _ended(files) > 1:
            guess = numbers.seconds(elapsed / _ended(files) * left)
            shown.append(Tile("Left of the search", guess, "roughly, if trials take as long as so far"))
    return shown


def _story(files: RunFiles) -> list[str]:
    if files.trials is None:
        return ["No trial has ended yet."]
    words = metric_words(files.metric)
    best = tables.best_trials(files.trials, files.metric)
    if not len(best):
        return [f"No trial has a validation {words} yet."]
    told = joined(
        f"{backbone(row['config_backbone'])} {numbers.score(row['score'])} (trial {row['trial']:.0f})"
        for _, row in best.iterrows()
    )
    story = [f"Best validation {words} so far by backbone: {told}."]
    if files.opened:
        story.append(
            "The run was evaluated before it went on. What was found then is in evaluation.json until it is evaluated "
            "anew."
        )
    else:
        state = "opened before the run went on" if files.openings else "sealed"
        story.append(f"The test split is {state}; none of these numbers comes from it.")
    return story


def _search(files: RunFiles) -> list[Block]:
    trials, metric = files.trials, files.metric
    if trials is None or not len(trials):
        return [Missing(files.problems.get("trials.csv", "No trial has ended yet."))]
    return [
        Paragraph(
            f"Scores are validation {metric_words(metric)} at each trial's best epoch. The final report has more "
            "figures, the finalists and the internal test."
        ),
        *_history(files, trials),
        *_best(trials, metric),
        Heading("By what was varied"),
        *section_search.summaries(trials, metric),
        Heading("Leaderboard so far"),
        section_search.leaderboard(trials, metric),
    ]


def _best(trials: pd.DataFrame, metric: Metric) -> list[Block]:
    best = tables.best_trials(trials, metric)
    columns = [
        Column("config_backbone", "Backbone", backbone, numeric=False),
        Column("score", metric.title, numbers.score),
        Column("trial", "Trial", numbers.count),
        Column("state", "Ended", state, numeric=False),
        *parameter_columns(),
    ]
    return [table(best, "The best trial of each backbone so far.", columns)] if len(best) else []


def _history(files: RunFiles, trials: pd.DataFrame) -> list[Block]:
    metric = files.metric
    scored = tables.scores(trials, metric).dropna()
    if not len(scored):
        return []
    best = numbers.score(scored.max() if metric.higher_is_better else scored.min())
    alt = f"Validation {metric_words(metric)} of {counted(len(scored), 'trial')} in order; the best so far is {best}."
    caption = "Optimisation history so far. Each point is a trial; the line is the best one until then."
    try:
        drawn = figures.history(trials, metric, palette.looks(files.backbones))
        return [pictures.inline(drawn, alt, caption)]
    except Exception as error:  # the tables say the same
        logger.debug("The history could not be drawn.", exc_info=True)
        return [Missing(f"The history could not be drawn: {type(error).__name__}: {error}")]


def _resume(run: RunDir) -> Section:
    again = typed("report", run.name, *in_output(run.path.parent))
    blocks: list[Block] = [
        Code("To go on, should it have stopped; every trial that has ended is kept", resume(run.name, run.path.parent)),
        Code("To see all that the report can show of it by now", again),
    ]
    return Section("made", "How to go on", blocks)
