"""Images made to take memory: told from their headers, excluded or refused, and nothing is taken for them."""

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib

import numpy as np
import pytest
from source_files import dicom, pixels, png, write_bytes

from bench.data.images.decode import decode
from bench.data.images.dicom import read_patient_ids
from bench.data.images.limits import TooLarge
from bench.data.sources.open_source import open_source
from bench.data.sources.table_file import MOST_BYTES
from bench.errors import ConfigError

MEGABYTES = 400
"""More than the imports of the suite take, and less than any of these files would."""
MOST = r"""
import re, sys
def megabytes():  # ru_maxrss would count what the process that started this one had taken
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s*(\d+)", file.read())[1]) / 1024
"""
AUDIT = f"""{MOST}
import json
from bench.cli import main
status = main(["audit", *sys.argv[1:]])
print(json.dumps([status, megabytes()]))
"""
DECODE = f"""{MOST}
from pathlib import Path
from bench.data.images.decode import decode
decode(Path(sys.argv[1]).read_bytes())
print(megabytes())
"""


def audited(data, cache, *flags):
    """Exit status, megabytes and output of an audit in a process of its own, and what it found."""
    found = cache.with_suffix(".json")
    command = [sys.executable, "-c", AUDIT, data, "--cache", cache, "--json", found, "--keep-going", *flags]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=100)
    assert "Traceback" not in done.stderr, done.stderr
    status, megabytes = json.loads(done.stdout.splitlines()[-1])
    audit = json.loads(found.read_text(encoding="utf-8")) if found.exists() else {}
    return status, megabytes, done.stdout + done.stderr, audit


def png16(side):
    """A PNG of zeros of 16 bits."""
    deflate = zlib.compressobj(9)
    line = b"\0" * (1 + 2 * side)
    parts = [deflate.compress(line) for _ in range(side)]
    data = b"".join([*parts, deflate.flush()])
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b""))
    content = b"\x89PNG\r\n\x1a\n"
    for kind, one in chunks:
        content += struct.pack(">I", len(one)) + kind + one + struct.pack(">I", zlib.crc32(kind + one))
    return content


def deflated(rows, columns, frames, **elements):
    """A deflated DICOM file of zeros."""
    import pydicom
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    pydicom_file = pydicom.dcmread(io.BytesIO(dicom(np.zeros((2, 2), np.uint16), **elements)))
    pydicom_file.Rows, pydicom_file.Columns, pydicom_file.NumberOfFrames = rows, columns, frames
    pydicom_file.PixelData = bytes(2 * rows * columns * frames)
    pydicom_file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file = io.BytesIO()
    pydicom.dcmwrite(file, pydicom_file)
    return file.getvalue()


def tiled_tiff(width, tile):
    """A grey TIFF image of one tile, which is larger than itself."""
    data = zlib.compress(bytes(1000))
    tags = [
        (256, width), (257, width), (258, 8), (259, 8), (262, 1), (277, 1),
        (322, tile), (323, tile), (324, 8 + 2 + 12 * 10 + 4), (325, len(data)),
    ]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + directory + bytes(4) + data


def jpeg_stating(width, height):
    """A JPEG that states another size than it has."""
    from PIL import Image

    file = io.BytesIO()
    Image.new("L", (16, 16)).save(file, "JPEG")
    content = bytearray(file.getvalue())
    at = content.index(b"\xff\xc0")
    struct.pack_into(">HH", content, at + 5, height, width)
    return bytes(content)


@pytest.fixture
def folder(tmp_path):
    """Two classes of small images."""
    for seed in range(60):
        write_bytes(tmp_path / "data" / "ab"[seed % 2] / f"{seed}.png", png(pixels(seed, (40, 40))))
    return tmp_path / "data"


def sparse(path, size):
    with path.open("wb") as file:
        file.write(b"II*\0")
        file.truncate(size)


