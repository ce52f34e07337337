"""Pairs: what reads and changes pixels and cached maps, beside plain NumPy and a user's tf.data.

This file comes before test_ratios_training.py: the device settings of a run make TensorFlow deterministic, and a
deterministic tf.data maps on one core, which would be unfair to the plain way.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from material import NONE, WIDE, make_task, noise_images

from bench.models.augmentation import Augmenter, make_layers
from bench.search.space import load_space
from bench.train.features import FrozenFeatures
from bench.train.loop import Batches
from bench.train.networks import Networks

READ, AUGMENT = 32, 64


def shuffled(count: int, size: int) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers of each batch of an epoch, in order within a batch."""
    order = np.random.default_rng(0).permutation(count)
    return (np.sort(order[start : start + size]) for start in range(0, count, size))


def test_store_reading(pair: Callable[..., None], sizes: Any, tmp_path: Path) -> None:
    stored = noise_images(tmp_path, sizes.images, sizes.side)

    def read(images: npt.NDArray[np.uint8]) -> int:
        return sum(np.asarray(images[rows]).nbytes for rows in shuffled(sizes.images, READ))

    def ours() -> None:
        assert read(stored.open()) == sizes.images * sizes.side**2

    def plain() -> None:
        assert read(np.load(stored.file)) == sizes.images * sizes.side**2

    pair("store reading", ours, plain, against="np.load of all images, then rows", rounds=4 * sizes.rounds)


def test_map_reading(pair: Callable[..., None], sizes: Any, tmp_path: Path) -> None:
    task = make_task(tmp_path, WIDE, sizes.side, sizes.images, 4, depths=(1,))
    (view,) = FrozenFeatures(Networks(task)).training_views(WIDE.name, NONE, 1, range(1))
    maps = view.take(np.arange(sizes.images)).astype(np.float16)
    targets, weights = np.eye(2, dtype=np.float32)[task.labels["train"]], np.ones(sizes.images, np.float32)
    batches = Batches([view], targets, weights, READ, seed=0)

    def ours() -> None:
        assert sum(np.count_nonzero(part) for _, _, part in batches.epoch(0)) == sizes.images

    def plain() -> None:
        parts = ((maps[rows].astype(np.float32), targets[rows]) for rows in shuffled(sizes.images, READ))
        assert sum(len(values) for values, _ in parts) == sizes.images

    against = "batches of a float16 array that lies in memory, as float32"
    pair("epoch of cached maps", ours, plain, against=against, rounds=4 * sizes.rounds)


@pytest.mark.parametrize("name", ["light", "strong"])
def test_augmentation(pair: Callable[..., None], sizes: Any, name: str) -> None:
    import tensorflow as tf

    policy = load_space("default").policies[name]
    images = np.random.default_rng(0).integers(0, 256, (sizes.images, sizes.side, sizes.side, 1), dtype=np.uint8)
    augment, user_layers = Augmenter(policy, seed=0), make_layers(policy, seed=0)

    def changed(batch: Any) -> Any:
        values = tf.cast(batch, tf.float32)
        for layer in user_layers:
            values = layer(values, training=True)
        return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)

    source = tf.data.Dataset.from_tensor_slices(images).batch(AUGMENT)
    mapped = source.map(changed, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)

    def ours() -> None:
        starts = range(0, sizes.images, AUGMENT)
        assert sum(len(augment(images[start : start + AUGMENT])) for start in starts) == sizes.images

    def plain() -> None:
        assert sum(len(batch) for batch in mapped.as_numpy_iterator()) == sizes.images

    against = f"the same Keras layers in a parallel tf.data map over batches of {AUGMENT}"
    pair(f"augmentation: {name}", ours, plain, against=against, rounds=sizes.rounds)
