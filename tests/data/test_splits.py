"""Splits: no patient or copy crosses, classes keep their shares, what is given is kept, and test is never touched."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data import splits
from bench.data.splits import (
    SPLITS,
    Cluster,
    Shares,
    auc_half_width,
    describe,
    labels_of,
    rows_of,
    shared_patients,
    subset,
    too_small,
    units,
    units_of,
)
from bench.errors import ConfigError
from bench.settings import RunSettings

TEST_SHARE, VALIDATION_SHARE = (RunSettings.model_fields[name].default for name in ("test_share", "val_share"))
SHARES = Shares(TEST_SHARE, VALIDATION_SHARE)
assign_splits = partial(splits.assign_splits, shares=SHARES)
"""Draws by the shares of a run that names none."""


def make_table(patients):
    """A table from (label, images, split) a patient; a patient's narrow and wide names are the same."""
    rows = [
        (f"{label}/p{number}-{image}.png", label, f"p{number}", f"p{number}", split)
        for number, (label, images, split) in enumerate(patients)
        for image in range(images)
    ]
    return pd.DataFrame(rows, columns=["image", "label", "split_group", "patient_id", "split"])


def cohort(n=100, split="", labels=("A", "B"), images=1):
    return [(label, images, split) for label in labels for _ in range(n)]


def used(table):
    """The rows that take part."""
    return table[table["split"] != ""]


def crossing(table, column="split_group"):
    """Patients (or groups) who are in several splits."""
    return int((used(table).groupby(column)["split"].nunique() > 1).sum())


def names(table, split):
    return set(table.loc[table["split"] == split, "image"])


def check_whole(found, table):
    """Every image is still there, in order, and has either a split or a reason to have none."""
    columns = ["image", "label", "split_group", "patient_id"]
    pd.testing.assert_frame_equal(found[columns], table[columns])
    assert ((found["split"] == "") == (found["reason"] != "")).all()
    assert set(found["split"]) <= {*SPLITS, ""}


@st.composite
def tables(draw, fewest=12, most=40):
    """Two or three classes, so many patients each, 1 to 4 images a patient; nothing split."""
    n_classes = draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    counts = [draw(st.integers(fewest, most)) for _ in range(n_classes)]
    patients = [(label, int(rng.integers(1, 5)), "") for label, n in zip("ABC", counts, strict=False) for _ in range(n)]
    return make_table([patients[row] for row in rng.permutation(len(patients))])


# Drawing


@settings(deadline=None, max_examples=12)
@given(tables(), st.integers(0, 1000))
def test_no_patient_crosses_and_no_image_is_lost(table, seed):
    drawn, report = assign_splits(table, seed)
    assert crossing(drawn) == 0
    check_whole(drawn, table)
    assert set(drawn["split"]) == set(SPLITS)
    assert report.moved == []
    for split in SPLITS:
        assert set(drawn.loc[drawn["split"] == split, "label"]) == set(table["label"])


@settings(deadline=None, max_examples=12)
@given(tables(fewest=40, most=90), st.integers(0, 1000))
def test_shares_and_classes_are_about_what_they_should_be(table, seed):
    drawn, _ = assign_splits(table, seed)
    sizes = drawn["split"].value_counts(normalize=True)
    assert sizes["test"] == pytest.approx(TEST_SHARE, abs=0.05)
    assert sizes["val"] == pytest.approx(VALIDATION_SHARE * (1 - TEST_SHARE), abs=0.05)
    overall = table["label"].value_counts(normalize=True)
    for split in SPLITS:
        here = drawn.loc[drawn["split"] == split, "label"].value_counts(normalize=True)
        assert (here - overall).abs().max() < 0.08


def test_large_sets_are_stratified_closely():
    drawn, _ = assign_splits(make_table([*cohort(900, labels="A"), *cohort(300, labels="B")]), 0)
    for split in SPLITS:
        labels = drawn.loc[drawn["split"] == split, "label"]
        assert (labels == "B").mean() == pytest.approx(0.25, abs=0.01)


def test_a_class_of_few_patients_leaves_the_shares_alone():
    drawn, _ = assign_splits(make_table([*cohort(200, labels="A"), *cohort(3, labels="B")]), 0)
    assert (drawn["split"] == "test").mean() == pytest.approx(TEST_SHARE, abs=0.05)


