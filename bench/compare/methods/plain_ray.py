"""Plain Ray Tune with OptunaSearch and ASHA, as Ray's documentation shows it.

A trial is a fresh process with a CPU of its own (or a share of the GPU); unless ``jobs`` says otherwise as many run at
once as there are CPUs, with one TensorFlow thread each: two such train 5 to 15 % faster than one of two threads.
"""

import logging
import os
import warnings
from collections.abc import Mapping
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from bench.cluster import Workers, session_folder, share_out
from bench.compare.methods.method import main
from bench.compare.spec import Outcomes, Spec
from bench.device import cpu_cores
from bench.trial import TrialConfig

SETTINGS = {
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_WARN_THRESHOLD_S": "60",
}
"""Against chatter; and a trial that fails reports no score."""


def run(spec: Spec, outcomes: Outcomes) -> None:
    """Search, or train the fixed list, and note every trial."""
    workers = start(spec.jobs)
    outcomes.note(workers.describe())
    standards = standardise(spec)
    trainable = tune.with_parameters(train_trial, spec=spec, standards=standards, threads=workers.threads)
    search: dict[str, Any] = {"num_samples": spec.budget}
    if not spec.configurations:
        points = [dict(point) for point in spec.space.points]
        search["search_alg"] = OptunaSearch(
            spec.space.suggest, points_to_evaluate=points or None, metric="val_auc", mode="max", seed=spec.seed
        )
        search["scheduler"] = ASHAScheduler(
            time_attr="epoch", max_t=spec.epochs, grace_period=min(2, spec.epochs), reduction_factor=3
        )
    grid = {"given": tune.grid_search([dict(given) for given in spec.configurations])}
    tuner = tune.Tuner(
        tune.with_resources(trainable, workers.resources),
        param_space=grid if spec.configurations else None,
        tune_config=tune.TuneConfig(
            metric="val_auc",
            mode="max",
            **({**search, "num_samples": 1} if spec.configurations else search),
        ),
        run_config=tune.RunConfig(
            name="search", storage_path=str(spec.scratch), verbose=0, callbacks=[Watcher(outcomes, spec.epochs)]
        ),
    )
    try:
        tuner.fit()
    finally:
        ray.shutdown()


def start(jobs: int) -> Workers:
    """Start Ray on this machine, quietly."""
    os.environ.update(SETTINGS)
    for name in ("ray.tune", "ray.train", "ray.air"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=cpu_cores(),
            _temp_dir=session_folder(),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="CRITICAL",
        )
    found = ray.cluster_resources()
    cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
    return share_out(cpus, gpus, float("inf"), jobs or gpus or cpus)


def standardise(spec: Spec) -> dict[str, Any]:
    """The Normalization layer of each backbone, adapted once, before the search, with the whole machine."""
    gpus = 1 if ray.cluster_resources().get("GPU") else 0
    adapt = ray.remote(num_cpus=int(ray.cluster_resources()["CPU"]), num_gpus=gpus, max_calls=1)(_standards)
    standards: dict[str, Any] = ray.get(adapt.remote(spec))
    return standards


def _standards(spec: Spec) -> dict[str, Any]:
    from bench.compare.lower_bound import model

    return {name: model.standardisation(spec, name) for name in spec.images}


def train_trial(values: Mapping[str, Any], spec: Spec, standards: Mapping[str, Any], threads: int) -> None:
    """One trial, in a process of its own."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    from bench.compare.lower_bound import model

    config = TrialConfig.from_mapping(values.get("given", values))
    model.train(spec, config, standards[config.backbone], lambda result: tune.report(dict(result)))


class Watcher(tune.Callback):  # type: ignore[misc]
    """Notes every trial that ends, in the process that runs the search."""

    def __init__(self, outcomes: Outcomes, epochs: int) -> None:
        self._outcomes = outcomes
        self._epochs = epochs

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It came to its end, or ASHA stopped it."""
        result = trial.last_result
        reason = "" if result["last"] else f"stopped by ASHA after epoch {result['epoch']}"
        state = "pruned" if reason else "completed"
        self._outcomes.add(_config(trial), result["val_auc"], result["epochs"], state, reason)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """It failed."""
        error = str(trial.get_error() or "the process ended without a result").strip().splitlines()[-1]
        self._outcomes.add(_config(trial), None, int((trial.last_result or {}).get("epochs", 0)), "failed", error)


def _config(trial: Any) -> Mapping[str, Any]:
    values: Mapping[str, Any] = trial.config.get("given", trial.config)
    return values


if __name__ == "__main__":
    main("bench.compare.methods.plain_ray")
