"""A page as a reader reads it: its text and its tables, and whether a cell shows what it should."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from typing import Any

from bench.texts import visible

DASH = "–"
"""Stands for a value that there is not."""
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.(\d+))?(?:e([-+]?\d+))?")
MARKS = ("winner", "chosen")
"""What is written behind the name of the model that was chosen."""
Texts = str | tuple[str, ...]
"""A text, or several of which any may stand there."""
Shown = Texts | list[Any]
"""What a cell shows: a text, or numbers in their order; what is missing is not shown."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table, and what is written below, in small letters."""

    head: str = ""
    below: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.head} {self.below}".strip()


Row = dict[str, Cell]


@dataclass
class Table:
    """Titles of its columns, and its rows by title."""

    titles: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def counted(self) -> list[str]:
        """The titles of columns with a digit in them."""
        return [
            title for title in self.titles if any(re.search(r"\d", row.get(title, Cell()).text) for row in self.rows)
        ]


class Page(HTMLParser):
    """The tables of a page, and its text, without scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: list[Table] = []
        self._text: list[str] = []
        self._cells: list[list[str]] | None = None
        self._part = 0
        self.feed(html)

    @property
    def text(self) -> str:
        """In one line."""
        return " ".join("".join(self._text).split())

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        """Begin a table, a row, a cell, or what is written below in it."""
        if tag == "table":
            self.tables.append(Table())
        elif tag == "tr":
            self._cells = []
        elif tag in ("td", "th") and self._cells is not None:
            self._cells.append(["", ""])
            self._part = 0
        elif tag == "span" and ("class", "below") in attrs:
            self._part = 1

    def handle_endtag(self, tag: str) -> None:
        """End a row, the first of which has the titles."""
        if tag != "tr" or not self._cells or not self.tables:
            return
        cells, self._cells, table = (
            [Cell(*(" ".join(part.split()) for part in one)) for one in self._cells],
            None,
            self.tables[-1],
        )
        if table.titles:
            table.rows.append(dict(zip(table.titles, cells, strict=False)))
        else:
            table.titles = [one.text for one in cells]

    def handle_data(self, data: str) -> None:
        """Keep a piece of text, and of which cell it is."""
        self._text.append(data)
        if self._cells:
            self._cells[-1][self._part] += data


def plain(text: str) -> str:
    """A text from the data as a page has it, its spaces aside."""
    return " ".join(visible(text, keep="\n\t").split())


@cache
def each(texts: Texts) -> tuple[str, ...]:
    """What may stand there."""
    return tuple(plain(one) for one in ((texts,) if isinstance(texts, str) else texts))


def says(cell: Cell, texts: Texts) -> bool:
    """Whether a cell is one of some texts, with or without what is below."""
    return not {cell.head, cell.text}.isdisjoint(each(texts)) and bool(cell.head)


def marked(cell: Cell, texts: Texts) -> bool:
    """Whether a cell is one of some names, with a mark."""
    return cell.head in (f"{one}, {mark}" for one in each(texts) for mark in MARKS)


def known(values: Sequence[Any]) -> list[float]:
    """Those that are there and finite."""
    numbers = [float(one) for one in values if one is not None and one == one]
    return [one for one in numbers if math.isfinite(one)]


def shows(cell: Cell, wanted: Shown) -> bool:
    """Whether a cell shows a text, or some numbers, each to the digits that it has; ``< 0.001`` is any number below."""
    if not isinstance(wanted, list):
        return says(cell, wanted)
    text, values = cell.text.replace("−", "-"), known(wanted)
    found = list(NUMBER.finditer(text))
    return len(found) == len(values) and all(_is(text, one, value) for one, value in zip(found, values, strict=True))


def _is(text: str, found: re.Match[str], value: float) -> bool:
    """Whether a number in a text is this one, in per cent where that stands behind it."""
    share = text[found.end() :].lstrip().startswith("%")
    number, told = float(found[0].replace(",", "")), value * (100 if share else 1)
    unit = 10.0 ** (int(found[2] or 0) - len(found[1] or ""))
    if text[: found.start()].rstrip().endswith("<"):
        return math.isclose(number, unit) and told < number
    return abs(number - told) <= 0.5 * unit + 1e-9 * max(1.0, abs(told))


def text(value: Any) -> str:
    """A text as it stands, or a dash."""
    return DASH if value is None or value != value or value == "" else str(value)


def score(value: Any) -> str:
    """A number to three decimals, or a dash."""
    (number,) = known([value]) or (None,)
    return DASH if number is None else f"{number:.3f}".replace("-", "−")


def count(value: Any) -> str:
    """A whole number, its thousands separated, or a dash."""
    (number,) = known([value]) or (None,)
    return DASH if number is None else f"{number:,.0f}"
