"""An .npz file in the layout of MedMNIST: what it may hold, and what is refused."""

import pickle
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from source_files import pixels

from bench.data.images.decode import decode
from bench.data.sources import arrays
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError

IMAGES = pixels(0, (4, 6, 5))
LABELS = np.array([0, 1, 0, 1])


@pytest.fixture
def opened(tmp_path):
    """``opened(train_images=…, …)`` -> the set of an .npz file; a good training split where nothing is said."""

    def made(name="set.npz", pattern=None, **changes):
        contents = {"train_images": IMAGES, "train_labels": LABELS} | changes
        np.savez(tmp_path / name, **{key: value for key, value in contents.items() if value is not None})
        return open_source(str(tmp_path / name), 0, patient_pattern=pattern)

    return made


@pytest.fixture
def refusal(opened):
    def told(**changes):
        with pytest.raises(ConfigError) as caught:
            opened(**changes)
        message = str(caught.value)
        assert "\n" not in message
        assert "set.npz" in message
        return message

    return told


def test_classes_are_in_numeric_order(opened):
    found = opened(train_labels=np.array([10, 2, 2, 10]), test_images=IMAGES[:1], test_labels=np.array([-1]))
    assert found.classes == ("-1", "2", "10")
    assert found.notes == ("The label '-1' is taken as a class; if it says that there is none, leave its images out.",)
    assert list(found.table["label"]) == ["10", "2", "2", "10", "-1"]
    assert list(found.table["split"]) == ["train"] * 4 + ["test"]


@pytest.mark.parametrize("name", ["pneumoniamnist.npz", "pneumoniamnist_224.npz"])
def test_the_names_of_medmnist_where_they_fit(opened, name):
    assert opened(name).classes == ("normal", "pneumonia")
    assert opened(name, train_labels=np.array([0, 1, 2, 2])).classes == ("0", "1", "2")
    assert opened(name, train_labels=np.array([1, 2, 1, 2])).classes == ("1", "2")
    assert opened("my_pneumoniamnist.npz").classes == ("0", "1")
    assert opened("pneumoniamnist_99.npz").classes == ("0", "1")


def test_the_order_of_catalogue_names_is_that_of_their_labels(opened):
    assert opened("breastmnist.npz").classes == ("malignant", "normal, benign")


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint16", "int64", "float32"])
def test_numbers_of_any_kind(opened, tmp_path, dtype):
    values = (np.arange(4 * 30).reshape(4, 6, 5) % 100).astype(dtype)
    with opened(train_images=values).reader.opened(tmp_path) as read:
        assert np.array_equal(read(3), values[3])
        assert read(3).dtype == dtype
        assert decode(read(3)).image.size == (5, 6)


@pytest.mark.parametrize(
    "names",
    [
        ("train_images", "train_labels", "valid_images", "valid_labels", "testing_images", "testing_labels"),
        ("train_images", "train_labels", "validation_images", "validation_labels", "holdout_images", "holdout_labels"),
        ("train_images", "train_labels", "Val_Images", "Val_Labels", "TestImages", "TestLabels"),
        ("training_images", "training_labels", "dev-image", "dev-label", "test_set_imgs", "test_set_labels"),
        ("x_train", "y_train", "x_val", "y_val", "X_test", "y_test"),
        ("train_images", "train_labels", "val_images", "val_labels", "eval_images", "eval_labels"),
    ],
    ids=lambda names: names[-1],
)
def test_arrays_of_splits_that_are_called_otherwise(opened, tmp_path, names):
    images, labels = [IMAGES + number for number in range(3)], [LABELS, LABELS[::-1], 1 - LABELS]
    contents = dict(zip(names[::2], images, strict=True)) | dict(zip(names[1::2], labels, strict=True))
    found = opened(**({"train_images": None, "train_labels": None} | contents))
    assert found.table["split"].tolist() == ["train"] * 4 + ["val"] * 4 + ["test"] * 4
    assert found.table["label"].tolist() == [str(label) for part in labels for label in part]
    assert f"Arrays {names[4]} and {names[5]} are taken as the test split." in found.notes
    with found.reader.opened(tmp_path) as read:
        assert np.array_equal(read(9), images[2][1])


def test_arrays_that_are_not_used_are_named(opened):
    extra = {f"train_masks_{number}": IMAGES for number in range(6)} | {"mean": LABELS, "val_patients": LABELS}
    found = opened(**extra, unlabeled_images=IMAGES)
    assert found.notes == (f"Arrays that are not used: {', '.join(extra)}, unlabeled_images.",)


def test_further_labels_of_the_same_images_are_not_used(opened):
    found = opened(train_targets=1 - LABELS, train_image_labels=1 - LABELS)
    assert found.table["label"].tolist() == [str(label) for label in LABELS]
    assert found.notes == ("Arrays that are not used: train_targets, train_image_labels.",)


def test_two_arrays_for_one_split(refusal):
    more = {"val_images": IMAGES, "val_labels": LABELS, "valid_images": IMAGES, "valid_labels": LABELS}
    assert "two arrays of images for the val split, val_images and valid_images" in refusal(**more)


