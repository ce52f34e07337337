"""Parts of a run that have no plain way beside them; those that have one are in the files called test_ratios."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench.data.sources import demo
from bench.train.features import StoredFeatures
from bench.train.loop import predict
from bench.train.trainer import Trainer
from bench.trial import TrialConfig


@pytest.mark.benchmark(group="draw the demo data")
def test_demo(benchmark: Any) -> None:
    assert len(benchmark.pedantic(demo.draw, rounds=3).labels) == 480


@pytest.mark.benchmark(group="trial of 4 epochs on a toy backbone")
@pytest.mark.parametrize("depth", [0, 2])
def test_warm_trial(benchmark: Any, make_task: Callable[..., Any], depth: int) -> None:
    trainer = Trainer(make_task(epochs=4))
    config = TrialConfig("toy", "none", depth, 1e-2, 0.1 if depth else None, batch_size=8)
    trainer.run(config)
    assert benchmark.pedantic(trainer.run, args=(config,), rounds=5).metrics["auc"] > 0.4


@pytest.mark.benchmark(group="predict 1,000 pooled features")
def test_predict(benchmark: Any) -> None:
    from bench.models.assemble import trial_head

    head = trial_head(512, 2)
    features = StoredFeatures(np.zeros((1000, 512), np.float32))
    predict(head, features)
    assert benchmark(predict, head, features).shape == (1000, 2)
