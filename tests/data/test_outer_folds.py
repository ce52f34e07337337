"""The folds of a nested loop: every image of train and validation is held out once a repeat, patients whole."""

import numpy as np
import pandas as pd
import pytest

from bench.data.splits import OuterFold, outer_folds, outer_seed
from bench.errors import ConfigError


def images(patients: dict[str, int], seed: int = 0, test: int = 10) -> pd.DataFrame:
    """Two images a patient, some patients in val and test; every third shares a group with the next of its class."""
    rows, rng = [], np.random.default_rng(seed)
    for label, count in patients.items():
        for number in range(count):
            split = "val" if number % 6 == 0 else "train"
            name = f"{label}{number}"
            group = f"{label}{number + 1 if number % 3 == 0 else number}"
            rows += [(f"{name}-{one}", label, name, group, split) for one in "ab"]
        rows += [(f"{label}-test{one}", label, f"t{label}{one}", f"t{label}{one}", "test") for one in range(test)]
    table = pd.DataFrame(rows, columns=["image", "label", "patient_id", "group", "split"])
    table = table.assign(split_group=table["patient_id"], content=[f"{one:x}" for one in rng.permutation(len(table))])
    return table.sample(frac=1, random_state=seed).reset_index(drop=True)


TABLE = images({"A": 40, "B": 26})
POOL = np.flatnonzero(TABLE["split"] != "test")


def names(fold: OuterFold, table: pd.DataFrame) -> dict[str, set[str]]:
    every = {**fold.rows, "held out": fold.held_out}
    return {part: set(table["image"].iloc[rows]) for part, rows in every.items()}


def test_every_image_is_held_out_once_a_repeat_and_no_group_is_parted() -> None:
    found = list(outer_folds(TABLE, 5, 2, split_seed=0))
    assert [(one.repeat, one.fold) for one in found] == [(r, f) for r in (1, 2) for f in range(1, 6)]
    for repeat in (1, 2):
        own = [one for one in found if one.repeat == repeat]
        np.testing.assert_array_equal(np.sort(np.concatenate([one.held_out for one in own])), POOL)
    for one in found:
        parts = [one.held_out, one.rows["train"], one.rows["val"]]
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), POOL)  # each on one side, and none of test
        groups = [set(TABLE["group"].iloc[rows]) for rows in parts]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
        assert all(set(TABLE["label"].iloc[rows]) == {"A", "B"} for rows in parts)
        share = len(one.rows["val"]) / (len(one.rows["val"]) + len(one.rows["train"]))
        assert share == pytest.approx((TABLE["split"] == "val").sum() / len(POOL), abs=0.05)


def test_folds_depend_on_the_images_and_the_split_seed_alone() -> None:
    def drawn(table: pd.DataFrame, repeats: int = 1, seed: int = 0) -> list[dict[str, set[str]]]:
        return [names(one, table) for one in outer_folds(table, 3, repeats, seed)]

    first = drawn(TABLE)
    assert drawn(TABLE.sample(frac=1, random_state=3).reset_index(drop=True)) == first, "not on the order of rows"
    assert drawn(TABLE, repeats=2)[:3] == first, "nor on how many repeats follow"
    assert drawn(TABLE, repeats=2)[3:] != first
    assert drawn(TABLE, seed=1) != first
    assert outer_seed(0) != outer_seed(1) != 1


def test_too_few_patients_are_refused_in_one_sentence() -> None:
    with pytest.raises(ConfigError, match=r"^Class 'B' has 3 patients .*--outer 5; at most 3 folds are possible\.$"):
        next(outer_folds(images({"A": 20, "B": 4}), 5, 1, 0))
    with pytest.raises(ConfigError, match=r"^--outer: without the patients of fold 1: Class 'B' has 1 patient only"):
        next(outer_folds(images({"A": 20, "B": 2}).assign(group=lambda one: one["patient_id"]), 2, 1, 0))
    assert list(outer_folds(TABLE, 0, 0, 0)) == []
