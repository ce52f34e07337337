"""Scores of parts of the test images."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from bench.evaluation import subgroups as scored
from bench.evaluation.grouping import image_groups
from bench.run.tables import SUBGROUPS
from bench.stats.bootstrap import Bootstrap
from bench.stats.predictions import Predictions

CLASSES = ("NORMAL", "PNEUMONIA")


def subgroups(labels, scores, patients, groups, classes, threshold=None, draws=2000):
    table = scored.subgroups(Predictions(labels, scores, patients, classes), groups, threshold, Bootstrap(draws))
    return table.astype(object).where(table.notna(), None)


def study(n_images=160, n_classes=2, seed=0, per_patient=2):
    """Labels, scores that are fairly good, and patients."""
    rng = np.random.default_rng(seed)
    y_true = np.repeat(rng.integers(0, n_classes, n_images // per_patient), per_patient)
    logits = 1.2 * np.eye(n_classes)[y_true] + rng.normal(size=(n_images, n_classes))
    y_score = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return y_true, y_score, np.repeat(np.arange(n_images // per_patient), per_patient)


def everyone(y_true):
    """One group that holds all images."""
    return {"x": ["all"] * len(y_true)}


def by_value(table, group):
    return table[table["group"] == group].set_index("value")


def test_each_subgroup_has_its_own_scores():
    y_true, y_score, patients = study()
    sex = np.array(["F", "M"])[patients % 2]
    table = subgroups(y_true, y_score, patients, {"sex": sex.tolist()}, CLASSES, 0.4, draws=200)
    assert list(table) == SUBGROUPS.names
    assert table["value"].tolist() == ["F", "M"]
    for value, inside in (("F", sex == "F"), ("M", sex == "M")):
        row = table[table["value"] == value].iloc[0]
        called = y_score[inside, 1] >= 0.4
        truth = y_true[inside] == 1
        assert row["images"] == inside.sum()
        assert row["patients"] == len(set(patients[inside]))
        assert row["auc"] == pytest.approx(roc_auc_score(truth, y_score[inside, 1]), abs=1e-12)
        assert row["accuracy"] == pytest.approx((called == truth).mean(), abs=1e-12)
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, called), abs=1e-12)
        assert row["sensitivity"] == pytest.approx(called[truth].mean(), abs=1e-12)
        assert row["specificity"] == pytest.approx((~called[~truth]).mean(), abs=1e-12)
        for measure in ("auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity"):
            assert row[f"{measure}_low"] < row[measure] < row[f"{measure}_high"]
        assert row["reason"] == ""


def test_without_a_threshold_the_most_probable_class_is_called():
    y_true, y_score, patients = study()
    row = subgroups(y_true, y_score, patients, everyone(y_true), CLASSES, None, draws=0).iloc[0]
    assert row["accuracy"] == pytest.approx((y_score.argmax(axis=1) == y_true).mean())


def test_intervals_know_that_images_of_a_patient_resemble_each_other():
    y_true, y_score, patients = study(n_images=80, per_patient=1)
    copied = [np.repeat(part, 8, axis=0) for part in (y_true, y_score, patients)]
    one = subgroups(y_true, y_score, patients, everyone(y_true), CLASSES, 0.5, draws=400).iloc[0]
    eight = subgroups(*copied, everyone(copied[0]), CLASSES, 0.5, draws=400).iloc[0]
    assert eight["accuracy_low"] == pytest.approx(one["accuracy_low"])
    assert eight["auc_high"] == pytest.approx(one["auc_high"])


def test_small_subgroups_are_marked_and_few_patients_get_no_interval():
    y_true, y_score, patients = study()
    value = np.where(patients < 8, "rare", np.where(patients < 22, "small", "common"))
    table = by_value(subgroups(y_true, y_score, patients, {"site": value.tolist()}, CLASSES, 0.5, draws=200), "site")
    assert table["images"].to_dict() == {"common": 116, "rare": 16, "small": 28}
    assert table["small"].to_dict() == {"common": False, "rare": True, "small": True}
    assert table.loc["rare", "accuracy"] is not None
    assert table.loc["rare", "accuracy_low"] is None
    assert table.loc["rare", "reason"].endswith("no intervals: there are 8 patients, fewer than 10")
    assert table.loc["small", "accuracy_low"] is not None


def test_a_subgroup_of_one_class_names_the_reason():
    y_true, y_score, patients = study()
    value = np.where((y_true == 1) & (patients % 2 == 0), "ward", "street")
    table = by_value(subgroups(y_true, y_score, patients, {"from": value.tolist()}, CLASSES, 0.5, draws=200), "from")
    row = table.loc["ward"]
    assert (row["auc"], row["specificity"]) == (None, None)
    assert row["sensitivity"] == row["accuracy"]
    assert [row[f"balanced_accuracy{end}"] for end in ("", "_low", "_high")] == [None] * 3, "it is the sensitivity"
    assert "no ROC AUC and no balanced accuracy: it holds no image of NORMAL" in row["reason"]
    assert table.loc["street", "auc"] is not None


def test_a_subtype_is_compared_with_the_whole_other_class():
    y_true, y_score, patients = study()
    value = np.where(y_true == 0, "", np.where(patients % 2 == 0, "bacteria", "virus"))
    table = by_value(
        subgroups(y_true, y_score, patients, {"subtype": value.tolist()}, CLASSES, 0.5, draws=200), "subtype"
    )
    assert table.index.tolist() == ["bacteria", "virus", "(not given)"]
    against = (value == "virus") | (y_true == 0)
    assert table.loc["virus", "auc"] == pytest.approx(roc_auc_score(y_true[against], y_score[against, 1]))
    assert table.loc["virus", "auc_low"] < table.loc["virus", "auc"] < table.loc["virus", "auc_high"]
    assert table.loc["virus", "images"] == (value == "virus").sum()
    assert "against all images of NORMAL" in table.loc["virus", "reason"]
    assert table["balanced_accuracy"].isna().all() and table["reason"].str.contains("no balanced accuracy").all()
    assert table.loc["virus", "sensitivity"] is not None and table.loc["(not given)", "specificity"] is not None
    assert (table.loc["(not given)", "auc"], table.loc["(not given)", "sensitivity"]) == (None, None)


def test_several_classes_have_no_sensitivity():
    y_true, y_score, patients = study(n_classes=3)
    row = subgroups(y_true, y_score, patients, everyone(y_true), ("A", "B", "C"), None, draws=100).iloc[0]
    expected = roc_auc_score(np.eye(3)[y_true], y_score, average="macro")
    assert row["auc"] == pytest.approx(expected, abs=1e-12)
    assert row["balanced_accuracy"] is not None
    assert (row["sensitivity"], row["specificity"]) == (None, None)
    value = np.where(y_true == 2, "rest", "two").tolist()
    row = subgroups(y_true, y_score, patients, {"x": value}, ("A", "B", "C"), None, draws=0).iloc[1]
    assert row["accuracy"] is not None and (row["auc"], row["balanced_accuracy"]) == (None, None)
    assert row["reason"].startswith("no ROC AUC and no balanced accuracy: it holds no image of C")


def test_where_all_are_right_the_interval_is_not_a_point():
    y_true, _, patients = study(n_images=80)
    row = subgroups(y_true, np.eye(2)[y_true] * 0.8 + 0.1, patients, everyone(y_true), CLASSES, 0.5, draws=100).iloc[0]
    assert (row["accuracy"], row["accuracy_high"]) == (1.0, 1.0)
    assert row["accuracy_low"] == pytest.approx(1 / (1 + 1.959964**2 / 40), abs=1e-4), "Wilson's of 40 patients"
    assert (row["auc"], row["auc_low"]) == (1.0, None)
    assert "Wilson's interval over patients" in row["reason"]
    assert "all draws agree on ROC AUC and balanced accuracy: no interval" in row["reason"]


def test_few_patients_of_a_class_leave_the_interval_to_what_does_not_look_at_it():
    y_true, y_score, patients = study()
    kept = (y_true == 0) | (patients < np.unique(patients[y_true == 1])[6])
    row = subgroups(y_true[kept], y_score[kept], patients[kept], everyone(y_true[kept]), CLASSES, 0.5, draws=100).iloc[
        0
    ]
    assert row["accuracy_low"] is not None and row["specificity_low"] is not None
    assert row["auc_low"] is row["sensitivity_low"] is row["balanced_accuracy_low"] is None
    assert row["reason"] == (
        "no interval of ROC AUC, balanced accuracy and sensitivity: there are 6 patients of PNEUMONIA, fewer than 10"
    )


def test_a_column_of_numbers_becomes_three_groups_and_rare_texts_one():
    y_true, y_score, patients = study()
    table = subgroups(
        y_true,
        y_score,
        patients,
        {"age": (patients + 1).astype(str).tolist(), "ward": [f"w{p % 40}" if p else "" for p in patients]},
        CLASSES,
        0.5,
        draws=0,
    )
    ages = by_value(table, "age")
    assert ages.index.tolist() == ["up to 27", "27 to 53", "above 53"]
    wards = by_value(table, "ward")
    assert len(wards) == 21
    assert wards.loc["(the other 21 values)", "images"] > 21
    assert wards["images"].sum() == len(y_true)


def test_nothing_is_ever_nan():
    y_true, y_score, patients = study(n_images=30)
    value = [str(patient % 5) if patient % 3 else "" for patient in patients]
    for labels in (y_true, np.zeros_like(y_true)):
        table = subgroups(labels, y_score, patients, {"x": value}, CLASSES, 0.5, draws=100)
        assert not any(isinstance(cell, float) and not np.isfinite(cell) for cell in table.to_numpy().ravel())
    assert len(subgroups(y_true, y_score, patients, {}, CLASSES, 0.5)) == 0
    assert len(subgroups(y_true[:0], y_score[:0], patients[:0], {"x": []}, CLASSES, 0.5)) == 0


def test_groups_of_images_by_size_and_shape():
    facts = pd.DataFrame({"width": [1000, 1200, 1400] * 4, "height": [1000, 1000, 1000] * 4}, index=range(5, 17))
    groups = image_groups(facts)
    assert groups["image size"][:3] == ["up to 1 megapixels", "1 to 1.2 megapixels", "above 1.2 megapixels"]
    assert groups["aspect ratio"][:3] == ["up to 1", "1 to 1.2", "above 1.2"]


def test_what_does_not_vary_is_no_group():
    facts = pd.DataFrame({"width": [28, 28, 56], "height": [28, 28, 56]})
    groups = image_groups(facts)
    assert groups == {"image size": ["up to 0.78 thousand pixels"] * 2 + ["above 0.78 thousand pixels"]}
    assert image_groups(facts.head(2)) == {}
    assert image_groups(facts.head(0)) == {}
