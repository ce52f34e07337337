"""A folder of images walked once: what lies where, without what systems and this suite leave, and without masks."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from bench.checksums import SUFFIX
from bench.data.imageset import stamp
from bench.data.names import SPLIT_NAMES, fold_of, folded, pattern, split_of, word_list, words_of
from bench.data.sources.listing import DEEPEST, is_called_like_an_image, looks_like_an_image

OWN = {
    "run.json": ("figures", "trials.csv", "splits.csv", "space.yaml", "study.db", "audit.json", "report.html"),
    "compare.json": ("compare.csv", "compare.html", "runs"),
    "meta.json": ("values.npy",),
    "facts.csv": (f"thumbnails.npy{SUFFIX}",),
}
"""What the folders of runs and comparisons, and the parts of a cache, are known by: a file, and how one of those
beside it ends."""
_MASK_ENDS = re.compile(
    r"(?:[ _.\-]+(?:masks?|seg|segmented|segmentations?|lesions?|gt|ground[ _\-]?truth|annotations?|contours?|labels?"
    r"|superpixels)|(?:masks?|segmentations?))(?:[ _\-]*\(?\d+\)?)?$"
)
"""How the stem of a mask ends, after that of its image; several masks of one image are counted."""
_MASK_WORD = re.compile(r"(?:^|(?<=[ _.\-]))(?:masks?|seg|segmentation|gt|label)(?![^\W\d_])[ _.\-]*")
"""A word for a mask where that for an image may stand: mask_7 beside img_7 or 7, case7_mask beside case7_image."""


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
        others: paths of other files.
        links: paths of links to folders that were not followed.
        lost: paths of links that lead nowhere and are not called like an image.
        own: whether this suite has written it.
    """

    path: str
    folders: dict[str, "Folder"] = field(default_factory=dict)
    images: list[File] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
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
    """A folder that was walked.

    Attributes:
        root: the folder.
        system: paths of the folders that systems keep for themselves.
        hidden: paths of the images whose names begin with a dot.
        hidden_folders: paths of the folders that are called so, with how many images they hold.
        own: paths of the run folders and caches of this suite.
        followed: paths of the links to folders that were followed.
        special: paths of pipes, devices and sockets.
        deep: paths of the folders that lie too deep.
    """

    root: Folder
    system: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    hidden_folders: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    followed: list[str] = field(default_factory=list)
    special: list[str] = field(default_factory=list)
    deep: list[str] = field(default_factory=list)


def with_count(folder: Folder) -> str:
    """The path of a folder, with how many images it holds."""
    count = sum(1 for _ in folder.every())
    return f"{folder.path} ({count} image{'s' * (count != 1)})"


def walk(root: Path) -> Tree:
    """What lies in ``root`` and below.

    Hidden images, and hidden folders that hold images, are noted and not taken. A link to a folder is followed where it
    may stand for a split or a class and leads out of ``root``; elsewhere it may lead round in circles, or to another
    class.

    Raises:
        OSError: if a folder or file is out of reach, other than by a link.
    """
    tree = Tree(Folder(""))
    tree.root = _walk(root, "", tree)
    if not tree.root.own:
        _follow(tree.root, root, tree, 0)
    return tree


def _walk(place: Path | str, path: str, tree: Tree) -> Folder:
    with os.scandir(place) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    names = {entry.name for entry in entries}
    own = any(mark in names and any(name.endswith(beside) for name in names) for mark, beside in OWN.items())
    folder = Folder(path, own=own)
    if folder.own:
        return folder
    for entry in entries:
        below = f"{path}/{entry.name}" if path else entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if entry.name.lower() in word_list("system folders" if is_folder else "system files"):
            tree.system += [below] if is_folder else []
        elif is_folder and below.count("/") >= DEEPEST:
            tree.deep.append(below)
        elif entry.name.startswith("."):
            _note_hidden(entry, below, is_folder, tree)
        elif is_folder:
            folder.folders[entry.name] = _walk(entry.path, below, tree)
        elif entry.is_symlink() and Path(entry.path).is_dir():
            folder.links.append(below)
        else:
            _take_file(entry, below, folder, tree)
    owned = [below for below in folder.folders.values() if below.own]
    if owned and path and not folder.images and len(owned) == len(folder.folders):
        folder.own = True
    else:
        tree.own += [below.path for below in owned]
        folder.folders = {name: below for name, below in folder.folders.items() if not below.own}
    return folder


