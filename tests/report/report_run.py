"""A made-up run folder for the tests of the report: every file of the contract, with numbers that look real."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from report_audit import audit as audit_of
from report_audit import left_out_rows
from report_evaluation import CONTROLS, TITLES, controls, repeats, softmax, write_tables, write_validation
from sklearn import metrics as sk

from bench.failures import NOT_FINITE
from bench.run import tables
from bench.run.folder import RunDir, write_json
from bench.run.results import TrialRecord, activities
from bench.stats.metrics import METRICS, evaluate

BACKBONES = ("vgg16", "resnet50", "inceptionv3")
BACKBONE_TITLES = {"vgg16": "VGG16", "resnet50": "ResNet50", "inceptionv3": "InceptionV3"}
CLASSES = ("NORMAL", "PNEUMONIA")
POLICIES: dict[str, dict[str, float]] = {
    "none": {},
    "light": {"rotation": 7, "shift": 0.05, "zoom": 0.05, "brightness": 0.1, "contrast": 0.1},
    "strong": {"rotation": 15, "shift": 0.1, "zoom": 0.15, "brightness": 0.2, "contrast": 0.2},
}
TEST_IMAGES = 624
JOBS = 2
SPENT = {"filling": 0.2, "tracing": 0.15, "head training": 0.1, "suffix training": 0.35, "validation": 0.1}
"""Shares of a trial's seconds; a tenth is left."""


_WRITTEN: dict[tuple[object, ...], TemporaryDirectory[str]] = {}
"""Run folders that were written already, by name and options: writing one takes as long as a test."""


def write_run(path: Path, **options: Any) -> RunDir:
    """A finished run at ``path``, with the options of `_write_run`; take files away for an unfinished one."""
    key = (path.name, *sorted(options.items()))
    if key not in _WRITTEN:
        _WRITTEN[key] = TemporaryDirectory()
        _write_run(Path(_WRITTEN[key].name) / path.name, **options)
    return RunDir(Path(shutil.copytree(Path(_WRITTEN[key].name) / path.name, path, dirs_exist_ok=True)))


def _write_run(
    path: Path,
    *,
    trials: int = 50,
    backbones: tuple[str, ...] = BACKBONES,
    classes: tuple[str, ...] = CLASSES,
    metric: str = "auc",
    seeds: int = 3,
    synthetic: bool = False,
    weights: str = "imagenet",
    image_side: int = 96,
    folds: int = 0,
    evaluated: bool = True,
) -> RunDir:
    """A finished run at ``path``; take files away for an unfinished one.

    Without ``evaluated`` the evaluation knows no baselines and left no files beside evaluation.json.
    """
    random = np.random.default_rng(7)
    run = RunDir(path)
    table, epochs = _search(random, trials, backbones)
    finalists, more = _finalists(random, table, backbones, metric, seeds)
    tables.TRIALS.write(path, table)
    tables.EPOCHS.write(path, pd.concat([epochs, more], ignore_index=True))
    if folds:
        rows = _folds(finalists, folds)
        tables.FOLDS.write(path, rows)
        finalists = _by_folds(finalists, rows, metric)
    tables.FINALISTS.write(path, finalists)
    splits = _splits(random, classes)
    splits = splits.assign(patient_wide=splits["patient"], reason="")
    splits = pd.concat([splits, left_out_rows(classes)], ignore_index=True)
    tables.SPLITS.write(path, splits)
    winner = str(finalists.loc[finalists["winner"], "backbone"].iloc[0])
    about = _run_json(path.name, table, finalists, splits, backbones, classes, metric, synthetic, weights)
    about["settings"] |= {"folds": folds}
    write_json(run.run, about)
    _evaluation(random, run, splits, classes, winner, backbones, finalists if evaluated else None, metric)
    write_json(run.audit, audit_of(about["data"]["splits"], classes))
    _gallery(random, run, image_side)
    run.best_model.write_bytes(b"not a model")
    return run


def _config(random: np.random.Generator, backbone: str) -> dict[str, Any]:
    depth = int(random.integers(0, 6))
    return {
        "config_backbone": backbone,
        "config_augmentation": str(random.choice(list(POLICIES))),
        "config_unfreeze_depth": depth,
        "config_learning_rate": float(10 ** random.uniform(-3.5, -2.5)),
        "config_finetune_factor": float(10 ** random.uniform(-2, -0.5)) if depth else None,
        "config_dropout": float(random.choice([0.0, 0.2, 0.5])),
        "config_label_smoothing": float(random.uniform(0, 0.1)),
        "config_batch_size": int(random.choice([16, 32, 64])),
    }


