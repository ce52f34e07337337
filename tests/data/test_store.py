"""Images are decoded rightly, once, and what lies in the cache is whole."""

import dataclasses
import io
import json
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.data import store
from bench.data.sources import ImageSet, folder_source
from bench.data.store import decode, store_images, store_key
from bench.errors import ConfigError

SIZE = 8


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def grey_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)


def colour_pixels(seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def image_set(contents, path="memory"):
    """A set whose files are the given bytes, and the list of rows read so far."""
    calls = []
    lock = threading.Lock()

    def read(row):
        with lock:
            calls.append(row)
        if isinstance(contents[row], Exception):
            raise contents[row]
        return contents[row]

    table = pd.DataFrame(
        {
            "image": [f"{row}.png" for row in range(len(contents))],
            "label": ["AB"[row % 2] for row in range(len(contents))],
        }
    )
    stamps = tuple("1" for _ in contents)
    images = ImageSet("folder", path, ("A", "B"), table, stamps, read, "each its own", synthetic=True)
    return images, calls


def greys(n=4):
    return [encode(Image.fromarray(grey_pixels(seed))) for seed in range(n)]


# Decoding


def test_grey():
    pixels = grey_pixels()
    found, grey = decode(encode(Image.fromarray(pixels)), SIZE)
    assert grey
    assert found.shape == (SIZE, SIZE, 3)
    assert found.dtype == np.uint8
    for channel in range(3):
        assert np.array_equal(found[..., channel], pixels)


def test_colour():
    pixels = colour_pixels()
    found, grey = decode(encode(Image.fromarray(pixels)), SIZE)
    assert not grey
    assert np.array_equal(found, pixels), "the channels stay in the order red, green, blue"


def test_colour_that_is_grey_is_found_out():
    pixels = grey_pixels()
    found, grey = decode(encode(Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))), SIZE)
    assert grey
    assert np.array_equal(found[..., 0], pixels)


def test_transparency_of_colour_is_laid_on_black():
    pixels = np.dstack([np.full((SIZE, SIZE, 3), 200, np.uint8), np.zeros((SIZE, SIZE), np.uint8)])
    pixels[:4, :, 3] = 255
    pixels[:4, :, 0] = 90
    found, grey = decode(encode(Image.fromarray(pixels, "RGBA")), SIZE)
    assert not grey
    assert (found[:4] == [90, 200, 200]).all()
    assert (found[4:] == 0).all()


def test_transparency_of_grey_is_laid_on_black():
    pixels = np.dstack([np.full((SIZE, SIZE), 180, np.uint8), np.zeros((SIZE, SIZE), np.uint8)])
    pixels[:4, :, 1] = 255
    found, grey = decode(encode(Image.fromarray(pixels, "LA")), SIZE)
    assert grey
    assert (found[:4] == 180).all()
    assert (found[4:] == 0).all()


def test_palette():
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.paste(1, (0, 4, SIZE, SIZE))
    found, grey = decode(encode(image), SIZE)
    assert not grey
    assert (found[:4] == [255, 0, 0]).all(), "colours, not indices"
    assert (found[4:] == [0, 0, 255]).all()


def test_palette_with_a_transparent_colour():
    image = Image.new("P", (SIZE, SIZE), 0)
    image.putpalette([255, 0, 0, 10, 20, 30])
    image.paste(1, (0, 4, SIZE, SIZE))
    found, _ = decode(encode(image, transparency=0), SIZE)
    assert (found[:4] == 0).all()
    assert (found[4:] == [10, 20, 30]).all()


def test_grey_palette_is_grey():
    image = Image.fromarray(grey_pixels()).quantize(16)
    found, grey = decode(encode(image), SIZE)
    assert grey
    assert found.std() > 10


