"""KerasTuner's Hyperband, Bayesian optimisation and random search, as its documentation shows them.

A `HyperModel` with `build` and `fit`; one process with all threads, trials one after the other, which is its way on
one machine. Its Hyperband trains what it promotes on from that trial's checkpoint, and counts that as a trial.
"""

import contextlib
import os
from typing import Any

import keras_tuner

from bench.compare.methods import keras_training
from bench.compare.methods.experiment import Experiment, Outcomes
from bench.search.parameters import PARAMETERS, Value
from bench.search.space import Parameter, Space
from bench.train.task import Task
from bench.trial import TrialConfig

OBJECTIVE = "val_auc"


def run(experiment: Experiment, outcomes: Outcomes) -> None:
    """Search, and write every trial's row."""
    task, space = experiment.task, experiment.space
    hypermodel = TwoPhases(task, space)
    tuner = make_tuner(experiment, hypermodel)
    ended = tuner.on_trial_end

    def on_trial_end(trial: Any) -> None:
        config = TrialConfig.from_mapping(values_of(trial.hyperparameters, space))
        state = "completed" if trial.status == "COMPLETED" else "failed"
        auc = float(trial.metrics.get_best_value(OBJECTIVE)) if state == "completed" else None
        reason = "" if state == "completed" else str(trial.message or "").strip().splitlines()[-1]
        outcomes.add(config, auc, hypermodel.epochs, state, reason)
        ended(trial)

    tuner.on_trial_end = on_trial_end
    tuner.search(epochs=task.epochs, verbose=0)


def make_tuner(experiment: Experiment, hypermodel: keras_tuner.HyperModel) -> Any:
    """The tuner that the method's option ``tuner`` names: hyperband, bayesian or random."""
    name, budget, task = experiment.method.options["tuner"], experiment.budget, experiment.task
    common: dict[str, Any] = {
        "objective": keras_tuner.Objective(OBJECTIVE, direction="max"),
        "seed": task.seed + 1,  # it takes 0 for none
        "directory": os.fspath(experiment.scratch),
        "project_name": name,
        "overwrite": True,
    }
    if name == "bayesian":
        return keras_tuner.BayesianOptimization(hypermodel, max_trials=budget, **common)
    if name == "random":
        return keras_tuner.RandomSearch(hypermodel, max_trials=budget, **common)
    tuner = keras_tuner.Hyperband(hypermodel, max_epochs=task.epochs, factor=3, hyperband_iterations=budget, **common)
    tuner.oracle.max_trials = budget  # Hyperband itself counts iterations; its oracle stops at this too
    return tuner


class TwoPhases(keras_tuner.HyperModel):  # type: ignore[misc]
    """The head first, with the backbone frozen; then, with stages to unfreeze, these at a smaller rate."""

    def __init__(self, task: Task, space: Space) -> None:
        super().__init__()
        self._task = task
        self._space = space
        self._standards = {name: keras_training.standardisation(task, name) for name in task.weights.files}
        self._data: dict[str, keras_training.Data] = {}
        self.epochs = 0
        """Of the trial that is running, all phases together."""

    def build(self, hp: Any) -> Any:
        """The compiled model of the configuration that ``hp`` holds."""
        self.epochs = 0
        config = TrialConfig.from_mapping(configure(self._space, hp))
        return keras_training.build(self._task, config, self._standards[config.network])

    def fit(self, hp: Any, built: Any, epochs: int, initial_epoch: int = 0, **arguments: Any) -> dict[str, float]:
        """Train for ``epochs`` per phase; what is taken up again, after ``initial_epoch``, has warmed its head up."""
        task, callbacks = self._task, arguments["callbacks"]
        config = TrialConfig.from_mapping(configure(self._space, hp))
        if config.backbone not in self._data:
            self._data[config.backbone] = keras_training.load_data(task, config.backbone)
        data = self._data[config.backbone]
        if config.unfreeze_depth > 0:
            if initial_epoch == 0:
                self.epochs += len(keras_training.fit(config, built, data, epochs))
            keras_training.unfreeze(task, config, built)
        scores = keras_training.fit(config, built, data, epochs, callbacks, initial_epoch)
        self.epochs += len(scores)
        return {OBJECTIVE: max(scores)}


def configure(space: Space, hp: Any) -> dict[str, Value]:
    """Ask KerasTuner for a configuration: the parameters of ``space``, each under its conditions."""
    chosen: dict[str, Value] = {}
    for parameter in space.parameters:
        with contextlib.ExitStack() as conditions:
            for name, values in parameter.when.items():
                conditions.enter_context(hp.conditional_scope(name, [_typed(name, value) for value in values]))
            value = _ask(parameter, hp)
            if parameter.active(chosen):
                chosen[parameter.name] = value
    return chosen


def values_of(hp: Any, space: Space) -> dict[str, Value]:
    """The configuration that a trial of KerasTuner had, without what its tuner adds."""
    return {parameter.name: hp.get(parameter.name) for parameter in space.parameters if parameter.name in hp}


def _ask(parameter: Parameter, hp: Any) -> Any:
    name, sampling = parameter.name, "log" if parameter.log else "linear"
    if parameter.choices is not None:
        return hp.Choice(name, [_typed(name, choice) for choice in parameter.choices])
    if parameter.row.kind is int:
        return hp.Int(name, int(parameter.low), int(parameter.high), sampling=sampling)
    return hp.Float(name, parameter.low, parameter.high, sampling=sampling)


def _typed(name: str, value: Any) -> Any:
    """``value`` in the one type that KerasTuner wants of all choices."""
    return PARAMETERS[name].typed(value)
