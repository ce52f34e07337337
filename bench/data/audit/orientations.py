"""Copies in another orientation, or inverted, by a perceptual hash of the eight orientations of each thumbnail."""

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt
from scipy.fft import dctn

from bench.data.audit.alterations import MIRROR, QUARTER, Alteration, Matrix, in_words
from bench.data.audit.local_features import Candidate
from bench.data.images.decode import HASH_SIZE, Pixels

NEAR_BITS = 16
"""Bits of 256 by which the hash of a copy, turned back, differs at most: as for near duplicates. The nearest mirrored
stranger of 2,920 chest X-rays is 52 bits away."""
SMALL = 4 * HASH_SIZE  # pixels of what is hashed
ORIENTATIONS = tuple((mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
TILE = 1024  # hashes compared at a time with all others
MOST_EACH = 20
"""Pairs an image on average; where there are more, the images are too alike for the hash, and no more are sought."""


def oriented(thumbnails: Pixels, rows: npt.NDArray[np.int64]) -> list[Candidate]:
    """Pairs of ``rows`` that look alike in one of eight orientations, inverted or not, once contrast is equalised.

    All are compared with all, as products of matrices: some 3 seconds for 5,000 images.

    Args:
        thumbnails: of all images.
        rows: those to be compared.
    """
    low = _frequencies(thumbnails, rows, equalised=True)
    varied = low.any(axis=(1, 2))
    low, rows = low[varied], rows[varied]
    plain = _signs(low)
    n_bits, found = plain.shape[1], []
    for mirrored, quarters in ORIENTATIONS:
        turned = _signs(_turned(low, mirrored, quarters))
        for top in range(0, len(rows), TILE):
            alike = plain[top : top + TILE] @ turned.T
            for inverted in (False, True):
                first, later = np.nonzero((-alike if inverted else alike) >= n_bits - 2 * NEAR_BITS)
                guess = orientation_matrix(quarters)
                found += [
                    Candidate(one, other, mirrored, inverted, guess)
                    for one, other in zip(rows[first + top].tolist(), rows[later].tolist(), strict=True)
                    if one < other
                ]
                if len(found) > MOST_EACH * len(rows):
                    return found
    return found


def orientation_matrix(quarters: int) -> Matrix:
    """Pixel of an image -> pixel of the image turned by so many quarters."""
    return np.asarray(np.linalg.matrix_power(QUARTER, quarters), dtype=np.float64)


def reoriented_hashes(thumbnails: Pixels, rows: npt.NDArray[np.int64]) -> Iterator[tuple[str, str]]:
    """What images would look like in each other orientation, inverted or not, to the hash of those that are not turned.

    For images of which the hash alone is known: `bench.data.images.decode.perceptual_hash`.

    Args:
        thumbnails: of all images.
        rows: those that are turned.

    Yields:
        what was done, such as ``mirrored and inverted``, and the hashes, hexadecimal, one after the other.
    """
    low = _frequencies(thumbnails, rows, equalised=False)
    for mirrored, quarters in ORIENTATIONS:
        turned = _turned(low, mirrored, quarters).reshape(len(rows), HASH_SIZE**2)
        matrix = orientation_matrix(quarters)
        for inverted in (False, True):
            if mirrored or quarters or inverted:
                bits = _above_median(-turned if inverted else turned)
                bits[:, 0] = True  # the mean brightness, which is above zero and above all others
                done = Alteration(MIRROR @ matrix if mirrored else matrix, inverted).parts()
                yield in_words(done), np.packbits(bits, axis=1).tobytes().hex()


def _frequencies(thumbnails: Pixels, rows: npt.NDArray[np.int64], equalised: bool) -> npt.NDArray[np.float32]:
    """The lowest frequencies of each image, its contrast ``equalised`` or as it is: (n, HASH_SIZE, HASH_SIZE)."""
    found = np.empty((len(rows), HASH_SIZE, HASH_SIZE), np.float32)
    for position, row in enumerate(rows.tolist()):
        pixels = np.asarray(thumbnails[row])
        pixels = cv2.equalizeHist(pixels) if equalised else pixels
        small = cv2.resize(pixels, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
        found[position] = dctn(small - np.float32(small.mean()))[:HASH_SIZE, :HASH_SIZE]
    return found


def _turned(low: npt.NDArray[np.float32], mirrored: bool, quarters: int) -> npt.NDArray[np.float32]:
    """The frequencies of the images, turned back by so many quarters after they were mirrored.

    Mirroring an image changes the sign of every second column of its cosine transform, turning it upside down that of
    every second row, and transposing it transposes that.
    """
    sign = np.where(np.arange(HASH_SIZE) % 2, -1, 1).astype(np.float32)
    low = low * sign if mirrored else low
    for _ in range(quarters):
        low = low.transpose(0, 2, 1) * sign
    return low


def _signs(low: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """1 or −1 for each frequency above or not above the median, the mean brightness left out: shape (n, bits)."""
    flat = low.reshape(len(low), HASH_SIZE**2)[:, 1:]
    return np.where(_above_median(flat), np.float32(1), np.float32(-1))


def _above_median(values: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which values of each row are above the median of the row."""
    return np.asarray(values > np.median(values, axis=1, keepdims=True))
