"""The subcommand ``report``: a run's report rendered again, or several runs side by side."""

import argparse

from bench.flags import UNFAIR, Commands, add_command, add_run_name, output_of
from bench.invocation import typed
from bench.run.folder import find_run
from bench.texts import visible


def add_parser(commands: Commands) -> None:
    """``report``."""
    parser = add_command(
        commands,
        "report",
        report,
        "render the report of a run again, from its files alone; of several runs, a page that sets them side by side",
        f"{typed('report', 'xray')}; {typed('report', 'xray', 'xray-wide', 'thesis')}",
    )
    add_run_name(parser, several=True)


def report(options: argparse.Namespace) -> int:
    """Render and say where; returns `UNFAIR` if the comparison within the run is not fair.

    Raises:
        ConfigError: if there is no such run.
    """
    output = output_of(options)
    runs = [find_run(name, output) for name in options.name]
    if len(runs) > 1:
        from bench.report.side_by_side.page import render_side_by_side

        print(visible(f"Side by side: {render_side_by_side(runs, output)}"))
        return 0
    from bench.report.html import render
    from bench.report.read.files import read
    from bench.report.summary import unfairness

    print(visible(f"Report: {render(runs[0])}"))
    found = unfairness(read(runs[0]))
    for sentence in found:
        print(visible(f"ATTENTION: {sentence}"))
    return UNFAIR if found else 0
