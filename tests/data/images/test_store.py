"""Images are decoded once, all sizes in one pass, and what lies in the cache is whole and still true."""

import dataclasses
import errno
import gc
import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from planted import encode
from toys import overwrite

from bench import checksums
from bench.data.audit.duplicates import ALTERED_FILE, find_duplicates
from bench.data.images.decode import FACTS
from bench.data.images.limits import MOST_PIXELS
from bench.data.images.store import FEW, common_window, is_stored, store_images, store_key
from bench.data.images.window import Window
from bench.data.imageset import ImageSet, MemoryReader
from bench.data.sources.open_source import folder_source, open_source

SIZE = 8


def grey_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def colour_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def greys(n=4):
    return [encode(Image.fromarray(grey_pixels(seed))) for seed in range(n)]


@dataclass(frozen=True)
class Noting:
    """A reader that notes in a file, whatever the process, which rows were read."""

    contents: tuple
    log: Path
    max_pixels: int = MOST_PIXELS

    def opened(self, scratch):
        return nullcontext(self)

    def __call__(self, row):
        with self.log.open("a") as file:
            file.write(f"{row}\n")
        if isinstance(self.contents[row], Exception):
            raise self.contents[row]
        return self.contents[row]

    def rows(self):
        """The rows read since the last call."""
        rows = sorted(map(int, self.log.read_text().split())) if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return rows


@pytest.fixture
def image_set(tmp_path):
    """``image_set(contents)`` -> a set whose files are the given bytes; ``images.reader.rows()`` are those read."""

    def make(contents, path="memory"):
        rows = range(len(contents))
        table = pd.DataFrame({"image": [f"{row}.png" for row in rows], "label": ["AB"[row % 2] for row in rows]})
        table["split_group"] = table["patient_id"] = table["image"]
        table["split"] = ""
        reader = Noting(tuple(contents), tmp_path / "read.log")
        stamps = ("1",) * len(contents)
        return ImageSet("folder", path, ("A", "B"), table, stamps, reader, "each its own", synthetic=True)

    return make


def write_folder(root, seeds):
    for row, seed in enumerate(seeds):
        path = root / "AB"[row % 2] / f"{row:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Image.fromarray(grey_pixels(seed))))
    return folder_source(root)


def left_in(cache):
    """Everything below the cache's folder of stored sets, but for the sets' own folders and checksums."""
    return sorted(path.name for path in (cache / "store").glob("*/*") if path.suffix != checksums.SUFFIX)


# The stored set


def test_grey_images_are_stored_with_one_channel(tmp_path, image_set):
    pixels = grey_pixels(5)
    grey_in_colour = encode(Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)))
    found = store_images(image_set([*greys(2), grey_in_colour]), [SIZE], tmp_path).sizes[SIZE]
    assert (found.channels, found.size) == (1, SIZE)
    array = found.open()
    assert array.shape == (3, SIZE, SIZE, 1)
    assert array.dtype == np.uint8
    for row, expected in enumerate([grey_pixels(0), grey_pixels(1), pixels]):
        assert np.array_equal(array[row, ..., 0], expected)


def test_coloured_images_are_stored_with_three_channels(tmp_path, image_set):
    contents = [encode(Image.fromarray(colour_pixels(seed))) for seed in range(3)]
    array = store_images(image_set(contents), [SIZE], tmp_path).sizes[SIZE].open()
    assert np.array_equal(array, np.stack([colour_pixels(seed) for seed in range(3)]))


@pytest.mark.parametrize("coloured", [0, 2, 4])
def test_one_colour_image_and_all_have_three_channels(tmp_path, image_set, coloured):
    contents = greys(5)
    contents[coloured] = encode(Image.fromarray(colour_pixels()))
    found = store_images(image_set(contents), [SIZE, 16], tmp_path)
    for size, stored in found.sizes.items():
        assert stored.channels == 3
        assert stored.open().shape == (5, size, size, 3)
    expected = [np.repeat(grey_pixels(row)[..., None], 3, axis=2) for row in range(5)]
    expected[coloured] = colour_pixels()
    assert np.array_equal(found.sizes[SIZE].open(), expected)
    assert found.facts["grey"].tolist() == [row != coloured for row in range(5)]


