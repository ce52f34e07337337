"""How pixels are scaled belongs to weights, not to an architecture: the conventions there are, and a check of them.

Weights that are fed other values than they were trained on load without a word, and the network answers worse. Where it
has batch normalisation, the first of these layers remembers the mean and variance of what it saw in training, and so
gives the mistake away.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.errors import ConfigError
from bench.models.backbones import CAFFE, TF, TORCH, Preprocessing
from bench.run.record import ScalingRecord

OTHER = "as published"
"""The name of a scaling that is none of the table's, which a backbone of one's own may have."""
N_IMAGES = 32
"""Training images that the check looks at."""
MOST = 50.0
"""Nats that one channel may count for: a variance 10,000 times too large would else hide all others."""


@dataclass(frozen=True)
class Scaling:
    """A convention: what it is called, in words, and what it does to pixels."""

    name: str
    words: str
    preprocessing: Preprocessing

    @property
    def swapped(self) -> "Scaling":
        """The same with red and blue exchanged."""
        own, order = self.preprocessing, "rgb" if self.preprocessing.bgr else "bgr"
        red, green, blue = own.scales
        mean_red, mean_green, mean_blue = own.offsets
        other = Preprocessing((blue, green, red), (mean_blue, mean_green, mean_red), not own.bgr)
        return Scaling(f"{self.name}-{order}", f"{self.words}, channels in the order {order.upper()}", other)


UNIT = Preprocessing((1 / 255, 1 / 255, 1 / 255), (0.0, 0.0, 0.0))
RAW = Preprocessing((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
RADIMAGENET = Preprocessing((1 / 255, 1 / 255, 1 / 255), (-103.939 / 255, -116.779 / 255, -123.68 / 255), bgr=True)
"""RadImageNet's training scripts give ImageDataGenerator both ``preprocess_input`` and ``rescale=1/255``, and Keras
applies the function first, whatever the architecture (Mei et al., Radiology: AI 4:e210315, 2022; their repository)."""

_KNOWN = (
    Scaling("caffe", "BGR of 0 to 255 less the means of ImageNet", CAFFE),
    Scaling("tf", "-1 to 1", TF),
    Scaling("torch", "0 to 1 less the means of ImageNet, in its deviations", TORCH),
    Scaling("radimagenet", "BGR of 0 to 255 less the means of ImageNet, divided by 255", RADIMAGENET),
    Scaling("unit", "0 to 1", UNIT),
    Scaling("raw", "0 to 255", RAW),
)
SCALINGS: Mapping[str, Scaling] = {one.name: one for known in _KNOWN for one in (known, known.swapped)}
"""By name: those of ``keras.applications``, RadImageNet's, plain ones, and each with red and blue exchanged."""


def name_of(preprocessing: Preprocessing) -> str:
    """What the table calls ``preprocessing``."""
    return next((one.name for one in SCALINGS.values() if one.preprocessing == preprocessing), OTHER)


def describe(preprocessing: Preprocessing) -> str:
    """Its name and what it does: ``tf (-1 to 1)``."""
    name = name_of(preprocessing)
    return f"{name} ({SCALINGS[name].words})" if name in SCALINGS else name


def parse_scaling(text: str, networks: Collection[str]) -> dict[str, str]:
    """``unit``, for all networks, or ``inceptionv3=unit,resnet50=caffe`` as network -> scaling.

    Args:
        text: what ``--scaling`` was given; a backbone's name stands for all networks of it but RadImageNet's, whose
            scaling is known: they have to be named in full. What is named counts more than what is for all, and a
            network more than its backbone, in whatever order they stand.
        networks: names of those with pretrained weights (`bench.search.parameters.network_name`).

    Raises:
        ConfigError: for an unknown scaling, what is no such network, or two scalings of the same.
    """
    parts: dict[str, tuple[list[str], str]] = {}
    for part in (one.strip() for one in text.split(",")):
        name, given, scaling = part.rpartition("=")
        if scaling not in SCALINGS:
            raise ConfigError(
                f"--scaling takes one of {', '.join(SCALINGS)}, or BACKBONE=SCALING separated by commas, "
                f"but got {text!r}."
            )
        several = [one for one in networks if not _told(one) and (not given or name == one.partition("+")[0])]
        meant = [name] if name in networks else several
        if not meant:
            raise ConfigError(
                f"--scaling is of networks with pretrained weights, in this run {', '.join(networks) or 'none'}, "
                f"but got {part!r}."
            )
        if name in parts:
            raise ConfigError(f"--scaling takes one scaling of {name or 'all backbones'}, but got {text!r}.")
        parts[name] = meant, scaling
    ranked = sorted(parts, key=lambda name: (bool(name), name in networks))
    return {network: parts[name][1] for name in ranked for network in parts[name][0]}


def _told(network: str) -> bool:
    return network.endswith("+radimagenet")


def divergence(
    stored: tuple[npt.NDArray[Any], npt.NDArray[Any]], seen: tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> float:
    """Mean over channels of the Kullback-Leibler divergence of normal distributions, in nats, at most `MOST` each.

    Args:
        stored: mean and variance of each channel that a layer remembers, each of shape (n_channels,).
        seen: those of what it is given.
    """
    (mean, variance), (own_mean, own_variance) = stored, seen
    least = 1e-3 * float(np.median(variance)) + 1e-12  # of a channel that is all but constant
    ratio = (own_variance + least) / (variance + least)
    nats = 0.5 * (ratio - 1 - np.log(ratio) + (own_mean - mean) ** 2 / (variance + least))
    return float(np.minimum(nats, MOST).mean())


def check_scaling(network: Any, images: npt.NDArray[np.uint8], assumed: Preprocessing) -> ScalingRecord | None:
    """How well what images give the first batch normalisation of a network goes with what it remembers, by scaling.

    Args:
        network: a Keras model for images of shape (height, width, 3) after scaling.
        images: uint8 array of shape (n, height, width, 1 or 3).
        assumed: the scaling that the run takes.

    Returns:
        None for a network without batch normalisation.
    """
    import keras

    normalisation = next((one for one in network.layers if isinstance(one, keras.layers.BatchNormalization)), None)
    if normalisation is None:
        return None
    front = keras.Model(network.input, normalisation.input, name="before_batch_normalisation")
    stored = np.asarray(normalisation.moving_mean), np.asarray(normalisation.moving_variance)

    def of(preprocessing: Preprocessing) -> float:
        values = np.asarray(front(_scaled(images, preprocessing), training=False), np.float64)
        return divergence(stored, (values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))))

    grey = images.shape[-1] == 1 or bool((images == images[..., :1]).all())
    known = _KNOWN if grey else tuple(SCALINGS.values())  # the order of equal channels says little
    own = name_of(assumed)
    found = {one.name: of(one.preprocessing) for one in known} | {own: of(assumed)}
    best = min(found, key=lambda name: found[name])
    return ScalingRecord(assumed=own, divergence=found[own], best=best, best_divergence=found[best])


def _scaled(images: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """Images as a backbone gets them, float32 of shape (n, height, width, 3)."""
    colour = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    ordered = colour[..., ::-1] if preprocessing.bgr else colour
    scales, offsets = (np.array(part, np.float32) for part in (preprocessing.scales, preprocessing.offsets))
    return np.asarray(ordered * scales + offsets, np.float32)
