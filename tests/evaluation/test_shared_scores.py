"""Several files of one backbone scored together: the same as each by itself, whatever else is in the group."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import SIZE, build_toy, toy_backbone

from bench.data.images.store import StoredImages
from bench.data.sealing import Sealed
from bench.evaluation import in_worker, shared_scores
from bench.evaluation.shared_scores import ModelFile, graph_of, score_files
from bench.models.assemble import full_model
from bench.models.backbones import boundary_cut
from bench.models.export import ExportMismatch, predict_file
from bench.models.small_cnn import small_cnn

Export = Callable[..., ModelFile]


@pytest.fixture(scope="module")
def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return build_toy()


@pytest.fixture
def export(tmp_path: Path, network: Any) -> Export:
    """``export(name, depth, seed)`` -> a file as a training at that unfreeze depth leaves it; ``other`` changes a
    frozen weight, ``nested`` exports as an earlier version did."""

    def exported(name: str, depth: int, seed: int, other: bool = False, nested: bool = False) -> ModelFile:
        import keras

        rng = np.random.default_rng(seed)
        standard = rng.normal(0, 0.1, 16).astype(np.float32), rng.uniform(1e-3, 0.1, 16).astype(np.float32)
        model = full_model(toy_backbone(), network, SIZE, 1, 2, standard, dropout=0.1 * seed, seed=seed)
        for number in range(6 - depth, 6):
            layer = model.get_layer(f"conv{number}")
            layer.set_weights([one + rng.normal(0, 0.05, one.shape) for one in layer.get_weights()])
        if other:
            kernel, bias = model.get_layer("conv1").get_weights()
            kernel[0, 0, 0, 0] += 1e-3
            model.get_layer("conv1").set_weights([kernel, bias])
        model.get_layer("probabilities").set_weights([rng.normal(0, 0.3, (16, 2)), np.zeros(2)])
        if nested:
            inner = keras.Model(model.get_layer("preprocessing").output, model.get_layer("stage5").output, name="inner")
            images = keras.Input((SIZE, SIZE, 1), name="image")
            values = inner(model.get_layer("preprocessing")(images))
            for layer in ("pool", "standardise", "dropout", "probabilities"):
                values = model.get_layer(layer)(values)
            model = keras.Model(images, values)
        model.save(path := tmp_path / f"{name}.h5")
        return ModelFile(path, depth, boundary_cut(toy_backbone(), depth))

    return exported


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(1).integers(0, 255, (90, SIZE, SIZE, 1)).astype(np.uint8)


ROWS = np.arange(85)[::-1]


def assert_as_each_by_itself(files: list[ModelFile], images: Any, **how: Any) -> dict[Path, Any]:
    found = score_files(files, images, ROWS, **how)
    assert sorted(found) == sorted(one.path for one in files)
    for one in files:
        np.testing.assert_allclose(found[one.path], predict_file(one.path, images, ROWS), atol=1e-6, rtol=0)
    assert len({scores.tobytes() for scores in found.values()}) == len(files)
    return found


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of which a network was built."""
    built: list[str] = []
    load = shared_scores.load_model
    monkeypatch.setattr(shared_scores, "load_model", lambda file: built.append(file.stem) or load(file))
    return built


@pytest.mark.parametrize("depths", [(0, 0, 0), (2, 2, 2), (2, 2, 0, 0), (0, 1, 2, 5), (5, 5)])
def test_shared_scores_are_those_of_each_file(
    export: Export, images: Any, loads: list[str], depths: tuple[int, ...]
) -> None:
    files = [export(f"{number}", depth, seed=number + 1) for number, depth in enumerate(depths)]
    found = assert_as_each_by_itself(files, images)
    assert loads == [f"{depths.index(min(depths))}"], "one network serves all"
    fewer = score_files(files[1:], images, ROWS)
    for one in files[1:]:
        np.testing.assert_allclose(fewer[one.path], found[one.path], atol=1e-6, rtol=0)


def test_only_what_is_not_frozen_is_computed_again(
    export: Export, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [export(f"{number}", depth, seed=number + 1) for number, depth in enumerate((1, 1, 2))]
    passed: dict[str, int] = {}
    predict = shared_scores.in_one_shape

    def counted(model: Any, values: Any, size: int) -> Any:
        passed[model.name] = passed.get(model.name, 0) + len(values)
        return predict(model, values, size)

    monkeypatch.setattr(shared_scores, "in_one_shape", counted)
    score_files(files, images, ROWS)
    assert passed == {"boundaries_and_scores": 85 + 2 * 32, "suffix_1": 85, "suffix_2": 85}


def test_blocks_do_not_matter(export: Export, images: Any) -> None:
    files = [export(f"{number}", depth, seed=number + 1) for number, depth in enumerate((0, 2, 2))]
    at_once, in_blocks = (score_files(files, images, ROWS, room=room) for room in (2**28, 1))
    for one in files:
        np.testing.assert_allclose(in_blocks[one.path], at_once[one.path], atol=1e-6, rtol=0)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_file_with_other_frozen_layers_is_scored_by_its_own(export: Export, images: Any, place: int) -> None:
    files = [export(f"{number}", 1, seed=number + 1, other=number == place) for number in range(3)]
    assert_as_each_by_itself(files, images)


@pytest.mark.parametrize("nested", [{1}, {0, 1}])
def test_files_of_an_earlier_version_are_scored_too(export: Export, images: Any, nested: set[int]) -> None:
    files = [export(f"{number}", 1, seed=number + 1, nested=number in nested) for number in range(2)]
    assert_as_each_by_itself(files, images)


def test_small_networks_are_built_once(tmp_path: Path, images: Any, loads: list[str]) -> None:
    files = []
    for seed in range(3):
        small_cnn(SIZE, 1, 2, seed).save(tmp_path / f"{seed}.h5")
        files.append(ModelFile(tmp_path / f"{seed}.h5"))
    assert_as_each_by_itself(files, images)
    assert loads == ["0"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_damaged_file_is_named(export: Export, images: Any, place: int) -> None:
    files = [export(f"{number}", 1, seed=number + 1) for number in range(2)]
    path = files[place].path
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ExportMismatch, match=rf"{place}\.h5 cannot be read as an exported model: "):
        score_files(files, images, ROWS)


def test_what_differs_from_the_whole_network_is_an_error(
    export: Export, images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [export(f"{number}", 1, seed=number + 1) for number in range(2)]
    monkeypatch.setattr(shared_scores, "_behind", lambda suffix, boundary: np.full((len(boundary), 2), 0.5))
    with pytest.raises(ExportMismatch, match=r"1\.h5 predicts other probabilities by its whole network than behind"):
        score_files(files, images, ROWS)


def test_a_graph_is_known_by_its_layers_not_by_their_names(export: Export) -> None:
    assert graph_of(export("one", 0, 1).path) == graph_of(export("two", 2, 2).path)
    assert graph_of(export("one", 0, 1).path) != graph_of(export("nested", 0, 1, nested=True).path)


def test_sealed_images_are_scored_by_nothing(export: Export, images: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", images)
    stored = StoredImages(tmp_path / "images.npy", SIZE, 1, "data").sealed(np.arange(10))
    files = [export(f"{number}", 1, seed=number + 1) for number in range(2)]
    with pytest.raises(Sealed):
        in_worker.score(files, stored, ROWS)
    before = set(tmp_path.rglob("*"))
    assert len(in_worker.score(files, stored, np.arange(10, 90))) == 2
    assert set(tmp_path.rglob("*")) == before, "no feature is written anywhere"
