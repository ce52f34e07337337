"""Several runs -> one page that sets them side by side: what differs, what each chose, and whether they compare."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from bench import __version__, numbers
from bench.errors import ConfigError
from bench.numbers import DASH
from bench.report import summary
from bench.report.blocks import Block, Missing, Section
from bench.report.names import joined
from bench.report.read.files import read
from bench.report.side_by_side import made as made
from bench.report.side_by_side import sections as sections
from bench.report.side_by_side import tested as sides_tested
from bench.report.side_by_side.sections import Compared
from bench.report.side_by_side.sides import Side, facts, shared_metric
from bench.report.summary import Banner, Tile
from bench.report.tables import side_by_side as sides_tables
from bench.report.templating import filled
from bench.run.folder import RunDir, write_text

logger = logging.getLogger(__name__)

MOST_RUNS = 8
"""Runs on one page: more columns than that cannot be read."""

MOST_NAME = 150
"""Characters of the page's name that the runs' names may take."""

CHOOSING = (
    "Whoever picks one of these runs by its internal test has let the test split choose: the score of the pick is then "
    "too good. Pick by validation, and test the pick on images that no run has seen."
)

_SECTIONS: tuple[tuple[str, str, Callable[[Compared], Sequence[Block]]], ...] = (
    ("compare", "Do they compare?", sections.comparable),
    ("winners", "What each run chose", sections.winners),
    ("backbones", "By backbone", sections.backbones),
    ("search", "The searches", sections.searches),
    ("time", "Time and cost", made.time),
    ("settings", "What differs", made.settings),
    ("caveats", "What to beware of in each", made.caveats),
)


def render_side_by_side(runs: Sequence[RunDir], folder: Path) -> Path:
    """Write ``folder/side-by-side-A-B.html`` from the files of ``runs``, and its figures to a folder beside it.

    Args:
        runs: 2 to `MOST_RUNS` different runs, finished or not; what is missing or damaged in one is said on the page.
        folder: where the page goes, usually the folder of run folders.

    Returns:
        the page's path.

    Raises:
        ConfigError: if there are too few or too many runs, or one is named twice.
    """
    paths = [run.path.resolve() for run in runs]
    if not 2 <= len(runs) <= MOST_RUNS:
        raise ConfigError(f"2 to {MOST_RUNS} runs go side by side, but {len(runs)} were given.")
    twice = [path.name for path, count in Counter(paths).items() if count > 1]
    if twice:
        raise ConfigError(f"Runs that go side by side must differ, but {twice[0]!r} was given twice.")
    labels = [path.name for path in paths]
    if len(set(labels)) < len(labels):
        labels = [str(run.path) for run in runs]
    found = [Side(label, run, read(run)) for label, run in zip(labels, runs, strict=True)]
    name = _name([path.name for path in paths])
    pairs = sides_tested.in_pairs([(side.label, side.files) for side in found])
    page = Compared(found, folder / f"{name}-figures", *shared_metric(found), facts(found), pairs)
    write_text(folder / f"{name}.html", _html(page))
    return folder / f"{name}.html"


def _name(names: Sequence[str]) -> str:
    """The page's name without its ending; where the runs' names are too long for a file's, cut, with a digest."""
    given = "-".join(re.sub(r"[^\w.-]+", "_", name) for name in names)
    if len(given) > MOST_NAME:
        given = f"{given[:MOST_NAME]}-{sha256(given.encode()).hexdigest()[:8]}"
    return f"side-by-side-{given}"


def _html(page: Compared) -> str:
    return filled(
        "side_by_side.html.j2",
        name="side by side",
        headline=f"{joined(page.labels)} side by side",
        count=len(page.sides),
        banners=_banners(page),
        tiles=[_tile(page, side) for side in page.sides],
        story=_story(page),
        cautions=[CHOOSING],
        sections=[_section(page, *section) for section in _SECTIONS],
        suite=__version__,
    )


def _section(page: Compared, anchor: str, title: str, build: Callable[[Compared], Sequence[Block]]) -> Section:
    try:
        return Section(anchor, title, build(page))
    except Exception as error:  # one damaged run must not cost the reader the rest
        logger.warning("The section %r could not be written.", anchor, exc_info=True)
        return Section(anchor, title, [Missing(f"This section could not be written: {type(error).__name__}: {error}")])


def _banners(page: Compared) -> list[Banner]:
    """Whether the runs compare at all, then what turns the meaning of every number of one of them."""
    found = []
    if said := sections.verdicts(page):
        differing = {fact.needed_by for fact in page.facts if fact.same is False}
        whole = "all" in differing or differing >= {"validation", "test"}
        title = "These runs do not compare" if whole else "Not all compares" if differing else "Do these compare?"
        found.append(Banner(title, " ".join(said)))
    if page.ranked:
        found.append(Banner("Not ranked by the same metric", page.ranked))
    for side in page.sides:
        try:
            found += [replace(one, title=f"{side.label}: {one.title}") for one in summary.banners(side.files)]
        except Exception:
            logger.warning("The warnings of %s could not be written.", side.label, exc_info=True)
    return found


def _tile(page: Compared, side: Side) -> Tile:
    """What a run reached: its winner's test AUC, else its best validation score so far."""
    try:
        row = sides_tables.winners([side], page.metric).iloc[0]
        if numbers.number(row["test_auc"]) is not None:
            bounds = numbers.interval(row["test_auc_low"], row["test_auc_high"]) or "no interval"
            return Tile(side.label, numbers.score(row["test_auc"]), f"test ROC AUC of {row['winner']}, {bounds}")
        best = sides_tables.best_so_far(side, page.metric, by_time=False)
        if len(best):
            return Tile(
                side.label, numbers.score(best["best"].iloc[-1]), f"best {page.words} in the search; {row['state']}"
            )
        return Tile(side.label, DASH, str(row["state"]))
    except Exception:  # a damaged run must not cost the reader the others
        logger.warning("What %s reached could not be read.", side.label, exc_info=True)
        return Tile(side.label, DASH, "its files do not fit together")


def _story(page: Compared) -> list[str]:
    try:
        rows = sides_tables.winners(page.sides, page.metric)
    except Exception:
        logger.warning("The summary could not be written.", exc_info=True)
        return ["The summary could not be written: the files of a run do not fit together."]
    story = [f"{row['label']}: {_told(row)}." for _, row in rows.iterrows()]
    return [*story, " ".join(pair.sentence for pair in page.pairs)]


def _told(row: "pd.Series[Any]") -> str:
    if not row["verdict"]:
        return str(row["state"])
    test = numbers.with_interval(row["test_auc"], row["test_auc_low"], row["test_auc_high"])
    reached = f"test ROC AUC {test}" if numbers.number(row["test_auc"]) is not None else row["state"]
    validation = numbers.with_spread(row["mean"], row["sd"])
    return f"{row['verdict']}. {row['winner']}: validation {validation}, {reached}"
