"""Pairs: sampling a space, scoring with intervals and rendering the report, beside what one writes by hand."""

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from ratios import Seconds

from bench.search.space import load_space
from bench.stats.bootstrap import Bootstrap, intervals
from bench.stats.predictions import Predictions

IMAGES, DRAWS = 652, 2000
FIGURES = 10


def by_hand(trial: Any) -> None:
    """The default space as one writes it for Optuna."""
    trial.suggest_categorical("backbone", ["vgg16", "resnet50", "inceptionv3"])
    trial.suggest_categorical("augmentation", ["none", "light", "medium", "strong"])
    depth = trial.suggest_int("unfreeze_depth", 0, 2)
    trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True)
    if depth > 0:
        trial.suggest_float("finetune_factor", 0.01, 0.2, log=True)
    trial.suggest_categorical("dropout", [0.0, 0.2, 0.5])
    trial.suggest_categorical("label_smoothing", [0.0, 0.05, 0.1])
    trial.suggest_categorical("batch_size", [32])


def test_space_sampling(pair: Callable[..., None], sizes: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = load_space("default")

    def sampled(suggest: Callable[[Any], object]) -> list[dict[str, Any]]:
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, group=True))
        for _ in range(sizes.trials):
            trial = study.ask()
            suggest(trial)
            study.tell(trial, 0.5)
        return [trial.params for trial in study.trials]

    assert sampled(space.suggest) == sampled(by_hand), "both ask for the same"
    against = f"a hand-written Optuna objective of the same parameters, {sizes.trials} trials by TPE"
    pair(
        "space sampling",
        lambda: sampled(space.suggest) and None,
        lambda: sampled(by_hand) and None,
        against=against,
        rounds=sizes.rounds,
    )


def test_metrics(pair: Callable[..., None], sizes: Any) -> None:
    rng = np.random.default_rng(0)
    labels, scores, patients = rng.integers(0, 2, IMAGES), rng.dirichlet([1, 1], IMAGES), np.arange(IMAGES) // 2

    def ours() -> None:
        found = intervals(Predictions(labels, scores, patients), Bootstrap(DRAWS))
        assert found["auc"].low is not None

    def plain() -> Seconds:
        started = time.perf_counter()
        assert np.isfinite(bootstrapped(labels, scores, patients, sizes.draws)).all()
        return Seconds([(time.perf_counter() - started) * DRAWS / sizes.draws])

    against = f"a scikit-learn loop over the same seven scores; {sizes.draws} draws, scaled to {DRAWS:,}"
    pair(f"metrics with {DRAWS:,} draws", ours, plain, against=against, rounds=sizes.rounds)


def bootstrapped(labels: Any, scores: Any, patients: Any, draws: int) -> Any:
    """Lower and upper ends of the seven scores, shape (2, 7), as one computes them without this suite."""
    from sklearn import metrics as sk

    rng = np.random.default_rng(0)
    of_patient = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    found = []
    for _ in range(draws):
        rows = np.concatenate([of_patient[patient] for patient in rng.integers(0, len(of_patient), len(of_patient))])
        true, score = labels[rows], scores[rows]
        predicted = score.argmax(axis=1)
        found.append(
            (
                sk.roc_auc_score(true, score[:, 1]),
                sk.average_precision_score(true, score[:, 1]),
                sk.accuracy_score(true, predicted),
                sk.balanced_accuracy_score(true, predicted),
                sk.f1_score(true, predicted, average="macro"),
                sk.log_loss(true, score),
                sk.brier_score_loss(true, score[:, 1]),
            )
        )
    return np.quantile(found, [0.025, 0.975], axis=0)


def test_report(pair: Callable[..., None], sizes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "report")
    from report_run import write_run

    from bench.report.html import render

    run = write_run(tmp_path / "run", trials=50, image_side=sizes.side)

    def ours() -> None:
        assert render(run).stat().st_size > 100_000

    def plain() -> None:
        assert sum(map(figure_bytes, range(FIGURES))) > 100_000

    against = f"{FIGURES} plain seaborn figures, saved as .svg and .png: no peer, but a fixed amount of drawing"
    pair("report of 50 trials", ours, plain, against=against, rounds=sizes.slow_rounds)


def figure_bytes(seed: int) -> int:
    """Draw a plain scatter of 50 points by group over lines; returns the bytes of both files."""
    import pandas as pd
    import seaborn as sns
    from matplotlib.figure import Figure

    rng = np.random.default_rng(seed)
    group = np.repeat(["a", "b", "c"], [17, 17, 16])
    points = pd.DataFrame({"x": rng.random(50), "y": rng.random(50), "group": group})
    figure = Figure(figsize=(6.4, 4.0))
    axes = figure.subplots()
    sns.scatterplot(points, x="x", y="y", hue="group", ax=axes)
    sns.lineplot(points, x="x", y="y", hue="group", ax=axes, legend=False)
    total = 0
    for kind in ("svg", "png"):
        file = io.BytesIO()
        figure.savefig(file, format=kind, dpi=200)
        total += len(file.getvalue())
    return total
