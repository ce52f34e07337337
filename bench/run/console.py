"""What the user sees while a run goes on: a live display on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from bench.run.results import TrialRecord
from bench.stats.metrics import Metric
from bench.trial import Running, TrialConfig

SHOWN_NAMES = 5
"""Names that are listed of each kind of what a source left out."""
SHOWN_FILES = 10
"""Files that are listed under a finding on the screen."""


def describe_config(config: TrialConfig) -> str:
    """A configuration in one line."""
    finetune = f" × {config.finetune_factor:.2g}" if config.finetune_factor else ""
    return (
        f"{config.backbone}, augmentation {config.augmentation}, unfreeze depth {config.unfreeze_depth}, "
        f"learning rate {config.learning_rate:.2g}{finetune}"
    )


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


class Screen:
    """The screen of one run; `search` gives the watcher that `bench.search.tune` tells of its trials."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stdout, highlight=False, soft_wrap=not sys.stdout.isatty())

    def line(self, text: str) -> None:
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
        self.line("")
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

    def layout(self, layout: Mapping[str, Any]) -> None:
        """How a source was read, and the first names of each kind of what was left out."""
        self.line(layout["text"])
        for kind in layout["left_out"]:
            more = f", … and {kind['count'] - SHOWN_NAMES} more" if kind["count"] > SHOWN_NAMES else ""
            self.line(f"  {kind['text']}: {', '.join(kind['files'][:SHOWN_NAMES])}{more}")

    def findings(self, findings: Sequence[Mapping[str, Any]]) -> None:
        """What an audit found, a line each; what was looked for and not found is left to the report.

        What `layout` says is not said again.
        """
        for finding in findings:
            if finding["severity"] != "good" and finding["kind"] != "layout":
                self.line(f"  {finding['severity']}: {finding['heading']}: {finding['text']}")

    def audit(self, audit: Mapping[str, Any]) -> None:
        """A whole audit: findings under their headings with their first files, and the splits.

        What `layout` says is not said again.
        """
        for finding in audit["findings"]:
            if finding["kind"] == "layout":
                continue
            self.line("")
            self.console.print(Text.assemble((finding["heading"], "bold"), f" ({finding['severity']})"))
            self.line(f"  {finding['text']}")
            for name in finding["files"][:SHOWN_FILES]:
                self.line(f"    {name}")
            if len(finding["files"]) > SHOWN_FILES:
                self.line(f"    … and {len(finding['files']) - SHOWN_FILES} more (--json lists all)")
        for title, key in (("Splits as given", "given"), ("Splits as a run would use them", "used")):
            rows = [
                (
                    split,
                    f"{part['images']} images of {part['patients']} patients ("
                    + ", ".join(f"{name} {count}" for name, count in part["classes"].items())
                    + ")",
                )
                for split, part in audit["splits"][key].items()
            ]
            if rows:
                self.summary(title, rows)
        patients = audit["patients"]
        self.line("")
        self.line(
            f"{audit['images']} images; patients: {patients['narrow']} read narrowly, {patients['wide']} widely "
            f"({patients['rule']})."
        )

    @contextmanager
    def counting(self, title: str, total: int) -> Iterator["Counting"]:
        """Progress of a stage that handles ``total`` things of one kind."""
        counting = Counting(self, title, total)
        try:
            yield counting
        finally:
            counting.close()

    @contextmanager
    def search(
        self, metric: Metric, total: int, records: Sequence[TrialRecord], ended: Callable[[], None] | None = None
    ) -> Iterator["SearchDisplay"]:
        """Progress of a search of ``total`` trials, of which ``records`` are done.

        ``records`` are without those that were tried again; ``ended`` is called whenever another trial is in
        trials.csv, and must return at once.
        """
        display = SearchDisplay(self, metric, total, records, ended)
        try:
            yield display
        finally:
            display.close()


