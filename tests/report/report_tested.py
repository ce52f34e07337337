"""The files that a full evaluation leaves beside evaluation.json, made up, for tests of what is told of them."""

from typing import Any

import pandas as pd

from bench.run import tables
from bench.run.folder import RunDir, write_json

SHA256 = "73" * 32


def write_tested(run: RunDir, classes: tuple[str, ...]) -> None:
    """Write best_model.json and the tables of the evaluation into ``run``, whose classes are ``classes``."""
    path, positive = run.path, classes[1]
    thresholds = [{"class": name, "value": 0.431, "rule": "Youden index on validation"} for name in classes[1:]]
    write_json(
        run.best_model_card,
        {
            "file": "best_model.h5",
            "sha256": SHA256,
            "input": {"height": 80, "width": 80, "channels": 1, "resize": "pad"},
            "thresholds": thresholds,
            "threshold": thresholds[0] if len(classes) == 2 else None,
            "temperature": 1.31,
        },
    )
    points: dict[str, Any] = {"class": positive, "point": "frozen", "rule": "Youden index", "threshold": 0.431}
    bounds = {"wilson_low": 0.87, "wilson_high": 0.95, "low": 0.86, "high": 0.96, "reason": None}
    rows = [
        points | {"measure": "sensitivity", "hits": 401, "of": 441, "value": 0.909} | bounds,
        points
        | {"measure": "specificity", "hits": 150, "of": 183, "value": 0.82}
        | bounds
        | {"low": None, "high": None},
        points | {"measure": "ppv", "hits": 0, "of": 0, "value": None, "reason": "nothing was called positive"},
        points | {"point": "0.5", "measure": "sensitivity", "hits": 400, "of": 441, "value": 0.907} | bounds,
    ]
    tables.OPERATING_POINTS.write(path, rows)
    groups = [
        {"group": "sex", "value": "female", "images": 300, "patients": 150, "small": False, "auc": 0.97},
        {"group": "sex", "value": "male", "images": 20, "patients": 9, "small": True, "auc": None},
    ]
    more = {"auc_low": 0.95, "auc_high": 0.99, "balanced_accuracy": 0.9}
    tables.SUBGROUPS.write(path, [group | more for group in groups])
    robust = [
        {"corruption": "none", "level": 0, "unit": "", "images": 624, "auc": 0.97, "accuracy": 0.9},
        {"corruption": "noise", "level": 8, "unit": "grey levels SD", "images": 624, "auc": 0.95, "accuracy": 0.88},
        {"corruption": "rotation", "level": 10, "unit": "degrees", "images": 624, "auc": 0.9, "accuracy": 0.8},
    ]
    tables.ROBUSTNESS.write(path, pd.DataFrame(robust).assign(auc_change=[None, -0.02, -0.07]))
    write_json(
        path / "calibration.json",
        {
            "temperature": 1.31,
            "bins": 15,
            "splits": {"test": {"before": {"ece": 0.061}, "after": {"ece": 0.034}}},
        },
    )
    failure = {"rank": 1, "image": "test/1.png", "label": classes[0], "predicted": positive, "confidence": 0.97}
    tables.FAILURES.write(path, [failure | {"patient": "p", "shown": True}])
    check = {"mean_correlation": 0.1, "sentence": "With random weights the maps look otherwise (correlation 0.10)."}
    write_json(
        path / "saliency.json",
        {"method": "class activation map", "randomisation": check, "items": [{"image": "test/1.png"}] * 8},
    )
    pair = {"family": "finalists", "a": "resnet50", "b": "vgg16", "difference": 0.01, "verdict": "cannot be told apart"}
    tables.COMPARISONS.write(path, [pair])