@pytest.mark.parametrize("written", [0, 3])
def test_a_full_disk_is_an_error_that_says_so_and_leaves_nothing(tmp_path, image_set, monkeypatch, written):
    """While images are decoded, and while the grey ones of a coloured set are copied."""
    write, calls = os.pwrite, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) > written:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        store_images(image_set([*greys(2), encode(Image.fromarray(colour_pixels()))]), [SIZE], tmp_path)
    assert left_in(tmp_path) == []


def test_bare_pixels_are_stored(tmp_path, image_set):
    pixels = np.stack([grey_pixels(seed) for seed in range(4)])
    images = dataclasses.replace(image_set(greys()), reader=MemoryReader(pixels))
    found = store_images(images, [SIZE], tmp_path)
    assert np.array_equal(found.sizes[SIZE].open()[..., 0], pixels)
    assert set(found.facts["format"]) == {"array"}


def test_the_array_is_mapped_not_loaded_and_cannot_be_written(tmp_path, image_set):
    array = store_images(image_set(greys()), [SIZE], tmp_path).sizes[SIZE].open()
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError):
        array[0] = 0


def test_facts_are_kept_as_they_were_found(tmp_path, image_set):
    odd = encode(Image.fromarray(colour_pixels(size=12)), "JPEG")
    contents = [*greys(2), odd, greys()[0], b"nothing"]
    first = store_images(image_set(contents), [], tmp_path)
    assert first.sizes == {}
    facts = first.facts
    assert tuple(facts) == FACTS
    assert facts["bytes"].tolist() == [len(content) for content in contents]
    assert facts["width"].tolist() == [8, 8, 12, 8, 0]
    assert facts["format"].tolist() == ["PNG", "PNG", "JPEG", "PNG", ""]
    assert facts["problem"].tolist() == ["", "", "", "", "no image"]
    assert facts["pixels"].iloc[0] == facts["pixels"].iloc[3] != facts["pixels"].iloc[1]
    again = store_images(image_set(contents), [], tmp_path).facts
    pd.testing.assert_frame_equal(again, facts)
    assert all(again[name].dtype == bool for name in ("grey", "constant", "rotated", "deep", "transparent"))


# Once


def test_a_second_call_decodes_nothing(tmp_path, image_set):
    images = image_set(greys())
    assert not is_stored(images, [SIZE], "squash", tmp_path)
    first = store_images(images, [SIZE], tmp_path)
    assert images.reader.rows() == [0, 1, 2, 3]
    assert is_stored(images, [SIZE], "squash", tmp_path)
    second = store_images(images, [SIZE], tmp_path)
    assert images.reader.rows() == []
    assert second.sizes == first.sizes
    assert first.folder.parent == tmp_path / "store"
    assert left_in(tmp_path) == ["8-squash.npy", "facts.csv", "thumbnails.npy"]


def test_several_sizes_are_made_in_one_pass(tmp_path, image_set):
    images = image_set(greys())
    found = store_images(images, [16, SIZE, SIZE], tmp_path)
    assert images.reader.rows() == [0, 1, 2, 3]
    shapes = {size: stored.open().shape for size, stored in found.sizes.items()}
    assert shapes == {SIZE: (4, SIZE, SIZE, 1), 16: (4, 16, 16, 1)}
    assert found.fingerprint == found.sizes[SIZE].fingerprint == found.sizes[16].fingerprint


def test_a_further_size_leaves_the_first_and_the_facts_alone(tmp_path, image_set):
    images = image_set(greys())
    first = store_images(images, [SIZE], tmp_path)
    kept = (first.sizes[SIZE].file, first.folder / "facts.csv")
    written = [file.stat().st_mtime_ns for file in kept]
    images.reader.rows()
    assert not is_stored(images, [SIZE, 16], "squash", tmp_path)
    found = store_images(images, [SIZE, 16], tmp_path)
    assert set(found.sizes) == {SIZE, 16}
    assert images.reader.rows() == [0, 1, 2, 3]
    assert [file.stat().st_mtime_ns for file in kept] == written


