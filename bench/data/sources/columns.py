"""Which column of a manifest says what: the names that published sets use, what is near, what is refused."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.data.names import SPLIT_NAMES, eval_as_test, listed, missing_taken, pattern, split_of, word_list, word_lists
from bench.data.patients import PREFIX, SUBTYPE, file_subtypes
from bench.data.sources.image_files import ImageFiles, Located
from bench.data.sources.listing import EXTENSIONS
from bench.data.sources.one_label import (
    blank,
    from_one_hot,
    is_yes_or_no,
    of_the_image,
    one_hot_columns,
    refuse_several,
)
from bench.data.sources.table_file import Table
from bench.errors import ConfigError, NoSubgroups

ACCEPTED = "columns path,label[,patient][,split][,fold], or other names of them that published sets use"
ALIKE = 0.8  # `difflib`'s ratio from which on a name counts as a misspelt other one
PEOPLE = ("patient", "subject", "participant")


def normal(name: str) -> str:
    """A column's name as names are compared: letters and digits alone, in one case."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name)).casefold()


@cache
def roles() -> dict[str, list[str]]:
    """What a column says -> the names it goes by, as `normal` makes them, those to be preferred first."""
    return {role: list(dict.fromkeys(map(normal, names))) for role, names in word_lists("columns").items()}


def role_of(name: str) -> str:
    """What a column of this name says; empty where that is not known."""
    return next((role for role, names in roles().items() if normal(name) in names), "")


def not_a_patient(name: str) -> str:
    """What a column of this name tells apart in place of patients, such as ``a lesion``; empty for patients."""
    return next((what for what, names in word_lists("not patients").items() if normal(name) in map(normal, names)), "")


def given(table: Table, place: int) -> list[str]:
    """The cells of a column, empty where they say nothing."""
    return ["" if blank(cell) else cell for cell in table.column(place)]


def filled(table: Table, role: str, among: Iterable[int] | None = None) -> list[int]:
    """The places, ``among`` some, of the columns that may say ``role`` and are not empty in every row, best first."""
    places = range(len(table.header)) if among is None else among
    found = [place for place in places if role_of(table.header[place]) == role and any(given(table, place))]
    return sorted(found, key=lambda place: roles()[role].index(normal(table.header[place])))


def near(header: Sequence[str], role: str, among: Iterable[int]) -> list[str]:
    """The names of the columns ``among`` (places) that look as if they said ``role``, the likeliest first.

    That is a misspelt name, or a longer one with one of the names as a word in it (adjudicated_dr_grade).
    """
    words = [name for name in roles()[role] if len(name) > 2]
    inside = PEOPLE if role == "patient" else tuple(words)
    scored = []
    for place in among:
        name = normal(header[place])
        if not name or (role == "patient" and pattern("said of patients").search(name)):
            continue
        parts = {normal(part) for part in re.findall(r"[^\W_]+", header[place])}
        has_word = bool(parts & set(inside)) or any(name.startswith(word) for word in inside if role == "patient")
        likeness = max(difflib.SequenceMatcher(None, name, word).ratio() for word in words)
        if has_word or likeness >= ALIKE:
            scored.append((has_word, likeness, header[place]))
    return [name for *_, name in sorted(scored, reverse=True)]


@dataclass
class Columns:
    """What was taken from where.

    Attributes:
        table: of the file.
        taken: what a column says -> its place.
        notes: what the user should know, in sentences.
    """

    table: Table
    taken: dict[str, int]
    notes: list[str]

    def name(self, role: str) -> str:
        """What the file calls the column that says ``role``."""
        return self.table.header[self.taken[role]]

    def cells(self, role: str) -> list[str]:
        """Its cells, empty ones where the file has no such column."""
        if role not in self.taken:
            return [""] * len(self.table.rows)
        return given(self.table, self.taken[role])

    def take(self, role: str, place: int, passed: Sequence[int] = ()) -> None:
        """Take a column, and say so where it is called otherwise, or others were passed over."""
        self.taken[role] = place
        name, others = self.table.header[place], ", ".join(self.table.header[other] for other in passed)
        if others or name.casefold() != role:
            self.notes.append(f"Column {name} is taken as the {role}{f', not {others}' if others else ''}.")

    def described(self) -> str:
        """Which column says what."""
        told = {role.partition(" ")[0]: self.table.header[place] for role, place in self.taken.items()}
        several = sum(role.startswith("label ") for role in self.taken)
        told |= {"label": f"{several} columns of ones and zeros"} if several else {}
        return ", ".join(role if name.casefold() == role else f"{role} from {name}" for role, name in told.items())

    def free(self) -> list[int]:
        """The places of the columns that have not been taken."""
        return [place for place in range(len(self.table.header)) if place not in self.taken.values()]


