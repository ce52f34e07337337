"""The exported model: best_model.h5, best_model.json beside it, and the check that a fresh process agrees."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import DECODE_ERRORS, Resize, decode, fit
from bench.data.images.window import Window
from bench.device import plain_keras
from bench.errors import ConfigError

TOLERANCE = 1e-4
"""Largest accepted difference of a probability between two processes; a wrong layer shows as 1e-2 and more."""

BATCH = 64
"""Images predicted at a time."""

_PLAIN_KERAS = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], compile=False)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), batch_size=32, verbose=0))
"""


class ExportMismatch(Exception):
    """The exported file does not predict what it predicted when it was scored."""


def predict_file(
    model_file: Path, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Class probabilities that the model in ``model_file`` gives for some images of a stored set.

    Args:
        model_file: an exported .h5.
        images: uint8 array of shape (n_images, height, width, channels).
        rows: row numbers of the images to predict.

    Returns:
        float array of shape (len(rows), n_classes), rows sum to 1.
    """
    model = load_model(model_file)
    parts = [predict_images(model, images[rows[start : start + BATCH]]) for start in range(0, len(rows), BATCH)]
    return np.concatenate(parts)


def load_model(model_file: Path) -> Any:
    """The Keras model in an exported .h5, for prediction."""
    return plain_keras().models.load_model(model_file, compile=False)


def predict_images(model: Any, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Class probabilities (n_images, n_classes) of uint8 images of shape (n_images, height, width, channels)."""
    parts = [
        np.asarray(model.predict_on_batch(np.asarray(images[start : start + BATCH], dtype=np.float32)))
        for start in range(0, len(images), BATCH)
    ]
    return np.concatenate(parts)


def check_in_fresh_process(model_file: Path, images: npt.NDArray[np.uint8], expected: npt.NDArray[np.float32]) -> float:
    """Load ``model_file`` with plain Keras in a new process and compare its probabilities with ``expected``.

    Returns:
        the largest absolute difference.

    Raises:
        ExportMismatch: if the file does not load there, or a probability differs by more than `TOLERANCE`.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, got = Path(folder) / "images.npy", Path(folder) / "probabilities.npy"
        np.save(given, np.asarray(images, dtype=np.float32))
        done = subprocess.run(
            [sys.executable, "-c", _PLAIN_KERAS, str(model_file.resolve()), str(given), str(got)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ExportMismatch(f"{model_file} does not load with plain Keras in a fresh process: {last}")
        difference = float(np.abs(np.load(got) - expected).max())
    if not difference <= TOLERANCE:
        raise ExportMismatch(
            f"{model_file} predicts other probabilities in a fresh process: they differ by up to {difference:.2g}, "
            f"and {TOLERANCE:g} is accepted."
        )
    return difference


def load_images(
    paths: Sequence[Path], size: int, channels: int, resize: Resize = "squash", window: Window | None = None
) -> npt.NDArray[np.uint8]:
    """Images decoded as a run decodes them: uint8 array of shape (n_images, size, size, channels).

    Raises:
        ConfigError: if a file is no image that can be read.
    """
    images = []
    for path in paths:
        try:
            image = decode(path.read_bytes(), window).image
        except DECODE_ERRORS as error:
            raise ConfigError(f"{path} is not an image that can be read ({error}).") from None
        images.append(fit(image.convert("L" if channels == 1 else "RGB"), size, resize))
    return np.stack(images)


def as_json(values: Any) -> Any:
    """``values`` with NumPy numbers and paths turned into what JSON knows."""
    if isinstance(values, dict):
        return {str(key): as_json(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [as_json(value) for value in values]
    if isinstance(values, np.generic):
        return values.item()
    return str(values) if isinstance(values, Path) else values
