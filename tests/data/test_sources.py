"""Folders of images become a table of label, patient and split; a folder that cannot is refused with what can."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from bench.data import sources
from bench.data.demo import draw
from bench.data.sources import demo_source, folder_source, open_source, read_patients
from bench.errors import ConfigError


def png(seed=0):
    """A small image; every seed has pixels of its own, so no two files are equal by chance."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write(root, names):
    for seed, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(seed))
    return root


def refusal(root):
    with pytest.raises(ConfigError) as caught:
        folder_source(root)
    message = str(caught.value)
    assert str(root) in message
    assert "\n" not in message
    return message


# Layouts


def test_class_folders_without_splits(tmp_path):
    found = folder_source(write(tmp_path, ["NORMAL/a.png", "NORMAL/b.png", "SICK/c.png"]))
    assert found.source == "folder"
    assert found.path == str(tmp_path)
    assert found.classes == ("NORMAL", "SICK")
    assert list(found.table["image"]) == ["NORMAL/a.png", "NORMAL/b.png", "SICK/c.png"]
    assert list(found.table["label"]) == ["NORMAL", "NORMAL", "SICK"]
    assert list(found.table["split"]) == ["", "", ""]
    assert not found.synthetic
    assert found.notes == ()


def test_splits_of_class_folders(tmp_path):
    names = ["train/A/1.png", "train/B/2.png", "val/A/3.png", "val/B/4.png", "test/A/5.png", "test/B/6.png"]
    found = folder_source(write(tmp_path, names))
    assert sorted(found.table["image"]) == sorted(names)
    for row in found.table.to_dict("records"):
        split, label, _ = row["image"].split("/")
        assert (row["split"], row["label"]) == (split, label)


@pytest.mark.parametrize("folder", ["val", "valid", "validation", "Validation", "VAL"])
def test_the_validation_split_has_several_names(tmp_path, folder):
    found = folder_source(write(tmp_path, ["train/A/1.png", "train/B/2.png", f"{folder}/A/3.png"]))
    assert Counter(found.table["split"]) == {"train": 2, "val": 1}


def test_the_training_split_has_several_names(tmp_path):
    found = folder_source(write(tmp_path, ["Training/A/1.png", "Training/B/2.png", "Test/A/3.png"]))
    assert Counter(found.table["split"]) == {"train": 2, "test": 1}


def test_a_training_split_alone_is_a_layout(tmp_path):
    found = folder_source(write(tmp_path, ["train/A/1.png", "train/B/2.png"]))
    assert found.classes == ("A", "B")
    assert set(found.table["split"]) == {"train"}


def test_images_lie_as_deep_as_they_like(tmp_path):
    found = folder_source(write(tmp_path, ["A/patient1/study2/x.png", "A/y.png", "B/patient1/x.png"]))
    assert dict(zip(found.table["image"], found.table["label"], strict=True)) == {
        "A/patient1/study2/x.png": "A",
        "A/y.png": "A",
        "B/patient1/x.png": "B",
    }