def test_one_bit():
    image = Image.new("1", (SIZE, SIZE), 0)
    image.paste(1, (0, 4, SIZE, SIZE))
    found, grey = decode(encode(image), SIZE)
    assert grey
    assert (found[:4] == 0).all()
    assert (found[4:] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_windowed_not_cut(kind):
    """Values 1000 to 5000, as of 12-bit radiographs: cut to 8 bits they would all be 255."""
    values = np.linspace(1000, 5000, SIZE * SIZE).reshape(SIZE, SIZE).astype(np.uint16)
    found, grey = decode(encode(Image.fromarray(values), kind), SIZE)
    assert grey
    expected = np.rint((values - 1000.0) / 4000 * 255)
    assert np.abs(found[..., 0] - expected).max() <= 1
    assert len(np.unique(found)) == SIZE * SIZE


def test_floating_point_images_are_windowed():
    values = np.linspace(-1, 1, SIZE * SIZE, dtype=np.float32).reshape(SIZE, SIZE)
    found, grey = decode(encode(Image.fromarray(values), "TIFF"), SIZE)
    assert grey
    assert (found.min(), found.max()) == (0, 255)
    assert (np.diff(found[..., 0].ravel().astype(int)) >= 0).all()


def test_a_flat_sixteen_bit_image_is_black_not_an_error():
    found, _ = decode(encode(Image.fromarray(np.full((SIZE, SIZE), 3000, np.uint16))), SIZE)
    assert (found == 0).all()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda pixels: pixels),
        (2, lambda pixels: pixels[:, ::-1]),
        (3, lambda pixels: pixels[::-1, ::-1]),
        (6, lambda pixels: np.rot90(pixels, -1)),
        (8, lambda pixels: np.rot90(pixels, 1)),
    ],
)
def test_the_orientation_tag_is_applied(orientation, turned):
    pixels = np.repeat(np.repeat(np.array([[0, 80], [160, 240]], np.uint8), 4, axis=0), 4, axis=1)
    tags = Image.Exif()
    tags[0x0112] = orientation
    found, _ = decode(encode(Image.fromarray(pixels), "JPEG", quality=100, exif=tags), SIZE)
    assert np.abs(found[..., 0].astype(int) - turned(pixels)).max() < 12


def test_other_sizes_are_squashed_to_a_square():
    pixels = np.zeros((40, 80), np.uint8)
    pixels[:, 40:] = 200
    found, _ = decode(encode(Image.fromarray(pixels)), SIZE)
    assert found.shape == (SIZE, SIZE, 3)
    assert (found[:, :3] == 0).all()
    assert (found[:, 5:] == 200).all(), "the right half stays the right half: nothing is cropped"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_a_truncated_file_of_any_kind_is_an_error(kind):
    content = encode(Image.fromarray(colour_pixels(size=64)), kind)
    for share in (0.0, 0.02, 0.5, 0.9):
        with pytest.raises((OSError, ValueError, SyntaxError)):
            decode(content[: int(share * len(content))], SIZE)


# The stored set


def test_grey_images_are_stored_with_one_channel(tmp_path):
    pixels = grey_pixels(5)
    grey_in_colour = encode(Image.fromarray(np.repeat(pixels[..., None], 3, axis=2)))
    images, _ = image_set([*greys(2), grey_in_colour])
    found = store_images(images, [SIZE], tmp_path)[SIZE]
    assert (found.channels, found.size, found.unreadable) == (1, SIZE, ())
    array = found.open()
    assert array.shape == (3, SIZE, SIZE, 1)
    assert array.dtype == np.uint8
    for row, expected in enumerate([grey_pixels(0), grey_pixels(1), pixels]):
        assert np.array_equal(array[row, ..., 0], expected)


def test_one_colour_image_and_all_have_three_channels(tmp_path):
    images, _ = image_set([*greys(2), encode(Image.fromarray(colour_pixels()))])
    found = store_images(images, [SIZE], tmp_path)[SIZE]
    array = found.open()
    assert found.channels == 3
    assert array.shape == (3, SIZE, SIZE, 3)
    assert np.array_equal(array[0], np.repeat(grey_pixels(0)[..., None], 3, axis=2))
    assert np.array_equal(array[2], colour_pixels())


def test_the_array_is_mapped_not_loaded_and_cannot_be_written(tmp_path):
    images, _ = image_set(greys())
    array = store_images(images, [SIZE], tmp_path)[SIZE].open()
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError):
        array[0] = 0


def test_a_second_call_decodes_nothing(tmp_path):
    images, calls = image_set(greys())
    first = store_images(images, [SIZE], tmp_path)
    assert sorted(calls) == [0, 1, 2, 3]
    assert store_images(images, [SIZE], tmp_path) == first
    assert len(calls) == 4


