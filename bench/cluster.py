"""Starting or joining Ray, and what runs in its workers: trials of the search, finalists, evaluation.

Ray is imported when it is needed: a request that cannot be carried out should not have to wait for it.

A worker is a process that stays from the start of a run to its report. It serves trials and jobs one after another: its
`Trainer` outlives them, and with it the networks, weights, opened features and traced steps.
"""

import atexit
import contextlib
import gc
import math
import os
import platform
import re
import secrets
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import failures
from bench.device import (
    FIXED,
    cpu_cores,
    listed_gpus,
    memory_bytes,
    quiet,
    set_up,
)
from bench.errors import ConfigError, WorkerDied
from bench.failures import MEMORY, kind_of, reason_of
from bench.numbers import counted
from bench.run.record import Hardware
from bench.scratch import own_folder
from bench.search.parameters import Value
from bench.trial import TrialConfig

SESSION_LIMIT = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.10")
"""Bytes that the path of Ray's folder may have: that of a socket ends at 107 on Linux."""
MOST_TRIALS = 40
"""Trials that a worker serves before a fresh one takes its place."""
SESSION = "ray-"
BELOW = "r"
SESSION_NAME = f"{SESSION}12345678/{BELOW}"
"""How the folder of Ray's session is called: Ray opens its own to everybody, so it lies in one that is private."""
MEMORY_PER_JOB = 3.5 * 2**30
"""Bytes that a worker is allowed for; decides how many run at once."""


@dataclass(frozen=True)
class Workers:
    """How trials share the machine.

    Attributes:
        jobs: trials at a time.
        threads: CPU threads of each.
        gpus: GPUs of each (0 without GPUs).
        cpus: of the machine or cluster.
        total_gpus: of the machine or cluster.
        warm: whether a worker serves one trial after another; else each trial gets a fresh process.
    """

    jobs: int
    threads: int
    gpus: float
    cpus: int
    total_gpus: int
    warm: bool = True

    @property
    def resources(self) -> dict[str, float]:
        """What Ray is to reserve for one of them."""
        return {"cpu": self.threads, "gpu": self.gpus} if self.gpus else {"cpu": self.threads}

    def describe(self) -> str:
        """In words."""
        gpus = counted(self.total_gpus, "GPU") if self.total_gpus else "no GPU"
        at_a_time = f"{counted(self.jobs, 'trial')} at a time, {counted(self.threads, 'thread')} each"
        return f"{counted(self.cpus, 'CPU core')}, {gpus}; {at_a_time}"