BOMBS = {
    "png": lambda path: path.write_bytes(png16(13_300)),
    "dcm": lambda path: path.write_bytes(deflated(4000, 4000, 18)),
    "tif": lambda path: sparse(path, 14 << 30),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_among_the_images_is_a_finding_and_takes_no_memory(folder, tmp_path, kind):
    BOMBS[kind](folder / "a" / f"bomb.{kind}")
    limit = ["--max-pixels", "20M"] if kind == "dcm" else []  # so that a smaller bomb will do
    status, megabytes, told, audit = audited(folder, tmp_path / "cache", *limit)
    assert status == 0, told
    assert megabytes < MEGABYTES
    (finding,) = (one for one in audit["findings"] if one["kind"] == "too large")
    assert finding["files"] == [f"a/bomb.{kind}"]
    assert finding["text"].startswith(f"1 file beyond --max-pixels: left out, such as a/bomb.{kind}: ")
    (lost,) = audit["left_out"]
    assert (lost["file"], lost["kind"]) == (f"a/bomb.{kind}", "too large")


def test_the_limit_is_the_users(folder, tmp_path):
    write_bytes(folder / "a" / "large.png", png(pixels(1, (100, 50))))
    for limit, lost in (("4999", ["a/large.png"]), ("5k", [])):
        status, _, told, audit = audited(folder, tmp_path / "cache", "--max-pixels", limit)
        assert status == 0, told
        assert [one["file"] for one in audit["left_out"]] == lost, "another limit is another stored set"


def test_an_archive_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("train_images.npy", "w", force_zip64=True) as member:
            header = {"descr": "|u1", "fortran_order": False, "shape": (10_000, 224, 224)}
            np.lib.format.write_array_header_1_0(member, header)
            for _ in range(100):
                member.write(bytes(100 * 224 * 224))
        with archive.open("train_labels.npy", "w") as member:
            np.lib.format.write_array(member, np.arange(10_000) % 2)
    assert path.stat().st_size < 10**6
    status, megabytes, told, _ = audited(path, tmp_path / "cache")
    assert status == 2
    assert megabytes < MEGABYTES
    assert "unpacks to 501," in told
    assert not [*(tmp_path / "cache").rglob("*.npy")]


def npz(path, **members):
    """An archive of members as they are: bytes, or arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, member in members.items():
            with archive.open(f"{name}.npy", "w") as file:
                file.write(member) if isinstance(member, bytes) else np.lib.format.write_array(file, member)
    return str(path)


def array_of(shape, kind="|u1"):
    """The header of an array without its values."""
    file = io.BytesIO()
    np.lib.format.write_array_header_2_0(file, {"descr": kind, "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (array_of((10**12, 28, 28)), np.arange(4), "is damaged"),
        (array_of((4, 28, 28)), np.arange(4), "is damaged"),
        (array_of((-4, -28, 28)), np.arange(4), "is damaged"),
        (np.zeros((4, 28, 28), np.uint8), array_of((4, 10**12), "<i8"), "is damaged"),
        (np.zeros((2_000_001, 1, 1), np.uint8), np.zeros(2_000_001, np.uint8), "at most 2,000,000 are accepted"),
        (np.zeros((2, 300, 300), np.uint8), np.arange(2), "it has 300 x 300 pixels, and at most 80,000 are read"),
        (b"\x93NUMPY\2\0\xff\xff\xff\xff" + bytes(10**6), np.arange(4), "no .npz file that can be read"),
    ],
    ids=["count", "no values", "negative", "labels", "many", "pixels", "header"],
)
def test_an_array_that_is_not_what_its_header_says_is_refused(tmp_path, images, labels, said):
    path = npz(tmp_path / "a.npz", train_images=images, train_labels=labels)
    with pytest.raises(ConfigError, match=said):
        open_source(path, 0, max_pixels=80_000)


def test_a_table_beyond_all_measure_is_refused_unread(tmp_path):
    sparse(tmp_path / "t.csv", MOST_BYTES + 1)
    with pytest.raises(ConfigError, match="268,435,457 bytes; a table of at most 268,435,456 is accepted"):
        open_source(str(tmp_path / "t.csv"), 0)


def test_a_tile_larger_than_its_image():
    with pytest.raises(TooLarge, match="40,000 x 40,000 pixels"):
        decode(tiled_tiff(16, 40_000))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.90"], ids=["JPEG", "JPEG 2000"])
def test_a_dicom_frame_larger_than_its_header_says(syntax):
    from pydicom.encaps import encapsulate

    siz = struct.pack(">HHHIIIIIIIIHBBB", 0xFF51, 41, 0, 60_000, 50_000, 0, 0, 60_000, 50_000, 0, 0, 1, 7, 1, 1)
    frame = jpeg_stating(60_000, 50_000) if syntax.endswith("50") else b"\xff\x4f" + siz + b"\xff\xd9"
    content = dicom(np.zeros((16, 16), np.uint8), syntax=syntax, PixelData=encapsulate([frame]))
    with pytest.raises(TooLarge, match="60,000 x 50,000 pixels"):
        decode(content)


def test_a_deflated_header_is_inflated_under_the_limit_too(tmp_path):
    (tmp_path / "a.dcm").write_bytes(deflated(4, 4, 1, PatientID="p1"))
    (tmp_path / "b.dcm").write_bytes(deflated(400, 400, 40, PatientID="p2"))
    paths = [tmp_path / "a.dcm", tmp_path / "b.dcm"]
    assert read_patient_ids(paths) == ["p1", "p2"]
    assert read_patient_ids(paths, max_pixels=10**6) == ["p1", ""]
    with pytest.raises(TooLarge, match="unpacked it has more than"):
        decode(paths[1].read_bytes(), max_pixels=10**6)


def test_what_starts_other_programs_is_no_image():
    with pytest.raises(OSError, match="cannot identify image file"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")


def test_a_large_image_within_the_limit_takes_fifteen_bytes_a_pixel(tmp_path):
    """DICOM of 16 bits is the most expensive kind; windowed in one piece it takes 40."""
    (tmp_path / "large.dcm").write_bytes(deflated(5_000, 5_000, 1, BitsStored=12, HighBit=11))
    done = subprocess.run([sys.executable, "-c", DECODE, tmp_path / "large.dcm"], capture_output=True, check=True)
    assert float(done.stdout) < 60 + 15 * 25
