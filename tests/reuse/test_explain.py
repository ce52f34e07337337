"""Pictures of where a model looks: what is drawn, what is said, and that the model stays as it was."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toy_model import SURE, write_images, write_model

from bench.cli import main
from bench.errors import ConfigError
from bench.report.figures.explanation import Panel, draw
from bench.reuse.explain import explain, pictures
from bench.reuse.model import ReusableModel, load_model
from bench.run.documents import TrainingImages


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ReusableModel:
    return load_model(write_model(tmp_path_factory.mktemp("explained")))


@pytest.fixture(autouse=True)
def few_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.report.figures.explanation.PAPER_DPI", 40)


def test_a_picture_of_each_image_with_the_class_that_the_threshold_calls(model: ReusableModel, tmp_path: Path) -> None:
    paths = write_images(tmp_path, ("a.png", "b.png"))
    images, _ = model.read(paths)
    before = model.scores(images)
    assert (before[:, 1] > 0.5).any() and (before[:, 1] < SURE).all(), "the likeliest class is not always called"
    found, why = explain(model, pictures(model, paths, tmp_path / "maps"), images)
    np.testing.assert_array_equal(model.scores(images), before)
    assert [one.called for one in found] == ["NORMAL", "NORMAL"]
    np.testing.assert_allclose([one.probability for one in found], model.calibrated(before)[:, 0])
    assert [one.picture.name for one in found] == ["1-a.png", "2-b.png"] and "the maps are exact" in why
    assert all(-1 <= (one.correlation or 0) < 0.99 for one in found), "shuffled weights change the maps"
    pixels = [np.asarray(Image.open(one.picture).convert("RGB")) for one in found]
    assert (pixels[0] != pixels[1]).any() and np.ptp(pixels[0]) > 200
    first = [one.picture.stat().st_mtime_ns for one in found]
    again, _ = explain(model, pictures(model, paths, tmp_path / "maps"), images)
    assert [one.picture.stat().st_mtime_ns > before for one, before in zip(again, first, strict=True)] == [True, True]
    for changed in (lambda path: path.write_bytes(b"a picture of yours"), lambda path: path.mkdir()):
        found[1].picture.unlink()
        changed(found[1].picture)
        with pytest.raises(ConfigError, match=r"2-b\.png is there already, and is not of this model and image; remove"):
            explain(model, pictures(model, paths, tmp_path / "maps"), images)


def test_a_figure_has_a_colour_bar_for_each_map_that_varies() -> None:
    image, heat = np.zeros((8, 8, 1), np.uint8), np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    panels = [Panel(heat, (-0.2, 1.4), "fall of it"), Panel(np.zeros_like(heat), (0.0, 0.0), "fall of it")]
    name = "x\x1b[31m.png"
    figure = draw(image, panels, (name, "A$B", 0.91), "occlusion map", None, "Research use only.")
    *plots, bar = figure.axes
    assert len(plots) == 3 and bar.get_xlim() == (-0.2, 1.4) and bar.get_xlabel() == "fall of it"
    assert plots[2].get_xlabel() == "It does not vary." and "no correlation" in plots[2].get_title(loc="left")
    assert figure.get_suptitle() == r"x\x1b[31m.png: A$B, probability 0.910"
    assert "Research use only." in figure.get_supxlabel()


def test_images_unlike_the_training_images_are_noted(
    model: ReusableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training = TrainingImages(images=60, kinds={"grey": 60}, width=(40, 40), height=(40, 40), aspect=(1.0, 1.0))
    known = replace(model, known=model.card.model_copy(update={"training": training}))
    monkeypatch.setattr("bench.reuse.model.load_model", lambda *_: known)
    (path,) = write_images(tmp_path, ("scan.png",))
    Image.new("L", (90, 40), 7).save(wide := tmp_path / "wide.png")
    assert main(["explain", str(model.path), str(path), str(wide), "--out", str(tmp_path / "maps")]) == 0
    (line,) = (one for one in capsys.readouterr().err.splitlines() if "is unlike" in one)
    assert line.startswith(f"note: {wide} is unlike the training images: 90 x 40 pixels (training: 40 x 40)")


def test_the_command_draws_or_says_what_is_wrong(
    model: ReusableModel, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = write_images(tmp_path, ("scan.png",))
    broken = tmp_path / "broken.png"
    broken.write_bytes(path.read_bytes()[:60])
    out = tmp_path / "maps"
    assert main(["explain", str(model.path), str(broken), "--out", str(out)]) == 2
    assert main(["explain", str(model.path), str(tmp_path / "none.png"), "--out", str(out)]) == 2
    assert re.findall("error: .*(broken|none).png", capsys.readouterr().err) == ["broken", "none"]
    assert not out.exists()
    assert main(["explain", str(model.path), str(path), "--out", str(out)]) == 0
    assert "1-scan.png: NORMAL, probability 0." in capsys.readouterr().out
    shutil.rmtree(out)
    np.savez(archive := tmp_path / "scans.npz", images=np.zeros((2, 8, 8), np.uint8))
    assert main(["explain", str(model.path), str(broken), str(path), str(archive), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "2-scan.png: NORMAL, probability 0." in said.out and "object at" not in said.err
    assert re.findall(
        r"note: .*(broken\.png|scans\.npz) is not an image that can be read \(.*no picture", said.err
    ) == [
        "broken.png",
        "scans.npz",
    ]
    assert [one.name for one in out.iterdir()] == ["2-scan.png"], "its number is its place in the command"
    shutil.copy(path, broken)
    assert main(["explain", str(model.path), str(broken), str(path), "--out", str(out)]) == 0, "once it is mended"
    assert sorted(one.name for one in out.iterdir()) == ["1-broken.png", "2-scan.png"]
    shutil.rmtree(out)
    assert main(["explain", str(model.path), str(path), str(path), "--out", str(out)]) == 0
    assert [one.name for one in out.iterdir()] == ["1-scan.png"]
    monkeypatch.setattr(ReusableModel, "read", lambda *_: pytest.fail("it is refused before anything is read"))
    (other,) = write_images(tmp_path / "other", ("scan.png",))
    Image.new("L", (40, 40)).save(other)
    assert main(["explain", str(model.path), str(other), "--out", str(out)]) == 2
    assert "1-scan.png is there already" in capsys.readouterr().err
    assert main(["explain", str(model.path), str(path), "--out", str(path)]) == 2
    assert f"--out {path} cannot be written" in capsys.readouterr().err
