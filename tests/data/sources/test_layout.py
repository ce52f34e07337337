"""Every layout that docs/data.md lists is read as it says; what is not understood, or in two ways, is refused."""

import io
import re
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from PIL import Image, features
from source_files import dicom, pixels, write, write_bytes

from bench.data.audit.findings import how_read
from bench.data.images.decode import decode
from bench.data.sources import listing
from bench.data.sources.folder import folder_source
from bench.data.sources.layout import LAYOUTS
from bench.errors import ConfigError

A_B = ["A/1.png", "A/2.png", "B/3.png", "B/4.png"]


def below(*folders, names=A_B):
    return [f"{folder}/{name}" for folder in folders for name in names]


@dataclass
class Layout:
    """Files, and what is to be understood of them: an image's path below the folder -> label, split, fold, patient."""

    layout: str
    files: list[str]
    said: str = "class"
    label: str = r"(?:^|/)([AB])/"
    splits: dict[str, str] = field(default_factory=dict)
    fold: str = ""
    patient: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    dropped: str = "$^"


LAYOUTS_READ = [
    Layout("class", A_B),
    Layout("class, deeper", ["A/p/q/1.png", "A/1.png", "B/1.png"]),
    Layout(
        "split/class", below("train", "val", "test"), "split/class", splits={s: s for s in ("train", "val", "test")}
    ),
    Layout(
        "split/class, other names",
        below("Training", "Testing"),
        "split/class (Testing is test, Training is train)",
        splits={"Training": "train", "Testing": "test"},
    ),
    Layout(
        "split/class, names with more in them",
        below("train_set", "test_set", "dev-2019"),
        "split/class (dev-2019 is val, test_set is test, train_set is train)",
        splits={"train_set": "train", "test_set": "test", "dev-2019": "val"},
    ),
    Layout(
        "split/class, one prefix",
        below("xray_train", "xray_valid", "xray_test"),
        "split/class (xray_test is test, xray_train is train, xray_valid is val)",
        splits={"xray_train": "train", "xray_valid": "val", "xray_test": "test"},
    ),
    Layout(
        "split/class, train, val and eval",
        below("train", "val", "eval"),
        "split/class (eval is test)",
        splits={"train": "train", "val": "val", "eval": "test"},
    ),
    Layout(
        "class/split",
        [f"{label}/{split}/{n}.png" for label in "AB" for split in ("train", "test") for n in (1, 2)],
        "class/split",
        splits={"A/train": "train", "B/train": "train", "A/test": "test", "B/test": "test"},
    ),
    Layout("patient/class", below("9001", "9002", "9003"), "patient/class", patient=r"^(\d+)/"),
    Layout("patient/class, words", below("patient_1", "patient_2"), "patient/class", patient=r"^(\w+?)/"),
    Layout(
        "split/patient/class",
        below("train/9001", "train/9002", "test/9003"),
        "split/patient/class",
        splits={"train": "train", "test": "test"},
        patient=r"^\w+/(\d+)/",
    ),
    Layout(
        "split/patient/class, one split of which has numbers that may be years",
        below("train/1500", "train/1999", "test/2000", "test/2001"),
        "split/patient/class",
        splits={"train": "train", "test": "test"},
        patient=r"^\w+/(\d+)/",
    ),
    Layout(
        "split/year/class, one year a split",
        below("train/2019", "val/2020", "test/2021"),
        "split/class",
        splits={"train": "train", "val": "val", "test": "test"},
    ),
    Layout("class/patient", [f"{label}/patient{n}/1.png" for label in "AB" for n in (1, 2)]),
    Layout("fold/class", below("fold_1", "fold_2", "fold_3"), "fold/class", fold=r"fold_(\d)"),
    Layout("fold/class, other names", below("Fold 01", "Fold 02"), "fold/class", fold=r"Fold 0(\d)"),
    Layout(
        "split/fold/class",
        below("train/fold1", "train/fold2", "test"),
        "split/fold/class",
        splits={"train": "train", "test": "test"},
        fold=r"fold(\d)",
    ),
    Layout(
        "folds beside test",
        below("fold1", "fold2", "test"),
        "split/fold/class (2 folds are train)",
        splits={"fold1": "train", "fold2": "train", "test": "test"},
        fold=r"fold(\d)",
    ),
    Layout(
        "class/fold",
        [f"{label}/fold{fold}/{n}.png" for label in "AB" for fold in (1, 2) for n in (1, 2)],
        "class/fold",
        fold=r"fold(\d)",
    ),
    Layout("one outer folder", below("chest_xray"), "class below chest_xray"),
    Layout(
        "outer folders over splits",
        below("a/b/train", "a/b/test"),
        "split/class below a/b",
        splits={"a/b/train": "train", "a/b/test": "test"},
    ),
    Layout(
        "a split in a folder of its own name",
        below("seg_train/seg_train", "seg_test/seg_test"),
        "split/class (seg_test is test, seg_train is train)",
        splits={"seg_train": "train", "seg_test": "test"},
    ),
    *(
        Layout(
            f"outer folder {outer} called like a split",
            [*below(f"{outer}/{train}"), *below(f"{outer}/{other}", names=["A/1.png"])],
            f"split/class{said} below {outer}",
            splits={f"{outer}/{train}": "train", f"{outer}/{other}": split},
        )
        for outer, train, other, split, said in (
            ("training_data", "train", "val", "val", ""),
            ("training_data", "train", "test", "test", ""),
            ("test_data", "train", "test", "test", ""),
            ("set/TrainVal", "train", "val", "val", ""),
            ("Train", "ct_train", "ct_test", "test", " (ct_test is test, ct_train is train)"),
        )
    ),
    Layout(
        "an outer folder called like another split than the one in it",
        below("test_data/train"),
        "split/class below test_data",
        splits={"test_data/train": "train"},
    ),
    Layout("class folders below images", below("images"), "class below images"),
    Layout(
        "split/images/class",
        below("train/images", "test/images"),
        "split/class",
        splits={"train": "train", "test": "test"},
    ),
    Layout("images below classes", ["A/images/1.png", "B/images/2.png"], "class/images"),
    Layout(
        "images and masks below classes",
        ["A/images/1.png", "A/masks/1.png", "B/images/2.png", "B/masks/2.png"],
        "class/images",
        left_out={"mask": 2},
        dropped="/masks/",
    ),
    Layout(
        "images and masks above classes",
        below("images", "masks"),
        "class below images",
        left_out={"mask": 4},
        dropped="masks/",
    ),
    Layout(
        "masks beside their images",
        ["A/b (1).png", "A/b (1)_mask.png", "A/b (1)_mask_1.png", "B/2.png", "B/2_Segmentation.png", "B/2_lesion.bmp"],
        left_out={"mask": 4},
        dropped="_mask|_Seg|_lesion",
    ),
    Layout(
        "masks beside splits",
        [*below("train", "test"), *below("masks/train", names=["A/1.png"]), "masks/test/A/1.png"],
        "split/class",
        splits={"train": "train", "test": "test"},
        left_out={"mask": 2},
        dropped="masks/",
    ),
    Layout(
        "masks below the images of a class",
        ["A/1.png", "A/mask/1_mask.png", "B/2.png", "B/mask/2_mask.png"],
        left_out={"mask": 2},
        dropped="/mask/",
    ),
    Layout(
        "masks of all classes in one folder",
        [*A_B, "masks/1.png", "masks/2.png", "masks/3.png", "masks/4.png"],
        left_out={"mask": 4},
        dropped="masks/",
    ),
    Layout(
        "loose images",
        [*A_B, "x.png", "y.png"],
        left_out={"loose image": 2},
        dropped="^[xy]",
    ),
    Layout(
        "loose images in splits and above",
        [*below("set/train", "set/test"), "logo.png", "set/a.png", "set/train/x.png"],
        "split/class below set",
        splits={"set/train": "train", "set/test": "test"},
        left_out={"loose image": 3},
        dropped="logo|a.png|x.png",
    ),
    Layout(
        "what systems leave",
        [
            *A_B,
            *("@eaDir/1.png", "A/@eaDir/1.png/SYNOPHOTO_THUMB.png", "$RECYCLE.BIN/1.png", "lost+found/1.png"),
            *("System Volume Information/1.png", "__MACOSX/A/1.png", "A/.ipynb_checkpoints/1.png", "#recycle/A/1.png"),
        ],
        left_out={"system folder": 8},
        dropped=r"@|\$|lost|System|MACOSX|ipynb|#",
    ),
    Layout(
        "an archive unpacked twice",
        [*below("train", "test"), *below("xray/train", "xray/test")],
        "split/class",
        splits={"train": "train", "test": "test"},
        left_out={"other folder": 1},
        dropped="^xray",
    ),
    Layout(
        "an archive of classes unpacked twice",
        [*A_B, *below("cell_images")],
        left_out={"other folder": 1},
        dropped="^cell",
    ),
    *(
        Layout(
            f"the classes of a split unpacked twice, into {copy}",
            [*below(split, "test"), *below(copy)],
            "split/class",
            splits={split: "train", "test": "test"},
            left_out={"other folder": 1},
            dropped=f"^{re.escape(copy)}",
        )
        for split, copy in (
            ("train", "train/train"),
            ("train", "train/copy of train"),
            ("train", "train/train (1)/train"),
            ("train", "train/archive"),
            ("train/images", "train/images/images"),
        )
    ),
    Layout(
        "folds of which one was unpacked twice",
        below("fold1", "fold2", "fold2/fold2"),
        "fold/class",
        fold=r"^fold(\d)",
        left_out={"other folder": 1},
        dropped="^fold2/fold2",
    ),
    Layout("magnifications", below("A/SOB/x", "B/SOB/x", names=["40X/1.png", "100X/2.png"])),
    Layout("classes that only sound like splits", ["test_positive/1.png", "test_negative/2.png"], label=r"^(\w+)/"),
    Layout(
        "classes that only sound like splits, with patients",
        ["test_positive/p001/1.png", "test_negative/p001/2.png"],
        label=r"^(\w+?)/",
    ),
    *(
        Layout(
            f"masks called {mask}",
            [name for label in "AB" for n in "12" for name in (f"{label}/{image % n}", f"{label}/{mask % n}")],
            left_out={"mask": 4},
            dropped=r"(?i)mask|superpixels",
        )
        for image, mask in (
            ("%s.png", "%smask.png"),
            ("IMG%s.png", "img%sMask.PNG"),
            ("x%s.png", "mask_x%s.png"),
            ("img_%s.png", "mask_%s.png"),
            ("image%s.png", "mask%s.png"),
            ("p%s_image.png", "p%s_mask.png"),
            ("x%s.png", "x%s_superpixels.png"),
        )
    ),
    Layout(
        "images and labels below classes",
        below("A", "B", names=["images/1.png", "labels/1.png"]),
        "class/images",
        label=r"^(\w)/",
        left_out={"mask": 2},
        dropped="labels/",
    ),
    *(
        Layout(
            f"masks of a class in {mask}, called {name}, in {top}",
            [*below(f"{top}A", names=["x1.png", "x2.png"]), f"{top}B/3.png", f"{top}{mask}/{name}"],
            "split/class" if top else "class",
            splits={"train": "train"} if top else {},
            left_out={"mask": 1},
            dropped="(?i)mask|GT|Seg",
        )
        for top in ("", "train/")
        for mask, name in (
            ("A_mask", "x1.png"),
            ("A masks", "x1_mask.png"),
            ("AMask", "x2.bmp"),
            ("amask", "x2.bmp"),
            ("Masks of A", "mask_x1.png"),
            ("A_GT", "x1.png"),
            ("A_Segmentation_images", "x1_seg.png"),
        )
    ),
    *(
        Layout(
            f"{masks} beside classes of the same file names",
            [*below("A", "B", names=["1.png", "2.png"]), *below(masks, names=["1.png", "2_mask.png"])],
            left_out={"mask": 2},
            dropped="(?i)mask",
        )
        for masks in ("masks", "mask", "Segmentation_masks", "mask_images")
    ),
    Layout(
        "masks of one class beside another without",
        ["A/a1.png", "A/a2.png", "B/b1.png", "masks/a1.png", "masks/a2.png"],
        left_out={"mask": 2},
        dropped="masks",
    ),
    *(
        Layout(f"classes called {' and '.join(names)}", files, label=r"^([\w ]+)/")
        for names, files in (
            (("mask", "face"), ["mask/m1.png", "mask/m2.png", "face/f1.png"]),
            (("mask", "no mask", "face"), ["mask/1.png", "no mask/1.png", "face/1.png"]),
            (("face", "face_mask"), ["face/1.png", "face/2.png", "face_mask/3.png", "face_mask/4.png"]),
            (("cloth_mask", "gas_mask"), ["cloth_mask/1.png", "gas_mask/1.png", "none/1.png"]),
        )
    ),
    Layout("classes that only sound like masks", ["mask/1.png", "no_mask/1.png"], label=r"^(\w+)/"),
    Layout("classes that only sound like masks, in one word", ["mask/1.png", "nomask/1.png"], label=r"^(\w+)/"),
    Layout(
        "classes that only sound like masks, in splits",
        below("train", "test", names=["with_mask/1.png", "without_mask/1.png", "mask/1.png"]),
        "split/class",
        splits={"train": "train", "test": "test"},
        label=r"/(\w+)/",
    ),
    *(
        Layout(
            f"classes called {one} and {other}, of which test lacks one",
            [f"train/{one}/1.png", f"train/{other}/2.png", f"test/{one}/3.png"],
            "split/class",
            label=r"/(\w+)/",
            splits={"train": "train", "test": "test"},
        )
        for one, other in (("100", "200"), ("J189", "J180"), ("ICD_509", "ICD_501"))
    ),
    Layout(
        "classes called by codes in splits of odd names",
        below("my_train", "holdout", names=["J189/1.png", "J180/2.png"]),
        "split/class (holdout is test, my_train is train)",
        label=r"/(J\d+)/",
        splits={"my_train": "train", "holdout": "test"},
    ),
    Layout(
        "grades with patients called by numbers as they are",
        [f"{grade}/{n}/{grade}{n}.png" for grade in range(3) for n in range(3 + grade)],
        label=r"^(\d)",
    ),
    Layout("grades with sides", [f"{g}/{s}/1.png" for g in range(5) for s in ("left", "right")], label=r"^(\d)"),
]


