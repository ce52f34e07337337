"""DICOM images as 8-bit pixels, as their headers say. pydicom, an optional dependency, is only imported when needed."""

import io
import math
import re
import struct
import warnings
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.data.images.limits import MOST_PIXELS, check_bytes, check_size
from bench.data.images.pixels import Decoded, Facts, NotAnImage, factor_of
from bench.data.images.window import Pixels, Window
from bench.data.imageset import at_once
from bench.errors import ConfigError

if TYPE_CHECKING:
    from pydicom import Dataset

ENDINGS = (".dcm", ".dicom")
INSTALL = 'DICOM files need pydicom: pip install "medical-transfer-bench[dicom]".'
HEAD = 512  # bytes that are enough to tell a DICOM file
FILE_GROUP = 0x0002
FIRST_GROUPS = (FILE_GROUP, 0x0008)
"""Groups that a file without preamble begins with: the file's own header, or the data set at once."""
LONGEST = 256  # bytes of a value that stands among the first of a file
LONG = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()
"""Value representations whose length takes four bytes (PS3.5, 7.1.2)."""
SHORT = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
DECODERS = 'pip install "medical-transfer-bench[dicom]" brings pylibjpeg and its decoders.'
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
NO_PICTURES = ("1.2.840.10008.5.1.4.1.1.481.2", "1.2.840.10008.5.1.4.1.1.66.4")
"""What has rows and columns and is no image all the same: doses of radiation, and segmentations."""
NO_IMAGES = ("AU", "DOC", "ECG", "KO", "PLAN", "PR", "REG", "RTPLAN", "RTRECORD", "RTSTRUCT", "SR")
"""Modalities of files without pixels, where the class of the file does not tell."""
FRAME_GROUPS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Where a file of several frames says of each what others say at the top (PS3.3, C.7.6.16.2)."""
NUMBERS = (
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "PixelPaddingValue", "PixelPaddingRangeLimit",
)  # fmt: skip
RLE, BASELINE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"  # transfer syntaxes: run lengths, and JPEG of 8 bits
END_MARK = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike
FRAMES_OF_JPEG = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
"""Markers of JPEG and JPEG-LS before which no size is known."""
JPEG_2000 = re.compile(rb"\xff\x4f\xff\x51.{4}(.{4})(.{4})", re.DOTALL)
INFLATED_AT_A_TIME = 1 << 20
Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


def is_dicom_content(content: bytes) -> bool:
    """Whether ``content``, or its first HEAD bytes, are those of a DICOM file.

    Files have ``DICM`` after 128 bytes; those without are told by their first two elements, which must be such as
    the standard allows, in ascending order. Pictures of other kinds begin otherwise.
    """
    if content[128:132] == b"DICM":
        return True
    first = _element(content, 0)
    if first is None or first[0] >> 16 not in FIRST_GROUPS:
        return False
    second = _element(content, first[1])
    return second is not None and second[0] > first[0] and second[0] >> 16 in FIRST_GROUPS


def _element(content: bytes, at: int) -> tuple[int, int] | None:
    """Tag of the data element at ``at``, and where the next one begins; None if there is none that makes sense."""
    if at + 8 > len(content):
        return None
    order: Literal["big", "little"] = "big" if content[0] == 0 else "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(content[start : start + size], order)

    tag, kind = number(at, 2) << 16 | number(at + 2, 2), content[at + 4 : at + 6]
    if kind in SHORT:
        start, length = at + 8, number(at + 6, 2)
    elif kind in LONG:
        start, length = at + 12, number(at + 8, 4)
    elif tag >> 16 == FILE_GROUP:  # always names its representations
        return None
    else:
        start, length = at + 8, number(at + 4, 4)
    return (tag, start + length) if length % 2 == 0 and length <= LONGEST else None


def require_pydicom() -> None:
    """Refuse, by a ConfigError, to go on where pydicom is not installed."""
    if find_spec("pydicom") is None:
        raise ConfigError(INSTALL)


class _Bounded(io.BufferedReader):
    """A file of which pydicom cannot inflate more than an image of ``max_pixels`` needs.

    pydicom reads the rest of a file in one piece only where this is deflated, and then inflates it whatever its size.
    """

    name = ""  # pydicom asks for it

    def __init__(self, raw: Any, max_pixels: int) -> None:
        super().__init__(raw)
        self._max_pixels = max_pixels

    def read(self, size: int | None = -1, /) -> bytes:
        """As usual; TooLarge where the rest of the file is beyond the limit once it is inflated."""
        found = super().read(size)
        if size is None or size < 0:
            inflating, count, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, found
            while rest and not inflating.eof:
                count += len(inflating.decompress(rest, INFLATED_AT_A_TIME))
                check_bytes(count, self._max_pixels, "unpacked it has more than")
                rest = inflating.unconsumed_tail
        return found


def read_patient_ids(paths: Sequence[Path], max_pixels: int = MOST_PIXELS) -> list[str]:
    """The PatientID in each file's header, empty where there is none or the file cannot be read."""
    from pydicom import dcmread

    def read(path: Path) -> str:
        try:
            with _Bounded(io.FileIO(path, opener=at_once), max_pixels // 8) as opened:  # several threads read at a time
                file = dcmread(opened, stop_before_pixels=True, specific_tags=["PatientID"], force=True)
                return str(file.get("PatientID") or "").strip()
        except Exception:  # pydicom raises whatever a broken header makes of itself
            return ""

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(read, paths))


