"""Several networks as one file: what plain Keras reads from it is the mean of calibrated probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import SIZE, build_toy, toy_backbone

from bench.data.images.store import StoredImages
from bench.evaluation.ensemble_file import MemberFile, write_ensemble
from bench.evaluation.shared_scores import ModelFile
from bench.models.assemble import full_model
from bench.models.backbones import boundary_cut
from bench.models.ensemble import Branch, ensemble_model
from bench.models.export import ExportMismatch, load_model, predict_images
from bench.run.documents import EnsembleMember
from bench.stats.calibration import CalibrationMap
from bench.stats.ensemble import weighted_mean

MAPS = {
    2: (
        CalibrationMap("temperature", (1.4, 0.8), (0.05,), ()),
        CalibrationMap("intercept and slope", (), (1.7,), (0.0, -0.6)),
        CalibrationMap(),
    ),
    3: (
        CalibrationMap("vector scaling", (1.4, 0.8, 0.9), (0.2, 1.5, 0.7), (0.0, 0.4, -0.3)),
        CalibrationMap("none", (1.4, 0.8, 0.9)),
        CalibrationMap("temperature", (), (0.5,)),
    ),
}


@pytest.fixture(scope="module")
def network() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    return build_toy()


def trained(network: Any, depth: int, seed: int, n_classes: int, scale: float = 0.5) -> Any:
    """A network as a training at that depth leaves it; with a large ``scale`` its probabilities are extreme."""
    rng = np.random.default_rng(seed)
    standard = rng.normal(0, 0.1, 16).astype(np.float32), rng.uniform(1e-3, 0.1, 16).astype(np.float32)
    model = full_model(toy_backbone(), network, SIZE, 1, n_classes, standard, dropout=0.1, seed=seed)
    for number in range(6 - depth, 6):
        layer = model.get_layer(f"conv{number}")
        layer.set_weights([one + rng.normal(0, 0.05, one.shape) for one in layer.get_weights()])
    model.get_layer("probabilities").set_weights([rng.normal(0, scale, (16, n_classes)), rng.normal(0, 1, n_classes)])
    return model


def branches(network: Any, depths: tuple[int, ...], n_classes: int, scale: float = 0.5) -> list[Branch]:
    return [
        Branch(
            name=f"m{number}",
            model=trained(network, depth, number + 1, n_classes, scale),
            backbone="toy",
            cut=boundary_cut(toy_backbone(), depth),
            calibration=MAPS[n_classes][number],
            count=number + 1,
        )
        for number, depth in enumerate(depths)
    ]


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(1).integers(0, 255, (20, SIZE, SIZE, 1)).astype(np.uint8)


@pytest.mark.parametrize(
    ("depths", "n_classes", "scale", "prefixes"),
    [((0, 5, 0), 3, 0.5, 2), ((0, 0), 2, 60.0, 1)],
)
def test_a_file_gives_the_mean_and_shares_what_is_frozen(
    network: Any, images: Any, tmp_path: Path, depths: tuple[int, ...], n_classes: int, scale: float, prefixes: int
) -> None:
    members = branches(network, depths, n_classes, scale)
    each = [one.calibration(predict_images(one.model, images)) for one in members]
    expected = weighted_mean(each, [one.count for one in members])
    ensemble_model(members).save(tmp_path / "ensemble.h5")
    loaded = load_model(tmp_path / "ensemble.h5")
    np.testing.assert_allclose(predict_images(loaded, images), expected, atol=1e-5)
    names = [layer.name for layer in loaded.layers]
    assert sum(name.endswith("_conv1") for name in names) == prefixes, "frozen layers that are the same stand once"
    assert len(names) == len(set(names)) and not any(hasattr(layer, "layers") for layer in loaded.layers), "flat"
    assert loaded.input_shape == (None, SIZE, SIZE, 1)


def test_another_frozen_weight_is_not_shared(network: Any, images: Any) -> None:
    first, second = branches(network, (1, 1), 2)
    kernel, bias = second.model.get_layer("conv1").get_weights()
    kernel[0, 0, 0, 0] += 0.5
    second.model.get_layer("conv1").set_weights([kernel, bias])
    each = [one.calibration(predict_images(one.model, images)) for one in (first, second)]
    ensemble = ensemble_model([first, second])
    np.testing.assert_allclose(predict_images(ensemble, images), weighted_mean(each, [1, 2]), atol=1e-5)
    assert sum(layer.name.endswith("_conv1") for layer in ensemble.layers) == 2


def test_networks_of_other_images_are_refused(network: Any) -> None:
    import keras

    one = branches(network, (1,), 2)[0]
    wide = keras.Sequential([keras.Input((SIZE, 2 * SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="must take the same images"):
        ensemble_model([one, Branch("m9", wide, "toy", None, CalibrationMap(), 1)])


def test_what_is_written_is_checked_against_its_members(
    network: Any, images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "images.npy", images)
    stored = StoredImages(tmp_path / "images.npy", SIZE, 1, "data")
    members = []
    for number, one in enumerate(branches(network, (1, 1), 2)):
        one.model.save(path := tmp_path / f"toy-{number}.h5")
        about = EnsembleMember(model="toy", repeat=number, count=one.count, calibration=one.calibration)
        members.append(MemberFile(about, ModelFile(path, 1, one.cut)))
    path = tmp_path / "best_ensemble.h5"
    written = write_ensemble(path, members, members[0].file.path, stored, np.arange(20))
    assert written.difference < 1e-5 and written.images == 20 and path.exists()
    assert len(written.milliseconds) == 4 and min(written.milliseconds) > 0
    path.unlink()
    from bench.evaluation import ensemble_file

    monkeypatch.setattr(ensemble_file, "ensemble_model", lambda given: given[0].model)
    with pytest.raises(ExportMismatch, match=r"best_ensemble.h5 gives other probabilities than the mean"):
        write_ensemble(path, members, members[0].file.path, stored, np.arange(20))
    assert not path.exists(), "nothing is left of it"
