"""What the pairs work on: noise as a stored set, tasks over it, and a backbone that fills large maps in no time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.store import StoredImages
from bench.models.augmentation import Policy
from bench.models.backbones import TF, Backbone, Stage
from bench.models.weights import resolve_weights
from bench.train.task import Task

NONE = Policy("none")
DEPTHS = (0, 1, 2)


def noise_images(folder: Path, count: int, side: int) -> StoredImages:
    """``count`` grey images, stored as a run stores them."""
    file = folder / f"noise-{count}-{side}.npy"
    np.save(file, np.random.default_rng(0).integers(0, 256, (count, side, side, 1), dtype=np.uint8))
    return StoredImages(file, side, 1, f"noise-{count}-{side}")


def make_task(
    folder: Path, backbone: Backbone, side: int, train: int, val: int, depths: Sequence[int] = DEPTHS, epochs: int = 1
) -> Task:
    """Two classes in turn, no augmentation, random weights; the cache lies in ``folder``."""
    counts = {"train": (0, train), "val": (train, train + val)}
    rows = {split: np.arange(*ends) for split, ends in counts.items()}
    return Task(
        images={backbone.name: noise_images(folder, train + val, side)},
        rows=rows,
        labels={split: chosen % 2 for split, chosen in rows.items()},
        n_classes=2,
        backbones={backbone.name: backbone},
        weights=resolve_weights("random", [backbone], folder / "weights", seed=0),
        policies={NONE.name: NONE},
        metric="auc",
        epochs=epochs,
        patience=epochs + 1,
        views=1,
        seed=0,
        cache=folder / "cache",
        cache_bytes=10**10,
        depths=tuple(depths),
    )


def everything(features: Any) -> npt.NDArray[np.float32]:
    """All rows of a view in memory, as the plain way has them."""
    return np.asarray(features.take(np.arange(features.shape[0])), dtype=np.float32)


def build_wide(weights: str | None = None, input_shape: tuple[int, int, int] = (96, 96, 3)) -> Any:
    """One convolution to 512 channels of stride 16, then nothing but names, and a pooling."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    values = layers.Conv2D(512, 1, 16, name="stage1")(inputs)
    for number in (2, 3, 4):
        values = layers.ReLU(name=f"stage{number}")(values)
    values = layers.MaxPooling2D(2, name="stage5")(values)
    model = keras.Model(inputs, values, name="wide_network")
    if weights:
        model.load_weights(weights)
    return model


WIDE = Backbone(
    name="wide",
    title="Wide",
    build=build_wide,
    native_size=96,
    minimum_size=32,
    preprocessing=TF,
    stages=(
        Stage("stage1", 16, 512),
        Stage("stage2", 16, 512),
        Stage("stage3", 16, 512),
        Stage("stage4", 16, 512),
        Stage("stage5", 32, 512),
    ),
    weights_file="wide.weights.h5",
)
"""Its map at depth 1 has the shape of VGG16's: 6 x 6 x 512 at 96 px."""
