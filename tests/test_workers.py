"""How a machine is shared out, and whose trainer a worker keeps; what runs in the workers is in test_pipeline.py."""

import gc
import pickle
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from bench import cluster as workers
from bench.cluster import Ended, Job, Workers, share_out
from bench.errors import ConfigError, TrialFailed, WorkerDied
from bench.trial import TrialConfig

GIB = 2**30


@pytest.mark.parametrize(
    ("cpus", "gpus", "memory", "wanted", "jobs", "threads", "share"),
    [
        (2, 0, 24, 0, 2, 1, 0),
        (2, 0, 24, 1, 1, 2, 0),
        (1, 0, 4, 0, 1, 1, 0),
        (64, 0, 256, 0, 8, 8, 0),
        (16, 0, 8, 0, 2, 8, 0),  # memory for two
        (16, 4, 128, 0, 4, 4, 1),
        (16, 1, 128, 2, 2, 8, 1 / 2),
        (16, 2, 128, 3, 3, 5, 1 / 2),  # of 2/3 each a GPU holds one
        (16, 4, 128, 2, 2, 8, 1),
    ],
)
def test_trials_share_the_machine(
    cpus: int, gpus: int, memory: int, wanted: int, jobs: int, threads: int, share: float
) -> None:
    workers = share_out(cpus, gpus, memory * GIB, wanted)
    assert (workers.jobs, workers.threads) == (jobs, threads)
    assert workers.jobs * workers.threads <= cpus
    assert workers.gpus == pytest.approx(share)
    assert ("gpu" in workers.resources) == bool(gpus)


def test_more_jobs_than_cores_are_refused() -> None:
    with pytest.raises(ConfigError, match="1 to 2 are accepted"):
        share_out(2, 0, 8 * GIB, jobs=3)


