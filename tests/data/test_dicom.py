"""DICOM becomes 8 bits as its header says, worked out by hand here; what cannot be decoded is said in one way."""

import io
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless
from source_files import dicom, pixels

from bench.data.decode import DECODE_ERRORS, decode
from bench.data.dicom import read_dicom, read_patient_ids

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
"""12-bit values."""


def shown(values, **elements):
    return np.asarray(read_dicom(dicom(values, **elements)).image)


def to_8_bits(values, low, high):
    return (np.clip((np.asarray(values, dtype=float) - low) / (high - low), 0, 1) * 255).round().astype(np.uint8)


def lut(entries, first, bits, words):
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [entries, first, bits])
    item.add_new("LUTData", "US", list(words))
    return [item]


# Grey values


def test_8_bit_values_pass_unchanged():
    values = pixels(1) // 2 + 40
    assert np.array_equal(shown(values), values)
    assert np.array_equal(shown(values, RescaleSlope=1, RescaleIntercept=0), values)
    assert np.array_equal(shown(values.astype(np.uint16), BitsStored=8), values)


def test_deeper_values_go_from_their_own_minimum_to_their_maximum():
    values = RAMP[4:12] + 100
    assert np.array_equal(shown(values, BitsStored=12), to_8_bits(values, values.min(), values.max()))


def test_signed_values():
    values = np.array([[-1000, 0], [500, 1000]], dtype=np.int16)
    assert np.array_equal(shown(values), to_8_bits(values, -1000, 1000))


def test_monochrome1_is_inverted():
    values = pixels(1)
    assert np.array_equal(shown(values, PhotometricInterpretation="MONOCHROME1"), 255 - values)
    upside_down = 255 - to_8_bits(RAMP, RAMP.min(), RAMP.max())
    assert np.array_equal(shown(RAMP, BitsStored=12, PhotometricInterpretation="MONOCHROME1"), upside_down)


@pytest.mark.parametrize(
    ("function", "low", "high"), [(None, 499, 1499), ("LINEAR", 499, 1499), ("LINEAR_EXACT", 499.5, 1500.5)]
)
def test_a_window(function, low, high):
    window = {"WindowCenter": 999.5 if function != "LINEAR_EXACT" else 1000, "WindowWidth": 1001}
    if function:
        window["VOILUTFunction"] = function
    found = shown(RAMP, BitsStored=12, **window)
    assert np.array_equal(found, to_8_bits(RAMP, low, high))
    assert found.min() == 0
    assert found.max() == 255