def share_out(cpus: int, gpus: int, memory: float, jobs: int = 0) -> Workers:
    """How many trials run at once: one per GPU, else one per CPU core as far as memory goes, up to 8.

    Two processes of one thread each train about as fast as one of two threads, and wait less for each other.

    Args:
        cpus: CPU cores.
        gpus: GPUs.
        memory: bytes of main memory.
        jobs: the wanted number; 0 chooses.

    Raises:
        ConfigError: if more jobs are wanted than there are cores.
    """
    if jobs > cpus:
        raise ConfigError(f"--jobs {jobs} is more than the {cpus} CPU cores here; 1 to {cpus} are accepted.")
    chosen = jobs or gpus or max(1, min(cpus, 8, int(memory / MEMORY_PER_JOB)))
    chosen = max(1, min(chosen, cpus))
    return Workers(chosen, max(1, cpus // chosen), 1 / math.ceil(chosen / gpus) if gpus else 0.0, cpus, gpus)


def hardware() -> Hardware:
    """This machine, as run.json and compare.json have it."""
    return Hardware(
        cpus=cpu_cores(),
        memory_gib=round(memory_bytes() / 2**30, 1),
        gpus=listed_gpus(),
        machine=platform.machine(),
        system=f"{platform.system()} {platform.release()}",
    )


def interrupted_by_signals() -> None:
    """Have SIGTERM, and SIGHUP of a closed terminal, end a run as Ctrl-C does: what is finished is kept, and said so.

    A signal that is ignored stays so: nohup wants the run to go on. Outside of the main thread nothing is changed, for
    Python has signals handled there alone.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        return
    for number in _ending_signals():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


@contextlib.contextmanager
def signals_given_back() -> Iterator[None]:
    """What handles signals at the start of the block handles them after it too: a notebook has its own handlers."""
    before = {number: signal.getsignal(number) for number in _ending_signals()}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                if handler is not None:  # one that was not set from Python
                    signal.signal(number, handler)


def _ending_signals() -> list[signal.Signals]:
    """SIGTERM and, where there is one, SIGHUP."""
    return [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]


def started_elsewhere() -> bool:
    """Whether Ray runs in this process and was not started by this module."""
    ray = sys.modules.get("ray")
    return ray is not None and ray.is_initialized() and not _slots


def session_folder() -> str:
    """Where the folder of Ray's session is to lie: the first usual place where its sockets have a short enough path.

    Raises:
        ConfigError: if there is none that can be written.
    """
    most = SESSION_LIMIT - len(f"/{SESSION_NAME}")
    places = [os.environ.get("RAY_TMPDIR", ""), os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    for place in filter(os.path.isabs, places):
        usable = os.path.isdir(place) and os.access(place, os.W_OK | os.X_OK)  # noqa: PTH112  (Path's may be refused)
        if len(os.fsencode(place)) <= most and usable:
            return place
    raise ConfigError(
        f"Ray needs a folder for its sockets that can be written and whose path has at most {most} bytes; "
        "name one by the environment variable RAY_TMPDIR."
    )


@contextlib.contextmanager
def session() -> Iterator[str]:
    """A folder for Ray's session, in one that only the user may enter; gone at the end.

    Raises:
        ConfigError: as `session_folder`.
    """
    with own_folder(SESSION, Path(session_folder())) as private:
        yield str(private / BELOW)


def on_loopback() -> None:
    """Have Ray, when it is started on this machine, take 127.0.0.1 for its address and listen there alone.

    It knows this for systems whose firewalls ask; an address that `ray.init` is given it takes for the machine's own.
    """
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # for its other processes


def _answers(address: str) -> None:
    """See whether anything listens at ``address``, or where RAY_ADDRESS says for ``auto``: Ray would wait two minutes.

    Raises:
        ConnectionError: if nothing does.
    """
    place = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, _, port = place.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        except OSError as error:
            raise ConnectionError(f"{place}: {error.strerror or error}") from error


def start(jobs: int = 0, address: str | None = None) -> Workers:
    """Start Ray on this machine, or join the cluster at ``address``, and share it out.

    Raises:
        ConfigError: if there is no cluster at ``address``.
    """
    import ray

    quiet()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if not address:  # else Ray writes a token into the home folder, which may be read-only
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    passed = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_HOME", "PYTHONSAFEPATH")
    if os.environ.get("KERAS_HOME"):
        os.environ["KERAS_HOME"] = os.path.abspath(os.environ["KERAS_HOME"])  # noqa: PTH100  (links stay)
    environment = {name: os.environ[name] for name in passed if name in os.environ} | FIXED
    arguments: dict[str, Any] = {}
    if not address:
        on_loopback()
        arguments = {"num_cpus": cpu_cores(), "include_dashboard": False}
        arguments["_temp_dir"] = _session.enter_context(session())
    try:
        if address:
            _answers(address)
        # Ray has its workers look for modules in the working folder first, where any keras.py would stand in for Keras
        with warnings.catch_warnings(), contextlib.chdir("/"):
            warnings.simplefilter("ignore")
            ray.init(
                address=address or "local",
                log_to_driver=False,
                logging_level="CRITICAL",
                runtime_env={"env_vars": environment},
                **arguments,
            )
    except (ConnectionError, ValueError) as error:
        if not address:
            raise ConfigError(f"Ray cannot be started on this machine ({error}).") from error
        raise ConfigError(
            f"There is no Ray cluster at {address!r} ({error}); start one by 'ray start --head'."
        ) from error
    # Ray prints guesses at why a worker died, memory first, whatever it was; the suite says what is known
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    interrupted_by_signals()  # Ray has just set its own, which ends without a word
    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
    memory = float(found.get("memory", 0)) if address else float(memory_bytes())
    shared = share_out(cpus, gpus, memory, jobs)
    room = sum(_room(node["Resources"], shared) for node in ray.nodes() if node["Alive"])
    return replace(shared, jobs=max(1, min(shared.jobs, room)))


def _room(node: Mapping[str, float], workers: Workers) -> int:
    """How many workers a machine of a cluster can hold: one cannot be spread over two."""
    by_cpus = int(node.get("CPU", 0) // workers.threads)
    return min(by_cpus, int(node.get("GPU", 0) / workers.gpus + 1e-6)) if workers.gpus else by_cpus


def stop() -> None:
    """Leave Ray; what was started here ends."""
    _slots.clear()
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
    _session.close()


_session = contextlib.ExitStack()
"""Holds the folder of Ray's session."""
atexit.register(_session.close)  # after Ray's own, which is registered when it is imported, later

_trainer: Any = None


def _trainer_for(task: Any, threads: int) -> Any:
    """This process's trainer; it stays while the task does, and another task's goes before a new one is built."""
    global _trainer
    set_up(threads)
    from bench.train.trainer import Trainer

    if _trainer is None or _trainer.task != task:
        _trainer = None
        gc.collect()  # Keras's models are full of cycles
        _trainer = Trainer(task)
    return _trainer


def train_trial(
    values: Mapping[str, Value], task: Any, threads: int, waited: float = 0.0
) -> Generator[dict[str, Any], None, None]:
    """One trial, in a worker: gives its running best after each epoch, and at last that it is finished.

    A failure is given with its reason instead of raised. ``waited`` are the seconds that the worker itself took to
    start; they count as the trial's start-up.
    """
    started, sent, sent_scores = time.perf_counter(), 0, 0
    last: dict[str, Any] = {}
    try:
        trainer = _trainer_for(task, threads)
        setting_up = waited + time.perf_counter() - started
        for progress in trainer.epochs(trainer.trial(TrialConfig.from_mapping(values), task.searched)):
            spent, best, latest = progress.spent(), progress.best, progress.epochs[-1]
            spent["start-up"] = spent.get("start-up", 0.0) + setting_up
            last = {
                task.metric: best.metrics[task.metric],
                "best_metrics": tuple(best.metrics.items()),  # Ray flattens dictionaries
                "best_epoch": best.epoch,
                "epoch": sum(record.phase == latest.phase for record in progress.epochs),
                "new_epochs": progress.epochs[sent:],
                "new_scores": progress.scores[sent_scores:],
                "spent": tuple(spent.items()),
                "notes": tuple(trainer.notes.items()),
            }
            sent, sent_scores = len(progress.epochs), len(progress.scores)
            yield last
        last = {**last, "new_epochs": [], "new_scores": []}
    except Exception as error:
        last = {"failed": reason_of(error), "failure": kind_of(error)}
    yield {**last, "finished": True}  # here, where nothing holds what the error tells of


class Deaths:
    """Tells why workers die; to be created while they are well, for the kernel only counts its kills."""

    def __init__(self) -> None:
        self._kills = failures.oom_kills()

    def why(self, message: str) -> tuple[str, str]:
        """The kind of failure and the reason, of a worker whose end Ray has sent a ``message`` about.

        The kernel and the logs know of this machine's workers alone.
        """
        import ray

        its = re.search(r"\bip[:=]\s*([0-9a-fA-F.:]+)", message)
        if its is not None and ray.is_initialized():
            own = ray.get_runtime_context().get_node_id()
            if its[1] not in [node["NodeManagerAddress"] for node in ray.nodes() if node["NodeID"] == own]:
                return failures.why(message, None, None)
        kills = failures.oom_kills()
        killed = None if kills is None or self._kills is None else kills > self._kills
        kind, reason = failures.why(message, _logs(), killed)
        if killed and kind == MEMORY:  # several may have died before the first is looked at: a kill each
            self._kills = (self._kills or 0) + 1
        return kind, reason


def _logs() -> Path | None:
    """The folder in which Ray keeps the logs of this machine's workers."""
    import ray

    try:
        return Path(ray._private.worker._global_node.get_logs_dir_path())
    except AttributeError:  # another version of Ray, which keeps them elsewhere
        return None


@dataclass(frozen=True, eq=False)
class Job:
    """Something that a worker is to do.

    Attributes:
        name: for people.
        call: what is called there, without arguments; it can be pickled.
        group: jobs of one group share networks and traced steps, and so follow each other in a worker.
        kind: of work, as run.json's timeline has it.
        cost: the longest begin first; in units of its own.
    """

    name: str
    call: Callable[[], Any]
    group: str = ""
    cost: float = 0.0
    kind: str = ""


@dataclass(frozen=True, eq=False)
class Ended:
    """How a job ended.

    Attributes:
        job: which.
        result: what it returned.
        error: what it raised, or WorkerDied if its process died; of memory that did not suffice and of a process that
            died the second time.
        worker: number of the worker, from 0.
        began: seconds since the epoch.
        ended: likewise.
    """

    job: Job
    result: Any
    error: Exception | None
    worker: int
    began: float
    ended: float


class _Worker:
    """What runs inside a worker: a job as a whole, or a trial epoch by epoch."""

    def __init__(self, threads: int) -> None:
        set_up(threads)
        self._threads = threads
        self._trial: Generator[dict[str, Any], None, None] | None = None

    def call(self, function: Callable[[], Any]) -> tuple[Any, float, float]:
        """Call the function here; returns what it returns, and when it began and ended."""
        self.abandon()
        began = time.time()
        return function(), began, time.time()

    def begin(self, values: Mapping[str, Value], task: Any, sent: float) -> dict[str, Any]:
        """Begin a trial, which was ``sent`` at a time: what it reports after its first epoch.

        One that was stopped before is abandoned.
        """
        waited = max(0.0, time.time() - sent)
        self.abandon()
        self._trial = train_trial(values, task, self._threads, waited)
        return next(self._trial)

    def epoch(self) -> dict[str, Any]:
        """What the trial that was begun reports after its next epoch."""
        assert self._trial is not None
        return next(self._trial)

    def abandon(self) -> None:
        """Let go of the trial that was begun."""
        if self._trial is not None:
            self._trial.close()
            self._trial = None


@dataclass
class _Slot:
    """A place for a worker, whose process is started when it is first needed and stays for the next job.

    Attributes:
        number: of the worker.
        resources: that its process has reserved.
        actor: its process; None while there is none.
        name: by which Ray finds the process.
        group: of the job that it had last.
        trials: how many it has served.
    """

    number: int
    resources: dict[str, float] = field(default_factory=dict)
    actor: Any = None
    name: str = ""
    group: str = ""
    trials: int = 0


_slots: list[_Slot] = []


def run_jobs(
    workers: Workers,
    jobs: Iterable[Job],
    on_death: Callable[[str], None] = lambda why: None,
    on_begin: Callable[[Job, int], None] = lambda job, worker: None,
) -> Iterator[Ended]:
    """Carry out ``jobs`` on all workers at once; gives each as it ends.

    The longest begin first, and a worker goes on with the group that it is at. The workers stay for the next jobs, so
    that TensorFlow starts, networks are built and steps are traced once. A job whose process died, or for which memory
    did not suffice, is hardly to blame: it is tried once more when the others have ended, alone, without the memory of
    other workers.

    Args:
        workers: how many there are, and what each may use.
        jobs: in any order.
        on_death: told why a job is tried once more.
        on_begin: told which job is given to the worker of which number, from 0.
    """
    import ray

    slots, deaths = _places(workers), Deaths()
    waiting = sorted(jobs, key=lambda job: -job.cost)
    again: list[Job] = []
    tried: set[Job] = set()
    running: dict[Any, tuple[_Slot, Job, float]] = {}
    over: list[Ended] = []
    while waiting or running or again or over:
        busy = [slot for slot, _, _ in running.values()]
        alone, queue = not waiting, waiting or again
        for slot in [slot for slot in slots if slot not in busy][: 1 if alone else None]:
            if not queue or (alone and running):
                break
            if alone:
                end(other.number for other in slots if other is not slot)
            job = _take(queue, slot, {other.group for other in busy})
            busy.append(slot)
            running[_begin(slot, workers, job)] = slot, job, time.time()
            on_begin(job, slot.number)
        if over:  # told when its worker has begun the next job, for whoever is told takes time too
            yield over.pop()
            continue
        done = ray.wait(list(running), num_returns=1)[0][0]
        slot, job, began = running.pop(done)
        found = _ended(done, slot, job, began, deaths)
        if found.error is not None and job not in tried and _is_hardly_to_blame(found.error):
            on_death(reason_of(found.error).rstrip(": "))
            _end(slot)  # with all that its process holds
            tried.add(job)
            again.append(job)
        else:
            over.append(found)


def _is_hardly_to_blame(error: Exception) -> bool:
    """Whether it was the machine or its memory that ended a job, not what it did."""
    return isinstance(error, WorkerDied) or kind_of(error) == MEMORY


def _take(queue: list[Job], slot: _Slot, elsewhere: Set[str]) -> Job:
    """Off the queue: the longest job of the worker's own group; else of a group that no other is at; else of all."""
    own = [job for job in queue if job.group == slot.group]
    free = [job for job in queue if job.group not in elsewhere]
    job = (own or free or queue)[0]
    queue.remove(job)
    return job


def _ended(done: Any, slot: _Slot, job: Job, began: float, deaths: Deaths) -> Ended:
    """How a job ended that is ``done``, by Ray's reference to what came of it; a process that died leaves its place."""
    import ray

    now = time.time()
    try:
        result, began, ended = ray.get(done)
    except ray.exceptions.RayError as raised:
        error = _cause(raised)
        if error is None:
            error = WorkerDied(*deaths.why(f"{type(raised).__name__}: {raised}"))
            _end(slot)
        return Ended(job, None, error, slot.number, began, now)
    return Ended(job, result, None, slot.number, began, ended)


def warm_up(workers: Workers) -> None:
    """Have all workers load TensorFlow, without waiting for them."""
    for slot in _places(workers):
        _actor(slot, workers)


def _places(workers: Workers) -> list[_Slot]:
    """The places of all workers; where the machine was shared out in another way before, those processes end."""
    while len(_slots) < workers.jobs:
        _slots.append(_Slot(len(_slots)))
    for slot in _slots:
        if slot.resources != workers.resources or slot.number >= workers.jobs:
            _end(slot)
            slot.resources = workers.resources
    return _slots[: workers.jobs]


def _begin(slot: _Slot, workers: Workers, job: Job) -> Any:
    actor = _actor(slot, workers)
    slot.group = job.group
    return actor.call.remote(job.call)


def _actor(slot: _Slot, workers: Workers) -> Any:
    """The process in a place, which is started if there is none."""
    import ray

    if slot.actor is None:
        slot.name, slot.group, slot.trials = f"worker-{secrets.token_hex(8)}", "", 0
        options = {"num_cpus": workers.threads, "num_gpus": workers.gpus, "name": slot.name}
        slot.actor = ray.remote(**options)(_Worker).remote(workers.threads)
    return slot.actor


def _end(slot: _Slot) -> None:
    import ray

    if slot.actor is not None:
        ray.kill(slot.actor)
        slot.actor = None


def _cause(error: Any) -> Exception | None:
    """What a worker's function raised; None if its process died instead."""
    import ray

    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError) else None


def call(workers: Workers, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function(*arguments)`` in a worker, and wait for it.

    Raises:
        whatever the function raises; WorkerDied if its process died, twice.
    """
    (ended,) = run_jobs(workers, [Job(function.__name__, partial(function, *arguments))])
    if ended.error is not None:
        raise ended.error
    return ended.result


def for_trial(workers: Workers, number: int, backbone: str) -> str:
    """Have a worker ready for a trial; returns the name by which Ray finds it.

    A fresh process takes its place after `MOST_TRIALS`, whatever a long-lived one may have piled up; or for each
    trial, if workers are not to be ``warm``.
    """
    slot = _places(workers)[number]
    if not workers.warm or slot.trials >= MOST_TRIALS:
        _end(slot)
    _actor(slot, workers)
    slot.group = backbone
    slot.trials += 1
    return slot.name


def end(numbers: Iterable[int]) -> None:
    """End the processes of workers that have died, or are in the middle of what is no longer wanted."""
    wanted = set(numbers)
    for slot in _slots:
        if slot.number in wanted:
            _end(slot)


def epochs_of(name: str, values: Mapping[str, Value], task: Any) -> Iterator[dict[str, Any]]:
    """Train a trial in the worker of a ``name``; gives what it reports after each epoch. For Ray Tune's processes.

    A trial whose worker dies reports ``died``, with Ray's message.

    Args:
        name: as `for_trial` gave it.
        values: the configuration.
        task: Ray's reference to what all trials share.
    """
    import ray

    try:
        worker = ray.get_actor(name)
        report = ray.get(worker.begin.remote(values, task, time.time()))
        yield report
        while "finished" not in report:
            report = ray.get(worker.epoch.remote())
            yield report
    except (ray.exceptions.RayError, ValueError) as error:  # no such name: the worker has died already
        cause = _cause(error)
        if cause is not None:
            yield {"failed": reason_of(cause), "failure": kind_of(cause), "finished": True}
        else:
            yield {"died": f"{type(error).__name__}: {error}", "finished": True}


def let_go() -> None:
    """Have all workers free the memory of their trainers, without waiting for them: training is over."""
    for slot in _slots:
        if slot.actor is not None:
            slot.actor.call.remote(partial(without_trainer, bool))


def train_job(task: Any, job: Any) -> Any:
    """In a worker: `Trainer.train` with this process's trainer."""
    return _trainer_for(task, 0).train(job)


def without_trainer(call: Callable[[], Any]) -> Any:
    """In a worker: ``call`` when the memory of its trainer is free: training is over."""
    global _trainer
    if _trainer is not None:
        _trainer = None
        gc.collect()
    return call()


def suspected_labels(task: Any, backbone: str, groups: Any) -> Any:
    """In a worker: `Trainer.suspected_labels`."""
    return _trainer_for(task, 0).suspected_labels(backbone, groups)


def check_scaling(task: Any, backbone: str) -> Any:
    """In a worker: `Trainer.check_scaling`."""
    return _trainer_for(task, 0).check_scaling(backbone)


def gallery(task: Any, backbone: str, policies: list[str], columns: int) -> Any:
    """In a worker: `Trainer.augmentation_gallery`."""
    return _trainer_for(task, 0).augmentation_gallery(backbone, policies, columns)
