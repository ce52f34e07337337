"""Copies that are turned, shifted, cropped, bordered or changed in contrast, mirrored and inverted ones among them.

Three steps. Local features (ORB: Rublee et al., ICCV 2011) of each thumbnail, of its mirror image and of the negatives
of both. Votes: features of two images whose descriptors agree in some bits drawn at random (locality-sensitive hashing:
Indyk & Motwani, STOC 1998) vote for the pair, by the angle between them; only pairs with most votes are looked at.
Their pixels decide: an affine map is fitted (RANSAC, refined by Evangelidis & Psarakis, IEEE TPAMI 30:1858, 2008), and
what both show must correlate in its fine structure.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import DisjointSet

from bench.data.audit.alterations import MIRROR, PAIR, Matrix, Pairs, homogeneous
from bench.data.images.decode import THUMBNAIL, Pixels
from bench.device import cpu_cores

AGREEMENT = 0.88
"""Correlation of fine structure from which on two images are copies; docs/method/copies.md has how strangers and copies
lie on either side of it."""
AGREEMENT_OF_HASHED = 0.7  # the same where the perceptual hash of one orientation says so already
MOST_FEATURES = 150  # of one image
FEWEST_FEATURES = 20  # an image with fewer is too plain to be compared
PATCH = 31  # side of what a descriptor describes, in pixels
VARIANTS = ((False, False), (True, False), (False, True), (True, True))  # mirrored, inverted
TABLES, BITS = 12, 24
"""So many times features are sorted by so many bits, among GAUGED images; more bits among more, as pairs of strangers
grow with the square of their number."""
GAUGED = 5_000
LARGEST = 16  # features that more others share say little
MOST_VOTES = 2_500_000  # of one variant in one table: bounds the memory
FEWEST_VOTES = 3
BATCH = 64  # pairs that are looked at before those that have become needless are left out
LEAST_COMMON = 400  # pixels of structure that both images of a pair must show


@dataclass(frozen=True)
class Features:
    """Local features of one image.

    Attributes:
        points: float array of shape (n, 2), x and y in pixels.
        angles: uint8 array of shape (n,), in 64ths of a turn.
        descriptors: uint8 array of shape (n, 32).
    """

    points: npt.NDArray[np.float32]
    angles: npt.NDArray[np.uint8]
    descriptors: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Candidate:
    """A pair to be looked at: positions of two images, and what the later one is turned into before."""

    first: int
    later: int
    mirrored: bool
    inverted: bool
    guess: Matrix | None = None


def structure(pixels: Pixels) -> tuple[Pixels, Pixels]:
    """What brightness, windowing and a border leave as it is, and where an image shows something at all.

    Returns:
        the image with mean and contrast of every neighbourhood alike, flat parts left out of account; and 1 where it
        shows something, 0 in flat parts, such as a border, and near to them.
    """
    around = np.ones((5, 5), np.uint8)
    varied = (cv2.dilate(pixels, around) - cv2.erode(pixels, around) > 8).astype(np.uint8)
    varied = cv2.morphologyEx(varied, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    varied[[0, -1]] = varied[:, [0, -1]] = 0
    inside = cv2.erode(varied, around)  # dilation has widened it
    weight = inside.astype(np.float32)
    values = pixels.astype(np.float32) * weight
    near = cv2.GaussianBlur(weight, (0, 0), 8) + 1e-3
    mean = cv2.GaussianBlur(values, (0, 0), 8) / near
    spread = np.sqrt(np.maximum(cv2.GaussianBlur(values * values, (0, 0), 8) / near - mean * mean, 0))
    even = np.clip(128 + 50 * (pixels - mean) / (spread + 4), 0, 255)
    shown = np.where(inside > 0, even, 128).astype(np.uint8)
    return shown, np.asarray(cv2.erode(inside, around), dtype=np.uint8)


def variant(pixels: Pixels, mirrored: bool, inverted: bool) -> Pixels:
    """An image, its mirror image or negative, or both."""
    pixels = np.ascontiguousarray(pixels[:, ::-1]) if mirrored else pixels
    return np.asarray(255 - pixels if inverted else pixels, dtype=np.uint8)


def extract(pixels: Pixels) -> tuple[Features, ...]:
    """The features of each of VARIANTS of a thumbnail."""
    shown, mask = structure(pixels)
    orb = cv2.ORB.create(MOST_FEATURES, 1.2, 4, edgeThreshold=PATCH // 2 + 1, patchSize=PATCH, fastThreshold=5)
    points, found = orb.detect(shown, mask), []
    for mirrored, inverted in VARIANTS:  # the same points: only their descriptors are others
        moved = [_varied(point, mirrored, inverted) for point in points]
        same, descriptors = orb.compute(variant(shown, mirrored, inverted), moved)
        places = np.array([point.pt for point in same], np.float32).reshape(-1, 2)
        angles = np.array([round(point.angle * 64 / 360) % 64 for point in same], np.uint8)
        found.append(Features(places, angles, descriptors if len(same) else np.empty((0, 32), np.uint8)))
    return tuple(found)


def _varied(point: cv2.KeyPoint, mirrored: bool, inverted: bool) -> cv2.KeyPoint:
    """Where a feature lies in the mirror image, and where it points there or in the negative."""
    x, angle = (THUMBNAIL - 1 - point.pt[0], 180 - point.angle) if mirrored else (point.pt[0], point.angle)
    return cv2.KeyPoint(x, point.pt[1], point.size, (angle + 180 * inverted) % 360, point.response, point.octave)


# Which pairs to look at


def candidates(features: Sequence[tuple[Features, ...]], pool: ThreadPoolExecutor) -> list[Candidate]:
    """Pairs of images with at least FEWEST_VOTES, most first."""
    n = len(features)
    bits = int(np.clip(BITS + round(1.5 * np.log2(max(n, 1) / GAUGED)), 14, 32))
    chosen = [np.random.default_rng(table).choice(256, bits, replace=False) for table in range(TABLES)]
    joined = [_Joined.of([one[number] for one in features]) for number in range(len(VARIANTS))]
    plain = joined[0]

    def votes(table: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        own, found = plain.sorted_by(table), []
        for number, other in enumerate(joined):
            first, later = _meeting(plain, own, other, own if number == 0 else other.sorted_by(table))
            turn = (other.angles[later] - plain.angles[first]) % 64 >> 2
            pair = (plain.image[first] * len(VARIANTS) + number) * n + other.image[later]
            found.append(pair * 16 + turn)
        return np.concatenate(found)

    pairs, counts = _most_voted(np.concatenate(list(pool.map(votes, chosen))))
    ordered = pairs[np.argsort(-counts, kind="stable")]
    split = zip(*np.divmod(ordered, n), strict=True)
    return [Candidate(int(one // len(VARIANTS)), int(later), *VARIANTS[one % len(VARIANTS)]) for one, later in split]


@dataclass(frozen=True)
class _Sorted:
    """Features in the order of some bits of their descriptors: those bits as a number, and where the feature stands."""

    keys: npt.NDArray[np.uint64]
    order: npt.NDArray[np.int64]


@dataclass(frozen=True)
class _Joined:
    """The features of all images in one row: the image of each, its angle and its descriptor.

    Attributes:
        image: shape (n,).
        angles: shape (n,).
        descriptors: shape (32, n): one byte of all is read at a time.
    """

    image: npt.NDArray[np.int64]
    angles: npt.NDArray[np.uint8]
    descriptors: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, features: Sequence[Features]) -> "_Joined":
        image = np.repeat(np.arange(len(features)), [len(one.angles) for one in features])
        angles = np.concatenate([one.angles for one in features])
        return cls(image, angles, np.ascontiguousarray(np.concatenate([one.descriptors for one in features]).T))

    def sorted_by(self, bits: npt.NDArray[np.int64]) -> _Sorted:
        """All features by some bits of their descriptors; equal ones in the order of their places."""
        keys = np.zeros(len(self.image), np.uint64)
        for bit in bits.tolist():
            keys <<= np.uint64(1)
            keys |= self.descriptors[bit >> 3] >> np.uint8(7 - (bit & 7)) & np.uint8(1)
        keys <<= np.uint64(32)
        keys |= np.arange(len(keys), dtype=np.uint64)  # sorted as one number, which is several times as fast as argsort
        keys.sort()
        return _Sorted(keys >> np.uint64(32), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64))


def _meeting(
    one: _Joined, own: _Sorted, other: _Joined, theirs: _Sorted
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Positions of features of ``one`` and ``other`` with the same key, the former of an earlier image."""
    start = np.searchsorted(own.keys, theirs.keys)
    count = np.searchsorted(own.keys, theirs.keys, side="right") - start
    largest = LARGEST
    while count[count <= largest].sum() > MOST_VOTES:
        largest //= 2
    count[count > largest] = 0
    later = np.repeat(np.arange(len(count)), count)
    within = np.arange(len(later)) - np.repeat(np.cumsum(count) - count, count)
    first, later = own.order[start[later] + within], theirs.order[later]
    ordered = one.image[first] < other.image[later]
    return first[ordered], later[ordered]


