"""A ten-line backbone and a folder of small images: the plumbing is tested with these in seconds."""

import contextlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.models.backbones import TF, Backbone, Stage

SIZE = 32
RECIPE = {
    "augmentation": "none",
    "unfreeze_depth": 1,
    "learning_rate": 1e-2,
    "finetune_factor": 0.1,
    "dropout": 0.0,
    "label_smoothing": 0.0,
    "batch_size": 8,
}

SPACE = """
parameters:
  backbone: {choices: [toy, toy2]}
  augmentation: {choices: [none, light]}
  unfreeze_depth: {low: 0, high: 2}
  learning_rate: {low: 1e-3, high: 1e-1, log: true}
  finetune_factor: {low: 0.01, high: 0.2, log: true, when: {unfreeze_depth: [1, 2]}}
  dropout: {choices: [0.0, 0.3]}
  batch_size: {choices: [8]}
augmentations:
  none: {}
  light: {rotation: 5, brightness: 0.1}
points:
  - {backbone: toy, augmentation: light, unfreeze_depth: 0, learning_rate: 0.02, dropout: 0.0, batch_size: 8}
"""


def build_toy(weights: str | None = None, input_shape: tuple[int, int, int] = (SIZE, SIZE, 3)) -> Any:
    """Five stages of one convolution each, with batch normalisation, which must stay in inference mode."""
    import keras
    from keras import layers

    values = inputs = keras.Input(input_shape)
    for number, (channels, stride) in enumerate([(8, 2), (8, 2), (12, 2), (12, 1), (16, 1)], start=1):
        values = layers.Conv2D(channels, 3, stride, padding="same", name=f"conv{number}")(values)
        values = layers.BatchNormalization(name=f"bn{number}")(values)
        values = layers.ReLU(name=f"stage{number}")(values)
    model = keras.Model(inputs, values, name="toy_network")
    if weights:
        model.load_weights(weights)
    return model


def overwrite(path: Path, content: bytes) -> None:
    """Write other content into a file whose time of change tells so: clocks of file systems tick in milliseconds."""
    path.write_bytes(content)
    later = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(later, later))


def toy_backbone(name: str = "toy") -> Backbone:
    """A row of the table."""
    return Backbone(
        name=name,
        title=name.capitalize(),
        build=build_toy,
        native_size=SIZE,
        minimum_size=16,
        preprocessing=TF,
        stages=(
            Stage("stage1", 2, 8),
            Stage("stage2", 4, 8),
            Stage("stage3", 8, 12),
            Stage("stage4", 8, 12),
            Stage("stage5", 8, 16),
        ),
        weights_file=f"{name}.weights.h5",
        recipe=RECIPE,
        cost=(0.1, 0.3),
    )


def draw_image(rng: np.random.Generator, positive: bool, size: int = 40) -> Image.Image:
    """Grey noise, with a coarse checkerboard where ``positive``: easy, but not by brightness."""
    pixels = rng.normal(120, 20, (size, size))
    if positive:
        board = np.indices((size, size)).sum(axis=0) // 4 % 2
        pixels += 40 * board - 20
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_folder(root: Path, counts: dict[str, int], seed: int = 0, per_patient: int = 2) -> Path:
    """Images called patient-number in ``root/split/class``, as the public chest X-ray set names them."""
    rng = np.random.default_rng(seed)
    patient = 0
    for split, count in counts.items():
        for name in ("NORMAL", "PNEUMONIA"):
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                patient += number % per_patient == 0
                stem = f"IM-{patient:04d}-{number:04d}" if name == "NORMAL" else f"person{patient}_virus_{number}"
                draw_image(rng, name == "PNEUMONIA").save(folder / f"{stem}.png")
    return root


def jobs_here(workers: Any, jobs: Any, on_death: Any = None, on_begin: Any = None) -> Any:
    """Stands in for `bench.cluster.run_jobs`: all in this process, one after another, the longest first."""
    from bench.cluster import Ended

    for job in sorted(jobs, key=lambda job: -job.cost):
        began = time.time()
        if on_begin:
            on_begin(job, 0)
        try:
            result, error = job.call(), None
        except Exception as raised:
            result, error = None, raised
        yield Ended(job, result, error, 0, began, time.time())


def alone_here(patch: Any) -> None:
    """Have ``patch`` carry out in this process what gets the machine or a process to itself."""
    from bench import cluster
    from bench.evaluation import decide

    patch.setattr(cluster, "run_jobs", jobs_here)
    patch.setattr(decide, "fresh_process", lambda *_: contextlib.nullcontext(lambda expected: 0.0))


def trials_here(search: Any, task: Any, workers: Any, scheduler: str, wanted: int, seconds_left: float) -> str:
    """Stands in for a round of Ray Tune: one trial after another, in this process."""
    from bench import cluster
    from bench.search.searcher import FINISHED

    for number in range(wanted):
        values = search.suggest(f"t{number}")
        if values == FINISHED:
            break
        report: dict[str, Any] = {}
        for iteration, report in enumerate(cluster.train_trial(values, task, 1), start=1):
            report["training_iteration"] = iteration
            if "finished" not in report:
                search.scored(f"t{number}", report)
        search.ended(f"t{number}", report)
    search.close("stopped")
    return str(search.stopped_because)


def blank(picture: Any) -> Any:
    """In place of `bench.report.pictures.picture`: the files are written, but nothing is drawn in them."""
    from matplotlib.figure import Figure

    return lambda folder, name, draw, alt, caption: picture(folder, name, lambda: Figure((1, 1)), alt, caption)
