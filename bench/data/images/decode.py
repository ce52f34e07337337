"""One image: bytes or pixels in, 8-bit pixels and the facts that the audit is made of out.

Light to import (Pillow and NumPy; the rest when needed), for decoding runs in processes of its own.
"""

import hashlib
import io
import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from bench.data.images.dicom_marks import is_dicom_content
from bench.data.images.readers import Content
from bench.data.images.window import Window

Pixels = npt.NDArray[np.uint8]
Resize = Literal["squash", "pad", "crop"]
Tags = TiffImagePlugin.ImageFileDirectory_v2
HASH_SIZE = 16
"""Side of the perceptual hash, in bits. Of 5,216 chest X-rays, recompressed (JPEG quality 60) or shrunk by a tenth,
none moved by more than 10 of the 256 bits, and no two different images were closer than 38."""
MOST_PIXELS = 500_000_000
"""Larger images are refused: 22,000 pixels squared, which take 2 GB of memory in colour."""
LARGE = 2**25
"""Images of more pixels are made smaller by a whole factor as soon as they are read; at 299 pixels none is seen."""
STRIP = 2**22
"""Pixels of a large image that are converted at a time."""
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*")
TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Type of a TIFF field -> bytes a value (TIFF 6.0, section 2)."""
END_REGION = 64
"""Bytes at the end of a file in which its end mark lies."""
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Parts of a PNG file that say nothing of its pixels, and that Pillow refuses where they are long."""
WHITE_IS_ZERO = 0
"""Photometric interpretation of a TIFF file whose great values are dark."""
IN_PLANES = 2
"""Planar configuration of a TIFF file whose channels lie one after another."""
SIGNED = 2
"""Sample format of a TIFF file whose integers have a sign."""
BIG_ENDIAN = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Pillow's name of values as a big-endian TIFF file has them -> as the machine has them."""
LEAST_OF_DEEP = 64
"""Colour of 16 bits a channel whose upper 8 bits never reach this is of fewer bits, and loses too many."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation tag -> what turns the image upright."""
SIDEWAYS = (5, 6, 7, 8)
"""Orientations in which width and height change places."""
DECODE_ERRORS = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError, OverflowError, MemoryError)
"""What decoders raise at a file that they cannot make sense of."""
OTHER = "other file"
"""The problem of a file that is whole and no image at all, such as a DICOM report: nothing is lost without it."""


class NotAnImage(ValueError):
    """A file that is in order, of a kind that holds images, and holds none."""


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
        deep: whether it has more than 8 bits a channel.
        transparent: whether it has an alpha channel or a transparent colour.
        frames: number of images in the file; the first is taken.
        window: what decided which value is black and which is white (`bench.data.images.window.Rule`); empty where the
            values are shown as they are.
        low, high: the values that are black and white, where ``window`` is ``set`` or ``asked``.
        content: hash of the file, hexadecimal.
        pixels: hash of the decoded pixels, upright and 8-bit, hexadecimal.
        look: perceptual hash, hexadecimal.
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
    look: str = ""


FACTS = tuple(field.name for field in fields(Facts))


@dataclass(frozen=True)
class Decoded:
    """One image as 8-bit pixels, and what it was before.

    Attributes:
        image: upright, mode ``L`` or ``RGB``.
        mode, format, rotated, deep, transparent, frames: as in `Facts`.
        size: width and height of the whole image, upright; None if those of ``image``.
        window: through which its values went; None where they are shown as they are, or a header has its own way.
        by_header: whether its DICOM header decided the window.
    """

    image: Image.Image
    mode: str
    format: str
    rotated: bool = False
    deep: bool = False
    transparent: bool = False
    frames: int = 1
    size: tuple[int, int] | None = None
    window: Window | None = None
    by_header: bool = False


