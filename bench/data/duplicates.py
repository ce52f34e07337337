"""Images that are the same: by their pixels, or by a perceptual hash; found from the stored facts alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEAR_BITS = 16
"""Images whose perceptual hashes differ by at most so many of their 256 bits count as near duplicates; see
`bench.data.decode.HASH_SIZE` for where this lies between recompressed images and different ones."""
BLOCK = 2048
FEW = 50
ALIKE_SHARE = 0.05
"""A set of near duplicates of more than FEW images and this share of all says that the images are too alike for the
hash to tell apart, not that they are copies of each other."""


@dataclass(frozen=True)
class Cluster:
    """Images that are copies of each other.

    Attributes:
        kind: ``exact`` (the same pixels) or ``near`` (perceptual hashes a few bits apart, directly or in steps).
        rows: their row numbers, ascending.
        distance: largest distance from the first of them, in bits of the perceptual hash.
    """

    kind: str
    rows: tuple[int, ...]
    distance: int = 0


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
    """The duplicates among decoded images; constant images, which all look the same, are compared by pixels only.

    Args:
        facts: a row an image, columns as in `bench.data.decode.Facts`.
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
    for rows in _components(len(facts), pairs):
        if facts["pixels"].iloc[rows].nunique() == 1:
            continue
        if len(rows) > max(FEW, ALIKE_SHARE * len(facts)):
            alike += len(rows)
            continue
        bits = _bits(facts["look"].iloc[rows])
        distance = int((bits != bits[0]).sum(axis=1).max())
        near.append(Cluster("near", tuple(map(int, rows)), distance))
    clusters = [*sorted(exact, key=lambda c: c.rows), *sorted(near, key=lambda c: c.rows)]
    return Duplicates(tuple(clusters), alike)


def _kept_pairs(varied: pd.DataFrame, folder: Path | None) -> npt.NDArray[np.int64]:
    """Pairs of row numbers of near duplicates, from ``folder`` if they are there already."""
    file = folder / f"near-{NEAR_BITS}.npy" if folder else None
    if file is not None and file.is_file():
        return np.asarray(np.load(file))
    pairs = varied.index.to_numpy()[near_pairs(varied["look"].tolist())]
    if file is not None:
        temporary = file.with_name(f".{file.name}")
        with temporary.open("wb") as opened:
            np.save(opened, pairs)
        temporary.replace(file)
    return np.asarray(pairs)


def near_pairs(looks: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions of all pairs whose hashes are at most NEAR_BITS apart: shape (n_pairs, 2).

    Equal hashes are paired with the first of their kind only, which joins them all the same. All pairs are compared
    (as products of matrices: half a second for 5,000 images, about a minute for 100,000).
    """
    if not looks:
        return np.empty((0, 2), np.int64)
    different, first, inverse = np.unique(np.asarray(looks), return_index=True, return_inverse=True)
    later = np.flatnonzero(first[inverse] != np.arange(len(looks)))
    found = [np.column_stack([first[inverse[later]], later])]
    signs = _bits(different).astype(np.float32) * 2 - 1
    width = signs.shape[1]
    for start in range(0, len(signs), BLOCK):
        agreement = signs[start : start + BLOCK] @ signs[start:].T
        a, b = np.nonzero(agreement >= width - 2 * NEAR_BITS)
        keep = b > a
        found.append(np.column_stack([first[start + a[keep]], first[start + b[keep]]]))
    return np.concatenate(found).astype(np.int64)


def _bits(looks: Iterable[str]) -> npt.NDArray[np.uint8]:
    """Hexadecimal hashes as bits, shape (n_hashes, n_bits)."""
    return np.unpackbits(np.array([list(bytes.fromhex(look)) for look in looks], dtype=np.uint8), axis=1)


def _components(n_images: int, pairs: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Row numbers of the images that pairs join, a set each."""
    if not len(pairs):
        return []
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(n_images, n_images))
    _, component = connected_components(graph, directed=False)
    joined = np.unique(pairs)
    order = joined[np.argsort(component[joined], kind="stable")]
    return list(np.split(order, np.flatnonzero(np.diff(component[order])) + 1))


def groups(table: pd.DataFrame, clusters: Iterable[Cluster]) -> pd.Series:
    """What must stay on one side of a split: patients (read widely), joined where they share a duplicate.

    Args:
        table: column ``patient``; the index counts from 0.
        clusters: duplicates, by row number.

    Returns:
        a number a row, equal within a group.
    """
    patient, names = pd.factorize(table["patient"])
    pairs = [(patient[cluster.rows[0]], patient[row]) for cluster in clusters for row in cluster.rows[1:]]
    ends = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(len(names), len(names)))
    _, component = connected_components(graph, directed=False)
    return pd.Series(component[patient], index=table.index, name="group")
