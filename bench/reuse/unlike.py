"""Whether an image is unlike the training images: another kind, size or shape, or features far from theirs."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import Facts
from bench.evaluation.familiar import kind_of_image
from bench.numbers import joined, short
from bench.run.documents import TrainingImages

SIZE_ROOM = 2.0
"""Times that a side may be longer than the longest in training, or shorter than the shortest; 1 where all had one size:
they were brought to it, and another image was not."""
ASPECT_ROOM = 1.25
"""The same of width over height."""


def differences(training: TrainingImages, facts: Facts, distance: float | None) -> list[str]:
    """In what an image is unlike the training images, in words; empty if in nothing that is known of them.

    Args:
        training: of the model's card.
        facts: of the image.
        distance: of its pooled features (`bench.stats.familiarity`); None where that is not known.
    """
    found, kind = [], kind_of_image(facts)
    if training.kinds and kind not in training.kinds:
        found.append(f"{kind} (training: {joined(sorted(training.kinds))})")
    if training.width and training.height:
        sides = (facts.width, training.width), (facts.height, training.height)
        room = 1.0 if all(least == most for _, (least, most) in sides) else SIZE_ROOM
        if any(not least / room <= side <= room * most for side, (least, most) in sides):
            known = " x ".join(_span(ends) for _, ends in sides)
            found.append(f"{facts.width} x {facts.height} pixels (training: {known})")
    if training.aspect:
        least, most = training.aspect
        aspect = facts.width / max(facts.height, 1)
        if not least / ASPECT_ROOM <= aspect <= ASPECT_ROOM * most:
            found.append(f"width / height {short(aspect)} (training: {short(least)} to {short(most)})")
    if distance is not None and training.features and distance > training.features.limit:
        found.append(f"features {short(distance / training.features.limit)} times as far as the limit")
    return found


def unlike(
    training: TrainingImages | None, facts: Sequence[Facts], outputs: Sequence[npt.NDArray[np.float32]]
) -> list[str]:
    """In what each image is unlike the training images, in words; empty texts where in nothing, or nothing is known.

    Args:
        training: of the model's card.
        facts: of the images.
        outputs: of the network, for these images: probabilities, and maybe pooled features.
    """
    distances: list[float | None] = [None] * len(facts)
    if training and training.features and len(outputs) > 1:
        distances = training.features.distances(outputs[1]).tolist()
    pairs = zip(facts, distances, strict=True)
    return [", ".join(differences(training, one, distance)) if training else "" for one, distance in pairs]


def _span(ends: tuple[int, int]) -> str:
    return str(ends[0]) if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
