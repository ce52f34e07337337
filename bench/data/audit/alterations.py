"""What was done to an image to make its copy: the map between two thumbnails, and its name."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import THUMBNAIL

Matrix = npt.NDArray[np.float64]

PAIR = np.dtype(
    [
        ("first", "i8"),
        ("later", "i8"),
        ("inverted", "?"),
        ("framed", "?"),
        ("matrix", "f8", (2, 3)),
        ("agreement", "f8"),
    ]
)
"""Two images that are altered copies of each other, as they are kept: row numbers, and what `Alteration` holds."""
Pairs = npt.NDArray[np.void]

UNTURNED = 1.5  # degrees up to which a copy counts as not turned, or turned by a quarter exactly
SAME_SCALE = 0.03  # a copy that shows larger or smaller by more is cropped or bordered
IN_PLACE = 0.02  # of the width: a copy whose middle lies farther off is shifted
MIRROR: Matrix = np.array([[-1.0, 0.0, THUMBNAIL - 1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
QUARTER: Matrix = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, THUMBNAIL - 1], [0.0, 0.0, 1.0]])
"""Left to right, and a quarter turn counter-clockwise, of a thumbnail's pixels."""
NEARLY = "nearly the same"


@dataclass(frozen=True)
class Alteration:
    """How the pixels of one image lie in a copy of it.

    Attributes:
        matrix: shape (3, 3): pixel (x, y, 1) of the image's thumbnail -> that of the copy's; its determinant is
            negative if the copy is mirrored.
        inverted: whether black became white.
        framed: whether all that the one image shows beyond the other is flat, as a border is.
        near: whether nothing was done, but that a near duplicate differs a little.
    """

    matrix: Matrix
    inverted: bool = False
    framed: bool = False
    near: bool = False

    @classmethod
    def of(cls, pair: Any) -> "Alteration":
        """That of one element of an array of PAIR."""
        return cls(homogeneous(pair["matrix"]), bool(pair["inverted"]), bool(pair["framed"]))

    def reversed(self) -> "Alteration":
        """From the copy to the image."""
        return Alteration(np.asarray(np.linalg.inv(self.matrix), np.float64), self.inverted, self.framed, self.near)

    def then(self, other: "Alteration") -> "Alteration":
        """Both, one after the other."""
        inverted, framed = self.inverted != other.inverted, self.framed or other.framed
        return Alteration(other.matrix @ self.matrix, inverted, framed, self.near and other.near)

    def parts(self, size: tuple[int, int] = (1, 1), copy_size: tuple[int, int] = (1, 1)) -> dict[str, float]:
        """What was done, most telling first: kind -> by how many degrees, 0 where there is nothing to say.

        Args:
            size: width and height of the image before it was squashed to a thumbnail.
            copy_size: those of the copy.
        """
        mirrored = bool(np.linalg.det(self.matrix[:2, :2]) < 0)
        matrix = MIRROR @ self.matrix if mirrored else self.matrix
        degrees = _turn(np.diag(copy_size) @ matrix[:2, :2] @ np.diag(1 / np.array(size)))
        quarters = round(degrees / 90) % 4
        exact = abs(degrees - 90 * round(degrees / 90)) <= UNTURNED
        found: dict[str, float] = {}
        if mirrored and exact and quarters == 2:
            found["mirrored top to bottom"] = 0
        elif mirrored:
            found["mirrored"] = 0
        if not exact:
            found["rotated"] = abs(degrees)
        elif quarters == 2 and not mirrored:
            found["rotated"] = 180
        elif quarters in (1, 3):
            found["rotated"] = 90
        if self.inverted:
            found["inverted"] = 0
        scale = math.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        middle = np.array([(THUMBNAIL - 1) / 2] * 2 + [1.0])
        if abs(math.log(scale)) > SAME_SCALE:
            found["bordered" if self.framed else "cropped"] = 0
        elif np.hypot(*(matrix @ middle - middle)[:2]) > IN_PLACE * THUMBNAIL:
            found["shifted"] = 0
        return found or {"changed in contrast": 0}


IDENTITY = Alteration(np.eye(3), near=True)


def homogeneous(affine: npt.NDArray[np.floating[Any]]) -> Matrix:
    """An affine map of shape (2, 3) as one of shape (3, 3)."""
    return np.vstack([affine, [0.0, 0.0, 1.0]]).astype(np.float64)


def _turn(linear: Matrix) -> float:
    """The rotation nearest to a linear map without reflection, in degrees from −180 to 180."""
    u, _, v = np.linalg.svd(linear)
    rotation = u @ v
    return math.degrees(math.atan2(rotation[1, 0], rotation[0, 0]))


def in_words(parts: dict[str, float]) -> str:
    """As ``mirrored, rotated by 7 degrees and cropped``."""
    told = [f"{kind} by {degrees:.0f} degrees" if degrees else kind for kind, degrees in parts.items()]
    return " and ".join([", ".join(told[:-1]), told[-1]] if len(told) > 1 else told)
