"""A set written as a manifest gives the same table when it is read again, whatever the set was."""

import csv
import io
import re

import numpy as np
import pytest
from source_files import dicom, pixels, write, write_bytes

from bench.cli import main
from bench.data.imageset import COLUMNS
from bench.data.sources.demo import draw
from bench.data.sources.manifest import manifest_text, root_of
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError

PUBLIC = [
    *(
        f"{split}/PNEUMONIA/person{n}_{kind}_{n}.jpeg"
        for split, n in (("train", 1), ("test", 2))
        for kind in ("virus", "bacteria")
    ),
    *(
        f"{split}/NORMAL/{series}IM-011{n}-0001.jpeg"
        for split, n in (("train", 3), ("test", 4))
        for series in ("", "NORMAL2-")
    ),
]


def assert_goes_round(root, data, **options):
    """Returns the rows that were written."""
    first = open_source(str(data), 0, **options)
    text = manifest_text(first)
    elsewhere = root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "manifest.csv").write_text(text, encoding="utf-8")
    again = open_source(str(elsewhere / "manifest.csv"), 0, image_root=root_of(first))
    columns = list(COLUMNS)
    assert again.table[columns].to_dict("list") == first.table[columns].to_dict("list")
    assert again.classes == first.classes
    assert again.stamps == first.stamps
    assert again.patients_assumed == first.patients_assumed
    assert all(again.reader(row) == first.reader(row) for row in range(len(first.table)))
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder(tmp_path):
    write(tmp_path / "set", ["A/1.png", "A/deep/2, really.png", 'B/"3".png'])
    rows = assert_goes_round(tmp_path, tmp_path / "set")
    assert rows[0] == {"path": "A/1.png", "label": "A", "patient": "", "split": ""}


def test_names_that_a_table_might_take_for_others(tmp_path):
    names = ["A/x\\1.png", "A/\\x\\y z.png", "A/ 2.png", "A/-3.png", "b+c/'4.png", "d/x1y.png", "__e/5 .png"]
    write(tmp_path / "set", names)
    (tmp_path / "set/d/lost.png").symlink_to("gone.png")
    first = open_source(str(tmp_path / "set"), 0)
    (tmp_path / "m.csv").write_text(manifest_text(first))
    again = open_source(str(tmp_path / "m.csv"), 0, image_root=tmp_path / "set")
    assert again.table.to_dict("list") == first.table.to_dict("list")
    assert (again.stamps, again.classes) == (first.stamps, first.classes)
    assert set(again.table["image"]) == {*names, "d/lost.png"}


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([" A/1.png", "B/2.png"], "a name with a blank at its beginning or end, ' A/1.png'; no manifest can hold it"),
        (["A/1.png ", "B/2.png"], "a name with a blank at its beginning or end, 'A/1.png '"),
        (["A/1.png", "B/2.png", "A+B/3.png"], "a class called 'A+B', which in a manifest would be several labels"),
        (["A/1.png", "B/2.png", "A B/3.png"], "('A' and 'B'); call it otherwise"),
        (["[A,C]/1.png", "B/2.png"], "a class called '[A,C]'"),
    ],
)
def test_names_that_a_table_would_take_for_others_are_refused(tmp_path, names, told):
    source = open_source(str(write(tmp_path, names)), 0)
    with pytest.raises(ConfigError, match=re.escape(told)):
        manifest_text(source)


def test_a_folder_with_splits_and_a_pattern(tmp_path):
    write(tmp_path / "set", ["train/A/P1_1.png", "train/B/P2_1.png", "test/A/P3_1.png", "test/B/x.png"])
    rows = assert_goes_round(tmp_path, tmp_path / "set", patient_pattern=r"(P\d)")
    assert [(row["patient"], row["split"]) for row in rows] == [
        ("P3", "test"), ("", "test"), ("P1", "train"), ("P2", "train"),
    ]  # fmt: skip