def _most_voted(votes: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Pairs with FEWEST_VOTES in one 16th of a turn and the next; ``votes`` are 16 times a pair, plus the 16th."""
    votes.sort()
    start = np.flatnonzero(np.r_[True, votes[1:] != votes[:-1]][: len(votes)])
    voted, count = votes[start], np.diff(np.r_[start, len(votes)])
    pair, turn = voted >> 4, voted & 15
    after = pair * 16 + (turn + 1) % 16
    place = np.minimum(np.searchsorted(voted, after), max(len(voted) - 1, 0))
    count = count + np.where(voted[place] == after, count[place], 0) if len(voted) else count
    first = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]][: len(pair)])
    best = np.maximum.reduceat(count, first) if len(first) else count
    enough = best >= FEWEST_VOTES
    return pair[first][enough], best[enough]


# Looking at them


class Looking:
    """Compares the pixels of pairs of images.

    Args:
        thumbnails: of all images.
        rows: those that positions stand for.
        features: of each position.
    """

    def __init__(
        self, thumbnails: Pixels, rows: npt.NDArray[np.int64], features: Sequence[tuple[Features, ...]]
    ) -> None:
        self._thumbnails, self._rows, self._features = thumbnails, rows, features

    def at(self, candidate: Candidate) -> Pairs | None:
        """What a pair is, as one element of PAIR with positions in place of rows; None if no copies of each other."""
        hashed = candidate.guess is not None
        least = AGREEMENT_OF_HASHED if hashed else AGREEMENT
        guess = candidate.guess if hashed else self._guess(candidate)
        if guess is None:
            return None
        one, other = (np.asarray(self._thumbnails[self._rows[at]]) for at in (candidate.first, candidate.later))
        other = variant(other, candidate.mirrored, candidate.inverted)
        (shown, mask), (other_shown, other_mask) = structure(one), structure(other)
        agreement, matrix = agreement_of(shown, other_shown, mask, other_mask, guess), guess
        if agreement < AGREEMENT / 3:
            return None
        try:
            _, refined = cv2.findTransformECC(
                shown, other_shown, guess[:2].astype(np.float32), cv2.MOTION_AFFINE, (3, 20, 1e-3), mask * 255, 3
            )
            matrix = homogeneous(refined)
            again = agreement_of(shown, other_shown, mask, other_mask, matrix)
            agreement, matrix = (again, matrix) if again > agreement else (agreement, guess)
        except cv2.error:  # the refinement does not converge
            pass
        if agreement < least:
            return None
        framed = is_framed(one, other, matrix)
        whole = MIRROR @ matrix if candidate.mirrored else matrix
        pair = (candidate.first, candidate.later, candidate.inverted, framed, whole[:2], agreement)
        return np.array([pair], PAIR)

    def _guess(self, candidate: Candidate) -> Matrix | None:
        """The affine map that most features agree upon."""
        one = self._features[candidate.first][0]
        other = self._features[candidate.later][VARIANTS.index((candidate.mirrored, candidate.inverted))]
        matches = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True).match(one.descriptors, other.descriptors)
        matches = [match for match in matches if match.distance < 80]
        if len(matches) < 6:
            return None
        here, there = one.points[[m.queryIdx for m in matches]], other.points[[m.trainIdx for m in matches]]
        found, _ = cv2.estimateAffine2D(here, there, None, cv2.RANSAC, 3.0, 500, 0.99, 10)
        if found is None:
            return None
        scales = np.linalg.svd(found[:, :2], compute_uv=False)
        if not 0.4 < scales[1] <= scales[0] < 2.5 or np.linalg.det(found[:, :2]) < 0:
            return None
        return homogeneous(found)


def agreement_of(one: Pixels, other: Pixels, mask: Pixels, other_mask: Pixels, matrix: Matrix) -> float:
    """Correlation of the fine structure of two images where both show something; 0 where they share too little.

    Args:
        one: as `structure` gives it.
        other: likewise.
        mask: as `structure` gives it.
        other_mask: likewise.
        matrix: pixel of ``one`` -> pixel of ``other``, shape (3, 3).
    """
    side, back = (THUMBNAIL, THUMBNAIL), cv2.WARP_INVERSE_MAP
    both = cv2.warpAffine(other_mask, matrix[:2], side, flags=cv2.INTER_NEAREST | back) & mask
    if both.sum() < LEAST_COMMON:
        return 0.0
    moved = cv2.warpAffine(_fine(other), matrix[:2], side, flags=cv2.INTER_LINEAR | back)
    return float(np.nan_to_num(np.corrcoef(_fine(one)[both > 0], moved[both > 0])[0, 1]))


def _fine(shown: Pixels) -> npt.NDArray[np.float32]:
    values = shown.astype(np.float32)
    return np.asarray(cv2.GaussianBlur(values, (0, 0), 0.7) - cv2.GaussianBlur(values, (0, 0), 3.0), dtype=np.float32)


def is_framed(one: Pixels, other: Pixels, matrix: Matrix) -> bool:
    """Whether what the wider of two images shows beyond the other is flat; ``matrix`` as of `agreement_of`."""
    wider = np.linalg.det(matrix[:2, :2]) < 1
    outer, into = (other, matrix) if wider else (one, np.linalg.inv(matrix))
    shown = cv2.warpAffine(np.ones_like(outer), into[:2], (THUMBNAIL, THUMBNAIL), flags=cv2.INTER_NEAREST)
    beyond = outer[cv2.dilate(shown, np.ones((5, 5), np.uint8)) == 0]
    return bool(len(beyond) and np.subtract(*np.percentile(beyond, [90, 10])) < 10)


# All of it


def find_altered(
    thumbnails: Pixels,
    rows: npt.NDArray[np.int64],
    likely: Sequence[Candidate],
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[Pairs, npt.NDArray[np.int64]]:
    """Pairs of altered copies that join all of them, and the rows of images too plain to be compared.

    Takes about 12 ms of one core an image, most of it in threads.

    Args:
        thumbnails: of all images.
        rows: those among which copies are sought.
        likely: pairs of them, by row, to be looked at first.
        advance: called with the number of images whose features have been extracted.
    """
    cv2.setNumThreads(1)  # the threads are here: OpenCV's own would get into each other's way
    with ThreadPoolExecutor(cpu_cores()) as pool:
        features = []
        for one in pool.map(lambda row: extract(np.asarray(thumbnails[row])), rows.tolist()):
            features.append(one)
            advance(1)
        counts = np.array([len(one[0].angles) for one in features], dtype=np.int64)
        looking = Looking(thumbnails, rows, features)
        place = {row: position for position, row in enumerate(rows.tolist())}
        first = [Candidate(place[one.first], place[one.later], one.mirrored, one.inverted, one.guess) for one in likely]
        found = _looked_at(looking, first, len(rows), pool)
        found += _looked_at(looking, candidates(features, pool), len(rows), pool, found)
    pairs = np.concatenate([np.empty(0, PAIR), *found])
    pairs["first"], pairs["later"] = rows[pairs["first"]], rows[pairs["later"]]
    return pairs, rows[counts < FEWEST_FEATURES]


def _looked_at(
    looking: Looking, wanted: Sequence[Candidate], n: int, pool: ThreadPoolExecutor, known: Sequence[Pairs] = ()
) -> list[Pairs]:
    """The pairs that are copies, without those that others join already; the search ends after many failures."""
    joined = DisjointSet(range(n))
    for one in known:
        joined.merge(int(one["first"][0]), int(one["later"][0]))
    found, failures = [], 0
    for start in range(0, len(wanted), BATCH):
        open_ones = [one for one in wanted[start : start + BATCH] if not joined.connected(one.first, one.later)]
        for pair in pool.map(looking.at, open_ones):
            if pair is None:
                failures += 1
            elif joined.merge(int(pair["first"][0]), int(pair["later"][0])):
                found.append(pair)
        if failures > n + 50:
            break
    return found
