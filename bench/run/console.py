"""What the user sees: lines, and on a terminal what is shown live below them (`bench.run.progress` tells of a run)."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from bench.numbers import duration as duration
from bench.numbers import rate, short
from bench.run.documents import AuditRecord, FindingRecord, Layout
from bench.run.record import SplitRecord
from bench.texts import visible
from bench.trial import TrialConfig

SHOWN_NAMES = 5
"""Names that are listed of each kind of what a source left out."""
SHOWN_FILES = 10
"""Files that are listed under a finding on the screen."""


def describe_config(config: TrialConfig) -> str:
    """A configuration in one line."""
    finetune = f" × {short(config.finetune_factor)}" if config.finetune_factor else ""
    return (
        f"{config.network}, augmentation {config.augmentation}, unfreeze depth {config.unfreeze_depth}, "
        f"learning rate {rate(config.learning_rate)}{finetune}"
    )


def describe_split(part: SplitRecord) -> str:
    """A split of an audit in one line: images, patients and classes."""
    classes = ", ".join(f"{name} {count}" for name, count in part.classes.items())
    return f"{part.images} images of {part.patients} patients ({classes})"


def next_steps(*steps: tuple[str, str]) -> list[str]:
    """What can be done next, and the command that does it, a line each."""
    heads = ("Next: ", *[" " * 6] * (len(steps) - 1))
    return [f"{head}{what}: {how}" for head, (what, how) in zip(heads, steps, strict=True)]


class Screen:
    """The screen of one run."""

    def __init__(self, console: Console | None = None) -> None:
        terminal = sys.stdout.isatty()
        self.console = console or Console(  # FORCE_COLOR, which many CI services set, makes no terminal of a log
            file=sys.stdout, highlight=False, soft_wrap=not terminal, force_terminal=None if terminal else False
        )
        self.is_live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.counted = ""
        self._shown: list[RenderableType] = []
        self._live: Live | None = None

    @contextmanager
    def showing(self, renderable: RenderableType) -> Iterator[None]:
        """Show something below all lines for as long as the block lasts; nothing where there is no live terminal."""
        self._shown.append(renderable)
        if self.is_live and self._live is None:
            self._live = Live(
                get_renderable=lambda: Group(*self._shown),
                console=self.console,
                refresh_per_second=2,
                transient=True,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start()
        try:
            yield
        finally:
            self._shown.remove(renderable)
            if self._live is not None and not self._shown:
                with suppress(OSError):  # a terminal that was closed must not hide what ended the block
                    self._live.stop()
                self._live = None

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
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        progress = Progress(*columns, console=self.console)
        progress.add_task(title, total=total)
        (task,) = progress.tasks

        def advance(more: int) -> None:
            progress.advance(task.id, more)
            self.counted = f"{title}: {task.completed:,.0f} of {total:,}"

        try:
            with self.showing(progress):
                yield advance
        finally:
            self.counted = ""
            if task.completed:
                self.line(f"{title}: {task.completed:.0f} in {duration(task.elapsed or 0.0)}")
