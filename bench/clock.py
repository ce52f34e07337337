"""Where time goes: seconds by activity, each second counted once."""

import time
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager

ACTIVITIES = (
    "start-up",
    "waiting",
    "filling",
    "tracing",
    "head training",
    "suffix training",
    "validation",
)
"""What a trial spends its time on: importing libraries and loading weights; waiting for features that another worker
computes; computing them; tracing functions that were not called before (and their first call); training the head on
cached features; training the suffix; scoring the validation images."""


class Clock:
    """Adds up seconds by activity; an activity within another one takes its seconds from it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: list[str] = []
        self._seen: set[Hashable] = set()
        self._since = 0.0

    @contextmanager
    def __call__(self, activity: str) -> Iterator[None]:
        """Count the time of the block as ``activity``."""
        self._note()
        self._running.append(activity)
        try:
            yield
        finally:
            self._note()
            self._running.pop()

    def first(self, call: Hashable, activity: str) -> AbstractContextManager[None]:
        """Count the time of the block as ``tracing`` if ``call`` was never seen before, else as ``activity``."""
        known = call in self._seen
        self._seen.add(call)
        return self(activity if known else "tracing")

    def _note(self) -> None:
        now = time.perf_counter()
        if self._running:
            current = self._running[-1]
            self.seconds[current] = self.seconds.get(current, 0.0) + now - self._since
        self._since = now

    def read(self) -> dict[str, float]:
        """Seconds by activity up to now, running ones included."""
        self._note()
        return dict(self.seconds)


def column(activity: str) -> str:
    """The column of trials.csv that holds the seconds of ``activity``."""
    return "seconds_" + activity.replace(" ", "_").replace("-", "_")