def read_dicom(
    content: bytes,
    window: Window | None = None,
    alone: AbstractContextManager[object] | None = None,
    max_pixels: int = MOST_PIXELS,
) -> Decoded:
    """One image, or the first frame of several, as 8-bit grey or RGB.

    Grey: stored values, through the modality transformation, through ``window`` or the first window or VOI LUT of the
    header, whose whole output range becomes 0 to 255; without either from the image's own minimum to its maximum,
    padding aside. 8-bit values that no transformation is stated for stay as they are. MONOCHROME1 is inverted, so that
    high values are bright. What stands in the header empty counts as absent, and so does a window of no width.

    Args:
        content: the file.
        window: in place of the header's, in values after the modality transformation.
        alone: what is held while a large image is in memory.
        max_pixels: of a frame; the file may unpack to 8 bytes for each.

    Source: DICOM PS3.3, C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3 (image pixel).

    Raises:
        NotAnImage: if it is a DICOM file of another kind, such as a report or a directory.
        TooLarge: if it has more pixels, or unpacks to more bytes.
        OSError, ValueError: if it holds no image that can be decoded, or pydicom is not installed.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ValueError(INSTALL) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = dcmread(_Bounded(io.BytesIO(content), max_pixels), force=True)
            if "Rows" not in file:
                header = dcmread(_Bounded(io.BytesIO(content), max_pixels), stop_before_pixels=True, force=True)
                if "Rows" in header:
                    raise ValueError("truncated: the DICOM file ends within its pixels")
            return _decoded(file, window, alone or nullcontext(), max_pixels)
    except (OSError, ValueError):
        raise
    except (EOFError, struct.error):
        raise ValueError("truncated: the DICOM file ends within its header") from None
    except Exception as error:  # pydicom raises whatever a broken file makes of itself: KeyError, TypeError, …
        raise ValueError(f"DICOM that cannot be decoded ({type(error).__name__}: {error})") from error


def _decoded(file: "Dataset", window: Window | None, alone: AbstractContextManager[object], max_pixels: int) -> Decoded:
    _refuse_other_kinds(file)
    if "Rows" not in file:
        raise ValueError("the DICOM file holds no image")
    if not any(name in file for name in PIXELS):
        raise ValueError("truncated: the DICOM file ends before its pixels")
    check_size(int(file.Columns), int(file.Rows), max_pixels)
    frames = int(file.get("NumberOfFrames") or 1)
    _raise_frame_groups(file)
    _drop_empty(file)
    kind, bits = str(file.PhotometricInterpretation), int(file.get("BitsStored", 32))
    with alone if factor_of((file.Columns, file.Rows)) > 1 else nullcontext():
        stored, padding = _stored(file, max_pixels)
        if kind in ("MONOCHROME1", "MONOCHROME2"):
            pixels, window = _grey(file, stored, padding, bits, window)
            if kind == "MONOCHROME1":
                pixels = 255 - pixels
            if bits > 8:
                pixels[padding] = 0
        elif kind == "PALETTE COLOR":
            pixels, window = _palette(file, stored), None
        elif kind in COLOURS:
            pixels, window = (stored >> max(0, bits - 8)).astype(np.uint8), None
        else:
            raise ValueError(f"DICOM of photometric interpretation {kind} is not read")
    facts = Facts(mode=f"DICOM {kind} {bits}-bit", format="DICOM", deep=bits > 8, frames=frames)
    return Decoded(Image.fromarray(pixels), facts, window)


def _refuse_other_kinds(file: "Dataset") -> None:
    """Refuse, as NotAnImage, what DICOM files hold beside images: directories, reports, presentation states, plans."""
    from pydicom.uid import UID

    meta = getattr(file, "file_meta", None) or {}
    uid = UID(str(file.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""))
    pictured = "Rows" in file or any(name in file for name in PIXELS)
    modality = str(file.get("Modality") or "")
    if uid in NO_PICTURES or (not pictured and (modality in NO_IMAGES or (uid and "Image" not in uid.name))):
        raise NotAnImage(f"a DICOM file that holds no image, but {uid.name or modality}")


def _raise_frame_groups(file: "Dataset") -> None:
    """Put to the top what a file says of its first frame, or of all frames, where the top does not say it."""
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        for group in (file.get(groups) or [])[:1]:
            for name in FRAME_GROUPS:
                for item in (group.get(name) or [])[:1]:
                    for element in item:
                        if element.keyword and element.keyword not in file:
                            file.add(element)


def _values(file: "Dataset", name: str) -> list[Any]:
    """The values of an element; those that are empty are None; ValueError if one is no number."""
    value = file[name].value if name in file else None
    values = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    for one in values:
        try:
            known = one is None or not str(one).strip("\0 ") or math.isfinite(float(one))
        except ValueError:
            known = False
        if not known:
            raise ValueError(f"the DICOM header's {name} is {str(one)!r}, which is no number")
    return [None if one is None or not str(one).strip("\0 ") else one for one in values]


def _drop_empty(file: "Dataset") -> None:
    """Take out what is there and says nothing; of several values, and windows that are whole, the first stays."""
    for center, width in zip(_values(file, "WindowCenter"), _values(file, "WindowWidth"), strict=False):
        if center is not None and width is not None and float(width) > 0:
            file.WindowCenter, file.WindowWidth = center, width
            break
    for name in NUMBERS:
        if name in file:
            value = next(iter(_values(file, name)), None)
            if value is None:
                del file[name]
            else:
                setattr(file, name, value)
    for name in ("ModalityLUTSequence", "VOILUTSequence"):
        items = [one for one in file.get(name) or [] if one.get("LUTDescriptor") and one.get("LUTData")]
        if items:
            setattr(file, name, items)
        elif name in file:
            del file[name]
    if "RescaleSlope" in file or "RescaleIntercept" in file:
        file.RescaleSlope = file.get("RescaleSlope") or 1
        file.RescaleIntercept = file.get("RescaleIntercept") or 0


def _stored(file: "Dataset", max_pixels: int) -> tuple[Array, Mask]:
    """The first frame's values, of shape (rows, columns) or (rows, columns, 3), and a mask of the padding in them."""
    from pydicom.pixels import get_decoder  # type: ignore[attr-defined]
    from pydicom.pixels.utils import get_expected_length, pixel_array

    syntax = _transfer_syntax(file)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ValueError(f"the DICOM file's compression, {syntax.name}, is none that is read") from None
    if not decoder.is_available:
        raise ValueError(
            f"the DICOM file's compression, {syntax.name}, is none that the installed packages decode: {DECODERS}"
        )
    if not syntax.is_compressed and "PixelData" in file:
        there, needed = len(file.PixelData), get_expected_length(file)
        if there < needed:
            raise ValueError(f"truncated: the DICOM file holds {there} of the {needed} bytes of its pixels")
    plugin = ""
    if syntax.is_compressed and syntax != RLE:
        plugin = "pillow" if syntax == BASELINE else ""  # which tells that an image is cut off
        _check_frame(file, max_pixels)
    raw = pixel_array(file, index=0, correct_unused_bits=False, decoding_plugin=plugin)
    raw = raw.astype(raw.dtype.newbyteorder("="), copy=False)  # `_declared` looks at bits
    outside = _padding(file, raw)
    stored = _declared(file, raw, outside)
    return stored, outside | _padding(file, stored)


