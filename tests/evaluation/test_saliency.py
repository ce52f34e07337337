"""Maps of where a model looks, and the check of them."""

import json

import numpy as np
import pytest
from toys import SIZE, build_toy, toy_backbone

from bench.evaluation import saliency as maps
from bench.evaluation.network import Network, shuffle_weights
from bench.evaluation.saliency import CAM, GRID, OCCLUSION, class_activation_maps, occlusion_maps
from bench.stats.predictions import Predictions

CLASSES = ("A", "B", "C")


def saliency(model_file, images, scores, labels, names, classes, seed=0):
    predictions = Predictions(labels, scores, np.arange(len(labels)), classes)
    content, arrays = maps.saliency(model_file, images, predictions, names, seed)
    return content.content(), arrays


def choose_cases(labels, scores, each=4, same=None):
    return maps.choose_cases(Predictions(labels, scores, np.arange(len(labels))), each, same)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """``export(size, channels, n_classes)`` -> an exported toy whose head has something to say."""
    from bench.models.assemble import full_model

    made = {}

    def exported(size=SIZE, channels=1, n_classes=3):
        key = (size, channels, n_classes)
        if key not in made:
            import keras

            keras.utils.set_random_seed(0)
            network = build_toy(input_shape=(size, size, 3))
            rng = np.random.default_rng(1)
            model = full_model(
                toy_backbone(),
                network,
                size,
                channels,
                n_classes,
                (rng.normal(0, 0.1, 16).astype(np.float32), rng.uniform(1e-4, 0.5, 16).astype(np.float32)),
                0.3,
            )
            head = model.get_layer("probabilities")
            head.set_weights([rng.normal(0, 0.3, (16, n_classes)), rng.normal(0, 0.5, n_classes)])
            made[key] = tmp_path_factory.mktemp("model") / "toy.h5"
            model.save(made[key])
        return made[key]

    return exported


def noise(n_images=3, size=SIZE, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n_images, size, size, channels), dtype=np.uint8)


@pytest.mark.parametrize(("channels", "n_classes"), [(1, 2), (3, 3)])
def test_the_mean_of_a_class_map_and_the_bias_are_the_logit(export, channels, n_classes):
    import keras

    network = Network.load(export(channels=channels, n_classes=n_classes))
    images = noise(channels=channels)
    maps = network.class_maps(images)
    assert maps.shape == (3, 4, 4, n_classes)
    logits_of = keras.Model(network.model.input, network.model.get_layer("probabilities").input)
    kernel, bias = network.model.get_layer("probabilities").get_weights()
    expected = logits_of.predict_on_batch(images.astype(np.float32)) @ kernel + bias
    logits = maps.mean(axis=(1, 2)) + network.bias
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert np.ptp(logits) > 0.1, "the head has something to say"
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = network.model.predict_on_batch(images.astype(np.float32))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-5)


def test_the_shown_map_is_the_class_against_the_mean_of_the_others(export):
    network, images = Network.load(export()), noise()
    maps = network.class_maps(images)
    shown = class_activation_maps(network, images, np.array([0, 2, 1]))
    np.testing.assert_allclose(shown[1], maps[1, ..., 2] - maps[1, ..., :2].mean(axis=-1))


def test_log_odds_agree_with_the_probabilities_with_and_without_a_pooled_head(export):
    network, images = Network.load(export()), noise(5)
    chosen = network.model.predict_on_batch(images.astype(np.float32))[:, 1].astype(float)
    expected = np.log(chosen / (1 - chosen))
    np.testing.assert_allclose(network.log_odds(images, 1), expected, atol=1e-3)
    np.testing.assert_allclose(Network(network.model).log_odds(images, 1), expected, atol=1e-6)


def test_occlusion_finds_what_the_model_looks_at():
    class Corner:
        """A model for which the brightness of the lower left corner decides."""

        def log_odds(self, images, target):
            corner = images[:, 24:, :8].astype(float).mean(axis=(1, 2, 3)) / 50
            return corner if target == 1 else -corner

    image = np.full((1, 32, 32, 1), 40, np.uint8)
    image[0, 24:, :8] = 240
    for_it, against = (occlusion_maps(Corner(), image, np.array([target]))[0] for target in (1, 0))
    assert for_it.shape == (GRID, GRID)
    assert np.unravel_index(for_it.argmax(), for_it.shape) in ((4, 0), (4, 1), (5, 0), (5, 1))
    assert (for_it[:4] == 0).all() and (for_it[:, 2:] == 0).all()
    np.testing.assert_allclose(against, -for_it)


@pytest.mark.parametrize(("size", "method"), [(SIZE, CAM), (24, OCCLUSION)])
def test_files_of_a_run(export, size, method):
    images = noise(4, size)
    model_file = export(size)
    before = model_file.read_bytes()
    scores = Network.load(model_file).model.predict_on_batch(images.astype(np.float32))
    labels = np.array([0, 1, 2, int(scores[3].argmax())])
    names = [f"{number}.png" for number in range(4)]
    content, arrays = saliency(model_file, images, scores, labels, names, CLASSES, seed=3)
    assert content["method"] == method
    assert ("3 × 3 positions" if method == OCCLUSION else "exact") in content["why"]
    assert "by turns from each class" in content["why"]
    assert "explain nothing by themselves" in content["sentence"]
    np.testing.assert_array_equal(arrays["images"], images)
    for name in ("maps", "randomised"):
        assert (arrays[name].shape, arrays[name].dtype) == ((4, size, size), np.float32)
        assert arrays[name].min() >= 0 and arrays[name].max() <= 1
        assert (np.ptp(arrays[name], axis=(1, 2)) > 0.5).all()
    assert np.abs(arrays["maps"] - arrays["randomised"]).max() > 0.1
    json.dumps(content, allow_nan=False)
    for index, item in enumerate(content["items"]):
        predicted = int(scores[index].argmax())
        assert (item["image"], item["label"], item["predicted"]) == (
            names[index],
            CLASSES[labels[index]],
            CLASSES[predicted],
        )
        assert item["probability"] == pytest.approx(float(scores[index, predicted]))
        assert item["correct"] == (predicted == labels[index])
        assert -1 <= item["correlation"] <= 1
    mean = np.mean([item["correlation"] for item in content["items"]])
    assert content["randomisation"]["mean_correlation"] == pytest.approx(mean)
    assert f"{mean:.2f}".replace("-", "−") in content["randomisation"]["sentence"]
    again = saliency(model_file, images, scores, labels, names, CLASSES, seed=3)[1]
    np.testing.assert_array_equal(again["randomised"], arrays["randomised"])
    other = saliency(model_file, images, scores, labels, names, CLASSES, seed=4)[1]
    np.testing.assert_array_equal(other["maps"], arrays["maps"])
    assert (other["randomised"] != arrays["randomised"]).any()
    assert model_file.read_bytes() == before


