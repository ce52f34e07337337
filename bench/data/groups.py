"""Columns that name subgroups, for the evaluation to look at: asked for by ``--group-by``, or known from file names.

They decide nothing: neither training nor the splits look at them.
"""

from collections.abc import Collection, Sequence

from bench.data.patients import is_chest_xray_set, subtype_of
from bench.errors import ConfigError

PREFIX = "group:"
"""Stands before the name of such a column in `bench.data.imageset.ImageSet.table`; empty cells are not given."""
SUBTYPE = "subtype"


def file_subtypes(names: Sequence[str]) -> dict[str, list[str]]:
    """The column of subtypes that the names of the public chest X-ray set give away; none where they do not.

    Args:
        names: of the images, as paths relative to the source.

    Returns:
        ``group:subtype`` -> ``bacteria`` or ``virus`` an image, empty where its name says neither; or nothing.
    """
    found = [subtype_of(name) for name in names] if is_chest_xray_set(names) else []
    return {f"{PREFIX}{SUBTYPE}": found} if any(found) else {}


def folder_groups(where: object, names: Sequence[str], asked: Sequence[str]) -> dict[str, list[str]]:
    """The columns of a set that has file names and nothing else.

    Args:
        where: the source, for the message.
        names: of the images.
        asked: the columns that ``--group-by`` names.

    Raises:
        ConfigError: if one is asked for that the names do not give.
    """
    known = file_subtypes(names)
    unknown = [name for name in asked if name.strip().lower() != SUBTYPE or not known]
    if unknown:
        accepted = (
            f"its file names give {SUBTYPE} only"
            if known
            else "it has no columns, and its file names give no subtype; give the images as a .csv with that column"
        )
        raise ConfigError(f"--group-by {unknown[0]!r} cannot be used with {where}: {accepted}.")
    return known


def refuse_groups(where: object, asked: Sequence[str]) -> None:
    """Refuse ``--group-by`` for a source that has neither columns nor file names.

    Raises:
        ConfigError: if a column is asked for.
    """
    if asked:
        raise ConfigError(
            f"--group-by {asked[0]!r} cannot be used with {where}, which has no columns; leave it out, or give the "
            "images as a .csv with that column."
        )


def manifest_groups(
    where: object,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    names: Sequence[str],
    asked: Sequence[str],
    taken: Collection[str],
) -> dict[str, list[str]]:
    """The columns of a .csv file that were asked for, called as its header calls them, whatever the capitals.

    Args:
        where: the file, for the message.
        header: names of its columns.
        rows: its cells.
        names: of the images.
        asked: the columns that ``--group-by`` names.
        taken: names of the columns that say something else, such as the label.

    Raises:
        ConfigError: if there is no such column, it is there twice, is empty, or is one that says something else.
    """
    own = {name.lower() for name in taken}
    found: dict[str, list[str]] = {}
    for wanted in asked:
        places = [place for place, name in enumerate(header) if name and name.lower() == wanted.strip().lower()]
        if wanted.strip().lower() in own or len(places) > 1:
            fault = "twice" if len(places) > 1 else "for another purpose"
            raise ConfigError(
                f"--group-by {wanted!r} names a column that {where} has {fault}; {_accepted(header, own)}."
            )
        if not places:
            known = file_subtypes(names) if wanted.strip().lower() == SUBTYPE else {}
            if not known:
                raise ConfigError(f"--group-by {wanted!r} names no column of {where}; {_accepted(header, own)}.")
            found |= known
            continue
        cells = [row[places[0]] for row in rows]
        if not any(cells):
            raise ConfigError(f"--group-by {wanted!r} names a column of {where} that is empty in every row.")
        found[f"{PREFIX}{header[places[0]]}"] = cells
    return found


def _accepted(header: Sequence[str], own: Collection[str]) -> str:
    others = [name for name in header if name and name.lower() not in own]
    return f"accepted are {', '.join(others)}" if others else f"it has no columns besides {', '.join(header)}"
