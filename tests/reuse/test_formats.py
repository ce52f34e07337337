"""A model in other formats: what each runtime makes of it, what lies beside it, and when it is not kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_model import CLASSES, SURE, write_model

from bench.cli import main
from bench.errors import ConfigError
from bench.models.export import ExportMismatch
from bench.reuse import export as formats
from bench.reuse import export_command
from bench.reuse.export import FORMATS, export, sample_images
from bench.reuse.model import ReusableModel, load_model
from bench.run.folder import RunDir, file_sha256


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ReusableModel:
    return load_model(write_model(tmp_path_factory.mktemp("exported")))


def others(model: ReusableModel) -> Any:
    """Images that no export was checked on."""
    return np.random.default_rng(9).integers(0, 256, (5, *sample_images(model).shape[1:]), dtype=np.uint8)


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_predicts_the_same_and_carries_what_is_known(
    model: ReusableModel, to: str, tmp_path: Path
) -> None:
    path, record = export(model, to, tmp_path)
    assert path == tmp_path / f"best_model{FORMATS[to].ending}"
    assert path.is_dir() == (to == "savedmodel")
    images = others(model)
    found = FORMATS[to].predict(path, images.astype(np.float32))
    assert np.ptp(found[:, 0]) > 1e-3
    np.testing.assert_allclose(found, model.scores(images), atol=FORMATS[to].tolerance)
    beside = json.loads((tmp_path / f"{path.name}.json").read_text())
    assert beside["format"] == to and beside["difference"] == record.difference <= beside["tolerance"]
    assert beside["made_from"] == file_sha256(model.path)
    assert beside["sha256"] == {name: file_sha256(tmp_path / name) for name in beside["sha256"]}
    assert beside["model"]["classes"] == list(CLASSES) and beside["model"]["threshold"]["value"] == SURE
    assert beside["model"]["calibration"] and "Research use" in beside["use"]
    assert sorted(one.name for one in tmp_path.iterdir()) == [path.name, f"{path.name}.json"]


def test_an_export_that_predicts_something_else_is_not_kept(
    model: ReusableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_another(network: Any, path: Path) -> None:
        import keras

        other = keras.models.clone_model(network)
        other.set_weights(network.get_weights())
        other.get_layer("probabilities").bias.assign([0.0, 0.51])
        other.save(path)

    monkeypatch.setitem(FORMATS, "keras", replace(FORMATS["keras"], write=write_another))
    with pytest.raises(ExportMismatch, match=r"predicts other probabilities than .*differ by up to 0\.0"):
        export(model, "keras", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert main(["export", str(model.path), "--to", "keras", "--out", str(tmp_path / "x.keras")]) == 1
    assert "it was not kept" in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_one_sentence(
    model: ReusableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(export_command.NAMES) == list(FORMATS)
    (tmp_path / "there.onnx").write_text("another's")
    for to, out, words in (
        ("onnx", tmp_path / "x.keras", "has to end with .onnx, or with / as a folder"),
        ("onnx", tmp_path / "there.onnx", "is there already"),
        ("keras", model.path / "below.keras", "cannot be written"),
    ):
        with pytest.raises(ConfigError, match=words):
            export(model, to, out)
    (tmp_path / "there.savedmodel").mkdir()
    for out in ("there.savedmodel", "there.savedmodel/"):
        with pytest.raises(ConfigError, match="is there already"):
            export(model, "savedmodel", f"{tmp_path}/{out}")
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "tf2onnx" else object())
    with pytest.raises(ConfigError, match=r"onnx needs the package tf2onnx: pip install .*\[export\]"):
        export(model, "onnx", tmp_path)
    assert main(["export", str(tmp_path / "none.h5"), "--to", "onnx"]) == 2
    assert main(["export", str(model.path), "--to", "torch"]) == 2
    assert "choose from" in capsys.readouterr().err
    assert (tmp_path / "there.onnx").read_text() == "another's"


@pytest.mark.parametrize("folder", ["new", "new/", "new/deep", "v1.0/", "x.keras/", "there.v2"])
def test_a_folder_for_an_export_is_made(
    model: ReusableModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    def write(network: Any, path: Path) -> None:
        path.write_text("a model")

    def predict(path: Path, images: np.typing.NDArray[np.float32]) -> np.typing.NDArray[np.float32]:
        return model.scores(images.astype(np.uint8))

    monkeypatch.setitem(FORMATS, "keras", replace(FORMATS["keras"], write=write, predict=predict))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.v2").mkdir()
    assert main(["export", str(model.path), "--to", "keras", "--out", folder]) == 0
    found = {path.name for path in (tmp_path / folder).iterdir()}
    assert found == {"best_model.keras", "best_model.keras.json"}


def test_images_of_the_run_are_among_the_samples(model: ReusableModel, tmp_path: Path) -> None:
    drawn = sample_images(model)
    kept = np.arange(2 * drawn[0].size, dtype=np.uint8).reshape(2, *drawn.shape[1:])
    run = RunDir(tmp_path)
    np.savez(run.saliency_images, images=kept)
    of_run = ReusableModel(model.path, run, model.card)
    np.testing.assert_array_equal(sample_images(of_run), np.concatenate([drawn, kept]))
    np.savez(run.saliency_images, images=kept[:, :4])
    np.testing.assert_array_equal(sample_images(of_run), drawn)
