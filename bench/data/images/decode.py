"""One image: bytes or pixels in, 8-bit pixels and the facts that the audit rests on out.

Light to import (Pillow and NumPy; the rest when needed), for decoding runs in processes of its own.
"""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from bench.data.images.dicom import is_dicom_content, read_dicom
from bench.data.images.pictures import ends_early, read_picture
from bench.data.images.pixels import Decoded, NotAnImage
from bench.data.images.window import Pixels, Window
from bench.data.imageset import Content

__all__ = ["DECODE_ERRORS", "FACTS", "OTHER", "Facts", "Pixels", "Resize", "decode", "facts_of", "fit", "problem_of"]

Resize = Literal["squash", "pad", "crop"]
HASH_SIZE = 16
"""Side of the perceptual hash, in bits. Of 5,216 chest X-rays, recompressed (JPEG quality 60) or shrunk by a tenth,
none moved by more than 10 of the 256 bits, and no two different images were closer than 38."""
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, OverflowError, MemoryError)
"""What decoders raise at a file that they cannot make sense of."""
OTHER = "other file"
"""The problem of a file that is whole and no image at all, such as a DICOM report: nothing is lost without it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one image after decoding it; the columns of the stored facts.

    Attributes:
        problem: ``empty``, ``no image``, ``truncated``, ``unreadable``, ``no access`` or ``other file``; empty if it
            was decoded.
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


def decode(
    content: Content, window: Window | None = None, alone: AbstractContextManager[object] | None = None
) -> Decoded:
    """One image as 8-bit grey or RGB.

    The orientation tag is applied. Grey images of more than 8 bits are windowed from their own minimum to their
    own maximum, or as their DICOM header says; of 16 bits per channel in colour, or in grey with transparency, the
    upper 8 are kept. Of bare pixels, integers from 0 to 255 stay as they are, and all else is windowed. Transparency
    is laid on black. Colour whose channels are all equal becomes grey. Images of more than LARGE pixels come out
    smaller by a whole factor, each of their pixels the mean of a square.

    Args:
        content: a file's bytes, or pixels.
        window: for DICOM in grey, grey files of more than 8 bits and pixels that are not of 8, in place of their own.
        alone: a context that is held while a large image is in memory.

    Raises:
        NotAnImage: if it is a file in order that holds no image.
        OSError, ValueError, SyntaxError: if it is no image that can be read, has more than MOST_PIXELS, or is one of
            16 bits per channel of which the upper 8 hold next to nothing.
    """
    alone = alone or nullcontext()
    if not isinstance(content, bytes):
        return _from_array(content, window).smaller().as_grey()
    if is_dicom_content(content):
        return read_dicom(content, window, alone).smaller().as_grey()
    try:
        return read_picture(content, window, alone).as_grey()
    except DECODE_ERRORS:
        raise
    except Exception as error:  # Pillow raises whatever a broken file makes of itself: TypeError, struct.error, …
        raise ValueError(f"image that cannot be decoded ({type(error).__name__}: {error})") from error


def _from_array(pixels: npt.NDArray[np.generic], window: Window | None) -> Decoded:
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    beyond = pixels.dtype.kind not in "biu" or bool(pixels.min() < 0 or pixels.max() > 255)
    window = None if pixels.dtype == np.uint8 else window or (Window.own(pixels) if beyond else None)
    image = Image.fromarray(window.apply(pixels) if window else np.asarray(pixels, dtype=np.uint8))
    mode = f"{image.mode};{pixels.dtype}" if window else image.mode
    return Decoded(image, mode, "array", deep=window is not None, window=window)


def fit(image: Image.Image, size: int, resize: Resize) -> Pixels:
    """``image`` as uint8 array of shape (size, size, channels), channels 1 or 3.

    Args:
        image: mode ``L`` or ``RGB``.
        size: height and width in pixels.
        resize: ``squash`` ignores the aspect ratio, ``pad`` keeps all and fills up with black, ``crop`` cuts the
            longer side from both ends.
    """
    width, height = image.size
    box: tuple[float, float, float, float] = (0, 0, width, height)
    target = (size, size)
    if resize == "crop":
        side = min(width, height)
        box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    elif resize == "pad":
        scale = size / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = image.resize(target, Image.Resampling.BILINEAR, box, reducing_gap=2.0)
    if target != (size, size):
        framed = Image.new(small.mode, (size, size))
        framed.paste(small, ((size - target[0]) // 2, (size - target[1]) // 2))
        small = framed
    pixels = np.asarray(small)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def facts_of(content: Content, decoded: Decoded) -> Facts:
    """The facts of an image that was decoded."""
    image, window = decoded.image, decoded.window
    width, height = decoded.size or image.size
    pixels = np.asarray(image)
    return Facts(
        bytes=_size(content),
        width=width,
        height=height,
        mode=decoded.mode,
        format=decoded.format,
        grey=image.mode == "L",
        constant=all(low == high for low, high in np.reshape(image.getextrema(), (-1, 2)).tolist()),
        rotated=decoded.rotated,
        deep=decoded.deep,
        transparent=decoded.transparent,
        frames=decoded.frames,
        window=window.rule if window else "header" if decoded.by_header else "",
        low=window.low if window and window.rule != "own" else 0.0,
        high=window.high if window and window.rule != "own" else 0.0,
        content=content_hash(content),
        pixels=_hash(f"{(height, width, *pixels.shape[2:])}", pixels),
        perceptual_hash=perceptual_hash(image),
    )


def _size(content: Content) -> int:
    return len(content) if isinstance(content, bytes) else content.nbytes


def content_hash(content: Content) -> str:
    """Hash of a file's bytes, or of pixels with their shape and kind."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    return _hash(f"{content.shape} {content.dtype}", content)


def _hash(shape: str, pixels: npt.NDArray[np.generic]) -> str:
    digest = hashlib.blake2b(shape.encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def perceptual_hash(image: Image.Image) -> str:
    """pHash (signs of the low frequencies) of HASH_SIZE squared bits, hexadecimal.

    Source: Zauner, Implementation and benchmarking of perceptual image hash functions (2010); by imagehash.
    """
    import imagehash

    side = 4 * HASH_SIZE  # imagehash would shrink to this itself, by a slower filter
    grey = image.convert("L").resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return str(imagehash.phash(grey, hash_size=HASH_SIZE))


def problem_of(error: Exception, content: Content | None) -> Facts:
    """The facts of an image that could not be decoded: what is the matter with it.

    Args:
        error: what was raised; ``content`` is None if it was raised while reading the file.
        content: what was read.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if content is None:
        return Facts(problem="no access", reason=reason)
    if not _size(content):
        kind, reason = "empty", "the file is empty"
    elif isinstance(error, NotAnImage):
        kind = OTHER
    elif isinstance(content, bytes) and ends_early(content):
        kind, reason = "truncated", reason if "truncated" in reason.lower() else "the file ends before its image does"
    elif isinstance(error, UnidentifiedImageError):
        kind, reason = "no image", "the content is no image of a kind that can be read"
    elif "truncated" in reason.lower() or isinstance(error, EOFError):
        kind = "truncated"
    else:
        kind = "unreadable"
    return Facts(problem=kind, reason=reason, bytes=_size(content), content=content_hash(content))
