"""Every source keeps the same promises: one suite over all of them. What is special to one is tested beside it."""

import csv
import dataclasses
import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from source_files import dicom, pixels, png, served, write, write_bytes

from bench.data.images.decode import decode
from bench.data.imageset import COLUMNS
from bench.data.sources import medmnist
from bench.data.sources import open_source as sources
from bench.data.sources.demo import draw
from bench.data.sources.open_source import demo_source, open_source
from bench.errors import ConfigError

SPLITS = ("train", "val", "test")


@dataclass
class Image:
    """What is to be found of one image; the patient is empty where the image is its own."""

    label: str
    pixels: np.ndarray
    split: str = ""
    patient: str = ""


@dataclass
class Case:
    """A source on disk and what it must become."""

    data: str | None
    kind: str
    classes: tuple[str, ...]
    images: dict[str, Image]
    changed: Path | None = None
    changes: set[str] = field(default_factory=set)
    cache: Path | None = None

    def open(self):
        return open_source(self.data, 0, cache=self.cache)


def drawn(classes, splits, shape=(6, 5)):
    """(split, class, pixels) of three images a class and split, in the order of folders."""
    kinds = [(split, label) for split in splits for label in classes for _ in range(3)]
    return [(split, label, pixels(seed, shape)) for seed, (split, label) in enumerate(kinds)]


def folder(root, classes, splits=("",), encode=png, ending=".png"):
    images = {}
    for number, (split, label, values) in enumerate(drawn(classes, splits)):
        name = f"{split}/{label}/{number:02}{ending}".lstrip("/")
        patient = f"P{number // 2}" if encode is not png else ""
        write_bytes(root / name, encode(values, PatientID=patient) if patient else encode(values))
        images[name] = Image(label, values, split, patient)
    name = next(iter(images))
    return Case(str(root), "folder", classes, images, root / name, {name})


def folder_with_splits(root, classes, _):
    return folder(root, classes, ("test", "train", "val"))


def folder_without_splits(root, classes, _):
    return folder(root, classes)


def dicom_folder(root, classes, _):
    return folder(root, classes, encode=dicom, ending=".dcm")


def manifest(root, classes, splits, patients):
    images = {}
    for number, (split, label, values) in enumerate(drawn(classes, splits)):
        name = f"files/{99 - number}.png"
        write_bytes(root / name, png(values))
        images[name] = Image(label, values, split, f"00{number // 2}" if patients else "")
    columns = ["path", "label", *(["split"] if splits != ("",) else []), *(["patient"] if patients else [])]
    with (root / "images.csv").open("w", newline="") as file:
        rows = [{"path": name, **vars(image)} for name, image in images.items()]
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    name = next(iter(images))
    return Case(str(root / "images.csv"), "manifest", classes, images, root / name, {name})


def manifest_alone(root, classes, _):
    return manifest(root, classes, ("",), patients=False)


def manifest_with_all(root, classes, _):
    return manifest(root, classes, SPLITS, patients=True)


def arrays(path, classes, splits=SPLITS, shape=(6, 5), column=False):
    """An .npz whose labels 0, 1, … are the classes in order."""
    contents, images = {}, {}
    for split in splits:
        there = [entry for entry in drawn(classes, SPLITS, shape) if entry[0] == split]
        labels = np.array([classes.index(label) for _, label, _ in there], dtype=np.uint8)
        contents[f"{split}_images"] = np.stack([values for *_, values in there])
        contents[f"{split}_labels"] = labels[:, None] if column else labels
        for row, (_, label, values) in enumerate(there):
            images[f"{split}/{row:05}"] = Image(label, values, split)
    np.savez_compressed(path, **contents)
    return Case(str(path), "npz", classes, images, path, set(images))


def numbered(classes):
    return tuple(str(number) for number in range(len(classes)))


def npz_grey(root, classes, _):
    return arrays(root / "grey.npz", numbered(classes))


def npz_grey_of_one_channel(root, classes, _):
    case = arrays(root / "grey.npz", numbered(classes), shape=(6, 5, 1))
    for image in case.images.values():
        image.pixels = image.pixels[..., 0]
    return case


def npz_colour(root, classes, _):
    return arrays(root / "colour.npz", numbered(classes), shape=(6, 5, 3))


