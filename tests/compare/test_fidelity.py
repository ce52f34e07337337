"""Cached against fresh: the statistics by hand, and a small study on toys that stops and goes on."""

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from scipy import stats
from toys import SPACE

from bench import cli
from bench.compare.fidelity import cached_vs_fresh
from bench.compare.fidelity.agreement import agreement
from bench.errors import ConfigError, TrialFailed
from bench.run.folder import held
from bench.search.space import parse_space


@pytest.mark.usefixtures("toy_table")
def test_the_same_seed_draws_the_same_configurations() -> None:
    space = parse_space("toys", SPACE)
    first, again, other = (cached_vs_fresh.draw(space, 8, seed) for seed in (1, 1, 2))
    assert first == again != other
    assert len({config.key for config in first}) == 8


def test_a_space_that_is_too_small_says_so() -> None:
    text = "parameters:\n  backbone: {choices: [vgg16]}\n  learning_rate: {choices: [0.001, 0.002]}\n"
    text += "  unfreeze_depth: {choices: [0]}\n  dropout: {choices: [0.0]}\n"
    with pytest.raises(ConfigError, match="gave 2; ask for fewer"):
        cached_vs_fresh.draw(parse_space("small", text), 3, 0)


def test_agreement_by_hand() -> None:
    cached, fresh = [0.90, 0.92, 0.94, 0.96, 0.98], [0.91, 0.92, 0.97, 0.95, 0.96]
    found = agreement(cached, fresh)
    assert found.spearman == pytest.approx(1 - 6 * (1 + 1 + 4) / (5 * 24))  # ranks 1 2 5 3 4
    assert found.kendall == pytest.approx((8 - 2) / 10)
    half = 1.959964 * math.sqrt((1 + 0.7**2 / 2) / 2)
    assert found.fisher == pytest.approx([math.tanh(math.atanh(0.7) - half), math.tanh(math.atanh(0.7) + half)])
    assert (found.winner, found.best) == (4, 2)
    assert found.winner_difference == pytest.approx(-0.01)
    assert found.mean_difference == pytest.approx(0.002)
    low, high = found.bootstrap
    assert -1 <= low < found.spearman < high <= 1
    assert agreement(cached, fresh) == found, "the bootstrap has a seed"


def test_where_lower_is_better_the_lowest_wins() -> None:
    found = agreement([0.3, 0.2, 0.4], [0.30, 0.25, 0.20], higher_is_better=False)
    assert (found.winner, found.best) == (1, 2)
    assert found.winner_difference == pytest.approx(0.05)


def test_both_intervals_cover_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 300 samples of 20 from a normal pair, about 285 intervals hold the population's rho, no fewer and no more.

    The percentile bootstrap is known to cover too seldom in samples of 20: nine in ten pass.
    """
    monkeypatch.setattr("bench.compare.fidelity.agreement.DRAWS", 200)
    random, r, samples = np.random.default_rng(0), 0.8, 300
    rho = 6 / math.pi * math.asin(r / 2)
    hits = dict.fromkeys(("fisher", "bootstrap"), 0)
    for _ in range(samples):
        pair = random.multivariate_normal([0, 0], [[1, r], [r, 1]], 20)
        found = agreement(pair[:, 0], pair[:, 1])
        for name in hits:
            low, high = getattr(found, name)
            hits[name] += low <= rho <= high
    for name, fewest in (("fisher", 0.95), ("bootstrap", 0.9)):
        assert stats.binom.cdf(hits[name], samples, fewest) > 0.001, f"{name} is too narrow: {hits[name]}"
        assert stats.binom.sf(hits[name] - 1, samples, 0.95) > 0.001, f"{name} is too wide: {hits[name]}"


def test_what_cannot_be_ranked() -> None:
    found = agreement([1.0, 1.0, 1.0], [0.9, 0.8, 0.7])
    assert found.spearman is found.kendall is found.fisher is found.bootstrap is None
    assert agreement([1, 2, 3, 4], [1, 2, 3, 4]).fisher is None, "a perfect rank has no standard error"
    with pytest.raises(ConfigError, match="At least 3"):
        agreement([1, 2], [1, 2])


class FakeTrainer:
    """A trainer that remembers the seeds that it was given, and fails for toy2."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.seeds: list[int] = []

    def run(self, config: Any) -> Any:
        if config.backbone == "toy2":
            raise TrialFailed("the loss became nan in head epoch 1")
        if config.augmentation == "light":
            raise MemoryError("the card is full\nand more")
        return fake_result(0.9)

    def fresh(self, config: Any, seed: int) -> Any:
        self.seeds.append(seed)
        return fake_result(0.8)