@pytest.mark.parametrize("case", LAYOUTS_READ, ids=lambda case: case.layout)
def test_layouts_are_read(tmp_path, case):
    found = folder_source(write(tmp_path, case.files))
    expected = {}
    for name in case.files:
        if re.search(case.dropped, name):
            continue
        split = next((split for top, split in case.splits.items() if name.startswith(f"{top}/")), "")
        fold = re.search(case.fold, name)[1] if case.fold and re.search(case.fold, name) else ""
        patient = re.search(case.patient, name)[1] if case.patient else name
        expected[name] = (re.search(case.label, name)[1], split, fold, patient, patient)
    columns = ["label", "split", "fold", "split_group", "patient_id"]
    assert (
        dict(zip(found.table["image"], found.table[columns].itertuples(index=False, name=None), strict=True))
        == expected
    )
    assert found.layout == case.said
    assert {one.kind: len(one.names) for one in found.excluded} == case.left_out
    assert found.patients_assumed == (not case.patient)


def refused(root, names):
    with pytest.raises(ConfigError) as caught:
        folder_source(write(root, names))
    message = str(caught.value)
    assert str(root) in message
    assert "\n" not in message
    return message


REFUSED = [
    (
        "a training split of an unknown name is named",
        below("lernen", "test"),
        ["{root}/lernen holds the class folders A, B as test does"],
    ),
    (
        "two test folders of images alone are no classes",
        ["train/1.png", "test_1/2.png", "test_2/3.png"],
        ["2 folders that are called like a test split"],
    ),
    (
        "patients of tcga are no classes",
        [f"TCGA-02-000{n}/series/{n}.png" for n in range(3)],
        ["look like patients, not classes"],
    ),
    (
        "classes of which one is parted are refused",
        ["A/train/1.png", "A/test/2.png", "B/3.png"],
        ["{root}/A is parted into test, train, but B is not"],
    ),
    (
        "classes parted without train are refused",
        [f"{c}/{s}/1.png" for c in "AB" for s in ("val", "test")],
        ["have no train folder"],
    ),
    (
        "an unlabelled test folder is refused with the command",
        [*below("train"), "test/1.png", "test/2.png"],
        ["The 2 images in test", "no label", "--data {root}/train"],
    ),
    (
        "beside two labelled splits it is to be moved",
        [*below("set/train", "set/val"), "set/test/1.png"],
        ["move test out of {root}/set"],
    ),
    (
        "images without labels and without a table",
        ["train/1.png", "test/2.png"],
        ["test, train of", "have no label", "path,label", LAYOUTS],
    ),
    (
        "patients without class folders are no classes",
        [f"patient_{n}/1.png" for n in range(3)],
        ["look like patients, not classes", "patient/class"],
    ),
    (
        "many folders called by numbers are no classes",
        [f"{n}/1.png" for n in range(1000, 1030)],
        ["look like patients"],
    ),
    (
        "class folders beside the splits are refused",
        [*below("train", "test"), *A_B],
        ["{root}/A is called like a class folder of test, train, but lies beside them"],
    ),
    *(
        (
            f"a split of an unknown name that holds classes called {one} and {other} is named",
            below("train", *more, "vaild", names=[f"{one}/1.png", f"{other}/2.png"]),
            [f"{{root}}/vaild holds the class folders {one}, {other} as", "its name tells no split"],
        )
        for one, other in (("100", "200"), ("J180", "J189"))
        for more in ((), ("test",))
    ),
    (
        "class folders called by codes beside the splits are refused",
        [*below("train", "test", names=["J180/1.png", "J189/2.png"]), "J189/3.png"],
        ["{root}/J189 is called like a class folder of test, train, but lies beside them"],
    ),
    (
        "splits beside classes called by codes in a split are refused",
        [*below("train", "test", "train/val", names=["J180/1.png", "J189/2.png"])],
        ["{root}/train is read as of the train split, but holds val beside J180, J189"],
    ),
    *(
        (
            f"years are no patients, in {' and '.join(tops)}",
            below(*tops),
            ["are called by years and hold class folders (a, b)", "class/20", "patient_20", "path,label"],
        )
        for tops in (
            [str(year) for year in range(2016, 2022)],
            [str(year) for year in range(2000, 2015)],
            ["train/2018", "train/2019", "test/2020"],
        )
    ),
    (
        "folds of images without classes",
        ["fold_1/1.png", "fold_2/2.png"],
        ["The images in fold_1, fold_2 of {root} lie in no class folder", "have no label (they are read as folds"],
    ),
    (
        "folds of which one is without classes",
        [*below("set/fold_1", "set/fold_2"), "set/fold_3/1.png"],
        ["The images in set/fold_3 of {root} lie in no class folder"],
    ),
    (
        "folds of a split without classes",
        [*below("test"), "train/fold_1/1.png", "train/fold_2/2.png"],
        ["The images in train/fold_1, train/fold_2 of {root} lie in no class folder"],
    ),
    (
        "folds without classes beside a test split",
        [*below("test"), "fold_1/1.png", "fold_2/2.png"],
        ["The images in fold_1, fold_2 of {root} lie in no class folder"],
    ),
    (
        "the images of one folder that is called like a patient have no label",
        [*below("train"), "test/00123/1.png"],
        ["The 1 images in test of {root} lie in no class folder"],
    ),
    (
        "unknown folders that hold folders like classes are refused",
        below("x", "y", names=["normal/1.png", "sick/2.png"]),
        ["unclear"],
    ),
    (
        "images and their masks are no classes",
        below("CXR_png", "masks", names=["p1.png", "p2.png"]),
        ["one class only (CXR_png) (2 images, such as masks/p1.png, were taken for masks)"],
    ),
    (
        "with and without a mask are no images and masks",
        below("x", "y", names=["mask/0.png", "no_mask/0.png"]),
        ["(mask, no_mask), so it is unclear"],
    ),
]
"""What is tested, the files, and what the message holds; {root} is the folder."""


