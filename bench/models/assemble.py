"""A backbone and a head become a full model, and its frozen prefix and trainable suffix at a cut.

Keras 3 API only, so that any Keras backend can train these models. BatchNormalization inside the backbone always
runs in inference mode: with updating statistics frozen features would drift, and the head's standardisation with
them. Calling the backbone with ``training=False`` is not enough, for the outer model's ``training=True`` overrides it
(seen in Keras 3.15); its BatchNormalization layers are frozen instead, scale and shift included.

Every layer and model built here has a name of its own: Ray runs each trial of a warm worker in another thread, Keras
counts automatic names by thread, and so an unnamed layer may be called as one of the network's is.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from bench.models.backbones import Backbone, Preprocessing, boundary_cut, cut_layer
from bench.models.standardisation import Standard

Model = Any


class VariableDropout(layers.Layer):  # type: ignore[misc]
    """Dropout whose rate is a variable, so that trials with other rates share one traced training step."""

    def __init__(self, seed: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.rate = self.add_weight(name="rate", shape=(), initializer="zeros", trainable=False)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """``inputs`` with a share ``rate`` of its values zeroed and the rest scaled up, in training only."""
        if not training:
            return inputs
        keep = keras.random.uniform(keras.ops.shape(inputs), seed=self.seed_generator) >= self.rate
        return inputs * keras.ops.cast(keep, inputs.dtype) / (1.0 - self.rate)

    def reset(self, rate: float, seed: int) -> None:
        """Set the rate and start the random stream anew."""
        self.rate.assign(rate)
        self.seed_generator.state.assign(keras.random.SeedGenerator(seed).state)


class VariableStandardisation(layers.Layer):  # type: ignore[misc]
    """`keras.layers.Normalization` whose mean and variance are variables, as they differ between trials."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the variables, of shape (n_features,)."""
        self.mean = self.add_weight(name="mean", shape=(shape[-1],), initializer="zeros", trainable=False)
        self.deviation = self.add_weight(name="deviation", shape=(shape[-1],), initializer="ones", trainable=False)

    def call(self, inputs: Any) -> Any:
        """``inputs`` less the mean, in deviations."""
        return (inputs - self.mean) / self.deviation

    def reset(self, standard: Standard) -> None:
        """Set mean and variance."""
        mean, variance = standard
        self.mean.assign(mean)
        self.deviation.assign(np.sqrt(variance))


def preprocessing_layer(preprocessing: Preprocessing, channels: int) -> Any:
    """A fixed 1x1 convolution that turns RGB or grey images of 0 to 255 into what the backbone was trained on.

    A convolution, because slicing (``x[..., ::-1]``) saves to .h5 but does not load from it.
    """
    kernel = np.zeros((1, 1, channels, 3), np.float32)
    for output in range(3):
        wanted = 2 - output if preprocessing.bgr else output
        kernel[0, 0, wanted if channels == 3 else 0, output] = preprocessing.scales[output]
    layer = layers.Conv2D(3, 1, trainable=False, name="preprocessing", dtype="float32")
    layer.build((None, None, None, channels))
    layer.set_weights([kernel, np.asarray(preprocessing.offsets, np.float32)])
    return layer


def freeze_batch_normalisation(network: Model) -> None:
    """Keep every BatchNormalization layer of ``network`` in inference mode, whatever mode the model runs in."""
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False


def prefix_model(backbone: Backbone, network: Model, size: int, channels: int, depths: Sequence[int]) -> Model:
    """Images -> the outputs of the frozen prefix at each of ``depths``, in one pass.

    Depth 0 gives pooled features of shape (n, n_features); depth d in 1 to 4 the map at that cut.

    Args:
        backbone: row of the table.
        network: its Keras model, built for (size, size, 3), whatever it computes in; all outputs are float32.
        size: height and width in pixels.
        channels: of the images, 1 or 3.
        depths: unfreeze depths, each in 0 to 4.
    """
    outputs = []
    for depth in depths:
        output = cut_layer(network, str(boundary_cut(backbone, depth))).output
        name = f"{backbone.name}_boundary_{depth}"
        kept = layers.GlobalAveragePooling2D(name=name) if depth == 0 else layers.Activation("linear", name=name)
        outputs.append(kept(output))
    images = keras.Input((size, size, channels), name="image")
    trunk = keras.Model(network.input, outputs, name=f"{backbone.name}_prefix")
    result = trunk(preprocessing_layer(backbone.preprocessing, channels)(images), training=False)
    return keras.Model(images, result, name=f"{backbone.name}_prefix_of_images")


