"""A toy network as a run exports it, with a card beside it: what is tested on it takes seconds."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from toys import SIZE, build_toy, toy_backbone

from bench.run.documents import ModelCard, ModelInput, Threshold
from bench.run.folder import file_sha256, write_json
from bench.stats.calibration import CalibrationMap

CLASSES = ("NORMAL", "PNEUMONIA")
SURE = 0.99
"""A threshold that no image reaches: whatever the probability, NORMAL is called."""


def write_model(folder: Path, size: int = SIZE, threshold: float = SURE) -> Path:
    """``best_model.h5`` and ``best_model.json`` of a two-class model of grey images; returns the former."""
    from bench.models.assemble import full_model

    rng = np.random.default_rng(1)
    standard = rng.normal(0, 0.1, 16).astype(np.float32), rng.uniform(1e-4, 0.5, 16).astype(np.float32)
    model: Any = full_model(toy_backbone(), build_toy(input_shape=(size, size, 3)), size, 1, 2, standard, 0.3)
    model.get_layer("probabilities").set_weights([rng.normal(0, 0.3, (16, 2)), np.array([0.0, 0.5])])
    folder.mkdir(parents=True, exist_ok=True)
    model.save(path := folder / "best_model.h5")
    card = ModelCard(
        file=path.name,
        sha256=file_sha256(path),
        classes=CLASSES,
        input=ModelInput(height=size, width=size, channels=1),
        threshold=Threshold(label="PNEUMONIA", value=threshold, rule="Youden's index"),
        calibration=CalibrationMap.of_temperature(2.0),
        suite_version="0.1.0",
    )
    write_json(folder / "best_model.json", card)
    return path


def write_images(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """Grey images of 40 pixels, no two alike."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(rng.integers(0, 256, (40, 40), dtype=np.uint8)).save(folder / name, format="PNG")
    return [folder / name for name in names]