def decode(
    content: Content, window: Window | None = None, alone: AbstractContextManager[object] | None = None
) -> Decoded:
    """One image as 8-bit grey or RGB.

    The orientation tag is applied. Grey images of more than 8 bits are windowed from their own minimum to their
    own maximum, or as their DICOM header says; of 16 bits a channel in colour, or in grey with transparency, the
    upper 8 are kept. Of bare pixels, integers from 0 to 255 stay as they are, and all else is windowed. Transparency
    is laid on black. Colour whose channels are all equal becomes grey. Images of more than LARGE pixels come out
    smaller by a whole factor, each of their pixels the mean of a square.

    Args:
        content: a file's bytes, or pixels.
        window: for DICOM in grey, grey files of more than 8 bits and pixels that are not of 8, in place of their own.
        alone: what is held while a large image is in memory.

    Raises:
        NotAnImage: if it is a file in order that holds no image.
        OSError, ValueError, SyntaxError: if it is no image that can be read, has more than MOST_PIXELS, or is one of
            16 bits a channel of which the upper 8 hold next to nothing.
    """
    alone = alone or nullcontext()
    if not isinstance(content, bytes):
        return _as_grey(_smaller(_from_array(content, window)))
    if is_dicom_content(content):
        from bench.data.images.dicom import read_dicom

        return _as_grey(_smaller(read_dicom(content, window, alone)))
    try:
        with warnings.catch_warnings(), _without_limit():
            warnings.simplefilter("ignore")  # at odd tags: what counts is whether it decodes
            try:
                return _from_file(content, window, alone)
            except ValueError as error:
                if "MAX_TEXT" not in str(error) or not content.startswith(PNG_MAGIC):
                    raise
                return _from_file(_without_texts(content), window, alone)
    except DECODE_ERRORS:
        raise
    except Exception as error:  # Pillow raises whatever a broken file makes of itself: TypeError, struct.error, …
        raise ValueError(f"image that cannot be decoded ({type(error).__name__}: {error})") from error


