"""Which column of a manifest is taken for what: names that published sets use, columns of ones, words for nothing."""

import re

import pytest
from source_files import write

from bench.data.sources.open_source import open_source
from bench.errors import ConfigError


@pytest.fixture
def manifest(tmp_path):
    """``manifest(*lines)`` -> the set of a CSV file beside images 1.png to 9.png."""
    write(tmp_path, [f"{number}.png" for number in range(1, 10)])

    def made(*lines):
        (tmp_path / "set.csv").write_text("\n".join(lines))
        return open_source(str(tmp_path / "set.csv"), 0)

    return made


@pytest.fixture
def refusal(manifest):
    def told(*lines):
        with pytest.raises(ConfigError) as caught:
            manifest(*lines)
        message = str(caught.value)
        assert "\n" not in message
        assert "set.csv" in message
        return message

    return told


# Names


@pytest.mark.parametrize(
    ("path", "label", "patient", "split"),
    [
        ("image_id", "dx", "Patient ID", "set"),
        ("filename", "finding", "subject", "partition"),
        ("File Name", "Diagnosis", "PatientID", "dataset"),
        ("IMG", "CLASS", "case-id", "subset"),
        ("image_path", "target", "Subject_ID", "phase"),
    ],
)
def test_synonyms(manifest, path, label, patient, split):
    found = manifest(f"{path},{label},{patient},{split}", "1.png,A,p,train", "2.png,B,q,Testing")
    assert list(found.table["image"]) == ["1.png", "2.png"]
    assert list(found.table["label"]) == ["A", "B"]
    assert list(found.table["split_group"]) == ["p", "q"]
    assert list(found.table["split"]) == ["train", "test"]
    for name, role in ((path, "path"), (label, "label"), (patient, "patient"), (split, "split")):
        assert name == role or name == role.upper() or f"Column {name} is taken as the {role}." in found.notes
    assert found.patient_rule == f"the {patient} column of set.csv"


def test_the_plain_names_go_first_and_without_a_word(manifest):
    found = manifest("id,path,diagnosis,label,case,patient", "7,1.png,x,A,c,p", "8,2.png,y,B,d,q")
    assert found.classes == ("A", "B")
    assert list(found.table["split_group"]) == ["p", "q"]
    assert "Column patient is taken as the patient, not case." in found.notes


def test_of_several_columns_of_paths_the_one_that_leads_to_files_is_taken(manifest):
    found = manifest("image,filename,label", "scan a,1.png,A", "scan b,2.png,B")
    assert list(found.table["image"]) == ["1.png", "2.png"]
    assert "Column filename is taken as the path, not image." in found.notes
    found = manifest("image,filename,label", "1.png,scan a,A", "2.png,scan b,B")
    assert "Column image is taken as the path, not filename." in found.notes


def test_columns_of_labels_that_differ_are_refused_and_those_that_agree_are_not(refusal, manifest):
    message = refusal("path,diagnosis,target", "1.png,nevus,0", "2.png,melanoma,1", "3.png,unknown,0")
    assert "several columns that may be the label (target, diagnosis)" in message
    assert "call the one that is meant label" in message
    assert manifest("path,class_id,class_name", "1.png,0,no", "2.png,1,yes").classes == ("no", "yes")


@pytest.mark.parametrize(
    ("header", "row", "meant"),
    [
        ("pathh,label", "1.png,A", "did you mean pathh? Call it path"),
        ("photo,label", "1.png,A", "did you mean photo? Call it path"),
        ("path,lable", "1.png,A", "did you mean lable? Call it label"),
        ("path,age,melanoma", "1.png,3,1", "did you mean melanoma? Call it label"),
        ("path,adjudicated_dr_grade,age", "1.png,A,3", "did you mean adjudicated_dr_grade? Call it label"),
    ],
)
def test_a_name_that_is_near(refusal, header, row, meant):
    assert meant in refusal(header, row)


def test_a_header_that_is_none(refusal):
    message = refusal("1.png,A", "2.png,B")
    assert "The first line of" in message
    assert "write path,label" in message


def test_the_same_name_twice(refusal):
    assert "has column image_id twice (image_id and ImageID)" in refusal("image_id,ImageID,label", "1.png,x,A")


def test_what_was_taken_is_the_layout(manifest):
    assert manifest("file,Label,pid", "1.png,A,p", "2.png,B,q").layout == (
        "one row per image (path from file, patient from pid, label)"
    )
    found = manifest("path,MEL,NV", "1.png,1,0", "2.png,0,1")
    assert found.layout == "one row per image (path, label from 2 columns of ones and zeros)"


# Patients


