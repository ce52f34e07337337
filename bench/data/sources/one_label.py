"""One label per image: columns of ones and zeros become one, and several labels are refused with a way out."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from bench.data.names import listed, pattern, word_list
from bench.data.sources.table_file import Table
from bench.errors import ConfigError

YES, NO, UNSURE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no"}, {"-1", "-1.0"}
SURE = ("|", ";")  # no class is called so: they part several labels
LIKELY = (",", "/", "+", "&", " ")  # they part several labels where each part is a label of its own elsewhere
QUOTES = " []'\""  # what may stand around the labels of a list


def blank(cell: str) -> bool:
    """Whether a cell says nothing."""
    return cell.casefold() in word_list("empty cells")


def of_the_image(column: str) -> bool:
    """Whether a column of this name may say something of the image, and not of who is shown."""
    return bool(column) and not pattern("shown patient").search(column)


def one_hot_columns(table: Table, free: Sequence[int]) -> list[int]:
    """The places, among ``free`` ones, of columns of ones and zeros; none unless there are two.

    Blank cells may stand among them, and -1 for what is uncertain. Columns that say who is shown are none of them.
    """
    found = []
    for place in free:
        cells = {cell.casefold() for cell in table.column(place)}
        said = {cell for cell in cells if not blank(cell)}
        if of_the_image(table.header[place]) and said and said <= YES | NO | UNSURE:
            found.append(place)
    return found if len(found) > 1 else []


def is_yes_or_no(cells: Sequence[str]) -> bool:
    """Whether a column says of each row whether something holds."""
    return {cell.casefold() for cell in cells} <= YES | NO


def from_one_hot(table: Table, places: Sequence[int]) -> list[str]:
    """The label of each row: the name of the column that holds its one; anything but a single one is refused."""
    rows = [[row[place].casefold() for place in places] for row in table.rows]
    names = [table.header[place] for place in places]
    columns = f"the columns {listed(names)}"
    ones = [[name for name, cell in zip(names, row, strict=True) if cell in YES] for row in rows]
    common = [name for name, _ in Counter(name for row in ones for name in row).most_common()]
    example = next((name for name in common if not name.casefold().startswith(("no ", "no_", "normal"))), names[0])
    unsure = sum(any(cell in UNSURE for cell in row) for row in rows)
    if unsure:
        raise ConfigError(
            f"{table.path} is multi-label data with uncertain labels ({columns}; -1 in {unsure} of {len(rows)} rows): "
            f"each image must have exactly one label, and someone must decide what uncertain means; "
            f"{_of_column(table, example)}."
        )
    several = [row for row in ones if len(row) > 1]
    none = sum(not row for row in ones)
    if several:
        raise ConfigError(
            f"{table.path} is multi-label data: {len(several)} of its {len(rows)} rows have several ones in "
            f"{columns}, such as {' and '.join(several[0][:3])}{f', and {none} have none' if none else ''}; "
            f"each image must have exactly one label; {_of_column(table, example)}."
        )
    if none:
        lines = [line for line, row in zip(table.lines, ones, strict=True) if not row]
        raise ConfigError(
            f"{none} of the {len(rows)} rows of {table.path} have no label: no one in {columns} "
            f"(lines {listed(lines)}); each row needs one."
        )
    return [row[0] for row in ones]


def refuse_several(table: Table, place: int) -> None:
    """Refuse a label column whose cells hold several labels, with a command that makes one label of them."""
    cells = table.column(place)
    sign, several = several_in(set(cells))
    if several:
        _refuse(table, place, cells, sign, several)


def several_in(labels: set[str]) -> tuple[str, dict[str, list[str]]]:
    """The sign that parts the labels of those that hold several, and these, each with its parts; empty for none."""
    for sign in (*SURE, *LIKELY):
        parts = {label: [part.strip(QUOTES) for part in label.split(sign)] for label in labels if sign in label}
        several = {one: found for one, found in parts.items() if sign in SURE or _are_labels(one, found, labels)}
        if several:
            return sign, several
    return "", {}


def _are_labels(label: str, parts: Sequence[str], labels: set[str]) -> bool:
    """Whether the parts are labels of their own, or written as a list of several, as in ['Mass', 'Nodule']."""
    return (labels.issuperset(parts) and len(set(parts)) > 1) or (label.startswith("[") and label.endswith("]"))


def _refuse(table: Table, place: int, cells: Sequence[str], sign: str, several: Mapping[str, Sequence[str]]) -> None:
    rows = sum(cell in several for cell in cells)
    parts = Counter(part for cell in cells for part in several.get(cell, ()) if part)
    name, column = parts.most_common(1)[0][0], table.header[place]
    quotes = "".join(one for one in QUOTES if any(one in cell for cell in several))
    strip = f"strip({json.dumps(quotes)})" if quotes.strip() else "strip()"
    test = f"{json.dumps(name)} in [p.{strip} for p in c.split({json.dumps(sign)})]"
    code = f'{_read(table)}; t["label"] = [{json.dumps(name)} if {test} else "other" for c in t[{json.dumps(column)}]]'
    raise ConfigError(
        f"{table.path} is multi-label data: {rows} of its {len(cells)} rows have several labels in the column "
        f"{column}, such as {next(cell for cell in cells if cell in several)!r}; each image must have "
        f"exactly one label; to tell {name} from all others, for example, type {_command(table, code)} "
        "and take one-label.csv."
    )


def _of_column(table: Table, name: str) -> str:
    """What to type to make a label of a column of ones and zeros, leaving out the rows that say neither."""
    column = json.dumps(name)
    code = f"{_read(table)}; t = t[t[{column}].str.lower().isin({json.dumps(sorted(YES | NO))})]; "
    code += f't["label"] = [{column} if c.lower() in {json.dumps(sorted(YES))} else {json.dumps(f"no {name}")} '
    code += f"for c in t[{column}]]"
    return f"to tell {name} from its absence, for example, type {_command(table, code)} and take one-label.csv"


def reading_code(table: Table) -> str:
    """What in Python reads a table as `read_table` does: every cell as text, without blanks around it."""
    options = "dtype=str, keep_default_na=False, index_col=False, skipinitialspace=True"
    options += f", sep={json.dumps(table.separator)}" if table.separator != "," else ""
    options += f", encoding={json.dumps(table.encoding)}" if table.encoding != "utf-8" else ""
    options += f", skiprows={table.before}" if table.before else ""
    return f"pd.read_csv({json.dumps(str(table.path), ensure_ascii=False)}, {options}).rename(columns=str.strip)"


def _read(table: Table) -> str:
    return f"import pandas as pd; t = {reading_code(table)}"


def _command(table: Table, code: str) -> str:
    target = json.dumps(str(table.path.with_name("one-label.csv")))
    return f"`python -c {shlex.quote(f'{code}; t.to_csv({target}, index=False)')}`"
