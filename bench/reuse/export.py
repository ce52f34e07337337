"""A model in other formats, by Keras's own exporters; each file is run by its own runtime before it is kept."""

import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench import __version__
from bench.errors import ConfigError
from bench.models.export import ExportMismatch
from bench.reuse.model import ReusableModel
from bench.run.documents import RESEARCH_USE, ExportRecord
from bench.run.folder import file_sha256, write_json

Images = npt.NDArray[np.uint8]
Scores = npt.NDArray[np.float32]

GRAINS = (1, 3, 9, 27)
"""Cells in a row of the generated images: from an even one to fine noise."""
MOST_OF_RUN = 8
"""Images of the run itself that an export is run on, at most."""
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert")


@dataclass(frozen=True)
class Format:
    """A format that a model can be exported to.

    Attributes:
        ending: of the file's name.
        write: takes the Keras model and a path.
        predict: takes the path and float32 images, and gives the probabilities of the format's own runtime.
        tolerance: largest accepted difference of a probability.
        needs: modules that the dependencies of the suite do not bring.
        folder: whether it is a folder.
    """

    ending: str
    write: Callable[[Any, Path], None]
    predict: Callable[[Path, npt.NDArray[np.float32]], Scores]
    tolerance: float = 1e-4
    needs: tuple[str, ...] = ()
    folder: bool = False


def _by_keras(path: Path, images: npt.NDArray[np.float32]) -> Scores:
    import keras

    return np.asarray(keras.models.load_model(path, compile=False, safe_mode=True).predict_on_batch(images))


def _by_tensorflow(path: Path, images: npt.NDArray[np.float32]) -> Scores:
    import keras

    return np.asarray(keras.layers.TFSMLayer(str(path), call_endpoint="serve")(images))


def _by_onnxruntime(path: Path, images: npt.NDArray[np.float32]) -> Scores:
    session = import_module("onnxruntime").InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: images})[0])


def _by_litert(path: Path, images: npt.NDArray[np.float32]) -> Scores:
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    found = []
    for image in images:
        interpreter.set_tensor(taken, image[None])
        interpreter.invoke()
        found.append(np.array(interpreter.get_tensor(given)[0]))
    return np.stack(found)


def _exported(format: str) -> Callable[[Any, Path], None]:
    return lambda model, path: model.export(str(path), format=format, verbose=False)


def _to_onnx(model: Any, path: Path) -> None:
    import keras

    taken = keras.InputSpec(shape=model.inputs[0].shape, dtype="float32", name="image")
    _with_constants(model).export(str(path), format="onnx", verbose=False, input_signature=[taken])


def _with_constants(network: Any) -> Any:
    """The same network with each Normalization written as a Rescaling: tf2onnx makes inputs of the constants of one."""
    import keras

    def copy(layer: Any) -> Any:
        if isinstance(layer, keras.Model):
            return keras.models.clone_model(layer, clone_function=copy)
        if not isinstance(layer, keras.layers.Normalization) or layer.invert:
            return type(layer).from_config(layer.get_config())
        mean, variance = (np.ravel(np.asarray(values, np.float64)) for values in (layer.mean, layer.variance))
        scale = 1 / np.maximum(np.sqrt(variance), keras.config.epsilon())
        return keras.layers.Rescaling(scale.tolist(), (-mean * scale).tolist(), name=layer.name, dtype="float32")

    copied = keras.models.clone_model(network, clone_function=copy)
    for before, after in zip(_leaves(network), _leaves(copied), strict=True):
        if type(before) is type(after):
            after.set_weights(before.get_weights())
    return copied