def _metrics(auc: float, random: np.random.Generator) -> dict[str, float]:
    noise = float(random.normal(0, 0.004))
    return {
        "metric_auc": auc,
        "metric_pr_auc": auc - 0.01 + noise,
        "metric_accuracy": auc - 0.04 + noise,
        "metric_balanced_accuracy": auc - 0.05 + noise,
        "metric_f1": auc - 0.045 + noise,
        "metric_log_loss": 1.2 * (1 - auc) + 0.1 + abs(noise),
        "metric_brier": 0.8 * (1 - auc) + 0.05 + abs(noise),
    }


def _quality(config: dict[str, Any]) -> float:
    """The AUC that a configuration tends to."""
    base = {"vgg16": 0.965, "resnet50": 0.972, "inceptionv3": 0.955}.get(config["config_backbone"], 0.95)
    rate = -0.03 * abs(np.log10(config["config_learning_rate"]) + 3)
    augmentation = {"none": 0.0, "light": 0.006, "strong": -0.008}[config["config_augmentation"]]
    return base + rate + augmentation + 0.008 * min(config["config_unfreeze_depth"], 2)


def _curve(random: np.random.Generator, top: float, count: int, depth: int) -> list[dict[str, Any]]:
    head = 2 if depth else count
    rows = []
    for epoch in range(1, count + 1):
        auc = min(top - 0.12 * np.exp(-0.6 * epoch) + random.normal(0, 0.003), 0.999)
        phase = "head" if epoch <= head else "finetune"
        loss = 4 * (1 - top) + 0.5 * float(np.exp(-0.4 * epoch)) + float(random.normal(0, 0.006))
        rows.append({"phase": phase, "epoch": epoch, "loss": loss, **_metrics(float(auc), random), "seconds": 3.1})
    return rows


def _search(random: np.random.Generator, trials: int, backbones: tuple[str, ...]) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    elapsed = 0.0
    for trial in range(trials):
        config = _config(random, backbones[trial % len(backbones)])
        state = "failed" if trial % 17 == 11 else "pruned" if trial % 7 in (3, 5) else "completed"
        row: dict[str, Any] = {"trial": trial, "state": state, "reason": None, "origin": "sampled", **config}
        row["failure"] = NOT_FINITE if state == "failed" else None
        row["origin"] = {0: "recipe", 1: "backbone", 2: "point"}.get(trial, "sampled")
        if state == "failed":
            row["reason"] = "the loss was not finite in epoch 1"
            row |= {"epochs": 0, "seconds": 1.4}
        else:
            top = _quality(config) - (0.05 if state == "pruned" else 0)
            curve = _curve(random, top, 3 if state == "pruned" else 10, config["config_unfreeze_depth"])
            best = max((entry for entry in curve), key=lambda entry: entry["metric_auc"])
            row |= {key: value for key, value in best.items() if key.startswith("metric_")}
            row |= {"best_epoch": best["epoch"], "epochs": len(curve), "seconds": 3.1 * len(curve)}
            epochs += [{"kind": "trial", "name": str(trial), **entry} for entry in curve]
        elapsed += row["seconds"] / 2
        rows.append({**row, "elapsed": elapsed})
    return pd.DataFrame(rows), pd.DataFrame(epochs)


