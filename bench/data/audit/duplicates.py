"""Images that are the same: by their pixels, or by a perceptual hash; found from the stored facts alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench import checksums
from bench.data.splits import Cluster, components
from bench.run.folder import atomic_path

NEAR_BITS = 16
"""Images whose perceptual hashes differ by at most so many of their 256 bits count as near duplicates; see
`bench.data.images.decode.HASH_SIZE` for where this lies between recompressed images and different ones."""
TILE = (512, 4096)
"""Hashes that are compared at a time with so many others: 8 MB of results, and 17 times that if all are near."""
KEPT = 1_000_000  # so many pairs are kept before they are joined to sets
FEW = 50
ALIKE_SHARE = 0.05
"""A set of near duplicates of more than FEW images and this share of all says that the images are too alike for the
hash to tell apart, not that they are copies of each other."""
MAJORITY_FROM = 10  # so does a set of so many images and more than half of all


@dataclass(frozen=True)
class Duplicates:
    """All duplicates of a set.

    Attributes:
        clusters: the exact ones first; a near cluster may hold exact copies too.
        alike: images in near clusters so large that they were set aside: the hash does not tell them apart.
    """

    clusters: tuple[Cluster, ...] = ()
    alike: int = 0


def find_duplicates(facts: pd.DataFrame, folder: Path | None = None) -> Duplicates:
    """The duplicates among decoded images; constant images, whose hashes are all the same, are compared by pixels only.

    Args:
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        folder: where the pairs may be kept; they depend on nothing but the facts.
    """
    decoded = facts[facts["problem"] == ""]
    exact = [
        Cluster("exact", tuple(map(int, rows)))
        for rows in decoded.groupby("pixels", sort=False).groups.values()
        if len(rows) > 1
    ]
    varied = decoded[~decoded["constant"]]
    pairs = _kept_pairs(varied, folder)
    near, alike = [], 0
    for first, others in pd.Series(pairs[:, 1]).groupby(pairs[:, 0]):
        rows = [first, *others]
        if facts["pixels"].iloc[rows].nunique() == 1:
            continue
        n, n_all = len(rows), len(facts)
        if n > max(FEW, ALIKE_SHARE * n_all) or (n >= MAJORITY_FROM and 2 * n > n_all):  # too large to be copies
            alike += n
            continue
        bits = _bits(facts["perceptual_hash"].iloc[rows])
        distance = int((bits != bits[0]).sum(axis=1).max())
        near.append(Cluster("near", tuple(map(int, rows)), distance))
    clusters = [*sorted(exact, key=lambda c: c.rows), *sorted(near, key=lambda c: c.rows)]
    return Duplicates(tuple(clusters), alike)


def _kept_pairs(varied: pd.DataFrame, folder: Path | None) -> npt.NDArray[np.int64]:
    """Pairs of row numbers that join the near duplicates, from ``folder`` if they are there already."""
    file = folder / f"near-{NEAR_BITS}.npy" if folder else None
    rows = varied.index.to_numpy()
    kept = _read_pairs(file, rows) if file is not None and checksums.intact(file) else None
    if kept is not None:
        return kept
    pairs = np.asarray(rows[near_pairs(varied["perceptual_hash"].tolist())], dtype=np.int64)
    if file is not None:
        with atomic_path(file) as temporary:
            np.save(temporary, pairs)
            checksums.keep(file, of=temporary)
    return pairs


def _read_pairs(file: Path, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """The pairs in ``file``; None if it is torn or holds anything but pairs of ``rows``."""
    try:
        with file.open("rb") as opened:
            pairs = np.lib.format.read_array(opened, allow_pickle=False)
    except Exception:  # NumPy raises whatever a broken file makes of itself: ValueError, EOFError, SyntaxError, …
        return None
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind != "i" or not np.isin(pairs, rows).all():
        return None
    return np.asarray(pairs, dtype=np.int64)


def near_pairs(hashes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Pairs of positions that join all images whose hashes are at most NEAR_BITS apart, directly or in steps.

    Not every such pair, which would be millions where many images look alike: the first image of each set is paired
    with every other of it. All hashes are compared (as products of matrices: half a second for 5,000 images, about a
    minute for 100,000), a tile at a time, so that memory grows with the number of images only.

    Args:
        hashes: hexadecimal, all of one length.

    Returns:
        shape (n_pairs, 2), fewer pairs than images; the first of each set is its lowest position.
    """
    none = np.empty((0, 2), np.int64)
    if not hashes:
        return none
    different, inverse = np.unique(np.asarray(hashes), return_inverse=True)
    signs = _bits(different).astype(np.float32)
    signs *= 2
    signs -= 1
    n_hashes, width = signs.shape
    height, length = TILE
    component = np.arange(n_hashes)
    found: list[npt.NDArray[np.int64]] = []
    for top in range(0, n_hashes, height):
        for left in range(top, n_hashes, length):
            rows, columns = slice(top, top + height), slice(left, left + length)
            near = signs[rows] @ signs[columns].T >= width - 2 * NEAR_BITS
            near &= component[rows, None] != component[None, columns]  # the others are joined already
            found.append(np.argwhere(near) + np.array([top, left]))
            if sum(map(len, found)) > KEPT:
                component, found = components(n_hashes, component[np.concatenate(found)])[component], []
    component = components(n_hashes, component[np.concatenate([none, *found])])[component][inverse]
    _, first, inverse = np.unique(component, return_index=True, return_inverse=True)
    later = np.flatnonzero(first[inverse] != np.arange(len(hashes)))
    return np.column_stack([first[inverse[later]], later]).astype(np.int64)


def _bits(hashes: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Hexadecimal hashes as bits, shape (n_hashes, n_bits)."""
    return np.unpackbits(np.array([list(bytes.fromhex(one)) for one in hashes], dtype=np.uint8), axis=1)
