"""Why trials fail and worker processes end, in four kinds, and how many failures make a comparison unfair.

Of a worker process that has ended, what Ray, the kernel and the worker's own log say, and nothing that they do not.
"""

import errno
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import TrialFailed

MEMORY = "memory"
"""Main or GPU memory ran out, as the framework, the kernel or Ray says."""
NOT_FINITE = "non-finite loss"
"""The loss or a probability left the finite numbers: the configuration's own doing."""
MACHINE = "machine"
"""A worker was killed or crashed, a machine was lost, a disk was full: nothing that the configuration did."""
ERROR = "error"
"""An exception that nobody expected."""
KINDS = (MEMORY, NOT_FINITE, MACHINE, ERROR)
TRIED_AGAIN = (MEMORY, MACHINE)
"""Kinds that another attempt may well not meet: such a trial does not use up the budget, and is tried again."""

LOST_BY_ACCIDENT = 0.05
"""Share of all trials that may fail for other reasons than memory and a loss that is not finite."""
LOST_BY_BACKBONE = 1 / 3
"""Share of its own trials, whatever the reason, that a backbone may not reach and still be compared fairly."""
EXPLODED = 10.0
"""A loss after an epoch beyond so many times that of a constant guess is no failure, but is reported."""

_OF_THE_MACHINE = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE),
    *(errno.EMFILE, errno.ENFILE, errno.ENODEV),
)
_FULL = re.compile(r"no space left on device|disk quota exceeded|input/output error|stale file handle", re.I)
_NOT_FINITE = re.compile(r"\bloss became (nan|-?inf)|\bnot finite\b")
_NO_MEMORY = re.compile(r"out of memory|out_of_memory|^memory ran out", re.I)
_NO_WORKER = re.compile(r"^the worker process ended without a result")

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


def kind_of(error: BaseException) -> str:
    """The kind of the exception that ended a trial, by it and by what caused it."""
    return next(filter(None, map(_own_kind, _causes(error))), ERROR)


def reason_of(error: BaseException) -> str:
    """The exception in one line: a `TrialFailed` in its own words, others under their names.

    A full disk counts more than what it was turned into: TensorFlow reports it as a resource that is exhausted.
    """
    error = next((one for one in _causes(error) if _own_kind(one) == MACHINE), error)
    first = next(iter(str(error).strip().splitlines()), "")
    return first if first and isinstance(error, TrialFailed) else f"{type(error).__name__}: {first}"


def told(error: BaseException) -> str:
    """All that the exception says in one line, under its name."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def kind_in(reason: str) -> str:
    """The kind of a failure of which only the sentence is left, as in tables of earlier versions."""
    if _FULL.search(reason) or _NO_WORKER.search(reason):
        return MACHINE
    if _NO_MEMORY.search(reason) or reason.startswith(("MemoryError", "ResourceExhaustedError")):
        return MEMORY
    return NOT_FINITE if _NOT_FINITE.search(reason) else ERROR


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, the last cause first."""
    if error.__cause__ is not None:
        yield from _causes(error.__cause__)
    yield error


def _own_kind(error: BaseException) -> str:
    text, name = str(error), type(error).__name__
    if isinstance(error, TrialFailed) and error.kind:
        return error.kind
    if (isinstance(error, OSError) and error.errno in _OF_THE_MACHINE) or _FULL.search(text):
        return MACHINE
    if isinstance(error, OSError):
        return MEMORY if error.errno == errno.ENOMEM else ""
    if isinstance(error, MemoryError) or name == "ResourceExhaustedError":
        return MEMORY
    if name == "InternalError" and _NO_MEMORY.search(text):  # as CUDA reports it through TensorFlow
        return MEMORY
    return NOT_FINITE if isinstance(error, TrialFailed) and _NOT_FINITE.search(text) else ""


@dataclass(frozen=True)
class End:
    """How the last attempt at one configuration ended.

    Attributes:
        backbone: its name.
        failure: one of `KINDS`; empty if it did not fail.
        reason: why it failed.
    """

    backbone: str
    failure: str = ""
    reason: str = ""


def unfair(ends: Sequence[End], title: Callable[[str], str]) -> list[str]:
    """Sentences on failures that leave a comparison unfair; none if it is fair.

    Args:
        ends: of every configuration that was tried.
        title: a backbone's title, by its name.
    """
    found = []
    accidents = [end for end in ends if end.failure in (MACHINE, ERROR)]
    if len(accidents) > LOST_BY_ACCIDENT * len(ends):
        found.append(
            f"{_share(len(accidents), len(ends))} failed for other reasons than memory or a loss that is not finite, "
            f"more than {LOST_BY_ACCIDENT:.0%} of them; most often: {_most_often(accidents)}."
        )
    for name in dict.fromkeys(end.backbone for end in ends):
        own = [end for end in ends if end.backbone == name]
        lost = [end for end in own if end.failure]
        if len(lost) >= LOST_BY_BACKBONE * len(own):
            found.append(
                f"{title(name)} lost {_share(len(lost), len(own))}, a third or more; most often: {_most_often(lost)}."
            )
    return found


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} trial{'s' * (whole != 1)} ({part / whole:.0%})"


def _most_often(ends: Sequence[End]) -> str:
    return Counter(end.reason for end in ends).most_common(1)[0][0].rstrip(".")


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
    """The kind of failure, one of `KINDS`, and the reason in words.

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
