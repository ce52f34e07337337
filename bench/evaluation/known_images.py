"""Whether two test splits share images: by their pixels, and by perceptual hashes if they were resized or recompressed.

Splits are compared by samples, for a ledger cannot hold every hash of every split.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.audit.duplicates import NEAR_BITS, too_many

MOST_SAMPLED = 1000
DIGITS = 12
PERCEPTUAL = 64
_LEAST = 4 * PERCEPTUAL - 2 * NEAR_BITS
"""The product of two perceptual hashes, as signs, that differ in NEAR_BITS bits."""


def sample_of(pixels: Iterable[str], digits: int = DIGITS) -> str:
    """The first ``digits`` of the `MOST_SAMPLED` smallest of some hexadecimal hashes, one after the other.

    The smallest of two sets are among the smallest of what they share, so that a sample finds what random draws would
    miss (bottom-k sketch: Cohen & Kaplan 2007).
    """
    return "".join(sorted({value[:digits] for value in pixels})[:MOST_SAMPLED])


def looks_of(facts: pd.DataFrame) -> str:
    """The sample of perceptual hashes; constant images, whose hashes are all the same, are left out."""
    return sample_of(facts.loc[~facts["constant"].astype(bool), "perceptual_hash"].astype(str), PERCEPTUAL)


def same_pixels(ours: str, theirs: str) -> int:
    """How many images two samples of pixel hashes share: exact up to `MOST_SAMPLED` images per split."""
    return len(set(hashes(ours)) & set(hashes(theirs)))


def counterparts(ours: str, theirs: str, ours_is_whole: bool = True) -> npt.NDArray[np.int64]:
    """For each image of one sample of perceptual hashes the position of the one in another that it looks like, or -1.

    An image that looks like a second one of its own split has none: the hash does not tell such images apart.

    Args:
        ours, theirs: as `looks_of` writes them.
        ours_is_whole: whether ours is a split (or a sample of one), not some images that may be copies of each other.
    """
    mine, others = _signs(ours), _signs(theirs)
    if not len(mine) or not len(others):
        return np.full(len(mine), -1)
    products = mine @ others.T
    near = products >= _LEAST
    columns = np.flatnonzero(near.any(axis=0))
    near[:, columns[_ambiguous(others, columns)]] = False
    if ours_is_whole:
        rows = np.flatnonzero(near.any(axis=1))
        near[rows[_ambiguous(mine, rows)]] = False
    return np.where(near.any(axis=1), np.where(near, products, -np.inf).argmax(axis=1), -1)


def copied_from(ours: str, theirs: str) -> npt.NDArray[np.int64]:
    """For each image of some the position of the one in a whole set that it looks most like, or -1.

    Unlike `counterparts`, an image of the set may have copies in it. Where so many of the set look alike that they are
    no copies of each other (`bench.data.audit.duplicates.too_many`), the hash tells nothing, and none is named.

    Args:
        ours, theirs: perceptual hashes, one after the other.
    """
    mine, others = _signs(ours), _signs(theirs)
    if not len(mine) or not len(others):
        return np.full(len(mine), -1)
    products = mine @ others.T
    near = products >= _LEAST
    columns = np.flatnonzero(near.any(axis=0))
    alike = (others[columns] @ others.T >= _LEAST).sum(axis=1)
    near[:, columns[[too_many(int(number), len(others)) for number in alike]]] = False
    return np.where(near.any(axis=1), np.where(near, products, -np.inf).argmax(axis=1), -1)


def _ambiguous(signs: npt.NDArray[np.float32], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which of some images look like another of the same set."""
    products = signs[rows] @ signs.T
    products[np.arange(len(rows)), rows] = -np.inf
    return np.asarray((products >= _LEAST).any(axis=1))


def hashes(sample: str, digits: int = DIGITS) -> list[str]:
    """The parts of a sample."""
    return [sample[start : start + digits] for start in range(0, len(sample), digits)]


def _signs(looks: str) -> npt.NDArray[np.float32]:
    """Hashes as rows of +1 and -1, shape (n_images, 256)."""
    try:
        found = np.frombuffer(bytes.fromhex(looks), np.uint8).reshape(-1, PERCEPTUAL // 2)
    except ValueError:  # of another length, as another version may write them
        found = np.zeros((0, PERCEPTUAL // 2), np.uint8)
    return np.unpackbits(found, axis=1).astype(np.float32) * 2 - 1