def test_several_sizes_are_made_in_one_pass(tmp_path):
    images, calls = image_set(greys())
    found = store_images(images, [SIZE, 16, SIZE], tmp_path)
    assert sorted(calls) == [0, 1, 2, 3]
    assert {size: stored.open().shape for size, stored in found.items()} == {
        SIZE: (4, SIZE, SIZE, 1),
        16: (4, 16, 16, 1),
    }
    assert found[SIZE].fingerprint == found[16].fingerprint


def test_a_further_size_leaves_the_first_alone(tmp_path):
    images, calls = image_set(greys())
    first = store_images(images, [SIZE], tmp_path)[SIZE]
    written = (first.folder / "images.npy").stat().st_mtime_ns
    assert set(store_images(images, [SIZE, 16], tmp_path)) == {SIZE, 16}
    assert len(calls) == 8
    assert (first.folder / "images.npy").stat().st_mtime_ns == written


def test_progress_counts_every_image_once(tmp_path):
    images, _ = image_set(greys(7))
    steps = []
    store_images(images, [SIZE, 16], tmp_path, steps.append)
    assert sum(steps) == 7


def test_any_number_of_threads_stores_the_same(tmp_path):
    images, _ = image_set(greys(9))
    one, many = (store_images(images, [SIZE], tmp_path / str(threads), threads=threads)[SIZE] for threads in (1, 4))
    assert one.fingerprint == many.fingerprint
    assert np.array_equal(one.open(), many.open())


# What cannot be decoded


def test_unreadable_and_truncated_files_are_listed(tmp_path):
    good = greys(2)
    images, _ = image_set([good[0], b"no image", good[1], good[1][:40], b"", PermissionError("locked")])
    found = store_images(images, [SIZE], tmp_path)[SIZE]
    assert [row for row, _ in found.unreadable] == [1, 3, 4, 5]
    assert all(reason for _, reason in found.unreadable)
    assert "locked" in dict(found.unreadable)[5]
    array = found.open()
    assert np.array_equal(array[2, ..., 0], grey_pixels(1))
    assert (array[[1, 3, 4, 5]] == 0).all()
    assert store_images(images, [SIZE], tmp_path)[SIZE].unreadable == found.unreadable, "they are remembered"