def test_a_lesion_is_not_a_patient(manifest):
    found = manifest("path,label,lesion_id", "1.png,A,p", "2.png,B,p")
    assert list(found.table["split_group"]) == ["p", "p"]
    assert "not a patient" in found.patient_rule
    assert found.patient_doubt == "lesion_id names a lesion, not a patient"
    found = manifest("path,label,lesion_id,patient_id", "1.png,A,p,x", "2.png,B,p,y")
    assert list(found.table["split_group"]) == ["x", "y"]
    assert not found.patient_doubt


@pytest.mark.parametrize("name", ["pateint", "patient_hash", "SubjectKey"])
def test_a_column_that_looks_like_patients_and_was_not_used_is_said(manifest, name):
    found = manifest(f"path,label,{name}", "1.png,A,p", "2.png,B,p")
    assert found.patients_assumed
    assert f"column {name} was not used" in found.patient_rule
    assert any("did you mean patient?" in note and name in note for note in found.notes)
    assert found.patient_doubt


def test_what_is_said_of_patients_is_not_who_they_are(manifest):
    found = manifest("path,label,Patient Age,patient_sex", "1.png,A,3,F", "2.png,B,4,M")
    assert found.patients_assumed
    assert not found.patient_doubt
    assert "Columns that were not used: Patient Age, patient_sex." in found.notes


@pytest.mark.parametrize("word", ["", "nan", "NaN", "none", "None", "null", "NA", "n/a", "-", "unknown", "–", "-1"])
def test_words_for_nobody_are_no_patient(manifest, word):
    found = manifest("path,label,patient", "1.png,A,p", f"2.png,B,{word}", f"3.png,B,{word}")
    assert list(found.table["split_group"]) == ["p", "2.png", "3.png"]
    assert any(note.startswith("2 images have no patient") for note in found.notes)


def test_a_column_of_nobodies_tells_no_patients(manifest):
    found = manifest("path,label,patient", "1.png,A,nan", "2.png,B,nan")
    assert found.patients_assumed
    assert not found.patient_doubt, "the column is the right one, only empty"


def test_patients_written_in_two_ways_are_one(manifest):
    found = manifest("path,label,patient", "1.png,A,7", "2.png,B,7.0", "3.png,B,P1", "4.png,A,p1 ")
    assert found.table["split_group"].nunique() == 2
    assert any("written in two ways were joined" in note for note in found.notes)


# Labels


@pytest.mark.parametrize("word", ["nan", "NULL", "NA", "n/a", "<NA>"])
def test_labels_that_are_none(refusal, word):
    message = refusal("path,label", "1.png,A", f"2.png,{word}", "3.png,B")
    assert "1 rows of" in message
    assert f"no label (lines 3); {word!r} counts as empty" in message


def test_none_may_be_a_class(manifest):
    found = manifest("path,label", "1.png,none", "2.png,tumour")
    assert found.classes == ("none", "tumour")
    assert any("'none' is taken as a class" in note for note in found.notes)


def test_labels_that_differ_in_case_or_as_numbers_are_one(manifest):
    found = manifest("path,label", "1.png,normal", "2.png,Normal", "3.png,sick", "4.png,normal")
    assert found.classes == ("normal", "sick")
    assert any("are one class" in note for note in found.notes)
    assert len(manifest("path,label", "1.png,1.0", "2.png,1", "3.png,0").classes) == 2


@pytest.mark.parametrize(
    "label",
    [
        *("Mass|Nodule", "Mass;Nodule", '"Mass, Nodule"', "Mass/Nodule", "Mass & Nodule", "Mass Nodule"),
        "\"['Mass', 'Nodule']\"",
    ],
)
def test_several_labels(refusal, label):
    message = refusal("path,label", "1.png,Mass", f"2.png,{label}", "3.png,Nodule")
    assert "multi-label" in message
    assert "1 of its 3 rows have several labels in the column label" in message
    assert "exactly one label" in message


@pytest.mark.parametrize("label", ["T1/T2", '"mild, left"', "HER2+", "A & B", "mild Mass"])
def test_signs_in_the_name_of_one_class(manifest, label):
    assert len(manifest("path,label", "1.png,Mass", f"2.png,{label}").classes) == 2


def test_columns_of_ones_and_zeros_become_a_label(manifest):
    found = manifest("image,MEL,NV,UNK,age", "1,1.0,0.0,0.0,40", "2,0.0,1.0,0.0,50", "3,0,1,0,")
    assert list(found.table["label"]) == ["MEL", "NV", "NV"]
    assert found.classes == ("MEL", "NV")
    assert any("MEL, NV, UNK are taken as the label" in note for note in found.notes)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("3.png,1,1", "1 of its 3 rows have several ones in the columns MEL, NV"),
        ("3.png,0,0", "1 of the 3 rows of .* have no label: no one in the columns MEL, NV .lines 4."),
        ("3.png,-1,1", "uncertain labels .the columns MEL, NV; -1 in 1 of 3 rows."),
    ],
)
def test_rows_without_exactly_one_one(refusal, row, told):
    assert re.search(told, refusal("path,MEL,NV", "1.png,1,0", "2.png,0,1", row))


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("yes", "no"), ("1.0", "")])
def test_other_words_for_one_and_zero(manifest, yes, no):
    assert manifest("path,A,B", f"1.png,{yes},{no}", f"2.png,{no},{yes}").classes == ("A", "B")


