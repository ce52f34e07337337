"""Every kind of image becomes the right 8-bit pixels, and what cannot be decoded is told apart."""

import contextlib
import math
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from PIL.JpegImagePlugin import JpegImageFile
from planted import encode, exif, pictures

from bench.data.audit.duplicates import NEAR_BITS
from bench.data.images.decode import DECODE_ERRORS, FACTS, Facts, decode, facts_of, fit, perceptual_hash, problem_of
from bench.data.images.pixels import LARGE
from bench.data.images.window import Window

SIZE = 8
CONSTANT_GREY = np.full((SIZE, SIZE), 9, np.uint8)


def grey_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def colour_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def pixels_of(content, size=SIZE):
    return fit(decode(content).image, size, "squash")


def facts(content, **options):
    return facts_of(content, decode(content, **options))


def png16(values):
    """A PNG of 16 bits per channel, which Pillow does not write; ``values``: uint16, (height, width, 2, 3 or 4)."""
    height, width, channels = values.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in values)
    parts = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(lines)))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in (*parts, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def tiff16(values):
    """A TIFF of 16 bits per channel, in colour, uncompressed."""
    height, width, _ = values.shape
    data = values.astype("<u2").tobytes()
    entries = 10
    at = 8 + 2 + 12 * entries + 4
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 1, at + 6), (277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    folder = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, entries) + folder + struct.pack("<I3H", 0, 16, 16, 16) + data


def tiff_of_grey(values, bits, order="<", photometric=0, compression=1, kind=1):
    """A grey TIFF of one strip; ``values``: rows of bytes, packed as ``bits`` a pixel want it, and the width."""
    rows, width = values
    data = b"".join(rows)
    data = zlib.compress(data) if compression == 8 else data
    tags = [(256, 4, width), (257, 4, len(rows)), (258, 3, bits), (259, 3, compression), (262, 3, photometric)]
    at = 8 + 2 + 12 * 10 + 4
    tags += [(273, 4, at), (277, 3, 1), (278, 4, len(rows)), (279, 4, len(data)), (339, 3, kind)]
    mark = b"II*\0" if order == "<" else b"MM\0*"
    fields = [
        struct.pack(f"{order}HHIHxx" if kind == 3 else f"{order}HHII", tag, kind, 1, value) for tag, kind, value in tags
    ]
    return mark + struct.pack(f"{order}IH", 8, len(fields)) + b"".join(fields) + bytes(4) + data


def bmp565(width, height):
    """A BMP of 16 bits per pixel: 5, 6 and 5 bits per channel."""
    data = np.arange(width * height, dtype="<u2").tobytes()
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(data), 0, 0, 0, 0)
    start = 14 + len(header) + len(masks)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + header + masks + data


# Modes


def test_grey():
    pixels = grey_pixels()
    found = pixels_of(encode(Image.fromarray(pixels)))
    assert found.shape == (SIZE, SIZE, 1)
    assert found.dtype == np.uint8
    assert np.array_equal(found[..., 0], pixels)


def test_colour():
    pixels = colour_pixels()
    found = pixels_of(encode(Image.fromarray(pixels)))
    assert np.array_equal(found, pixels), "the channels stay in the order red, green, blue"


def test_colour_that_is_grey_is_found_out():
    pixels = grey_pixels()
    content = encode(Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)))
    assert np.array_equal(pixels_of(content), pixels[..., None])
    assert (facts(content).grey, facts(content).mode) == (True, "RGB")
    almost = np.repeat(pixels[..., None], 3, axis=2)
    almost[3, 4, 2] ^= 1
    assert pixels_of(encode(Image.fromarray(almost))).shape == (SIZE, SIZE, 3)


def test_cmyk_becomes_colour():
    content = encode(Image.fromarray(colour_pixels(size=16)).resize((64, 64)).convert("CMYK"), "JPEG", quality=100)
    expected = np.asarray(Image.fromarray(colour_pixels(size=16)).resize((64, 64))).astype(int)
    assert np.abs(pixels_of(content, 64) - expected).mean() < 5
    assert facts(content).mode == "CMYK"


def test_transparency_of_colour_is_laid_on_black():
    pixels = np.dstack([np.full((SIZE, SIZE, 3), 200, np.uint8), np.zeros((SIZE, SIZE), np.uint8)])
    pixels[:4, :, 3] = 255
    pixels[:4, :, 0] = 90
    content = encode(Image.fromarray(pixels, "RGBA"))
    found = pixels_of(content)
    assert (found[:4] == [90, 200, 200]).all()
    assert (found[4:] == 0).all()
    assert facts(content).transparent


def test_transparency_of_grey_is_laid_on_black():
    pixels = np.dstack([np.full((SIZE, SIZE), 180, np.uint8), np.zeros((SIZE, SIZE), np.uint8)])
    pixels[:4, :, 1] = 255
    found = pixels_of(encode(Image.fromarray(pixels, "LA")))
    assert found.shape[-1] == 1
    assert (found[:4] == 180).all()
    assert (found[4:] == 0).all()