def fake_result(auc: float) -> Any:
    from bench.stats.metrics import METRICS
    from bench.trial import EpochRecord, TrialResult

    metrics = dict.fromkeys(METRICS, auc)
    return TrialResult(1, metrics, (EpochRecord("head", 1, 0.5, metrics, 1.0),), 1.0)


@pytest.mark.usefixtures("toy_table")
def test_a_row_of_the_table(make_task: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.compare.fidelity import fresh
    from bench.seeds import stable_seed

    configs = cached_vs_fresh.draw(parse_space("toys", SPACE), 30, 0)
    trainer = FakeTrainer(make_task())
    monkeypatch.setattr(fresh, "train_fresh", lambda trainer, config, seed: trainer.fresh(config, seed))
    good = next(one for one in configs if (one.backbone, one.augmentation) == ("toy", "none"))
    row = cached_vs_fresh.score(trainer, good)
    assert (row["cached_auc"], row["fresh_auc"], row["state"]) == (0.9, 0.8, "completed")
    assert trainer.seeds == [stable_seed("trial", 0, good.key)], "the seed of the trial"
    bad = cached_vs_fresh.score(trainer, next(config for config in configs if config.backbone == "toy2"))
    assert bad["state"] == "failed" and "nan" in bad["reason"] and "cached_auc" not in bad
    full = next(one for one in configs if (one.backbone, one.augmentation) == ("toy", "light"))
    row = cached_vs_fresh.score(trainer, full)
    assert (row["state"], row["reason"]) == ("failed", "MemoryError: the card is full")


@pytest.mark.usefixtures("toy_table")
def test_a_study_goes_on_where_it_stopped(make_task: Callable[..., Any], tmp_path: Path) -> None:
    """Three toys through a real process, then a fourth; what was completed is not trained again, what failed is."""
    configs = cached_vs_fresh.draw(parse_space("toys", SPACE), 4, 0)
    task, folder, told = make_task(epochs=2), tmp_path / "study", list[str]()
    cached_vs_fresh.study(task, configs[:3], folder, "one", 1, told.append)
    first = pd.read_csv(folder / "fidelity.csv")
    failed = {"key": configs[3].key, "study": "one", "state": "failed", "reason": "no memory"}
    pd.concat([first, pd.DataFrame([failed])]).to_csv(folder / "fidelity.csv", index=False)
    table = cached_vs_fresh.study(task, configs, folder, "one", 1, told.append)
    assert list(table["key"]) == [config.key for config in configs]
    assert set(table["state"]) == {"completed"}
    assert table["cached_auc"].between(0, 1).all() and table["fresh_auc"].between(0, 1).all()
    pd.testing.assert_frame_equal(pd.read_csv(folder / "fidelity.csv").iloc[:3], first, check_dtype=False)
    assert sum("cached" in line for line in told) == 4
    assert "3 configurations are scored already; 1 are left." in told
    with pytest.raises(ConfigError, match="choose another folder"):
        cached_vs_fresh.study(task, configs, folder, "another", 1, told.append)


STUDY = """
import multiprocessing, os, sys, time, types
from pathlib import Path
from bench.compare.fidelity import cached_vs_fresh

cached_vs_fresh.set_up = lambda threads: None
sys.modules["bench.train.trainer"] = types.SimpleNamespace(Trainer=lambda task: None)

def train(file):
    cached_vs_fresh._begin(None, 1)
    Path(file).write_text(str(os.getpid()))
    time.sleep(120)

if __name__ == "__main__":
    multiprocessing.get_context("spawn").Process(target=train, args=sys.argv[1:]).start()
    time.sleep(120)
"""
"""A study whose process begins as each does, without a network to train."""


def test_a_training_process_ends_when_its_study_is_killed(tmp_path: Path) -> None:
    script, told = tmp_path / "study.py", tmp_path / "pid"
    script.write_text(STUDY)
    study = subprocess.Popen([sys.executable, str(script), str(told)])
    try:
        wait_for(lambda: told.is_file() and told.read_text() != "")
        trainer = psutil.Process(int(told.read_text()))
    finally:
        study.kill()
        study.wait()
    wait_for(lambda: not trainer.is_running() or trainer.status() == psutil.STATUS_ZOMBIE)


INTERRUPTED = """
import os, sys, time, types
from pathlib import Path
from bench import cluster
from bench.compare.fidelity import cached_vs_fresh
from bench.trial import TrialConfig

cached_vs_fresh.set_up = lambda threads: None
sys.modules["bench.train.trainer"] = types.SimpleNamespace(Trainer=lambda task: None)

def score(config):
    Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(120)

cached_vs_fresh._score = score

if __name__ == "__main__":
    cluster.interrupted_by_signals()
    cached_vs_fresh.study(None, [TrialConfig("toy")], Path(sys.argv[2]), "one", 1, print)
"""
"""A study whose first training never ends."""


def test_a_study_that_is_interrupted_does_not_wait_for_its_trainings(tmp_path: Path) -> None:
    script, told = tmp_path / "study.py", tmp_path / "pid"
    script.write_text(INTERRUPTED)
    study = subprocess.Popen([sys.executable, str(script), str(told), str(tmp_path / "study")])
    try:
        wait_for(lambda: told.is_file() and told.read_text() != "")
        study.terminate()
        assert study.wait(60) != 0
    finally:
        study.kill()
        study.wait()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Return as soon as ``condition`` holds.

    Raises:
        TimeoutError: if it does not within ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s")
        time.sleep(0.1)


@pytest.mark.usefixtures("toy_table")
def test_more_jobs_than_cores_are_refused_before_any_work(toy_folder: Path, tmp_path: Path) -> None:
    from bench.run.request import prepare
    from bench.settings import make_settings

    space = tmp_path / "toys.yaml"
    space.write_text(SPACE)
    names = {"data": str(toy_folder), "name": "fidelity", "space": str(space), "cache": tmp_path / "cache"}
    settings = make_settings(**names, weights="random", jobs=4000)
    with pytest.raises(ConfigError, match="--jobs 4000"):
        cached_vs_fresh.run_fidelity(prepare(settings), tmp_path / "study", 3)
    assert not (tmp_path / "study").exists()


@pytest.mark.usefixtures("toy_table")
def test_two_studies_do_not_write_to_one_folder(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does one by default to that of a comparison of the same data."""
    space = tmp_path / "toys.yaml"
    space.write_text(SPACE)
    places = ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache"), "--space", str(space)]
    given = ["compare", "--fidelity", "3", "--data", str(toy_folder), "--weights", "random", *places]
    monkeypatch.setattr(cached_vs_fresh, "prepare_task", lambda *_: pytest.fail("it began"))
    name = f"fidelity-{toy_folder.name}"
    with held(tmp_path / "out" / name, "busy"):
        assert cli.main(given) == 2
    assert f"Study '{name}' is going on in another process" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.end_to_end
@pytest.mark.usefixtures("toy_table", "knows_toys")
def test_a_whole_study_from_a_folder_of_images(toy_folder: Path, tmp_path: Path) -> None:
    from bench.run.request import prepare
    from bench.settings import make_settings

    space = tmp_path / "toys.yaml"
    space.write_text(SPACE)
    names = {"data": str(toy_folder), "name": "fidelity", "space": str(space), "cache": tmp_path / "cache"}
    settings = make_settings(**names, weights="random", epochs=1, jobs=1)
    told: list[str] = []
    found = cached_vs_fresh.run_fidelity(prepare(settings), tmp_path / "study", 3, told.append)
    assert found.content() == json.loads((tmp_path / "study" / "fidelity.json").read_text())
    assert (found.drawn, found.failed, found.configurations) == (3, 0, 3)
    assert set(found.by) == {"auc"}
    assert "over 3 configurations" in cached_vs_fresh.describe(found) or found.spearman is None
    assert len(told) == 3
