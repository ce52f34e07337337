"""Tables of one split each, tables in a folder of images, and what lies there instead of images."""

import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from source_files import write

from bench.data.sources.folder import folder_source
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Twelve images in one folder, which train.csv, valid.csv and test.csv name."""
    write(tmp_path, [f"images/{number:02}.png" for number in range(12)])
    for name, numbers in (("train", range(6)), ("valid", range(6, 8)), ("test", range(8, 12))):
        write_table(tmp_path / f"{name}.csv", numbers)
    return tmp_path


def write_table(path: Path, numbers: range, header: str = "image,label") -> None:
    path.write_text("\n".join([header, *(f"images/{number:02}.png,{number % 2}" for number in numbers)]))


def joined_by(told: str) -> Path:
    """Run the command in ``told``, and return the table that it says to give."""
    python, flag, code = shlex.split(told.partition("type `")[2].partition("` and give")[0])
    assert (python, flag) == ("python", "-c")
    subprocess.run([sys.executable, flag, code], check=True)
    return Path(shlex.split(told.partition("give --data ")[2])[0].rstrip(").;"))


def test_a_table_of_one_split_says_how_those_beside_it_are_joined(tables: Path) -> None:
    found = open_source(str(tables / "train.csv"), 0)
    assert len(found.table) == 6
    (note,) = [note for note in found.notes if "alone is read" in note]
    assert note.startswith("train.csv alone is read: test.csv and valid.csv beside it have the same columns; ")
    whole = open_source(str(joined_by(note)), 0)
    assert Counter(whole.table["split"]) == {"train": 6, "val": 2, "test": 4}
    assert not any("alone is read" in note for note in whole.notes)


def test_so_does_a_folder_of_them(tables: Path) -> None:
    with pytest.raises(ConfigError, match=r"they may be in train\.csv, which has the columns image, label") as caught:
        folder_source(tables)
    assert Counter(open_source(str(joined_by(str(caught.value))), 0).table["split"]) == {
        "train": 6,
        "val": 2,
        "test": 4,
    }


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("image,label\n{0},0,\n{1},1,", "utf-8"),  # what pandas alone takes for an index
        ("sep=;\nimage;label\n{0};0\n{1};1", "utf-8"),
        ('image, note, label\n{0}, "a, b", 0\n{1}, c, 1', "utf-8"),
        ("image;label\n{0};ä\n{1};b", "utf-16"),
        ("image;label\n{0};ä\n{1};b", "cp1252"),
    ],
)
def test_the_command_reads_tables_as_the_suite_does(tmp_path: Path, text: str, encoding: str) -> None:
    folder = tmp_path / "em😀 'x' \"y\""
    write(folder, [f"images/{number}.png" for number in range(4)])
    for name, first in (("train", 0), ("test", 2)):
        content = text.format(f"images/{first}.png", f"images/{first + 1}.png")
        (folder / f"{name}.csv").write_bytes(content.encode(encoding))
    (note,) = [note for note in open_source(str(folder / "train.csv"), 0).notes if "alone is read" in note]
    found = open_source(str(joined_by(note)), 0).table
    assert list(found["image"]) == [f"images/{number}.png" for number in range(4)]
    assert list(found["split"]) == ["train", "train", "test", "test"]
    assert set(found["label"]) in ({"0", "1"}, {"ä", "b"})
    with pytest.raises(subprocess.CalledProcessError):  # nothing is written over
        joined_by(note)


def test_of_val_and_eval_without_test_eval_is_the_test_split(tables: Path) -> None:
    (tables / "test.csv").rename(tables / "eval.csv")
    (note,) = [note for note in open_source(str(tables / "train.csv"), 0).notes if "alone is read" in note]
    assert Counter(open_source(str(joined_by(note)), 0).table["split"]) == {"train": 6, "val": 2, "test": 4}


def test_a_second_table_of_its_own_split_leaves_it_alone(tables: Path) -> None:
    write_table(tables / "train_2.csv", range(2))
    assert not any("alone is read" in note for note in open_source(str(tables / "train.csv"), 0).notes)


def test_of_a_table_of_many_columns_the_first_are_told(tmp_path: Path) -> None:
    write(tmp_path, ["images/1.png", "images/2.png"])
    (tmp_path / "labels.csv").write_text(",".join(f"gene{number}" for number in range(5000)) + "\n")
    with pytest.raises(ConfigError, match=r"columns gene0, .*gene11, …: to take") as caught:
        folder_source(tmp_path)
    assert len(str(caught.value)) < 1500


def test_a_workbook_does_not_change_how_a_folder_is_read(tmp_path: Path) -> None:
    write(tmp_path, ["pneumonia/1.png", "pneumonia/2.png"])
    with pytest.raises(ConfigError) as alone:
        folder_source(tmp_path)
    (tmp_path / "scanner_costs.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError) as beside:
        folder_source(tmp_path)
    assert str(beside.value) == str(alone.value)


def test_tables_with_other_columns_or_two_of_a_split_are_none_of_them(tables: Path) -> None:
    (tables / "test.csv").write_text("image\nimages/08.png")  # as competitions have it
    write_table(tables / "valid_2.csv", range(7, 8))
    assert not any("alone is read" in note for note in open_source(str(tables / "train.csv"), 0).notes)


@pytest.mark.parametrize("name", ["labels.csv", "set.csv"])
def test_a_table_that_is_called_after_no_split_stands_alone(tables: Path, name: str) -> None:
    write_table(tables / name, range(6))
    assert not any("alone is read" in note for note in open_source(str(tables / name), 0).notes)


def test_the_columns_of_a_table_are_told_whatever_encodes_them(tmp_path: Path) -> None:
    write(tmp_path, ["images/1.png", "images/2.png"])
    (tmp_path / "labels.csv").write_text("Bild;Befund\n1;a\n2;b", encoding="utf-16")
    with pytest.raises(ConfigError, match="which has the columns Bild, Befund: to take them from there, give --data"):
        folder_source(tmp_path)
    (tmp_path / "labels.csv").write_bytes(b"PK\x03\x04\x00\x01")
    with pytest.raises(ConfigError, match=r"may be in a table that cannot be read: .*labels\.csv is no text file"):
        folder_source(tmp_path)


def test_a_workbook_is_to_be_saved_as_csv(tmp_path: Path) -> None:
    write(tmp_path, ["images/1.png", "images/2.png"])
    workbook = tmp_path / "labels.xlsx"
    workbook.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match=rf"\(they may be in {workbook}: save that as CSV\)"):
        folder_source(tmp_path)
    with pytest.raises(ConfigError, match=r"labels\.xlsx is a workbook, to be saved as CSV; --data takes"):
        open_source(str(workbook), 0)


def test_a_compressed_volume_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_bytes(b"x")
    with pytest.raises(ConfigError, match="is a file of another kind"):
        open_source(str(tmp_path / "scan.nii.gz"), 0)


@pytest.mark.parametrize("name", ["set.zip", "set.tar.gz", "SET.7Z"])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match="is an archive, to be unpacked; --data takes"):
        open_source(str(tmp_path / name), 0)


def test_what_lies_in_a_folder_without_images_is_told(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.nii.gz").write_bytes(b"x")
    (tmp_path / "scan.v2.npy").write_bytes(b"x")
    for name in ("README", "1.2.840.0", "Meyer. Anna, 1970"):
        (tmp_path / name).write_text("x")
    said = r"but 3 files \.nii\.gz and 1 file \.npy \(not read: write their images as PNG or TIFF\); --data takes"
    with pytest.raises(ConfigError, match=said):
        folder_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train.csv", r"1 file \.csv \(not read: to take one, give --data {}\)"),
        ("set.NPZ", r"1 file \.npz \(not read: to take one, give --data {}\)"),
        ("set.zip", r"1 file \.zip \(not read: to be unpacked\)"),
    ],
)
def test_what_lies_there_and_is_taken_by_itself_is_named(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ConfigError, match=said.format(tmp_path / name)):
        folder_source(tmp_path)


def test_a_list_of_images_and_labels_without_header_is_told_so(tmp_path: Path) -> None:
    write(tmp_path, ["1.png", "2.png"])
    (tmp_path / "train.txt").write_text("1.png 0\n2.png 1\n")
    with pytest.raises(ConfigError, match=r"names an image, but it must name the columns .*write path label "):
        open_source(str(tmp_path / "train.txt"), 0)
    (tmp_path / "train.tsv").write_text("1.png\t0\n2.png\t1\n")
    with pytest.raises(ConfigError, match="write path and label, parted by a tab, "):
        open_source(str(tmp_path / "train.tsv"), 0)
    (tmp_path / "train.txt").write_text("path label\n1.png 0\n2.png 1\n")
    assert open_source(str(tmp_path / "train.txt"), 0).classes == ("0", "1")
