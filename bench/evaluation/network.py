"""An exported file taken apart: the map before the pooling, the linear head after it, logits and log-odds."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.data.images.decode import Pixels
from bench.models.export import POOL, computing_in, in_one_shape, load_model

BATCH = 32
SMALLEST = 1e-7
"""Probabilities are kept this far from 0 and 1 where log-odds are made of them."""
STANDARDISE, HEAD = "standardise", "probabilities"
"""Layers of `bench.models.assemble.full_model`."""


@dataclass(frozen=True)
class Network:
    """An exported model and, if its head is pooled and linear, what is needed to take that apart.

    Attributes:
        model: images of 0 to 255 -> class probabilities.
        trunk: images -> the map before the pooling; None if the head is of another kind.
    """

    model: Any
    trunk: Any = None

    @classmethod
    def load(cls, model_file: Path) -> "Network":
        """The model in an exported .h5."""
        return cls.of(load_model(model_file))

    @classmethod
    def of(cls, model: Any) -> "Network":
        """A model as it was exported, taken apart where that can be done."""
        import keras

        by_name = {layer.name: layer for layer in model.layers}
        kinds = {
            POOL: keras.layers.GlobalAveragePooling2D,
            STANDARDISE: keras.layers.Normalization,
            HEAD: keras.layers.Dense,
        }
        if not all(isinstance(by_name.get(name), kind) for name, kind in kinds.items()):
            return cls(model)
        return cls(model, keras.Model(model.input, by_name[POOL].input))

    @property
    def pooled(self) -> bool:
        """Whether the head is global average pooling, standardisation and one dense layer."""
        return self.trunk is not None

    def in_precision(self, precision: str) -> "Network":
        """The same network with its convolutions in ``precision``; itself where its head is of another kind."""
        return Network.of(computing_in(self.model, precision)) if self.pooled and precision != "float32" else self

    @property
    def last_stage(self) -> tuple[int, int]:
        """Rows and columns of the map before the pooling."""
        rows, columns = self.trunk.output_shape[1:3]
        return int(rows), int(columns)

    @property
    def bias(self) -> npt.NDArray[np.float64]:
        """Of the dense layer, shape (n_classes,)."""
        return np.asarray(self.model.get_layer(HEAD).get_weights()[1], dtype=np.float64)

    def class_maps(self, images: Pixels) -> npt.NDArray[np.float64]:
        """What each position of the last stage adds to each class: shape (n_images, rows, columns, n_classes).

        The standardisation of a feature, (a - mean) / deviation, is linear, and so is the dense layer after it. So
        both can be applied at every position before the mean is taken instead of after: the mean of a class's map
        over all positions, plus `bias`, is its logit.
        """
        import keras

        maps = _predict(self.trunk, images)
        positions = maps.reshape(-1, maps.shape[-1])
        standardised = keras.ops.convert_to_numpy(self.model.get_layer(STANDARDISE)(positions))
        kernel = self.model.get_layer(HEAD).get_weights()[0]
        values = standardised.astype(np.float64) @ kernel.astype(np.float64)
        return np.asarray(values.reshape(*maps.shape[:3], -1))

    def log_odds(self, images: Pixels, target: int) -> npt.NDArray[np.float64]:
        """Logarithm of p / (1 - p) of one class, shape (n_images,); from the logits where these can be had."""
        if self.pooled:
            logits = self.class_maps(images).mean(axis=(1, 2)) + self.bias
            return np.asarray(logits[:, target] - np.logaddexp.reduce(np.delete(logits, target, axis=1), axis=1))
        chosen = np.clip(_predict(self.model, images)[:, target].astype(np.float64), SMALLEST, 1 - SMALLEST)
        return np.asarray(np.log(chosen / (1 - chosen)))


def shuffle_weights(model: Any, seed: int) -> tuple[int, int]:
    """Shuffle the values within each kernel of the later half of the layers that have one, the head's among them.

    Values stay what they are, so that activations keep their size; only their places are drawn anew. In place.

    Returns:
        how many layers were shuffled, and how many have kernels.
    """
    rng = np.random.default_rng(seed)
    layers = [layer for layer in _leaves(model) if any(weight.ndim > 1 for weight in layer.get_weights())]
    later = layers[len(layers) // 2 :]
    for layer in later:
        layer.set_weights(
            [
                rng.permutation(weight.ravel()).reshape(weight.shape) if weight.ndim > 1 else weight
                for weight in layer.get_weights()
            ]
        )
    return len(later), len(layers)


def _leaves(model: Any) -> list[Any]:
    """All layers in their order, those of nested models included, but no fixed preprocessing."""
    found: list[Any] = []
    for layer in model.layers:
        if getattr(layer, "layers", None):
            found += _leaves(layer)
        elif layer.name != "preprocessing":
            found.append(layer)
    return found


def _predict(model: Any, images: Pixels) -> npt.NDArray[np.float32]:
    """What ``model`` makes of at least one image, in batches of one shape of at most ``BATCH``."""
    size = math.ceil(len(images) / math.ceil(len(images) / BATCH))
    starts = range(0, len(images), size)
    return np.concatenate([in_one_shape(model, images[start : start + size], size)[0] for start in starts])