def test_a_sigmoid_window():
    found = shown(RAMP, BitsStored=12, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID")
    expected = 255 / (1 + np.exp(-4 * (RAMP.astype(float) - 2000) / 1000))
    assert np.array_equal(found, expected.round().astype(np.uint8))


def test_an_empty_voi_function_is_linear():
    window = {"WindowCenter": 1000, "WindowWidth": 501, "BitsStored": 12}
    assert np.array_equal(shown(RAMP, **window, VOILUTFunction=""), shown(RAMP, **window))


def test_the_first_of_several_windows():
    both = shown(RAMP, BitsStored=12, WindowCenter=[1000, 3000], WindowWidth=[500, 100])
    assert np.array_equal(both, shown(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=500))


def test_a_window_is_in_rescaled_values():
    """Hounsfield units of -1024 to 3071; a window of 0 to 100 HU."""
    found = shown(RAMP, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=50.5, WindowWidth=101)
    assert np.array_equal(found, to_8_bits(RAMP.astype(int) - 1024, 0, 100))


def test_a_negative_slope_turns_the_values_round_with_and_without_a_window():
    rescale = {"BitsStored": 12, "RescaleSlope": -1, "RescaleIntercept": 4095}
    turned = 4095 - RAMP.astype(int)
    assert np.array_equal(shown(RAMP, **rescale), to_8_bits(turned, turned.min(), turned.max()))
    found = shown(RAMP, **rescale, WindowCenter=2000.5, WindowWidth=1001)
    assert np.array_equal(found, to_8_bits(turned, 1500, 2500))


def test_8_bit_values_are_windowed_too():
    found = shown(pixels(1), WindowCenter=100.5, WindowWidth=51)
    assert np.array_equal(found, to_8_bits(pixels(1), 75, 125))


def test_half_a_window_is_none():
    assert np.array_equal(shown(pixels(1), WindowCenter=100), pixels(1))


def test_a_modality_lut():
    values = np.array([[0, 1], [2, 3]], dtype=np.uint16)
    found = shown(values, BitsStored=12, ModalityLUTSequence=lut(4, 0, 16, [0, 1000, 3000, 4000]))
    assert np.array_equal(found, to_8_bits([[0, 1000], [3000, 4000]], 0, 4000))


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_goes_before_a_window(bits):
    top = 2**bits - 1
    words = [0] * 100 + [top // 4] * 200 + [top] * 300
    values = np.array([[0, 1099, 1100], [1299, 1300, 4000]], dtype=np.uint16)
    found = shown(values, BitsStored=12, VOILUTSequence=lut(600, 1000, bits, words), WindowCenter=5, WindowWidth=2)
    quarter = round(255 * (top // 4) / top)
    assert found.tolist() == [[0, 0, quarter], [quarter, 255, 255]]


def test_a_voi_lut_after_a_rescale():
    values = np.array([[0, 10], [20, 30]], dtype=np.uint16)
    sequence = lut(40, -20, 8, range(40))
    found = shown(values, BitsStored=12, RescaleSlope=1, RescaleIntercept=-20, VOILUTSequence=sequence)
    assert np.array_equal(found, to_8_bits([[0, 10], [20, 30]], 0, 39))


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_does_not_decide_the_range_and_is_black(kind):
    values = np.array([[-2000, 0, 40], [-2000, 100, 70]], dtype=np.int16)
    found = shown(values, PhotometricInterpretation=kind, PixelPaddingValue=-2000)
    expected = to_8_bits(values, 0, 100)
    expected = 255 - expected if kind == "MONOCHROME1" else expected
    expected[:, 0] = 0
    assert np.array_equal(found, expected)


def test_a_range_of_padding():
    values = np.array([[0, 3, 5], [2000, 1000, 1500]], dtype=np.uint16)
    found = shown(values, PixelPaddingValue=5, PixelPaddingRangeLimit=0)
    assert found.tolist() == [[0, 0, 0], [255, 0, 128]]


def test_nothing_but_padding_is_black():
    assert shown(np.full((2, 3), 7, dtype=np.uint16), PixelPaddingValue=7).tolist() == [[0, 0, 0], [0, 0, 0]]


# Colour


def test_rgb():
    values = pixels(1, (6, 5, 3))
    assert np.array_equal(shown(values), values)


def test_rgb_in_planes():
    values = pixels(1, (6, 5, 3))
    planes = np.ascontiguousarray(values.transpose(2, 0, 1))
    assert np.array_equal(shown(values, PixelData=planes.tobytes(), PlanarConfiguration=1), values)


def test_deep_rgb_keeps_its_upper_bits():
    values = pixels(1, (6, 5, 3)).astype(np.uint16)
    assert np.array_equal(shown(values * 16 + 7, BitsStored=12), values)


def test_ybr_becomes_rgb():
    values = np.full((4, 4, 3), (76, 85, 255), dtype=np.uint8)
    assert np.abs(shown(values, PhotometricInterpretation="YBR_FULL").astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize(("bits", "kind"), [(8, np.uint8), (16, np.uint16)])
def test_palettes(bits, kind):
    colours = pixels(2, (3, 256))
    parts = {}
    for name, part in zip(("Red", "Green", "Blue"), colours, strict=True):
        parts[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        parts[f"{name}PaletteColorLookupTableData"] = (part.astype(kind) << (bits - 8)).tobytes()
    values = pixels(1)
    found = shown(values, PhotometricInterpretation="PALETTE COLOR", **parts)
    assert np.array_equal(found, colours.T[values])


def test_equal_channels_become_grey():
    decoded = decode(dicom(np.repeat(pixels(1)[..., None], 3, axis=-1)))
    assert decoded.image.mode == "L"
    assert np.array_equal(np.asarray(decoded.image), pixels(1))


# What is told of the file


@pytest.mark.parametrize(
    ("values", "elements", "mode", "deep"),
    [
        (pixels(1), {}, "DICOM MONOCHROME2 8-bit", False),
        (RAMP, {"BitsStored": 12}, "DICOM MONOCHROME2 12-bit", True),
        (RAMP, {"PhotometricInterpretation": "MONOCHROME1"}, "DICOM MONOCHROME1 16-bit", True),
        (pixels(1, (6, 5, 3)), {}, "DICOM RGB 8-bit", False),
    ],
)
def test_mode_format_and_depth(values, elements, mode, deep):
    decoded = read_dicom(dicom(values, **elements))
    assert (decoded.mode, decoded.format, decoded.deep, decoded.frames) == (mode, "DICOM", deep, 1)
    assert decoded.image.mode == ("RGB" if values.ndim == 3 else "L")


# Transfer syntaxes


def test_values_in_implicit_notation():
    assert np.array_equal(shown(RAMP, syntax=ImplicitVRLittleEndian), to_8_bits(RAMP, 0, RAMP.max()))


def test_big_endian_values():
    found = shown(RAMP, syntax=ExplicitVRBigEndian, PixelData=RAMP.astype(">u2").tobytes())
    assert np.array_equal(found, to_8_bits(RAMP, 0, RAMP.max()))


def test_run_length_encoding():
    file = pydicom.dcmread(io.BytesIO(dicom(pixels(1, (8, 8)))))
    file.compress(RLELossless)
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert np.array_equal(np.asarray(read_dicom(buffer.getvalue()).image), pixels(1, (8, 8)))


def test_jpeg():
    values = np.full((16, 16), 90, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG", quality=95)
    found = shown(values, syntax=JPEGBaseline8Bit, PixelData=encapsulate([buffer.getvalue()]))
    assert np.abs(found.astype(int) - 90).max() <= 1


# What cannot be decoded


def problem(content):
    with pytest.raises(DECODE_ERRORS) as caught:
        decode(content)
    assert isinstance(caught.value, OSError | ValueError)
    return str(caught.value)


def test_a_compression_that_no_package_here_decodes(monkeypatch):
    content = dicom(pixels(1), syntax=JPEGLosslessSV1, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    assert JPEGLosslessSV1.name in problem(content)


def test_a_syntax_that_nobody_knows():
    content = dicom(pixels(1)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0")
    assert "1.2.840.10008.1.9.1" in problem(content)


def test_several_frames():
    content = dicom(pixels(1, (6, 4)), NumberOfFrames=3, Rows=2)
    assert "3 frames" in problem(content)


def test_one_frame_is_one_image():
    assert np.array_equal(shown(pixels(1), NumberOfFrames=1), pixels(1))


def test_a_file_without_an_image():
    assert "holds no image" in problem(dicom(pixels(1), Rows=None, PixelData=None))


@pytest.mark.parametrize("left", [10, 400, 1599, 1604, 1612])
def test_a_truncated_file_is_called_truncated(left):
    assert "truncated" in problem(dicom(pixels(1, (40, 40)))[:-left])


def test_a_truncated_jpeg_in_dicom():
    buffer = io.BytesIO()
    Image.fromarray(pixels(1, (64, 64))).save(buffer, "JPEG")
    half = encapsulate([buffer.getvalue()[: len(buffer.getvalue()) // 2]])
    assert "truncated" in problem(dicom(pixels(1, (64, 64)), syntax=JPEGBaseline8Bit, PixelData=half))


def test_an_unknown_photometric_interpretation():
    assert "HSV" in problem(dicom(pixels(1, (6, 5, 3)), PhotometricInterpretation="HSV"))


def test_a_window_without_width():
    assert "Window Width" in problem(dicom(RAMP, WindowCenter=1, WindowWidth=0))


@pytest.mark.parametrize(
    "name", ["PhotometricInterpretation", "BitsAllocated", "PixelRepresentation", "Columns", "SamplesPerPixel"]
)
def test_headers_that_lack_what_is_needed(name):
    problem(dicom(RAMP, **{name: None}))


def test_any_damage_ends_in_one_of_two_errors():
    content = dicom(RAMP, BitsStored=12, WindowCenter=1000, WindowWidth=500, VOILUTSequence=lut(4, 0, 16, range(4)))
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content[: int(random.integers(132, len(content) + 1))])
        for place in random.integers(132, len(damaged), 3) if len(damaged) > 132 else ():
            damaged[place] = int(random.integers(256))
        try:
            read_dicom(bytes(damaged))
        except (OSError, ValueError):
            continue


def test_warnings_are_kept_quiet(recwarn, capsys):
    content = dicom(pixels(1), PixelData=pixels(1).tobytes() + bytes(6))
    recwarn.clear()
    assert np.array_equal(np.asarray(read_dicom(content).image), pixels(1))
    assert not recwarn.list
    assert capsys.readouterr() == ("", "")


def test_without_pydicom_it_is_an_image_that_cannot_be_decoded(monkeypatch):
    content = dicom(pixels(1))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    assert "medical-transfer-bench[dicom]" in problem(content)


# Patients


def test_patient_ids_are_read_from_headers_alone(tmp_path):
    whole = dicom(pixels(1, (60, 60)), PatientID=" p1 ")
    contents = [whole, whole[:-3000], dicom(pixels(1)), dicom(pixels(1), PatientID=""), b"no dicom", b""]
    paths = [tmp_path / f"{number}.dcm" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    assert read_patient_ids([*paths, tmp_path / "lost.dcm"]) == ["p1", "p1", "", "", "", "", ""]


def test_pixels_are_not_read_for_patient_ids(tmp_path, monkeypatch):
    asked = []
    read = pydicom.dcmread
    monkeypatch.setattr(pydicom, "dcmread", lambda path, **how: asked.append(how) or read(path, **how))
    (tmp_path / "a.dcm").write_bytes(dicom(pixels(1), PatientID="p1"))
    assert read_patient_ids([tmp_path / "a.dcm"]) == ["p1"]
    assert asked == [{"stop_before_pixels": True, "specific_tags": ["PatientID"]}]


def test_patient_ids_in_other_scripts(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(pixels(1), SpecificCharacterSet="ISO_IR 192", PatientID="Ödem-肺"))
    assert read_patient_ids([tmp_path / "a.dcm"]) == ["Ödem-肺"]