def _check_frame(file: "Dataset", max_pixels: int) -> None:
    """Refuse a compressed first frame without its end mark, which decoders fill up with something, or of another size.

    Decoders take the size from the frame, whatever the header of the file says.
    """
    from pydicom.encaps import generate_frames

    frame = next(generate_frames(file.PixelData, number_of_frames=int(file.get("NumberOfFrames") or 1)), b"")
    for width, height in _frame_sizes(frame):
        check_size(width, height, max_pixels)
    if not frame.rstrip(b"\0\xff").endswith(END_MARK):
        raise ValueError("truncated: the DICOM file's compressed image ends before its end mark")


def _frame_sizes(frame: bytes) -> list[tuple[int, int]]:
    """Width and height that a frame of JPEG, JPEG-LS or JPEG 2000 states itself; in boxes there may be several."""
    if not frame.startswith(b"\xff\xd8"):
        one_at_the_start = frame[:16] if frame.startswith(b"\xff\x4f") else frame
        return [(int.from_bytes(w), int.from_bytes(h)) for w, h in JPEG_2000.findall(one_at_the_start)]
    sizes, at = [], 2
    while at + 9 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != 0xDA:
        if frame[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        if frame[at + 1] in FRAMES_OF_JPEG:
            height, width = struct.unpack(">HH", frame[at + 5 : at + 9])
            sizes.append((width, height))
        at += 2 + int.from_bytes(frame[at + 2 : at + 4])
    return sizes


def _transfer_syntax(file: "Dataset") -> Any:
    """How the values are written; told from the header's own notation where it is not stated."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    stated = file.file_meta.get("TransferSyntaxUID")
    if stated:
        return stated
    if "PixelData" in file and file["PixelData"].is_undefined_length:
        raise ValueError("the DICOM file's values are compressed, and it does not state how (no transfer syntax)")
    implicit, little = file.original_encoding
    named = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    file.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else named
    return file.file_meta.TransferSyntaxUID


def _declared(file: "Dataset", raw: Array, outside: Mask) -> Array:
    """The bits of ``raw`` that the header declares, BitsStored of them up to HighBit; overlays beside them go.

    Where HighBit does not fit the values but BitsStored does, they stand at the lower end. Pixels ``outside`` are
    padding and do not count. If other bits are used too, no one can say what for, and the file is refused.

    Source: DICOM PS3.5, 8.1.1; PS3.3, C.9.2.1 (overlays in unused bits).
    """
    bits, allocated = int(file.get("BitsStored", 32)), 8 * raw.dtype.itemsize
    if "PixelData" not in file or raw.dtype.kind not in "iu" or bits == allocated:
        return raw
    if not 0 < bits < allocated:
        raise ValueError(f"the DICOM header states BitsStored {bits} of BitsAllocated {allocated}")
    unsigned = np.dtype(f"u{raw.dtype.itemsize}")
    found = [file[group, 0x0102].value for group in range(0x6000, 0x6020, 2) if (group, 0x0102) in file]
    positions = {int(one or 0) for one in found} - {0}  # 0: the overlay lies in an element of its own
    own = ~np.array(sum(1 << position for position in positions if position < allocated), dtype=unsigned)
    plain, mask, sign = raw.view(unsigned) & own, np.array((1 << bits) - 1, dtype=unsigned), 1 << (bits - 1)
    high = int(file.get("HighBit", bits - 1))
    for shift in [high + 1 - bits, 0] if bits <= high + 1 <= allocated else [0]:
        values = low = (plain >> shift) & mask
        if raw.dtype.kind == "i":
            values = ((low.astype(np.int64) ^ sign) - sign).astype(raw.dtype)
        nothing_else = (low << shift == plain) | ((values.view(unsigned) << shift) & own == plain)
        if nothing_else[~outside].all():
            return np.asarray(values)
    raise ValueError(
        f"the DICOM file's values use bits that its header does not declare (BitsStored {bits}, HighBit {high}): "
        "correct the header, for they may be values or anything else"
    )


def _grey(
    file: "Dataset", stored: Array, padding: Mask, bits: int, window: Window | None
) -> tuple[Pixels, Window | None]:
    """Grey values as 8 bits, not yet inverted, and the window that they went through."""
    from pydicom.pixels.processing import apply_rescale

    if file.get("ModalityLUTSequence"):
        values = _looked_up(file, file.ModalityLUTSequence[0], stored)[1]
    else:
        values = apply_rescale(stored, file)
    if window is not None:
        return window.apply(values), window
    if file.get("VOILUTSequence"):
        table, looked_up = _looked_up(file, file.VOILUTSequence[0], values)
        window = Window(float(table.min()), float(table.max()), "header")
        return window.apply(looked_up), window
    center, width = file.get("WindowCenter"), file.get("WindowWidth")
    if center is not None and width is not None and float(width) > 0:
        function = str(file.get("VOILUTFunction") or "")
        return _through_window(float(center), float(width), function, values)
    if bits == 8 and stored.min() >= 0 and stored.max() <= 255 and np.array_equal(values, stored):
        return stored.astype(np.uint8), None
    shown = values[~padding] if padding.any() else values
    window = Window.own(shown if shown.size else values)
    return window.apply(values), window


def _padding(file: "Dataset", values: Array) -> Mask:
    """Which pixels are no part of the image (PS3.3, C.7.5.1.1.2), whatever sign the header writes their value with."""
    value, limit = file.get("PixelPaddingValue"), file.get("PixelPaddingRangeLimit")
    if value is None or values.dtype.kind not in "iu":
        return np.zeros(values.shape, dtype=bool)
    if limit is None:
        return np.asarray((values.astype(np.int64) - int(value)) % (1 << 8 * values.dtype.itemsize) == 0)
    low, high = sorted((int(value), int(limit)))
    return np.asarray((values >= low) & (values <= high))


def _through_window(center: float, width: float, function: str, values: Array) -> tuple[Pixels, Window]:
    """Values as 8 bits, and the window of the header; source: DICOM PS3.3, C.11.2.1.2 and C.11.2.1.3."""
    window = Window(center - width / 2, center + width / 2, "header")
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # far away
            return (255 / (1 + np.exp(-4 * (values - center) / width))).round().astype(np.uint8), window
    if function != "LINEAR_EXACT" and width >= 1:
        window = replace(Window.centered(center, width), rule="header")
    return window.apply(values), window


def _table(file: "Dataset", descriptor: Sequence[int], data: Any) -> Array:
    """The entries of a look-up table, of one byte each or of two, whatever number of bits is stated for them.

    pydicom's own way takes no other number than 8 and 16, and counts the entries in their own type.
    ``descriptor`` is the number of entries (0 for 65,536), the first value, and bits; ``data`` entries or their bytes.
    """
    entries = descriptor[0] or 1 << 16
    if isinstance(data, bytes):
        order = "<" if file.original_encoding[1] else ">"
        table = np.frombuffer(data, "u1" if 0 <= len(data) - entries <= 1 else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(data))
    if len(table) < entries:
        raise ValueError(f"a look-up table in the DICOM header has {len(table)} of its {entries} entries")
    return table[:entries]


def _looked_up(file: "Dataset", item: "Dataset", values: Array) -> tuple[Array, Array]:
    """A table of the header, and the entry of each value in it."""
    table = _table(file, item.LUTDescriptor, item.LUTData)
    return table, _entries(table, item.LUTDescriptor[1], values)


def _entries(table: Array, first: int, values: Array) -> Array:
    """The entry of each value; values beyond the table take its first or last one."""
    return np.asarray(table[np.clip(np.rint(values).astype(np.int64) - first, 0, len(table) - 1)])


def _palette(file: "Dataset", stored: Array) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut

    if "RedPaletteColorLookupTableData" in file:
        names = [f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue")]
        parts = [(file[f"{name}Descriptor"].value, file[f"{name}Data"].value) for name in names]
        colours = np.stack([_entries(_table(file, form, data), form[1], stored) for form, data in parts], axis=-1)
    else:
        colours = apply_color_lut(stored, file)[..., :3]  # in segments
    return np.asarray((colours >> 8 if colours.max() > 255 else colours).astype(np.uint8))
