"""How a machine is shared out, and whose trainer a worker keeps; what runs in the workers is in test_pipeline.py."""

import gc
import pickle
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bench import cluster as workers
from bench.cluster import share_out
from bench.errors import ConfigError
from bench.trial import TrialConfig

GIB = 2**30


@pytest.mark.parametrize(
    ("cpus", "gpus", "memory", "wanted", "jobs", "threads"),
    [
        (2, 0, 24, 0, 2, 1),
        (2, 0, 24, 1, 1, 2),
        (1, 0, 4, 0, 1, 1),
        (64, 0, 256, 0, 8, 8),
        (16, 0, 8, 0, 2, 8),  # memory for two
        (16, 4, 128, 0, 4, 4),
        (16, 1, 128, 2, 2, 8),
    ],
)
def test_trials_share_the_machine(cpus: int, gpus: int, memory: int, wanted: int, jobs: int, threads: int) -> None:
    workers = share_out(cpus, gpus, memory * GIB, wanted)
    assert (workers.jobs, workers.threads) == (jobs, threads)
    assert workers.jobs * workers.threads <= cpus
    assert workers.gpus == (pytest.approx(min(1, gpus / jobs)) if gpus else 0)
    assert ("gpu" in workers.resources) == bool(gpus)


def test_more_jobs_than_cores_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 2 are accepted"):
        share_out(2, 0, 8 * GIB, jobs=3)


def test_each_kill_that_the_kernel_counts_explains_the_end_of_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = [5, 7, 7, 7]
    monkeypatch.setattr(workers.failures, "oom_kills", lambda: counted.pop(0))
    deaths, told = workers.Deaths(), "The actor died unexpectedly before finishing this task."
    assert [deaths.why(told)[0] for _ in range(3)] == ["memory", "memory", "machine"]


@pytest.fixture
def trainer_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Any]:
    """`_trainer_for`, of a process that has no trainer yet."""
    monkeypatch.setattr(workers, "_trainer", None)
    monkeypatch.setattr(workers, "set_up", lambda threads: None)
    return lambda task: workers._trainer_for(task, 0)


def test_a_trainer_stays_while_the_task_does(make_task: Callable[..., Any], trainer_for: Callable[[Any], Any]) -> None:
    task = make_task()
    first = trainer_for(task)
    for arrived in (task, pickle.loads(pickle.dumps(task))):  # a worker unpickles the task of every trial
        assert trainer_for(arrived) is first


@pytest.mark.parametrize("changed", ["rows", "labels", "depths"])
def test_a_fold_gets_a_trainer_of_its_own(
    make_task: Callable[..., Any], trainer_for: Callable[[Any], Any], changed: str
) -> None:
    task = make_task()
    new: Any = (0,) if changed == "depths" else {**getattr(task, changed)}
    if changed != "depths":
        new["val"] = np.roll(new["val"], 1)  # of the same number
        new["val"][0] = new["val"][1]
    first, other = trainer_for(task), make_task(**{changed: new})
    assert trainer_for(other) is not first
    assert trainer_for(other).task is other


def test_an_earlier_tasks_models_are_gone_before_the_next_ones_are_made(
    make_task: Callable[..., Any], trainer_for: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.train import trainer as training

    first = trainer_for(make_task(epochs=1))
    first.run(TrialConfig("toy", unfreeze_depth=1, finetune_factor=0.1, batch_size=8))
    held = [weakref.ref(one) for one in (first, first.networks.head("toy"), *first.networks._suffixes.values())]
    assert len(held) == 3
    del first
    made = training.Trainer
    alive: list[Any] = []

    def watched(task: Any) -> Any:
        alive.extend(one() for one in held)
        return made(task)

    monkeypatch.setattr(training, "Trainer", watched)
    gc.disable()  # what goes, goes because it is sent away
    try:
        trainer_for(make_task(epochs=2))
    finally:
        gc.enable()
    assert alive == [None, None, None]
