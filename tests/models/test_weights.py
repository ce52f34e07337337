"""Where weights come from, and what is said when they cannot be had."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import yaml
from toys import SIZE, build_toy, overwrite, toy_backbone

from bench.errors import ConfigError
from bench.models.backbones import BACKBONES
from bench.models.weights import check_starts, load_backbone, resolve_weights, weights_hash


def test_random_weights_follow_the_seed_and_say_that_they_are_no_transfer_learning(tmp_path: Path) -> None:
    toy = toy_backbone()
    one = resolve_weights("random", [toy], tmp_path / "a", seed=0)
    same = resolve_weights("random", [toy], tmp_path / "b", seed=0)
    other = resolve_weights("random", [toy], tmp_path / "a", seed=1)
    assert one.sha256 == same.sha256
    assert one.sha256 != other.sha256
    assert one.kind == "random"
    assert "not transfer learning" in one.note


def test_a_folder_of_files_is_used_as_it_is(tmp_path: Path) -> None:
    toy = toy_backbone()
    model = build_toy()
    model.save_weights(tmp_path / toy.weights_file)
    weights = resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0)
    assert weights.kind == "folder"
    assert weights.note.startswith(f"Weights from the folder {tmp_path.name} (licence not known here")
    assert str(tmp_path.parent) not in weights.note
    assert weights.sha256["toy"] == weights_hash(model)
    loaded = load_backbone(toy, 48, weights.files["toy"])  # at another size than they were saved at
    for ours, theirs in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_changed_file_has_another_hash(tmp_path: Path) -> None:
    toy = toy_backbone()
    hashes = set()
    for scale in (1.0, 2.0):
        model = build_toy()
        model.set_weights([scale * np.ones_like(value) for value in model.get_weights()])
        model.save_weights(tmp_path / toy.weights_file)
        os.utime(tmp_path / toy.weights_file, (1e9, 1e9))  # as a tool leaves it that keeps times
        hashes.add(resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0).sha256["toy"])
    assert len(hashes) == 2


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut short": lambda content: content[:-1],
    "zeros": lambda content: bytes(len(content)),
    "one bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "no text": lambda content: bytes([content[0] ^ 128]) + content[1:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_remembered_hash_that_is_damaged_is_computed_again(tmp_path: Path, damage: str) -> None:
    toy = toy_backbone()
    build_toy().save_weights(tmp_path / toy.weights_file)
    first = resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0).sha256["toy"]
    (known,) = (tmp_path / "cache" / "weights").glob("*.sha256")
    whole = known.read_bytes()
    overwrite(known, DAMAGES[damage](whole))
    assert resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0).sha256["toy"] == first
    assert known.read_bytes() == whole


def test_a_remembered_hash_is_not_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = toy_backbone()
    build_toy().save_weights(tmp_path / toy.weights_file)
    first = resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0).sha256
    monkeypatch.setattr("bench.models.weights.weights_hash", lambda model: pytest.fail("it is known"))
    assert resolve_weights(str(tmp_path), [toy], tmp_path / "cache", seed=0).sha256 == first


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"lacks toy\.weights\.h5"):
        resolve_weights(str(tmp_path), [toy_backbone()], tmp_path, seed=0)
    with pytest.raises(ConfigError, match="imagenet, random or a folder"):
        resolve_weights("imagenett", [toy_backbone()], tmp_path, seed=0)


def test_a_file_of_other_shapes_is_refused(tmp_path: Path) -> None:
    import keras

    other = keras.Sequential([keras.Input((8,)), keras.layers.Dense(3)])
    other.save_weights(tmp_path / "toy.weights.h5")
    with pytest.raises(ConfigError, match=r"does not hold the weights of Toy"):
        resolve_weights(str(tmp_path), [toy_backbone()], tmp_path / "cache", seed=0)


@pytest.mark.parametrize("name", ["toy.weights.h5", "RadImageNet-Toy_notop.h5"])
def test_a_file_that_is_no_h5_or_empty_is_refused_before_anything_is_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("not an HDF5 file")
    start = "radimagenet" if name.startswith("Rad") else "given"
    with pytest.raises(ConfigError, match=r"does not hold the weights of Toy"):
        check_starts(str(tmp_path), [toy_backbone()], {"toy": (start,)})
    with h5py.File(tmp_path / name, "w") as file:
        file.create_group("conv1")
    with pytest.raises(ConfigError, match=r"the weights of Toy without classifier: it holds no values\.$"):
        check_starts(str(tmp_path), [toy_backbone()], {"toy": (start,)})


def test_whoever_lacks_radimagenets_weights_is_told_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check_starts(str(tmp_path), [toy_backbone()], {"toy": ("radimagenet",)})
    assert yaml.safe_load(str(caught.value).rpartition("initialisation: ")[2].removesuffix("."))


class Unreachable(OSError):
    pass


def offline(weights: Any = None, **arguments: Any) -> Any:
    if weights == "imagenet":
        raise Unreachable("no network")
    return build_toy(weights, **arguments)


def test_imagenet_weights_that_cannot_be_had_stop_with_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    toy = dataclasses.replace(toy_backbone(), build=offline)
    for wanted in (None, "imagenet"):
        with pytest.raises(ConfigError, match=r"could not be downloaded; put toy\.weights\.h5 there") as caught:
            resolve_weights(wanted, [toy], tmp_path, seed=0)
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError):  # asked for by name, they are not replaced by others
        resolve_weights("imagenet", [toy], tmp_path, seed=0, fall_back=True)
    fallen = resolve_weights(None, [toy], tmp_path, seed=0, fall_back=True)
    assert fallen.kind == "random"
    assert "could not be downloaded" in fallen.note


@pytest.mark.parametrize("error", [MemoryError("no room"), OSError(28, "No space left on device")])
def test_imagenet_weights_that_the_machine_had_no_room_for_are_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def build(**arguments: Any) -> Any:
        raise error

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with pytest.raises(type(error)):
        resolve_weights(None, [dataclasses.replace(toy_backbone(), build=build)], tmp_path, seed=0, fall_back=True)


def test_imagenet_weights_in_kerass_own_cache_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    toy = dataclasses.replace(toy_backbone(), build=offline)
    model = build_toy()
    model.save_weights(tmp_path / "models" / toy.weights_file)
    weights = resolve_weights(None, [toy], tmp_path / "cache", seed=0)
    assert weights.kind == "imagenet"
    assert all(word in weights.note for word in ("Apache-2.0", "VGG16", "non-commercial"))
    assert weights.sha256["toy"] == weights_hash(model)


@pytest.mark.backbones
def test_keras_own_weight_files_load_under_keras_own_names(tmp_path: Path) -> None:
    """The legacy .h5 layout without classifier, as keras.applications publishes it."""
    import keras

    backbone = BACKBONES["vgg16"]
    keras.utils.set_random_seed(3)
    model = keras.applications.VGG16(weights=None, include_top=False)
    model.save_weights(tmp_path / "new.weights.h5")
    import h5py
    from keras.src.legacy.saving import legacy_h5_format

    with h5py.File(tmp_path / backbone.weights_file, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    weights = resolve_weights(str(tmp_path), [backbone], tmp_path / "cache", seed=0)
    assert weights.sha256["vgg16"] == weights_hash(model)


def test_random_weights_that_a_power_cut_has_torn_are_drawn_again(tmp_path: Path) -> None:
    first = resolve_weights("random", [toy_backbone()], tmp_path, seed=0)
    file = first.files["toy"]
    file.write_bytes(file.read_bytes()[:1000])
    again = resolve_weights("random", [toy_backbone()], tmp_path, seed=0)
    assert again.sha256 == first.sha256
    load_backbone(toy_backbone(), SIZE, again.files["toy"])
