"""Masks beside the images that they belong to: found by their names, and by the image that each is a twin of."""

import re
from collections.abc import Iterable

from bench.data.sources.listing import fold_of, split_of, words_of
from bench.data.sources.tree import File, Folder

WORDS = {
    *("mask", "masks", "seg", "segs", "segmentation", "segmentations", "gt", "groundtruth", "truth", "annotation"),
    *("annotations", "contour", "contours", "label", "labels"),
}
CERTAIN = {"mask", "masks", "segmentation", "segmentations", "gt", "groundtruth", "truth"}
"""Words in the names of folders that hold masks even where only one other folder stands beside them."""
IMAGE_WORDS = {"image", "images", "img", "imgs"}
NEGATIONS = {"no", "non", "not", "with", "without"}
FUSED_NEGATIONS = {"nomask", "nonmask", "unmasked"}
_ENDS = re.compile(
    r"(?:[ _.\-]+(?:masks?|seg|segmented|segmentations?|lesions?|gt|ground[ _\-]?truth|annotations?|contours?|labels?"
    r"|superpixels)|(?:masks?|segmentations?))(?:[ _\-]*\(?\d+\)?)?$"
)
"""How the stem of a mask ends, after that of its image; several masks of one image are counted."""
_WORD = re.compile(r"(?:^|(?<=[ _.\-]))(?:masks?|seg|segmentation|gt|label)(?![^\W\d_])[ _.\-]*")
"""A word for a mask where that for an image may stand: mask_7 beside img_7 or 7, case7_mask beside case7_image."""


def is_images_name(name: str) -> bool:
    """Whether a folder is called after its being full of images, which is no class."""
    words = words_of(name)
    return bool(words & IMAGE_WORDS) and split_of(name) is None and len(words - IMAGE_WORDS - {"the", "all"}) == 0


def take_masks(root: Folder) -> list[str]:
    """Take the masks out of ``root`` and all folders below; returns their paths.

    A file is a mask if it is called as the image beside it and then ``_mask``, ``_seg``, ``_lesion`` or the like. A
    folder holds masks if its name says so and it stands beside a folder of images, repeats the class folders beside
    it, or holds twins of the images around it. The name alone is not enough: masks can be a class.
    """
    taken: list[str] = []
    outer = [root]
    while len(only := outer[-1].holding()) == 1:
        outer.append(*only.values())
    for folder in root.walk():
        over_classes = folder in outer or split_of(folder.name) is not None or fold_of(folder.name) is not None
        for name, below in list(folder.folders.items()):
            if words_of(name) & WORDS and _holds_masks(below, folder, over_classes):
                taken += [image.path for image in below.every()]
                del folder.folders[name]
        taken += _take_files(folder)
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


def _take_files(folder: Folder) -> list[str]:
    stems = {_stem(image) for image in folder.images}
    masks = {image for image in folder.images if _base(_stem(image), stems) is not None}
    folder.images = [image for image in folder.images if image not in masks]
    return [image.path for image in sorted(masks)]


def _stem(image: File) -> str:
    """In one case, as systems differ in whether it counts."""
    name = image.path.rpartition("/")[2].casefold()
    return name.rpartition(".")[0] or name


def _base(stem: str, stems: set[str]) -> str | None:
    """The one of ``stems`` that a mask's ``stem`` belongs to: the longest that it begins with, whole words, or one
    that has another word where it says mask; None for what is no mask of them."""
    if match := _WORD.search(stem):
        before, after = stem[: match.start()], stem[match.end() :]
        swapped = (f"{before}{word}{mark}{after}" for word in sorted(IMAGE_WORDS) for mark in ("", "_", "-", " "))
        for other in (before + after, *swapped):
            if other in stems:
                return other
    match = _ENDS.search(stem)
    if match is None:
        return None
    end = match.start()
    while end > 0:
        if stem[:end] in stems:
            return stem[:end]
        end = max(stem.rfind(mark, 0, end) for mark in " _.-")
    return None


def _holds_masks(folder: Folder, parent: Folder, over_classes: bool) -> bool:
    """Whether ``folder``, whose name says so, holds masks; ``over_classes``: whether ``parent`` may hold classes."""
    for words in map(words_of, parent.folders):
        if words & FUSED_NEGATIONS or (words & WORDS and words & NEGATIONS):
            return False
    beside = {name: one for name, one in parent.holding().items() if one is not folder}
    if any(words_of(name) & IMAGE_WORDS for name in beside):
        return True
    repeated = folder.folders.keys() & beside.keys()
    if repeated and len(repeated) >= min(2, len(beside)):
        return True
    stems = {_stem(image) for image in folder.every()}
    if _twins(stems, {_stem(image) for image in parent.images}) >= 0.5:
        return True
    around = [{_stem(image) for image in one.every()} for one in beside.values()]
    if not over_classes:  # below a class, what is beside it shows the same
        return any(_twins(stems, one) >= 0.5 for one in around)
    # Beside classes, each mask is the twin of an image of one class; names that recur in all classes say nothing.
    alone = set().union(*around) - {
        stem for one in around for other in around if one is not other for stem in one & other
    }
    several = sum(_twins(stems, one) > 0 for one in around) > 1
    one_to_one = len(around) == 1 and bool(words_of(folder.name) & CERTAIN) and not folder.holding()
    return (several or one_to_one) and _twins(stems, alone) >= 0.9


def _twins(stems: set[str], images: set[str]) -> float:
    """Share of the masks called ``stems`` that an image is called like."""
    return sum(stem in images or _base(stem, images) is not None for stem in stems) / max(1, len(stems))
