"""How far the features of an image lie from those of the training images: a Gaussian, its covariance by few components.

The distance is that of Mahalanobis in pooled features (Lee et al., A simple unified framework for detecting
out-of-distribution samples and adversarial attacks, NeurIPS 2018), of all classes together. The covariance is that of
probabilistic principal components (Tipping and Bishop, JRSS B 61:611, 1999): the leading ones by themselves, all that
is orthogonal to them with one variance. So what never varied in training counts too.
"""

import base64
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

Floats = npt.NDArray[np.floating]

MOST_COMPONENTS = 32
MOST_VALUES = 60_000
"""Of all components together: as text in a file they take 160 KB."""
FEWEST_IMAGES = 20
"""With fewer training images, or validation images, no limit is given."""
SMALLEST_SPREAD = 0.1
"""No feature is divided by less than this share of the median deviation: silent ones would drown the others."""
KEPT = 0.99
"""Share of validation images that the limit keeps."""


@dataclass(frozen=True)
class FeatureDistance:
    """A fitted Gaussian, and the limit of what counts as like the training images.

    Attributes:
        images: of training that it was fitted to.
        mean, spread: of each feature, float32; spreads are deviations, the smallest ones raised.
        components: orthonormal rows of shape (n_components, n_features), float16.
        variances: along each component, of features in spreads.
        rest: variance of every direction orthogonal to them.
        limit: the highest distance of an image that counts as like them.
        validation: images that the limit was found on.

    Arrays are kept as the base64 of their little-endian bytes.
    """

    images: int
    mean: str
    spread: str
    components: str
    variances: tuple[float, ...]
    rest: float
    limit: float
    validation: int

    def __post_init__(self) -> None:
        if self.rest <= 0 or min(self.variances, default=1.0) <= 0 or not self.limit > 0:
            raise ValueError("variances and the limit of a distance must be above 0")
        if len(self._mean) != len(self._spread) or self._axes.shape[1] != len(self._mean):
            raise ValueError("mean, spread and components must be of equally many features")

    @cached_property
    def _mean(self) -> Floats:
        return _decoded(self.mean, "<f4")

    @cached_property
    def _spread(self) -> Floats:
        return _decoded(self.spread, "<f4")

    @cached_property
    def _axes(self) -> Floats:
        return _decoded(self.components, "<f2").reshape(len(self.variances), -1)

    @property
    def features(self) -> int:
        """How many features it is about."""
        return len(self._mean)

    def distances(self, features: Floats) -> npt.NDArray[np.float64]:
        """Root mean squared distance in deviations.

        Args:
            features: pooled features, shape (n_images, n_features).

        Returns:
            array of shape (n_images,); about 1 for training images.
        """
        values = (np.asarray(features, dtype=np.float64) - self._mean) / self._spread
        along = values @ self._axes.T
        squares = np.maximum((values**2).sum(axis=1) - (along**2).sum(axis=1), 0) / self.rest
        return np.asarray(np.sqrt(((along**2 / np.asarray(self.variances)).sum(axis=1) + squares) / self.features))


def fit_distance(training: Floats, validation: Floats) -> FeatureDistance | None:
    """The Gaussian of training features, with the limit that `KEPT` of the validation images keep.

    The limit is the conformal one: the distance of rank ``ceil((n + 1) * KEPT)``, or the largest where n is below 99.

    Args:
        training: pooled features, shape (n_images, n_features).
        validation: the same of validation images.

    Returns:
        None where there are too few images of either, or all are alike.
    """
    if min(len(training), len(validation)) < FEWEST_IMAGES:
        return None
    values = np.asarray(training, dtype=np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    if not deviation.any():
        return None
    spread = np.maximum(deviation, SMALLEST_SPREAD * float(np.median(deviation[deviation > 0])))
    n, d = values.shape
    kept = max(1, min(MOST_COMPONENTS, MOST_VALUES // d, n // 4, d - 1))
    with threadpool_limits(1):  # else the last digits, and so the hash of what is decided, depend on the threads
        _, sizes, axes = np.linalg.svd((values - mean) / spread, full_matrices=False)
    variances = sizes**2 / n
    rest = float(variances[kept:].sum() / max(1, d - kept))
    floor = 1e-6 * float(variances[0])
    draft = FeatureDistance(
        images=n,
        mean=_encoded(mean, "<f4"),
        spread=_encoded(spread, "<f4"),
        components=_encoded(axes[:kept], "<f2"),
        variances=tuple(_rounded(max(one, floor)) for one in variances[:kept]),
        rest=_rounded(max(rest, floor)),
        limit=1.0,
        validation=len(validation),
    )
    distances = np.sort(draft.distances(validation))
    rank = min(len(distances), int(np.ceil((len(distances) + 1) * KEPT)))
    return replace(draft, limit=_rounded(distances[rank - 1]))


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _encoded(values: Floats, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def _decoded(text: str, kind: str) -> Floats:
    return np.asarray(np.frombuffer(base64.b64decode(text), dtype=kind), dtype=np.float64)
