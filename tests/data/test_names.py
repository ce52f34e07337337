"""Names of splits and classes are read as people write them."""

import unicodedata

import pytest

from bench.data.names import merge_labels, split_of

SPLITS = {
    "train": (
        *("train", "Training", "TRAIN", "Train Set", "train_set", "trainset", "TrainSet", "TRAINset", "xray_train"),
        *("train-2019", "train2019", "01_train", "stage_2_train_images", "traindata", "OCT2017_train", "XRayTrain"),
        *("trainval", "train_val", "Ｔｒａｉｎ", " train "),
    ),
    "val": ("val", "valid", "Validation", "dev", "development", "eval", "evaluation", "val_set", "ValData", "DEV-2"),
    "test": ("test", "Testing", "test_set", "testset", "hold-out", "Hold Out", "held_out", "holdout", "PublicTest"),
}


@pytest.mark.parametrize(("name", "split"), [(name, split) for split, names in SPLITS.items() for name in names])
def test_a_split_is_known_by_a_word_in_its_name(name, split):
    assert split_of(name) == split


@pytest.mark.parametrize(
    "name", ["", "normal", "strain", "invalid", "contest", "medieval", "device", "train_test", "0"]
)
def test_other_names_are_no_split(name):
    assert split_of(name) is None


@pytest.mark.parametrize(
    ("labels", "merged"),
    [
        (["cat", "Cat", "cat"], ["cat"] * 3),
        (["Cat", "cat"], ["Cat"] * 2),
        (["cat ", "cat", "dog"], ["cat", "cat", "dog"]),
        (["cat  a", "cat a", "cat a"], ["cat a"] * 3),
        (["Müller", unicodedata.normalize("NFD", "Müller")], ["Müller"] * 2),
        (["straße", "STRASSE"], ["straße"] * 2),
        (["Ⅱ", "II", "II"], ["II"] * 3),
        (["1", "1.0", "1.00", "1.0"], ["1.0"] * 4),
        (["-1.0", "-1"], ["-1.0"] * 2),
        (["\ufeffcat", "cat", "cat"], ["cat"] * 3),
    ],
)
def test_labels_that_say_the_same_are_one_class_with_a_note(labels, merged):
    found, notes = merge_labels(labels)
    assert found == merged
    assert len(notes) == 1
    assert f"{merged[0]!r}:" in notes[0]


@pytest.mark.parametrize(
    "labels", [["1", "01"], ["cat", "dog", "cat"], ["1.5", "15"], ["a-b", "a b"], ["1.0", "10"], []]
)
def test_labels_that_differ_stay(labels):
    assert merge_labels(labels) == (labels, [])


def test_spellings_that_look_alike_are_noted_so_that_they_can_be_told_apart():
    _, notes = merge_labels(["Müller", unicodedata.normalize("NFD", "Müller"), "Müller"])
    assert "'Müller' (2)" in notes[0]
    assert r"'Mu\u0308ller' (1)" in notes[0]


def test_blanks_around_a_class_name_go():
    assert merge_labels([" cat", "dog"]) == (["cat", "dog"], [])
