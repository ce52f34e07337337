"""KerasTuner gets the same space, stops at the budget, and every trial of it is noted."""

import keras_tuner
import pandas as pd
import pytest

from bench.compare.methods import kerastuner as peers


def test_the_space_has_the_same_parameters_under_the_same_conditions(make_experiment):
    space = make_experiment().space
    hp = keras_tuner.HyperParameters()
    chosen = peers.configure(space, hp)
    assert chosen["unfreeze_depth"] == 0 and "finetune_factor" not in chosen
    hp.values["unfreeze_depth"] = 2
    hp.ensure_active_values()
    chosen = peers.configure(space, hp)
    assert list(chosen) == [parameter.name for parameter in space.parameters]
    assert peers.values_of(hp, space) == chosen
    by_name = {one.name: one for one in hp.space}
    assert (by_name["learning_rate"].min_value, by_name["learning_rate"].max_value) == (1e-3, 1e-1)
    assert by_name["learning_rate"].sampling == "log"
    assert by_name["backbone"].values == ["toy", "toy2"]


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    ("tuner", "budget", "epochs"),
    [("hyperband", 4, 3), pytest.param("bayesian", 2, 1, marks=pytest.mark.thorough)],
)
def test_it_runs_its_budget_and_every_trial_is_noted(make_experiment, outcomes, tmp_path, tuner, budget, epochs):
    experiment = make_experiment(tuner, budget=budget, epochs=epochs)
    peers.run(experiment, outcomes(experiment))
    rows = pd.read_csv(tmp_path / "outcomes.csv")
    assert len(rows) == budget
    assert set(rows["state"]) == {"completed"}
    assert rows["auc"].between(0, 1).all()
    if tuner == "hyperband":  # rungs of 1 and 3 epochs: three of 1, then the best of them goes on
        first, promoted = rows.iloc[:3], rows.iloc[3]
        best = first.loc[first["auc"].idxmax()]
        assert promoted["config_learning_rate"] in set(first["config_learning_rate"])
        assert promoted["config_learning_rate"] == best["config_learning_rate"]
        assert promoted["epochs"] == 2, "it goes on from its checkpoint, its head is warm"
        assert (first["epochs"] == (first["config_unfreeze_depth"] > 0) + 1).all()
    else:
        assert (rows["epochs"] <= 2 * epochs).all()


def test_a_trial_that_fails_is_noted_and_the_search_goes_on(make_experiment, outcomes, tmp_path, monkeypatch):
    fit, failures = peers.TwoPhases.fit, iter([MemoryError("memory ran out")])

    def fails_once(self, *arguments, **named):
        for error in failures:
            raise error
        return fit(self, *arguments, **named)

    monkeypatch.setattr(peers.TwoPhases, "fit", fails_once)
    experiment = make_experiment("random", budget=2, epochs=1)
    peers.run(experiment, outcomes(experiment))
    rows = pd.read_csv(tmp_path / "outcomes.csv")
    assert rows["state"].tolist() == ["failed", "completed"]
    assert rows["reason"].iloc[0] == "MemoryError: memory ran out"
