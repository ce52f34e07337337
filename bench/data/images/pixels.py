"""One image as 8-bit grey or RGB: what every decoder returns, and how a very large image is kept within memory."""

import math
from dataclasses import dataclass, fields, replace

from PIL import Image

from bench.data.images.window import Window

LARGE = 2**25
"""Images of more pixels are made smaller by a whole factor as soon as they are read; at 299 pixels none is seen."""
STRIP = 2**22  # pixels of a large image that are converted at a time
WITH_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
HASH_SIZE = 16
"""Side of the perceptual hash, in bits. Of 5,216 chest X-rays, recompressed (JPEG quality 60) or shrunk by a tenth,
none moved by more than 10 of the 256 bits, and no two different images were closer than 38."""
OTHER = "other file"
"""The problem of a file that is whole and no image at all, such as a DICOM report: nothing is lost without it."""


class NotAnImage(ValueError):
    """A file that is in order, of a kind that holds images, and holds none."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one image after decoding it; the columns of the stored facts.

    Attributes:
        problem: ``empty``, ``no image``, ``truncated``, ``too large``, ``unreadable``, ``no access`` or ``other
            file``; empty if it was decoded.
        reason: the problem in the decoder's words.
        bytes: size of the file, or of the pixels where there is no file.
        width, height: in pixels, upright.
        mode: colour mode as Pillow names it, such as ``L``, ``RGB``, ``RGBA``, ``P`` or ``I;16``.
        format: such as ``JPEG``; ``array`` for bare pixels.
        grey: whether all channels are equal in every pixel.
        constant: whether all pixels are equal.
        rotated: whether the orientation tag turned it.
        deep: whether it has more than 8 bits per channel.
        transparent: whether it has an alpha channel or a transparent colour.
        frames: number of images in the file; the first is taken.
        window: what decided which value is black and which is white (`bench.data.images.window.Rule`); empty where the
            values are shown as they are.
        low, high: the values that are black and white, where ``window`` is ``set`` or ``asked``.
        content: hash of the file, hexadecimal.
        pixels: hash of the decoded pixels, upright and 8-bit, hexadecimal.
        perceptual_hash: pHash of HASH_SIZE squared bits, hexadecimal.
    """

    problem: str = ""
    reason: str = ""
    bytes: int = 0
    width: int = 0
    height: int = 0
    mode: str = ""
    format: str = ""
    grey: bool = True
    constant: bool = False
    rotated: bool = False
    deep: bool = False
    transparent: bool = False
    frames: int = 1
    window: str = ""
    low: float = 0.0
    high: float = 0.0
    content: str = ""
    pixels: str = ""
    perceptual_hash: str = ""


FACTS = tuple(field.name for field in fields(Facts))


@dataclass(frozen=True)
class Decoded:
    """One image as 8-bit pixels, and what it was before.

    Attributes:
        image: upright, mode ``L`` or ``RGB``.
        facts: what only the decoder knows: mode, format, rotated, deep, transparent, frames.
        window: through which its values went; None where they are shown as they are.
        size: width and height of the whole image, upright; None if those of ``image``.
    """

    image: Image.Image
    facts: Facts
    window: Window | None = None
    size: tuple[int, int] | None = None

    def as_grey(self) -> "Decoded":
        """The same with one channel, if all of its channels are equal."""
        if self.image.mode == "L":
            return self
        red, green, blue = self.image.split()
        if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
            return self
        return replace(self, image=red)

    def smaller(self) -> "Decoded":
        """The same, its image made smaller if it is large."""
        factor = factor_of(self.image.size)
        return self if factor == 1 else replace(self, image=shrunk(self.image, factor), size=self.image.size)


def holds_values(image: Image.Image) -> bool:
    """Whether a window is needed: 16 or 32 bits, or floating-point numbers."""
    return image.mode.startswith(("I", "F"))


def is_transparent(image: Image.Image) -> bool:
    """Whether it has an alpha channel or a transparent colour."""
    return image.mode in WITH_ALPHA or "transparency" in image.info


def factor_of(size: tuple[int, int]) -> int:
    """The factor by which an image of this width and height is made smaller; 1 unless it is LARGE."""
    return math.ceil(math.sqrt(size[0] * size[1] / LARGE)) if size[0] * size[1] > LARGE else 1


def flat(image: Image.Image) -> Image.Image:
    """The same in mode ``L`` or ``RGB``, transparency laid on black; as it is where it has more than 8 bits."""
    if holds_values(image):
        return image
    if is_transparent(image):
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image


def shrunk(image: Image.Image, factor: int) -> Image.Image:
    """As `flat` gives it, each square of ``factor`` pixels averaged; no second copy of all pixels is held."""
    rows = factor * max(1, STRIP // (image.width * factor))
    strips = []
    for top in range(0, image.height, rows):
        strip = flat(image.crop((0, top, image.width, min(image.height, top + rows))))
        strip = strip.convert("F") if strip.mode.startswith("I") else strip  # Pillow averages no 16-bit values
        strips.append(strip.reduce(factor) if factor > 1 else strip)
    joined, top = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips))), 0
    for strip in strips:
        joined.paste(strip, (0, top))
        top += strip.height
    return joined
