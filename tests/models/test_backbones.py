"""The three real backbones: cuts, preprocessing, weights and export. Few tests, each worth its seconds."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contributing import run_checks, with_diff

from bench.errors import ConfigError
from bench.models.backbones import BACKBONES, CAFFE, TF, TORCH, boundary_cut, cut_layer, get_backbone
from bench.trial import N_STAGES

SIZE = 96
REAL = list(BACKBONES.values())


def test_an_unknown_backbone_is_told_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=rf"'vgg19'.*{', '.join(BACKBONES)}"):
        get_backbone("vgg19")


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


@pytest.mark.parametrize("backbone", REAL, ids=lambda backbone: backbone.name)
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

    from bench.models.assemble import freeze_prefix, full_model, prefix_model, suffix_model, trial_head

    keras.utils.set_random_seed(0)
    network = backbone.build(weights=None, input_shape=(SIZE, SIZE, 3))
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 1)).astype("float32")
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
    """DenseNet121 by the diff that CONTRIBUTING.md shows passes this file's own checks."""
    copy = with_diff("A further backbone", tmp_path)
    run_checks(copy, Path(__file__), "-k", "densenet121", least=2)