@contextmanager
def _without_limit() -> Iterator[None]:
    """Large images are no attack here: MOST_PIXELS is the limit, in place of Pillow's."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def check_size(width: int, height: int, most: int | None = None) -> None:
    """Refuse an image that would take too much memory; ``most`` is MOST_PIXELS by default.

    Raises:
        ValueError: if it has more than ``most`` pixels.
    """
    most = MOST_PIXELS if most is None else most
    if width * height > most:
        raise ValueError(
            f"it has {width} x {height} pixels, and at most {most // 10**6} million are read: make it smaller, or cut "
            "it into tiles"
        )


def _without_texts(content: bytes) -> bytes:
    """A PNG file without texts and colour profile; an orientation that stands in a text goes with it."""
    kept, at = [PNG_MAGIC], len(PNG_MAGIC)
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind not in PNG_TEXTS:
            kept.append(content[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


@cache
def _know_white_is_zero() -> None:
    """Let Pillow open white-is-zero TIFF of every depth that it opens as black-is-zero; `_from_file` turns it."""
    for key, modes in list(TiffImagePlugin.OPEN_INFO.items()):
        order, photometric, _, _, bits, *_ = key
        if photometric == 1 and len(bits) == 1 and bits[0] > 8:
            TiffImagePlugin.OPEN_INFO.setdefault((order, WHITE_IS_ZERO, *key[2:]), modes)


def _from_file(content: bytes, window: Window | None, alone: AbstractContextManager[object]) -> Decoded:
    _know_white_is_zero()
    with Image.open(io.BytesIO(content)) as opened:
        check_size(*opened.size)
        mode, kind, frames, whole = opened.mode, opened.format or "", getattr(opened, "n_frames", 1), opened.size
        tags = opened.tag_v2 if isinstance(opened, TiffImagePlugin.TiffImageFile) else Tags()
        opened.tile = [_as_stored(tile, tags) for tile in opened.tile]
        stored = str(opened.tile[0].args) if opened.tile else ""
        stored_deep = ";16" in stored and "BGR;16" not in stored  # the latter: 16 bits a pixel, not a channel
        negative = tags.get(262) == WHITE_IS_ZERO
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
        factor = _factor(whole)
        with alone if factor > 1 else nullcontext():
            if factor > 1 and kind == "JPEG":
                opened.draft(opened.mode, (whole[0] // factor, whole[1] // factor))
            opened.load()  # turns TIFF, and drops its tag
            left = opened.getexif().get(ExifTags.Base.Orientation, 1)
            if stored_deep:
                _check_upper_bits(opened)
            mode = opened.mode if opened.mode.startswith(("I", "F")) else mode
            transparent = opened.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in opened.info
            loaded = _with_sign(opened, tags.get(339, (1,))[0]) if tags else opened
            image = _shrunk(loaded, _factor(loaded.size)) if factor > 1 else _flat(loaded)
    if left in TURNS:
        image, whole = image.transpose(TURNS[left]), whole[::-1] if left in SIDEWAYS else whole
    values = image.mode.startswith(("I", "F"))
    if values:
        numbers = np.asarray(image)
        window = window or Window.own(numbers)
        pixels = window.apply(numbers)
        image = Image.fromarray(255 - pixels if negative else pixels)
    window = window if values else None
    deep, rotated = stored_deep or values, orientation in TURNS
    return _as_grey(Decoded(image, mode, kind, rotated, deep, transparent, frames, whole, window))


def _as_stored(tile: ImageFile._Tile, tags: Tags) -> ImageFile._Tile:
    """The same, told what Pillow overlooks in some kinds of TIFF files.

    libtiff gives values in the machine's order; channels that lie one after another may have 16 bits too.
    """
    if not isinstance(tile.args, tuple):
        return tile
    kind, *others = tile.args
    if tile.codec_name == "libtiff":
        kind = BIG_ENDIAN.get(kind, kind)
    elif tags.get(284) == IN_PLANES and tags.get(258, (8,))[0] == 16 and len(kind) == 1:
        kind += f";16{'B' if tags.prefix == b'MM' else 'L'}"
    return tile._replace(args=(kind, *others))


def _with_sign(image: Image.Image, sample_format: int) -> Image.Image:
    """A TIFF image as it is, but where Pillow takes values with a sign for such without one, or the other way round."""
    if image.mode == "L" and sample_format == SIGNED:
        return image.point([value ^ 128 for value in range(256)])
    if image.mode == "I" and sample_format != SIGNED and np.asarray(image).min() < 0:
        return Image.fromarray(np.asarray(image).view(np.uint32).astype(np.float32))
    return image


def _flat(image: Image.Image) -> Image.Image:
    """The same in mode ``L`` or ``RGB``, transparency laid on black; as it is where it has more than 8 bits."""
    if image.mode.startswith(("I", "F")):
        return image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (0, 0, 0, 255)), image)
    if image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    return image


def _factor(size: tuple[int, int]) -> int:
    """By how much an image of this size is made smaller."""
    return math.ceil(math.sqrt(size[0] * size[1] / LARGE)) if size[0] * size[1] > LARGE else 1


def _shrunk(image: Image.Image, factor: int) -> Image.Image:
    """As `_flat` gives it, each square of ``factor`` pixels made one; no second copy of all pixels is made."""
    rows = factor * max(1, STRIP // (image.width * factor))
    strips = []
    for top in range(0, image.height, rows):
        strip = _flat(image.crop((0, top, image.width, min(image.height, top + rows))))
        strip = strip.convert("F") if strip.mode.startswith("I") else strip  # Pillow averages no 16-bit values
        strips.append(strip.reduce(factor) if factor > 1 else strip)
    shrunk = Image.new(strips[0].mode, (strips[0].width, sum(strip.height for strip in strips)))
    top = 0
    for strip in strips:
        shrunk.paste(strip, (0, top))
        top += strip.height
    return shrunk


def _smaller(decoded: Decoded) -> Decoded:
    """The same, its image made smaller if it is large."""
    factor = _factor(decoded.image.size)
    if factor == 1:
        return decoded
    return replace(decoded, image=_shrunk(decoded.image, factor), size=decoded.image.size)


def _check_upper_bits(image: Image.Image) -> None:
    """Refuse colour of which Pillow, keeping the upper 8 of 16 bits, has kept next to nothing.

    Raises:
        ValueError: if no channel, transparency aside, reaches LEAST_OF_DEEP.
    """
    if not image.mode.startswith(("RGB", "LA")):
        return
    extrema = np.reshape(image.getextrema(), (-1, 2))
    if extrema[: 3 if image.mode.startswith("RGB") else 1, 1].max() < LEAST_OF_DEEP:
        raise ValueError(
            "16 bits a channel in colour whose values fill only the lower bits: "
            "convert it to 8 bits a channel, or to grey of 16 bits without transparency"
        )


def _from_array(pixels: npt.NDArray[np.generic], window: Window | None) -> Decoded:
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    pixels = pixels.astype(np.uint8) * 255 if pixels.dtype == bool else pixels
    beyond = pixels.dtype.kind not in "biu" or bool(pixels.min() < 0 or pixels.max() > 255)
    window = None if pixels.dtype == np.uint8 else window or (Window.own(pixels) if beyond else None)
    image = Image.fromarray(window.apply(pixels) if window else np.asarray(pixels, dtype=np.uint8))
    mode = f"{image.mode};{pixels.dtype}" if window else image.mode
    return Decoded(image, mode, "array", deep=window is not None, window=window)


def _as_grey(decoded: Decoded) -> Decoded:
    """The same with one channel, if all of its channels are equal."""
    if decoded.image.mode == "L":
        return decoded
    red, green, blue = decoded.image.split()
    if red.tobytes() != green.tobytes() or red.tobytes() != blue.tobytes():
        return decoded
    return replace(decoded, image=red)


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
    image = decoded.image
    pixels = np.asarray(image)
    low_high = image.getextrema()
    bands = low_high if isinstance(low_high[0], tuple) else (low_high,)
    width, height = decoded.size or image.size
    window = decoded.window
    shape = (height, width, *pixels.shape[2:])
    digest = hashlib.blake2b(f"{shape}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    return Facts(
        bytes=len(content) if isinstance(content, bytes) else content.nbytes,
        width=width,
        height=height,
        mode=decoded.mode,
        format=decoded.format,
        grey=image.mode == "L",
        constant=all(low == high for low, high in bands),
        rotated=decoded.rotated,
        deep=decoded.deep,
        transparent=decoded.transparent,
        frames=decoded.frames,
        window=window.rule if window else "header" if decoded.by_header else "",
        low=window.low if window and window.rule != "own" else 0.0,
        high=window.high if window and window.rule != "own" else 0.0,
        content=content_hash(content),
        pixels=digest.hexdigest(),
        look=look(image),
    )


def content_hash(content: Content) -> str:
    """Hash of a file's bytes, or of pixels with their shape and kind."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    digest = hashlib.blake2b(f"{content.shape} {content.dtype}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(content).data)
    return digest.hexdigest()