def palette():
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.paste(1, (0, 4, SIZE, SIZE))
    return image


def test_palette():
    found = pixels_of(encode(palette()))
    assert (found[:4] == [255, 0, 0]).all(), "colours, not indices"
    assert (found[4:] == [10, 20, 30]).all()


def test_palette_with_a_transparent_colour():
    found = pixels_of(encode(palette(), transparency=0))
    assert (found[:4] == 0).all()
    assert (found[4:] == [10, 20, 30]).all()
    assert facts(encode(palette(), transparency=0)).transparent
    assert not facts(encode(palette())).transparent


def test_grey_palette_is_grey():
    found = pixels_of(encode(Image.fromarray(grey_pixels()).quantize(16)))
    assert found.shape[-1] == 1
    assert found.std() > 10


def test_one_bit():
    image = Image.new("1", (SIZE, SIZE), 0)
    image.paste(1, (0, 4, SIZE, SIZE))
    found = pixels_of(encode(image))
    assert found.shape[-1] == 1
    assert (found[:4] == 0).all()
    assert (found[4:] == 255).all()


# More than 8 bits


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_windowed_not_cut(kind):
    """Values 1000 to 5000, as of 12-bit radiographs: cut to 8 bits they would all be 255."""
    values = np.linspace(1000, 5000, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    content = encode(Image.fromarray(values), kind)
    found = pixels_of(content)
    expected = np.rint((values - 1000.0) / 4000 * 255)
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert len(np.unique(found)) == SIZE * SIZE
    assert (facts(content).deep, facts(content).mode) == (True, "I;16")


def test_floating_point_images_are_windowed():
    values = np.linspace(-1, 1, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    content = encode(Image.fromarray(values), "TIFF")
    found = pixels_of(content)
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found[..., 0].ravel().astype(int)) >= 0).all()
    assert (facts(content).deep, facts(content).mode) == (True, "F")


def test_a_flat_sixteen_bit_image_is_black_not_an_error():
    content = encode(Image.fromarray(np.full((SIZE, SIZE), 3000, np.uint16)))
    assert (pixels_of(content) == 0).all()
    assert facts(content).constant


@pytest.mark.parametrize("write", [png16, tiff16])
def test_of_sixteen_bits_a_colour_channel_the_upper_eight_are_kept(write):
    values = np.random.default_rng(0).integers(0, 2**16, (SIZE, SIZE, 3), dtype=np.uint16)
    content = write(values)
    assert np.abs(pixels_of(content) - (values / 257)).max() <= 1
    assert (facts(content).deep, facts(content).mode) == (True, "RGB")


@pytest.mark.parametrize("write", [png16, tiff16])
@pytest.mark.parametrize("highest", [255, 4095, 64 * 256 - 1])
def test_colour_of_twelve_bits_in_sixteen_is_refused_not_cut(write, highest):
    values = np.random.default_rng(0).integers(0, highest + 1, (SIZE, SIZE, 3), dtype=np.uint16)
    found = problem(write(values))
    assert found.problem == "unreadable"
    assert found.reason.startswith("16 bits per channel in colour whose values fill only the lower bits: convert it")
    values[0, 0, 1] = 64 * 257
    assert facts(write(values)).deep, "one channel that reaches higher is enough"


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_does_not_hide_that_the_upper_bits_are_unused(channels):
    values = np.random.default_rng(0).integers(0, 4096, (SIZE, SIZE, channels), dtype=np.uint16)
    values[..., -1] = 2**16 - 1
    assert "fill only the lower bits" in problem(png16(values)).reason
    values[..., :-1] *= 16
    found = facts(png16(values))
    assert (found.deep, found.transparent, found.grey) == (True, True, channels == 2)
    assert np.abs(pixels_of(png16(values)) - values[..., :-1] / 257).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_dark_images_of_eight_bits_stay_as_they_are(mode):
    dark = Image.fromarray(grey_pixels() // 8).convert(mode)
    assert pixels_of(encode(dark)).max() < 32


def test_sixteen_bits_a_pixel_are_not_deep():
    found = facts(bmp565(SIZE, SIZE))
    assert (found.deep, found.mode, found.format) == (False, "RGB", "BMP")


# White is zero


def packed(values, bits, order="<"):
    """Rows of bytes and the width, of values of 1 to 32 bits."""
    if bits >= 8:
        kind = {8: "u1", 16: f"{order}u2", 32: f"{order}u4"}[bits]
        return [row.astype(kind).tobytes() for row in values], values.shape[1]
    ones = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return [np.packbits(row.ravel().astype(np.uint8)).tobytes() for row in ones], values.shape[1]


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_white_is_zero_is_turned_whatever_its_depth(bits, order, compression):
    values = np.random.default_rng(bits).integers(0, 2 ** min(bits, 16), (SIZE, SIZE))
    values[0, :2] = 0, 2 ** min(bits, 16) - 1
    dark, bright = (
        tiff_of_grey(packed(values, bits, order), bits, order, photometric, compression, kind=1 + (bits == 32))
        for photometric in (0, 1)
    )
    assert np.array_equal(pixels_of(dark), 255 - pixels_of(bright))
    assert pixels_of(bright)[0, :2, 0].tolist() == [0, 255]


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("dtype", "kind"), [("i2", 2), ("u2", 1), ("i4", 2), ("f4", 3)])
def test_values_of_tiff_in_either_order_compressed_or_not(dtype, kind, order, compression):
    values = np.arange(SIZE * SIZE).reshape(SIZE, SIZE) * 100
    rows = [row.astype(order + dtype).tobytes() for row in values]
    content = tiff_of_grey((rows, SIZE), 8 * int(dtype[1]), order, 1, compression, kind)
    assert np.array_equal(pixels_of(content)[..., 0], Window.own(values).apply(values))


