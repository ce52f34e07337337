"""Folds: train and validation alone, patients whole, every class in each."""

import re

import numpy as np
import pandas as pd
import pytest

from bench.data.splits import fold_names, folds
from bench.errors import ConfigError


def make_table(counts: dict[str, int], seed: int = 0) -> pd.DataFrame:
    """So many patients a class in train or val, with 1 to 4 images each, and half as many in test and in no split."""
    rng = np.random.default_rng(seed)
    rows = []
    for label, count in counts.items():
        for number in range(2 * count):
            split = str(rng.choice(["train", "val"])) if number < count else ("test", "")[number % 2]
            rows += [(label, f"{label}{number}", split)] * int(rng.integers(1, 5))
    table = pd.DataFrame(rows, columns=["label", "split_group", "split"])
    table["image"] = [f"{number}.png" for number in range(len(table))]
    return table.sample(frac=1, random_state=seed)  # whatever the order, and whatever the index


@pytest.mark.parametrize("k", [2, 5])
def test_folds_part_train_and_val_by_patients_and_classes(k: int) -> None:
    table = make_table({"A": 40, "B": 20, "C": 10})
    found = folds(table, k, seed=1)
    assert found.index.equals(table.index)
    used = table["split"].isin(["train", "val"])
    assert (found[~used] == 0).all()
    assert set(found[used]) == set(range(1, k + 1))
    assert (found[used].groupby(table["split_group"]).nunique() == 1).all()
    shares = pd.crosstab(found[used], table["label"], normalize="index")
    whole = table.loc[used, "label"].value_counts(normalize=True)
    assert np.abs(shares - whole).to_numpy().max() < 0.1


def test_the_seed_decides() -> None:
    table = make_table({"A": 30, "B": 30})
    pd.testing.assert_series_equal(folds(table, 3, seed=4), folds(table, 3, seed=4))
    assert not folds(table, 3, seed=4).equals(folds(table, 3, seed=5))


def test_groups_stand_in_for_patients() -> None:
    table = make_table({"A": 30, "B": 30})
    table["group"] = "together-" + (table["split_group"].str[1:].astype(int) // 3).astype(str)
    found = folds(table, 3, seed=0)[table["split"].isin(["train", "val"])]
    assert (found.groupby(table["group"]).nunique() == 1).all()
    assert (found.groupby(table["split_group"]).nunique() == 1).all()


@pytest.mark.parametrize(("fewest", "accepted"), [(4, "at most 4 folds are possible"), (1, "no folds are possible")])
def test_too_few_patients_are_refused_in_a_sentence(fewest: int, accepted: str) -> None:
    table = make_table({"A": 30, "rare": fewest})  # its patients in test do not count
    with pytest.raises(ConfigError, match=rf"'rare' has {fewest} patients? .*--folds 5; {accepted}\.$"):
        folds(table, 5, seed=0)
    if fewest > 1:
        found = folds(table, fewest, seed=0)
        assert set(found[table["label"] == "rare"]) == set(range(fewest + 1))


def test_folds_that_lack_a_class_are_drawn_again() -> None:
    """Of one draw in two, the third fold here is left without a class."""
    patients = enumerate(["B", "B", "A", "A", "ABA"])
    rows = [(label, number, "train") for number, labels in patients for label in labels]
    table = pd.DataFrame(rows, columns=["label", "split_group", "split"]).assign(image=[f"{n}" for n in range(7)])
    for seed in range(10):
        classes = table["label"].groupby(folds(table, 3, seed)).nunique()
        assert classes.to_dict() == {1: 2, 2: 2, 3: 2}


def test_folds_that_no_draw_can_give_are_refused() -> None:
    """Each class has two patients, but every two classes share one, so two folds cannot part them all."""
    table = pd.DataFrame(
        {"label": list("ABACBC"), "split_group": list("xxyyzz"), "split": "train", "image": list("123456")}
    )
    with pytest.raises(ConfigError, match=r"No 2 folds could be drawn .* take fewer --folds"):
        folds(table, 2, seed=0)


def given_table(folds: str = "1234", patients: str = "each") -> pd.DataFrame:
    """Two images of two classes a fold, each of its own patient, or of one."""
    rows = [
        (f"{fold}{label}{number}", label, f"{fold}{label}{number}" if patients == "each" else patients, "train", fold)
        for fold in folds
        for label in "AB"
        for number in range(2)
    ]
    return pd.DataFrame(rows, columns=["image", "label", "split_group", "split", "fold"])


def test_given_folds_are_taken_in_order_of_their_numbers() -> None:
    table = given_table()
    table["fold"] = table["fold"].replace({"1": "10", "2": "9"})
    table.loc[table["image"].str.startswith("4A0"), "split"] = "test"
    found = folds(table, "given", seed=0)
    assert fold_names(table, "given") == ["3", "4", "9", "10"]
    assert found.groupby(table["fold"]).max().to_dict() == {"3": 1, "4": 2, "9": 3, "10": 4}
    assert (found[table["split"] == "test"] == 0).all()
    assert folds(table, "given", seed=0).equals(folds(table, "given", seed=1))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fold": ""}, "gives no folds"),
        ({"fold": "3"}, "gives one fold only (3)"),
    ],
)
def test_fewer_than_two_given_folds_are_refused(change: dict[str, str], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        folds(given_table().assign(**change), "given", seed=0)


def test_images_without_a_fold_are_refused() -> None:
    table = given_table()
    table.loc[2, "fold"] = ""
    with pytest.raises(ConfigError, match="1 images of train and validation have no fold, such as 1B0"):
        folds(table, "given", seed=0)


def test_given_folds_without_a_class_are_refused() -> None:
    table = given_table().query("not (fold == '2' and label == 'B')")
    with pytest.raises(ConfigError, match="fold 2 holds none of class 'B'"):
        folds(table, "given", seed=0)


def test_given_folds_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="beside the patients of fold 1"):
        folds(given_table(patients="all of one"), "given", seed=0)


def test_numbers_of_folds_that_are_drawn() -> None:
    assert fold_names(given_table(), 3) == ["1", "2", "3"]
    assert fold_names(given_table(), 0) == []