@pytest.mark.parametrize(("files", "told"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_is_not_understood_is_refused(tmp_path, files, told):
    message = refused(tmp_path, files)
    assert [part for part in told if part.replace("{root}", str(tmp_path)) not in message] == []


# Splits that are not understood, or understood twice


@pytest.mark.parametrize(("name", "inner"), [("Teil2", ""), ("extra", ""), ("external", "/images")])
def test_what_holds_the_class_folders_of_a_split_but_is_none_is_refused(tmp_path, name, inner):
    message = refused(tmp_path, below("train", "test", name + inner))
    assert f"{tmp_path / name} holds the class folders A, B as test, train do" in message
    assert "call it train, val or test, or move it out" in message


@pytest.mark.parametrize(
    "names", [("train", "train_augmented", "test"), ("train-2018", "train-2019"), ("val", "valid")]
)
def test_two_folders_for_one_split_are_refused(tmp_path, names):
    message = refused(tmp_path, below(*names))
    assert "has 2 folders that are called like a" in message
    assert f"({names[0]}, {names[1]})" in message


NESTED = [
    ([*below("TrainVal/train", "Test", names=["A/1.png", "B/2.png", "C/3.png"]), *below("TrainVal/val")], "train, val"),
    (below("TrainVal/train", "TrainVal/val", "Test"), "train, val"),
    (below("Train/train", "Train/test", "Test"), "test, train"),
    (below("train", "train/val"), "val beside A, B"),
    ([*below("train", "test"), "train/val/A/5.png"], "val beside A, B"),
    (below("train/images", "train/images/val", "test"), "val beside A, B"),
    (below("train/val", "test"), "val"),
]
"""Files, and what the message says that the folder of a split holds."""


@pytest.mark.parametrize(("files", "told"), NESTED, ids=[str(number) for number in range(len(NESTED))])
def test_splits_in_a_split_are_refused(tmp_path, files, told):
    message = refused(tmp_path, files)
    assert "is read as of the train split" in message
    assert f"holds {told}, called like" in message
    assert "lay all splits out beside each other" in message


@pytest.mark.parametrize("name", ["Test", "Val"])
def test_a_class_called_like_a_split_in_a_split_is_a_class_with_a_note(tmp_path, name):
    found = folder_source(write(tmp_path, below("train", "test", names=["Control/1.png", f"{name}/2.png"])))
    assert found.classes == ("Control", name)
    assert [note for note in found.notes if f"called like splits: {name};" in note] == list(found.notes)


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["Control", "Test"], "Test is read as the test split because of its name; rename what is a class"),
        (["valid", "invalid"], "valid is read as the val split because of its name; rename what is a class"),
        (["a/Positive", "a/Negative", "a/Holdout"], "Holdout is read as the test split because of its name"),
        (["Control/9001", "Control/9002", "Test/9003", "Test/9004"], "Test is read as the test split"),
        (["Control/x", "Control/y", "Test/x", "Test/z"], "Test is read as the test split because of its name"),
        (["Train", "Bus"], "Train is read as the train split because of its name"),
        (
            ["Eval", "Other", "Test"],
            "Eval is read as the val split and Test is read as the test split because of their",
        ),
    ],
)
def test_a_class_called_like_a_split_is_refused_with_that_reading(tmp_path, classes, told):
    assert told in refused(tmp_path, [f"{name}/{n}.png" for name in classes for n in range(2)])


