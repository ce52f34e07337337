"""Columns of subgroups: which source gives which, and that they come through audit and splits."""

import numpy as np
import pytest
from source_files import pixels, write
from toys import write_folder

from bench.data.audit.audit import audit
from bench.data.images.store import store_images
from bench.data.patients import file_subtypes
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError
from bench.settings import RunSettings


@pytest.fixture
def manifest(tmp_path):
    write(tmp_path, [f"{number}.png" for number in range(1, 10)])

    def made(*lines, group_by):
        path = tmp_path / "set.csv"
        path.write_text("\n".join(lines))
        return open_source(str(path), 0, group_by=group_by)

    return made


def test_a_manifest_keeps_the_columns_asked_for_as_they_are_called_there(manifest):
    lines = ("path,label,Sex,age,note", "1.png,A,F,007,x", "2.png,B,,8,y")
    table = manifest(*lines, group_by=("sex", "AGE")).table
    assert [name for name in table if name.startswith("group:")] == ["group:Sex", "group:age"]
    assert table["group:Sex"].tolist() == ["F", ""]
    assert table["group:age"].tolist() == ["007", "8"]


def test_nothing_is_kept_unasked(manifest):
    table = manifest("path,label,sex", "1.png,A,F", "2.png,B,M", group_by=()).table
    assert not any(name.startswith("group:") for name in table)


@pytest.mark.parametrize(
    ("header", "asked", "told"),
    [
        ("path,label,sex,age", "race", "names no column of .*; accepted are sex, age"),
        ("path,label", "sex", "no columns besides path, label"),
        ("path,label,sex,Sex", "sex", "twice"),
        ("path,label,sex", "label", "for another purpose; accepted are sex"),
        ("path,label,sex,empty", "empty", "empty in every row"),
        ("path,label,sex,", "", "accepted are sex"),
        ("path,label,sex", "subtype", "accepted are sex"),
    ],
)
def test_a_column_that_cannot_be_used_is_refused(manifest, header, asked, told):
    extra = header.count(",") - 1
    rows = [f"{number}.png,{label}" + ",v" * extra for number, label in ((1, "A"), (2, "B"))]
    if header.endswith("empty"):
        rows = [row[:-1] for row in rows]
    with pytest.raises(ConfigError, match=told) as caught:
        manifest(header, *rows, group_by=(asked,))
    assert repr(asked) in str(caught.value)
    assert "set.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


NAMES = ["train/A/person1_bacteria_1.jpg", "train/A/person2_virus_3.jpg", "train/B/IM-0001-0001.jpg"]


def test_subtypes_are_read_from_file_names():
    assert file_subtypes(NAMES) == {"group:subtype": ["bacteria", "virus", ""]}
    assert file_subtypes(["a.png", "b.png"]) == {}
    assert file_subtypes(NAMES[2:]) == {}, "no name says a subtype"
    assert file_subtypes(["train/B/NORMAL2-IM-0001-0001.jpg"]) == {}, "nor does a mark of the set"
    assert file_subtypes([NAMES[0], *(f"{number}.png" for number in range(20))]) == {}, "one such name among others"


def test_a_folder_of_the_public_set_has_subtypes_unasked(tmp_path):
    write(tmp_path, NAMES)
    for asked in ((), ("subtype",), ("Subtype",)):
        table = open_source(str(tmp_path), 0, group_by=asked).table
        of_image = dict(zip(table["image"], table["group:subtype"], strict=True))
        assert of_image == dict(zip(NAMES, ["bacteria", "virus", ""], strict=True))
    with pytest.raises(ConfigError, match=r"'sex' cannot be used .* give subtype only"):
        open_source(str(tmp_path), 0, group_by=("sex",))


def test_a_manifest_of_the_public_set_gives_subtypes_if_asked(tmp_path):
    write(tmp_path, NAMES)
    rows = [f"{name},{label}" for name, label in zip(NAMES, "AAB", strict=True)]
    (tmp_path / "set.csv").write_text("\n".join(["path,label", *rows]))
    asked = open_source(str(tmp_path / "set.csv"), 0, group_by=("subtype",)).table
    assert asked["group:subtype"].tolist() == ["bacteria", "virus", ""]
    assert "group:subtype" not in open_source(str(tmp_path / "set.csv"), 0).table


def test_other_folders_have_none(tmp_path):
    write(tmp_path, ["A/1.png", "B/2.png"])
    assert not any(name.startswith("group:") for name in open_source(str(tmp_path), 0).table)
    with pytest.raises(ConfigError, match=r"'subtype' cannot be used .* give the images as a .csv"):
        open_source(str(tmp_path), 0, group_by=("subtype",))


def test_sources_without_names_refuse(tmp_path):
    arrays = {"train_images": np.stack([pixels(1), pixels(2)]), "train_labels": np.array([0, 1])}
    np.savez(tmp_path / "set.npz", **arrays)
    for data in (None, "demo", str(tmp_path / "set.npz"), "medmnist:breastmnist"):
        with pytest.raises(ConfigError, match=r"--group-by 'sex' cannot be used .* has no columns"):
            open_source(data, 0, group_by=("sex",))


@pytest.mark.parametrize("most", [None, 40])
def test_groups_come_through_audit_and_splits(tmp_path, most):
    root = write_folder(tmp_path / "set", {"train": 40, "test": 6})
    source = open_source(str(root), 0)
    stored = store_images(source, [], tmp_path / "cache")
    settings = RunSettings(
        data=str(root), budget=1, name="run", output=tmp_path, cache=tmp_path / "cache", max_images=most
    )
    first = audit(source, stored, settings).table
    assert first["group:subtype"].tolist() == source.table["group:subtype"].tolist()
    assert set(first.loc[first["label"] == "PNEUMONIA", "group:subtype"]) == {"virus"}
    first.to_csv(tmp_path / "splits.csv", index=False)
    taken = audit(source, stored, settings, taken=tmp_path / "splits.csv").table
    assert taken["group:subtype"].tolist() == first["group:subtype"].tolist()
    assert taken["split"].tolist() == first["split"].tolist()
