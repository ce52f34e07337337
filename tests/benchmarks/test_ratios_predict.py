"""A pair: `predict` on a folder of JPEGs beside bare ``model.predict`` on the decoded arrays; and its first row.

What must hold: a ratio of at most 1.18, which is 0.85 of the rate, and a first row within 6 s of the start.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import toys
from PIL import Image

from bench.models.assemble import full_model
from bench.models.backbones import BACKBONES, get_backbone
from bench.models.metadata import write_with_card
from bench.models.weights import load_backbone
from bench.reuse.model import load_model
from bench.run.documents import ModelCard, ModelInput
from bench.run.folder import RunDir, file_sha256, write_json

SIDE, HEIGHT, WIDTH = 224, 1000, 1400  # of the network, and of chest X-rays as they are published
IMAGES = 160


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> RunDir:
    """A run with an untrained VGG16, and its folder of JPEGs beside it."""
    toy = request.config.getoption("toy", False)
    backbone, side = (toys.toy_backbone(), toys.SIZE) if toy else (get_backbone("vgg16"), SIDE)
    assert toy or backbone is BACKBONES["vgg16"]
    run = RunDir(tmp_path_factory.mktemp("reports") / "xray")
    write_json(run.run, {"name": "xray", "settings": {"cache": str(run.path / "cache")}})
    features = backbone.stages[-1].channels
    standard = np.zeros(features, np.float32), np.ones(features, np.float32)
    full_model(backbone, load_backbone(backbone, side, None), side, 1, 2, standard, 0.0).save(run.path / "trained.h5")
    card = ModelCard(classes=("a", "b"), input=ModelInput(height=side, width=side, channels=1))
    write_with_card(run.path / "trained.h5", run.best_model, card)
    write_json(run.best_model_card, card.model_copy(update={"sha256": file_sha256(run.best_model)}))
    rng = np.random.default_rng(0)
    (run.path / "scans").mkdir()
    for number in range(8 if toy else IMAGES):
        coarse = Image.fromarray(rng.integers(0, 256, (100, 140), dtype=np.uint8))
        coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(run.path / "scans" / f"{number:03d}.jpeg")
    return run


def test_ratios_predict_a_folder(run: RunDir, pair: Callable[..., None], sizes: Any) -> None:
    model = load_model(run.path)
    images, _ = model.read(sorted((run.path / "scans").iterdir()))
    pixels = images.astype(np.float32)
    bare = keras.models.load_model(run.best_model, compile=False)
    pair(
        "predict a folder of JPEGs, vgg16",
        lambda: _done(model.predict(run.path / "scans")),
        lambda: _done(bare.predict(pixels, batch_size=32, verbose=0)),
        against="bare predict on decoded arrays",
        rounds=sizes.slow_rounds,
    )


def _done(found: object) -> None:
    assert found is not None


@pytest.mark.benchmark(group="seconds from the start of predict to its first row")
def test_first_row(run: RunDir, benchmark: Any) -> None:
    def first_row() -> float:
        command = [sys.executable, "-m", "bench", "predict", str(run.path), str(run.path / "scans")]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=Path.cwd())
        assert process.stdout is not None
        process.stdout.readline(), process.stdout.readline()
        taken = time.perf_counter() - started
        process.kill()
        process.communicate()
        return taken

    benchmark.extra_info["seconds"] = benchmark.pedantic(first_row, rounds=3)
