"""What lies among images and is none: pipes, devices, sockets, links, loops, folders without end. Nothing waits."""

import os
import socket
import subprocess
from pathlib import Path

import pytest
from source_files import dicom, pixels, png, write_bytes

from bench.data.images.dicom import read_patient_ids
from bench.data.imageset import FileReader
from bench.data.sources.listing import DEEPEST
from bench.data.sources.open_source import open_source
from bench.data.splits import take_over
from bench.errors import ConfigError
from bench.run.folder import find_run

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")


@pytest.fixture
def folder(tmp_path):
    for seed in range(8):
        write_bytes(tmp_path / "data" / "ab"[seed % 2] / f"{seed}.png", png(pixels(seed)))
    return tmp_path / "data"


def excluded(source):
    return {one.kind: one.names for one in source.excluded}


def test_pipes_devices_and_sockets_are_told_and_not_read(folder, monkeypatch):
    os.mkfifo(folder / "a" / "pipe.png")
    os.mkfifo(folder / "a" / "pipe")
    (folder / "a" / "device.dcm").symlink_to("/dev/zero")
    monkeypatch.chdir(folder / "b")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.png")
    source = open_source(str(folder), 0)
    assert excluded(source) == {
        "pipe, device or socket": ("a/device.dcm", "a/pipe", "a/pipe.png", "b/socket.png"),
    }
    assert len(source.table) == 8
    assert source.others == ()


def test_links_that_lead_nowhere_and_in_circles(folder):
    (folder / "a" / "lost.png").symlink_to("gone")
    (folder / "a" / "self.png").symlink_to("self.png")
    (folder / "a" / "loop").symlink_to("../../data")
    (folder / "train").symlink_to(folder)
    source = open_source(str(folder), 0)
    assert {"a/lost.png", "a/self.png"} < set(source.table["image"]), "images that cannot be read"
    assert excluded(source) == {"link to a folder": ("train", "a/loop")}


def test_images_outside_the_folder_are_told(folder, tmp_path):
    write_bytes(tmp_path / "elsewhere" / "x.png", png(pixels(50)))
    (folder / "a" / "x.png").symlink_to(tmp_path / "elsewhere" / "x.png")
    (folder / "a" / "y.png").symlink_to("0.png")
    source = open_source(str(folder), 0)
    told = (
        f"1 image lies outside {folder}, by links or paths that lead out of it: a/x.png ({tmp_path}/elsewhere/x.png)."
    )
    assert told in source.notes


def test_paths_of_a_table_that_climb_out_are_told(folder, tmp_path):
    write_bytes(tmp_path / "x.png", png(pixels(50)))
    rows = [f"{name},{name[0]}" for name in ("a/0.png", "a/../b/1.png", "b/3.png", "a/2.png", "../x.png")]
    (folder / "t.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    (note,) = (note for note in open_source(str(folder / "t.csv"), 0).notes if "outside" in note)
    assert note.startswith(f"1 image lies outside {folder}")
    assert f"../x.png ({tmp_path}/x.png)" in note


@pytest.fixture
def endless(folder, monkeypatch):
    """Folders 1,200 deep, with an image in the last; gone at the end, for Python's own removal does not go so deep."""
    monkeypatch.chdir(folder / "a")
    for _ in range(1200):
        Path("n").mkdir()
        os.chdir("n")
    Path("lost.png").write_bytes(png(pixels(77)))
    yield
    os.chdir(folder)
    subprocess.run(["rm", "-rf", folder / "a" / "n"], check=True)


@pytest.mark.usefixtures("endless")
def test_folders_without_end_are_left_out(folder):
    source = open_source(str(folder), 0)
    assert excluded(source)["folder too deep"] == ("a" + DEEPEST * "/n",)
    (folder / "t.csv").write_text("path,label\n0.png,a\n1.png,b\n2.png,a\nlost.png,b\n")
    with pytest.raises(ConfigError, match=r"1 of the 4 paths in .*lead to no file: lost\.png"):
        open_source(str(folder / "t.csv"), 0)


def test_a_pipe_in_the_place_of_a_file_is_never_waited_for(folder, tmp_path):
    for name in ("t.csv", "t.npz", "t", "s.csv", "data/a/p.png"):
        os.mkfifo(tmp_path / name)
    for name in ("t.csv", "t.npz", "t"):
        with pytest.raises(ConfigError, match="is a pipe, a device or a socket; --data takes"):
            open_source(str(tmp_path / name), 0)
    (tmp_path / "u.csv").write_text("path,label\na/0.png,a\nb/1.png,b\np.png,b\n")
    with pytest.raises(ConfigError, match=r"lead to no file: p\.png"):
        open_source(str(tmp_path / "u.csv"), 0, image_root=folder)
    with pytest.raises(ConfigError, match=r"s\.csv cannot be read as a CSV file: it is no file"):
        take_over(tmp_path / "s.csv", open_source(str(folder), 0).table)
    with pytest.raises(OSError, match="no regular file"):
        FileReader(folder, ("a/p.png",))(0)
    assert read_patient_ids([folder / "a" / "p.png"]) == [""]
    (tmp_path / "p.dcm").write_bytes(dicom(pixels(1), PatientID="p1"))
    assert read_patient_ids([tmp_path / "p.dcm"]) == ["p1"]


@pytest.mark.parametrize("place", ["trials.csv", "external/site/external.json"])
def test_a_pipe_in_a_run_folder_is_refused(tmp_path, place):
    (tmp_path / "xray" / place).parent.mkdir(parents=True)
    (tmp_path / "xray" / "run.json").write_text("{}")
    (tmp_path / "xray" / "itself").symlink_to(tmp_path / "xray")
    os.mkfifo(tmp_path / "xray" / place)
    with pytest.raises(ConfigError, match=rf"{place} is a pipe, a device or a socket, which no run leaves"):
        find_run("xray", tmp_path)


def test_a_pipe_in_a_folder_that_a_run_folder_links_to_is_refused(tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "xray").mkdir()
    (tmp_path / "xray" / "run.json").write_text("{}")
    (tmp_path / "xray" / "models").symlink_to(tmp_path / "models")
    (tmp_path / "xray" / "gone").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "models" / "vgg16-1.h5")
    with pytest.raises(ConfigError, match=r"xray/models/vgg16-1\.h5 is a pipe"):
        find_run("xray", tmp_path)
