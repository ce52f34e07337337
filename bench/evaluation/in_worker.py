"""What the evaluation needs a worker for: whatever needs the model itself."""

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
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions

Rows = npt.NDArray[np.int64]
"""Row numbers of a stored set, shape (n_images,)."""


def predict(model: Path, stored: StoredImages, rows: Rows) -> npt.NDArray[np.float32]:
    """Class probabilities of some rows of a stored set."""
    return predict_file(model, stored.open(), rows)


def robustness(
    model: Path, stored: StoredImages, rows: Rows, predictions: Predictions, bootstrap: Bootstrap
) -> pd.DataFrame:
    """robustness.csv of the model in a file, on some of the ``rows``, of which there are ``predictions``."""
    chosen = altered.choose_rows(predictions, altered.MOST_IMAGES, bootstrap.seed)
    network = load_model(model)
    images = np.asarray(stored.open()[rows[chosen]])
    return altered.robustness(images, predictions.part(chosen), lambda some: predict_images(network, some), bootstrap)


def saliency(
    model: Path, stored: StoredImages, rows: Rows, predictions: Predictions, names: Sequence[str], seed: int
) -> Any:
    """saliency.json and the arrays of saliency.npz, for some rows of a stored set; see `bench.evaluation.saliency`."""
    return maps.saliency(model, np.asarray(stored.open()[rows]), predictions, names, seed)
