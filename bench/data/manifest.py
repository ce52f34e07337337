"""A CSV file that names images, their labels and, if known, their patients and splits."""

import csv
import os
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bench.data.groups import manifest_groups
from bench.data.imageset import ImageSet
from bench.data.listing import SPLIT_NAMES, check_classes, file_set, readable, stamp
from bench.errors import ConfigError

COLUMNS = ("path", "label", "patient", "split")
ACCEPTED = "columns path,label[,patient][,split]"


def manifest_source(path: Path, patient_pattern: str | None = None, group_by: Sequence[str] = ()) -> ImageSet:
    """The images that the CSV file at ``path`` names; paths are relative to its folder.

    Every cell is text: label 0 is the class "0", patient 001 is "001". Other columns are ignored unless asked for.

    Args:
        path: the file.
        patient_pattern: as in `bench.data.patients.find_patients`.
        group_by: other columns that are kept, as ``group:COLUMN``.

    Raises:
        ConfigError: if the file cannot be read, names no set of labelled images, or has no column of ``group_by``.
    """
    header, rows, lines = _read(path)
    lower = [name.lower() for name in header]
    columns = {name: [row[lower.index(name)] for row in rows] for name in COLUMNS if name in lower}
    _refuse_empty(path, "path", columns["path"], lines)
    _refuse_empty(path, "label", columns["label"], lines)
    names = [name.replace("\\", "/") for name in columns["path"]]
    groups = manifest_groups(path, header, rows, names, group_by)
    stamps = _stamps(path, names)
    table = pd.DataFrame(
        {"image": names, "label": columns["label"], "split": _splits(path, columns.get("split", []), len(names))}
    )
    return file_set(
        "manifest",
        path,
        path.parent,
        table,
        stamps,
        classes=check_classes(path, columns["label"], "label"),
        patient_pattern=patient_pattern,
        known=columns.get("patient", []),
        known_rule=f"the patient column of {path.name}",
        groups=groups,
    )


def _read(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """The header and the cells, blanks around them stripped, and the line each row ends on."""
    try:
        with readable(path), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, [name.lower() for name in header])
            rows, lines = [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise ConfigError(
                        f"Line {reader.line_num} of {path} has {len(row)} cells, but its header has {len(header)}; "
                        'a cell that holds a comma must stand in quotes, like "mild, left".'
                    )
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path} cannot be read as a CSV file in UTF-8: {error}.") from None
    if not rows:
        raise ConfigError(f"{path} has a header but no rows; a row an image is needed, with {ACCEPTED}.")
    return header, rows, lines


def _check_header(path: Path, header: Sequence[str]) -> None:
    missing = [name for name in ("path", "label") if name not in header]
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if missing or twice:
        fault = f"has no column {' and no column '.join(missing)}" if missing else f"has column {twice[0]} twice"
        found = ", ".join(name or "(no name)" for name in header) or "nothing"
        raise ConfigError(f"{path} {fault} (found: {found}); a manifest has {ACCEPTED}, parted by commas.")


def _refuse_empty(path: Path, column: str, cells: Sequence[str], lines: Sequence[int]) -> None:
    empty = [line for line, cell in zip(lines, cells, strict=True) if not cell]
    if empty:
        raise ConfigError(f"{len(empty)} rows of {path} have no {column} (lines {_first(empty)}); each row needs one.")


def _stamps(path: Path, names: Sequence[str]) -> list[str]:
    """A stamp a file; refuses paths that lead to no file, and files that are named twice."""
    stamps, targets, missing = [], [], []
    for name in names:
        target = path.parent / name
        try:
            status = target.stat()
        except (OSError, ValueError):
            missing.append(name)
            continue
        if stat.S_ISREG(status.st_mode):
            stamps.append(stamp(status))
            targets.append(os.path.normpath(target))
        else:
            missing.append(name)
    if missing:
        raise ConfigError(
            f"{len(missing)} of the {len(names)} paths in {path} lead to no file: {_first(missing)}; paths are "
            "relative to the folder of the CSV file, or absolute."
        )
    counts = Counter(targets)
    twice = list(dict.fromkeys(name for name, target in zip(names, targets, strict=True) if counts[target] > 1))
    if twice:
        raise ConfigError(f"{path} names {len(twice)} files more than once: {_first(twice)}; each image takes one row.")
    return stamps


def _splits(path: Path, cells: Sequence[str], n_images: int) -> list[str]:
    """The split of each row by its usual name, all empty where the file gives none."""
    if not any(cells):
        return [""] * n_images
    unknown = sorted({cell for cell in cells if cell and cell.lower() not in SPLIT_NAMES})
    if unknown:
        raise ConfigError(
            f"{path} has splits of unknown names ({_first(unknown)}); accepted are {', '.join(SPLIT_NAMES)}."
        )
    if not all(cells):
        raise ConfigError(
            f"{sum(not cell for cell in cells)} of the {n_images} rows of {path} have no split; give every row one, "
            "or none, and they are drawn."
        )
    splits = [SPLIT_NAMES[cell.lower()] for cell in cells]
    if "train" not in splits:
        raise ConfigError(f"{path} has {' and '.join(sorted(set(splits)))} rows but no train rows, which are needed.")
    return splits


def _first(items: Sequence[object]) -> str:
    return ", ".join(str(item) for item in items[:5]) + (", …" if len(items) > 5 else "")
