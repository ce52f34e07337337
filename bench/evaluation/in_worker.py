"""What the evaluation asks of a worker: whatever needs the model itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.data.images.store import StoredImages
from bench.evaluation import robustness as altered
from bench.evaluation import saliency as maps
from bench.models.export import load_model, predict_file, predict_images


def predict(model: Path, stored: StoredImages, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Class probabilities of some rows of a stored set."""
    return predict_file(model, stored.open(), rows)


def robustness(
    model: Path,
    stored: StoredImages,
    rows: npt.NDArray[np.int64],
    labels: npt.NDArray[np.int64],
    patients: npt.NDArray[Any],
    classes: Sequence[str],
    draws: int,
    level: float,
    seed: int,
) -> pd.DataFrame:
    """robustness.csv of the model in a file."""
    chosen = altered.choose_rows(labels, patients, altered.MOST_IMAGES, seed)
    network = load_model(model)
    images = np.asarray(stored.open()[rows[chosen]])
    return altered.robustness(
        images,
        labels[chosen],
        patients[chosen],
        lambda some: predict_images(network, some),
        classes,
        draws,
        level,
        seed,
    )


def saliency(
    model: Path,
    stored: StoredImages,
    rows: npt.NDArray[np.int64],
    scores: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    names: Sequence[str],
    classes: Sequence[str],
    seed: int,
) -> Any:
    """saliency.json and the arrays of saliency.npz, for some rows of a stored set."""
    return maps.saliency(model, np.asarray(stored.open()[rows]), scores, labels, names, classes, seed)
