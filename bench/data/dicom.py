"""DICOM images as 8-bit pixels, as their headers say. pydicom, an optional dependency, is only imported when needed."""

import struct
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.data.decode import DICOM_MAGIC, Decoded, Pixels, windowed
from bench.errors import ConfigError

if TYPE_CHECKING:
    from pydicom import Dataset

ENDINGS = (".dcm", ".dicom")
INSTALL = 'DICOM files need pydicom: pip install "medical-transfer-bench[dicom]".'
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
FAR = 1e12
"""A value beyond every window."""
Array = npt.NDArray[Any]


def require_pydicom() -> None:
    """Refuse to go on without pydicom.

    Raises:
        ConfigError: if it is not installed.
    """
    if find_spec("pydicom") is None:
        raise ConfigError(INSTALL)


def has_magic(path: Path) -> bool:
    """Whether the file at ``path`` begins as DICOM files do."""
    try:
        with path.open("rb") as file:
            return file.read(DICOM_MAGIC.stop)[DICOM_MAGIC] == b"DICM"
    except OSError:
        return False


def read_patient_ids(paths: Sequence[Path]) -> list[str]:
    """The PatientID in each file's header, empty where there is none or the file cannot be read."""
    from pydicom import dcmread

    def read(path: Path) -> str:
        try:
            return str(
                dcmread(path, stop_before_pixels=True, specific_tags=["PatientID"]).get("PatientID") or ""
            ).strip()
        except Exception:  # pydicom raises whatever a broken header makes of itself
            return ""

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(read, paths))


def read_dicom(content: bytes) -> Decoded:
    """One image as 8-bit grey or RGB.

    Grey: stored values, through the modality transformation, through the first window or VOI LUT, whose whole output
    range becomes 0 to 255; without either from the image's own minimum to its maximum, padding aside. 8-bit values
    that no transformation is stated for stay as they are. MONOCHROME1 is inverted, so that high values are bright.

    Source: DICOM PS3.3, C.11.1 (modality LUT), C.11.2 (VOI LUT), C.7.6.3 (image pixel).

    Raises:
        OSError, ValueError: if it holds no single image that can be decoded, or pydicom is not installed.
    """
    try:
        from pydicom import dcmread
    except ImportError:
        raise ValueError(INSTALL) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decoded(dcmread(BytesIO(content)))
    except (OSError, ValueError):
        raise
    except (EOFError, struct.error):
        raise ValueError("truncated: the DICOM file ends within its header") from None
    except Exception as error:  # pydicom raises whatever a broken file makes of itself: KeyError, TypeError, …
        raise ValueError(f"DICOM that cannot be decoded ({type(error).__name__}: {error})") from error


def _decoded(file: "Dataset") -> Decoded:
    if "Rows" not in file:
        raise ValueError("the DICOM file holds no image")
    if not any(name in file for name in PIXELS):
        raise ValueError("truncated: the DICOM file ends before its pixels")
    frames = int(file.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"the DICOM file holds {frames} frames; only files of one image are read")
    kind = str(file.PhotometricInterpretation)
    bits = int(file.get("BitsStored", 32))
    stored = _stored(file)
    if kind in ("MONOCHROME1", "MONOCHROME2"):
        pixels = _grey(file, stored, bits)
        if kind == "MONOCHROME1":
            pixels = 255 - pixels
        if bits > 8:
            pixels[_padding(file, stored)] = 0
    elif kind == "PALETTE COLOR":
        pixels = _palette(file, stored)
    elif kind in COLOURS:
        pixels = (stored >> max(0, bits - 8)).astype(np.uint8)
    else:
        raise ValueError(f"DICOM of photometric interpretation {kind} is not read")
    return Decoded(Image.fromarray(pixels), f"DICOM {kind} {bits}-bit", "DICOM", deep=bits > 8)


def _stored(file: "Dataset") -> Array:
    """The stored values, decompressed: shape (rows, columns) or (rows, columns, 3)."""
    from pydicom.pixels import get_decoder  # type: ignore[attr-defined]
    from pydicom.pixels.utils import get_expected_length, pixel_array

    syntax = file.file_meta.TransferSyntaxUID
    try:
        readable = get_decoder(syntax).is_available
    except NotImplementedError:
        readable = False
    if not readable:
        raise ValueError(f"the DICOM file's compression, {syntax.name}, is none that the installed packages decode")
    if not syntax.is_compressed and "PixelData" in file:
        there, needed = len(file.PixelData), get_expected_length(file)
        if there < needed:
            raise ValueError(f"truncated: the DICOM file holds {there} of the {needed} bytes of its pixels")
    return pixel_array(file)


def _grey(file: "Dataset", stored: Array, bits: int) -> Pixels:
    """Grey values as 8 bits, not yet inverted."""
    from pydicom.pixels.processing import apply_modality_lut

    values = apply_modality_lut(stored, file)
    if file.get("VOILUTSequence"):
        return _through_lut(file, values)
    if file.get("WindowCenter") is not None and file.get("WindowWidth") is not None:
        return _through_window(file, values)
    if bits == 8 and stored.min() >= 0 and stored.max() <= 255 and np.array_equal(values, stored):
        return stored.astype(np.uint8)
    shown = values[~_padding(file, stored)]
    return windowed(np.clip(values, shown.min(), shown.max()) if shown.size else values)


def _padding(file: "Dataset", stored: Array) -> npt.NDArray[np.bool_]:
    """Which pixels are no part of the image (PS3.3, C.7.5.1.1.2)."""
    value = file.get("PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = file.get("PixelPaddingRangeLimit")
    low, high = sorted((int(value), int(value if limit is None else limit)))
    return (stored >= low) & (stored <= high)


def _through_window(file: "Dataset", values: Array) -> Pixels:
    from pydicom.pixels.processing import apply_windowing

    if not file.get("VOILUTFunction"):
        file.VOILUTFunction = "LINEAR"
    with np.errstate(over="ignore"):  # of the sigmoid, far away
        low, high = apply_windowing(np.array([-FAR, FAR]), file)
        return _scaled(apply_windowing(values, file), low, high)


def _through_lut(file: "Dataset", values: Array) -> Pixels:
    from pydicom.pixels.processing import apply_voi

    table = file.VOILUTSequence[0]
    entries, first, bits = table.LUTDescriptor
    entries = entries or 1 << 16
    if bits == 8:
        table.LUTDescriptor = [table.LUTDescriptor[0], first, 16]  # pydicom counts entries in their own type
    curve = apply_voi(np.arange(first, first + entries), file)
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, entries - 1)
    return _scaled(curve[index].astype(np.float64), float(curve.min()), float(curve.max()))


def _scaled(values: Array, low: float, high: float) -> Pixels:
    """``low`` to 0, ``high`` to 255, even where ``low`` is the greater."""
    if low == high:
        return np.zeros(values.shape, dtype=np.uint8)
    return np.asarray(((values - low) * (255.0 / (high - low))).round().clip(0, 255).astype(np.uint8))


def _palette(file: "Dataset", stored: Array) -> Pixels:
    from pydicom.pixels.processing import apply_color_lut

    colours = apply_color_lut(stored, file)[..., :3]
    return np.asarray((colours >> 8 if colours.max() > 255 else colours).astype(np.uint8))