@pytest.mark.parametrize("order", ["<"])  # Pillow opens no big-endian ones
@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("compression", [1, 8])
def test_the_upper_half_of_32_bits_is_no_negative_value(photometric, compression, order):
    values = np.linspace(0, 2**32 - 1, SIZE * SIZE).reshape(SIZE, SIZE)
    rows = [row.astype(f"{order}u4").tobytes() for row in values]
    found = pixels_of(tiff_of_grey((rows, SIZE), 32, order, photometric, compression, 1))[..., 0].astype(int)
    assert np.abs((found if photometric else 255 - found) - Window.own(values).apply(values)).max() <= 1


def test_signed_values_of_eight_bits_keep_their_order():
    values = np.arange(-32, 32, dtype=np.int8).reshape(SIZE, SIZE)
    content = tiff_of_grey(([row.tobytes() for row in values], SIZE), 8, "<", 1, 1, 2)
    assert np.array_equal(pixels_of(content)[..., 0], values.astype(int) + 128)


@pytest.mark.parametrize("order", ["<", ">"])
def test_channels_of_sixteen_bits_one_after_another(order):
    """Uncompressed, as ImageJ and MATLAB write them; they used to come out as noise."""
    values = np.random.default_rng(0).integers(0, 2**16, (3, SIZE, SIZE), dtype=np.uint16)
    data, at = values.astype(f"{order}u2").tobytes(), 8 + 2 + 12 * 10 + 4
    start, part = at + 6 + 24, len(data) // 3
    tags = [(256, 3, 1, SIZE), (257, 3, 1, SIZE), (258, 3, 3, at), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 3, at + 6), (277, 3, 1, 3), (278, 3, 1, SIZE), (279, 4, 3, at + 18), (284, 3, 1, 2)]
    folder = b"".join(
        struct.pack(f"{order}HHI", *tag[:3])
        + struct.pack(
            f"{order}HH" if tag[1:3] == (3, 1) else f"{order}I", *((tag[3], 0) if tag[1:3] == (3, 1) else tag[3:])
        )
        for tag in tags
    )
    content = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 10) + folder + bytes(4)
    content += struct.pack(f"{order}3H3I3I", 16, 16, 16, start, start + part, start + 2 * part, part, part, part)
    assert np.array_equal(pixels_of(content + data), np.moveaxis(values >> 8, 0, -1))
    assert facts(content + data).deep


def test_white_is_zero_of_floating_point_and_by_pillow():
    values = np.linspace(0, 7, SIZE * SIZE, dtype="<f4").reshape(SIZE, SIZE)
    content = bytearray(encode(Image.fromarray(values), "TIFF"))
    before = pixels_of(bytes(content))
    at = content.index(struct.pack("<HHI", 262, 3, 1))
    struct.pack_into("<H", content, at + 8, 0)
    assert np.array_equal(pixels_of(bytes(content)), 255 - before)
    for compression in ("raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"):
        grey = encode(Image.fromarray(grey_pixels()), "TIFF", compression=compression, tiffinfo={262: 0})
        assert np.array_equal(pixels_of(grey)[..., 0], grey_pixels()), "Pillow writes it turned, and it looks the same"


def test_a_window_of_white_is_zero_is_in_stored_values():
    values = np.linspace(0, 4000, SIZE * SIZE).round().astype(np.uint16).reshape(SIZE, SIZE)
    window = Window.centered(1000.5, 1001)
    white, black = (decode(tiff_of_grey(packed(values, 16), 16, photometric=kind), window).image for kind in (0, 1))
    assert np.array_equal(np.asarray(black), window.apply(values))
    assert np.array_equal(np.asarray(white), 255 - window.apply(values))


# A window that is asked for


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_window_for_grey_of_more_than_eight_bits(kind):
    values = np.linspace(0, 4000, SIZE * SIZE).round().astype(np.uint16).reshape(SIZE, SIZE)
    content, window = encode(Image.fromarray(values), kind), Window.centered(1000.5, 1001)
    found = facts_of(content, decode(content, window))
    assert np.array_equal(np.asarray(decode(content, window).image), window.apply(values))
    assert (found.window, found.low, found.high) == ("asked", 500, 1500)
    assert (facts(content).window, facts(content).low, facts(content).high) == ("own", 0, 0)


