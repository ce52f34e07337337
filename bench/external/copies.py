"""Which external images the run of a model holds already: by the same pixels, or by nearly the same look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

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

    def copies(self, facts: pd.DataFrame) -> dict[int, tuple[str, str]]:
        """Position of each image that is a copy -> why it takes no part, and of which image it is a copy.

        Args:
            facts: of the external images, columns as in `bench.data.images.decode.Facts`.
        """
        found: dict[int, tuple[str, str]] = {}
        for place, pixels in enumerate(facts["pixels"]):
            if pixels in self.by_pixels:
                split, name = self.by_pixels[pixels]
                found[place] = OF_SPLIT[split], f"the same pixels as {name}"
        varied = (~facts["constant"].astype(bool)).to_numpy()
        left = [place for place in np.flatnonzero(varied).tolist() if place not in found]
        looks = facts["perceptual_hash"].astype(str).tolist()
        for split, (theirs, names) in self.by_look.items():
            rest = [place for place in left if place not in found and len(looks[place]) == PERCEPTUAL]
            for start in range(0, len(rest), BLOCK):
                block = rest[start : start + BLOCK]
                near = copied_from("".join(looks[place] for place in block), theirs)
                for place, other in zip(block, near.tolist(), strict=True):
                    if other >= 0:
                        found[place] = OF_SPLIT[split], f"nearly the same look as {names[other]}"
        return found
