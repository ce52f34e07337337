"""A disk that is full: a sentence with place and amount, nothing left behind, and it goes on once there is room."""

import errno
import subprocess

import numpy as np
import pytest
from source_files import pixels, png, write_bytes

from bench.cli import main
from bench.data.images.store import _writing, store_images
from bench.data.sources.open_source import open_source
from bench.disk import full_disk_named
from bench.run.folder import write_text


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(size)`` -> a file system of so many bytes; left out where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()

    def sized(size, *more):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *more]), "tmpfs", place]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("nothing can be mounted here")
        return place

    yield sized
    subprocess.run(["umount", "-l", place], capture_output=True, check=False)


def images(folder, greys, coloured):
    for number in range(greys + coloured):
        shape = (20, 20, 3) if number < coloured else (20, 20)
        write_bytes(folder / "ab"[number % 2] / f"{number:04}.png", png(pixels(number, shape)))
    return folder


@pytest.mark.parametrize("coloured", [0, 1], ids=["while decoding", "while grey images become coloured ones"])
def test_a_full_cache_is_told_by_place_and_amount_and_left_clean(small_disk, tmp_path, coloured):
    source = open_source(str(images(tmp_path / "data", 200, coloured)), 0)
    size = 64 if coloured else 128  # 0.8 MB of grey, then 2.5 MB of colour; or 3.3 MB of grey
    disk = small_disk("2m")
    with pytest.raises(OSError, match="No space left on device") as caught:
        store_images(source, [size], disk)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename.startswith(str(disk / "store"))
    needed = len(source.table) * (4 * size * size + 128 * 128)  # with thumbnails
    assert caught.value.strerror == f"No space left on device (0 MB free there, {needed / 1e6:.0f} MB needed in all)"
    assert not [path for path in disk.rglob("*") if path.is_file() and path.name != "large.lock"]
    small_disk("20m", "remount")
    stored = store_images(source, [size], disk)
    assert np.count_nonzero(stored.sizes[size].open()) > 0


def test_an_image_that_fits_in_part_is_an_error(small_disk):
    """The system then writes what there is room for, and tells the number of bytes alone."""
    disk, image = small_disk("1m"), np.full((224, 224, 3), 7, np.uint8)
    draft = disk / "224-squash-3.npy"
    np.lib.format.open_memmap(draft, "w+", np.uint8, (4, *image.shape))
    (disk / "other").write_bytes(bytes(600_000))
    with _writing(draft) as write:
        for row in range(2):
            write(row, image)
        with pytest.raises(OSError, match="No space left on device"):
            write(2, image)
        (disk / "other").unlink()
        write(2, image)
    assert (np.load(draft, mmap_mode="r")[:3] == 7).all()


def test_the_command_says_it_in_a_line(small_disk, tmp_path, capsys):
    data = images(tmp_path / "data", 20, 0)
    disk = small_disk("64k")
    with pytest.raises(OSError, match="No space"):
        (disk / "filler").write_bytes(bytes(65 * 1024))
    assert main(["audit", str(data), "--cache", str(disk)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {disk}/store/")
    assert "No space left on device (0 MB free there" in line
    (disk / "filler").unlink()
    small_disk("64m", "remount")
    assert main(["audit", str(data), "--cache", str(disk)]) == 0


def test_a_file_of_a_run_is_told_by_its_name(small_disk):
    disk = small_disk("16k")
    with pytest.raises(OSError, match=r"0 MB free there\).*report\.html"):
        write_text(disk / "report.html", "x" * 10**5)
    assert [*disk.iterdir()] == []


def test_an_archive_that_does_not_fit(small_disk, tmp_path):
    arrays = {"train_images": np.random.default_rng(0).integers(0, 255, (100, 100, 100), np.uint8)}
    np.savez(tmp_path / "a.npz", **arrays, train_labels=np.arange(100) % 2)
    disk = small_disk("100k")
    with pytest.raises(OSError, match=r"\(0 MB free there, 1 MB needed in all\)"):
        store_images(open_source(str(tmp_path / "a.npz"), 0), [], disk)


def test_other_errors_stay_as_they_are(tmp_path):
    for error in (OSError(errno.EIO, "Input/output error", "x"), ValueError("no")):
        with pytest.raises(type(error)) as caught, full_disk_named(tmp_path):
            raise error
        assert caught.value is error
