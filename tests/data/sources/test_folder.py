"""Folders of images become a table of label, patient and split; a folder that cannot is refused with what can."""

import io
import os
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image, features
from source_files import dicom, pixels, png, write, write_bytes

from bench.data.images import dicom as dicom_module
from bench.data.images.decode import decode
from bench.data.sources import listing
from bench.data.sources.folder import LAYOUTS, folder_source
from bench.data.sources.listing import EXTENSIONS, PICTURES
from bench.errors import ConfigError


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


def test_names_that_begin_with_underscores_are_names_like_others(tmp_path):
    names = ["__test/A/1.png", "__test/B/__2.png", "train/A/__3.png", "train/B/__deeper/4.png"]
    found = folder_source(write(tmp_path, [*names, "__MACOSX/A/5.png", "train/__pycache__/6.png"]))
    assert list(found.table["image"]) == names
    assert Counter(found.table["split"]) == {"test": 2, "train": 2}
    assert [(one.kind, one.names) for one in found.excluded] == [
        ("system folder", ("__MACOSX", "train/__pycache__")),
    ]


def test_hidden_images_and_folders_of_images_are_counted_and_named(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png", "A/.3.png", ".C/4.png", ".C/deep/5.png", "B/.old/6.png"])
    write(tmp_path, ["A/._1.png", ".git/annex/objects/7.png", ".Trash-1000/8.png", ".DS_Store", ".venv/9.png"])
    for name in (".notes/readme.txt", ".x.txt", ".y"):
        write_bytes(tmp_path / name, b"x")
    found = folder_source(tmp_path)
    assert list(found.table["image"]) == ["A/1.png", "B/2.png"]
    assert [(one.counted, one.names) for one in found.excluded] == [
        ("1 hidden image", ("A/.3.png",)),
        ("2 hidden folders", (".C (2 images)", "B/.old (1 image)")),
    ]


def test_hidden_folders_that_are_locked_are_passed_over(tmp_path, monkeypatch):
    write(tmp_path, ["A/1.png", "B/2.png", ".Revisions/3.png"])
    as_it_is = os.scandir

    def locked(path):
        if os.fspath(path).endswith(".Revisions"):
            raise PermissionError(13, "Permission denied", path)
        return as_it_is(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = folder_source(tmp_path)
    assert (len(found.table), found.excluded) == (2, ())


def test_endings_of_any_case_and_kind(tmp_path):
    names = [f"A/{number}{ending}" for number, ending in enumerate(EXTENSIONS)]
    found = folder_source(write(tmp_path, [*names, "A/big.PNG", "B/photo.JPeG", "A/scan.svg", "A/scan"]))
    assert sorted(found.table["image"]) == sorted([*names, "A/big.PNG", "A/scan", "B/photo.JPeG"])


@pytest.mark.parametrize("ending", PICTURES)
def test_endings_of_images_can_be_decoded(tmp_path, ending):
    if Image.registered_extensions()[ending] == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("Pillow comes without OpenJPEG")
    values = np.full((6, 5), 90, dtype=np.uint8)
    kind = Image.registered_extensions()[ending]
    contents = []
    for label, number in (("A", 1), ("B", 2)):
        buffer = io.BytesIO()
        Image.fromarray(values + number).save(buffer, kind)
        contents.append(buffer.getvalue())
        write_bytes(tmp_path / label / f"{number}{ending}", buffer.getvalue())
    found = folder_source(tmp_path)
    assert found.others == ()
    for row, content in enumerate(contents):
        assert found.reader(row) == content
        assert abs(np.asarray(decode(content).image).astype(int) - (91 + row)).max() <= 2


def test_folders_beside_the_splits_are_left_out_and_named(tmp_path):
    found = folder_source(write(tmp_path, ["train/A/1.png", "train/B/2.png", "extra/3.png", "extra/more/4.png"]))
    assert list(found.table["image"]) == ["train/A/1.png", "train/B/2.png"]
    assert [(one.kind, one.names) for one in found.excluded] == [("other folder", ("extra (2 images)",))]


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
    assert found.reader(list(found.table["label"]).index(name)) == png(pixels(0))


def test_read_gives_the_bytes_of_the_file(tmp_path):
    found = folder_source(write(tmp_path, ["B/2.png", "A/1.png"]))
    for row, name in enumerate(found.table["image"]):
        assert found.reader(row) == (tmp_path / name).read_bytes()


def test_stamps_change_with_the_file(tmp_path):
    before = folder_source(write(tmp_path, ["A/1.png", "B/2.png"])).stamps
    assert folder_source(tmp_path).stamps == before
    (tmp_path / "A/1.png").write_bytes(png(pixels(0)) + b"more")
    after = folder_source(tmp_path).stamps
    assert after[0] != before[0]
    assert after[1] == before[1]


# What does not look like an image, and DICOM without an ending


def test_files_that_do_not_look_like_images_are_named(tmp_path):
    write(tmp_path, ["train/A/1.png", "train/B/2.png", "extra/3.png"])
    for name in ["train/A/notes.txt", "train/A/deep/scan.svg", "train/B/README", "train/B/.hidden.txt", "train/x.txt"]:
        write_bytes(tmp_path / name, b"x")
    found = folder_source(tmp_path)
    assert found.others == ("train/A/deep/scan.svg", "train/A/notes.txt", "train/B/README")
    assert list(found.table["image"]) == ["train/A/1.png", "train/B/2.png"]


@pytest.mark.parametrize(
    ("files", "others"),
    [
        (["A/1.png", "B/2.png"], ["C.zip", "labels.csv"]),
        (["train/A/1.png", "train/B/2.png"], ["README", "train/C.tar.gz"]),
        (["A/train/1.png", "A/test/2.png", "B/train/3.png"], ["A/val.zip", "C.zip"]),
        (["outer/fold1/A/1.png", "outer/fold1/B/2.png", "outer/fold2/A/3.png", "outer/fold2/B/4.png"],
         ["a.txt", "outer/b.txt", "outer/fold2/C.zip"]),
        (["patient_1/A/1.png", "patient_2/B/2.png"], ["patient_1/report.pdf", "patient_3.zip"]),
    ],
)  # fmt: skip
def test_files_beside_class_folders_are_named(tmp_path, files, others):
    for name in others:
        write_bytes(tmp_path / name, b"x")
    found = folder_source(write(tmp_path, files))
    assert len(found.table) == len(files)
    assert [(one.kind, sorted(one.names)) for one in found.excluded] == [("file beside class folders", others)]
    assert found.others == ()


def test_text_called_like_an_image_stays_in_the_table(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png"])
    (tmp_path / "A/notes.jpeg").write_text("no image")
    found = folder_source(tmp_path)
    assert list(found.table["image"]) == ["A/1.png", "A/notes.jpeg", "B/2.png"]
    assert found.others == ()


def test_links_that_lead_round_in_circles_are_not_followed(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png"])
    (tmp_path / "A/round").symlink_to(tmp_path / "A")
    assert list(folder_source(tmp_path).table["image"]) == ["A/1.png", "B/2.png"]


def test_links_to_themselves_and_to_folders_are_named(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png"])
    (tmp_path / "A/self.png").symlink_to(tmp_path / "A/self.png")
    (tmp_path / "A/to_b").symlink_to(tmp_path / "B")
    found = folder_source(tmp_path)
    assert found.others == ()
    assert "A/self.png" in list(found.table["image"]), "an image that cannot be read"
    assert [(one.counted, one.names) for one in found.excluded] == [("1 link to a folder", ("A/to_b",))]


def test_links_to_images_are_images(tmp_path):
    write(tmp_path / "set", ["A/1.png", "B/2.png"])
    write(tmp_path, ["kept/3.png"])
    (tmp_path / "set/A/linked.png").symlink_to(tmp_path / "kept/3.png")
    assert "A/linked.png" in list(folder_source(tmp_path / "set").table["image"])


@pytest.mark.parametrize("name", ["scan", "1.2.840.113619.2", "IM0001", "scan.dcm", "scan.DICOM"])
def test_dicom_needs_no_ending(tmp_path, name):
    write(tmp_path, ["A/1.png", "B/2.png"])
    write_bytes(tmp_path / "B" / name, dicom(pixels(1)))
    write_bytes(tmp_path / "B" / "other", b"x" * 200)
    found = folder_source(tmp_path)
    assert f"B/{name}" in list(found.table["image"])
    assert found.others == ("B/other",)


def dicoms(root, patients):
    """A DICOM file a patient, in two classes in turn."""
    for number, patient in enumerate(patients):
        write_bytes(root / "AB"[number % 2] / f"{number}.dcm", dicom(pixels(number), PatientID=patient))
    return root


def test_patients_come_from_dicom_headers(tmp_path):
    found = folder_source(dicoms(tmp_path, ["p1", "p1 ", "p2", ""]))
    patients = dict(zip(found.table["image"], found.table["split_group"], strict=True))
    assert patients == {"A/0.dcm": "p1", "B/1.dcm": "p1", "A/2.dcm": "p2", "B/3.dcm": "B/3.dcm"}
    assert found.patient_rule == "DICOM PatientID"
    assert any("1 images have no patient" in note for note in found.notes)


@pytest.mark.parametrize("endings", [(".jpg",), (".png", ".JPG"), (".dcm", ".tif")])
def test_patients_come_from_dicom_headers_whatever_the_files_are_called(tmp_path, endings):
    dicoms(tmp_path, [f"p{number // 2}" for number in range(40)])
    for number, path in enumerate(sorted(tmp_path.glob("*/*.dcm"))):
        path.rename(path.with_suffix(endings[number % len(endings)]))
    found = folder_source(tmp_path)
    assert found.patient_rule == "DICOM PatientID"
    assert found.table["split_group"].nunique() == 20


def test_of_many_pictures_few_are_looked_into(tmp_path, monkeypatch):
    write(tmp_path, [f"{label}/{number}.png" for label in "AB" for number in range(50)])
    asked = []
    monkeypatch.setattr(listing, "_head", lambda path: asked.append(path) or b"")
    assert folder_source(tmp_path).patients_assumed
    assert 0 < len(asked) < 10


def test_a_patient_id_that_all_files_share_tells_nobody_apart(tmp_path):
    found = folder_source(dicoms(tmp_path, ["ANON"] * 4))
    assert found.patients_assumed
    assert found.table["split_group"].is_unique
    assert any("PatientID is the same in all files" in note for note in found.notes)


def test_dicom_patients_who_are_written_in_two_ways_are_joined(tmp_path):
    found = folder_source(dicoms(tmp_path / "two", ["P0", "p0", "p1", "P1", "p1"]))
    assert found.table["split_group"].nunique() == 2
    assert any("P0 is p0" in note or "p0 is P0" in note for note in found.notes)
    found = folder_source(dicoms(tmp_path / "one", ["Set 1", "SET 1", "set 1"]))
    assert found.patients_assumed
    assert any("PatientID is the same in all files" in note for note in found.notes)


def test_a_pattern_goes_before_dicom_headers(tmp_path):
    found = folder_source(dicoms(tmp_path, ["p1", "p2", "p3", "p4"]), r"(\d)\.dcm")
    assert sorted(found.table["split_group"]) == ["0", "1", "2", "3"]
    assert found.patient_rule.startswith("--patient-pattern")


def test_dicom_without_pydicom(tmp_path, monkeypatch):
    dicoms(tmp_path, ["p1", "p2"])
    monkeypatch.setattr(dicom_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        folder_source(tmp_path)
    assert str(caught.value) == dicom_module.INSTALL
    assert 'pip install "medical-transfer-bench[dicom]"' in dicom_module.INSTALL


def test_images_need_no_pydicom(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_module, "find_spec", lambda name: None)
    assert len(folder_source(write(tmp_path, ["A/1.png", "B/2.png"])).table) == 2


def test_many_files_are_listed_fast(tmp_path):
    for label in "AB":
        (tmp_path / label).mkdir()
        for number in range(2500):
            os.close(os.open(tmp_path / label / f"{label}{number}.png", os.O_CREAT))
    start = time.process_time()
    assert len(folder_source(tmp_path).table) == 5000
    assert time.process_time() - start < 1


# Refusals


def test_a_missing_folder(tmp_path):
    message = refusal(tmp_path / "nowhere")
    assert message.startswith("There is no folder")
    assert LAYOUTS in message


def test_a_file(tmp_path):
    path = tmp_path / "images.zip"
    path.write_bytes(b"PK")
    message = refusal(path)
    assert "is a file" in message
    assert LAYOUTS in message


def test_no_images(tmp_path):
    (tmp_path / "A").mkdir()
    (tmp_path / "A" / "notes.txt").write_text("x")
    message = refusal(tmp_path)
    assert "no images" in message
    assert LAYOUTS in message
    for ending in EXTENSIONS:
        assert ending in message


def test_loose_images(tmp_path):
    message = refusal(write(tmp_path, ["1.png", "2.png"]))
    assert "no class folder" in message
    assert LAYOUTS in message


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
        (tmp_path / label / "same.png").write_bytes(png(pixels(999)))
    assert len(folder_source(tmp_path).table) == 122


def test_splits_without_train(tmp_path):
    message = refusal(write(tmp_path, ["val/A/1.png", "val/B/2.png", "test/A/3.png"]))
    assert "test, val" in message
    assert "no train folder" in message
    assert LAYOUTS in message


# Names that are not UTF-8


def odd_file(root, name, content=b"x"):
    """A file whose name is the bytes ``name``, where the file system takes such names."""
    try:
        write_bytes(root / os.fsdecode(name), content)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes names in UTF-8 only")


@pytest.mark.parametrize("name", [b"A/caf\xe9.png", b"caf\xe9/1.png", b"A/caf\xe9/1.png"])
def test_an_image_whose_name_is_not_utf_8(tmp_path, name):
    write(tmp_path, ["A/1.png", "B/2.png"])
    odd_file(tmp_path, name, png(pixels(3)))
    message = refusal(tmp_path)
    assert "1 of the 3 images" in message
    assert "not UTF-8" in message
    assert ascii(os.fsdecode(name)) in message
    assert message.isascii()


def test_other_files_and_folders_whose_names_are_not_utf_8_are_named_by_escapes(tmp_path):
    write(tmp_path, ["train/A/1.png", "train/B/2.png"])
    odd_file(tmp_path, b"train/A/caf\xe9.txt")
    odd_file(tmp_path, b"extra\xe9/1.png")
    found = folder_source(tmp_path)
    assert found.others == ("train/A/caf\\udce9.txt",)
    assert [one.names for one in found.excluded] == [("extra\\udce9 (1 image)",)]


# What may not be read


@pytest.mark.parametrize("locked", ["", "A", "A/deep"])
def test_a_folder_that_may_not_be_read(tmp_path, monkeypatch, locked):
    write(tmp_path, ["A/1.png", "A/deep/3.png", "B/2.png"])
    for name in ("scandir", "listdir"):
        as_it_is = getattr(os, name)

        def denied(path=".", as_it_is=as_it_is):
            if os.fspath(path) == str(tmp_path / locked):
                raise PermissionError(13, "Permission denied", os.fspath(path))
            return as_it_is(path)

        monkeypatch.setattr(os, name, denied)
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path / locked} cannot be read (Permission denied)")
    assert "must be readable" in message


def test_copies_that_may_not_be_read_are_left_to_the_audit(tmp_path, monkeypatch):
    write(tmp_path, ["A/1.png", "B/2.png"])
    for label in "AB":
        write_bytes(tmp_path / label / "same.png", png(pixels(9)))

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    assert len(folder_source(tmp_path).table) == 4