def test_split_and_class_in_one_name_are_refused(tmp_path):
    message = refused(tmp_path, ["trainA/1.png", "trainB/2.png", "testA/3.png", "testB/4.png"])
    assert "tell split and class at once" in message
    assert "such as test/a." in message
    message = refused(tmp_path / "other", [f"{split}_{c}/1.png" for split in ("train", "test") for c in ("pos", "neg")])
    assert "such as test/neg." in message


UNLABELLED = [
    ("unlabeled", below("labeled")),
    ("unlabeled-images", below("labeled-images")),
    ("Dataset/unlabeled", below("Dataset")),
    ("a/b/Unlabelled", below("a/b/train", "a/b/test")),
    ("train/unlabeled", below("train", "test")),
    ("train/unannotated data", below("train", "test")),
    ("train_unlabeled", below("train", "test")),
    ("patient_1/not_annotated", below("patient_1", "patient_2")),
    *((name, A_B) for name in ("unlabeled_images", "UnlabeledImages", "no_label", "Not labelled", "WITHOUT LABELS")),
]
"""A folder of images without labels, and files that have some."""


@pytest.mark.parametrize(("folder", "files"), UNLABELLED, ids=[row[0] for row in UNLABELLED])
def test_unlabelled_images_beside_labelled_ones_are_left_out(tmp_path, folder, files):
    found = folder_source(write(tmp_path, [*files, f"{folder}/5.png"]))
    assert found.classes == ("A", "B")
    assert sorted(found.table["image"]) == sorted(files)
    assert [one.names for one in found.excluded] == [(f"{folder} (1 image)",)]