def take_path(columns: Columns, images: ImageFiles) -> Located:
    """Take the column of paths: of several, the first one of those that lead to the most files."""
    table = columns.table
    places = filled(table, "path")
    if not places:
        places = [  # one image a patient, called after him
            place for place in filled(table, "patient") if images.locate(given(table, place)).found == len(table.rows)
        ]
    if not places:
        raise _no_column(table, "path")
    _refuse_twice(table, places[0])
    tried = {place: images.locate(given(table, place)) for place in places}
    best = max(places, key=lambda place: tried[place].found)  # the first of equals
    columns.take("path", best, [place for place in places if place != best])
    _refuse_blank(columns, "path")
    found = tried[best]
    if found.searched and found.found == len(found.names):
        wanted, where = found.example
        columns.notes.append(
            f"{found.searched} of the {len(table.rows)} files were looked for by name below {images.root}, such as "
            f"{wanted}, found as {where}."
        )
    return found


def take_first(columns: Columns, role: str) -> None:
    """Take the first of the columns that may say ``role``, if there is one, and say which ones were passed over."""
    table = columns.table
    places = filled(table, role)
    if not places:
        return
    _refuse_twice(table, places[0])
    columns.take(role, places[0], places[1:])
    if role == "patient" and (what := not_a_patient(table.header[places[0]])):
        columns.notes.append(
            f"{what.capitalize()} is not a patient: a patient who has several may still be in two splits."
        )


def take_labels(columns: Columns) -> list[str]:
    """Take the column of labels, or the columns of ones and zeros."""
    table = columns.table
    free = columns.free()
    places = filled(table, "label", free)
    if not places:
        one_hot = one_hot_columns(table, free)
        if not one_hot:
            raise _no_column(table, "label")
        labels = from_one_hot(table, one_hot)
        names = ", ".join(table.header[place] for place in one_hot)
        columns.notes.append(f"The columns of ones and zeros {names} are taken as the label.")
        columns.taken |= {f"label {place}": place for place in one_hot}
        return labels
    _refuse_twice(table, places[0])
    classes = table.column(places[0])
    others = []
    for place in places[1:]:  # that part the rows otherwise
        pairs = set(zip(classes, table.column(place), strict=True))
        others += [place] if not len(pairs) == len(set(classes)) == len(set(table.column(place))) else []
    if others and normal(table.header[places[0]]) != "label":
        names = ", ".join(table.header[place] for place in (places[0], *others))
        raise ConfigError(
            f"{table.path} has several columns that may be the label ({names}), and they differ; call the one that is "
            "meant label."
        )
    columns.take("label", places[0])
    _refuse_blank(columns, "label")
    refuse_several(table, places[0])
    labels = columns.cells("label")
    if any(label.casefold() == "none" for label in labels):
        columns.notes.append("The label 'none' is taken as a class, such as that of no finding.")
    columns.notes += missing_taken(labels)
    return labels