def _note_hidden(entry: "os.DirEntry[str]", path: str, is_folder: bool, tree: Tree) -> None:
    """Note a hidden image, or a hidden folder that holds images, unless systems or tools leave such."""
    if pattern("left behind").fullmatch(entry.name):
        return
    with suppress(OSError):  # hidden folders may be locked, and need not be read
        if is_folder:
            below = _walk(entry.path, path, Tree(Folder("")))
            tree.hidden_folders += [with_count(below)] if next(below.every(), None) else []
        elif _status(entry) is not None and looks_like_an_image(entry.path):
            tree.hidden.append(path)


def _take_file(entry: "os.DirEntry[str]", path: str, folder: Folder, tree: Tree) -> None:
    """Put what is no folder where it belongs; a link to an image that is gone is an image that cannot be read."""
    status = _status(entry)
    if status is not None and looks_like_an_image(entry.path):
        folder.images.append(File(path, status.st_size, stamp(status)))
    elif status is not None:
        folder.others.append(path)
    elif Path(entry.path).exists():
        tree.special.append(path)
    elif is_called_like_an_image(entry.name):
        folder.images.append(File(path, 0, stamp(entry.stat(follow_symlinks=False))))
    else:
        folder.lost.append(path)


def _follow(folder: Folder, root: Path, tree: Tree, links: int) -> None:
    """Follow the links in a folder that may hold classes or splits, and in those in it that may.

    These are the one folder that all is in, splits and folds. Of links in links two are followed: more may lead round
    in circles.
    """
    for path in list(folder.links):
        if links < 2 and _leads_out(root / path, root):
            folder.links.remove(path)
            below = _walk(root / path, path, tree)
            tree.own += [path] if below.own else []
            tree.followed += [] if below.own else [path]
            folder.folders |= {} if below.own else {below.name: below}
    folder.folders = dict(sorted(folder.folders.items()))
    inside = [one for one in folder.folders.values() if any(below.images or below.links for below in one.walk())]
    for one in inside:
        if len(inside) == 1 or split_of(one.name) is not None or fold_of(one.name) is not None:
            _follow(one, root, tree, links + (one.path in tree.followed))


def _leads_out(link: Path, root: Path) -> bool:
    """Whether a link leads to a folder that neither lies in ``root`` nor holds it."""
    ends = (os.path.realpath(link), os.path.realpath(root))
    return os.path.commonpath(ends) not in ends


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """None for what is no file, such as a link that leads nowhere."""
    try:
        return entry.stat() if entry.is_file() else None
    except OSError:
        if entry.is_symlink():
            return None
        raise


# Masks


def is_images_name(name: str) -> bool:
    """Whether a folder is called after its being full of images, which is no class."""
    words = words_of(name)
    return (
        bool(words & word_list("images")) and split_of(name) is None and words <= word_list("images") | {"the", "all"}
    )


def is_unlabelled_name(name: str) -> bool:
    """Whether a folder is called after nobody having labelled the images in it."""
    rest, found = pattern("unlabelled").subn(" ", name)
    others = {word for word in words_of(rest) if not word.isdigit()} - SPLIT_NAMES.keys()
    return bool(found) and others <= word_list("fillers")


def take_masks(root: Folder) -> list[str]:
    """Take the masks out of ``root`` and all folders below; returns their paths.

    A file is a mask if it is called as the image beside it and then ``_mask``, ``_seg``, ``_lesion`` or the like. A
    folder holds masks if its name says so and it stands beside a folder of images, repeats the class folders beside
    it, or holds twins of the images around it, as benign_mask does beside benign. The name alone is not enough: masks
    can be a class.
    """
    taken: list[str] = []
    outer = [root]
    while len(only := outer[-1].holding()) == 1:
        outer.append(*only.values())
    for folder in root.walk():
        over_classes = folder in outer or split_of(folder.name) is not None or fold_of(folder.name) is not None
        beside = {_letters(name) for name in folder.folders}
        for name, below in list(folder.folders.items()):
            if is_unlabelled_name(name):
                continue
            called = words_of(name) & word_list("masks") or _masked(name) & beside
            if called and _holds_masks(below, folder, over_classes):
                taken += [image.path for image in below.every()]
                del folder.folders[name]
        stems = {_stem(image) for image in folder.images}
        masks = {image for image in folder.images if _base(_stem(image), stems) is not None}
        folder.images = [image for image in folder.images if image not in masks]
        taken += [image.path for image in sorted(masks)]
    return taken


