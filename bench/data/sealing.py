"""Images that nothing may read yet: a seal on some rows of a stored set.

The test split is under such a seal from the moment the splits are known; `bench.evaluation.test_access` alone holds the
set without it. A seal keeps mistakes out, not malice: the file itself is readable.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


class Sealed(Exception):
    """An image of the test split was to be read before the split was opened."""


def seal_of(rows: npt.NDArray[np.integer[Any]]) -> str:
    """The seal of some rows as a text (a bit an image, in hexadecimal): it compares, is hashed and goes into JSON."""
    if not len(rows):
        return ""
    bits = np.zeros(int(np.max(rows)) + 1, np.uint8)
    bits[rows] = 1
    return np.packbits(bits).tobytes().hex()


def sealed_rows(seal: str) -> npt.NDArray[np.int64]:
    """The rows of a seal, in rising order."""
    return np.flatnonzero(np.unpackbits(np.frombuffer(bytes.fromhex(seal), np.uint8))).astype(np.int64)


class SealedPixels:
    """An array of images some of whose rows are out of reach.

    Args:
        array: of shape (n_images, height, width, channels).
        seal: as `seal_of` gives it.
    """

    def __init__(self, array: npt.NDArray[np.uint8], seal: str) -> None:
        self._array = array
        bits = np.unpackbits(np.frombuffer(bytes.fromhex(seal), np.uint8))[: len(array)]
        self._sealed = np.zeros(len(array), bool)
        self._sealed[: len(bits)] = bits
        self.shape = array.shape
        self.dtype = array.dtype

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        """The images of some rows.

        Raises:
            Sealed: if one of them is sealed.
            TypeError: for anything but a one-dimensional array of row numbers.
        """
        if not (isinstance(rows, np.ndarray) and rows.ndim == 1 and np.issubdtype(rows.dtype, np.integer)):
            raise TypeError("a stored set with sealed images is read by a 1-d array of row numbers")
        refused = np.count_nonzero(self._sealed[rows])
        if refused:
            raise Sealed(
                f"{refused} of the {len(rows)} images asked for belong to the test split, which is sealed until every "
                "choice is written down; bench.evaluation alone opens it."
            )
        return np.asarray(self._array[rows])
