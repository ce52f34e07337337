"""A CSV file that names images: what it may hold, and what is refused."""

from pathlib import Path

import pytest
from source_files import dicom, pixels, write, write_bytes

from bench.data.names import SPLIT_NAMES
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError


@pytest.fixture
def manifest(tmp_path):
    """``manifest(*lines, **options)`` -> the set of a CSV file beside images 1.png to 9.png."""
    write(tmp_path, [f"{number}.png" for number in range(1, 10)])

    def made(*lines, encoding="utf-8", pattern=None):
        path = tmp_path / "set.csv"
        path.write_text("\n".join(lines), encoding=encoding)
        return open_source(str(path), 0, patient_pattern=pattern)

    return made


@pytest.fixture
def refusal(manifest):
    def told(*lines, **options):
        with pytest.raises(ConfigError) as caught:
            manifest(*lines, **options)
        message = str(caught.value)
        assert "\n" not in message
        assert "set.csv" in message
        return message

    return told


def test_everything_is_text(manifest):
    found = manifest("path,label,patient", "1.png,0,001", "2.png,1,002", "3.png,2a,1e3")
    assert found.classes == ("0", "1", "2a")
    assert list(found.table["split_group"]) == ["001", "002", "1e3"]


def test_a_byte_order_mark_blanks_capitals_and_other_columns_do_no_harm(manifest):
    found = manifest(" Path , Label,age ", " 1.png ,A,3", "", "2.png, B ,4", encoding="utf-8-sig")
    assert list(found.table["image"]) == ["1.png", "2.png"]
    assert found.classes == ("A", "B")


def test_cells_in_quotes(manifest):
    assert manifest("path,label", '1.png,"mild, left"', '2.png,"so ""called"""').classes == (
        "mild, left",
        'so "called"',
    )


def test_absolute_paths_and_backslashes(manifest, tmp_path):
    write(tmp_path, ["sub/a.png"])
    found = manifest("path,label", f"{tmp_path / '1.png'},A", "sub\\a.png,B")
    assert list(found.table["image"]) == [(tmp_path / "1.png").as_posix(), "sub/a.png"]
    assert found.reader(0) == (tmp_path / "1.png").read_bytes()
    assert found.reader(1) == (tmp_path / "sub/a.png").read_bytes()


@pytest.mark.parametrize("name", SPLIT_NAMES)
def test_splits_have_several_names(manifest, name):
    found = manifest("path,label,split", "1.png,A,train", "2.png,B,Training", f"3.png,A,{name.upper()}")
    assert list(found.table["split"]) == ["train", "train", SPLIT_NAMES[name]]


def test_an_empty_split_column_is_none(manifest):
    assert set(manifest("path,label,split", "1.png,A,", "2.png,B,").table["split"]) == {""}


def test_the_patient_column_goes_before_dicom_headers_and_after_a_pattern(manifest, tmp_path):
    for number in (1, 2):
        write_bytes(tmp_path / f"{number}.dcm", dicom(pixels(number), PatientID=f"header-{number}"))
    rows = ("1.dcm,A,column-1", "2.dcm,B,column-2")
    found = manifest("path,label,patient", *rows)
    assert list(found.table["split_group"]) == ["column-1", "column-2"]
    assert found.patient_rule == "the patient column of set.csv"
    assert list(manifest("path,label,patient", "1.dcm,A,", "2.dcm,B,").table["split_group"]) == ["header-1", "header-2"]
    found = manifest("path,label,patient", *rows, pattern=r"^(\d)\.")
    assert list(found.table["split_group"]) == ["1", "2"]


def test_an_image_without_a_patient_is_its_own(manifest):
    found = manifest("path,label,patient", "1.png,A,p", "2.png,B,p", "3.png,B,")
    assert list(found.table["split_group"]) == ["p", "p", "3.png"]
    assert any("1 images have no patient" in note and "3.png" in note for note in found.notes)


# Refusals


def test_a_file_that_may_not_be_read(refusal, monkeypatch):
    as_it_is = Path.open

    def locked(path, mode="r", *rest, **how):
        if "r" in mode and path.name == "set.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return as_it_is(path, mode, *rest, **how)

    monkeypatch.setattr(Path, "open", locked)
    message = refusal("path,label", "1.png,A", "2.png,B")
    assert "cannot be read (Permission denied)" in message
    assert "must be readable" in message


