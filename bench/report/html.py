"""Tables and figures -> report.html, one self-contained page that needs no network."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from markupsafe import Markup

from bench import __version__, numbers
from bench.numbers import capital
from bench.report import cautions, first_screen, glossary, methods, model_card, palette, summary
from bench.report.blocks import Html, Section, section
from bench.report.finish import finished
from bench.report.page import Page
from bench.report.read.files import RunFiles, read
from bench.report.sections import comparison, data, failures, guidelines, provenance, search, time, winner
from bench.report.templating import filled
from bench.run.folder import RunDir, write_page

Build = tuple[str, str, Callable[[Page], Section]]

_SECTIONS: tuple[Build, ...] = (
    ("winner", winner.TITLE, winner.winner),
    ("failures", failures.TITLE, failures.failures),
    ("data", data.TITLE, data.data),
    ("comparison", comparison.TITLE, comparison.comparison),
    ("search", search.TITLE, search.search),
)
"""First what was found, then what it was found with."""

_MADE: tuple[Build, ...] = (
    ("methods", methods.TITLE, methods.methods),
    ("time", time.TITLE, time.time),
    ("provenance", provenance.TITLE, provenance.provenance),
    ("guidelines", guidelines.TITLE, guidelines.guidelines),
    ("model-card", model_card.TITLE, model_card.model_card),
)
"""The parts of the last section, “How it was made”."""


_GLOSSARY = Markup("<!-- glossary -->")


def _explained(html: str) -> tuple[str, dict[str, str]]:
    """``html`` with the glossary of what it uses in its place, and the address of each term."""
    terms = glossary.used(html.partition("<body>")[2].rpartition("<script>")[0])
    entries = Markup().join(
        Markup('<div id="{}"><dt>{}</dt><dd>{}</dd></div>\n').format(glossary.address(term), capital(term), why)
        for term, why in terms.items()
    )
    listed = Markup('<dl class="glossary">\n{}</dl>').format(entries)
    return html.replace(_GLOSSARY, listed), {term: glossary.address(term) for term in terms}


def render(run: RunDir, images: bool = True, files: RunFiles | None = None) -> Path:
    """Write report.html, and every figure to figures/, from the files of ``run``; return the page's path.

    Pictures of images are part of it unless ``images`` or the run's own settings leave them out. ``files`` are what was
    read of the run already.

    A run that is unfinished or damaged is rendered as far as its files go: what is missing is said where it is missed.
    """
    files = files or read(run)
    if not (images and files.record.settings.images):
        files = files.without_images()
    page = Page(run, files, palette.looks(files.backbones, files.titles))
    unread = "The summary could not be written: the files of the run do not fit together."
    headline = summary.summarised(summary.headline, files, "The run could not be summarised")
    tiles = summary.summarised(lambda _: first_screen.tiles(page), files, [])
    made = [section(anchor, title, partial(build, page)) for anchor, title, build in _MADE]
    made += [Section("glossary", glossary.TITLE, [Html(_GLOSSARY)])] if made else []
    sections = [section(anchor, title, partial(build, page)) for anchor, title, build in _SECTIONS]
    html = filled(
        "report.html.j2",
        name=run.name,
        headline=headline,
        description=summary.summarised(lambda files: first_screen.description(files, headline, tiles), files, headline),
        banners=summary.summarised(summary.banners, files, []),
        story=summary.summarised(summary.story, files, [unread]),
        tiles=tiles,
        forest=summary.summarised(lambda _: first_screen.forest(page), files, None),
        lights=summary.summarised(first_screen.lights, files, []),
        cautions=summary.summarised(cautions.cautions, files, []),
        sections=[*sections, *([Section("made", "How it was made", (), made)] if made else [])],
        created=numbers.moment(files.record.created),
        suite=numbers.text(files.record.suite_version or __version__),
        rules=numbers.text(files.record.rules),
    )
    html, terms = _explained(html)
    write_page(run.report, finished(html, files.names, terms))
    return run.report