def test_shuffling_keeps_the_values_and_the_early_layers(export):
    import keras

    model, untouched = (keras.models.load_model(export(), compile=False) for _ in range(2))
    assert shuffle_weights(model, 0) == (3, 6), "five convolutions and the head"
    changed = {}
    for before, after in zip(untouched.weights, model.weights, strict=True):
        before, after = np.asarray(before), np.asarray(after)
        np.testing.assert_array_equal(np.sort(before.ravel()), np.sort(after.ravel()))
        changed[len(changed)] = (before != after).any()
    names = [weight.path for weight in model.weights]
    moved = [name for name, has in zip(names, changed.values(), strict=True) if has]
    assert len(moved) == 3 and all("kernel" in name for name in moved)
    assert not any("conv1" in name or "preprocessing" in name for name in moved)


def test_a_model_that_looks_nowhere_gets_no_correlation(export, tmp_path):
    import keras

    model = keras.models.load_model(export(), compile=False)
    head = model.get_layer("probabilities")
    head.set_weights([np.zeros((16, 3)), np.array([1.0, 0.0, 0.0])])
    model.save(tmp_path / "blind.h5")
    images = noise(2)
    scores = np.array([[0.6, 0.2, 0.2]] * 2)
    content, arrays = saliency(tmp_path / "blind.h5", images, scores, np.array([0, 1]), ["a", "b"], CLASSES)
    assert [item["correlation"] for item in content["items"]] == [None, None]
    assert content["randomisation"]["mean_correlation"] is None
    assert "could not be made" in content["randomisation"]["sentence"]
    assert (arrays["maps"] == 0).all()
    json.dumps(content, allow_nan=False)


def test_no_cases_are_no_maps(export):
    content, arrays = saliency(export(), noise(0), np.zeros((0, 3)), np.zeros(0, dtype=int), [], CLASSES)
    assert content["items"] == [] and content["randomisation"]["mean_correlation"] is None
    assert arrays["maps"].shape == (0, SIZE, SIZE)


def test_another_head_is_looked_at_by_occlusion(tmp_path):
    import keras

    inputs = keras.Input((SIZE, SIZE, 1))
    values = keras.layers.Flatten()(keras.layers.Conv2D(2, 3, 4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(values))
    model.save(tmp_path / "flat.h5")
    images = noise(1)
    content, _ = saliency(tmp_path / "flat.h5", images, np.array([[0.4, 0.6]]), np.array([1]), ["a"], CLASSES[:2])
    assert content["method"] == OCCLUSION and "would not be exact" in content["why"]


def test_cases_are_the_most_confident_by_turns_from_each_class():
    y_true = np.array([0, 0, 0, 1, 0, 1, 1, 0])
    positive = np.array([0.1, 0.2, 0.3, 0.6, 0.7, 0.1, 0.4, 0.9])
    chosen = choose_cases(y_true, np.column_stack([1 - positive, positive]), each=3)
    assert chosen.tolist() == [0, 3, 1, 7, 5, 4]
    same = np.array(["a", "a", "a", "b", "c", "d", "d", "e"])
    different = choose_cases(y_true, np.column_stack([1 - positive, positive]), each=3, same=same)
    assert different.tolist() == [0, 3, 7, 5, 4], "of identical images the surest"
    flawless = choose_cases(y_true, np.eye(2)[y_true], each=2)
    assert flawless.tolist() == [0, 3]
    assert choose_cases(y_true[:0], np.zeros((0, 2))).shape == (0,)


@pytest.mark.thorough
@pytest.mark.backbones
def test_a_real_backbone_is_taken_apart_exactly(tmp_path):
    from bench.models.assemble import full_model
    from bench.models.backbones import get_backbone

    backbone = get_backbone("resnet50")
    network = backbone.build(weights=None, input_shape=(128, 128, 3))
    standard = np.zeros(2048, np.float32), np.full(2048, 0.05, np.float32)
    model = full_model(backbone, network, 128, 1, 2, standard, 0.0)
    model.save(tmp_path / "real.h5")
    images = noise(2, 128)
    found = Network.load(tmp_path / "real.h5")
    assert found.last_stage == (4, 4)
    logits = found.class_maps(images).mean(axis=(1, 2)) + found.bias
    probabilities = model.predict_on_batch(images.astype(np.float32))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(powers / powers.sum(axis=1, keepdims=True), probabilities, atol=1e-4)
    content, _ = saliency(tmp_path / "real.h5", images, probabilities, np.array([0, 1]), ["a", "b"], CLASSES[:2])
    assert content["method"] == CAM
    assert all(item["correlation"] is not None for item in content["items"])
