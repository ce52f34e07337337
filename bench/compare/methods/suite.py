"""This suite's search as a method of the comparison, whole or with one of its levers switched off.

A lever is an option of the specification: ``cache``, ``warm``, ``asha`` and ``precision``; each is on unless it says
otherwise.
"""

from typing import Any

from bench import cluster as workers
from bench.compare.methods.method import main
from bench.compare.spec import Outcomes, Spec
from bench.run.folder import RunDir
from bench.run.results import TrialLog, TrialRecord
from bench.search.plan import make_plan
from bench.train.task import Task
from bench.trial import TrialConfig


def run(spec: Spec, outcomes: Outcomes) -> None:
    """Search, or train the fixed list, and note every trial."""
    from bench.search.tune import run_search

    folder = RunDir(spec.scratch / "run")
    folder.path.mkdir(parents=True)
    found = workers.start(spec.jobs)
    precision = spec.options.get("precision") or workers.choose_precision(found)
    workers.release_alone()
    outcomes.note(f"backbones computed in {precision}")
    asha = spec.options.get("asha", True) and not spec.configurations
    try:
        run_search(
            space=spec.space,
            task=make_task(spec, precision),
            workers=found,
            run=folder,
            log=TrialLog(folder),
            plan=make_plan(spec.space, list(spec.backbones.values()), spec.budget),
            budget=spec.budget,
            scheduler="asha" if asha else "none",
            time_limit=None,
            watcher=Watcher(outcomes),
            warm=spec.options.get("warm", True),
        )
    finally:
        workers.stop()


def make_task(spec: Spec, precision: str) -> Task:
    """What every trial shares, as the pipeline would have it."""
    return Task(
        images=spec.images,
        rows=spec.rows,
        labels=spec.labels,
        n_classes=spec.n_classes,
        backbones=spec.backbones,
        weights=spec.weights,
        policies=spec.space.policies,
        metric="auc",
        epochs=spec.epochs,
        patience=spec.patience,
        views=spec.views,
        seed=spec.seed,
        cache=spec.cache,
        cache_bytes=spec.cache_bytes if spec.options.get("cache", True) else 0,
        depths=spec.space.depths,
        precision=precision,
    )


class Watcher:
    """Notes every trial that ends."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def trial_started(self, trial: int, config: TrialConfig) -> None:
        """Nothing to note."""

    def trial_scored(self, trial: int, score: float, epoch: int) -> None:
        """Nothing to note."""

    def note(self, text: str) -> None:
        """What the user of a run would be told."""
        self._outcomes.note(text)

    def trial_ended(self, record: TrialRecord) -> None:
        """Its row."""
        auc = record.metrics["auc"] if record.metrics else None
        config: dict[str, Any] = vars(record.config)
        self._outcomes.add(config, auc, record.epochs, record.state, record.reason)


if __name__ == "__main__":
    main("bench.compare.methods.suite")