def suffix_model(backbone: Backbone, network: Model, size: int, channels: int, depth: int, head: Model) -> Model:
    """What follows the frozen prefix at unfreeze depth ``depth`` (1 to 5), with ``head`` at its end.

    It shares the layers of ``network``: training it changes that network. At depth 5 it takes images.
    """
    freeze_batch_normalisation(network)
    cut = boundary_cut(backbone, depth)
    if cut is None:
        images = keras.Input((size, size, channels), name="image")
        values = network(preprocessing_layer(backbone.preprocessing, channels)(images), training=False)
        return keras.Model(images, head(layers.GlobalAveragePooling2D(name="pool")(values)), name="suffix")
    boundary = cut_layer(network, cut).output
    tail = keras.Model(boundary, network.output, name=f"{backbone.name}_tail")
    features = keras.Input(boundary.shape[1:], name="features")
    values = tail(features, training=False)
    return keras.Model(features, head(layers.GlobalAveragePooling2D(name="pool")(values)), name="suffix")


def trial_head(n_features: int, n_classes: int) -> Model:
    """Pooled features -> class probabilities: resettable standardisation and dropout, then a dense softmax."""
    features = keras.Input((n_features,), name="pooled")
    values = VariableStandardisation(name="standardise")(features)
    values = VariableDropout(name="dropout")(values)
    values = layers.Dense(n_classes, activation="softmax", name="probabilities")(values)
    return keras.Model(features, values, name="head")


def full_model(
    backbone: Backbone,
    network: Model,
    size: int,
    channels: int,
    n_classes: int,
    standard: Standard,
    dropout: float,
    seed: int = 0,
    precision: str | None = None,
) -> Model:
    """Images of 0 to 255 -> class probabilities, by built-in layers only and as one flat graph: what is exported.

    It has layers of its own, with the names and weights of those of ``network``; batch normalisation is frozen, and so
    stays in inference mode. They compute in ``precision``, or as those of ``network`` do.
    """
    images = keras.Input((size, size, channels), name="image")
    preprocessing = preprocessing_layer(backbone.preprocessing, channels)

    def call(layer: Any, values: Any, *arguments: Any, **more: Any) -> Any:
        return layer(preprocessing(values) if values is images else values, *arguments, **more)

    def cloned(layer: Any) -> Any:
        config = layer.get_config()
        return type(layer).from_config({**config, "dtype": precision or config["dtype"]})

    trunk = keras.models.clone_model(network, images, clone_function=cloned, call_function=call)
    for layer in network.layers:
        trunk.get_layer("image" if isinstance(layer, layers.InputLayer) else layer.name).set_weights(
            layer.get_weights()
        )
    freeze_batch_normalisation(trunk)
    values = layers.GlobalAveragePooling2D(name="pool")(trunk.output)
    standardise = layers.Normalization(name="standardise")
    standardise.build(values.shape)
    standardise.set_weights([*standard, np.asarray(0)])
    standardise.finalize_state()
    values = layers.Dropout(dropout, seed=seed, name="dropout")(standardise(values))
    values = layers.Dense(n_classes, activation="softmax", name="probabilities")(values)
    return keras.Model(images, values, name=f"{backbone.name}_classifier")


def freeze_prefix(backbone: Backbone, model: Model, depth: int) -> None:
    """Make exactly the last ``depth`` stages of a `full_model` and its head trainable, batch normalisation apart."""
    cut = boundary_cut(backbone, depth)
    frozen = keras.Model(model.input, cut_layer(model, cut).output, name="frozen").layers if cut else []
    names = {layer.name for layer in frozen} | {"preprocessing"}
    for layer in model.layers:
        layer.trainable = layer.name not in names
    freeze_batch_normalisation(model)
