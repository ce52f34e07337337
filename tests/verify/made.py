"""A run folder as an evaluation of 2,000 draws leaves it, by the very functions that write it, without a network."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.evaluation.calibration import calibration
from bench.evaluation.comparisons import Rules, comparisons
from bench.evaluation.conformal import conformal
from bench.evaluation.corruptions import CORRUPTIONS
from bench.evaluation.curves import curves
from bench.evaluation.decision_curve import decision_curve
from bench.evaluation.inputs import ScoredModel
from bench.evaluation.operating_points import operating_points
from bench.evaluation.predictions import all_predictions, altered_predictions, predictions_table
from bench.evaluation.retrained import gap, retrained
from bench.evaluation.robustness import robustness
from bench.evaluation.saliency import choose_cases
from bench.evaluation.scoring import score_model, spread
from bench.evaluation.selection import selection
from bench.evaluation.subgroups import subgroups
from bench.evaluation.thresholds import frozen_thresholds
from bench.run import tables
from bench.run.courses import Course, Curve, append_course, read_courses
from bench.run.documents import (
    BootstrapRecord,
    EvaluationRecord,
    ModelCard,
    Randomisation,
    SaliencyCase,
    SaliencyRecord,
    ValidationScores,
)
from bench.run.folder import RunDir, write_json
from bench.stats.bootstrap import Bootstrap
from bench.stats.calibration import choose_map
from bench.stats.conformal import conformal_scores
from bench.stats.metrics import METRICS, evaluate, get_metric
from bench.stats.predictions import Predictions
from bench.trial import Scored

BOOTSTRAP = Bootstrap(2000)
MODELS = {"vgg16": ("VGG16", "finalist", 1.6), "resnet50": ("ResNet50", "finalist", 1.2)}
MODELS |= {"recipe": ("Default recipe", "control", 1.5)}
WEIGHTS = (1.4, 0.8, 0.9)


def said(rng: np.random.Generator, labels: Any, classes: tuple[str, ...], edge: float) -> npt.NDArray[np.float32]:
    """Probabilities that know the labels by ``edge``."""
    logits = rng.normal(size=(len(labels), len(classes))) + edge * np.eye(len(classes))[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return np.asarray(scores, np.float32)


def images_of(n: int, classes: tuple[str, ...]) -> Predictions:
    """Images of patients with two each, nothing being said of them yet."""
    patients = np.arange(n) // 2
    return Predictions(patients % len(classes), np.zeros((n, len(classes)), np.float32), patients.astype(str), classes)


def make(path: Path, n_classes: int, target: float | None = None) -> RunDir:
    """Write the folder."""
    path.mkdir(parents=True)
    run, rng, classes = RunDir(path), np.random.default_rng(7), ("A", "B", "C")[:n_classes]
    metric, n = get_metric("auc"), 160 if n_classes == 2 else 90
    test, val = images_of(n, classes), images_of(90, classes)
    names = {
        split: pd.Series([f"{split}/{number}.png" for number in range(n)]) for split, n in (("test", n), ("val", 90))
    }

    def model(edge: float) -> list[Predictions]:
        return [test.with_scores(said(rng, test.labels, classes, edge)) for _ in range(3)]

    models = {
        name: ScoredModel(title, kind, dict(enumerate(model(edge), 1)), 1 if name == "recipe" else 2)
        for name, (title, kind, edge) in MODELS.items()
    }
    validation = {
        name: val.with_scores(said(rng, val.labels, classes, edge))
        for name, (_, kind, edge) in MODELS.items()
        if kind == "finalist"
    }
    finalists = _finalists(run, validation, rng, _trials(run, val, rng, classes))
    choice = choose_map(validation["vgg16"], WEIGHTS[:n_classes])
    frozen = frozen_thresholds(validation["vgg16"], target, BOOTSTRAP, choice.map)
    winner = models["vgg16"].predictions
    groups = {"sex": [("f", "m", "")[number % 3] for number in range(n)]}
    split = predictions_table(names["test"], winner, choice.map).assign(
        pixels=[f"{number:x}" for number in range(n)], **{"group:sex": groups["sex"]}
    )
    tables.PREDICTIONS_TEST.write(path, split)
    tables.PREDICTIONS_VAL.write(path, predictions_table(names["val"], validation["vgg16"], choice.map))
    tables.PREDICTIONS_MODELS.write(path, all_predictions(models, names["test"], validation, names["val"]))
    write_json(run.calibration, calibration(validation["vgg16"], winner, choice, BOOTSTRAP))
    points, prevalences = operating_points(winner, frozen, BOOTSTRAP, validation["vgg16"])
    tables.OPERATING_POINTS.write(path, points)
    tables.PREVALENCES.write(path, prevalences)
    tables.DECISION_CURVE.write(path, decision_curve(winner.with_scores(choice.map(winner.scores)), BOOTSTRAP))
    tables.SUBGROUPS.write(path, subgroups(winner, groups, frozen[0].value if n_classes == 2 else None, BOOTSTRAP))
    tables.CURVES.write(path, curves({"vgg16": winner}, BOOTSTRAP))
    tables.COMPARISONS.write(path, comparisons(models, Rules("vgg16", metric, 0.01, BOOTSTRAP)))
    _altered(run, winner, names["test"], rng)
    _saliency(run, winner, names["test"], rng)
    courses = _sizes(run, finalists, val, rng)
    own = validation["vgg16"]
    sets = conformal_scores(own.labels, choice.map(own.scores), own.patients)
    write_json(run.best_model_card, ModelCard(conformal=sets))
    record = EvaluationRecord(
        images=len(test),
        patients=test.n_patients,
        classes=classes,
        winner="vgg16",
        calibration=choice.map,
        threshold=frozen[0] if n_classes == 2 else None,
        thresholds=frozen,
        bootstrap=BootstrapRecord(draws=BOOTSTRAP.draws, level=BOOTSTRAP.level, unit="patient"),
        models={
            name: score_model(one.predictions, BOOTSTRAP).model_copy(
                update={"kind": one.kind, "title": one.title, "repeats": spread(one.repeats, one.representative)}
            )
            for name, one in models.items()
        },
        validation=ValidationScores(
            metrics=score_model(validation["vgg16"], BOOTSTRAP).metrics, images=len(val), patients=val.n_patients
        ),
        retrained=tuple(retrained(finalists, validation, metric, BOOTSTRAP)),
        gap=gap(validation["vgg16"], winner, metric, BOOTSTRAP),
        selection=selection(courses, val, metric, BOOTSTRAP),
        conformal=conformal(sets, winner.with_scores(choice.map(winner.scores))),
    )
    write_json(run.evaluation, record)
    return run


def _scores(predictions: Predictions) -> dict[str, float]:
    return {f"metric_{name}": value for name, value in evaluate(predictions.labels, predictions.scores).items()}


def _finalists(
    run: RunDir, validation: dict[str, Predictions], rng: np.random.Generator, trials: pd.DataFrame
) -> pd.DataFrame:
    """finalists.csv, each seed with what it says of validation kept beside it in predictions_epochs.jsonl.gz."""
    rows: list[dict[str, Any]] = []
    for trial, (name, one) in enumerate(validation.items()):
        for repeat in (1, 2, 3):
            again = said(rng, one.labels, tuple(one.classes), MODELS[name][2])
            said_of = one if repeat == 2 else one.with_scores(again)
            append_course(run, Curve("finalist", name, repeat), Scored((1,), said_of.scores[None]))
            row = {"backbone": name, "repeat": repeat, "trial": trial, "state": "completed", "model": "models/x.h5"}
            flags = {"winner": name == "vgg16", "representative": repeat == 2}
            rows.append(row | flags | {"trial_score": trials["metric_auc"][trial]} | _scores(said_of))
    return tables.FINALISTS.write(run.path, rows)


def _trials(run: RunDir, val: Predictions, rng: np.random.Generator, classes: tuple[str, ...]) -> pd.DataFrame:
    """trials.csv, and every epoch of theirs in predictions_epochs.jsonl.gz."""
    rows: list[dict[str, Any]] = []
    for number in range(6):
        scores = np.stack([said(rng, val.labels, classes, 1.0 + 0.1 * number) for _ in range(3)])
        append_course(run, Curve("trial", str(number)), Scored((1, 2, 3), scores))
        best = max(scores, key=lambda one: METRICS["auc"].compute(val.labels, one))
        rows.append({"trial": number, "state": "completed"} | _scores(val.with_scores(best)))
    return tables.TRIALS.write(run.path, rows)


def _sizes(run: RunDir, finalists: pd.DataFrame, val: Predictions, rng: np.random.Generator) -> list[Course]:
    """learning_curve.csv likewise; returns all that predictions_epochs.jsonl.gz holds."""
    rows: list[dict[str, Any]] = []
    for share, edge in ((0.125, 0.5), (0.25, 0.9), (0.5, 1.2)):
        for draw in (1, 2, 3):
            one = val.with_scores(said(rng, val.labels, tuple(val.classes), edge))
            append_course(run, Curve("size", str(share), draw), Scored((1,), one.scores[None]))
            about = {"share": share, "draw": draw, "patients": int(200 * share), "images": int(400 * share)}
            rows.append(about | {"state": "completed"} | _scores(one))
    last = finalists[finalists["backbone"] == "vgg16"]
    about = {"share": 1.0, "patients": 200, "images": 400, "state": "completed"}
    rows += [about | {"draw": row["repeat"], "metric_auc": row["metric_auc"]} for _, row in last.iterrows()]
    tables.LEARNING_CURVE.write(run.path, rows)
    return read_courses(run)


def _altered(run: RunDir, winner: Predictions, names: pd.Series, rng: np.random.Generator) -> None:
    chosen = winner.part(slice(0, 80))
    scores: dict[str, list[Any]] = {"none": [chosen.scores]}
    for corruption in CORRUPTIONS:
        scores[corruption.name] = []
        for number, _ in enumerate(corruption.levels):
            moved = np.log(chosen.scores) + 0.2 * (number + 1) * rng.normal(size=chosen.scores.shape)
            scores[corruption.name].append(np.exp(moved) / np.exp(moved).sum(axis=1, keepdims=True))
    table = robustness(scores, chosen, BOOTSTRAP, "float32")
    tables.ROBUSTNESS.write(run.path, table)
    tables.PREDICTIONS_ALTERED.write(run.path, altered_predictions(table, scores, chosen, names[:80]))


def _saliency(run: RunDir, winner: Predictions, names: pd.Series, rng: np.random.Generator) -> None:
    cases = choose_cases(winner)
    places, shuffled = rng.normal(size=(2, len(cases), 6, 6))
    correlations = [
        pd.Series(a.ravel()).corr(pd.Series(b.ravel()), method="spearman")
        for a, b in zip(places, shuffled, strict=True)
    ]
    items = [
        SaliencyCase(
            image=names[row],
            label=winner.classes[winner.labels[row]],
            predicted=winner.classes[winner.predicted[row]],
            probability=float(winner.scores[row].max()),
            correct=bool(winner.right[row]),
            correlation=float(value),
            copies=1,
        )
        for row, value in zip(cases.tolist(), correlations, strict=True)
    ]
    value = float(np.mean(correlations))
    said = f"is {value:.2f} on average: {'must not be read' if abs(value) >= 0.5 else 'as they should'}."
    mean = Randomisation(mean_correlation=value, sentence=said)
    write_json(run.saliency, SaliencyRecord(items=tuple(items), randomisation=mean))
    np.savez(run.saliency_images, places=places, randomised_places=shuffled)
