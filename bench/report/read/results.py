"""One model's results on the test images -> DataFrames: confusion, classification report, ROC curves."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics as sk

from bench.run.documents import AuditRecord, ClassScores, ModelScores

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


def roc(predictions: Frame, classes: list[str]) -> Frame:
    """Points of the ROC curves: ``label``, ``fpr``, ``tpr`` and ``auc``, one-vs-rest for several classes.

    With two classes there is one curve, that of the second; the other's is its mirror image. A class that no image
    has, or that all have, has no curve.

    Raises:
        ValueError: if a probability column is missing, or no class has a curve.
    """
    curves = []
    for label, target, scores in _one_vs_rest(predictions, classes):
        fpr, tpr, _ = sk.roc_curve(target, scores)
        curves.append(Frame({"label": label, "fpr": fpr, "tpr": tpr, "auc": sk.auc(fpr, tpr)}))
    return pd.concat(curves, ignore_index=True)


def precision_recall(predictions: Frame, classes: list[str]) -> Frame:
    """Points of the curves of precision by recall, of the same classes as in ``roc``.

    Returns:
        ``label``, ``recall``, ``precision``, ``area`` (average precision) and ``share`` (of the class among the images,
        which is the precision of guessing).

    Raises:
        ValueError: as in ``roc``.
    """
    curves = []
    for label, target, scores in _one_vs_rest(predictions, classes):
        precision, recall, _ = sk.precision_recall_curve(target, scores)
        about = {"label": label, "area": sk.average_precision_score(target, scores), "share": float(target.mean())}
        curves.append(Frame({"recall": recall, "precision": precision}).assign(**about))
    return pd.concat(curves, ignore_index=True)


Floats = npt.NDArray[np.float64]


def _one_vs_rest(predictions: Frame, classes: list[str]) -> list[tuple[str, npt.NDArray[np.bool_], Floats]]:
    """Of each class that has a curve: its name, which images are of it, and their probabilities of it."""
    found = []
    for label in classes[1:] if len(classes) == 2 else classes:
        if f"prob_{label}" not in predictions:
            raise ValueError(f"predictions_test.csv lacks the column 'prob_{label}'")
        rows = predictions[["label", f"prob_{label}"]].dropna()
        target = (rows["label"] == label).to_numpy(dtype="bool")
        if 0 < target.sum() < len(target):
            found.append((label, target, rows[f"prob_{label}"].to_numpy(dtype="float64")))
    if not found:
        raise ValueError("no class has both images of its own and images of others")
    return found


def patients_assumed(audit: AuditRecord | None) -> bool:
    """Whether each image was taken for its own patient for want of a name, so that patients cannot be counted."""
    return audit is not None and audit.patients.assumed


def shared_patients(splits: Frame, patient: str = "patient") -> int:
    """How many patients have images in more than one split; 0 is how it should be.

    Images without a split take no part. ``patient`` is the column that names the patients.
    """
    known = splits.dropna(subset=[patient, "split"])
    return int((known.groupby(patient)["split"].nunique() > 1).sum())


def operating_point(model: ModelScores, classes: list[str]) -> tuple[float, float] | None:
    """False and true positive rate of the second of two classes in the confusion matrix; None for more classes."""
    if len(classes) != 2:
        return None
    try:
        rates = confusion(model, classes)[1].to_numpy()
    except ValueError:
        return None
    return (float(rates[0, 1]), float(rates[1, 1])) if np.isfinite(rates).all() else None