def test_masks_beside_unlabelled_images_are_left_out(tmp_path):
    found = folder_source(write(tmp_path, [*below("images", "masks"), "no_label/5.png"]))
    assert found.classes == ("A", "B")
    assert [one.kind for one in found.excluded] == ["mask", "other folder"]


def test_parts_of_the_body_are_no_classes_where_studies_say_what_they_show(tmp_path):
    studies = [f"patient{n}/study1_{said}/1.png" for n in range(3) for said in ("positive", "negative")]
    message = refused(tmp_path, below("XR_HAND", "XR_WRIST", names=studies))
    assert "each hold folders called negative and positive" in message


def test_few_folders_called_like_patients_are_classes_with_a_word(tmp_path):
    found = folder_source(write(tmp_path, [f"P00{n}/{n}.png" for n in range(3)]))
    assert any("if they are patients" in note for note in found.notes)


@pytest.mark.parametrize("name", ["fold", "site"])
def test_folders_that_each_hold_splits_are_refused_with_the_command(tmp_path, name):
    message = refused(tmp_path, below(f"{name}1/train", f"{name}1/test", f"{name}2/train", f"{name}2/test"))
    assert "each hold test, train with class folders (a, b, …)" in message
    assert f"--data {tmp_path / (name + '1')}" in message


# Images without labels


@pytest.mark.parametrize("folder", ["test/unknown", "test/images", "test/test", "test1", "Testing"])
def test_test_images_in_a_folder_of_no_class_are_unlabelled(tmp_path, folder):
    message = refused(tmp_path, [*below("train"), f"{folder}/1.png", f"{folder}/2.png"])
    assert "no label" in message
    assert f"--data {tmp_path / 'train'}" in message


@pytest.mark.parametrize(
    ("files", "table"),
    [
        (["train/1.png", "train/2.png", "test/3.png"], "train.csv"),
        (["train_images/1.png", "test_images/2.png"], "train.csv"),
        (["images/1.png", "images/2.png"], "labels.csv"),
        (["1.png", "2.png"], "anything.csv"),
        (["set/images/1.png"], "set/labels.csv"),
        (["a. Training Set/1.png", "b. Testing Set/2.png"], "Groundtruths/b. Training Labels.csv"),
        (["ISIC_Training_Input/1.png"], "ISIC_Training_GroundTruth.csv"),
        (["ISIC_Training_Input/1.png", "ISIC_Test_Input/2.png"], "ISIC_Training_GroundTruth.csv"),
    ],
)
def test_images_beside_a_table_are_refused_with_the_command_and_the_columns(tmp_path, files, table):
    (tmp_path / table).parent.mkdir(exist_ok=True)
    for name in ("sample_submission.csv", "test.csv", table):
        (tmp_path / name).write_text("id_code;diagnosis\n1;0\n" if name == table else "id\n1\n")
    message = refused(tmp_path, files)
    assert "have no label" in message
    assert "id_code, diagnosis" in message
    assert f"--data {tmp_path / table}" in message


# Patients and sites that look like classes


def test_many_folders_called_by_small_numbers_are_classes_with_a_note(tmp_path):
    found = folder_source(write(tmp_path, [f"{n}/1.png" for n in range(12)]))
    assert len(found.classes) == 12
    assert any("12 folders called by numbers were taken for classes" in note for note in found.notes)


def test_studies_of_patients_are_no_classes(tmp_path):
    names = [f"patient{n}/study{k}/1.png" for n in range(3) for k in range(2)]
    assert "look like patients" in refused(tmp_path, names)


@pytest.mark.parametrize("names", [("site_1", "site_2"), ("Hospital A", "Hospital B"), ("original", "augmented")])
def test_sites_that_hold_the_same_class_folders_are_refused(tmp_path, names):
    message = refused(tmp_path, below(*names))
    assert "it is unclear which are the classes" in message
    assert "(A, B)" in message
    assert f"--data {tmp_path / min(names)}" in message