def test_a_label_goes_before_ones_and_zeros(manifest):
    assert manifest("path,smoker,drinker,dx", "1.png,1,1,A", "2.png,0,0,B").classes == ("A", "B")


# Splits and folds


def test_a_split_that_is_nan_is_blank(refusal, manifest):
    assert set(manifest("path,label,split", "1.png,A,nan", "2.png,B,NaN").table["split"]) == {""}
    assert "1 of the 2 rows" in refusal("path,label,split", "1.png,A,train", "2.png,B,nan")


def test_a_loosely_named_column_is_splits_only_if_it_says_so(manifest, refusal):
    found = manifest("path,label,dataset", "1.png,A,vienna", "2.png,B,rosendahl")
    assert set(found.table["split"]) == {""}
    assert "Column dataset names no splits (rosendahl, vienna), so it is not used." in found.notes
    assert "unknown names in the column set (other)" in refusal("path,label,set", "1.png,A,train", "2.png,B,other")
    assert "unknown names in the column partition (0, 1)" in refusal("path,label,partition", "1.png,A,0", "2.png,B,1")


def test_splits_that_contradict_each_other(manifest, refusal):
    message = refusal("path,label,split,set", "1.png,A,train,test", "2.png,B,test,train")
    assert "two columns that differ, split and set" in message
    found = manifest("path,label,split,set", "1.png,A,train,Training", "2.png,B,test,TEST")
    assert list(found.table["split"]) == ["train", "test"]


def lines_of(splits):
    return ["path,label,Set", *(f"{n}.png,{'AB'[n % 2]},{split}" for n, split in enumerate(splits, start=1))]


@pytest.mark.parametrize(
    ("cells", "splits", "notes"),
    [
        (["train", "val", "eval"], ["train", "val", "test"], ["eval is taken as the test split"]),
        (
            ["train", "dev", "evaluation", "eval_set"],
            ["train", "val", "test", "test"],
            ["eval_set and evaluation are taken as the test split"],
        ),
        (["train", "eval"], ["train", "val"], []),
        (
            ["train", "val", "eval", "test"],
            ["train", "val", "val", "test"],
            ["eval and val are taken as the val split"],
        ),
        (
            ["Training", "train", "PublicTest", "PrivateTest"],
            ["train", "train", "test", "test"],
            [
                "Training and train are taken as the train split",
                "PrivateTest and PublicTest are taken as the test split",
            ],
        ),
    ],
)
def test_eval_beside_val_is_test_and_spellings_that_are_joined_are_said(manifest, cells, splits, notes):
    found = manifest(*lines_of(cells))
    assert list(found.table["split"]) == splits
    assert [note for note in found.notes if "In column" in note] == [f"In column Set, {note}." for note in notes]


@pytest.mark.parametrize("name", ["is_train", "test", "Is_Validation"])
def test_flags_of_splits_do_not_go_unseen(manifest, refusal, name):
    message = refusal(f"path,label,{name}", "1.png,A,1", "2.png,B,0")
    assert f"says by {name} which rows are of a split" in message
    assert manifest(f"path,label,{name}_score", "1.png,A,1.5", "2.png,B,0.5").classes == ("A", "B")


def test_folds_are_a_column(manifest, refusal):
    found = manifest("path,label,fold", "1.png,A,0", "2.png,B,1", "3.png,B,1.0")
    assert list(found.table["fold"]) == ["0", "1", "1"]
    assert set(found.table["split"]) == {""}
    assert list(manifest("path,label,fold", "1.png,A,train", "2.png,B,test").table["split"]) == ["train", "test"]
    assert "holds folds and splits" in refusal("path,label,fold", "1.png,A,1", "2.png,B,test")


def test_what_is_shown_of_patients_is_no_label(manifest, refusal):
    found = manifest("image,MEL,NV,sex_male,smoker", "1,1,0,1,1", "2,0,1,1,0")
    assert found.classes == ("MEL", "NV")
    assert "did you mean malignant?" in refusal("image,male,malignant", "1,1,0", "2,0,1")


@pytest.mark.parametrize("label", ["-1", "?", "-", "Unknown", "-999"])
def test_a_label_that_may_stand_for_none_is_a_class_with_a_note(manifest, label):
    found = manifest("path,label", "1.png,A", f"2.png,{label}")
    assert found.classes == tuple(sorted(["A", label]))
    assert [f"The label {label!r} is taken as a class" in note for note in found.notes] == [True]
