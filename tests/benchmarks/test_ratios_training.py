"""Pairs: filling the cache, a suffix epoch and a head epoch, beside bare Keras.

Both ways run under the device settings of a run (deterministic, so without XLA), read the same values, and end each
epoch on the same validation images; ours scores seven metrics there, bare Keras its loss alone.
"""

import dataclasses
import shutil
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import toys
from keras import layers
from material import DEPTHS, NONE, everything, make_task
from ratios import Seconds

from bench.device import set_up
from bench.models.backbones import BACKBONES, boundary_cut, cut_layer
from bench.models.weights import load_backbone
from bench.train.features import FrozenFeatures
from bench.train.networks import Networks
from bench.train.task import Task
from bench.train.trainer import Trainer
from bench.trial import TrialConfig

BATCH, PREDICT = 32, 64
HEAD_EPOCHS = 10


@pytest.fixture(scope="session", autouse=True)
def devices() -> None:
    set_up(None)
    keras.utils.set_random_seed(0)  # a deterministic TensorFlow asks for it


@pytest.fixture(scope="session")
def task(backbone_name: str, sizes: Any, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """A task over one backbone; its cache is shared by the pairs of that backbone."""
    backbone = toys.toy_backbone(backbone_name) if backbone_name.startswith("toy") else BACKBONES[backbone_name]
    return make_task(tmp_path_factory.mktemp(backbone_name), backbone, sizes.side, sizes.train, sizes.val)


def bare_network(task: Task, name: str) -> Any:
    """The network of keras.applications with the weights that ours has."""
    return load_backbone(task.backbones[name], task.images[name].size, task.weights.files[name])


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch of a bare fit, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = Seconds()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def bare_fit(task: Task, name: str, depth: int, body: Callable[[Any], Any], epochs: int) -> Callable[[], Seconds]:
    """Pooled features behind ``body`` -> standardisation, dropout, softmax, trained by `fit` on the values of ours."""
    import tensorflow as tf

    features = FrozenFeatures(Networks(task))
    (view,) = features.training_views(name, NONE, depth, range(1))
    train, val = everything(view), everything(features.validation(name, depth))
    n_features = task.backbones[name].n_features
    inputs = keras.Input(train.shape[1:])
    values = layers.Normalization(mean=np.zeros(n_features), variance=np.ones(n_features))(body(inputs))
    outputs = layers.Dense(task.n_classes, activation="softmax")(layers.Dropout(0.2)(values))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-4), "categorical_crossentropy")
    targets = {split: np.eye(task.n_classes, dtype=np.float32)[labels] for split, labels in task.labels.items()}
    # as a data set, because making one of arrays costs every fit's first epoch 30 ms
    validation = tf.data.Dataset.from_tensor_slices((val, targets["val"])).batch(BATCH).prefetch(tf.data.AUTOTUNE)

    def fit() -> Seconds:
        clock = Clock()
        given = {"validation_data": validation, "callbacks": [clock], "verbose": 0}
        model.fit(train, targets["train"], batch_size=BATCH, epochs=epochs, **given)
        return clock.seconds

    return fit


def our_epochs(task: Task, config: TrialConfig, phase: str) -> Callable[[], Seconds]:
    """Seconds of each epoch of a phase; one trainer for all calls, so that the first alone traces."""
    trainer = Trainer(task)
    return lambda: Seconds(record.seconds for record in trainer.run(config).epochs if record.phase == phase)


def test_prefix_filling(pair: Callable[..., None], sizes: Any, task: Task, backbone_name: str) -> None:
    network, features = bare_network(task, backbone_name), FrozenFeatures(Networks(task))
    images = np.asarray(task.images[backbone_name].open()[task.rows["train"]], dtype=np.float32).repeat(3, axis=-1)

    def ours() -> None:
        assert features.training_views(backbone_name, NONE, 0, range(1))[0].shape[0] == sizes.train

    def plain() -> None:
        assert len(network.predict(images, batch_size=PREDICT, verbose=0)) == sizes.train

    def empty() -> None:
        shutil.rmtree(task.cache)

    features.validation(backbone_name, 0)  # traces, on fewer images than a whole round
    network.predict(images[:PREDICT], batch_size=PREDICT, verbose=0)
    against = f"predict of keras.applications, batches of {PREDICT}; ours also keeps the boundaries of depths {DEPTHS}"
    name = f"prefix filling: {backbone_name}"
    pair(name, ours, plain, against=against, rounds=sizes.slow_rounds, before=empty, warm_up=False)
    assert any(task.cache.rglob("*.npy")), "the cache was filled"


@pytest.mark.parametrize("depth", [1, 2])
def test_suffix_epoch(pair: Callable[..., None], sizes: Any, task: Task, backbone_name: str, depth: int) -> None:
    backbone, network = task.backbones[backbone_name], bare_network(task, backbone_name)
    for layer in network.layers:
        layer.trainable = not isinstance(layer, layers.BatchNormalization)
    tail = keras.Model(cut_layer(network, str(boundary_cut(backbone, depth))).output, network.output)
    plain = bare_fit(
        task, backbone_name, depth, lambda values: layers.GlobalAveragePooling2D()(tail(values, training=False)), 1
    )
    config = TrialConfig(backbone_name, "none", depth, 1e-3, 0.1, dropout=0.2, batch_size=BATCH)
    name = f"suffix epoch: {backbone_name}, depth {depth}"
    against = f"fit of the same suffix on the same maps in memory, batches of {BATCH}"
    pair(name, our_epochs(task, config, "finetune"), plain, against=against, rounds=sizes.slow_rounds)


def test_head_epoch(pair: Callable[..., None], sizes: Any, task: Task, backbone_name: str) -> None:
    longer = dataclasses.replace(task, epochs=HEAD_EPOCHS, patience=HEAD_EPOCHS + 1)
    plain = bare_fit(longer, backbone_name, 0, lambda values: values, HEAD_EPOCHS)
    config = TrialConfig(backbone_name, "none", 0, 1e-3, None, dropout=0.2, batch_size=BATCH)
    against = f"fit of the same head on the same pooled features in memory, batches of {BATCH}"
    name = f"head epoch: {backbone_name}"
    pair(name, our_epochs(longer, config, "head"), plain, against=against, rounds=sizes.rounds)
