"""The page of a run that has not finished: what its trials show so far, from history and tables alone."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from bench import __version__, numbers
from bench.invocation import in_output, resume, typed
from bench.report import cautions, palette, pictures, summary
from bench.report.blocks import Block, Code, Heading, Missing, Paragraph, Section, table
from bench.report.figures import search as figures_search
from bench.report.finish import finished
from bench.report.guard import guarded
from bench.report.names import metric_words
from bench.report.read.files import RunFiles, read
from bench.report.sections import search as section_search
from bench.report.summary import Banner
from bench.report.tables import search as tables_search
from bench.report.templating import Sentences, filled
from bench.run.folder import RunDir
from bench.trial import Running

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

    @property
    def ended(self) -> int:
        """How many trials have ended."""
        return 0 if self.files.trials is None else len(self.files.trials)

    @property
    def elapsed(self) -> float | None:
        """Seconds of the search up to the end of the last trial; None where trials.csv does not say."""
        return None if self.files.trials is None else numbers.number(self.files.trials["elapsed"].max())

    @property
    def budget(self) -> int | None:
        """The number of trials that the run may have; None where run.json does not say, or more have ended."""
        settings = self.files.record.settings
        return settings.budget if "budget" in settings.model_fields_set and settings.budget >= self.ended else None

    @property
    def left(self) -> float | None:
        """Seconds that the search may still take if trials take as long as so far; None where that cannot be told."""
        search, limit = self.files.record.search, self.files.record.settings.time_limit
        budget, elapsed = self.budget, self.elapsed
        if not elapsed or budget is None or not budget > self.ended > 1:
            return None
        if search is not None and budget <= (search.planned or 0):  # it is over, whatever ended it
            return None
        left = elapsed / self.ended * (budget - self.ended)
        return left if limit is None else max(0.0, min(left, limit - elapsed))


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
    say = _sentences(files, trials)
    sections = [Section("search", "The search so far", trials.blocks), _resume(run)]
    if going_on:
        sections.insert(0, Section("running", "Running now", _running(files, running)))
    news = Banner(
        "This run is going on" if going_on else "This run has stopped before its end", say("news", note, going_on)
    )
    html = filled(
        "live.html.j2",
        name=run.name,
        headline=f"{'Going on' if going_on else 'Stopped'}: {say('finished')}",
        as_of=numbers.moment(datetime.now(UTC).isoformat()),
        renewed_every=RENEWED_EVERY if going_on else None,
        banners=[news, *summary.summarised(summary.banners, files, [], logging.DEBUG)],
        tiles=summary.as_tiles(
            say.each("tiles", summary.counts(files), trials.elapsed, trials.left if going_on else None)
        ),
        story=say.each("story"),
        cautions=summary.summarised(cautions.audited, files, [], logging.DEBUG),
        sections=sections,
        suite=files.record.suite_version or __version__,
        rules=numbers.text(files.record.rules),
    )
    return finished(html, files.names)


def _sentences(files: RunFiles, trials: Trials | None = None) -> Sentences:
    best = None if files.trials is None else tables_search.best_trials(files.trials, files.metric)
    return Sentences(
        "live.txt.j2",
        files=files,
        titles=files.titles,
        metric=metric_words(files.metric),
        ended=trials.ended if trials else 0,
        budget=trials.budget if trials else None,
        leaders=[] if best is None else best.to_dict("records"),
    )


def _running(files: RunFiles, running: Sequence[Running]) -> list[Block]:
    """The trials that are running, one per row: what is trained, its last epoch, and its best score so far."""
    if not running:
        return [Paragraph("No trial is running.")]
    rows = pd.DataFrame(
        {
            "trial": one.trial,
            "epoch": one.epoch or None,
            "score": one.score,
            **one.config.columns(),
        }
        for one in running
    )
    caption = "Trials that were running at the heartbeat."
    return [table("running", section_search.titled(files, rows), caption, metric=files.metric.title)]


def _search(files: RunFiles) -> list[Block]:
    trials = files.trials
    if trials is None or not len(trials):
        return [Missing(files.problems.get("trials.csv", "No trial has ended yet."))]
    say = _sentences(files)
    return [
        Paragraph(say("lead")),
        *_history(files, trials, say),
        *_best(files, trials),
        Heading("By what was varied"),
        *section_search.summaries(files, trials),
        Heading("Leaderboard so far"),
        section_search.leaderboard(files, trials),
    ]


def _best(files: RunFiles, trials: pd.DataFrame) -> list[Block]:
    best = section_search.titled(files, tables_search.best_trials(trials, files.metric))
    caption = "The best trial of each backbone so far."
    return [table("best_so_far", best, caption, metric=files.metric.title)] if len(best) else []


def _history(files: RunFiles, trials: pd.DataFrame, say: Sentences) -> list[Block]:
    scored = tables_search.scores(trials, files.metric).dropna()
    if not len(scored):
        return []
    best = scored.max() if files.metric.higher_is_better else scored.min()

    def drawn() -> Block:
        figure = figures_search.history(trials, files.metric, palette.looks(files.backbones, files.titles))
        return pictures.inline(figure, say("history_alt", len(scored), best), say("history"))

    def missing(why: str) -> Block:
        return Missing(f"The history could not be drawn: {why}")

    return [guarded(drawn, missing, "The history could not be drawn; the tables say the same.", logging.DEBUG)]


def _resume(run: RunDir) -> Section:
    again = typed("report", run.name, *in_output(run.path.parent))
    blocks: list[Block] = [
        Code("To go on, should it have stopped; every trial that has ended is kept", resume(run.name, run.path.parent)),
        Code("To see all that the report can show of it by now", again),
    ]
    return Section("made", "How to go on", blocks)