def npz_with_a_column_of_labels(root, classes, _):
    return arrays(root / "column.npz", numbered(classes), ("train", "test"), column=True)


def fetched(root, classes, request):
    """A MedMNIST set of two or three classes, fetched from this machine."""
    names = ("normal", "pneumonia", "other")[: len(classes)]
    (root / "served").mkdir()
    case = arrays(root / "served" / "pneumoniamnist_64.npz", names, column=True)
    content = (root / "served" / "pneumoniamnist_64.npz").read_bytes()
    patch = request.getfixturevalue("monkeypatch")
    patch.setenv("NO_PROXY", "*")
    digest = hashlib.md5(content).hexdigest()
    entry = next(entry for entry in medmnist.catalogue() if entry.name == "pneumoniamnist")
    changed = dataclasses.replace(entry, classes=names, md5=("", digest, "", ""))
    patch.setattr(medmnist, "catalogue", lambda: (changed,))
    with served(root / "served") as (address, _):
        patch.setattr(medmnist, "BASE_URL", address)
        open_source("medmnist:pneumoniamnist@64", 0, cache=root / "cache")
    case.data, case.kind, case.cache = "medmnist:pneumoniamnist@64", "medmnist", root / "cache"
    case.changed = root / "cache" / "medmnist" / "pneumoniamnist_64.npz"
    return case


def demo(root, classes, request):
    request.getfixturevalue("small_demo")
    found = draw(0, n_train=24, n_val=12, n_test=12, size=32)
    names = [f"phantom-{row:04d}.png" for row in range(48)]
    known = zip(found.labels, found.images, found.splits, found.patients, strict=True)
    images = {name: Image(*facts) for name, facts in zip(names, known, strict=True)}
    return Case("demo", "demo", ("NORMAL", "OPACITY"), images)


SOURCES = [
    folder_with_splits,
    folder_without_splits,
    dicom_folder,
    manifest_alone,
    manifest_with_all,
    npz_grey,
    npz_grey_of_one_channel,
    npz_colour,
    npz_with_a_column_of_labels,
    fetched,
]


@pytest.fixture
def small_demo(monkeypatch):
    """The demo source over a set that is drawn in a moment."""
    monkeypatch.setattr(sources.demo, "draw", lambda seed: draw(seed, n_train=24, n_val=12, n_test=12, size=32))


@pytest.fixture(
    params=[(build, classes) for build in SOURCES for classes in (("A", "B"), ("A", "B", "C"))]
    + [(demo, ("NORMAL", "OPACITY"))],
    ids=lambda param: f"{param[0].__name__}-{len(param[1])}",
)
def case(request, tmp_path):
    build, classes = request.param
    return build(tmp_path, classes, request)


def test_the_table_has_its_columns_and_counts_from_0(case):
    table = case.open().table
    assert tuple(table.columns) == COLUMNS
    assert list(table.index) == list(range(len(case.images)))
    for column in COLUMNS:
        assert pd.api.types.is_string_dtype(table[column])
        assert all(isinstance(value, str) for value in table[column])


def test_every_image_is_there_once_with_its_label_and_split(case):
    found = case.open()
    assert list(found.table["image"]) == list(case.images)
    for row in found.table.to_dict("records"):
        expected = case.images[row["image"]]
        assert (row["label"], row["split"]) == (expected.label, expected.split)


def test_classes_are_in_order_and_the_kind_and_path_are_told(case):
    found = case.open()
    assert found.classes == case.classes
    assert set(found.table["label"]) == set(found.classes)
    assert found.source == case.kind
    assert found.path == (case.data if case.kind != "demo" else "embedded demo data")
    assert found.synthetic == (case.kind == "demo")


def test_patients_are_the_sources_or_each_image_is_its_own(case):
    found = case.open()
    expected = [image.patient or name for name, image in case.images.items()]
    assert list(found.table["split_group"]) == list(found.table["patient_id"]) == expected
    known = any(image.patient for image in case.images.values())
    assert found.patients_assumed == (not known)
    assert ("assumption" in found.patient_rule) == (not known)