def test_hidden_files_and_what_systems_leave_are_passed_over(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png", "A/._1.png", ".git/A/3.png", "__MACOSX/A/4.png", ".DS_Store.png"])
    (tmp_path / "A" / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "A" / "notes.txt").write_text("x")
    assert list(folder_source(tmp_path).table["image"]) == ["A/1.png", "B/2.png"]


def test_hidden_folders_inside_a_class_are_passed_over(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png", "A/.ipynb_checkpoints/1-checkpoint.png"])
    assert list(folder_source(tmp_path).table["image"]) == ["A/1.png", "B/2.png"]


def test_endings_of_any_case_and_kind(tmp_path):
    names = [f"A/{number}{ending}" for number, ending in enumerate(sources.EXTENSIONS)]
    found = folder_source(write(tmp_path, [*names, "A/big.PNG", "B/photo.JPeG", "A/scan.svg", "A/scan"]))
    assert sorted(found.table["image"]) == sorted([*names, "A/big.PNG", "B/photo.JPeG"])


def test_folders_beside_the_splits_are_left_out_and_named(tmp_path):
    found = folder_source(write(tmp_path, ["train/A/1.png", "train/B/2.png", "extra/A/3.png"]))
    assert "extra/A/3.png" not in set(found.table["image"])
    assert any("extra" in note for note in found.notes)


def test_a_folder_without_images_is_no_class(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png"])
    (tmp_path / "empty").mkdir()
    assert folder_source(tmp_path).classes == ("A", "B")


@pytest.mark.parametrize(
    "name", ["NON-COVID 19, mild", "Ödem (schwer)", 'so "called"', "100%", "肺炎", "a'b", "none", "NA"]
)
def test_class_names_with_odd_characters(tmp_path, name):
    found = folder_source(write(tmp_path, [f"{name}/1.png", "zz/2.png"]))
    assert found.classes == tuple(sorted((name, "zz")))
    assert found.read(list(found.table["label"]).index(name)) == png(0)


def test_read_gives_the_bytes_of_the_file(tmp_path):
    found = folder_source(write(tmp_path, ["B/2.png", "A/1.png"]))
    for row, name in enumerate(found.table["image"]):
        assert found.read(row) == (tmp_path / name).read_bytes()


def test_stamps_change_with_the_file(tmp_path):
    before = folder_source(write(tmp_path, ["A/1.png", "B/2.png"])).stamps
    assert folder_source(tmp_path).stamps == before
    (tmp_path / "A/1.png").write_bytes(png(0) + b"more")
    after = folder_source(tmp_path).stamps
    assert after[0] != before[0]
    assert after[1] == before[1]


# Patients


@pytest.mark.parametrize(
    ("name", "narrow", "wide"),
    [
        ("person123_bacteria_456.jpeg", "bacteria-123", "person-123"),
        ("person123_virus_7.jpeg", "virus-123", "person-123"),
        ("IM-0115-0001.jpeg", "IM-0115", "IM-0115"),
        ("IM-0115-0001-0002.jpeg", "IM-0115", "IM-0115"),
        ("NORMAL2-IM-0115-0001.jpeg", "NORMAL2-IM-0115", "IM-0115"),
        ("train/PNEUMONIA/person1_virus_6.jpeg", "virus-1", "person-1"),
    ],
)
def test_patients_of_the_public_names(name, narrow, wide):
    assert read_patients([name])[:2] == ([wide], [narrow])


def test_the_wide_reading_joins_what_the_narrow_one_keeps_apart():
    names = ["person3_bacteria_1.jpeg", "person3_virus_2.jpeg", "person3_virus_9.jpeg", "person33_virus_1.jpeg"]
    wide, narrow, rule = read_patients(names)
    assert wide == ["person-3", "person-3", "person-3", "person-33"]
    assert narrow == ["bacteria-3", "virus-3", "virus-3", "virus-33"]
    assert "chest X-ray" in rule


def test_one_name_beyond_the_rules_and_each_image_is_its_own_patient():
    names = ["A/person3_bacteria_1.jpeg", "A/person3_bacteria_2.jpeg", "A/scan.jpeg"]
    wide, narrow, rule = read_patients(names)
    assert wide == narrow == names
    assert "assumption" in rule


@pytest.mark.parametrize(
    "name", ["person_bacteria_1.jpeg", "xperson1_virus_2.jpeg", "IM-0115.jpeg", "person1_fungus_2.png"]
)
def test_names_that_only_resemble_them_carry_no_patient(name):
    assert read_patients([name])[0] == [name]


def test_a_folder_source_reads_both(tmp_path):
    names = ["N/IM-0001-0001.png", "N/NORMAL2-IM-0001-0001.png", "P/person1_virus_1.png", "P/person1_bacteria_2.png"]
    table = folder_source(write(tmp_path, names)).table.set_index("image")
    assert table["patient"].nunique() == 2
    assert table["patient_narrow"].nunique() == 4


# Refusals


def test_a_missing_folder(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert message.startswith("There is no folder")
    assert sources.LAYOUTS in message


def test_a_file(tmp_path):
    path = tmp_path / "images.zip"
    path.write_bytes(b"PK")
    message = refusal(path)
    assert "is a file" in message
    assert sources.LAYOUTS in message


def test_no_images(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "notes.txt").write_text("x")
    message = refusal(tmp_path)
    assert "no images" in message
    assert sources.LAYOUTS in message
    for ending in sources.EXTENSIONS:
        assert ending in message


def test_loose_images(tmp_path):
    message = refusal(write(tmp_path, ["1.png", "2.png"]))
    assert "no class folder" in message
    assert sources.LAYOUTS in message


@pytest.mark.parametrize("names", [["A/1.png", "A/2.png"], ["train/A/1.png", "test/A/2.png"]])
def test_one_class(tmp_path, names):
    message = refusal(write(tmp_path, names))
    assert "one class only (A)" in message
    assert "at least two class folders" in message


@pytest.mark.parametrize("name", ["Mass|Nodule", "Mass;Nodule"])
def test_class_names_that_list_several_labels(tmp_path, name):
    message = refusal(write(tmp_path, ["Mass/1.png", f"{name}/2.png"]))
    assert "multi-label" in message
    assert repr(name) in message
    assert "exactly one label" in message


def test_one_image_in_several_classes(tmp_path):
    write(tmp_path, ["A/1.png", "A/2.png", "B/3.png"])
    (tmp_path / "B" / "1.png").write_bytes((tmp_path / "A" / "1.png").read_bytes())
    message = refusal(tmp_path)
    assert "multi-label" in message
    assert "1 images lie in several class folders" in message
    assert "exactly one label" in message


def test_one_name_in_several_classes_is_no_harm(tmp_path):
    assert len(folder_source(write(tmp_path, ["A/1.png", "A/2.png", "B/1.png", "B/2.png"])).table) == 4


def test_a_rare_copy_is_left_to_the_audit(tmp_path):
    """One image in several classes among more than a hundred is a mistake in the data, not another kind of data."""
    write(tmp_path, [f"{label}/{label}{number}.png" for label in "AB" for number in range(60)])
    for label in "AB":
        (tmp_path / label / "same.png").write_bytes(png(999))
    assert len(folder_source(tmp_path).table) == 122


def test_splits_without_train(tmp_path):
    message = refusal(write(tmp_path, ["val/A/1.png", "val/B/2.png", "test/A/3.png"]))
    assert "test, val" in message
    assert "no train folder" in message
    assert sources.LAYOUTS in message


# The demo


@pytest.fixture
def small_demo(monkeypatch):
    """The demo source over a set that is drawn in a moment."""
    monkeypatch.setattr(sources.demo, "draw", lambda seed: draw(seed, n_train=24, n_val=12, n_test=12, size=32))


def test_the_demo_source(small_demo):
    found = demo_source(3)
    drawn = draw(3, n_train=24, n_val=12, n_test=12, size=32)
    assert found.source == "demo"
    assert found.synthetic
    assert found.classes == ("NORMAL", "OPACITY")
    assert list(found.table["label"]) == drawn.labels
    assert list(found.table["split"]) == drawn.splits
    assert list(found.table["patient"]) == list(found.table["patient_narrow"]) == drawn.patients
    assert found.table["image"].is_unique
    assert any("synthetic" in note for note in found.notes)
    for row in (0, 20, 47):
        pixels = np.asarray(Image.open(io.BytesIO(found.read(row))))
        assert np.array_equal(pixels, drawn.images[row])


def test_stamps_of_the_demo_follow_the_seed(small_demo):
    assert demo_source(0).stamps == demo_source(0).stamps
    assert demo_source(0).stamps != demo_source(1).stamps


@pytest.mark.parametrize("data", [None, "demo"])
def test_the_demo_is_what_is_opened_by_default(small_demo, data):
    assert open_source(data, 0).source == "demo"


def test_anything_else_is_a_folder(tmp_path):
    assert open_source(str(write(tmp_path, ["A/1.png", "B/2.png"])), 0).source == "folder"
    with pytest.raises(ConfigError, match="There is no folder"):
        open_source(str(tmp_path / "demo2"), 0)