def test_arrays_in_fortran_order(opened, tmp_path):
    with opened(train_images=np.asfortranarray(IMAGES)).reader.opened(tmp_path) as read:
        assert np.array_equal(read(2), IMAGES[2])


def test_an_empty_split_is_none(opened, tmp_path):
    found = opened(val_images=IMAGES[:0], val_labels=LABELS[:0], test_images=IMAGES[1:3], test_labels=LABELS[1:3])
    assert list(found.table["split"]) == ["train"] * 4 + ["test"] * 2
    with found.reader.opened(tmp_path) as read:
        assert np.array_equal(read(5), IMAGES[2])


def test_names_are_unique_and_sort_as_they_stand(opened):
    many = np.zeros((100_001, 1, 1), dtype=np.uint8)
    names = list(opened(train_images=many, train_labels=np.arange(100_001) % 2).table["image"])
    assert names[0] == "train/000000"
    assert names == sorted(set(names))


def test_opening_loads_no_images(opened, monkeypatch):
    seen = []
    load = arrays.load
    monkeypatch.setattr(
        "bench.data.sources.arrays.load", lambda archive, name: seen.append(name) or load(archive, name)
    )
    opened(val_images=IMAGES, val_labels=LABELS)
    assert seen == ["train_labels", "val_labels"]


def test_unpacked_arrays_are_mapped_into_memory_once(opened, tmp_path, monkeypatch):
    opened_so_far = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda path, **how: opened_so_far.append((path.name, how)) or load(path, **how))
    with opened(test_images=IMAGES, test_labels=LABELS).reader.opened(tmp_path) as read:
        assert opened_so_far == []
        for row in range(8):
            read(row)
    how = {"mmap_mode": "r"}
    assert opened_so_far == [("train_images.npy", how), ("test_images.npy", how)]


