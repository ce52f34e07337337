"""Trials as Ray Tune knows them: each stands for one that a worker of `bench.cluster` trains.

Ray Tune starts processes for its trials and ends them with the search. What is dear, though, is what a process has
loaded, built and traced, and the trainings after the search need it too. So the process that Ray Tune has reserves
next to nothing: it hands its trial to the worker that the search has chosen, and passes on what that reports.
"""

from collections.abc import Iterator
from typing import Any

from ray import tune

from bench.cluster import epochs_of

RESOURCES = {"cpu": 0, "memory": 1.0}
"""What Ray is to reserve for a proxy: it does not take a trial that needs nothing at all."""


class TrialProxy(tune.Trainable):  # type: ignore[misc]
    """Ray Tune's end of a trial; its configuration has the name of the worker among its values."""

    def setup(self, config: dict[str, Any], task: list[Any]) -> None:
        """Stand for a first trial; ``task`` holds Ray's reference to what all trials share."""
        self._task = task[0]
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Stand for another trial."""
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        values = {name: value for name, value in config.items() if name != "worker"}
        self._epochs: Iterator[dict[str, Any]] = epochs_of(config["worker"], values, self._task)

    def step(self) -> dict[str, Any]:
        """What the trial reports after its next epoch."""
        report = next(self._epochs)
        return {**report, "done": "finished" in report}
