"""What every section of the page is made from: the run folder, what was read from it, and how backbones look."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from bench.report import pictures
from bench.report.blocks import Block, Heading, Missing, Picture
from bench.report.palette import Looks
from bench.report.read.files import RunFiles
from bench.run.folder import RunDir
from bench.stats.metrics import Metric

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Page:
    """One rendering of one run."""

    run: RunDir
    files: RunFiles
    looks: Looks

    @property
    def metric(self) -> Metric:
        """The metric that the search ranked by."""
        return self.files.metric

    def picture(self, name: str, draw: Callable[[], Figure], alt: str, caption: str) -> Picture | Missing:
        """A figure for the page, kept in the run's figures/ too."""
        return pictures.picture(self.run.figures, name, draw, alt, caption)

    def problems(self, *named: str) -> list[Missing]:
        """A sentence for each of the files ``named`` that is missing or not whole."""
        return [Missing(self.files.problems[name]) for name in named if name in self.files.problems]

    def part(self, title: str, build: Callable[["Page"], Sequence[Block]]) -> list[Block]:
        """A heading and what ``build`` puts below it, or one sentence with the reason where a damaged file defeats it.

        Nothing, not even the heading, where it puts nothing.
        """
        try:
            blocks = build(self)
        except Exception as error:  # one damaged file must not cost the reader the rest
            logger.warning("The part %r could not be written.", title, exc_info=True)
            blocks = [Missing(f"This part could not be written: {type(error).__name__}: {error}")]
        return [Heading(title), *blocks] if blocks else []
