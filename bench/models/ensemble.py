"""Several trained networks become one flat graph that gives the mean of their calibrated probabilities.

Built-in layers only, so that plain Keras loads the file: a calibration map is a clipped log-softmax and a dense softmax
whose kernel is diagonal, the mean a dense layer without bias. Networks of one backbone whose frozen layers are, bit for
bit, the same share them; all other layers stand side by side under names of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.models.backbones import cut_layer
from bench.stats.calibration import SMALLEST, CalibrationMap

Model = Any
"""A `keras.Model`; Keras is loaded when a graph is made, since choosing an ensemble is imported without it."""


@dataclass(frozen=True)
class Branch:
    """One network of an ensemble.

    Attributes:
        name: begins the names of its layers.
        model: images -> class probabilities, as `bench.models.assemble.full_model` makes it.
        backbone: networks of another one share nothing.
        cut: the layer where its frozen layers end, as `bench.models.backbones.boundary_cut` names it; None for none.
        calibration: the map of its probabilities.
        count: how often it counts in the mean.
    """

    name: str
    model: Model
    backbone: str
    cut: str | None
    calibration: CalibrationMap
    count: int


@dataclass(frozen=True)
class _Shared:
    """The end of some frozen layers in the new graph, and their weights."""

    backbone: str
    cut: str
    output: Any
    weights: Sequence[npt.NDArray[Any]]


def ensemble_model(branches: Sequence[Branch]) -> Model:
    """Images of 0 to 255 -> the mean of the calibrated probabilities of all branches.

    Args:
        branches: two at least, of one input size and number of channels, with names of their own.

    Raises:
        ValueError: if they take different images.
    """
    import keras

    shapes = {branch.model.input_shape[1:] for branch in branches}
    if len(shapes) != 1:
        raise ValueError(f"the networks of an ensemble must take the same images, but got {sorted(shapes)}")
    images = keras.Input(next(iter(shapes)), name="image")
    shared: list[_Shared] = []
    calibrated = [_calibrated(branch, _logits(branch, images, shared)) for branch in branches]
    n_classes = calibrated[0].shape[-1]
    weights = np.array([branch.count for branch in branches], np.float64)
    kernel = np.concatenate([np.eye(n_classes) * weight for weight in weights / weights.sum()])
    joined = keras.layers.Concatenate(name="members", dtype="float32")(calibrated)
    mean = keras.layers.Dense(n_classes, use_bias=False, name="probabilities", dtype="float32")
    output = mean(joined)
    mean.set_weights([kernel.astype(np.float32)])
    return keras.Model(images, output, name="ensemble")


def _logits(branch: Branch, images: Any, shared: list[_Shared]) -> Any:
    """What the last layer of a branch says before its softmax, in the graph that begins at ``images``."""
    import keras

    if branch.cut is None:
        return _copied(branch, branch.model, images)[branch.model.layers[-1].name]
    end = cut_layer(branch.model, branch.cut)
    weights = keras.Model(branch.model.input, end.output, name=f"{branch.name}_frozen").get_weights()
    known = next((one for one in shared if _same(one, branch, weights)), None)
    if known is None:
        outputs = _copied(branch, branch.model, images)
        shared.append(_Shared(branch.backbone, branch.cut, outputs[end.name], weights))
    else:
        behind = keras.Model(end.output, branch.model.output, name=f"{branch.name}_behind")
        outputs = _copied(branch, behind, known.output)
    return outputs[branch.model.layers[-1].name]


def _same(known: _Shared, branch: Branch, weights: Sequence[npt.NDArray[Any]]) -> bool:
    alike = (known.backbone, known.cut) == (branch.backbone, branch.cut)
    return alike and all(one.tobytes() == two.tobytes() for one, two in zip(known.weights, weights, strict=True))


def _copied(branch: Branch, model: Model, start: Any) -> dict[str, Any]:
    """Copy the layers of ``model`` into the graph behind ``start``; name of each layer -> its output there."""
    import keras

    outputs: dict[str, Any] = {}
    copies: dict[str, Any] = {}
    last = branch.model.layers[-1].name

    def copy(layer: Any) -> Any:
        config = {**layer.get_config(), "name": f"{branch.name}_{layer.name}"}
        if layer.name == last:
            config["activation"] = "linear"
        copies[layer.name] = type(layer).from_config(config)
        return copies[layer.name]

    def call(layer: Any, *arguments: Any, **more: Any) -> Any:
        found = layer(*arguments, **more)
        outputs[layer.name.removeprefix(f"{branch.name}_")] = found
        return found

    keras.models.clone_model(model, start, clone_function=copy, call_function=call)
    for layer in model.layers:
        if layer.name in copies:
            copies[layer.name].set_weights(layer.get_weights())
            if isinstance(layer, keras.layers.Normalization):
                copies[layer.name].finalize_state()  # it computes with constants that it makes of its weights
    return outputs


def _calibrated(branch: Branch, logits: Any) -> Any:
    """Calibrated probabilities as `CalibrationMap` computes them: those of the network are held above `SMALLEST`."""
    from keras import layers

    def layer(what: Any, name: str, *arguments: Any, **more: Any) -> Any:
        return what(*arguments, **more, name=f"{branch.name}_{name}", dtype="float32")

    n_classes, how = logits.shape[-1], branch.calibration
    depth = float(-np.log(SMALLEST))
    values = layer(layers.Activation, "log_probabilities", "log_softmax")(logits)
    values = layer(layers.ReLU, "at_least")(layer(layers.Rescaling, "raised", 1.0, depth)(values))
    weights, slopes, intercepts = how.class_weights or (1.0,), how.slopes or (1.0,), how.intercepts or (0.0,)
    unweighted = layer(layers.Dense, "unweighted", n_classes, activation="log_softmax")
    mapped = layer(layers.Dense, "calibrated", n_classes, activation="softmax")
    found = mapped(unweighted(values))
    for dense, scale, shift in ((unweighted, (1.0,), -np.log(weights)), (mapped, slopes, intercepts)):
        kernel = np.diag(np.broadcast_to(np.asarray(scale, np.float32), n_classes))
        dense.set_weights([kernel, np.broadcast_to(np.asarray(shift, np.float32), n_classes)])
    return found
