"""Images that are the same: by their pixels, by a perceptual hash, or once one is mirrored, turned or cropped."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench import checksums
from bench.data.audit.alterations import IDENTITY, NEARLY, PAIR, Alteration, Pairs, in_words
from bench.data.images.decode import Pixels
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
MOST_COMPARED = 20_000
"""Altered copies are sought among so many images at most: the time grows faster than their number."""
ALTERED_FILE = "altered-2.npz"
"""Where altered pairs are kept; another number for another way of finding them."""
Counting = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""As `bench.run.console.Screen.counting`."""


def silently(title: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
    """Progress that nobody sees."""
    return nullcontext(lambda count: None)


@dataclass(frozen=True)
class Duplicates:
    """All duplicates of a set.

    Attributes:
        clusters: the exact ones first; a near cluster may hold exact copies too, and an altered one near copies.
        alike: images in clusters so large that they were set aside: nothing tells them apart.
        unsearched: why no altered copies were sought; empty if they were.
        plain: images too plain to be compared by local features.
    """

    clusters: tuple[Cluster, ...] = ()
    alike: int = 0
    unsearched: str = ""
    plain: int = 0


def find_duplicates(
    facts: pd.DataFrame,
    folder: Path | None = None,
    thumbnails: Pixels | None = None,
    counting: Counting = silently,
) -> Duplicates:
    """The duplicates among decoded images; constant images, whose hashes are all the same, are compared by pixels only.

    Args:
        facts: one row per image, columns as in `bench.data.images.decode.Facts`.
        folder: where the pairs may be kept; they depend on nothing but facts and thumbnails.
        thumbnails: in which altered copies are sought.
        counting: shows progress.
    """
    decoded = facts[facts["problem"] == ""]
    exact = [
        Cluster("exact", tuple(map(int, rows)))
        for rows in decoded.groupby("pixels", sort=False).groups.values()
        if len(rows) > 1
    ]
    varied = decoded[~decoded["constant"]]
    pairs = _kept_pairs(varied, folder)
    near, alike, joined, aside = [], 0, [], set()
    for first, others in pd.Series(pairs[:, 1]).groupby(pairs[:, 0]):
        rows = [int(str(first)), *map(int, others)]
        if too_many(len(rows), len(facts)):
            if facts["pixels"].iloc[rows].nunique() > 1:
                alike += len(rows)
            aside.add(rows[0])
            continue
        joined.append(rows)
        if facts["pixels"].iloc[rows].nunique() > 1:
            bits = _bits(facts["perceptual_hash"].iloc[rows])
            near.append(Cluster("near", tuple(rows), int((bits != bits[0]).sum(axis=1).max())))
    apart = np.array([row for row in varied.index if row not in {*pairs[:, 1].tolist(), *aside}], dtype=np.int64)
    found, plain, unsearched = _kept_altered(thumbnails, apart, folder, counting)
    altered, more_alike = _altered_clusters(found, joined, facts)
    in_order = [cluster for kind in (exact, near, altered) for cluster in sorted(kind, key=lambda c: c.rows)]
    return Duplicates(tuple(in_order), alike + more_alike, unsearched, plain)


def too_many(n: int, n_all: int) -> bool:
    """Whether a set is too large to be of copies."""
    return n > max(FEW, ALIKE_SHARE * n_all) or (n >= MAJORITY_FROM and 2 * n > n_all)


# Altered copies


def _kept_altered(
    thumbnails: Pixels | None, rows: npt.NDArray[np.int64], folder: Path | None, counting: Counting
) -> tuple[Pairs, int, str]:
    """Altered pairs among ``rows``, how many are too plain, and why none were sought; kept in ``folder``."""
    none = np.empty(0, PAIR)
    if thumbnails is None:
        return none, 0, "there are no thumbnails"
    if len(rows) > MOST_COMPARED:
        return none, 0, f"there are more than {MOST_COMPARED:,} images"
    if len(rows) < 2:
        return none, 0, ""
    file = folder / ALTERED_FILE if folder else None
    kept = _read_altered(file, rows) if file is not None and checksums.intact(file) else None
    if kept is None:
        from bench.data.audit.local_features import (
            find_altered,
        )  # OpenCV takes 0.2 s to import, which others need not wait
        from bench.data.audit.orientations import oriented

        with counting("Images searched for altered copies", len(rows)) as advance:
            kept = find_altered(thumbnails, rows, oriented(thumbnails, rows), advance)
        if file is not None:
            with atomic_path(file) as temporary:
                with temporary.open("wb") as opened:
                    np.savez(opened, pairs=kept[0], plain=kept[1])
                checksums.keep(file, of=temporary)
    return kept[0], len(kept[1]), ""


def _read_altered(file: Path, rows: npt.NDArray[np.int64]) -> tuple[Pairs, npt.NDArray[np.int64]] | None:
    """What is in ``file``; None if it is torn or holds anything but pairs of ``rows``."""
    try:
        with np.load(file, allow_pickle=False) as opened:
            pairs, plain = opened["pairs"], opened["plain"]
    except Exception:  # as below
        return None
    right = pairs.dtype == PAIR and plain.dtype.kind == "i"
    named = [pairs["first"], pairs["later"], plain] if right else []
    return (pairs, plain) if right and all(np.isin(some, rows).all() for some in named) else None


def _altered_clusters(pairs: Pairs, near: Sequence[Sequence[int]], facts: pd.DataFrame) -> tuple[list[Cluster], int]:
    """Sets that altered pairs join, with their near copies, and how many images are in sets too large to be copies."""
    beside: dict[int, list[tuple[int, Alteration]]] = {}
    edges = [(int(one["first"]), int(one["later"]), Alteration.of(one)) for one in pairs]
    for first, later, how in [*edges, *((rows[0], row, IDENTITY) for rows in near for row in rows[1:])]:
        beside.setdefault(first, []).append((later, how))
        beside.setdefault(later, []).append((first, how.reversed()))
    clusters, alike, seen = [], 0, set[int]()
    for start in sorted({row for first, later, _ in edges for row in (first, later)}):
        if start in seen:
            continue
        whole = _reached(start, beside)
        changes = _reached(min(whole), beside)
        seen |= set(whole)
        if too_many(len(whole), len(facts)):
            alike += len(whole)
            continue
        rows = tuple(sorted(whole))
        told = tuple("" if row == rows[0] else _change(rows[0], row, changes[row], facts) for row in rows)
        clusters.append(Cluster("altered", rows, 0, told))
    return clusters, alike


def _reached(start: int, beside: dict[int, list[tuple[int, Alteration]]]) -> dict[int, Alteration]:
    """Every image that pairs join with one -> what it is of that, by the shortest way."""
    found, waiting = {start: IDENTITY}, deque([start])
    while waiting:
        row = waiting.popleft()
        for other, how in beside[row]:
            if other not in found:
                found[other] = found[row].then(how)
                waiting.append(other)
    return found


def _change(first: int, row: int, how: Alteration, facts: pd.DataFrame) -> str:
    if how.near:
        return NEARLY
    sizes = facts[["width", "height"]].to_numpy()
    return in_words(how.parts(tuple(sizes[first]), tuple(sizes[row])))


# Near duplicates


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
