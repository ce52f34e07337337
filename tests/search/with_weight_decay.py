"""Checks of a package that knows weight decay; run by `test_parameters`, in a copy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bench
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.parameters import TrialConfig
from bench.search.space import parse_space
from bench.stats.metrics import METRICS
from bench.train.job import TrainingJob
from bench.train.trainer import Trainer

PLAIN = TrialConfig("toy", "none", 1, 1e-2, 0.1, batch_size=8)
DECAYED = TrialConfig("toy", "none", 1, 1e-2, 0.1, batch_size=8, weight_decay=5.0)  # type: ignore[call-arg]


def test_the_package_is_the_copy() -> None:
    assert Path(bench.__file__).parents[1] == Path.cwd()


def test_a_space_can_choose_it() -> None:
    space = parse_space("decays", "parameters: {weight_decay: {low: 1e-5, high: 0.1, log: true}}")
    assert (space["weight_decay"].low, space["weight_decay"].high, space["weight_decay"].log) == (1e-5, 0.1, True)
    assert parse_space("plain", "parameters: {}")["weight_decay"].choices == (0.0,)


def test_what_leaves_it_at_its_default_keeps_its_key() -> None:
    assert TrialConfig("vgg16", "light", 2, 1e-3, 0.05, 0.5, 0.1, 16).key == "48a6a4956a007401796389b6"
    assert DECAYED.key != PLAIN.key


@pytest.mark.parametrize("config", [PLAIN, DECAYED], ids=["plain", "decayed"])
def test_it_is_written_and_read(config: TrialConfig, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    scores = dict.fromkeys(METRICS, 0.7)
    TrialLog.load(run).add(TrialRecord(0, "completed", "", "sampled", config, scores, 1, 1, 1.0, 1.0), [])
    assert [record.config for record in TrialLog.load(run).records] == [config]
    table = pd.read_csv(run.trials)
    table.drop(columns="config_weight_decay").to_csv(run.trials, index=False)  # as an earlier version has written it
    assert [record.config for record in TrialLog.load(run).records] == [PLAIN]


def test_it_changes_what_is_trained(make_task: Callable[..., Any], tmp_path: Path) -> None:
    def losses(config: TrialConfig) -> list[float]:
        return [record.metrics["log_loss"] for record in trainer.run(config).epochs]

    trainer = Trainer(make_task())
    plain = losses(PLAIN)
    assert losses(DECAYED) != pytest.approx(plain, abs=1e-3)
    assert losses(PLAIN) == pytest.approx(plain, abs=1e-6)
    retrained = [
        [record.metrics["log_loss"] for record in trainer.train(TrainingJob(config, 0, 2)).epochs]
        for config in (PLAIN, DECAYED)
    ]
    assert retrained[0] != pytest.approx(retrained[1], abs=1e-3)
