"""Pictures of copies beside each other, for people to judge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bench.data.audit.alterations import NEARLY
from bench.data.audit.duplicates import Duplicates
from bench.data.images.decode import THUMBNAIL, Pixels
from bench.run.documents import DuplicateSet

MOST = 12  # pairs
GAP = 4  # pixels between the two of a pair


@dataclass(frozen=True)
class CopyPictures:
    """The first two different images of some sets of copies.

    Attributes:
        sets: positions in the list of sets of audit.json, shape (n,).
        images: uint8 array of shape (n, THUMBNAIL, 2 * THUMBNAIL + GAP, 1).
    """

    sets: npt.NDArray[np.int64]
    images: Pixels


def copy_pictures(told: Sequence[DuplicateSet], found: Duplicates, thumbnails: Pixels) -> CopyPictures:
    """Of at most MOST sets, those of different labels and in different splits first; exact copies need no picture."""
    worth = [place for place, one in enumerate(told) if one.kind != "exact"]
    worth.sort(
        key=lambda place: (
            not told[place].labels_conflict,
            not told[place].across_splits,
            told[place].kind != "altered",
        )
    )
    images = np.full((len(worth[:MOST]), THUMBNAIL, 2 * THUMBNAIL + GAP, 1), 255, np.uint8)
    for picture, place in zip(images, worth[:MOST], strict=True):
        one, other = shown_of(told[place])
        rows = found.clusters[place].rows
        picture[:, :THUMBNAIL, 0], picture[:, -THUMBNAIL:, 0] = thumbnails[rows[one]], thumbnails[rows[other]]
    return CopyPictures(np.array(worth[:MOST], dtype=np.int64), images)


def shown_of(told: DuplicateSet) -> tuple[int, int]:
    """Positions of the two images of a set that are shown: the first, and the first altered one."""
    return 0, next((place for place, copy in enumerate(told.images) if copy.change not in ("", NEARLY)), 1)
