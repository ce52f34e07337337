"""Why a worker process ended: what Ray, the kernel and the worker's own log say, and nothing that they do not."""

import re
import signal
from pathlib import Path

from bench.failures import ERROR, MACHINE, MEMORY, kind_in

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")
VMSTAT = Path("/proc/vmstat")
"""Where Linux tells of control groups, and counts for the whole machine."""

_LOW_MEMORY = re.compile(r"NODE_OUT_OF_MEMORY|running low on memory|OutOfMemoryError")
_LOST = re.compile(
    r"NODE_DIED|node (?:failure|died|is dead|was terminated)|its node|node it was running on|marked dead", re.I
)
_RAISED = "raised in its creation task"
_TRACEBACK = "Traceback (most recent call last)"
_EXIT = re.compile(r"exits? with (?:an )?exit code (-?\d+)", re.I)
_TERMINATED = "receives a SIGTERM"
_CRASH = re.compile(r"\*\*\* (SIG[A-Z]+) received")
_FATAL_CHECK = re.compile(r"\bF\d{4} |: F (?:tensorflow|external|\./)|Check failed:")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|Failed)\b")
_TAIL = 64 * 2**10
"""Bytes at the end of a log that are read."""


def oom_kills() -> int | None:
    """How often the kernel has killed a process of this control group for want of memory; None where it does not say.

    Source: https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events) and, of version 1, memory.oom_control.
    """
    for file in _counters():
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except (OSError, UnicodeDecodeError):
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.isdigit():
                return int(value)
    return None


def _counters() -> list[Path]:
    """Files that count, the one of the nearest control group first; the last counts for the whole machine."""
    found: list[Path] = []
    try:
        groups = OWN_GROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:
        groups = []
    for line in groups:
        _, controllers, path = line.split(":", 2)
        inside = path.strip("/")
        if not controllers:
            found += [CGROUPS / inside / "memory.events", CGROUPS / "memory.events"]
        elif "memory" in controllers.split(","):
            memory = CGROUPS / "memory"
            found += [memory / inside / "memory.oom_control", memory / "memory.oom_control"]
    return [*found, VMSTAT]


def by_status(status: int) -> str:
    """How a process of our own ended, by its return code: ``was killed by SIGKILL``, ``exited with code 3``."""
    if status >= 0:
        return f"exited with code {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def why(message: str, logs: Path | None, killed_for_memory: bool | None) -> tuple[str, str]:
    """The kind of failure, one of `bench.failures.KINDS`, and the reason in words.

    Args:
        message: the message of Ray's exception; empty where it dropped a trial without a word.
        logs: folder of the logs of this machine's workers; None where there is none.
        killed_for_memory: whether the kernel has killed processes of this machine for want of memory since the worker
            was last well; None where it does not say.
    """
    if _LOW_MEMORY.search(message):
        return MEMORY, "Ray ended the worker process because the machine's memory was running out"
    if _RAISED in message or _TRACEBACK in message:
        last = _last_line(message)
        return kind_in(last), f"the worker process {'could not start' if _RAISED in message else 'failed'}: {last}"
    if _LOST.search(message):
        return MACHINE, f"the machine of the worker process was lost: {_first_sentence(message)}"
    log = _log(message, logs)
    crash = _CRASH.findall(log)
    if crash:
        return MACHINE, f"the worker process crashed by {crash[-1]}{_said(log)}"
    if _TERMINATED in message:
        return MACHINE, "the worker process was terminated from outside (SIGTERM)"
    code = _EXIT.search(message)
    if code:
        return ERROR, f"the worker process exited with code {code[1]}{_said(log)}"
    if killed_for_memory:
        return MEMORY, "the kernel killed the worker process because memory had run out (SIGKILL; it counts oom_kill)"
    if _said(log):
        return ERROR, f"the worker process ended{_said(log)}"
    if "unexpectedly exits with a connection error" in message or "died unexpectedly" in message:
        kernel = "does not say whether for" if killed_for_memory is None else "counts no kill for"
        return MACHINE, (
            "the worker process was killed (SIGKILL, or an end as abrupt) and left no word; "
            f"the kernel {kernel} want of memory"
        )
    return MACHINE, f"the worker process ended: {_first_sentence(message) or 'Ray gave no reason'}"


def _log(message: str, logs: Path | None) -> str:
    """The end of what the worker that the ``message`` is about has written to its standard error."""
    found = re.search(r"pid[:=]\s*(\d+)", message, re.I)
    if found is None or logs is None:
        return ""
    for file in sorted(logs.glob(f"worker-*-{found[1]}.err")):
        try:
            return file.read_bytes()[-_TAIL:].decode("utf-8", errors="replace")
        except OSError:
            continue
    return ""


def _said(log: str) -> str:
    """`: ` and the line of a log that says why it ends: a failed check, or the exception that it ends with."""
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(":")]
    checks = [line for line in lines if _FATAL_CHECK.search(line)]
    if checks:
        return f": {checks[-1][:400]}"
    return f": {lines[-1][:400]}" if lines and _EXCEPTION.match(lines[-1]) else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    raised = [line for line in lines if _EXCEPTION.match(line)]
    return (raised or lines or [""])[-1][:400]


def _first_sentence(message: str) -> str:
    """The sentence of Ray's message that says what happened; what follows it is advice."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and not re.match(r"\s*[\w ]+: \S+$", line)]
    return re.split(r"(?<=[.!])\s", lines[-1] if lines else "", maxsplit=1)[0].rstrip(".")[:400]