def test_sets_that_hold_other_class_folders_are_refused(tmp_path):
    files = [*below("lung_image_sets", names=["lung_n/1.png", "lung_aca/1.png"])]
    files += [*below("colon_image_sets", names=["colon_n/1.png", "colon_aca/1.png"])]
    assert f"--data {tmp_path / 'colon_image_sets'}" in refused(tmp_path, files)


def test_sets_that_hold_splits_are_refused(tmp_path):
    files = [*below("OCT/train", "OCT/test", names=["CNV/1.png", "DME/1.png"]), *below("XRAY/train", "XRAY/test")]
    assert f"--data {tmp_path / 'OCT'}" in refused(tmp_path, files)


@pytest.mark.parametrize("name", ["HAM10000_images_part_{}", "images_00{}/images", "batch{}"])
def test_images_dealt_out_over_folders_have_no_label(tmp_path, name):
    (tmp_path / "meta.csv").write_text("image_id,dx\n1,nv\n")
    message = refused(tmp_path, [f"{name.format(number)}/{number}.png" for number in (1, 2)])
    assert "have no label" in message
    assert f"--data {tmp_path / 'meta.csv'}" in message


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (["patient_1/A/1.png", "patient_1/B/1.png", "patient_2/A/1.png", "patient_2/C/1.png"], "A, B, C"),
        ([f"patient_{n}/visit_{k}/{c}/1.png" for n in "12" for k in "12" for c in "AB"], "visit_1, visit_2"),
    ],
)
def test_folders_of_patients_that_are_not_clearly_classes_are_named(tmp_path, files, told):
    assert f"and hold folders that are not clearly classes ({told});" in refused(tmp_path, files)


def test_patients_beside_a_table_are_refused_with_the_command(tmp_path):
    (tmp_path / "train.csv").write_text("Path,Sex,Pneumonia\n")
    files = [f"{split}/patient0{n}/study1/view1.jpg" for split in ("train", "valid") for n in range(3)]
    message = refused(tmp_path, files)
    assert "look like patients" in message
    assert f"--data {tmp_path / 'train.csv'}" in message


@pytest.mark.parametrize("folders", [("images", "labels"), ("image", "label"), ("train/image", "train/label")])
def test_images_and_their_labels_as_images_are_no_classes(tmp_path, folders):
    assert "lie in no class folder" in refused(tmp_path, below(*folders, names=["1.png", "2.png"]))


def test_classes_that_hold_the_same_folders_are_noted(tmp_path):
    found = folder_source(write(tmp_path, below("benign", "malignant", names=["40X/1.png", "100X/2.png"])))
    assert found.classes == ("benign", "malignant")
    assert any("benign, malignant were taken for the classes" in note for note in found.notes)


@pytest.mark.parametrize("top", ["", "train/", "outer/train/"])
def test_folders_in_classes_that_look_like_patients_are_noted_with_the_pattern(tmp_path, top):
    write(tmp_path, [f"{top}{label}/{n}/study/{k}.png" for label in "AB" for n in (1001, 1002) for k in range(2)])
    found = folder_source(tmp_path)
    assert found.patients_assumed
    (pattern,) = re.findall("--patient-pattern '(.*)'", " ".join(found.notes))
    assert set(folder_source(tmp_path, pattern).table["split_group"]) == {"1001", "1002"}


def test_patients_in_several_splits_are_one_patient(tmp_path):
    found = folder_source(write(tmp_path, below("train/9001", "train/9002", "test/9001", "test/9003")))
    assert found.table["split_group"].nunique() == 3
    assert "patient/class" in found.patient_rule


MAY_BE_SITES = [
    (below("101", "102", "103"), "101, 102, 103"),
    (below("train/101", "train/102", "test/103"), "101, 102, 103"),
    (below("B101", "B102"), "B101, B102"),
    (below("101", "102", names=["A/1.png"]) + below("103"), ""),
    (below("patient_1", "patient_2"), ""),
    (below("train/9001", *(f"test/90{n:02}" for n in range(2, 20))), ""),
]
"""Files, and the folders that were taken for patients and may be something else."""


@pytest.mark.parametrize(("files", "said"), MAY_BE_SITES)
def test_few_numbered_patients_who_each_have_every_class_are_noted(tmp_path, files, said):
    found = folder_source(write(tmp_path, files))
    assert "patient/class" in found.layout
    notes = [note for note in found.notes if "Taken for patients" in note]
    assert [note.partition(": ")[2].partition(";")[0] for note in notes] == [said] * bool(said)
    assert all(re.search(r"lay them out as class/B?101, or name the images in a .csv", note) for note in notes)


# Class names


def test_class_names_that_say_the_same_are_one_class_with_a_note(tmp_path):
    found = folder_source(
        write(tmp_path, ["train/NORMAL/1.png", "train/B/2.png", "test/Normal /3.png", "test/B/4.png"])
    )
    assert found.classes == ("B", "Normal") or found.classes == ("B", "NORMAL")
    assert any("are one class" in note for note in found.notes)


# What is left out


def test_what_is_left_out_is_counted_and_named(tmp_path):
    write(tmp_path, [*A_B, "A/1_mask.png", "loose.png", "lost+found/1.png"])
    write_bytes(tmp_path / "A/notes.txt", b"x")
    (tmp_path / "C").mkdir()
    (tmp_path / "A/to_b").symlink_to(tmp_path / "B")
    read = how_read(folder_source(tmp_path)).model_dump(mode="json")
    assert read["text"] == (
        "layout: class; 2 classes; 3 files left out: 1 mask, 1 loose image, 1 other file; "
        "left out: 1 folder without images, 1 link to a folder, 1 system folder"
    )
    assert {one["kind"]: one["files"] for one in read["left_out"]} == {
        "mask": ["A/1_mask.png"],
        "loose image": ["loose.png"],
        "folder without images": ["C"],
        "link to a folder": ["A/to_b"],
        "system folder": ["lost+found"],
        "other file": ["A/notes.txt"],
    }


