"""JPEG, PNG, TIFF and other picture files as 8-bit pixels, by Pillow, with what it overlooks put right."""

import io
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache

import numpy as np
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from bench.data.images.limits import check_size
from bench.data.images.pixels import Decoded, Facts, factor_of, flat, holds_values, is_transparent, shrunk
from bench.data.images.window import Window

Tags = TiffImagePlugin.ImageFileDirectory_v2
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGIC = (b"II*\0", b"MM\0*")
END_REGION = 64  # bytes at the end of a file in which its end mark lies
PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
"""Parts of a PNG file that say nothing of its pixels, and that Pillow refuses where they are long."""
STRIPS, TILES = (273, 279), (324, 325)
"""Tags of a TIFF file: where its strips and its tiles begin, and how many bytes each has."""
TILE_SIZE = (322, 323)
"""Tags of the width and height of a TIFF file's tiles, each of which is unpacked whole, however small the image."""
FORMATS = ("JPEG", "JPEG2000", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM")
"""What Pillow may take a file for: of its other kinds some start other programs, such as Ghostscript."""
WHITE_IS_ZERO = 0  # photometric interpretation of a TIFF file whose great values are dark
IN_PLANES = 2  # planar configuration of a TIFF file whose channels lie one after another
SIGNED = 2  # sample format of a TIFF file whose integers have a sign
BIG_ENDIAN = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Pillow's name of values as a big-endian TIFF file has them -> as the machine has them."""
CODESTREAM, PRECISION = b"\xff\x4f\xff\x51", 42
"""How the codestream of a JPEG 2000 file begins, and where in it the bits of the first channel stand."""
LEAST_OF_DEEP = 64
"""Colour of 16 bits per channel whose upper 8 bits never reach this is of fewer bits, and loses too many."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation tag -> what turns the image upright; from 5 on, width and height change places."""


def read_picture(
    content: bytes, window: Window | None, alone: AbstractContextManager[object], max_pixels: int
) -> Decoded:
    """The first image of a file; arguments and errors as in `bench.data.images.decode.decode`."""
    with warnings.catch_warnings(), _without_limit():
        warnings.simplefilter("ignore")  # at odd tags: what counts is whether it decodes
        try:
            return _decoded(content, window, alone, max_pixels)
        except ValueError as error:
            if "MAX_TEXT" not in str(error) or not content.startswith(PNG_MAGIC):
                raise
            return _decoded(_without_texts(content), window, alone, max_pixels)


def ends_early(content: bytes) -> bool:
    """Whether a JPEG, PNG, TIFF or RIFF file (WebP) is cut off, by its own marks."""
    if content.startswith(b"RIFF"):
        return 8 + int.from_bytes(content[4:8], "little") > len(content)
    if content.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in content.rstrip(b"\0\xff")[-END_REGION:]
    if content.startswith(PNG_MAGIC):
        return b"IEND" not in content.rstrip(b"\0")[-END_REGION:]
    return content.startswith(TIFF_MAGIC) and _tiff_ends_early(content)


def _tiff_ends_early(content: bytes) -> bool:
    """Whether the first page of a TIFF file, or its directory, goes on beyond the end of the file."""
    if len(content) < 8:
        return True
    tags, file = Tags(content[:8]), io.BytesIO(content)
    file.seek(tags.next)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what Pillow warns of while it loads a directory is that some of it is missing
        try:
            tags.load(file)
        except Warning:
            return True
        warnings.simplefilter("ignore")
        found = {tag: np.ravel(np.array(tags.get(tag, ()))) for tag in (*STRIPS, *TILES)}
    parts = {tag: values.tolist() if values.dtype.kind in "iuf" else [] for tag, values in found.items()}  # no texts
    ends = (end for at, n in (STRIPS, TILES) for end in map(sum, zip(parts[at], parts[n], strict=False)))
    return any(end > len(content) for end in ends)


@contextmanager
def _without_limit() -> Iterator[None]:
    """``--max-pixels`` is the limit, in place of Pillow's."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


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
    """Let Pillow open white-is-zero TIFF of every depth that it opens as black-is-zero; `_decoded` inverts it."""
    for key, modes in list(TiffImagePlugin.OPEN_INFO.items()):
        order, photometric, _, _, bits, *_ = key
        if photometric == 1 and len(bits) == 1 and bits[0] > 8:
            TiffImagePlugin.OPEN_INFO.setdefault((order, WHITE_IS_ZERO, *key[2:]), modes)


def _decoded(content: bytes, window: Window | None, alone: AbstractContextManager[object], max_pixels: int) -> Decoded:
    _know_white_is_zero()
    with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
        check_size(*opened.size, max_pixels)
        mode, kind, frames, whole = opened.mode, opened.format or "", getattr(opened, "n_frames", 1), opened.size
        tags = opened.tag_v2 if isinstance(opened, TiffImagePlugin.TiffImageFile) else Tags()
        check_size(int(tags.get(TILE_SIZE[0], 0)), int(tags.get(TILE_SIZE[1], 0)), max_pixels)
        opened.tile = [_as_stored(tile, tags) for tile in opened.tile]
        args = opened.tile[0].args if opened.tile else ()
        stored = str(args) if args else ""
        stored_deep = ";16" in stored and "BGR;16" not in stored  # the latter: 16 bits per pixel, not a channel
        negative = tags.get(262) == WHITE_IS_ZERO
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
        factor = factor_of(whole)
        with alone if factor > 1 else nullcontext():
            if factor > 1 and kind == "JPEG":
                opened.draft(opened.mode, (whole[0] // factor, whole[1] // factor))
            opened.load()  # turns TIFF, and drops its tag
            left = opened.getexif().get(ExifTags.Base.Orientation, 1)
            if stored_deep:
                _check_upper_bits(opened)
            mode = opened.mode if holds_values(opened) else mode
            transparent = is_transparent(opened)
            loaded = _with_sign(opened, tags.get(339, (1,))[0]) if tags else _gathered(opened, args, content)
            image = shrunk(loaded, factor_of(loaded.size)) if factor > 1 else flat(loaded)
    if left in TURNS:
        image, whole = image.transpose(TURNS[left]), whole[::-1] if left >= 5 else whole
    values = holds_values(image)
    if values:
        numbers = np.asarray(image)
        window = window or Window.own(numbers)
        pixels = window.apply(numbers)
        image = Image.fromarray(255 - pixels if negative else pixels)
    window = window if values else None
    deep, rotated = stored_deep or values, orientation in TURNS
    facts = Facts(mode=mode, format=kind, rotated=rotated, deep=deep, transparent=transparent, frames=frames)
    return Decoded(image, facts, window, whole)


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


def _gathered(image: Image.Image, args: object, content: bytes) -> Image.Image:
    """Grey of 9 to 16 bits as PGM and JPEG 2000 files have it; Pillow spreads its values over 16 bits.

    Args:
        image: as Pillow loads it.
        args: of its tile; a PGM's greatest value is the second.
        content: of the file.
    """
    if image.format == "PPM" and image.mode == "I" and isinstance(args, tuple):
        numbers = np.array(image, dtype=np.uint32)  # into which 65535 * 65535 goes
        numbers *= np.uint32(args[1])
        numbers += np.uint32(32767)
        numbers //= np.uint32(65535)
        return Image.fromarray(numbers.view(np.int32))
    if image.format == "JPEG2000" and image.mode == "I;16" and (start := content.find(CODESTREAM)) >= 0:
        signed, bits = divmod(content[start + PRECISION], 128)
        values = np.asarray(image) >> max(0, 15 - bits)
        return Image.fromarray(values.astype(np.int32) - (1 << bits) if signed else values)
    return image


def _check_upper_bits(image: Image.Image) -> None:
    """Refuse colour of which Pillow, keeping the upper 8 of 16 bits, has kept next to nothing."""
    if not image.mode.startswith(("RGB", "LA")):
        return
    extrema = np.reshape(image.getextrema(), (-1, 2))
    if extrema[: 3 if image.mode.startswith("RGB") else 1, 1].max() < LEAST_OF_DEEP:
        raise ValueError(
            "16 bits per channel in colour whose values fill only the lower bits: "
            "convert it to 8 bits per channel, or to grey of 16 bits without transparency"
        )
