"""What the evaluation needs a worker for: whatever needs the model itself."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.disk import pass_on_full_disk
from bench.evaluation import robustness as altered
from bench.evaluation import saliency as maps
from bench.evaluation.shared_scores import ModelFile, score_files
from bench.failures import told
from bench.models.export import computing_in, load_model, pooled_features, predict_file, predict_images
from bench.run.documents import Refusal
from bench.stats.metrics import Scores

Rows = npt.NDArray[np.int64]
"""Row numbers of a stored set, shape (n_images,)."""


def predict(model: Path, stored: StoredImages, rows: Rows) -> npt.NDArray[np.float32]:
    """Class probabilities of some rows of a stored set, by a file loaded as anybody would load it."""
    return predict_file(model, stored.open(), rows)


def pooled(model: Path, stored: StoredImages, rows: Rows) -> npt.NDArray[np.float32] | None:
    """Pooled features of some rows of a stored set, by a file; None where its network has none."""
    return pooled_features(load_model(model), stored.open(), rows)


def score(files: Sequence[ModelFile], stored: StoredImages, rows: Rows) -> dict[Path, Scores]:
    """Class probabilities of some rows of a stored set by several files; see `bench.evaluation.shared_scores`."""
    return score_files(files, stored.open(), rows)


def attempt(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)``; if that fails, a `Refusal` to say so of ``what``: it must cost nothing else."""
    try:
        return function(*arguments)
    except Exception as error:
        pass_on_full_disk(error)
        return Refusal(what=what, reason=told(error))


def altered_scores(
    model: Path, stored: StoredImages, rows: Rows, alteration: str, seed: int, precision: str
) -> list[Scores]:
    """Class probabilities of some rows at each level of an alteration, computed in ``precision``."""
    network = _fast(model, model.stat().st_mtime_ns, precision)
    images = np.asarray(stored.open()[rows])
    return [predict_images(network, some) for some in altered.alter(images, alteration, seed)]


@lru_cache(maxsize=1)
def _fast(model: Path, stamp: int, precision: str) -> Any:
    """The model in a file, as it was at a time ``stamp``; one alteration after the other is scored by it."""
    return computing_in(load_model(model), precision)


def saliency(model: Path, stored: StoredImages, cases: maps.Cases, seed: int, precision: str) -> Any:
    """saliency.json and the arrays of saliency.npz, for some rows of a stored set; see `bench.evaluation.saliency`."""
    pixels = np.asarray(stored.open()[cases.rows])
    return maps.saliency(model, pixels, cases.predictions, cases.names, seed, precision)
