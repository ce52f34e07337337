"""Which planned configuration suits the worker that has just become free: one it has networks and traced steps for.

Ray does not say which worker will run a trial. But a worker that ends a trial is the one that takes the next, so a
lane of trials, one after another, is a worker's. Where two become free at once they may change places: that costs
time, and nothing else.

What it gains, counted over the planned trials of 50 in the default space: 2 workers load 4 backbones and trace 7
suffixes where they would load 6 and trace 11; 8 workers load 8 and trace 15 in place of 20 and 21. Each takes seconds.
"""

from collections.abc import Hashable, Mapping, Sequence

from bench.search.parameters import Value
from bench.trial import TrialConfig


class Lanes:
    """What each of ``count`` workers has loaded and traced so far: (backbone,) and (backbone, depth)."""

    def __init__(self, count: int) -> None:
        self._known: list[set[tuple[Value, ...]]] = [set() for _ in range(count)]
        self._free = list(range(count))
        self._of: dict[str, int] = {}

    def choose(self, candidates: Sequence[Mapping[str, Value]]) -> int:
        """Index of the best of ``candidates`` (configurations, whole or in part) for the next free worker.

        Best is what the worker has traced already, then a backbone that it has loaded, then one that no other worker
        has; the first among equals.
        """
        lane = self._free[0] if self._free else 0
        own = self._known[lane]
        others = set().union(*(known for place, known in enumerate(self._known) if place != lane))

        def fit(index: int) -> tuple[bool, bool, bool, int]:
            backbone, depth = candidates[index].get("backbone"), candidates[index].get("unfreeze_depth")
            traced = bool(depth) and (backbone, depth) in own
            return traced, (backbone,) in own, (backbone,) not in others, -index

        return max(range(len(candidates)), key=fit)

    def begin(self, trial: str, config: TrialConfig) -> None:
        """The next free worker begins ``trial``."""
        if self._free:
            lane = self._of[trial] = self._free.pop(0)
            self._known[lane] |= {(config.backbone,), (config.backbone, config.unfreeze_depth)}

    def end(self, trial: str) -> None:
        """The worker of ``trial`` is free."""
        if trial in self._of:
            self._free.append(self._of.pop(trial))


class Places:
    """In which of ``count`` places, numbered from 0, each trial runs: a process keeps its place, for the timeline.

    A process is known once its trial reports. One that replaces another takes a place that no process holds, else one
    at which no trial is running.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._of: dict[Hashable, int] = {}
        self._running: dict[str, int] = {}

    def at(self, trial: str, process: Hashable | None) -> int:
        """The place of a running ``trial``, of which ``process`` has reported; None if none has."""
        if trial not in self._running:
            place = self._of.get(process) if process is not None else None
            if place is None or place in self._running.values():
                place = self._free()
            self._running[trial] = place
            if process is not None:
                self._of[process] = place
        return self._running[trial]

    def end(self, trial: str, died: bool = False) -> None:
        """The trial runs no longer; if its process ``died``, another will take its place."""
        place = self._running.pop(trial, None)
        if died:
            self._of = {process: its for process, its in self._of.items() if its != place}

    def _free(self) -> int:
        busy, held = set(self._running.values()), set(self._of.values())
        return min(range(self._count), key=lambda place: (place in busy, place in held, place))
