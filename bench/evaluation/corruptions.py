"""Ways in which images of another clinic may differ: recompression, noise, brightness, a small rotation.

Names and the idea of levels: Hendrycks and Dietterich, ICLR 2019; the levels are gentle, as befits radiographs.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import rotate

from bench.data.images.decode import Pixels

Alter = Callable[[Pixels, float, int], Pixels]
"""``alter(images, level, seed)`` -> images of the same shape; the same seed does the same at every level."""


@dataclass(frozen=True)
class Corruption:
    """One way to alter images.

    Attributes:
        name: as robustness.csv has it.
        unit: of the levels.
        levels: numbers, each a row.
        alter: what does it, on uint8 images of shape (n, height, width, 1 or 3).
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    alter: Alter


def recompress(images: Pixels, quality: float, seed: int = 0) -> Pixels:
    """Each image written as JPEG of ``quality`` (1 to 95) and read again."""
    altered = np.empty_like(images)
    for index, image in enumerate(images):
        buffer = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer) as opened:
            altered[index] = np.asarray(opened).reshape(image.shape)
    return altered


def add_noise(images: Pixels, deviation: float, seed: int) -> Pixels:
    """Gaussian noise of a standard deviation in grey levels, alike in all channels of a pixel."""
    rng = np.random.default_rng(seed)
    altered = np.empty_like(images)
    for index, image in enumerate(images):
        noise = rng.standard_normal((*image.shape[:2], 1), dtype=np.float32)
        altered[index] = np.clip(np.rint(image + np.float32(deviation) * noise), 0, 255)
    return altered


def brighten(images: Pixels, percent: float, seed: int = 0) -> Pixels:
    """Every value times 1 + ``percent`` / 100, cut off at 255."""
    values = np.arange(256) * (1 + percent / 100)
    return np.asarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)[images])


def turn(images: Pixels, degrees: float, seed: int) -> Pixels:
    """Each image turned about its centre, one way or the other by chance; its edge fills what comes in."""
    ways = np.random.default_rng(seed).choice([-1, 1], size=len(images))
    altered = np.empty_like(images)
    for index, (image, way) in enumerate(zip(images, ways, strict=True)):
        altered[index] = rotate(image, way * degrees, axes=(0, 1), reshape=False, order=1, mode="nearest")
    return altered


CORRUPTIONS = (
    Corruption("recompression", "JPEG quality", (75, 50, 25, 10), recompress),
    Corruption("noise", "grey levels SD", (5, 10, 20, 40), add_noise),
    Corruption("brightness", "% brightness", (-40, -20, 20, 40), brighten),
    Corruption("rotation", "degrees", (2, 5, 10, 15), turn),
)
