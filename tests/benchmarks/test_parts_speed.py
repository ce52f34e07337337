"""The parts of a run that every image or every trial passes through, each beside the plain way of doing it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from bench.data import demo
from bench.features import CHUNK, StoredFeatures
from bench.models.augmentation import Augmenter
from bench.search.space import load_space
from bench.training import Batches, Trainer, predict
from bench.trial import TrialConfig
from bench.uncertainty import intervals


@pytest.mark.benchmark(group="draw the demo data")
def test_demo(benchmark: Any) -> None:
    assert len(benchmark.pedantic(demo.draw, rounds=3).labels) == 480


@pytest.mark.benchmark(group="augment 64 images of 96 px")
@pytest.mark.parametrize("name", ["light", "strong"])
def test_augmentation(benchmark: Any, name: str) -> None:
    augment = Augmenter(load_space("default").policies[name], seed=0)
    images = np.random.default_rng(0).integers(0, 256, (CHUNK, 96, 96, 1), dtype=np.uint8)
    assert benchmark(augment, images).shape == images.shape


@pytest.mark.benchmark(group="read an epoch of 1,000 cached maps of 6 x 6 x 512")
def test_batches(benchmark: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "values.npy", np.zeros((1000, 6, 6, 512), np.float16))
    view = StoredFeatures(np.load(tmp_path / "values.npy", mmap_mode="r"))
    batches = Batches([view], np.zeros((1000, 2), np.float32), np.ones(1000, np.float32), 32, seed=0)
    assert len(benchmark(lambda: list(batches.epoch(0)))) == 32


@pytest.mark.benchmark(group="sample 50 configurations")
def test_space(benchmark: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = load_space("default")

    def sample() -> int:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, group=True))
        for _ in range(50):
            trial = study.ask()
            space.suggest(trial)
            study.tell(trial, 0.5)
        return len(study.trials)

    assert benchmark.pedantic(sample, rounds=3) == 50


@pytest.mark.benchmark(group="all metrics with intervals: 652 images, 2,000 draws")
def test_intervals(benchmark: Any) -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 652), rng.dirichlet([1, 1], 652)
    found = benchmark(intervals, labels, scores, np.arange(652) // 2)
    assert found["auc"].low < found["auc"].value < found["auc"].high


@pytest.mark.benchmark(group="trial of 4 epochs on a toy backbone")
@pytest.mark.parametrize("depth", [0, 2])
def test_warm_trial(benchmark: Any, make_task: Callable[..., Any], depth: int) -> None:
    trainer = Trainer(make_task(epochs=4))
    config = TrialConfig("toy", "none", depth, 1e-2, 0.1 if depth else None, batch_size=8)
    trainer.run(config)
    assert benchmark.pedantic(trainer.run, args=(config,), rounds=5).metrics["auc"] > 0.4


@pytest.mark.benchmark(group="VGG16 at 96 px: features of 64 images")
@pytest.mark.parametrize("way", ["prefix", "bare predict"])
def test_prefix(benchmark: Any, way: str) -> None:
    from bench.features import _through
    from bench.models.assemble import prefix_model
    from bench.models.backbones import BACKBONES

    backbone = BACKBONES["vgg16"]
    network = backbone.build(weights=None, input_shape=(96, 96, 3))
    images = np.random.default_rng(0).integers(0, 256, (CHUNK, 96, 96, 3), dtype=np.uint8)
    if way == "prefix":
        prefix = prefix_model(backbone, network, 96, 3, (0, 1, 2))
        _through(prefix, images)
        benchmark.pedantic(_through, args=(prefix, images), rounds=5)
    else:
        network.predict_on_batch(images)
        benchmark.pedantic(network.predict_on_batch, args=(images,), rounds=5)


@pytest.mark.benchmark(group="predict 1,000 pooled features")
def test_predict(benchmark: Any) -> None:
    from bench.models.assemble import trial_head

    head = trial_head(512, 2, np.zeros(512, np.float32), np.ones(512, np.float32))
    features = StoredFeatures(np.zeros((1000, 512), np.float32))
    predict(head, features)
    assert benchmark(predict, head, features).shape == (1000, 2)
