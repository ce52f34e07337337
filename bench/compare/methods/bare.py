"""Bare Keras at work: a process that builds a network, times its steps, and answers over its standard streams.

It imports nothing of this suite: the limit must not depend on how well the suite does the same work. A line of JSON
comes in, a line of JSON goes out; the orders are in ``_ORDERS``.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

WARM_UP = 2
HEAD_STEPS = 256
"""Steps that one call of ``fit`` takes at once where only a head is trained: a step is shorter than its call."""


class Bench:
    """The models of one part of the work, by precision and compiler, and the step that is being timed."""

    def __init__(self) -> None:
        self._models: dict[tuple[str, bool], Any] = {}
        self._step: Callable[[], Any] = lambda: None
        self._images = 0

    def clear(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Forget all models; the next part begins."""
        import keras

        self._models.clear()
        keras.backend.clear_session()
        return {}

    def build(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Make the model of ``order`` in its precision, by XLA or not, unless it is there."""
        import keras

        if _way(order) not in self._models:
            keras.config.set_dtype_policy(order["precision"])
            try:
                self._models[_way(order)] = _model(order)
            finally:
                keras.config.set_dtype_policy("float32")
        return {}

    def ready(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Prepare a step of ``order``'s kind and batch size, and run it until it is traced and warm."""
        model, batch = self._models[_way(order)], int(order["batch"])
        random = np.random.default_rng(0)
        n_images = batch * (HEAD_STEPS if order["part"] == "head" and order["kind"] == "training" else 1)
        x = random.random((n_images, *model.input_shape[1:]), dtype=np.float32)
        self._images = n_images
        if order["kind"] != "training":
            self._step = lambda: model.predict_on_batch(x)
        else:
            y = np.eye(model.output_shape[-1], dtype=np.float32)[random.integers(0, model.output_shape[-1], n_images)]
            if order["part"] == "head":
                self._step = lambda: model.fit(x, y, batch_size=batch, epochs=1, shuffle=False, verbose=0)
            else:
                self._step = lambda: model.train_on_batch(x, y)
        for _ in range(WARM_UP):
            self._step()
        return {}

    def time(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Run the step for at least ``order["seconds"]``; answers images a second."""
        started, steps = time.perf_counter(), 0
        while (spent := time.perf_counter() - started) < order["seconds"] or not steps:
            self._step()
            steps += 1
        return {"images_per_second": steps * self._images / spent}


def _way(order: Mapping[str, Any]) -> tuple[str, bool]:
    return order["precision"], order["xla"]


def _model(order: Mapping[str, Any]) -> Any:
    """``forward``: images to pooled features; ``head``: those to classes; ``suffix``: a map at ``cut`` to classes."""
    import keras
    from keras import layers

    def compiled(model: Any, **arguments: Any) -> Any:
        model.compile(keras.optimizers.Adam(1e-5), "categorical_crossentropy", jit_compile=order["xla"], **arguments)
        return model

    def classes(values: Any) -> Any:
        return layers.Dense(int(order["classes"]), activation="softmax", dtype="float32")(values)

    if order["part"] == "head":
        inputs = keras.Input((int(order["features"]),))
        return compiled(keras.Model(inputs, classes(inputs)), steps_per_execution=HEAD_STEPS)
    network = getattr(keras.applications, order["application"])(
        include_top=False, weights=None, input_shape=(order["size"], order["size"], 3)
    )
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False
    pooled = layers.GlobalAveragePooling2D()(network.output)
    if order["part"] == "forward":
        return compiled(keras.Model(network.input, pooled))
    start = network.input if order["cut"] is None else _cut(network, order["cut"]).output
    return compiled(keras.Model(start, classes(pooled)))


def _cut(network: Any, name: str) -> Any:
    """The layer called ``name``; ``max_pooling:N`` is the N-th MaxPooling2D layer."""
    from keras import layers

    kind, _, number = name.partition(":")
    if kind != "max_pooling":
        return network.get_layer(name)
    return [layer for layer in network.layers if isinstance(layer, layers.MaxPooling2D)][int(number) - 1]


_ORDERS: dict[str, Callable[[Bench, Mapping[str, Any]], dict[str, Any]]] = {
    "clear": Bench.clear,
    "build": Bench.build,
    "ready": Bench.ready,
    "time": Bench.time,
}


def serve() -> None:
    """Carry out the orders of standard input until it ends; what libraries print does not reach the answers."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    bench = Bench()
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = _ORDERS[order["do"]](bench, order)
        except Exception as error:  # the one who asked decides what an impossible order means
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()