def _leaves(model: Any) -> Iterator[Any]:
    """All layers in their order, those of nested models in the place of these."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from _leaves(layer)
        else:
            yield layer


FORMATS = {
    "keras": Format(".keras", lambda model, path: model.save(path), _by_keras),
    "savedmodel": Format(".savedmodel", _exported("tf_saved_model"), _by_tensorflow, folder=True),
    "onnx": Format(".onnx", _to_onnx, _by_onnxruntime, needs=("tf2onnx", "onnx", "onnxruntime")),
    "tflite": Format(".tflite", _exported("litert"), _by_litert, 1e-3, ("ai_edge_litert",)),
}
"""By the names that ``--to`` takes."""


def export(model: ReusableModel, to: str, out: str | os.PathLike[str] | None = None) -> tuple[Path, ExportRecord]:
    """Write ``model`` in another format, with its metadata as JSON beside it.

    Args:
        model: to be exported.
        to: one of `FORMATS`.
        out: path of the new file, or a folder for it, which is made: one that is there, or a path that ends with a
            slash or has no ending; None puts it beside the .h5 file.

    Returns:
        the path, and the content of the JSON file, which is called as the file with ``.json`` at its end.

    Raises:
        ConfigError: if a package is missing, the path is taken or has another ending, or the model cannot be loaded.
        ExportMismatch: if the new file predicts something else; it is not kept then.
    """
    chosen = FORMATS[to]
    _require(to, chosen)
    target = _target(model, chosen, out)
    images = sample_images(model)
    expected = model.scores(images)
    with _draft(target) as draft:
        found = _written(model, to, draft, images)
        difference = float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf")
        if not difference <= chosen.tolerance:
            raise ExportMismatch(
                f"The model in format {to} predicts other probabilities than {model.path}: they differ by up to "
                f"{difference:.2g}, and {chosen.tolerance:g} is accepted; it was not kept."
            )
        record = _record(model, to, draft, difference, len(images))
        write_json(_beside(draft), record)
        _beside(draft).replace(_beside(target))
        draft.replace(target)
    return target, record


def _written(model: ReusableModel, to: str, draft: Path, images: Images) -> Scores:
    """Write ``draft``; returns what its runtime predicts of ``images``."""
    try:
        with _quietly():
            FORMATS[to].write(model.network, draft)
            return FORMATS[to].predict(draft, images.astype(np.float32))
    except OSError:
        raise
    except Exception as error:  # whatever a converter makes of a layer that it does not know
        reason = " ".join(next(iter(str(error).strip().splitlines()), type(error).__name__).split())
        raise ConfigError(f"{model.path} cannot be written in format {to}: {reason.rstrip('.')}.") from error


def sample_images(model: ReusableModel) -> Images:
    """Images that ``model`` takes: noise of several grains and brightnesses, and such of its run as are kept.

    Returns:
        uint8 array of shape (n_images, side, side, channels), the same whenever it is called.
    """
    side, channels = model.input.height, model.input.channels
    rng = np.random.default_rng(0)
    drawn = [_noise(rng, side, channels, grain) for grain in GRAINS]
    kept = np.empty((0, side, side, channels), np.uint8)
    if model.run is not None:
        with suppress(OSError, ValueError, KeyError), np.load(model.run.saliency_images) as arrays:
            kept = arrays["images"][:MOST_OF_RUN]
    fits = kept.dtype == np.uint8 and kept.shape[1:] == drawn[0].shape
    return np.concatenate([np.stack(drawn), kept]) if fits else np.stack(drawn)


def _noise(rng: np.random.Generator, side: int, channels: int, cells: int) -> Images:
    """Random values of a coarse grid, interpolated: uint8 array of shape (side, side, channels)."""
    planes = rng.integers(0, 256, (channels, cells, cells), dtype=np.uint8)
    shown = [Image.fromarray(plane).resize((side, side), Image.Resampling.BILINEAR) for plane in planes]
    return np.stack([np.asarray(plane) for plane in shown], axis=-1)


def _require(to: str, chosen: Format) -> None:
    missing = [name for name in chosen.needs if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"Format {to} needs the package {missing[0].replace('_', '-')}: "
            'pip install "medical-transfer-bench[export]".'
        )


def _target(model: ReusableModel, chosen: Format, out: str | os.PathLike[str] | None) -> Path:
    """Where the export goes; ConfigError if that is impossible."""
    name = model.path.with_suffix(chosen.ending).name
    target = model.path.with_name(name) if out is None else Path(out)
    named = target.suffix == chosen.ending
    closed = out is not None and os.fspath(out).endswith("/") and not (named and chosen.folder)
    if closed or (not named and (target.is_dir() or not target.suffix)):
        target /= name
    elif not named:
        raise ConfigError(f"--out {out} has to end with {chosen.ending}, or with / as a folder.")
    for path in (target, _beside(target)):
        if path.exists():
            raise ConfigError(f"{path} is there already; remove it, or name another place by --out.")
    return target


@contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside ``target``, which goes with whatever is left in it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{target.stem}.draft-", dir=target.parent))
    except OSError as error:
        raise ConfigError(f"{target.parent} cannot be written: {error.strerror}.") from None
    try:
        yield folder / target.name
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _quietly() -> Iterator[None]:
    """Exporters say line by line what they do."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "absl")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _beside(path: Path) -> Path:
    """The file of metadata of an export."""
    return path.with_name(f"{path.name}.json")


def _record(model: ReusableModel, to: str, draft: Path, difference: float, n_images: int) -> ExportRecord:
    files = [draft] if draft.is_file() else sorted(path for path in draft.rglob("*") if path.is_file())
    return ExportRecord(
        format=to,
        file=draft.name,
        sha256={path.relative_to(draft.parent).as_posix(): file_sha256(path) for path in files},
        made_from=file_sha256(model.path),
        difference=difference,
        tolerance=FORMATS[to].tolerance,
        images=n_images,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        suite_version=__version__,
        packages=_versions(),
        model=model.card,
        use=RESEARCH_USE,
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
