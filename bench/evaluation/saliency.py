"""Where a model looks: maps of some images, and the same maps of the same network with shuffled weights beside them.

Class activation maps where the last stage is fine enough (Zhou et al., CVPR 2016): with a pooled linear head they are
no approximation. Occlusion maps elsewhere (Zeiler and Fergus, ECCV 2014). The check is that of Adebayo et al.,
Sanity Checks for Saliency Maps, NeurIPS 2018. Keras 3 API only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.stats import spearmanr

from bench import numbers
from bench.data.images.decode import Pixels
from bench.evaluation.network import Network, shuffle_weights
from bench.run.documents import Randomisation, SaliencyCase, SaliencyRecord
from bench.stats.predictions import Predictions

FEWEST_POSITIONS = 4
"""Rows and columns that the last stage must have for a class activation map to tell places apart."""
GRID = 6
"""Rows and columns of an occlusion map: half as many again as a class activation map must have. Each place is a pass
through the network, and each image 74: every place and the image itself, then with shuffled weights again."""
ALIKE = 0.5
"""Mean rank correlation from which on the maps of the shuffled network count as alike."""
CAM, OCCLUSION = "class activation map", "occlusion map"
CAUTION = (
    "Such maps explain nothing by themselves: they show where the model's answer depends on the image, not why, and "
    "not whether that is medically sound."
)
CHOSEN = (
    "Shown are the correct and the wrong answers that the model was most confident of, by turns from each class of "
    "the reference standard."
)
Map = npt.NDArray[np.float64]


def choose_cases(
    predictions: Predictions, each: int = 4, same: npt.NDArray[Any] | None = None
) -> npt.NDArray[np.int64]:
    """Positions of up to ``each`` correct and then up to ``each`` wrong cases, by turns from each class.

    Within a class the most confident come first, ties by position.

    Args:
        predictions: of the images.
        each: how many at most of either kind.
        same: equal for identical images, of which the surest one is taken; None if no two are.
    """
    confidence = predictions.scores.max(axis=1)
    chosen: list[int] = []
    for kind in (predictions.right, ~predictions.right):
        turns = []
        for index in range(len(predictions.classes)):
            rows = np.flatnonzero(kind & (predictions.labels == index))
            turns += [(turn, index, row) for turn, row in enumerate(rows[np.argsort(-confidence[rows], kind="stable")])]
        ordered = [int(row) for _, _, row in sorted(turns)]
        different = {row if same is None else same[row]: row for row in ordered[::-1]}
        chosen += [row for row in ordered if row in different.values()][:each]
    return np.array(chosen, dtype=np.int64)


@dataclass(frozen=True)
class Cases:
    """The images of a stored set that maps are made of.

    Attributes:
        rows: their row numbers, shape (n_images,).
        predictions: what the model predicts for them.
        names: of the images.
    """

    rows: npt.NDArray[np.int64]
    predictions: Predictions
    names: Sequence[str]


@dataclass(frozen=True)
class Maps:
    """Maps of some images, as they were computed, and what is to be said of them.

    Attributes:
        method, why: `CAM` or `OCCLUSION`, and why that one, in sentences.
        places: float64 array of shape (n_images, rows, columns).
        randomised: the same of the network with shuffled weights.
        correlations: rank correlation of each image's two maps; None where there is none.
        shuffled: how many layers were shuffled, and how many have kernels.
    """

    method: str
    why: str
    places: Map
    randomised: Map
    correlations: tuple[float | None, ...]
    shuffled: tuple[int, int]


def draw_maps(
    network: Network, images: Pixels, targets: npt.NDArray[np.int64], seed: int = 0, precision: str = "float32"
) -> Maps:
    """Maps of the classes ``targets``; afterwards the later half of the network's weights is shuffled.

    Args:
        network: whose weights are shuffled in place.
        images: uint8 array of shape (n_images, height, width, 1 or 3).
        targets: of each image the number of a class.
        seed: decides how weights are shuffled.
        precision: what occlusion maps are computed in; class activation maps, which are exact, always in float32.
    """
    method, why = _method(network)
    draw = class_activation_maps if method == CAM else occlusion_maps
    network = network if method == CAM else network.in_precision(precision)
    places = draw(network, images, targets) if len(images) else np.zeros((0, 1, 1))
    shuffled = shuffle_weights(network.model, seed)
    randomised = draw(network, images, targets) if len(images) else places
    correlations = tuple(_correlation(one, other) for one, other in zip(places, randomised, strict=True))
    return Maps(method, why, places, randomised, correlations, shuffled)


def saliency(
    model_file: Path,
    images: Pixels,
    predictions: Predictions,
    names: Sequence[str],
    seed: int = 0,
    precision: str = "float32",
) -> tuple[SaliencyRecord, dict[str, npt.NDArray[Any]]]:
    """Maps of the predicted class of some images, and how far they depend on what the network has learnt.

    Args:
        model_file: an exported .h5.
        images: uint8 array of shape (n_images, height, width, 1 or 3).
        predictions: what the model predicts for them.
        names: of the images.
        seed: decides how weights are shuffled.
        precision: what occlusion maps are computed in; class activation maps, which are exact, always in float32.

    Returns:
        the content of saliency.json, and the arrays of saliency.npz: ``images``, ``maps`` and ``randomised``, the
        latter two float32 of shape (n_images, height, width), each map scaled to 0 to 1 by itself; and as ``places``
        and ``randomised_places`` both as they were computed, float64 of shape (n_images, rows, columns).
    """
    found = draw_maps(Network.load(model_file), images, predictions.predicted, seed, precision)
    return _record(found, predictions, names), {
        "images": np.asarray(images),
        "maps": shown(found.places, images),
        "randomised": shown(found.randomised, images),
        "places": np.asarray(found.places, np.float64),
        "randomised_places": np.asarray(found.randomised, np.float64),
    }


def _record(found: Maps, predictions: Predictions, names: Sequence[str]) -> SaliencyRecord:
    """The content of saliency.json."""
    targets, classes = predictions.predicted, predictions.classes
    known = [value for value in found.correlations if value is not None]
    mean = float(np.mean(known)) if known else None
    return SaliencyRecord(
        method=found.method,
        why=f"{found.why} {CHOSEN}",
        sentence=CAUTION,
        randomisation=Randomisation(
            mean_correlation=mean, sentence=_on_randomisation(mean, len(known), found.shuffled)
        ),
        items=tuple(
            SaliencyCase(
                image=names[index],
                label=classes[predictions.labels[index]],
                predicted=classes[targets[index]],
                probability=float(predictions.scores[index, targets[index]]),
                correct=bool(predictions.right[index]),
                correlation=correlation,
            )
            for index, correlation in enumerate(found.correlations)
        ),
    )


def class_activation_maps(network: Network, images: Pixels, targets: npt.NDArray[np.int64]) -> Map:
    """How much each position of the last stage speaks for the class of ``targets`` rather than for the others.

    The mean of `Network.class_maps` over all positions, plus the bias, is the logit; here the mean map of the other
    classes is taken off, for softmax knows differences of logits only.

    Returns:
        shape (n_images, rows, columns) of the last stage.
    """
    maps = network.class_maps(images)
    n_classes = maps.shape[-1]
    own = np.take_along_axis(maps, targets[:, None, None, None], axis=-1)[..., 0]
    return np.asarray(own - (maps.sum(axis=-1) - own) / (n_classes - 1))


def occlusion_maps(network: Network, images: Pixels, targets: npt.NDArray[np.int64]) -> Map:
    """How far the log-odds of the class of ``targets`` fall as a grey square covers each cell of a 6 x 6 grid.

    The square is two cells wide, centred on the cell, and as bright as the image is on average. Log-odds rank places
    as the probability does, but do not saturate where that is close to 1.

    Returns:
        shape (n_images, 6, 6).
    """
    height, width = images.shape[1:3]
    maps = np.zeros((len(images), GRID, GRID))
    for index, image in enumerate(images):
        covered = np.repeat(image[None], GRID * GRID + 1, axis=0)
        grey = np.rint(image.mean(axis=(0, 1))).astype(np.uint8)
        for cell in range(GRID * GRID):
            row, column = divmod(cell, GRID)
            covered[cell, _span(row, height), _span(column, width)] = grey
        odds = network.log_odds(covered, int(targets[index]))
        maps[index] = (odds[-1] - odds[:-1]).reshape(GRID, GRID)
    return maps


def _span(cell: int, size: int) -> slice:
    """Pixels of a square of two cells, centred on one."""
    centre = (cell + 0.5) * size / GRID
    half = max(1.0, size / GRID)
    return slice(max(0, round(centre - half)), round(centre + half))


def _method(network: Network) -> tuple[str, str]:
    if not network.pooled:
        return OCCLUSION, (
            "The model's head is not a mean over positions and one dense layer, so a class activation map would not be "
            "exact; a grey square was slid over the image instead, and the map shows how far the log-odds of the "
            "predicted class fell."
        )
    rows, columns = network.last_stage
    if min(rows, columns) < FEWEST_POSITIONS:
        return OCCLUSION, (
            f"The network's last stage has {rows} × {columns} positions at this image size, too few for a class "
            f"activation map to tell places apart ({FEWEST_POSITIONS} × {FEWEST_POSITIONS} are needed); a grey square "
            "was slid over the image instead, and the map shows how far the log-odds of the predicted class fell."
        )
    return CAM, (
        f"The head is linear on the mean of {rows} × {columns} positions, so the maps are exact: the mean of a class's "
        "map plus its bias is the class's logit. Shown is the predicted class less the mean of the others."
    )


def _on_randomisation(mean: float | None, n_maps: int, shuffled: tuple[int, int]) -> str:
    some, of = shuffled
    if mean is None:
        return (
            f"The check by shuffled weights (of the last {some} of {of} layers with kernels) could not be made: there "
            "is no map, or none that varies."
        )
    verdict = (
        "the maps look much the same without what the network has learnt, so they must not be read"
        if abs(mean) >= ALIKE
        else "the maps depend on what the network has learnt, as they should"
    )
    return (
        f"With the weights of the last {some} of {of} layers with kernels shuffled, the maps' rank correlation with "
        f"those shown is {numbers.score(mean, 2)} on average over {numbers.counted(n_maps, 'image')} (1: alike; "
        f"0: unrelated): {verdict}."
    )


def _correlation(one: Map, other: Map) -> float | None:
    """Spearman's rank correlation of two maps; None where one does not vary or has no value somewhere."""
    if not (np.isfinite(one).all() and np.isfinite(other).all()) or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def shown(maps: Map, images: Pixels) -> npt.NDArray[np.float32]:
    """Maps at the size of the images, each from 0 to 1; zeros where one does not vary."""
    height, width = images.shape[1:3]
    scaled_maps = np.zeros((len(maps), height, width), np.float32)
    for index, one in enumerate(np.nan_to_num(maps, posinf=0.0, neginf=0.0)):
        spread = float(np.ptp(one))
        if spread > 0:
            scaled = Image.fromarray(((one - one.min()) / spread).astype(np.float32))
            scaled_maps[index] = np.clip(np.asarray(scaled.resize((width, height), Image.Resampling.BILINEAR)), 0, 1)
    return scaled_maps