def test_the_same_seed_draws_the_same_and_another_does_not():
    table = make_table(cohort())
    first, second, other = (assign_splits(table, seed)[0] for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first, second)
    assert list(first["split"]) != list(other["split"])


def test_the_given_table_is_left_as_it_was():
    table = make_table(cohort())
    before = table.copy()
    assign_splits(table, 0)
    pd.testing.assert_frame_equal(table, before)


def test_draws_keep_patients_of_the_wide_reading_together():
    """Two series of one number may be two children or one: drawn splits are safe either way."""
    table = make_table(cohort(60, images=2))
    table["patient_id"] = table["image"]
    drawn, report = assign_splits(table, 0)
    assert crossing(drawn, "split_group") == 0
    assert report.moved == []


def test_two_patients_of_a_class_are_too_few_to_draw_all_splits():
    table = make_table([*cohort(50, labels="A"), *[("B", 5, "")] * 2])
    with pytest.raises(ConfigError, match=r"'B' has 2 patients only, so no test .* at least 3 patients"):
        assign_splits(table, 0)  # train, val and test


@pytest.mark.parametrize("given_as", ["", "train"])
def test_one_patient_of_a_class_is_refused(given_as):
    table = make_table([*cohort(50, labels="A"), ("B", 5, given_as)])
    with pytest.raises(ConfigError, match=r"'B' has one patient only; each class needs at least two"):
        assign_splits(table, 0)


def test_copies_count_as_one_patient():
    table = make_table([*given_splits(), ("C", 1, "train"), ("C", 1, "val")])
    with pytest.raises(ConfigError, match=r"'C' has one patient only.*copies of each other count as one"):
        assign_splits(table, 0, clusters=[Cluster("near", (len(table) - 2, len(table) - 1))])


def test_a_class_that_cannot_be_decoded_is_refused():
    table = make_table(cohort())
    excluded = dict.fromkeys(table.index[table["label"] == "B"], "empty")
    with pytest.raises(ConfigError, match="'B' has no patient"):
        assign_splits(table, 0, excluded=excluded)


@pytest.mark.parametrize(("test_share", "val_share"), [(0.1, 0.1), (0.3, 0.25), (0.4, 0.35), (0.5, 0.05)])
def test_shares_are_as_they_are_asked_for(test_share, val_share):
    table = make_table(cohort(200))
    drawn, report = assign_splits(table, 0, shares=Shares(test_share, val_share))
    sizes = drawn["split"].value_counts(normalize=True)
    assert sizes["test"] == pytest.approx(test_share, abs=0.02)
    assert sizes["val"] == pytest.approx(val_share * (1 - test_share), abs=0.02)
    assert f"{100 * test_share:.0f} % of the images" in report.notes[0]
    assert f"{100 * val_share:.0f} % of the training images" in report.notes[1]


# Duplicates


@st.composite
def clustered(draw):
    """A table and random sets of copies in it, not so many that all are one group."""
    table = draw(tables(fewest=20))
    rows = st.lists(st.integers(0, len(table) - 1), min_size=2, max_size=4, unique=True)
    drawn = draw(st.lists(rows, max_size=6))
    kinds = st.sampled_from(["exact", "near"])
    return table, [Cluster(draw(kinds), tuple(sorted(cluster))) for cluster in drawn]


@settings(deadline=None, max_examples=12)
@given(clustered(), st.integers(0, 1000))
def test_no_copy_crosses_drawn_splits(case, seed):
    table, clusters = case
    drawn, report = assign_splits(table, seed, clusters=clusters)
    check_whole(drawn, table)
    assert crossing(drawn, "group") == crossing(drawn) == 0
    for cluster in clusters:
        assert drawn["split"].iloc[list(cluster.rows)].nunique() == 1
    assert report.moved == []
    assert set(drawn["split"]) == set(SPLITS)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**32 - 1))
def test_given_splits_with_any_sharing_end_apart(seed):
    """Images and copies are dealt to the splits at random: much sharing, and never a loss in test."""
    rng = np.random.default_rng(seed)
    table = make_table(cohort(60, images=int(rng.integers(1, 4))))
    table["split"] = rng.choice(SPLITS, len(table), p=[0.5, 0.3, 0.2])
    shuffled = rng.permutation(len(table))
    clusters = [
        Cluster(str(rng.choice(["exact", "near"])), tuple(sorted(shuffled[3 * i : 3 * i + 3].tolist())))
        for i in range(int(rng.integers(0, 12)))
    ]
    found, report = assign_splits(table, seed=0, clusters=clusters)
    check_whole(found, table)
    assert names(found, "test") == names(table, "test")
    assert crossing(found, "patient_id") == 0
    for cluster in clusters:
        assert len(set(found["split"].iloc[list(cluster.rows)]) - {""}) <= 1
    dropped = set(found.loc[found["split"] == "", "image"])
    assert dropped == {name for moved in report.moved for name in moved["files"]}
    assert len(dropped) == sum(moved["images"] for moved in report.moved)


