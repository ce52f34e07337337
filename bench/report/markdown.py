"""Blocks of the report -> Markdown (CommonMark with tables), in which nothing that comes from the data is markup."""

import re
from collections.abc import Sequence

from bench.report.blocks import Block, Cell, Column, Heading, Missing, Paragraph, Points, Table
from bench.report.templating import environment

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKUP = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_OPENING = re.compile(r"(#+|[-+=]+|\d+[.)])(?=\s|$)")


def escape(text: str) -> str:
    """``text`` in one line that Markdown shows as it stands, in a paragraph as in a table.

    HTML becomes entities; what would be emphasis, code, a link, mathematics or a new cell gets a backslash, and so does
    what would open a heading or a list.
    """
    line = " ".join(text.replace("\0", " ").split())
    if opening := _OPENING.match(line):
        line = f"{line[: opening.end() - 1]}\0{line[opening.end() - 1 :]}"
    line = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], line)
    return _MARKUP.sub(r"\\\1", line).replace("\0", "\\")


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """A document with ``title`` above ``blocks``.

    Raises:
        TypeError: for a block other than a heading, a paragraph, a list or a table.
    """
    for block in blocks:
        if not isinstance(block, Heading | Paragraph | Missing | Points | Table):
            raise TypeError(f"headings, paragraphs, lists and tables can be written, but got {type(block).__name__}")
    found = environment("model_card.md.j2")
    found.filters |= {"md": _written, "rule": _rule}
    return found.get_template("model_card.md.j2").render(title=title, blocks=blocks)


def _written(value: str | Cell) -> str:
    if isinstance(value, Cell):
        value = f"{value.text} ({value.below})" if value.below else value.text
    return escape(value)


def _rule(column: Column) -> str:
    return "---:" if column.numeric else "---"
