"""DICOM becomes 8 bits as its header says, worked out by hand here; what cannot be decoded is said in one way."""

import io
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, JPEGLosslessSV1, RLELossless
from source_files import dicom, pixels

from bench.data.images.decode import DECODE_ERRORS, OTHER, decode, facts_of, problem_of
from bench.data.images.dicom import HEAD, is_dicom_content, read_dicom, read_patient_ids
from bench.data.images.pixels import NotAnImage
from bench.data.images.window import Window
from bench.data.sources.listing import is_dicom

RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
"""12-bit values."""


def shown(values, **elements):
    return np.asarray(read_dicom(dicom(values, **elements)).image)


def shipped(name):
    """A file that comes with pydicom."""
    return Path(get_testdata_file(name, download=False)).read_bytes()


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
    found = decoded.facts
    assert (found.mode, found.format, found.deep, found.frames) == (mode, "DICOM", deep, 1)
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


def problem(content, **options):
    with pytest.raises(DECODE_ERRORS) as caught:
        decode(content, **options)
    assert isinstance(caught.value, OSError | ValueError)
    return str(caught.value)


def test_a_compression_that_no_package_here_decodes(monkeypatch):
    content = dicom(pixels(1), syntax=JPEGLosslessSV1, PixelData=encapsulate([b"\xff\xd8\xff\xd9"]))
    decoder = pydicom.pixels.get_decoder(JPEGLosslessSV1)
    monkeypatch.setattr(decoder, "_available", {})
    told = problem(content)
    assert JPEGLosslessSV1.name in told
    assert 'pip install "medical-transfer-bench[dicom]" brings pylibjpeg' in told


def test_a_syntax_that_nobody_knows():
    content = dicom(pixels(1)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.9.1\0")
    assert "1.2.840.10008.1.9.1" in problem(content)


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
    assert asked == [{"stop_before_pixels": True, "specific_tags": ["PatientID"], "force": True}]


def test_patient_ids_in_other_scripts(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom(pixels(1), SpecificCharacterSet="ISO_IR 192", PatientID="Ödem-肺"))
    assert read_patient_ids([tmp_path / "a.dcm"]) == ["Ödem-肺"]


# Headers as they are found


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": "", "RescaleIntercept": ""},
        {"WindowCenter": "", "WindowWidth": ""},
        {"WindowCenter": 100, "WindowWidth": ""},
        {"WindowCenter": 2048, "WindowWidth": 0},
        {"WindowCenter": 2048, "WindowWidth": -5},
        {"VOILUTSequence": [Dataset()]},
        {"ModalityLUTSequence": [Dataset()]},
        {"VOILUTSequence": []},
        {"PixelPaddingValue": ""},
        {"VOILUTFunction": "", "NumberOfFrames": ""},
    ],
)
def test_what_stands_there_empty_counts_as_absent(elements):
    file = pydicom.dcmread(io.BytesIO(dicom(RAMP, BitsStored=12)))
    for name, value in elements.items():
        if name == "PixelPaddingValue":
            file.add_new(name, "US", None)
        else:
            setattr(file, name, value)
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert np.array_equal(np.asarray(decode(buffer.getvalue()).image), shown(RAMP, BitsStored=12))


def test_the_first_window_that_says_something():
    """The first of several values may be empty, or zero."""
    window = to_8_bits(RAMP, 2500, 3500)
    for center, width in ((["", "3000.5"], ["", "1001"]), (["0", "3000.5"], ["0", "1001"])):
        assert np.array_equal(shown(RAMP, BitsStored=12, WindowCenter=center, WindowWidth=width), window)