def take_splits(columns: Columns) -> list[str]:
    """Take the column of splits: the split of each row by its usual name, all empty where the file gives none."""
    table, path = columns.table, columns.table.path
    readable = _split_columns(columns)
    if not readable:
        _refuse_split_flags(columns)
        return [""] * len(table.rows)
    _refuse_twice(table, readable[0])
    called = _called_splits(table, readable[0])
    splits = [called[cell] for cell in given(table, readable[0])]
    for other in readable[1:]:
        if [_called_splits(table, other)[cell] for cell in given(table, other)] != splits:
            raise ConfigError(
                f"{path} gives splits in two columns that differ, {table.header[readable[0]]} and "
                f"{table.header[other]}; leave the one that is meant."
            )
    columns.take("split", readable[0])
    columns.notes += [
        f"In column {columns.name('split')}, {' and '.join(spellings)} {'is' if len(spellings) == 1 else 'are'} taken "
        f"as the {split} split."
        for split in dict.fromkeys(splits)
        if (spellings := [cell for cell, one in called.items() if one == split]) and split
        if len(spellings) > 1 or split_of(spellings[0]) != split
    ]
    if not all(splits):
        raise ConfigError(
            f"{splits.count('')} of the {len(splits)} rows of {path} have no split; give every row one, or none, and "
            "they are drawn."
        )
    if "train" not in splits:
        raise ConfigError(f"{path} has {' and '.join(sorted(set(splits)))} rows but no train rows, which are needed.")
    return splits


def _split_columns(columns: Columns) -> list[int]:
    """The places of the columns in which every cell names a split, those that are called so before those of folds."""
    table, path, free = columns.table, columns.table.path, columns.free()
    named, folds = filled(table, "split", free), filled(table, "fold", free)
    readable = []
    for place in (*named, *folds):
        cells = {cell for cell in given(table, place) if cell}
        unknown = sorted(cell for cell in cells if split_of(cell) is None)
        if not unknown:
            readable.append(place)
        elif place in folds and len(unknown) < len(cells):
            raise ConfigError(
                f"Column {table.header[place]} of {path} holds folds and splits ({listed(sorted(cells))}); give splits "
                "a column of their own, called split."
            )
        elif place in named and (
            normal(table.header[place]) in word_list("certain splits") or len(unknown) < len(cells)
        ):
            raise ConfigError(
                f"{path} has splits of unknown names in the column {table.header[place]} ({listed(unknown)}); accepted "
                f"are {', '.join(SPLIT_NAMES)}, and what is called after them, such as train_set; if the column holds "
                "something else, rename it."
            )
        elif place in named:
            columns.notes.append(
                f"Column {table.header[place]} names no splits ({listed(sorted(cells))}), so it is not used."
            )
    return readable


def _called_splits(table: Table, place: int) -> dict[str, str]:
    """Cell -> split, of a column that names splits; an empty cell stands for none."""
    return eval_as_test({cell: split_of(cell) or "" for cell in sorted({*given(table, place)})})


def _refuse_split_flags(columns: Columns) -> None:
    """Refuse columns such as is_test of ones and zeros: splits that would go unseen."""
    table = columns.table
    flags = [
        table.header[place]
        for place in columns.free()
        if split_of(table.header[place]) and is_yes_or_no(table.column(place))
    ]
    if flags:
        raise ConfigError(
            f"{table.path} says by {' and '.join(flags)} which rows are of a split; write that as train, val or test "
            "into a column called split, or leave it out."
        )


def take_fold(columns: Columns) -> None:
    """Take the column of folds, where it is not that of the splits."""
    table = columns.table
    places = filled(table, "fold", columns.free())
    if places and all(split_of(cell) is None for cell in given(table, places[0]) if cell):
        _refuse_twice(table, places[0])
        columns.take("fold", places[0])


def _no_column(table: Table, role: str) -> ConfigError:
    """What to say where nothing names the images or their labels."""
    header, path = table.header, table.path
    if any(part.lower().endswith(EXTENSIONS) for cell in header for part in (cell, *cell.split())):
        sign = " " if len(header) == 1 else table.separator
        names = f"path{sign}label" if sign.isprintable() else "path and label, parted by a tab,"
        return ConfigError(
            f"The first line of {path} names an image, but it must name the {ACCEPTED}; write {names} (and "
            "patient, split) above it."
        )
    found = ", ".join(name or "(no name)" for name in header) or "nothing"
    unknown = [place for place, name in enumerate(header) if not role_of(name)]
    close = near(header, role, unknown)
    if role == "path" and not close:
        ending = [[cell.lower().endswith(EXTENSIONS) for cell in table.column(place)] for place in unknown]
        close = [header[place] for place, cells in zip(unknown, ending, strict=True) if 2 * sum(cells) > len(cells)]
    if role == "label" and not close:
        close = [
            header[place] for place in unknown if of_the_image(header[place]) and is_yes_or_no(table.column(place))
        ]
    hint = f"; did you mean {close[0]}? Call it {role}" if close else f"; a manifest has {ACCEPTED}"
    return ConfigError(f"{path} has no column {role} (found: {found}){hint}.")


