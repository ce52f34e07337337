"""Why trials fail, in four kinds, and how many failures make a comparison unfair.

What ended a worker process is found out in `bench.postmortem`.
"""

import errno
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.errors import TrialFailed, WorkerDied

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
    if isinstance(error, WorkerDied):
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
