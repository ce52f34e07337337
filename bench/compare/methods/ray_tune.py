"""Plain Ray Tune with OptunaSearch and ASHA, as Ray's documentation shows it.

A trial is a fresh process with a CPU of its own (or a share of the GPU); unless ``jobs`` says otherwise as many run at
once as there are CPUs, with one TensorFlow thread each: two such train 5 to 15 % faster than one of two threads.
"""

import logging
import os
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from bench.cluster import Workers, on_loopback, session, share_out
from bench.compare.methods.experiment import Experiment, Outcomes
from bench.device import cpu_cores
from bench.models.standardisation import Standard
from bench.train.task import Task
from bench.trial import TrialConfig

SETTINGS = {
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Against chatter; and a trial that fails reports no score."""


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Search, or train the fixed list, and write every trial's row."""
    search(experiment, outcomes)


def search(experiment: Experiment, outcomes: Outcomes) -> dict[str, Standard]:
    """As `run`; returns the Normalization layer of each backbone."""
    task, space = experiment.task, experiment.space
    workers = start(experiment.jobs)
    outcomes.note(workers.describe())
    standards = standardise(task)
    trainable = tune.with_parameters(train_trial, task=task, standards=standards, threads=workers.threads)
    grid: dict[str, Any] | None = None
    sampling: dict[str, Any] = {"num_samples": experiment.budget}
    if experiment.configurations:
        grid = {"given": tune.grid_search([asdict(config) for config in experiment.configurations])}
        sampling = {"num_samples": 1}
    else:
        points = [dict(point) for point in space.points]
        sampling["search_alg"] = OptunaSearch(
            space.suggest, points_to_evaluate=points or None, metric="val_auc", mode="max", seed=task.seed
        )
        sampling["scheduler"] = ASHAScheduler(
            time_attr="epoch", max_t=task.epochs, grace_period=min(2, task.epochs), reduction_factor=3
        )
    tuner = tune.Tuner(
        tune.with_resources(trainable, workers.resources),
        param_space=grid,
        tune_config=tune.TuneConfig(metric="val_auc", mode="max", **sampling),
        run_config=tune.RunConfig(
            name="search", storage_path=str(experiment.scratch), verbose=0, callbacks=[Watcher(outcomes)]
        ),
    )
    try:
        tuner.fit()
    finally:
        ray.shutdown()
        _session.close()
    return standards


_session = ExitStack()


def start(jobs: int) -> Workers:
    """Start Ray on this machine, quietly."""
    os.environ.update(SETTINGS)
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    on_loopback()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=cpu_cores(),
            _temp_dir=_session.enter_context(session()),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
        )
    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
    return share_out(cpus, gpus, float("inf"), jobs or gpus or cpus)


def standardise(task: Task) -> dict[str, Standard]:
    """The Normalization layer of each backbone, adapted once, before the search, with the whole machine."""
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    adapt = ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]), num_gpus=gpus, max_calls=1)(_standards)
    standards: dict[str, Standard] = ray.get(adapt.remote(task))
    return standards


def _standards(task: Task) -> dict[str, Standard]:
    from bench.compare.methods.keras_training import standardisation

    return {name: standardisation(task, name) for name in task.weights.files}


def train_trial(values: dict[str, object], task: Task, standards: Mapping[str, Standard], threads: int) -> None:
    """One trial, in a process of its own."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    from bench.compare.methods.keras_training import train

    config = _config(values)
    train(task, config, standards[config.network], lambda progress: tune.report(asdict(progress)))


class Watcher(tune.Callback):  # type: ignore[misc]
    """Writes the row of every trial that ends, in the process that runs the search."""

    def __init__(self, outcomes: Outcomes) -> None:
        self._outcomes = outcomes

    def __getstate__(self) -> dict[str, object]:
        return {}  # Ray pickles its callbacks, and outcomes stay here

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It came to its end, or ASHA stopped it."""
        result = trial.last_result
        reason = "" if result["last"] else f"stopped by ASHA after epoch {result['epoch']}"
        state = "pruned" if reason else "completed"
        self._outcomes.add(_config(trial.config), result["val_auc"], result["epochs"], state, reason)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed."""
        error = str(trial.get_error() or "the process ended without a result").strip().splitlines()[-1]
        self._outcomes.add(
            _config(trial.config), None, int((trial.last_result or {}).get("epochs", 0)), "failed", error
        )


def _config(values: Any) -> TrialConfig:
    """What Ray has given to a trial: a configuration of the fixed list, or one that was sampled."""
    return TrialConfig.from_mapping(values.get("given", values))