def _refuse_twice(table: Table, place: int) -> None:
    same = [name for name in table.header if normal(name) == normal(table.header[place])]
    if len(same) > 1:
        raise ConfigError(
            f"{table.path} has column {table.header[place]} twice ({' and '.join(same)}); each column needs a name of "
            "its own."
        )


def _refuse_blank(columns: Columns, role: str) -> None:
    table, cells = columns.table, columns.cells(role)
    empty = [line for line, cell in zip(table.lines, cells, strict=True) if not cell]
    if empty:
        words = sorted({cell for cell in table.column(columns.taken[role]) if cell and blank(cell)})
        told = f"; {' and '.join(map(repr, words))} counts as empty" if words else ""
        raise ConfigError(
            f"{len(empty)} rows of {table.path} have no {role} (lines {listed(empty)}){told}; each row needs one."
        )


def refuse_lost(columns: Columns, located: Located, root: Path) -> None:
    """Refuse paths that lead to no file, or to one of several."""
    path, cells = columns.table.path, columns.cells("path")
    if located.ambiguous:
        name, places = next(iter(located.ambiguous.items()))
        raise ConfigError(
            f"{len(located.ambiguous)} of the paths in {path} may mean several files, such as {name}: "
            f"{listed(places)}; write whole paths, or name the folder that they start from by --image-root FOLDER."
        )
    missing = [cell for cell, name in zip(cells, located.names, strict=True) if not name]
    if missing:
        raise ConfigError(
            f"{len(missing)} of the {len(cells)} paths in {path} lead to no file: {listed(missing)}; they were looked "
            f"for in {root} and below it, as they stand and by their names; name the folder that they start from by "
            "--image-root FOLDER."
        )


def take_groups(columns: Columns, names: Sequence[str], wanted: Sequence[str]) -> dict[str, list[str]]:
    """The columns of subgroups, called as the header calls them, whatever the capitals.

    Args:
        columns: what says something else already, such as the label.
        names: of the images.
        wanted: the columns that ``--group-by`` names.

    Returns:
        ``group:COLUMN`` -> one text per row.

    Raises:
        NoSubgroups: if there is no such column, it is there twice, is empty, says something else, or differs between
            the rows of one file.
    """
    table, own = columns.table, {columns.name(role).lower() for role in columns.taken}
    others = [name for name in table.header if name and name.lower() not in own]
    accepted = f"accepted are {', '.join(others)}"
    if not others:
        accepted = f"it has no columns besides {', '.join(table.header)}"
    found: dict[str, list[str]] = {}
    for name in wanted:
        key = name.strip().lower()
        places = [place for place, one in enumerate(table.header) if one and one.lower() == key]
        if key in own or len(places) > 1:
            fault = "twice" if len(places) > 1 else "for another purpose"
            raise NoSubgroups(f"--group-by {name!r} names a column that {table.path} has {fault}; {accepted}.", name)
        if not places:
            known = file_subtypes(names) if key == SUBTYPE else {}
            if not known:
                raise NoSubgroups(f"--group-by {name!r} names no column of {table.path}; {accepted}.", name)
            found |= known
            continue
        cells = table.column(places[0])
        if not any(cells):
            raise NoSubgroups(f"--group-by {name!r} names a column of {table.path} that is empty in every row.", name)
        if len(set(zip(names, cells, strict=True))) > len(set(names)):
            raise NoSubgroups(
                f"--group-by {table.header[places[0]]!r} names a column of {table.path} that differs between the rows "
                "of one file; each image must have one value.",
                name,
            )
        found[f"{PREFIX}{table.header[places[0]]}"] = cells
    return found
