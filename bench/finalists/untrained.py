"""Controls that are no networks: the classes' shares, and boosted trees on what is known of images without looking."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.audit import shortcut

NO_METADATA = "size, aspect ratio, colour mode and bytes are the same in all training images"


def majority_scores(labels: npt.NDArray[np.int64], n_classes: int, n_images: int) -> npt.NDArray[np.float32]:
    """The classes' shares of the training ``labels``, for every image: shape (n_images, n_classes), rows sum to 1."""
    shares = np.bincount(labels, minlength=n_classes) / max(len(labels), 1)
    return np.tile(shares.astype(np.float32), (n_images, 1))


class NothingVaries(Exception):
    """Metadata are the same in all training images, so that nothing can be told by them."""


@dataclass(frozen=True)
class MetadataControl:
    """Boosted trees on image metadata alone, the model of `bench.data.audit.shortcut`; build it with `fit`."""

    facts: pd.DataFrame
    labels: npt.NDArray[np.int64]
    n_classes: int

    @classmethod
    def fit(cls, facts: pd.DataFrame, labels: npt.NDArray[np.int64], n_classes: int) -> "MetadataControl":
        """The model of the training images.

        Args:
            facts: a row an image, columns as in `bench.data.images.decode.Facts`.
            labels: class index of each.
            n_classes: number of classes.

        Raises:
            NothingVaries: if all images have the same metadata.
        """
        features = shortcut.metadata(facts)
        if not any(features[name].nunique() > 1 for name in features):
            raise NothingVaries(NO_METADATA)
        return cls(facts.reset_index(drop=True), np.asarray(labels), n_classes)

    def predict(self, facts: pd.DataFrame) -> npt.NDArray[np.float32]:
        """Class probabilities of other images, shape (n_images, n_classes); the same for the same image every time."""
        modes = sorted(set(self.facts["mode"]))

        def features(part: pd.DataFrame) -> pd.DataFrame:  # a colour mode that training did not know stands apart
            codes = [modes.index(mode) if mode in modes else -1.0 for mode in part["mode"]]
            return shortcut.metadata(part).assign(**{"colour mode": codes})

        both = pd.concat([features(self.facts), features(facts)], ignore_index=True)
        train, rest = np.arange(len(self.facts)), np.arange(len(self.facts), len(both))
        known, own = np.unique(self.labels, return_inverse=True)
        y = np.concatenate([own, np.zeros(len(facts), np.int64)])
        scores = np.zeros((len(facts), self.n_classes), np.float32)
        scores[:, known] = shortcut.out_of_fold(both, y, [(train, rest)])[rest]
        return scores
