"""Blocks of the report -> Markdown (CommonMark with tables), in which nothing that comes from the data is markup."""

import re
from collections.abc import Sequence

from bench.report.blocks import Block, Heading, Missing, Paragraph, Points, Table

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
    return "\n\n".join([f"# {escape(title)}", *map(_block, blocks)]) + "\n"


def _block(block: Block) -> str:
    match block:
        case Heading():
            return f"## {escape(block.text)}"
        case Paragraph():
            return escape(block.text)
        case Missing():
            return f"*{escape(block.text)}*"
        case Points():
            return "\n".join(f"- {escape(item)}" for item in block.items)
        case Table():
            return _table(block)
    raise TypeError(f"headings, paragraphs, lists and tables can be written, but got {type(block).__name__}")


def _table(table: Table) -> str:
    head = [column.title for column in table.columns]
    rule = ["---:" if column.numeric else "---" for column in table.columns]
    rows = [[f"{cell.text} ({cell.below})" if cell.below else cell.text for cell in row] for row in table.rows]
    lines = [_line(head), f"| {' | '.join(rule)} |", *map(_line, rows)]
    return "\n".join([escape(table.caption), "", *lines])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape, cells))} |"
