"""Starting or joining Ray, and what runs in its workers: trials of the search, finalists, evaluation.

Ray is imported when it is needed: a request that cannot be carried out should not have to wait for it.

A worker serves many trials in one process: its `Trainer` outlives the trial (``reuse_actors``), and with it the
networks, weights, opened features and traced steps.
"""

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
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
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
from bench.search.parameters import Value
from bench.trial import TrialConfig

_WORKER_SETTINGS = {
    # A stopped trial's thread may take seconds to unwind on a busy machine. Ray gives it 2, and then drops the next
    # trial of that worker without telling the search.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "600",
}
SESSION_LIMIT = 107 - len("/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store.10")
"""Bytes that the path of Ray's folder may have: that of a socket ends at 107 on Linux."""
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
        """What Ray is to reserve for one trial."""
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
    return Workers(chosen, max(1, cpus // chosen), min(1.0, gpus / chosen) if gpus else 0.0, cpus, gpus)


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

    A signal that is ignored stays so: nohup wants the run to go on.
    """

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def session_folder() -> str:
    """Where Ray is to keep its session: the first usual place whose sockets have a short enough path.

    Raises:
        ConfigError: if there is none that can be written.
    """
    places = [os.environ.get("RAY_TMPDIR", ""), os.environ.get("TMPDIR", ""), "/tmp", "/var/tmp", "/dev/shm"]
    for place in filter(os.path.isabs, places):
        folder = Path(place) / "ray"
        there = folder if os.path.exists(folder) else folder.parent  # noqa: PTH110  (Path's may be refused)
        usable = os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)  # noqa: PTH112  (likewise)
        if len(os.fsencode(folder)) <= SESSION_LIMIT and usable:
            return str(folder)
    raise ConfigError(
        f"Ray needs a folder for its sockets that can be written and whose path has at most {SESSION_LIMIT - 4} bytes; "
        "name one by the environment variable RAY_TMPDIR."
    )


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
    passed = ("TF_CPP_MIN_LOG_LEVEL", "KERAS_HOME", "PYTHONSAFEPATH", *FIXED)
    if os.environ.get("KERAS_HOME"):
        os.environ["KERAS_HOME"] = os.path.abspath(os.environ["KERAS_HOME"])  # noqa: PTH100  (links stay)
    environment = {name: os.environ[name] for name in passed if name in os.environ} | _WORKER_SETTINGS
    arguments: dict[str, Any] = (
        {} if address else {"num_cpus": cpu_cores(), "include_dashboard": False, "_temp_dir": session_folder()}
    )
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
    return share_out(cpus, gpus, memory, jobs)


def stop() -> None:
    """Leave Ray; what was started here ends."""
    global _alone
    _alone = None
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()


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


def train_trial(values: dict[str, Value], task: Any, threads: int) -> None:
    """One trial inside a Ray Tune worker: reports its running best after each epoch, and at last that it is done.

    A failure is reported with its reason instead of raised: raising would end the warm process.
    """
    from ray import tune

    config = TrialConfig.from_mapping(values)
    started, setting_up, sent = time.perf_counter(), 0.0, 0
    last: dict[str, Any] = {}

    def report(progress: Any) -> None:
        nonlocal last, sent
        spent, best, latest = progress.spent(), progress.best, progress.epochs[-1]
        spent["start-up"] = spent.get("start-up", 0.0) + setting_up
        last = {
            task.metric: best.metrics[task.metric],
            "best_metrics": tuple(best.metrics.items()),  # Ray flattens dictionaries
            "best_epoch": best.epoch,
            "epoch": sum(record.phase == latest.phase for record in progress.epochs),
            "new_epochs": progress.epochs[sent:],
            "spent": tuple(spent.items()),
            "notes": tuple(_trainer.notes.items()),
        }
        sent = len(progress.epochs)
        tune.report(last)

    try:
        trainer = _trainer_for(task, threads)
        setting_up = time.perf_counter() - started
        trainer.run(config, report)
        tune.report({**last, "new_epochs": [], "finished": True})
    except Exception as error:
        tune.report({"failed": reason_of(error), "failure": kind_of(error), "finished": True})


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


class _Alone:
    """What runs inside the worker that has a machine to itself."""

    def __init__(self, threads: int) -> None:
        set_up(threads)

    def call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call the function here."""
        return function(*arguments)


_alone: Any = None


def run_alone(workers: Workers, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call ``function(*arguments)`` in a worker that has a whole machine's cores (and one GPU, if there is one).

    The worker stays for the next call, so that TensorFlow starts once; `release_alone` lets it go.

    Raises:
        whatever the function raises; WorkerDied if its process died.
    """
    import ray

    global _alone
    if _alone is None:
        cpus = max(1, math.floor(min(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["Alive"])))
        _alone = ray.remote(num_cpus=cpus, num_gpus=1 if workers.total_gpus else 0)(_Alone).remote(cpus)
    deaths = Deaths()
    try:
        return ray.get(_alone.call.remote(function, arguments))
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception) and not isinstance(cause, ray.exceptions.RayError):
            raise cause from error  # what the function raised
        release_alone()
        raise WorkerDied(*deaths.why(f"{type(error).__name__}: {error}")) from error


def release_alone() -> None:
    """End the worker of `run_alone`, so that its cores are free for the search."""
    import ray

    global _alone
    if _alone is not None:
        ray.kill(_alone)
        _alone = None


def retrain(
    task: Any, config: TrialConfig, seed: int, checkpoint: Path | None = None, model_file: Path | None = None
) -> Any:
    """In a worker: `Trainer.retrain` with this process's trainer."""
    return _trainer_for(task, 0).retrain(config, seed, checkpoint, model_file)


def train_small_cnn(
    task: Any,
    seed: int,
    backbone: str,
    augmentation: str,
    checkpoint: Path | None = None,
    model_file: Path | None = None,
) -> Any:
    """In a worker: `Trainer.train_small_cnn` with this process's trainer."""
    return _trainer_for(task, 0).train_small_cnn(seed, backbone, augmentation, checkpoint, model_file)


def gallery(task: Any, backbone: str, policies: list[str], columns: int) -> Any:
    """In a worker: `Trainer.augmentation_gallery`."""
    return _trainer_for(task, 0).augmentation_gallery(backbone, policies, columns)