def row_of(table, split, number=0):
    return int(table.index[table["split"] == split][number])


def test_copies_of_test_images_leave_train_and_val():
    table = make_table(given_splits())
    pairs = [("train", "test", "exact"), ("val", "test", "near"), ("train", "val", "near")]
    clusters = [
        Cluster(kind, tuple(sorted((row_of(table, early, 2 * i), row_of(table, late, 2 * i + 1)))))
        for i, (early, late, kind) in enumerate(pairs)
    ]
    found, report = assign_splits(table, 0, clusters=clusters)
    check_whole(found, table)
    assert names(found, "test") == names(table, "test")
    reasons = found.loc[found["reason"] != "", "reason"].to_dict()
    assert reasons == {
        row_of(table, "train", 0): "the same pixels are also in test",
        row_of(table, "val", 2): "a near duplicate of it is also in test",
        row_of(table, "train", 4): "a near duplicate of it is also in val",
    }
    assert report.moved == [
        {
            "from": split,
            "images": 1,
            "reason": reason,
            "files": [table["image"].iloc[row]],
        }
        for split, reason, row in (
            ("train", "the same pixels are also in test", row_of(table, "train", 0)),
            ("val", "near duplicates of them are also in test", row_of(table, "val", 2)),
            ("train", "near duplicates of them are also in val", row_of(table, "train", 4)),
        )
    ]
    assert "1 image left train because the same pixels are also in test." in report.notes
    assert report.shared_patients["narrow"] == {"train-val": 0, "train-test": 0, "val-test": 0}


def test_copies_within_a_split_stay():
    table = make_table(given_splits())
    cluster = Cluster("exact", (row_of(table, "train", 0), row_of(table, "train", 1)))
    found, report = assign_splits(table, 0, clusters=[cluster])
    assert found["split"].tolist() == table["split"].tolist()
    assert report.moved == []


def test_a_copy_that_takes_no_part_drives_nobody_out():
    table = make_table(given_splits())
    early, late = row_of(table, "train"), row_of(table, "test")
    found, report = assign_splits(
        table, 0, clusters=[Cluster("near", (early, late))], excluded={late: "not wanted by splits.csv"}
    )
    assert found["split"].iloc[early] == "train"
    assert found["reason"].iloc[late] == "not wanted by splits.csv"
    assert report.moved == []


# What takes no part


def test_excluded_images_keep_their_reason_and_count_nowhere():
    table = make_table(given_splits())
    patient = table.loc[row_of(table, "test"), ["split_group", "patient_id"]].tolist()
    shared = row_of(table, "train", 3)
    table.loc[shared, ["split_group", "patient_id"]] = patient
    excluded = {shared: "truncated: image file is truncated", row_of(table, "test", 5): "empty: the file is empty"}
    found, report = assign_splits(table, 0, excluded=excluded)
    check_whole(found, table)
    assert found.loc[list(excluded), "reason"].to_dict() == excluded
    assert (found["split"] == "").sum() == 2
    assert report.shared_patients["narrow"]["train-test"] == 0
    assert report.moved == []
    assert excluded.keys() == {shared, row_of(table, "test", 5)}, "the caller's reasons are left alone"


@settings(deadline=None, max_examples=8)
@given(clustered(), st.integers(0, 1000), st.data())
def test_drawing_leaves_out_what_is_excluded(case, seed, data):
    table, clusters = case
    rows = data.draw(st.lists(st.integers(0, len(table) - 1), max_size=6, unique=True))
    found, _ = assign_splits(table, seed, clusters=clusters, excluded=dict.fromkeys(rows, "unreadable"))
    check_whole(found, table)
    assert set(found.index[found["split"] == ""]) == set(rows)
    assert crossing(found, "group") == 0


# Too small to select by