def test_both_readings_of_the_public_names(tmp_path):
    write(tmp_path / "set", PUBLIC)
    rows = assert_goes_round(tmp_path, tmp_path / "set")
    assert {row["patient_narrow"] for row in rows} > {"virus-1", "bacteria-1", "NORMAL2-IM-0113", "IM-0113"}
    assert {row["subtype"] for row in rows} == {"virus", "bacteria", ""}


def test_dicom_patients(tmp_path):
    for number, name in enumerate(("A/1.dcm", "A/2.dcm", "B/3.dcm")):
        write_bytes(tmp_path / "set" / name, dicom(pixels(number), PatientID=f"p{number // 2}"))
    rows = assert_goes_round(tmp_path, tmp_path / "set")
    assert [row["patient"] for row in rows] == ["p0", "p0", "p1"]


def test_a_table(tmp_path):
    write(tmp_path / "set", ["part_1/a.png", "part_2/b.png", "c.png"])
    lines = ["image_id;dx;PatientID;fold;sex", "a;Nävus;7;0;f", "b;Melanom;nan;1;m", "c;Melanom;7.0;1;f"]
    (tmp_path / "set/meta.csv").write_text("\n".join(lines), encoding="cp1252")
    rows = assert_goes_round(tmp_path, tmp_path / "set/meta.csv", group_by=("sex",))
    assert rows[1] == {
        "path": "part_2/b.png", "label": "Melanom", "patient": "", "split": "", "fold": "1", "sex": "m",
    }  # fmt: skip


def test_a_table_with_its_own_image_root(tmp_path):
    write(tmp_path / "images", ["1.png", "2.png"])
    (tmp_path / "set.csv").write_text(f"path,label\n1.png,A\n{tmp_path / 'images/2.png'},B\n")
    rows = assert_goes_round(tmp_path, tmp_path / "set.csv", image_root=tmp_path / "images")
    assert rows[1]["path"].startswith("/")


def test_what_no_manifest_can_name(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.data.sources.demo.draw", lambda seed: draw(seed, 6, 6, 6, size=16))
    np.savez(tmp_path / "set.npz", train_images=np.stack([pixels(1), pixels(2)]), train_labels=np.array([0, 1]))
    for data in ("demo", str(tmp_path / "set.npz")):
        with pytest.raises(ConfigError, match="no files of their own"):
            manifest_text(open_source(data, 0))
    write(tmp_path / "set", ["NA/1.png", "B/2.png"])
    with pytest.raises(ConfigError, match="a class called 'NA', which counts as empty"):
        manifest_text(open_source(str(tmp_path / "set"), 0))


def test_the_command_writes_the_manifest_and_nothing_else_to_standard_output(tmp_path, capsysbinary):
    write(tmp_path / "set", ["Ä/P1_1.png", "B/P2_1.png"])
    assert main(["manifest", str(tmp_path / "set"), "--patient-pattern", r"^(P\d)_"]) == 0
    out, err = capsysbinary.readouterr()
    assert out.decode() == "path,label,patient,split\nB/P2_1.png,B,P2,\nÄ/P1_1.png,Ä,P1,\n"
    assert f"--data manifest.csv --image-root {tmp_path / 'set'}" in err.decode()
    assert "patients: --patient-pattern" in err.decode()


def test_the_command_writes_a_new_file(tmp_path, capsys):
    write(tmp_path / "set", ["1.png", "2.png"])
    (tmp_path / "set.csv").write_text("file,dx\n1.png,A\n2.png,B\n")
    asked = ["manifest", str(tmp_path / "set.csv"), "--image-root", str(tmp_path / "set")]
    assert main([*asked, "--out", str(tmp_path / "m.csv")]) == 0
    assert (tmp_path / "m.csv").read_text() == "path,label,patient,split\n1.png,A,,\n2.png,B,,\n"
    out, err = capsys.readouterr()
    assert out == ""
    assert "note: Column dx is taken as the label." in err
    assert main([*asked, "--out", str(tmp_path / "m.csv")]) == 2
    assert "is there already" in capsys.readouterr().err
