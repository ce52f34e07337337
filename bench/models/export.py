"""The exported model: best_model.h5, best_model.json beside it, and the check that a fresh process agrees."""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import DECODE_ERRORS, Facts, Resize, decode, facts_of, fit, problem_of
from bench.data.images.limits import MOST_PIXELS
from bench.data.images.window import Window
from bench.data.imageset import Content, read_file
from bench.device import plain_keras
from bench.errors import ConfigError
from bench.models.hdf5 import check_h5

TOLERANCE = 1e-4
"""Largest accepted difference of a probability between two processes; a wrong layer shows as 1e-2 and more."""

BATCH = 64
"""Images predicted at a time, at most."""
FLOAT32 = ("preprocessing", "pool", "standardise", "dropout", "probabilities")
"""Layers of `bench.models.assemble.full_model` that compute in float32 whatever the others do."""

POOL = "pool"
"""The layer of `bench.models.assemble.full_model` that gives pooled features."""

_PLAIN_KERAS = """
import sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1], compile=False)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), batch_size=32, verbose=0))
"""


class ExportMismatch(Exception):
    """The exported file does not predict what it predicted when it was scored."""


def predict_file(
    model_file: str | os.PathLike[str], images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Class probabilities that the model in ``model_file`` gives for some images of a stored set.

    Args:
        model_file: an exported .h5.
        images: uint8 array of shape (n_images, height, width, channels).
        rows: row numbers of the images to predict.

    Returns:
        float array of shape (len(rows), n_classes), rows sum to 1.
    """
    return predict_rows(load_model(model_file), images, rows)


def load_model(model_file: str | os.PathLike[str]) -> Any:
    """The Keras model in an exported .h5, for prediction.

    Raises:
        Unsafe, OSError: as `bench.models.hdf5.check_h5`, before Keras opens the file.
    """
    check_h5(Path(model_file))
    return plain_keras().models.load_model(model_file, compile=False, safe_mode=True)


def predict_images(model: Any, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Class probabilities (n_images, n_classes) of uint8 images of shape (n_images, height, width, channels)."""
    return predict_rows(model, images, np.arange(len(images)))


def predict_rows(model: Any, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """The same for some rows of a stored set; there must be one at least."""
    size = math.ceil(len(rows) / math.ceil(len(rows) / BATCH))
    parts = [in_one_shape(model, images[rows[start : start + size]], size)[0] for start in range(0, len(rows), size)]
    return np.concatenate(parts)


def in_one_shape(model: Any, values: npt.NDArray[Any], size: int) -> list[npt.NDArray[np.float32]]:
    """Each output of ``model`` for at most ``size`` values, filled up to that number: another would be traced anew."""
    padded = np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
    found = model.predict_on_batch(np.asarray(padded, dtype=np.float32))
    outputs = found if isinstance(found, list | tuple) else [found]
    return [np.asarray(output, dtype=np.float32)[: len(values)] for output in outputs]


def with_pooled(model: Any) -> Any | None:
    """The same network with its pooled features, shape (n_images, n_features), as a second output; None without any."""
    import keras

    layer = next((one for one in model.layers if one.name == POOL), None)
    pooled = isinstance(layer, keras.layers.GlobalAveragePooling2D)
    return keras.Model(model.input, [model.output, layer.output], name="with_pooled") if layer and pooled else None


def pooled_features(
    model: Any, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32] | None:
    """Pooled features, shape (n_images, n_features), of some rows of a stored set; None of a network without any."""
    both = with_pooled(model)
    if both is None:
        return None
    parts = [in_one_shape(both, images[rows[at : at + BATCH]], BATCH)[1] for at in range(0, len(rows), BATCH)]
    return np.concatenate(parts) if parts else np.empty((0, both.output_shape[1][-1]), np.float32)


def computing_in(model: Any, precision: str) -> Any:
    """``model`` itself in ``float32``; for ``bfloat16`` a copy whose convolutions compute in that.

    Preprocessing, pooling and what follows it stay float32, and so do the weights.
    """
    if precision == "float32":
        return model
    import keras

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.Model):  # a nested backbone, as an earlier version exported it
            return keras.models.clone_model(layer, clone_function=copy)
        config = layer.get_config()
        if layer.name not in FLOAT32:
            config["dtype"] = f"mixed_{precision}"
        return type(layer).from_config(config)

    copied = keras.models.clone_model(model, clone_function=copy)
    copied.set_weights(model.get_weights())
    for layer in copied.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # it computes with constants that it makes of its weights
    return copied


@contextmanager
def fresh_process(
    model_file: Path, images: npt.NDArray[np.uint8]
) -> Iterator[Callable[[npt.NDArray[np.float32]], float]]:
    """A new process begins to load ``model_file`` with plain Keras and to predict ``images``.

    What is yielded waits for it, compares its probabilities with those that it is given, and returns the largest
    absolute difference; meanwhile other things can be done.

    Raises:
        ExportMismatch: if the file does not load there, or a probability differs by more than `TOLERANCE`.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, got, said = (Path(folder) / name for name in ("images.npy", "probabilities.npy", "stderr.txt"))
        np.save(given, np.asarray(images, dtype=np.float32))
        with said.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", _PLAIN_KERAS, str(model_file.resolve()), str(given), str(got)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=folder,
                env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            )

        def compare(expected: npt.NDArray[np.float32]) -> float:
            if process.wait() != 0:
                last = (said.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]
                raise ExportMismatch(f"{model_file} does not load with plain Keras in a fresh process: {last}")
            return largest_difference(
                np.load(got), expected, f"{model_file} predicts other probabilities in a fresh process"
            )

        try:
            yield compare
        finally:
            process.kill()
            process.wait()


def largest_difference(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], what: str) -> float:
    """The largest absolute difference of two sets of probabilities.

    Raises:
        ExportMismatch: if it exceeds `TOLERANCE`; its message begins with ``what``.
    """
    difference = float(np.abs(found - expected).max())
    if not difference <= TOLERANCE:
        raise ExportMismatch(f"{what}: they differ by up to {difference:.2g}, and {TOLERANCE:g} is accepted.")
    return difference


def load_images(
    paths: Sequence[str | os.PathLike[str]],
    size: int,
    channels: int,
    resize: Resize = "squash",
    window: Window | None = None,
    max_pixels: int = MOST_PIXELS,
) -> tuple[npt.NDArray[np.uint8], list[Facts]]:
    """Images decoded as a run decodes them: uint8 array of shape (n_images, size, size, channels); and their facts.

    Raises:
        ConfigError: if a file is no image that can be read.
    """
    images, facts = [], []
    for path in paths:
        content: Content | None = None
        try:
            content = read_file(Path(path), max_pixels)
            image, known = load_image(content, size, channels, resize, window, max_pixels)
        except DECODE_ERRORS as error:
            reason = problem_of(error, content).reason
            raise ConfigError(f"{path} is not an image that can be read ({reason}).") from None
        facts.append(known)
        images.append(image)
    return np.stack(images) if images else np.empty((0, size, size, channels), np.uint8), facts


def load_image(
    content: Content,
    size: int,
    channels: int,
    resize: Resize = "squash",
    window: Window | None = None,
    max_pixels: int = MOST_PIXELS,
) -> tuple[npt.NDArray[np.uint8], Facts]:
    """One image, its file's bytes or its pixels, as `load_images` gives it: shape (size, size, channels); its facts.

    Raises:
        OSError, ValueError, SyntaxError: as `bench.data.images.decode.decode`.
    """
    decoded = decode(content, window, max_pixels=max_pixels)
    return fit(decoded.image.convert("L" if channels == 1 else "RGB"), size, resize), facts_of(content, decoded)


def as_json(values: Any) -> Any:
    """``values`` with NumPy numbers and paths turned into what JSON knows."""
    if isinstance(values, dict):
        return {str(key): as_json(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [as_json(value) for value in values]
    if isinstance(values, np.generic):
        return values.item()
    return str(values) if isinstance(values, Path) else values
