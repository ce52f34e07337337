"""The subcommands that read run folders: ``report``, ``open``, which shows a report, and ``list``."""

import argparse
import os
import sys
import webbrowser
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.errors import ConfigError
from bench.flags import UNFAIR, Commands, add_command, add_flag, add_run_name, add_setting, output_of
from bench.invocation import in_output, typed
from bench.run.folder import find_run, is_held
from bench.texts import visible


def add_report(commands: Commands) -> None:
    """``report``."""
    parser = add_command(
        commands,
        "report",
        report,
        "render the report of a run again, from its files alone; of several runs, a page that sets them side by side",
        f"{typed('report', 'xray')}; {typed('report', 'xray', 'xray-wide', 'thesis')}",
    )
    add_run_name(parser, "+")
    add_setting(parser, "images", shown="what the run was begun with")


def report(options: argparse.Namespace) -> int:
    """Render and say where; returns `UNFAIR` if the comparison within the run is not fair.

    Raises:
        ConfigError: if there is no such run.
    """
    from bench.report.read.files import read

    output = output_of(options)
    runs = [find_run(name, output) for name in options.name]
    for run in runs:
        files = read(run)
        for name in files.changed:
            print(visible(f"ATTENTION: run {run.name}: {name} is not as the run wrote it; it was damaged or changed."))
    if len(runs) > 1:
        from bench.report.side_by_side.page import render_side_by_side

        print(visible(f"Side by side: {render_side_by_side(runs, output)}"))
        return 0
    from bench.report.html import render
    from bench.report.summary import unfairness

    print(visible(f"Report: {render(runs[0], getattr(options, 'images', True), files)}"))
    found = unfairness(files)
    for sentence in found:
        print(visible(f"ATTENTION: {sentence}"))
    return UNFAIR if found else 0


def add_open(commands: Commands) -> None:
    """``open``."""
    parser = add_command(
        commands,
        "open",
        open_report,
        "show the report of a run, finished or going on, in a browser",
        typed("open", "xray"),
        "Show the report of a run in the browser; while the run goes on, the page renews itself. Where no browser can"
        " be started, the path of the page is printed.",
    )
    add_run_name(parser, "?", without="the run that was worked at last")


def open_report(options: argparse.Namespace) -> int:
    """Say where a report lies, and show it.

    Raises:
        ConfigError: if there is no such run, or it has no report yet.
    """
    from bench.report.runs import newest

    output = output_of(options)
    run = find_run(options.name, output) if options.name else newest(output)
    if run is None:
        raise ConfigError(_none_in(output))
    if not run.report.is_file():
        again = f"`{typed('report', run.name, *in_output(run.path.parent))}` renders it"
        when = "a run writes it once its search has begun" if is_held(run.path) else again
        raise ConfigError(f"Run {run.name!r} has no report yet: {when}.")
    print(visible(f"Report: {run.report}"), flush=True)
    if not _shown(run.report):
        print("No browser can be started here; the page is one file, which a browser on any machine can open.")
    return 0


def _shown(page: Path) -> bool:
    """Whether a browser with a window was asked to show ``page``; one in the terminal would take that over."""
    if sys.platform != "darwin" and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))):
        return False
    try:
        return webbrowser.open(page.resolve().as_uri())
    except (webbrowser.Error, OSError):
        return False


def add_list(commands: Commands) -> None:
    """``list``."""
    parser = add_command(
        commands,
        "list",
        list_runs,
        "show the runs there are: data, state, chosen model, score, age",
        typed("list"),
        "The runs in the folder of run folders, the youngest first: data, state, the model that validation chose, its"
        " score on the internal test with its interval (on validation while the test split is sealed), and age.\n"
        "In a pipe, columns are separated by tabs, and a score is in one of them; --json has every value by itself.",
    )
    add_setting(parser, "output")
    add_flag(
        parser,
        "--json",
        "print a JSON list instead, with times and scores as they are",
        "--json",
        "off",
        action="store_true",
    )


def list_runs(options: argparse.Namespace) -> int:
    """Print the runs there are."""
    from bench.report.runs import COLUMNS, as_json, listed

    output = output_of(options)
    rows, now = listed(output), datetime.now(UTC)
    if getattr(options, "json", False):
        print(as_json(rows))
        return 0
    cells = [[visible(cell) for cell in row.cells(now)] for row in rows]
    piped = not sys.stdout.isatty()
    if piped:
        print("\n".join("\t".join(row) for row in [COLUMNS, *cells]))
    elif rows:
        _print_table(COLUMNS, cells)
    if not rows:
        print(visible(_none_in(output)), file=sys.stderr if piped else sys.stdout)
    return 0


def _none_in(output: Path) -> str:
    return f"There is no run in {output} yet; `{typed('run')}` begins one, of the demo."


GAP = 3
"""Spaces between two columns of the table."""
FEW = 8
"""Characters of a line of a name that is broken."""


def _unbroken(name: str, rows: Sequence[Mapping[str, str]]) -> list[str]:
    """The heading and the cells of a column, of scores their words, which are what a line must hold."""
    return [name, *(part for row in rows for part in (row[name].split() if name == "score" else [row[name]]))]


def _needed(widths: Mapping[str, int], broken: Sequence[str] = ()) -> int:
    """Characters of a line that holds columns of these widths, of which the ``broken`` ones take a few."""
    return sum(min(width, FEW) if name in broken else width for name, width in widths.items()) + GAP * (len(widths) + 1)


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for the terminal, without the columns that are empty, and the notes below it.

    Scores alone take several lines; where the terminal is too narrow even so, ``data`` is left out, then ``age``, and
    then names are broken, for a score that is cut short would say something else.
    """
    console = Console(highlight=False)
    by_name = [dict(zip(columns, row, strict=True)) for row in rows]
    shown = [name for name in columns if name != "note" and any(row[name] for row in by_name)]
    widths = {name: max(map(cell_len, _unbroken(name, by_name))) for name in shown}
    for name in ("data", "age"):
        if _needed(widths) > console.width:
            widths.pop(name, None)
    broken: list[str] = []
    for name in ("run", "chosen", "state"):
        if name in widths and _needed(widths, broken) > console.width:
            broken.append(name)
    table = Table(box=box.SIMPLE_HEAD)
    for name, width in widths.items():
        whole = name not in broken
        table.add_column(name, overflow="fold", no_wrap=whole and name != "score", min_width=width if whole else None)
    for row in by_name:
        table.add_row(*(Text(row[name]) for name in widths))
    console.print(table)
    for row in by_name:
        if row["note"]:
            console.print(Text(f" {row['run']}: {row['note']}"))