def test_no_worker_is_spread_over_two_machines() -> None:
    assert workers._room({"CPU": 3.0}, Workers(3, 2, 0.0, 6, 0)) == 1
    assert workers._room({"CPU": 16.0, "GPU": 2.0}, Workers(6, 2, 1 / 3, 16, 2)) == 6
    assert workers._room({"CPU": 16.0}, Workers(6, 2, 1 / 3, 16, 2)) == 0, "a machine without a GPU"


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
def test_another_task_gets_a_trainer_of_its_own(
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


class Died(Exception):
    """Stands in for what Ray raises where a process has died."""


class FakeRay:
    """Ray on a clock that no second passes on: a call takes as long as its function says.

    Attributes:
        started: processes that were started.
        calls: (begin, end, process) of each call.
    """

    def __init__(self) -> None:
        self.exceptions = SimpleNamespace(RayError=(Died, RuntimeError))
        self.started, self.killed, self.now = 0, 0, 0.0
        self.calls: list[tuple[float, float, int]] = []
        self._ends: dict[int, tuple[float, Any]] = {}

    def remote(self, **options: Any) -> Any:
        assert options.pop("name").startswith("worker-")
        assert options == {"num_cpus": 1, "num_gpus": 0.0}
        return lambda kind: SimpleNamespace(remote=self._start)

    def _start(self, threads: int) -> Any:
        self.started += 1
        return SimpleNamespace(call=SimpleNamespace(remote=partial(self._call, self.started)))

    def _call(self, process: int, function: Callable[[], tuple[float, Any]]) -> int:
        seconds, result = function()
        self.calls.append((self.now, self.now + seconds, process))
        self._ends[len(self.calls)] = self.now + seconds, result
        return len(self.calls)

    def wait(self, running: list[int], num_returns: int) -> Any:
        first = min(running, key=lambda one: self._ends[one][0])
        self.now = self._ends[first][0]
        return [first], []

    def get(self, one: int) -> Any:
        ended, result = self._ends[one]
        if isinstance(result, Exception):
            raise result
        return result, self.calls[one - 1][0], ended

    def kill(self, actor: Any) -> None:
        self.killed += 1


TWO = Workers(2, 1, 0.0, 2, 0)


@pytest.fixture
def fake_ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    import sys

    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(workers, "_slots", [])
    monkeypatch.setattr(workers.Deaths, "why", lambda self, message: ("machine", "it was killed"))
    monkeypatch.setattr(workers, "_cause", lambda error: None if isinstance(error, Died) else error)
    return fake


def lasting(name: str, seconds: float, group: str = "", result: Any = None) -> Job:
    return Job(name, lambda: (seconds, result or name), group, seconds)


def test_the_longest_jobs_begin_first_and_both_workers_stay_busy(fake_ray: FakeRay) -> None:
    jobs = [lasting(f"{seconds}", seconds) for seconds in (1, 2, 7, 3, 5, 2)]
    ended = list(workers.run_jobs(TWO, jobs))
    assert {one.result for one in ended} == {"1", "2", "7", "3", "5"}
    assert [one.job.name for one in ended][:2] == ["5", "7"]
    assert fake_ray.started == 2
    assert fake_ray.now == 10.0, "the lower bound"
    assert next(workers.run_jobs(TWO, [lasting("more", 1)])).result == "more"
    assert fake_ray.started == 2, "and the workers stay"


def test_a_worker_goes_on_with_the_networks_that_it_has(fake_ray: FakeRay) -> None:
    jobs = [
        lasting(f"{group}{number}", cost, group) for group, cost in (("a", 5), ("b", 4), ("c", 1)) for number in "123"
    ]
    ended = list(workers.run_jobs(TWO, jobs))
    whose: dict[str, set[int]] = {}
    for one in ended:
        whose.setdefault(one.job.group, set()).add(one.worker)
    assert whose["a"] == {0} and whose["b"] == {1}, "no network is built twice while there is other work"


def test_whoever_wants_to_know_is_told_when_a_worker_begins_a_job(fake_ray: FakeRay) -> None:
    told: list[tuple[str, int, float]] = []
    jobs = [lasting(f"{seconds}", seconds) for seconds in (3, 2, 2)]
    ended = list(
        workers.run_jobs(TWO, jobs, on_begin=lambda job, worker: told.append((job.name, worker, fake_ray.now)))
    )
    assert told == [("3", 0, 0.0), ("2", 1, 0.0), ("2", 1, 2.0)]
    assert {(one.job.name, one.worker) for one in ended} == {("3", 0), ("2", 1)}


def test_a_job_whose_process_died_is_done_once_more_alone(fake_ray: FakeRay) -> None:
    tries: list[float] = []

    def dying() -> tuple[float, Any]:
        tries.append(fake_ray.now)
        return (1, Died("x")) if len(tries) == 1 else (2, "well")

    said: list[str] = []
    jobs = [Job("dying", dying, cost=9), lasting("long", 6), lasting("short", 1)]
    ended = list(workers.run_jobs(TWO, jobs, said.append))
    assert [(one.job.name, one.result) for one in ended] == [("short", "short"), ("long", "long"), ("dying", "well")]
    assert said == ["it was killed"]
    assert tries == [0.0, 6.0], "when all others have ended"
    assert fake_ray.started == 3, "in a new process"


def test_a_job_that_kills_its_process_twice_is_told_and_the_others_go_on(fake_ray: FakeRay) -> None:
    jobs = [lasting("dying", 2, result=Died("x")), lasting("well", 1), lasting("wrong", 1, result=RuntimeError("no"))]
    ended: dict[str, Ended] = {one.job.name: one for one in workers.run_jobs(TWO, jobs)}
    assert isinstance(ended["dying"].error, WorkerDied)
    assert str(ended["wrong"].error) == "no", "what a function raises is its own, and is not tried again"
    assert ended["well"].error is None
    assert len(fake_ray.calls) == 4


@pytest.mark.parametrize("error", [TrialFailed("memory ran out; smaller", "memory"), MemoryError()])
def test_a_job_that_memory_did_not_suffice_for_is_done_once_more_alone(fake_ray: FakeRay, error: Exception) -> None:
    fake_ray.exceptions.RayError = (Died, TrialFailed, MemoryError)
    tries: list[float] = []

    def large(fails: int) -> tuple[float, Any]:
        tries.append(fake_ray.now)
        return (1, error) if len(tries) <= fails else (2, "well")

    said: list[str] = []
    jobs = [Job("large", partial(large, 1), cost=9), lasting("long", 6), lasting("short", 1)]
    ended = list(workers.run_jobs(TWO, jobs, said.append))
    assert [one.result for one in ended] == ["short", "long", "well"]
    assert tries == [0.0, 6.0], "when all others have ended"
    assert said == [str(error) or "MemoryError"]
    assert fake_ray.started == 3, "in a new process, which holds nothing of what came before"
    tries.clear()
    (again,) = workers.run_jobs(TWO, [Job("large", partial(large, 9))])
    assert again.error is error and len(tries) == 2, "and no more than that"


def test_workers_of_another_shape_end_before_new_ones_begin(fake_ray: FakeRay) -> None:
    assert next(workers.run_jobs(TWO, [lasting("a", 1)])).result == "a"
    first = workers.for_trial(TWO, 1, "toy")
    assert (fake_ray.started, fake_ray.killed) == (2, 0)
    one = Workers(1, 1, 0.0, 1, 0)
    assert workers.for_trial(one, 0, "toy") != first
    assert (fake_ray.started, fake_ray.killed) == (2, 1), "the second is not needed; the first is as it should be"
    workers.for_trial(Workers(1, 1, 0.0, 1, 0, warm=False), 0, "toy")
    assert (fake_ray.started, fake_ray.killed) == (3, 2), "each trial has a process of its own"


def test_a_worker_has_a_fresh_process_after_so_many_trials(fake_ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST_TRIALS", 2)
    names = [workers.for_trial(TWO, 0, "toy") for _ in range(5)]
    assert names[0] == names[1] != names[2] == names[3] != names[4]
    assert (fake_ray.started, fake_ray.killed) == (3, 2)
    workers.end([0, 7])
    assert workers.for_trial(TWO, 0, "toy") != names[4], "what has died is started anew; what never was is no error"


class Counting:
    """Stands in for a trainer whose trials have three epochs; tells what it was asked for, and when it was let go."""

    notes: ClassVar[dict[str, str]] = {}

    def __init__(self) -> None:
        self.said: list[str] = []

    def trial(self, config: TrialConfig, rows: Any = None) -> str:
        return config.backbone

    def epochs(self, job: str) -> Any:
        from bench.stats.metrics import get_metric
        from bench.train.loop import Progress

        progress = Progress(get_metric("auc"))
        progress.begin("head")
        try:
            for number in range(3):
                if job == "bad" and number == 1:
                    raise RuntimeError("no such layer")
                self.said.append(f"{job} {number + 1}")
                progress.add(1.0, {"auc": 0.5 + number / 10}, 0.0, np.full((4, 2), number, np.float32))
                yield progress
        finally:
            self.said.append(f"{job} over")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Counting]:
    """What runs inside a worker, and its trainer."""
    trainer = Counting()
    monkeypatch.setattr(workers, "set_up", lambda threads: None)
    monkeypatch.setattr(workers, "_trainer_for", lambda task, threads: trainer)
    return workers._Worker(1), trainer


TASK = SimpleNamespace(metric="auc", searched=None)


def test_a_worker_trains_a_trial_epoch_by_epoch(worker: tuple[Any, Counting]) -> None:
    own, trainer = worker
    reports = [own.begin({"backbone": "toy"}, TASK, time.time()), *(own.epoch() for _ in range(3))]
    assert [one["auc"] for one in reports] == [0.5, 0.6, 0.7, 0.7]
    assert [len(one["new_epochs"]) for one in reports] == [1, 1, 1, 0]
    assert [[said.mean() for said in one["new_scores"]] for one in reports] == [[0], [1], [2], []]
    assert ["finished" in one for one in reports] == [False, False, False, True]
    assert trainer.said == ["toy 1", "toy 2", "toy 3", "toy over"]


def test_a_stopped_trial_is_let_go_before_the_next_trial_or_job(worker: tuple[Any, Counting]) -> None:
    own, trainer = worker
    own.begin({"backbone": "weak"}, TASK, time.time())
    own.begin({"backbone": "next"}, TASK, time.time())
    assert trainer.said == ["weak 1", "weak over", "next 1"], "no epoch more than was asked for"
    own.call(lambda: trainer.said.append("job"))
    assert trainer.said[-2:] == ["next over", "job"]


def test_the_start_of_a_worker_counts_to_the_trial_that_waits_for_it(worker: tuple[Any, Counting]) -> None:
    own, _ = worker
    spent = dict(own.begin({"backbone": "toy"}, TASK, time.time() - 7)["spent"])
    assert 7 <= spent["start-up"] < 20


def test_a_trial_that_raises_reports_why_and_the_worker_goes_on(worker: tuple[Any, Counting]) -> None:
    own, _ = worker
    own.begin({"backbone": "bad"}, TASK, time.time())
    told = own.epoch()
    assert told["finished"] and "no such layer" in told["failed"] and told["failure"] == "error"
    assert own.begin({"backbone": "toy"}, TASK, time.time())["auc"] == 0.5
