"""Which image trains, which validates, which tests: patient-grouped, stratified, drawn from a seed."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from bench.errors import ConfigError

SPLITS = ("train", "val", "test")
VALIDATION_SHARE = 0.15
TEST_SHARE = 0.20
REFERENCE_AUC = 0.95
WIDEST_HALF_WIDTH = 0.05
"""A validation split is too small to select by if, at an AUC of 0.95, its 95 % interval is wider than ±0.05:
the differences a search has to see are smaller than that."""


@dataclass
class SplitReport:
    """What was decided about the splits, for the audit and the reader."""

    notes: list[str] = field(default_factory=list)
    shared_patients: dict[str, int] = field(default_factory=dict)
    moved: list[dict[str, Any]] = field(default_factory=list)


def auc_half_width(n_positive: int, n_negative: int, auc: float = REFERENCE_AUC) -> float:
    """Half the width of the 95 % interval of an AUC.

    Source: Hanley & McNeil, Radiology 143:29 (1982).
    """
    if min(n_positive, n_negative) == 0:
        return math.inf
    q1 = auc / (2 - auc)
    q2 = 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return 1.96 * math.sqrt(variance / (n_positive * n_negative))


def half_width(labels: pd.Series) -> float:
    """The widest `auc_half_width` of a class of ``labels`` against the rest; the formula is not symmetric."""
    counts = labels.value_counts()
    return max(
        auc_half_width(*pair)
        for count in counts
        for pair in ((count, len(labels) - count), (len(labels) - count, count))
    )


def too_small(labels: pd.Series) -> bool:
    """Whether images with these labels are too few to select by."""
    return half_width(labels) > WIDEST_HALF_WIDTH


def assign_splits(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, SplitReport]:
    """The table with every image in ``train``, ``val`` or ``test``, and a report of what was decided.

    Given splits are kept, except that a validation split too small to select by is merged with train and drawn
    anew, and images of a patient who is also in a later split leave the earlier one (test is never touched).

    Args:
        table: columns ``label``, ``patient``, ``patient_narrow``, ``split`` (empty where none is given).
        seed: decides every draw.

    Raises:
        ConfigError: if a class is missing from a split and cannot be drawn into it.
    """
    table, report = table.copy(), SplitReport()
    report.shared_patients = shared_patients(table)
    given = set(table["split"].unique())
    if "test" not in given:
        table["split"] = table["split"].replace("", "train")
        later = _to_redraw(table) or "val" not in given
        table = _draw(table, "train", "test", TEST_SHARE, seed, left=2 if later else 1)
        report.notes.append(
            f"No test split was given: {TEST_SHARE:.0%} of the images were drawn for it, patients kept together."
        )
    table["split"] = table["split"].replace("", "train")
    val = table[table["split"] == "val"]
    complete = val["label"].nunique() == table["label"].nunique()
    width = (
        f"at an AUC of {REFERENCE_AUC} its 95 % interval would be ±{half_width(val['label']):.2f}" if complete else ""
    )
    if _to_redraw(table):
        report.notes.append(
            f"The given validation split of {len(val)} images is too small to select by "
            f"({width or 'it lacks a class'}, and ±{WIDEST_HALF_WIDTH} is the widest accepted): it was merged with "
            f"train, and {VALIDATION_SHARE:.0%} were drawn anew, stratified and with patients kept together."
        )
        table.loc[val.index, "split"] = "train"
        val = val.iloc[:0]
    elif len(val) and too_small(val["label"]):
        report.notes.append(
            f"The validation split of {len(val)} images is small: {width}. It was kept, for drawing "
            f"{VALIDATION_SHARE:.0%} anew would give fewer; differences between configurations are uncertain."
        )
    elif not len(val):
        report.notes.append(
            f"No validation split was given: {VALIDATION_SHARE:.0%} of the training images were drawn for it, "
            "patients kept together."
        )
    table = _part_patients(table, report)
    if not len(val):
        table = _draw(table, "train", "val", VALIDATION_SHARE, seed)
    _require_classes(table)
    return table.reset_index(drop=True), report


def _to_redraw(table: pd.DataFrame) -> bool:
    """Whether the given validation split lacks a class, or is too small and a drawn one would be larger."""
    val = table[table["split"] == "val"]
    if not len(val):
        return False
    if val["label"].nunique() < table["label"].nunique():
        return True
    working = int(table["split"].isin(["train", "val"]).sum())
    return too_small(val["label"]) and VALIDATION_SHARE * working > len(val)


def shared_patients(table: pd.DataFrame) -> dict[str, int]:
    """Patients (read narrowly) who are in two of the given splits, counted by pair of splits."""
    by_split = {split: set(table.loc[table["split"] == split, "patient_narrow"]) for split in SPLITS}
    pairs = (("train", "val"), ("train", "test"), ("val", "test"))
    return {f"{a}-{b}": len(by_split[a] & by_split[b]) for a, b in pairs if by_split[a] and by_split[b]}


def _part_patients(table: pd.DataFrame, report: SplitReport) -> pd.DataFrame:
    """Drop from train (and val) the images of patients who are also in test (or val)."""
    for earlier, later in (("train", "test"), ("val", "test"), ("train", "val")):
        patients = set(table.loc[table["split"] == later, "patient_narrow"])
        crossing = (table["split"] == earlier) & table["patient_narrow"].isin(patients)
        if crossing.any():
            names = table.loc[crossing, "image"].tolist()
            reason = f"their patients are also in {later}"
            report.moved.append({"from": earlier, "images": len(names), "reason": reason, "files": names})
            report.notes.append(f"{len(names)} images left {earlier} because {reason}.")
            table = table[~crossing]
    return table


def _draw(table: pd.DataFrame, source: str, target: str, share: float, seed: int, left: int = 1) -> pd.DataFrame:
    """Move about ``share`` of split ``source`` to ``target``, stratified, patients (read widely) whole.

    At least ``left`` patients of each class stay in ``source``.
    """
    rows = table.index[table["split"] == source]
    part = table.loc[rows]
    per_class = part.groupby("label")["patient"].nunique()
    if per_class.min() < 1 + left:
        raise ConfigError(
            f"Class {per_class.idxmin()!r} has {per_class.min()} patient{'s' * (int(per_class.min()) > 1)} only, "
            f"so no {target} split can be drawn; each class needs at least {1 + left} patients."
        )
    table = table.copy()
    table.loc[rows[_fold(part, share, seed, left)], "split"] = target
    return table


def _fold(part: pd.DataFrame, share: float, seed: int, left: int) -> npt.NDArray[np.int64]:
    """Positions of about ``share`` of the images: a fold that holds every class and leaves ``left`` patients of each.

    Raises:
        ConfigError: if there is no such fold.
    """
    for folds in range(round(1 / share), 1, -1):
        splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class of fewer patients than folds is handled here
            try:
                chosen = [fold for _, fold in splitter.split(np.zeros(len(part)), part["label"], part["patient"])]
            except ValueError:  # fewer images of every class than folds
                continue
        whole = [fold for fold in chosen if _serves(part, fold, left)]
        if whole:
            best = min(whole, key=lambda fold: abs(len(fold) - share * len(part)))
            return np.asarray(best, dtype=np.int64)
    raise ConfigError(
        "No split could be drawn that keeps patients together and holds every class; more patients are needed."
    )


def _serves(part: pd.DataFrame, fold: npt.NDArray[np.int64], left: int) -> bool:
    inside = np.zeros(len(part), dtype=bool)
    inside[fold] = True
    patients_left = part[~inside].groupby("label")["patient"].nunique()
    n_classes = part["label"].nunique()
    return bool(
        part.loc[inside, "label"].nunique() == n_classes
        and len(patients_left) == n_classes
        and patients_left.min() >= left
    )


def _require_classes(table: pd.DataFrame) -> None:
    for split in ("train", "val"):
        missing = sorted(set(table["label"]) - set(table.loc[table["split"] == split, "label"]))
        if missing:
            raise ConfigError(
                f"The {split} split holds no image of class {missing[0]!r}; every class must occur in it."
            )


def subset(table: pd.DataFrame, max_images: int, seed: int) -> pd.DataFrame:
    """At most about ``max_images`` of train and val together, whole patients, stratified; test stays whole.

    Raises:
        ConfigError: if so few images would leave a class out.
    """
    working = table[table["split"] != "test"]
    if max_images >= len(working):
        return table
    share = max_images / len(working)
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    classes = working.groupby("patient")["label"].agg(lambda labels: "\t".join(sorted(set(labels))))
    strata = [working["split"], working["patient"].map(classes)]
    for _, part in working.groupby(strata, sort=True):
        wanted = round(share * len(part))
        order = rng.permutation(part["patient"].unique())
        sizes = part.groupby("patient").size().loc[order].cumsum()
        patients = order[: int((sizes <= max(wanted, 1)).sum()) or 1]
        kept += part.index[part["patient"].isin(patients)].tolist()
    chosen = table.loc[sorted(kept + table.index[table["split"] == "test"].tolist())].reset_index(drop=True)
    _require_classes(chosen)
    val = chosen[chosen["split"] == "val"]
    if val["label"].value_counts().min() < 2:
        raise ConfigError(f"--max-images {max_images} leaves a class with fewer than two validation images; take more.")
    return chosen


def rows_of(table: pd.DataFrame, split: str) -> npt.NDArray[np.int64]:
    """Row numbers of the images of ``split``."""
    return np.asarray(np.flatnonzero((table["split"] == split).to_numpy()), dtype=np.int64)


def labels_of(table: pd.DataFrame, rows: npt.NDArray[np.int64], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Class indices of some rows."""
    index = {name: number for number, name in enumerate(classes)}
    return np.array([index[label] for label in table["label"].iloc[rows]], dtype=np.int64)


def describe(table: pd.DataFrame) -> dict[str, Any]:
    """Images, patients and classes by split, as run.json holds them."""
    return {
        split: {
            "images": len(part),
            "patients": int(part["patient_narrow"].nunique()),
            "classes": {str(label): int(count) for label, count in part["label"].value_counts().sort_index().items()},
        }
        for split in SPLITS
        if len(part := table[table["split"] == split])
    }
