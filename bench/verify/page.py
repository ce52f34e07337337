"""Whether report.html shows the numbers of the run folder: its tables are read as a reader reads them.

A table is known by its column titles, and a row by some of its cells. Each number in the others must be the one of the
folder, as far as it is printed, and each row that the folder has for a table must be in it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.verify import shown_models, shown_run, shown_winner
from bench.verify.growth import growth
from bench.verify.printed import Page, Row, Table, each, known, marked, says, shows
from bench.verify.reading import Folder, Tally
from bench.verify.shown import Kind, Line

PAGE = "report.html"
STAGES = ("data", "search", "finalists", "evaluation")
MARKED = "Model"
"""The column in which the chosen model's name has a mark."""
KINDS = (*shown_models.KINDS, *shown_winner.KINDS, *shown_run.KINDS)
Lines = Sequence[Line]


@dataclass
class Held:
    """A table of the page that was held against a kind of table.

    Attributes:
        kind: that one.
        table: of the page.
        lines: the rows that the run folder has for it.
        tally: of this table alone.
        shown: place of a line -> in how many rows its keys are.
    """

    kind: Kind
    table: Table
    lines: Lines
    tally: Tally = field(default_factory=Tally)
    shown: Counter[int] = field(default_factory=Counter)

    def hold(self) -> "Held":
        """Each row of the page against the line of its keys, the best where there are several."""
        for row in self.table.rows:
            places = _of(row, self.lines)
            self.shown.update(places)
            words = ", ".join([cell.text for cell in row.values()][:3])
            self.tally.check(bool(places), f"{self.kind.name}, row {words}: the run folder holds no such row")
            found = [_compared(f"{self.kind.name}, {words}", row, self.lines[place]) for place in places]
            self.tally.add(min(found, key=lambda tally: len(tally.wrong), default=Tally()))
        return self

    def keys(self, line: Line) -> tuple[str, ...]:
        """What tells a line from others in this table."""
        return tuple(each(texts)[0] for title, texts in line.keys.items() if title in self.table.titles)

    def other_columns(self) -> list[str]:
        """Titles of columns with numbers that nothing is compared with."""
        compared = {title for line in self.lines for title in (*line.keys, *line.told)}
        return [title for title in self.table.counted() if title not in compared]


def page(run: Folder, tally: Tally) -> None:
    """Every table that is known, and what is said of twice as many patients; what is not known is noted."""
    found = Page(run.file(PAGE).read_text(encoding="utf-8"))
    if not run.has("evaluation.json"):
        tally.note("there is no evaluation that it could show")
        return
    kinds = {kind: list(kind.lines(run)) for kind in (*shown_models.kinds(run), *shown_winner.KINDS, *shown_run.KINDS)}
    held = [one for table in found.tables if (one := _best(table, kinds)) is not None]
    for one in held:
        tally.add(one.tally)
    if _finished(run):
        tally.check(bool(held), "no table on the page is known")
        _complete(held, tally)
    else:
        tally.note("the run has not come to its end, and its page may lack rows")
    growth(run, found.text, tally)
    _noted(found.tables, held, kinds, tally)


def _best(table: Table, kinds: dict[Kind, list[Line]]) -> Held | None:
    """A table held against each kind that it may be, the one that it fits best."""
    held = [Held(kind, table, lines).hold() for kind, lines in kinds.items() if kind.fits(table.titles)]
    return min(held, key=lambda one: len(one.tally.wrong), default=None)


def _of(row: Row, lines: Lines) -> list[int]:
    """Places of the lines whose keys a row has; by names with a mark where none is without."""
    for names in (says, marked):
        places = [
            place
            for place, line in enumerate(lines)
            if all(
                (names if title == MARKED else says)(row[title], texts)
                for title, texts in line.keys.items()
                if title in row
            )
        ]
        if places or MARKED not in row:
            return places
    return []


def _compared(where: str, row: Row, line: Line) -> Tally:
    tally = Tally()
    for title, wanted in line.told.items():
        if title in row:
            told = " ".join(f"{one:.6g}" for one in known(wanted)) if isinstance(wanted, list) else each(wanted)[0]
            tally.check(shows(row[title], wanted), f"{where}: {title} is {row[title].text}, not {told}")
    return tally


def _complete(held: Sequence[Held], tally: Tally) -> None:
    """Every line that may not be left out is in its table, or in one of those that show them together."""
    for one in held:
        together = [other for other in held if other.kind is one.kind] if one.kind.spread else [one]
        if together[0] is not one:
            continue
        shown = sum((other.shown for other in together), Counter[int]())
        alike = Counter(one.keys(line) for line in one.lines if line.needed)
        for place, line in enumerate(one.lines):
            if line.needed:
                keys = one.keys(line)
                tally.check(shown[place] >= alike[keys], f"{one.kind.name}: no row shows {', '.join(keys)}")


def _finished(run: Folder) -> bool:
    """Whether no stage of the run is open; a folder that is handed on without its markers counts as finished."""
    markers = run.path / ".stages"
    return not markers.is_dir() or all((markers / stage).is_file() for stage in STAGES)


def _noted(tables: Sequence[Table], held: Sequence[Held], kinds: dict[Kind, list[Line]], tally: Tally) -> None:
    """Which tables are not on the page, and which tables and columns with numbers are not compared."""
    missing = [kind.name for kind, lines in kinds.items() if lines and not any(kind.fits(one.titles) for one in tables)]
    of_kind = [id(one.table) for one in held]
    other = [" / ".join(one.titles[:2]) for one in tables if id(one) not in of_kind and one.counted()]
    columns = [title for one in held for title in one.other_columns()]
    for words, names in (
        ("no table is known on the page of", missing),
        ("tables that are not compared:", other),
        ("columns that are not compared:", columns),
    ):
        if names:
            tally.note(f"{words} {', '.join(dict.fromkeys(names))}")