def test_the_reader_gives_content_that_decodes_to_the_pixels(case, tmp_path):
    found = case.open()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    reader = pickle.loads(pickle.dumps(found.reader))
    with reader.opened(scratch) as read:
        sent = pickle.loads(pickle.dumps(read))
        read(0)
        sent_after_use = pickle.loads(pickle.dumps(read))
        for row, image in reversed(list(enumerate(case.images.values()))):
            for reading in (read, sent, sent_after_use):
                assert np.array_equal(np.asarray(decode(reading(row)).image), image.pixels)
    assert list(scratch.iterdir()) == []


def test_what_is_sent_to_another_process_is_small(case, tmp_path):
    in_memory = 32 * 32 if case.kind == "demo" else 0  # its images, drawn at 32 px, lie in no file
    with case.open().reader.opened(tmp_path) as read:
        read(0)
        assert len(pickle.dumps(read)) < 200 + (40 + in_memory) * len(case.images)


def test_two_openings_are_the_same(case):
    one, two = case.open(), case.open()
    pd.testing.assert_frame_equal(one.table, two.table)
    assert one.stamps == two.stamps
    assert dataclasses.replace(one, table=None, reader=None) == dataclasses.replace(two, table=None, reader=None)


def test_a_changed_file_changes_the_stamps_of_its_images_and_no_others(case):
    before = case.open()
    assert len(before.stamps) == len(before.table)
    assert all(isinstance(stamp, str) and stamp for stamp in before.stamps)
    if case.changed is None:
        return
    content = case.changed.read_bytes()
    case.changed.unlink()
    case.changed.write_bytes(content)
    after = case.open()
    pairs = zip(before.table["image"], before.stamps, after.stamps, strict=True)
    assert {name for name, old, new in pairs if old != new} == case.changes


def test_nothing_else_is_found(case):
    assert case.open().others == ()


# The demo, and what --data takes


def test_stamps_of_the_demo_follow_the_seed(small_demo):
    assert demo_source(0).stamps == demo_source(0).stamps
    assert demo_source(0).stamps != demo_source(1).stamps


def test_the_demo_says_what_it_is(small_demo):
    assert any("synthetic" in note for note in demo_source(0).notes)


@pytest.mark.parametrize("data", [None, "demo"])
def test_the_demo_is_what_is_opened_by_default(small_demo, data):
    assert open_source(data, 0).source == "demo"


def test_a_pattern_applies_to_the_demo(small_demo):
    found = open_source("demo", 0, patient_pattern=r"phantom-(\d{3})")
    assert found.table["split_group"].nunique() == 5
    with pytest.raises(ConfigError, match="matches none of the 48 names"):
        open_source("demo", 0, patient_pattern="^(P)_")


def test_a_folder_called_like_a_file_is_a_folder(tmp_path):
    assert open_source(str(write(tmp_path / "set.csv", ["A/1.png", "B/2.png"])), 0).source == "folder"


def test_endings_of_any_case(tmp_path):
    case = npz_grey(tmp_path, ("A", "B"), None)
    assert open_source(str(Path(case.data).rename(tmp_path / "DATA.NPZ")), 0).source == "npz"


@pytest.mark.parametrize(
    ("name", "told"),
    [("demo2", "There is no folder"), ("lost.csv", "There is no file"), ("lost.npz", "There is no file")],
)
def test_nothing_there(tmp_path, name, told):
    with pytest.raises(ConfigError, match=told) as caught:
        open_source(str(tmp_path / name), 0)
    assert sources.ACCEPTED in str(caught.value)


def test_a_file_of_another_kind(tmp_path):
    path = tmp_path / "images.parquet"
    path.write_bytes(b"PK")
    with pytest.raises(ConfigError, match="file of another kind") as caught:
        open_source(str(path), 0)
    message = str(caught.value)
    assert "\n" not in message
    for accepted in ("train/", ".csv", ".npz", "medmnist:NAME[@SIZE]", "demo"):
        assert accepted in message


def test_a_path_that_is_not_utf_8():
    with pytest.raises(ConfigError, match="is not UTF-8") as caught:
        open_source("caf\udce9/set.csv", 0)
    assert str(caught.value).isascii()
    assert r"'caf\udce9/set.csv'" in str(caught.value)


def test_a_path_that_cannot_be_looked_at(tmp_path):
    path = tmp_path / ("long" * 100)
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        open_source(str(path), 0)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
