"""Which external images the run of a model holds already: the same pixels, nearly the same look, or that turned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.audit.orientations import reoriented_hashes
from bench.data.images.decode import Pixels
from bench.errors import ConfigError
from bench.evaluation.known_images import PERCEPTUAL, copied_from
from bench.run.folder import RunDir
from bench.run.tables import SPLITS

BLOCK = 512
"""Images that are compared with all of the run at a time."""
OF_SPLIT = {"train": "copy of a training image", "val": "copy of a validation image", "test": "copy of a test image"}
"""Split of the run -> why a copy of one of its images takes no part."""


@dataclass(frozen=True)
class KnownImages:
    """The images of a run that had a part in its model, or are its internal test.

    Attributes:
        images: how many there are.
        by_pixels: hash of the pixels -> split and name.
        by_look: split -> perceptual hashes, one after the other, and the names of their images.
        patients: of train and validation, as the run's source names them.
        unchecked: why none are known, in words; empty if they are.
    """

    images: int = 0
    by_pixels: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    by_look: Mapping[str, tuple[str, Sequence[str]]] = field(default_factory=dict)
    patients: frozenset[str] = frozenset()
    unchecked: str = ""

    @classmethod
    def of_run(cls, run: RunDir | None) -> "KnownImages":
        """As splits.csv of the run has them; of a model without its run none are known."""
        if run is None:
            return cls(unchecked="the model was given without its run, which alone knows the training images")
        try:
            table = SPLITS.read(run.path)
        except (OSError, ValueError, ConfigError):
            return cls(unchecked="splits.csv of the run cannot be read")
        table = table[table["split"].isin(list(OF_SPLIT))]
        hashed = table[table["pixels"] != ""]
        if len(hashed) < len(table) or not len(table):
            return cls(unchecked="splits.csv of the run, of an earlier version, holds no hashes of its images")
        by_look: dict[str, tuple[str, Sequence[str]]] = {}
        for split, part in hashed[hashed["looks"].str.len() == PERCEPTUAL].groupby("split"):
            by_look[str(split)] = "".join(part["looks"]), part["image"].tolist()
        rows = zip(hashed["pixels"], hashed["split"], hashed["image"], strict=True)
        taught = hashed[hashed["split"] != "test"]
        own = taught.loc[taught["patient"] != taught["image"], "patient"]
        return cls(len(hashed), {pixels: (split, name) for pixels, split, name in rows}, by_look, frozenset(own) - {""})

    def copies(self, facts: pd.DataFrame, thumbnails: Pixels, rows: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Row number of each image that is a copy -> why it takes no part, and of which image it is a copy.

        Args:
            facts: of the external images, columns as in `bench.data.images.decode.Facts`.
            thumbnails: of the same images, uint8 of shape (n_images, side, side).
            rows: those that are looked at; all of them could be decoded.
        """
        found: dict[int, tuple[str, str]] = {}
        for row in rows:
            if (pixels := facts["pixels"].iloc[row]) in self.by_pixels:
                split, name = self.by_pixels[pixels]
                found[row] = OF_SPLIT[split], f"the same pixels as {name}"
        looks, constant = facts["perceptual_hash"].astype(str).to_numpy(), facts["constant"].to_numpy(dtype=bool)
        left = np.array([row for row in rows if row not in found and not constant[row]], np.int64)
        found |= self._alike(left, "".join(looks[left]))
        for start in range(0, len(left), BLOCK):
            block = left[start : start + BLOCK]
            for done, hashes in reoriented_hashes(thumbnails, block):
                found = self._alike(block, hashes, f", {done}") | found
        return found

    def _alike(self, rows: npt.NDArray[np.int64], looks: str, done: str = "") -> dict[int, tuple[str, str]]:
        """Which images look, by the hashes of ``rows``, like one of the run: as `copies` returns it."""
        found: dict[int, tuple[str, str]] = {}
        for split, (theirs, names) in self.by_look.items():
            for start in range(0, len(rows), BLOCK):
                near = copied_from(looks[start * PERCEPTUAL : (start + BLOCK) * PERCEPTUAL], theirs)
                for row, other in zip(rows[start : start + BLOCK].tolist(), near.tolist(), strict=True):
                    if other >= 0 and row not in found:
                        found[row] = OF_SPLIT[split], f"nearly the same look as {names[other]}{done}"
        return found
