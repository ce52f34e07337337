"""A folder of images gone through once: what lies where, without the folders that systems and this suite leave."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.data.sources.listing import looks_like_an_image, split_of, stamp

SYSTEM = {
    *("@eadir", "@tmp", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "recycler", "recycled", "found.000"),
    *("system volume information", "lost+found", "__macosx", ".ipynb_checkpoints", ".trashes", "temporary items"),
    *("network trash folder", "thevolumesettingsfolder"),
}
"""Folders of Windows, macOS, Linux, Synology, QNAP and Jupyter, in lower case."""
SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "autorun.inf", "picasa.ini"}
OWN = {
    "run.json": ("figures", "trials.csv", "splits.csv", "space.yaml", "study.db", "audit.json", "report.html"),
    "compare.json": ("compare.csv", "compare.html", "runs"),
    "meta.json": ("values.npy",),
    "facts.csv": (".npy",),
}
"""What the folders of runs and comparisons, and the parts of a cache, are known by: a file, and how one of those
beside it ends."""


class File(NamedTuple):
    """An image: its path below the root, its size in bytes, and a text that changes when the file does."""

    path: str
    size: int
    stamp: str


@dataclass
class Folder:
    """A folder and what lies below it.

    Attributes:
        path: below the root, empty for the root itself.
        folders: name -> folder, in order.
        images: what lies in it and looks like an image.
        others: paths of other files, and of links that lead nowhere.
        links: paths of links to folders that were not followed.
        own: whether this suite has made it.
    """

    path: str
    folders: dict[str, "Folder"] = field(default_factory=dict)
    images: list[File] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    own: bool = False

    @property
    def name(self) -> str:
        """Its own name."""
        return self.path.rpartition("/")[2]

    def walk(self) -> Iterator["Folder"]:
        """This folder and all below it."""
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    def every(self) -> Iterator[File]:
        """The images in it and below it."""
        return (image for folder in self.walk() for image in folder.images)

    def holding(self) -> dict[str, "Folder"]:
        """The folders in it that hold images, at whatever depth."""
        return {name: folder for name, folder in self.folders.items() if next(folder.every(), None)}


@dataclass
class Tree:
    """A folder gone through.

    Attributes:
        root: the folder.
        system: paths of the folders that systems keep for themselves.
        own: paths of the run folders and caches of this suite.
        followed: paths of the links to folders that were followed.
    """

    root: Folder
    system: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)


def walk(root: Path) -> Tree:
    """What lies in ``root`` and below.

    Hidden files and folders are passed over. A link to a folder is followed where it stands for a split, or for a
    class beside or in one, and leads out of ``root``; elsewhere it may lead round in circles, or to another class.

    Raises:
        OSError: if a folder or file is out of reach, other than by a link.
    """
    tree = Tree(Folder(""))
    tree.root = _walk(root, "", tree, os.path.realpath(root))
    return tree


def _walk(place: Path | str, path: str, tree: Tree, root: str) -> Folder:
    with os.scandir(place) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    folder = Folder(path, own=_is_own({entry.name for entry in entries}))
    if folder.own:
        return folder
    for entry in entries:
        below = f"{path}/{entry.name}" if path else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.lower() in (SYSTEM if is_folder else SYSTEM_FILES):
            tree.system += [below] if is_folder else []
        elif entry.name.startswith((".", "__")):
            continue
        elif is_folder:
            folder.folders[entry.name] = _walk(entry.path, below, tree, root)
        elif entry.is_symlink() and Path(entry.path).is_dir():
            if _leads_on(entry, path, root, tree.followed):
                tree.followed.append(below)
                folder.folders[entry.name] = _walk(entry.path, below, tree, root)
            else:
                folder.links.append(below)
        else:
            status = _status(entry)
            if status is not None and looks_like_an_image(entry.path):
                folder.images.append(File(below, status.st_size, stamp(status)))
            else:
                folder.others.append(below)
    own = [below for below in folder.folders.values() if below.own]
    if own and path and not folder.images and len(own) == len(folder.folders):
        folder.own = True
    else:
        tree.own += [below.path for below in own]
        folder.folders = {name: below for name, below in folder.folders.items() if not below.own}
    return folder


def _is_own(names: set[str]) -> bool:
    return any(mark in names and any(name.endswith(beside) for name in names) for mark, beside in OWN.items())


def _leads_on(entry: "os.DirEntry[str]", parent: str, root: str, followed: list[str]) -> bool:
    """Whether a link to a folder is followed; below a link, only from the outermost split, lest it lead in circles."""
    below_a_link = any(f"{parent}/".startswith(f"{one}/") for one in followed)
    is_split = split_of(parent.rpartition("/")[2]) is not None
    stands = not parent or (is_split and ("/" not in parent or not below_a_link))
    target = os.path.realpath(entry.path)
    inside = os.path.commonpath([target, root]) in (target, root)  # the one holds the other
    return stands and not inside


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """None for what is no file, such as a link that leads nowhere."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError:
        if entry.is_symlink():
            return None
        raise