def masks_among(names: Iterable[str]) -> list[str]:
    """Those of the paths that name masks, where the images that these belong to are named too."""
    root = Folder("")
    for name in names:
        folder, path = root, ""
        for part in name.split("/")[:-1]:
            path = f"{path}/{part}" if folder is not root else part
            folder = folder.folders.setdefault(part, Folder(path))
        folder.images.append(File(name, 0, ""))
    return take_masks(root)


def _stem(image: File) -> str:
    """In one case, as systems differ in whether it counts."""
    name = image.path.rpartition("/")[2].casefold()
    return name.rpartition(".")[0] or name


def _base(stem: str, stems: set[str]) -> str | None:
    """The one of ``stems`` that a mask's ``stem`` belongs to: the longest that it begins with, whole words, or one
    that has another word where it says mask; None for what is no mask of them."""
    if match := _MASK_WORD.search(stem):
        before, after = stem[: match.start()], stem[match.end() :]
        swapped = (
            f"{before}{word}{mark}{after}" for word in sorted(word_list("images")) for mark in ("", "_", "-", " ")
        )
        for other in (before + after, *swapped):
            if other in stems:
                return other
    match = _MASK_ENDS.search(stem)
    if match is None:
        return None
    end = match.start()
    while end > 0:
        if stem[:end] in stems:
            return stem[:end]
        end = max(stem.rfind(mark, 0, end) for mark in " _.-")
    return None


def _masked(name: str) -> set[str]:
    """The `_letters` of whose masks a folder may hold by its ``name``: benign, of benign_mask or Masks of benign."""
    text, masks, more = _letters(name), word_list("masks"), word_list("images") | {"of"}
    ends = {text, text.rstrip("0123456789")}
    found = set[str]()
    for cut, left in ((str.removeprefix, {text}), (str.removesuffix, ends | _without(ends, more, str.removesuffix))):
        while left := _without(left, masks, cut):
            found |= left
            found |= _without(left, more, cut) if cut is str.removeprefix else set()
    return found


def _without(texts: Iterable[str], words: Iterable[str], cut: Callable[[str, str], str]) -> set[str]:
    """The ``texts`` from which one of the ``words`` can be cut, without it; none is empty."""
    return {rest for text in texts for word in words if (rest := cut(text, word)) and rest != text}


def _letters(name: str) -> str:
    """The letters and digits of a name, in one case."""
    return "".join(re.findall(r"[^\W_]+", folded(name)))


def _holds_masks(folder: Folder, parent: Folder, over_classes: bool) -> bool:
    """Whether ``folder``, whose name says so, holds masks; ``over_classes``: whether ``parent`` may hold classes."""
    for words in (words_of(name) for name in parent.folders if not is_unlabelled_name(name)):
        if words & word_list("negated masks") or (words & word_list("masks") and words & word_list("negations")):
            return False
    beside = {name: one for name, one in parent.holding().items() if one is not folder}
    if any(words_of(name) & word_list("images") for name in beside):
        return True
    repeated = folder.folders.keys() & beside.keys()
    if repeated and len(repeated) >= min(2, len(beside)):
        return True
    stems = {_stem(image) for image in folder.every()}
    if _twins(stems, {_stem(image) for image in parent.images}) >= 0.5:
        return True
    around = [{_stem(image) for image in one.every()} for one in beside.values()]
    masked = _masked(folder.name)
    if any(_letters(name) in masked and _twins(stems, one) >= 0.9 for name, one in zip(beside, around, strict=True)):
        return True
    if not over_classes:  # below a class, what is beside it shows the same
        return any(_twins(stems, one) >= 0.5 for one in around)
    words = words_of(folder.name)
    certain = bool(words & word_list("certain masks")) and not folder.holding()
    if certain and words <= word_list("masks") | word_list("fillers") and _twins(stems, set().union(*around)) >= 0.9:
        return True
    # Beside classes, each mask is the twin of an image of one class; names that recur in all classes say nothing.
    alone = set().union(*around) - {
        stem for one in around for other in around if one is not other for stem in one & other
    }
    several = sum(_twins(stems, one) > 0 for one in around) > 1
    return (several or (certain and len(around) == 1)) and _twins(stems, alone) >= 0.9


def _twins(stems: set[str], images: set[str]) -> float:
    """Share of the masks called ``stems`` that an image is called like."""
    return sum(stem in images or _base(stem, images) is not None for stem in stems) / max(1, len(stems))