def test_an_unreadable_colour_image_does_not_make_three_channels(tmp_path):
    colour = encode(Image.fromarray(colour_pixels(size=64)))
    images, _ = image_set([*greys(2), colour[: len(colour) // 2]])
    assert store_images(images, [SIZE], tmp_path)[SIZE].channels == 1


def test_where_nothing_can_be_decoded_the_request_is_refused(tmp_path):
    images, _ = image_set([b"x", b"y"], path="/data/scans")
    with pytest.raises(ConfigError) as caught:
        store_images(images, [SIZE], tmp_path)
    assert "None of the 2 images in /data/scans" in str(caught.value)
    assert list((tmp_path / "store").iterdir()) == []


# Whole or not there


class Broken(Exception):
    """Nothing that decoding expects."""


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
def test_a_failure_in_the_middle_leaves_nothing(tmp_path, error):
    images, calls = image_set(greys())
    done = []

    def advance(count):
        done.append(count)
        if len(done) == 2:
            raise error

    with pytest.raises(error):
        store_images(images, [SIZE, 16], tmp_path, advance, threads=1)
    assert list((tmp_path / "store").iterdir()) == []
    calls.clear()
    found = store_images(images, [SIZE], tmp_path)[SIZE]
    assert sorted(calls) == [0, 1, 2, 3]
    assert np.array_equal(found.open()[3, ..., 0], grey_pixels(3))


def test_a_failure_between_two_sizes_leaves_the_first_whole(tmp_path, monkeypatch):
    images, calls = image_set(greys())
    publish, published = store._publish, []

    def publish_once(target, folder):
        if published:
            raise OSError("disk full")
        publish(target, folder)
        published.append(folder)

    monkeypatch.setattr(store, "_publish", publish_once)
    with pytest.raises(OSError):
        store_images(images, [SIZE, 16], tmp_path)
    monkeypatch.undo()
    assert list((tmp_path / "store").iterdir()) == published
    calls.clear()
    found = store_images(images, [SIZE, 16], tmp_path)
    assert len(calls) == 4, "only what is missing is decoded"
    assert all(len(stored.open()) == 4 for stored in found.values())


def test_a_failure_while_the_meta_is_written_is_not_taken_for_whole(tmp_path, monkeypatch):
    images, _ = image_set(greys())
    monkeypatch.setattr(store.json, "dumps", lambda value: (_ for _ in ()).throw(Broken()))
    with pytest.raises(Broken):
        store_images(images, [SIZE], tmp_path)
    monkeypatch.undo()
    assert list((tmp_path / "store").iterdir()) == []


def test_another_run_that_was_faster_is_no_error(tmp_path):
    """Two runs on the same images: whoever is second takes what the first has stored."""
    images, _ = image_set(greys())
    faster = []

    def advance(count):
        if not faster:
            faster.append(store_images(image_set(greys())[0], [SIZE], tmp_path)[SIZE])

    found = store_images(images, [SIZE], tmp_path, advance, threads=1)[SIZE]
    assert found == faster[0]
    assert np.array_equal(found.open()[1, ..., 0], grey_pixels(1))
    assert [path.name for path in (tmp_path / "store").iterdir()] == [found.folder.name]


# Changes


def folder_set(root, seeds):
    for row, seed in enumerate(seeds):
        path = root / "AB"[row % 2] / f"{row}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(Image.fromarray(grey_pixels(seed))))
    return folder_source(root)


def test_a_changed_file_is_noticed(tmp_path):
    before = store_images(folder_set(tmp_path / "data", [0, 1]), [SIZE], tmp_path / "cache")[SIZE]
    content = encode(Image.fromarray(grey_pixels(7)))
    (tmp_path / "data" / "A" / "0.png").write_bytes(content)
    after = store_images(folder_source(tmp_path / "data"), [SIZE], tmp_path / "cache")[SIZE]
    assert after.fingerprint != before.fingerprint
    assert np.array_equal(after.open()[0, ..., 0], grey_pixels(7))
    assert np.array_equal(before.open()[0, ..., 0], grey_pixels(0)), "the earlier set stays as it was"


def test_a_further_file_is_noticed(tmp_path):
    before = folder_set(tmp_path, [0, 1])
    assert store_key(folder_set(tmp_path, [0, 1, 2])) != store_key(before)


def test_the_key_follows_names_stamps_and_place():
    images, _ = image_set(greys(2))
    renamed = images.table.assign(image=["0.png", "other.png"])
    others = [
        dataclasses.replace(images, table=renamed),
        dataclasses.replace(images, stamps=("1", "2")),
        dataclasses.replace(images, path="elsewhere"),
    ]
    assert len({store_key(images), *map(store_key, others)}) == 4
    assert store_key(dataclasses.replace(images)) == store_key(images)


def test_the_fingerprint_is_of_content_names_and_labels(tmp_path):
    """Not of the place or the time: the same images elsewhere are the same data."""

    def fingerprint(name, contents, **changes):
        images, _ = image_set(contents, path=name)
        return store_images(dataclasses.replace(images, **changes), [SIZE], tmp_path / name)[SIZE].fingerprint

    plain = fingerprint("plain", greys())
    table = image_set(greys())[0].table
    assert fingerprint("elsewhere", greys(), stamps=("2",) * 4) == plain
    assert fingerprint("content", [*greys(3), encode(Image.fromarray(grey_pixels(9)))]) != plain
    assert fingerprint("order", greys()[::-1]) != plain
    assert fingerprint("label", greys(), table=table.assign(label=["B", "B", "A", "B"])) != plain
    assert fingerprint("name", greys(), table=table.assign(image=["z.png", *table["image"][1:]])) != plain


def test_the_meta_file_holds_what_the_set_says(tmp_path):
    found = store_images(image_set(greys())[0], [SIZE], tmp_path)[SIZE]
    meta = json.loads((found.folder / "meta.json").read_text())
    assert meta["channels"] == 1
    assert meta["fingerprint"] == found.fingerprint
    assert found.folder.parent == tmp_path / "store"
