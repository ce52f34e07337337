"""A network of ``keras.applications`` written anew as one flat graph of built-in layers, with the same values.

ConvNeXt has models and layers of its own inside, MobileNetV3 adds without a layer, and an .h5 file of either does not
load in plain Keras; EfficientNet drops whole blocks at random as soon as it trains. What is built here loads, and drops
nothing.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import layers

Model = Any
OUTPUT = "output"
"""Name of the last layer of a flat network."""


def flat(network: Model) -> Model:
    """The functional model ``network`` as one flat graph; its last layer is called `OUTPUT`.

    - Nested Sequential models are their layers, and sums and products of tensors are layers (``sum_N``, ``shift_N``,
      ``scale_N``, counted from 1 in the order of the graph, for Keras counts automatic names by thread).
    - A convolution with as many groups as channels is a DepthwiseConv2D: the same numbers, without XLA on a CPU.
    - ConvNeXt's LayerScale is a DepthwiseConv2D of 1x1 without bias, whose kernel is the scale.
    - Dropout and stochastic depth are left out: backbones run in inference mode, in training too.

    Raises:
        ValueError: for an operation that none of these is.
    """
    numbers = itertools.count(1)
    last = network.layers[-1]

    def call(operation: Any, *values: Any, **arguments: Any) -> Any:
        if isinstance(operation, layers.Layer):
            found, *more = values
            for layer, weights in _plain(operation, operation is last):
                found = layer(found, *more)
                layer.set_weights(weights)
            return found
        first, second = values
        return _of_operation(type(operation).__name__, second, numbers)(
            [first, second] if keras.backend.is_keras_tensor(second) else first
        )

    images = keras.Input(network.input.shape[1:], name="image")
    return keras.models.clone_model(network, images, clone_function=lambda layer: layer, call_function=call)


def _plain(layer: Any, last: bool) -> Iterator[tuple[Any, list[Any]]]:
    """Built-in layers that do together what ``layer`` does, not built yet, each with the values of its weights."""
    kind, weights = type(layer).__name__, layer.get_weights()
    named = {"name": OUTPUT if last else layer.name, "dtype": layer.dtype_policy}
    if isinstance(layer, keras.Sequential):
        for inner in layer.layers:
            yield from _plain(inner, last=False)
    elif kind == "LayerScale":
        yield layers.DepthwiseConv2D(1, use_bias=False, **named), [weights[0][None, None, :, None]]
    elif isinstance(layer, layers.Conv2D) and layer.groups > 1:
        yield _depthwise(layer, named), [np.swapaxes(weights[0], 2, 3), *weights[1:]]
    elif kind != "StochasticDepth" and not isinstance(layer, layers.Dropout):
        yield type(layer).from_config({**layer.get_config(), "name": named["name"]}), weights


def _depthwise(layer: Any, named: dict[str, Any]) -> Any:
    """A convolution of one channel per group."""
    kernel = layer.kernel.shape
    if (kernel[2], kernel[3]) != (1, layer.groups):
        raise ValueError(f"{layer.name}: one input and one output channel per group are expected, but got {kernel}")
    shape = {"strides": layer.strides, "padding": layer.padding, "dilation_rate": layer.dilation_rate}
    return layers.DepthwiseConv2D(
        layer.kernel_size, activation=layer.activation, use_bias=layer.use_bias, **shape, **named
    )


def _of_operation(kind: str, second: Any, numbers: Iterator[int]) -> Any:
    """The layer that adds or multiplies as ``keras.ops`` does, two maps or a map and a number."""
    if kind == "Add" and keras.backend.is_keras_tensor(second):
        return layers.Add(name=f"sum_{next(numbers)}")
    if kind == "Add":
        return layers.Rescaling(1.0, float(second), name=f"shift_{next(numbers)}")
    if kind == "Multiply" and not keras.backend.is_keras_tensor(second):
        return layers.Rescaling(float(second), name=f"scale_{next(numbers)}")
    raise ValueError(f"sums of maps, and a map plus or times a number, are expected, but got {kind}")