def test_runs_and_caches_of_this_suite_are_left_out(tmp_path):
    write(tmp_path, [*A_B, "reports/one/figures/1.png", "reports/two/figures/2.png", "A/old/figures/3.png"])
    for folder in ("reports/one", "reports/two", "A/old"):
        write_bytes(tmp_path / folder / "run.json", b"{}")
    write_bytes(tmp_path / "reports/README.md", b"x")
    for name in ("store/k/facts.csv", "store/k/thumbnails.npy.xxh128", "features/k/meta.json", "features/k/values.npy"):
        write_bytes(tmp_path / "cache" / name, b"x")
    found = folder_source(tmp_path)
    assert list(found.table["image"]) == A_B
    assert found.classes == ("A", "B")
    assert [(one.kind, one.names) for one in found.excluded] == [
        ("run folder or cache", ("A/old", "cache", "reports")),
    ]


def test_a_class_called_reports_is_a_class(tmp_path):
    write(tmp_path, ["reports/1.png", "B/2.png"])
    write_bytes(tmp_path / "reports/run.json", b"{}")
    assert folder_source(tmp_path).classes == ("B", "reports")


def test_a_class_beside_whose_images_tables_and_arrays_lie_is_a_class(tmp_path):
    write(tmp_path, A_B)
    for name in ("facts.csv", "values.npy", "thumbnails.npy"):
        write_bytes(tmp_path / "A" / name, b"x")
    assert list(folder_source(tmp_path).table["image"]) == A_B


def test_a_run_folder_is_no_data(tmp_path):
    write_bytes(tmp_path / "run.json", b"{}")
    assert "written by a run" in refused(tmp_path, ["figures/1.png"])


def test_files_of_no_known_ending_are_looked_into(tmp_path):
    write(tmp_path, A_B)
    picture = Image.fromarray(np.full((6, 5), 90, dtype=np.uint8))
    for name, kind in (("scan", "JPEG"), ("IM_0001.x", "TIFF"), ("1.2.3", "PNG"), ("w.bin", "WEBP")):
        picture.save(tmp_path / "A" / name, kind)
    write_bytes(tmp_path / "B/x.IMA", dicom(pixels(7)))
    write_bytes(tmp_path / "B/y.ima", b"x" * 200)
    found = folder_source(tmp_path)
    more = {"A/scan", "A/IM_0001.x", "A/1.2.3", "A/w.bin", "B/x.IMA"}
    assert set(found.table["image"]) == {*A_B, *more}
    assert found.others == ("B/y.ima",)


def encoded(mode, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 5), 90, dtype=np.uint8)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


BY_CONTENT = {
    "bitmap": lambda: encoded("L", "BMP"),
    "big tiff": lambda: encoded("L", "TIFF", big_tiff=True),
    "jpeg 2000 codestream": lambda: encoded("L", "JPEG2000", no_jp2=True),
    "pbm": lambda: encoded("1", "PPM"),
    "pgm in text": lambda: b"P2 # scanned\n# twice\n3 2\n255\n1 2 3 4 5 6\n",
    "ppm with other ends of lines": lambda: b"P6\r\n1 1\r255\n\1\2\3",
    "pfm": lambda: encoded("F", "PPM"),
}
"""Pictures that nothing but their first bytes tells, and that can be decoded."""


@pytest.mark.parametrize("kind", BY_CONTENT)
def test_pictures_of_every_kind_are_told_by_their_content(tmp_path, kind):
    if "2000" in kind and not features.check("jpg_2000"):
        pytest.skip("Pillow comes without OpenJPEG")
    content = BY_CONTENT[kind]()
    assert decode(content).image.size
    write_bytes(write(tmp_path, A_B) / "A/scan", content)
    found = folder_source(tmp_path)
    assert set(found.table["image"]) == {*A_B, "A/scan"}
    assert found.others == ()


@pytest.mark.parametrize("text", [b"BM is the initials of the reader", b"P1 and P2 are of one family", b"MM", b"P5"])
def test_texts_that_begin_like_pictures_are_none(tmp_path, text):
    write_bytes(write(tmp_path, A_B) / "A/README", text)
    assert folder_source(tmp_path).others == ("A/README",)


def test_files_of_a_known_ending_are_not_looked_into(tmp_path, monkeypatch):
    write(tmp_path, A_B)
    write_bytes(tmp_path / "A/notes.txt", b"x")
    asked = []
    monkeypatch.setattr(listing, "_head", lambda path: asked.append(str(path)) or b"")
    assert folder_source(tmp_path).others == ("A/notes.txt",)
    assert [path for path in asked if not path.endswith(".png")] == []


# Links


def test_links_are_followed_in_splits_below_an_outer_folder(tmp_path):
    write(tmp_path / "kept", A_B)
    write(tmp_path / "set/outer", below("test"))
    (tmp_path / "set/outer/train").mkdir()
    for label in "AB":
        (tmp_path / "set/outer/train" / label).symlink_to(tmp_path / "kept" / label)
    (tmp_path / "kept/A/train").mkdir()
    (tmp_path / "kept/A/train/round").symlink_to(tmp_path / "kept")
    found = folder_source(tmp_path / "set")
    assert Counter(found.table["split"]) == {"train": 4, "test": 4}