def test_the_half_width_by_hand():
    """Hanley & McNeil at AUC 0.95: Q1 = 0.95 / 1.05, Q2 = 2 * 0.9025 / 1.95, the variance written out in numbers.

    With 50 and 50 images: 0.95 * 0.05 = 0.0475; Q1 - 0.9025 = 0.00226190; Q2 - 0.9025 = 0.02314103;
    0.0475 + 49 * 0.00226190 + 49 * 0.02314103 = 1.29224359; / 2500 = 0.00051690; root 0.02273539; * 1.96 = 0.04456137.
    """
    assert auc_half_width(50, 50) == pytest.approx(0.04456137, abs=1e-7)
    assert auc_half_width(8, 8) == pytest.approx(
        1.96 * math.sqrt((0.0475 + 7 * (0.00226190 + 0.02314103)) / 64), abs=1e-6
    )


def test_the_half_width_shrinks_with_images_and_is_infinite_without():
    widths = [auc_half_width(n, n) for n in (5, 10, 20, 100, 1000)]
    assert widths == sorted(widths, reverse=True)
    assert auc_half_width(0, 10) == auc_half_width(10, 0) == math.inf


def test_where_a_validation_split_becomes_large_enough():
    def labels(n):
        return pd.Series(["A"] * n + ["B"] * n)

    assert too_small(labels(8)), "the public chest X-ray set's 16 images"
    assert not too_small(labels(50))
    first = next(n for n in range(2, 100) if not too_small(labels(n)))
    assert auc_half_width(first, first) <= 0.05 < auc_half_width(first - 1, first - 1)


def test_the_rarest_class_decides():
    assert too_small(pd.Series(["A"] * 60 + ["B"] * 2))
    assert not too_small(pd.Series(["A"] * 60 + ["B"] * 60))
    assert too_small(pd.Series(["A"] * 60 + ["B"] * 60 + ["C"] * 2))


@pytest.mark.parametrize("labels", [["A"] * 1000 + ["B"] * 4, ["A"] * 1000 + ["B"] * 1000 + ["C"] * 4])
def test_four_images_of_a_class_are_too_few_however_many_the_rest(labels):
    """With the four as positives the half width is 0.15; which class is called positive must not decide."""
    assert auc_half_width(4, 1000) > 0.14
    assert too_small(pd.Series(labels))


# Given splits


def given_splits(n_train=100, n_val=60, n_test=60):
    return [*cohort(n_train, "train"), *cohort(n_val, "val"), *cohort(n_test, "test")]


def test_given_splits_are_kept():
    table = make_table(given_splits())
    found, report = assign_splits(table, 0)
    check_whole(found, table)
    assert found["split"].tolist() == table["split"].tolist()
    assert (report.notes, report.on_validation, report.merged) == ([], "", False)
    none = {"train-val": 0, "train-test": 0, "val-test": 0}
    assert report.shared_patients == {"narrow": none, "wide": none}


def test_a_small_validation_split_is_merged_and_drawn_anew():
    table = make_table(given_splits(n_val=8))
    found, report = assign_splits(table, 0)
    assert names(found, "test") == names(table, "test")
    assert names(found, "train") | names(found, "val") == names(table, "train") | names(table, "val")
    assert 20 < len(names(found, "val")) < 45
    (note,) = report.notes
    assert (report.on_validation, report.merged) == (note, True)
    assert "16 images is too small" in note
    assert f"±{auc_half_width(8, 8):.2f}" in note
    assert "merged with train" in note
    assert "15 %" in note


def test_a_validation_split_that_lacks_a_class_is_merged_too():
    table = make_table([*cohort(100, "train"), *cohort(100, "val", labels="A"), *cohort(60, "test")])
    found, report = assign_splits(table, 0)
    assert set(found.loc[found["split"] == "val", "label"]) == {"A", "B"}
    assert any("lacks a class" in note for note in report.notes)


def test_a_missing_validation_split_is_drawn_from_train():
    table = make_table(given_splits(n_val=0))
    found, report = assign_splits(table, 0)
    assert names(found, "test") == names(table, "test")
    assert len(names(found, "val")) / 200 == pytest.approx(VALIDATION_SHARE, abs=0.04)
    assert any("No validation split was given" in note for note in report.notes)
    assert not report.merged


def test_a_missing_test_split_is_drawn_from_train():
    table = make_table(given_splits(n_test=0))
    found, report = assign_splits(table, 0)
    assert names(found, "val") == names(table, "val")
    assert names(found, "test") < names(table, "train")
    assert len(names(found, "test")) / 200 == pytest.approx(TEST_SHARE, abs=0.04)
    assert any("No test split was given" in note for note in report.notes)