def test_unpacked_arrays_leave_with_the_context(opened, tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with opened().reader.opened(scratch) as read:
        assert [path.name for path in scratch.rglob("*.npy")] == ["train_images.npy"]
        with opened().reader.opened(scratch) as other:
            assert np.array_equal(read(0), other(0))
        assert np.array_equal(read(1), IMAGES[1])
    assert list(scratch.iterdir()) == []


def test_the_reader_is_light_to_import():
    code = "import sys, bench.data.sources.arrays; sys.exit('pandas' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# More than 8 bits


def test_one_window_serves_all_splits(opened, tmp_path):
    dark, bright = (np.linspace(0, high, 4 * 30).reshape(4, 6, 5).astype(np.uint16) for high in (200, 4000))
    with opened(train_images=dark, test_images=bright, test_labels=LABELS).reader.opened(tmp_path) as read:
        assert (read.window.low, read.window.high, read.window.rule) == (0, 4000, "set")
        assert pickle.loads(pickle.dumps(read)).window == read.window
        assert decode(read(3), read.window).image.getextrema()[1] == round(200 * 255 / 4000)
        assert decode(read(7), read.window).image.getextrema()[1] == 255
    with opened(train_images=dark).reader.opened(tmp_path) as read:
        assert read.window is None, "values up to 255 stay as they are, if all are such"


@pytest.mark.parametrize(("low", "kind"), [(1 / 255, "float32"), (0.02, "float64"), (1 / 4095, "float16")])
def test_splits_in_other_scales_are_refused(opened, tmp_path, low, kind):
    bright = np.linspace(0, 255, 4 * 30).reshape(4, 6, 5)
    found = opened(train_images=(bright * low).astype(kind), test_images=bright, test_labels=LABELS)
    told = r"different scales \(train_images from .* and test_images from "
    with pytest.raises(ConfigError, match=told), found.reader.opened(tmp_path):
        pass
    same = opened(train_images=bright / 10, test_images=bright, test_labels=LABELS)
    with same.reader.opened(tmp_path) as read:
        assert read.window.high == 255


def test_a_split_of_one_value_has_no_scale(opened, tmp_path):
    bright = np.linspace(0, 255, 4 * 30).reshape(4, 6, 5)
    with opened(train_images=bright, test_images=bright * 0, test_labels=LABELS).reader.opened(tmp_path) as read:
        assert read.window.high == 255


def test_arrays_of_eight_bits_are_not_looked_through(opened, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "of_set", lambda arrays: pytest.fail("no") if arrays else None)
    with opened().reader.opened(tmp_path) as read:
        assert read.window is None


def test_images_of_eight_bits_beside_images_of_more(refusal):
    message = refusal(test_images=IMAGES.astype(np.uint16), test_labels=LABELS)
    assert "train_images uint8, test_images uint16" in message


# Refusals


def test_no_npz(tmp_path):
    (tmp_path / "set.npz").write_bytes(b"no archive")
    with pytest.raises(ConfigError, match=r"is no \.npz file that can be read"):
        open_source(str(tmp_path / "set.npz"), 0)


def test_a_file_that_may_not_be_read(refusal, monkeypatch):
    def locked(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("bench.data.sources.arrays.zipfile.ZipFile", locked)
    monkeypatch.setattr(np, "savez", lambda path, **_: path.touch())
    assert "cannot be read (Permission denied)" in refusal()


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.npz", "w") as archive:
        archive.writestr("train_images.npy", "x")
        archive.writestr("train_labels.npy", "x")
    with pytest.raises(ConfigError, match=r"is no \.npz file that can be read"):
        open_source(str(tmp_path / "set.npz"), 0)


@pytest.mark.parametrize("place", [0, 3000])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_file(opened, tmp_path, monkeypatch, save, place):
    monkeypatch.setattr(np, "savez", save)
    found = opened(train_images=pixels(0, (4, 60, 50)) // 16)
    with zipfile.ZipFile(tmp_path / "set.npz") as archive, archive.open("train_images.npy") as member:
        start = member._orig_compress_start
    content = bytearray((tmp_path / "set.npz").read_bytes())
    content[start + place] = 255
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(ConfigError, match=r"is no \.npz file that can be read"), found.reader.opened(tmp_path):
        pass


def test_missing_arrays(refusal):
    message = refusal(train_labels=None, x=IMAGES)
    assert "has no train_labels (found: train_images, x)" in message
    assert "val_images" in message
    assert "has no val_labels" in refusal(val_images=IMAGES)
    assert "has no test_images" in refusal(test_labels=LABELS)
    assert "has no train_images and no train_labels" in refusal(train_images=None, train_labels=None, y=LABELS)


@pytest.mark.parametrize(
    "shape", [(4,), (4, 6), (4, 6, 5, 2), (4, 6, 5, 4), (4, 6, 5, 3, 1), (4, 28, 28, 28), (4, 0, 5)]
)
def test_images_of_another_shape(refusal, shape):
    message = refusal(train_images=np.zeros(shape))
    assert "train_images in" in message
    assert f"has shape {shape}" in message
    assert "(n, height, width, 3)" in message


def test_several_labels_an_image(refusal):
    message = refusal(train_labels=np.zeros((4, 14), dtype=int))
    assert "multi-label" in message
    assert "(4, 14)" in message
    assert "4 of its rows hold several ones, or none" in message
    message = refusal(train_labels=np.array([[1, 0], [1, 1], [0, 1], [0, 1]]))
    assert "1 of its rows hold several ones" in message


@pytest.mark.parametrize("dtype", [bool, "uint8", "int64", "float32"])
def test_one_hot_labels_are_read_and_named(opened, dtype):
    labels = np.eye(3)[[2, 0, 1, 2]].astype(dtype)
    found = opened(train_labels=labels, test_images=IMAGES[:1], test_labels=labels[:1])
    assert found.table["label"].tolist() == ["2", "0", "1", "2", "2"]
    assert found.notes == ("The labels are one-hot: of their 3 columns the one that holds 1 is the class.",)
    assert opened().notes == ()


def test_columns_of_something_else_are_no_one_hot_labels(refusal):
    message = refusal(train_labels=np.array([[0.2, 0.8], [0.5, 0.5], [1, 0], [0, 1]]))
    assert "is not one-hot" in message
    assert "labels.argmax(axis=1)" in message


def test_one_hot_labels_in_one_split_only(refusal):
    message = refusal(train_labels=np.eye(2)[LABELS], test_images=IMAGES, test_labels=LABELS)
    assert "train_labels 2, test_labels one" in message


@pytest.mark.parametrize("shape", [(), (4, 1, 1), (4, 0)])
def test_labels_of_another_shape(refusal, shape):
    assert "train_labels in" in (message := refusal(train_labels=np.zeros(shape, dtype=int)))
    assert "(n,) or (n, 1) is needed" in message


@pytest.mark.parametrize("labels", [LABELS.astype(float), np.array(["a", "b", "a", "b"])])
def test_labels_that_are_no_integers(refusal, labels):
    assert "integers are needed" in refusal(train_labels=labels)


@pytest.mark.parametrize("images", [IMAGES.astype(object), IMAGES.astype(complex), IMAGES.astype(str)])
def test_images_that_are_no_numbers(refusal, images):
    assert "numbers are needed" in refusal(train_images=images)


def test_objects_are_never_unpickled(refusal):
    class Bomb:
        def __reduce__(self):
            return (sys.exit, (1,))

    assert "integers are needed" in refusal(train_labels=np.array([Bomb()] * 4, dtype=object))


def test_counts_that_differ(refusal):
    assert "holds 4 train_images but 3 train_labels" in refusal(train_labels=LABELS[:3])


def test_no_images(refusal):
    assert "train_images in" in (message := refusal(train_images=IMAGES[:0], train_labels=LABELS[:0]))
    assert "is empty" in message


def test_one_class(refusal):
    assert "one class only (1)" in refusal(train_labels=np.ones(4, dtype=int))


def test_a_pattern(refusal):
    message = refusal(pattern=r"^(\d)")
    assert "--patient-pattern cannot be used" in message
    assert "no file names" in message