def test_missing_columns(refusal):
    message = refusal("what,label,age", "1,A,3")
    assert "no column path" in message
    assert "found: what, label, age" in message
    assert "path,label[,patient][,split]" in message
    assert "no column label (found: path, age)" in refusal("path,age", "1.png,3")
    assert "found: nothing" in refusal("")


def test_a_column_twice(refusal):
    assert "column label twice" in refusal("path,label,Label", "1.png,A,B")


def test_no_rows(refusal):
    assert "no rows" in refusal("path,label")


def test_a_row_of_another_length(refusal):
    message = refusal("path,label", "1.png,A", "2.png,mild, left")
    assert "Line 3" in message
    assert "3 cells" in message
    assert "quotes" in message


def test_a_quote_that_does_not_end(refusal):
    assert "cannot be read as a CSV file" in refusal("path,label", '1.png,"A', "2.png,B")


def test_paths_that_lead_nowhere(refusal, tmp_path):
    (tmp_path / "sub").mkdir()
    lost = [f"lost{number}.png" for number in range(6)]
    message = refusal("path,label", "1.png,A", "sub,B", *(f"{name},B" for name in lost))
    assert "7 of the 8 paths" in message
    assert "sub, lost0.png, lost1.png, lost2.png, lost3.png, …" in message
    assert "lost4" not in message


def test_paths_that_are_named_twice(refusal):
    message = refusal("path,label,patient", "1.png,A,p", "2.png,B,q", "./1.png,A,q", "2.png,B,q", "3.png,B,r")
    assert "names 1 files more than once, with different patients, splits or folds: 1.png" in message
    message = refusal("path,label", "1.png,A", "2.png,B", "./1.png,C", "3.png,B")
    assert "1 files have rows with different labels, such as 1.png (A and C)" in message


def test_rows_that_say_the_same_of_a_file_are_one(manifest):
    found = manifest("path,label,x", "1.png,A,3", "2.png,B,4", "./1.png,A,5", "1.png,a,6", "3.png,B,")
    assert list(found.table["image"]) == ["1.png", "2.png", "3.png"]
    assert any("1 files stand in several rows" in note and "2 rows were left out" in note for note in found.notes)


@pytest.mark.parametrize(("column", "row"), [("label", "{}.png, "), ("path", " ,A")])
def test_empty_cells(refusal, column, row):
    message = refusal("path,label", "1.png,A", *(row.format(number) for number in range(2, 8)))
    assert "6 rows of" in message
    assert f"no {column} (lines 3, 4, 5, 6, 7, …)" in message


def test_splits_of_unknown_names(refusal):
    message = refusal("path,label,split", "1.png,A,train", "2.png,B,later")
    assert "(later)" in message
    for name in SPLIT_NAMES:
        assert name in message


def test_splits_for_some(refusal):
    assert "2 of the 3 rows" in refusal("path,label,split", "1.png,A,train", "2.png,B,", "3.png,B,")


def test_splits_without_train(refusal):
    assert "has test and val rows but no train rows" in refusal("path,label,split", "1.png,A,val", "2.png,B,test")


def test_one_class(refusal):
    assert "one class only (A)" in refusal("path,label", "1.png,A", "2.png,A")


def test_masks_among_the_rows_are_left_out(manifest, tmp_path):
    write(tmp_path, ["1_mask.png", "masks/2.png", "images/2.png"])
    found = manifest("path,label", "1.png,a", "1_mask.png,a", "images/2.png,b", "masks/2.png,b")
    assert found.table["image"].tolist() == ["1.png", "images/2.png"]
    assert [(one.counted, one.names) for one in found.excluded] == [("2 masks", ("1_mask.png", "masks/2.png"))]


def test_a_class_called_mask_is_one(manifest, tmp_path):
    write(tmp_path, ["mask/1.png", "face/1.png"])
    assert manifest("path,label", "mask/1.png,mask", "face/1.png,face").classes == ("face", "mask")


def test_a_text_without_a_known_column_and_rows(refusal):
    assert "no column path (found: <html></html>)" in refusal("<html></html>")
