"""This suite's search as a method of the comparison, whole or with one of its levers switched off.

A lever is an option of the method: ``cache``, ``warm``, ``asha`` and ``precision``; each is on unless it says
otherwise.
"""

from dataclasses import replace

from bench import cluster as workers
from bench.compare.methods.experiment import Experiment, Outcomes
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.plan import make_plan
from bench.settings import make_settings
from bench.train.precision import by_backbone, describe, fixed, measure
from bench.trial import TrialConfig


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Search, or train the fixed list, and write every trial's row."""
    from bench.search.tune import run_search

    task, space, options = experiment.task, experiment.space, experiment.method.options
    folder = RunDir(experiment.scratch / "run")
    folder.path.mkdir(parents=True)
    found = workers.start(experiment.jobs)
    chosen = options.get("precision")
    precision = fixed(task.architectures, chosen) if chosen else workers.call(found, measure, task)
    outcomes.note(f"backbones computed in {describe(task.architectures, precision)}")
    cache_bytes = task.cache_bytes if options.get("cache", True) else 0
    asha = options.get("asha", True) and not experiment.configurations
    try:
        run_search(
            make_plan(space, list(task.architectures.values()), experiment.budget),
            replace(task, precision=by_backbone(precision), cache_bytes=cache_bytes),
            replace(found, warm=options.get("warm", True)),
            make_settings(
                name="search", seed=task.seed, budget=experiment.budget, scheduler="asha" if asha else "none"
            ),
            TrialLog(folder),
            Watcher(outcomes),
        )
    finally:
        workers.stop()


class Watcher:
    """Writes the row of every trial that ends."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """Nothing to write."""

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """Nothing to write."""

    def note(self, text: str) -> None:
        """What the user of a run would be told."""
        self._outcomes.note(text)

    def trial_ended(self, record: TrialRecord) -> None:
        """Its row."""
        auc = record.metrics["auc"] if record.metrics else None
        self._outcomes.add(record.config, auc, record.epochs, record.state, record.reason)