def test_each_way_of_resizing_has_its_array(tmp_path, image_set):
    tall = np.full((16, 8), 200, np.uint8)
    tall[:4] = 50
    images = image_set([*greys(3), encode(Image.fromarray(tall))])
    squashed, padded, cropped = (
        store_images(images, [SIZE], tmp_path, resize=resize).sizes[SIZE].open()[3, ..., 0]
        for resize in ("squash", "pad", "crop")
    )
    assert (padded[:, 0] == 0).all()
    assert (squashed[0] == 50).all()
    assert (cropped == 200).all()
    assert images.reader.rows() == sorted([0, 1, 2, 3] * 3)
    assert store_images(images, [SIZE], tmp_path, resize="pad").sizes[SIZE].open()[3, 0, 0] == 0
    assert images.reader.rows() == []


@pytest.mark.parametrize("jobs", [None, 1])
def test_progress_counts_every_image_once(tmp_path, image_set, jobs):
    steps = []
    store_images(image_set(greys(7)), [SIZE, 16], tmp_path, steps.append, jobs=jobs)
    assert sum(steps) == 7
    assert min(steps) > 0


def test_processes_store_the_same_as_one(tmp_path):
    images = write_folder(tmp_path / "data", range(FEW + 44))
    for name in ("A/010.png", "B/255.png"):
        (tmp_path / "data" / name).write_bytes(encode(Image.fromarray(colour_pixels(9))))
    (tmp_path / "data" / "B" / "007.png").write_bytes(b"nothing")
    steps = []
    found = [
        store_images(images, [SIZE, 5], tmp_path / str(jobs), steps.append, jobs=jobs, resize="crop") for jobs in (1, 2)
    ]
    assert store_images(images, [], tmp_path / "2", jobs=2, verify=True).changed == 0
    assert sum(steps) == 2 * (FEW + 44)
    pd.testing.assert_frame_equal(found[0].facts, found[1].facts)
    assert found[0].fingerprint == found[1].fingerprint
    for size in (SIZE, 5):
        one, two = (stored.sizes[size].open() for stored in found)
        assert one.shape == (FEW + 44, size, size, 3)
        assert np.array_equal(one, two)
    rows = {name: row for row, name in enumerate(images.table["image"])}
    assert np.array_equal(found[1].sizes[SIZE].open()[rows["B/255.png"]], colour_pixels(9))
    assert np.array_equal(found[1].sizes[SIZE].open()[rows["A/256.png"], ..., 1], grey_pixels(256))
    for jobs in (1, 2):
        assert left_in(tmp_path / str(jobs)) == ["5-crop.npy", "8-crop.npy", "facts.csv", "thumbnails.npy"]


# What cannot be decoded


def test_what_cannot_be_decoded_is_told_apart_and_remembered(tmp_path, image_set):
    good = greys(2)
    images = image_set([good[0], b"no image", good[1], good[1][:60], b""])
    found = store_images(images, [SIZE], tmp_path)
    assert found.facts["problem"].tolist() == ["", "no image", "", "truncated", "empty"]
    assert (found.facts["reason"] != "").tolist() == [False, True, False, True, True]
    array = found.sizes[SIZE].open()
    assert np.array_equal(array[2, ..., 0], grey_pixels(1))
    assert (array[[1, 3, 4]] == 0).all()
    images.reader.rows()
    assert store_images(images, [SIZE], tmp_path).facts["reason"].tolist() == found.facts["reason"].tolist()
    assert images.reader.rows() == []


