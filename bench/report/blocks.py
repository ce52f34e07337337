"""What a section of the page is made of: paragraphs, lists, tables, pictures and code, ready for the template."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pandas as pd
from markupsafe import Markup

from bench import numbers
from bench.search.parameters import PARAMETERS

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Paragraph:
    """One paragraph of prose."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True)
class Missing:
    """One sentence on something that the section should show and cannot."""

    kind: ClassVar[str] = "missing"
    text: str


@dataclass(frozen=True)
class Html:
    """What a template made."""

    kind: ClassVar[str] = "html"
    html: Markup


@dataclass(frozen=True)
class Heading:
    """A heading below the section's own."""

    kind: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True)
class Points:
    """A list of short sentences."""

    kind: ClassVar[str] = "points"
    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Text to be copied as it stands; ``label`` says what it is."""

    kind: ClassVar[str] = "code"
    label: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure inside the page, as a data URI; ``alt`` says in words what it shows."""

    kind: ClassVar[str] = "picture"
    uri: str
    width: int
    height: int
    alt: str
    caption: str
    paper: bool
    """Whether it is an image of pixels, which cannot change its ink on a dark page."""


@dataclass(frozen=True)
class Cell:
    """What a table shows: a text, the number that sorts it, and what stands below it; empty where there is none.

    ``href`` is the anchor of the page to which the text leads, with its #; empty where it leads nowhere.
    """

    text: str
    sort: str = ""
    below: str = ""
    href: str = ""


LONG = 28
"""Letters from which on a column's title may break."""


@dataclass(frozen=True)
class Column:
    """A column of a table: where its value lies, its title, and how it is shown.

    ``low`` and ``high`` name the columns of its interval, where it has one, and ``below`` that of any other text that
    stands below it.
    """

    name: str
    title: str
    show: Callable[[Any], str] = numbers.text
    numeric: bool = True
    low: str = ""
    high: str = ""
    below: str = ""

    @property
    def kinds(self) -> str:
        """How its heading is set: numbers to the right, long titles over several lines."""
        return " ".join(kind for kind, so in (("number", self.numeric), ("long", len(self.title) > LONG)) if so)

    def cell(self, row: "pd.Series[Any]") -> Cell:
        """The cell of ``row``."""
        value = row.get(self.name)
        if self.low:
            return Cell(self.show(value), _sort(value), numbers.interval(row.get(self.low), row.get(self.high)))
        below = str(row.get(self.below) or "") if self.below else ""
        return Cell(self.show(value), _sort(value) if self.numeric else "", below)


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first column heads its row."""

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    marked: Sequence[int] = ()
    """Positions of the rows to be set off, such as the winner's."""
    sortable: bool = False
    folded: bool = False

    def captioned(self, caption: str) -> "Table":
        """This table with ``caption``, where a template gives it."""
        return replace(self, caption=caption)


Block = Html | Paragraph | Missing | Heading | Points | Code | Picture | Table


@dataclass(frozen=True)
class Section:
    """A part of the page with its anchor and its title."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def guarded(anchor: str, title: str, build: Callable[[], Section]) -> Section:
    """The section that ``build`` returns, or one sentence with the reason where a damaged file defeats it."""
    try:
        return build()
    except Exception as error:  # one damaged file must not cost the reader the rest
        logger.warning("The section %r could not be written.", anchor, exc_info=True)
        return Section(anchor, title, [Missing(f"This section could not be written: {type(error).__name__}: {error}")])


def table(data: pd.DataFrame, caption: str, columns: Sequence[Column], **options: Any) -> Table:
    """``data`` as a table with those of ``columns`` that it has."""
    shown = [column for column in columns if column.name in data.columns]
    rows = [[column.cell(row) for column in shown] for _, row in data.iterrows()]
    return Table(caption, shown, rows, **options)


def pairs(values: dict[str, Any], caption: str, key: str, value: str, **options: Any) -> Table:
    """A table of two columns: one row per key of ``values``."""
    data = pd.DataFrame({"key": list(values), "value": [str(shown) for shown in values.values()]}, dtype="object")
    columns = [Column("key", key, numeric=False), Column("value", value, numeric=False)]
    return table(data, caption, columns, **options)


MOST_LISTED = 50
"""Files, or rows, that the page lists of one kind; the file that they come from has them all."""


def parameter_columns() -> list[Column]:
    """The columns of a configuration, all but its backbone."""
    return [
        Column(one.column, one.title, getattr(numbers, one.written), numeric=one.written != "text")
        for one in PARAMETERS.values()
        if one.name != "backbone"
    ]


def _sort(value: Any) -> str:
    amount = numbers.number(value)
    return "" if amount is None else repr(amount)
