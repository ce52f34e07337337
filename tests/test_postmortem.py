"""What is said of a worker that has ended: its own reason, and memory only where somebody says so."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import failures
from bench.failures import ERROR, MACHINE, MEMORY

ABRUPT = (
    "The actor died unexpectedly before finishing this task.\n\tclass_name: ImplicitFunc\n\tpid: 77\n\tip: 10.0.0.1\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker "
    "unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the process was "
    "killed by the OOM killer due to high memory usage, (2) ray stop --force was called, or (3) the worker crashed "
    "unexpectedly due to SIGSEGV or another unexpected error. If the process was killed by the kernel OOM killer "
    "(verifiable by checking for OOM in dmesg), consider enabling resource isolation to prevent node deaths."
)
"""What Ray 2.60 says of SIGKILL, SIGSEGV and `os._exit` alike."""
EXIT = "pid: 77\nWorker exit detail: Worker exits unexpectedly. Worker exits with an exit code"
CREATION = (
    "The actor died because of an error raised in its creation task, ray::_Alone.__init__() (pid=77, ip=10.0.0.1)\n"
    '  File "bench/device.py", line 40, in set_up\n    import tensorflow as tf\n                 ^^^^\n'
    "ImportError: cannot import name 'layers' from 'keras' (/home/ada/keras.py)\n"
)
MONITOR = (
    "pid: 77\nThe actor is dead because its worker process has died. Worker exit type: NODE_OUT_OF_MEMORY Worker exit "
    "detail: Task was killed due to the node running low on memory."
)
NODE = "pid: 77\nThe actor died because its node has died. Node Id: 25b5. Worker exit type: NODE_DIED"


@pytest.mark.parametrize(
    ("told", "log", "killed", "kind", "said"),
    [
        (
            ABRUPT,
            "",
            False,
            MACHINE,
            "SIGKILL, or an end as abrupt) and left no word; the kernel counts no kill for want",
        ),
        (ABRUPT, "", None, MACHINE, "the kernel does not say whether for want of memory"),
        (ABRUPT, "", True, MEMORY, "the kernel killed the worker process because memory had run out"),
        (ABRUPT, "*** SIGSEGV received at time=1 on cpu 0 ***\nPC: @ 0x7f", True, MACHINE, "crashed by SIGSEGV"),
        (
            ABRUPT,
            "2026 F tensorflow/core/x.cc:9] Check failed: ok\n*** SIGABRT received at time=1 ***\n",
            False,
            MACHINE,
            "crashed by SIGABRT: 2026 F tensorflow/core/x.cc:9] Check failed: ok",
        ),
        (
            ABRUPT,
            "Traceback\nValueError: module://x is no backend\n",
            False,
            ERROR,
            "ended: ValueError: module://x is no",
        ),
        (f"{EXIT} 4.", ":actor_name:A\n", False, ERROR, "the worker process exited with code 4"),
        (f"{EXIT} 1. The process receives a SIGTERM.", "", False, MACHINE, "terminated from outside (SIGTERM)"),
        (
            CREATION,
            "",
            True,
            ERROR,
            "could not start: ImportError: cannot import name 'layers' from 'keras' (/home/ada",
        ),
        (MONITOR, "", False, MEMORY, "Ray ended the worker process because the machine's memory was running out"),
        ("OutOfMemoryError: Task was killed", "", False, MEMORY, "memory was running out"),
        (
            NODE,
            "",
            False,
            MACHINE,
            "the machine of the worker process was lost: The actor died because its node has died",
        ),
        ("", "", False, MACHINE, "Ray gave no reason"),
    ],
)
def test_the_reason_of_an_end(tmp_path: Path, told: str, log: str, killed: bool | None, kind: str, said: str) -> None:
    (tmp_path / "worker-ab12-01000000-77.err").write_text(log)
    (tmp_path / "worker-ab12-01000000-78.err").write_text("*** SIGBUS received at time=1 ***")  # another worker's
    found, reason = failures.why(told, tmp_path, killed)
    assert (found, said in reason) == (kind, True), reason
    assert "may have run out" not in reason and "\n" not in reason
    assert ("memory" in reason) == (kind == MEMORY or "want of memory" in reason)


@pytest.mark.parametrize(
    ("status", "said"), [(-9, "was killed by SIGKILL"), (3, "exited with code 3"), (-99, "was killed by signal 99")]
)
def test_the_end_of_a_process_of_our_own(status: int, said: str) -> None:
    assert failures.by_status(status) == said


@pytest.mark.parametrize(
    ("groups", "file", "content"),
    [
        ("0::/user/run\n", "user/run/memory.events", "low 0\noom 4\noom_kill 3\noom_group_kill 0\n"),
        ("4:cpu,memory:/box\n0::/\n", "memory/box/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"),
    ],
)
def test_the_kernels_count_of_kills(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, file: str, content: str
) -> None:
    root = tmp_path / "cgroup"
    (root / file).parent.mkdir(parents=True)
    (root / file).write_text(content)
    (tmp_path / "self").write_text(groups)
    monkeypatch.setattr(failures, "CGROUPS", root)
    monkeypatch.setattr(failures, "OWN_GROUPS", tmp_path / "self")
    assert failures.oom_kills() == 3


def test_a_kernel_that_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CGROUPS", "OWN_GROUPS", "VMSTAT"):
        monkeypatch.setattr(failures, name, tmp_path / "none")
    assert failures.oom_kills() is None


@pytest.mark.end_to_end
def test_what_really_ends_workers_is_told(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Ray's own messages, logs and exceptions, of the version that is installed."""
    from ray import cloudpickle

    from bench import cluster as workers
    from bench.errors import TrialFailed

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(workers, "_Worker", _Plain)
    found = workers.start(jobs=1)
    try:
        reasons = {}
        for name, function, argument in (
            ("kill", _raise_signal, signal.SIGKILL),
            ("crash", _raise_signal, signal.SIGSEGV),
            ("terminate", _raise_signal, signal.SIGTERM),
            ("exit", os._exit, 3),
        ):
            with pytest.raises(TrialFailed) as caught:
                workers.call(found, function, int(argument))
            reasons[name] = str(caught.value)
        assert workers.call(found, abs, -2) == 2, "and the next one lives"
        with pytest.raises(TrialFailed, match=r"could not start: ImportError: /home/ada/keras\.py is no Keras$"):
            workers.end([0])
            monkeypatch.setattr(workers, "_Worker", _CannotStart)
            workers.call(found, abs, -2)
    finally:
        workers.stop()
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert "SIGKILL" in reasons["kill"] and "SIGKILL" in reasons["exit"]
    assert "crashed by SIGSEGV" in reasons["crash"]
    assert "SIGTERM" in reasons["terminate"]
    assert not any("may have run out" in reason for reason in reasons.values())
    assert "OOM" not in "".join(capfd.readouterr()), "nor does Ray guess on the screen"


def _raise_signal(number: int) -> None:
    import time

    os.kill(os.getpid(), number)
    time.sleep(20)


class _Plain:
    """A worker that loads no TensorFlow before it ends."""

    def __init__(self, threads: int) -> None:
        pass

    def call(self, function: Callable[[], object]) -> tuple[object, float, float]:
        """As `bench.cluster` has it."""
        return function(), 0.0, 1.0


class _CannotStart:
    def __init__(self, threads: int) -> None:
        raise ImportError("/home/ada/keras.py is no Keras")

    def call(self, function: object) -> None:
        """Never reached."""
