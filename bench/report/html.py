"""Tables and figures -> report.html, one self-contained page that needs no network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import __version__, numbers
from bench.report import cautions, model_card, palette, summary
from bench.report.blocks import Section, section
from bench.report.page import Page
from bench.report.read.files import read
from bench.report.sections import comparison, data, failures, guidelines, provenance, search, time, winner
from bench.report.templating import filled
from bench.run.folder import RunDir, write_page

_SECTIONS: tuple[tuple[str, str, Callable[[Page], Section]], ...] = (
    ("comparison", comparison.TITLE, comparison.comparison),
    ("search", search.TITLE, search.search),
    ("winner", winner.TITLE, winner.winner),
    ("failures", failures.TITLE, failures.failures),
    ("data", data.TITLE, data.data),
    ("time", time.TITLE, time.time),
    ("provenance", provenance.TITLE, provenance.provenance),
    ("guidelines", guidelines.TITLE, guidelines.guidelines),
    ("model-card", model_card.TITLE, model_card.model_card),
)


def render(run: RunDir) -> Path:
    """Write report.html, and every figure to figures/, from the files of ``run``; return the page's path.

    A run that is unfinished or damaged is rendered as far as its files go: what is missing is said where it is missed.
    """
    files = read(run)
    page = Page(run, files, palette.looks(files.backbones, files.titles))
    unread = "The summary could not be written: the files of the run do not fit together."
    html = filled(
        "report.html.j2",
        name=run.name,
        headline=summary.summarised(summary.headline, files, "The run could not be summarised"),
        banners=summary.summarised(summary.banners, files, []),
        story=summary.summarised(summary.story, files, [unread]),
        tiles=summary.summarised(summary.tiles, files, []),
        cautions=summary.summarised(cautions.cautions, files, []),
        sections=[section(anchor, title, partial(build, page)) for anchor, title, build in _SECTIONS],
        created=numbers.moment(files.record.created),
        suite=numbers.text(files.record.suite_version or __version__),
        rules=numbers.text(files.record.rules),
    )
    write_page(run.report, html)
    return run.report
