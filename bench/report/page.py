"""What every section of the page is made from: the run folder, what was read from it, and how backbones look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from bench import numbers
from bench.report import pictures, templating
from bench.report.blocks import Block, Heading, Html, Missing, Picture, Section
from bench.report.guard import guarded
from bench.report.palette import Looks
from bench.report.read.files import RunFiles
from bench.run.folder import RunDir
from bench.stats.metrics import Metric


@dataclass(frozen=True)
class Drawing:
    """A figure that a template gives its alternative text and its caption; it is drawn then."""

    folder: Path
    name: str
    draw: Callable[[], Figure]

    def picture(self, alt: str, caption: str) -> Picture | Missing:
        """The figure for the page, kept in the run's figures/ too; one sentence where it cannot be drawn."""
        return pictures.picture(self.folder, self.name, self.draw, alt, caption)


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

    @property
    def trials(self) -> pd.DataFrame:
        """The trials; no row where there is no trials.csv."""
        return pd.DataFrame() if self.files.trials is None else self.files.trials

    @property
    def level(self) -> str:
        """The level of the intervals on test, in words."""
        return numbers.level(self.files.tested.bootstrap.level)

    @property
    def threshold(self) -> float | None:
        """The frozen threshold of the positive class of two."""
        return self.files.tested.threshold.value if self.files.tested.threshold else None

    @property
    def images(self) -> int | None:
        """How many test images there are."""
        return self.files.tested.images

    @property
    def several_images(self) -> bool:
        """Whether some patient has more than one test image, so that images are not independent."""
        return self.files.tested.several_images_a_patient is True

    def drawing(self, name: str, draw: Callable[..., Figure], *data: Any) -> Drawing:
        """The figure that ``draw`` makes of ``data``, for a template."""
        return Drawing(self.run.figures, name, partial(draw, *data))

    def section(self, anchor: str, title: str, **values: Any) -> Section:
        """The section that its template, ``sections/ANCHOR.html.j2``, makes of ``values``."""
        given = {"page": self, "files": self.files, "titles": self.files.titles, "metric": self.metric}
        return Section(anchor, title, [Html(templating.section(anchor, **given, **values))])

    def problems(self, *named: str) -> list[Missing]:
        """A sentence for each of the files ``named`` that is missing or not whole."""
        return [Missing(self.files.problems[name]) for name in named if name in self.files.problems]

    def part(self, title: str, build: Callable[["Page"], Sequence[Block]]) -> list[Block]:
        """A heading and what ``build`` puts below it, or one sentence with the reason where a damaged file defeats it.

        Nothing, not even the heading, where it puts nothing.
        """
        blocks = guarded(
            lambda: build(self),
            lambda why: [Missing(f"This part could not be written: {why}")],
            f"The part {title!r} could not be written.",
        )
        return [Heading(title), *blocks] if blocks else []
