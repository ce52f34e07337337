"""An exported file is loaded by plain Keras in a process of its own, and what differs there is said."""

from pathlib import Path

import numpy as np
import pytest

from bench.models.export import ExportMismatch, check_in_fresh_process, predict_images


def test_a_fresh_process_predicts_the_same_or_the_file_is_refused(tmp_path: Path) -> None:
    import keras

    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2, activation="softmax")]
    model = keras.Sequential(layers)
    model.save(file := tmp_path / "model.h5")
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 8, 1)).astype(np.uint8)
    expected = predict_images(model, images)
    assert check_in_fresh_process(file, images, expected) < 1e-6
    with pytest.raises(ExportMismatch, match="predicts other probabilities in a fresh process: they differ by up to"):
        check_in_fresh_process(file, images, expected[:, ::-1])
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ExportMismatch, match="does not load with plain Keras in a fresh process: "):
        check_in_fresh_process(file, images, expected)
