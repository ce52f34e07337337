"""Bare Keras at work: a process that builds a network, times its steps, and answers over a pipe.

It imports nothing of this suite: the lower bound must not depend on how well the suite does the same work.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

WARM_UP = 2
HEAD_STEPS = 256
"""Steps that one call of ``fit`` takes at once where only a head is trained: a step is shorter than its call."""


@dataclass(frozen=True)
class Network:
    """What is built.

    Attributes:
        part: ``forward`` (images to pooled features), ``head`` (those to classes), ``suffix`` (map to classes) or
            ``small_cnn`` (images to classes).
        backbone: its title.
        build: ``build(weights=None, input_shape=(height, width, 3))`` -> Keras model ending in a map; of a small CNN
            ``build(size, channels, n_classes, seed)`` -> the whole model.
        cut: layer where the suffix begins; ``max_pooling:N`` is the N-th MaxPooling2D layer, None the input.
        size: height and width of the images in pixels.
        n_features: length of the pooled feature vector.
        n_classes: number of classes.
    """

    part: str
    backbone: str
    build: Callable[..., Any]
    cut: str | None
    size: int
    n_features: int
    n_classes: int


@dataclass(frozen=True)
class Way:
    """How it is computed: in Keras's dtype policy ``precision``, compiled by XLA or not."""

    precision: str
    xla: bool = False


class Bench:
    """The models of one network, by way of computing, and the step that is being timed."""

    def __init__(self) -> None:
        self.models: dict[Way, Any] = {}
        self._step: Callable[[], Any] = lambda: None
        self._images = 0

    def clear(self) -> None:
        """Forget all models; the next network begins."""
        import keras

        self.models.clear()
        keras.backend.clear_session()

    def build(self, network: Network, way: Way) -> None:
        """Build the model of ``network``, unless it is there."""
        import keras

        if way not in self.models:
            keras.config.set_dtype_policy(way.precision)
            try:
                self.models[way] = _model(network, way.xla)
            finally:
                keras.config.set_dtype_policy("float32")

    def prepare(self, network: Network, way: Way, training: bool, batch: int) -> None:
        """Prepare a step of training or prediction, and run it until it is traced and warm."""
        model, random = self.models[way], np.random.default_rng(0)
        head = network.part == "head"
        self._images = batch * (HEAD_STEPS if head and training else 1)
        x = random.random((self._images, *model.input_shape[1:]), dtype=np.float32)
        y = np.eye(network.n_classes, dtype=np.float32)[random.integers(0, network.n_classes, self._images)]
        if not training:
            self._step = lambda: model.predict_on_batch(x)
        elif head:
            self._step = lambda: model.fit(x, y, batch_size=batch, epochs=1, shuffle=False, verbose=0)
        else:
            self._step = lambda: model.train_on_batch(x, y)
        for _ in range(WARM_UP):
            self._step()

    def time(self, seconds: float) -> float:
        """Run the step for at least ``seconds``; returns images per second."""
        started, steps = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < seconds or not steps:
            self._step()
            steps += 1
        return steps * self._images / spent


def _model(network: Network, xla: bool) -> Any:
    import keras
    from keras import layers

    def compiled(model: Any, **arguments: Any) -> Any:
        model.compile(keras.optimizers.Adam(1e-5), "categorical_crossentropy", jit_compile=xla, **arguments)
        return model

    if network.part == "small_cnn":
        return compiled(network.build(network.size, 3, network.n_classes, 0))
    classes = layers.Dense(network.n_classes, activation="softmax", dtype="float32")
    if network.part == "head":
        inputs = keras.Input((network.n_features,))
        return compiled(keras.Model(inputs, classes(inputs)), steps_per_execution=HEAD_STEPS)
    backbone = network.build(weights=None, input_shape=(network.size, network.size, 3))
    for layer in backbone.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    pooled = layers.GlobalAveragePooling2D()(backbone.output)
    if network.part == "forward":
        return compiled(keras.Model(backbone.input, pooled))
    start = backbone.input if network.cut is None else _layer(backbone, network.cut).output
    return compiled(keras.Model(start, classes(pooled)))


def _layer(model: Any, name: str) -> Any:
    from keras import layers

    kind, _, number = name.partition(":")
    if kind != "max_pooling":
        return model.get_layer(name)
    return [layer for layer in model.layers if isinstance(layer, layers.MaxPooling2D)][int(number) - 1]


def serve(connection: Connection, environment: Mapping[str, str]) -> None:
    """Call methods of a `Bench` as (name, arguments) come in, and answer (result, error), until the pipe is closed."""
    os.environ.update(environment)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    bench = Bench()
    while True:
        try:
            name, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send((getattr(bench, name)(*arguments), ""))
        except Exception as error:  # the caller decides what an impossible order means
            connection.send((None, f"{type(error).__name__}: {error}"))
