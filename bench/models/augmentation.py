"""Augmentation policies: the names and amounts of a search-space file become Keras layers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from bench.errors import ConfigError


@dataclass(frozen=True)
class Policy:
    """How far each image may be changed; everything off is the policy ``none``.

    Attributes:
        name: as in the search space.
        rotation: largest angle in degrees, either way.
        shift: largest displacement as a share of height and width, either way.
        zoom: largest change of scale as a share, either way (0.05: 0.95 to 1.05).
        crop: share of height and width that a random crop takes off before resizing back.
        brightness: largest change as a share of the full range, either way.
        contrast: largest change of contrast as a share, either way.
        horizontal_flip: mirror half of the images left to right (moves the heart to the other side).
        vertical_flip: turn half of the images upside down (anatomically implausible).
    """

    name: str
    rotation: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0
    crop: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    horizontal_flip: bool = False
    vertical_flip: bool = False

    def __post_init__(self) -> None:
        limits = {"rotation": 180.0, "shift": 0.5, "zoom": 0.9, "crop": 0.9, "brightness": 1.0, "contrast": 1.0}
        for key, limit in limits.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= limit:
                raise ConfigError(f"Augmentation {self.name!r}: 0 <= {key} <= {limit:g} must hold, but got {value!r}.")
        for key in ("horizontal_flip", "vertical_flip"):
            if not isinstance(getattr(self, key), bool):
                raise ConfigError(
                    f"Augmentation {self.name!r}: {key} must be true or false, but got {getattr(self, key)!r}."
                )

    @property
    def identity(self) -> bool:
        """Whether images pass unchanged."""
        return self == Policy(self.name)

    def amounts(self) -> dict[str, float | bool]:
        """What is switched on, as in the search-space file."""
        off = Policy(self.name)
        names = [field.name for field in fields(self) if field.name != "name"]
        return {name: getattr(self, name) for name in names if getattr(self, name) != getattr(off, name)}


def make_policy(name: str, amounts: object) -> Policy:
    """The policy of one entry under ``augmentations:``.

    Raises:
        ConfigError: for an unknown or impossible amount; the message lists what there is.
    """
    known = [field.name for field in fields(Policy) if field.name != "name"]
    amounts = amounts or {}
    if not isinstance(amounts, Mapping):
        raise ConfigError(f"Augmentation {name!r} must be a mapping of {', '.join(known)}, but got {amounts!r}.")
    unknown = sorted(str(key) for key in set(amounts) - set(known))
    if unknown:
        raise ConfigError(
            f"Augmentation {name!r} has an unknown entry {unknown[0]!r}; known entries: {', '.join(known)}."
        )
    return Policy(name, **amounts)


def make_layers(policy: Policy, seed: int) -> list[Any]:
    """Keras layers that apply ``policy`` to images of shape (n, height, width, channels) with values 0 to 255.

    What a rotation or shift uncovers is black, as the edge of a radiograph is. A random crop is a shift within
    the part that a fixed zoom then takes off, so that each image of a batch is cropped at a place of its own.
    """
    from keras import layers

    space: dict[str, Any] = {"fill_mode": "constant", "fill_value": 0.0}
    found: list[Any] = []
    if policy.horizontal_flip or policy.vertical_flip:
        both = policy.horizontal_flip and policy.vertical_flip
        mode = "horizontal_and_vertical" if both else "horizontal" if policy.horizontal_flip else "vertical"
        found.append(layers.RandomFlip(mode, seed=seed, name="flip"))
    if policy.rotation:
        found.append(layers.RandomRotation(policy.rotation / 360.0, seed=seed + 1, name="rotate", **space))
    if policy.shift:
        found.append(layers.RandomTranslation(policy.shift, policy.shift, seed=seed + 2, name="shift", **space))
    if policy.zoom:
        found.append(layers.RandomZoom((-policy.zoom, policy.zoom), seed=seed + 3, name="zoom", **space))
    if policy.crop:
        half = policy.crop / 2
        found.append(layers.RandomTranslation(half, half, seed=seed + 4, fill_mode="nearest", name="crop_place"))
        found.append(layers.RandomZoom((-policy.crop, -policy.crop), seed=seed + 5, fill_mode="nearest", name="crop"))
    if policy.brightness:
        found.append(layers.RandomBrightness(policy.brightness, (0.0, 255.0), seed=seed + 6, name="brightness"))
    if policy.contrast:
        found.append(layers.RandomContrast(policy.contrast, (0.0, 255.0), seed=seed + 7, name="contrast"))
    return found


DRAWN = (
    "mirror",
    "turn",
    "rotation",
    "shift_y",
    "shift_x",
    "zoom",
    "crop_y",
    "crop_x",
    "brightness",
    "contrast",
)
"""What is drawn for an image, each from -1 to 1 and whatever its policy switches on, so that one amount more does not
change the draws of the others."""


class Augmenter:
    """Draws one augmented copy of each image, from a seed of its own: what stands beside it changes nothing.

    The copies have the distribution of those of `make_layers`. All that moves pixels is one affine map, so that an
    image is interpolated once, however much its policy switches on.

    Args:
        policy: what is switched on.
        seed: of the view; with an image's content it decides the draw.
    """

    def __init__(self, policy: Policy, seed: int) -> None:
        self._policy = policy
        self._seed = seed

    def __call__(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Augmented copies of ``images``, both uint8 arrays of shape (n, height, width, channels)."""
        policy = self._policy
        if policy.identity:
            return images
        drawn = dict(zip(DRAWN, self._draws(images), strict=True))
        values = self._moved(images.astype(np.float32), drawn)
        if policy.brightness:
            values = np.clip(values + 255 * policy.brightness * _per_image(drawn["brightness"]), 0, 255)
        if policy.contrast:
            mean = values.mean(axis=(1, 2), keepdims=True)
            values = (values - mean) * (1 + policy.contrast * _per_image(drawn["contrast"])) + mean
        rounded: npt.NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return rounded

    def _draws(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
        """Shape (len(DRAWN), n): of each image as its own content and the seed decide."""
        generators = (
            np.random.default_rng([self._seed, xxhash.xxh3_64_intdigest(image.tobytes())]) for image in images
        )
        return np.stack([one.uniform(-1, 1, len(DRAWN)) for one in generators], axis=1)

    def _moved(self, values: Any, drawn: dict[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.float32]:
        """The images after flip, rotation, shift, zoom and crop, what these uncover being black."""
        policy, (height, width) = self._policy, values.shape[1:3]
        if policy == replace(Policy(policy.name), brightness=policy.brightness, contrast=policy.contrast):
            return values  # type: ignore[no-any-return]
        # a pixel at (x, y) from the centre of the copy is the image's at linear @ (x, y) - moved
        scale = (1 + policy.zoom * drawn["zoom"])[:, None, None]
        angle = np.deg2rad(policy.rotation) * drawn["rotation"]
        flips = [np.where(on & (drawn[name] < 0), -1.0, 1.0) for name, on in self._flips()]
        cosine, sine = np.cos(angle), np.sin(angle)
        rotated = np.stack([np.stack([cosine, -sine], axis=-1), np.stack([sine, cosine], axis=-1)], axis=1)
        turned = np.stack(flips, axis=-1)[:, :, None] * rotated
        size = np.array([width, height])
        shift = policy.shift * size * np.stack([drawn["shift_x"], drawn["shift_y"]], axis=-1)
        place = policy.crop / 2 * size * np.stack([drawn["crop_x"], drawn["crop_y"]], axis=-1)
        linear = turned * scale * (1 - policy.crop)
        moved = np.einsum("nij,nj->ni", turned, scale[:, :, 0] * place + shift)
        centre = (size - 1) / 2
        offset = centre - moved - linear @ centre
        rows = np.concatenate([linear, offset[:, :, None]], axis=2).reshape(-1, 6)
        transform = np.concatenate([rows, np.zeros((len(rows), 2))], axis=1).astype(np.float32)
        from keras import ops

        copies = ops.image.affine_transform(values, transform, "bilinear", "constant", 0.0, "channels_last")
        return np.asarray(ops.convert_to_numpy(copies), np.float32)

    def _flips(self) -> tuple[tuple[str, bool], tuple[str, bool]]:
        return ("mirror", self._policy.horizontal_flip), ("turn", self._policy.vertical_flip)


def _per_image(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    return values.astype(np.float32)[:, None, None, None]