@pytest.mark.parametrize("name", ["WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("text", ["1,5", "NaN", "high"])
def test_a_header_whose_number_is_none_is_named(name, text):
    content = dicom(RAMP, BitsStored=12, **{name: "7777"}).replace(b"7777", text.ljust(4).encode())
    assert f"the DICOM header's {name} is {text!r}, which is no number" in problem(content)


@pytest.mark.parametrize(("bits", "high"), [(12, 11), (12, 15), (15, 14)])
def test_big_endian_values_that_do_not_fill_their_words(bits, high):
    values = (RAMP.astype(int) << (high + 1 - bits)).astype(">u2")
    found = shown(RAMP, syntax=ExplicitVRBigEndian, PixelData=values.tobytes(), BitsStored=bits, HighBit=high)
    assert np.array_equal(found, to_8_bits(RAMP, 0, RAMP.max()))


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_of_a_depth_between_bytes_and_words(name):
    table = lut(4096, 0, 12, range(4095, -1, -1))
    turned = 4095 - RAMP.astype(int)
    low = 0 if name == "VOILUTSequence" else turned.min()
    assert np.array_equal(shown(RAMP, BitsStored=12, **{name: table}), to_8_bits(turned, low, 4095))


def test_a_table_of_bytes():
    item = lut(256, 0, 8, [0])[0]
    item.add_new("LUTData", "OW", bytes(range(255, -1, -1)))
    assert np.array_equal(shown(pixels(1), VOILUTSequence=[item]), 255 - pixels(1))


@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_a_table_that_ends_early_is_refused(name):
    words = lut(4096, 0, 16, range(1000))
    assert "1000 of its 4096 entries" in problem(dicom(RAMP, BitsStored=12, **{name: words}))
    words[0].add_new("LUTData", "OW", np.arange(3000, dtype="<u2").tobytes())
    assert "3000 of its 4096 entries" in problem(dicom(RAMP, BitsStored=12, **{name: words}))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_a_palette_of_many_colours_in_either_order(kind, order):
    """4,096 entries, of one byte each too; and words of the file's own order."""
    red = (np.arange(4096) * (255 if kind == "u1" else 65535) // 4095).astype(order + kind)
    palette = {}
    for colour, entries in (("Red", red), ("Green", red[::-1]), ("Blue", red)):
        palette[f"{colour}PaletteColorLookupTableDescriptor"] = [4096, 0, 8 * red.itemsize]
        palette[f"{colour}PaletteColorLookupTableData"] = entries.tobytes()
    found = shown(
        RAMP,
        syntax=ExplicitVRBigEndian if order == ">" else ImplicitVRLittleEndian,
        PhotometricInterpretation="PALETTE COLOR",
        BitsStored=12,
        PixelData=RAMP.astype(order + "u2").tobytes(),
        **palette,
    ).astype(int)
    assert np.abs(found[..., 0] - to_8_bits(RAMP, 0, 4095)).max() <= 1
    assert np.abs(found[..., 1] - (255 - to_8_bits(RAMP, 0, 4095))).max() <= 1


def test_half_a_rescale_counts():
    values = RAMP[:4]
    window = {"BitsStored": 12, "WindowCenter": 0.5, "WindowWidth": 1001}
    assert np.array_equal(shown(values, RescaleIntercept=-500, **window), to_8_bits(values.astype(int), 0, 1000))
    assert np.array_equal(shown(values, RescaleSlope=2, **window), to_8_bits(2 * values.astype(int), -500, 500))
    assert np.array_equal(shown(values, RescaleSlope=0, **window), to_8_bits(values.astype(int), -500, 500))


def test_a_window_narrower_than_one_is_of_values_that_are_not_whole():
    """A PET image of uptake values below 1: the function LINEAR would part black from white."""
    found = shown(RAMP, BitsStored=12, RescaleSlope=0.0001, RescaleIntercept=0, WindowCenter=0.2, WindowWidth=0.2)
    assert np.abs(found.astype(int) - to_8_bits(RAMP * 0.0001, 0.1, 0.3)).max() <= 1


def test_the_first_voi_lut_that_says_something():
    table = lut(4096, 0, 8, [0] * 2000 + [255] * 2096)
    found = shown(RAMP, BitsStored=12, VOILUTSequence=[Dataset(), *table])
    assert np.array_equal(found, np.where(RAMP < 2000, 0, 255))


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_values_at_the_upper_end_of_their_words(dtype):
    """BitsStored 12, HighBit 15: four bits to the left."""
    values = (RAMP.astype(np.int32) - (2048 if dtype is np.int16 else 0)).astype(dtype)
    found = shown(values << 4, BitsStored=12, HighBit=15)
    assert np.array_equal(found, shown(values, BitsStored=12))
    assert len(np.unique(found)) > 100


def test_a_high_bit_that_does_not_fit_the_values():
    odd = RAMP + 1
    assert np.array_equal(shown(odd, BitsStored=12, HighBit=15), shown(odd, BitsStored=12))
    assert np.array_equal(shown(odd, BitsStored=12, HighBit=40), shown(odd, BitsStored=12))


@pytest.mark.parametrize("high", [11, 15])
def test_values_beyond_the_bits_that_are_stated_are_refused(high):
    values = np.random.default_rng(0).integers(0, 2**16, (16, 16), dtype=np.uint16)
    told = problem(dicom(values, BitsStored=12, HighBit=high))
    assert f"bits that its header does not declare (BitsStored 12, HighBit {high})" in told
    colour = np.repeat(values[..., None], 3, axis=-1)
    assert "does not declare" in problem(dicom(colour, BitsStored=12, HighBit=high))


def test_signed_values_with_and_without_their_sign_in_the_unused_bits():
    values = (RAMP.astype(np.int16) - 2048).astype(np.int16)
    expected = to_8_bits(values, values.min(), values.max())
    assert np.array_equal(shown(values, BitsStored=12), expected)
    assert np.array_equal(shown(values & 0x0FFF, BitsStored=12), expected)
    assert "does not declare" in problem(dicom(values * 4, BitsStored=12))


def test_an_overlay_in_the_unused_bits_is_no_part_of_the_image():
    overlaid = RAMP | (np.arange(256, dtype=np.uint16).reshape(16, 16) % 2 << 13)
    file = pydicom.dcmread(io.BytesIO(dicom(overlaid, BitsStored=12)))
    file.add_new(0x60000100, "US", 16)
    file.add_new(0x60000102, "US", 13)
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert np.array_equal(np.asarray(decode(buffer.getvalue()).image), shown(RAMP, BitsStored=12))
    assert "does not declare" in problem(dicom(overlaid, BitsStored=12)), "where no overlay is stated"


def test_padding_beyond_the_bits_that_are_stated():
    padded = RAMP.copy()
    padded[:, 0] = 0xF000
    found = shown(padded, BitsStored=12, PixelPaddingValue=0xF000)
    inside = RAMP[:, 1:]
    assert np.array_equal(found[:, 1:], to_8_bits(inside, inside.min(), inside.max()))
    assert (found[:, 0] == 0).all()


def test_padding_written_with_the_other_sign():
    values = np.array([[-2000, 0, 40], [-2000, 100, 70]], dtype=np.int16)
    file = pydicom.dcmread(io.BytesIO(dicom(values)))
    file.add_new("PixelPaddingValue", "US", 65536 - 2000)
    buffer = io.BytesIO()
    file.save_as(buffer)
    found = np.asarray(decode(buffer.getvalue()).image)
    assert found.tolist() == [[0, 0, 102], [0, 255, 178]]


# Frames


def test_of_several_frames_the_first_is_taken_and_said():
    frames = np.stack([pixels(1), pixels(2), pixels(3)])
    content = dicom(pixels(1), NumberOfFrames=3, PixelData=frames.tobytes())
    decoded = decode(content)
    assert np.array_equal(np.asarray(decoded.image), pixels(1))
    assert (decoded.facts.frames, facts_of(content, decoded).frames) == (3, 3)


@pytest.mark.parametrize("where", ["PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"])
def test_what_an_enhanced_file_says_of_its_frames(where):
    scaling, window, group, other = Dataset(), Dataset(), Dataset(), Dataset()
    scaling.RescaleSlope, scaling.RescaleIntercept = 1, -1024
    window.WindowCenter, window.WindowWidth = 50.5, 101
    group.PixelValueTransformationSequence, group.FrameVOILUTSequence = [scaling], [window]
    both = np.stack([RAMP, RAMP[::-1]])
    content = dicom(RAMP, BitsStored=12, NumberOfFrames=2, PixelData=both.tobytes(), **{where: [group, other]})
    assert np.array_equal(np.asarray(decode(content).image), to_8_bits(RAMP.astype(int) - 1024, 0, 100))


# Files without preamble, and files of other kinds


def headless(content):
    """The data set alone, in implicit notation, as old archives keep it."""
    file = pydicom.dcmread(io.BytesIO(content))
    buffer = io.BytesIO()
    plain = Dataset()
    plain.update(file)
    pydicom.dcmwrite(buffer, plain, implicit_vr=True, little_endian=True)
    assert buffer.getvalue()[128:132] != b"DICM"
    return buffer.getvalue()


def test_a_file_without_preamble_and_header():
    content = headless(dicom(RAMP, BitsStored=12, PatientID="p7"))
    assert np.array_equal(np.asarray(decode(content).image), shown(RAMP, BitsStored=12))


def test_a_file_without_preamble_is_known_by_its_content(tmp_path):
    whole = dicom(RAMP, BitsStored=12, PatientID="p7")
    files = (
        ("a.ima", whole),
        ("b", headless(whole)),
        ("1.2.840.5", headless(whole)),
        ("c.v2", whole),
        ("h.png", whole),
    )
    for name, content in files:
        (tmp_path / name).write_bytes(content)
        assert is_dicom(tmp_path, name), name
    assert read_patient_ids([tmp_path / "b"]) == ["p7"]
    for name, content in (("d", b"text of no use " * 50), ("e.xyz", bytes(600)), ("f", b""), ("g.txt", b"\x08\0")):
        (tmp_path / name).write_bytes(content)
        assert not is_dicom(tmp_path, name), name
    assert not is_dicom(tmp_path, "lost")


@pytest.mark.parametrize("name", ["ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm", "CT_small.dcm"])
def test_the_beginning_of_a_file_is_enough_to_know_it_by(name):
    assert is_dicom_content(shipped(name)[:HEAD])


def test_other_files_are_not_taken_for_dicom():
    rng = np.random.default_rng(0)
    others = [b"\x02\0\0\0\x04\0\0\0" * 64, b"\x08\0\0\0" * 128, np.arange(8, 200, dtype=np.int16).tobytes()]
    others += [bytes(rng.integers(0, 256, 512, dtype=np.uint8)) for _ in range(2000)]
    others += [b"\x08\0" + bytes(rng.integers(0, 30, 510, dtype=np.uint8)) for _ in range(2000)]
    assert sum(map(is_dicom_content, others)) == 0


OTHERS = {
    "reportsi.dcm": "Basic Text SR Storage",
    "rtplan.dcm": "RT Plan Storage",
    "rtdose.dcm": "RT Dose Storage",
    "rtstruct.dcm": "RT Structure Set Storage",
    "liver_1frame.dcm": "Segmentation Storage",
    "waveform_ecg.dcm": "12-lead ECG Waveform Storage",
    "dicomdirtests/DICOMDIR": "Media Storage Directory Storage",
}


@pytest.mark.parametrize(("name", "kind"), OTHERS.items())
def test_dicom_of_other_kinds_is_no_image_that_is_lost(name, kind):
    content = shipped(name)
    with pytest.raises(NotAnImage) as caught:
        decode(content)
    found = problem_of(caught.value, content)
    assert (found.problem, found.reason) == (OTHER, f"a DICOM file that holds no image, but {kind}")


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.104.1", "1.2.276.0.1"])
def test_presentation_states_documents_and_what_a_vendor_keeps_are_other_files(uid):
    with pytest.raises(NotAnImage):
        decode(dicom(pixels(1), Rows=None, PixelData=None, SOPClassUID=uid))


def test_a_report_under_the_class_of_an_image():
    with pytest.raises(NotAnImage):
        decode(dicom(pixels(1), Rows=None, PixelData=None, Modality="SR"))


def test_an_image_that_lost_its_pixels_is_no_other_file():
    with pytest.raises(ValueError, match="truncated") as caught:
        decode(dicom(pixels(1), PixelData=None))
    assert not isinstance(caught.value, NotAnImage)


# Compressed images


SAME = {"MR_small_jpeg_ls_lossless.dcm": "MR_small.dcm", "MR_small_jp2klossless.dcm": "MR_small.dcm"}


@pytest.mark.parametrize(("compressed", "plain"), SAME.items())
def test_lossless_compressions_give_the_very_values(compressed, plain):
    assert np.array_equal(*(np.asarray(decode(shipped(name)).image) for name in (compressed, plain)))


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm.dcm", "JPEGLSNearLossless_08.dcm", "JPGExtended.dcm", "693_J2KI.dcm", "SC_rgb_jpeg.dcm"]
)
def test_every_compression_is_decoded_by_what_the_extra_brings(name):
    """JPEG Lossless, JPEG-LS, JPEG of 12 bits, JPEG 2000, JPEG baseline."""
    content = shipped(name)
    assert len(np.unique(np.asarray(decode(content).image))) > 3
    assert "truncated" in problem(content[: -len(content) // 8])


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_gdcm.dcm", "JPEGLSNearLossless_08.dcm", "JPGExtended.dcm", "693_J2KI.dcm"]
)
def test_half_an_image_in_a_whole_file_is_truncated(name):
    """Some decoders fill up what is missing, and say nothing."""
    file = pydicom.dcmread(io.BytesIO(shipped(name)))
    frame = next(generate_frames(file.PixelData, number_of_frames=1))
    file.PixelData = encapsulate([frame[: len(frame) // 2]])
    buffer = io.BytesIO()
    file.save_as(buffer)
    assert "truncated" in problem(buffer.getvalue())


# A window that is asked for


def test_a_window_that_is_asked_for_goes_before_the_header():
    window = Window.centered(50.5, 101)
    elements = {"BitsStored": 12, "RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 5, "WindowWidth": 3}
    content = dicom(RAMP, **elements)
    decoded = decode(content, window)
    assert np.array_equal(np.asarray(decoded.image), to_8_bits(RAMP.astype(int) - 1024, 0, 100))
    found = facts_of(content, decoded)
    assert (found.window, found.low, found.high) == ("asked", 0, 100)
    turned = decode(dicom(RAMP, **elements, PhotometricInterpretation="MONOCHROME1"), window)
    assert np.array_equal(np.asarray(turned.image), 255 - np.asarray(decoded.image))


def test_what_decided_the_window_is_told():
    def rule(**elements):
        content = dicom(RAMP, BitsStored=12, **elements)
        return facts_of(content, decode(content)).window

    assert rule() == "own"
    assert rule(WindowCenter=500, WindowWidth=100) == "header"
    colour = dicom(pixels(1, (6, 5, 3)))
    assert facts_of(colour, decode(colour, Window.centered(40, 400))).window == ""


# Size


def test_a_large_image_is_refused_by_its_limit():
    assert problem(dicom(RAMP), max_pixels=200).startswith("it has 16 x 16 pixels")
