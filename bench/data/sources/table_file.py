"""A table in a text file, whatever parts its cells and encodes its characters."""

import codecs
import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.data.names import readable
from bench.errors import ConfigError
from bench.texts import unquoted

ENDINGS = (".csv", ".tsv", ".txt")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
MARKS = (  # UTF-32 before UTF-16, whose mark is the beginning of its own
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
CONTROLS = {chr(code) for code in range(32)} - set("\t\n\v\f\r\x1a")
MOST_BYTES = 2**28
"""Of a table: some 2 million rows, which take about 2 GB of memory."""
LINES_OF_PREFACE = 20  # among which the header is looked for, to say where it is
MOST_CHARACTERS = 10**7  # in a cell: run-length encoded masks are long


@dataclass(frozen=True)
class Table:
    """The cells of a table, all text, blanks around them stripped.

    Attributes:
        path: of the file.
        header: names of the columns.
        rows: a list of cells for each row, as long as the header.
        lines: the line of the file that each row ends on.
        separator: what stands between cells.
        encoding: by its Python name.
        notes: what is unusual about the file, in sentences.
        before: lines of the file above the header.
    """

    path: Path
    header: list[str]
    rows: list[list[str]]
    lines: list[int]
    separator: str
    encoding: str
    notes: tuple[str, ...]
    before: int = 0

    def column(self, place: int) -> list[str]:
        """The cells of a column, by its place from 0."""
        return [row[place] for row in self.rows]


def read_table(path: Path, known: Callable[[str], object]) -> Table:
    """The table in the file ``path``; encoding and separator are found out.

    Args:
        path: the file.
        known: whether a name is one that a header may have; the separator that shows the most of them is taken.

    Raises:
        ConfigError: if it cannot be read, is no text, or has rows of other lengths than its header.
    """
    with readable(path):
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(f"{path} has {size:,} bytes; a table of at most {MOST_BYTES:,} is accepted.")
        content = path.read_bytes()
    text, encoding = _decoded(path, content)
    table, separator = _separator(text, known)
    _refuse_preface(path, text, table, separator, known)
    before = text.count("\n") - table.count("\n")
    header, rows, lines = _cells(path, table, separator, before)
    if len(header) == 1 and any(sign in header[0] for sign in SEPARATORS):
        raise ConfigError(f"Each line of {path} stands in quotes as a whole, and so is one cell; take the quotes away.")
    notes = []
    if separator != "," or encoding not in ("utf-8", "utf-8-sig"):
        how = [f"cells parted by {SEPARATORS.get(separator, 'blanks')}"] if separator != "," else []
        how += [f"characters in {encoding.upper()}"] if encoding not in ("utf-8", "utf-8-sig") else []
        notes.append(f"{path.name} was read with {' and '.join(how)}.")
    return Table(path, header, rows, lines, separator, encoding, tuple(notes), before)


def _decoded(path: Path, content: bytes) -> tuple[str, str]:
    """The text, and the name of its encoding: by its mark, else UTF-8, UTF-16 by its zeros, or Windows's Latin."""
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "")
    if not encoding and content[:1000].count(0) > len(content[:1000]) / 4:
        encoding = "utf-16-le" if content[1:1000:2].count(0) > content[:1000:2].count(0) else "utf-16-be"
    try:
        text, encoding = content.decode(encoding or "utf-8"), encoding or "utf-8"
    except UnicodeDecodeError:
        text, encoding = ("\0", encoding) if encoding else _single_bytes(path, content)
    if CONTROLS.intersection(text):
        is_excel = content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0"))
        hint = "; it begins as an Excel workbook does" if is_excel else ""
        raise ConfigError(f"{path} is no text file; save the table as CSV in UTF-8{hint}.")
    return text, encoding


def _single_bytes(path: Path, content: bytes) -> tuple[str, str]:
    """Text that is no UTF-8, unless most of it is."""
    odd = content.decode("utf-8", "surrogateescape")
    broken = sum("\udc80" <= character <= "\udcff" for character in odd)
    if sum(character > "\x7f" for character in odd) >= 2 * broken:
        raise ConfigError(
            f"{path} is neither UTF-8 nor another encoding throughout ({broken} bytes of it are no UTF-8); save it in "
            "UTF-8."
        )
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "latin-1"


def _separator(text: str, known: Callable[[str], object]) -> tuple[str, str]:
    """The text from its header on, and what parts its cells, by the header: the data may hold any of the signs."""
    text = text.lstrip("\ufeff\r\n")
    text = text if "\n" in text else text.replace("\r", "\n")  # as spreadsheets of the old Macintosh end lines
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep=") and len(first.rstrip("\r")) == 5:  # Excel's own word for it
        return rest, first[4]

    def told(separator: str) -> tuple[int, int]:
        cells = next(csv.reader([first], delimiter=separator), [])
        return sum(bool(known(cell.strip())) for cell in cells), len(cells)

    best = max(SEPARATORS, key=told)
    if told(best)[1] < 2 and told(" ")[0] >= 2:
        return text, " "
    return text, best


def _refuse_preface(path: Path, text: str, table: str, separator: str, known: Callable[[str], object]) -> None:
    """Refuse lines above the header, such as a comment: the first line says nothing that is known, a later one does."""

    def told(line: str, separator: str) -> int:
        return sum(bool(known(cell.strip(" \"'"))) for cell in line.split(separator))

    first, *later = table.splitlines()[:LINES_OF_PREFACE] or [""]
    header = next((n for n, line in enumerate(later, start=2) if max(told(line, one) for one in SEPARATORS) > 1), None)
    if header and not told(first, separator):
        before = text.count("\n") - table.count("\n")
        raise ConfigError(
            f"The header of {path} seems to be line {header + before}, but {first[:50]!r} stands above it, and the "
            "header must come first; take away what is above."
        )


def _cells(path: Path, text: str, separator: str, lines_before: int) -> tuple[list[str], list[list[str]], list[int]]:
    csv.field_size_limit(MOST_CHARACTERS)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        header = [unquoted(name.strip()) for name in next(reader, [])]
        rows, lines = [], []
        for row in reader:
            cells = [unquoted(cell.strip()) for cell in row]
            if not any(cells):
                continue
            while len(cells) > len(header) and not cells[-1]:
                cells.pop()
            if len(cells) != len(header):
                raise ConfigError(
                    f"Line {lines_before + reader.line_num} of {path} has {len(cells)} cells, but its header has "
                    f"{len(header)}; a cell that holds {'a comma' if separator == ',' else repr(separator)} must "
                    f'stand in quotes, like "mild{separator} left".'
                )
            rows.append(cells)
            lines.append(lines_before + reader.line_num)
    except csv.Error as error:
        line = lines_before + reader.line_num
        raise ConfigError(f"{path} cannot be read as a CSV file (line {line}): {error}.") from None
    return header, rows, lines
