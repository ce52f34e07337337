"""The small CNN: what it is made of, that it learns from nothing, and that its file is whole."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.models import small_cnn
from bench.stats.metrics import evaluate
from bench.train.features import StoredFeatures
from bench.train.job import small_cnn_job
from bench.train.loop import predict
from bench.train.task import Precision
from bench.train.trainer import Trainer


@pytest.mark.parametrize(("size", "channels", "n_classes"), [(96, 3, 2), (96, 1, 3), (28, 1, 2), (33, 3, 4)])
def test_its_size_and_what_it_takes(size: int, channels: int, n_classes: int) -> None:
    import keras

    model = small_cnn.small_cnn(size, channels, n_classes, seed=0)
    assert model.count_params() == small_cnn.count_parameters(channels, n_classes)
    assert model.count_params() == pytest.approx(93_500, abs=500)
    images = np.random.default_rng(0).integers(0, 256, (3, size, size, channels)).astype("float32")
    probabilities = np.asarray(model(images, training=False))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    rescaled = np.asarray(keras.Model(model.input, model.get_layer("rescale").output)(images))
    assert -1 <= rescaled.min() < rescaled.max() <= 1
    assert all(layer.__class__.__module__.startswith("keras.") for layer in model.layers)


def test_the_seed_decides_the_first_weights() -> None:
    first, again, other = (small_cnn.small_cnn(32, 1, 2, seed).get_weights()[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_it_learns_the_toy_classes_and_is_saved_at_its_best_epoch(
    make_task: Callable[..., Any], tmp_path: Path
) -> None:
    import keras

    task = make_task(precision={"toy": Precision("bfloat16", "bfloat16")})
    file = tmp_path / "models" / "small_cnn-1.h5"
    result = Trainer(task).train(small_cnn_job("toy", "light", 4, task.epochs, model_file=file))
    assert result.metrics["auc"] > 0.9
    assert len(result.epochs) > task.epochs  # it has more of them than a fine-tuned network
    assert result.metrics["auc"] == max(record.metrics["auc"] for record in result.epochs)
    assert [path.name for path in file.parent.iterdir()] == [file.name]

    model = keras.models.load_model(file)
    assert not [layer for layer in model.layers if "Random" in type(layer).__name__]
    assert {layer.dtype_policy.name for layer in model.layers} == {"float32"}
    statistics = model.get_layer("bn1").get_weights()[2]
    assert np.abs(statistics).max() > 1e-3  # its batch normalisation has followed the images
    images = task.images["toy"].open()[task.rows["val"]].astype("float32")
    found = evaluate(task.labels["val"], predict(model, StoredFeatures(images)))
    assert found == pytest.approx(result.metrics, abs=1e-5)


def test_the_same_seed_gives_the_same_network_whatever_ran_before(
    make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_cnn, "EPOCHS", 1)
    task = make_task(epochs=2)
    trainer = Trainer(task)
    first, again, other = (trainer.train(small_cnn_job("toy", "none", seed, 2)) for seed in (1, 1, 2))
    losses = [[record.loss for record in result.epochs] for result in (first, again, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][0] != pytest.approx(losses[2][0], rel=1e-4)
