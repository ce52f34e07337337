"""How much each hyperparameter decided the score: fANOVA on a study rebuilt from the trials."""

from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial

from bench.report.tables.search import chosen_values, column
from bench.search.parameters import PARAMETERS
from bench.stats.metrics import Metric

LEAST_TRIALS = 8
"""With fewer trials the forest has nothing to learn from and its answer is noise."""

DRAWS = 10
TREES = 32
"""Ten small forests say more of how sure the shares are than one large one, in the same time."""
MOST_DRAWN = 400
"""Trials of a draw, at most: a forest on thousands says the same after minutes."""


def why_not(trials: pd.DataFrame, metric: Metric) -> str:
    """Why importance cannot be computed, as a sentence; empty where it can."""
    if len(trials) < LEAST_TRIALS:
        few = f"{LEAST_TRIALS} trials with comparable scores; this run has {len(trials)}"
        return f"Hyperparameter importance needs at least {few}."
    if trials[column(metric)].nunique() < 2:
        return "Hyperparameter importance is not computed: every trial has the same score."
    if not _varied(trials):
        return "Hyperparameter importance is not computed: every trial has the same configuration."
    return ""


def importance(trials: pd.DataFrame, metric: Metric, draws: int = DRAWS) -> pd.DataFrame:
    """Share of the scores' variance that each parameter explains, most important first.

    fANOVA (Hutter et al., ICML 2014) fits a random forest to the trials. It is fitted to several bootstrap draws of
    them (of `MOST_DRAWN` at most), each with a seed of its own, because one forest says more than it knows. Learning
    rates enter as logarithms. A parameter that some trials do not have (the fine-tuning factor of a frozen backbone) or
    that was never varied is left out.

    Args:
        trials: with scores after the same training, as `bench.report.tables.search.at_common_rung` gives them, and
            nothing for `why_not` to say.
        metric: the metric that the search ranked by.
        draws: how many bootstrap draws.

    Returns:
        Columns ``parameter``, ``mean`` and ``sd`` (over the draws); the means sum to 1.
    """
    names = _varied(trials)
    values = {name: _values(trials[f"config_{name}"], name) for name in names}
    distributions = {name: _distribution(values[name], name) for name in names}
    rated = [
        optuna.trial.create_trial(
            params={name: values[name][position] for name in names}, distributions=distributions, value=float(score)
        )
        for position, score in enumerate(trials[column(metric)])
    ]
    runs = [_shares(drawn, metric, seed) for seed, drawn in enumerate(_drawn(rated, draws))]
    table = pd.DataFrame(runs)
    summary: pd.DataFrame = pd.DataFrame(
        {"parameter": table.columns, "mean": table.mean().to_numpy(), "sd": table.std().to_numpy()}
    )
    return summary.sort_values("mean", ascending=False, kind="stable", ignore_index=True)


def _varied(trials: pd.DataFrame) -> list[str]:
    """The parameters that every trial has and that took more than one value."""
    values = {name: chosen_values(trials, row) for name, row in PARAMETERS.items() if row.column in trials}
    return [name for name, column in values.items() if column.notna().all() and column.nunique() > 1]


def _drawn(rated: list[FrozenTrial], draws: int) -> list[list[FrozenTrial]]:
    """As many bootstrap draws, each with at least two different scores."""
    random = np.random.default_rng(0)
    found: list[list[FrozenTrial]] = []
    while len(found) < draws:
        drawn = [rated[position] for position in random.integers(0, len(rated), min(len(rated), MOST_DRAWN))]
        if len({trial.value for trial in drawn}) > 1:
            found.append(drawn)
    return found


def _shares(drawn: list[FrozenTrial], metric: Metric, seed: int) -> dict[str, float]:
    """The importances that one forest gives."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction="maximize" if metric.higher_is_better else "minimize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(drawn)
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=seed)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def _values(series: pd.Series, name: str) -> list[Any]:
    if PARAMETERS[name].scale == "category":
        return [str(value) for value in series]
    if PARAMETERS[name].scale == "log":
        return [float(value) for value in np.log10(series.to_numpy(dtype="float64"))]
    return [float(value) for value in series]


def _distribution(values: list[Any], name: str) -> BaseDistribution:
    if PARAMETERS[name].scale == "category":
        return CategoricalDistribution(sorted(set(values)))
    return FloatDistribution(min(values), max(values))
