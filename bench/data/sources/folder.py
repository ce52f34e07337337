"""Folders of images called after their class."""

import os
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import pandas as pd

from bench import numbers
from bench.data.images.limits import MOST_PIXELS
from bench.data.imageset import Excluded, FileReader, ImageSet
from bench.data.names import check_classes, listed, merge_labels, printable, readable
from bench.data.patients import folder_groups
from bench.data.sources.layout import LAYOUTS, Reading, read_layout
from bench.data.sources.listing import EXTENSIONS, is_archive, note_outside, with_patients
from bench.data.sources.table_file import ENDINGS as TABLES
from bench.data.sources.tree import Folder, Tree, take_masks, walk
from bench.errors import ConfigError

__all__ = ["LAYOUTS", "folder_source"]

ENDING = re.compile(r"(\.nii|\.tar)?\.[a-z][a-z0-9]{0,7}$", re.IGNORECASE)
"""Of a file; what else stands behind a point may be a part of a name."""


def folder_source(
    root: Path,
    patient_pattern: str | None = None,
    group_by: Sequence[str] = (),
    max_pixels: int = MOST_PIXELS,
) -> ImageSet:
    """Images below ``root``, in one of the layouts that `bench.data.sources.layout` knows.

    Args:
        root: the folder.
        patient_pattern: as in `bench.data.patients.find_patients`.
        group_by: columns of subgroups; ``subtype`` alone, which is always there where file names give it.
        max_pixels: of an image.

    Raises:
        ConfigError: if the folder is missing or cannot be read, if it holds no images or fewer than two classes, if
            its layout is not understood, if an image's name is not UTF-8, or if there is no column of ``group_by``.
    """
    with readable(root):
        return _folder_source(root, patient_pattern, group_by, max_pixels)


def _others(root: Path, folder: Folder) -> str:
    """What there is instead of images, by ending, the most frequent first, and what to do with that."""
    names = sorted(name for one in folder.walk() for name in one.others)
    endings = {name: match[0].lower() for name in names if (match := ENDING.search(PurePath(name).name))}
    counts = Counter(endings.values()).most_common(3)
    if not counts:
        return ""
    first = next(name for name in names if endings.get(name) == counts[0][0])
    if counts[0][0] in (*TABLES, ".npz"):
        what = f"to take one, give --data {shlex.quote(str(root / first))}"
    else:
        what = "to be unpacked" if is_archive(first) else "write their images as PNG or TIFF"
    found = numbers.joined(numbers.counted(count, f"file {ending}", f"files {ending}") for ending, count in counts)
    return f", but {found} (not read: {what})"


def _folder_source(root: Path, patient_pattern: str | None, group_by: Sequence[str], max_pixels: int) -> ImageSet:
    if not root.exists():
        raise ConfigError(f"There is no folder {root}; --data takes {LAYOUTS}.")
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; --data takes {LAYOUTS}.")
    tree = walk(root)
    if tree.root.own:
        raise ConfigError(f"{root} was written by a run of this suite, and holds no data; --data takes {LAYOUTS}.")
    links = [link for folder in tree.root.walk() for link in folder.links]
    lost = [link for folder in tree.root.walk() for link in folder.lost]
    masks = take_masks(tree.root)
    if next(tree.root.every(), None) is None:
        nowhere = f"; {numbers.counted(len(lost), 'link')} there lead nowhere: {listed(lost)}" if lost else ""
        raise ConfigError(
            f"There are no images below {root} (looked for {', '.join(EXTENSIONS)}, and for such without ending"
            f"{nowhere}){_others(root, tree.root)}; --data takes {LAYOUTS}."
        )
    reading = read_layout(root, tree.root)
    placed = sorted(reading.placed, key=lambda one: one.file.path.split("/"))
    _refuse_names([one.file.path for one in placed], root)
    labels, merged = merge_labels([one.label for one in placed])
    classes = check_classes(root, labels, "class folder", masks)
    names = [one.file.path for one in placed]
    said = [(one.patient, one.split, one.fold) for one in placed]
    table = pd.DataFrame(said, columns=["patient_id", "split", "fold"])
    table = table.assign(image=names, label=labels, **folder_groups(root, names, group_by))
    _refuse_copies(root, table, [one.file.size for one in placed])
    others = [name for top in reading.folders for folder in top.walk() for name in folder.others]
    followed = [f"Links to folders that were followed: {listed(tree.followed)}."] if tree.followed else []
    below_links = tuple(f"{link}/" for link in tree.followed)
    followed += note_outside(root, [name for name in names if not name.startswith(below_links)])
    draft = ImageSet(
        source="folder",
        path=str(root),
        classes=classes,
        table=table,
        stamps=tuple(one.file.stamp for one in placed),
        reader=FileReader(root, tuple(names), max_pixels),
        patient_rule="the folders that patients have (patient/class)",
        others=tuple(map(printable, sorted(others, key=lambda name: name.split("/")))),
        notes=(*reading.notes, *merged, *followed),
        layout=reading.layout,
        excluded=_excluded(tree, reading, masks, links, lost),
    )
    return with_patients(draft, patient_pattern)


def _excluded(
    tree: Tree, reading: Reading, masks: list[str], links: list[str], lost: list[str]
) -> tuple[Excluded, ...]:
    """What was found and not taken, kinds of which there is nothing left out."""
    kinds: tuple[tuple[str, list[str], str, bool], ...] = (
        ("mask", masks, "", False),
        ("loose image", reading.loose, "", False),
        ("hidden image", tree.hidden, "", False),
        ("file beside class folders", sorted(reading.others), "files beside class folders", False),
        ("other folder", reading.beside, "", True),
        ("hidden folder", tree.hidden_folders, "", True),
        ("folder without images", _empty(tree.root), "folders without images", True),
        ("link to a folder", links, "links to folders", True),
        ("link that leads nowhere", lost, "links that lead nowhere", True),
        ("system folder", tree.system, "", True),
        ("run folder or cache", tree.own, "run folders or caches", True),
        ("pipe, device or socket", tree.special, "pipes, devices or sockets", False),
        ("folder too deep", tree.deep, "folders too deep", True),
    )
    return tuple(
        Excluded(kind, tuple(map(printable, names)), plural, folders) for kind, names, plural, folders in kinds if names
    )


def _empty(folder: Folder) -> list[str]:
    """The outermost folders without images."""
    holding = folder.holding()
    return [
        path for name, below in folder.folders.items() for path in (_empty(below) if name in holding else [below.path])
    ]


def _refuse_names(names: list[str], root: Path) -> None:
    """Refuse names of images that tables, which are UTF-8, cannot hold."""
    odd = [name for name in names if printable(name) != name]
    if odd:
        raise ConfigError(
            f"{len(odd)} of the {len(names)} images in {root} have a name that is not UTF-8, such as {odd[0]!a}; "
            "file and folder names in UTF-8 are accepted."
        )


def _refuse_copies(root: Path, table: pd.DataFrame, sizes: Sequence[int]) -> None:
    """Refuse sets in which many an image lies in several class folders: that is how several labels are written."""
    named = table.assign(name=[image.rsplit("/", 1)[-1] for image in table["image"].tolist()], size=sizes)
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