@pytest.mark.parametrize(
    "place", ["Dataset", "a/b", "Dataset/train", "train/images", "training_data/train", "Dataset/images"]
)
@pytest.mark.parametrize("linked", ["B", "AB"])
def test_links_that_stand_for_classes_are_followed_below_outer_folders_and_said(tmp_path, place, linked):
    write(tmp_path / "kept", A_B)
    write(tmp_path / "set" / place, ["C/5.png"] + [name for name in A_B if name[0] not in linked])
    for label in linked:
        (tmp_path / "set" / place / label).symlink_to(tmp_path / "kept" / label)
    (tmp_path / "set" / place / "D").symlink_to(tmp_path / "set" / place / "C")
    (tmp_path / "kept/B/again").symlink_to(tmp_path / "kept/A")
    found = folder_source(tmp_path / "set")
    assert found.classes == ("A", "B", "C")
    assert any(f"followed: {', '.join(f'{place}/{label}' for label in linked)}." in note for note in found.notes)
    assert [sorted(one.names) for one in found.excluded] == [[f"{place}/B/again", f"{place}/D"]]


def test_links_that_lead_round_are_not_followed_for_ever(tmp_path):
    write(tmp_path / "kept", A_B)
    (tmp_path / "kept/train").symlink_to(tmp_path / "kept")
    write(tmp_path / "set/test", A_B)
    (tmp_path / "set/train").symlink_to(tmp_path / "kept")
    found = folder_source(tmp_path / "set")
    assert Counter(found.table["split"]) == {"train": 4, "test": 4}
    assert [one.names for one in found.excluded] == [("train/train (4 images)",), ("train/train/train",)]


def test_links_that_stand_for_classes_and_splits_are_followed_and_said(tmp_path):
    write(tmp_path / "kept", A_B)
    (tmp_path / "set/train").mkdir(parents=True)
    (tmp_path / "set/test").symlink_to(tmp_path / "kept")
    for label in "AB":
        (tmp_path / "set/train" / label).symlink_to(tmp_path / "kept" / label)
    found = folder_source(tmp_path / "set")
    assert Counter(found.table["split"]) == {"train": 4, "test": 4}
    assert any("followed: test, train/A, train/B" in note for note in found.notes)


def test_links_back_into_the_data_are_not_followed_and_said(tmp_path):
    write(tmp_path, A_B)
    (tmp_path / "C").symlink_to(tmp_path / "A")
    (tmp_path / "up").symlink_to(tmp_path.parent)
    found = folder_source(tmp_path)
    assert found.classes == ("A", "B")
    assert [(one.counted, one.names) for one in found.excluded] == [("2 links to folders", ("C", "up"))]


@pytest.mark.parametrize(
    ("files", "gone"),
    [
        (A_B, ["C"]),
        (A_B, ["site 1.5", "val"]),
        (below("train", "test"), ["val"]),
        (below("val", "test"), ["train"]),
        (below("train", "test"), ["train/C"]),
        (below("seg_train/seg_train", "seg_test/seg_test"), ["seg_test/seg_test/C"]),
        (below("outer"), ["outer/C"]),
        (["malignant/40X/1.png", "malignant/100X/1.png"], ["benign"]),
        (["A/train/1.png", "A/test/2.png", "B/train/3.png"], ["B/test"]),
        (below("fold1", "fold2"), ["fold3"]),
        (below("fold1", "fold2"), ["fold2/C"]),
        (below("patient_1", "patient_2"), ["patient_3"]),
        (below("patient_1", "patient_2", names=["A/1.png", "B/1.png"]), ["patient_2/C"]),
    ],
)
def test_links_that_lead_nowhere_where_folders_are_expected_are_refused(tmp_path, files, gone):
    for link in gone:
        (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / link).symlink_to("/media/away/set")
    message = refused(tmp_path, files)
    assert message.startswith(f"{', '.join(gone)} in {tmp_path} lead")
    assert "nowhere" in message


def test_other_links_that_lead_nowhere_are_named(tmp_path):
    links = ("A/p7", "masks", "notes.txt", "unlabeled")
    for link in links:
        (tmp_path / link).parent.mkdir(exist_ok=True)
        (tmp_path / link).symlink_to("gone")
    found = folder_source(write(tmp_path, A_B))
    assert [(one.counted, set(one.names)) for one in found.excluded] == [("4 links that lead nowhere", set(links))]
    assert found.others == ()


def test_what_git_annex_has_not_fetched_is_no_folder(tmp_path):
    for name in ("LICENSE", "run.sh"):
        (tmp_path / name).symlink_to("../.git/annex/objects/ab/cd/SHA256E-s9--0f")
    found = folder_source(write(tmp_path, A_B))
    assert [one.counted for one in found.excluded] == ["2 links that lead nowhere"]


@pytest.mark.parametrize("inside", ["A", "train/A", "patient_1/A"])
def test_a_class_of_which_nothing_was_fetched_is_refused(tmp_path, inside):
    """DICOM files often have names without an ending."""
    outer = inside.removesuffix("A")
    write(tmp_path, [f"{outer}{label}/{number}.png" for label in "BC" for number in range(2)])
    (tmp_path / inside).mkdir(parents=True)
    for number in range(3):
        (tmp_path / inside / f"IM{number}").symlink_to("../.git/annex/objects/ab/cd/SHA256-s9--0f")
    message = refused(tmp_path, [])
    assert f"{inside} holds 3 links that lead nowhere" in message


def test_years_between_splits_and_classes_are_noted(tmp_path):
    found = folder_source(write(tmp_path, below("train/2019", "val/2020", "test/2021")))
    assert any("Taken for years, not for patients: test/2021, train/2019, val/2020;" in one for one in found.notes)


def test_where_all_links_lead_nowhere_they_are_named(tmp_path):
    for label in "AB":
        (tmp_path / label).symlink_to("/media/away")
    message = refused(tmp_path, [])
    assert "There are no images below" in message
    assert "2 links there lead nowhere: A, B" in message


# Order


def test_rows_are_in_the_order_of_their_paths(tmp_path):
    names = ["test/A/1.png", "test/B.x/1.png", "test/B/1.png", "train/A/a/1.png", "train/A/b.png", "train/B/1.png"]
    assert list(folder_source(write(tmp_path, names)).table["image"]) == sorted(names, key=lambda name: name.split("/"))