def pgm(values, most, plain=False):
    body = " ".join(map(str, values.ravel())).encode() if plain else values.astype(">u2").tobytes()
    return b"P%d\n# a comment\n%d %d\n%d\n" % (2 if plain else 5, *values.shape[::-1], most) + body


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("most", [300, 1023, 4095, 10000, 65534, 65535])
def test_a_window_is_in_the_values_of_a_pgm(most, plain):
    values = np.unique(np.linspace(0, most, 40).round().astype(int))[None]
    window = Window.centered(most / 2, most / 3)
    assert np.array_equal(np.asarray(decode(pgm(values, most, plain), window).image), window.apply(values))
    assert np.array_equal(np.asarray(decode(pgm(values, most, plain)).image), Window(0, most).apply(values))


@pytest.mark.parametrize("bits", [10, 12, 15, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_a_window_is_in_the_values_of_jpeg_2000(bits, signed):
    encode_array = pytest.importorskip("openjpeg.utils").encode_array
    values = np.linspace(0, 2**bits - 1, 4096).round().astype(int).reshape(64, 64) - signed * 2 ** (bits - 1)
    content = bytes(
        encode_array(values.astype("i2" if signed else "u2"), bits_stored=bits, photometric_interpretation=2)
    )
    window = Window.centered(values.mean(), 2**bits / 3)
    assert np.array_equal(np.asarray(decode(content, window).image), window.apply(values))


def test_a_window_leaves_eight_bits_and_colour_as_they_are():
    for pixels in (grey_pixels(), colour_pixels()):
        content = encode(Image.fromarray(pixels))
        decoded = decode(content, Window.centered(100, 5))
        assert np.array_equal(np.asarray(decoded.image), pixels)
        assert facts_of(content, decoded).window == ""
    deep = png16(np.random.default_rng(0).integers(0, 2**16, (SIZE, SIZE, 3), dtype=np.uint16))
    assert np.array_equal(np.asarray(decode(deep, Window.centered(100, 5)).image), np.asarray(decode(deep).image))
    assert np.array_equal(np.asarray(decode(grey_pixels(), Window.centered(100, 5)).image), grey_pixels())


# Bare pixels


def test_a_window_for_arrays_of_other_kinds_though_their_values_would_fit():
    """The dark images of a set of 16 bits, of which others are bright."""
    values = grey_pixels().astype(np.uint16)
    decoded = decode(values, Window(0, 1020, "set"))
    assert np.array_equal(np.asarray(decoded.image), (values / 4).round())
    found = facts_of(values, decoded)
    assert (found.deep, found.mode, found.window, found.high) == (True, "L;uint16", "set", 1020)


@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, SIZE, 1)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays_of_grey(shape, dtype):
    pixels = grey_pixels()
    pixels[0, :2] = (0, 255)  # so that the window is the whole range
    values = (pixels.astype(dtype) * (1 if dtype == np.uint8 else 3)).reshape(shape)
    assert np.array_equal(pixels_of(values)[..., 0], pixels)
    found = facts(values)
    assert (found.deep, found.format, found.bytes) == (dtype != np.uint8, "array", values.nbytes)


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64, np.bool_])
@pytest.mark.parametrize("shape", [(SIZE, SIZE), (SIZE, SIZE, 1), (SIZE, SIZE, 3)])
def test_arrays_of_integers_that_fit_keep_their_values(dtype, shape):
    """However wide their type: a dark image stays darker than a bright one."""
    high = {np.bool_: 2, np.int8: 100}.get(dtype, 200)
    values = np.random.default_rng(0).integers(0, high, shape).astype(dtype)
    expected = np.where(values, 255, 0) if dtype is np.bool_ else values
    assert np.array_equal(pixels_of(values), expected.reshape(SIZE, SIZE, -1))
    found = facts(values)
    assert (found.deep, found.mode, found.format) == (False, "RGB" if shape[-1] == 3 else "L", "array")


@pytest.mark.parametrize(("low", "high"), [(-1, 200), (0, 256), (10, 4095)])
def test_arrays_of_integers_beyond_are_windowed(low, high):
    values = np.linspace(low, high, SIZE * SIZE).round().astype(np.int16).reshape(SIZE, SIZE)
    found = pixels_of(values)
    assert (found.min(), found.max()) == (0, 255)
    assert (facts(values).deep, facts(values).mode) == (True, "L;int16")


