"""Folders of images called after their class."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from bench.data.groups import folder_groups
from bench.data.imageset import ImageSet
from bench.data.listing import (
    EXTENSIONS,
    SPLIT_NAMES,
    check_classes,
    file_set,
    is_dicom,
    printable,
    readable,
    stamp,
)
from bench.errors import ConfigError

LAYOUTS = "folders of images called after their class, directly or inside train/, val/ and test/"


def folder_source(root: Path, patient_pattern: str | None = None, group_by: Sequence[str] = ()) -> ImageSet:
    """Images below ``root``, laid out as split/class/image or class/image.

    Args:
        root: the folder.
        patient_pattern: as in `bench.data.patients.find_patients`.
        group_by: columns of subgroups; ``subtype`` alone, where file names give it, and then it is there unasked.

    Raises:
        ConfigError: if the folder is missing or cannot be read, if it holds no images or fewer than two classes, if
            an image's name is not UTF-8, or if there is no column of ``group_by``.
    """
    with readable(root):
        return _folder_source(root, patient_pattern, group_by)


def _folder_source(root: Path, patient_pattern: str | None, group_by: Sequence[str]) -> ImageSet:
    if not root.exists():
        raise ConfigError(f"There is no folder {root}; --data takes {LAYOUTS}.")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; --data takes {LAYOUTS}.")
    folders = _folders(root)
    split_folders = [folder for folder in folders if folder.lower() in SPLIT_NAMES]
    if split_folders and not any(SPLIT_NAMES[folder.lower()] == "train" for folder in split_folders):
        raise ConfigError(f"{root} has {', '.join(split_folders)} but no train folder; --data takes {LAYOUTS}.")

    rows: list[tuple[str, str, str, int, str]] = []
    others: list[str] = []
    for top in split_folders or [""]:
        split = SPLIT_NAMES[top.lower()] if top else ""
        for label in _folders(root / top):
            below = f"{top}/{label}" if top else label
            for name, stat in _files(root / below, f"{below}/"):
                if stat is not None and _looks_like_an_image(root, name):
                    rows.append((name, label, split, stat.st_size, stamp(stat)))
                else:
                    others.append(printable(name))
    if not rows:
        raise ConfigError(_why_empty(root))
    _refuse_names([image for image, *_ in rows], root)
    table = pd.DataFrame(rows, columns=["image", "label", "split", "size", "stamp"])
    classes = check_classes(root, {label for _, label, *_ in rows}, "class folder")
    groups = folder_groups(root, table["image"].tolist(), group_by)
    _refuse_copies(root, table)
    ignored = [printable(folder) for folder in folders if split_folders and folder not in split_folders]
    return file_set(
        "folder",
        root,
        root,
        table,
        [one for *_, one in rows],
        classes=classes,
        patient_pattern=patient_pattern,
        others=others,
        notes=[f"Folders beside the splits were left out: {', '.join(ignored)}."] if ignored else [],
        groups=groups,
    )


def _hidden(name: str) -> bool:
    """Whether a file or folder is one that programs keep for themselves."""
    return name.startswith((".", "__"))


def _folders(root: Path) -> list[str]:
    """The names of the folders in ``root``, in order."""
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name))


def _files(folder: Path | str, prefix: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Name and status of everything in ``folder`` and below, in order; no status for what is no file.

    Links to folders are not followed, as they may lead round in circles.

    Raises:
        OSError: if a folder or file is out of reach, other than by a link.
    """
    with os.scandir(folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    for entry in entries:
        if _hidden(entry.name):
            continue
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, f"{name}/")
        else:
            yield name, _status(entry)


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """None for what is no file, such as a link that leads nowhere."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError:
        if entry.is_symlink():
            return None
        raise


def _looks_like_an_image(root: Path, name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) or is_dicom(root, name)


def _refuse_names(names: list[str], root: Path) -> None:
    """Refuse names of images that tables, which are UTF-8, cannot hold."""
    odd = [name for name in names if printable(name) != name]
    if odd:
        raise ConfigError(
            f"{len(odd)} of the {len(names)} images in {root} have a name that is not UTF-8, such as {odd[0]!a}; "
            "file and folder names in UTF-8 are accepted."
        )


def _why_empty(root: Path) -> str:
    if any(path.name.lower().endswith(EXTENSIONS) for path in root.iterdir()):
        return f"The images in {root} lie in no class folder, so they have no label; --data takes {LAYOUTS}."
    return f"There are no images below {root} (looked for {', '.join(EXTENSIONS)}); --data takes {LAYOUTS}."


def _refuse_copies(root: Path, table: pd.DataFrame) -> None:
    """Refuse sets in which many an image lies in several class folders: that is how several labels are written."""
    named = table.assign(name=[image.rsplit("/", 1)[-1] for image in table["image"].tolist()])
    alike = named.groupby(["split", "name", "size"])
    same = 0
    for _, group in named[alike["label"].transform("nunique") > 1].groupby(["split", "name", "size"]):
        same += len({_content(root / image) for image in group["image"]}) < len(group)
    if same > 0.01 * len(table):
        raise ConfigError(
            f"{root} looks like multi-label data ({same} images lie in several class folders); "
            "each image must have exactly one label."
        )


def _content(path: Path) -> bytes:
    """What the file holds; its name where it cannot be read, which is for the audit to say."""
    try:
        return path.read_bytes()
    except OSError:
        return os.fsencode(path)
