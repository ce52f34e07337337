"""Texts that come from data, made harmless where they are shown or written: characters that nobody sees, and formulas.

Names of files, classes and patients may hold escape sequences of terminals, line breaks and marks that turn the order
of what is read round; a spreadsheet takes a cell that begins with = for a formula.
"""

import re
import sys

_UNSEEN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, those that set the direction of writing, line separators, and what is not UTF-8."""
_WRITTEN = re.compile(r"\\(?:x[01][0-9a-f]|x7f|x[89][0-9a-f]|u061c|u200[ef]|u202[89a-e]|u206[6-9]|ud[89a-f]..)")
"""What `visible` writes in their place."""
_ESCAPE = re.compile(r"\\(?:(\\)|x([0-9a-f]{2})|u([0-9a-f]{4}))")
_FORMULA = re.compile("'*[=+\\-@\uff1d\uff0b\uff0d\uff20]")
"""How a cell begins that a spreadsheet computes, and one that looks as if `as_cell` had written it."""


def visible(text: str, keep: str = "") -> str:
    r"""``text`` with its unseen characters, other than those of ``keep``, written as ``\x1b`` or ``\u202e``."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def error(text: object) -> None:
    """Say on standard error what went wrong, in one line."""
    print(f"error: {visible(str(text))}", file=sys.stderr)


def as_cell(text: str) -> str:
    """``text`` as a cell of a CSV file that no spreadsheet computes and no terminal obeys; `from_cell` gives it back.

    What begins as a formula does gets an apostrophe. Where there are unseen characters, or what looks like one that is
    written out, these are written out and each backslash is doubled.

    Source: OWASP, CSV Injection.
    """
    if _UNSEEN.search(text) or _WRITTEN.search(text):
        text = visible(text.replace("\\", "\\\\"))
    return f"'{text}" if _FORMULA.match(text) else text


def from_cell(cell: str) -> str:
    """The text that `as_cell` made ``cell`` of; a cell that it did not write stays as it is."""
    cell = unquoted(cell)
    if not _WRITTEN.search(cell):
        return cell
    return _ESCAPE.sub(lambda found: found[1] or chr(int(found[2] or found[3], 16)), cell)


def unquoted(cell: str) -> str:
    """``cell`` without the apostrophe that keeps spreadsheets from computing it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
