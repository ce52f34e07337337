"""An exported file is loaded by plain Keras in a process of its own, and what differs there is said."""

from pathlib import Path

import numpy as np
import pytest
from toys import SIZE, build_toy, toy_backbone

from bench.models.export import ExportMismatch, computing_in, fresh_process, predict_images, predict_rows


def test_a_fresh_process_predicts_the_same_or_the_file_is_refused(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    model.save(file := tmp_path / "model.h5")
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 1)).astype(np.uint8)
    expected = predict_images(model, images)
    with fresh_process(file, images) as compare:
        assert compare(expected) < 1e-6
    with (
        fresh_process(file, images) as compare,
        pytest.raises(ExportMismatch, match="predicts other probabilities in a fresh process: they differ by up to"),
    ):
        compare(expected[:, ::-1])
    file.write_bytes(file.read_bytes()[:500])
    with (
        fresh_process(file, images) as compare,
        pytest.raises(ExportMismatch, match="does not load with plain Keras in a fresh process: "),
    ):
        compare(expected)


def test_all_batches_are_of_one_shape_and_filled_up_without_a_trace() -> None:
    import keras

    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    seen: list[int] = []
    predict = model.predict_on_batch
    model.predict_on_batch = lambda values: seen.append(len(values)) or predict(values)
    images = np.random.default_rng(0).integers(0, 255, (130, 8, 8, 1)).astype(np.uint8)
    found = predict_rows(model, images, np.arange(129)[::-1])
    assert seen == [43, 43, 43]
    np.testing.assert_allclose(found[::-1], predict(images[:129].astype(np.float32)), rtol=1e-5)
    seen.clear()
    assert len(predict_images(model, images[:127])) == 127 and seen == [64, 64]


def test_a_copy_in_bfloat16_predicts_nearly_the_same_with_its_head_in_float32() -> None:
    from bench.models.assemble import full_model

    network = build_toy()
    standard = np.linspace(0.1, 0.5, 16, dtype=np.float32), np.full(16, 0.04, np.float32)  # not what a new layer has
    model = full_model(toy_backbone(), network, SIZE, 1, 2, standard, 0.0)
    images = np.random.default_rng(0).integers(0, 255, (9, SIZE, SIZE, 1)).astype(np.uint8)
    fast = computing_in(model, "bfloat16")
    assert fast.get_layer("conv3").compute_dtype == "bfloat16"
    assert {fast.get_layer(name).compute_dtype for name in ("preprocessing", "pool", "probabilities")} == {"float32"}
    difference = np.abs(predict_images(fast, images) - predict_images(model, images)).max()
    assert 0 < difference < 0.02
    assert computing_in(model, "float32") is model