def _finalists(
    random: np.random.Generator, trials: pd.DataFrame, backbones: tuple[str, ...], metric: str, seeds: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    higher, score = METRICS[metric].higher_is_better, f"metric_{metric}"
    rows: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    completed = trials[trials["state"] == "completed"].sort_values(score, ascending=not higher)
    for backbone in backbones:
        best = completed[completed["config_backbone"] == backbone].iloc[0]
        config = {key: best[key] for key in trials.columns if key.startswith("config_")}
        for seed in range(seeds):
            curve = _curve(random, best["metric_auc"] - 0.002, 12, int(best["config_unfreeze_depth"]))
            top = max(curve, key=lambda entry: entry["metric_auc"])
            epochs += [{"kind": "finalist", "name": backbone, "repeat": seed + 1, **entry} for entry in curve]
            values = {key: value for key, value in top.items() if key.startswith("metric_")}
            row = {
                "backbone": backbone,
                "repeat": seed + 1,
                "seed": seed,
                "representative": False,
                "trial": best["trial"],
                "state": "completed",
                "reason": None,
            }
            row |= {"winner": False, **config, "trial_score": best[score], **values, "best_epoch": top["epoch"]}
            rows.append({**row, "epochs": 12, "seconds": 55.0, "model": f"models/{backbone}.h5"})
    table = pd.DataFrame(rows)
    chosen = table.groupby("backbone")[score].agg("idxmax" if higher else "idxmin")
    table.loc[chosen, "representative"] = True
    means = table.groupby("backbone")[score].mean()
    table.loc[chosen[means.idxmax() if higher else means.idxmin()], "winner"] = True
    return table, pd.DataFrame(epochs)


def _folds(finalists: pd.DataFrame, folds: int) -> pd.DataFrame:
    """A row a backbone and fold; the scores depend on nothing but backbone and fold."""
    rows = []
    for place, (_, finalist) in enumerate(finalists.drop_duplicates("backbone").iterrows()):
        config = {key: value for key, value in finalist.items() if str(key).startswith("config_")}
        for fold in range(1, folds + 1):
            metrics = _metrics(0.95 + 0.01 * place + 0.002 * fold, np.random.default_rng(fold))
            row = {"backbone": finalist["backbone"], "trial": finalist["trial"], "fold": fold, "state": "completed"}
            row |= {"reason": None, "seed": fold, "images_train": 3674, "images_val": 918, "patients_val": 459}
            rows.append({**row, **metrics, "best_epoch": 9, "epochs": 12, "seconds": 48.0, **config})
    return pd.DataFrame(rows)


def _by_folds(finalists: pd.DataFrame, folds: pd.DataFrame, metric: str) -> pd.DataFrame:
    """``finalists`` with what the folds say, and the winner by their mean."""
    scores = folds.groupby("backbone")[f"metric_{metric}"].agg(folds="size", fold_mean="mean", fold_sd="std")
    table = finalists.merge(scores, left_on="backbone", right_index=True)
    best = table["fold_mean"].idxmax() if METRICS[metric].higher_is_better else table["fold_mean"].idxmin()
    return table.assign(winner=table.index == best)


def _splits(random: np.random.Generator, classes: tuple[str, ...]) -> pd.DataFrame:
    """Images of every class in every split, of the last the most."""
    rows = []
    for split, count in (("train", 3900), ("val", 692), ("test", TEST_IMAGES)):
        labels = random.choice(classes, size=count, p=_shares(len(classes)))
        absent = [name for name in classes if name not in labels]
        labels[np.flatnonzero(labels == classes[-1])[: len(absent)]] = absent
        rows += [
            {
                "image": f"{split}/{label}/{number}.jpeg",
                "label": label,
                "patient": f"{split}-{number // 2}",
                "split": split,
            }
            for number, label in enumerate(labels)
        ]
    return pd.DataFrame(rows)


def _shares(count: int) -> list[float]:
    weights = np.arange(1, count + 1, dtype=float)
    return list(weights / weights.sum())


def _prediction_sets() -> dict[str, Any]:
    counts = {"patients_covered": (389, 412), "covered": (601, 624), "single": (570, 624), "right": (549, 570)}
    return {
        name: {"hits": hits, "of": of, "value": hits / of, "low": hits / of - 0.02, "high": hits / of + 0.015}
        for name, (hits, of) in counts.items()
    }


def _evaluation(
    random: np.random.Generator,
    run: RunDir,
    splits: pd.DataFrame,
    classes: tuple[str, ...],
    winner: str,
    backbones: tuple[str, ...],
    finalists: pd.DataFrame | None,
    metric: str,
) -> None:
    """evaluation.json and, with ``finalists``, all that stands beside it."""
    test = splits[splits["split"] == "test"]
    truth = test["label"].map({name: index for index, name in enumerate(classes)}).to_numpy()
    apart = {backbone: 2.6 if backbone == winner else 2.1 for backbone in backbones}
    apart |= CONTROLS if finalists is not None else {}
    scores = {name: softmax(random, truth, len(classes), distance) for name, distance in apart.items()}
    models = {name: _model(truth, values, classes) for name, values in scores.items()}
    columns = {
        f"{kind}_{name}": scores[winner][:, index]
        for kind in ("prob", "calibrated")
        for index, name in enumerate(classes)
    }
    tables.PREDICTIONS_TEST.write(run.path, test[["image", "label", "patient"]].assign(**columns))
    about = {"value": 0.43, "rule": "Youden index on validation", "low": 0.312, "high": 0.589, "calibrated": 0.456}
    threshold = {"class": classes[1], **about} if len(classes) == 2 else None
    content: dict[str, Any] = {
        "opened": ["2026-11-23T07:00:00+00:00"],
        "images": len(test),
        "patients": int(test["patient"].nunique()),
        "classes": list(classes),
        "winner": winner,
        "temperature": 1.31,
        "threshold": threshold,
        "bootstrap": {"draws": 2000, "level": 0.95, "unit": "patient"},
        "models": models,
    }
    if finalists is not None:
        for name, model in models.items():
            seeds = 1 if name in ("majority", "metadata") else 3
            model |= {"kind": "baseline" if name in CONTROLS else "finalist", "title": TITLES.get(name, name)}
            model |= {"repeats": repeats(random, truth, scores[name], seeds)}
        content |= _more(test, models[winner], finalists, winner, metric)
        controls(random, run, finalists, winner)
        write_validation(run, splits, classes)
        write_tables(random, run, test, truth, scores, winner, list(backbones), classes)
    write_json(run.evaluation, content)


def _more(
    test: pd.DataFrame, model: dict[str, Any], finalists: pd.DataFrame, winner: str, metric: str
) -> dict[str, Any]:
    """The keys that evaluation.json has had since there are controls."""
    opening: dict[str, Any] = {
        "time": "2026-11-23T07:00:00+00:00",
        "run": "xray",
        "data": "9f86d081884c7d65",
        "split": "ab12" * 16,
    }
    opening |= {"images": len(test), "decisions": "cd34" * 16}
    validation = {
        name: {key: min(one[key] + 0.004, 1) for key in ("value", "low", "high")}
        for name, one in model["metrics"].items()
    }
    means = finalists.groupby("backbone", sort=False)[f"metric_{metric}"]
    return {
        "several_images_a_patient": True,
        "validation": {"metrics": validation},
        "gap": {"metric": metric, "validation": 0.98, "test": 0.96, "difference": 0.02, "low": 0.004, "high": 0.036}
        | {"flagged": False, "sentence": "Validation and test differ by no more than their interval."},
        "retrained": [
            {"backbone": name, "trial_score": 0.97, "mean": mean, "sd": 0.002, "low": mean - 0.01, "high": mean + 0.01}
            | {
                "reach": 0.01,
                "repeats": 3,
                "flagged": False,
                "sentence": f"The trial of {name} is within reach of seeds.",
            }
            for name, mean in means.mean().items()
        ],
        "conformal": {"coverage": 0.9, "limit": 0.63, "patients": 371, "empty": 1, **_prediction_sets()},
        "ledger": {"this_split": 1, "this_data": 1, "overlapping": 0, "openings": [opening]}
        | {"sentence": f"These {len(test)} test images are opened here; no other opening is on record."},
        "refusals": [],
        "sentences": [f"The winner, {winner}, is better than every control on these {len(test)} images."],
    }


def _model(truth: Any, scores: Any, classes: tuple[str, ...]) -> dict[str, Any]:
    predicted = scores.argmax(axis=1)
    report = sk.classification_report(truth, predicted, target_names=list(classes), output_dict=True, zero_division=0.0)
    names = {"precision": "precision", "recall": "recall", "f1-score": "f1", "support": "support"}
    per_class = {
        label: {new: report[label][old] for old, new in names.items()}
        | {"auc": float(sk.roc_auc_score(truth == index, scores[:, index]))}
        for index, label in enumerate(classes)
    }
    averages = {
        kind: {names[key]: value for key, value in report[f"{kind} avg"].items() if key != "support"}
        for kind in ("macro", "weighted")
    }
    metrics = {
        name: {"value": value, "low": value - 0.014, "high": min(value + 0.012, 1.0)}
        for name, value in evaluate(truth, scores).items()
    }
    confusion = sk.confusion_matrix(truth, predicted).tolist()
    return {"metrics": metrics, "confusion": confusion, "per_class": per_class, "averages": averages}


def _run_json(
    name: str,
    trials: pd.DataFrame,
    finalists: pd.DataFrame,
    splits: pd.DataFrame,
    backbones: tuple[str, ...],
    classes: tuple[str, ...],
    metric: str,
    synthetic: bool,
    weights: str,
) -> dict[str, Any]:
    states = trials["state"].value_counts()
    seconds = {
        "start": 9.0,
        "data": 12.3,
        "search": round(float(trials["seconds"].sum()) / JOBS + 11.0, 3),
        "finalists": 100.0,
        "evaluation": 20.0,
    }
    won = finalists[finalists["winner"]].iloc[0]
    score = float(won[f"metric_{metric}"])
    by_split = {
        split: {
            "images": len(part),
            "patients": int(part["patient"].nunique()),
            "classes": {label: int((part["label"] == label).sum()) for label in classes},
        }
        for split, part in splits.groupby("split", sort=False)
    }
    return {
        "name": name,
        "suite_version": "0.1.0",
        "rules": 1,
        "command": f"python run_bench.py --data ../chest_xray --budget {len(trials)} --name {name}",
        "created": "2026-11-23T06:00:00+00:00",
        "titles": {name: BACKBONE_TITLES.get(name, name) for name in backbones},
        "settings": {
            "data": "../chest_xray",
            "budget": len(trials),
            "epochs": 12,
            "seed": 0,
            "metric": metric,
            "image_size": 96,
            "backbones": list(backbones),
            "scheduler": "asha",
            "weights": weights,
            "views": 4,
            "jobs": JOBS,
            "time_limit": None,
            "max_images": None,
            "no_test": False,
            "patient_pattern": r"^(P\d+)_",
            "splits": "/earlier/splits.csv",
            "resize": "pad",
            "test_share": 0.2,
            "val_share": 0.15,
        },
        "space": {
            "name": "default",
            "parameters": {
                "backbone": {"choices": list(backbones)},
                "learning_rate": {"low": 3e-4, "high": 3e-3, "log": True},
                "finetune_factor": {"low": 0.01, "high": 0.3, "log": True, "when": {"unfreeze_depth": [1, 2]}},
                "dropout": {"choices": [0.0, 0.2, 0.5]},
            },
            "augmentations": POLICIES,
        },
        "data": {
            "source": "demo" if synthetic else "folder",
            "path": "../chest_xray",
            "fingerprint": "9f86d081884c7d65",
            "synthetic": synthetic,
            "classes": list(classes),
            "channels": 1,
            "splits": by_split,
            "notes": [
                "The given val split (16 images) is too small to select by; it was merged with train and drawn anew."
            ],
        },
        "weights": {"kind": weights, "note": "Keras applications", "sha256": dict.fromkeys(backbones, "ab" * 32)},
        "precision": {
            name: {
                "prefix": "bfloat16",
                "suffix": "float32",
                "measured": {
                    "prefix": {"float32": 48.0, "bfloat16": 24.0},
                    "suffix": {"float32": 4.0, "bfloat16": 4.1},
                },
            }
            for name in backbones
        },
        "hardware": {"cpus": 2, "memory_gib": 23.5, "gpus": [], "machine": "x86_64", "system": "Linux 6.1"},
        "packages": {"python": "3.11.7", "tensorflow": "2.21.0", "keras": "3.15.1", "ray": "2.50.0"},
        "search": {
            "planned": len(trials),
            "notes": [],
            "stopped_by": "budget",
            "counts": {state: int(states.get(state, 0)) for state in ("completed", "pruned", "failed")},
        },
        "winner": {"backbone": str(won["backbone"]), "score": score, "metric": metric},
        "seconds": {**seconds, "report": 3.0},
        "activities": activities(_records(trials), seconds, JOBS),
    }


def _records(trials: pd.DataFrame) -> list[TrialRecord]:
    """The rows of ``trials`` as records, with `SPENT` of their seconds on activities."""
    records = []
    for row in trials.to_dict("records"):
        reason = "stopped by ASHA" if row["state"] == "pruned" else row["reason"]
        record = TrialRecord.from_row({**row, "reason": reason})
        records.append(replace(record, spent={name: share * record.seconds for name, share in SPENT.items()}))
    return records


def _gallery(random: np.random.Generator, run: RunDir, side: int) -> None:
    grid = np.linspace(-1, 1, side)
    x, y = np.meshgrid(grid, grid)
    lungs = np.exp(-(((np.abs(x) - 0.42) / 0.25) ** 2) - (y / 0.6) ** 2)
    images = np.zeros((len(POLICIES), 6, side, side, 1), dtype=np.uint8)
    for row, policy in enumerate(POLICIES):
        for column in range(6):
            shift = 0 if column == 0 or policy == "none" else int(random.integers(-6, 7))
            picture = 205 - 150 * np.roll(lungs, shift, axis=1) + random.normal(0, 6, (side, side))
            images[row, column, ..., 0] = picture.clip(0, 255).astype(np.uint8)
    np.savez_compressed(run.augmentation, policies=np.array(list(POLICIES)), images=images)
    pairs = np.random.default_rng(0).integers(0, 255, (2, 16, 36, 1), dtype=np.uint8)
    np.savez_compressed(run.copies, images=pairs, ranks=[2, 1])
    np.savez_compressed(run.suspected_images, images=pairs, ranks=[0, 1])


def edit_json(path: Path, **changes: Any) -> None:
    """Change top-level keys of a JSON file; None takes a key away."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content |= {"checksum": None} | changes
    write_json(path, {key: value for key, value in content.items() if value is not None})
