"""A table file that names images, their labels and, if known, their patients, splits and folds; read, and written."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from bench.data.images.limits import MOST_PIXELS
from bench.data.imageset import Excluded, FileReader, ImageSet
from bench.data.names import check_classes, listed, merge_labels
from bench.data.patients import PREFIX, joined, somebody
from bench.data.sources import columns as columns_of
from bench.data.sources.columns import ACCEPTED, Columns, near, not_a_patient, role_of
from bench.data.sources.image_files import ImageFiles, check_root
from bench.data.sources.listing import note_outside, with_patients
from bench.data.sources.one_label import blank, several_in
from bench.data.sources.split_tables import splits_beside
from bench.data.sources.table_file import read_table
from bench.data.sources.tree import masks_among
from bench.errors import ConfigError
from bench.texts import as_cell, unquoted


def manifest_source(
    path: Path,
    patient_pattern: str | None = None,
    group_by: Sequence[str] = (),
    image_root: Path | None = None,
    max_pixels: int = MOST_PIXELS,
) -> ImageSet:
    """The images that the table in the file ``path`` names.

    Every cell is text: label 0 is the class "0", patient 001 is "001". Other columns are ignored but for ``group_by``.

    Args:
        path: the file.
        patient_pattern: as in `bench.data.patients.find_patients`.
        group_by: other columns that are kept, as ``group:COLUMN``.
        image_root: the folder that its paths start from; None takes the file's own.
        max_pixels: of an image.

    Raises:
        ConfigError: if the file cannot be read, names no set of labelled images, or has no column of ``group_by``.
    """
    root, columns = _root(path, image_root), _columns(path)
    located = columns_of.take_path(columns, ImageFiles(root))
    for role in ("patient", "patient_narrow"):
        columns_of.take_first(columns, role)
    splits = columns_of.take_splits(columns)
    columns_of.take_fold(columns)
    labels = columns_of.take_labels(columns)
    columns_of.refuse_lost(columns, located, root)
    rows = _one_row_per_image(columns, root, located.names, labels, splits)
    rows, masks = _without_masks(rows, located.names, labels)
    groups = columns_of.take_groups(columns, located.names, group_by)
    labels, merged = merge_labels([labels[row] for row in rows])
    known, folds = _patients(columns, "patient"), merge_labels(columns.cells("fold"))[0]
    said = pd.DataFrame({"image": located.names, "patient_id": known, "split": splits, "fold": folds, **groups})
    table = said.iloc[rows].reset_index(drop=True).assign(label=labels)
    columns.notes += [*merged, *_notes(columns, group_by), *note_outside(root, table["image"].tolist())]
    if beside := splits_beside(columns.table):
        columns.notes.append(f"{path.name} alone is read: {beside}.")
    draft = ImageSet(
        source="manifest",
        path=str(path),
        classes=check_classes(path, labels, "label"),
        table=table,
        stamps=tuple(located.stamps[row] for row in rows),
        reader=FileReader(root, tuple(table["image"]), max_pixels),
        patient_rule=_rule(columns),
        notes=tuple(columns.notes),
        layout=f"one row per image ({columns.described()})",
        excluded=(Excluded("mask", masks),) if masks else (),
    )
    return _with_doubts(with_patients(draft, patient_pattern), columns, rows, patient_pattern)


def _root(path: Path, image_root: Path | None) -> Path:
    """The folder that paths start from, which must be one."""
    if image_root is not None:
        check_root(image_root)
    return image_root or path.parent


def _columns(path: Path) -> Columns:
    """The columns of the table, of which none has been taken."""
    cells = read_table(path, role_of)
    if any(map(role_of, cells.header)) and not cells.rows:
        raise ConfigError(f"{path} has a header but no rows; one row per image is needed, with {ACCEPTED}.")
    return Columns(cells, {}, list(cells.notes))


def _without_masks(
    rows: Sequence[int], names: Sequence[str], labels: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """The rows that name no masks, and the masks in order; none where they are a class."""
    masks = set(masks_among(names[row] for row in rows))
    kept = [row for row in rows if names[row] not in masks]
    if {labels[row] for row in rows} > {labels[row] for row in kept}:
        return list(rows), ()
    return kept, tuple(sorted(masks))


def _one_row_per_image(
    columns: Columns, root: Path, names: Sequence[str], labels: Sequence[str], splits: Sequence[str]
) -> list[int]:
    """The first row of each file; a file may stand in several rows that say the same of it, such as one a box."""
    path, labels = columns.table.path, merge_labels(labels)[0]
    folds, patients = columns.cells("fold"), _patients(columns, "patient")
    files = [os.path.normpath(root / name) for name in names]
    first: dict[str, int] = {}
    said: dict[str, set[tuple[str, ...]]] = {}
    for row, file in enumerate(files):
        first.setdefault(file, row)
        said.setdefault(file, set()).add((labels[row], splits[row], folds[row], patients[row]))
    differ = [file for file, found in said.items() if len(found) > 1]
    if differ:
        several = [file for file in differ if len({label for label, *_ in said[file]}) > 1]
        if several:
            found = " and ".join(sorted({label for label, *_ in said[several[0]]})[:3])
            raise ConfigError(
                f"{path} is multi-label data: {len(several)} files have rows with different labels, such as "
                f"{names[first[several[0]]]} ({found}); each image must have exactly one label, so leave the rows of "
                "one label a file."
            )
        raise ConfigError(
            f"{path} names {len(differ)} files more than once, with different patients, splits or folds: "
            f"{listed([names[first[file]] for file in differ])}; each image takes one row."
        )
    rows = list(first.values())
    again = len(files) - len(rows)
    if again:
        repeated = sum(count > 1 for count in Counter(files).values())
        columns.notes.append(
            f"{repeated} files stand in several rows that say the same of them, as where each row is a box: {again} "
            "rows were left out."
        )
    return rows


def _patients(columns: Columns, role: str) -> list[str]:
    """The patients as the file names them, one spelling each: 7.0 is 7 where both occur."""
    return joined(list(map(somebody, columns.cells(role))))[0]


def _rule(columns: Columns) -> str:
    if "patient" not in columns.taken:
        return ""
    name = columns.name("patient")
    what = not_a_patient(name)
    return f"the {name} column of {columns.table.path.name}" + (f", which names {what}, not a patient" if what else "")


def _with_doubts(source: ImageSet, columns: Columns, rows: Sequence[int], pattern: str | None) -> ImageSet:
    """With the patients by which leaks are sought, and what speaks against how the patients were told apart."""
    if "patient" in columns.taken and source.patient_rule == _rule(columns):
        if "patient_narrow" in columns.taken:  # as a manifest that was written from a set has it
            narrow, wide = _patients(columns, "patient_narrow"), source.table["patient_id"]
            told = [narrow[row] or patient for row, patient in zip(rows, wide, strict=True)]
            source = replace(source, table=source.table.assign(patient_id=told))
        name = columns.name("patient")
        what = not_a_patient(name)
        return replace(source, patient_doubt=f"{name} names {what}, not a patient") if what else source
    header = columns.table.header
    close = near(header, "patient", [place for place in columns.free() if not role_of(header[place])])
    if pattern is not None or not close:
        return source
    note = f"Column {close[0]} was not used: did you mean patient? Call it so if it says who is shown."
    return replace(
        source,
        patient_rule=f"{source.patient_rule}; column {close[0]} was not used",
        patient_doubt=f"column {close[0]} looks like patients, and was not used",
        notes=(*source.notes, note),
    )


def _notes(columns: Columns, group_by: Sequence[str]) -> list[str]:
    """Patients who are written in two ways, and columns that were not used."""
    notes = joined(list(map(somebody, columns.cells("patient"))))[1]
    wanted = {name.strip().casefold() for name in group_by}
    names = [columns.table.header[place] for place in columns.free()]
    left = [name for name in names if name and name.casefold() not in wanted]
    return notes + ([f"Columns that were not used: {listed(left, 10)}."] if left else [])


def root_of(source: ImageSet) -> Path:
    """The folder that the paths of its manifest start from; ConfigError if its images are not files of their own."""
    if not isinstance(source.reader, FileReader):
        raise ConfigError(
            f"The images of {source.path} are no files of their own, so no manifest can name them; a folder or a table "
            "of files is needed."
        )
    return source.reader.root.resolve()


def manifest_text(source: ImageSet) -> str:
    """One row per image: path, label, patient, split, and where given patient_narrow (patient_id), fold and groups.

    Read with its root as ``--image-root``, it gives the same table. Where nobody knows the patient, the cell is empty.

    Raises:
        ConfigError: if its images are no files, or a name or a class would be read as something else.
    """
    root_of(source)
    _refuse_odd_classes(source)
    table = source.table
    known, ids = (table[name].where(table[name] != table["image"], "") for name in ("split_group", "patient_id"))
    columns = {"path": table["image"], "label": table["label"], "patient": known}
    if (ids != known).any():
        columns["patient_narrow"] = ids
    columns["split"] = table["split"]
    if (table["fold"] != "").any():
        columns["fold"] = table["fold"]
    columns |= {name.removeprefix(PREFIX): table[name] for name in map(str, table.columns) if name.startswith(PREFIX)}
    written = pd.DataFrame(columns).map(as_cell).rename(columns=as_cell)
    _refuse_unseen(source, written, columns)
    return written.to_csv(index=False, lineterminator="\n")


def _refuse_odd_classes(source: ImageSet) -> None:
    """Refuse classes that as labels of a table would be empty, or several."""
    odd = [label for label in source.classes if blank(label)]
    if odd:
        raise ConfigError(
            f"{source.path} has a class called {odd[0]!r}, which counts as empty in a manifest; call it otherwise."
        )
    for label, parts in several_in(set(source.classes))[1].items():
        raise ConfigError(
            f"{source.path} has a class called {label!r}, which in a manifest would be several labels "
            f"({' and '.join(map(repr, parts))}); call it otherwise."
        )


def _refuse_unseen(source: ImageSet, written: pd.DataFrame, columns: Mapping[str, "pd.Series[str]"]) -> None:
    """Refuse names that `read_table` would take for others: it strips blanks, and leaves written out what is."""
    for cells, texts in zip(written.items(), columns.values(), strict=True):
        odd = [(cell, text) for cell, text in zip(cells[1], texts, strict=True) if unquoted(cell.strip()) != text]
        if odd:
            cell, text = odd[0]
            what = "control characters" if unquoted(cell) != text else "a blank at its beginning or end"
            raise ConfigError(
                f"{source.path} has a name with {what}, {cell if unquoted(cell) != text else repr(text)}; no manifest "
                "can hold it."
            )
