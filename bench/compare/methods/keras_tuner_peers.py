"""KerasTuner's Hyperband, Bayesian optimisation and random search, as its documentation shows them.

A `HyperModel` with `build` and `fit`; one process with all threads, trials one after the other, which is its way on
one machine. Its Hyperband trains what it promotes on from that trial's checkpoint, and counts that as a trial.
"""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import keras_tuner

from bench.compare.lower_bound import model
from bench.compare.methods.method import main
from bench.compare.spec import Outcomes, Spec
from bench.models.standardisation import Standard
from bench.search.parameters import PARAMETERS
from bench.search.space import Parameter, Space
from bench.trial import TrialConfig

OBJECTIVE = "val_auc"


def run(spec: Spec, outcomes: Outcomes) -> None:
    """Search, and note every trial."""
    standards = {name: model.standardisation(spec, name) for name in spec.images}
    hypermodel = TwoPhases(spec, standards)
    tuner = make_tuner(spec, hypermodel)
    ended = tuner.on_trial_end

    def on_trial_end(trial: Any) -> None:
        config = values_of(trial.hyperparameters, spec.space)
        state = "completed" if trial.status == "COMPLETED" else "failed"
        auc = float(trial.metrics.get_best_value(OBJECTIVE)) if state == "completed" else None
        reason = "" if state == "completed" else str(trial.message or "").strip().splitlines()[-1]
        outcomes.add(config, auc, hypermodel.epochs, state, reason)
        ended(trial)

    tuner.on_trial_end = on_trial_end
    tuner.search(epochs=spec.epochs, verbose=0)


def make_tuner(spec: Spec, hypermodel: keras_tuner.HyperModel) -> Any:
    """The tuner that the specification's option ``tuner`` names: hyperband, bayesian or random."""
    common: dict[str, Any] = {
        "objective": keras_tuner.Objective(OBJECTIVE, direction="max"),
        "seed": spec.seed + 1,  # it takes 0 for none
        "directory": os.fspath(spec.scratch),
        "project_name": spec.options["tuner"],
        "overwrite": True,
    }
    if spec.options["tuner"] == "bayesian":
        return keras_tuner.BayesianOptimization(hypermodel, max_trials=spec.budget, **common)
    if spec.options["tuner"] == "random":
        return keras_tuner.RandomSearch(hypermodel, max_trials=spec.budget, **common)
    tuner = keras_tuner.Hyperband(
        hypermodel, max_epochs=spec.epochs, factor=3, hyperband_iterations=spec.budget, **common
    )
    tuner.oracle.max_trials = spec.budget  # Hyperband itself counts iterations; its oracle stops at this too
    return tuner


class TwoPhases(keras_tuner.HyperModel):  # type: ignore[misc]
    """The head first, with the backbone frozen; then, with stages to unfreeze, these at a smaller rate."""

    def __init__(self, spec: Spec, standards: Mapping[str, Standard]) -> None:
        super().__init__()
        self._spec = spec
        self._standards = standards
        self._data: dict[str, model.Data] = {}
        self.epochs = 0
        """Of the trial that is running, all phases together."""

    def build(self, hp: Any) -> Any:
        """The compiled model of the configuration that ``hp`` holds."""
        self.epochs = 0
        config = TrialConfig.from_mapping(configure(self._spec.space, hp))
        return model.build(self._spec, config, self._standards[config.backbone])

    def fit(self, hp: Any, built: Any, epochs: int, initial_epoch: int = 0, **arguments: Any) -> dict[str, float]:
        """Train for ``epochs`` a phase; what is taken up again, after ``initial_epoch``, has warmed its head up."""
        spec, callbacks = self._spec, arguments["callbacks"]
        config = TrialConfig.from_mapping(configure(spec.space, hp))
        if config.backbone not in self._data:
            self._data[config.backbone] = model.load_data(spec, config.backbone)
        data = self._data[config.backbone]
        if config.unfreeze_depth > 0:
            if initial_epoch == 0:
                self.epochs += len(model.fit(spec, config, built, data, epochs))
            model.unfreeze(spec, config, built)
        scores = model.fit(spec, config, built, data, epochs, callbacks, initial_epoch)
        self.epochs += len(scores)
        return {OBJECTIVE: max(scores)}


def configure(space: Space, hp: Any) -> dict[str, Any]:
    """Ask KerasTuner for a configuration: the parameters of ``space``, each under its conditions."""
    chosen: dict[str, Any] = {}
    for parameter in space.parameters:
        with contextlib.ExitStack() as conditions:
            for name, values in parameter.when.items():
                conditions.enter_context(hp.conditional_scope(name, [_typed(name, value) for value in values]))
            value = _ask(parameter, hp)
            if parameter.active(chosen):
                chosen[parameter.name] = value
    return chosen


def values_of(hp: Any, space: Space) -> dict[str, Any]:
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


if __name__ == "__main__":
    main("bench.compare.methods.keras_tuner_peers")
