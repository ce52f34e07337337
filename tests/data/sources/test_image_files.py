"""Paths of a manifest: as they stand, without ending, from another root, and what may be meant by several files."""

from pathlib import Path

import pytest
from source_files import write

from bench.cli import main
from bench.data.sources.open_source import open_source
from bench.errors import ConfigError
from bench.run.request import open_settings
from bench.settings import make_settings


@pytest.fixture
def manifest(tmp_path):
    """``manifest(files, paths, image_root=None)`` -> the set whose paths have the labels A, B, A, …"""

    def made(files, paths, image_root=None):
        write(tmp_path, files)
        rows = [f"{path},{'AB'[place % 2]}" for place, path in enumerate(paths)]
        (tmp_path / "tables").mkdir(exist_ok=True)
        place = tmp_path / ("tables/set.csv" if image_root else "set.csv")
        place.write_text("\n".join(["path,label", *rows]))
        return open_source(str(place), 0, image_root=image_root and tmp_path / image_root)

    return made


def images(found):
    return list(found.table["image"])


def test_paths_without_ending(manifest):
    found = manifest(["part_1/ISIC_1.jpg", "part_2/ISIC_2.JPG"], ["ISIC_1", "ISIC_2"])
    assert images(found) == ["part_1/ISIC_1.jpg", "part_2/ISIC_2.JPG"]
    assert any("2 of the 2 files were looked for by name" in note and "ISIC_1" in note for note in found.notes)
    assert found.reader(0) == Path(found.path).parent.joinpath("part_1/ISIC_1.jpg").read_bytes()


def test_paths_as_they_stand_are_not_looked_for(manifest):
    found = manifest(["1.png", "other/1.png", "2.png"], ["1.png", "2.png"])
    assert images(found) == ["1.png", "2.png"]
    assert not any("looked for" in note for note in found.notes)


def test_an_image_root(manifest):
    found = manifest(["images/a/1.png", "images/b/2.png"], ["a/1.png", "b\\2.png"], image_root="images")
    assert images(found) == ["a/1.png", "b/2.png"]
    assert found.reader(1)


@pytest.mark.parametrize("before", ["/home/alice/study", "C:\\study", "study", "../elsewhere"])
def test_paths_from_another_root(manifest, before):
    found = manifest(["train/p1/1.png", "test/p1/1.png"], [f"{before}/train/p1/1.png", f"{before}/test/p1/1.png"])
    assert images(found) == ["train/p1/1.png", "test/p1/1.png"]


def test_no_other_patients_image_is_taken_for_one_that_is_missing(manifest):
    with pytest.raises(ConfigError, match=r"1 of the 2 paths .* lead to no file: p7/IM-0001-0001.png"):
        manifest(["p3/IM-0001-0001.png", "p4/IM-0001-0001.png"], ["p3/IM-0001-0001.png", "p7/IM-0001-0001.png"])
    for other in ("valid", "more"):
        with pytest.raises(ConfigError, match=r"1 of the 2 paths .* lead to no file: x/train/p8/1.png"):
            manifest([f"{other}/p8/1.png", "train/p2/1.png"], ["x/train/p8/1.png", "x/train/p2/1.png"])
    with pytest.raises(ConfigError, match=r"2 of the 2 paths .* lead to no file"):
        manifest(["test/p5/1.png", "test/p6/1.png"], ["x/train/p5/1.png", "x/train/p6/1.png"])


def test_another_ending(manifest):
    assert images(manifest(["png/1.png", "png/2.png"], ["dcm/1.dcm", "dcm/2.dcm"])) == ["png/1.png", "png/2.png"]


def test_names_that_may_mean_several_files(manifest):
    with pytest.raises(ConfigError, match=r"1 of the paths in .* may mean several files, such as 1: a/1.png, b/1.png"):
        manifest(["a/1.png", "b/1.png", "b/2.png"], ["1", "2"])


def test_copies_of_a_file_are_no_doubt(manifest, tmp_path):
    write(tmp_path, ["part_1/1.png", "part_1/2.png"])
    (tmp_path / "PART_1").mkdir()
    (tmp_path / "PART_1/1.png").write_bytes((tmp_path / "part_1/1.png").read_bytes())
    assert images(manifest([], ["1", "2"])) == ["PART_1/1.png", "part_1/2.png"]


def test_accents_in_either_form(manifest):
    assert images(manifest(["a/E\u0301chelle.png", "a/2.png"], ["\u00c9chelle", "2"]))[1] == "a/2.png"


def test_another_case_where_no_file_has_the_very_same(manifest):
    assert images(manifest(["a/IMG_1.PNG", "a/2.png"], ["a/img_1.png", "A\\2.PNG"])) == ["a/IMG_1.PNG", "a/2.png"]
    assert images(manifest(["b/x/7.png", "b/X.png", "b/x.png"], ["X", "7"])) == ["b/X.png", "b/x/7.png"]


def test_masks_are_not_taken_for_images(manifest):
    found = manifest([f"{kind}/{name}" for kind in ("images", "masks") for name in ("1.jpg", "2.jpg")], ["1", "2.jpg"])
    assert images(found) == ["images/1.jpg", "images/2.jpg"]


def test_folders_of_programs_are_not_searched(manifest):
    found = manifest(["__MACOSX/1.png", "@eaDir/1.png", ".x/1.png", "a/1.png", "a/2.png"], ["1", "2"])
    assert images(found) == ["a/1.png", "a/2.png"]
    assert images(manifest(["__b/3.png", "b/4.png"], ["3", "4"])) == ["__b/3.png", "b/4.png"]


def test_the_way_out_is_named(manifest):
    with pytest.raises(ConfigError, match=r"looked for in .* and below it.*--image-root FOLDER"):
        manifest(["1.png"], ["1.png", "9.png"])


@pytest.mark.parametrize("data", ["demo", "medmnist:breastmnist", "a"])
def test_a_root_for_what_is_no_table(tmp_path, data):
    write(tmp_path, ["a/A/1.png", "a/B/2.png"])
    with pytest.raises(ConfigError, match=r"--image-root is the folder that the paths of a table start from"):
        open_source(data if data != "a" else str(tmp_path / "a"), 0, image_root=tmp_path)


def test_the_commands_take_a_root(manifest, tmp_path, capsys):
    manifest([f"images/{name}.png" for name in "abcdefgh"], list("abcdefgh"))
    asked = ["audit", str(tmp_path / "set.csv"), "--cache", str(tmp_path / "cache"), "--image-root"]
    assert main([*asked, str(tmp_path / "images")]) == 0
    assert "8 images" in capsys.readouterr().out
    assert main([*asked, str(tmp_path / "tables")]) == 2
    assert "8 of the 8 paths" in capsys.readouterr().err
    settings = make_settings(name="r", cache=tmp_path, data=str(tmp_path / "set.csv"), image_root=tmp_path / "images")
    assert open_settings(settings).table["image"].iloc[0] == "a.png"


def test_a_root_that_is_no_folder(manifest):
    with pytest.raises(ConfigError, match=r"--image-root .*nowhere is no folder"):
        manifest(["1.png", "2.png"], ["1.png", "2.png"], image_root="nowhere")
