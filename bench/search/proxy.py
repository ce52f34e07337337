"""Trials as Ray Tune knows them: each stands for one that a worker of `bench.cluster` trains.

Ray Tune starts processes for its trials and ends them with the search. What is dear, though, is what a process has
loaded, built and traced, and the trainings after the search need it too. So the process that Ray Tune has reserves
next to nothing: it hands its trial to the worker that the search has chosen, and passes on what that reports.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from ray import tune
from ray.tune.execution.tune_controller import TuneController

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


class KeepingController(TuneController):  # type: ignore[misc]
    """Ray Tune's loop over trials, which lets no process go that it has started.

    Ray's own gives a trial whose process is starting that of one that has just ended, and ends the new one; and of two
    that are free at once it keeps one. Where trials take less than the start of a process (a head on cached features:
    less than a second) it would never have two.
    """

    proxies = 0
    """How many processes are kept."""
    _keeping = False

    def _maybe_reuse_cached_actor(self, trial: Any) -> bool:
        return trial not in self._trial_to_actor and super()._maybe_reuse_cached_actor(trial)

    def _schedule_trial_actor(self, trial: Any) -> None:
        if not self._keeping:
            self._keeping = True
            self._actor_cache.increase_max(trial.placement_group_factory, self.proxies)
        super()._schedule_trial_actor(trial)


@contextmanager
def kept(proxies: int) -> Iterator[None]:
    """Within the block Ray Tune keeps so many processes."""
    controller = type("Controller", (KeepingController,), {"proxies": proxies})
    with mock.patch.object(importlib.import_module("ray.tune.tune"), "TuneController", controller):
        yield