@pytest.mark.parametrize("high", [1.0, 200.0])
def test_arrays_of_floating_point_are_windowed(high):
    values = np.linspace(0, high, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    assert pixels_of(values).max() == 255
    assert facts(values).deep


def test_arrays_of_colour():
    pixels = colour_pixels()
    pixels[0, 0, :2] = (0, 255)
    assert np.array_equal(pixels_of(pixels), pixels)
    assert np.array_equal(pixels_of(pixels.astype(np.uint16) * 200), pixels)
    assert pixels_of(np.repeat(grey_pixels()[..., None], 3, axis=2)).shape == (SIZE, SIZE, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    values = np.ones((SIZE, SIZE), np.float32)
    values[2, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        decode(values)


# Orientation


QUARTERS = np.repeat(np.repeat(np.array([[0, 80], [160, 240]], np.uint8), 4, axis=0), 2, axis=1)
TURNED = {
    0: QUARTERS,  # no such orientation, but cameras write it
    1: QUARTERS,
    2: QUARTERS[:, ::-1],
    3: QUARTERS[::-1, ::-1],
    4: QUARTERS[::-1],
    5: QUARTERS.T,
    6: np.rot90(QUARTERS, -1),
    7: np.rot90(QUARTERS, 2).T,
    8: np.rot90(QUARTERS, 1),
}


@pytest.mark.parametrize(("kind", "options"), [("JPEG", {"quality": 100}), ("PNG", {}), ("TIFF", {})])
@pytest.mark.parametrize("orientation", TURNED)
def test_the_orientation_tag_is_applied(orientation, kind, options):
    content = encode(Image.fromarray(QUARTERS), kind, exif=exif(orientation), **options)
    expected = TURNED[orientation]
    found = np.asarray(decode(content).image).astype(int)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 12
    assert facts(content).rotated == (orientation > 1)
    assert (facts(content).height, facts(content).width) == expected.shape, "upright"


def test_another_tag_of_the_wrong_kind_costs_no_image():
    """Pillow's own turning writes all tags anew, and fails at such."""
    tags = exif(6)
    tags[0x0100] = 8
    content = encode(Image.fromarray(QUARTERS), "JPEG", exif=tags)
    as_long, as_byte = (struct.pack(">HHII", 0x0100, kind, 1, 8) for kind in (4, 1))
    assert content.count(as_long) == 1
    found = decode(content.replace(as_long, as_byte))
    assert found.facts.rotated
    assert found.image.size == (8, 4)


# Large images, long texts


@pytest.fixture
def small_is_large(monkeypatch):
    """Images of more than 256 pixels count as large, and strips are of a few rows."""
    monkeypatch.setattr("bench.data.images.pixels.LARGE", 256)
    monkeypatch.setattr("bench.data.images.pixels.STRIP", 256)


def blocks(pixels, factor):
    """The mean of each square of pixels."""
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    squares = pixels[: height * factor, : width * factor].reshape(height, factor, width, factor, *pixels.shape[2:])
    return squares.astype(float).mean(axis=(1, 3))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(("kind", "shape"), [("PNG", (48, 64)), ("PNG", (48, 64, 3)), ("TIFF", (48, 64, 3))])
def test_a_large_image_is_made_smaller_and_keeps_its_facts(kind, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    content = encode(Image.fromarray(pixels), kind)
    decoded = decode(content)
    assert decoded.image.size == (16, 12), "4 pixels become one: 16 x 12 are no more than 256"
    assert np.abs(np.asarray(decoded.image) - blocks(pixels, 4)).max() <= 1
    found = facts_of(content, decoded)
    assert (found.width, found.height) == (64, 48)
    other = pixels.copy()
    other[:4, :4] = 255 - other[:4, :4]
    assert facts(encode(Image.fromarray(other), kind)).pixels != found.pixels


@pytest.mark.usefixtures("small_is_large")
def test_large_images_of_every_mode():
    values = np.random.default_rng(0).integers(0, 60000, (33, 40)).astype(np.uint16)
    deep = np.asarray(decode(encode(Image.fromarray(values))).image)
    means = np.asarray(Image.fromarray(values.astype(np.float32)).reduce(3))
    assert np.abs(deep - (means - means.min()) * 255 / np.ptp(means)).max() <= 1
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    red = Image.merge("RGBA", (grey, grey, grey, Image.new("L", grey.size, 128)))
    assert (
        np.abs(np.asarray(decode(encode(red)).image).astype(int) - np.asarray(grey.reduce(3)) * (128 / 255)).max() < 2
    )
    half = Image.new("1", (40, 33))
    half.paste(1, (0, 0, 20, 33))
    assert np.asarray(decode(encode(half)).image)[0, [0, -1]].tolist() == [255, 0]
    palette = Image.new("P", (40, 33), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert (np.asarray(decode(encode(palette)).image) == (10, 20, 30)).all()
    array = decode((values >> 8).astype(np.uint8))
    assert (array.image.size, array.size) == ((14, 11), (40, 33))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(("kind", "orientation"), [("JPEG", 6), ("JPEG", 1), ("TIFF", 8), ("PNG", 5)])
def test_a_large_image_that_is_turned(kind, orientation):
    whole = two_halves(80, 40)
    content = encode(whole, kind, exif=exif(orientation))
    expected = (80, 40) if orientation == 1 else (40, 80)
    assert (facts(content).width, facts(content).height) == expected
    image = decode(content).image
    assert (image.width > image.height) == (orientation == 1)
    assert image.width * image.height <= 256
    assert {round(value / 100) for value in np.asarray(image).ravel()} == {1, 2}


def test_a_large_jpeg_is_read_at_a_lower_resolution(monkeypatch):
    monkeypatch.setattr("bench.data.images.pixels.LARGE", 64 * 64)
    loaded = []
    load = JpegImageFile.load
    monkeypatch.setattr(JpegImageFile, "load", lambda image: loaded.append(image.size) or load(image))
    content = encode(pictures()[0].resize((512, 256)), "JPEG")
    assert facts(content).width == 512
    assert set(loaded) == {(128, 64)}, "6 times smaller: a fourth by the decoder, the rest after it"


def test_more_pixels_than_are_read_are_refused_by_their_number():
    for kind in ("PNG", "JPEG", "TIFF", "WEBP", "JPEG2000", "GIF", "BMP"):
        found = problem(encode(Image.new("L", (3000, 1001)), kind), max_pixels=3_000_000)
        assert found.problem == "too large"
        assert found.reason.startswith("it has 3,000 x 1,001 pixels, and at most 3,000,000 are read: make it smaller")
    assert problem(np.zeros((30, 11), np.uint8), max_pixels=300).problem == "too large"


def test_an_image_of_four_hundred_million_pixels_is_no_attack():
    """More than Pillow's own limit allows; Pillow's limit is its own again afterwards."""
    before = Image.MAX_IMAGE_PIXELS
    content = encode(Image.new("1", (20_000, 20_000)), "PNG")
    decoded = decode(content, max_pixels=4 * 10**8)
    assert decoded.size == (20_000, 20_000)
    assert decoded.image.width * decoded.image.height <= LARGE
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_large_image_is_decoded_alone():
    held = []

    @contextlib.contextmanager
    def alone():
        held.append(True)
        yield

    decode(encode(Image.fromarray(grey_pixels())), alone=alone())
    assert held == []
    decode(encode(Image.new("1", (LARGE // 1000, 1001))), alone=alone())
    assert held == [True]


def png_with(kind, data):
    content = encode(Image.fromarray(grey_pixels()))
    part = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content[:33] + part + content[33:]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"iCCP", b"profile\0\0" + zlib.compress(bytes(20_000_000))),
        (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 80_000_000)),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * 20_000_000)),
        (b"tEXt", b"Comment\0" + b"x" * 70_000_000),
    ],
)
def test_long_texts_and_profiles_are_no_reason_to_refuse(kind, data):
    content = png_with(kind, data)
    assert np.array_equal(pixels_of(content)[..., 0], grey_pixels())
    assert problem(content[:-200]).problem == "truncated", "what is cut off stays cut off"


# Becoming square


def two_halves(width, height):
    """Grey 100 on the left, 200 on the right."""
    pixels = np.full((height, width), 100, np.uint8)
    pixels[:, width // 2 :] = 200
    return Image.fromarray(pixels)


def test_squash_ignores_the_aspect_ratio():
    found = fit(two_halves(80, 40), SIZE, "squash")[..., 0]
    assert (found[:, :3] == 100).all()
    assert (found[:, 5:] == 200).all(), "the right half stays the right half: nothing is cropped"


def test_pad_keeps_all_and_fills_up_with_black():
    found = fit(two_halves(80, 40), SIZE, "pad")[..., 0]
    assert (found[[0, 1, 6, 7]] == 0).all()
    assert (found[2:6, :3] == 100).all()
    assert (found[2:6, 5:] == 200).all()
    upright = fit(two_halves(40, 80), SIZE, "pad")[..., 0]
    assert (upright[:, [0, 1, 6, 7]] == 0).all()
    assert (upright[:, 2:6] > 0).all()


def test_crop_cuts_the_longer_side_from_both_ends():
    pixels = np.asarray(two_halves(80, 40)).copy()
    pixels[:, :20], pixels[:, 60:] = 0, 255
    found = fit(Image.fromarray(pixels), SIZE, "crop")[..., 0]
    assert (found[:, 1:3] == 100).all(), "what is cut off is gone"
    assert (found[:, 5:7] == 200).all()
    assert set(np.unique(fit(Image.fromarray(pixels.T), SIZE, "crop")[1:3])) == {100}


@pytest.mark.parametrize("resize", ["squash", "pad", "crop"])
def test_colour_stays_colour_and_a_square_is_a_square(resize):
    pixels = colour_pixels()
    assert np.array_equal(fit(Image.fromarray(pixels), SIZE, resize), pixels)


sides = st.integers(1, 60)


@settings(deadline=None, max_examples=150)
@given(sides, sides, st.integers(1, 40))
@example(1, 60, 7)
@example(60, 1, 40)
@example(3, 2, 40)
@example(59, 60, 1)
def test_a_white_image_of_any_shape(width, height, size):
    white = Image.new("L", (width, height), 255)
    for resize in ("squash", "crop"):
        assert (fit(white, size, resize) == 255).all()
    padded = fit(white, size, "pad")[..., 0]
    assert padded.shape == (size, size)
    for axis, side in ((1, height), (0, width)):
        filled = np.flatnonzero(padded.any(axis=axis))
        expected = size * side / max(width, height)
        assert len(filled) == pytest.approx(max(1, expected), abs=0.501)
        before, after = filled[0], size - 1 - filled[-1]
        assert 0 <= after - before <= 1, "in the middle"
    assert set(np.unique(padded)) <= {0, 255}


def test_a_small_image_is_enlarged_in_order():
    found = fit(Image.fromarray(np.array([[0, 255]], np.uint8)), 9, "squash")[..., 0]
    assert (np.diff(found.astype(int), axis=1) >= 0).all()
    assert (found[:, 0].max(), found[:, -1].min()) == (0, 255)


# Facts


def test_facts_of_a_picture():
    picture = pictures()[0].crop((0, 0, 96, 60))
    content = encode(picture, "JPEG")
    found = facts(content)
    assert (found.problem, found.reason) == ("", "")
    assert (found.bytes, found.width, found.height) == (len(content), 96, 60)
    assert (found.mode, found.format, found.frames) == ("L", "JPEG", 1)
    assert found.grey
    assert not any([found.constant, found.rotated, found.deep, found.transparent])
    assert len(found.content) == len(found.pixels) == 32
    assert len(found.perceptual_hash) == 64
    assert tuple(FACTS[:3]) == ("problem", "reason", "bytes")


def test_facts_name_the_mode_of_the_file():
    assert facts(encode(palette())).mode == "P"
    assert facts(encode(pictures()[0].convert("RGBA"))).mode == "RGBA"


def test_constant_images():
    assert facts(encode(Image.fromarray(CONSTANT_GREY))).constant
    assert facts(encode(Image.new("RGB", (5, 5), (1, 2, 3)))).constant
    assert not facts(encode(Image.fromarray(grey_pixels()))).constant
    lines = np.dstack([CONSTANT_GREY, CONSTANT_GREY, grey_pixels()])
    assert not facts(encode(Image.fromarray(lines))).constant, "one channel that varies is enough"


@pytest.mark.parametrize("kind", ["TIFF", "GIF"])
def test_of_several_images_in_a_file_the_first_is_taken(kind):
    first, second = (Image.fromarray(np.full((SIZE, SIZE), value, np.uint8)) for value in (50, 90))
    content = encode(first, kind, save_all=True, append_images=[second])
    assert facts(content).frames == 2
    assert (pixels_of(content) == 50).all()


def test_hashes_tell_content_and_pixels_apart():
    picture = pictures()[0]
    png, bmp = facts(encode(picture)), facts(encode(picture, "BMP"))
    assert png.content != bmp.content
    assert png.pixels == bmp.pixels
    assert facts(encode(picture.convert("RGB"))).pixels == png.pixels, "however grey is stored"
    assert facts(encode(pictures()[1])).pixels != png.pixels
    line = np.arange(12, dtype=np.uint8)
    assert facts(line.reshape(3, 4)).pixels != facts(line.reshape(4, 3)).pixels
    assert facts(line.reshape(3, 4)).content != facts(line.reshape(4, 3)).content


# What the matter is


def problem(content, **options):
    with pytest.raises(DECODE_ERRORS) as caught:
        decode(content, **options)
    return problem_of(caught.value, content)


def test_an_empty_file():
    assert problem(b"") == Facts(problem="empty", reason="the file is empty", content=problem(b"").content)
    assert problem(np.zeros((0, 5), np.uint16)).problem == "empty"


def test_a_text_called_an_image():
    found = problem(b"Dear colleague, the image is attached.")
    assert found.problem == "no image"
    assert found.reason == "the content is no image of a kind that can be read"
    assert found.bytes == 38


def test_a_file_that_cannot_be_read():
    found = problem_of(PermissionError(13, "Permission denied", "a.png"), None)
    assert (found.problem, found.content) == ("no access", "")
    assert "Permission denied" in found.reason
    assert problem_of(OSError(), None).reason == "OSError"


TIFFS = ("tiff_lzw", "tiff_adobe_deflate", "jpeg")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        *((kind, {}) for kind in ("PNG", "JPEG", "BMP", "TIFF", "WEBP")),
        *(("TIFF", {"compression": compression}) for compression in TIFFS),
        ("WEBP", {"lossless": True}),
        ("JPEG", {"exif": exif(6)}),
    ],
)
@pytest.mark.parametrize("colour", [False, True])
def test_a_file_that_is_cut_off_is_truncated_whatever_its_kind(kind, options, colour):
    image = pictures()[0].convert("RGB" if colour else "L")
    content = encode(image, kind, **options)
    for cut in (20, *(int(share * len(content)) for share in (0.02, 0.1, 0.3, 0.5, 0.9, 0.98))):
        found = problem(content[:cut])
        assert found.problem == "truncated", (cut, found.reason)
        assert "0x" not in found.reason
    assert len({problem(content[:cut]).content for cut in (600, 700)}) == 2


def test_of_a_cut_off_jpeg_the_end_mark_of_its_thumbnail_is_not_its_own():
    tags = exif(1)
    tags[0x9286] = encode(pictures()[1].resize((16, 16)), "JPEG") + b"x" * 200  # a comment, in place of a thumbnail
    content = encode(pictures()[0], "JPEG", exif=tags)
    header = content.index(b"\xff\xdb", content.index(b"\xff\xd9"))
    assert problem(content[:header]).problem == "truncated"


def test_a_jpeg_that_is_whole_but_broken_is_unreadable():
    content = encode(pictures()[0], "JPEG")
    at = content.index(b"\xff\xc4") + 5  # the numbers of codes of each length
    broken = content[:at] + b"\xff" * 16 + content[at + 16 :]
    for ending in (b"", bytes(100)):
        assert problem(broken + ending).problem == "unreadable"


def test_a_whole_tiff_of_an_unknown_kind_is_no_truncated_one():
    content = bytearray(encode(Image.fromarray(grey_pixels()), "TIFF"))
    at = content.index(struct.pack("<HHI", 262, 3, 1))  # the photometric interpretation
    struct.pack_into("<H", content, at + 8, 999)
    assert problem(bytes(content)).problem == "no image"


@pytest.mark.parametrize("kind", range(14))
@pytest.mark.parametrize("tag", [273, 279])
def test_a_tiff_whose_strips_are_told_in_another_type_is_decoded_or_has_a_problem(tag, kind):
    content = bytearray(encode(Image.fromarray(grey_pixels()), "TIFF", compression="tiff_lzw"))
    entries = [struct.pack("<HHI", tag, usual, 1) for usual in (3, 4)]
    at = max(content.find(entry) for entry in entries)
    struct.pack_into("<H", content, at + 2, kind)
    try:
        decode(bytes(content))
    except DECODE_ERRORS as error:
        assert problem_of(error, bytes(content)).problem in ("truncated", "unreadable", "no image")


def test_a_broken_file_is_unreadable():
    content = bytearray(encode(pictures()[0]))
    content[60:80] = bytes(20)
    assert problem(bytes(content)).problem == "unreadable"


def test_reasons_are_one_line():
    assert problem_of(ValueError("two\n lines\tof it"), b"x").reason == "two lines of it"
    assert problem_of(ValueError(), b"x").reason == "ValueError"


def test_whatever_is_the_matter_with_a_file_it_is_said_in_one_way():
    """Pillow raises TypeError, struct.error and more at broken files; none may stop the other images."""
    rng = np.random.default_rng(0)
    image = Image.fromarray(colour_pixels(size=20))
    failed = 0
    for kind in ("JPEG", "PNG", "TIFF", "BMP", "WEBP"):
        whole = np.frombuffer(encode(image, kind, exif=exif(6)), np.uint8)
        for _ in range(200):
            broken = whole.copy()
            broken[rng.integers(0, min(len(broken), 400), 3)] = rng.integers(0, 256, 3)
            try:
                facts(broken.tobytes(), max_pixels=10**5)  # to be quick
            except DECODE_ERRORS:
                failed += 1
    assert failed > 100


def test_a_page_that_lacks_its_size_is_an_error_that_is_expected():
    """Pillow answers with a TypeError."""
    content = bytearray(encode(Image.fromarray(grey_pixels()), "TIFF"))
    first = struct.unpack_from("<I", content, 4)[0]
    end = first + 2 + 12 * struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<I", content, end, len(content))  # a second page, which holds nothing
    content += struct.pack("<HI", 0, 0)
    found = problem(bytes(content))
    assert found.problem == "unreadable"
    assert "TypeError" in found.reason


# The perceptual hash


def bits(image):
    return np.unpackbits(np.frombuffer(bytes.fromhex(perceptual_hash(image)), np.uint8)).astype(int)


def test_the_perceptual_hash_tells_copies_from_other_pictures():
    originals = pictures()[:12]
    hashes = [bits(picture) for picture in originals]
    for picture, own in zip(originals, hashes, strict=True):
        copies = [decode(encode(picture, "JPEG", quality=60)).image]
        copies += [picture.resize((side, side)) for side in (77, 115)]
        copies += [ImageEnhance.Brightness(picture).enhance(1.05), picture.convert("RGB")]
        assert max(np.abs(bits(copy) - own).sum() for copy in copies) <= NEAR_BITS
    apart = [np.abs(a - b).sum() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(apart) > 2 * NEAR_BITS
    assert math.isclose(np.mean(apart), 128, rel_tol=0.2), "bits of different pictures agree by chance"
