"""What the user sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.numbers import duration as duration
from bench.numbers import rate, score, short
from bench.run.documents import AuditRecord, FindingRecord, Layout
from bench.run.record import SplitRecord
from bench.run.results import TrialRecord
from bench.stats.metrics import Metric
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
    """The screen of one run; `search` gives the watcher that `bench.search.tune` tells of its trials."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())

    def line(self, text: str = "") -> None:
        """One line of plain text."""
        self.console.print(Text(text))

    def warning(self, text: str) -> None:
        """Something that must not be overlooked."""
        if self.console.is_terminal:
            self.console.print(Panel(Text(text, style="bold"), border_style="yellow", title="Attention"))
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
            table.add_row(f"  {name}", Text(value))
        self.console.print(table)

    def layout(self, layout: Layout) -> None:
        """How a source was read, and the first names of each kind of what was left out."""
        self.line(layout.text)
        for kind in layout.left_out:
            more = f", … and {kind['count'] - SHOWN_NAMES} more" if kind["count"] > SHOWN_NAMES else ""
            self.line(f"  {kind['text']}: {', '.join(kind['files'][:SHOWN_NAMES])}{more}")

    def findings(self, findings: Sequence[FindingRecord]) -> None:
        """What an audit found, one line each; what it did not find, and what `layout` says, are left out."""
        for finding in findings:
            if finding.severity != "good" and finding.kind != "layout":
                self.line(f"  {finding.severity}: {finding.heading}: {finding.text}")

    def audit(self, audit: AuditRecord) -> None:
        """A whole audit but for what `layout` says: findings under their headings with their first files, splits."""
        for finding in audit.findings:
            if finding.kind == "layout":
                continue
            self.line()
            self.console.print(Text.assemble((finding.heading, "bold"), f" ({finding.severity})"))
            self.line(f"  {finding.text}")
            for name in finding.files[:SHOWN_FILES]:
                self.line(f"    {name}")
            if len(finding.files) > SHOWN_FILES:
                self.line(f"    … and {len(finding.files) - SHOWN_FILES} more (--json lists all)")
        used = audit.splits.used
        for title, splits in (("Splits as given", audit.splits.given), ("Splits as a run would use them", used)):
            rows = [(split, describe_split(part)) for split, part in splits.items()]
            if rows:
                self.summary(title, rows)
        patients = audit.patients
        self.line()
        self.line(
            f"{audit.images} images; patients: {patients.narrow} by the narrow reading, {patients.wide} "
            f"by the wide one ({patients.rule})."
        )

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator["Counting"]:
        """Progress of a stage that handles ``total`` things of one kind: a bar on a terminal, and a line at its end."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self.console.is_terminal
        progress = Progress(*columns, console=self.console, transient=True, disable=hidden)
        counting = Counting(progress, progress.add_task(title, total=total))
        try:
            with progress:
                yield counting
        finally:
            (task,) = progress.tasks
            if task.completed:
                self.line(f"{title}: {task.completed:.0f} in {duration(task.elapsed or 0.0)}")

    @contextmanager
    def search(
        self,
        metric: Metric,
        total: int,
        records: Sequence[TrialRecord],
        on_trial_end: Callable[[], None] = lambda: None,
    ) -> Iterator["SearchDisplay"]:
        """Progress of a search of ``total`` trials, of which ``records`` are done.

        ``records`` are without those that were tried again; ``on_trial_end`` is called whenever another trial is in
        trials.csv, and must return at once.
        """
        display = SearchDisplay(self, metric, total, records, on_trial_end)
        try:
            yield display
        finally:
            display.close()


@dataclass(frozen=True)
class Counting:
    """Counts what is done on a progress bar."""

    progress: Progress
    task: TaskID

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.progress.advance(self.task, count)


class SearchDisplay:
    """Done, running, stopped early, failed, best so far and time left."""

    def __init__(
        self,
        screen: Screen,
        metric: Metric,
        total: int,
        records: Sequence[TrialRecord],
        on_trial_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._screen = screen
        self._on_trial_end = on_trial_end
        self._metric = metric
        self._total = total
        self._records = list(records)
        self._before = len(records)
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
        failed = [one for one in self._records if one.state == "failed" and one.config.key == record.config.key]
        self._records = [one for one in self._records if one not in failed] + [record]
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
        self._screen.line(self._status())

    def _score(self, record: TrialRecord) -> str:
        return score((record.metrics or {}).get(self._metric.name))

    def _one_line(self, record: TrialRecord) -> str:
        ended = f"failed: {record.reason}" if record.metrics is None else f"{self._metric.title} {self._score(record)}"
        ended += " (stopped early)" if record.state == "pruned" else ""
        parts = [f"{describe_config(record.config)}: {ended}, {duration(record.seconds)}"]
        if best := self._best():
            parts.append(f"best {self._score(best)}")
        return f"[{len(self._records)}/{self._total}] trial {record.trial}: {'; '.join([*parts, *self._left()])}"

    def _best(self) -> TrialRecord | None:
        sign = -1.0 if self._metric.higher_is_better else 1.0
        scored = [record for record in self._records if record.metrics]
        return min(scored, key=lambda record: sign * (record.metrics or {})[self._metric.name], default=None)

    def _left(self) -> list[str]:
        """How long the rest will take, once two trials tell."""
        done, rest = len(self._records) - self._before, self._total - len(self._records)
        if done < 2 or rest <= 0:
            return []
        return [f"about {duration((time.monotonic() - self._started) / done * rest)} left"]

    def _status(self) -> str:
        states = Counter(record.state for record in self._records)
        parts = [f"{len(self._records)} of {self._total} trials done"]
        ends = (("pruned", "stopped early"), ("failed", "failed"))
        parts += [f"{states[state]} {words}" for state, words in ends if states[state]]
        if best := self._best():
            parts.append(f"best validation {self._metric.title} {self._score(best)} ({describe_config(best.config)})")
        return "; ".join([*parts, *self._left()])

    def _render(self) -> Group:
        bar = Progress(TextColumn("Search"), BarColumn(), MofNCompleteColumn(), console=self._screen.console)
        bar.add_task("", total=self._total, completed=len(self._records))
        lines = [Text(f"{duration(time.monotonic() - self._started)} elapsed; {self._status()}")]
        for one in self.running():
            so_far = "no epoch finished yet"
            if one.score is not None:
                so_far = f"{self._metric.title} {score(one.score)} so far, epoch {one.epoch}"
            lines.append(Text(f"  running: trial {one.trial}: {describe_config(one.config)}: {so_far}", style="dim"))
        return Group(bar, *lines)
