"""Ray runs each trial of a warm worker in a thread of its own, and Keras counts automatic names by thread."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.models import assemble
from bench.models.augmentation import Policy
from bench.models.backbones import BACKBONES, Backbone
from bench.models.weights import resolve_weights
from bench.train.features import FrozenFeatures
from bench.train.networks import Networks
from bench.train.trainer import Trainer
from bench.trial import N_STAGES, TrialConfig

SIZE = 75
EVERYTHING = Policy(
    "everything", rotation=5, shift=0.1, zoom=0.1, crop=0.1, brightness=0.1, contrast=0.1, horizontal_flip=True
)


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What ``work`` returns in a new thread, as a worker's trials run."""
    found: list[Any] = []

    def call() -> None:
        try:
            found.append((work(), None))
        except Exception as error:
            found.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    value, error = found[0]
    if error is not None:
        raise error
    return value


def built_unnamed(weights: str | None = None, input_shape: tuple[int, int, int] = (32, 32, 3)) -> Any:
    """The toy's stages with automatic names wherever a cut does not need one, of every kind of layer that is added."""
    import keras
    from keras import layers

    values = inputs = keras.Input(input_shape)
    for number, (channels, stride) in enumerate([(8, 2), (8, 2), (12, 2), (12, 1), (16, 1)], start=1):
        values = layers.Conv2D(channels, 3, stride, padding="same")(values)
        values = layers.Activation("linear")(values)
        values = layers.Dropout(0.0)(values)
        values = layers.Activation("relu", name=f"stage{number}")(values)
    model = keras.Model(inputs, values)
    if weights:
        model.load_weights(weights)
    return model


@pytest.mark.backbones
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=lambda backbone: backbone.name)
def test_every_model_of_a_backbone_can_be_built_in_a_thread_of_its_own(backbone: Backbone) -> None:
    network = in_a_thread(lambda: backbone.build(weights=None, input_shape=(SIZE, SIZE, 3)))
    standard = np.zeros(backbone.n_features, np.float32), np.ones(backbone.n_features, np.float32)
    for depths in [(depth,) for depth in range(N_STAGES)] + [tuple(range(N_STAGES))]:
        prefix = in_a_thread(lambda depths=depths: assemble.prefix_model(backbone, network, SIZE, 1, depths))
        assert len(prefix.outputs) == len(depths)
    head = in_a_thread(lambda: assemble.trial_head(backbone.n_features, 2))
    for depth in range(1, N_STAGES + 1):
        suffix = in_a_thread(lambda depth=depth: assemble.suffix_model(backbone, network, SIZE, 1, depth, head))
        assert suffix.output_shape == (None, 2)
    full = in_a_thread(lambda: assemble.full_model(backbone, network, SIZE, 1, 2, standard, 0.1))
    assert full.output_shape == (None, 2)
    in_a_thread(lambda: assemble.freeze_prefix(backbone, full, 2))


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_trials_in_threads_of_their_own_over_a_cold_and_a_warm_cache(
    warm: bool, make_task: Callable[..., Any], tmp_path: Any
) -> None:
    """A warm cache lets the network be loaded late, in the thread of whichever trial first lacks a view."""
    import dataclasses

    from toys import toy_backbone

    row = dataclasses.replace(toy_backbone(), build=built_unnamed)
    weights = resolve_weights("random", [row], tmp_path / "weights", seed=0)
    task = make_task(backbones={"toy": row}, weights=weights, depths=(), epochs=1)  # a prefix per depth
    if warm:
        features = FrozenFeatures(Networks(task))
        for depth in (0, 2):
            features.training_views("toy", Policy("none"), depth, range(1))
            features.validation("toy", depth)
    trainer = Trainer(task)
    trials = [("none", 0), ("light", 0), ("none", 2), ("light", 2), ("light", 1), ("none", 4), ("light", 5)]
    for augmentation, depth in trials:
        config = TrialConfig("toy", augmentation, depth, 1e-3, 0.1 if depth else None, batch_size=8)
        result = in_a_thread(lambda config=config: trainer.run(config))
        assert np.isfinite(result.metrics["auc"])
