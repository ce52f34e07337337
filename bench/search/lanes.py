"""Which planned configuration suits the worker that has just become free: one it has networks and traced steps for.

What it gains, counted over the planned trials of 50 in the default space: 2 workers load 4 backbones and trace 7
suffixes where they would load 6 and trace 11; 8 workers load 8 and trace 15 in place of 20 and 21. Each takes seconds.
"""

from collections.abc import Mapping, Sequence

from bench.search.parameters import GIVEN, Value, network_name
from bench.trial import TrialConfig


class Lanes:
    """What each of ``count`` workers has loaded and traced so far: (network,) and (network, depth)."""

    def __init__(self, count: int) -> None:
        self._known: list[set[tuple[Value, ...]]] = [set() for _ in range(count)]
        self._free = list(range(count))

    def choose(self, candidates: Sequence[Mapping[str, Value]]) -> int:
        """Index of the best of ``candidates`` (configurations, whole or in part) for the next free worker.

        Best is what the worker has traced already, then a network that it has loaded, then one that no other worker
        has; the first among equals.
        """
        lane = self._free[0] if self._free else 0
        own = self._known[lane]
        others = set().union(*(known for place, known in enumerate(self._known) if place != lane))

        def fit(index: int) -> tuple[bool, bool, bool, int]:
            one = candidates[index]
            network, depth = (
                network_name(str(one.get("backbone")), str(one.get("initialisation", GIVEN))),
                one.get("unfreeze_depth"),
            )
            traced = bool(depth) and (network, depth) in own
            return traced, (network,) in own, (network,) not in others, -index

        return max(range(len(candidates)), key=fit)

    def begin(self, config: TrialConfig) -> int:
        """The next free worker begins a trial; returns its number."""
        lane = self._free.pop(0)
        self._known[lane] |= {(config.network,), (config.network, config.unfreeze_depth)}
        return lane

    def end(self, lane: int, died: bool = False) -> None:
        """A worker is free; if it ``died``, another takes its place that has nothing loaded."""
        self._free.append(lane)
        if died:
            self._known[lane] = set()