def test_everything_missing_is_drawn_and_said():
    _, report = assign_splits(make_table(cohort()), 0)
    assert len(report.notes) == 2
    assert all("patients kept together" in note for note in report.notes)


def test_images_without_a_split_train_where_others_have_one():
    table = make_table([*given_splits(), *cohort(10)])
    found, _ = assign_splits(table, 0)
    assert names(found, "train") == names(table, "train") | names(table, "")


@pytest.mark.parametrize("n_val", [8, 2])
def test_a_fixed_validation_split_is_kept_however_small(n_val):
    table = make_table(given_splits(n_val=n_val))
    found, report = assign_splits(table, 0, shares=replace(SHARES, fixed=True))
    assert found["split"].tolist() == table["split"].tolist()
    assert not report.merged
    assert "It was kept" in report.on_validation
    assert assign_splits(table, 0)[1].merged


def test_a_fixed_validation_split_that_lacks_a_class_is_refused():
    table = make_table([*cohort(100, "train"), *cohort(100, "val", labels="A"), *cohort(60, "test")])
    with pytest.raises(ConfigError, match="The val split holds no image of class 'B'"):
        assign_splits(table, 0, shares=replace(SHARES, fixed=True))


def test_the_share_decides_whether_a_drawn_validation_split_is_larger():
    table = make_table(given_splits(n_train=100, n_val=20))
    assert assign_splits(table, 0, shares=replace(SHARES, val=0.3))[1].merged
    assert not assign_splits(table, 0, shares=replace(SHARES, val=0.1))[1].merged


def test_a_class_of_the_test_split_alone_is_refused():
    table = make_table([*given_splits(), *cohort(20, "test", labels="C")])
    with pytest.raises(ConfigError, match="'C'"):
        assign_splits(table, 0)


# Patients in several given splits


def with_shared(pairs):
    """Given splits in which some patients of the first split named also have an image in the second."""
    table = make_table(given_splits())
    for first, second in pairs:
        donor = table.index[table["split"] == first][0]
        heir = table.index[table["split"] == second][1]
        table.loc[heir, ["split_group", "patient_id"]] = table.loc[donor, "split_group"]
    return table


def test_images_of_test_patients_leave_train_and_test_stays_whole():
    table = with_shared([("test", "train")])
    found, report = assign_splits(table, 0)
    assert names(found, "test") == names(table, "test")
    check_whole(found, table)
    assert len(used(found)) == len(table) - 1
    assert crossing(found, "patient_id") == 0
    (moved,) = report.moved
    assert (moved["from"], moved["images"]) == ("train", 1)
    assert set(moved["files"]) == names(table, "train") - names(found, "train")
    assert moved["reason"] == "their patients are also in test"
    assert found.set_index("image")["reason"][moved["files"]].tolist() == ["its patient is also in test"]
    assert "1 image left train because their patients are also in test." in report.notes
    assert report.shared_patients["narrow"]["train-test"] == report.shared_patients["wide"]["train-test"] == 1


def test_images_of_test_patients_leave_val_and_those_of_val_patients_leave_train():
    table = with_shared([("test", "val"), ("val", "train")])
    found, report = assign_splits(table, 0)
    assert names(found, "test") == names(table, "test")
    assert crossing(found, "patient_id") == 0
    assert {moved["from"]: moved["images"] for moved in report.moved} == {"val": 1, "train": 1}


def test_leaks_are_looked_for_by_the_narrow_reading():
    """bacteria-1 in train and virus-1 in test are one patient widely and two narrowly: no false alarm."""
    table = make_table(given_splits())
    table.loc[table.index[table["split"] == "test"][0], "split_group"] = table["split_group"].iloc[0]
    found, report = assign_splits(table, 0)
    assert report.moved == []
    assert len(used(found)) == len(table)
    assert report.shared_patients == {
        "narrow": {"train-val": 0, "train-test": 0, "val-test": 0},
        "wide": {"train-val": 0, "train-test": 1, "val-test": 0},
    }


def test_shared_patients_are_counted_by_pair():
    table = with_shared([("test", "train"), ("train", "val")])
    assert shared_patients(table) == {"train-val": 1, "train-test": 1, "val-test": 0}
    table["split_group"] = "all the same"
    assert shared_patients(table, "split_group") == {"train-val": 1, "train-test": 1, "val-test": 1}
    assert shared_patients(make_table(cohort())) == {}, "nothing is shared between splits that are not given"


