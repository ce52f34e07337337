"""Names of files, classes and patients with escape sequences, line breaks, marks of direction and formulas."""

import csv
import io

import pytest
from source_files import dicom, pixels, write_bytes

from bench.cli import main
from bench.data.sources.open_source import open_source
from bench.data.splits import Shares, assign_splits, take_over, write_splits
from bench.errors import ConfigError
from bench.texts import visible

CLASSES = ("=cmd()", "\x1b[31mred", "\u202egnp")
FILES = ("-1.dcm", "a\nb.dcm", "'@.dcm", "\\x1b.dcm")


@pytest.fixture
def folder(tmp_path):
    for number, (label, name) in enumerate((label, name) for label in CLASSES for name in FILES):
        values = pixels(number, (40, 40))
        write_bytes(tmp_path / "data" / label / name, dicom(values, PatientID=f"+{number}\x1b[2J"))
    return tmp_path / "data"


def test_names_go_through_splits_csv_unchanged(folder, tmp_path):
    source = open_source(str(folder), 0)
    assert source.classes == tuple(sorted(CLASSES))
    assert set(source.table["image"]) == {f"{label}/{name}" for label in CLASSES for name in FILES}
    table, _ = assign_splits(source.table, 0, shares=Shares(0.2, 0.15))
    write_splits(tmp_path / "splits.csv", table)
    written = (tmp_path / "splits.csv").read_text(encoding="utf-8")
    assert visible(written, keep="\n") == written
    assert not [cell for row in csv.reader(io.StringIO(written)) for cell in row if cell[:1] in set("=+-@\t\r")]
    again, _ = take_over(tmp_path / "splits.csv", source.table)
    assert again["split"].tolist() == table["split"].tolist()


def test_an_audit_shows_them(folder, tmp_path, capsys):
    status = main(["audit", str(folder), "--cache", str(tmp_path / "cache"), "--json", str(tmp_path / "a.json")])
    told = "".join(capsys.readouterr())
    assert status in (0, 2)
    assert visible(told, keep="\n") == told
    assert "\\x1b[31mred" in told


def test_a_manifest_keeps_formulas_and_refuses_what_is_unseen(folder, tmp_path):
    with pytest.raises(ConfigError, match="a name with control characters"):
        main_or_raise(folder, tmp_path / "m.csv")
    for label in CLASSES[1:]:
        (folder / label).rename(folder / f"={label[-2:]}")
    for path in folder.glob("*/*"):
        if visible(path.name) != path.name or "\\" in path.name:
            path.unlink()
    with pytest.raises(ConfigError, match="a name with control characters"):
        main_or_raise(folder, tmp_path / "m.csv")  # the patients
    for path in folder.glob("*/*"):
        path.write_bytes(dicom(pixels(1), PatientID=f"+{path.parent.name}"))
    main_or_raise(folder, tmp_path / "m.csv")
    cells = [cell for row in csv.reader((tmp_path / "m.csv").open(encoding="utf-8")) for cell in row]
    assert not [cell for cell in cells if cell[:1] in set("=+-@")]
    one, two = open_source(str(folder), 0), open_source(str(tmp_path / "m.csv"), 0, image_root=folder)
    for column in ("image", "label", "split_group"):
        assert sorted(one.table[column]) == sorted(two.table[column])


def main_or_raise(folder, out):
    """The command ``manifest``, its refusal as an error."""
    from bench.data.sources.manifest import manifest_text

    out.write_text(manifest_text(open_source(str(folder), 0)), encoding="utf-8")