def look(image: Image.Image) -> str:
    """Perceptual hash (pHash: signs of the low frequencies) of HASH_SIZE squared bits, hexadecimal.

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
    size = len(content) if isinstance(content, bytes) else content.nbytes
    if not size:
        kind, reason = "empty", "the file is empty"
    elif isinstance(error, NotAnImage):
        kind = OTHER
    elif isinstance(content, bytes) and _ends_early(content):
        kind, reason = "truncated", reason if "truncated" in reason.lower() else "the file ends before its image does"
    elif isinstance(error, UnidentifiedImageError):
        kind, reason = "no image", "the content is no image of a kind that can be read"
    elif "truncated" in reason.lower() or isinstance(error, EOFError):
        kind = "truncated"
    else:
        kind = "unreadable"
    return Facts(problem=kind, reason=reason, bytes=size, content=content_hash(content))


def _ends_early(content: bytes) -> bool:
    """Whether a JPEG, PNG, TIFF or RIFF file (WebP) is cut off, by its own marks."""
    if content.startswith(b"RIFF"):
        return 8 + int.from_bytes(content[4:8], "little") > len(content)
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in content.rstrip(b"\0\xff")[-END_REGION:]
    if content.startswith(PNG_MAGIC):
        return b"IEND" not in content.rstrip(b"\0")[-END_REGION:]
    return content.startswith(TIFF_MAGIC) and _tiff_end(content) > len(content)


def _tiff_end(content: bytes) -> int:
    """Where the first page of a TIFF file ends by what its directory says; as far as there is any of it."""
    order: Literal["little", "big"] = "little" if content.startswith(b"II") else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(content[at : at + size], order)

    start = number(4, 4)
    end = start + 2 + 12 * number(start, 2) + 4
    if end > len(content):
        return end
    parts: dict[int, list[int]] = {}
    for field in range(start + 2, end - 4, 12):
        tag, size, count = number(field, 2), TIFF_BYTES.get(number(field + 2, 2), 0), number(field + 4, 4)
        at = number(field + 8, 4) if size * count > 4 else field + 8
        end = max(end, at + size * count)
        if end > len(content):
            return end
        if tag in (273, 279, 324, 325):  # offsets and sizes of strips, of tiles
            parts[tag] = [number(value, size) for value in range(at, at + size * count, size)] if size else []
    for offsets, sizes in ((273, 279), (324, 325)):
        end = max([end, *map(sum, zip(parts.get(offsets, []), parts.get(sizes, []), strict=False))])
    return end