# A subset


def test_a_subset_keeps_test_whole_patients_whole_and_all_classes():
    table, _ = assign_splits(make_table(cohort(150, images=3)), 0)
    chosen = subset(table, 200, 0)
    check_whole(chosen, table)
    assert names(chosen, "test") == names(table, "test")
    assert set(chosen.loc[chosen["split"] == "", "reason"]) == {"not drawn by --max-images 200"}
    for split in ("train", "val"):
        assert names(chosen, split) < names(table, split)
    working = used(chosen).query("split != 'test'")
    assert 170 <= len(working) <= 200
    assert set(working.groupby("split_group").size()) == {3}
    for split in SPLITS:
        assert set(chosen.loc[chosen["split"] == split, "label"]) == {"A", "B"}
    before, after = ((part.query("split in ('train', 'val')")["split"] == "val").mean() for part in (table, chosen))
    assert after == pytest.approx(before, abs=0.03)


def test_a_subset_keeps_patients_of_two_classes_whole():
    table = make_table(cohort(60, labels="A", images=2))
    table["label"] = np.where(np.arange(len(table)) % 2, "A", "B")
    table, _ = assign_splits(table, 0)
    working = subset(table, 40, 0).query("split in ('train', 'val')")
    assert 20 < len(working) <= 44
    assert (working.groupby("split_group").size() == 2).all()


def test_a_subset_follows_its_seed():
    table, _ = assign_splits(make_table(cohort()), 0)
    assert list(subset(table, 80, 1)["split"]) == list(subset(table, 80, 1)["split"])
    assert list(subset(table, 80, 1)["split"]) != list(subset(table, 80, 2)["split"])


def test_a_subset_keeps_earlier_reasons():
    table, _ = assign_splits(make_table(cohort()), 0, excluded={4: "empty: the file is empty"})
    before = table.copy()
    assert subset(table, 80, 0)["reason"].iloc[4] == "empty: the file is empty"
    pd.testing.assert_frame_equal(table, before)


def test_a_subset_as_large_as_the_set_is_the_set():
    table, _ = assign_splits(make_table(cohort()), 0)
    pd.testing.assert_frame_equal(subset(table, 10_000, 0), table)


def test_a_subset_too_small_to_validate_on_is_refused():
    table, _ = assign_splits(make_table(cohort()), 0)
    with pytest.raises(ConfigError, match="--max-images 4"):
        subset(table, 4, 0)


# Description


def test_rows_and_labels_of_a_split():
    table = make_table([("A", 2, "train"), ("B", 1, "val"), ("A", 1, ""), ("B", 2, "train")])
    assert rows_of(table, "train").tolist() == [0, 1, 4, 5]
    assert rows_of(table, "test").tolist() == []
    assert labels_of(table, rows_of(table, "train"), ["A", "B"]).tolist() == [0, 0, 1, 1]


def test_describe_counts_images_patients_and_classes():
    table = make_table([("A", 2, "train"), ("B", 3, "train"), ("A", 1, "val")])
    assert {split: part.model_dump() for split, part in describe(table).items()} == {
        "train": {"images": 5, "patients": 2, "classes": {"A": 2, "B": 3}},
        "val": {"images": 1, "patients": 1, "classes": {"A": 1}},
    }


def test_a_small_given_validation_split_is_kept_where_a_drawn_one_would_be_smaller():
    rows = [("A", f"a{n}", "train") for n in range(30)] + [("B", f"b{n}", "train") for n in range(30)]
    rows += [("A", f"va{n}", "val") for n in range(12)] + [("B", f"vb{n}", "val") for n in range(12)]
    table = pd.DataFrame(rows, columns=["label", "split_group", "split"])
    table["patient_id"], table["image"] = table["split_group"], table["split_group"] + ".png"
    rest = pd.DataFrame({"label": ["A", "B"], "split_group": ["t1", "t2"], "split": "test"})
    rest["patient_id"], rest["image"] = rest["split_group"], rest["split_group"] + ".png"
    table = pd.concat([table, rest], ignore_index=True)
    found, report = assign_splits(table, seed=0)
    assert found.loc[found["split"] == "val", "split_group"].str.startswith("v").all()
    assert (found["split"] == "val").sum() == 24
    assert any("It was kept" in note for note in report.notes)
    # with many more training images a drawn split would be larger: then it is drawn
    more = pd.DataFrame({"label": ["A", "B"] * 200, "split_group": [f"m{n}" for n in range(400)], "split": "train"})
    more["patient_id"], more["image"] = more["split_group"], more["split_group"] + ".png"
    found, report = assign_splits(pd.concat([table, more], ignore_index=True), seed=0)
    assert (found["split"] == "val").sum() > 24
    assert any("merged with train" in note for note in report.notes)