class Counting:
    """A bar on a terminal; elsewhere a line when it is done."""

    def __init__(self, screen: Screen, title: str, total: int) -> None:
        self._screen = screen
        self._title = title
        self._count = 0
        self._started = time.monotonic()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=screen.console,
            transient=True,
            disable=not screen.console.is_terminal,
        )
        self._task = self._progress.add_task(title, total=total)
        self._progress.start()

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self._count += count
        self._progress.advance(self._task, count)

    def close(self) -> None:
        """End the display."""
        self._progress.stop()
        if self._count:
            self._screen.line(f"{self._title}: {self._count} in {duration(time.monotonic() - self._started)}")


class SearchDisplay:
    """Done, running, stopped early, failed, best so far and time left."""

    def __init__(
        self,
        screen: Screen,
        metric: Metric,
        total: int,
        records: Sequence[TrialRecord],
        ended: Callable[[], None] | None = None,
    ) -> None:
        self._screen = screen
        self._ended = ended
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
        """The trials that are running, in the order of their numbers; may be asked from any thread."""
        return sorted(self._running.copy().values(), key=lambda one: one.trial)

    def trial_ended(self, record: TrialRecord) -> None:
        """A trial is in trials.csv."""
        self._running.pop(record.trial, None)
        failed = [one for one in self._records if one.state == "failed" and one.config.key == record.config.key]
        self._records = [one for one in self._records if one not in failed] + [record]
        if not self._screen.console.is_terminal:
            self._screen.line(self._one_line(record))
        if self._ended is not None:
            self._ended()

    def note(self, text: str) -> None:
        """Something that the user should know."""
        self._screen.line(f"  note: {text}")

    def close(self) -> None:
        """End the display."""
        if self._live.is_started:
            self._live.stop()
        self._screen.line(self._status())

    def _one_line(self, record: TrialRecord) -> str:
        if record.metrics is None:
            ended = f"failed: {record.reason}"
        else:
            ended = f"{self._metric.title} {record.metrics[self._metric.name]:.4f}"
            ended += " (stopped early)" if record.state == "pruned" else ""
        best, left = self._best(), self._left()
        best_text = f"; best {best.metrics[self._metric.name]:.4f}" if best and best.metrics else ""
        left_text = f"; about {duration(left)} left" if left is not None else ""
        return (
            f"[{len(self._records)}/{self._total}] trial {record.trial}: {describe_config(record.config)}: "
            f"{ended}, {duration(record.seconds)}{best_text}{left_text}"
        )

    def _best(self) -> TrialRecord | None:
        sign = -1.0 if self._metric.higher_is_better else 1.0
        scored = [record for record in self._records if record.metrics]
        return min(scored, key=lambda record: sign * (record.metrics or {})[self._metric.name], default=None)

    def _left(self) -> float | None:
        done = len(self._records) - self._before
        if done < 2 or len(self._records) >= self._total:
            return None
        return (time.monotonic() - self._started) / done * (self._total - len(self._records))

    def _status(self) -> str:
        states = Counter(record.state for record in self._records)
        parts = [f"{len(self._records)} of {self._total} trials done"]
        if states["pruned"]:
            parts.append(f"{states['pruned']} stopped early")
        if states["failed"]:
            parts.append(f"{states['failed']} failed")
        best, left = self._best(), self._left()
        if best and best.metrics:
            parts.append(
                f"best validation {self._metric.title} {best.metrics[self._metric.name]:.4f} "
                f"({describe_config(best.config)})"
            )
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return "; ".join(parts)

    def _render(self) -> Group:
        bar = Progress(TextColumn("Search"), BarColumn(), MofNCompleteColumn(), console=self._screen.console)
        bar.add_task("", total=self._total, completed=len(self._records))
        lines = [Text(f"{duration(time.monotonic() - self._started)} elapsed; {self._status()}")]
        for one in self.running():
            so_far = "no epoch finished yet"
            if one.score is not None:
                so_far = f"{self._metric.title} {one.score:.4f} so far, epoch {one.epoch}"
            lines.append(Text(f"  running: trial {one.trial}: {describe_config(one.config)}: {so_far}", style="dim"))
        return Group(bar, *lines)
