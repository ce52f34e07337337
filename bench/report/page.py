"""What every section of the page is made from: the run folder, what was read from it, and how backbones look."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from bench.metrics import Metric
from bench.report import pictures
from bench.report.blocks import Missing, Picture
from bench.report.files import RunFiles
from bench.report.palette import Looks
from bench.rundir import RunDir


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
