"""The real backbones: cuts, preprocessing, weights and export. Few tests, each worth its seconds."""

import re
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from contributing import run_checks, with_diff

from bench.errors import ConfigError
from bench.models.backbones import (
    BACKBONES,
    CAFFE,
    DEFAULT,
    TF,
    TORCH,
    application,
    boundary_cut,
    cut_layer,
    flat_application,
    get_backbone,
)
from bench.models.weights import load_backbone
from bench.settings import RunSettings
from bench.trial import N_STAGES

ROOT = Path(__file__).parents[2]
SIZE = 96
ALIKE = "MobileNetV3Large"
"""Through this network, when it is new, all images look alike."""
REAL = list(BACKBONES.values())
FLAT = [backbone for backbone in REAL if backbone.build.func is flat_application]
KERAS = [backbone for backbone in REAL if backbone.build.func is application]


def test_an_unknown_backbone_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=rf"'vgg19'.*{', '.join(BACKBONES)}"):
        get_backbone("vgg19")


def test_the_default_backbones_are_the_first_of_the_table() -> None:
    assert tuple(BACKBONES)[:3] == DEFAULT


def test_help_and_docs_name_every_backbone() -> None:
    told = RunSettings.model_fields["backbones"].description or ""
    pages = {name: (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in ("search", "troubleshooting")}
    for backbone in REAL:
        assert backbone.name in told
        assert f"`{backbone.name}`" in pages["search"]
        assert f"| {backbone.title} | `" in pages["troubleshooting"]
        assert f"/{backbone.weights_file}`" in pages["troubleshooting"]


@pytest.mark.parametrize("backbone", REAL, ids=lambda backbone: backbone.name)
def test_the_weights_are_called_as_keras_calls_them(backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    class Asked(Exception):
        pass

    def get_file(name: str, *_: Any, **__: Any) -> None:
        raise Asked(name)

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(Asked, match=f"^{re.escape(backbone.weights_file)}$"):
        backbone.build(weights="imagenet", input_shape=(backbone.minimum_size, backbone.minimum_size, 3))


def test_depth_counts_stages_from_the_output() -> None:
    vgg = BACKBONES["vgg16"]
    assert [boundary_cut(vgg, depth) for depth in range(6)] == [
        "block5_pool",
        "block4_pool",
        "block3_pool",
        "block2_pool",
        "block1_pool",
        None,
    ]
    with pytest.raises(ConfigError, match="0 to 5"):
        boundary_cut(vgg, 6)


@pytest.mark.parametrize(("preprocessing", "mode"), [(CAFFE, "caffe"), (TF, "tf"), (TORCH, "torch")])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_preprocessing_layer_is_keras_own_preprocessing(preprocessing: Any, mode: str, channels: int) -> None:
    from keras.applications.imagenet_utils import preprocess_input

    from bench.models.assemble import preprocessing_layer

    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, channels)).astype("float32")
    expected = preprocess_input(np.repeat(images, 3 // channels, axis=-1).copy(), mode=mode)
    found = np.asarray(preprocessing_layer(preprocessing, channels)(images))
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.mark.parametrize("backbone", KERAS, ids=lambda backbone: backbone.name)
def test_a_backbone_is_preprocessed_as_its_own_module_says(backbone: Any) -> None:
    from keras import applications

    from bench.models.assemble import preprocessing_layer

    (name,) = backbone.build.args
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("float32")
    expected = sys.modules[getattr(applications, name).__module__].preprocess_input(images.copy())
    found = np.asarray(preprocessing_layer(backbone.preprocessing, 3)(images))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.backbones
@pytest.mark.parametrize("backbone", REAL, ids=lambda backbone: backbone.name)
def test_prefix_then_suffix_is_the_whole_network_and_the_file_predicts_the_same(backbone: Any, tmp_path: Path) -> None:
    import keras

    from bench.models.assemble import (
        freeze_prefix,
        full_model,
        prefix_model,
        preprocessing_layer,
        suffix_model,
        trial_head,
    )

    keras.utils.set_random_seed(0)
    network = backbone.build(weights=None, input_shape=(SIZE, SIZE, 3))
    images = _images(3, SIZE, 1)
    if network.name == ALIKE:
        _as_trained(network, preprocessing_layer(backbone.preprocessing, 1)(images))
    depths = tuple(range(N_STAGES))
    outputs = [np.asarray(o) for o in prefix_model(backbone, network, SIZE, 1, depths)(images, training=False)]
    for depth, output in zip(depths[1:], outputs[1:], strict=True):
        stage = backbone.stages[N_STAGES - depth - 1]
        assert output.shape[-1] == stage.channels
        assert output.shape[1] <= -(-SIZE // stage.stride)  # boundary_bytes is an upper bound
    standard = outputs[0].mean(axis=0), outputs[0].var(axis=0) + 1e-12
    model = full_model(backbone, network, SIZE, 1, 2, standard, dropout=0.3)
    whole = model.predict_on_batch(images)
    assert np.ptp(whole[:, 0]) > 1e-3  # the images do not all look alike to it
    for depth in range(1, 6):
        head = trial_head(backbone.n_features, 2)
        head.get_layer("standardise").reset(standard)
        head.get_layer("probabilities").set_weights(model.get_layer("probabilities").get_weights())
        suffix = suffix_model(backbone, network, SIZE, 1, depth, head)
        given = images if depth == 5 else outputs[depth]
        np.testing.assert_allclose(suffix(given, training=False), whole, atol=1e-5)
        if depth < 5:
            halved = given.astype(np.float16).astype(np.float32)
            np.testing.assert_allclose(suffix(halved, training=False), whole, atol=2e-2)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    inside = cut_layer(model, str(boundary_cut(backbone, 1))).output
    np.testing.assert_allclose(keras.Model(model.input, inside)(images, training=False), outputs[1], atol=1e-5)
    freeze_prefix(backbone, model, 1)
    trainable = {id(variable) for variable in model.trainable_variables}
    frozen = keras.Model(model.input, inside)
    assert trainable
    assert not trainable & {id(variable) for variable in frozen.variables}
    model.save(tmp_path / "model.h5")
    again = keras.models.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(again.predict_on_batch(images), whole, atol=1e-6)


def _images(count: int, size: int, channels: int) -> Any:
    """Noise of different brightness, 0 to 255."""
    noise = np.random.default_rng(0).integers(0, 256, (count, size, size, channels))
    return (noise * np.linspace(0.3, 1, count)[:, None, None, None]).astype("float32")


def _as_trained(network: Any, images: Any) -> None:
    """Give ``network`` weights as training leaves them: no scale is 1, and batch normalisation knows ``images``.

    A new ConvNeXt scales each block by 1e-6. The statistics of `ALIKE` are those of ``images`` alone; elsewhere that
    would divide by the spread of few positions, and show what rounding did.
    """
    import keras

    rng = np.random.default_rng(0)
    for variable in network.weights:
        if variable.path.endswith(("/gamma", "layer_scale/variable", "layer_scale/kernel")):
            variable.assign(np.exp(rng.normal(0, 0.1, variable.shape)))
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0 if network.name == ALIKE else 0.1
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers):
        network(images, training=True)


def _as_published(model: Any, file: Path) -> Path:
    """Save the weights of ``model`` as Keras's own files have them: without its configuration, by layer, in order."""
    model.save(file)
    with h5py.File(file, "a") as opened:
        opened.attrs.update(opened["model_weights"].attrs)
        for layer in opened["model_weights"]:
            opened.copy(opened["model_weights"][layer], layer)
        del opened["model_weights"], opened.attrs["model_config"]
    return file


@pytest.mark.backbones
@pytest.mark.parametrize("backbone", REAL[::-1], ids=lambda backbone: backbone.name)
def test_images_give_kerass_own_features_from_kerass_own_file_and_so_does_the_exported_one(
    backbone: Any, tmp_path: Path
) -> None:
    """The networks of `FLAT` preprocess images themselves in Keras, and have a layer for that in front here."""
    import keras

    from bench.models.assemble import full_model, prefix_model

    keras.utils.set_random_seed(0)
    size = max(backbone.minimum_size, 64)
    (name,) = backbone.build.args
    published = application(name, weights=None, input_shape=(size, size, 3))
    images = _images(3, size, 3)
    own = sys.modules[getattr(keras.applications, name).__module__].preprocess_input(images.copy())
    _as_trained(published, own)
    features = np.asarray(published(own, training=False)).mean(axis=(1, 2))
    network = load_backbone(backbone, size, _as_published(published, tmp_path / "notop.h5"))
    found = np.asarray(prefix_model(backbone, network, size, 3, (0,))(images, training=False))
    assert np.ptp(features, axis=0).max() > 0.05 * np.abs(features).max(), "the images do not look alike to it"
    np.testing.assert_allclose(found, features, atol=1e-4 * np.abs(features).max())
    standard = np.zeros(backbone.n_features, np.float32), np.ones(backbone.n_features, np.float32)
    full_model(backbone, network, size, 3, 2, standard, 0.3).save(tmp_path / "model.h5")
    again = keras.models.load_model(tmp_path / "model.h5")
    assert all(type(layer).__module__.startswith("keras.src.layers.") for layer in again.layers)
    assert not any(isinstance(layer, keras.Model) for layer in again.layers)
    pooled = keras.Model(again.input, again.get_layer("pool").output)
    np.testing.assert_allclose(pooled(images, training=True), features, atol=1e-4 * np.abs(features).max())


@pytest.mark.backbones
@pytest.mark.parametrize("backbone", FLAT[::-1], ids=lambda backbone: backbone.name)
def test_weights_that_a_flat_network_saved_load_into_it(backbone: Any, tmp_path: Path) -> None:
    network = load_backbone(backbone, 32, None)
    network.save_weights(tmp_path / "own.weights.h5")
    again = load_backbone(backbone, 32, tmp_path / "own.weights.h5")
    for one, other in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_no_layer_can_do_is_refused() -> None:
    import keras

    from bench.models.flat import flat

    images = keras.Input((8, 8, 3))
    with pytest.raises(ValueError, match="but got Subtract"):
        flat(keras.Model(images, keras.layers.ReLU()(images - 1.0)))
    grouped = keras.layers.Conv2D(6, 3, groups=3, name="grouped")
    with pytest.raises(ValueError, match="grouped: one input and one output channel per group are expected"):
        flat(keras.Model(images, grouped(images)))


@pytest.mark.backbones
def test_session_dependent_names_do_not_matter() -> None:
    backbone = BACKBONES["inceptionv3"]
    first = backbone.build(weights=None, input_shape=(75, 75, 3))
    second = backbone.build(weights=None, input_shape=(75, 75, 3))
    for cut in ("max_pooling:1", "max_pooling:2"):
        assert first.layers.index(cut_layer(first, cut)) == second.layers.index(cut_layer(second, cut))
    assert cut_layer(first, "max_pooling:1").output.shape[1] > cut_layer(first, "max_pooling:2").output.shape[1]
    with pytest.raises(ValueError, match="no 'max_pooling:99'"):
        cut_layer(first, "max_pooling:99")


@pytest.mark.thorough
@pytest.mark.backbones
def test_the_row_in_contributing_is_a_whole_backbone(tmp_path: Path) -> None:
    """ResNet50V2 by the diff that CONTRIBUTING.md shows passes this file's own checks."""
    copy = with_diff("A further backbone", tmp_path)
    run_checks(copy, Path(__file__), "-k", "resnet50v2", least=2)
