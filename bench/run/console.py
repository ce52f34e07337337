"""What the user sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.numbers import duration as duration
from bench.numbers import rate, score, short
from bench.run.documents import AuditRecord, FindingRecord, Layout
from bench.run.record import SplitRecord
from bench.run.results import TrialLog, TrialRecord
from bench.stats.metrics import Metric
from bench.texts import visible
from bench.trial import Running, TrialConfig

SHOWN_NAMES = 5
"""Names that are listed of each kind of what a source left out."""
SHOWN_FILES = 10
"""Files that are listed under a finding on the screen."""


def describe_config(config: TrialConfig) -> str:
    """A configuration in one line."""
    finetune = f" × {short(config.finetune_factor)}" if config.finetune_factor else ""
    return (
        f"{config.backbone}, augmentation {config.augmentation}, unfreeze depth {config.unfreeze_depth}, "
        f"learning rate {rate(config.learning_rate)}{finetune}"
    )


def describe_split(part: SplitRecord) -> str:
    """A split of an audit in one line: images, patients and classes."""
    classes = ", ".join(f"{name} {count}" for name, count in part.classes.items())
    return f"{part.images} images of {part.patients} patients ({classes})"


class Screen:
    """The screen of one run."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())

    def line(self, text: str = "") -> None:
        """One line of plain text."""
        self.console.print(Text(visible(text)))

    def warning(self, text: str) -> None:
        """Something that must not be overlooked."""
        if self.console.is_terminal:
            self.console.print(Panel(Text(visible(text), style="bold"), border_style="yellow", title="Attention"))
        else:
            self.line(f"ATTENTION: {text}")

    def summary(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values in two columns."""
        self.line()
        self.line(title)
        if not self.console.is_terminal:
            for name, value in rows:
                self.line(f"  {name}: {value}")
            return
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in rows:
            table.add_row(Text(f"  {visible(name)}"), Text(visible(value)))
        self.console.print(table)

    def layout(self, layout: Layout) -> None:
        """How a source was read, and the first names of each kind of what was left out."""
        self.line(layout.text)
        for one in layout.left_out:
            more = f", … and {one.count - SHOWN_NAMES:,} more" if one.count > SHOWN_NAMES else ""
            self.line(f"  {one.text}: {', '.join(one.files[:SHOWN_NAMES])}{more}")

    def findings(self, findings: Sequence[FindingRecord]) -> None:
        """What an audit found, one line each; what it did not find, and what `layout` says, are left out."""
        for finding in findings:
            if finding.severity != "good" and finding.kind != "layout":
                self.line(f"  {finding.severity}: {finding.heading}: {finding.text}")

    def audit(self, audit: AuditRecord) -> None:
        """A whole audit but for what `layout` says: findings under their headings with their first files, splits."""
        for finding in (one for one in audit.findings if one.kind != "layout"):
            self.line()
            self.console.print(Text.assemble((finding.heading, "bold"), f" ({finding.severity})"))
            self.line(f"  {finding.text}")
            for name in finding.files[:SHOWN_FILES]:
                self.line(f"    {name}")
            if len(finding.files) > SHOWN_FILES:
                self.line(f"    … and {len(finding.files) - SHOWN_FILES:,} more (--json lists all)")
        splits, patients = audit.splits, audit.patients
        for title, parts in (("Splits as given", splits.given), ("Splits as a run would use them", splits.used)):
            if parts:
                self.summary(title, [(split, describe_split(part)) for split, part in parts.items()])
        self.line()
        self.line(
            f"{audit.images} images; patients: {patients.narrow} by the narrow reading, {patients.wide} "
            f"by the wide one ({patients.rule})."
        )

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Progress of a stage that handles ``total`` things of one kind: a bar on a terminal, and a line at its end.

        Yields:
            a function that is told how many more are done.
        """
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self.console.is_terminal
        progress = Progress(*columns, console=self.console, transient=True, disable=hidden)
        advance = partial(progress.advance, progress.add_task(title, total=total))
        try:
            with progress:
                yield advance
        finally:
            (task,) = progress.tasks
            if task.completed:
                self.line(f"{title}: {task.completed:.0f} in {duration(task.elapsed or 0.0)}")


class SearchDisplay:
    """Done, running, stopped early, failed, best so far and time left; `bench.search.tune` tells it of its trials.

    Args:
        screen: where it is shown.
        metric: of the run.
        total: trials of the search.
        log: the trials that are done; grows.
        on_trial_end: called whenever another trial is in trials.csv; must return at once.
    """

    def __init__(
        self, screen: Screen, metric: Metric, total: int, log: TrialLog, on_trial_end: Callable[[], None]
    ) -> None:
        self._screen, self._metric, self._total, self._log = screen, metric, total, log
        self._on_trial_end = on_trial_end
        self._before = len(log.current)
        self._running: dict[int, Running] = {}
        self._started = time.monotonic()
        self._live = Live(get_renderable=self._render, console=screen.console, refresh_per_second=2, transient=True)
        if screen.console.is_terminal:
            self._live.start()

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """A trial is about to run."""
        self._running[trial] = Running(trial, config)

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """A running trial has ended an epoch; ``score`` is its best so far."""
        if trial in self._running:
            self._running[trial] = replace(self._running[trial], score=score, epoch=epoch)

    def running(self) -> list[Running]:
        """The trials that are running, in the order of their numbers; may be called from any thread."""
        return sorted(self._running.copy().values(), key=lambda one: one.trial)

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in trials.csv."""
        self._running.pop(record.trial, None)
        if not self._screen.console.is_terminal:
            self._screen.line(self._one_line(record))
        self._on_trial_end()

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self._screen.line(f"  note: {text}")

    def close(self) -> None:
        """End the display."""
        if self._live.is_started:
            self._live.stop()
        self._screen.line(self._status(self._log.current))

    def _score(self, record: TrialRecord) -> str:
        return score((record.metrics or {}).get(self._metric.name))

    def _one_line(self, record: TrialRecord) -> str:
        ended = f"failed: {record.reason}" if record.metrics is None else f"{self._metric.title} {self._score(record)}"
        ended += " (stopped early)" if record.state == "pruned" else ""
        parts = [f"{describe_config(record.config)}: {ended}, {duration(record.seconds)}"]
        if best := self._log.best(self._metric):
            parts.append(f"best {self._score(best)}")
        done = len(self._log.current)
        return f"[{done}/{self._total}] trial {record.trial}: {'; '.join([*parts, *self._left(done)])}"

    def _left(self, done: int) -> list[str]:
        """How long the rest will take, ``done`` trials being done, once two of this search tell."""
        since, rest = done - self._before, self._total - done
        if since < 2 or rest <= 0:
            return []
        return [f"about {duration((time.monotonic() - self._started) / since * rest)} left"]

    def _status(self, current: Sequence[TrialRecord]) -> str:
        """The trials that are done: how they ended, the best of them, and how long the others will take."""
        states = Counter(record.state for record in current)
        parts = [f"{len(current)} of {self._total} trials done"]
        ends = (("pruned", "stopped early"), ("failed", "failed"))
        parts += [f"{states[state]} {words}" for state, words in ends if states[state]]
        if best := self._log.best(self._metric):
            parts.append(f"best validation {self._metric.title} {self._score(best)} ({describe_config(best.config)})")
        return "; ".join([*parts, *self._left(len(current))])

    def _render(self) -> Group:
        current = self._log.current
        bar = Progress(TextColumn("Search"), BarColumn(), MofNCompleteColumn(), console=self._screen.console)
        bar.add_task("", total=self._total, completed=len(current))
        lines = [Text(visible(f"{duration(time.monotonic() - self._started)} elapsed; {self._status(current)}"))]
        for one in self.running():
            so_far = "no epoch finished yet"
            if one.score is not None:
                so_far = f"{self._metric.title} {score(one.score)} so far, epoch {one.epoch}"
            told = f"  running: trial {one.trial}: {describe_config(one.config)}: {so_far}"
            lines.append(Text(visible(told), style="dim"))
        return Group(bar, *lines)
