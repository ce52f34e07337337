"""One model's results on the test images -> DataFrames: confusion, classification report, ROC curves, agreement."""

from typing import Any

import numpy as np
import pandas as pd

from bench import numbers
from bench.run.documents import ClassAgreement, ClassScores, Estimate, ModelScores
from bench.stats.curves import precision_recall, roc

Frame = pd.DataFrame


def confusion(model: ModelScores | None, classes: list[str]) -> tuple[Frame, Frame]:
    """Counts and rates of the confusion matrix: rows the reference standard, columns the predicted class.

    Rates are shares of a row, so that each row sums to 1; a class without images has NaN.

    Raises:
        ValueError: if the matrix is not square or does not fit ``classes``.
    """
    values = np.asarray(model.confusion if model else (), dtype="float64")
    if values.shape != (len(classes), len(classes)):
        raise ValueError(f"a confusion matrix of {len(classes)} classes is needed, but its shape is {values.shape}")
    counts = Frame(values, index=classes, columns=classes)
    totals = counts.sum(axis=1)
    return counts, counts.div(totals.where(totals > 0), axis=0)


def classification_report(model: ModelScores, classes: list[str]) -> Frame:
    """One row per class, then the averages, with ``auc_low`` and ``auc_high`` where they are known.

    The other columns are ``label``, ``precision``, ``recall``, ``f1``, ``auc`` and ``support`` (images).
    """
    rows: list[dict[str, Any]] = [
        {"label": label, **model.per_class.get(label, ClassScores()).model_dump()} for label in classes
    ]
    total = sum(row["support"] or 0 for row in rows)
    for kind, means in model.averages.items():
        area = model.metrics.get("auc") if kind == "macro" else None
        areas = {"auc": area.value, "auc_low": area.low, "auc_high": area.high} if area else {}
        rows.append({"label": f"Average ({kind})", **means, **areas, "support": total or None})
    return Frame(rows, columns=["label", *ClassScores.model_fields])


def majority(model: ModelScores | None, classes: list[str]) -> tuple[str, float]:
    """The commonest class of the test images and its share: what always answering it would score as accuracy.

    Raises:
        ValueError: if there is no image, or the confusion matrix does not fit ``classes``.
    """
    counts = confusion(model, classes)[0].sum(axis=1)
    if not counts.sum():
        raise ValueError("the confusion matrix counts no image")
    return str(counts.idxmax()), float(counts.max() / counts.sum())


def curves(predictions: Frame, classes: list[str]) -> tuple[Frame, Frame]:
    """Points of the ROC curves, and of the curves of precision by recall, one-vs-rest for several classes.

    With two classes there is one curve, that of the second; the other's is its mirror image. A class that no image
    has, or that all have, has no curve.

    Returns:
        ``label``, ``fpr``, ``tpr`` and ``auc``; then ``label``, ``recall``, ``precision``, ``area`` (average precision)
        and ``share`` (of the class among the images, which is the precision of guessing).

    Raises:
        ValueError: if a probability column is missing, or no class has a curve.
    """
    found, by_recall = [], []
    for label in classes[1:] if len(classes) == 2 else classes:
        if f"prob_{label}" not in predictions:
            raise ValueError(f"predictions_test.csv lacks the column 'prob_{label}'")
        rows = predictions[["label", f"prob_{label}"]].dropna()
        target = (rows["label"] == label).to_numpy(dtype="bool")
        if 0 < target.sum() < len(target):
            scores = rows[f"prob_{label}"].to_numpy(dtype="float64")
            one, other = roc(target, scores), precision_recall(target, scores)
            found.append(Frame({"label": label, "fpr": one.x, "tpr": one.y, "auc": one.area}))
            points = {"label": label, "recall": other.x, "precision": other.y, "area": other.area}
            by_recall.append(Frame(points | {"share": float(target.mean())}))
    if not found:
        raise ValueError("no class has both images of its own and images of others")
    return pd.concat(found, ignore_index=True), pd.concat(by_recall, ignore_index=True)


def of_finalists(predictions: Frame, representatives: Frame, classes: list[str]) -> tuple[Frame, Frame, Frame]:
    """The curves of every finalist, and its calibration in ten bins of as many images.

    Args:
        predictions: as predictions_models.csv.
        representatives: ``backbone`` and ``repeat`` of the seeds that stand for the others, the chosen model first.
        classes: the classes.

    Returns:
        the tables of `curves`, and ``predicted`` and ``observed`` by bin: of two classes, the probability of the second
        and its share; of several, the probability of the most probable class and how often it is right (the
        confidence calibration of Guo et al., ICML 2017). Each with a column ``backbone``.

    Raises:
        ValueError: as `curves` does.
    """
    found: tuple[list[Frame], ...] = ([], [], [])
    columns = [f"prob_{name}" for name in classes]
    on_test = predictions[predictions["split"] == "test"]
    for name, repeat in zip(representatives["backbone"], representatives["repeat"], strict=True):
        rows = on_test[(on_test["model"] == name) & (on_test["repeat"] == repeat)]
        if not len(rows):
            continue
        tables = curves(rows, classes)  # which says what columns are missing
        if len(classes) == 2:
            predicted, right = rows[columns[1]], rows["label"] == classes[1]
        else:
            predicted = rows[columns].max(axis=1)
            right = rows[columns].idxmax(axis=1) == "prob_" + rows["label"].astype(str)
        bins = pd.cut(predicted.rank(method="first"), min(10, len(rows)), labels=False)
        means = Frame({"predicted": predicted, "observed": right.astype("float64")}).groupby(bins).mean()
        for kept, table in zip(found, (*tables, means), strict=True):
            kept.append(table.assign(backbone=name))
    if not found[0]:
        raise ValueError("predictions_models.csv holds no finalist")
    roc_, by_recall, bins_ = (pd.concat(part, ignore_index=True) for part in found)
    return roc_, by_recall, bins_


def operating_point(model: ModelScores, classes: list[str]) -> tuple[float, float] | None:
    """False and true positive rate of the second of two classes in the confusion matrix; None for more classes."""
    if len(classes) != 2:
        return None
    try:
        rates = confusion(model, classes)[1].to_numpy()
    except ValueError:
        return None
    return (float(rates[0, 1]), float(rates[1, 1])) if np.isfinite(rates).all() else None


def expected(points: pd.DataFrame | None) -> pd.DataFrame:
    """Rows of operating_points.csv at frozen thresholds of which validation lets something be expected on test.

    None are there in runs of earlier versions. What leaves its interval is ``flagged``.
    """
    if points is None:
        return pd.DataFrame()
    frozen = points[points["point"] == "frozen"]
    return frozen.dropna(subset=["value", "validation", "expected_low", "expected_high"])


def agreement_cells(one: ClassAgreement) -> dict[str, Any]:
    """Of one class, the cells of the table of agreement; widened ends, where there are any, stand behind the others."""
    found: dict[str, Any] = {"predicted": one.predicted, "observed": one.observed}
    for name, written in (
        ("difference", numbers.signed_interval),
        ("intercept", numbers.signed_interval),
        ("slope", numbers.interval),
    ):
        estimate: Estimate = getattr(one, name)
        wide = one.widened.get(name, Estimate())
        more = f"; widened {bounds}" if (bounds := written(wide.low, wide.high)) else ""
        found |= {name: estimate.value, f"{name} bounds": f"{written(estimate.low, estimate.high)}{more}"}
    return found