# What is drawn beside what is given


@pytest.mark.parametrize("seed", range(12))
def test_a_test_split_drawn_beside_given_ones_shares_no_group(seed):
    """Patients who are in train and validation, by the wide reading alone, must not be parted by the draw."""
    rng = np.random.default_rng(seed)
    table = make_table([*cohort(120, "train", images=2), *cohort(70, "val", images=2)])
    table["split_group"] = "w" + pd.Series(rng.integers(0, 150, len(table))).astype(str) + table["label"]
    drawn, _ = assign_splits(table, seed)
    for other in ("train", "val"):
        assert not set(drawn.loc[drawn["split"] == "test", "group"]) & set(drawn.loc[drawn["split"] == other, "group"])


def test_very_many_groups_are_drawn_whole_and_stratified_too(monkeypatch):
    monkeypatch.setattr("bench.data.splits.MANY_GROUPS", 50)
    monkeypatch.setattr("bench.data.splits.StratifiedGroupKFold", None)  # it would take minutes
    table = make_table([*cohort(300, labels="A", images=2), *cohort(100, labels="B", images=2)])
    drawn, _ = assign_splits(table, 0)
    assert crossing(drawn, "group") == 0
    for split, share in (("test", TEST_SHARE), ("val", (1 - TEST_SHARE) * VALIDATION_SHARE)):
        part = drawn[drawn["split"] == split]
        assert len(part) == pytest.approx(share * len(table), rel=0.1)
        assert (part["label"] == "A").mean() == pytest.approx(0.75, abs=0.02)


def test_a_copy_takes_its_patient_along():
    """An image of train that is a copy of a test image shows that its patient is tested on."""
    table = make_table(given_splits())
    donor, heir = (table.index[table["split"] == split][0] for split in ("train", "test"))
    sibling = table.index[table["split"] == "train"][1]
    table.loc[sibling, ["split_group", "patient_id"]] = table.loc[donor, ["split_group", "patient_id"]].to_numpy()
    drawn, _ = assign_splits(table, 0, clusters=[Cluster("exact", (int(donor), int(heir)))])
    assert drawn.loc[donor, "reason"] == "the same pixels are also in test"
    assert drawn.loc[sibling, "reason"] == "a copy of its patient's images is also in test"
    assert drawn.loc[heir, "split"] == "test"


def test_a_train_split_that_is_emptied_says_by_what():
    table = make_table(given_splits())
    train = table["split"] == "train"
    table.loc[train, ["split_group", "patient_id"]] = table.loc[table["split"] == "test", "split_group"].iloc[0]
    with pytest.raises(ConfigError, match=r"\(200 images left train: their patients are also in test\)"):
        assign_splits(table, 0)


# What is drawn as one patient


def test_patients_who_share_the_very_same_image_are_one_where_patients_are_drawn():
    table = make_table([("A", 2, ""), ("B", 1, ""), ("A", 1, ""), ("B", 2, ""), ("A", 1, "")])
    clusters = [Cluster("exact", (1, 3)), Cluster("exact", (3, 5)), Cluster("near", (2, 6), 3)]
    found = units(table, clusters)
    assert found.tolist() == ["p0", "p0", "p1", "p0", "p0", "p0", "p4"]
    assert units_of(table).tolist() == table["patient_id"].tolist()


def test_splits_come_with_their_units_and_patients_stay_as_they_were():
    table = make_table(cohort(40))
    copies = [Cluster("exact", (3, 9)), Cluster("near", (5, 11), 4)]
    found, _ = assign_splits(table, 0, clusters=copies)
    assert units_of(found).iloc[[3, 9, 5, 11]].tolist() == ["p3", "p3", "p5", "p11"]
    assert found["patient_id"].tolist() == table["patient_id"].tolist()
    assert found["split"].iloc[3] == found["split"].iloc[9]
