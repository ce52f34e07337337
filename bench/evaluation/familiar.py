"""What the training images are like, so that others can be told to be unlike them: kinds, sizes, and features."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.decode import Facts
from bench.evaluation.inputs import EvaluationInputs
from bench.run.documents import Refusal, TrainingImages
from bench.stats.familiarity import FEWEST_IMAGES, fit_distance

WHAT = "features of the training images"
MOST_IMAGES = 512
"""Of training, and of validation, that features are computed of: each goes through the network once more."""
PARTS = 2
"""In which they are computed, side by side where there are workers: the network is loaded once more for each."""

Rows = npt.NDArray[np.int64]


def kind_of(grey: bool, deep: bool) -> str:
    """The kind of an image by its colours and depth, as `TrainingImages.kinds` has it."""
    return f"{'grey' if grey else 'colour'}{' of more than 8 bits' if deep else ''}"


def kind_of_image(facts: Facts) -> str:
    """The same of a decoded image."""
    return kind_of(facts.grey, facts.deep)


def sample(inputs: EvaluationInputs) -> tuple[Rows, Rows]:
    """Row numbers of at most `MOST_IMAGES` training and of as many validation images, by the run's seed."""
    rng = np.random.default_rng(inputs.settings.seed)
    drawn = []
    for split in ("train", "val"):
        rows = inputs.rows(split)
        drawn.append(np.sort(rng.permutation(rows)[:MOST_IMAGES]) if len(rows) > MOST_IMAGES else rows)
    return drawn[0], drawn[1]


def put_together(parts: Sequence[Any]) -> Any:
    """Features of all rows from those of each part; what a part has instead, None or a `Refusal`, stands for all."""
    other = [part for part in parts if not isinstance(part, np.ndarray)]
    return other[0] if other else np.concatenate(parts) if parts else None


def training_images(inputs: EvaluationInputs, features: Any, n_train: int) -> TrainingImages:
    """What is known of all training images from their facts, and of `sample` from their pooled features.

    Args:
        inputs: of the evaluation.
        features: shape (n_images, n_features), of the rows of `sample`, training images first; None where the network
            has none; a `Refusal` where they could not be computed.
        n_train: of these, how many are training images.
    """
    found = _by_facts(inputs.facts, inputs.rows("train"))
    if features is None or isinstance(features, Refusal):
        reason = features.reason if isinstance(features, Refusal) else "the network has no pooled features"
        return found.model_copy(update={"reason": reason})
    distance = fit_distance(features[:n_train], features[n_train:])
    if distance is None:
        reason = f"there are fewer than {FEWEST_IMAGES} training or validation images, or all are alike"
        return found.model_copy(update={"reason": reason})
    return found.model_copy(update={"features": distance})


def _by_facts(facts: pd.DataFrame, rows: Rows) -> TrainingImages:
    needed = ("grey", "deep", "width", "height")
    if not len(rows) or any(name not in facts for name in needed):
        return TrainingImages(images=len(rows))
    grey, deep, width, height = (facts[name].to_numpy()[rows] for name in needed)
    kinds = [kind_of(*pair) for pair in zip(grey.astype(bool), deep.astype(bool), strict=True)]
    aspect = width / np.maximum(height, 1)
    return TrainingImages(
        images=len(rows),
        kinds={str(name): int(count) for name, count in zip(*np.unique(kinds, return_counts=True), strict=True)},
        width=(int(width.min()), int(width.max())),
        height=(int(height.min()), int(height.max())),
        aspect=(float(aspect.min()), float(aspect.max())),
    )
