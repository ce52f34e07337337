"""An .h5 file is looked at before Keras opens it: predict, --weights FOLDER, evaluation."""

import itertools
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from toys import build_toy, toy_backbone

import bench
from bench.errors import ConfigError
from bench.evaluation.shared_scores import graph_of
from bench.models import export, hdf5, weights
from bench.models.export import ExportMismatch, load_model
from bench.models.hdf5 import Unsafe, check_given_h5, check_h5
from bench.models.weights import check_weights, load_backbone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported model, and beside it a file with values that nobody else should read."""
    folder = tmp_path_factory.mktemp("model")
    build_toy().save(folder / "model.h5")
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["values"] = np.arange(4)
    (folder / "secret.bin").write_bytes(bytes(32))
    return folder / "model.h5"


def external_link(file: Any, folder: Path) -> None:
    file["stolen"] = h5py.ExternalLink(str(folder / "secret.h5"), "/values")


def soft_link(file: Any, folder: Path) -> None:
    file["a"] = np.zeros(3)
    file["b"] = h5py.SoftLink("/a")


def external_storage(file: Any, folder: Path) -> None:
    file.create_dataset("stolen", (4,), "f8", external=[(str(folder / "secret.bin"), 0, 32)])


def virtual(file: Any, folder: Path) -> None:
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "values", (4,))
    file.create_virtual_dataset("stolen", layout)


def bomb(file: Any, folder: Path) -> None:
    file.create_dataset("zeros", (10**12,), "f8", chunks=(10**6,), fillvalue=0)


def nested(file: Any, folder: Path) -> None:
    file.create_group("/".join("g" * 2000))


def configured(change: Callable[[dict[str, Any]], None]) -> Callable[[Any, Path], None]:
    def edit(file: Any, folder: Path) -> None:
        config = json.loads(file.attrs["model_config"])
        change(config)
        file.attrs["model_config"] = json.dumps(config)

    return edit


def endless(file: Any, folder: Path) -> None:
    file.attrs["model_config"] = "[" * 20_000 + "]" * 20_000


EDITS = {
    external_link: "is a link to another place",
    soft_link: "is a link to another place",
    external_storage: "lie in another file",
    virtual: "lie in another file",
    bomb: "its values take 8,000,0",
    nested: "its groups lie more than 50 deep",
    configured(lambda config: config["config"]["layers"][1].update(class_name="Lambda")): "a layer Lambda, which runs",
    configured(lambda config: config["config"]["layers"][1].update(class_name="TFSMLayer")): "a layer TFSMLayer",
    configured(lambda config: config["config"]["layers"][1].update(module="os.path")): "of 'os.path', which is not",
    configured(
        lambda config: config["config"]["layers"][-1]["config"].update(units=10**9)
    ): "of units 1,000,000,000, and",
    endless: "its configuration is nested without end",
}


@pytest.fixture(params=EDITS.items(), ids=lambda pair: pair[1])
def edited(request: pytest.FixtureRequest, model: Path, tmp_path: Path) -> tuple[Path, str]:
    edit, said = request.param
    shutil.copy(model, tmp_path / toy_backbone().weights_file)
    with h5py.File(tmp_path / toy_backbone().weights_file, "r+") as file:
        edit(file, model.parent)
    return tmp_path / toy_backbone().weights_file, said


def test_a_file_that_is_more_than_a_model_is_refused_before_keras_opens_it(
    edited: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, said = edited
    monkeypatch.setattr(export, "plain_keras", lambda: pytest.fail("opened"))
    with pytest.raises(Unsafe, match=said):
        load_model(path)
    with pytest.raises(ExportMismatch, match=said):
        graph_of(path)


def test_so_is_a_file_of_weights(edited: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    path, said = edited
    monkeypatch.setattr(weights, "_computing_in", lambda precision: pytest.fail("opened"))
    with pytest.raises(ConfigError, match=f"does not hold the weights of Toy.*{said}"):
        load_backbone(toy_backbone(), 48, path)


def test_groups_with_many_ways_to_them_are_gone_into_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40 groups, each with two links to the next, there are 2 ** 39 paths to the last."""
    with h5py.File(tmp_path / "m.h5", "w") as file:
        groups = [file.create_group(f"g{number}") for number in range(40)]
        for one, other in itertools.pairwise(groups):
            one["a"] = one["b"] = other
        groups[-1]["values"] = np.ones(3)
    check_h5(tmp_path / "m.h5")


def test_a_model_and_its_weights_are_opened(model: Path, tmp_path: Path) -> None:
    check_h5(model)
    assert load_model(model).layers
    build_toy().save_weights(tmp_path / "toy.weights.h5")
    check_h5(tmp_path / "toy.weights.h5")


def test_what_is_no_hdf5_file_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "x.h5").write_bytes(b"no such thing")
    with pytest.raises(ConfigError, match="does not hold the weights of Toy"):
        load_backbone(toy_backbone(), 48, tmp_path / "x.h5")


@pytest.fixture
def read_for_ever(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model whose damage makes the HDF5 library go round: the head of an object in its heap is zero."""
    monkeypatch.setattr(hdf5, "PATIENCE", 3.0)
    with h5py.File(model) as file:
        text = file.attrs["model_config"].encode()
    data = bytearray(model.read_bytes())
    at = data.index(text)
    data[at - 16 : at] = bytes(16)
    damaged = tmp_path / toy_backbone().weights_file
    damaged.write_bytes(data)
    return damaged


def test_a_file_that_is_read_for_ever_is_damaged(read_for_ever: Path, model: Path) -> None:
    check_given_h5(model)  # for which the time is enough
    with pytest.raises(OSError, match=r"^damaged \(reading it did not end within 3 s\)$"):
        check_given_h5(read_for_ever)


def test_so_it_is_as_a_model_and_as_weights(read_for_ever: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no model of a run that can be loaded: damaged .*did not end"):
        bench.load_model(read_for_ever)
    with pytest.raises(ConfigError, match=r"does not hold the weights of Toy .*: damaged .*did not end"):
        check_weights(str(read_for_ever.parent), [toy_backbone()])


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "damaged (reading it ends the process by signal 11)"),
        ("import os; os.kill(os.getpid(), 9)", "not read: the process that reads it was killed, as where memory"),
        ("raise MemoryError", "not read: the process that reads it failed (MemoryError)"),
    ],
)
def test_a_file_that_ends_the_process_which_reads_it_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    fatal = tmp_path / "fatal.py"
    fatal.write_text(code)
    monkeypatch.setattr(hdf5, "__file__", str(fatal))
    with pytest.raises(OSError, match=re.escape(said)):
        check_given_h5(model)


def test_a_file_that_was_given_is_refused_as_one_of_our_own(edited: tuple[Path, str], tmp_path: Path) -> None:
    path, said = edited
    with pytest.raises(Unsafe, match=said):
        check_given_h5(path)
    (tmp_path / "x.h5").write_bytes(b"no such thing")
    with pytest.raises(OSError, match="file signature not found"):
        check_given_h5(tmp_path / "x.h5")


def test_a_sound_file_that_was_given_is_read(model: Path) -> None:
    check_given_h5(model)