def test_an_unreadable_colour_image_does_not_make_three_channels(tmp_path, image_set):
    colour = encode(Image.fromarray(colour_pixels(size=64)))
    found = store_images(image_set([*greys(2), colour[: len(colour) // 2]]), [SIZE], tmp_path)
    assert found.sizes[SIZE].channels == 1


def test_where_nothing_can_be_decoded_the_facts_say_so(tmp_path, image_set):
    """Whether to go on is not for the store to decide."""
    found = store_images(image_set([b"x", b"y"]), [SIZE], tmp_path)
    assert set(found.facts["problem"]) == {"no image"}
    assert (found.sizes[SIZE].open() == 0).all()


def test_a_file_without_access_costs_one_attempt_at_the_next_start(tmp_path, image_set):
    locked = image_set([greys(1)[0], PermissionError(13, "locked"), greys(2)[1], OSError("gone")])
    found = store_images(locked, [SIZE], tmp_path)
    assert found.facts["problem"].tolist() == ["", "no access", "", "no access"]
    assert "locked" in found.facts["reason"].iloc[1]
    locked.reader.rows()
    assert is_stored(locked, [SIZE], "squash", tmp_path)
    assert locked.reader.rows() == [1, 3]
    again = store_images(locked, [SIZE], tmp_path)
    assert locked.reader.rows() == [1, 3]
    assert again.fingerprint == found.fingerprint
    pd.testing.assert_frame_equal(again.facts, found.facts)
    store_images(locked, [SIZE, 16], tmp_path)
    assert locked.reader.rows() == [0, 1, 1, 2, 3, 3]
    assert left_in(tmp_path) == ["16-squash.npy", "8-squash.npy", "facts.csv", "thumbnails.npy"]


def test_once_a_file_without_access_can_be_read_all_is_decoded_again(tmp_path, image_set):
    locked = image_set([*greys(2), OSError("gone"), PermissionError(13, "locked")])
    found = store_images(locked, [SIZE, 16], tmp_path)
    store_images(locked, [SIZE], tmp_path, resize="pad")
    (found.folder / "near-16.npy").write_bytes(b"what was made of the old facts")
    images = image_set([*greys(2), OSError("gone"), greys(4)[3]])
    images.reader.rows()
    assert not is_stored(images, [SIZE], "squash", tmp_path)
    assert images.reader.rows() == [2, 3]
    again = store_images(images, [SIZE], tmp_path)
    assert images.reader.rows() == [0, 1, 2, 2, 3, 3]
    assert again.facts["problem"].tolist() == ["", "", "no access", ""]
    assert again.fingerprint != found.fingerprint
    assert left_in(tmp_path) == ["16-squash.npy", "8-pad.npy", "8-squash.npy", "facts.csv", "thumbnails.npy"]
    for size, resize in ((16, "squash"), (SIZE, "squash"), (SIZE, "pad")):
        array = store_images(images, [size], tmp_path, resize=resize).sizes[size].open()
        assert array[3].any(), "it was stored without the image"
    assert images.reader.rows() == [2, 2, 2], "nothing was left to be decoded"


def test_arrays_of_other_facts_are_replaced_not_removed(tmp_path, monkeypatch, image_set):
    """Another run may be about to open them."""
    store_images(image_set([*greys(3), OSError("gone")]), [SIZE, 16], tmp_path)
    unlink = Path.unlink

    def watched(self, *arguments, **options):
        assert "squash" not in self.name or self.parent.name.startswith(".decoding-")
        unlink(self, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", watched)
    found = store_images(image_set(greys()), [SIZE], tmp_path)
    assert found.sizes[SIZE].open()[3].any()


@pytest.mark.parametrize("whole", range(4))
def test_a_crash_while_arrays_are_replaced_leaves_nothing_wrong(tmp_path, monkeypatch, image_set, whole):
    store_images(image_set([*greys(3), OSError("gone")]), [SIZE, 16], tmp_path)
    images, published, replace = image_set(greys()), [], Path.replace

    def failing(self, target):
        if len(published) == whole:
            raise OSError("disk full")
        published.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="disk full"):
        store_images(images, [SIZE, 32], tmp_path)
    monkeypatch.undo()
    for size in (16, SIZE, 32):
        found = store_images(images, [size], tmp_path)
        assert set(found.facts["problem"]) == {""}
        assert found.sizes[size].open()[3].any()


def test_a_file_that_was_lost_between_two_sizes_is_noticed(tmp_path, image_set):
    store_images(image_set(greys(4)), [SIZE], tmp_path)
    later = store_images(image_set([*greys(3), OSError("gone")]), [16], tmp_path)
    assert later.facts["problem"].tolist() == ["", "", "", "no access"]
    assert left_in(tmp_path) == ["16-squash.npy", "8-squash.npy", "facts.csv", "thumbnails.npy"]
    other = store_images(image_set([*greys(3), OSError("gone")]), [SIZE], tmp_path).sizes[SIZE]
    assert not other.open()[3].any(), "an array of other facts"
    assert other.fingerprint == later.fingerprint


DAMAGES = {
    "half is zero": lambda content: content[: len(content) // 2].ljust(len(content), b"\0"),
    "cut short": lambda content: content[: len(content) // 3],
    "empty": lambda content: b"",
    "one bit": lambda content: content[:-2] + bytes([content[-2] ^ 1]) + content[-1:],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(
    "name", ["8-squash.npy", "facts.csv", "thumbnails.npy", "8-squash.npy.xxh128", "facts.csv.xxh128"]
)
def test_what_is_not_as_it_was_written_is_decoded_again_and_told(tmp_path, image_set, name, damage):
    images = image_set(greys())
    first = store_images(images, [SIZE, 16], tmp_path)
    kept, read = first.sizes[SIZE].open().copy(), images.reader.rows()
    path = first.folder / name
    overwrite(path, DAMAGES[damage](path.read_bytes()))
    assert not is_stored(image_set(greys()), [SIZE], "squash", tmp_path)
    found = store_images(images, [SIZE, 16], tmp_path)
    assert images.reader.rows() == read, "decoded again, once"
    assert found.damaged == (name.removesuffix(checksums.SUFFIX),)
    assert found.fingerprint == first.fingerprint
    assert np.array_equal(found.sizes[SIZE].open(), kept)
    assert store_images(images, [SIZE, 16], tmp_path).damaged == ()
    assert images.reader.rows() == [], "and not again"


def test_stored_files_without_checksums_are_not_trusted(tmp_path, image_set):
    images = image_set(greys())
    folder = store_images(images, [SIZE], tmp_path).folder
    read = images.reader.rows()
    for path in folder.glob(f"*{checksums.SUFFIX}"):
        path.unlink()
    assert store_images(images, [SIZE], tmp_path).damaged == ("facts.csv", "thumbnails.npy", "8-squash.npy")
    assert images.reader.rows() == read


# Whole or not there


class Broken(Exception):
    """Nothing that decoding expects."""


@pytest.mark.parametrize(
    ("error", "jobs"), [(Broken, 1), (KeyboardInterrupt, 1), (KeyboardInterrupt, 2)], ids=["error", "stop", "processes"]
)
def test_a_failure_in_the_middle_leaves_nothing(tmp_path, recwarn, error, jobs):
    images, done = write_folder(tmp_path / "data", range(24)), []

    def advance(count):
        done.append(count)
        if len(done) == 2:
            raise error

    with pytest.raises(error):
        store_images(images, [SIZE, 16], tmp_path, advance, jobs=jobs)
    gc.collect()
    assert not [warning for warning in recwarn if "tasks" in str(warning.message)], "joblib's, of what it threw away"
    assert sum(done) < 24
    assert left_in(tmp_path) == []
    found = store_images(images, [SIZE], tmp_path).sizes[SIZE].open()
    rows = images.table["image"].tolist()
    assert np.array_equal(found[rows.index("B/023.png"), ..., 0], grey_pixels(23))


@pytest.mark.parametrize(("whole", "left"), [(0, []), (1, ["thumbnails.npy"]), (2, ["facts.csv", "thumbnails.npy"])])
def test_a_failure_at_the_end_leaves_only_what_is_whole(tmp_path, monkeypatch, image_set, whole, left):
    images, published = image_set(greys()), []
    replace = Path.replace

    def failing(self, target):
        if len(published) == whole:
            raise OSError("disk full")
        published.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(OSError, match="disk full"):
        store_images(images, [SIZE, 16], tmp_path)
    monkeypatch.undo()
    assert left_in(tmp_path) == left
    found = store_images(images, [SIZE, 16], tmp_path)
    for size, stored in found.sizes.items():
        expected = np.asarray(Image.fromarray(grey_pixels(3)).resize((size, size), Image.Resampling.BILINEAR))
        assert np.array_equal(stored.open()[3, ..., 0], expected)


def test_an_image_of_which_the_disk_takes_a_part_at_a_time_is_written_whole(tmp_path, monkeypatch, image_set):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda number, content, start: real(number, bytes(content)[:10], start))
    found = store_images(image_set(greys()), [SIZE], tmp_path)
    assert np.array_equal(found.sizes[SIZE].open()[..., 0], [grey_pixels(seed) for seed in range(4)])
    assert found.thumbnails()[3].any(axis=1).all()


KILLED = """
import sys, time
from pathlib import Path
from bench.data.sources.open_source import folder_source, open_source
from bench.data.images.store import store_images

def advance(count):
    print("step", flush=True)
    time.sleep(60)

store_images(folder_source(Path(sys.argv[1])), [8, 16], Path(sys.argv[2]), advance, jobs=1)
"""


def test_a_process_killed_in_the_middle_leaves_nothing_that_counts(tmp_path):
    images = write_folder(tmp_path / "data", range(12))
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path / "data", tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "step\n"
    (left,) = left_in(tmp_path)
    assert left.startswith(".decoding-")
    (folder,) = tmp_path.glob(f"store/*/{left}")
    os.utime(folder, (0, 0))
    store_images(images, [16], tmp_path)
    assert left in left_in(tmp_path), "another run is at work there, and be it for days"
    child.kill()
    child.communicate()
    assert not is_stored(images, [SIZE], "squash", tmp_path)
    found = store_images(images, [SIZE], tmp_path)
    assert np.array_equal(found.sizes[SIZE].open()[0, ..., 0], grey_pixels(0))
    assert left_in(tmp_path) == ["16-squash.npy", "8-squash.npy", "facts.csv", "thumbnails.npy"]


def test_another_run_that_was_faster_is_no_error(tmp_path, image_set):
    """Two runs on the same images: both have the same at the end."""
    images, faster = image_set(greys()), []

    def advance(count):
        if not faster:
            faster.append(store_images(image_set(greys()), [SIZE], tmp_path))

    found = store_images(images, [SIZE], tmp_path, advance)
    assert found.sizes == faster[0].sizes
    assert np.array_equal(found.sizes[SIZE].open()[1, ..., 0], grey_pixels(1))
    assert left_in(tmp_path) == ["8-squash.npy", "facts.csv", "thumbnails.npy"]


def test_two_runs_at_the_same_time(tmp_path, image_set):
    images, found, met = image_set(greys(6)), {}, threading.Barrier(2, timeout=30)

    def run(sizes):
        steps = []

        def advance(count):
            if not steps:
                met.wait()
            steps.append(count)

        found[sizes] = store_images(images, sizes, tmp_path, advance)

    threads = [threading.Thread(target=run, args=(sizes,)) for sizes in ((SIZE,), (SIZE, 16))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fresh = store_images(images, [SIZE, 16], tmp_path / "fresh")
    for stored in found.values():
        for size, own in stored.sizes.items():
            assert np.array_equal(own.open(), fresh.sizes[size].open())
    assert left_in(tmp_path) == ["16-squash.npy", "8-squash.npy", "facts.csv", "thumbnails.npy"]


# Changes


def test_a_changed_file_is_noticed(tmp_path):
    before = store_images(write_folder(tmp_path / "data", [0, 1]), [SIZE], tmp_path / "cache")
    content = encode(Image.fromarray(grey_pixels(7)))
    (tmp_path / "data" / "A" / "000.png").write_bytes(content)
    after = store_images(folder_source(tmp_path / "data"), [SIZE], tmp_path / "cache")
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.sizes[SIZE].open()[0, ..., 0], grey_pixels(7))
    assert np.array_equal(before.sizes[SIZE].open()[0, ..., 0], grey_pixels(0)), "the earlier set stays as it was"


def test_further_and_removed_files_are_noticed(tmp_path):
    three = write_folder(tmp_path / "data", [0, 1, 2])
    keys = {store_key(three), store_key(write_folder(tmp_path / "data", [0, 1, 2, 3]))}
    (tmp_path / "data" / "A" / "000.png").unlink()
    fewer = folder_source(tmp_path / "data")
    assert len({*keys, store_key(fewer)}) == 3
    found = store_images(fewer, [SIZE], tmp_path / "cache")
    assert np.array_equal(found.sizes[SIZE].open()[0, ..., 0], grey_pixels(2))


def swap(path, content):
    """Other bytes under the same size and time."""
    before = path.stat()
    assert len(content) == before.st_size
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def bmp(seed):
    return encode(Image.fromarray(grey_pixels(seed)), "BMP")  # of the same size, whatever it shows


def test_verify_notices_what_size_and_time_do_not_show(tmp_path):
    data, cache = tmp_path / "data", tmp_path / "cache"
    for row in range(6):
        (data / "AB"[row % 2]).mkdir(parents=True, exist_ok=True)
        (data / "AB"[row % 2] / f"{row}.bmp").write_bytes(bmp(row))
    images = folder_source(data)
    first = store_images(images, [SIZE, 16], cache)
    steps = []
    same = store_images(images, [SIZE], cache, steps.append, verify=True)
    assert (same.changed, sum(steps), same.fingerprint) == (0, 6, first.fingerprint)
    swap(data / "A" / "0.bmp", bmp(70))
    swap(data / "B" / "3.bmp", bmp(73))
    assert store_key(folder_source(data)) == store_key(images)
    unaware = store_images(images, [SIZE], cache)
    assert (unaware.changed, unaware.fingerprint) == (0, first.fingerprint)
    found = store_images(images, [SIZE], cache, verify=True)
    assert found.changed == 2
    assert found.fingerprint != first.fingerprint
    row = images.table["image"].tolist().index("B/3.bmp")
    assert np.array_equal(found.sizes[SIZE].open()[row, ..., 0], grey_pixels(73))
    other, fresh = (store_images(images, [16], place).sizes[16].open() for place in (cache, tmp_path / "fresh"))
    assert np.array_equal(other, fresh), "the size that was not asked for is not kept either"
    assert store_images(images, [SIZE], cache, verify=True).changed == 0


def test_verify_counts_a_file_that_cannot_be_read_any_more(tmp_path):
    images = write_folder(tmp_path / "data", range(4))
    store_images(images, [SIZE], tmp_path / "cache")
    (tmp_path / "data" / "A" / "002.png").unlink()
    found = store_images(images, [SIZE], tmp_path / "cache", verify=True)
    assert found.changed == 1
    assert sorted(found.facts["problem"]) == ["", "", "", "no access"]


def test_verify_of_a_new_set_decodes_it_only(tmp_path, image_set):
    images = image_set(greys())
    found = store_images(images, [SIZE], tmp_path, verify=True)
    assert found.changed == 0
    assert images.reader.rows() == [0, 1, 2, 3]


def test_pairs_of_duplicates_are_kept_until_the_facts_change(tmp_path):
    data = tmp_path / "data"
    for name, seed in (("A/0.bmp", 0), ("B/1.bmp", 1), ("A/2.bmp", 2)):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(bmp(seed))
    images = folder_source(data)
    stored = store_images(images, [], tmp_path / "cache")
    assert find_duplicates(stored.facts, stored.folder).clusters == ()
    (kept,) = stored.folder.glob("near-*.npy")
    content = kept.read_bytes()
    overwrite(kept, content[:-1] + b"\1" if len(content) > 128 else content + b"\1")
    assert not checksums.intact(kept)
    find_duplicates(stored.facts, stored.folder)
    assert checksums.intact(kept) and kept.read_bytes() == content, "damaged pairs are found again"
    swap(data / "B" / "1.bmp", bmp(2))
    again = store_images(images, [], tmp_path / "cache", verify=True)
    rows = [images.table["image"].tolist().index(name) for name in ("A/2.bmp", "B/1.bmp")]
    assert [cluster.rows for cluster in find_duplicates(again.facts, again.folder).clusters] == [tuple(sorted(rows))]


def test_all_that_was_derived_goes_with_the_facts(tmp_path):
    data = tmp_path / "data"
    for name, seed in (("A/0.bmp", 0), ("B/1.bmp", 1)):
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(bmp(seed))
    images = folder_source(data)
    stored = store_images(images, [SIZE], tmp_path / "cache")
    own = {path.name for path in stored.folder.iterdir()}
    find_duplicates(stored.facts, stored.folder, stored.thumbnails())
    derived = {path.name for path in stored.folder.iterdir()} - own
    assert {ALTERED_FILE, f"{ALTERED_FILE}{checksums.SUFFIX}"} < derived and len(derived) == 4
    swap(data / "B" / "1.bmp", bmp(2))
    store_images(images, [SIZE], tmp_path / "cache", verify=True)
    assert {path.name for path in stored.folder.iterdir()} == own


# What the set is known by


def test_the_key_follows_names_stamps_and_place(image_set):
    images = image_set(greys(2))
    renamed = images.table.assign(image=["0.png", "other.png"])
    others = [
        dataclasses.replace(images, table=renamed),
        dataclasses.replace(images, stamps=("1", "2")),
        dataclasses.replace(images, path="elsewhere"),
    ]
    assert len({store_key(images), *map(store_key, others)}) == 4
    assert store_key(dataclasses.replace(images)) == store_key(images)


def test_the_key_of_a_folder_is_of_its_place_however_it_is_written(tmp_path, monkeypatch):
    images = write_folder(tmp_path / "data", [0, 1])
    monkeypatch.chdir(tmp_path)
    assert store_key(dataclasses.replace(images, path="data")) == store_key(images)


def test_a_window_makes_a_set_of_its_own(tmp_path, image_set):
    """Other pixels of the same files: other arrays, another fingerprint, so other features too."""
    deep = [np.linspace(0, high, 64).reshape(SIZE, SIZE).astype(np.uint16) for high in (900, 1000, 2000, 3000)]
    images = image_set([encode(Image.fromarray(values)) for values in deep])
    plain = store_images(images, [SIZE], tmp_path)
    window = Window.centered(500.5, 1001)
    assert not is_stored(images, [SIZE], "squash", tmp_path, window)
    found = store_images(images, [SIZE], tmp_path, window=window)
    assert is_stored(images, [SIZE], "squash", tmp_path, window)
    assert found.folder != plain.folder
    assert found.fingerprint != plain.fingerprint
    assert found.sizes[SIZE].open()[0].max() == round(900 * 255 / 1000)
    assert plain.sizes[SIZE].open()[0].max() == 255
    assert store_images(images, [SIZE], tmp_path).fingerprint == plain.fingerprint
    assert (common_window(plain.facts), common_window(found.facts)) == (None, window)


def test_a_set_of_arrays_goes_through_its_own_window(tmp_path):
    values = np.arange(4 * 64).reshape(4, SIZE, SIZE).astype(np.uint16) * 10
    np.savez(tmp_path / "set.npz", train_images=values, train_labels=[0, 1, 0, 1])
    found = store_images(open_source(str(tmp_path / "set.npz"), 0), [SIZE], tmp_path)
    assert np.array_equal(found.sizes[SIZE].open()[..., 0], (values / 10).round())
    assert set(found.facts["window"]) == {"set"}
    assert common_window(found.facts) == Window(0, 2550, "set")


def test_how_images_become_square_is_in_the_fingerprint(tmp_path, image_set):
    """Features are cached by it, and a padded image has others than a squashed one."""
    images = image_set(greys())
    found = {store_images(images, [SIZE], tmp_path, resize=way).fingerprint for way in ("squash", "pad", "crop")}
    assert len(found) == 3


def test_the_fingerprint_is_of_content_names_and_labels(tmp_path, image_set):
    """Not of the place or the time: the same images elsewhere are the same data."""

    def fingerprint(name, contents, **changes):
        images = image_set(contents, path=name)
        return store_images(dataclasses.replace(images, **changes), [SIZE], tmp_path / name).fingerprint

    plain = fingerprint("plain", greys())
    table = image_set(greys()).table
    assert fingerprint("elsewhere", greys(), stamps=("2",) * 4) == plain
    assert fingerprint("content", [*greys(3), encode(Image.fromarray(grey_pixels(9)))]) != plain
    assert fingerprint("order", greys()[::-1]) != plain
    assert fingerprint("label", greys(), table=table.assign(label=["B", "B", "A", "B"])) != plain
    assert fingerprint("name", greys(), table=table.assign(image=["z.png", *table["image"][1:]])) != plain
