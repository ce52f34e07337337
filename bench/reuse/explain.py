"""Where a model looks in images that are given to it: one picture each, with the maps of the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bench.errors import ConfigError
from bench.evaluation.network import Network
from bench.evaluation.saliency import CAM, CAUTION, OCCLUSION, draw_maps, shown
from bench.report.figures.explanation import Panel, draw, source_of, write
from bench.reuse.model import ReusableModel
from bench.reuse.predict import decided
from bench.run.documents import RESEARCH_USE
from bench.run.folder import file_sha256
from bench.run.request import check_writable

MEASURES = {
    CAM: "added to the logit of {}, less that of the others",
    OCCLUSION: "fall of the log-odds of {} when covered",
}
"""What the values of a map are, by its method."""
MOST_STEM = 60
"""Characters of an image's name in that of its picture."""


@dataclass(frozen=True)
class Explained:
    """What was drawn of one image.

    Attributes:
        image: its file.
        called: the class.
        probability: of that class, calibrated where the model has a calibration map.
        correlation: of its map with that of shuffled weights; None where there is none.
        picture: the PNG file.
    """

    image: Path
    called: str
    probability: float
    correlation: float | None
    picture: Path


class Target(NamedTuple):
    """Where the picture of an image goes, and the hashes of the model and the image that it is drawn of."""

    picture: Path
    source: str


def explain(
    model: ReusableModel, targets: Mapping[Path, Target], images: npt.NDArray[np.uint8], seed: int = 0
) -> tuple[list[Explained], str]:
    """Draw each image, its map, and the map of the same network with shuffled weights.

    Args:
        model: its network is as before afterwards.
        targets: of each image, as `pictures` returns them.
        images: as `ReusableModel.read` returns them.
        seed: decides how weights are shuffled.

    Returns:
        what was drawn, and why by this method.
    """
    scores = model.scores(images)
    classes, _ = decided(model.card, scores)
    probabilities = np.take_along_axis(model.calibrated(scores), classes[:, None], axis=1)[:, 0]
    weights = model.network.get_weights()
    try:
        maps = draw_maps(Network.of(model.network), images, classes, seed)
    finally:
        model.network.set_weights(weights)
    found = [
        Explained(path, model.classes[index], float(probability), correlation, targets[path].picture)
        for path, index, probability, correlation in zip(
            targets, classes, probabilities, maps.correlations, strict=True
        )
    ]
    pairs = [(places, shown(places, images)) for places in (maps.places, maps.randomised)]
    for index, one in enumerate(found):
        measure = MEASURES[maps.method].format(one.called)
        panels = [Panel(heat[index], _range(places[index]), measure) for places, heat in pairs]
        title = one.image.name, one.called, one.probability
        words = f"{RESEARCH_USE} {CAUTION}"
        write(draw(images[index], panels, title, maps.method, one.correlation, words), *targets[one.image])
    return found, maps.why


def _range(places: npt.NDArray[np.float64]) -> tuple[float, float]:
    finite = places[np.isfinite(places)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def pictures(model: ReusableModel, paths: Sequence[Path], folder: Path) -> dict[Path, Target]:
    """Where the picture of each image goes, and what it is drawn of: the hashes of the model and of the image.

    Pictures are called by the place of the image in ``paths`` and its name, and take the place of such as were drawn of
    the same image with the same model.

    Raises:
        ConfigError: if an image cannot be read or the folder cannot be written, or one of these files is there and was
            drawn of anything else.
    """
    check_writable(folder, "--out")
    digits, of_model = len(str(len(paths))), file_sha256(model.path)
    targets = dict[Path, Target]()
    for number, path in enumerate(paths, start=1):
        if path not in targets:
            picture = folder / f"{number:0{digits}}-{path.stem[:MOST_STEM]}.png"
            targets[path] = Target(picture, f"{of_model} {_sha256(path)}")
    for target, source in targets.values():
        if target.exists() and source_of(target) != source:
            raise ConfigError(
                f"{target} is there already, and is not of this model and image; remove it, or name another folder by "
                "--out."
            )
    return targets


def _sha256(image: Path) -> str:
    """SHA-256 of the image's file; ConfigError if that cannot be read."""
    try:
        return file_sha256(image)
    except OSError as error:
        raise ConfigError(f"{image} is not an image that can be read ({error.strerror}).") from None
