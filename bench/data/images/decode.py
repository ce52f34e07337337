"""One image: bytes or pixels in, 8-bit pixels and the facts that the audit rests on out.

Light to import (Pillow and NumPy; the rest when needed), for decoding runs in processes of its own.
"""

import hashlib
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from bench.data.images.dicom import is_dicom_content, read_dicom
from bench.data.images.limits import MOST_PIXELS, TooLarge, check_size
from bench.data.images.pictures import ends_early, read_picture
from bench.data.images.pixels import FACTS, HASH_SIZE, OTHER, Decoded, Facts, NotAnImage
from bench.data.images.window import Pixels, Window
from bench.data.imageset import Content

__all__ = [
    "DECODE_ERRORS",
    "FACTS",
    "HASH_SIZE",
    "OTHER",
    "THUMBNAIL",
    "Facts",
    "Pixels",
    "Resize",
    "decode",
    "facts_of",
    "fit",
    "problem_of",
    "thumbnail",
]

Resize = Literal["squash", "pad", "crop"]
TOO_LARGE = "too large"
THUMBNAIL = 128
"""Height and width of the thumbnails in which copies are sought, in pixels; docs/method/copies.md has what is found."""
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, OverflowError, MemoryError)
"""What decoders raise at a file that they cannot make sense of."""


def decode(
    content: Content,
    window: Window | None = None,
    alone: AbstractContextManager[object] | None = None,
    max_pixels: int = MOST_PIXELS,
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
        max_pixels: of an image; its file may unpack to 8 bytes for each.

    Raises:
        NotAnImage: if it is a file in order that holds no image.
        TooLarge: if it has more pixels, or unpacks to more bytes; no memory was taken for them.
        OSError, ValueError, SyntaxError: if it is no image that can be read, or one of 16 bits per channel of which
            the upper 8 hold next to nothing.
    """
    alone = alone or nullcontext()
    if not isinstance(content, bytes):
        check_size(content.shape[1], content.shape[0], max_pixels)
        return _from_array(content, window).smaller().as_grey()
    if is_dicom_content(content):
        return read_dicom(content, window, alone, max_pixels).smaller().as_grey()
    try:
        return read_picture(content, window, alone, max_pixels).as_grey()
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
    return Decoded(image, Facts(mode=mode, format="array", deep=window is not None), window)


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
    shared = window if window and window.rule in ("set", "asked") else None
    return replace(
        decoded.facts,
        bytes=_size(content),
        width=width,
        height=height,
        grey=image.mode == "L",
        constant=all(low == high for low, high in np.reshape(image.getextrema(), (-1, 2)).tolist()),
        window=window.rule if window else "",
        low=shared.low if shared else 0.0,
        high=shared.high if shared else 0.0,
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


def thumbnail(image: Image.Image) -> Pixels:
    """``image`` in grey, squashed to uint8 of shape (THUMBNAIL, THUMBNAIL)."""
    side = (THUMBNAIL, THUMBNAIL)
    return np.asarray(image.convert("L").resize(side, Image.Resampling.BILINEAR, reducing_gap=2.0))


def problem_of(error: Exception, content: Content | None) -> Facts:
    """The facts of an image that could not be decoded: what is the matter with it.

    Args:
        error: what was raised; ``content`` is None if it was raised while reading the file.
        content: what was read.
    """
    reason = " ".join(str(error).split()) or type(error).__name__
    if content is None and isinstance(error, TooLarge):
        return Facts(problem=TOO_LARGE, reason=reason)
    if content is None:
        return Facts(problem="no access", reason=reason)
    if not _size(content):
        kind, reason = "empty", "the file is empty"
    elif isinstance(error, NotAnImage):
        kind = OTHER
    elif isinstance(error, TooLarge):
        kind = TOO_LARGE
    elif isinstance(content, bytes) and ends_early(content):
        kind, reason = "truncated", reason if "truncated" in reason.lower() else "the file ends before its image does"
    elif isinstance(error, UnidentifiedImageError):
        kind, reason = "no image", "the content is no image of a kind that can be read"
    elif "truncated" in reason.lower() or isinstance(error, EOFError):
        kind = "truncated"
    else:
        kind = "unreadable"
    return Facts(problem=kind, reason=reason, bytes=_size(content), content=content_hash(content))
