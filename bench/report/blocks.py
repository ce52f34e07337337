"""What a section of the page is made of: paragraphs, lists, tables, pictures and code, ready for the template."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import pandas as pd
import yaml
from markupsafe import Markup

from bench import numbers
from bench.report import names
from bench.report.guard import guarded
from bench.report.templating import TEMPLATES
from bench.search.parameters import PARAMETERS


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
class Copied:
    """Paragraphs with a button that copies them; ``label`` says what they are."""

    kind: ClassVar[str] = "copied"
    label: str
    paragraphs: Sequence[str]
    folded: bool = False


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
    crops: Sequence[tuple[float, float, float, float]] = ()
    """Parts that a narrow screen stacks: left, top, width and height as shares of the picture; none where it is one."""
    name: str = ""
    """Of its file in figures/, without its ending."""


@dataclass(frozen=True)
class Cell:
    """What a table shows: a text, the number that sorts it, and what stands below it; empty where there is none.

    ``href`` is the anchor of the page to which the text leads, with its #; empty where it leads nowhere.
    """

    text: str
    sort: str = ""
    below: str = ""
    href: str = ""

    @property
    def token(self) -> bool:
        """Whether it holds a path or a hash."""
        return any(len(word) >= TOKEN for word in f"{self.text} {self.below}".split())


TOKEN = 20
"""Letters from which on a word is a path, a hash or the like, which may break anywhere."""

LONG = 28
"""Letters from which on a column's title may break."""

WORDS = ("text", "state", "moment")
"""Ways to write a value that are no number."""


@dataclass(frozen=True)
class Column:
    """A column of a table: where its value lies, its title, and how it is shown.

    Below its value, a ``bounded`` one has the interval of the columns ``NAME_low`` and ``NAME_high``; else what the
    column ``below`` holds, if it is given.
    """

    name: str
    title: str
    show: Callable[[Any], str] = numbers.text
    numeric: bool = True
    bounded: bool = False
    below: str = ""

    @property
    def kinds(self) -> str:
        """How its heading is set: numbers to the right, long titles over several lines."""
        return " ".join(kind for kind, so in (("number", self.numeric), ("long", len(self.title) > LONG)) if so)

    def cell(self, row: "pd.Series[Any]") -> Cell:
        """The cell of ``row``."""
        value, amount = row.get(self.name), numbers.number(row.get(self.name))
        below = str(row.get(self.below) or "") if self.below else ""
        if self.bounded:
            below = numbers.interval(row.get(f"{self.name}_low"), row.get(f"{self.name}_high"))
        return Cell(self.show(value), repr(amount) if self.numeric and amount is not None else "", below)


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


Block = Html | Paragraph | Missing | Heading | Points | Code | Copied | Picture | Table


@dataclass(frozen=True)
class Section:
    """A part of the page with its anchor and its title, and the sections that stand under it."""

    anchor: str
    title: str
    blocks: Sequence[Block]
    parts: "Sequence[Section]" = ()


def section(anchor: str, title: str, build: Callable[[], Section]) -> Section:
    """The section that ``build`` returns, or one sentence with the reason where a damaged file defeats it."""

    def missing(why: str) -> Section:
        return Section(anchor, title, [Missing(f"This section could not be written: {why}")])

    return guarded(build, missing, f"The section {anchor!r} could not be written.")


SORTABLE = ("combinations", "leaderboard", "errors", "lower_bound", "backbones")
"""Tables that a reader can sort by a column."""


QUIET = {row.column: row.default for row in PARAMETERS.values() if row.quiet}
"""Columns that are left out where all of their values are these."""


def table(
    name: str,
    rows: pd.DataFrame,
    caption: str = "",
    *,
    marked: Iterable[bool] = (),
    folded: bool = False,
    **given: Any,
) -> Table:
    """``rows`` as the table ``name`` of ``templates/tables.yaml``, with those of its columns that they have.

    Args:
        name: of the table.
        rows: one row of the table each.
        caption: of the table, unless a template gives it.
        marked: of each row, whether it is to be set off.
        folded: whether it is folded away.
        given: words that titles of columns need, and items of which each has a column.
    """
    columns = [
        column
        for about in _columns_of_tables()[name]
        for column in about.columns(given)
        if column.name in rows
        and not (about.optional and rows[column.name].isna().all())
        and not (column.name in QUIET and set(rows[column.name].dropna()) <= {"", QUIET[column.name]})
    ]
    cells = [[column.cell(row) for column in columns] for _, row in rows.iterrows()]
    positions = [position for position, so in enumerate(marked) if so]
    return Table(caption, columns, cells, positions, name in SORTABLE, folded)


@dataclass(frozen=True)
class _Columns:
    """A row of tables.yaml, which explains the fields, and the columns that it stands for."""

    name: str = ""
    title: str = ""
    show: str = "text"
    numeric: bool | None = None
    below: str = ""
    optional: bool = False
    each: str = ""

    def columns(self, given: Mapping[str, Any]) -> list[Column]:
        """One column, or one per item of what is ``given``."""
        if self.each == "parameters":
            varied = (one for one in PARAMETERS.values() if one.name != "backbone")
            return [_Columns(show=one.written).column(one.column, one.title) for one in varied]
        if self.each:
            return [self.column(name, title) for name, title in given[self.each].items()]
        return [self.column(self.name, self.title.format(**given))]

    def column(self, name: str, title: str) -> Column:
        """The column of ``name`` and ``title``."""
        bounded = self.show == "bounded"
        written = numbers.score if bounded else getattr(numbers if hasattr(numbers, self.show) else names, self.show)
        numeric = self.show not in WORDS if self.numeric is None else self.numeric
        return Column(name, title, written, numeric, bounded, self.below.format(name=name, title=title))


@cache
def _columns_of_tables() -> dict[str, list[_Columns]]:
    found = yaml.safe_load((TEMPLATES / "tables.yaml").read_text(encoding="utf-8"))
    return {name: [_Columns(**row) for row in rows] for name, rows in found.items()}


def pairs(values: Mapping[str, Any], caption: str, key: str, value: str, folded: bool = False) -> Table:
    """A table of two columns: one row per key of ``values``."""
    rows = pd.DataFrame({"key": list(values), "value": [str(shown) for shown in values.values()]}, dtype="object")
    return table("pairs", rows, caption, folded=folded, key=key, value=value)


MOST_LISTED = 50
"""Files, or rows, that the page lists of one kind; the file that they come from has them all."""
